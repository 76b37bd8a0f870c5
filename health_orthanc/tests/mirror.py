# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"What the tests of the synchronization share"
import os
import sqlite3
import tempfile
import uuid
from pathlib import Path
from unittest.mock import patch

from trytond import backend
from trytond.config import config
from trytond.modules.health_orthanc.engine import Synchronization
from trytond.pool import Pool
from trytond.tests.test_tryton import DB_NAME, activate_module, drop_db
from trytond.transaction import Transaction
from trytond.worker import run_task

from .orthanc import PASSWORD, USER, Orthanc, study

LEVELS = ['study', 'series', 'instance']


class SyncMixin:
    "A real Orthanc and a database that mirrors it"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        drop_db()
        activate_module(['health_orthanc', 'health_imaging_worklist'])
        cls.orthanc = Orthanc()
        cls.orthanc.start()

    @classmethod
    def tearDownClass(cls):
        cls.orthanc.__exit__(None, None, None)
        drop_db()
        super().tearDownClass()

    def setUp(self):
        super().setUp()
        self.orthanc.clear()

    def server(self, url=None, password=PASSWORD):
        Server = Pool().get('gnuhealth.orthanc.config')
        server, = Server.create([{
                    'label': uuid.uuid4().hex,
                    'domain': url or self.orthanc.url,
                    'user': USER,
                    'password': password,
                    'validated': True,
                    }])
        return server

    def sync(self, server, kind='new'):
        "Synchronize in the test's transaction and return the run"
        Run = Pool().get('gnuhealth.orthanc.sync.run')
        run, = Run.create([{
                    'server': server.id,
                    'kind': kind,
                    'trigger': 'script',
                    }])
        Synchronization(run.id, commit=False).execute()
        return Run(run.id)

    def rows(self, server, level):
        "Orthanc's identifiers of what the mirror holds"
        pool = Pool()
        Study = pool.get('gnuhealth.imaging_orthanc.study')
        Series = pool.get('gnuhealth.imaging_orthanc.study_series')
        Instance = pool.get('gnuhealth.imaging_orthanc.series_instances')
        here = ('server_config', '=', server.id)
        there = ('missing_since', '=', None)
        found = {
            'study': lambda: Study.search([here, there]),
            'series': lambda: Series.search([
                    ('study', 'where', [here, there]), there]),
            'instance': lambda: Instance.search([
                    ('series', 'where', [
                            ('study', 'where', [here, there]), there])]),
            }[level]()
        return sorted(r.orthanc_UID for r in found)

    def studies(self, server, **values):
        Study = Pool().get('gnuhealth.imaging_orthanc.study')
        return Study.search([
                ('server_config', '=', server.id),
                *[(n, '=', v) for n, v in values.items()]])

    def assertMirrors(self, server):
        "The mirror equals Orthanc"
        with self.orthanc.client() as client:
            for level in LEVELS:
                with self.subTest(level=level):
                    self.assertEqual(
                        self.rows(server, level), sorted(client.ids(level)))

    def assertRun(self, run, **values):
        self.assertEqual(
            (run.state, run.message),
            (values.pop('state', 'done'), values.pop('message', None)))
        for name, value in values.items():
            with self.subTest(name=name):
                self.assertEqual(getattr(run, name), value)


class Killed(BaseException):
    "What ends a process without a word"


