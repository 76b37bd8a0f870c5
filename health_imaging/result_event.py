# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from trytond.i18n import gettext
from trytond.model import Index, ModelSQL, ModelView, fields
from trytond.modules.health.core import get_health_professional
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval
from trytond.transaction import Transaction
from trytond.wizard import Button, StateTransition, StateView

from .access import GuardedWizard, check_rights
from .exceptions import (
    EventFixedError, EventTextError, NotSignedError, SignatureError)
from .dates import now

_reopening = {
    'invisible': Eval('kind') != 'reopening',
    }


class ResultEvent(ModelSQL, ModelView):
    "Medical Imaging Study Result Event"
    __name__ = 'gnuhealth.imaging.test.result.event'

    result = fields.Many2One(
        'gnuhealth.imaging.test.result', "Result", required=True,
        readonly=True, ondelete='RESTRICT')
    kind = fields.Selection([
            ('addendum', "Addendum"),
            ('reopening', "Reopening"),
            ], "Event", required=True, readonly=True, sort=False)
    kind_string = kind.translated('kind')
    date = fields.DateTime("Date", required=True, readonly=True)
    user = fields.Many2One(
        'res.user', "User", required=True, readonly=True, ondelete='RESTRICT')
    professional = fields.Many2One(
        'gnuhealth.healthprofessional', "Health Prof", readonly=True,
        ondelete='RESTRICT',
        states={
            'required': Eval('kind') == 'addendum',
            })
    text = fields.Text("Text or reason", required=True, readonly=True)
    signed_by = fields.Many2One(
        'gnuhealth.healthprofessional', "Signed by", readonly=True,
        ondelete='RESTRICT', states=_reopening,
        help="Who had signed what was reopened.")
    signed_date = fields.DateTime(
        "Signed on", readonly=True, states=_reopening)
    signed_comment = fields.Text(
        "Signed text", readonly=True, states=_reopening,
        help="What the result said until it was reopened.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_indexes.add(Index(t, (t.result, Index.Equality())))
        cls._order = [('date', 'ASC'), ('id', 'ASC')]

    def get_rec_name(self, name):
        return f'{self.result.rec_name} - {self.kind_string}'

    @classmethod
    def write(cls, *args):
        cls._refuse(args[0])

    @classmethod
    def delete(cls, events):
        cls._refuse(events)

    @classmethod
    def _refuse(cls, events):
        check_rights(cls, events, 'read')
        for event in events:
            raise EventFixedError(gettext(
                    'health_imaging.msg_event_fixed', event=event.rec_name))


class ImagingResult(metaclass=PoolMeta):
    __name__ = 'gnuhealth.imaging.test.result'

    addenda = fields.One2Many(
        'gnuhealth.imaging.test.result.event', 'result', "Addenda",
        readonly=True, filter=[('kind', '=', 'addendum')],
        states={
            'invisible': ~Eval('addenda'),
            })
    reopenings = fields.One2Many(
        'gnuhealth.imaging.test.result.event', 'result', "Reopenings",
        readonly=True, filter=[('kind', '=', 'reopening')],
        states={
            'invisible': ~Eval('reopenings'),
            })

    @classmethod
    def __setup__(cls):
        super().__setup__()
        signed = {
            'invisible': Eval('state') != 'signed',
            'depends': ['state'],
            }
        cls._buttons.update({
                'add_addendum': signed,
                'reopen': signed,
                })

    @classmethod
    def copy(cls, results, default=None):
        default = default.copy() if default is not None else {}
        default.setdefault('addenda')
        default.setdefault('reopenings')
        return super().copy(results, default=default)

    @classmethod
    @ModelView.button_action('health_imaging.wizard_result_add_addendum')
    def add_addendum(cls, results):
        pass

    @classmethod
    @ModelView.button_action('health_imaging.wizard_result_reopen')
    def reopen(cls, results):
        pass

    @classmethod
    def append_addendum(cls, results, text, urgent=False):
        "Add a text of the user's to what is signed, for good"
        professional = get_health_professional(required=False)
        if not professional:
            raise SignatureError(gettext('health_imaging.msg_addendum_who'))
        cls._add_events(
            results, 'addendum', text, professional=professional)
        if urgent:
            cls.write(results, {'urgent_finding': True})
        cls.mark_unread(results)

    @classmethod
    def withdraw_signature(cls, results, reason):
        "Make what is signed editable again, and keep what was signed and why"
        cls._add_events(
            results, 'reopening', reason,
            professional=get_health_professional(required=False))
        cls.write(results, {
                'state': 'reported',
                'signed_by': None,
                'signed_date': None,
                })
        cls.mark_unread(results)

    @classmethod
    def _add_events(cls, results, kind, text, professional):
        Event = Pool().get('gnuhealth.imaging.test.result.event')
        text = (text or '').strip()
        if not text:
            raise EventTextError(gettext(
                    f'health_imaging.msg_{kind}_text'))
        cls.lock(results)
        for result in results:
            if result.state != 'signed':
                raise NotSignedError(gettext(
                        f'health_imaging.msg_{kind}_not_signed',
                        result=result.rec_name))
        events = []
        for result in results:
            event = Event(
                result=result, kind=kind, date=now(), text=text,
                user=Transaction().user, professional=professional)
            if kind == 'reopening':
                event.signed_by = result.signed_by
                event.signed_date = result.signed_date
                event.signed_comment = result.comment
            events.append(event)
        Event.save(events)


class AddAddendumStart(ModelView):
    "Add Addendum"
    __name__ = 'gnuhealth.imaging.test.result.add_addendum.start'

    text = fields.Text("Addendum", required=True)
    urgent_finding = fields.Boolean(
        "Urgent finding",
        help="The requesting doctor has to know of it without delay.")

    @staticmethod
    def default_urgent_finding():
        return False


class AddAddendum(GuardedWizard):
    "Add Addendum"
    __name__ = 'gnuhealth.imaging.test.result.add_addendum'

    start = StateView(
        'gnuhealth.imaging.test.result.add_addendum.start',
        'health_imaging.result_add_addendum_start_view_form', [
            Button("Cancel", 'end', 'tryton-cancel'),
            Button("Add addendum", 'add', 'tryton-ok', default=True),
            ])
    add = StateTransition()

    def transition_add(self):
        self.model.append_addendum(
            self.records, getattr(self.start, 'text', None),
            urgent=getattr(self.start, 'urgent_finding', False))
        return 'end'


class ReopenStart(ModelView):
    "Reopen Result"
    __name__ = 'gnuhealth.imaging.test.result.reopen.start'

    reason = fields.Text("Reason", required=True)


class Reopen(GuardedWizard):
    "Reopen Result"
    __name__ = 'gnuhealth.imaging.test.result.reopen'

    start = StateView(
        'gnuhealth.imaging.test.result.reopen.start',
        'health_imaging.result_reopen_start_view_form', [
            Button("Cancel", 'end', 'tryton-cancel'),
            Button("Reopen", 'reopen', 'tryton-ok', default=True),
            ])
    reopen = StateTransition()

    def transition_reopen(self):
        self.model.withdraw_signature(
            self.records, getattr(self.start, 'reason', None))
        return 'end'
