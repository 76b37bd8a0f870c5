# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import traceback
import unittest
from base64 import b64encode

from genshi.template import NewTextTemplate
from sql import Table

from trytond import backend
from trytond.modules.health_orthanc.secrets import new_key
from trytond.pool import Pool
from trytond.tests.test_tryton import activate_module, with_transaction
from trytond.transaction import Transaction

from .fake import fake_orthanc
from .test_keys import configured
from .tools import ImagingMixin

PASSWORD = 'a-test-password'
# as a password, and as it is sent
SENTINELS = [PASSWORD, b64encode(f'ana:{PASSWORD}'.encode()).decode()]


def reachable(root, depth=7):
    "What attributes, items and closures lead to, as a template could follow"
    seen, level = set(), [root]
    for _ in range(depth):
        following = []
        for one in level:
            if id(one) in seen or isinstance(one, (type, type(unittest))):
                continue
            seen.add(id(one))
            yield one
            if isinstance(one, dict):
                following += [*one.keys(), *one.values()]
            elif isinstance(one, (list, tuple, set, frozenset)):
                following += one
            following += getattr(one, '__dict__', {}).values()
            for name in ['__self__', '__closure__', '__defaults__', 'args',
                    'cell_contents']:
                following.append(getattr(one, name, None))
            for class_ in type(one).__mro__:
                names = getattr(class_, '__slots__', ())
                for name in [names] if isinstance(names, str) else names:
                    following.append(getattr(one, name, None))
        level = following


class SecretsTestCase(ImagingMixin, unittest.TestCase):
    "Test that a password cannot be read back"

    @classmethod
    def setUpClass(cls):
        activate_module(['health_orthanc', 'health_imaging_worklist'])

    def assertSecret(self, value):
        text = repr(value)
        for sentinel in SENTINELS:
            self.assertNotIn(sentinel, text)

    def everything(self):
        "All rows of all tables"
        cursor = Transaction().connection.cursor()
        if backend.name == 'postgresql':
            cursor.execute(
                "SELECT table_name FROM information_schema.tables "
                "WHERE table_schema = 'public' AND table_type = 'BASE TABLE'")
        else:
            cursor.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table'")
        for name, in cursor.fetchall():
            cursor.execute(*Table(name).select())
            for row in cursor:
                yield name, row

    def use(self, orthanc):
        "What people and tasks do with a server, well and badly"
        pool = Pool()
        Run = pool.get('gnuhealth.orthanc.sync.run')
        Server = pool.get('gnuhealth.orthanc.config')
        Wizard, session = self.wizard(
            'gnuhealth.imaging_orthanc.wizard.orthanc_new_connect')
        start = {
            'label': "Wizard", 'domain': orthanc.url, 'user': 'ana',
            'password': PASSWORD}
        answers = [
            Wizard.execute(session, {'start': values}, state)
            for values, state in [
                ({**start, 'domain': 'http://127.0.0.1:1'}, 'connect'),
                ({**start, 'domain': orthanc.url + '/x'}, 'connect'),
                (start, 'start'), (start, 'end'), (start, 'connect')]]
        self.assertEqual(answers[-1]['view']['state'], 'success')
        for answer in answers:
            self.assertSecret(answer)
        server, = Server.search([])
        for url in [orthanc.url + '/nowhere', orthanc.url]:
            Server.write([server], {'domain': url, 'password': PASSWORD})
            Server.check_connection([server])
        self.assertTrue(Server(server.id).validated)
        Run.submit([server], 'full', 'user')
        Server.make_notification_key([server])
        return Server(server.id)

    @with_transaction()
    def test_stored(self):
        "With a key nothing in the database holds it"
        with configured(encryption_keys=new_key()), fake_orthanc() as orthanc:
            server = self.use(orthanc)
            self.assertEqual(server._get_secret(), PASSWORD)
            tables = set()
            for name, row in self.everything():
                tables.add(name)
                self.assertSecret(row)
            self.assertIn('ir_queue', tables)
            self.assertIn('ir_session_wizard', tables)

    @with_transaction()
    def test_read(self):
        "Neither key nor not, nothing that clients call gives it"
        pool = Pool()
        Server = pool.get('gnuhealth.orthanc.config')
        with fake_orthanc() as orthanc:
            server = self.use(orthanc)
        names = list(Server._fields)
        values, = Server.read([server.id], names)
        self.assertIsNone(values['password'])
        for value in [
                values, server, Server.export_data([server], names),
                Server.export_data_domain([], names),
                Server.search_read([], fields_names=names),
                Server.default_get(names), Server.fields_get(),
                Server.fields_view_get(), Server.view_toolbar_get(),
                server.on_change_notify(), server.password_state,
                ]:
            self.assertSecret(value)
        for name in ['secret', 'viewer_secret', 'notification_key_hash']:
            self.assertNotIn(name, names)
            with self.assertRaises(Exception) as raised:
                Server.read([server.id], [name])
            self.assertSecret(traceback.format_exception(raised.exception))
            with self.assertRaises(Exception):
                Server.search([(name, 'like', 'plain:%')])
            with self.assertRaises(Exception):
                Server.search([], order=[(name, 'ASC')])
        with self.assertRaises(Exception):
            Server.search([('password', '=', PASSWORD)])

    @with_transaction()
    def test_templates(self):
        "Nothing that a report may follow leads to it"
        with fake_orthanc() as orthanc:
            server = self.use(orthanc)
            client = server.get_client()
            client.system()
        for one in reachable(client):
            if isinstance(one, (str, bytes)):
                self.assertSecret(one)
        for expression in [
                'record.password', 'record.secret', 'record._get_secret()',
                'record._values', 'record.get_client()',
                'record.get_client()._session.auth',
                "'{0._session.auth.__dict__}'.format(record.get_client())",
                "'{0._session.auth._header}'.format(record.get_client())",
                "'{0._session.headers}'.format(record.get_client())",
                "'{0._get_secret}'.format(record)",
                "'{0.__dict__}'.format(record)",
                "str(record.read([record.id], ['password', 'secret']))",
                ]:
            with self.subTest(expression=expression):
                try:
                    text = NewTextTemplate('${%s}' % expression).generate(
                        record=server).render()
                except Exception as error:
                    text = ''.join(traceback.format_exception(error))
                self.assertSecret(text)
