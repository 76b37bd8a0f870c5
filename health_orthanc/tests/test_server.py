# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import unittest

from cryptography.fernet import Fernet

from trytond.config import config
from trytond.modules.health_orthanc.exceptions import (
    OrthancServerError, ServerCopyError, ServerURLError)
from trytond.pool import Pool
from trytond.tests.test_tryton import activate_module, with_transaction

from .fake import fake_orthanc
from .tools import ImagingMixin


class ServerTestCase(ImagingMixin, unittest.TestCase):
    "Test servers of Orthanc"

    @classmethod
    def setUpClass(cls):
        activate_module(['health_orthanc', 'health_imaging_worklist'])

    def connect(self, **values):
        Wizard, session_id = self.wizard(
            'gnuhealth.imaging_orthanc.wizard.orthanc_new_connect')
        start = {
            'label': "PACS", 'user': 'ana', 'password': 'a-test-password'}
        answer = Wizard.execute(
            session_id, {'start': {**start, **values}}, 'connect')
        Session = Pool().get('ir.session.wizard')
        self.assertNotIn('a-test-password', Session(session_id).data)
        view = answer['view']
        return view['state'], {**view['defaults'], **view['values']}

    @with_transaction()
    def test_add_server(self):
        Server = Pool().get('gnuhealth.orthanc.config')
        with fake_orthanc() as orthanc:
            state, page = self.connect(domain=orthanc.url + '/')
        self.assertEqual(state, 'success')
        self.assertEqual(page['orthanc_version'], '1.10.1')
        self.assertEqual(page['studies'], 3)
        self.assertEqual(page['plugins'], 'dicom-web, explorer.js')
        server = Server(page['server'])
        self.assertEqual(server.domain, orthanc.url)
        self.assertTrue(server.validated)
        self.assertEqual(server._get_secret(), 'a-test-password')

    @with_transaction()
    def test_add_server_errors(self):
        Server = Pool().get('gnuhealth.orthanc.config')
        with fake_orthanc() as orthanc:
            for values, words in [
                    ({'domain': orthanc.url, 'password': 'wrong'},
                        "refused the user name"),
                    ({'domain': orthanc.url + '/nowhere'}, "does not know"),
                    ({'domain': 'ftp://pacs.example.org'}, "http://"),
                    ({'domain': 'http://ana:b@pacs.example.org'}, "http://"),
                    ({'domain': 'http://127.0.0.1:1'}, "cannot be reached"),
                    ]:
                with self.subTest(values=values):
                    state, page = self.connect(**values)
                    self.assertEqual(state, 'error')
                    self.assertIn(words, page['message'])
        self.assertFalse(Server.search([]))

    @with_transaction()
    def test_add_archived_server(self):
        Server = Pool().get('gnuhealth.orthanc.config')
        with fake_orthanc() as orthanc:
            archived = Server.from_url(orthanc.url)
            self.assertFalse(archived.active)
            state, page = self.connect(domain=orthanc.url)
            self.assertEqual((state, page['server']), ('success', archived.id))
            state, page = self.connect(domain=orthanc.url, label="Other")
            self.assertEqual(state, 'error')
        self.assertEqual(Server(archived.id).label, "PACS")

    @with_transaction()
    def test_server_password(self):
        Server = Pool().get('gnuhealth.orthanc.config')
        server = self.server()
        self.assertIsNone(server.password)
        self.assertEqual(self.secret(server), 'plain:a-test-password')
        self.assertIn("clear", server.password_state)
        Server.write([server], {'password': ''})
        self.assertEqual(server._get_secret(), 'a-test-password')
        key = Fernet.generate_key().decode()
        config.add_section('health_orthanc')
        config.set('health_orthanc', 'encryption_keys', key)
        try:
            Server.write([server], {'password': 'another'})
            self.assertNotIn('another', self.secret(server))
            self.assertEqual(Server(server.id).password_state, "Encrypted")
            self.assertEqual(server._get_secret(), 'another')
            config.set('health_orthanc', 'encryption_keys', 'not-a-key')
            with self.assertRaises(OrthancServerError):
                Server.write([server], {'password': 'third'})
        finally:
            config.remove_section('health_orthanc')
        check = server._check()
        self.assertFalse(check['validated'])
        self.assertIn("cannot be decrypted", check['validation_message'])
        self.assertNotIn('secret', Server._fields)
        exported = Server.export_data([server], list(Server._fields))
        self.assertNotIn('another', str(exported))

    @with_transaction()
    def test_server_change_is_checked(self):
        Server = Pool().get('gnuhealth.orthanc.config')
        with fake_orthanc() as orthanc:
            server = self.server(orthanc.url)
            Server.write([server], {'label': "Archive"})
            self.assertTrue(server.validated)
            for values in [
                    {'domain': orthanc.url + '/x'}, {'user': 'bea'},
                    {'password': 'new'}]:
                with self.subTest(values=values):
                    Server.write([server], {'validated': True})
                    tasks = self.tasks('check_connection')
                    Server.write([server], values)
                    self.assertFalse(Server(server.id).validated)
                    self.assertEqual(
                        self.tasks('check_connection'), tasks + 1)
            Server.write([server], {
                    'domain': orthanc.url,
                    'user': 'ana',
                    'password': 'a-test-password',
                    })
            Server.check_connection([server])
            self.assertTrue(Server(server.id).validated)
            self.assertTrue(server.last_contact)
            orthanc.credentials = 'ana', 'changed'
            Server.check_connection([server])
        self.assertFalse(Server(server.id).validated)
        self.assertIn("refused", Server(server.id).validation_message)

    @with_transaction()
    def test_server_urls(self):
        server = self.server()
        for url in [
                'pacs.example.org', 'file:///etc/passwd', 'http://',
                'http://a:b@pacs.example.org', 'http://pacs.example.org/?x=1',
                'http://pacs.example.org:99999', 'gopher://pacs.example.org',
                ]:
            with self.subTest(url=url):
                with self.assertRaises(ServerURLError):
                    server.domain = url
                    server.save()

    @with_transaction()
    def test_server_remove(self):
        Server = Pool().get('gnuhealth.orthanc.config')
        server = self.server()
        study = self.study(server)
        with self.assertRaises(ServerCopyError):
            Server.copy([server])
        Server.remove_config_server([server])
        server = Server(server.id)
        self.assertFalse(server.active or server.validated or server.user)
        self.assertIsNone(self.secret(server))
        self.assertEqual(study.server_config, server)
