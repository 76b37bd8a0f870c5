# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import datetime as dt

from sql.conditionals import Case

from trytond.i18n import gettext
from trytond.model import Index, ModelSQL, ModelView, Workflow, fields
from trytond.modules.health.core import (
    get_health_professional, get_institution)
from trytond.pool import Pool
from trytond.pyson import Bool, Eval, If
from trytond.transaction import Transaction

from . import upgrade
from .access import GuardedView, check_rights
from .catalogue import search_any_of
from .dates import age_at, is_unlikely, now
from .exceptions import (
    DeceasedPatientWarning, InactivePatientError, InactiveTestError,
    NotOpenError, NotRequestedError, RequestDeleteError, RequestLockedError,
    ScheduleError, TransitionError)
from .workflow import GuardedWorkflow

_draft_only = {
    'readonly': Eval('state') != 'draft',
    }
_open_only = {
    'readonly': ~Eval('state').in_(['draft', 'requested']),
    }


class ImagingRequest(GuardedWorkflow, ModelSQL, GuardedView):
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
    state_string = state.translated('state')
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
    modality = fields.Function(
        fields.Char("Modality"),
        'on_change_with_modality', searcher='search_modality')

    # What a request is known by once it has left the draft
    _identity_fields = {'patient', 'requested_test', 'request', 'request_line'}
    # What people may change until the study is done
    _open_fields = {
        'date', 'doctor', 'referring_professional', 'institution',
        'scheduled_date', 'context', 'comment', 'urgent'}

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        # as the lists of requests are sorted, in one state and in all
        schedule = [
            (expression, Index.Range()) for expression in [
                cls._waiting(t), t.scheduled_date, t.id]]
        cls._sql_indexes.update({
                Index(t, *schedule),
                Index(t, (t.state, Index.Equality()), *schedule),
                Index(t, (t.doctor, Index.Equality()), *schedule),
                Index(
                    t, (t.requested_test, Index.Range()),
                    (t.scheduled_date, Index.Range())),
                Index(t, (t.scheduled_date, Index.Range())),
                Index(t, (t.patient, Index.Range()), (t.date, Index.Range())),
                Index(t, (t.request, Index.Similarity())),
                Index(t, (t.request, Index.Range())),
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

    @fields.depends('requested_test')
    def on_change_with_modality(self, name=None):
        return self.requested_test.modality if self.requested_test else None

    @classmethod
    def search_modality(cls, name, clause):
        return [('requested_test.modality', *clause[1:])]

    @staticmethod
    def _waiting(table):
        "Return the expression that lets urgent ones come first till done"
        waiting = table.urgent & table.state.in_(['draft', 'requested'])
        return Case((waiting, 1), else_=0)

    @classmethod
    def order_urgent(cls, tables):
        table, _ = tables[None]
        return [cls._waiting(table)]

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
        for values in vlist:
            if Transaction().check_access and values.get('cancel_reason'):
                cls._refuse_reason()
            scheduled = values.get('scheduled_date')
            date = cls.default_date()
            values.setdefault('date', min(date, scheduled or date))
            if scheduled is None:
                values['scheduled_date'] = values['date']
        return super().create(vlist)

    @classmethod
    def write(cls, *args):
        actions = iter(args)
        for requests, values in zip(actions, actions):
            check_rights(cls, requests, 'write')
            cls._check_identity(requests, values)
            if Transaction().check_access:
                cls._check_open(requests, values)
                if any(cls._changes(requests, values, {'cancel_reason'})):
                    cls._refuse_reason()
        super().write(*args)

    @classmethod
    def _refuse_reason(cls):
        "Who cancels says why, and nobody else"
        raise TransitionError(gettext(
                'health_imaging.msg_state_by_button',
                **cls.__names__('cancel_reason')))

    @classmethod
    def _check_identity(cls, requests, values):
        "What is requested is for that patient and that study"
        for request, name in cls._changes(
                requests, values, cls._identity_fields,
                {'requested', 'done', 'cancelled'}):
            if getattr(request, name):
                raise RequestLockedError(gettext(
                        'health_imaging.msg_request_locked',
                        **cls.__names__(name, request)))

    @classmethod
    def _check_open(cls, requests, values):
        "What a result was made for stays as it was"
        for request, name in cls._changes(
                requests, values, cls._open_fields, {'done', 'cancelled'}):
            raise RequestLockedError(gettext(
                    'health_imaging.msg_request_closed',
                    **cls.__names__(name, request)))

    @staticmethod
    def _changes(requests, values, names, states=None):
        "Yield the requests, in the states if given, with what changes"
        names = names & values.keys()
        if not names:
            return
        for request in requests:
            if states and request.state not in states:
                continue
            for name in sorted(names):
                current = getattr(request, name)
                if isinstance(current, ModelSQL):
                    current = current.id
                if current != values[name]:
                    yield request, name

    @classmethod
    def validate_fields(cls, requests, field_names):
        super().validate_fields(requests, field_names)

        def changed(*names):
            return not field_names or not field_names.isdisjoint(names)

        if changed('requested_test'):
            cls.check_tests(requests)
        if changed('patient'):
            cls.check_patients(requests)
        if changed('date', 'scheduled_date'):
            cls.check_dates(requests)
        if changed('scheduled_date'):
            cls.check_schedule(requests)

    @classmethod
    def check_tests(cls, requests):
        tests = {r.requested_test for r in requests}
        inactive = [t.rec_name for t in tests if not t.active]
        if inactive:
            raise InactiveTestError(gettext(
                    'health_imaging.msg_test_inactive',
                    tests=', '.join(sorted(inactive))))

    @classmethod
    def check_patients(cls, requests):
        Warning = Pool().get('res.user.warning')
        patients = sorted(
            {r.patient for r in requests if r.patient}, key=lambda p: p.id)
        inactive = [p for p in patients if not p.active]
        if inactive:
            raise InactivePatientError(gettext(
                    'health_imaging.msg_patient_inactive',
                    patients=', '.join(p.rec_name for p in inactive)))
        for patient in patients:
            if not patient.party.deceased:
                continue
            key = Warning.format('imaging_deceased', [patient])
            if Warning.check(key):
                raise DeceasedPatientWarning(
                    key, gettext(
                        'health_imaging.msg_patient_deceased',
                        patient=patient.rec_name))

    @classmethod
    def check_dates(cls, requests):
        for request in requests:
            for name in ['date', 'scheduled_date']:
                date = getattr(request, name)
                if date and is_unlikely(date):
                    raise ScheduleError(gettext(
                            'health_imaging.msg_date_unlikely',
                            **cls.__names__(name, request)))

    @classmethod
    def check_schedule(cls, requests):
        "A study may be ordered after it was done, the same day"
        day = dt.timedelta(days=1)
        for request in requests:
            if (request.scheduled_date
                    and request.date - request.scheduled_date > day):
                raise ScheduleError(gettext(
                        'health_imaging.msg_schedule_early',
                        request=request.rec_name,
                        scheduled=cls.__names__('scheduled_date')['field'],
                        date=cls.__names__('date')['field']))

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
        check_rights(cls, requests, 'delete')
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
        cls.check_tests(requests)
        cls.check_patients(requests)

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
        for request in requests:
            if request.results:
                raise NotOpenError(gettext(
                        'health_imaging.msg_not_open',
                        request=request.rec_name))

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
    def check_requested(cls, requests):
        for request in requests:
            if request.state not in {'requested', 'done'}:
                raise NotRequestedError(gettext(
                        'health_imaging.msg_not_requested',
                        request=request.rec_name))

    @classmethod
    def create_results(cls, requests):
        """Return the results of the requests, made where there is none

        The requests are then done.
        """
        Result = Pool().get('gnuhealth.imaging.test.result')
        cls.check_requested(requests)
        cls.lock(requests)
        without = [r for r in requests if not r.results]
        Result.save([r.get_result() for r in without])
        # Written though it changes nothing: who pressed at the same time
        # then has to start anew, and finds the result
        cls.write([r for r in without if r.state == 'done'], {
                'state': 'done',
                })
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
