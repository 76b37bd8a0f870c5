# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"A proxy before a real Orthanc, which does what no Orthanc can be made to do"
import http.client
import json
import socket
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urlsplit


class Proxy(ThreadingHTTPServer):
    """Passes requests on, unless the fault answers them.

    Attributes
    ----------
    fault : function
        Called with the handler of each request; a true value means that it
        has answered. `handler.forward()` returns Orthanc's status and content.
    asked : int
        How many requests came.
    """
    daemon_threads = True

    def __init__(self, target):
        super().__init__(('127.0.0.1', 0), Handler)
        self.target = urlsplit(target).netloc
        self.url = f'http://127.0.0.1:{self.server_port}'
        self.fault = None
        self.asked = 0

    def handle_error(self, request, client_address):
        "Connections break off on purpose"


class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def handle_any(self):
        self.server.asked += 1
        self.body = self.rfile.read(
            int(self.headers.get('Content-Length') or 0))
        fault = self.server.fault
        if not (fault and fault(self)):
            status, content = self.forward()
            self.reply(content, status)

    do_GET = do_POST = do_DELETE = handle_any

    def forward(self):
        connection = http.client.HTTPConnection(self.server.target)
        try:
            connection.request(self.command, self.path, self.body, {
                    name: self.headers[name]
                    for name in ['Authorization', 'Content-Type']
                    if self.headers[name]})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def reply(self, content, status=200, headers=None, length=None):
        if not isinstance(content, bytes):
            content = json.dumps(content).encode()
        self.send_response(status)
        self.send_header(
            'Content-Length', str(len(content) if length is None else length))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()
        return True

    def hang_up(self):
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)
        return True

    def log_message(self, *args):
        pass


@contextmanager
def proxy(target):
    server = Proxy(target)
    thread = Thread(target=server.serve_forever, args=(.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
