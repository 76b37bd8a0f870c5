# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An order is billed with the modules of gnuhealth-services-imaging.

    python -m upgrade.billing

Run by the interpreter that has them beside the suite.
"""
from trytond.modules.health_imaging.tests import tools
from trytond.pool import Pool
from trytond.tests.test_tryton import activate_module, with_transaction
from trytond.transaction import Transaction


def service_of(patient):
    service, = Pool().get('gnuhealth.health_service').create([{
                'patient': patient.id, 'desc': "Imaging"}])
    return service


def order(patient, doctor, tests, service):
    "Order as the wizard does that the billing module extends"
    pool = Pool()
    Wizard = pool.get('gnuhealth.patient.imaging.test.request', type='wizard')
    Request = pool.get('gnuhealth.imaging.test.request')
    session, start, _ = Wizard.create()
    defaults = Wizard.execute(session, {}, start)['view']['defaults']
    Start = pool.get('gnuhealth.patient.imaging.test.request.start')
    # a client sends every field
    values = {name: defaults.get(name) for name in Start._fields}
    values.update(
        patient=patient.id, doctor=doctor.id, tests=[t.id for t in tests],
        service=service.id, urgent=False)
    Wizard.execute(session, {start: values}, 'request')
    return Request.search([], order=[('id', 'ASC')])


@with_transaction()
def bill():
    hospital = tools.Hospital()
    hospital.hospital()
    with Transaction().set_context(tools.company_context()):
        service = service_of(hospital.patient)
        requests = order(
            hospital.patient, hospital.doctor, [hospital.ct, hospital.mr],
            service)
        assert len(requests) == 2, requests
        assert len({r.request for r in requests}) == 1
        assert {r.service for r in requests} == {service}
        assert {r.service_updated for r in requests} == {'yes'}
        service = type(service)(service.id)
        assert len(service.service_line) == 2, service.service_line

        Request = Pool().get('gnuhealth.imaging.test.request')
        later = hospital.request(doctor=hospital.doctor, service=service)
        Request.update_service([later])
        assert len(type(service)(service.id).service_line) == 3
        Request.requested(requests)
        assert {r.state for r in Request.browse(requests)} == {'requested'}
        Request.create_results(requests[:1])
        print('billed')


if __name__ == '__main__':
    activate_module(['health_services_imaging'])
    bill()
