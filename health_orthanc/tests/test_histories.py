# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import json
import os
import threading
import time
import unittest
from unittest.mock import patch

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine, rule, run_state_machine_as_test)
from werkzeug.test import Client

from trytond import backend
from trytond.modules.health_orthanc import routes
from trytond.modules.health_orthanc.exceptions import SeriesGoneError
from trytond.pool import Pool
from trytond.transaction import Transaction
from trytond.worker import run_task
from trytond.wsgi import app

from .mirror import CommittingMixin
from .orthanc import dicom, generate_uid, study

# how many; `make long` takes more
HISTORIES = int(os.environ.get('TEST_SYNC_HISTORIES') or 3)
LEVELS = ['study', 'series', 'instance']
KINDS = st.sampled_from(['full', 'new', 'reconcile'])


class History(RuleBasedStateMachine):
    """What happens to an Orthanc and to its mirror, in any order.

    `case` is the test that runs it.
    """

    def __init__(self, case):
        super().__init__()
        self.case = case
        self.orthanc = case.orthanc
        self.orthanc.clear()
        case.new_server()
        with case.transaction():
            Server = Pool(case.database).get('gnuhealth.orthanc.config')
            self.key = Server.new_notification_key(Server(case.server_id))
        self.notes = {}

    def choose(self, level, number):
        with self.orthanc.client() as client:
            ids = sorted(client.ids(level))
        return ids[number % len(ids)] if ids else None

    # What happens to Orthanc, which keeps three patients only

    @rule(patient=st.integers(0, 4), series=st.integers(1, 2),
        instances=st.integers(1, 3))
    def store(self, patient, series, instances):
        self.orthanc.store(
            *study(series, instances, PatientID=f'P{patient}'))

    @rule(number=st.integers(0, 9), same=st.booleans())
    def add(self, number, same):
        id_ = self.choose('series', number)
        if id_:
            with self.orthanc.client() as client:
                series, = client.bulk_content([id_])
                parent, = client.bulk_content([id_], 'study')
            self.orthanc.store(dicom(
                    PatientID=parent['PatientMainDicomTags']['PatientID'],
                    StudyInstanceUID=parent['MainDicomTags'][
                        'StudyInstanceUID'],
                    SeriesInstanceUID=series['MainDicomTags'][
                        'SeriesInstanceUID'] if same else generate_uid()))

    @rule(level=st.sampled_from(['patient', *LEVELS]),
        number=st.integers(0, 9))
    def delete(self, level, number):
        id_ = self.choose(level, number)
        if id_:
            with self.orthanc.client() as client:
                client.delete(level, id_)

    @rule(number=st.integers(0, 9), keep=st.booleans(),
        replaced=st.sampled_from([
                ('patient', 'patients', 'PatientID'),
                ('study', 'studies', 'StudyDescription'),
                ('series', 'series', 'SeriesDescription')]))
    def modify(self, number, keep, replaced):
        "Rename the patient or describe otherwise, which makes new resources"
        level, path, tag = replaced
        id_ = self.choose(level, number)
        if id_:
            with self.orthanc.client() as client:
                client._call('POST', f'/{path}/{id_}/modify', data=json.dumps({
                            'Replace': {tag: generate_uid()},
                            'Force': True,
                            'KeepSource': keep,
                            }))

    @rule()
    def restart(self):
        self.orthanc.stop()
        self.orthanc.start()

    @rule()
    def wipe(self):
        self.orthanc.wipe()

    @rule()
    def clear_changes(self):
        with self.orthanc.client() as client:
            client._call('DELETE', '/changes')

    # What happens to the mirror

    @rule(kind=KINDS)
    def synchronize(self, kind):
        run = self.case.sync(kind)
        self.case.assertEqual(run['state'], 'done', run['message'])
        self.check()

    @rule(kind=KINDS, commit=st.integers(1, 12), after=st.booleans())
    def crash(self, kind, commit, after):
        "End without a word before or after some commit"
        real, left = Transaction.commit, [commit]

        def dying(transaction):
            left[0] -= 1
            if left[0] or after:
                real(transaction)
            if not left[0]:
                os._exit(0)

        def work():
            Transaction.commit = dying
            run_task(Pool(self.case.database), task)

        with self.case.small_pages():
            _, task = self.case.submit(kind)
            os.waitpid(self.case.fork(work), 0)

    @rule(kinds=st.tuples(KINDS, KINDS), opened=st.booleans(),
        number=st.integers(0, 9))
    def two_at_once(self, kinds, opened, number):
        threads = [self.start(kind) for kind in kinds]
        if opened:
            self.open(number)
        for thread in threads:
            thread.join()

    @rule(kind=st.none() | KINDS)
    def orthanc_calls(self, kind):
        "Orthanc says that something changed, maybe while a run passes by"
        thread = self.start(kind) if kind else None
        self.orthanc.store(dicom(PatientID='P0'))
        answer = Client(app).post(
            f'/{self.case.database}/health_orthanc/changed',
            data=b'{}', headers={'Authorization': f'Bearer {self.key}'})
        self.case.assertEqual(answer.status_code, 204)
        if thread:
            thread.join()
        self.case.wait_for_calls()
        self.check()

    def start(self, kind):
        _, task = self.case.submit(kind)
        thread = threading.Thread(
            target=run_task, args=(Pool(self.case.database), task))
        thread.start()
        return thread

    @rule(number=st.integers(0, 9))
    def open(self, number):
        "A person opens a series whose images are not fetched yet"
        for _ in range(20):
            try:
                with self.case.transaction():
                    Series = Pool(self.case.database).get(
                        'gnuhealth.imaging_orthanc.study_series')
                    series = Series.search([
                            ('study.server_config', '=', self.case.server_id),
                            ('missing_since', '=', None)])
                    if series:
                        Series.fetch_images([series[number % len(series)]])
                return
            except SeriesGoneError:
                return
            except backend.DatabaseOperationalError:
                # what the server does by itself when a client asks
                time.sleep(.1)

    @rule()
    def switch(self):
        "An administrator has images fetched on demand, or no more"
        with self.case.transaction():
            Server = Pool(self.case.database).get('gnuhealth.orthanc.config')
            server = Server(self.case.server_id)
            server.images_on_demand = not server.images_on_demand
            server.save()

    @rule(number=st.integers(0, 9))
    def take_notes(self, number):
        "A person writes about a study, which must never be lost"
        with self.case.transaction():
            Study = Pool(self.case.database).get(
                'gnuhealth.imaging_orthanc.study')
            studies = Study.search([
                    ('server_config', '=', self.case.server_id)])
            if studies:
                one = studies[number % len(studies)]
                one.notes = f"Note {len(self.notes)}"
                one.save()
                self.notes[one.orthanc_UID] = one.notes

    def check(self):
        self.case.assertMirrors()
        self.case.assertNotes(self.notes)

    def teardown(self):
        run = self.case.sync()
        self.case.assertEqual(run['state'], 'done', run['message'])
        self.check()


