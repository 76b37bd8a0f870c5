# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import unittest
from contextlib import contextmanager

from trytond.model.exceptions import AccessError
from trytond.pool import Pool
from trytond.tests.test_tryton import (
    activate_module, drop_db, with_transaction)
from trytond.transaction import Transaction, check_access

from .tools import DOCTOR, Hospital, create_user


class InstitutionTestCase(Hospital, unittest.TestCase):
    "Test the rules by institution"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        drop_db()
        activate_module('health_imaging')

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        drop_db()

    def two_hospitals(self):
        "Make users, requests and results here, elsewhere and nowhere"
        pool = Pool()
        Company = pool.get('company.company')
        Institution = pool.get('gnuhealth.institution')
        Party = pool.get('party.party')
        Request = pool.get('gnuhealth.imaging.test.request')
        self.hospital()
        here = Company(Transaction().context['company'])
        party, = Party.create([
                {'name': "Other Hospital", 'is_institution': True}])
        elsewhere = Company(party=party, currency=here.currency)
        elsewhere.save()
        other = Institution(
            party=party, code='OTHER', institution_type='hospital',
            public_level='public')
        other.save()
        self.users = {}
        for name, company in [
                ('here', here), ('elsewhere', elsewhere), ('nowhere', None)]:
            user = self.users[name] = create_user(name, DOCTOR)
            user.companies = [company] if company else []
            user.company = company
            user.save()
        self.requests = {
            'here': self.request(institution=self.institution),
            'elsewhere': self.request(institution=other),
            'nowhere': self.request(institution=None),
            }
        requests = list(self.requests.values())
        Request.requested(requests)
        Request.create_results(requests)
        self.results = {
            name: Request(request.id).results[0]
            for name, request in self.requests.items()}
        self.other = other

    def switch(self, on):
        Configuration = Pool().get('gnuhealth.imaging.configuration')
        configuration = Configuration(1)
        configuration.own_institution = on
        configuration.save()
        self.assertEqual(Configuration(1).own_institution, on)

    @contextmanager
    def user(self, name):
        user = self.users[name]
        with Transaction().set_user(user.id), check_access(), \
                Transaction().set_context(
                    company=user.company.id if user.company else None):
            yield

    def refused(self, function, *args):
        try:
            function(*args)
        except AccessError:
            return True
        return False

    def visible(self, records):
        "Return which of the records the user can see, however they are asked"
        Model = records['here'].__class__
        ids = {record.id: name for name, record in records.items()}
        found = {ids[r.id] for r in Model.search([])}
        self.assertEqual(Model.search([], count=True), len(found))
        for name, record in records.items():
            with self.subTest(record=name):
                self.assertEqual(
                    self.refused(Model.read, [record.id], ['id']),
                    name not in found)
        return found

    @with_transaction()
    def test_off(self):
        "As shipped everybody sees everything"
        self.two_hospitals()
        for name in self.users:
            with self.subTest(user=name), self.user(name):
                for records in [self.requests, self.results]:
                    self.assertEqual(
                        self.visible(records),
                        {'here', 'elsewhere', 'nowhere'})

    @with_transaction()
    def test_on(self):
        "Users see their institution's, and what belongs to none"
        self.two_hospitals()
        self.switch(True)
        expected = {
            'here': {'here', 'nowhere'},
            'elsewhere': {'elsewhere', 'nowhere'},
            'nowhere': {'nowhere'},
            }
        for name, seen in expected.items():
            with self.subTest(user=name), self.user(name):
                for records in [self.requests, self.results]:
                    self.assertEqual(self.visible(records), seen)
        self.switch(False)
        with self.user('nowhere'):
            self.assertEqual(len(self.visible(self.requests)), 3)

    @with_transaction()
    def test_use(self):
        "What is another institution's cannot be used in any way"
        pool = Pool()
        Attachment = pool.get('ir.attachment')
        Request = pool.get('gnuhealth.imaging.test.request')
        Result = pool.get('gnuhealth.imaging.test.result')
        Generate = pool.get('wizard.generate.result', type='wizard')
        Report = pool.get('patient.imaging_report_results', type='report')
        self.two_hospitals()
        drafts = {
            name: self.request(institution=request.institution).id
            for name, request in self.requests.items()}
        attachments = {
            name: Attachment.create([{
                        'name': "picture", 'resource': str(result)}])[0].id
            for name, result in self.results.items()}

        def generate(request):
            with Transaction().set_context(
                    active_model=Request.__name__, active_id=request,
                    active_ids=[request]):
                Generate.create()

        def ways(name):
            request = self.requests[name].id
            result = self.results[name].id
            return [
                (Request.write, [Request(drafts[name])], {'comment': "x"}),
                (Result.write, [Result(result)], {'comment': "x"}),
                (Request.copy, [Request(request)]),
                (Result.report, [Result(result)]),
                (Attachment.read, [attachments[name]], ['name']),
                (Attachment.write, [Attachment(attachments[name])],
                    {'name': "x"}),
                (Attachment.create, [{
                            'name': "y", 'resource': str(Result(result))}]),
                (Report.execute, [result], {}),
                (generate, request),
                ]

        with self.user('elsewhere'):
            for way in ways('elsewhere'):
                self.assertFalse(self.refused(*way), way)
        self.switch(True)
        with self.user('elsewhere'):
            for way in ways('here'):
                with self.subTest(way=way):
                    self.assertTrue(self.refused(*way))
            for way in ways('nowhere'):
                with self.subTest(way=way):
                    self.assertFalse(self.refused(*way))

    @with_transaction()
    def test_new_order(self):
        "A new order is for one's own institution"
        NewOrder = Pool().get(
            'gnuhealth.patient.imaging.test.request', type='wizard')
        self.two_hospitals()
        for on in [False, True]:
            self.switch(on)
            for name, institution in [
                    ('here', self.institution), ('here', self.other)]:
                with self.subTest(on=on, institution=institution.rec_name), \
                        self.user(name):
                    session, _, _ = NewOrder.create()
                    with Transaction().set_context(_check_access=False):
                        order = (NewOrder.execute, session, {
                                'start': {
                                    'patient': self.patient.id,
                                    'tests': [self.ct.id],
                                    'doctor': self.doctor.id,
                                    'institution': institution.id,
                                    },
                                }, 'request')
                        self.assertEqual(
                            self.refused(*order),
                            on and institution == self.other)
