# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import logging
from urllib.parse import urlsplit

from sql import Table

from trytond.config import config
from trytond.i18n import gettext
from trytond.model import DeactivableMixin, ModelSQL, ModelView, Unique, fields
from trytond.modules.health_imaging.request import now
from trytond.modules.health_imaging.upgrade import health_imaging_first
from trytond.pool import Pool
from trytond.pyson import Eval, If
from trytond.transaction import Transaction

from .client import OrthancClient, OrthancError
from .exceptions import (
    OrthancServerError, ServerCopyError, ServerURLError, explain)
from .links import without_credentials
from .secrets import SecretError, Vault

logger = logging.getLogger(__name__)


def get_vault():
    return Vault(config.get('health_orthanc', 'encryption_keys'))


def get_timeouts():
    "Return the connect and read timeouts in seconds"
    return (
        config.getfloat('health_orthanc', 'connect_timeout', default=5),
        config.getfloat('health_orthanc', 'read_timeout', default=60))


class OrthancServer(DeactivableMixin, ModelSQL, ModelView):
    "Orthanc Server Config"
    __name__ = 'gnuhealth.orthanc.config'
    _rec_name = 'label'

    label = fields.Char("Label", required=True,
        help="The name of the server in GNU Health.")
    domain = fields.Char("URL", required=True,
        help="The full address of Orthanc's REST API, "
        "such as https://pacs.example.org/orthanc.")
    proxy_domain = fields.Char("Proxy URL",
        help="The address at which browsers reach Orthanc and its viewers, "
        "if it is another one.")
    user = fields.Char("Username")
    password = fields.Function(
        fields.Char("Password", strip=False,
            help="Leave empty to keep the stored password."),
        'get_password', setter='set_password')
    password_state = fields.Function(
        fields.Char("Password Storage"), 'get_password_state')
    validated = fields.Boolean("Validated", readonly=True,
        help="The last check reached Orthanc with these credentials.")
    validation_message = fields.Char("Validation Message", readonly=True)
    orthanc_name = fields.Char("Name", readonly=True)
    orthanc_version = fields.Char("Version", readonly=True)
    plugins = fields.Char("Plugins", readonly=True)
    last_contact = fields.DateTime("Last Contact", readonly=True)
    last_synchronized = fields.DateTime("Last Synchronized", readonly=True)
    last_changed_index = fields.Function(
        fields.Integer("Last Changed Index"), 'get_last_changed_index',
        searcher='search_last_changed_index')
    link = fields.Function(fields.Char("Link"), 'get_link')
    link_base_url = fields.Function(
        fields.Char("Link Base URL"), 'get_link_base_url')
    runs = fields.One2Many(
        'gnuhealth.orthanc.sync.run', 'server', "Synchronizations",
        readonly=True)
    quarantine = fields.One2Many(
        'gnuhealth.orthanc.sync.quarantine', 'server', "Quarantine",
        readonly=True)

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._order = [('label', 'ASC'), ('id', None)]
        t = cls.__table__()
        cls._sql_constraints += [
            ('label_unique', Unique(t, t.label),
                'health_orthanc.msg_server_label_unique'),
            ('domain_unique', Unique(t, t.domain),
                'health_orthanc.msg_server_domain_unique'),
            ]
        cls._buttons.update({
                'check': {
                    'depends': ['active'],
                    'invisible': ~Eval('active'),
                    },
                'remove_config_server': {
                    'depends': ['active'],
                    'invisible': ~Eval('active'),
                    },
                })

    @classmethod
    def __register__(cls, module):
        health_imaging_first()
        table_h = cls.__table_handler__(module)
        cursor = Transaction().connection.cursor()
        table = Table(cls._table)

        # The secret is no field: nothing but this file can read it.
        if not table_h.column_exist('secret'):
            table_h.add_column('secret', 'VARCHAR')
        # Migration from GNU Health 5.0: the password was stored in clear
        if table_h.column_exist('password'):
            vault = get_vault()
            cursor.execute(*table.select(table.id, table.password))
            for id_, password in cursor.fetchall():
                cursor.execute(*table.update(
                        [table.secret], [vault.encrypt(password)],
                        where=table.id == id_))
            table_h.drop_column('password')

        super().__register__(module)

    @classmethod
    def default_validated(cls):
        return False

    @classmethod
    def get_password(cls, servers, name):
        return {s.id: None for s in servers}

    @classmethod
    def set_password(cls, servers, name, value):
        if not value:
            return
        cls._store_secret(servers, value)

    @classmethod
    def _store_secret(cls, servers, value):
        cursor = Transaction().connection.cursor()
        table = Table(cls._table)
        try:
            vault = get_vault()
        except SecretError:
            raise OrthancServerError(gettext(
                    'health_orthanc.msg_encryption_keys_invalid')) from None
        for server in servers:
            if value and not vault.encrypts:
                logger.warning(
                    "password of server %s is stored in clear: "
                    "[health_orthanc] encryption_keys is not set", server.id)
            cursor.execute(*table.update(
                    [table.secret], [vault.encrypt(value)],
                    where=table.id == server.id))

    def _get_secret(self):
        cursor = Transaction().connection.cursor()
        table = Table(self._table)
        cursor.execute(*table.select(
                table.secret, where=table.id == self.id))
        stored, = cursor.fetchone()
        return get_vault().decrypt(stored)

    @classmethod
    def get_password_state(cls, servers, name):
        "Say how the password is kept, never what it is"
        cursor = Transaction().connection.cursor()
        table = Table(cls._table)
        cursor.execute(*table.select(table.id, table.secret,
                where=table.id.in_([s.id for s in servers] or [-1])))
        states = {}
        for id_, stored in cursor:
            if not stored:
                message = 'msg_password_none'
            elif stored.startswith('fernet:'):
                message = 'msg_password_encrypted'
            else:
                message = 'msg_password_clear'
            states[id_] = gettext('health_orthanc.' + message)
        return states

    @classmethod
    def get_last_changed_index(cls, servers, name):
        Cursor = Pool().get('gnuhealth.orthanc.sync.cursor')
        result = {s.id: None for s in servers}
        for cursor in Cursor.search([
                    ('server', 'in', [s.id for s in servers]),
                    ]):
            result[cursor.server.id] = cursor.change_seq
        return result

    @classmethod
    def search_last_changed_index(cls, name, clause):
        Cursor = Pool().get('gnuhealth.orthanc.sync.cursor')
        server = cls.__table__()
        cursor = Cursor.__table__()
        _, operator, value = clause
        Operator = fields.SQL_OPERATORS[operator]
        query = server.join(
            cursor, 'LEFT', condition=cursor.server == server.id).select(
            server.id, where=Operator(cursor.change_seq, value))
        return [('id', 'in', query)]

    @classmethod
    def order_last_changed_index(cls, tables):
        Cursor = Pool().get('gnuhealth.orthanc.sync.cursor')
        table, _ = tables[None]
        cursor = Cursor.__table__()
        return [cursor.select(
                cursor.change_seq, where=cursor.server == table.id)]

    def get_link(self, name):
        return self.link_base_url

    def get_link_base_url(self, name):
        url = (self.proxy_domain or '').strip() or self.domain or ''
        return without_credentials(url).rstrip('/') + '/'

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree', 'visual', If(
                    ~Eval('active', True), 'muted',
                    If(~Eval('validated', True), 'danger', ''))),
            ]

    @classmethod
    def validate_fields(cls, servers, field_names):
        super().validate_fields(servers, field_names)
        cls.check_urls(servers, field_names)

    @classmethod
    def check_urls(cls, servers, field_names=None):
        names = {'domain', 'proxy_domain'}
        if field_names:
            names &= set(field_names)
        for server in servers:
            for name in names:
                check_url(getattr(server, name), server.label)

    @classmethod
    def create(cls, vlist):
        servers = super().create(vlist)
        unchecked = [
            s for s in servers if s.active and not s.validated]
        if unchecked:
            cls.__queue__.check_connection(unchecked)
        return servers

    @classmethod
    def write(cls, *args):
        to_check, new_args = [], []
        actions = iter(args)
        for servers, values in zip(actions, actions):
            credentials = {'domain', 'user'} & values.keys()
            if credentials or values.get('password'):
                values = {
                    'validated': False, 'validation_message': None, **values}
                if not values['validated']:
                    to_check += servers
            new_args += [servers, values]
        super().write(*new_args)
        to_check = [s for s in cls.browse(to_check) if s.active]
        if to_check:
            cls.__queue__.check_connection(to_check)

    @classmethod
    def copy(cls, servers, default=None):
        raise ServerCopyError(gettext('health_orthanc.msg_server_copy'))

    @classmethod
    @ModelView.button
    def check(cls, servers):
        cls.__queue__.check_connection(servers)

    @classmethod
    @ModelView.button
    def remove_config_server(cls, servers):
        "Archive the servers and forget how to log in to them"
        cls.write(servers, {'active': False, 'user': None})
        cls._store_secret(servers, None)

    def get_client(self):
        """Return a client with the server's credentials.

        Raises SecretError if the password cannot be decrypted.
        """
        connect_timeout, read_timeout = get_timeouts()
        return OrthancClient(
            self.domain, self.user or None, self._get_secret(),
            connect_timeout=connect_timeout, read_timeout=read_timeout)

    @classmethod
    def check_connection(cls, servers=None):
        "Ask each server who it is and store whether it answered"
        if servers is None:
            servers = cls.search([])
        for server in servers:
            values = server._check()
            cls.write([server], values)

    def _check(self):
        try:
            with self.get_client() as client:
                system = client.system()
                plugins = ask_plugins(client)
        except (SecretError, OrthancError) as error:
            return {
                'validated': False,
                'validation_message': explain(error, self),
                }
        return system_values(system, plugins)

    @classmethod
    def from_url(cls, url):
        """Return the server with that URL.

        For an unknown one an archived, unvalidated server is made.
        """
        with Transaction().set_context(active_test=False):
            servers = cls.search([('domain', '=', url)], limit=1)
            if not servers:
                servers = cls.search([
                        ('domain', '=', url.rstrip('/'))], limit=1)
            if not servers:
                servers = cls.create([{
                            'label': url,
                            'domain': url,
                            'active': False,
                            }])
        return servers[0]


