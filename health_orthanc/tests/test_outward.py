# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import socket
import unittest
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from trytond.modules.health_orthanc.client import (
    CertificateChanged, CertificateError, NotAllowed, OrthancClient,
    OrthancError)
from trytond.modules.health_orthanc.outward import (
    ForbiddenAddress, Gate, is_loopback)

from .fake import fake_orthanc
from .tls import Authority

METADATA = [
    '169.254.169.254', '2852039166', '0xa9fea9fe', '0251.0376.0251.0376',
    '169.254.43518', '0xA9.254.0251.0xfe', '025177524776', '169.254.169.254.',
    '①⑥⑨.254.169.254', '169。254。169。254', '169.254.0.1',
    '::ffff:169.254.169.254', '::ffff:a9fe:a9fe', '::169.254.169.254',
    '64:ff9b::a9fe:a9fe', '2002:a9fe:a9fe::1', 'fe80::1', 'fe80::1%lo',
    'febf::1', 'fd00:ec2::254', 'fd20:ce::254', '100.100.100.200',
    '192.0.0.192', '168.63.129.16', '0.0.0.0', '::', '224.0.0.1',
    '255.255.255.255', 'ff02::1',
    ]


class OutwardTestCase(unittest.TestCase):
    "Test where GNU Health may call"

    def test_forbidden(self):
        "Test that metadata are refused however their address is written"
        for host in METADATA:
            with self.subTest(host=host), self.assertRaises(ForbiddenAddress):
                Gate().check_host(host.rstrip('.'))
            part = f'[{host}]' if ':' in host else host
            with self.subTest(url=part), \
                    patch('socket.socket.connect') as connect:
                with self.assertRaises(OrthancError):
                    OrthancClient(f'http://{part}/latest').system()
                connect.assert_not_called()

    def test_allowed(self):
        "Test hosts of hospitals"
        for host in ['127.0.0.1', '::1', '10.0.0.7', '192.168.1.2', 'pacs',
                'fd12:3456::7', 'pacs.example.org', '203.0.113.9',
                'xn--bcher-kva.example', 'x' * 300, 'ä.example', '%']:
            with self.subTest(host=host):
                Gate().check_host(host)

    @settings(deadline=None, max_examples=200)
    @given(st.integers(0, 0xffff), st.lists(
            st.sampled_from(['%d', '0x%x', '0x%X', '0%o']), min_size=4,
            max_size=4))
    def test_spellings(self, low, formats):
        "Test the ways to write the addresses of one link"
        parts = [169, 254, low >> 8, low & 255]
        host = '.'.join(f % part for f, part in zip(formats, parts))
        with self.assertRaises(ForbiddenAddress):
            Gate().check_host(host)
        with self.assertRaises(ForbiddenAddress):
            Gate().check_host(formats[0] % (169 << 24 | 254 << 16 | low))

    def resolving(self, *answers):
        "Let names resolve to one address after the other"
        answers = iter(answers)
        real = socket.getaddrinfo

        def resolve(host, port, *args, **kwargs):
            if host == 'pacs.example.org' and not kwargs.get('flags'):
                host = next(answers)
            return real(host, port, *args, **kwargs)
        return patch('socket.getaddrinfo', resolve)

    def test_name(self):
        "Test a name of a forbidden address"
        with self.resolving('169.254.169.254'), \
                patch('socket.socket.connect') as connect:
            with self.assertRaises(NotAllowed):
                OrthancClient('http://pacs.example.org').system()
            connect.assert_not_called()

    def test_rebinding(self):
        "Test a name that is another address a moment later"
        with fake_orthanc() as orthanc:
            gate = Gate('192.0.2.0/24')
            with self.resolving('192.0.2.1', '127.0.0.1'):
                with self.assertRaises(NotAllowed):
                    OrthancClient(
                        f'http://pacs.example.org:{orthanc.server_port}',
                        gate=gate).system()
            self.assertEqual(orthanc.asked, [])

    def test_list(self):
        "Test the list of allowed hosts"
        gate = Gate('pacs.example.org, .hospital.example *.clinic.example '
            '10.1.0.0/16 [2001:db8::7]')
        for host, address, allowed in [
                ('pacs.example.org', '192.0.2.1', True),
                ('PACS.example.org.', '192.0.2.1', True),
                ('a.hospital.example', '192.0.2.1', True),
                ('a.clinic.example', '192.0.2.1', True),
                ('ahospital.example', '192.0.2.1', False),
                ('pacs.example.org.evil.example', '192.0.2.1', False),
                ('other.example', '10.1.2.3', True),
                ('other.example', '::ffff:10.1.2.3', True),
                ('other.example', '2001:db8::7', True),
                ('other.example', '10.2.0.1', False),
                ('pacs.example.org', '169.254.169.254', False),
                ]:
            with self.subTest(host=host, address=address):
                if allowed:
                    gate.check_address(host, address)
                else:
                    with self.assertRaises(ForbiddenAddress):
                        gate.check_address(host, address)
        with self.assertRaises(ForbiddenAddress):
            Gate('pacs.example.org').check_host('other.example')
        with self.assertRaises(ForbiddenAddress):
            gate.check_host('10.2.0.1')

    def test_loopback(self):
        "Test what is this very machine"
        for host, expected in [
                ('localhost', True), ('LOCALHOST.', True), ('::1', True),
                ('127.8.0.1', True), ('2130706433', True), ('pacs', False),
                ('10.0.0.1', False), ('localhost.example.org', False)]:
            with self.subTest(host=host):
                self.assertEqual(is_loopback(host), expected)


