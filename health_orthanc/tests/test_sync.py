# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import datetime as dt
import unittest
from pathlib import Path
from unittest.mock import patch

import pydicom

from trytond import backend
from trytond.modules.health_orthanc.client import OrthancClient, OrthancError
from trytond.modules.health_orthanc.engine import Synchronization
from trytond.modules.health_orthanc.locking import server_lock
from trytond.modules.health_orthanc.pagewriter import PageWriter
from trytond.pool import Pool
from trytond.tests.test_tryton import with_transaction
from trytond.transaction import Transaction

from .mirror import SyncMixin
from .orthanc import Orthanc, dicom, generate_uid, study

class CountingConnection:
    "A connection that counts the statements of its cursors"

    def __init__(self, connection):
        self.connection = connection
        self.count = 0

    def cursor(self):
        return CountingCursor(self, self.connection.cursor())

    def __getattr__(self, name):
        return getattr(self.connection, name)


class CountingCursor:

    def __init__(self, counter, cursor):
        self.counter = counter
        self.wrapped = cursor

    def execute(self, *args):
        self.counter.count += 1
        return self.wrapped.execute(*args)

    def __iter__(self):
        return iter(self.wrapped)

    def __getattr__(self, name):
        return getattr(self.wrapped, name)


class SyncTestCase(SyncMixin, unittest.TestCase):
    "Test the synchronization with a real Orthanc"

    @with_transaction()
    def test_real_files(self):
        "Test that whatever Orthanc takes is mirrored"
        files = []
        for path in Path(pydicom.__file__).parent.glob('data/**/*'):
            if path.is_file() and path.suffix not in {'.py', '.pyc'}:
                files.append(path.read_bytes())
        with self.orthanc.client() as client:
            stored = 0
            for content in files:
                try:
                    client.store(content)
                    stored += 1
                except OrthancError:
                    pass
            self.assertGreater(stored, 100)
            count = client.statistics()['CountStudies']
        server = self.server()
        run = self.sync(server, 'full')
        self.assertRun(run, new=count, failed=0, missing=0, progress=1)
        self.assertMirrors(server)

    @with_transaction()
    def test_values(self):
        "Test what a study, its series and instances tell"
        uid = generate_uid()
        self.orthanc.store(
            *study(2, 2, StudyInstanceUID=uid, BodyPartExamined='HEAD',
                RequestingPhysician='Req^Uesting',
                ReferringPhysicianName='Ref^Erring', PatientName='张^三'),
            *study(StudyInstanceUID=uid, Modality='MR', PatientName='张^三'))
        server = self.server()
        self.sync(server)
        one, = self.studies(server)
        self.assertEqual(one.study_instance_UID, uid)
        self.assertEqual(one.server, self.orthanc.url)
        self.assertEqual(one.patient_name, '张^三')
        self.assertEqual(one.patient_id, 'TST001GNU')
        self.assertEqual(one.patient_birth_date, dt.date(1985, 10, 4))
        self.assertEqual(one.patient_sex, 'F')
        self.assertEqual(one.date, '20240131')
        self.assertEqual(one.study_date, dt.date(2024, 1, 31))
        self.assertEqual(one.study_time, dt.time(10, 11, 12))
        self.assertEqual(one.modalities, 'CT, MR')
        self.assertEqual((one.series_count, one.instance_count), (3, 5))
        self.assertEqual(one.performing_physician_name, 'Req^Uesting')
        self.assertEqual(one.referring_physician, 'Ref^Erring')
        self.assertTrue(one.last_update)
        self.assertEqual(one.create_uid.id, Transaction().user)
        self.assertTrue(one.create_date)
        series = [s for s in one.series if s.modality == 'CT'][0]
        self.assertEqual(series.body_part, 'HEAD')
        self.assertEqual(series.instance_count, 2)
        self.assertEqual(
            sorted(i.instance_number for i in series.instances), [1, 2])
        self.assertTrue(series.instances[0].sop_class_UID)

    @with_transaction()
    def test_nothing_new(self):
        "Test that an unchanged server costs three requests and no page"
        self.orthanc.store(*study(2, 2))
        server = self.server()
        self.assertRun(self.sync(server), new=1, pages=1)
        with patch.object(
                OrthancClient, '_call_once', autospec=True,
                side_effect=OrthancClient._call_once) as call:
            run = self.sync(server)
        self.assertRun(run, new=0, changed=0, pages=0, progress=1)
        self.assertEqual(call.call_count, 3)

    @with_transaction()
    def test_full_again(self):
        "Test that a full synchronization finds nothing to change"
        self.orthanc.store(*study(2, 2), *study())
        server = self.server()
        self.assertRun(self.sync(server, 'full'), new=2)
        self.assertRun(self.sync(server, 'full'), new=0, changed=0, seen=2)
        self.assertMirrors(server)

    @with_transaction()
    def test_constant_cost(self):
        "Test that requests and statements do not depend on a page's size"
        server = self.server()
        self.orthanc.store(*study())
        self.sync(server)
        costs = {}
        transaction = Transaction()
        for kind in ['new', 'full']:
            for count in [2, 20]:
                for _ in range(count):
                    self.orthanc.store(*study(2, 2))
                if kind == 'full':
                    # so that the full one has something to write
                    Study = Pool().get('gnuhealth.imaging_orthanc.study')
                    Study.delete(Study.search([
                                ('server_config', '=', server.id)]))
                connection = transaction.connection
                transaction.connection = CountingConnection(connection)
                try:
                    with patch.object(
                            OrthancClient, '_call_once', autospec=True,
                            side_effect=OrthancClient._call_once) as call:
                        run = self.sync(server, kind)
                    costs.setdefault(kind, set()).add(
                        (call.call_count, transaction.connection.count))
                finally:
                    transaction.connection = connection
                self.assertRun(run)
                self.assertGreaterEqual(run.new, count)
                self.assertMirrors(server)
        self.assertEqual({len(c) for c in costs.values()}, {1}, costs)
        (requests, statements), = costs['new']
        self.assertLessEqual(requests, 12)
        self.assertLessEqual(statements, 60)

    @with_transaction()
    def test_small_pages(self):
        "Test series and studies that spread over pages"
        self.orthanc.store(
            *study(2, 7), *study(1, 3), *study(3, 1), *study(1, 1))
        for kind in ['full', 'new']:
            server = self.server(url=self.orthanc.url + '/' * (kind == 'new'))
            with patch('trytond.modules.health_orthanc.pages.STUDIES', 2), \
                    patch(
                        'trytond.modules.health_orthanc.pages.INSTANCES', 3):
                run = self.sync(server, kind)
            self.assertRun(run, new=4, changed=0, seen=4, planned=4)
            self.assertGreater(run.pages, 4)
            self.assertMirrors(server)

    @with_transaction()
    def test_additions(self):
        "Test that new instances, series and studies come by the log"
        uid, series = generate_uid(), generate_uid()
        self.orthanc.store(
            dicom(StudyInstanceUID=uid, SeriesInstanceUID=series))
        server = self.server()
        self.assertRun(self.sync(server), new=1)
        self.orthanc.store(dicom(
                StudyInstanceUID=uid, SeriesInstanceUID=series,
                InstanceNumber=2))
        self.assertRun(self.sync(server), new=0, changed=1)
        self.assertMirrors(server)
        self.orthanc.store(dicom(StudyInstanceUID=uid))
        self.assertRun(self.sync(server), new=0, changed=1)
        self.assertMirrors(server)
        one, = self.studies(server)
        self.assertEqual((one.series_count, one.instance_count), (2, 3))
        self.orthanc.store(*study())
        self.assertRun(self.sync(server), new=1, changed=0)
        self.assertMirrors(server)

    @with_transaction()
    def test_deletions(self):
        "Test that what is deleted is noticed, and what comes back too"
        first = list(study(2, 2))
        second = list(study(1, 3))
        self.orthanc.store(*first)
        answers = self.orthanc.store(*second)
        server = self.server()
        self.sync(server)
        kept, = [s for s in self.studies(server)
            if s.orthanc_UID == answers[0]['ParentStudy']]
        kept.notes = "Look again"
        kept.save()
        with self.orthanc.client() as client:
            client.delete('instance', answers[0]['ID'])
            self.assertRun(self.sync(server), missing=0, changed=1)
            self.assertMirrors(server)
            kept, = self.studies(server, orthanc_UID=kept.orthanc_UID)
            self.assertEqual(kept.instance_count, 2)
            self.assertEqual(kept.series[0].instance_count, 2)
            client.delete('study', answers[0]['ParentStudy'])
            self.assertRun(self.sync(server), missing=1)
            self.assertMirrors(server)
            kept, = self.studies(server, orthanc_UID=kept.orthanc_UID)
            self.assertTrue(kept.missing_since)
            self.assertEqual(kept.notes, "Look again")
            self.assertEqual(self.sync(server).pages, 0)
        self.orthanc.store(*second)
        self.assertRun(self.sync(server), missing=0, new=0, changed=1)
        self.assertMirrors(server)
        kept, = self.studies(server, orthanc_UID=kept.orthanc_UID)
        self.assertIsNone(kept.missing_since)
        self.assertEqual(kept.notes, "Look again")
        with self.orthanc.client() as client:
            for id_ in client.ids('series')[:2]:
                client.delete('series', id_)
        self.sync(server)
        self.assertMirrors(server)

    @with_transaction()
    def test_wiped(self):
        "Test a server that lost everything, and was filled again"
        files = [*study(2, 2), *study()]
        with Orthanc() as orthanc:
            orthanc.store(*files)
            server = self.server(orthanc.url)
            self.assertRun(self.sync(server), new=2)
            orthanc.wipe()
            self.assertRun(self.sync(server), missing=2)
            self.assertEqual(self.rows(server, 'study'), [])
            OrthancPatient = Pool().get('gnuhealth.orthanc.patient')
            patient, = OrthancPatient.search([('server', '=', server.id)])
            self.assertTrue(patient.missing_since)
            orthanc.wipe()
            orthanc.store(*files, *study())
            self.assertRun(self.sync(server), new=1, missing=0)
            self.assertEqual(len(self.rows(server, 'study')), 3)
            self.assertIsNone(OrthancPatient(patient.id).missing_since)

    @with_transaction()
    def test_cleared_log(self):
        "Test that a gap in the log of changes is noticed"
        self.orthanc.store(*study())
        server = self.server()
        self.sync(server)
        self.orthanc.store(*study())
        with self.orthanc.client() as client:
            client._call('DELETE', '/changes')
        self.sync(server)
        self.assertMirrors(server)
        self.assertEqual(self.sync(server).pages, 0)
        self.orthanc.store(*study())
        self.assertRun(self.sync(server), new=1)
        self.assertMirrors(server)

    @with_transaction()
    def test_cleared_log_again(self):
        "Test that a gap after an empty log is noticed, with equal counts"
        self.orthanc.store(*study(), *study())
        server = self.server()
        with self.orthanc.client() as client:
            for add in [False, True, True]:
                if add:
                    self.orthanc.store(*study())
                    client.delete('study', client.ids('study')[0])
                client._call('DELETE', '/changes')
                self.assertRun(self.sync(server))
                self.assertMirrors(server)
            self.orthanc.store(*study())
            self.assertRun(self.sync(server), new=1)
            self.assertMirrors(server)

    @with_transaction()
    def test_moving_archive(self):
        "Test what comes and goes while a full synchronization reads"
        stored = [
            self.orthanc.store(*study(1, 2))[0]['ParentStudy']
            for _ in range(6)]
        server = self.server()
        write = PageWriter.write
        pages = []

        def disturb(writer, page):
            if len(pages) < 3:
                pages.append(page)
                self.orthanc.store(*study(2, 1))
                with self.orthanc.client() as client:
                    client.delete('study', stored[len(pages)])
            return write(writer, page)

        with patch('trytond.modules.health_orthanc.pages.STUDIES', 1), \
                patch.object(PageWriter, 'write', disturb):
            self.assertRun(self.sync(server, 'full'))
        self.sync(server)
        self.assertMirrors(server)

    @with_transaction()
    def test_one_uid_two_patients(self):
        "Test one StudyInstanceUID under two PatientIDs"
        uid = generate_uid()
        self.orthanc.store(
            dicom(StudyInstanceUID=uid, PatientID='A'),
            dicom(StudyInstanceUID=uid, PatientID='B'))
        server = self.server()
        self.assertRun(self.sync(server), new=2)
        self.assertEqual(
            sorted(s.patient_id for s in self.studies(server)), ['A', 'B'])

    @with_transaction()
    def test_unmappable(self):
        "Test that what cannot be mapped waits in the quarantine"
        pool = Pool()
        Quarantine = pool.get('gnuhealth.orthanc.sync.quarantine')
        bad = self.orthanc.store(*study(1, 2))[0]
        self.orthanc.store(*study(), *study())
        server = self.server()
        bulk_content = OrthancClient.bulk_content

        def spoil(client, ids, *args, **kwargs):
            answers = bulk_content(client, ids, *args, **kwargs)
            for answer in answers:
                if answer['ID'] == bad['ID']:
                    del answer['MainDicomTags']['SOPInstanceUID']
            return answers

        with patch.object(OrthancClient, 'bulk_content', spoil):
            run = self.sync(server, 'full')
            self.assertRun(run, new=3)
            self.assertGreater(run.failed, 0)
            item, = Quarantine.search([('server', '=', server.id)])
            self.assertEqual(
                (item.level, item.orthanc_id), ('instance', bad['ID']))
            self.assertIn("no SOPInstanceUID", item.reason)
            tries = item.tries
            self.assertRun(self.sync(server))
            self.assertGreater(Quarantine(item.id).tries, tries)
        self.assertRun(self.sync(server), failed=0)
        self.assertFalse(Quarantine.search([('server', '=', server.id)]))
        self.assertMirrors(server)

    @with_transaction()
    def test_unwritable(self):
        "Test that a study the database refuses does not stop the others"
        Quarantine = Pool().get('gnuhealth.orthanc.sync.quarantine')
        bad = self.orthanc.store(*study(2, 2))[0]['ParentStudy']
        for _ in range(5):
            self.orthanc.store(*study())
        server = self.server()
        write = PageWriter.write

        def refuse(writer, page):
            outcome = write(writer, page)
            if bad in {s['ID'] for s in page.studies}:
                raise ValueError('refused')
            return outcome

        with patch.object(PageWriter, 'write', refuse), \
                self.assertLogs(
                    'trytond.modules.health_orthanc.engine', 'ERROR'):
            run = self.sync(server, 'full')
        self.assertRun(run, new=5)
        item, = Quarantine.search([('server', '=', server.id)])
        self.assertEqual((item.level, item.orthanc_id), ('study', bad))
        self.assertEqual(len(self.rows(server, 'study')), 5)
        self.assertRun(self.sync(server), new=1, failed=0)
        self.assertFalse(Quarantine.search([('server', '=', server.id)]))
        self.assertMirrors(server)

    @with_transaction()
    def test_quarantined_is_gone(self):
        "Test that what was deleted meanwhile leaves the quarantine"
        Quarantine = Pool().get('gnuhealth.orthanc.sync.quarantine')
        self.orthanc.store(*study())
        server = self.server()
        self.sync(server)
        Quarantine.create([{
                    'server': server.id,
                    'level': 'study',
                    'orthanc_id': 'never-there',
                    'tries': 1,
                    }])
        self.assertRun(self.sync(server))
        self.assertFalse(Quarantine.search([('server', '=', server.id)]))

    @with_transaction()
    def test_failing_servers(self):
        "Test that a server that fails says why and costs the others nothing"
        pool = Pool()
        Run = pool.get('gnuhealth.orthanc.sync.run')
        Study = pool.get('gnuhealth.imaging_orthanc.study')
        self.orthanc.store(*study())
        down = self.server('http://127.0.0.1:9')
        refused = self.server(
            self.orthanc.url.replace('127.0.0.1', 'localhost'), 'wrong')
        good = self.server()
        Study.get_new_studies()
        states = {}
        for server in [down, refused, good]:
            run, = Run.search([('server', '=', server.id)])
            states[server] = run.state
            if server != good:
                self.assertIn(server.label, run.message)
                self.assertNotIn('wrong', run.message)
        self.assertEqual(states, {
                down: 'failed', refused: 'failed', good: 'done'})
        self.assertMirrors(good)
        self.assertFalse(self.rows(down, 'study'))

    @with_transaction()
    def test_one_at_a_time(self):
        "Test that a second run of a server leaves"
        server = self.server()
        own = backend.name == 'sqlite'
        with server_lock(server.id, own_transaction=own):
            if backend.name == 'sqlite':
                run = self.sync(server)
                self.assertEqual(run.state, 'cancelled')
                self.assertIn("Another synchronization", run.message)
        self.assertRun(self.sync(server))

    @with_transaction()
    def test_killed_run(self):
        "Test that a run that was killed is told so by the next"
        Run = Pool().get('gnuhealth.orthanc.sync.run')
        server = self.server()
        killed, = Run.create([{
                    'server': server.id,
                    'kind': 'full',
                    'trigger': 'user',
                    'state': 'running',
                    }])
        self.assertRun(self.sync(server))
        self.assertEqual(Run(killed.id).state, 'failed')

    @with_transaction()
    def test_cancel(self):
        "Test that a cancelled run stops at its next page"
        Run = Pool().get('gnuhealth.orthanc.sync.run')
        for _ in range(4):
            self.orthanc.store(*study())
        server = self.server()
        write = PageWriter.write

        def cancel(writer, page):
            outcome = write(writer, page)
            if len(written) == 1:
                Run.cancel(Run.search([
                            ('server', '=', server.id),
                            ('state', '=', 'running'),
                            ]))
            written.append(page)
            return outcome

        written = []
        with patch('trytond.modules.health_orthanc.pages.STUDIES', 1), \
                patch.object(PageWriter, 'write', cancel):
            run = self.sync(server, 'full')
        self.assertEqual(len(written), 2)
        self.assertEqual(len(self.rows(server, 'study')), 1)
        Run.cancel([run])
        self.assertRun(self.sync(server))
        self.assertMirrors(server)

    @with_transaction()
    def test_wizards(self):
        "Test that the wizards queue runs and open them"
        pool = Pool()
        Run = pool.get('gnuhealth.orthanc.sync.run')
        self.orthanc.store(*study())
        server = self.server()
        for name, state, kind in [
                ('full_synchronize', 'synchronize', 'full'),
                ('get_new_studies', 'update', 'new')]:
            with self.subTest(wizard=name):
                Wizard = pool.get(
                    'gnuhealth.imaging_orthanc.' + name, type='wizard')
                session_id, start, _ = Wizard.create()
                view = Wizard.execute(session_id, {}, start)['view']
                self.assertIn(server.id, view['defaults']['servers'])
                result = Wizard.execute(session_id, {
                        'start': {'servers': [server.id]}}, state)
                action, _ = result['actions'][0]
                self.assertEqual(
                    action['res_model'], 'gnuhealth.orthanc.sync.run')
                self.assertIn('%d' % server.id, action['pyson_domain'])
                run, = Run.search([
                        ('server', '=', server.id),
                        ('kind', '=', kind),
                        ])
                self.assertEqual(
                    (run.state, run.trigger, run.progress),
                    ('queued', 'user', 0))
                Synchronization(run.id, commit=False).execute()
                self.assertRun(Run(run.id), progress=1)
        self.assertMirrors(server)
        self.assertTrue(server.last_synchronized)
        self.assertTrue(server.orthanc_version)
        self.assertGreater(server.last_changed_index, 0)

    @with_transaction()
    def test_cron(self):
        "Test that the scheduler queues one task per validated server"
        pool = Pool()
        Cron = pool.get('ir.cron')
        ModelData = pool.get('ir.model.data')
        Run = pool.get('gnuhealth.orthanc.sync.run')
        Queue = pool.get('ir.queue')
        Server = pool.get('gnuhealth.orthanc.config')
        good = self.server()
        failing = self.server('http://127.0.0.1:9')
        unknown = self.server('http://127.0.0.1:10')
        Server.write([unknown], {'validated': False})
        self.sync(failing)
        cron = Cron(ModelData.get_id(
                'health_orthanc', 'cron_synchronize_servers'))
        self.assertEqual(
            (cron.interval_number, cron.interval_type), (15, 'minutes'))
        before = Queue.search([], count=True)
        Cron.run_once([cron])
        self.assertEqual(Queue.search([], count=True), before + 2)
        runs = Run.search([('state', '=', 'queued')])
        self.assertEqual({r.server for r in runs}, {good, failing})
        # the last task is the first to be taken without a worker
        tasks = Queue.search([], order=[('id', 'DESC')], limit=2)
        self.assertEqual(
            [Run(t.data['instances'][0]).server for t in tasks],
            [good, failing])
        Cron.run_once([cron])
        self.assertEqual(
            len(Run.search([('state', '=', 'queued')])), 2)
        Run.write(runs, {
                'queued': dt.datetime.now() - dt.timedelta(hours=2)})
        before = Queue.search([], count=True)
        Cron.run_once([cron])
        self.assertEqual(Queue.search([], count=True), before + 2)
        Run.write(runs, {
                'state': 'running',
                'heartbeat': dt.datetime.now() - dt.timedelta(hours=2)})
        Cron.run_once([cron])
        self.assertEqual(Queue.search([], count=True), before + 4)
        self.assertEqual({r.state for r in Run.browse(runs)}, {'queued'})

    @with_transaction()
    def test_old_runs(self):
        "Test that the nightly comparison forgets runs of long ago"
        Run = Pool().get('gnuhealth.orthanc.sync.run')
        server = self.server()
        old, young = Run.create([{
                    'server': server.id,
                    'kind': 'new',
                    'trigger': 'orthanc',
                    'state': 'done',
                    'ended': dt.datetime.now() - dt.timedelta(days=days),
                    } for days in [31, 29]])
        Run.reconcile_servers()
        self.assertEqual(
            [(r.kind, r.state) for r in Run.search([])],
            [('reconcile', 'queued'), ('new', 'done')])

    @with_transaction()
    def test_buttons(self):
        "Test the buttons of the server and of the quarantine"
        pool = Pool()
        Quarantine = pool.get('gnuhealth.orthanc.sync.quarantine')
        Run = pool.get('gnuhealth.orthanc.sync.run')
        Server = pool.get('gnuhealth.orthanc.config')
        server = self.server()
        Server.synchronize([server])
        run, = Run.search([('server', '=', server.id)])
        self.assertEqual((run.kind, run.state), ('new', 'queued'))
        Run.cancel([run])
        self.assertEqual(Run(run.id).state, 'cancelled')
        item, = Quarantine.create([{
                    'server': server.id,
                    'level': 'study',
                    'orthanc_id': 'x',
                    'tries': 9,
                    }])
        Quarantine.retry([item])
        self.assertEqual(Quarantine(item.id).tries, 0)
        self.assertEqual(len(Run.search([
                        ('server', '=', server.id),
                        ('state', '=', 'queued'),
                        ])), 1)

    @with_transaction()
    def test_same_as_in_the_background(self):
        "Test full_synchronize, which commits nothing"
        Study = Pool().get('gnuhealth.imaging_orthanc.study')
        self.orthanc.store(*study(2, 2))
        server = self.server()
        with patch.object(Transaction, 'commit') as commit:
            Study.full_synchronize()
            self.assertMirrors(server)
            self.orthanc.store(*study())
            Study.get_new_studies()
            self.assertMirrors(server)
            commit.assert_not_called()
