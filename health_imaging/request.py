# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import datetime as dt

import pytz
from sql.conditionals import Case

from trytond.i18n import gettext
from trytond.model import Index, ModelSQL, ModelView, Workflow, fields
from trytond.modules.health.core import (
    compute_age_from_dates, get_health_professional, get_institution,
    get_institution_timezone)
from trytond.pool import Pool
from trytond.pyson import Bool, Eval, If, PYSONEncoder
from trytond.tools import grouped_slice
from trytond.transaction import Transaction
from trytond.wizard import (
    Button, StateAction, StateTransition, StateView, Wizard)

from . import upgrade
from .catalogue import search_any_of
from .configuration import next_numbers
from .exceptions import (
    DeceasedPatientWarning, InactiveTestError, NoTestError, NotRequestedError,
    RequestDeleteError, RequestLockedError)
from .workflow import GuardedWorkflow

_draft_only = {
    'readonly': Eval('state') != 'draft',
    }
_open_only = {
    'readonly': ~Eval('state').in_(['draft', 'requested']),
    }


def now():
    return dt.datetime.now(dt.timezone.utc).replace(
        tzinfo=None, microsecond=0)


def age_at(patient, date):
    "Return the patient's age at that time (UTC) as GNU Health writes it"
    if not patient or not patient.dob or not date:
        return None
    day = pytz.utc.localize(date).astimezone(get_institution_timezone())
    return compute_age_from_dates(
        patient.dob, None, None, None, 'age', day.date())