class CommittingMixin:
    """A real Orthanc and a database to which tasks commit.

    SQLite's database in memory has but one connection, so that there a copy
    in a file is used.
    """

    orthanc_options = {}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        drop_db()
        activate_module(['health_orthanc', 'health_imaging_worklist'])
        cls.database = DB_NAME
        if backend.name == 'sqlite':
            cls._copy_database()
        cls.orthanc = Orthanc(**cls.orthanc_options)
        cls.addClassCleanup(cls.orthanc.__exit__, None, None, None)
        cls.orthanc.start()

    @classmethod
    def tearDownClass(cls):
        drop_db()
        super().tearDownClass()

    @classmethod
    def _copy_database(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.database = 'background'
        target = sqlite3.connect(
            Path(folder.name) / ('%s.sqlite' % cls.database))
        with Transaction().start(DB_NAME, 0) as transaction:
            transaction.connection.backup(target)
        target.close()
        path = config.get('database', 'path')
        cls.addClassCleanup(config.set, 'database', 'path', path)
        config.set('database', 'path', folder.name)
        pool = Pool(cls.database)
        cls.addClassCleanup(Pool.stop, cls.database)
        with Transaction().start(cls.database, 0):
            pool.init()

    def setUp(self):
        super().setUp()
        self.orthanc.clear()
        self.new_server()

    def new_server(self):
        with self.transaction():
            Server = Pool(self.database).get('gnuhealth.orthanc.config')
            server, = Server.create([{
                        'label': uuid.uuid4().hex,
                        # one URL is one server
                        'domain': self.orthanc.url + '/' * (
                            1 + Server.search([], count=True)),
                        'user': USER,
                        'password': PASSWORD,
                        'validated': True,
                        }])
            self.server_id = server.id

    def tearDown(self):
        with self.transaction():
            Server = Pool(self.database).get('gnuhealth.orthanc.config')
            Server.write(
                [Server(self.server_id)], {'validated': False})
        super().tearDown()

    def transaction(self):
        return Transaction().start(self.database, 1)

    def submit(self, kind='new'):
        "Queue a run as a user does and return its id and that of its task"
        pool = Pool(self.database)
        with self.transaction() as transaction:
            Run = pool.get('gnuhealth.orthanc.sync.run')
            Server = pool.get('gnuhealth.orthanc.config')
            run, = Run.submit([Server(self.server_id)], kind, 'user')
            # with a worker there is none
            tasks = list(transaction.tasks)
            transaction.tasks.clear()
        return run.id, tasks[0]

    def sync(self, kind='new'):
        run, task = self.submit(kind)
        run_task(Pool(self.database), task)
        return self.read(run)

    def read(self, run):
        with self.transaction():
            Run = Pool(self.database).get('gnuhealth.orthanc.sync.run')
            values, = Run.read([run], [
                    'state', 'message', 'new', 'changed', 'missing',
                    'pages'])
        return values

    def mirrored(self, level='instance'):
        "Orthanc's identifiers of what the mirror holds"
        model, path = {
            'study': ('study', ''),
            'series': ('study_series', 'study.'),
            'instance': ('series_instances', 'series.study.'),
            }[level]
        domain = [
            (path + 'server_config', '=', self.server_id),
            (path + 'missing_since', '=', None)]
        if level == 'series':
            domain.append(('missing_since', '=', None))
        if level == 'instance':
            domain.append(('series.missing_since', '=', None))
        with self.transaction():
            Model = Pool(self.database).get(
                'gnuhealth.imaging_orthanc.' + model)
            return sorted(r.orthanc_UID for r in Model.search(domain))

    def assertMirrors(self):
        """The mirror equals Orthanc

        On demand the instances do of those series that were opened, and the
        numbers of all.
        """
        with self.transaction():
            pool = Pool(self.database)
            Server = pool.get('gnuhealth.orthanc.config')
            Series = pool.get('gnuhealth.imaging_orthanc.study_series')
            on_demand = Server(self.server_id).images_on_demand
            series = [
                (s.orthanc_UID, s.instance_count, s.images_pending)
                for s in Series.search([
                        ('study.server_config', '=', self.server_id),
                        ('study.missing_since', '=', None),
                        ('missing_since', '=', None)])]
        with self.orthanc.client() as client:
            there = {level: sorted(client.ids(level)) for level in LEVELS}
            if on_demand:
                answers = client.bulk_content([uid for uid, *_ in series])
                members = {a['ID']: a['Instances'] for a in answers}
                self.assertEqual(
                    {uid: count for uid, count, _ in series},
                    {uid: len(ids) for uid, ids in members.items()})
                there['instance'] = sorted(
                    id_ for uid, _, pending in series if not pending
                    for id_ in members[uid])
            else:
                self.assertFalse(any(pending for *_, pending in series))
        for level in LEVELS:
            self.assertEqual(self.mirrored(level), there[level], level)

    def store(self, count):
        for _ in range(count):
            self.orthanc.store(*study(2, 2))

    def fork(self, work):
        "Do something in another process and return its number"
        process = os.fork()
        if not process:
            status = 1
            try:
                work()
                status = 0
            finally:
                # nothing of what the tests have open is closed
                os._exit(status)
        return process

    def small_pages(self):
        return patch('trytond.modules.health_orthanc.pages.STUDIES', 1)
