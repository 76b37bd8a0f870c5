# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""update_worklists_database.py as a process: log-ins, secrets, terminals,
exit status, and what happens when it is killed."""
import ast
import contextlib
import json
import os
import pty
import random
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
from pacs_host import (
    PASSWORD, SCRIPTS, UPDATER, GNUHealth, Worklist, environ,
    make_certificate, make_item, make_items, with_version)

sys.path.insert(0, str(SCRIPTS))

import _connection  # noqa: E402
import update_worklists_database as script  # noqa: E402
from demo.modality import ask_worklist  # noqa: E402
from demo.process import (  # noqa: E402
    LOOPBACK, accepts, free_port, wait_until)
from demo.services import Orthanc  # noqa: E402

ASK = 'model.gnuhealth.imaging.test.request.worklist_state'
FETCH = 'model.gnuhealth.imaging.test.request.worklist_items_of'
NOTE = 'model.gnuhealth.imaging.test.request.worklist_fetched'
LOG_IN = ['common.db.login', 'model.res.user.get_preferences']
LOG_OUT = ['common.db.logout']
UNITS = SCRIPTS.parents[1] / 'systemd'
# More for a longer proof
KILLS = int(os.environ.get('TEST_KILLS', 20))


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / 'worklists'
    path.mkdir()
    return path


@pytest.fixture
def server():
    with GNUHealth(Worklist(make_item(1), make_item(2, 'json'))) as server:
        yield server


@contextlib.contextmanager
def running(command, **options):
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, text=True, errors='replace',
        **options)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def count(folder):
    return len(list(folder.glob('*.wl')))


def test_one_session(server, folder):
    "A run logs in and out once, whatever there is to fetch"
    server.update(folder)
    assert server.calls == LOG_IN + [ASK, FETCH, NOTE] + LOG_OUT
    server.calls.clear()
    server.update(folder)
    assert server.calls == LOG_IN + [ASK] + LOG_OUT
    assert not server.sessions


def test_watch(server, folder):
    "One session for many runs, a new one when it has ended, then the end"
    arguments = server.arguments(folder, '--watch', '.1')
    with running(
            arguments, env=environ(), stderr=subprocess.PIPE) as process:
        wait_until(lambda: count(folder) == 2, 20, "The files")
        server.worklist.items.append(make_item(3))
        wait_until(lambda: count(folder) == 3, 20, "The third")
        assert server.calls.count('common.db.login') == 1
        # another instance stays out, a look does not disturb
        server.update(folder, status=4)
        server.update(folder, '--dry-run')
        server.calls.clear()
        server.sessions.clear()
        server.worklist.items.append(make_item(4))
        wait_until(lambda: count(folder) == 4, 20, "The fourth")
        assert server.calls.count('common.db.login') == 1
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=20)
    assert process.returncode == 0
    assert not server.sessions
    # the runs without a change say nothing
    assert len(log.splitlines()) == 3


def test_watch_without_server(tmp_path, folder):
    "Reported, tried again with growing pauses, and then goes on"
    port = free_port()
    arguments = [
        sys.executable, str(UPDATER), '-p', str(port), '-d', 'x',
        '-w', str(folder), '-s', '.2', '--json']
    with running(
            arguments, env=environ(), stdout=subprocess.PIPE,
            stderr=subprocess.PIPE) as process:
        for wait in ('0.2', '0.4', '0.8'):
            assert json.loads(process.stdout.readline())['status'] == 3
            assert 'no connection' in process.stderr.readline()
            assert f'again in {wait} s' in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert process.returncode == 0


def test_arguments_of_gnuhealth_5(server, folder):
    arguments = [
        sys.executable, str(UPDATER), '--hostname', 'localhost',
        '--port', str(server.port), '--user', 'pacs', '--passwd', PASSWORD,
        '--database', 'health', '--worklists-db', str(folder),
        '--regenerate', '--handle-done-state', '--seconds', '0']
    short = [
        sys.executable, str(UPDATER), '-H', 'localhost',
        '-p', str(server.port), '-u', 'pacs', '-P', PASSWORD, '-d', 'health',
        '-w', str(folder), '-r', '-m', '-s', '0']
    for command in (arguments, short):
        result = subprocess.run(
            command, env=environ(), capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        assert 'other users of this host can see' in result.stderr
        assert '2 written' in result.stderr
    assert server.worklist.done == [True, True]


def test_help():
    result = subprocess.run(
        [sys.executable, str(UPDATER), '-h'], capture_output=True, text=True,
        env=environ(COLUMNS='80'))
    assert result.returncode == 0
    for text in ['GNU Health:', 'worklist:', 'run:', 'output:', 'examples:',
            'exit status:', 'password:']:
        assert '\n' + text in result.stdout
    assert all(len(line) < 80 for line in result.stdout.splitlines())


@pytest.mark.parametrize('options, message', [
        (['-H', '192.0.2.1'], '192.0.2.1 is another host'),
        (['--watch', '-1'], 'invalid'),
        (['-c', '/nowhere'], 'cannot read the configuration'),
        (['--password-file', '/nowhere'], 'cannot read the password file')])
def test_wrong_arguments(server, folder, options, message):
    assert message in server.update(folder, *options, status=2).stderr
    assert server.calls == []


def test_https(tmp_path, folder):
    certificate = make_certificate(tmp_path / 'server.pem')
    items = [make_item(1)]
    with GNUHealth(Worklist(*items), certificate) as server:
        options = ['-H', '127.0.0.1', '--https']
        result = server.update(folder, *options, status=3)
        assert 'CERTIFICATE_VERIFY_FAILED' in result.stderr
        # nor to somebody who speaks no TLS
        server.update(folder, '-H', '127.0.0.1', status=3)
        assert server.calls == []
        server.update(folder, *options, '--ca-file', certificate)
        assert count(folder) == 1
        # the certificate is of another name
        result = server.update(
            folder, '--ca-file', certificate, '-H', 'localhost', status=3)
        assert 'CERTIFICATE_VERIFY_FAILED' in result.stderr


def test_password_sources(tmp_path, monkeypatch, capsys):
    "The first that is there is taken"
    for name in environ():
        monkeypatch.setenv(name, environ()[name])
    monkeypatch.delenv('GNUHEALTH_PASSWORD')
    monkeypatch.setattr(sys, 'stdin', open(os.devnull))
    named, credential, configured = (
        tmp_path / name for name in ('named', 'gnuhealth-password', 'other'))
    named.write_text("named\nsecond line\n")
    credential.write_text("credential\n")
    configured.write_text("configured\n")
    config = tmp_path / 'config'
    config.write_text(f'[gnuhealth]\npassword_file = {configured}\n')

    def read(*options):
        args = script.parse_args(['-d', 'x', *map(str, options)])
        return _connection.read_password(args)

    with pytest.raises(_connection.UsageError, match='no password'):
        read()
    assert read('-c', config) == 'configured'
    monkeypatch.setenv('GNUHEALTH_IMAGING_CONFIG', str(config))
    assert read() == 'configured'
    monkeypatch.setenv('CREDENTIALS_DIRECTORY', '/nowhere')
    assert read() == 'configured'
    monkeypatch.setenv('CREDENTIALS_DIRECTORY', str(tmp_path))
    assert read() == 'credential'
    monkeypatch.setenv('GNUHEALTH_PASSWORD', 'environment')
    assert read('--password-file', named) == 'named'
    assert read() == 'environment'
    # the programs that are started get it no more
    assert 'GNUHEALTH_PASSWORD' not in os.environ
    assert capsys.readouterr().err == ''
    assert read('-P', 'given', '--password-file', named) == 'given'
    assert 'other users' in capsys.readouterr().err
    named.write_text('')
    with pytest.raises(_connection.UsageError, match='holds no password'):
        read('--password-file', named)


@pytest.mark.parametrize('text', [
        f'[gnuhealth]\npassword = {PASSWORD}\n', PASSWORD,
        f'[gnuhealth]\n{PASSWORD}\n', '[gnuhealth]\nport = x\n'])
def test_wrong_configuration(tmp_path, capsys, text):
    "It is not quoted"
    config = tmp_path / 'config'
    config.write_text(text)
    with pytest.raises(SystemExit) as caught:
        script.parse_args(['-d', 'x', '-c', str(config)])
    assert caught.value.code == 2
    assert PASSWORD not in capsys.readouterr().err


def test_wrong_password(server, folder):
    result = server.update(folder, status=3, GNUHEALTH_PASSWORD='wrong one')
    assert 'refuses this user or password' in result.stderr
    assert 'wrong one' not in result.stderr


def test_programs_see_no_secret(server, folder, tmp_path):
    "Neither the password nor a patient is in their arguments or environment"
    spy = tmp_path / 'bin' / 'dump2dcm'
    spy.parent.mkdir()
    spy.write_text(
        '#!/bin/sh\n(tr "\\0" "\\n" < /proc/self/environ; echo "$@") >> '
        f'{tmp_path}/seen\nexec /usr/bin/dump2dcm "$@"\n')
    spy.chmod(0o755)
    server.update(folder, PATH=f'{spy.parent}:{os.environ["PATH"]}')
    seen = (tmp_path / 'seen').read_text()
    assert '.gnuhealth-worklist-' in seen
    for secret in [PASSWORD, 'Betz', 'GNU777ORG']:
        assert secret not in seen


def test_terminal(server, folder):
    "It asks for the password and shows a bar"
    server.worklist.items = list(make_items(20))
    master, slave = pty.openpty()
    values = environ()
    del values['GNUHEALTH_PASSWORD']
    process = subprocess.Popen(
        server.arguments(folder), env=values, stdin=slave, stdout=slave,
        stderr=slave, start_new_session=True)
    os.close(slave)
    seen = b''
    try:
        # /dev/tty is none without a session of its own: the prompt is there
        while b'Password of pacs' not in seen:
            seen += os.read(master, 1000)
        time.sleep(.2)
        os.write(master, PASSWORD.encode() + b'\n')
        with contextlib.suppress(OSError):
            while chunk := os.read(master, 1000):
                seen += chunk
        assert process.wait(20) == 0, seen
    finally:
        process.kill()
        process.wait()
        os.close(master)
    assert b'20 of 20 requests' in seen
    assert PASSWORD.encode() not in seen


def test_pipe(server, folder):
    "No bar there; the summary is one line of JSON"
    server.worklist.items.append(with_version(make_item(3), text='garbage'))
    result = server.update(folder, '--json', status=1)
    assert '\r' not in result.stderr
    report, = map(json.loads, result.stdout.splitlines())
    assert report.pop('seconds') > 0
    assert report == {
        'status': 1, 'items': 3, 'written': 2, 'unchanged': 0, 'removed': 0,
        'held': 0, 'bad': ['003-01'], 'dropped': [], 'complete': True,
        'requests': 3, 'problems': [{
                'line': '003-01', 'reason': 'dump2dcm refuses its text'}]}


def test_exit_status(server, folder, tmp_path):
    server.worklist.items = list(make_items(25))
    server.update(folder)
    server.worklist.items = []
    result = server.update(folder, '--json', status=6)
    assert json.loads(result.stdout)['held'] == 25
    assert '--allow-empty' in result.stderr
    assert count(folder) == 25
    server.update(folder, '--allow-empty')
    assert count(folder) == 0
    result = server.update(tmp_path / 'missing', '--json', status=5)
    assert json.loads(result.stdout)['status'] == 5
    server.worklist.worklist_state = lambda *args: 'nonsense'
    assert 'no worklist' in server.update(folder, status=7).stderr


@pytest.mark.parametrize(
    'path', sorted(UNITS.glob('gnuhealth-worklist*.service')),
    ids=lambda path: path.stem)
def test_units(tmp_path, path):
    "They call the script as it wants to be called, with a secret of their own"
    text = path.read_text('utf-8')
    command = re.search(r'^ExecStart=((?:.*\\\n)*.*)$', text, re.M)[1]
    program, updater, *options = command.replace('\\\n', ' ').split()
    assert updater.endswith('/' + UPDATER.name)
    configuration = tmp_path / 'configuration'
    configuration.write_text('[gnuhealth]\ndatabase = health\n')
    args = script.parse_args([
            str(configuration) if option == '/etc/gnuhealth-imaging.conf'
            else option for option in options])
    assert f'ReadWritePaths={args.folder}\n' in text
    assert f'LoadCredential={_connection.CREDENTIAL}:' in text
    assert 'assword' not in ' '.join(options)


def test_syntax_of_python_310():
    for path in SCRIPTS.glob('*.py'):
        ast.parse(path.read_text('utf-8'), feature_version=(3, 10))


@contextlib.contextmanager
def wlmscpfs(folder):
    "The script that serves a folder for tests; yields its port and output"
    port = free_port()
    with running(
            [str(SCRIPTS / 'worklists_service_demo.sh'), '-w', str(folder),
                '-p', str(port)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True) as process:
        output = []
        reader = threading.Thread(
            target=lambda: output.extend(process.stdout))
        reader.start()
        try:
            wait_until(lambda: accepts(port), 20, "wlmscpfs")
            yield port, output
        finally:
            process.terminate()
            process.wait(20)
            reader.join(20)


def test_service_demo(server, folder):
    "It serves the folder, says what is asked, and leaves no trace"
    server.update(folder)
    before = set(os.listdir(folder))
    with wlmscpfs(folder) as (port, output):
        subprocess.run(
            ['findscu', '-W', '-aec', 'WORKLIST', '-k', 'PatientName=Betz*',
                '-k', '(0040,0100)[0].Modality=CT', LOOPBACK, str(port)],
            check=True, capture_output=True)
        items = ask_worklist(LOOPBACK, port, 'CT1', called='WORKLIST')
        assert {i.StudyInstanceUID for i in items} == {'2.25.1', '2.25.2'}
    text = ''.join(output)
    assert 'serves 2 entries as WORKLIST' in text
    assert 'FINDSCU -> WORKLIST' in text
    assert '(0010,0010) PN [Betz*' in text
    assert '(0008,0060) CS [CT]' in text
    assert set(os.listdir(folder)) == before
    # one that was there stays
    (folder / 'lockfile').touch()
    with wlmscpfs(folder):
        pass
    assert (folder / 'lockfile').exists()


class Patient(threading.Thread):
    """Asks a worklist server again and again for those who must be there.

    Attributes
    ----------
    missed : list
        What an answer lacked.
    """

    def __init__(self, name, port, called, expected):
        super().__init__()
        self.name = name
        self.port = port
        self.called = called
        self.expected = expected
        self.ended = threading.Event()
        self.answers = 0
        self.missed = []

    def run(self):
        while not self.ended.is_set():
            try:
                items = ask_worklist(
                    LOOPBACK, self.port, 'CT1', called=self.called)
            except Exception as error:
                self.missed.append(error)
                return
            missing = self.expected - {
                str(item.StudyInstanceUID) for item in items}
            if missing:
                self.missed.append(missing)
            self.answers += 1


def test_killed(folder, tmp_path):
    """kill -9 at any moment, while half of the worklist changes: no answer
    of Orthanc or wlmscpfs lacks a patient who is published"""
    worklist = Worklist()
    stay = [make_item(n, 'json' if n % 2 else 'dump2dcm')
        for n in range(1, 21)]
    expected = {item['uid'] for item in stay}
    come_and_go = list(make_items(140))[100:]
    chance = random.Random(KILLS)

    def change(turn):
        worklist.items = [
            make_item(item['id'], item['type'], PatientName=f'Name^{turn}')
            if chance.random() < .5 else item for item in stay] + [
                item for item in come_and_go if chance.random() < .5]

    fetched = threading.Event()
    real = worklist.worklist_items_of

    def items_of(ids, done=False):
        fetched.set()
        return real(ids)

    worklist.worklist_items_of = items_of
    worklist.items = list(stay)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(GNUHealth(worklist))
        server.update(folder)
        orthanc = stack.enter_context(Orthanc(
                tmp_path / 'orthanc', free_port(), free_port(), 'test',
                PASSWORD, folder))
        port, _ = stack.enter_context(wlmscpfs(folder))
        clients = [
            Patient('Orthanc', orthanc.dicom_port, 'ORTHANC', expected),
            Patient('wlmscpfs', port, 'WORKLIST', expected)]
        killed = 0
        for client in clients:
            client.start()
        try:
            for turn in range(10 * KILLS):
                if killed == KILLS:
                    break
                change(turn)
                fetched.clear()
                with running(
                        server.arguments(folder), env=environ(),
                        stderr=subprocess.DEVNULL) as process:
                    assert fetched.wait(30)
                    time.sleep(chance.random() * .25)
                    killed += process.poll() is None
        finally:
            for client in clients:
                client.ended.set()
            for client in clients:
                client.join()
        assert killed == KILLS
        for client in clients:
            assert client.missed == []
            assert client.answers >= KILLS
        # the next run puts everything in order
        server.update(folder)
        assert {path.stem for path in folder.glob('*.wl')} == {
            item['uid'] for item in worklist.items}
        assert not list(folder.glob('.*.tmp'))
        items = ask_worklist(
            LOOPBACK, orthanc.dicom_port, 'CT1')
        names = {i.StudyInstanceUID: str(i.PatientName) for i in items}
        for item in worklist.items:
            assert f"[{names[item['uid']].rstrip('^')}" in item['text'] or (
                f"\"{names[item['uid']].rstrip('^')}" in item['text'])


def test_endless_answer(server, folder, monkeypatch):
    "What is larger than any answer is not read to its end"
    monkeypatch.setattr(_connection, 'MAX_ANSWER', 100_000)
    args = script.parse_args([
            '-H', '127.0.0.1', '-p', str(server.port), '-d', 'health',
            '-w', str(folder)])
    answer = server._answer
    with _connection.Connection(args, PASSWORD) as connection:
        body = b'<?xml version="1.0"?>' + b' ' * 10_000_000
        monkeypatch.setattr(server, '_answer', lambda *_: (200, body))
        with pytest.raises(_connection.AnswerTooLarge) as caught:
            connection.call('res.user', 'read', [1])
        assert 'larger' in _connection.explain(caught.value)
        monkeypatch.setattr(server, '_answer', answer)
