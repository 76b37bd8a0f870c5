# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import datetime as dt
import unittest

from trytond.model.exceptions import DomainValidationError
from trytond.modules.health_imaging.tests.tools import create_patient
from trytond.modules.health_orthanc.exceptions import NoViewerError
from trytond.pool import Pool
from trytond.tests.test_tryton import activate_module, with_transaction
from trytond.transaction import Transaction

from .fake import fake_orthanc
from .tools import STUDY_UID, ImagingMixin


class StudyTestCase(ImagingMixin, unittest.TestCase):
    "Test what people do with studies"

    @classmethod
    def setUpClass(cls):
        activate_module(['health_orthanc', 'health_imaging_worklist'])

    @with_transaction()
    def test_study_server_url(self):
        pool = Pool()
        Study = pool.get('gnuhealth.imaging_orthanc.study')
        Series = pool.get('gnuhealth.imaging_orthanc.study_series')
        server = self.server()
        study = self.study(server)
        self.assertEqual(study.server, server.domain)
        self.assertEqual(study.series[0].server, server.domain)
        for Model, record in [(Study, study), (Series, study.series[0])]:
            self.assertEqual(
                Model.search([('server', '=', server.domain)]), [record])
            self.assertEqual(
                Model.search([('server', 'like', '%nowhere%')]), [])
        self.assertEqual(
            Study.search([], order=[('server', 'ASC')]), [study])
        other, = Study.create([{
                    'server': 'http://unknown.example.org',
                    'orthanc_UID': 'other',
                    'study_instance_UID': '1.2.3',
                    }])
        self.assertFalse(other.server_config.active)
        self.assertFalse(other.server_config.validated)
        other.server = server.domain
        other.save()
        self.assertEqual(Study(other.id).server_config, server)

    @with_transaction()
    def test_links(self):
        server = self.server(proxy_domain='https://viewer.example.org/')
        study = self.study(server)
        series, = study.series
        base = 'https://viewer.example.org'
        self.assertEqual(
            study.ohif_viewer_link,
            f'{base}/ohif/viewer?StudyInstanceUIDs={STUDY_UID}')
        self.assertEqual(
            series.stone_viewer_link,
            f'{base}/stone-webviewer/index.html?study={STUDY_UID}'
            f'&series={STUDY_UID}.2')
        self.assertEqual(
            study.orthanc_explorer_link,
            f'{base}/app/explorer.html#study?uuid=orthanc-study')
        bad = self.study(
            server, orthanc_UID='bad', study_instance_UID='1.2&x=<script>')
        self.assertIsNone(bad.ohif_viewer_link)
        self.assertIsNone(bad.stone_viewer_link)

    @with_transaction()
    def test_open_viewer(self):
        self.hospital()
        study = self.study(self.server(), patient=self.patient.id)
        Wizard, session_id = self.wizard(
            'gnuhealth.orthanc.open_viewer', study.series[0])
        answer = Wizard.execute(
            session_id, {'start': {'viewer': 'ohif'}}, 'open_')
        (action, _), = answer['actions']
        self.assertEqual(action['type'], 'ir.action.url')
        self.assertEqual(action['url'], study.series[0].ohif_viewer_link)
        entry, = self.audit()
        self.assertEqual(entry.event, 'view')
        self.assertEqual(entry.patient, self.patient)
        self.assertEqual(entry.series_uid, study.series[0].series_UID)
        self.assertEqual(entry.user.id, Transaction().user)
        type(study).mark_missing([study])
        with self.assertRaises(NoViewerError):
            Wizard.execute(session_id, {'start': {'viewer': 'ohif'}}, 'open_')

    @with_transaction()
    def test_search_puid(self):
        "Test that a patient's studies are found whatever their Patient ID"
        Study = Pool().get('gnuhealth.imaging_orthanc.study')
        self.hospital()
        server = self.server()
        study = self.study(
            server, patient=self.patient.id, patient_id='FOREIGN')
        self.study(server, orthanc_UID='other')
        self.assertEqual(study.puid, 'TST001GNU')
        for clause, found in [
                (('puid', '=', 'TST001GNU'), [study]),
                (('puid', 'ilike', '%001%'), [study]),
                (('puid', '=', 'FOREIGN'), [])]:
            self.assertEqual(Study.search([clause]), found)

    @with_transaction()
    def test_person_links(self):
        Study = Pool().get('gnuhealth.imaging_orthanc.study')
        self.hospital()
        study = self.study(
            self.server(), to_verify=True, patient_id='FOREIGN')
        result = self.result()
        study.imaging_test = result
        study.on_change_imaging_test()
        self.assertEqual(study.patient, self.patient)
        study.save()
        study = Study(study.id)
        self.assertEqual(study.link_origin, 'person')
        self.assertEqual(study.request, result.request)
        self.assertFalse(study.to_verify)
        self.assertEqual(result.orthanc_studies, (study,))
        other = create_patient("Bea", "Cole", 'TST002GNU')
        with self.assertRaises(DomainValidationError):
            Study.write([study], {'patient': other.id})

    @with_transaction()
    def test_person_unlinks(self):
        Study = Pool().get('gnuhealth.imaging_orthanc.study')
        self.hospital()
        study = self.study(
            self.server(), patient=self.patient.id, link_origin='uid')
        Study.write([study], {'patient': None})
        self.assertEqual(Study(study.id).link_origin, 'person')
        self.assertEqual([a.event for a in self.audit()], ['unlink'])

    @with_transaction()
    def test_result_links_arrived_studies(self):
        Study = Pool().get('gnuhealth.imaging_orthanc.study')
        Request = Pool().get('gnuhealth.imaging.test.request')
        self.hospital()
        request = Request(patient=self.patient, requested_test=self.test)
        request.save()
        Request.requested([request])
        server = self.server()
        study = self.study(
            server, request=request.id, patient=self.patient.id,
            link_origin='uid')
        contrary = self.study(
            server, orthanc_UID='contrary', request=request.id,
            patient=create_patient("Bea", "Cole", 'TST002GNU').id)
        result, = Request.create_results([request])
        self.assertEqual(Study(study.id).imaging_test, result)
        self.assertEqual(Study(study.id).link_origin, 'uid')
        self.assertIsNone(Study(contrary.id).imaging_test)
        self.assertEqual([a.event for a in self.audit()], ['link'])

    def delete(self, record, **values):
        Wizard, session_id = self.wizard('gnuhealth.orthanc.delete', record)
        answer = Wizard.execute(session_id, {}, 'start')
        self.assertIn("BETZ^ANA", answer['view']['defaults']['what'])
        return Wizard.execute(session_id, {'start': values}, 'delete_')

    @with_transaction()
    def test_delete_study(self):
        Study = Pool().get('gnuhealth.imaging_orthanc.study')
        with fake_orthanc() as orthanc:
            study = self.study(self.server(orthanc.url), notes="A note")
            action = Study.delete_study([study])
            self.assertTrue(action)
            self.delete(study, reason='other', comment="A test")
            self.assertEqual(
                orthanc.asked[1:], [('DELETE', '/studies/orthanc-study')])
        study = Study(study.id)
        self.assertTrue(study.missing_since)
        self.assertTrue(study.series[0].missing_since)
        self.assertFalse(study.series[0].instances)
        self.assertEqual(study.notes, "A note")
        entry, = self.audit()
        self.assertEqual(
            (entry.event, entry.reason, entry.study_uid),
            ('delete', "Other: A test", STUDY_UID))

    @with_transaction()
    def test_delete_series_fails(self):
        with fake_orthanc() as orthanc:
            orthanc.read_only = True
            study = self.study(self.server(orthanc.url))
            series, = study.series
            answer = self.delete(series, reason='quality')
            message = answer['view']['defaults']['message']
            self.assertIn("was not deleted", message)
            self.assertEqual(
                orthanc.asked[1:], [('DELETE', '/series/orthanc-series')])
        self.assertIsNone(type(series)(series.id).missing_since)
        self.assertTrue(series.instances)
        self.assertFalse(self.audit())

    @with_transaction()
    def test_orthanc_patients(self):
        pool = Pool()
        OrthancPatient = pool.get('gnuhealth.orthanc.patient')
        Patient = pool.get('gnuhealth.patient')
        self.hospital()
        server = self.server()
        orthanc_patient, = OrthancPatient.create([{
                    'server': server.id,
                    'uuid': 'orthanc-patient',
                    'name': 'BETZ^ANA',
                    'ident': 'TST001GNU',
                    'bd': dt.date(1985, 10, 4),
                    'sex': 'F',
                    }])
        study = self.study(server, orthanc_patient=orthanc_patient.id)
        self.assertEqual(OrthancPatient(orthanc_patient.id).study_count, 1)
        self.assertEqual(study.patient_birth_date, dt.date(1985, 10, 4))
        self.assertEqual(study.patient_sex, 'F')
        self.assertFalse(Patient.search([('orthanc_studies', '!=', None)]))
        OrthancPatient.write([orthanc_patient], {'patient': self.patient.id})
        study = type(study)(study.id)
        self.assertEqual(study.patient, self.patient)
        self.assertEqual(study.link_origin, 'patient')
        self.assertEqual(
            Patient.search([('orthanc_studies', '!=', None)]), [self.patient])
