# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may read what of a study in Orthanc: tokens, and Orthanc's questions.

The questions are those of Orthanc's authorization plugin:
https://orthanc.uclouvain.be/book/plugins/authorization.html
"""
import time

from sql import Null, Table

from trytond.i18n import gettext
from trytond.model import ModelView, fields
from trytond.model.exceptions import AccessError
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval, If
from trytond.transaction import (
    Transaction, check_access, without_check_access)

from .exceptions import OrthancServerError
from .secrets import SecretError
from .tickets import Ticket, TicketError, new_key, seal, unseal

_COLUMN = 'viewer_secret'
DEFAULT_MINUTES = 60
MAX_MINUTES = 24 * 60
# Seconds for which Orthanc may keep an answer: so long a user who lost the
# right, or a token that was revoked, may still read on.
VALIDITY = 10


class Server(metaclass=PoolMeta):
    __name__ = 'gnuhealth.orthanc.config'

    viewer_token = fields.Boolean("Viewer Token",
        help="What Open Viewer opens gets a token, and Orthanc asks "
        "GNU Health what it may read.")
    token_minutes = fields.Integer("Token Validity in Minutes",
        domain=[
            If(Eval('viewer_token'), [
                    ('token_minutes', '>=', 1),
                    ('token_minutes', '<=', MAX_MINUTES),
                    ], []),
            ],
        states={
            'invisible': ~Eval('viewer_token'),
            'required': Eval('viewer_token', False),
            })

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._buttons.update({
                'revoke_viewer_tokens': {
                    'invisible': ~Eval('viewer_token') | ~Eval('id'),
                    'depends': ['viewer_token', 'id'],
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
    def default_viewer_token(cls):
        return False

    @classmethod
    def default_token_minutes(cls):
        return DEFAULT_MINUTES

    @classmethod
    def secret_columns(cls):
        return super().secret_columns() + [_COLUMN]

    @classmethod
    def create(cls, vlist):
        servers = super().create(vlist)
        if any(v.get('viewer_token') for v in vlist):
            cls._add_viewer_secrets(servers)
        return servers

    @classmethod
    def write(cls, *args):
        super().write(*args)
        for servers, values in zip(args[::2], args[1::2]):
            if values.get('viewer_token'):
                cls._add_viewer_secrets(servers)

    @classmethod
    def _add_viewer_secrets(cls, servers):
        "Give a secret to those that want tokens and have none"
        cursor = Transaction().connection.cursor()
        table = Table(cls._table)
        cursor.execute(*table.select(table.id, where=table.id.in_(
                    [s.id for s in servers] or [-1])
                & (table.viewer_token) & (table.viewer_secret == Null)))
        cls._new_viewer_secrets(
            cls.browse([id_ for id_, in cursor.fetchall()]))

    @classmethod
    def _new_viewer_secrets(cls, servers):
        for server in servers:
            cls._store_secret([server], new_key(), _COLUMN)

    @classmethod
    @ModelView.button
    def revoke_viewer_tokens(cls, servers):
        "Make all tokens void that were made until now"
        cls._new_viewer_secrets(servers)

    def make_viewer_token(self, study):
        """Return a token with which the user may read the study for a while

        None if the server wants none.
        """
        if not self.viewer_token:
            return None
        try:
            secret = self._get_secret(_COLUMN)
        except SecretError:
            secret = None
        if not secret:
            raise OrthancServerError(gettext(
                    'health_orthanc.msg_viewer_secret_unreadable',
                    server=self.rec_name))
        minutes = self.token_minutes or DEFAULT_MINUTES
        return seal(secret, Ticket(
                study.study_instance_UID, Transaction().user,
                int(time.time()) + 60 * minutes))

    def authorize(self, question):
        """Answer whether the server may hand out what it was asked for

        Parameters
        ----------
        question : dict
            level (study, series or instance), method, token-value, and
            dicom-uid or orthanc-id or both. All else is not granted.

        Returns
        -------
        dict
            granted, and validity in seconds for which the answer holds.
        """
        try:
            ticket = unseal(
                self._get_secret(_COLUMN), _token_of(question))
        except (SecretError, TicketError):
            return {'granted': False, 'validity': 1}
        granted = (
            self.viewer_token
            and question.get('method') == 'get'
            and self._covers(ticket, question))
        return {
            'granted': bool(granted),
            'validity': min(ticket.seconds_left(), VALIDITY),
            }

    @without_check_access
    def _covers(self, ticket, question):
        "The resource is of the ticket's study, which its user may see"
        pool = Pool()
        Study = pool.get('gnuhealth.imaging_orthanc.study')
        names = {
            'study': (Study, 'study_instance_UID', 'id'),
            'series': (
                pool.get('gnuhealth.imaging_orthanc.study_series'),
                'series_UID', 'study'),
            'instance': (
                pool.get('gnuhealth.imaging_orthanc.series_instances'),
                'sop_instance_UID', 'series.study'),
            }.get(question.get('level'))
        if not names:
            return False
        Model, uid_name, path = names
        domain = [
            (name, '=', question.get(key))
            for name, key in [
                (uid_name, 'dicom-uid'), ('orthanc_UID', 'orthanc-id')]
            if question.get(key) is not None]
        if not domain or not all(
                isinstance(value, str) and value for _, _, value in domain):
            return False
        # An archive may hold a study twice, under two patients.
        studies = Study.search([
                ('server_config', '=', self.id),
                ('study_instance_UID', '=', ticket.study_uid),
                ('missing_since', '=', None),
                ])
        return bool(
            studies
            and Model.search(domain + [
                    (path, 'in', [s.id for s in studies])], limit=1)
            and may_view(ticket.user, studies))


def _token_of(question):
    "What the plugin found, in an argument or in an Authorization header"
    token = question.get('token-value')
    if isinstance(token, str):
        kind, _, value = token.strip().partition(' ')
        if kind.lower() == 'bearer':
            token = value.strip()
    return token


def may_view(user_id, studies):
    "Whether the user may open the studies in a viewer, now"
    pool = Pool()
    User = pool.get('res.user')
    OpenViewer = pool.get('gnuhealth.orthanc.open_viewer', type='wizard')
    if not User.search([('id', '=', user_id)]):
        return False
    ids = [s.id for s in studies]
    with Transaction().set_user(user_id), Transaction().reset_context():
        context = User.get_preferences(context_only=True)
        with Transaction().set_context(
                context, active_model=studies[0].__name__, active_id=ids[0],
                active_ids=ids), check_access():
            try:
                OpenViewer.check_access()
            except AccessError:
                return False
    return True
