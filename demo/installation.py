# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo's database and its services, in the state folder."""
import contextlib
import datetime as dt
import hashlib
import json
import os
import sqlite3

from .services import (
    Cron, Orthanc, Trytond, Updater, trytond_config, write_private)
from .state import DEFAULT_PORTS, REPOSITORY, port_of
from .steps import Step, StepError

MODULES = ('health_imaging', 'health_imaging_worklist', 'health_orthanc')
# the account of the scripts on the PACS host
SCRIPTS_LOGIN = 'pacs_scripts'
ORTHANC_LOGIN = 'gnuhealth'
VIEWER_LOGIN = 'viewer'


# of what a running service has loaded, or a database holds
SOURCES = {
    '.cfg', '.fodt', '.lua', '.po', '.py', '.sh', '.svg', '.txt', '.xml'}


def source_stamp(*folders):
    """A checksum of the sources below folders of the repository."""
    digest = hashlib.sha256()
    for folder in folders:
        root = REPOSITORY / folder
        for path in sorted([root] if root.is_file() else root.rglob('*')):
            if path.suffix in SOURCES and path.is_file() and (
                    'tests' not in path.relative_to(REPOSITORY).parts):
                digest.update(str(path).encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()


class Installation:
    """What `make demo` runs: four services over one state folder.

    Parameters
    ----------
    state : State
    ports : dict, optional
        The ports by the names of state.DEFAULT_PORTS; by default as the
        environment sets them.
    """

    def __init__(self, state, ports=None):
        self.state = state
        self.secrets = state.secrets()
        self.ports = ports or {name: port_of(name) for name in DEFAULT_PORTS}
        if len(set(self.ports.values())) < len(self.ports):
            raise StepError("The ports must differ from each other.")
        self.orthanc = Orthanc(
            state.orthanc, self.ports['ORTHANC_PORT'],
            self.ports['DICOM_PORT'], ORTHANC_LOGIN, self.secrets['orthanc'],
            state.worklists, ohif_root=state.ohif,
            users={VIEWER_LOGIN: self.secrets['viewer']})
        arguments = state.trytond_config, state.python, state.database
        self.trytond = Trytond(
            state.run, self.ports['TRYTON_PORT'], *arguments)
        self.cron = Cron(state.run, *arguments)
        self.updater = Updater(
            state.run, state.python, self.trytond.url, state.database,
            SCRIPTS_LOGIN, self.secrets['scripts'], state.worklists)
        # in the order they depend on each other
        self.services = [
            self.orthanc, self.trytond, self.cron, self.updater]

    def check_ports(self):
        """Say what is in the way before anything is done."""
        for service in self.services:
            if not service.running:
                service.check_ports()

    def configure(self):
        trytond_config(
            self.state.trytond_config, self.ports['TRYTON_PORT'],
            self.state.database_folder, self.state.sao,
            sections={'health_orthanc': {
                    'encryption_keys': self.secrets['encryption_key']}})

    def running(self):
        return [service for service in self.services if service.running]

    def stop(self):
        """Stop all, the last started first; return their names."""
        stopped = []
        for service in reversed(self.services):
            if service.running:
                stopped.append(service.name)
            service.stop()
        return stopped

    def code_stamp(self):
        """Changes with what running services have loaded."""
        return source_stamp(*MODULES, 'demo', 'his-utils') + json.dumps(
            self.ports)

    def services_steps(self):
        """Steps that start the services; hospital lies in between."""
        # trytond and the updater need what comes before them to answer
        return [
            self._start(self.orthanc, ('packages', 'ohif'), "Orthanc"),
            self._start(self.trytond, ('database', 'sao'), "trytond"),
            self._start(
                self.cron, ('hospital',), "trytond-cron", self.spread_cron),
            self._start(self.updater, ('hospital',), "Worklist updater"),
            ]

    @staticmethod
    def _start(service, after, text, before=None):
        def start():
            if not service.running:
                if before:
                    before()
                service.start()
                return f"{text} started"
        return Step(service.name, start, after)

    def spread_cron(self):
        """Let no two scheduled actions be due in the same minute.

        trytond-cron takes what is due in one transaction, and with SQLite
        only the first action can write: the next ones wait for its end in
        vain, and so does everybody else meanwhile. After a night's rest
        all of them would be due.
        """
        now = dt.datetime.now().replace(second=0, microsecond=0)
        with contextlib.closing(sqlite3.connect(
                    self.state.database_file, timeout=30)) as connection, \
                connection:
            actions = connection.execute(
                'SELECT id, interval_type, interval_number FROM ir_cron '
                'ORDER BY id').fetchall()
            for place, (id_, unit, number) in enumerate(actions):
                often = unit == 'minutes' and number < 15
                pause = dt.timedelta(minutes=15) if unit == 'minutes' else (
                    dt.timedelta(hours=6, minutes=2 * place + 1))
                # what comes that often looks after triggers: there are none
                connection.execute(
                    'UPDATE ir_cron SET next_call = ?, active = ? '
                    'WHERE id = ?', (str(now + pause), not often, id_))

    def database_step(self, programs):
        return Step(
            'database', lambda: self.make_database(programs), ['venv'])

    def make_database(self, programs):
        """Create the database, or update it to changed modules."""
        state = self.state
        stamp = source_stamp(*MODULES)
        exists = state.database_file.exists()
        if exists and state.stamped('database', stamp):
            return
        state.database_folder.mkdir(exist_ok=True)
        # what is half done is never taken for a database
        name = state.database if exists else f'{state.database}-new'
        path = state.database_folder / f'{name}.sqlite'
        if not exists:
            path.unlink(missing_ok=True)
            path.touch(mode=0o600)
        self.run_admin(programs, name, new=not exists)
        if not exists:
            # readers and the one writer then do not wait for each other
            with sqlite3.connect(path) as connection:
                connection.execute('PRAGMA journal_mode = WAL')
            connection.close()
            path.rename(state.database_file)
        state.stamp('database', stamp)
        return "Database " + ("updated" if exists else "created")

    def run_admin(self, programs, name, new):
        """Install the modules in the database, or update them."""
        state = self.state
        command = [
            state.python, state.venv / 'bin' / 'trytond-admin',
            '-c', state.trytond_config, '-d', name,
            '--activate-dependencies', '-u', *MODULES]
        environment = {**os.environ, 'PYTHONWARNINGS': 'ignore'}
        if new:
            command += ['--email', 'admin@example.org', '--password']
            password = write_private(
                state.run / 'admin.password', self.secrets['admin'])
            environment['TRYTONPASSFILE'] = str(password)
        try:
            ok, log = programs.run('database', command, env=environment)
        finally:
            (state.run / 'admin.password').unlink(missing_ok=True)
        if not ok:
            raise StepError(
                "The database could not be "
                f"{'created' if new else 'updated'} (log: {log}).")

    def hospital_step(self, programs):
        return Step('hospital', lambda: self.make_hospital(programs),
            ['trytond', 'orthanc'])

    def make_hospital(self, programs):
        state = self.state
        stamp = source_stamp(
            'demo/hospital.py', 'demo/people.py') + json.dumps(self.ports)
        if state.stamped('hospital', stamp):
            return
        ok, log = programs.run('hospital', [
                state.python, '-W', 'ignore', '-m', 'demo.hospital'],
            cwd=REPOSITORY, env={
                **os.environ, 'DEMO_STATE': str(state.root)})
        if not ok:
            raise StepError(f"The hospital could not be made (log: {log}).")
        state.stamp('hospital', stamp)
        return "Hospital: people, tests, templates, Orthanc server"
