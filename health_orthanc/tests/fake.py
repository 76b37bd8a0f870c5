# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"A few resources of Orthanc's REST API, and what the tests store in them"
import datetime as dt
import json
from base64 import b64encode
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urlsplit

PNG = bytes.fromhex(
    '89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55'
    '0000000a49444154789c6360000000020001e221bc330000000049454e44ae426082')


class Server(ThreadingHTTPServer):

    def handle_error(self, request, client_address):
        "Say nothing of connections that the client broke off"


class Handler(BaseHTTPRequestHandler):

    protocol_version = 'HTTP/1.1'

    def do_GET(self):
        self.server.asked.append(('GET', self.path))
        if self.path in self.server.facts:
            self.answer(self.server.facts[self.path])
        elif self.path == '/tools/now':
            now = dt.datetime.now(dt.timezone.utc) + self.server.clock
            self.answer(now.strftime('%Y%m%dT%H%M%S').encode())
        elif urlsplit(self.path).path.endswith(('/preview', '/rendered')):
            if 'report' in self.path:
                self.answer({}, 415)
            else:
                self.answer(PNG)
        else:
            self.answer({}, 404)

    def do_POST(self):
        content = self.rfile.read(int(self.headers['Content-Length']))
        self.server.asked.append(('POST', self.path))
        if not content.startswith(b'DICM'):
            self.answer({}, 400)
        elif content in self.server.stored:
            self.answer({'Status': 'AlreadyStored'})
        else:
            self.server.stored.add(content)
            self.answer({'Status': 'Success'})

    def do_DELETE(self):
        self.server.asked.append(('DELETE', self.path))
        if self.server.read_only:
            self.answer({}, 403)
        else:
            self.answer({})

    def answer(self, value, status=200):
        expected = b64encode(
            ':'.join(self.server.credentials).encode()).decode()
        if self.headers.get('Authorization') != f'Basic {expected}':
            value, status = {}, 401
        content = (
            value if isinstance(value, bytes) else json.dumps(value).encode())
        self.send_response(status)
        self.send_header('Content-Length', str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args):
        pass


@contextmanager
def fake_orthanc(tls=None):
    """Serve on a free port, by TLS if an SSL context is given.

    What it answers are its facts; credentials, clock (its difference) and
    read_only may be changed, asked and stored tell what came.
    """
    server = Server(('127.0.0.1', 0), Handler)
    server.url = f'http://127.0.0.1:{server.server_port}'
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        server.url = f'https://127.0.0.1:{server.server_port}'
    server.facts = {
        '/system': {'Name': "Test", 'Version': '1.10.1'},
        '/statistics': {'CountStudies': 3, 'CountInstances': 7},
        '/plugins': ['dicom-web', 'explorer.js'],
        '/studies': [],
        }
    server.clock = dt.timedelta()
    server.credentials = 'ana', 'a-test-password'
    server.asked, server.stored, server.read_only = [], set(), False
    thread = Thread(target=server.serve_forever, args=(.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
