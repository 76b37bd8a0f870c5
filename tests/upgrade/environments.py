# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Environments of their own for what must not be in the tests' one.

They lie in the state folder beside it and are made once for a list of
packages.
"""
import hashlib
import shutil
import subprocess
import sys
import venv

from demo.state import REPOSITORY, State

UPSTREAM = '5.0.4'
# requests: GNU Health's module imports it and does not ask for it
UPSTREAM_PACKAGES = [[
        'trytond ~= 7.0.0', 'gnuhealth ~= 5.0.0', 'requests',
        *(f'{name} == {UPSTREAM}' for name in (
                'gnuhealth-imaging', 'gnuhealth-imaging-worklist',
                'gnuhealth-orthanc'))]]
# what it asks for, but for GNU Health's own imaging package
SERVICES_PACKAGES = [
    ['--editable', str(REPOSITORY), 'gnuhealth-services ~= 5.0.0'],
    ['--no-deps', f'gnuhealth-services-imaging == {UPSTREAM}']]


def environment(name, packages, stamp=''):
    """Return the folder of the environment with the packages.

    Parameters
    ----------
    name : str
    packages : list of lists
        The arguments of one pip install after the other.
    stamp : str
        With another one the environment is made anew.
    """
    state = State()
    folder = state.root / name
    stamp = hashlib.sha256(
        repr([sys.version, packages, stamp]).encode()).hexdigest()
    if not state.stamped(name, stamp) or not folder.exists():
        shutil.rmtree(folder, ignore_errors=True)
        state.unstamp(name)
        venv.create(folder, with_pip=True)
        for arguments in packages:
            subprocess.run([
                    folder / 'bin' / 'python', '-m', 'pip', 'install',
                    '--quiet', '--no-input', '--disable-pip-version-check',
                    *arguments], check=True)
        state.stamp(name, stamp)
    return folder


def upstream():
    return environment('upstream', UPSTREAM_PACKAGES)


def services():
    # what the suite asks for, which may change
    return environment(
        'services', SERVICES_PACKAGES,
        (REPOSITORY / 'setup.cfg').read_text(encoding='utf-8'))
