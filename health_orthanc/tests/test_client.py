# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import json
import socket
import threading
import time
import unittest
from base64 import b64decode
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from trytond.modules.health_orthanc import client as client_module
from trytond.modules.health_orthanc.client import (
    BadAnswer, Closed, Conflict, Full, NoTLS, NotFound, NotPermitted,
    OrthancClient, OrthancError, Refused, ServerFailure, Timeout, TooLarge,
    UnknownHost, Unreachable)

SECRET = 's3cret-Ωß'


class FaultServer(ThreadingHTTPServer):
    "An HTTP server that behaves as it is told to"
    daemon_threads = True

    def __init__(self, answer):
        super().__init__(('127.0.0.1', 0), Handler)
        self.answer = answer
        self.seen = []
        self.connections = 0

    def get_request(self):
        self.connections += 1
        return super().get_request()

    def handle_error(self, request, client_address):
        "The client hangs up on purpose"

    @property
    def url(self):
        return 'http://127.0.0.1:%d' % self.server_address[1]


class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def handle_any(self):
        length = int(self.headers.get('Content-Length') or 0)
        self.body = self.rfile.read(length)
        self.server.seen.append((self.command, self.path))
        self.server.answer(self)

    do_GET = do_POST = do_DELETE = handle_any

    def log_message(self, *args):
        pass

    def reply(self, body=b'{}', status=200, headers=None):
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header('Content-Length', str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def hang_up(self):
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def serving(answer, **kwargs):
    server = FaultServer(answer)
    thread = threading.Thread(
        target=server.serve_forever, kwargs={'poll_interval': .01})
    thread.start()
    try:
        with OrthancClient(
                server.url, 'user', SECRET, connect_timeout=1,
                read_timeout=.5, **kwargs) as client:
            client.server = server
            yield client
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class ClientTestCase(unittest.TestCase):
    "Test Orthanc's client against a server full of faults"

    def assertNoSecret(self, error):
        seen = set()
        while error is not None and id(error) not in seen:
            seen.add(id(error))
            self.assertNotIn(SECRET, repr(error))
            self.assertNotIn('user', repr(error))
            error = error.__cause__

    def test_status(self):
        "Test the error of each status"
        for status, error in [
                (400, BadAnswer), (401, Refused), (403, NotPermitted),
                (404, NotFound), (405, BadAnswer), (409, Conflict),
                (413, TooLarge), (500, ServerFailure), (507, Full)]:
            with self.subTest(status=status), serving(
                    lambda h: h.reply(status=status)) as client:
                with self.assertRaises(error) as raised:
                    client.system()
                self.assertIs(type(raised.exception), error)
                self.assertEqual(raised.exception.status, status)
                self.assertNoSecret(raised.exception)
                self.assertEqual(len(client.server.seen), 1)

    def test_redirect(self):
        "Test that no redirect is followed"
        for status in [301, 302, 303, 307, 308]:
            with self.subTest(status=status), serving(
                    lambda h: h.reply(
                        status=status,
                        headers={'Location': '/system'})) as client:
                with self.assertRaises(BadAnswer):
                    client.system()
                self.assertEqual(len(client.server.seen), 1)

    def test_garbage(self):
        "Test answers that are no JSON, or not what was asked for"
        for body in [
                b'', b'<html>', b'\xff\xfe', b'[', b'nan?', b'[' * 100000,
                b'[1, 2]', b'"text"', b'null', b'true']:
            with self.subTest(body=body[:10]), serving(
                    lambda h: h.reply(body)) as client:
                for call in [
                        client.system, client.statistics, client.last_change,
                        client.changes]:
                    with self.assertRaises(BadAnswer):
                        call()

    def test_wrong_lists(self):
        "Test lists that hold something else"
        with serving(lambda h: h.reply([1, None, {}, 'a', ''])) as client:
            self.assertEqual(client.ids('study'), ['a'])
            self.assertEqual(client.plugins(), ['a', ''])
            self.assertEqual(client.bulk_content(['x']), [{}])
        for changes in [
                {'Changes': [{'Seq': 'x'}], 'Last': 1, 'Done': True},
                {'Changes': [1], 'Last': 1, 'Done': True},
                {'Changes': None, 'Last': 1, 'Done': True},
                {'Changes': [], 'Last': True, 'Done': True},
                {}]:
            with self.subTest(changes=changes), serving(
                    lambda h: h.reply(changes)) as client:
                with self.assertRaises(BadAnswer):
                    client.changes()

    def test_unreachable(self):
        "Test that nobody answers at the address"
        with socket.socket() as unused:
            unused.bind(('127.0.0.1', 0))
            port = unused.getsockname()[1]
            client = OrthancClient('http://127.0.0.1:%d' % port)
            with self.assertRaises(Closed):
                client.system()

    def test_unknown_host(self):
        "Test a host that does not exist"
        with self.assertRaises(UnknownHost):
            OrthancClient('http://pacs.invalid').system()

    def test_connect_timeout(self):
        "Test a server that takes no connection"
        with socket.socket() as deaf:
            deaf.bind(('127.0.0.1', 0))
            deaf.listen(0)
            port = deaf.getsockname()[1]
            others = []
            try:
                for _ in range(4):
                    other = socket.socket()
                    other.setblocking(False)
                    other.connect_ex(('127.0.0.1', port))
                    others.append(other)
                client = OrthancClient(
                    'http://127.0.0.1:%d' % port, connect_timeout=.3,
                    read_timeout=.3)
                start = time.monotonic()
                with self.assertRaises(Unreachable):
                    client.system()
                self.assertLess(time.monotonic() - start, 2)
            finally:
                for other in others:
                    other.close()

    def test_read_timeout(self):
        "Test a server that says nothing"
        done = threading.Event()

        with serving(lambda h: done.wait(5)) as client:
            with self.assertRaises(Timeout) as raised:
                client.system()
            self.assertNoSecret(raised.exception)
            done.set()
            self.assertEqual(len(client.server.seen), 1)

    def test_stalled_answer(self):
        "Test an answer that stops in the middle"
        done = threading.Event()

        def stall(handler):
            handler.send_response(200)
            handler.send_header('Content-Length', '100')
            handler.end_headers()
            handler.wfile.write(b'{')
            done.wait(5)

        with serving(stall) as client:
            with self.assertRaises(Timeout):
                client.system()
            done.set()

    def test_dripping_answer(self):
        "Test an answer that comes byte by byte without end"
        done = threading.Event()

        def drip(handler):
            handler.send_response(200)
            handler.end_headers()
            while not done.wait(.02):
                handler.wfile.write(b' ')
                handler.wfile.flush()

        with serving(drip) as client:
            client.read_timeout = .1
            start = time.monotonic()
            with self.assertRaises(Timeout):
                client.system()
            self.assertLess(time.monotonic() - start, 3)
            done.set()

    def test_half_an_answer(self):
        "Test that an answer that breaks off is asked for again"
        answers = iter([True, False])

        def answer(handler):
            if next(answers):
                handler.send_response(200)
                handler.send_header('Content-Length', '100')
                handler.end_headers()
                handler.wfile.write(b'{"Version": ')
                handler.hang_up()
            else:
                handler.reply({'Version': '1'})

        with serving(answer) as client:
            self.assertEqual(client.system(), {'Version': '1'})
            self.assertEqual(len(client.server.seen), 2)

    def test_lost_connection(self):
        "Test that only what may be repeated is repeated"
        with serving(lambda h: h.hang_up()) as client:
            for call, times in [
                    (client.system, client_module.RETRIES + 1),
                    (lambda: client.bulk_content(['x']),
                        client_module.RETRIES + 1),
                    (lambda: client.delete('study', 'x'),
                        client_module.RETRIES + 1),
                    (lambda: client.store(b'x'), 1)]:
                del client.server.seen[:]
                with self.assertRaises(Unreachable) as raised:
                    call()
                self.assertNoSecret(raised.exception)
                self.assertEqual(len(client.server.seen), times)

    def test_busy(self):
        "Test that a busy server is asked again"
        statuses = iter([503, 502, 200])
        with serving(lambda h: h.reply(status=next(statuses))) as client:
            self.assertEqual(client.system(), {})

    def test_too_large(self):
        "Test answers above the limit, announced or not"
        size = 5000

        def unannounced(handler):
            handler.send_response(200)
            handler.end_headers()
            handler.wfile.write(b' ' * size)
            handler.hang_up()

        for answer in [lambda h: h.reply(b' ' * size), unannounced]:
            with serving(answer) as client:
                with self.assertRaises(TooLarge):
                    client._call('GET', '/', limit=1000)

    def test_no_http(self):
        "Test something that does not speak HTTP"
        def answer(handler):
            handler.wfile.write(b'SSH-2.0-x\r\n\r\n')
            handler.hang_up()

        with serving(answer) as client:
            with self.assertRaises(OrthancError) as raised:
                client.system()
            self.assertNoSecret(raised.exception)

    def test_certificate(self):
        "Test TLS with a server that has none"
        with serving(lambda h: h.reply()) as client:
            address = client.url.replace('http:', 'https:')
            with OrthancClient(address, read_timeout=1) as secure:
                with self.assertRaises(NoTLS):
                    secure.system()

    def test_address(self):
        "Test addresses"
        for url in ['', 'pacs', 'ftp://pacs', 'file:///etc/passwd',
                'http://', 'http:///x', 'http://user:pass@pacs',
                'http://user@pacs', 'http://pacs:99999', 'http://[pacs']:
            with self.subTest(url=url), self.assertRaises(BadAnswer):
                OrthancClient(url)
        client = OrthancClient('http://pacs:8042/orthanc/?q#f')
        self.assertEqual(client.url, 'http://pacs:8042/orthanc')
        self.assertEqual(
            OrthancClient('http://[::1]:8042').url, 'http://[::1]:8042')

    def test_authentication(self):
        "Test that the credentials are sent, in UTF-8"
        headers = []

        def answer(handler):
            headers.append(dict(handler.headers))
            handler.reply()

        with serving(answer) as client:
            client.system()
        self.assertEqual(
            b64decode(headers[0]['Authorization'].removeprefix('Basic ')),
            f'user:{SECRET}'.encode())
        self.assertEqual(headers[0]['Accept-Encoding'], 'identity')

    def test_one_connection(self):
        "Test that a connection is used again"
        with serving(lambda h: h.reply({'Changes': [], 'Last': 1})) as client:
            for _ in range(5):
                client.last_change()
            self.assertEqual(client.server.connections, 1)

    def test_delete(self):
        "Test that deleting what is gone is no error"
        with serving(lambda h: h.reply(status=404)) as client:
            self.assertFalse(client.delete('series', 'a/../b'))
            self.assertEqual(
                client.server.seen, [('DELETE', '/series/a%2F..%2Fb')])
        with serving(lambda h: h.reply()) as client:
            self.assertTrue(client.delete('study', 'x'))

    def test_store(self):
        "Test the answers to one file and to an archive"
        for body, expected in [
                ({'ID': 'a'}, [{'ID': 'a'}]),
                ([{'ID': 'a'}, {'ID': 'b'}], [{'ID': 'a'}, {'ID': 'b'}])]:
            with serving(lambda h: h.reply(body)) as client:
                self.assertEqual(client.store(b'DICM'), expected)

    def test_preview(self):
        "Test the address of a preview"
        with serving(lambda h: h.reply(b'\x89PNG')) as client:
            self.assertEqual(client.preview('a-b'), b'\x89PNG')
            client.preview('a/b', 3)
            self.assertEqual([path for _, path in client.server.seen], [
                    '/instances/a-b/preview',
                    '/instances/a%2Fb/frames/3/preview'])

    def test_bulk_pieces(self):
        "Test that long lists are asked for in pieces"
        bodies = []

        def answer(handler):
            bodies.append(json.loads(handler.body))
            handler.reply([{'ID': i} for i in bodies[-1]['Resources']])

        ids = ['id-%d' % i for i in range(client_module.BULK + 5)]
        with serving(answer) as client:
            found = client.bulk_content(ids, 'series')
            self.assertEqual([r['ID'] for r in found], ids)
            self.assertEqual(client.bulk_content([]), [])
        self.assertEqual(
            [len(b['Resources']) for b in bodies], [client_module.BULK, 5])
        self.assertEqual(bodies[0]['Level'], 'Series')

    def test_parameters(self):
        "Test the parameters of the log of changes and of lists"
        with serving(lambda h: h.reply({
                        'Changes': [], 'Last': 3, 'Done': True})) as client:
            client.last_change()
            self.assertEqual(client.changes(2, 10), ([], 3, True))
            queries = [urlsplit(p).query for _, p in client.server.seen]
            self.assertEqual(queries, ['last=', 'since=2&limit=10'])
