# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Links that people made in GNU Health 4 come over to today's studies."""
import datetime as dt
import unittest

from trytond.model.exceptions import AccessError
from trytond.modules.health_imaging.tests.tools import (
    IMAGING, create_patient, create_user)
from trytond.pool import Pool
from trytond.tests.test_tryton import (
    activate_module, drop_db, with_transaction)
from trytond.transaction import Transaction

from .tools import ImagingMixin

STUDY = 'gnuhealth.imaging_orthanc.study'
LEGACY = 'gnuhealth.orthanc.study'
PATIENT = 'gnuhealth.orthanc.patient'
MARK = 'NEED TO VERIFY!'
UID = '1.2.826.0.1.3680043.10.9'
ORTHANC_ADMIN = 'health_orthanc.group_imaging_orthanc_admin'


class CarryTestCase(ImagingMixin, unittest.TestCase):
    "Test the migration from GNU Health 4"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        drop_db()
        activate_module(['health_orthanc', 'health_imaging_worklist'])

    @classmethod
    def tearDownClass(cls):
        drop_db()
        super().tearDownClass()

    def begin(self):
        self.hospital()
        self.pacs = self.server()
        self.other = self.server(
            'https://second.example.org', label="Second")
        Cursor = Pool().get('gnuhealth.orthanc.sync.cursor')
        Cursor.create([
                {'server': s.id, 'complete': True}
                for s in (self.pacs, self.other)])

    def person(self, number, server=None, ident='FOREIGN', **values):
        row, = Pool().get(PATIENT).create([{
                    'server': server and server.id,
                    'uuid': f'patient-{number}',
                    'ident': ident,
                    **values,
                    }])
        return row

    def link_by_4(self, row, patient):
        "As GNU Health 4 stored it: nothing says who did it"
        table = Pool().get(PATIENT).__table__()
        Transaction().connection.cursor().execute(*table.update(
                [table.patient, table.link_origin], [patient.id, None],
                where=table.id == row.id))
        Transaction().cache.clear()
        return Pool().get(PATIENT)(row.id)

    def mirror(self, number, server=None, person=None, **values):
        row, = Pool().get(STUDY).create([{
                    'server_config': (server or self.pacs).id,
                    'orthanc_UID': f'study-{number}',
                    'study_instance_UID': f'{UID}.{number}',
                    'patient_id': 'FOREIGN',
                    'orthanc_patient': person and person.id,
                    **values,
                    }])
        return row

    def old(self, number, server=None, **values):
        row, = Pool().get(LEGACY).create([{
                    'server': server and server.id,
                    'uuid': f'study-{number}',
                    'instance_uid': f'{UID}.{number}',
                    **values,
                    }])
        return row

    def carry(self, *rows, **options):
        "Return the outcomes and reasons"
        Model = Pool().get(rows[0].__name__)
        result = Model.carry_links([r.id for r in rows], **options)
        self.assertEqual([r['id'] for r in result], [r.id for r in rows])
        return [(r['outcome'], r['reason']) for r in result]

    def get(self, study):
        Transaction().cache.clear()
        return Pool().get(STUDY)(study.id)

    @with_transaction()
    def test_result(self):
        "A link to a result is carried over once, and marked"
        self.begin()
        study = self.mirror(1, merge_comment="seen by Ana")
        result = self.result()
        old = self.old(1, self.pacs, imaging_test=result.id)

        self.assertEqual(self.carry(old, dry_run=True), [('moved', None)])
        self.assertIsNone(self.get(study).imaging_test)

        self.assertEqual(self.carry(old), [('moved', None)])
        study = self.get(study)
        self.assertEqual(study.imaging_test, result)
        self.assertEqual(study.request, result.request)
        self.assertEqual(study.patient, self.patient)
        self.assertEqual(study.merge_comment, f'{MARK} seen by Ana')
        self.assertTrue(study.to_verify)
        self.assertEqual(
            [a.event for a in self.audit()], ['link'])

        self.assertEqual(self.carry(old), [('there', None)])
        Pool().get(STUDY).verify([study])
        study = self.get(study)
        self.assertEqual(study.merge_comment, "seen by Ana")
        self.assertFalse(study.to_verify)
        self.assertEqual(self.carry(old), [('there', None)])
        self.assertFalse(self.get(study).to_verify)

    @with_transaction()
    def test_found_by_uid(self):
        "Without the server the study UID finds it, if it is the only one"
        self.begin()
        result = self.result()
        archived = self.server(
            'https://PACS.example.org:443/orthanc/', label="Old",
            active=False)
        gone = self.server('https://gone.example.org', label="Gone",
            active=False)
        for number in range(1, 6):
            self.mirror(number, orthanc_UID=f'new-{number}')
        self.mirror(3, self.other, orthanc_UID='other-3')
        self.mirror(4, self.other, orthanc_UID='other-4')
        same = self.mirror(6)
        self.assertEqual(self.carry(
                self.old(1, None, imaging_test=result.id),
                self.old(2, gone, imaging_test=result.id),
                self.old(3, None, imaging_test=result.id),
                self.old(4, self.other, imaging_test=result.id),
                self.old(5, None, imaging_test=result.id, instance_uid=None),
                self.old(6, archived, imaging_test=result.id),
                self.old(7, gone, imaging_test=result.id),
                self.old(8, self.pacs, imaging_test=result.id),
                ), [
                ('moved', None),
                ('moved', None),
                ('ambiguous', 'several'),
                ('moved', None),
                ('not_found', 'no_server'),
                ('moved', None),
                ('not_found', 'not_synchronized'),
                ('not_found', 'gone'),
                ])
        self.assertEqual(self.get(same).imaging_test, result)
        self.assertEqual({
                s.orthanc_UID for s in Pool().get(STUDY).search(
                    [('imaging_test', '=', result.id)])},
            {'new-1', 'new-2', 'other-4', 'study-6'})

    @with_transaction()
    def test_two_claims(self):
        "Of two contradicting links to one study none is taken"
        self.begin()
        one, another = self.result(), self.result()
        study = self.mirror(1, orthanc_UID='new')
        rows = [
            self.old(1, None, imaging_test=one.id, uuid='a'),
            self.old(1, None, imaging_test=another.id, uuid='b')]
        for row in rows:
            self.assertEqual(self.carry(row), [('ambiguous', 'claimed')])
        self.assertIsNone(self.get(study).imaging_test)

    @with_transaction()
    def test_contradictions(self):
        "What contradicts is marked and not linked"
        self.begin()
        create_patient("Joe", "Doe", 'TST002GNU')
        result, other = self.result(), self.result()
        born = self.person(2, self.pacs, bd=dt.date(1900, 1, 1))
        studies = [
            self.mirror(1, patient_id='TST002GNU'),
            self.mirror(2, person=born),
            self.mirror(
                3, imaging_test=other.id, patient=self.patient.id,
                link_origin='uid', request=other.request.id),
            ]
        rows = [
            self.old(n, self.pacs, imaging_test=result.id)
            for n in (1, 2, 3)]
        self.assertEqual(self.carry(*rows), [
                ('contradicted', 'puid'),
                ('contradicted', 'birth'),
                ('contradicted', 'other_record')])
        for study in map(self.get, studies):
            self.assertNotEqual(study.imaging_test, result)
            self.assertTrue(study.to_verify)
            self.assertEqual(study.merge_comment, MARK)
        Pool().get(STUDY).verify(list(map(self.get, studies)))
        self.assertEqual(
            {o for o, _ in self.carry(*rows)}, {'decided'})
        for study in map(self.get, studies):
            self.assertFalse(study.to_verify)
            self.assertIsNone(study.merge_comment)

    @with_transaction()
    def test_decided(self):
        "What a person decided meanwhile stays"
        self.begin()
        Study = Pool().get(STUDY)
        result, other = self.result(), self.result()
        studies = [self.mirror(n) for n in (1, 2, 3)]
        Study.write([studies[0]], {'imaging_test': other.id})
        Study.write([studies[1]], {'patient': self.patient.id})
        Study.undo_link([studies[1]])
        Study.not_ours([studies[2]])
        rows = [
            self.old(n, self.pacs, imaging_test=result.id)
            for n in (1, 2, 3)]
        self.assertEqual(self.carry(*rows), [
                ('decided', 'other_record'),
                ('decided', 'undone'),
                ('decided', 'not_ours')])
        self.assertEqual(self.get(studies[0]).imaging_test, other)
        for study in map(self.get, studies):
            self.assertFalse(study.to_verify)
            self.assertIsNone(study.merge_comment)

    @with_transaction()
    def test_patient(self):
        "A patient that was linked is carried to all of its studies"
        self.begin()
        Study = Pool().get(STUDY)
        row = self.person(1, self.pacs)
        studies = [self.mirror(n, person=row) for n in (1, 2)]
        row = self.link_by_4(row, self.patient)
        self.assertEqual(self.carry(row), [('moved', None)])
        for study in map(self.get, studies):
            self.assertEqual(study.patient, self.patient)
            self.assertEqual(study.merge_comment, MARK)
            self.assertTrue(study.to_verify)
        self.assertEqual(self.carry(row), [('there', None)])
        Study.verify(list(map(self.get, studies)))
        self.assertEqual(self.carry(row), [('there', None)])
        self.assertFalse(self.get(studies[0]).to_verify)

    @with_transaction()
    def test_patient_without_server(self):
        "The studies tell who a patient without server is"
        self.begin()
        live = self.person(1, self.pacs)
        study = self.mirror(1, person=live, orthanc_UID='new')
        row = self.link_by_4(self.person(1), self.patient)
        lost = self.link_by_4(self.person(2), self.patient)
        self.old(1, None, patient=row.id)
        self.assertEqual(self.carry(row, lost), [
                ('moved', None), ('not_found', 'no_server')])
        self.assertEqual(self.get(study).patient, self.patient)
        self.assertTrue(self.get(study).to_verify)
        self.assertEqual(Pool().get(PATIENT)(live.id).patient, self.patient)
        self.assertEqual(self.carry(row), [('there', None)])

    @with_transaction()
    def test_patient_contradicted(self):
        "A patient of whose PatientID somebody else is the owner"
        self.begin()
        other = create_patient("Joe", "Doe", 'TST002GNU')
        row = self.person(1, self.pacs, ident='TST002GNU')
        study = self.mirror(1, person=row, patient_id='TST002GNU')
        row = self.link_by_4(row, self.patient)
        self.assertEqual(self.carry(row), [('contradicted', 'puid')])
        study = self.get(study)
        self.assertNotEqual(study.patient, self.patient)
        self.assertIn(study.patient, [None, other])
        self.assertTrue(study.to_verify)

    @with_transaction()
    def test_rights(self):
        "The group of Orthanc's administrators is enough, others may not"
        self.begin()
        result = self.result()
        old = self.old(1, self.pacs, imaging_test=result.id)
        study = self.mirror(1)
        Legacy = Pool().get(LEGACY)
        for group, allowed in [(IMAGING, False), (ORTHANC_ADMIN, True)]:
            user = create_user(f'user-{allowed}', group)
            with Transaction().set_user(user.id), \
                    Transaction().set_context(_check_access=True):
                if allowed:
                    self.assertEqual(
                        Legacy.carry_links([old.id])[0]['outcome'], 'moved')
                else:
                    with self.assertRaises(AccessError):
                        Legacy.carry_links([old.id])
        self.assertEqual(self.get(study).imaging_test, result)

    @with_transaction()
    def test_verify_many(self):
        "One press clears the mark of all that are selected"
        self.begin()
        studies = [
            self.mirror(n, to_verify=True, merge_comment=f'{MARK} {n}',
                patient=self.patient.id) for n in (1, 2)]
        Wizard = Pool().get('gnuhealth.orthanc.verify', type='wizard')
        with Transaction().set_context(
                active_model=STUDY, active_id=studies[0].id,
                active_ids=[s.id for s in studies]):
            session, _, _ = Wizard.create()
            Wizard.execute(session, {}, 'verify')
        self.assertEqual(
            [(s.to_verify, s.merge_comment, s.link_origin)
                for s in map(self.get, studies)],
            [(False, '1', 'person'), (False, '2', 'person')])
