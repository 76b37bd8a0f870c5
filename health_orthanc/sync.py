# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs of the synchronization, and what they remember of each server."""
import datetime as dt

from trytond.config import config
from trytond.model import Index, ModelSQL, ModelView, Unique, fields
from trytond.modules.health_imaging.access import GuardedWizard
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Bool, Eval, PYSONEncoder
from trytond.transaction import Transaction
from trytond.wizard import Button, StateAction, StateTransition, StateView

from . import upgrade
from .engine import Synchronization

KINDS = [
    ('full', "Full"),
    ('new', "New"),
    ('reconcile', "Reconciliation"),
    ]
# A task that a worker lost is taken up by the cron after this time.
LOST = dt.timedelta(minutes=10)
KEPT = dt.timedelta(days=30)


def now():
    return dt.datetime.now().replace(microsecond=0)


class Cursor(ModelSQL, ModelView):
    "Orthanc Synchronization Cursor"
    __name__ = 'gnuhealth.orthanc.sync.cursor'

    server = fields.Many2One(
        'gnuhealth.orthanc.config', "Server", required=True, readonly=True,
        ondelete='CASCADE')
    change_seq = fields.Integer("Change", readonly=True,
        help="The last entry of Orthanc's log of changes that is mirrored.")
    change_id = fields.Char("Resource", readonly=True)
    change_date = fields.Char("Date", readonly=True)
    complete = fields.Boolean("Complete", readonly=True,
        help="A full synchronization went through to its end.")
    fingerprint = fields.Char("Fingerprint", readonly=True,
        help="The last change and the counts at the end of the last "
        "synchronization.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('server_unique', Unique(t, t.server),
                'health_orthanc.msg_cursor_unique'),
            ]

    @classmethod
    def __register__(cls, module):
        super().__register__(module)
        upgrade.cursors_from_servers(cls)

    @classmethod
    def default_complete(cls):
        return False

    def get_rec_name(self, name):
        return self.server.rec_name


