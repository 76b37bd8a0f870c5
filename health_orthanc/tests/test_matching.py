# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import datetime as dt
import unittest
import uuid
from unittest.mock import patch

from trytond.modules.health_imaging.tests.tools import (
    company_context, create_hospital, create_patient, create_professional,
    create_test)
from trytond.modules.health_orthanc.pages import Page
from trytond.modules.health_orthanc.pagewriter import PageWriter
from trytond.pool import Pool
from trytond.tests.test_tryton import (
    activate_module, drop_db, with_transaction)
from trytond.transaction import Transaction


class MatchingMixin:
    "Orders, and studies that arrive"

    def hospital(self):
        pool = Pool()
        Server = pool.get('gnuhealth.orthanc.config')
        self.institution = create_hospital()
        Transaction().set_context(company_context())
        self.doctor = create_professional(
            "Cara", "Cordara", user=Transaction().user,
            institution=self.institution)
        self.ana = create_patient()
        self.joe = create_patient(
            "Joe", "Doe", ref='TST002GNU', gender='m',
            dob=dt.date(1970, 5, 6))
        self.ct = create_test()
        self.mr = create_test('MRHEAD', "MR head", 'mri')
        self.server, = Server.create([{
                    'label': uuid.uuid4().hex,
                    'domain': 'https://pacs.example.org',
                    'validated': True,
                    }])

    def order(self, *tests, patient=None, **values):
        "Return the requested lines of one order"
        Request = Pool().get('gnuhealth.imaging.test.request')
        number = uuid.uuid4().hex[:12]
        requests = Request.create([{
                    'patient': (patient or self.ana).id,
                    'requested_test': test.id,
                    'doctor': self.doctor.id,
                    'request': number,
                    **values,
                    } for test in tests or [self.ct]])
        Request.requested(requests)
        return Request.browse(requests)

    def answer(self, patient=None, birth=None, modality='CT', **tags):
        "What Orthanc says about a study, and about its one series"
        patient_id = tags.pop('PatientID', None)
        puid = patient.party.ref if patient else patient_id
        id_ = uuid.uuid4().hex
        if patient and birth is None:
            birth = patient.party.dob
        return {
            'ID': id_,
            'ParentPatient': 'patient-%s' % puid,
            'MainDicomTags': {
                'StudyInstanceUID': '1.2.3.%d' % uuid.uuid4().int,
                **tags},
            'PatientMainDicomTags': {
                'PatientID': puid,
                'PatientName': 'Somebody',
                'PatientBirthDate': birth.strftime('%Y%m%d') if birth else '',
                },
            }, {
            'ID': 'series-%s' % id_,
            'ParentStudy': id_,
            'Instances': [],
            'MainDicomTags': {
                'SeriesInstanceUID': '1.2.3.%d' % uuid.uuid4().int,
                'Modality': modality,
                },
            }

    def arrive(self, *answers):
        "Write studies and return them"
        Study = Pool().get('gnuhealth.imaging_orthanc.study')
        studies, series = zip(*answers)
        PageWriter(self.server.id).write(
            Page(studies=list(studies), series=list(series)))
        found = {s.orthanc_UID: s for s in Study.search([
                    ('server_config', '=', self.server.id)])}
        result = [found[s['ID']] for s in studies]
        return result[0] if len(result) == 1 else result

    def assertLinked(self, study, request=None, patient=None, result=None,
            origin=None, verify=False):
        self.assertEqual(
            (study.request, study.patient, study.imaging_test,
                study.link_origin, bool(study.to_verify)),
            (request, patient, result, origin, verify))


