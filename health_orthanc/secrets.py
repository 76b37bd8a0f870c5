# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep the passwords of Orthanc servers out of clear text.

A stored secret says how it was written: ``fernet:`` before a token made with
one of the keys, ``plain:`` before a text that was stored while no key was
configured.
"""
import os
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

FERNET, PLAIN = 'fernet:', 'plain:'


class SecretError(Exception):
    "The stored secret cannot be read with the configured keys."


def read_keys(path):
    """Return the keys in a file, one a line; after # comes a comment.

    Raises
    ------
    SecretError
        If the file cannot be read.
    """
    try:
        lines = Path(path).read_text('ascii').splitlines()
    except (OSError, UnicodeDecodeError):
        raise SecretError(
            "encryption_keys_file of [health_orthanc] cannot be read"
            ) from None
    return ' '.join(line.partition('#')[0] for line in lines)


def add_key(path):
    "Put a new key before those in the file, which nobody else may read"
    path = Path(path)
    keys = path.read_text('ascii') if path.exists() else ''
    part = path.with_name(path.name + '.part')
    descriptor = os.open(
        part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, 'w', encoding='ascii') as file:
        if path.exists():
            # whoever reads it goes on reading it
            status = path.stat()
            os.fchmod(descriptor, status.st_mode & 0o640)
            os.fchown(descriptor, status.st_uid, status.st_gid)
        file.write(new_key() + '\n' + keys)
        file.flush()
        os.fsync(descriptor)
    part.replace(path)


def new_key():
    return Fernet.generate_key().decode('ascii')


class Vault:
    """Encrypt and decrypt with a list of keys.

    Parameters
    ----------
    keys : str or None
        Fernet keys separated by white space or commas; the first one
        encrypts, all of them decrypt. Empty: secrets are stored as they are.

    Raises
    ------
    SecretError
        If one of the keys is not a Fernet key.
    """

    def __init__(self, keys=None):
        names = (keys or '').replace(',', ' ').split()
        try:
            fernets = [Fernet(k) for k in names]
        except ValueError:
            raise SecretError(
                "encryption_keys of [health_orthanc]: one is no Fernet key"
                ) from None
        self._first = fernets[0] if fernets else None
        self._fernet = MultiFernet(fernets) if fernets else None

    @property
    def encrypts(self):
        return self._fernet is not None

    def encrypt(self, text):
        "Return what is to be stored for the text; None stays None."
        if not text:
            return None
        if not self._fernet:
            return PLAIN + text
        return FERNET + self._fernet.encrypt(text.encode()).decode('ascii')

    def decrypt(self, stored):
        """Return the text of a stored secret; None stays None.

        Raises
        ------
        SecretError
            If no configured key opens it.
        """
        if not stored:
            return None
        if stored.startswith(PLAIN):
            return stored[len(PLAIN):]
        if not stored.startswith(FERNET) or not self._fernet:
            raise SecretError("no key")
        token = stored[len(FERNET):].encode('ascii', 'replace')
        try:
            return self._fernet.decrypt(token).decode()
        except InvalidToken:
            raise SecretError("no key fits") from None

    def state(self, stored):
        """How a secret is stored: none, clear, encrypted (with the first
        key), old (with another one) or lost (no key opens it)."""
        if not stored:
            return 'none'
        if stored.startswith(PLAIN):
            return 'clear'
        try:
            self.decrypt(stored)
        except SecretError:
            return 'lost'
        try:
            self._first.decrypt(stored[len(FERNET):].encode('ascii'))
        except InvalidToken:
            return 'old'
        return 'encrypted'
