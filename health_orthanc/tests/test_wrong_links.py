# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import datetime as dt
import unittest

from trytond.modules.health_imaging.tests.tools import create_patient
from trytond.modules.health_orthanc.matching import Matcher
from trytond.modules.health_orthanc.names import other_person
from trytond.pool import Pool
from trytond.tests.test_tryton import (
    activate_module, drop_db, with_transaction)
from trytond.transaction import Transaction

from .test_matching import MatchingMixin

BORN = dt.date(1985, 10, 4)


class WrongLinksTestCase(MatchingMixin, unittest.TestCase):
    "Test that no study is linked to another patient by itself"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        drop_db()
        activate_module(['health_orthanc', 'health_imaging_worklist'])

    @classmethod
    def tearDownClass(cls):
        drop_db()
        super().tearDownClass()

    def named(self, name, *args, **kwargs):
        "An answer with the patient's name"
        study, series = self.answer(*args, **kwargs)
        study['PatientMainDicomTags']['PatientName'] = name
        study['ParentPatient'] += name
        return study, series

    def force(self, record, **values):
        "Write what databases may hold from elsewhere"
        table = record.__class__.__table__()
        Transaction().connection.cursor().execute(*table.update(
                [getattr(table, name) for name in values],
                list(values.values()), where=table.id == record.id))

    def test_names(self):
        "Names tell other people, and twins who were born on one day"
        for name, same_birth, expected in [
                ('BETZ^ANA', False, False),
                ('BETZ^ANA^^DR', True, False),
                ('BETZ^A', True, False),
                ('ANA^BETZ', True, False),
                ('Betz=Ana', False, False),
                ('BETZ', False, False),
                ('', False, False),
                (None, False, False),
                ('БЕТЦ^АНА', False, False),
                ('SCHMIDT^ANA', True, False),
                ('SCHMIDT^ANA', False, True),
                ('BETZ^EVA', False, True),
                ('BETZ^EVA', True, True),
                ('DOE^JOE', False, True),
                ('DOE^JOE', True, True),
                ]:
            with self.subTest(name=name, same_birth=same_birth):
                self.assertEqual(
                    other_person(name, "Ana", "Betz", same_birth), expected)
        self.assertFalse(
            other_person('MUELLER^JUERGEN', "Jürgen", "Müller"))
        self.assertFalse(
            other_person('GARCIA LOPEZ^JOSE', "José María", "García"))

    @with_transaction()
    def test_twins(self):
        "A twin's name under the PUID is for a person to decide"
        self.hospital()
        right, twin = self.arrive(
            self.named('BETZ^ANA', self.ana),
            self.named('BETZ^EVA', self.ana))
        self.assertLinked(right, patient=self.ana, origin='puid')
        self.assertLinked(twin)
        self.assertIsNone(twin.orthanc_patient.patient)
        request, = self.order()
        chosen = self.arrive(self.named(
                'BETZ^EVA', self.ana, StudyInstanceUID=request.merge_id))
        self.assertLinked(
            chosen, request, self.ana, origin='uid', verify=True)

    @with_transaction()
    def test_number_of_another_archive(self):
        "Another hospital's number that equals a PUID is no link by itself"
        self.hospital()
        unknown_birth, no_name = self.arrive(
            self.named('DOE^JOE', PatientID=self.ana.party.ref),
            self.named('', PatientID=self.ana.party.ref))
        self.assertLinked(unknown_birth)
        self.assertLinked(no_name, patient=self.ana, origin='puid')

    @with_transaction()
    def test_two_servers(self):
        "The same accession number elsewhere is another patient's study"
        Server = Pool().get('gnuhealth.orthanc.config')
        self.hospital()
        request, = self.order()
        first = self.server
        self.server, = Server.create([{
                    'label': "Another hospital",
                    'domain': 'https://other.example.org',
                    'validated': True,
                    }])
        theirs = self.arrive(self.answer(
                PatientID='4711', AccessionNumber=request.request))
        self.assertLinked(theirs)
        self.server = first
        ours = self.arrive(
            self.answer(self.ana, AccessionNumber=request.request))
        self.assertLinked(ours, request, self.ana, origin='accession')

    @with_transaction()
    def test_uid_twice(self):
        "One StudyInstanceUID under two PatientIDs is linked to one patient"
        self.hospital()
        request, = self.order()
        uid = request.merge_id
        right, wrong, foreign = self.arrive(
            self.answer(self.ana, StudyInstanceUID=uid),
            self.answer(self.joe, StudyInstanceUID=uid),
            self.answer(PatientID='FOREIGN', StudyInstanceUID=uid))
        self.assertLinked(right, request, self.ana, origin='uid')
        self.assertLinked(wrong, verify=True)
        self.assertLinked(
            foreign, request, self.ana, origin='uid', verify=True)

    @with_transaction()
    def test_merge_id_twice(self):
        "Of two requests with one merge id the one of the patient is meant"
        Request = Pool().get('gnuhealth.imaging.test.request')
        self.hospital()
        hers, = self.order()
        his, = self.order(patient=self.joe)
        self.force(his, merge_id=hers.merge_id)
        uid = hers.merge_id
        ana, joe, nobody = self.arrive(
            self.answer(self.ana, StudyInstanceUID=uid),
            self.answer(self.joe, StudyInstanceUID=uid),
            self.answer(PatientID='FOREIGN', StudyInstanceUID=uid))
        self.assertLinked(ana, Request(hers.id), self.ana, origin='uid')
        self.assertLinked(joe, Request(his.id), self.joe, origin='uid')
        self.assertLinked(nobody, verify=True)

    @with_transaction()
    def test_empty(self):
        "What is empty is equal to nothing"
        pool = Pool()
        Request = pool.get('gnuhealth.imaging.test.request')
        Study = pool.get('gnuhealth.imaging_orthanc.study')
        self.hospital()
        for empty in [None, '']:
            with self.subTest(empty=empty):
                request, = self.order()
                self.force(self.ana.party, ref=None)
                self.force(request, request=empty)
                linked, other = self.arrive(
                    self.answer(
                        PatientID='X', StudyInstanceUID=request.merge_id),
                    self.answer(AccessionNumber=empty))
                self.assertEqual(linked.request, Request(request.id))
                self.assertLinked(other)
                self.force(other, patient_id='', accession_number='')
                Matcher.match_rows(lambda t: t.id == other.id)
                self.assertLinked(Study(other.id))

    @with_transaction()
    def test_nearly_equal(self):
        "Identifiers that are not quite equal are others"
        self.hospital()
        request, = self.order()
        puid = self.ana.party.ref
        for patient_id in [
                puid.lower(), puid + '0', '0' + puid, f'HOSP^{puid}',
                f'{puid}\\X', puid[:-1] + '%', '%', '_' * len(puid),
                puid + '\N{ZERO WIDTH SPACE}', f'{puid}\0X']:
            with self.subTest(patient_id=patient_id):
                self.assertLinked(self.arrive(self.answer(
                            PatientID=patient_id,
                            AccessionNumber=request.request)))
        for uid in [request.merge_id + '.1', request.merge_id[:-1], '%']:
            with self.subTest(uid=uid):
                self.assertLinked(self.arrive(
                        self.answer(StudyInstanceUID=uid)))

    @with_transaction()
    def test_padding(self):
        "Padding that DICOM does not count does not count"
        self.hospital()
        request, = self.order()
        study = self.arrive(self.answer(
                PatientID=f' {self.ana.party.ref} \0', birth=BORN,
                StudyInstanceUID=f'{request.merge_id}\0',
                AccessionNumber=f'{request.request}  '))
        self.assertLinked(study, request, self.ana, origin='uid')

    @with_transaction()
    def test_inactive(self):
        "Who is not active gets no studies by the PUID"
        self.hospital()
        self.ana.active = False
        self.ana.save()
        study = self.arrive(self.answer(self.ana))
        self.assertLinked(study)
        self.assertIsNone(study.orthanc_patient.patient)
        # nor does somebody else
        request, = self.order(patient=self.joe)
        study = self.arrive(
            self.answer(self.ana, StudyInstanceUID=request.merge_id))
        self.assertLinked(study, verify=True)

    @with_transaction()
    def test_corrected_tags(self):
        "A link by PUID goes when the birth date in Orthanc is corrected"
        self.hospital()
        answer = self.answer(self.ana)
        study = self.arrive(answer)
        self.assertLinked(study, patient=self.ana, origin='puid')
        answer[0]['PatientMainDicomTags']['PatientBirthDate'] = '20010203'
        study = self.arrive(answer)
        self.assertLinked(study, verify=True)
        answer[0]['PatientMainDicomTags']['PatientBirthDate'] = (
            self.ana.party.dob.strftime('%Y%m%d'))
        study = self.arrive(answer)
        self.assertLinked(study, patient=self.ana, origin='puid')

    @with_transaction()
    def test_puid_of_a_new_patient(self):
        "A new patient takes no studies whose name or birth is another's"
        self.hospital()
        other, own = self.arrive(
            self.named('DOE^EVA', PatientID='TST009GNU'),
            self.named('LATE^EVA', PatientID='TST009GNU'))
        eva = create_patient("Eva", "Late", ref='TST009GNU', dob=BORN)
        Study = Pool().get('gnuhealth.imaging_orthanc.study')
        self.assertLinked(Study(other.id))
        self.assertLinked(Study(own.id), patient=eva, origin='puid')
