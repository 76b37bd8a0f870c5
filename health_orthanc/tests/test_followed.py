# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import datetime as dt
import unittest

from trytond.modules.health_imaging.tests.tools import (
    DOCTOR, IMAGING, IMAGING_ADMIN, create_patient, create_user)
from trytond.modules.health_orthanc.exceptions import (
    LinkContradictionError, LinkReasonError)
from trytond.modules.health_orthanc.matching import Matcher
from trytond.modules.health_orthanc.timeline import SHOWN
from trytond.pool import Pool
from trytond.tests.test_tryton import (
    activate_module, drop_db, with_transaction)
from trytond.transaction import Transaction, check_access

from .test_linking import STUDY, LinkingMixin

FRONT_DESK = 'health.group_health_frontdesk'
IMAGING_OF = 'gnuhealth.orthanc.patient_imaging'
PACS = 'health_orthanc.group_imaging_orthanc'


class FollowedTestCase(LinkingMixin, unittest.TestCase):
    "Test that studies follow the patient, in GNU Health and in Orthanc"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        drop_db()
        activate_module(['health_orthanc', 'health_imaging_worklist'])

    @classmethod
    def tearDownClass(cls):
        drop_db()
        super().tearDownClass()

    def merge(self, source, destination):
        "Replace the patient's party as Tryton's wizard does"
        Wizard, session = self.wizard('party.replace')
        with Transaction().set_context(
                _skip_warnings=True):
            Wizard.execute(session, {'ask': {
                        'source': source.party.id,
                        'destination': destination.party.id,
                        }}, 'replace')

    @with_transaction()
    def test_merge(self):
        "The imaging of a patient goes to the one who replaces them"
        pool = Pool()
        Study = pool.get(STUDY)
        self.hospital()
        twice = create_patient("Ana", "Betz", 'TST009GNU')
        request = self.request(twice)
        linked = self.arrive('TST009GNU', name=None)
        Matcher.match_rows(lambda table: table.id == linked.id)
        linked = Study(linked.id)
        linked.link_to(twice, request)
        self.merge(twice, self.patient)
        linked = Study(linked.id)
        for record in [
                linked, linked.request, linked.imaging_test,
                linked.orthanc_patient]:
            self.assertEqual(record.patient, self.patient, record)
        # what comes later under the old number is theirs, too
        later = self.arrive('TST009GNU', name=None)
        Matcher.match_rows(lambda table: table.id == later.id)
        later = Study(later.id)
        self.assertEqual(
            (later.patient, later.link_origin), (self.patient, 'puid'))
        # and speaks against others
        joe = create_patient("Joe", "Doe", 'TST002GNU')
        with self.assertRaises(LinkContradictionError):
            later.check_contradictions(joe)

    @with_transaction()
    def test_birth_date(self):
        "A corrected birth date has the links of rules verified"
        Study = Pool().get(STUDY)
        self.hospital()
        born = self.patient.party.dob
        by_rule = self.arrive('TST001GNU', birth=born)
        by_person = self.arrive('TST001GNU', birth=born)
        by_person.link_to(self.patient)
        Matcher.match_rows(lambda table: table.id == by_rule.id)
        self.assertFalse(Study(by_rule.id).to_verify)
        self.patient.party.dob = dt.date(1999, 9, 9)
        self.patient.party.save()
        self.assertTrue(Study(by_rule.id).to_verify)
        self.assertFalse(Study(by_person.id).to_verify)

    @with_transaction()
    def test_reason(self):
        "An administrator links Orthanc's patient across a contradiction"
        pool = Pool()
        Study = pool.get(STUDY)
        OrthancPatient = pool.get('gnuhealth.orthanc.patient')
        self.hospital()
        joe = create_patient("Joe", "Doe", 'TST002GNU')
        study = self.arrive('TST001GNU')
        row = study.orthanc_patient
        with Transaction().set_user(create_user('imaging', IMAGING).id), \
                self.assertRaises(LinkContradictionError):
            OrthancPatient.write(
                [row], {'patient': joe.id, 'link_reason': "Wrong badge"})
        boss = create_user('boss', IMAGING_ADMIN)
        with Transaction().set_user(boss.id):
            with self.assertRaises(LinkReasonError):
                OrthancPatient.write([row], {'patient': joe.id})
            OrthancPatient.write(
                [row], {'patient': joe.id, 'link_reason': "Wrong badge"})
        row, study = OrthancPatient(row.id), Study(study.id)
        self.assertEqual(
            (study.patient, study.link_origin, study.link_user,
                study.link_reason),
            (joe, 'patient', boss, "Wrong badge"))
        self.assertEqual((row.link_user, bool(row.link_date)), (boss, True))
        self.assertEqual(self.audit()[0].reason, "Wrong badge")

        OrthancPatient.write([row], {'patient': None})
        study = Study(study.id)
        self.assertEqual((study.patient, study.link_reason), (None, None))
        self.assertEqual(self.audit()[0].event, 'unlink')

    @with_transaction()
    def test_no_patient_id(self):
        "Orthanc's patient without PatientID is nobody in particular"
        OrthancPatient = Pool().get('gnuhealth.orthanc.patient')
        self.hospital()
        row = self.arrive(None).orthanc_patient
        with self.assertRaises(LinkContradictionError):
            OrthancPatient.write([row], {
                    'patient': self.patient.id, 'link_reason': "Known"})

    def timeline(self, user=None):
        "What the patient's form shows to the user"
        with Transaction().set_user(
                user.id if user else Transaction().user), check_access():
            Patient = Pool().get('gnuhealth.patient')
            Imaging = Pool().get(IMAGING_OF)
            row, = Patient.read([self.patient.id], ['imaging'])
            ids = row['imaging']
            if not ids:
                return []
            rows = Imaging.read(ids, [
                    'date', 'study', 'request', 'description', 'modality',
                    'state', 'ohif_viewer_link'])
            return sorted(rows, key=lambda row: ids.index(row['id']))

    @with_transaction()
    def test_timeline(self):
        "The patient's form shows studies and requests, the newest first"
        self.hospital()
        done = self.request()
        old = self.arrive('TST001GNU', study_date=dt.date(2020, 1, 2))
        old.link_to(self.patient, done)
        new = self.arrive('TST001GNU', description="Skull")
        new.link_to(self.patient)
        waiting = self.request(
            scheduled_date=dt.datetime(2026, 3, 9, 12))
        self.request(create_patient("Joe", "Doe", 'TST002GNU'))
        for role, expected in [
                (DOCTOR, [waiting, new, old]),
                (IMAGING, [waiting, new, old]),
                (PACS, [new, old]),
                (FRONT_DESK, [])]:
            with self.subTest(role=role):
                rows = self.timeline(create_user(role, role))
                self.assertEqual(
                    [(r['study'], r['date']) for r in rows],
                    [(None, dt.date(2026, 3, 9)) if r == waiting
                        else (r.id, r.study_date) for r in expected])
                for row in rows:
                    self.assertEqual(
                        bool(row['ohif_viewer_link']), bool(row['study']))
                if rows:
                    self.assertIn("Skull", [r['description'] for r in rows])

    @with_transaction()
    def test_long_timeline(self):
        "The form of a patient with many studies shows the newest of them"
        pool = Pool()
        self.hospital()
        study = self.arrive('TST001GNU', patient=self.patient.id)
        pool.get(STUDY).create([{
                    'server_config': study.server_config.id,
                    'orthanc_UID': f'many-{i}',
                    'study_instance_UID': f'1.2.{i}',
                    'patient': self.patient.id,
                    'study_date': dt.date(2020, 1, 1) + dt.timedelta(days=i),
                    } for i in range(SHOWN + 20)])
        rows = self.timeline()
        self.assertEqual(len(rows), SHOWN)
        dates = [r['date'] for r in rows]
        self.assertEqual(dates, sorted(dates, reverse=True))

    @with_transaction()
    def test_candidates(self):
        "A result without studies shows those that may be its own"
        pool = Pool()
        Request = pool.get('gnuhealth.imaging.test.request')
        Result = pool.get('gnuhealth.imaging.test.result')
        self.hospital()
        result, = Request.create_results([self.request()])
        one = self.arrive('TST001GNU')
        self.arrive(name='DOE^JOE')
        with Transaction().set_user(create_user('doctor', DOCTOR).id), \
                check_access():
            row, = Result.read([result.id], ['candidates'])
            self.assertEqual(list(row['candidates']), [one.id])
        one.link_to(self.patient, result.request)
        self.assertEqual(Result(result.id).candidates, ())
