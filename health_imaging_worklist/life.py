# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"The life of a worklist item, and the log of it"
import datetime as dt

from trytond.model import Index, ModelSQL, ModelView, fields
from trytond.modules.health_imaging.dates import now
from trytond.pool import Pool, PoolMeta
from trytond.tools import grouped_slice
from trytond.transaction import Transaction, without_check_access

from .attributes import local, time_zone

REASONS = [
    ('person', "By hand"),
    ('request', "With the request"),
    ('study', "The study arrived"),
    ('result', "The result was reported"),
    ('expired', "Expired"),
    ('scheduled', "Scheduled anew"),
    ]
# What is logged
EVENTS = [
    ('state', "State"),
    ('worklist_status', "Worklist Status"),
    ('scheduled_date', "Scheduled"),
    ('aetitle', "Station"),
    ]
_LOGGED = [name for name, _ in EVENTS]


class WorklistLog(ModelSQL, ModelView):
    "Worklist Log"
    __name__ = 'gnuhealth.imaging.worklist.log'

    request = fields.Many2One(
        'gnuhealth.imaging.test.request', "Request", required=True,
        readonly=True, ondelete='CASCADE')
    date = fields.DateTime("Date", required=True, readonly=True)
    user = fields.Many2One('res.user', "User", readonly=True)
    event = fields.Selection(
        EVENTS, "Change", required=True, readonly=True, sort=False)
    old = fields.Char("Old Value", readonly=True)
    new = fields.Char("New Value", readonly=True)
    before = fields.Function(fields.Char("Before"), 'get_value')
    after = fields.Function(fields.Char("After"), 'get_value')
    reason = fields.Selection(
        REASONS, "Reason", required=True, readonly=True, sort=False)

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._order = [('date', 'DESC'), ('id', 'DESC')]
        t = cls.__table__()
        cls._sql_indexes.add(Index(t, (t.request, Index.Equality())))

    @classmethod
    def get_value(cls, logs, names):
        "Return the values, those of selections by their label"
        Request = Pool().get('gnuhealth.imaging.test.request')
        with without_check_access():
            definitions = Request.fields_get(_LOGGED)
        labels = {
            n: dict(d.get('selection', [])) for n, d in definitions.items()}
        return {
            name: {
                log.id: labels[log.event].get(value, value)
                for log in logs
                for value in [log.old if name == 'before' else log.new]}
            for name in names}


class ImagingRequest(metaclass=PoolMeta):
    __name__ = 'gnuhealth.imaging.test.request'

    worklist_log = fields.One2Many(
        'gnuhealth.imaging.worklist.log', 'request', "Log", readonly=True)

    @classmethod
    def copy(cls, requests, default=None):
        default = default.copy() if default is not None else {}
        default.setdefault('worklist_log')
        return super().copy(requests, default=default)

    @classmethod
    def write(cls, *args):
        actions = iter(args)
        logged = []
        for requests, values in zip(actions, actions):
            names = [n for n in _LOGGED if n in values]
            if names:
                logged += [
                    (r.id, n, getattr(r, n)) for r in requests for n in names]
        super().write(*args)
        if logged:
            cls._log_worklist(logged)

    @classmethod
    @without_check_access
    def _log_worklist(cls, logged):
        "Log what differs from the (id, name of field, value before)"
        Log = Pool().get('gnuhealth.imaging.worklist.log')
        reason = Transaction().context.get('_worklist_reason', 'person')
        requests = {r.id: r for r in cls.browse([id_ for id_, _, _ in logged])}
        values, moved, seen = [], [], set()
        for id_, name, before in logged:
            after = getattr(requests[id_], name)
            if before == after or (id_, name) in seen:
                continue
            seen.add((id_, name))
            values.append({
                    'request': id_,
                    'date': now(),
                    'user': Transaction().user,
                    'event': name,
                    'old': _text(requests[id_], before),
                    'new': _text(requests[id_], after),
                    'reason': 'request' if name == 'state' else reason,
                    })
            if name == 'scheduled_date' and after and after >= now():
                moved.append(requests[id_])
        Log.create(values)
        cls._reopen(moved)

    @classmethod
    def _reopen(cls, requests):
        "Put those that had expired on the worklist again"
        Log = Pool().get('gnuhealth.imaging.worklist.log')
        expired = []
        for request in requests:
            if request.state != 'requested' or (
                    request.worklist_status == 'todo'):
                continue
            last = Log.search([
                    ('request', '=', request.id),
                    ('event', '=', 'worklist_status'),
                    ], limit=1)
            if last and last[0].reason == 'expired':
                expired.append(request)
        cls._set_worklist_status(expired, 'todo', 'scheduled')

    @classmethod
    def _set_worklist_status(cls, requests, status, reason):
        with Transaction().set_context(_worklist_reason=reason):
            cls.write(requests, {'worklist_status': status})

    @classmethod
    def finish_worklist(cls, requests, reason='study'):
        "Take those whose study was done from the worklist"
        cls._set_worklist_status(
            [r for r in requests if r.worklist_status == 'todo'],
            'done', reason)

    @classmethod
    def expire_worklist(cls):
        "Take what was not done for a long time from the worklist"
        Configuration = Pool().get('gnuhealth.imaging.worklist.configuration')
        configuration = Configuration(1)
        if not configuration.expire_after:
            return
        limit = now() - dt.timedelta(days=configuration.expire_after)
        expired = cls.search([
                ('state', '=', 'requested'),
                ('worklist_status', '=', 'todo'),
                ['OR',
                    ('scheduled_date', '<', limit),
                    [
                        ('scheduled_date', '=', None),
                        ('date', '<', limit),
                        ],
                    ],
                ])
        for requests in grouped_slice(expired):
            cls._set_worklist_status(
                list(requests), configuration.expire_status, 'expired')


def _text(request, value):
    if isinstance(value, dt.datetime):
        return local(value, time_zone(request)).strftime('%Y-%m-%d %H:%M %z')
    return value
