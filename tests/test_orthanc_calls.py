# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"The scripts with which Orthanc says that something changed"
import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from demo.process import wait_until
from demo.services import PLUGIN_FOLDERS
from demo.state import REPOSITORY
from trytond.modules.health_orthanc.tests.orthanc import Orthanc, study

SCRIPTS = REPOSITORY / 'his-utils' / 'orthanc'
KEY = 'a-test-key'


@contextmanager
def listening(statuses=()):
    "An HTTP server that collects the calls; the first ones are refused"
    calls, refusals = [], list(statuses)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers['Content-Length']))
            calls.append((
                    self.path, self.headers['Authorization'],
                    json.loads(body)))
            self.send_response(refusals.pop(0) if refusals else 204)
            self.send_header('Content-Length', '0')
            self.end_headers()

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    thread = Thread(target=server.serve_forever, args=(.05,))
    thread.start()
    try:
        yield server.server_port, calls
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def lua():
    return {'LuaScripts': [str(SCRIPTS / 'gnuhealth.lua')]}


def python():
    plugin, = [
        path for folder in PLUGIN_FOLDERS
        for path in [Path(folder, 'libOrthancPython.so')] if path.exists()
        ][:1]
    return {
        'Plugins': [str(plugin)],
        'PythonScript': str(SCRIPTS / 'gnuhealth.py'),
        'PythonVerbose': False,
        }


@pytest.mark.parametrize('options', [lua, python])
def test_calls(options):
    "What is stored and what is deleted is told, with the key, and no more"
    with listening() as (port, calls), Orthanc(
            GnuHealth={
                'Url': f'http://127.0.0.1:{port}/health/health_orthanc/changed',
                'Key': KEY},
            **options()) as orthanc:
        orthanc.store(*study(1, 3))
        wait_until(lambda: calls, 20, "Orthanc tells what was stored")
        told = len(calls)
        assert told <= 3
        # A call stands for the second after it.
        wait_until(
            lambda: delete_one(orthanc) and len(calls) > told, 20,
            "Orthanc tells what was deleted", 1)
    assert set(map(str, calls)) == {str((
                '/health/health_orthanc/changed', f'Bearer {KEY}', {}))}


def delete_one(orthanc):
    with orthanc.client() as client:
        ids = client.ids('instance')
        return client.delete('instance', ids[0]) if ids else True


def test_python_repeats():
    "The Python script repeats a call that failed"
    with listening([503]) as (port, calls), Orthanc(
            GnuHealth={
                'Url': f'http://127.0.0.1:{port}/', 'Key': KEY},
            **python()) as orthanc:
        orthanc.store(*study())
        wait_until(
            lambda: len(calls) > 1, 20, "Orthanc tells it again")
