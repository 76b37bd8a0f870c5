# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A PostgreSQL cluster of its own for the tests.

It listens on a Unix socket only, keeps nothing after the run, and is run by
the user postgres where the tests are run by root (PostgreSQL refuses root).
"""
import glob
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import quote

USER = 'tryton'
# Throw-away data: speed before durability.
SETTINGS = {
    'fsync': 'off',
    'synchronous_commit': 'off',
    'full_page_writes': 'off',
    'listen_addresses': "''",
    'max_connections': '100',
    'shared_buffers': '256MB',
    'log_min_messages': 'warning',
    }


class PostgreSQLMissing(Exception):
    "The programs of PostgreSQL are not installed"


def bin_directory():
    """Return the folder of initdb and pg_ctl.

    Raises
    ------
    PostgreSQLMissing
    """
    found = sorted(
        glob.glob('/usr/lib/postgresql/*/bin/initdb'),
        key=lambda path: int(path.split('/')[4]))
    if found:
        return Path(found[-1]).parent
    initdb = shutil.which('initdb')
    if initdb:
        return Path(initdb).parent
    raise PostgreSQLMissing(
        "initdb is not here: apt-get install postgresql")


class Cluster:
    "A running cluster, as a context manager"

    def __init__(self):
        self.bin = bin_directory()
        self.folder = None
        self._demote = {}
        if os.geteuid() == 0:
            owner = pwd.getpwnam('postgres')
            self._demote = {
                'user': owner.pw_uid, 'group': owner.pw_gid,
                'extra_groups': []}
            self._owner = owner

    @property
    def uri(self):
        "The value of trytond's [database] uri"
        return f'postgresql://{USER}@{quote(str(self.folder), safe="")}/'

    def _run(self, *command):
        env = {
            'PATH': f'{self.bin}:/usr/bin:/bin', 'LC_ALL': 'C.UTF-8',
            'HOME': str(self.folder)}
        result = subprocess.run(
            command, cwd=self.folder, env=env, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, **self._demote)
        if result.returncode:
            raise RuntimeError(
                f"{command[0]} failed:\n{result.stdout}")

    def start(self):
        self.folder = Path(tempfile.mkdtemp(prefix='imaging-postgresql-'))
        if self._demote:
            os.chown(self.folder, self._owner.pw_uid, self._owner.pw_gid)
        data = self.folder / 'data'
        self._run(
            self.bin / 'initdb', '--pgdata', data, '--username', USER,
            '--auth', 'trust', '--encoding', 'UTF8', '--locale', 'C.UTF-8',
            '--no-sync')
        options = ' '.join(
            f'-c {name}={value}' for name, value in SETTINGS.items())
        self._run(
            self.bin / 'pg_ctl', 'start', '--wait', '--timeout', '60',
            '--pgdata', data, '--log', self.folder / 'log',
            '--options', f'{options} -k {self.folder}')
        return self

    def stop(self):
        if not self.folder:
            return
        try:
            self._run(
                self.bin / 'pg_ctl', 'stop', '--wait', '--mode', 'immediate',
                '--pgdata', self.folder / 'data')
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = None

    __enter__ = start

    def __exit__(self, *exc):
        self.stop()
