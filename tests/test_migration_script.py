# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""migrate_orthanc_module.py over a GNU Health that is a Python object, and
without trytond.  What GNU Health does is tested with health_orthanc."""
import importlib.util
import json
import subprocess
import sys
import xmlrpc.client

import pytest
from pacs_host import SCRIPTS, environ

PATH = (
    SCRIPTS.parent / 'upgrade_utils' / '5.0' / 'migrate_orthanc_module.py')
spec = importlib.util.spec_from_file_location('migrate_orthanc_module', PATH)
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)

STUDIES, PATIENTS = (model for _, model, _ in script.KINDS)


class Hospital:
    "Records of GNU Health 4, and what becomes of them"

    def __init__(self):
        self.ids = {STUDIES: [], PATIENTS: []}
        self.outcomes = {}
        self.calls = []
        self.error = None

    def __enter__(self):
        if self.error:
            raise self.error
        return self

    def __exit__(self, *exception):
        pass

    def call(self, model, method, *arguments):
        self.calls.append((model, method, arguments))
        if method == 'search':
            return self.ids[model]
        ids, _ = arguments
        return [{
                'id': id_, 'orthanc_id': f'orthanc-{id_}',
                **dict(zip(['outcome', 'reason'],
                        self.outcomes.get(id_, ('moved', None))))}
            for id_ in ids]


@pytest.fixture
def hospital(monkeypatch, tmp_path):
    hospital = Hospital()
    monkeypatch.setattr(
        script._connection, 'Connection', lambda *args: hospital)
    monkeypatch.setenv('GNUHEALTH_PASSWORD', 'a-test-password')
    configuration = tmp_path / 'imaging.conf'
    configuration.write_text('[gnuhealth]\ndatabase = health\n')
    monkeypatch.setenv('GNUHEALTH_IMAGING_CONFIG', str(configuration))
    return hospital


def test_all_moved(hospital, capsys):
    "Many links take few calls"
    hospital.ids = {STUDIES: list(range(1, 1001)), PATIENTS: [2001, 2002]}
    assert script.main([]) == script.OK
    assert len(hospital.calls) == 2 + 5 + 1
    assert all(
        arguments[1] is False for _, method, arguments in hospital.calls
        if method == 'carry_links')
    captured = capsys.readouterr()
    studies, patients = captured.out.splitlines()
    assert studies.startswith('studies: 1000 moved, 0 already there')
    assert patients.startswith('patients: 2 moved')
    # no bar where nobody looks
    assert not captured.err


def test_left(hospital, capsys):
    "What is left is listed with its reason, and is the exit status"
    hospital.ids = {STUDIES: [1, 2, 3, 4, 5], PATIENTS: []}
    hospital.outcomes = {
        2: ('ambiguous', 'several'), 3: ('not_found', 'gone'),
        4: ('decided', 'undone'), 5: ('there', None)}
    assert script.main(['--dry-run']) == script.LEFT
    assert hospital.calls[2][2] == ([1, 2, 3, 4, 5], True)
    output = capsys.readouterr().out
    assert 'study 2 (Orthanc orthanc-2): ambiguous, several studies' in output
    assert 'study 3 (Orthanc orthanc-3): not found, its server' in output
    assert 'study 4 (Orthanc orthanc-4): decided, a person undid' in output
    assert 'studies (dry run): 1 moved, 1 already there, 1 ambiguous, ' \
        '0 contradicted, 1 decided, 1 not found' in output


def test_decided_is_no_failure(hospital):
    hospital.ids[STUDIES] = [4]
    hospital.outcomes = {4: ('decided', 'undone')}
    assert script.main(['-q']) == script.OK


def test_json(hospital, capsys):
    hospital.ids[PATIENTS] = [7]
    hospital.outcomes = {7: ('contradicted', 'birth')}
    assert script.main(['--json']) == script.LEFT
    found = json.loads(capsys.readouterr().out)
    assert found['summary']['patients']['contradicted'] == 1
    assert found['patients'][0]['reason'] == 'birth'


def test_refused(hospital, capsys):
    "A refusal says why, and nothing of the password"
    hospital.error = xmlrpc.client.Fault(1, "You are not allowed")
    assert script.main([]) == script.NO_SERVER
    captured = capsys.readouterr()
    assert 'refuses' in captured.err
    assert 'a-test-password' not in captured.out + captured.err


def test_reasons():
    "Each reason that GNU Health gives has a sentence"
    from trytond.modules.health_orthanc import carry
    with open(carry.__file__, encoding='utf-8') as file:
        source = file.read()
    for reason in script.REASONS:
        assert f"'{reason}'" in source or reason in {'puid', 'birth'}


def test_help_and_usage():
    "It finds the shared code whatever the current folder"
    for option, status in [('--help', 0), ('--nonsense', 2)]:
        result = subprocess.run(
            [sys.executable, str(PATH), option], cwd='/', text=True,
            stdin=subprocess.DEVNULL, capture_output=True, env=environ())
        assert result.returncode == status, result.stderr
        assert 'Traceback' not in result.stderr
    assert 'examples:' in subprocess.run(
        [sys.executable, str(PATH), '-h'], capture_output=True,
        text=True).stdout
