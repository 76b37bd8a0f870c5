# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs of the demo: they remove only their own, run only once, and
say in a sentence what is wrong."""
import io
import os
import socket
import stat
import sys
import threading
from concurrent import futures

import pytest

from demo import installation, web
from demo.process import (
    Service, ServiceError, ServiceTimeout, free_port, port_is_busy,
    wait_until, write_private)
from demo.state import State, port_of
from demo.steps import Programs, Report, StepError
from demo.table import table, width


class Sleeper(Service):
    name = 'sleeper'
    program = "import time; time.sleep(60)"

    def command(self):
        return [sys.executable, '-c', self.program]


def test_state_is_private(tmp_path):
    state = State(tmp_path / 'state')
    state.make()
    secrets = state.secrets()
    assert secrets == state.secrets()
    assert stat.S_IMODE(state.root.stat().st_mode) == 0o700
    assert stat.S_IMODE(state.secrets_file.stat().st_mode) == 0o600


def test_foreign_folder_is_kept(tmp_path):
    (tmp_path / 'letter').write_text("mine")
    state = State(tmp_path)
    with pytest.raises(StepError, match="not a demo's folder"):
        state.make()
    with pytest.raises(StepError, match="nothing is removed"):
        state.remove()
    assert (tmp_path / 'letter').read_text() == "mine"


def test_own_folder_is_removed(tmp_path):
    state = State(tmp_path / 'state')
    state.make()
    assert state.remove()
    assert not state.root.exists()
    assert not state.remove()


def test_folder_removed_while_waiting_for_it(tmp_path):
    state, waiter = State(tmp_path / 'state'), State(tmp_path / 'state')
    waits = threading.Event()
    report = Report(io.StringIO())
    report.line = lambda text: waits.set()

    def wait():
        with waiter.lock(report):
            return waiter.is_ours()

    with futures.ThreadPoolExecutor() as pool:
        with state.lock(Report()):
            result = pool.submit(wait)
            assert waits.wait(10)
            state.remove()
        assert result.result(10)


@pytest.mark.parametrize('text', ['http', '0', '65536', '-1'])
def test_port_that_is_none(monkeypatch, text):
    monkeypatch.setenv('TRYTON_PORT', text)
    with pytest.raises(StepError, match='TRYTON_PORT'):
        port_of('TRYTON_PORT')


def test_busy_port():
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        listener.listen()
        assert port_is_busy(listener.getsockname()[1])
    assert not port_is_busy(free_port())


def test_service_starts_once_and_stops(tmp_path):
    with Sleeper(tmp_path / 'run') as service:
        pid = service.pid
        # another process finds it by its pid file
        other = Sleeper(tmp_path / 'run')
        assert other.start().pid == pid
    assert not other.running


def test_service_does_not_stop_a_stranger(tmp_path):
    "A process id that another program got meanwhile"
    service = Sleeper(tmp_path)
    service.pid_path.write_text(f'{os.getpid()} 1\n')
    assert not service.running
    service.stop()


def test_service_that_ends_at_once(tmp_path):
    service = Sleeper(tmp_path / 'run')
    service.program = "print('no such database'); raise SystemExit(1)"
    service.ready = lambda: False
    with pytest.raises(ServiceError, match="no such database"):
        service.start()


def test_wait_has_a_limit():
    with pytest.raises(ServiceTimeout, match="The study arrives"):
        wait_until(lambda: False, .2, "The study arrives", pause=.05)


def test_private_file(tmp_path):
    path = write_private(tmp_path / 'folder' / 'secret', "word")
    assert path.read_text() == "word"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_npm_says_what_is_wrong(tmp_path, monkeypatch):
    monkeypatch.setenv(
        'npm_config_registry', f'http://127.0.0.1:{free_port()}')
    monkeypatch.setenv('npm_config_cache', str(tmp_path / 'cache'))
    monkeypatch.setenv('npm_config_fetch_retries', '0')
    with pytest.raises(StepError, match="is the network there") as raised:
        web.fetch(['mousetrap'], tmp_path, web.npm_command(State()),
            Programs(tmp_path), 'npm')
    assert str(tmp_path / 'npm.log') in str(raised.value)
    assert 'ECONNREFUSED' in (tmp_path / 'npm.log').read_text()


def test_npm_brings_something_else(tmp_path):
    version, _ = web.PACKAGES['mousetrap']
    (tmp_path / f'mousetrap-{version}.tgz').write_text("another one")
    with pytest.raises(StepError, match="checksum"):
        web.fetch(['mousetrap'], tmp_path, ['true'], Programs(tmp_path), 'npm')


@pytest.mark.parametrize('name', ['loop.py', 'loopback.lua', 'view/form.xml'])
def test_changed_source_is_noticed(tmp_path, monkeypatch, name):
    monkeypatch.setattr(installation, 'REPOSITORY', tmp_path)
    path = tmp_path / 'demo' / name
    path.parent.mkdir(parents=True)
    path.write_text("old")
    before = installation.source_stamp('demo')
    assert installation.source_stamp('demo') == before
    path.write_text("new")
    assert installation.source_stamp('demo') != before


def test_table_is_aligned_in_every_script():
    lines = table(["Name", "Link"], [
            ["Gómez", 'x'], ["ليلى", 'x'], ["林, 小雨", 'x'], ["สมชาย", 'x']])
    assert len({width(line[:-1]) for line in lines[2:]}) == 1
