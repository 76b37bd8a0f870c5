# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"A small made-up hospital for scenarios, by proteus"
import datetime as dt

from proteus import Model
from proteus.config import get_config


def create_hospital():
    Company = Model.get('company.company')
    Currency = Model.get('currency.currency')
    Institution = Model.get('gnuhealth.institution')
    Party = Model.get('party.party')
    User = Model.get('res.user')

    currency = Currency(
        name="Euro", symbol='€', code='EUR', numeric_code='978')
    currency.save()
    party = Party(name="Test Hospital", is_institution=True)
    party.save()
    company = Company(
        party=party, currency=currency, timezone='Europe/Madrid')
    company.save()
    institution = Institution(
        party=party, code='TEST', institution_type='hospital',
        public_level='public')
    institution.save()

    config = get_config()
    admin = User(config.user)
    admin.companies.append(company)
    admin.company = company
    admin.save()
    config._context = User.get_preferences(True, {})
    return institution


def create_test(code, name, modality):
    Product = Model.get('product.product')
    Test = Model.get('gnuhealth.imaging.test')
    Type = Model.get('gnuhealth.imaging.test.type')
    product, = Product.find([('template.name', '=', "CT Scan charges")])
    type_, = Type.find([('code', '=', modality)])
    test = Test(code=code, name=name, test_type=type_, product=product)
    test.save()
    return test


def create_patient(name, lastname, ref, gender='f'):
    Party = Model.get('party.party')
    Patient = Model.get('gnuhealth.patient')
    party = Party(
        name=name, lastname=lastname, ref=ref, is_person=True,
        is_patient=True, gender=gender, dob=dt.date(1985, 10, 4))
    party.save()
    patients = Patient.find([('party', '=', party.id)])
    if patients:
        return patients[0]
    patient = Patient(party=party)
    patient.save()
    return patient


def create_user(login, *groups):
    "Return a new user in the groups of these names"
    Company = Model.get('company.company')
    Group = Model.get('res.group')
    User = Model.get('res.user')
    company, = Company.find()
    user = User(name=login, login=login, company=company)
    user.companies.append(company)
    user.groups.extend(Group.find([('name', 'in', list(groups))]))
    user.save()
    return user


def create_professional(name, lastname, user=None):
    Party = Model.get('party.party')
    Professional = Model.get('gnuhealth.healthprofessional')
    party = Party(
        name=name, lastname=lastname, is_person=True, is_healthprof=True,
        gender='f', internal_user=user)
    party.save()
    professional = Professional(party=party)
    professional.save()
    return professional


def create_result(patient, test, doctor):
    "Return the new result of a request by the doctor"
    Request = Model.get('gnuhealth.imaging.test.request')
    request = Request(patient=patient, requested_test=test, doctor=doctor)
    request.save()
    request.click('requested')
    request.click('generate_results')
    request.reload()
    result, = request.results
    return result
