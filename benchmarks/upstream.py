# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"The environment of upstream's modules, beside the suite's"
import shutil
import sys

from demo.steps import StepError

__all__ = ['REQUIREMENTS', 'upstream_python']

REQUIREMENTS = [
    'gnuhealth ~= 5.0.0', 'gnuhealth-imaging == 5.0.4',
    'gnuhealth-imaging-worklist == 5.0.4', 'gnuhealth-orthanc == 5.0.4',
    'psycopg2-binary >= 2.9, < 3', 'requests']


def upstream_python(state, programs):
    "Return the interpreter of a virtual environment with upstream's modules"
    venv = state.root / 'upstream'
    python = venv / 'bin' / 'python'
    stamp = '\n'.join([sys.version, *REQUIREMENTS])
    if not (python.exists() and state.stamped('upstream', stamp)):
        shutil.rmtree(venv, ignore_errors=True)
        for command in [
                [sys.executable, '-m', 'venv', venv],
                [python, '-m', 'pip', 'install', '--quiet', '--no-input',
                    '--disable-pip-version-check', *REQUIREMENTS]]:
            ok, log = programs.run('upstream', command)
            if not ok:
                raise StepError(
                    "The environment of GNU Health's own imaging modules "
                    f"could not be made. (log: {log})")
        state.stamp('upstream', stamp)
    return python
