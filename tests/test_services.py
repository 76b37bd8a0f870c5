# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""GNU Health's packages beside the suite's.

gnuhealth-services-imaging works on the suite, in an environment of its own:
installed with --no-deps, since it asks for the package that the suite
replaces.  Where it is installed all the same, the server says so.
"""
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from upgrade import environments

TESTS = Path(__file__).parent


@pytest.fixture(scope='module')
def python():
    return environments.services() / 'bin' / 'python'


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp('services')


def run(cache, *command):
    environment = {
        key: value for key, value in os.environ.items()
        if not key.startswith(('TRYTOND_', 'DB_', 'PYTHON'))}
    environment.update(
        PYTHONWARNINGS='ignore', TRYTOND_DATABASE_URI='sqlite://',
        DB_NAME=':memory:', DB_CACHE=str(cache))
    result = subprocess.run(
        list(map(str, command)), env=environment, cwd=TESTS, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT)
    assert result.returncode == 0, result.stdout
    return result.stdout


def test_its_own_tests(python, cache):
    # its tests' __init__.py imports a name that is not there
    folder, = python.parent.parent.glob(
        'lib/python*/site-packages/trytond/modules/health_services_imaging/'
        'tests')
    output = run(cache, python, '-m', 'unittest', 'discover', '-s', folder,
        '-t', folder)
    assert 'OK' in output and 'Ran 0' not in output


def test_billing(python, cache):
    "An order is billed by the wizard that it extends, and by its button"
    assert 'billed' in run(cache, python, '-m', 'upgrade.billing')


OVERWRITTEN = """
import trytond.modules
trytond.modules.__path__.insert(0, {folder!r})
from trytond.pool import Pool
Pool.start()
"""


@pytest.fixture(scope='module')
def old():
    folder = environments.upstream()
    modules, = folder.glob('lib/python*/site-packages/trytond/modules')
    return modules


def start(folder):
    "Start a server whose health_imaging is that of the folder"
    return subprocess.run(
        [sys.executable, '-c', OVERWRITTEN.format(folder=str(folder))],
        env={**os.environ, 'PYTHONWARNINGS': 'ignore'},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True)


def test_overwritten_module_says_so(old, tmp_path):
    "A server does not start on half of one package and half of another"
    shutil.copytree(TESTS.parent / 'health_imaging',
        tmp_path / 'health_imaging')
    assert start(tmp_path).returncode == 0
    shutil.copytree(old / 'health_imaging', tmp_path / 'health_imaging',
        dirs_exist_ok=True)
    result = start(tmp_path)
    assert result.returncode
    assert 'gnuhealth-imaging has replaced it' in result.stdout
    assert 'pip uninstall gnuhealth-imaging' in result.stdout