class HistoriesTestCase(CommittingMixin, unittest.TestCase):
    "Test that the mirror equals Orthanc in the end"

    orthanc_options = {'MaximumPatientCount': 3}

    def setUp(self):
        super().setUp()
        delay = patch.object(routes, 'DELAY', routes.DELAY / 20)
        delay.start()
        self.addCleanup(delay.stop)

    def wait_for_calls(self):
        "Wait until what Orthanc asked for is done"
        deadline = time.monotonic() + 120
        while True:
            with self.transaction():
                Run = Pool(self.database).get('gnuhealth.orthanc.sync.run')
                runs = [(r.state, r.message) for r in Run.search([
                            ('server', '=', self.server_id),
                            ('trigger', '=', 'orthanc')])]
            if all(state == 'done' for state, _ in runs):
                return
            self.assertLess(time.monotonic(), deadline, runs)
            time.sleep(.05)

    def assertNotes(self, notes):
        with self.transaction():
            Study = Pool(self.database).get('gnuhealth.imaging_orthanc.study')
            found = {s.orthanc_UID: s.notes for s in Study.search([
                        ('server_config', '=', self.server_id),
                        ('notes', '!=', None)])}
        self.assertEqual(found, notes)

    def test_histories(self):
        "Test what happens to Orthanc and its mirror in any order"
        run_state_machine_as_test(
            lambda: History(self), settings=settings(
                max_examples=HISTORIES, stateful_step_count=10,
                # a history is too slow to be made shorter
                phases=[Phase.generate], deadline=None, database=None,
                suppress_health_check=list(HealthCheck)))
