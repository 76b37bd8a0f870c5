# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""sync_orthanc_server.py over a GNU Health that is a Python object."""
import datetime as dt
import sys
import xmlrpc.client

import pytest
from pacs_host import SCRIPTS

sys.path.insert(0, str(SCRIPTS))

import sync_orthanc_server as script  # noqa: E402


class Hospital:
    """Servers, and runs that end after some readings.

    Attributes
    ----------
    outcome : dict
        What a run says in the end, by the label of its server.
    slow : int
        How often a run is read before it ends.
    """

    def __init__(self, *labels):
        self.labels = dict(enumerate(labels, 1))
        self.outcome = {}
        self.slow = 0
        self.created = []
        self.started = []
        self.error = None

    def __enter__(self):
        if self.error:
            raise self.error
        return self

    def __exit__(self, *exception):
        pass

    def call(self, model, method, *arguments):
        return getattr(self, method)(*arguments)

    def search_read(self, domain, offset, limit, order, names):
        assert domain == [('validated', '=', True)]
        return [{'id': id_, 'label': label}
            for id_, label in self.labels.items()]

    def create(self, vlist):
        self.created += vlist
        return list(range(1, len(vlist) + 1))

    def start(self, runs):
        self.started += runs

    def read(self, runs, names):
        self.slow -= 1
        result = []
        for id_ in reversed(runs):
            label = self.labels[self.created[id_ - 1]['server']]
            run = {
                'id': id_, 'server.': {'rec_name': label}, 'state': 'running',
                'progress': .5, 'seen': 3, 'new': 2, 'changed': 0,
                'missing': 0, 'linked': 1, 'failed': 0,
                'duration': dt.timedelta(seconds=4), 'message': None}
            if self.slow < 0:
                run.update({'state': 'done', 'progress': 1},
                    **self.outcome.get(label, {}))
            result.append(run)
        return result


@pytest.fixture
def hospital(monkeypatch, tmp_path):
    hospital = Hospital("Clinic", "Main PACS")
    monkeypatch.setattr(
        script._connection, 'Connection', lambda *args: hospital)
    path = tmp_path / 'password'
    path.write_text('a-test-password')
    configuration = tmp_path / 'imaging.conf'
    configuration.write_text(
        '[gnuhealth]\ndatabase = health\nport = 8123\n'
        f'password_file = {path}\n')
    monkeypatch.setenv('GNUHEALTH_IMAGING_CONFIG', str(configuration))
    monkeypatch.setattr(script.time, 'sleep', lambda seconds: None)
    return hospital


def run(*options):
    return script.main(list(options))


def test_all_servers(hospital, capsys):
    "Without arguments all validated servers are asked for what is new"
    hospital.slow = 3
    assert run() == script.OK
    assert [(r['server'], r['kind'], r['trigger'])
        for r in hospital.created] == [
            (1, 'new', 'script'), (2, 'new', 'script')]
    assert hospital.started == [1, 2]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == [
        'server', 'state', 'seen', 'new', 'changed', 'missing', 'linked',
        'failed', 'seconds']
    assert lines[1].split() == [
        'Clinic', 'done', '3', '2', '0', '0', '1', '0', '4']
    assert lines[2].startswith('Main PACS')


def test_one_server_fully(hospital):
    "A label and --full choose"
    assert run('-l', "Main PACS", '--full') == script.OK
    assert [(r['server'], r['kind']) for r in hospital.created] == [
        (2, 'full')]


def test_unknown_label(hospital, capsys):
    "A label that no server has names it and starts nothing"
    assert run('-l', "Main PACS", '-l', "Nowhere") == script.USAGE
    assert "'Nowhere'" in capsys.readouterr().err
    assert not hospital.created


def test_no_server(hospital, capsys):
    "Without validated servers there is nothing to do"
    hospital.labels = {}
    assert run() == script.OK
    assert 'no validated server' in capsys.readouterr().err


@pytest.mark.parametrize('outcome', [
        {'state': 'failed', 'message': "Server is down."},
        {'state': 'cancelled', 'message': None},
        {'state': 'done', 'failed': 2},
        ])
def test_failures(hospital, capsys, outcome):
    "A run that failed, or some of whose items did, is the exit status"
    hospital.outcome = {"Clinic": outcome}
    assert run('--quiet') == script.FAILED
    captured = capsys.readouterr()
    assert 'Clinic' in captured.out and 'Main PACS' not in captured.out
    if outcome.get('message'):
        assert "Clinic: Server is down." in captured.err


def test_too_late(hospital, capsys):
    "What is not finished in time goes on"
    hospital.slow = 10 ** 6
    assert run('--timeout', '0.01') == script.LATE
    assert 'not finished' in capsys.readouterr().err


def test_no_connection(hospital, capsys):
    "Without connection, or refused, nothing of a password is said"
    for error, words in [
            (ConnectionRefusedError(111, 'refused'), 'no connection'),
            (xmlrpc.client.ProtocolError('u', 401, 'x', {}), 'refuses'),
            (xmlrpc.client.Fault(1, "You are not allowed"), 'refuses'),
            ]:
        hospital.error = error
        assert run() == script.NO_SERVER
        captured = capsys.readouterr()
        assert words in captured.err
        assert 'a-test-password' not in captured.out + captured.err
        hospital.error = None


def test_usage(hospital, capsys):
    "Wrong arguments are refused before anything is asked"
    for options in [
            ['--timeout', '0'], ['--watch', '-1'], ['--watch', 'x'],
            ['--nonsense'], ['-H', 'pacs.example.org']]:
        with pytest.raises(SystemExit) as raised:
            run(*options)
        assert raised.value.code == 2
    assert not hospital.created


def test_arguments_of_gnu_health_5(hospital):
    "The arguments of GNU Health 5.0 still work"
    args = script.parse_args([
            '--hostname', 'localhost', '--port', '8000', '--database',
            'health', '--user', 'admin', '--passwd', 'x'])
    assert (args.host, args.database, args.password) == (
        'localhost', 'health', 'x')


def test_watch(hospital, capsys, monkeypatch):
    "With --watch failures are reported, and the next run follows"
    waits = []

    class Event:
        def is_set(self):
            return len(waits) == 3

        def set(self):
            pass

        def wait(self, seconds):
            waits.append(seconds)
            hospital.error = ConnectionRefusedError() if len(
                waits) == 1 else None

    monkeypatch.setattr(script.threading, 'Event', Event)
    monkeypatch.setattr(script.signal, 'signal', lambda *args: None)
    assert run('--watch', '60') == script.OK
    assert waits == [60] * 3
    assert len(hospital.created) == 4
    assert 'no connection' in capsys.readouterr().err


def test_configuration(hospital):
    "Without arguments the configuration is read"
    args = script.parse_args([])
    assert (args.database, args.port) == ('health', 8123)
    assert run() == script.OK
    assert run('-d', 'other', '--password', 'x') == script.OK
