# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The units of his-utils/systemd start what there is, confined and without a
secret on the command line."""
import configparser
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from pacs_host import SCRIPTS

sys.path.insert(0, str(SCRIPTS))

import _connection  # noqa: E402

UNITS = SCRIPTS.parents[1] / 'systemd'
SERVICES = sorted(UNITS.glob('*.service'))
TIMERS = sorted(UNITS.glob('*.timer'))
# Where the units expect programs, and where they are here
PROGRAMS = {
    '/opt/gnuhealth-imaging/venv/bin/': Path(sysconfig.get_path('scripts')),
    '/opt/gnuhealth-imaging/scripts/': SCRIPTS,
    '/opt/gnuhealth/venv/bin/': Path(sysconfig.get_path('scripts')),
    }
CONFINED = {
    'CapabilityBoundingSet': '',
    'LockPersonality': 'yes',
    'NoNewPrivileges': 'yes',
    'PrivateDevices': 'yes',
    'PrivateTmp': 'yes',
    'PrivateUsers': 'yes',
    'ProtectClock': 'yes',
    'ProtectControlGroups': 'yes',
    'ProtectHome': 'yes',
    'ProtectHostname': 'yes',
    'ProtectKernelLogs': 'yes',
    'ProtectKernelModules': 'yes',
    'ProtectKernelTunables': 'yes',
    'ProtectProc': 'invisible',
    'ProtectSystem': 'strict',
    'RestrictAddressFamilies': 'AF_INET AF_INET6 AF_UNIX',
    'RestrictNamespaces': 'yes',
    'RestrictRealtime': 'yes',
    'RestrictSUIDSGID': 'yes',
    'SystemCallArchitectures': 'native',
    }
# What systemd knows, of what the units use
KNOWN = {
    'Unit': {'After', 'Conflicts', 'Description', 'Wants'},
    'Service': {
        *CONFINED, 'DynamicUser', 'ExecStart', 'Group', 'KillMode',
        'LoadCredential', 'MemoryDenyWriteExecute', 'MemoryMax', 'ProcSubset',
        'ReadWritePaths', 'RemoveIPC', 'Restart', 'RestartPreventExitStatus',
        'RestartSec', 'SuccessExitStatus', 'SystemCallErrorNumber',
        'SystemCallFilter', 'TimeoutStartSec', 'Type', 'UMask', 'User'},
    'Timer': {'AccuracySec', 'OnBootSec', 'OnUnitInactiveSec'},
    'Install': {'WantedBy'},
    }


def each(paths):
    return pytest.mark.parametrize('path', paths, ids=lambda path: path.name)


def read(path):
    # A setting may stand there twice, and its name has capitals
    unit = configparser.ConfigParser(
        strict=False, interpolation=None, delimiters='=',
        comment_prefixes='#')
    unit.optionxform = str
    unit.read_string(path.read_text('utf-8'))
    return unit


def command_of(unit):
    return shlex.split(unit['Service']['ExecStart'].replace('\\\n', ' '))


def here(text):
    for there, folder in PROGRAMS.items():
        text = text.replace(there, f'{folder}/')
    return text


def test_all_described():
    "README.rst tells of each unit"
    text = (UNITS / 'README.rst').read_text('utf-8')
    assert len(SERVICES) == 5 and len(TIMERS) == 2
    for path in SERVICES + TIMERS:
        assert path.stem in text


@each(SERVICES + TIMERS)
def test_settings(path):
    "systemd would take a misspelt setting for a warning, and go on without it"
    for name, section in read(path).items():
        assert section.keys() <= KNOWN.get(name, set())


@each(SERVICES)
def test_command(path):
    "What is started is there and knows each option"
    command = command_of(read(path))
    program = [here(command[0])]
    if program[0].endswith('/python'):
        program.append(here(command[1]))
    arguments = command[len(program):]
    result = subprocess.run(
        [*program, '--help'], capture_output=True, text=True, check=True)
    options = [word for word in arguments if word.startswith('-')]
    assert options
    for option in options:
        assert re.search(
            rf'(?<![\w-]){option}(?![\w-])', result.stdout), option


@each(SERVICES)
def test_secret(path):
    "No password is in the command or the environment"
    unit = read(path)
    command = command_of(unit)
    assert not {'-P', '--password', '--passwd'} & set(command)
    assert 'assword' not in ' '.join(command)
    assert 'Environment' not in unit['Service']
    if '--config' in command:
        assert unit['Service']['LoadCredential'].startswith(
            f'{_connection.CREDENTIAL}:/etc/')


@each(SERVICES)
def test_confined(path):
    "It runs without root, and reaches no more than it needs"
    service = read(path)['Service']
    assert CONFINED.items() <= dict(service).items()
    assert service.get('DynamicUser') == 'yes' or (
        service['User'] not in {'', 'root'})


@each(SERVICES)
def test_kept_running(path):
    "It starts again after a failure, by itself or by its timer"
    unit = read(path)
    assert unit['Unit']['Description']
    if unit['Service']['Type'] == 'oneshot':
        assert set(unit.sections()) == {'Unit', 'Service'}
        assert path.with_suffix('.timer') in TIMERS
    else:
        assert set(unit.sections()) == {'Unit', 'Service', 'Install'}
        assert unit['Service']['Restart'] == 'on-failure'
        assert unit['Install']['WantedBy'] == 'multi-user.target'
    # None of the programs speaks to systemd, which would kill it
    assert unit['Service']['Type'] in {'oneshot', 'exec'}
    assert 'WatchdogSec' not in unit['Service']


@each(TIMERS)
def test_timer(path):
    "It starts the service of its name, and again after each end"
    unit = read(path)
    assert set(unit.sections()) == {'Unit', 'Timer', 'Install'}
    assert path.with_suffix('.service') in SERVICES
    assert {'OnBootSec', 'OnUnitInactiveSec'} <= set(unit['Timer'])
    assert unit['Install']['WantedBy'] == 'timers.target'


def test_verified(tmp_path):
    "systemd, where it is installed, finds nothing wrong"
    files = []
    for path in SERVICES + TIMERS:
        copy = tmp_path / path.name
        copy.write_text(here(path.read_text('utf-8')), 'utf-8')
        files.append(str(copy))
    if shutil.which('systemd-analyze'):
        result = subprocess.run(
            ['systemd-analyze', 'verify', *files], capture_output=True,
            text=True)
        assert (result.returncode, result.stderr) == (0, '')
