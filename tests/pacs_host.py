# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the PACS host's scripts need: a GNU Health that answers
what it is told, and items as the templates render them."""
import base64
import datetime as dt
import hashlib
import json
import os
import ssl
import subprocess
import sys
import threading
import xmlrpc.client
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from trytond.modules.health_imaging_worklist import dataset
from trytond.modules.health_imaging_worklist.sandbox import Trusted
from trytond.modules.health_imaging_worklist.tests.test_dataset import render

SCRIPTS = (
    Path(__file__).resolve().parents[1] / 'his-utils' / 'scripts' / 'imaging')
UPDATER = SCRIPTS / 'update_worklists_database.py'
PASSWORD = 'very secret'
MODEL = 'model.gnuhealth.imaging.test.request.'


def make_item(number, template_type='dump2dcm', charset='ISO_IR 192',
        key=None, **values):
    "What GNU Health answers for a request"
    values.setdefault('StudyInstanceUID', f'2.25.{number}')
    text = render(
        template_type, SpecificCharacterSet=Trusted(charset), **values)
    item = {
        'key': key or str(number),
        'id': number,
        'line': f'{number:03d}-01',
        'station': 'CT1',
        'uid': values['StudyInstanceUID'],
        'type': template_type,
        'charset': charset,
        'text': text,
        'dataset': dataset.to_json(dataset.parse(text, template_type)[0]),
        'errors': [],
        'warnings': [],
        }
    return with_version(item)


def make_items(count, template_type='json'):
    "Items that differ in id and UID, made of one"
    one = make_item(1, template_type, StudyInstanceUID='2.25.4711')
    for n in range(1, count + 1):
        changed = {
            name: one[name].replace('2.25.4711', f'2.25.{n}')
            for name in ('uid', 'text', 'dataset')}
        yield with_version(
            one, key=str(n), id=n, line=f'{n:03d}-01', **changed)


def with_version(item, **values):
    item = dict(item, **values)
    item.pop('version', None)
    item['version'] = hashlib.sha256(
        json.dumps(item, sort_keys=True).encode()).hexdigest()[:16]
    return item


class Worklist:
    """The methods of the request that the script calls.

    Attributes
    ----------
    items : list
        What is on the worklist.
    """

    def __init__(self, *items):
        self.items = list(items)
        self.noted = []
        self.asked = []
        self.done = []

    def worklist_state(self, host, digest, done=False):
        self.done.append(done)
        versions = {}
        for item in self.items:
            versions[item['id']] = versions.get(
                item['id'], '') + item['version']
        lines = [f'{id_} {version}' for id_, version in versions.items()]
        text = '\n'.join(lines)
        current = hashlib.sha256(text.encode()).hexdigest()
        return {
            'digest': current,
            'count': len(lines),
            'versions': None if digest == current else text,
            }

    def worklist_items_of(self, ids, done=False):
        self.asked.append(list(ids))
        versions = {}
        for item in self.items:
            versions[item['id']] = versions.get(
                item['id'], '') + item['version']
        return {'items': [
                dict(item, version=versions[item['id']])
                for item in self.items if item['id'] in set(ids)]}

    def worklist_fetched(self, host, published, failed):
        self.noted.append((host, published, failed))


class GNUHealth:
    """An XML-RPC server with sessions, in a thread.

    Attributes
    ----------
    worklist : Worklist
    calls : list of str
        The methods that were called, in order.
    sessions : set
        Those that are open; clear it and they have ended.
    """

    def __init__(self, worklist=None, certificate=None):
        self.worklist = worklist or Worklist()
        self.calls = []
        self.sessions = set()
        self._count = 0
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'

            def do_POST(self):
                body = self.rfile.read(int(self.headers['Content-Length']))
                status, answer = owner._answer(self.headers, body)
                self.send_response(status)
                self.send_header('Content-Type', 'text/xml')
                self.send_header('Content-Length', str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *args):
                pass

        self._server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self._server.daemon_threads = True
        # those who refuse the certificate
        self._server.handle_error = lambda *args: None
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True,
                do_handshake_on_connect=False)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exception):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _answer(self, headers, body):
        params, method = xmlrpc.client.loads(body, use_builtin_types=True)
        self.calls.append(method)
        if method == 'common.db.login':
            if params[1].get('password') != PASSWORD:
                return 401, b''
            self._count += 1
            session = f'session{self._count}'
            self.sessions.add(session)
            return self._pack([1, session])
        kind, _, token = headers.get('Authorization', '').partition(' ')
        session = base64.b64decode(token).decode().rpartition(':')[2]
        if kind != 'Session' or session not in self.sessions:
            return 401, b''
        if method == 'common.db.logout':
            self.sessions.discard(session)
            return self._pack(None)
        if method == 'model.res.user.get_preferences':
            return self._pack({'language': 'en'})
        try:
            function = getattr(self.worklist, method[len(MODEL):])
            return self._pack(function(*params[:-1]))
        except xmlrpc.client.Fault as fault:
            return 200, xmlrpc.client.dumps(fault).encode()

    def _pack(self, value):
        return 200, xmlrpc.client.dumps(
            (value,), methodresponse=True, allow_none=True).encode()

    def arguments(self, folder, *options):
        "The command line that fills the folder"
        return [
            sys.executable, str(UPDATER), '-p', str(self.port),
            '-d', 'health', '-u', 'pacs', '-w', str(folder),
            *map(str, options)]

    def update(self, folder, *options, status=0, **environment):
        "Run the script once; return what it says"
        result = subprocess.run(
            self.arguments(folder, *options), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=120,
            env=environ(**environment))
        assert result.returncode == status, result.stderr
        assert PASSWORD not in result.stdout + result.stderr
        assert 'Traceback' not in result.stderr
        return result


def environ(**values):
    "An environment in which no other configuration is found"
    clean = {
        name: value for name, value in os.environ.items()
        if not name.startswith(('GNUHEALTH_', 'CREDENTIALS_'))}
    return {**clean, 'HOME': '/nowhere', 'GNUHEALTH_PASSWORD': PASSWORD,
        **values}


def make_certificate(path):
    "A certificate of 127.0.0.1 that only itself vouches for, and its key"
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "GNU Health")])
    now = dt.datetime.now(dt.timezone.utc)
    builder = x509.CertificateBuilder(
        subject_name=name, issuer_name=name, public_key=key.public_key(),
        serial_number=1, not_valid_before=now - dt.timedelta(1),
        not_valid_after=now + dt.timedelta(1))
    address = x509.IPAddress(ip_address('127.0.0.1'))
    builder = builder.add_extension(
        x509.SubjectAlternativeName([address]), False)
    builder = builder.add_extension(x509.BasicConstraints(True, None), True)
    certificate = builder.sign(key, hashes.SHA256())
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM))
    return path
