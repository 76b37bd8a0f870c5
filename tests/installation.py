# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo's installation, on free ports and on either database."""
import os
import shutil
import sys
from pathlib import Path

import psycopg2

from demo import hospital
from demo.installation import Installation
from demo.services import free_port, trytond_config
from demo.state import DEFAULT_PORTS, State
from demo.steps import Programs


# All that the modules say, and what trytond says in production
LOGGING = """
[loggers]
keys = root, modules
[handlers]
keys = stream
[formatters]
keys = plain
[logger_root]
level = WARNING
handlers = stream
[logger_modules]
level = DEBUG
qualname = trytond.modules
handlers =
[handler_stream]
class = StreamHandler
args = (sys.stderr,)
formatter = plain
[formatter_plain]
format = %(levelname)s %(name)s %(message)s
"""


class TestInstallation(Installation):
    """Orthanc, trytond and the worklist updater over a folder of its own.

    The interpreter is the one that runs the tests; the web client and the
    viewer are those that the demo built.

    Parameters
    ----------
    root : path
        The folder, new.
    uri : str
        trytond's database URI: sqlite:// or a PostgreSQL server.
    """
    __test__ = False

    def __init__(self, root, uri):
        built = State()
        state = State(root)
        state.make()
        state.venv = Path(sys.prefix)
        state.python = Path(sys.executable)
        state.sao, state.ohif = built.sao, built.ohif
        self.uri = uri
        super().__init__(
            state, {name: free_port() for name in DEFAULT_PORTS})
        # the tests wait for it
        self.updater.watch = 1
        self.logging = state.root / 'logging.conf'
        for program in (self.trytond, self.cron):
            program.environment['TRYTOND_LOGGING_CONFIG'] = str(self.logging)

    @property
    def is_sqlite(self):
        return self.uri.startswith('sqlite')

    def configure(self):
        self.logging.write_text(LOGGING, encoding='utf-8')
        trytond_config(
            self.state.trytond_config, self.ports['TRYTON_PORT'],
            self.state.database_folder, self.state.sao, uri=self.uri,
            sections={'health_orthanc': {
                    'encryption_keys': self.secrets['encryption_key']}})

    def start(self):
        """Make the database with the hospital in it, start everything but
        trytond-cron: the tests decide when to synchronize."""
        self.configure()
        self.make_database(Programs(self.state.log))
        self.orthanc.start()
        self.trytond.start()
        hospital.make(self)
        self.updater.start()
        return self

    def make_database(self, programs):
        if self.is_sqlite:
            return super().make_database(programs)
        connection = psycopg2.connect(self.uri + 'postgres')
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f'CREATE DATABASE {self.state.database}')
        connection.close()
        self.run_admin(programs, self.state.database, new=True)

    def keep_logs(self, name):
        """Copy what the services wrote to where the run keeps its logs."""
        target = os.environ.get('TEST_LOGS')
        if target:
            for log in (*self.state.root.rglob('*.log'),):
                shutil.copyfile(log, Path(target, f'{name}-{log.name}'))
