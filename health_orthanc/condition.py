# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a server, told from what is stored: nobody is asked."""
import datetime as dt
import re
from collections import defaultdict

from sql import Null
from sql.aggregate import Count, Max, Sum
from sql.conditionals import Coalesce

from trytond.config import config
from trytond.i18n import gettext
from trytond.model import fields
from trytond.modules.health_imaging.dates import now
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval, If
from trytond.transaction import Transaction

from .exceptions import ServersFailingError
from .rows import select_rows
from .server import is_plain

# The first Orthanc whose bulk answers the synchronization reads
SUPPORTED = (1, 10)
# The first Orthanc without holes that are publicly known
SAFE = (1, 12, 11)
# Beyond it dates of studies and of log entries are misleading.
CLOCK = dt.timedelta(minutes=1)
_SEVERITIES = ['warning', 'danger']


def stale_after():
    return dt.timedelta(minutes=config.getint(
            'health_orthanc', 'stale_after', default=60))


def parse_version(version):
    "Return the numbers of a version, None if it does not start with any"
    found = re.match(r'\d{1,4}(\.\d{1,4})*', version or '')
    if found:
        return tuple(map(int, found[0].split('.')))


class Server(metaclass=PoolMeta):
    __name__ = 'gnuhealth.orthanc.config'

    condition = fields.Function(fields.Selection([
                ('good', "Good"),
                ('warning', "Warning"),
                ('danger', "Failing"),
                ('archived', "Archived"),
                ], "Condition", readonly=True, sort=False),
        'get_condition', searcher='search_condition')
    problems = fields.Function(fields.Text("Problems"), 'get_condition')
    warnings = fields.Function(fields.Text("Warnings"), 'get_condition')
    lag = fields.Function(fields.TimeDelta("Lag",
            help="The time since the last synchronization."), 'get_lag')
    studies_here = fields.Function(
        fields.Integer("Studies in GNU Health"), 'get_counts')
    images_here = fields.Function(
        fields.Integer("Images in GNU Health"), 'get_counts')

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree', 'visual', If(
                    Eval('condition') == 'archived', 'muted',
                    If(Eval('condition') == 'danger', 'danger',
                        If(Eval('condition') == 'warning', 'warning', '')))),
            *(('//group[@id="%s"]' % name, 'states', {
                        'invisible': ~Eval(name),
                        }) for name in ['problems', 'warnings']),
            ]

    @classmethod
    def get_condition(cls, servers, names):
        result = {name: {} for name in names}
        for server, found in cls.findings(servers).items():
            problems = [text for level, text in found if level == 'danger']
            warnings = [text for level, text in found if level == 'warning']
            if not server.active:
                condition = 'archived'
            elif problems:
                condition = 'danger'
            else:
                condition = 'warning' if warnings else 'good'
            values = {
                'condition': condition,
                'problems': '\n'.join(problems) or None,
                'warnings': '\n'.join(warnings) or None,
                }
            for name in names:
                result[name][server.id] = values[name]
        return result

    @classmethod
    def search_condition(cls, name, clause):
        _, operator, operand = clause
        values = operand if operator.endswith('in') else [operand]
        servers = cls.search([('active', 'in', [True, False])])
        conditions = cls.get_condition(servers, ['condition'])['condition']
        ids = [id_ for id_, found in conditions.items() if found in values]
        return [('id', 'not in' if operator in {'!=', 'not in'} else 'in',
                ids)]

    @classmethod
    def get_lag(cls, servers, name):
        return {
            s.id: now() - s.last_synchronized
            if s.last_synchronized and s.active else None
            for s in servers}

    @classmethod
    def get_counts(cls, servers, names):
        study = Pool().get('gnuhealth.imaging_orthanc.study').__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*study.select(
                study.server_config, Count(study.id),
                Sum(Coalesce(study.instance_count, 0)),
                where=study.server_config.in_([s.id for s in servers])
                & (study.missing_since == Null),
                group_by=study.server_config))
        counts = {id_: counts for id_, *counts in cursor.fetchall()}
        return {
            name: {s.id: int(counts.get(s.id, (0, 0))[
                        name == 'images_here']) for s in servers}
            for name in names}

    @fields.depends('domain', 'problems', 'warnings', 'read_only')
    def on_change_notify(self):
        notifications = list(super().on_change_notify())
        for level, text in [
                ('danger', self.problems), ('warning', self.warnings)]:
            notifications += [
                (level, line) for line in (text or '').splitlines()]
        if is_plain(self.domain) and (self.id or -1) < 0:
            notifications.append(('warning', gettext(
                        'health_orthanc.msg_server_plain_http')))
        if self.read_only:
            notifications.append(('info', gettext(
                        'health_orthanc.msg_server_read_only')))
        return notifications

    @classmethod
    def findings(cls, servers):
        """Return what is wrong with each of the servers.

        Returns
        -------
        dict
            server: list of (severity, sentence)
        """
        failures = cls._last_failures(servers)
        result = defaultdict(list)
        for server in servers:
            found = result[server]
            if not server.active:
                continue
            found += [('danger', text) for text in server._problems(
                    failures.get(server.id))]
            found += [('warning', text) for text in server.get_warnings()]
        return result

    @classmethod
    def _last_failures(cls, servers):
        "Return what is said by those last runs of servers that failed"
        run = Pool().get('gnuhealth.orthanc.sync.run').__table__()
        last = run.select(Max(run.id), group_by=run.server,
            where=run.server.in_([s.id for s in servers] or [-1])
            & run.state.in_(['done', 'failed']))
        return {
            row['server']: row['message'] for row in select_rows(
                run, ['server', 'message'],
                run.id.in_(last) & (run.state == 'failed'))}

    def _problems(self, failure):
        if not self.validated:
            yield self.validation_message or gettext(
                'health_orthanc.msg_server_not_validated',
                server=self.rec_name)
            return
        if failure:
            yield failure
        since = self.last_synchronized or self.create_date
        if since and since < now() - stale_after():
            yield gettext(
                'health_orthanc.msg_server_stale', server=self.rec_name)

    def get_warnings(self):
        "Return the sentences of what does not keep it from working"
        def warn(name, **values):
            return gettext(
                'health_orthanc.msg_server_' + name, server=self.rec_name,
                **values)

        version = parse_version(self.orthanc_version)
        if version and version < SUPPORTED:
            yield warn('old', version=self.orthanc_version)
        if version and version < SAFE:
            yield warn('vulnerable', version=self.orthanc_version)
        if self.clock_difference and abs(self.clock_difference) > CLOCK:
            yield warn('clock', seconds=round(
                    self.clock_difference.total_seconds()))
        if is_plain(self.domain):
            yield gettext('health_orthanc.msg_server_plain_http')

    @classmethod
    def warn_failing(cls):
        "Report what fails; Tryton keeps one report of each"
        problems = [
            text for server, found in cls.findings(
                cls.search([])).items()
            for level, text in found if level == 'danger']
        if problems:
            raise ServersFailingError(gettext(
                    'health_orthanc.msg_servers_failing',
                    problems='\n'.join(problems)))
