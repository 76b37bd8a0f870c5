# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import logging
import re
import ssl
from collections import Counter
from urllib.parse import urlsplit

from sql import Column, Null, Table

from trytond import backend
from trytond.config import config
from trytond.i18n import gettext
from trytond.model import DeactivableMixin, ModelSQL, ModelView, Unique, fields
from trytond.modules.health_imaging.access import GuardedView, check_rights
from trytond.modules.health_imaging.dates import now
from trytond.modules.health_imaging.upgrade import health_imaging_first
from trytond.pool import Pool
from trytond.pyson import Eval
from trytond.transaction import Transaction, without_check_access

from . import upgrade
from .client import (
    BadAnswer, CertificateChanged, OrthancClient, OrthancError)
from .exceptions import (
    CertificateFieldError, OrthancServerError, ServerCopyError,
    ServerDeleteError, ServerURLError, explain)
from .identity import signature
from .links import without_credentials
from .outward import ForbiddenAddress, Gate, is_loopback
from .secrets import SecretError, Vault, read_keys

logger = logging.getLogger(__name__)

FINGERPRINT = re.compile(r'([0-9a-fA-F]{2}:?){32}')


def get_vault():
    """Return the vault with the keys of the configuration.

    A file of keys is read each time: a new key needs no restart.
    """
    keys = config.get('health_orthanc', 'encryption_keys', default='')
    path = config.get('health_orthanc', 'encryption_keys_file')
    if path:
        keys = f'{keys} {read_keys(path)}'
    return Vault(keys)


def get_gate():
    return Gate(config.get('health_orthanc', 'allowed_hosts'))


def get_timeouts():
    "Return the connect and read timeouts in seconds"
    return (
        config.getfloat('health_orthanc', 'connect_timeout', default=5),
        config.getfloat('health_orthanc', 'read_timeout', default=60))


def quick_timeouts():
    "Return the timeouts of what a person waits for"
    connect_timeout, read_timeout = get_timeouts()
    return {
        'connect_timeout': min(connect_timeout, 5),
        'read_timeout': min(read_timeout, 10),
        'total_timeout': 20,
        }


