# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import io
import stat
import tempfile
import unittest
from argparse import Namespace
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

from sql import Table

from trytond.config import config
from trytond.modules.health_orthanc import keys
from trytond.modules.health_orthanc.rows import forget
from trytond.modules.health_orthanc.secrets import (
    SecretError, Vault, add_key, new_key, read_keys)
from trytond.pool import Pool
from trytond.tests.test_tryton import activate_module, with_transaction
from trytond.transaction import Transaction

from .tools import ImagingMixin

PASSWORD = 'a-test-password'


@contextmanager
def configured(**values):
    "Keys in the configuration"
    config.add_section('health_orthanc')
    for name, value in values.items():
        config.set('health_orthanc', name, str(value))
    try:
        yield
    finally:
        config.remove_section('health_orthanc')


class KeysTestCase(ImagingMixin, unittest.TestCase):
    "Test the keys of secrets and the program that changes them"

    @classmethod
    def setUpClass(cls):
        activate_module(['health_orthanc', 'health_imaging_worklist'])

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name, 'keys')

    def run_program(self, command, **arguments):
        "Return exit status and output"
        output = io.StringIO()

        def each(databases, do):
            do(Pool().get('gnuhealth.orthanc.config'))

        with patch.object(keys, '_each', each), \
                redirect_stdout(output), redirect_stderr(output):
            status = keys.run(Namespace(
                    command=command, databases=['here'], **arguments))
        self.assertNotIn(PASSWORD, output.getvalue())
        return status, output.getvalue()

    def test_file(self):
        "A new key is the first one of a file that others cannot read"
        add_key(self.path)
        first = read_keys(self.path).split()
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)
        self.path.write_text(
            "# old ones\n" + self.path.read_text() + "\n# end\n")
        add_key(self.path)
        both = read_keys(self.path).split()
        self.assertEqual(both[1:], first)
        self.assertNotEqual(both[0], first[0])
        self.path.chmod(0o640)
        add_key(self.path)
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o640)
        self.assertEqual(list(self.path.parent.iterdir()), [self.path])
        for content in [None, 'é', 'short']:
            with self.subTest(content=content), \
                    self.assertRaises(SecretError):
                self.path.unlink(missing_ok=True)
                if content:
                    self.path.write_text(content, 'utf-8')
                Vault(read_keys(self.path))

    def test_states(self):
        "How a secret is stored"
        old, new = new_key(), new_key()
        stored = Vault(old).encrypt(PASSWORD)
        for keys_, value, state in [
                (old, None, 'none'), (old, 'plain:x', 'clear'),
                (old, stored, 'encrypted'), (f'{new} {old}', stored, 'old'),
                (new, stored, 'lost'), (None, stored, 'lost'),
                (old, 'fernet:', 'lost'), (old, 'x', 'lost')]:
            with self.subTest(state=state, value=value):
                self.assertEqual(Vault(keys_).state(value), state)

    @with_transaction()
    def test_rotate(self):
        "From clear to one key, to the next, without the first"
        server = self.server()
        Server = Pool().get('gnuhealth.orthanc.config')
        status, output = self.run_program('encrypt')
        self.assertEqual(status, 2)
        self.assertIn("No key", output)
        with configured(encryption_keys_file=self.path):
            status, output = self.run_program('check')
            self.assertEqual(status, 1)
            self.assertEqual(
                self.run_program('make', file=str(self.path))[0], 0)
            status, output = self.run_program('check')
            self.assertEqual(status, 1)
            self.assertIn("1 in clear", output)
            status, output = self.run_program('encrypt')
            self.assertEqual(status, 0)
            self.assertIn("1 encrypted with the first key", output)
            self.assertNotIn(PASSWORD, self.secret(server))
            self.assertEqual(server._get_secret(), PASSWORD)
            Server.write([server], {'viewer_token': True})
            viewer_secret = server._get_secret('viewer_secret')
            status, output = self.run_program('rotate')
            self.assertEqual(status, 0)
            self.assertIn("2 encrypted with the first key", output)
            self.assertEqual(
                server._get_secret('viewer_secret'), viewer_secret)
            newest = self.path.read_text().splitlines()[0]
            self.path.write_text(newest)
            self.assertEqual(server._get_secret(), PASSWORD)
            self.path.write_text(new_key())
            status, output = self.run_program('check')
            self.assertEqual(status, 1)
            self.assertIn("2 encrypted with a key that is not", output)
            self.assertEqual(self.run_program('encrypt')[0], 1)
        with configured(encryption_keys=newest):
            self.assertEqual(server._get_secret(), PASSWORD)
            status, output = self.run_program('rotate')
            self.assertEqual(status, 2)
            self.assertIn("encryption_keys_file", output)

    @with_transaction()
    def test_update(self):
        "An update encrypts what was stored before there was a key"
        Server = Pool().get('gnuhealth.orthanc.config')
        server = self.server()
        with configured(encryption_keys=new_key()):
            Server.__register__('health_orthanc')
            self.assertNotIn(PASSWORD, self.secret(server))
            self.assertEqual(server._get_secret(), PASSWORD)

    @with_transaction()
    def test_upgrade(self):
        "A password of GNU Health 5.0 is encrypted, and its column gone"
        Server = Pool().get('gnuhealth.orthanc.config')
        server = self.server(password=None)
        table_h = Server.__table_handler__('health_orthanc')
        table_h.add_column('password', 'VARCHAR')
        table = Table(Server._table)
        Transaction().connection.cursor().execute(*table.update(
                [table.password], [PASSWORD], where=table.id == server.id))
        with configured(encryption_keys=new_key()):
            Server.__register__('health_orthanc')
            self.assertTrue(self.secret(server).startswith('fernet:'))
            self.assertEqual(server._get_secret(), PASSWORD)
        table_h = Server.__table_handler__('health_orthanc')
        self.assertFalse(table_h.column_exist('password'))

    @with_transaction()
    def test_urls(self):
        "User and password in a URL of GNU Health 5.0 leave it"
        Server = Pool().get('gnuhealth.orthanc.config')
        own = self.server('http://a.example.org')
        none = self.server(
            'http://b.example.org', label="None", user=None, password=None)
        table = Table(Server._table)
        cursor = Transaction().connection.cursor()
        for server, url in [
                (own, 'http://x:y@a.example.org:8042/pacs/'),
                (none, 'http://bea:p%40ss@b.example.org')]:
            cursor.execute(*table.update(
                    [table.domain], [url], where=table.id == server.id))
        Server.__register__('health_orthanc')
        forget(Server)
        own, none = Server.browse([own, none])
        self.assertEqual(own.domain, 'http://a.example.org:8042/pacs/')
        self.assertEqual((own.user, own._get_secret()), ('ana', PASSWORD))
        self.assertEqual(none.domain, 'http://b.example.org')
        self.assertEqual((none.user, none._get_secret()), ('bea', 'p@ss'))