class Run(ModelSQL, ModelView):
    "Orthanc Synchronization"
    __name__ = 'gnuhealth.orthanc.sync.run'

    server = fields.Many2One(
        'gnuhealth.orthanc.config', "Server", required=True,
        ondelete='CASCADE',
        states={
            'readonly': Eval('id', -1) >= 0,
            })
    kind = fields.Selection(KINDS, "Kind", required=True, sort=False,
        states={
            'readonly': Eval('id', -1) >= 0,
            })
    kind_string = kind.translated('kind')
    trigger = fields.Selection([
            ('cron', "Scheduler"),
            ('user', "User"),
            ('script', "Script"),
            ('orthanc', "Orthanc"),
            ], "Started by", required=True, sort=False,
        states={
            'readonly': Eval('id', -1) >= 0,
            })
    user = fields.Many2One('res.user', "User", readonly=True)
    state = fields.Selection([
            ('queued', "Queued"),
            ('running', "Running"),
            ('done', "Done"),
            ('failed', "Failed"),
            ('cancelled', "Cancelled"),
            ], "State", required=True, readonly=True, sort=False)
    queued = fields.DateTime("Queued at", readonly=True)
    started = fields.DateTime("Started at", readonly=True)
    heartbeat = fields.DateTime("Last Sign of Life", readonly=True)
    ended = fields.DateTime("Ended at", readonly=True)
    planned = fields.Integer("Planned", readonly=True,
        help="Studies to read, or changes to follow.")
    seen = fields.Integer("Seen", readonly=True)
    new = fields.Integer("New Studies", readonly=True)
    changed = fields.Integer("Changed Studies", readonly=True)
    missing = fields.Integer("Missing Studies", readonly=True)
    failed = fields.Integer("Failed Items", readonly=True)
    linked = fields.Integer("Linked Studies", readonly=True)
    pages = fields.Integer("Pages", readonly=True)
    message = fields.Text("Message", readonly=True)
    progress = fields.Function(fields.Float("Progress"), 'get_progress')
    duration = fields.Function(
        fields.TimeDelta("Duration"), 'get_duration')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._order = [('id', 'DESC')]
        t = cls.__table__()
        cls._sql_indexes.update({
                Index(t, (t.server, Index.Range()),
                    (t.id, Index.Range(order='DESC'))),
                Index(t, (t.server, Index.Range()),
                    where=t.state.in_(['queued', 'running'])),
                })
        cls._buttons.update({
                'start': {
                    'invisible': ((Eval('state') != 'queued')
                        | Bool(Eval('queued'))),
                    'depends': ['state', 'queued'],
                    },
                'cancel': {
                    'invisible': ~Eval('state').in_(['queued', 'running']),
                    'depends': ['state'],
                    },
                'refresh': {
                    'invisible': ~Eval('state').in_(['queued', 'running']),
                    'depends': ['state'],
                    },
                })

    @classmethod
    def default_kind(cls):
        return 'new'

    @classmethod
    def default_trigger(cls):
        return 'user'

    @classmethod
    def default_state(cls):
        return 'queued'

    @classmethod
    def default_user(cls):
        return Transaction().user or None

    @classmethod
    def get_progress(cls, runs, name):
        result = {}
        for run in runs:
            if run.state == 'done':
                value = 1
            elif run.planned:
                value = min((run.seen or 0) / run.planned, 1)
            else:
                value = 0
            result[run.id] = value
        return result

    @classmethod
    def get_duration(cls, runs, name):
        return {
            r.id: (r.ended or r.heartbeat) - r.started
            if r.started and (r.ended or r.heartbeat) else None
            for r in runs}

    def get_rec_name(self, name):
        return '%s, %s' % (self.server.rec_name, self.kind_string)

    @classmethod
    def search_rec_name(cls, name, clause):
        return [('server.rec_name', *clause[1:])]

    @classmethod
    def copy(cls, runs, default=None):
        default = {} if default is None else default.copy()
        default.setdefault('state', 'queued')
        for name in ['queued', 'started', 'heartbeat', 'ended', 'planned',
                'seen', 'new', 'changed', 'missing', 'failed', 'linked',
                'pages', 'message']:
            default.setdefault(name)
        return super().copy(runs, default=default)

    @classmethod
    def submit(cls, servers, kind, trigger):
        "Make a run for each of the servers, queue and return them"
        runs = cls.create([{
                    'server': server.id,
                    'kind': kind,
                    'trigger': trigger,
                    } for server in servers])
        cls.start(runs)
        return runs

    @classmethod
    @ModelView.button
    def start(cls, runs):
        runs = [r for r in runs if r.state == 'queued']
        cls.write(runs, {'queued': now()})
        if not config.getboolean('queue', 'worker', default=False):
            # then the last task is the first to be taken
            runs = runs[::-1]
        for run in runs:
            cls.__queue__.execute([run])

    @classmethod
    @ModelView.button
    def cancel(cls, runs):
        "Cancel; one that is running stops at its next page"
        cls.write([r for r in runs if r.state in {'queued', 'running'}], {
                'state': 'cancelled',
                'ended': now(),
                })

    @classmethod
    @ModelView.button
    def refresh(cls, runs):
        "Let the client read the runs again"

    @classmethod
    def execute(cls, runs):
        """Task: synchronize the server of each run.

        Whatever it writes is committed page by page.
        """
        for run in runs:
            synchronization = Synchronization(run.id)
            free = synchronization.execute()
            while free and (waiting := synchronization.waiting()):
                free = Synchronization(waiting).execute()

    @classmethod
    def synchronize_servers(cls, kind='new'):
        """Queue one run for each validated server.

        A server whose last run waits or is running gets none, unless it
        seems lost, when it is queued again. Those that failed last come last.
        """
        Server = Pool().get('gnuhealth.orthanc.config')
        servers = Server.search([('validated', '=', True)])
        due, again = [], []
        for server in servers:
            last = cls.search([('server', '=', server.id)], limit=1)
            if last and last[0].state in {'queued', 'running'}:
                run, = last
                sign = run.heartbeat or run.queued or run.create_date
                if sign < now() - LOST:
                    again.append(run)
            else:
                due.append((bool(last) and last[0].state == 'failed', server))
        cls.write(again, {
                'state': 'queued',
                'heartbeat': None,
                })
        cls.start(cls.browse(again))
        due.sort(key=lambda d: d[0])
        cls.submit([server for _, server in due], kind, 'cron')

    @classmethod
    def reconcile_servers(cls):
        "Queue a comparison with each server, and forget old runs"
        cls.delete(cls.search([('ended', '<', now() - KEPT)]))
        cls.synchronize_servers('reconcile')

    @classmethod
    def synchronize_here(cls, kind):
        """Synchronize all validated servers in the caller's transaction.

        Nothing is committed. Return the runs.
        """
        Server = Pool().get('gnuhealth.orthanc.config')
        runs = cls.create([{
                    'server': server.id,
                    'kind': kind,
                    'trigger': 'script',
                    'queued': now(),
                    } for server in Server.search([
                        ('validated', '=', True)])])
        for run in runs:
            Synchronization(run.id, commit=False).execute()
        return cls.browse(runs)