class CertificateTestCase(unittest.TestCase):
    "Test which certificates are trusted"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.authority = Authority()

    def ask(self, orthanc, **values):
        with OrthancClient(
                orthanc.url, *orthanc.credentials, **values) as client:
            return client.system()['Name']

    def test_authority(self):
        "Test an authority of one's own, and another one"
        context, _ = self.authority.server()
        with fake_orthanc(context) as orthanc:
            self.assertEqual(
                self.ask(orthanc, authority=self.authority.pem), "Test")
            for authority in [None, Authority().pem]:
                with self.assertRaises(CertificateError) as raised:
                    self.ask(orthanc, authority=authority)
                self.assertIn(
                    raised.exception.reason, {'unknown', 'self_signed'})
            self.assertEqual(len(orthanc.asked), 1)

    def test_reasons(self):
        "Test what is said of a certificate"
        for reason, values in [
                ('expired', {'days': -1}), ('host', {'host': '127.0.0.2'}),
                ('host', {'host': 'pacs.example.org'})]:
            context, _ = self.authority.server(**values)
            with self.subTest(reason=reason), \
                    fake_orthanc(context) as orthanc:
                with self.assertRaises(CertificateError) as raised:
                    self.ask(orthanc, authority=self.authority.pem)
                self.assertEqual(raised.exception.reason, reason)
                self.assertEqual(orthanc.asked, [])

    def test_fingerprint(self):
        "Test that an accepted certificate is the only one"
        context, accepted = self.authority.server(
            host='pacs.example.org', days=-1)
        with fake_orthanc(context) as orthanc:
            for spelled in [
                    accepted, accepted.lower(), accepted.replace(':', '')]:
                self.assertEqual(
                    self.ask(orthanc, fingerprint=spelled), "Test")
            with OrthancClient(orthanc.url) as client:
                found = client.certificate()
            self.assertEqual(found.fingerprint, accepted)
            self.assertEqual(found.subject, 'CN=pacs.example.org')
            self.assertEqual(found.issuer, 'CN=Test Authority')
            self.assertEqual(found.names, ['pacs.example.org'])
        context, _ = self.authority.server()
        with fake_orthanc(context) as orthanc:
            for authority in [None, self.authority.pem]:
                with self.assertRaises(CertificateChanged):
                    self.ask(orthanc, fingerprint=accepted,
                        authority=authority)
            self.assertEqual(orthanc.asked, [])
