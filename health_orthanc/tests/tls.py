# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"Certificates of servers in the tests"
import datetime as dt
import ipaddress
import ssl
import tempfile
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding, NoEncryption, PrivateFormat)
from cryptography.x509.oid import NameOID

from trytond.modules.health_orthanc.outward import fingerprint


class Authority:
    "Issues certificates; its own is `pem`"

    def __init__(self):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = _name("Test Authority")
        self.pem = self._sign(
            self.name, self.key, _days(1), x509.BasicConstraints(
                ca=True, path_length=None)).public_bytes(
                Encoding.PEM).decode()

    def _sign(self, name, key, not_after, *extensions):
        builder = (x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(_days(-2))
            .not_valid_after(not_after))
        for extension in extensions:
            builder = builder.add_extension(extension, critical=True)
        return builder.sign(self.key, hashes.SHA256())

    def server(self, host='127.0.0.1', days=1):
        """A server's certificate.

        Returns
        -------
        tuple of (SSLContext, str)
            What a server needs, and the certificate's fingerprint.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        try:
            name = x509.IPAddress(ipaddress.ip_address(host))
        except ValueError:
            name = x509.DNSName(host)
        certificate = self._sign(
            _name(host), key, _days(days),
            x509.SubjectAlternativeName([name]))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, 'server.pem')
            path.write_bytes(
                certificate.public_bytes(Encoding.PEM) + key.private_bytes(
                    Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
            context.load_cert_chain(path)
        return context, fingerprint(
            certificate.public_bytes(Encoding.DER))


def _name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _days(number):
    return dt.datetime.now(dt.timezone.utc) + dt.timedelta(days=number)
