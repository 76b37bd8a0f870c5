# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all scripts of his-utils tell of themselves."""
import configparser
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from pacs_host import SCRIPTS

ROOT = Path(__file__).resolve().parent.parent
MIGRATION = SCRIPTS.parent / 'upgrade_utils/5.0/migrate_orthanc_module.py'
PATHS = [
    SCRIPTS / 'update_worklists_database.py',
    SCRIPTS / 'sync_orthanc_server.py',
    MIGRATION,
    ]
each_script = pytest.mark.parametrize(
    'path', PATHS, ids=lambda path: path.stem)


def run(path, option, cwd):
    result = subprocess.run(
        [sys.executable, str(path), option], cwd=cwd, capture_output=True,
        text=True)
    assert (result.returncode, result.stderr) == (0, '')
    return result.stdout


def section(text, title):
    "The lines below a title, up to the next one"
    found = re.search(
        rf'^{title}:\n((?: .*\n|\n)+)', text, re.MULTILINE)
    assert found, title
    return found[1]


def suite_version():
    parser = configparser.ConfigParser()
    parser.read(ROOT / 'setup.cfg')
    return parser['metadata']['version']


@each_script
def test_version(path, tmp_path):
    "They say the suite's version"
    assert run(path, '--version', tmp_path) == (
        f'{path.name} {suite_version()}\n')


@pytest.mark.parametrize('module', [
        'health_imaging', 'health_imaging_worklist', 'health_orthanc'])
def test_one_version(module):
    "The modules are of the suite's version, too"
    parser = configparser.ConfigParser()
    parser.read(ROOT / module / 'tryton.cfg')
    assert parser['tryton']['version'] == suite_version()


@each_script
def test_help(path, tmp_path):
    "The help has examples with options that exist, and each exit status"
    text = run(path, '--help', tmp_path)
    known = set(re.findall(
            r'(?<![\w-])--?\w[\w-]*', text[:text.index('configuration:')]))
    examples = section(text, 'examples').replace('\\\n', ' ')
    commands = [
        shlex.split(line, comments=True) for line in examples.splitlines()
        if line.lstrip().startswith(path.name)]
    assert len(commands) > 1
    for command in commands:
        options = {word for word in command if word.startswith('-')}
        assert {'-d', '-u'} <= options <= known
    codes = re.findall(
        r'^  (\d)  \w', section(text, 'exit status'), re.MULTILINE)
    assert codes == [str(code) for code in range(len(codes))]
    assert len(codes) >= 4
