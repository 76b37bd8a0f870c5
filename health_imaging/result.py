# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from sql import Null

from trytond.i18n import gettext
from trytond.model import (
    Index, ModelSQL, ModelView, Unique, Workflow, fields)
from trytond.modules.health.core import (
    get_health_professional, get_institution)
from trytond.pool import Pool
from trytond.pyson import Bool, Eval, If, PYSONEncoder
from trytond.transaction import Transaction, without_check_access
from trytond.wizard import StateAction

from . import upgrade
from .access import GuardedView, GuardedWizard, check_rights
from .catalogue import search_any_of
from .configuration import next_numbers
from .dates import age_at, now
from .exceptions import (
    ReadError, ResultDeleteError, ResultPatientError, ResultSignedError,
    SignatureError, TransitionError)
from .flags import wanted_values
from .workflow import GuardedWorkflow

_not_signed = {
    'readonly': Eval('state') == 'signed',
    }
_from_request = {
    'readonly': Bool(Eval('request')) | (Eval('state') == 'signed'),
    }
_asked = {
    'invisible': ~Eval('request') & ~Eval('order'),
    }


class ImagingResult(GuardedWorkflow, ModelSQL, GuardedView):
    "Medical Imaging Study Result"
    __name__ = 'gnuhealth.imaging.test.result'

    number = fields.Char("Number", readonly=True)
    patient = fields.Many2One(
        'gnuhealth.patient', "Patient", ondelete='RESTRICT',
        states={
            **_from_request,
            'required': Eval('state') == 'signed',
            })
    date = fields.DateTime("Date", required=True, states=_not_signed)
    request = fields.Many2One(
        'gnuhealth.imaging.test.request', "Request Info", readonly=True,
        ondelete='RESTRICT', states=_asked)
    order = fields.Char("Order", readonly=True, states=_asked)
    request_date = fields.DateTime(
        "Request Date", readonly=True, states=_asked)
    requested_test = fields.Many2One(
        'gnuhealth.imaging.test', "Study", required=True,
        states=_from_request)
    doctor = fields.Many2One(
        'gnuhealth.healthprofessional', "Evaluated by", required=True,
        states=_not_signed)
    institution = fields.Many2One(
        'gnuhealth.institution', "Institution", ondelete='RESTRICT',
        states=_not_signed)
    comment = fields.Text("Additional Information", states=_not_signed)
    images = fields.One2Many(
        'ir.attachment', 'resource', "Images", states=_not_signed,
        order=[('imaging_sequence', 'ASC NULLS LAST'), ('id', 'ASC')])
    report_style = fields.Selection([
            ('default', "Default"),
            ('no_images', "No Images"),
            ('no_image_comments', "No Image Comments"),
            ], "Report Style", sort=False,
        help="Default: the report shows the images with their comments.\n"
        "No Images: the text alone.\n"
        "No Image Comments: the images without their comments.")
    state = fields.Selection([
            ('draft', "Draft"),
            ('reported', "Reported"),
            ('signed', "Signed"),
            ], "State", required=True, readonly=True, sort=False)
    signed_by = fields.Many2One(
        'gnuhealth.healthprofessional', "Signed by", readonly=True,
        ondelete='RESTRICT',
        states={
            'invisible': Eval('state') != 'signed',
            'required': Eval('state') == 'signed',
            })
    signed_date = fields.DateTime(
        "Signed on", readonly=True,
        states={
            'invisible': Eval('state') != 'signed',
            'required': Eval('state') == 'signed',
            })
    requesting_doctor = fields.Function(
        fields.Many2One(
            'gnuhealth.healthprofessional', "Requested by",
            states={
                'invisible': ~Eval('requesting_doctor'),
                }),
        'on_change_with_requesting_doctor', searcher='search_request')
    urgent_finding = fields.Boolean(
        "Urgent finding",
        help="The requesting doctor has to know of it without delay.")
    read_by = fields.Many2One(
        'gnuhealth.healthprofessional', "Read by", readonly=True,
        ondelete='RESTRICT',
        states={
            'invisible': ~Eval('read_by'),
            },
        help="The health professional who took note of the result, "
        "or did so for the one who requested it.")
    read_date = fields.DateTime(
        "Read on", readonly=True,
        states={
            'invisible': ~Eval('read_by'),
            })
    unread = fields.Function(
        fields.Boolean("Not read"),
        'on_change_with_unread', searcher='search_unread')
    computed_age = fields.Function(
        fields.Char("Age", help="The patient's age at the date."),
        'on_change_with_computed_age')

    # What a signature fixes: what others add, such as links, stays open
    _signed_fields = {
        'number', 'patient', 'date', 'request', 'order', 'request_date',
        'requested_test', 'doctor', 'institution', 'comment', 'images',
        'signed_by', 'signed_date'}
    # What only the buttons set, whatever a client sends
    _button_fields = {'signed_by', 'signed_date', 'read_by', 'read_date'}

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints.append(
            ('number_uniq', Unique(t, t.number),
                'health_imaging.msg_result_number_unique'))
        cls._sql_indexes.update({
                Index(t, (t.patient, Index.Range()), (t.date, Index.Range())),
                Index(t, (t.date, Index.Range())),
                Index(
                    t, (t.state, Index.Equality()), (t.date, Index.Range())),
                Index(t, (t.order, Index.Similarity())),
                Index(t, (t.number, Index.Similarity())),
                Index(
                    t, (t.date, Index.Range()),
                    where=(t.read_date == Null) & (t.state != 'draft')),
                })
        cls._order.insert(0, ('date', 'DESC'))
        cls._transitions |= {
            ('draft', 'reported'),
            ('draft', 'signed'),
            ('reported', 'signed'),
            ('signed', 'reported'),
            }
        cls._buttons.update({
                'report': {
                    'invisible': Eval('state') != 'draft',
                    'depends': ['state'],
                    },
                'sign': {
                    'invisible': ~Eval('state').in_(['draft', 'reported']),
                    'depends': ['state'],
                    },
                'mark_read': {
                    'invisible': ~Eval('unread'),
                    'depends': ['unread'],
                    },
                })
        # The default date depends on the time
        cls.__rpc__['default_get'].cache = None

    @classmethod
    def __register__(cls, module):
        upgrade.result_columns(cls, module)
        super().__register__(module)

    @staticmethod
    def default_date():
        return now()

    @staticmethod
    def default_doctor():
        return get_health_professional(required=False)

    @staticmethod
    def default_institution():
        return get_institution()

    @staticmethod
    def default_report_style():
        return 'default'

    @staticmethod
    def default_urgent_finding():
        return False

    @staticmethod
    def default_state():
        return 'draft'

    @fields.depends('patient', 'date')
    def on_change_with_computed_age(self, name=None):
        return age_at(self.patient, self.date)

    @fields.depends('request', '_parent_request.doctor')
    def on_change_with_requesting_doctor(self, name=None):
        return self.request.doctor if self.request else None

    @classmethod
    def search_request(cls, name, clause):
        assert name == 'requesting_doctor'
        return [('request.doctor' + clause[0][len(name):], *clause[1:])]

    @fields.depends('state', 'read_date')
    def on_change_with_unread(self, name=None):
        return self.state in {'reported', 'signed'} and not self.read_date

    @classmethod
    def search_unread(cls, name, clause):
        wanted = wanted_values(clause)
        domain = ['OR', ('id', '=', None)]
        if True in wanted:
            domain.append([
                    ('state', '!=', 'draft'), ('read_date', '=', None)])
        if False in wanted:
            domain.append([
                    'OR', ('state', '=', 'draft'), ('read_date', '!=', None)])
        return domain

    @fields.depends('urgent_finding', 'unread')
    def on_change_notify(self):
        notifications = list(super().on_change_notify())
        if self.urgent_finding and self.unread:
            notifications.append(('warning', gettext(
                        'health_imaging.msg_urgent_unread')))
        return notifications

    def get_rec_name(self, name):
        return ' '.join(filter(None, [
                    self.number, self.requested_test.rec_name]))

    search_rec_name = search_any_of(
        'number', 'order', 'patient.rec_name', 'requested_test.rec_name')

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree', 'visual', If(
                    Bool(Eval('urgent_finding')) & Bool(Eval('unread')),
                    'danger',
                    If(Eval('state') == 'draft', 'warning', ''))),
            ('//page[@id="history"]', 'states', {
                    'invisible': ~Eval('reopenings'),
                    }),
            ('//group[@id="urgent_unread"]', 'states', {
                    'invisible': ~(Eval('urgent_finding') & Eval('unread')),
                    }),
            ('//separator[@id="order"]', 'states', _asked),
            ('//separator[@id="reading"]', 'states', {
                    'invisible': ~Eval('signed_by') & ~Eval('read_by'),
                    }),
            ]

    @classmethod
    def create(cls, vlist):
        for values in vlist:
            cls._check_button_fields(
                {name for name, value in values.items() if value})
            cls._check_request([], values.get('request'))
        vlist = [values.copy() for values in vlist]
        without = [v for v in vlist if not v.get('number')]
        numbers = next_numbers('imaging_test_sequence', len(without))
        for values, number in zip(without, numbers):
            values['number'] = number
        return super().create(vlist)

    @classmethod
    def write(cls, *args):
        changed = []
        actions = iter(args)
        for results, values in zip(actions, actions):
            check_rights(cls, results, 'write')
            cls._check_button_fields(values.keys())
            if 'number' in values:
                cls._check_number(results, values['number'])
            if 'request' in values:
                cls._check_request(results, values['request'])
            if (values.get('state', 'signed') == 'signed'
                    and cls._signed_fields & values.keys()):
                cls.check_not_signed(results)
            if 'urgent_finding' in values:
                flagged = bool(values['urgent_finding'])
                other = [
                    r for r in results if bool(r.urgent_finding) != flagged]
                if not flagged:
                    cls.check_not_signed(other)
                changed += other if flagged else []
            if 'comment' in values:
                changed += [
                    r for r in results if r.comment != values['comment']]
        super().write(*args)
        cls.mark_unread(changed)

    @classmethod
    def _check_button_fields(cls, names):
        "What is signed and read is said by the one who presses the button"
        by_button = cls._button_fields & names
        if by_button and Transaction().check_access:
            raise TransitionError(gettext(
                    'health_imaging.msg_state_by_button',
                    **cls.__names__(min(by_button))))

    @classmethod
    def _check_number(cls, results, number):
        "What was printed and sent is found by its number"
        if Transaction().check_access and any(
                r.number and r.number != number for r in results):
            raise TransitionError(gettext(
                    'health_imaging.msg_number_fixed',
                    **cls.__names__('number')))

    @classmethod
    def _check_request(cls, results, id_):
        "A result answers what was requested, and nothing else from then on"
        if not Transaction().check_access:
            return
        for result in results:
            if result.request and result.request.id != id_:
                raise TransitionError(gettext(
                        'health_imaging.msg_state_by_button',
                        **cls.__names__('request')))
        if id_ and not (results and all(r.request for r in results)):
            Request = Pool().get('gnuhealth.imaging.test.request')
            requests = Request.browse([id_])
            check_rights(Request, requests, 'read')
            Request.check_requested(requests)

    @classmethod
    def validate_fields(cls, results, field_names):
        super().validate_fields(results, field_names)
        if {'patient', 'request'} & field_names:
            for result in results:
                request = result.request
                if request and result.patient != request.patient:
                    raise ResultPatientError(gettext(
                            'health_imaging.msg_result_patient',
                            result=result.rec_name,
                            request=request.rec_name))

    @classmethod
    def check_not_signed(cls, results):
        for result in results:
            if result.state == 'signed':
                raise ResultSignedError(gettext(
                        'health_imaging.msg_result_signed',
                        result=result.rec_name))

    @classmethod
    def copy(cls, results, default=None):
        default = default.copy() if default is not None else {}
        for name in [
                'number', 'request', 'order', 'request_date', 'images',
                'signed_by', 'signed_date', 'read_by', 'read_date']:
            default.setdefault(name)
        default.setdefault('urgent_finding', False)
        default.setdefault('date', now())
        return super().copy(results, default=default)

    @classmethod
    def delete(cls, results):
        check_rights(cls, results, 'delete')
        for result in results:
            if result.state != 'draft':
                raise ResultDeleteError(gettext(
                        'health_imaging.msg_result_delete',
                        result=result.rec_name))
        super().delete(results)

    @classmethod
    @ModelView.button
    @Workflow.transition('reported')
    def report(cls, results):
        pass

    @classmethod
    @ModelView.button
    @Workflow.transition('signed')
    def sign(cls, results):
        professional = get_health_professional(required=False)
        if not professional:
            raise SignatureError(gettext('health_imaging.msg_sign_who'))
        cls.write(results, {
                'signed_by': professional,
                'signed_date': now(),
                })

    @classmethod
    @ModelView.button
    def mark_read(cls, results):
        professional = get_health_professional(required=False)
        if not professional:
            raise ReadError(gettext('health_imaging.msg_read_who'))
        for result in results:
            if result.state == 'draft':
                raise ReadError(gettext(
                        'health_imaging.msg_read_draft',
                        result=result.rec_name))
        cls.lock(results)
        cls.write([r for r in results if r.unread], {
                'read_by': professional,
                'read_date': now(),
                })

    @classmethod
    @without_check_access
    def mark_unread(cls, results):
        "Ask for the attention of the requesting doctor once more"
        read = [r for r in cls.browse(results) if r.read_date]
        if read:
            cls.write(read, {'read_by': None, 'read_date': None})


class GenerateResult(GuardedWizard):
    "Generate Results"
    __name__ = 'wizard.generate.result'

    start_state = 'open_'
    open_ = StateAction('health_imaging.act_imaging_test_result_view')

    def do_open_(self, action):
        results = self.model.create_results(self.records)
        action['pyson_domain'] = PYSONEncoder().encode([
                ('id', 'in', [r.id for r in results])])
        action['domains'] = []
        if len(results) == 1:
            action['views'].reverse()
            return action, {'res_id': results[0].id}
        return action, {}
