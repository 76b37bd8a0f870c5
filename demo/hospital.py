# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fill the demo's database: a hospital, its people, its imaging.

Works over XML-RPC as a client does, and may be run again: what is there is
found by its code and left as it is.
"""
import sys
from xmlrpc.client import Error

from proteus import Model, Wizard, config

from . import people
from .installation import (
    ORTHANC_LOGIN, SCRIPTS_LOGIN, Installation)
from .process import ServiceError
from .state import State

SERVER_LABEL = 'demo'
# what the scripts on the PACS host need, and no more
SCRIPTS_GROUPS = ["Health Imaging", "Health Imaging Orthanc"]
CHARSET = 'ISO_IR 192'


def connect(installation):
    """Return a context manager: proteus as the administrator."""
    return config.set_xmlrpc_session(
        installation.trytond.rpc_url, 'admin',
        installation.secrets['admin'])


def one(name, domain, /, **values):
    """Return the record of the domain; make it if there is none."""
    Class = Model.get(name)
    found = Class.find(domain, limit=1)
    if found:
        return found[0]
    record = Class()
    for field, value in values.items():
        setattr(record, field, value)
    record.save()
    return record


def make_institution():
    euro = one('currency.currency', [('code', '=', 'EUR')],
        name="Euro", symbol='€', code='EUR', numeric_code='978')
    for country in people.COUNTRIES:
        one('country.country', [('code', '=', country.code)],
            name=country.name, code=country.code, code3=country.code3,
            code_numeric=country.number)
    party = one('party.party', [
            ('name', '=', people.HOSPITAL), ('is_institution', '=', True)],
        name=people.HOSPITAL, is_institution=True, is_person=False)
    company = one('company.company', [('party', '=', party.id)],
        party=party, currency=euro, timezone=people.TIMEZONE)
    institution = one('gnuhealth.institution', [('party', '=', party.id)],
        party=party, code='DEMO', institution_type='hospital',
        public_level='public')
    return company, institution


def make_users(company, secrets):
    """Let the administrator work in the hospital, the scripts log in."""
    User, Group = Model.get('res.user'), Model.get('res.group')
    groups = {group.name: group for group in Group.find([])}
    admin, = User.find([('login', '=', 'admin')])
    join(admin, company, [
            group for name, group in groups.items()
            # the front desk has a menu of its own for what others see better
            if name.startswith("Health") and name != "Health Front Desk"])
    scripts = one('res.user', [('login', '=', SCRIPTS_LOGIN)],
        name="Scripts of the PACS host", login=SCRIPTS_LOGIN)
    scripts.password = secrets['scripts']
    join(scripts, company, [groups[name] for name in SCRIPTS_GROUPS])
    # GNU Health's core comes with users whose password is known
    strangers = [
        user for user in User.find([])
        if user.login not in {'admin', SCRIPTS_LOGIN}]
    for user in strangers:
        user.active = False
    User.save(strangers)
    return admin


def join(user, company, groups):
    # a record of proteus belongs to one list: take new ones
    def add(records, wanted):
        present = {record.id for record in records}
        for record in wanted:
            if record.id not in present:
                records.append(type(record)(record.id))

    add(user.companies, [company])
    user.company = company
    add(user.groups, groups)
    user.save()


def make_person(person, **values):
    country, = Model.get('country.country').find(
        [('code', '=', person.country)])
    return one('party.party', [('ref', '=', person.ref)],
        name=person.given, lastname=person.family, ref=person.ref,
        is_person=True, gender=person.sex, dob=person.birth,
        citizenship=country, fed_country=None, **values)


def make_people(institution, admin):
    doctors = []
    for person in people.DOCTORS:
        party = make_person(person, is_healthprof=True,
            internal_user=None if doctors else admin)
        doctors.append(one('gnuhealth.healthprofessional',
                [('party', '=', party.id)],
                party=party, institution=institution, code=person.ref))
    for person in people.PATIENTS:
        party = make_person(person, is_patient=True)
        one('gnuhealth.patient', [('party', '=', party.id)], party=party)
    return doctors


def make_tests():
    for test in people.TESTS:
        type_, = Model.get('gnuhealth.imaging.test.type').find(
            [('code', '=', test.modality)])
        one('gnuhealth.imaging.test', [('code', '=', test.code)],
            code=test.code, name=test.name, test_type=type_,
            product=make_product(test.name), aetitle=test.aet,
            imaging_worklist_template=find_template(test.template))


def make_product(name):
    Template = Model.get('product.template')
    found = Template.find([('name', '=', name)])
    if found:
        return found[0].products[0]
    unit, = Model.get('product.uom').find([('symbol', '=', 'u')])
    template = Template(name=name, type='service', default_uom=unit)
    template.save()
    return template.products[0]


def find_template(kind):
    """Return the shipped worklist template of that type."""
    template, *_ = Model.get(
        'gnuhealth.imaging_worklist.worklist_template').find([
            ('template_type', '=', kind),
            ('value_mode', '=', 'standard'),
            ('charset', '=', CHARSET),
            ], order=[('id', 'ASC')])
    return template


def add_server(installation):
    """Add the Orthanc server as a person does."""
    Server = Model.get('gnuhealth.orthanc.config')
    url = installation.orthanc.url.rstrip('/')
    found = Server.find([('label', '=', SERVER_LABEL)])
    if found:
        server, = found
        # the port may be another one today
        if server.domain != url or not server.validated:
            server.domain = url
            server.password = installation.orthanc.password
            server.save()
    else:
        wizard = Wizard(
            'gnuhealth.imaging_orthanc.wizard.orthanc_new_connect')
        wizard.form.label = SERVER_LABEL
        wizard.form.domain = url
        wizard.form.user = ORTHANC_LOGIN
        wizard.form.password = installation.orthanc.password
        wizard.execute('connect')
        if wizard.form_state == 'error':
            raise ServiceError(wizard.form.message)
        wizard.execute('end')
    server, = Server.find([('label', '=', SERVER_LABEL)])
    if not server.validated:
        raise ServiceError(server.validation_message)
    return server


def finish_configuration():
    """No configuration wizard shows up at the first log-in."""
    Item = Model.get('ir.module.config_wizard.item')
    for item in Item.find([('state', '!=', 'done')]):
        item.state = 'done'
        item.save()


def make(installation):
    with connect(installation) as current:
        company, institution = make_institution()
        admin = make_users(company, installation.secrets)
        # proteus has the context of a user without a company
        current._context = Model.get('res.user').get_preferences(True, {})
        make_people(institution, admin)
        make_tests()
        add_server(installation)
        finish_configuration()


def main():
    try:
        make(Installation(State()))
    except (ServiceError, OSError, Error) as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == '__main__':
    main()
