# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One synchronization of a server at a time, over all processes.

PostgreSQL holds an advisory lock until the connection ends, so that it is
free when the process was killed. SQLite knows none: there a file beside the
database is locked.
"""
import fcntl
import os
import threading
import zlib
from contextlib import contextmanager

from sql import Select

from trytond import backend
from trytond.config import config
from trytond.transaction import Transaction

__all__ = ['server_lock']

_NAMESPACE = zlib.crc32(b'gnuhealth.orthanc.sync') >> 1 << 32
_guard = threading.Lock()
_held = set()


@contextmanager
def server_lock(server_id, own_transaction=True):
    """Try to lock a server and tell whether that was possible.

    Parameters
    ----------
    own_transaction : bool
        Hold the lock in a transaction of its own instead of the caller's.
    """
    if backend.name == 'postgresql':
        if own_transaction:
            with Transaction().new_transaction(readonly=True):
                yield _try_advisory(server_id)
        else:
            yield _try_advisory(server_id)
        return
    name = Transaction().database.name
    key = (name, server_id)
    with _guard:
        free = key not in _held
        _held.add(key)
    if not free:
        yield False
        return
    try:
        if name == ':memory:':
            yield True
        else:
            with _locked_file(name, server_id) as locked:
                yield locked
    finally:
        with _guard:
            _held.discard(key)


def _try_advisory(server_id):
    transaction = Transaction()
    cursor = transaction.connection.cursor()
    cursor.execute(*Select([
                transaction.database.lock_id(_NAMESPACE | server_id)]))
    locked, = cursor.fetchone()
    return locked


@contextmanager
def _locked_file(name, server_id):
    path = os.path.join(
        config.get('database', 'path'),
        '.%s.orthanc-%d.lock' % (name, server_id))
    with open(path, 'w') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
