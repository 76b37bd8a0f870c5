# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell whether the Orthanc at a URL is still the one whose studies are known.

An archive may be renamed, moved to another machine or restored from a backup:
then it has some of the studies that are known, whatever it calls itself.
Another archive behind the same URL has none of them, and to compare with it
would mark every study as missing.
"""
import json
from contextlib import nullcontext

from sql import Null
from sql.aggregate import Count

from trytond.model import ModelView, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval
from trytond.transaction import Transaction

from .exceptions import ServerReplaced, explain
from .rows import forget, select_rows

# Some tell more, none tells less
_FACTS = [
    'Name', 'DatabaseServerIdentifier', 'DicomAet', 'DicomPort', 'HttpPort']
# An archive with the same name that lost fewer was wiped, as tests are.
FEW = 20
PIECE = 1000


def signature(system):
    "What an Orthanc tells of itself that another one would not"
    facts = [system.get(name) for name in _FACTS]
    return json.dumps([
            fact if isinstance(fact, int) else str(fact or '')[:64]
            for fact in facts])


class Recognition:
    """Compare the Orthanc that answers with the one that is known.

    Parameters
    ----------
    server_id : int
    system : dict
        What it tells of itself.
    transaction : callable
        Returns a context manager, in which the database is read. No request
        is made inside.
    """

    def __init__(self, server_id, system, transaction):
        self.server_id = server_id
        self.signature = signature(system)
        self.transaction = transaction

    def check(self, client, continues=None):
        """Raise ServerReplaced if it is another one.

        Parameters
        ----------
        continues : function, optional
            Tells whether its log of changes goes on where the one that is
            known was left; asked only where that matters.
        """
        Server = Pool().get('gnuhealth.orthanc.config')
        server = Server.__table__()
        with self.transaction():
            row, = select_rows(
                server, ['signature', 'replaced'],
                server.id == self.server_id)
            known = self._count()
        differs = row['replaced'] or row['signature'] not in {
            None, self.signature}
        if not known or not differs and (
                known < FEW or not continues or continues()):
            return
        ids = client.ids('study')
        if not differs and not ids:
            return
        if not self._knows_any(ids):
            with self.transaction():
                self._note()
            raise ServerReplaced("none of the known studies is there")

    def _note(self):
        "From now on a person has to decide"
        Server = Pool().get('gnuhealth.orthanc.config')
        server = Server.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*server.update(
                [server.replaced, server.validated,
                    server.validation_message],
                [True, False, explain(
                        ServerReplaced(), Server(self.server_id))],
                where=server.id == self.server_id))
        forget(Server, [self.server_id])

    def _known(self):
        Study = Pool().get('gnuhealth.imaging_orthanc.study')
        study = Study.__table__()
        return study, ((study.server_config == self.server_id)
            & (study.missing_since == Null))

    def _count(self):
        study, where = self._known()
        cursor = Transaction().connection.cursor()
        cursor.execute(*study.select(
                Count(study.id), where=where))
        count, = cursor.fetchone()
        return count

    def _knows_any(self, ids):
        study, where = self._known()
        with self.transaction():
            cursor = Transaction().connection.cursor()
            for start in range(0, len(ids), PIECE):
                cursor.execute(*study.select(
                        study.id, limit=1, where=where
                        & study.orthanc_UID.in_(ids[start:start + PIECE])))
                if cursor.fetchone():
                    return True
        return False


class Server(metaclass=PoolMeta):
    __name__ = 'gnuhealth.orthanc.config'

    signature = fields.Char("Signature", readonly=True)
    replaced = fields.Boolean("Replaced", readonly=True,
        states={
            'invisible': ~Eval('replaced'),
            },
        help="Another Orthanc answers at the URL than the one whose studies "
        "are known.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._buttons.update({
                'accept_replacement': {
                    'invisible': ~Eval('replaced'),
                    'depends': ['replaced'],
                    },
                })

    @classmethod
    def default_replaced(cls):
        return False

    @classmethod
    @ModelView.button
    def accept_replacement(cls, servers):
        """Go on with the Orthanc that answers now.

        The next synchronization reads all of it, and marks as missing what
        it does not have.
        """
        pool = Pool()
        Audit = pool.get('gnuhealth.orthanc.audit')
        Cursor = pool.get('gnuhealth.orthanc.sync.cursor')
        servers = [s for s in servers if s.replaced]
        cls.write(servers, {
                'replaced': False,
                'signature': None,
                'validation_message': None,
                })
        Cursor.delete(Cursor.search([
                    ('server', 'in', [s.id for s in servers])]))
        for server in servers:
            Audit.log_server('replace', server)
        cls.__queue__.check_connection(servers)

    def _ask(self, client, system):
        Recognition(self.id, system, nullcontext).check(client)
        return super()._ask(client, system)
