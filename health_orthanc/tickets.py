# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tokens with which somebody may look at one study for a while.

Nothing here knows of Tryton. A token is sealed by a server's own key: nobody
else can read, make or change one, and it is worth nothing at another server.
"""
import base64
import json
import time
from dataclasses import dataclass

from cryptography.fernet import Fernet, InvalidToken

__all__ = ['Ticket', 'TicketError', 'new_key', 'seal', 'unseal']

# Longer ones are not looked at.
MAX_LENGTH = 1024
_VERSION = 'view-1'


class TicketError(Exception):
    "The token is not one of this key, or its time is over."


@dataclass(frozen=True)
class Ticket:
    """What a token says.

    Parameters
    ----------
    study_uid : str
        StudyInstanceUID of the only study it is for.
    user : int
        Who asked for it.
    expires : int
        Seconds since 1970 in UTC.
    level : str
        study: what is below the study may be read too.
    """
    study_uid: str
    user: int
    expires: int
    level: str = 'study'

    def seconds_left(self, now=None):
        return int(self.expires - (time.time() if now is None else now))


def new_key():
    return Fernet.generate_key().decode('ascii')


def seal(key, ticket):
    "Return the token of the ticket"
    content = [
        _VERSION, ticket.study_uid, ticket.user, ticket.expires, ticket.level]
    return Fernet(key).encrypt(json.dumps(content).encode()).decode('ascii')


def unseal(key, token, now=None):
    """Return the ticket of a token.

    Raises
    ------
    TicketError
        If it was not sealed by this key, was changed, or is not valid any
        more.
    """
    if not isinstance(token, str) or len(token) > MAX_LENGTH:
        raise TicketError("no token")
    try:
        token = token.encode('ascii')
        # base64 has several spellings of the same bytes: one is enough
        if base64.urlsafe_b64encode(base64.urlsafe_b64decode(token)) != token:
            raise TicketError("no token")
        content = Fernet(key).decrypt(token)
        version, *values = json.loads(content)
        ticket = Ticket(*values)
    except (InvalidToken, TypeError, ValueError):
        raise TicketError("not sealed by this key") from None
    if version != _VERSION or ticket.seconds_left(now) < 1:
        raise TicketError("expired")
    return ticket
