# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where GNU Health may call, and with which certificate it is content.

Whoever configures a server chooses what GNU Health connects to from inside
the hospital's network. What no Orthanc has is refused: the addresses of one
link, among them those at which clouds hand out credentials. The address that
counts is that of the connection, whatever a name resolves to at what time.

Nothing here knows of Tryton.
"""
import hashlib
import ipaddress
import socket
import ssl
from collections import namedtuple

from cryptography import x509
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

__all__ = [
    'Certificate', 'ForbiddenAddress', 'Gate', 'GuardedAdapter',
    'fingerprint', 'is_loopback', 'read_certificate']

FORBIDDEN = [ipaddress.ip_network(network) for network in [
        # of one link, with the metadata of most clouds
        '169.254.0.0/16', 'fe80::/10',
        # metadata of Amazon, Google, Alibaba, Oracle and Azure
        'fd00:ec2::254/128', 'fd20:ce::254/128', '100.100.100.200/32',
        '192.0.0.192/32', '168.63.129.16/32',
        # nobody, and many
        '0.0.0.0/8', '::/128', '224.0.0.0/4', '240.0.0.0/4', 'ff00::/8',
        ]]
# IPv4 addresses as IPv6 networks translate them (RFC 6052)
TRANSLATED = ipaddress.ip_network('64:ff9b::/96')


class ForbiddenAddress(Exception):
    "GNU Health does not call that host"


class Gate:
    """Which hosts may be called.

    Parameters
    ----------
    hosts : str, optional
        The only ones that may, separated by white space or commas: names,
        names with all below them (``.example.org``), addresses and networks
        (``10.1.0.0/16``). Without it all may that are not forbidden.
    """

    def __init__(self, hosts=None):
        self.names, self.networks = set(), []
        for host in (hosts or '').replace(',', ' ').split():
            try:
                self.networks.append(
                    ipaddress.ip_network(host.strip('[]'), strict=False))
            except ValueError:
                self.names.add(host.lower().removeprefix('*'))

    def check_host(self, host):
        """Raise ForbiddenAddress if it can be told without asking anybody.

        A host may be written as a number in many ways: those that the
        operating system takes are understood.
        """
        addresses = _numeric(host)
        for address in addresses:
            self.check_address(host, address)
        if not addresses and self.names and not self.networks:
            self._check_name(host)

    def check_address(self, host, address):
        "Raise ForbiddenAddress unless the host may be called there"
        address = ipaddress.ip_address(address.partition('%')[0])
        for one in _meanings(address):
            if any(one in network for network in FORBIDDEN):
                raise ForbiddenAddress("forbidden address")
        if any(one in network for one in _meanings(address)
                for network in self.networks):
            return
        if self.names or self.networks:
            self._check_name(host)

    def _check_name(self, host):
        host = host.lower().rstrip('.')
        if host not in self.names and not any(
                host.endswith(name) for name in self.names
                if name.startswith('.')):
            raise ForbiddenAddress("host is not on the list")


def _numeric(host):
    "The addresses that the host is, none if it is a name"
    try:
        # as a connection would, which knows other digits and dots too
        host = host.encode('idna').decode('ascii')
    except UnicodeError:
        pass
    try:
        found = socket.getaddrinfo(
            host, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError, ValueError):
        return set()
    return {address[0] for *_, address in found}


def _meanings(address):
    "The address, and the IPv4 addresses that it carries"
    yield address
    if address.version == 6:
        if address.ipv4_mapped:
            yield address.ipv4_mapped
        if address.sixtofour:
            yield address.sixtofour
        if address in TRANSLATED or 1 < int(address) < 1 << 32:
            yield ipaddress.IPv4Address(int(address) & 0xffffffff)


def is_loopback(host):
    "Whether the host is this very machine, without asking anybody"
    addresses = _numeric(host)
    return host.lower().rstrip('.') == 'localhost' or bool(addresses) and all(
        ipaddress.ip_address(a.partition('%')[0]).is_loopback
        for a in addresses)


class _Guarded:
    "A connection that is closed before a byte is sent to where it may not"
    gate = Gate()

    def _new_conn(self):
        try:
            found = socket.getaddrinfo(
                self.host, self.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            # connecting tells more
            found = []
        for *_, address in found:
            self.gate.check_address(self.host, address[0])
        connection = super()._new_conn()
        try:
            # a name may have resolved to something else meanwhile
            self.gate.check_address(self.host, connection.getpeername()[0])
        except BaseException:
            connection.close()
            raise
        return connection


def _guarded(Connection, gate):
    return type('Guarded' + Connection.__name__, (_Guarded, Connection), {
            'gate': gate,
            })


class GuardedAdapter(HTTPAdapter):
    """Connections through a gate.

    Parameters
    ----------
    gate : Gate
    authority : str, optional
        The only certificate authorities to trust, as PEM.
    fingerprint : str, optional
        SHA-256 of the only certificate to accept, whoever issued it.
    """

    def __init__(self, gate, authority=None, fingerprint=None, **kwargs):
        self.gate = gate
        self.tls = {}
        if fingerprint:
            self.tls['assert_fingerprint'] = fingerprint
        elif authority:
            self.tls['ssl_context'] = ssl.create_default_context(
                cadata=authority)
        super().__init__(**kwargs)

    def init_poolmanager(self, *args, **kwargs):
        super().init_poolmanager(*args, **kwargs, **self.tls)
        self.poolmanager.pool_classes_by_scheme = {
            'http': type('Pool', (HTTPConnectionPool,), {
                    'ConnectionCls': _guarded(HTTPConnection, self.gate)}),
            'https': type('Pool', (HTTPSConnectionPool,), {
                    'ConnectionCls': _guarded(HTTPSConnection, self.gate)}),
            }

    def cert_verify(self, conn, url, verify, cert):
        if 'ssl_context' in self.tls:
            # the authorities that requests brings along are not meant
            conn.cert_reqs = 'CERT_REQUIRED'
        else:
            super().cert_verify(conn, url, verify, cert)


Certificate = namedtuple(
    'Certificate', 'fingerprint subject issuer names not_before not_after')


def fingerprint(content):
    "SHA-256 of a certificate, as people compare it"
    return hashlib.sha256(content).digest().hex(':').upper()


def read_certificate(host, port, gate, timeout):
    """The certificate that a server shows, trusted or not.

    Raises
    ------
    OSError, urllib3.exceptions.HTTPError, ForbiddenAddress
        If there is none to be had.
    """
    connection = _guarded(HTTPSConnection, gate)(
        host, port or 443, timeout=timeout, cert_reqs='CERT_NONE')
    try:
        connection.connect()
        content = connection.sock.getpeercert(binary_form=True)
    finally:
        connection.close()
    return _describe(content)


def _describe(content):
    try:
        found = x509.load_der_x509_certificate(content)
        try:
            names = found.extensions.get_extension_for_class(
                x509.SubjectAlternativeName).value
            names = [str(name.value) for name in names]
        except x509.ExtensionNotFound:
            names = []
        values = (
            found.subject.rfc4514_string(), found.issuer.rfc4514_string(),
            names, found.not_valid_before_utc.replace(tzinfo=None),
            found.not_valid_after_utc.replace(tzinfo=None))
    except ValueError:
        # such as no library can read: the fingerprint still tells it
        values = ('', '', [], None, None)
    return Certificate(fingerprint(content), *values)
