# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Orthanc's own call: something changed.

Nothing that it says is trusted but that: the server is then asked for what
is new. It proves itself by a key of which only a hash is kept.
"""
import hashlib
import secrets

from sql import Table

from trytond.i18n import gettext
from trytond.model import ModelView, fields
from trytond.modules.health_imaging.access import GuardedWizard
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval
from trytond.transaction import Transaction
from trytond.url import http_host
from trytond.wizard import Button, StateView

_COLUMN = 'notification_key_hash'


def hash_key(key):
    # A key is random and long: it needs no salt and no slow hash.
    return hashlib.sha256(key.encode('utf-8')).hexdigest()


class Server(metaclass=PoolMeta):
    __name__ = 'gnuhealth.orthanc.config'

    notification_state = fields.Function(
        fields.Char("Notification Key"), 'get_notification_state')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._buttons.update({
                'make_notification_key': {
                    'invisible': ~Eval('active') | ~Eval('id'),
                    'depends': ['active', 'id'],
                    },
                'revoke_notification_key': {
                    'invisible': ~Eval('id'),
                    'depends': ['id'],
                    },
                })

    @classmethod
    def __register__(cls, module):
        table_h = cls.__table_handler__(module)
        # no field: nothing but this file can read it
        if not table_h.column_exist(_COLUMN):
            table_h.add_column(_COLUMN, 'VARCHAR')
        super().__register__(module)

    @classmethod
    def get_notification_state(cls, servers, name):
        cursor = Transaction().connection.cursor()
        table = Table(cls._table)
        cursor.execute(*table.select(
                table.id, table.notification_key_hash,
                where=table.id.in_([s.id for s in servers] or [-1])))
        return {
            id_: gettext('health_orthanc.msg_notification_key_set' if hash_
                else 'health_orthanc.msg_notification_key_none')
            for id_, hash_ in cursor}

    @classmethod
    @ModelView.button_action('health_orthanc.wizard_notification_key')
    def make_notification_key(cls, servers):
        pass

    @classmethod
    @ModelView.button
    def revoke_notification_key(cls, servers):
        cls._store_notification_key(servers, None)

    @classmethod
    def new_notification_key(cls, server):
        "Return a new key of the server, which replaces the one before"
        key = secrets.token_urlsafe(32)
        cls._store_notification_key([server], hash_key(key))
        return key

    @classmethod
    def _store_notification_key(cls, servers, value):
        cursor = Transaction().connection.cursor()
        table = Table(cls._table)
        cursor.execute(*table.update(
                [table.notification_key_hash], [value],
                where=table.id.in_([s.id for s in servers] or [-1])))

    @classmethod
    def from_notification_key(cls, key):
        "Return the validated server whose key it is, None if it is nobody's"
        cursor = Transaction().connection.cursor()
        table = Table(cls._table)
        cursor.execute(*table.select(
                table.id,
                where=(table.notification_key_hash == hash_key(key))
                & table.active & table.validated))
        row = cursor.fetchone()
        return cls(row[0]) if row else None


class Run(metaclass=PoolMeta):
    __name__ = 'gnuhealth.orthanc.sync.run'

    @classmethod
    def notify(cls, server):
        """Ask the server soon for what is new.

        One run waits at most: it sees all that came before it starts.
        """
        waiting = cls.search([
                ('server', '=', server.id),
                ('state', '=', 'queued'),
                ('trigger', '=', 'orthanc'),
                ], limit=1)
        if not waiting:
            cls.submit([server], 'new', 'orthanc')


class NotificationKeyShow(ModelView):
    "Notification Key"
    __name__ = 'gnuhealth.orthanc.notification_key.show'

    server = fields.Many2One(
        'gnuhealth.orthanc.config', "Server", readonly=True)
    address = fields.Char("Address", readonly=True)
    key = fields.Char("Key", readonly=True)


class NotificationKey(GuardedWizard):
    "Notification Key"
    __name__ = 'gnuhealth.orthanc.notification_key'
    start_state = 'show'

    show = StateView(
        'gnuhealth.orthanc.notification_key.show',
        'health_orthanc.notification_key_show_form', [
            Button("Close", 'end', 'tryton-close', default=True),
            ])

    def default_show(self, fields):
        # What a default holds is not kept in the wizard's session.
        Server = Pool().get('gnuhealth.orthanc.config')
        return {
            'server': self.record.id,
            'address': '%s/%s/health_orthanc/changed' % (
                http_host(), Transaction().database.name),
            'key': Server.new_notification_key(self.record),
            }