def ask_plugins(client):
    "Return the names of the server's plugins, None if it does not tell"
    try:
        return client.plugins()
    except OrthancError:
        return None


def system_values(system, plugins):
    "Return what is to be stored of a server that answered so"
    return {
        'validated': True,
        'validation_message': None,
        'orthanc_name': clean(system.get('Name')),
        'orthanc_version': clean(system.get('Version')),
        'plugins': plugins and ', '.join(
            filter(None, map(clean, sorted(plugins)))),
        'last_contact': now(),
        }


def clean(value, size=64):
    "Return a short text without control characters, None if it is no text"
    if isinstance(value, str):
        return ''.join(c for c in value if c.isprintable())[:size] or None


def check_url(url, label):
    """Raise ServerURLError unless the URL can be a server's.

    Only http and https, with a host, and without user and password in it.
    """
    if not url:
        return
    try:
        parts = urlsplit(url)
        valid = (
            parts.scheme in {'http', 'https'}
            and parts.hostname
            and parts.username is None
            and parts.password is None
            and not parts.query
            and not parts.fragment
            and (parts.port is None or parts.port > 0)
            and not any(c.isspace() or not c.isprintable() for c in url))
    except ValueError:
        valid = False
    if not valid:
        raise ServerURLError(gettext(
                'health_orthanc.msg_server_url_invalid', server=label))
