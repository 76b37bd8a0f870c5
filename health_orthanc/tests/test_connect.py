# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import socket
import unittest
from contextlib import closing
from unittest.mock import patch

from trytond.model.exceptions import AccessError
from trytond.modules.health_imaging.tests.tools import create_user
from trytond.modules.health_orthanc import connect, server
from trytond.modules.health_orthanc.client import NotFound
from trytond.pool import Pool
from trytond.tests.test_tryton import activate_module, with_transaction
from trytond.transaction import Transaction

from .fake import fake_orthanc
from .tls import Authority
from .tools import ImagingMixin

PASSWORD = 'a-test-password'


class ConnectTestCase(ImagingMixin, unittest.TestCase):
    "Test the wizard that adds a server"

    @classmethod
    def setUpClass(cls):
        activate_module(['health_orthanc', 'health_imaging_worklist'])

    def begin(self):
        self.Wizard, self.session = self.wizard(
            'gnuhealth.imaging_orthanc.wizard.orthanc_new_connect')

    def press(self, state, **pages):
        "Press a button; return the page that comes and what is on it"
        answer = self.Wizard.execute(self.session, pages, state)
        Session = Pool().get('ir.session.wizard')
        for kept in [Session(self.session).data, str(answer)]:
            self.assertNotIn(PASSWORD, kept)
        view = answer.get('view')
        if not view:
            return None, answer
        return view['state'], {**view['defaults'], **view['values']}

    def connect(self, **values):
        self.begin()
        return self.press('connect', start={
                'label': "PACS", 'user': 'ana', 'password': PASSWORD,
                **values})

    def servers(self):
        Server = Pool().get('gnuhealth.orthanc.config')
        return Server.search([('active', 'in', [True, False])])

    @with_transaction()
    def test_success(self):
        "The page tells what was found, and offers to synchronize"
        pool = Pool()
        Run = pool.get('gnuhealth.orthanc.sync.run')
        Server = pool.get('gnuhealth.orthanc.config')
        with fake_orthanc() as orthanc:
            orthanc.facts['/plugins'] += ['worklists', 'stone-webviewer']
            state, page = self.connect(domain=orthanc.url + '/')
        self.assertEqual(state, 'success')
        self.assertEqual(page['orthanc_name'], "Test")
        self.assertEqual(page['orthanc_version'], '1.10.1')
        self.assertEqual(page['studies'], 3)
        self.assertEqual(
            page['plugins'],
            'dicom-web, explorer.js, stone-webviewer, worklists')
        self.assertEqual([
                page[name] for name in [
                    'dicomweb', 'stone', 'worklists', 'ohif',
                    'authorization']],
            [True, True, True, False, False])
        self.assertIn("known security holes", page['warnings'])
        server = Server(page['server'])
        self.assertEqual(server.domain, orthanc.url)
        self.assertTrue(server.validated)
        self.assertEqual(server._get_secret(), PASSWORD)
        self.assertFalse(Run.search([]))
        _, answer = self.press('synchronize')
        run, = Run.search([])
        self.assertEqual((run.server, run.kind), (server, 'full'))
        self.assertIn(str(server.id), answer['actions'][0][0]['pyson_domain'])

    @with_transaction()
    def test_errors(self):
        "Each trouble has its own sentence, and nothing is stored"
        authority = Authority()
        expired, _ = authority.server(days=-1)
        silent = socket.create_server(('127.0.0.1', 0))
        with fake_orthanc() as orthanc, fake_orthanc(expired) as secure, \
                closing(silent), \
                patch.object(server, 'get_timeouts', lambda: (5, .2)):
            other = f'http://127.0.0.1:{silent.getsockname()[1]}'
            for values, words in [
                    ({'password': 'wrong'}, "refused the user name"),
                    ({'user': None}, "refused the user name"),
                    ({'domain': orthanc.url + '/nowhere'}, "does not know"),
                    ({'domain': 'ftp://pacs.example.org'}, "http://"),
                    ({'domain': 'http://ana:b@pacs.example.org'}, "http://"),
                    ({'domain': 'http://127.0.0.1:1'}, "nothing listens"),
                    ({'domain': 'http://pacs.invalid'}, "is not known"),
                    ({'domain': 'http://2852039166/'}, "does not call"),
                    ({'domain': other}, "in time"),
                    ({'domain': orthanc.url.replace('http', 'https')},
                        "does not speak TLS"),
                    ({'domain': secure.url.replace('https', 'http')},
                        "Server \"PACS\""),
                    ({'domain': ''}, "http://"),
                    ({'certificate_authority': 'x'}, "PEM"),
                    ({'certificate_fingerprint': 'x'}, "SHA-256"),
                    ({'proxy_domain': 'javascript:alert(1)'}, "http://"),
                    ]:
                with self.subTest(values=values):
                    values = {'domain': orthanc.url, **values}
                    state, page = self.connect(**values)
                    self.assertEqual(state, 'error')
                    self.assertIn(words, page['message'])
                    state, page = self.press('start')
                    self.assertEqual(page['label'], "PACS")
                    for name in values.keys() - {'password'}:
                        self.assertEqual(
                            page.get(name),
                            str(values[name]) if values[name] else None)
                    self.assertFalse(page.get('password'))
            orthanc.facts['/system'] = {'Name': "Not Orthanc"}
            state, page = self.connect(domain=orthanc.url)
            self.assertEqual(state, 'error')
            self.assertIn("does not answer like Orthanc", page['message'])
            self.assertEqual(secure.asked, [])
        self.assertFalse(self.servers())
        self.assertFalse(self.tasks('check_connection'))

    @with_transaction()
    def test_timeouts(self):
        "The check takes no longer than it may, whatever is configured"
        with patch.object(connect, 'OrthancClient') as Client, \
                patch.object(server, 'get_timeouts', lambda: (60, 600)):
            Client.return_value.__enter__.return_value.system.side_effect = (
                NotFound)
            self.connect(domain='http://pacs.example.org')
        values = Client.call_args.kwargs
        self.assertEqual(values['connect_timeout'], 5)
        self.assertEqual(values['read_timeout'], 10)

    @with_transaction()
    def test_certificate(self):
        "A certificate is shown, and accepted by its fingerprint"
        authority = Authority()
        context, shown = authority.server(host='pacs.example.org')
        with fake_orthanc(context) as orthanc:
            state, page = self.connect(domain=orthanc.url)
            self.assertEqual(state, 'certificate')
            self.assertIn("authority that is not trusted", page['reason'])
            self.assertEqual(page['fingerprint'], shown)
            self.assertEqual(page['issuer'], 'CN=Test Authority')
            self.assertEqual(page['names'], 'pacs.example.org')
            self.assertTrue(page['not_before'] < page['not_after'])
            self.assertEqual(orthanc.asked, [])
            self.assertFalse(self.servers())
            state, page = self.press(
                'accept', certificate={'password': 'wrong'})
            self.assertEqual(state, 'error')
            state, page = self.press('start')
            self.assertEqual(page['certificate_fingerprint'], shown)
            state, page = self.press('connect', start={'password': PASSWORD})
            self.assertEqual(state, 'success')
            server, = self.servers()
            self.assertEqual(server.certificate_fingerprint, shown)
            self.assertEqual(server._get_secret(), PASSWORD)

    @with_transaction()
    def test_certificate_changed(self):
        "Between the pages another certificate is no accepted one"
        authority = Authority()
        context, shown = authority.server()
        with fake_orthanc(context) as orthanc:
            self.connect(domain=orthanc.url)
            page = {'fingerprint': ':'.join(['AB'] * 32)}
            state, page = self.press('accept', certificate=page)
            self.assertEqual(state, 'certificate')
            self.assertIn("not the one", page['reason'])
            self.assertEqual(page['fingerprint'], shown)
            self.assertEqual(orthanc.asked, [])

    @with_transaction()
    def test_authority(self):
        "An authority of one's own is trusted, and kept"
        authority = Authority()
        context, _ = authority.server()
        with fake_orthanc(context) as orthanc:
            state, _ = self.connect(
                domain=orthanc.url, certificate_authority=authority.pem)
        self.assertEqual(state, 'success')
        server, = self.servers()
        self.assertEqual(
            server.certificate_authority.strip(), authority.pem.strip())

    @with_transaction()
    def test_password_is_not_kept(self):
        "Not even by a button that does nothing with it"
        self.begin()
        state, page = self.press(
            'start', start={'label': "PACS", 'password': PASSWORD})
        self.assertEqual((state, page.get('label')), ('start', "PACS"))
        self.press('end', start={'password': PASSWORD})
        self.press('end', certificate={'password': PASSWORD})

    @with_transaction()
    def test_archived_server(self):
        "A server that was archived is taken up again, with its studies"
        Server = Pool().get('gnuhealth.orthanc.config')
        with fake_orthanc() as orthanc:
            archived = Server.from_url(orthanc.url)
            self.assertFalse(archived.active)
            state, page = self.connect(domain=orthanc.url)
            self.assertEqual((state, page['server']), ('success', archived.id))
            state, page = self.connect(domain=orthanc.url, label="Other")
            self.assertEqual(state, 'error')
            self.assertIn("PACS", page['message'])
        self.assertEqual(Server(archived.id).label, "PACS")

    @with_transaction()
    def test_unique_label(self):
        "The label must be unique, also among archived servers"
        with fake_orthanc() as orthanc:
            self.server(active=False)
            state, page = self.connect(domain=orthanc.url)
            self.assertEqual(state, 'error')
            self.assertIn("must be unique", page['message'])
            self.assertEqual(orthanc.asked, [])

    @with_transaction()
    def test_plain_http(self):
        "Who types an address that is not encrypted is warned, offline"
        Start = Pool().get(
            'gnuhealth.imaging_orthanc.orthanc_add_init_data')
        with patch('socket.socket.connect') as called:
            for url, warned in [
                    ('http://pacs.example.org', True),
                    ('http://10.0.0.7:8042', True),
                    ('https://pacs.example.org', False),
                    ('http://localhost:8042', False),
                    ('http://[::1]:8042', False),
                    ('http://[', False), (None, False)]:
                with self.subTest(url=url):
                    notifications = Start(domain=url).on_change_notify()
                    self.assertEqual(bool(notifications), warned)
            called.assert_not_called()

    @with_transaction()
    def test_rights(self):
        "Nobody without the groups causes a call"
        user = create_user('guest')
        with fake_orthanc() as orthanc, \
                Transaction().set_user(user.id), \
                Transaction().set_context(_check_access=True):
            with self.assertRaises(AccessError):
                self.connect(domain=orthanc.url)
            self.assertEqual(orthanc.asked, [])
