# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import datetime as dt

from trytond.i18n import gettext
from trytond.model import DeactivableMixin, ModelSQL, Unique, fields
from trytond.modules.health_imaging.access import GuardedView
from trytond.modules.health_imaging.dates import now
from trytond.modules.health_imaging.flags import wanted_values
from trytond.pool import Pool
from trytond.pyson import Eval, If
from trytond.transaction import (
    Transaction, inactive_records, without_check_access)

from .exceptions import HostError, HostLateError

MAX_NAME = 64
# Whoever may read requests may name a host
MAX_HOSTS = 100


class WorklistHost(DeactivableMixin, ModelSQL, GuardedView):
    "Worklist Host"
    __name__ = 'gnuhealth.imaging.worklist.host'

    name = fields.Char(
        "Name", required=True, readonly=True,
        help="The name that the program on the host gives itself.")
    last_fetch = fields.DateTime(
        "Last fetch", readonly=True,
        help="When the host last asked what is on the worklist.")
    published = fields.Integer(
        "Published", readonly=True,
        help="How many items the host offers to modalities.")
    failed = fields.Integer(
        "Failed", readonly=True,
        help="How many items the host could not write: see its log.")
    late = fields.Function(
        fields.Boolean(
            "Late", help="Modalities that ask this host see an old worklist."),
        'get_late', searcher='search_late')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints.append((
                'name_unique', Unique(t, t.name),
                'health_imaging_worklist.msg_host_name_unique'))
        cls._order.insert(0, ('name', 'ASC'))

    @classmethod
    def _late_before(cls):
        "Return the time since which a host must have asked"
        Configuration = Pool().get('gnuhealth.imaging.worklist.configuration')
        with without_check_access():
            minutes = Configuration(1).late_after
        return now() - dt.timedelta(minutes=minutes)

    @classmethod
    def get_late(cls, hosts, name):
        limit = cls._late_before()
        return {
            h.id: bool(h.active and h.last_fetch and h.last_fetch < limit)
            for h in hosts}

    @classmethod
    def search_late(cls, name, clause):
        limit = cls._late_before()
        domain = ['OR', ('id', '=', None)]
        wanted = wanted_values(clause)
        if True in wanted:
            domain.append([('active', '=', True), ('last_fetch', '<', limit)])
        if False in wanted:
            domain.append(['OR',
                    ('active', '=', False),
                    ('last_fetch', '=', None),
                    ('last_fetch', '>=', limit),
                    ])
        return domain

    @fields.depends('late', 'failed')
    def on_change_notify(self):
        notifications = list(super().on_change_notify())
        if self.late:
            notifications.append(('danger', gettext(
                        'health_imaging_worklist.msg_host_late')))
        if self.failed:
            notifications.append(('warning', gettext(
                        'health_imaging_worklist.msg_host_failed',
                        count=self.failed)))
        return notifications

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree', 'visual', If(Eval('late', False), 'danger', '')),
            ('//group[@id="late"]', 'states', {
                    'invisible': ~Eval('late', False),
                    }),
            ('/tree/field[@name="failed"]', 'visual',
                If(Eval('failed', 0) > 0, 'warning', '')),
            ]

    @classmethod
    def note(cls, name, **values):
        """Note that the host asked, and what it says of itself

        It is written by SQL: a host asks every few seconds, and no person who
        has the record open shall be told each time that it changed.
        """
        name = name.strip() if isinstance(name, str) else ''
        if not name or len(name) > MAX_NAME or not name.isprintable():
            raise HostError(gettext(
                    'health_imaging_worklist.msg_host_name', limit=MAX_NAME))
        values['last_fetch'] = now()
        table = cls.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.select(table.id, where=table.name == name))
        row = cursor.fetchone()
        if row:
            cursor.execute(*table.update(
                    [getattr(table, n) for n in values],
                    list(values.values()), where=table.id == row[0]))
            return
        with without_check_access(), inactive_records():
            if cls.search([], count=True) >= MAX_HOSTS:
                raise HostError(gettext(
                        'health_imaging_worklist.msg_hosts_too_many',
                        host=name, limit=MAX_HOSTS))
            cls.create([dict(values, name=name)])

    @classmethod
    def warn_late(cls):
        "Report the hosts that are late; Tryton keeps one report of each"
        late = cls.search([('late', '=', True)])
        if late:
            raise HostLateError(gettext(
                    'health_imaging_worklist.msg_hosts_late',
                    hosts=', '.join(h.rec_name for h in late)))