class OrthancServer(DeactivableMixin, ModelSQL, GuardedView):
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
    certificate_authority = fields.Text("Certificate Authority",
        help="The certificates of the only authorities to trust for this "
        "server, as PEM text. Empty: those that the machine trusts.")
    certificate_fingerprint = fields.Char("Accepted Certificate",
        help="SHA-256 fingerprint of the only certificate to accept from "
        "this server, whoever issued it.")
    validated = fields.Boolean("Validated", readonly=True,
        help="The last check reached Orthanc with these credentials.")
    validation_message = fields.Char("Validation Message", readonly=True,
        states={
            'invisible': ~Eval('validation_message'),
            })
    orthanc_name = fields.Char("Name", readonly=True)
    orthanc_version = fields.Char("Version", readonly=True)
    plugins = fields.Char("Plugins", readonly=True)
    read_only = fields.Boolean("Read-only", readonly=True,
        help="The server takes no files and deletes none.")
    clock_difference = fields.TimeDelta("Clock Difference", readonly=True,
        help="How far the clock of the server is ahead of GNU Health's.")
    studies_there = fields.Integer("Studies in Orthanc", readonly=True)
    images_there = fields.Integer("Images in Orthanc", readonly=True)
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

    # To change one of them is to be followed by a check
    _contact_fields = {
        'domain', 'user', 'certificate_authority', 'certificate_fingerprint'}

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

        # Migration from GNU Health 5.0: so might that in the URL be
        upgrade.credentials_from_urls(cls)
        # what was stored while there was no key
        if get_vault().encrypts:
            cls.encrypt_secrets(['clear'])

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
    def secret_columns(cls):
        "Return the columns whose values are encrypted, none of them a field"
        return ['secret']

    @classmethod
    def _store_secret(cls, servers, value, name='secret'):
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
                    [Column(table, name)], [vault.encrypt(value)],
                    where=table.id == server.id))

    def _get_secret(self, name='secret'):
        cursor = Transaction().connection.cursor()
        table = Table(self._table)
        cursor.execute(*table.select(
                Column(table, name), where=table.id == self.id))
        stored, = cursor.fetchone()
        return get_vault().decrypt(stored)

    @classmethod
    def count_secrets(cls):
        "Return how many secrets are stored in which way"
        vault = get_vault()
        return Counter(
            vault.state(stored) for *_, stored in cls._stored_secrets())

    @classmethod
    def encrypt_secrets(cls, states):
        """Encrypt what is stored in one of the ways with the first key.

        Return how many were. One that is changed meanwhile stays as it is.
        """
        vault = get_vault()
        table = Table(cls._table)
        cursor = Transaction().connection.cursor()
        count = 0
        for id_, name, stored in cls._stored_secrets():
            if vault.state(stored) in states:
                column = Column(table, name)
                cursor.execute(*table.update(
                        [column], [vault.encrypt(vault.decrypt(stored))],
                        where=(table.id == id_) & (column == stored)))
                count += cursor.rowcount
        return count

    @classmethod
    def _stored_secrets(cls):
        table = Table(cls._table)
        table_h = backend.TableHandler(cls)
        cursor = Transaction().connection.cursor()
        for name in filter(table_h.column_exist, cls.secret_columns()):
            column = Column(table, name)
            cursor.execute(*table.select(
                    table.id, column, where=column != Null))
            for id_, stored in cursor.fetchall():
                yield id_, name, stored

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
        where = Cursor.change_seq.convert_domain(
            ('change_seq', *clause[1:]), {None: (cursor, None)}, Cursor)
        query = server.join(
            cursor, 'LEFT', condition=cursor.server == server.id).select(
            server.id, where=where)
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
    def validate_fields(cls, servers, field_names):
        super().validate_fields(servers, field_names)
        cls.check_urls(servers, field_names)
        cls.check_certificates(servers, field_names)

    @classmethod
    def check_urls(cls, servers, field_names=None):
        names = {'domain', 'proxy_domain'}
        if field_names:
            names &= set(field_names)
        for server in servers:
            for name in names:
                check_url(
                    getattr(server, name), server.label,
                    # that one is for browsers
                    None if name == 'proxy_domain' else get_gate())

    @classmethod
    def check_certificates(cls, servers, field_names=None):
        names = {'certificate_authority', 'certificate_fingerprint'}
        if field_names:
            names &= set(field_names)
        for server in servers:
            for name in names:
                check_certificate(
                    name, getattr(server, name), server.label)

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
            if (cls._contact_fields & values.keys() or values.get('password')
                    or values.get('active')):
                values = {
                    'validated': False, 'validation_message': None, **values}
                if not values['validated']:
                    to_check += servers
            new_args += [servers, values]
            if not values.get('user', True) and not values.get('password'):
                cls._store_secret(servers, None)
        super().write(*new_args)
        to_check = [s for s in cls.browse(to_check) if s.active]
        if to_check:
            cls.__queue__.check_connection(to_check)

    @classmethod
    def delete(cls, servers):
        check_rights(cls, servers, 'delete')
        Study = Pool().get('gnuhealth.imaging_orthanc.study')
        with without_check_access():
            for server in servers:
                if Study.search([
                            ('server_config', '=', server.id)], limit=1):
                    raise ServerDeleteError(gettext(
                            'health_orthanc.msg_server_delete',
                            server=server.rec_name))
        super().delete(servers)

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

    def get_client(self, **timeouts):
        """Return a client with the server's credentials.

        Raises SecretError if the password cannot be decrypted.
        """
        connect_timeout, read_timeout = get_timeouts()
        return OrthancClient(
            self.domain, self.user or None, self._get_secret(), **{
                'connect_timeout': connect_timeout,
                'read_timeout': read_timeout,
                'gate': get_gate(),
                'authority': self.certificate_authority,
                'fingerprint': self.certificate_fingerprint,
                **timeouts})

    @classmethod
    def check_connection(cls, servers=None):
        "Task: ask each server who it is and store whether it answered"
        if servers is None:
            servers = cls.search([])
        # nothing is locked while a server is waited for
        checks = [(server, server._check()) for server in servers]
        for server, values in checks:
            cls.write([server], values)

    def _check(self):
        try:
            with self.get_client(**quick_timeouts()) as client:
                try:
                    return self._ask(client, client.system())
                except CertificateChanged as error:
                    # the message that helps has the one that came instead
                    found = client.certificate()
                    logger.warning(
                        "certificate of server %s changed", self.id)
                    message = explain(error, self)
                    if found:
                        message = ' '.join([message, gettext(
                                    'health_orthanc.msg_certificate_came',
                                    fingerprint=found.fingerprint)])
        except (SecretError, OrthancError) as error:
            message = explain(error, self)
        return {'validated': False, 'validation_message': message}

    def _ask(self, client, system):
        "Return what is to be stored of the server that answers"
        return contact_values(
            system, client.statistics(), ask_plugins(client),
            client.clock_difference())

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


