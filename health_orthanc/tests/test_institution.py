# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import unittest

from trytond.modules.health_imaging.tests.tools import DOCTOR, create_user
from trytond.pool import Pool
from trytond.tests.test_tryton import (
    activate_module, drop_db, with_transaction)
from trytond.transaction import Transaction, check_access

from .tools import ImagingMixin


class InstitutionTestCase(ImagingMixin, unittest.TestCase):
    "Test the rules by institution"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        drop_db()
        activate_module('health_orthanc')

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        drop_db()

    @with_transaction()
    def test_studies(self):
        "A study belongs to the institution of its request or result"
        pool = Pool()
        Configuration = pool.get('gnuhealth.imaging.configuration')
        OrthancPatient = pool.get('gnuhealth.orthanc.patient')
        Series = pool.get('gnuhealth.imaging_orthanc.study_series')
        Study = pool.get('gnuhealth.imaging_orthanc.study')
        self.hospital()
        server = self.server()
        result = self.result()
        by_request, by_result, unlinked = [
            self.study(
                server, orthanc_UID=f'study{i}', request=request,
                imaging_test=imaging_test,
                orthanc_patient=OrthancPatient.create([{
                            'server': server.id,
                            'uuid': f'patient{i}',
                            }])[0].id)
            for i, (request, imaging_test) in enumerate([
                    (result.request.id, None), (None, result.id),
                    (None, None)])]
        local = create_user('local', DOCTOR)
        stranger = create_user('stranger', DOCTOR)
        stranger.companies, stranger.company = [], None
        stranger.save()
        configuration = Configuration(1)
        for on, user, expected in [
                (False, stranger, [by_request, by_result, unlinked]),
                (True, stranger, [unlinked]),
                (True, local, [by_request, by_result, unlinked])]:
            configuration.own_institution = on
            configuration.save()
            with self.subTest(on=on, user=user.login), \
                    Transaction().set_user(user.id), check_access():
                self.assertEqual(
                    set(Study.search([])), set(map(Study, map(int, expected))))
                self.assertEqual(
                    {s.study for s in Series.search([])},
                    set(Study.search([])))
                self.assertEqual(
                    {p.uuid for p in OrthancPatient.search([])},
                    {s.orthanc_patient.uuid for s in Study.search([])})