class Quarantine(ModelSQL, ModelView):
    "Orthanc Quarantine"
    __name__ = 'gnuhealth.orthanc.sync.quarantine'

    server = fields.Many2One(
        'gnuhealth.orthanc.config', "Server", required=True, readonly=True,
        ondelete='CASCADE')
    level = fields.Selection([
            ('patient', "Patient"),
            ('study', "Study"),
            ('series', "Series"),
            ('instance', "Instance"),
            ], "Level", required=True, readonly=True, sort=False)
    level_string = level.translated('level')
    orthanc_id = fields.Char("Orthanc UID", required=True, readonly=True)
    reason = fields.Text("Reason", readonly=True)
    tries = fields.Integer("Tries", readonly=True)
    first_seen = fields.DateTime("First seen", readonly=True)
    last_try = fields.DateTime("Last Try", readonly=True)

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._order = [('last_try', 'DESC'), ('id', 'DESC')]
        t = cls.__table__()
        cls._sql_constraints += [
            ('resource_unique', Unique(t, t.server, t.level, t.orthanc_id),
                'health_orthanc.msg_quarantine_unique'),
            ]
        cls._buttons.update({
                'retry': {},
                })

    def get_rec_name(self, name):
        return '%s %s' % (self.level_string, self.orthanc_id)

    @classmethod
    def search_rec_name(cls, name, clause):
        return [('orthanc_id', *clause[1:])]

    @classmethod
    @ModelView.button
    def retry(cls, items):
        "Try again what failed, in a new synchronization"
        Run = Pool().get('gnuhealth.orthanc.sync.run')
        cls.write(items, {'tries': 0})
        servers = {i.server for i in items}
        Run.submit([s for s in servers if s.validated], 'new', 'user')


class Server(metaclass=PoolMeta):
    __name__ = 'gnuhealth.orthanc.config'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._buttons.update({
                'synchronize': {
                    'invisible': ~Eval('active') | ~Eval('validated'),
                    'depends': ['active', 'validated'],
                    },
                })

    @classmethod
    @ModelView.button_action('health_orthanc.act_sync_run_server')
    def synchronize(cls, servers):
        Run = Pool().get('gnuhealth.orthanc.sync.run')
        Run.submit([s for s in servers if s.validated], 'new', 'user')


class Study(metaclass=PoolMeta):
    __name__ = 'gnuhealth.imaging_orthanc.study'

    @classmethod
    def full_synchronize(cls):
        """Read all studies of all validated servers.

        Runs in the caller's transaction, without commit.
        """
        Run = Pool().get('gnuhealth.orthanc.sync.run')
        Run.synchronize_here('full')

    @classmethod
    def get_new_studies(cls):
        """Read what changed on all validated servers since the last time.

        Runs in the caller's transaction, without commit.
        """
        Run = Pool().get('gnuhealth.orthanc.sync.run')
        Run.synchronize_here('new')


class StartMixin:
    __slots__ = ()

    servers = fields.Many2Many(
        'gnuhealth.orthanc.config', None, None, "Servers", required=True,
        domain=[
            ('validated', '=', True),
            ])

    @classmethod
    def default_servers(cls):
        Server = Pool().get('gnuhealth.orthanc.config')
        return [s.id for s in Server.search([('validated', '=', True)])]


class FullSynchronizeStart(StartMixin, ModelView):
    "Full Synchronize studies Start"
    __name__ = 'gnuhealth.imaging_orthanc.full_synchronize.start'


class GetNewStudiesStart(StartMixin, ModelView):
    "Get New Studies Start"
    __name__ = 'gnuhealth.imaging_orthanc.get_new_studies.start'


class SynchronizeMixin:
    __slots__ = ()

    def _submit(self, kind):
        Run = Pool().get('gnuhealth.orthanc.sync.run')
        Run.submit(self.start.servers, kind, 'user')
        return 'open_'

    def do_open_(self, action):
        servers = [s.id for s in self.start.servers]
        action['pyson_domain'] = PYSONEncoder().encode([
                ('server', 'in', servers)])
        return action, {}


class FullSynchronize(SynchronizeMixin, GuardedWizard):
    "Full Synchronize studies"
    __name__ = 'gnuhealth.imaging_orthanc.full_synchronize'

    start = StateView(
        'gnuhealth.imaging_orthanc.full_synchronize.start',
        'health_orthanc.full_synchronize_start_form', [
            Button("Cancel", 'end', 'tryton-cancel'),
            Button("Synchronize", 'synchronize', 'tryton-ok', default=True),
            ])
    synchronize = StateTransition()
    open_ = StateAction('health_orthanc.act_sync_run')

    def transition_synchronize(self):
        return self._submit('full')


class GetNewStudies(SynchronizeMixin, GuardedWizard):
    "Get New Studies"
    __name__ = 'gnuhealth.imaging_orthanc.get_new_studies'

    start = StateView(
        'gnuhealth.imaging_orthanc.get_new_studies.start',
        'health_orthanc.get_new_studies_start_form', [
            Button("Cancel", 'end', 'tryton-cancel'),
            Button("Start", 'update', 'tryton-ok', default=True),
            ])
    update = StateTransition()
    open_ = StateAction('health_orthanc.act_sync_run')

    def transition_update(self):
        return self._submit('new')