def contact_values(system, statistics=None, plugins=None, clock=None):
    """Return what is to be stored of a server that answered so.

    Raises BadAnswer if it is no Orthanc.
    """
    version = system.get('Version')
    if not isinstance(version, str):
        raise BadAnswer("no Orthanc")
    values = {
        'validated': True,
        'validation_message': None,
        'orthanc_name': clean(system.get('Name')),
        'orthanc_version': clean(version),
        'read_only': system.get('ReadOnly') is True,
        'signature': signature(system),
        'replaced': False,
        'last_contact': now(),
        **count_values(statistics or {}),
        }
    if plugins is not None:
        values['plugins'] = ', '.join(
            filter(None, map(clean, sorted(plugins)))) or None
    if clock is not None:
        values['clock_difference'] = clock
    return values


def count_values(statistics):
    "Return how much the server holds, as far as it tells"
    values = {}
    for name, key in [
            ('studies_there', 'CountStudies'),
            ('images_there', 'CountInstances')]:
        count = statistics.get(key)
        if type(count) is int and 0 <= count < 1 << 31:
            values[name] = count
    return values


def clean(value, size=64):
    "Return a short text without control characters, None if it is no text"
    if isinstance(value, str):
        return ''.join(c for c in value if c.isprintable())[:size] or None


def check_url(url, label, gate=None):
    """Raise ServerURLError unless the URL can be a server's.

    Only http and https, with a host that may be called, and without user and
    password in it. Nobody is asked for the host's address.
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
            and '\\' not in url
            and not any(c.isspace() or not c.isprintable() for c in url))
    except ValueError:
        valid = False
    if not valid:
        raise ServerURLError(gettext(
                'health_orthanc.msg_server_url_invalid', server=label))
    if gate:
        try:
            gate.check_host(parts.hostname)
        except ForbiddenAddress:
            raise ServerURLError(gettext(
                    'health_orthanc.msg_orthanc_not_allowed',
                    server=label)) from None


def is_plain(url):
    "Whether what is sent to the URL can be read on the way"
    try:
        parts = urlsplit(url or '')
        return (parts.scheme == 'http' and bool(parts.hostname)
            and not is_loopback(parts.hostname))
    except ValueError:
        return False


def check_certificate(name, value, label):
    "Raise CertificateError unless the field can hold the value"
    if not value:
        return
    if name == 'certificate_fingerprint':
        valid = FINGERPRINT.fullmatch(value)
    else:
        # a key has no business here
        valid = 'PRIVATE KEY' not in value
        try:
            ssl.create_default_context(cadata=value)
        except (ssl.SSLError, ValueError):
            valid = False
    if not valid:
        raise CertificateFieldError(gettext(
                'health_orthanc.msg_server_' + name, server=label))
