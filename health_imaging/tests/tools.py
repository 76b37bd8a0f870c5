# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"A small made-up hospital for the tests of the imaging modules"
import datetime as dt

from trytond.pool import Pool
from trytond.transaction import Transaction

PNG = bytes.fromhex(
    '89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55'
    '0000000a49444154789c6360000000020001e221bc330000000049454e44ae426082')
IMAGING = 'health_imaging.group_health_imaging'
IMAGING_ADMIN = 'health_imaging.group_health_imaging_admin'
DOCTOR = 'health.group_health_doctor'
FRONT_DESK = 'health.group_health_frontdesk'


def create_hospital():
    "Return the institution, whose company the admin then works for"
    pool = Pool()
    Company = pool.get('company.company')
    Currency = pool.get('currency.currency')
    Institution = pool.get('gnuhealth.institution')
    Party = pool.get('party.party')
    User = pool.get('res.user')

    currency = Currency(
        name="Euro", symbol='€', code='EUR', numeric_code='978')
    currency.save()
    party, = Party.create([{'name': "Test Hospital", 'is_institution': True}])
    company = Company(
        party=party, currency=currency, timezone='Europe/Madrid')
    company.save()
    institution = Institution(
        party=party, code='TEST', institution_type='hospital',
        public_level='public')
    institution.save()
    user = User(Transaction().user)
    user.companies = [company]
    user.company = company
    user.save()
    return institution


def create_professional(name, lastname, user=None, **values):
    pool = Pool()
    Party = pool.get('party.party')
    Professional = pool.get('gnuhealth.healthprofessional')
    party, = Party.create([{
                'name': name,
                'lastname': lastname,
                'is_person': True,
                'is_healthprof': True,
                'gender': 'f',
                'fed_country': None,
                'internal_user': user,
                }])
    professional = Professional(party=party, **values)
    professional.save()
    return professional


def create_patient(
        name="Ana", lastname="Betz", ref='TST001GNU', gender='f',
        dob=dt.date(1985, 10, 4)):
    pool = Pool()
    Party = pool.get('party.party')
    Patient = pool.get('gnuhealth.patient')
    party, = Party.create([{
                'name': name,
                'lastname': lastname,
                'ref': ref,
                'is_person': True,
                'is_patient': True,
                'gender': gender,
                'dob': dob,
                'fed_country': None,
                }])
    patients = Patient.search([('party', '=', party.id)])
    if patients:
        return patients[0]
    patient = Patient(party=party)
    patient.save()
    return patient


def create_test(code='CTHEAD', name="CT head", modality='ctscan', **values):
    pool = Pool()
    ModelData = pool.get('ir.model.data')
    Test = pool.get('gnuhealth.imaging.test')
    test = Test(
        code=code, name=name,
        test_type=ModelData.get_id(
            'health_imaging', f'gnuhealth_test_type_{modality}'),
        product=ModelData.get_id(
            'health_imaging', 'product_product_ctscancharges'),
        **values)
    test.save()
    return test


def create_user(login, *groups):
    "Return a user with the groups of these xml ids"
    pool = Pool()
    ModelData = pool.get('ir.model.data')
    User = pool.get('res.user')
    admin = User(Transaction().user)
    user = User(
        name=login, login=login, companies=admin.companies,
        company=admin.company,
        groups=[ModelData.get_id(*g.split('.')) for g in groups])
    user.save()
    return user


def company_context():
    pool = Pool()
    User = pool.get('res.user')
    return {'company': User(Transaction().user).company.id}


class Hospital:
    "Gives a test case a hospital with its doctor, patient and studies"

    def hospital(self):
        self.institution = create_hospital()
        Transaction().set_context(company_context())
        self.doctor = create_professional(
            "Cara", "Cordara", user=Transaction().user,
            institution=self.institution)
        self.patient = create_patient()
        self.ct = create_test()
        self.mr = create_test('MRKNEE', "MR knee", 'mri')

    def request(self, **values):
        Request = Pool().get('gnuhealth.imaging.test.request')
        values.setdefault('patient', self.patient)
        values.setdefault('requested_test', self.ct)
        request = Request(**values)
        request.save()
        return request

    def result(self):
        Request = Pool().get('gnuhealth.imaging.test.request')
        request = self.request()
        Request.requested([request])
        result, = Request.create_results([request])
        return result
