# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import datetime as dt

from trytond.model.exceptions import RequiredValidationError
from trytond.modules.health_imaging.exceptions import (
    DeceasedPatientWarning, InactiveTestError, NoTestError,
    NotRequestedError, RequestDeleteError, RequestLockedError,
    ResultDeleteError, ResultSignedError, SignatureError, RepeatedTestError,
    TransitionError)
from trytond.pool import Pool
from trytond.tests.test_tryton import ModuleTestCase, with_transaction
from trytond.transaction import (
    Transaction, check_access, without_check_access)

from .tools import (
    IMAGING, PNG, Hospital, create_patient, create_professional, create_user)


class HealthImagingTestCase(Hospital, ModuleTestCase):
    "Test Health Imaging module"
    module = 'health_imaging'

    def new_order(self, **values):
        NewOrder = Pool().get(
            'gnuhealth.patient.imaging.test.request', type='wizard')
        session_id, _, _ = NewOrder.create()
        start = NewOrder(session_id).default_start([])
        start['patient'] = self.patient.id
        start.update(values)
        return NewOrder.execute(session_id, {'start': start}, 'request')

    @with_transaction()
    def test_request_defaults(self):
        self.hospital()
        request = self.request()
        self.assertEqual(request.state, 'draft')
        self.assertEqual(request.doctor, self.doctor)
        self.assertEqual(request.institution, self.institution)
        self.assertEqual(request.scheduled_date, request.date)
        self.assertEqual(request.request_line, f'{request.request}-01')
        self.assertTrue(request.computed_age)

        date = dt.datetime(2024, 5, 6, 7, 8)
        self.assertEqual(
            self.request(date=date, scheduled_date=None).scheduled_date, date)

    @with_transaction()
    def test_request_numbers(self):
        Request = Pool().get('gnuhealth.imaging.test.request')
        self.hospital()
        values = {
            'patient': self.patient.id,
            'requested_test': self.ct.id,
            'doctor': self.doctor.id,
            }
        one, two = Request.create([values, values])
        self.assertNotEqual(one.request, two.request)

        lines = Request.create(
            [dict(values, request='A7')] * 3
            + [dict(values, request='A7', request_line='kept')])
        self.assertEqual(
            [r.request_line for r in lines],
            ['A7-01', 'A7-02', 'A7-03', 'kept'])
        Request.delete(lines[:1])
        self.assertEqual(
            self.request(request='A7').request_line, 'A7-04')

    @with_transaction()
    def test_request_copy(self):
        Request = Pool().get('gnuhealth.imaging.test.request')
        self.hospital()
        result = self.result()
        request = result.request
        self.assertEqual(request.state, 'done')
        copy, = Request.copy([request])
        self.assertEqual(copy.state, 'draft')
        self.assertNotEqual(copy.request, request.request)
        self.assertEqual(copy.request_line, f'{copy.request}-01')
        self.assertFalse(copy.results)
        self.assertEqual(request.results, (result,))

    @with_transaction()
    def test_request_identity(self):
        Request = Pool().get('gnuhealth.imaging.test.request')
        self.hospital()
        other = create_patient("Bo", "Other", 'TST002GNU')
        request = self.request()
        Request.write([request], {'patient': other.id})
        Request.requested([request])
        for values in [
                {'patient': self.patient.id},
                {'requested_test': self.mr.id},
                {'request': 'X'},
                {'request_line': 'X-01'}]:
            with self.subTest(values=values):
                with self.assertRaises(RequestLockedError):
                    Request.write([request], values)
        Request.write(
            [request], {'patient': other.id, 'comment': "Same patient"})

    @with_transaction()
    def test_closed(self):
        "What a result was made for does not change under it"
        Request = Pool().get('gnuhealth.imaging.test.request')
        self.hospital()
        other = create_professional("Eva", "Other")
        request = self.request()
        Request.requested([request])
        user = create_user('radiographer', IMAGING)
        with Transaction().set_user(user.id), \
                Transaction().set_context(_check_access=True):
            request = Request(request.id)
            Request.write([request], {'urgent': True, 'doctor': other.id})
        Request.create_results([request])
        changes = {
            'doctor': self.doctor.id, 'urgent': False, 'comment': "New",
            'scheduled_date': dt.datetime(2030, 1, 1)}
        with Transaction().set_user(user.id), \
                Transaction().set_context(_check_access=True):
            request = Request(request.id)
            for name, value in changes.items():
                with self.subTest(name=name):
                    with self.assertRaises(RequestLockedError):
                        Request.write([request], {name: value})
            Request.write([request], {'doctor': other.id})

    @with_transaction()
    def test_request_workflow(self):
        Request = Pool().get('gnuhealth.imaging.test.request')
        self.hospital()
        request = self.request()
        with self.assertRaises(NotRequestedError):
            Request.create_results([request])
        with self.assertRaises(TransitionError):
            Request.write([request], {'state': 'done'})
        Request.requested([request])
        self.assertEqual(request.state, 'requested')
        with self.assertRaises(RequestDeleteError):
            Request.delete([request])

        with check_access(), self.assertRaises(TransitionError):
            Request.write([request], {'cancel_reason': "Patient left"})
        with without_check_access():
            Request.write([request], {'cancel_reason': "Patient left"})
        Request.cancel([request])
        self.assertEqual(request.state, 'cancelled')
        with self.assertRaises(NotRequestedError):
            Request.create_results([request])

        Request.draft([request])
        self.assertEqual(request.state, 'draft')
        self.assertFalse(request.cancel_reason)
        Request.delete([request])

    @with_transaction()
    def test_request_cancel_reason(self):
        Request = Pool().get('gnuhealth.imaging.test.request')
        self.hospital()
        with self.assertRaises(RequiredValidationError):
            Request.cancel([self.request()])

    @with_transaction()
    def test_request_inactive_test(self):
        Request = Pool().get('gnuhealth.imaging.test.request')
        self.hospital()
        request = self.request()
        self.ct.active = False
        self.ct.save()
        with self.assertRaises(InactiveTestError):
            Request.requested([request])

    @with_transaction()
    def test_cancel_wizard(self):
        pool = Pool()
        Cancel = pool.get(
            'gnuhealth.imaging.test.request.cancel', type='wizard')
        Request = pool.get('gnuhealth.imaging.test.request')
        self.hospital()
        request = self.request()
        done = self.result().request
        with Transaction().set_context(
                active_model=Request.__name__, active_id=request.id,
                active_ids=[request.id, done.id]):
            session_id, _, _ = Cancel.create()
            Cancel.execute(
                session_id, {'start': {'reason': "Twice"}}, 'cancel')
        request, done = Request.browse([request, done])
        self.assertEqual(
            (request.state, request.cancel_reason), ('cancelled', "Twice"))
        self.assertEqual((done.state, done.cancel_reason), ('done', None))

    @with_transaction()
    def test_new_order(self):
        Request = Pool().get('gnuhealth.imaging.test.request')
        self.hospital()
        referrer = create_professional("Rea", "Ferrer")
        date = dt.datetime(2030, 1, 2, 3, 4)
        result = self.new_order(
            tests=[self.ct.id, self.mr.id], urgent=True,
            referring_professional=referrer.id, scheduled_date=date,
            comment="Allergic to iodine")
        action, = [a for a, _ in result['actions']]
        self.assertEqual(
            action['res_model'], 'gnuhealth.imaging.test.request')
        one, two = Request.search([], order=[('id', 'ASC')])
        self.assertEqual(one.request, two.request)
        self.assertEqual(
            [r.request_line for r in [one, two]],
            [f'{one.request}-01', f'{one.request}-02'])
        self.assertEqual(
            [r.requested_test for r in [one, two]], [self.ct, self.mr])
        for request in [one, two]:
            self.assertEqual(request.state, 'draft')
            self.assertTrue(request.urgent)
            self.assertEqual(request.doctor, self.doctor)
            self.assertEqual(request.institution, self.institution)
            self.assertEqual(request.referring_professional, referrer)
            self.assertEqual(request.scheduled_date, date)
            self.assertEqual(request.comment, "Allergic to iodine")

    @with_transaction()
    def test_new_order_refused(self):
        Request = Pool().get('gnuhealth.imaging.test.request')
        self.hospital()
        with self.assertRaises(NoTestError):
            self.new_order(tests=[])
        with self.assertRaises(RepeatedTestError):
            self.new_order(tests=[self.ct.id, self.mr.id, self.ct.id])
        self.mr.active = False
        self.mr.save()
        with self.assertRaises(InactiveTestError):
            self.new_order(tests=[self.ct.id, self.mr.id])
        self.patient.party.deceased = True
        self.patient.party.save()
        with self.assertRaises(DeceasedPatientWarning):
            self.new_order(tests=[self.ct.id])
        self.assertFalse(Request.search([], count=True))

    @with_transaction()
    def test_urgent_first(self):
        Request = Pool().get('gnuhealth.imaging.test.request')
        self.hospital()
        done = self.result().request
        Request.write([done], {'urgent': True})
        urgent = self.request(
            urgent=True, scheduled_date=dt.datetime(2020, 1, 1))
        new = self.request(scheduled_date=dt.datetime(2030, 1, 1))
        self.assertEqual(
            Request.search([], order=[
                    ('urgent', 'DESC'), ('scheduled_date', 'DESC')]),
            [urgent, new, done])

    @with_transaction()
    def test_generate_result(self):
        pool = Pool()
        Generate = pool.get('wizard.generate.result', type='wizard')
        Request = pool.get('gnuhealth.imaging.test.request')
        Result = pool.get('gnuhealth.imaging.test.result')
        self.hospital()
        requests = [self.request(), self.request(requested_test=self.mr)]
        Request.requested(requests)
        for _ in range(2):
            with Transaction().set_context(
                    active_model=Request.__name__,
                    active_id=requests[0].id,
                    active_ids=[r.id for r in requests]):
                session_id, _, _ = Generate.create()
                Generate.execute(session_id, {}, 'open_')
            requests = Request.browse(requests)
            self.assertEqual({r.state for r in requests}, {'done'})
            self.assertEqual(Result.search([], count=True), 2)
        for request in requests:
            result, = request.results
            self.assertTrue(result.number)
            self.assertEqual(result.state, 'draft')
            self.assertEqual(result.patient, request.patient)
            self.assertEqual(result.requested_test, request.requested_test)
            self.assertEqual(result.order, request.request)
            self.assertEqual(result.request_date, request.date)
            self.assertEqual(result.institution, request.institution)
            self.assertEqual(result.doctor, self.doctor)

    @with_transaction()
    def test_result_signed(self):
        pool = Pool()
        Attachment = pool.get('ir.attachment')
        Result = pool.get('gnuhealth.imaging.test.result')
        self.hospital()
        result = self.result()
        image = Attachment(name='a.png', data=PNG, resource=result)
        image.save()
        other = Attachment(name='b.png', data=PNG, resource=self.patient)
        other.save()
        Result.write([result], {'comment': "Normal"})
        Result.report([result])
        self.assertEqual(result.state, 'reported')
        with self.assertRaises(ResultDeleteError):
            Result.delete([result])
        Result.sign([result])
        self.assertEqual(result.state, 'signed')
        self.assertEqual(result.signed_by, self.doctor)
        self.assertTrue(result.signed_date)

        for change in [
                lambda: Result.write([result], {'comment': "Not normal"}),
                lambda: Result.write([result], {
                        'images': [('delete', [image.id])]}),
                lambda: Attachment.write([image], {'data': b'other'}),
                lambda: Attachment.write([image], {
                        'resource': str(self.patient)}),
                lambda: Attachment.write([other], {'resource': str(result)}),
                lambda: Attachment.delete([image]),
                lambda: Attachment.create([{
                            'name': 'c.png', 'data': PNG,
                            'resource': str(result)}]),
                ]:
            with self.assertRaises(ResultSignedError):
                change()
        Result.write([result], {'report_style': 'no_images'})

        Result.withdraw_signature([result], "Wrong side")
        self.assertEqual(result.state, 'reported')
        self.assertFalse(result.signed_by)
        Attachment.delete([image])

    @with_transaction()
    def test_result_signed_by_professional(self):
        pool = Pool()
        Result = pool.get('gnuhealth.imaging.test.result')
        self.hospital()
        result = self.result()
        user = create_user('radiographer', IMAGING)
        with Transaction().set_user(user.id):
            with self.assertRaises(SignatureError):
                Result.sign([Result(result.id)])

    @with_transaction()
    def test_result_without_request(self):
        Result = Pool().get('gnuhealth.imaging.test.result')
        self.hospital()
        result = Result(patient=self.patient, requested_test=self.mr)
        result.save()
        self.assertTrue(result.number)
        copy, = Result.copy([result])
        self.assertNotEqual(copy.number, result.number)


del ModuleTestCase
