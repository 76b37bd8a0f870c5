# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import datetime as dt
import unittest
from unittest.mock import patch

from cryptography.fernet import Fernet

from trytond.config import config
from trytond.modules.health_orthanc.exceptions import (
    CertificateFieldError, OrthancServerError, ServerCopyError,
    ServerDeleteError, ServerURLError)
from trytond.pool import Pool
from trytond.tests.test_tryton import activate_module, with_transaction
from trytond.transaction import Transaction

from .fake import fake_orthanc
from .tls import Authority
from .tools import ImagingMixin


class ServerTestCase(ImagingMixin, unittest.TestCase):
    "Test servers of Orthanc"

    @classmethod
    def setUpClass(cls):
        activate_module(['health_orthanc', 'health_imaging_worklist'])

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
    def test_check_overtaken(self):
        "Nothing is locked, and nobody's change lost, while a server is asked"
        Server = Pool().get('gnuhealth.orthanc.config')
        asked = []
        with fake_orthanc() as orthanc:
            servers = [
                self.server(orthanc.url + '/' * n, label=str(n))
                for n in range(2)]
            with patch.object(Server, '_check', lambda server: (
                        asked.append(Transaction().counter)
                        or {'validated': False})):
                Server.check_connection(servers)
        self.assertEqual(len(set(asked)), 1)

    @with_transaction()
    def test_server_facts(self):
        "What a check tells of the server"
        Server = Pool().get('gnuhealth.orthanc.config')
        with fake_orthanc() as orthanc:
            server = self.server(orthanc.url)
            orthanc.clock = dt.timedelta(minutes=-7)
            orthanc.facts['/system']['ReadOnly'] = True
            Server.check_connection([server])
            server = Server(server.id)
            self.assertEqual(
                (server.studies_there, server.images_there), (3, 7))
            self.assertEqual(server.plugins, 'dicom-web, explorer.js')
            self.assertTrue(server.read_only)
            self.assertLess(abs(
                    server.clock_difference + dt.timedelta(minutes=7)),
                dt.timedelta(seconds=5))
            for facts in [
                    {'Name': "Something"}, {'Version': 7}, [], "Orthanc"]:
                with self.subTest(facts=facts):
                    orthanc.facts['/system'] = facts
                    Server.check_connection([server])
                    server = Server(server.id)
                    self.assertFalse(server.validated)
                    self.assertIn(
                        "does not answer like", server.validation_message)

    @with_transaction()
    def test_server_certificate(self):
        "A certificate that changes is refused, and what came is said"
        Server = Pool().get('gnuhealth.orthanc.config')
        authority = Authority()
        context, accepted = authority.server()
        with fake_orthanc(context) as orthanc:
            server = self.server(
                orthanc.url, certificate_fingerprint=accepted)
            Server.check_connection([server])
            self.assertTrue(Server(server.id).validated)
        context, changed = authority.server()
        with fake_orthanc(context) as orthanc:
            Server.write([server], {'domain': orthanc.url})
            Server.check_connection([server])
            server = Server(server.id)
            self.assertFalse(server.validated)
            self.assertIn("not the one", server.validation_message)
            self.assertIn(changed, server.validation_message)
            self.assertEqual(orthanc.asked, [])
            Server.write([server], {
                    'certificate_fingerprint': None,
                    'certificate_authority': authority.pem,
                    })
            Server.check_connection([server])
            self.assertTrue(Server(server.id).validated)
        for values in [
                {'certificate_fingerprint': accepted[:-1]},
                {'certificate_fingerprint': 'MD5'},
                {'certificate_authority': "-----BEGIN"},
                {'certificate_authority': authority.pem
                    + "-----BEGIN PRIVATE KEY-----"}]:
            with self.subTest(values=values):
                with self.assertRaises(CertificateFieldError):
                    Server.write([server], values)

    @with_transaction()
    def test_server_delete(self):
        "A server with studies is archived, not deleted"
        Server = Pool().get('gnuhealth.orthanc.config')
        server = self.server()
        other = self.server('http://other.example.org', label="Other")
        self.study(server)
        with self.assertRaises(ServerDeleteError):
            Server.delete([other, server])
        Server.delete([other])
        Server.remove_config_server([server])
        self.assertEqual(
            Server.search([('active', 'in', [True, False])]), [server])

    @with_transaction()
    def test_server_urls(self):
        server = self.server()
        for url in [
                'pacs.example.org', 'file:///etc/passwd', 'http://',
                'http://a:b@pacs.example.org', 'http://pacs.example.org/?x=1',
                'http://pacs.example.org:99999', 'gopher://pacs.example.org',
                'http://169.254.169.254/latest', 'http://2852039166',
                'https://[fe80::1]', 'http://[::ffff:a9fe:a9fe]:8042',
                'http://pacs\\@169.254.169.254', 'HTTP://a@b', 'http://@pacs',
                'http://[::1', '//pacs.example.org', 'javascript:alert(1)',
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
