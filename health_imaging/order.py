# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from trytond.i18n import gettext
from trytond.model import ModelView, fields
from trytond.pool import Pool
from trytond.pyson import PYSONEncoder
from trytond.transaction import check_access
from trytond.wizard import Button, StateAction, StateTransition, StateView

from .access import GuardedWizard, check_rights
from .exceptions import NoTestError, RepeatedTestError


class NewOrderStart(ModelView):
    "Request Patient Imaging Test Start"
    __name__ = 'gnuhealth.patient.imaging.test.request.start'

    patient = fields.Many2One('gnuhealth.patient', "Patient", required=True)
    urgent = fields.Boolean("Urgent")
    tests = fields.Many2Many(
        'gnuhealth.request-imaging-test', 'request', 'test', "Tests",
        required=True)
    date = fields.DateTime("Date")
    doctor = fields.Many2One(
        'gnuhealth.healthprofessional', "Health Prof", required=True,
        help="The health professional who requests the studies.")
    referring_professional = fields.Many2One(
        'gnuhealth.healthprofessional', "Referring Prof",
        help="The health professional who referred the patient.\n"
        "Leave empty if it is the one who requests the studies.")
    institution = fields.Many2One(
        'gnuhealth.institution', "Institution",
        help="Where the studies are done.")
    scheduled_date = fields.DateTime(
        "Scheduled", help="Leave empty to plan the studies at the date.")
    context = fields.Many2One('gnuhealth.pathology', "Context")
    comment = fields.Text("Additional Information")


class NewOrderTest(ModelView):
    "Request - Test"
    __name__ = 'gnuhealth.request-imaging-test'
    _table = 'gnuhealth_request_imaging_test'

    request = fields.Many2One(
        'gnuhealth.patient.imaging.test.request.start', "Request",
        required=True)
    test = fields.Many2One('gnuhealth.imaging.test', "Study", required=True)


class NewOrder(GuardedWizard):
    "Request Patient Imaging Test"
    __name__ = 'gnuhealth.patient.imaging.test.request'

    start = StateView(
        'gnuhealth.patient.imaging.test.request.start',
        'health_imaging.patient_imaging_test_request_start_view_form', [
            Button("Cancel", 'end', 'tryton-cancel'),
            Button("Request", 'request', 'tryton-ok', default=True),
            ])
    request = StateTransition()
    open_ = StateAction('health_imaging.act_imaging_test_request_view')

    def default_start(self, fields):
        Request = Pool().get('gnuhealth.imaging.test.request')
        values = {
            'date': Request.default_date(),
            'doctor': Request.default_doctor(),
            'institution': Request.default_institution(),
            'urgent': False,
            }
        if (self.model and self.record
                and self.model.__name__ == 'gnuhealth.patient'):
            values['patient'] = self.record.id
        return values

    def transition_request(self):
        Request = Pool().get('gnuhealth.imaging.test.request')
        start = self.start
        tests = getattr(start, 'tests', None)
        if not tests:
            raise NoTestError(gettext('health_imaging.msg_no_test'))
        twice = {t for t in tests if tests.count(t) > 1}
        if twice:
            raise RepeatedTestError(gettext(
                    'health_imaging.msg_test_twice',
                    tests=', '.join(sorted(t.rec_name for t in twice))))
        requests = []
        for test in tests:
            request = Request(requested_test=test)
            for name in self._copied_fields():
                setattr(request, name, getattr(start, name, None))
            request.date = (
                getattr(start, 'date', None) or Request.default_date())
            request.scheduled_date = (
                getattr(start, 'scheduled_date', None) or request.date)
            requests.append(request)
        # before it costs a number
        Request.check_tests(requests)
        Request.check_patients(requests)
        order, = Request.new_orders()
        for request in requests:
            request.request = order
        Request.save(requests)
        with check_access():
            check_rights(Request, requests, 'create')
        self._requests = [r.id for r in requests]
        return 'open_'

    @classmethod
    def _copied_fields(cls):
        return [
            'patient', 'urgent', 'doctor', 'referring_professional',
            'institution', 'context', 'comment']

    def do_open_(self, action):
        action['pyson_domain'] = PYSONEncoder().encode([
                ('id', 'in', self._requests)])
        action['domains'] = []
        return action, {}
