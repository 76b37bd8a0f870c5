# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install what the demo or the tests need; do nothing where it is there.

As a program: ``python3 -m demo.bootstrap [--tests]`` prepares the state
folder and prints the interpreter of its virtual environment.
"""
import argparse
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from .services import ORTHANC_PROGRAMS, PLUGIN_FOLDERS
from .state import REPOSITORY, State
from .steps import Programs, Report, Step, StepError, do_steps
from .web import build_ohif, build_sao

OLDEST_PYTHON = (3, 9)


def has_program(*names):
    return any(map(shutil.which, names))


def has_plugin(name):
    return any(Path(folder, name).exists() for folder in PLUGIN_FOLDERS)


def has_file(pattern):
    return any(Path('/').glob(pattern))


# Debian package: whether what is used of it is there
DEMO_PACKAGES = {
    'orthanc': lambda: has_program(*ORTHANC_PROGRAMS)
    and has_plugin('libModalityWorklists.so'),
    'orthanc-dicomweb': lambda: has_plugin('libOrthancDicomWeb.so'),
    'orthanc-python': lambda: has_plugin('libOrthancPython.so'),
    'dcmtk': lambda: has_program('dump2dcm') and has_program('findscu'),
    'npm': lambda: has_program('npm'),
    'python3-venv': lambda: bool(importlib.util.find_spec('ensurepip')),
    }
TEST_PACKAGES = {
    'chromium': lambda: has_program('chromium'),
    'postgresql': lambda: has_program('initdb')
    or has_file('usr/lib/postgresql/*/bin/initdb'),
    'fonts-dejavu-core': lambda: has_file(
        'usr/share/fonts/truetype/dejavu/DejaVuSans.ttf'),
    'fonts-noto-core': lambda: has_file(
        'usr/share/fonts/truetype/noto/NotoSansThai-Regular.ttf'),
    'fonts-noto-cjk': lambda: has_file(
        'usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc'),
    }
# The packages' own daemons must not start: policy-rc.d forbids it while
# they are installed. An existing policy is the machine's: it stays as it is.
APT_SCRIPT = r"""
set -eu
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ] && [ ! -L "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 1' INT TERM HUP
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
apt-get -q -o DPkg::Lock::Timeout=300 update
apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends "$@"
if [ -d /run/systemd/system ]; then
    for name in "$@"; do
        [ "$name" != orthanc ] || systemctl --quiet disable orthanc
    done
fi
"""


def missing_packages(packages):
    return [name for name, is_there in packages.items() if not is_there()]


def root_prefix(packages):
    """Return what to put before a command that needs root.

    Asks for the password of sudo now, while nothing else prints.
    """
    wanted = ' '.join(packages)
    if not shutil.which('apt-get'):
        raise StepError(
            f"Missing: {wanted}. They are Debian packages, and this is no "
            "Debian system: install their equivalents.")
    if os.geteuid() == 0:
        return []
    sudo = shutil.which('sudo')
    ways = ['-n', 'true'], ['-v']
    for way in ways if sys.stdin.isatty() else ways[:1]:
        if sudo and subprocess.run(
                [sudo, *way], stderr=subprocess.DEVNULL
                if way == ways[0] else None).returncode == 0:
            return [sudo]
    raise StepError(
        f"Missing Debian packages: {wanted}. Installing them needs root or "
        f"sudo: run 'apt-get install {wanted}' as root, then try again.")


def install_packages(packages, prefix, programs):
    ok, log = programs.run(
        'apt', [*prefix, 'sh', '-c', APT_SCRIPT, 'sh', *packages], keep=True)
    left = missing_packages({
            name: probe
            for name, probe in {**DEMO_PACKAGES, **TEST_PACKAGES}.items()
            if name in packages})
    if not ok or left:
        raise StepError(
            f"apt-get could not install {' '.join(left or packages)}: is the "
            f"network there? (log: {log})")
    return f"Debian packages: {' '.join(packages)}"


def environment_stamp(extras):
    parts = [sys.version, str(REPOSITORY), ','.join(extras)]
    parts += ((REPOSITORY / name).read_text(encoding='utf-8')
        for name in ('setup.cfg', 'pyproject.toml'))
    return hashlib.sha256('\0'.join(parts).encode()).hexdigest()


def make_environment(state, extras, programs):
    """Make or update the virtual environment with the modules in it."""
    if not state.python.exists():
        shutil.rmtree(state.venv, ignore_errors=True)
        ok, log = programs.run(
            'venv', [sys.executable, '-m', 'venv', state.venv])
        if not ok:
            shutil.rmtree(state.venv, ignore_errors=True)
            raise StepError(
                "Python cannot make a virtual environment: install "
                f"python3-venv. (log: {log})")
    ok, log = programs.run('pip', [
            state.python, '-m', 'pip', 'install', '--no-input', '--quiet',
            '--disable-pip-version-check', '--progress-bar', 'off',
            '--editable', f"{REPOSITORY}[{','.join(extras)}]"])
    if not ok:
        raise StepError(
            "pip could not install the modules and what they need: is the "
            f"network there? (log: {log})")
    state.stamp('venv', environment_stamp(extras))
    return "Virtual environment: trytond, GNU Health, the three modules"


def preparation(state, programs, tests=False):
    """Return the steps that install what is missing.

    Their names: packages (Debian's), venv, sao, ohif. Those that are done
    already are left out; a step that comes after them must not name them,
    so use `after`.
    """
    packages = {**DEMO_PACKAGES, **(TEST_PACKAGES if tests else {})}
    extras = ['demo', 'test'] if tests else ['demo']
    steps = []
    missing = missing_packages(packages)
    if missing:
        prefix = root_prefix(missing)
        steps.append(Step('packages',
                lambda: install_packages(missing, prefix, programs)))
    # what a demo lacks of the tests' extras, the tests add; a demo keeps it
    done = any(state.stamped('venv', environment_stamp(wanted))
        for wanted in ([extras] if tests else [extras, ['demo', 'test']]))
    if not done or not state.python.exists():
        steps.append(Step('venv',
                lambda: make_environment(state, extras, programs),
                ['packages'] if 'python3-venv' in missing else []))
    for name, function, text in (
            ('sao', build_sao, "Tryton's web client from npm"),
            ('ohif', build_ohif, "OHIF viewer from npm")):
        steps.append(Step(name,
                lambda function=function, text=text:
                function(state, programs) and text,
                ['packages'] if 'npm' in missing else []))
    return steps


def after(steps, *names):
    """Those of the names that are names of steps."""
    known = {step.name for step in steps}
    return [name for name in names if name in known]


def check_python():
    if sys.version_info < OLDEST_PYTHON:
        raise StepError(
            "Python {}.{} or newer is needed.".format(*OLDEST_PYTHON))


def main():
    parser = argparse.ArgumentParser(
        prog='python3 -m demo.bootstrap',
        description="Install what the demo, or the tests, need.")
    parser.add_argument('--tests', action='store_true',
        help="what the tests need, too")
    parser.add_argument('--state', metavar='FOLDER',
        help="the state folder (default: $DEMO_STATE, else .demo)")
    options = parser.parse_args()
    report = Report(sys.stderr)
    try:
        check_python()
        state = State(options.state)
        state.make()
        with state.lock(report):
            programs = Programs(state.log)
            do_steps(preparation(state, programs, options.tests),
                report, programs)
    except StepError as error:
        sys.exit(str(error))
    print(state.python)


if __name__ == '__main__':
    main()
