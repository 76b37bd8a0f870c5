# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import datetime as dt
import unittest

from trytond.modules.health_imaging.tests.tools import create_patient
from trytond.pool import Pool
from trytond.tests.test_tryton import (
    activate_module, drop_db, with_transaction)

from .tools import WorklistMixin


class ClinicalTestCase(WorklistMixin, unittest.TestCase):
    "Test what items say of the patient's health"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        drop_db()
        activate_module('health_imaging_worklist')

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        drop_db()

    def evaluate(self, weight, day):
        Evaluation = Pool().get('gnuhealth.patient.evaluation')
        evaluation, = Evaluation.create([{
                    'patient': self.patient.id,
                    'healthprof': self.doctor.id,
                    'evaluation_start': dt.datetime(2024, 1, day),
                    'weight': weight,
                    }])
        return evaluation

    def disease(self, name, **values):
        pool = Pool()
        Disease = pool.get('gnuhealth.patient.disease')
        Pathology = pool.get('gnuhealth.pathology')
        pathology, = Pathology.create([{'name': name, 'code': name}])
        disease, = Disease.create([{
                    'patient': self.patient.id,
                    'pathology': pathology.id,
                    'is_active': True,
                    **values,
                    }])
        return disease

    @with_transaction()
    def test_patient(self):
        Request = Pool().get('gnuhealth.imaging.test.request')
        self.hospital()
        self.evaluate(80, 3)
        self.evaluate(70.5, 5)
        self.evaluate(None, 7)
        self.disease("Iodine", is_allergy=True)
        self.disease("La\\tex", is_allergy=True)
        self.disease("Dust", is_allergy=True, is_active=False)
        self.disease("Asthma")
        self.patient.critical_info = "Pacemaker\nsince 2019"
        self.patient.save()
        for test in [self.ct, self.mr]:
            request = self.request(requested_test=test)
            item, = Request.worklist_items_of([request.id])['items']
            item, = request.get_worklist_items()
            self.assertFalse(item.has_errors)
            self.assertEqual(item.dataset.PatientWeight, 70.5)
            self.assertEqual(item.dataset.MedicalAlerts,
                "Pacemaker since 2019")
            self.assertEqual(
                sorted(item.dataset.Allergies), ["Iodine", "La/tex"])

    @with_transaction()
    def test_nothing(self):
        self.hospital()
        item, = self.request().get_worklist_items()
        for keyword in ['PatientWeight', 'MedicalAlerts', 'Allergies']:
            self.assertIn(keyword, item.dataset)
            self.assertFalse(item.dataset[keyword].value)
        self.assertEqual(item.findings, [])

    @with_transaction()
    def test_versions(self):
        "A new weight or allergy is another version of this patient's items"
        Request = Pool().get('gnuhealth.imaging.test.request')
        self.hospital()
        request = self.request()
        other = self.request(
            patient=create_patient("Joe", "Doe", ref='TST002GNU'))

        def versions():
            lines = Request.worklist_state('pacs')['versions'].split('\n')
            return dict(line.split() for line in lines)

        before = versions()
        for change in [
                lambda: self.evaluate(80, 3),
                lambda: self.disease("Iodine", is_allergy=True)]:
            change()
            after = versions()
            self.assertNotEqual(
                after[str(request.id)], before[str(request.id)])
            self.assertEqual(after[str(other.id)], before[str(other.id)])
            before = after
