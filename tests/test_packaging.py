# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is built from a clean clone carries everything, and the wheel works in
a new environment."""
import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = ('health_imaging', 'health_imaging_worklist', 'health_orthanc')
# What a running server has no use for.
NOT_PACKED = ('doc/', 'README.rst', 'CHANGELOG')
# What only a clone has a use for.
NOT_RELEASED = {'.gitignore'}

ACTIVATE = """
from trytond.tests.test_tryton import activate_module, with_transaction
from trytond.pool import Pool
activate_module([{modules}])

@with_transaction()
def check():
    views = Pool().get('ir.ui.view').search([('module', 'in', [{modules}])])
    for view in views:
        view.arch
    print(len(views), 'views')
check()
"""


def run(*command, **kwargs):
    result = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, **kwargs)
    assert result.returncode == 0, result.stdout
    return result.stdout


@pytest.fixture(scope='module')
def clone(tmp_path_factory):
    "A clean clone of what is committed"
    path = tmp_path_factory.mktemp('clone') / 'suite'
    run('git', 'clone', '--quiet', str(ROOT), str(path))
    return path


@pytest.fixture(scope='module')
def dist(clone, tmp_path_factory):
    "A source distribution, and the wheel that is built from it"
    path = tmp_path_factory.mktemp('dist')
    run(sys.executable, '-m', 'build', '--outdir', str(path), str(clone))
    return path


@pytest.fixture
def wheel(dist):
    wheel, = dist.glob('*.whl')
    return wheel


def test_source_distribution_carries_every_file(clone, dist):
    "Each file of the repository is in the source distribution"
    path, = dist.glob('*.tar.gz')
    with tarfile.open(path) as archive:
        packed = {name.partition('/')[2] for name in archive.getnames()}
    wanted = set(run('git', '-C', str(clone), 'ls-files').split())
    assert wanted - packed == NOT_RELEASED


def test_wheel_carries_every_file(clone, wheel):
    "Each file of the modules is in the wheel"
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    for module in MODULES:
        files = run('git', '-C', str(clone), 'ls-files', module).split()
        wanted = {
            f'trytond/modules/{name}' for name in files
            if not name[len(module) + 1:].startswith(NOT_PACKED)}
        assert wanted, module
        assert wanted <= packed, sorted(wanted - packed)


def test_wheel_works_in_a_new_environment(wheel, tmp_path):
    "The three modules install in a database from the wheel alone"
    venv.create(tmp_path / 'venv', with_pip=True)
    python = tmp_path / 'venv' / 'bin' / 'python'
    run(str(python), '-m', 'pip', 'install', '--quiet', str(wheel))
    env = {
        key: value for key, value in os.environ.items()
        if not key.startswith(('TRYTOND_', 'DB_', 'PYTHON'))}
    env['PYTHONWARNINGS'] = 'ignore'
    modules = ', '.join(map(repr, MODULES))
    output = run(
        str(python), '-c', ACTIVATE.format(modules=modules),
        cwd=tmp_path, env=env)
    assert 'views' in output
    output = run(
        str(python.with_name('gnuhealth-orthanc-keys')), 'make',
        cwd=tmp_path, env=env)
    assert len(output.strip()) == 44