class ImagingRequest(GuardedWorkflow, ModelSQL, ModelView):
    "Medical Imaging Study Request"
    __name__ = 'gnuhealth.imaging.test.request'

    patient = fields.Many2One(
        'gnuhealth.patient', "Patient", required=True, states=_draft_only)
    requested_test = fields.Many2One(
        'gnuhealth.imaging.test', "Study", required=True, states=_draft_only)
    date = fields.DateTime(
        "Date", required=True, states=_draft_only,
        help="When the study was ordered.")
    doctor = fields.Many2One(
        'gnuhealth.healthprofessional', "Health Prof", required=True,
        states=_open_only,
        help="The health professional who requests the study.")
    referring_professional = fields.Many2One(
        'gnuhealth.healthprofessional', "Referring Prof",
        ondelete='RESTRICT', states=_open_only,
        help="The health professional who referred the patient.\n"
        "Leave empty if it is the one who requests the study.")
    institution = fields.Many2One(
        'gnuhealth.institution', "Institution", ondelete='RESTRICT',
        states=_open_only,
        help="Where the study is done.")
    scheduled_date = fields.DateTime(
        "Scheduled", states=_open_only,
        help="When the study is planned. "
        "Worklists show the study at this date and time.")
    context = fields.Many2One(
        'gnuhealth.pathology', "Context", states=_open_only,
        help="The health condition that leads to the study.")
    comment = fields.Text("Additional Information", states=_open_only)
    urgent = fields.Boolean("Urgent", states=_open_only)
    request = fields.Char(
        "Order", readonly=True,
        help="The number of the order: the DICOM accession number.")
    request_line = fields.Char("Order line", readonly=True)
    state = fields.Selection([
            ('draft', "Draft"),
            ('requested', "Requested"),
            ('done', "Done"),
            ('cancelled', "Cancelled"),
            ], "State", readonly=True, sort=False)
    cancel_reason = fields.Text(
        "Reason of cancellation", readonly=True,
        states={
            'invisible': Eval('state') != 'cancelled',
            'required': Eval('state') == 'cancelled',
            })
    results = fields.One2Many(
        'gnuhealth.imaging.test.result', 'request', "Results",
        readonly=True)
    computed_age = fields.Function(
        fields.Char("Age", help="The patient's age when ordered."),
        'on_change_with_computed_age')

    # What a request is known by once it has left the draft
    _identity_fields = {'patient', 'requested_test', 'request', 'request_line'}

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_indexes.update({
                Index(t, (t.patient, Index.Range()), (t.date, Index.Range())),
                Index(
                    t, (t.state, Index.Equality()),
                    (t.scheduled_date, Index.Range())),
                Index(t, (t.request, Index.Similarity())),
                Index(t, (t.date, Index.Range())),
                })
        cls._order.insert(0, ('date', 'DESC'))
        cls._order.insert(1, ('request', 'DESC'))
        cls._transitions |= {
            ('draft', 'requested'),
            ('requested', 'done'),
            ('draft', 'cancelled'),
            ('requested', 'cancelled'),
            ('cancelled', 'draft'),
            }
        cls._buttons.update({
                'requested': {
                    'invisible': Eval('state') != 'draft',
                    'depends': ['state'],
                    },
                'generate_results': {
                    'invisible': ~Eval('state').in_(['requested', 'done']),
                    'depends': ['state'],
                    },
                'cancel_wizard': {
                    'invisible': ~Eval('state').in_(['draft', 'requested']),
                    'depends': ['state'],
                    },
                'cancel': {
                    'invisible': ~Eval('state').in_(['draft', 'requested']),
                    'depends': ['state'],
                    },
                'draft': {
                    'invisible': Eval('state') != 'cancelled',
                    'depends': ['state'],
                    },
                })
        # The default dates depend on the time
        cls.__rpc__['default_get'].cache = None

    @classmethod
    def __register__(cls, module):
        upgrade.from_5_0(cls, module)
        upgrade.request_columns(cls, module)
        super().__register__(module)

    @staticmethod
    def default_date():
        return now()

    @staticmethod
    def default_scheduled_date():
        return now()

    @staticmethod
    def default_doctor():
        return get_health_professional(required=False)

    @staticmethod
    def default_institution():
        return get_institution()

    @staticmethod
    def default_urgent():
        return False

    @staticmethod
    def default_state():
        return 'draft'

    @fields.depends('patient', 'date')
    def on_change_with_computed_age(self, name=None):
        return age_at(self.patient, self.date)

    @classmethod
    def order_urgent(cls, tables):
        "Urgent ones that still wait come first, done ones by their date"
        table, _ = tables[None]
        waiting = table.urgent & table.state.in_(['draft', 'requested'])
        return [Case((waiting, 1), else_=0)]

    def get_rec_name(self, name):
        return ' '.join(filter(None, [
                    self.request_line or self.request,
                    self.requested_test.rec_name]))

    search_rec_name = search_any_of(
        'request', 'request_line', 'patient.rec_name',
        'requested_test.rec_name')

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree', 'visual', If(
                    Eval('state') == 'cancelled', 'muted',
                    If(Bool(Eval('urgent')) & (Eval('state') != 'done'),
                        'danger', ''))),
            ('//page[@id="cancellation"]', 'states', {
                    'invisible': Eval('state') != 'cancelled',
                    }, ['state']),
            ]

    @classmethod
    def create(cls, vlist):
        vlist = [values.copy() for values in vlist]
        cls._number(vlist)
        for values in vlist:
            values.setdefault('date', cls.default_date())
            if values.get('scheduled_date') is None:
                values['scheduled_date'] = values['date']
        return super().create(vlist)

    @classmethod
    def new_orders(cls, count=1):
        "Return the numbers of new orders"
        return next_numbers('imaging_req_seq', count)

    @classmethod
    def _number(cls, vlist):
        "Give each of the values an order and its line in the order"
        without = [v for v in vlist if not v.get('request')]
        for values, order in zip(without, cls.new_orders(len(without))):
            values['request'] = order
        lines = [v for v in vlist if not v.get('request_line')]
        last = cls._last_lines({v['request'] for v in lines})
        for values in lines:
            order = values['request']
            last[order] = last.get(order, 0) + 1
            values['request_line'] = f'{order}-{last[order]:02}'

    @classmethod
    def _last_lines(cls, orders):
        last = {}
        cursor = Transaction().connection.cursor()
        table = cls.__table__()
        for sub_orders in grouped_slice(list(orders)):
            cursor.execute(*table.select(
                    table.request, table.request_line,
                    where=table.request.in_(list(sub_orders))))
            for order, line in cursor:
                suffix = (line or '').rpartition('-')[2]
                number = int(suffix) if suffix.isdecimal() else 0
                last[order] = max(last.get(order, 0), number)
        return last

    @classmethod
    def write(cls, *args):
        actions = iter(args)
        for requests, values in zip(actions, actions):
            cls._check_identity(requests, values)
        super().write(*args)

    @classmethod
    def _check_identity(cls, requests, values):
        "What is requested is for that patient and that study"
        fixed = cls._identity_fields & values.keys()
        if not fixed:
            return
        for request in requests:
            if request.state == 'draft':
                continue
            for name in fixed:
                current = getattr(request, name)
                if isinstance(current, ModelSQL):
                    current = current.id
                if current and current != values[name]:
                    raise RequestLockedError(gettext(
                            'health_imaging.msg_request_locked',
                            **cls.__names__(name, request)))

    @classmethod
    def copy(cls, requests, default=None):
        default = default.copy() if default is not None else {}
        date = now()
        default.setdefault('request')
        default.setdefault('request_line')
        default.setdefault('date', date)
        default.setdefault('scheduled_date', date)
        default.setdefault('cancel_reason')
        default.setdefault('results')
        return super().copy(requests, default=default)

    @classmethod
    def delete(cls, requests):
        for request in requests:
            if request.state not in {'draft', 'cancelled'}:
                raise RequestDeleteError(gettext(
                        'health_imaging.msg_request_delete',
                        request=request.rec_name))
        super().delete(requests)

    @classmethod
    @ModelView.button
    @Workflow.transition('requested')
    def requested(cls, requests):
        cls.check_tests([r.requested_test for r in requests])

    @classmethod
    @Workflow.transition('done')
    def done(cls, requests):
        pass

    @classmethod
    @ModelView.button_action('health_imaging.wizard_cancel_request')
    def cancel_wizard(cls, requests):
        pass

    @classmethod
    @ModelView.button
    @Workflow.transition('cancelled')
    def cancel(cls, requests):
        pass

    @classmethod
    @ModelView.button
    @Workflow.transition('draft')
    def draft(cls, requests):
        cls.write(requests, {'state': 'draft', 'cancel_reason': None})

    @classmethod
    @ModelView.button_action('health_imaging.wizard_generate_result')
    def generate_results(cls, requests):
        pass

    @classmethod
    def create_results(cls, requests):
        """Return the results of the requests, made where there is none

        The requests are then done.
        """
        Result = Pool().get('gnuhealth.imaging.test.result')
        for request in requests:
            if request.state not in {'requested', 'done'}:
                raise NotRequestedError(gettext(
                        'health_imaging.msg_not_requested',
                        request=request.rec_name))
        cls.lock(requests)
        without = [r for r in requests if not r.results]
        Result.save([r.get_result() for r in without])
        cls.done([r for r in requests if r.state == 'requested'])
        requests = cls.browse(requests)
        return [result for r in requests for result in r.results]

    def get_result(self):
        "Return the unsaved result of the request"
        Result = Pool().get('gnuhealth.imaging.test.result')
        return Result(
            request=self,
            order=self.request,
            request_date=self.date,
            patient=self.patient,
            requested_test=self.requested_test,
            institution=self.institution,
            doctor=get_health_professional(required=False) or self.doctor)

    @classmethod
    def check_tests(cls, tests):
        inactive = [t for t in tests if not t.active]
        if inactive:
            raise InactiveTestError(gettext(
                    'health_imaging.msg_test_inactive',
                    tests=', '.join(t.rec_name for t in inactive)))


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