class MatchingTestCase(MatchingMixin, unittest.TestCase):
    "Test which request, result and patient a study is linked to"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        drop_db()
        activate_module(['health_orthanc', 'health_imaging_worklist'])

    @classmethod
    def tearDownClass(cls):
        drop_db()
        super().tearDownClass()

    @with_transaction()
    def test_uid(self):
        "Test the study that carries what the worklist said"
        self.hospital()
        request, = self.order()
        self.assertEqual(request.worklist_status, 'todo')
        study = self.arrive(
            self.answer(self.ana, StudyInstanceUID=request.merge_id))
        self.assertLinked(study, request, self.ana, origin='uid')
        self.assertEqual(study.merge_id, request.merge_id)
        self.assertEqual(study.orthanc_patient.patient, self.ana)
        Request = Pool().get('gnuhealth.imaging.test.request')
        self.assertEqual(Request(request.id).worklist_status, 'done')

    @with_transaction()
    def test_result(self):
        "Test that the request's result is linked"
        pool = Pool()
        Request = pool.get('gnuhealth.imaging.test.request')
        Result = pool.get('gnuhealth.imaging.test.result')
        self.hospital()
        request, later = self.order(self.ct, self.ct)
        Request.create_results([request])
        with_result, without = self.arrive(
            self.answer(self.ana, StudyInstanceUID=request.merge_id),
            self.answer(self.ana, StudyInstanceUID=later.merge_id))
        result, = Result.search([('request', '=', request.id)])
        self.assertLinked(
            with_result, request, self.ana, result, origin='uid')
        self.assertLinked(without, later, self.ana, origin='uid')
        Request.create_results([later])
        result, = Result.search([('request', '=', later.id)])
        self.assertEqual(result.orthanc_studies, (without,))

    @with_transaction()
    def test_tag(self):
        "Test modalities that hand the merge id on in another tag"
        self.hospital()
        by_tag, by_patient = self.order(self.ct, self.mr)
        one, other = self.arrive(
            self.answer(self.ana, StudyID=by_tag.merge_id),
            self.answer(PatientID=by_patient.merge_id))
        self.assertLinked(one, by_tag, self.ana, origin='tag')
        self.assertLinked(other, by_patient, self.ana, origin='tag')

    @with_transaction()
    def test_accession(self):
        "Test accession numbers"
        self.hospital()
        ct, mr = self.order(self.ct, self.mr)
        two, _ = self.order(self.ct, self.ct)
        done, = self.order(self.ct)
        cancelled, = self.order(self.ct)
        cancelled.cancel_reason = "Not needed"
        cancelled.state = 'cancelled'
        cancelled.save()
        for answer, expected in [
                (self.answer(self.ana, AccessionNumber=mr.request,
                        modality='MR'),
                    (mr, self.ana, None, 'accession')),
                # the line that is left
                (self.answer(self.ana, AccessionNumber=ct.request),
                    (ct, self.ana, None, 'accession')),
                # none is left
                (self.answer(self.ana, AccessionNumber=ct.request),
                    (None, self.ana, None, 'puid')),
                # two fit
                (self.answer(self.ana, AccessionNumber=two.request),
                    (None, self.ana, None, 'puid')),
                # none fits
                (self.answer(self.ana, AccessionNumber=done.request,
                        modality='US'),
                    (None, self.ana, None, 'puid')),
                (self.answer(self.ana, AccessionNumber=cancelled.request),
                    (None, self.ana, None, 'puid')),
                # another patient
                (self.answer(self.joe, AccessionNumber=done.request),
                    (None, self.joe, None, 'puid')),
                # nobody
                (self.answer(PatientID='X', AccessionNumber=done.request),
                    (None, None, None, None)),
                ]:
            with self.subTest(expected=expected):
                self.assertLinked(self.arrive(answer), *expected)

    @with_transaction()
    def test_patient_only(self):
        "Test studies without an order"
        self.hospital()
        known, unknown, other_birth, no_id = self.arrive(
            self.answer(self.ana),
            self.answer(PatientID='unknown'),
            self.answer(self.joe, birth=dt.date(2000, 1, 1)),
            self.answer())
        self.assertLinked(known, patient=self.ana, origin='puid')
        self.assertLinked(unknown)
        self.assertLinked(other_birth)
        self.assertLinked(no_id)
        self.assertIsNone(other_birth.orthanc_patient.patient)

    @with_transaction()
    def test_contradiction(self):
        "Test that nothing is linked across a contradiction"
        self.hospital()
        other_id, other_birth = self.order(self.ct, self.mr)
        one, other = self.arrive(
            self.answer(self.joe, StudyInstanceUID=other_id.merge_id),
            self.answer(
                self.ana, StudyInstanceUID=other_birth.merge_id,
                birth=dt.date(2000, 1, 1)))
        for study, request in [(one, other_id), (other, other_birth)]:
            self.assertLinked(study, verify=True)
            self.assertEqual(study.merge_id, request.merge_id)
            self.assertEqual(request.worklist_status, 'todo')

    @with_transaction()
    def test_unknown_patient_id(self):
        "Test that a PatientID nobody has links by UID and is to be verified"
        self.hospital()
        request, = self.order()
        study = self.arrive(self.answer(
                PatientID='FOREIGN', StudyInstanceUID=request.merge_id))
        self.assertLinked(
            study, request, self.ana, origin='uid', verify=True)
        self.assertIsNone(study.orthanc_patient.patient)

    @with_transaction()
    def test_estimated_birth_date(self):
        "Test that an estimated birth date contradicts nothing"
        self.hospital()
        self.ana.party.est_dob = True
        self.ana.party.save()
        study = self.arrive(
            self.answer(self.ana, birth=dt.date(1986, 1, 1)))
        self.assertLinked(study, patient=self.ana, origin='puid')

    @with_transaction()
    def test_person(self):
        "Test that what a person linked is left alone"
        Study = Pool().get('gnuhealth.imaging_orthanc.study')
        self.hospital()
        request, = self.order()
        answer = self.answer(PatientID='FOREIGN')
        study = self.arrive(answer)
        Study.write([study], {'patient': self.joe.id})
        Study.write([study], {'link_origin': 'person'})
        answer[0]['MainDicomTags']['StudyInstanceUID'] = request.merge_id
        study = self.arrive(answer)
        self.assertEqual(study.study_instance_UID, request.merge_id)
        self.assertLinked(study, patient=self.joe, origin='person')

    @with_transaction()
    def test_person_knows_patient(self):
        "Test that a PatientID that a person linked is the patient's"
        OrthancPatient = Pool().get('gnuhealth.orthanc.patient')
        self.hospital()
        request, = self.order()
        study = self.arrive(self.answer(PatientID='FOREIGN'))
        self.assertLinked(study)
        OrthancPatient.write(
            [study.orthanc_patient],
            {'patient': self.ana.id, 'link_origin': 'person'})
        linked, with_order = self.arrive(
            self.answer(PatientID='FOREIGN'),
            self.answer(
                PatientID='FOREIGN', StudyInstanceUID=request.merge_id))
        self.assertLinked(linked, patient=self.ana, origin='puid')
        self.assertLinked(with_order, request, self.ana, origin='uid')

    @with_transaction()
    def test_order_later(self):
        "Test the order that is entered after the study came"
        Study = Pool().get('gnuhealth.imaging_orthanc.study')
        self.hospital()
        study = self.arrive(self.answer(self.ana))
        self.assertLinked(study, patient=self.ana, origin='puid')
        request, = self.order(merge_id=study.study_instance_UID)
        self.assertLinked(
            Study(study.id), request, self.ana, origin='uid')

    @with_transaction()
    def test_patient_later(self):
        "Test the patient who is entered after the study came"
        Study = Pool().get('gnuhealth.imaging_orthanc.study')
        self.hospital()
        study = self.arrive(
            self.answer(PatientID='TST009GNU', birth=dt.date(1999, 9, 9)))
        self.assertLinked(study)
        patient = create_patient(
            "Eva", "Late", ref='TST009GNU', dob=dt.date(1999, 9, 9))
        self.assertLinked(Study(study.id), patient=patient, origin='puid')

    @with_transaction()
    def test_again(self):
        "Test that a study that lacks something is matched again"
        self.hospital()
        answer = self.answer(PatientID='FOREIGN')
        study = self.arrive(answer)
        request, = self.order()
        answer[0]['MainDicomTags']['StudyInstanceUID'] = request.merge_id
        study = self.arrive(answer)
        self.assertLinked(
            study, request, self.ana, origin='uid', verify=True)

    @with_transaction()
    def test_get_merge_id(self):
        "Test that an extension of get_merge_id has the last word"
        Study = Pool().get('gnuhealth.imaging_orthanc.study')
        self.hospital()
        request, other = self.order(self.ct, self.mr)
        asked = []

        def get_merge_id(study, server):
            asked.append((study['ID'], server))
            return request.merge_id

        answer = self.answer(self.ana, StudyInstanceUID=other.merge_id)
        self.assertEqual(
            Study.get_merge_id(answer[0], self.server), other.merge_id)
        self.assertIsNone(Study.get_merge_id({}, self.server))
        with patch.object(Study, 'get_merge_id', get_merge_id):
            study = self.arrive(answer)
        self.assertEqual(asked, [(answer[0]['ID'], self.server)])
        self.assertLinked(study, request, self.ana, origin='tag')
        self.assertEqual(study.merge_id, request.merge_id)
