# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep the passwords of Orthanc servers out of clear text.

A stored secret says how it was written: ``fernet:`` before a token made with
one of the keys, ``plain:`` before a text that was stored while no key was
configured.
"""
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

FERNET, PLAIN = 'fernet:', 'plain:'


class SecretError(Exception):
    "The stored secret cannot be read with the configured keys."


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
            raise SecretError("not a Fernet key") from None
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
