# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the program gnuhealth-orthanc-keys does"""
import sys

from trytond.config import config
from trytond.pool import Pool
from trytond.transaction import Transaction

from .secrets import SecretError, add_key, new_key
from .server import get_vault

NAMES = {
    'encrypted': "encrypted with the first key",
    'old': "encrypted with an older key",
    'clear': "in clear",
    'lost': "encrypted with a key that is not configured",
    }


def run(arguments):
    "Carry the command out and return the exit status"
    try:
        return globals()['_' + arguments.command](arguments)
    except (SecretError, OSError) as error:
        print(f"The keys cannot be used: {error}.", file=sys.stderr)
        return 1


def _make(arguments):
    if not arguments.file:
        print(new_key())
        return 0
    add_key(arguments.file)
    print(f"A new key is the first one of {arguments.file}.")
    return 0


def _rotate(arguments):
    path = config.get('health_orthanc', 'encryption_keys_file')
    if not path or config.get('health_orthanc', 'encryption_keys'):
        print("Only keys in a file of their own can be changed by this "
            "program: move them from encryption_keys to the file, and name it "
            "as encryption_keys_file in the section [health_orthanc]. Or put "
            "a new key (see make) before the others in encryption_keys, "
            "restart trytond and run encrypt.", file=sys.stderr)
        return 2
    get_vault()
    add_key(path)
    print(f"A new key is the first one of {path}.")
    return _encrypt(arguments)


def _encrypt(arguments):
    if not get_vault().encrypts:
        print("No key is configured: see make.", file=sys.stderr)
        return 2

    def encrypt(Server):
        count = Server.encrypt_secrets(['clear', 'old'])
        print(f"{Transaction().database.name}: {count} encrypted")

    _each(arguments.databases, encrypt)
    return _check(arguments)


def _check(arguments):
    status = 0

    def check(Server):
        nonlocal status
        name = Transaction().database.name
        counts = Server.count_secrets()
        for state, words in NAMES.items():
            print(f"{name}: {counts[state]} {words}")
            if state != 'encrypted' and counts[state]:
                status = 1

    _each(arguments.databases, check)
    return status


def _each(databases, do):
    for name in databases:
        pool = Pool(name)
        with Transaction().start(name, 0, readonly=True):
            pool.init()
        with Transaction().start(name, 0):
            do(pool.get('gnuhealth.orthanc.config'))