class NewOrder(Wizard):
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
        if self.model and self.model.__name__ == 'gnuhealth.patient':
            values['patient'] = self.record.id
        return values

    def transition_request(self):
        pool = Pool()
        Request = pool.get('gnuhealth.imaging.test.request')
        Warning = pool.get('res.user.warning')
        start = self.start
        tests = getattr(start, 'tests', [])
        if not tests:
            raise NoTestError(gettext('health_imaging.msg_no_test'))
        Request.check_tests(tests)
        patient = getattr(start, 'patient', None)
        if patient and patient.party.deceased:
            key = Warning.format('imaging_deceased', [patient])
            if Warning.check(key):
                raise DeceasedPatientWarning(
                    key, gettext(
                        'health_imaging.msg_patient_deceased',
                        patient=patient.rec_name))
        order, = Request.new_orders()
        requests = []
        for test in tests:
            request = Request(requested_test=test, request=order)
            for name in self._copied_fields():
                setattr(request, name, getattr(start, name, None))
            request.date = (
                getattr(start, 'date', None) or Request.default_date())
            request.scheduled_date = (
                getattr(start, 'scheduled_date', None) or request.date)
            requests.append(request)
        Request.save(requests)
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


class CancelRequestStart(ModelView):
    "Cancel Imaging Requests"
    __name__ = 'gnuhealth.imaging.test.request.cancel.start'

    reason = fields.Text("Reason", required=True)


class CancelRequest(Wizard):
    "Cancel Imaging Requests"
    __name__ = 'gnuhealth.imaging.test.request.cancel'

    start = StateView(
        'gnuhealth.imaging.test.request.cancel.start',
        'health_imaging.imaging_request_cancel_start_form', [
            Button("Back", 'end', 'tryton-back'),
            Button("Cancel requests", 'cancel', 'tryton-ok', default=True),
            ])
    cancel = StateTransition()

    def transition_cancel(self):
        requests = [
            r for r in self.records if r.state in {'draft', 'requested'}]
        self.model.write(requests, {'cancel_reason': self.start.reason})
        self.model.cancel(requests)
        return 'end'
