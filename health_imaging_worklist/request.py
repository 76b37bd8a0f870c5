# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import logging
import re
import uuid
from collections import defaultdict

from trytond import backend
from trytond.config import config
from trytond.i18n import gettext
from trytond.model import Index, ModelView, Workflow, fields
from trytond.modules.health_imaging.logs import where
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval
from trytond.tools import grouped_slice
from trytond.transaction import Transaction, without_check_access

from . import values_5_0
from .attributes import SECTION, template_data, time_zone, time_zones
from .catalogue import HELP_AE_TITLE, ae_titles, check_ae_title
from .conformance import Finding
from .exceptions import UIDError
from .sample import sample_data
from .template import Item, template_of

logger = logging.getLogger(__name__)

_UID = re.compile(r'(0|[1-9]\d*)(\.(0|[1-9]\d*))+')


class ImagingRequest(metaclass=PoolMeta):
    __name__ = 'gnuhealth.imaging.test.request'

    merge_id = fields.Char(
        "Merge ID",
        states={
            'readonly': Eval('state') != 'draft',
            },
        help="The Study Instance UID (0020,000D) of the study to come: "
        "images that carry it belong to this request.")
    worklist_status = fields.Selection([
            (None, ""),
            ('todo', "Todo"),
            ('done', "Done"),
            ('canceled', "Canceled"),
            ], "Worklist Status", sort=False,
        help="Modalities see the request while it is requested and to do.")
    aetitle = fields.Char(
        "Station",
        states={
            'readonly': ~Eval('state').in_(['draft', 'requested']),
            },
        help=HELP_AE_TITLE
        + "\nLeave empty for all those of the study.")
    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_indexes.update({
                Index(t, (t.merge_id, Index.Equality())),
                Index(t, (t.worklist_status, Index.Equality())),
                })
        cls._identity_fields = cls._identity_fields | {'merge_id'}
        cls._open_fields = cls._open_fields | {'aetitle'}

    @classmethod
    def __register__(cls, module):
        # Requests older than this module were never on a worklist
        if backend.TableHandler.table_exist(cls._table):
            table_h = cls.__table_handler__(module)
            table_h.add_column('worklist_status', 'VARCHAR')
        super().__register__(module)

    @staticmethod
    def default_worklist_status():
        return 'todo'

    @fields.depends('requested_test', '_parent_requested_test.aetitle')
    def autocomplete_aetitle(self):
        return ae_titles(
            self.requested_test.aetitle if self.requested_test else None)

    @classmethod
    def create(cls, vlist):
        vlist = [v.copy() for v in vlist]
        for values in vlist:
            if not values.get('merge_id'):
                values['merge_id'] = cls.new_merge_id()
        return super().create(vlist)

    @classmethod
    def copy(cls, requests, default=None):
        default = default.copy() if default is not None else {}
        default.setdefault('merge_id')
        default.setdefault('worklist_status', cls.default_worklist_status())
        return super().copy(requests, default=default)

    @classmethod
    def validate_fields(cls, requests, field_names):
        super().validate_fields(requests, field_names)
        for request in requests:
            if not field_names or 'aetitle' in field_names:
                check_ae_title(request, request.aetitle)
            if not field_names or 'merge_id' in field_names:
                request.check_merge_id()

    def check_merge_id(self):
        uid = self.merge_id
        if uid and (len(uid) > 64 or not _UID.fullmatch(uid)):
            raise UIDError(gettext(
                    'health_imaging_worklist.msg_uid_invalid',
                    uid=uid, request=self.rec_name))

    @staticmethod
    def new_merge_id():
        """Return a new Study Instance UID

        It is a UUID below 2.25 (PS3.5 B.2), or as much of one as fits below
        the root that the configuration gives.
        """
        root = config.get(SECTION, 'uid_root', default='2.25').rstrip('.')
        digits = 63 - len(root)
        return '%s.%d' % (root, uuid.uuid4().int % 10 ** min(digits, 39))

    @classmethod
    @ModelView.button
    @Workflow.transition('requested')
    def requested(cls, requests):
        # while they are drafts: the id is fixed afterwards
        cls._set_merge_ids(requests)
        super().requested(requests)
        cls._set_worklist_status(
            [r for r in requests if not r.worklist_status],
            'todo', 'request')

    @classmethod
    def _set_merge_ids(cls, requests):
        "Give a merge id to those without, or with the one of another"
        given = {r.merge_id: r for r in requests if r.merge_id}
        taken = set()
        with without_check_access():
            for uids in grouped_slice(list(given)):
                taken.update(
                    r.merge_id for r in cls.search([
                            ('merge_id', 'in', list(uids)),
                            ('id', 'not in', [r.id for r in requests]),
                            ]))
        for request in requests:
            uid = request.merge_id
            if not uid or uid in taken or given[uid] != request:
                request.merge_id = cls.new_merge_id()
        cls.save(requests)

    @classmethod
    @ModelView.button
    @Workflow.transition('cancelled')
    def cancel(cls, requests):
        super().cancel(requests)
        cls._set_worklist_status(
            [r for r in requests if r.worklist_status == 'todo'],
            'canceled', 'request')

    @classmethod
    @ModelView.button
    @Workflow.transition('draft')
    def draft(cls, requests):
        super().draft(requests)
        cls._set_worklist_status(
            [r for r in requests if r.worklist_status == 'canceled'],
            'todo', 'request')

    def get_result(self):
        result = super().get_result()
        result.merge_id = self.merge_id
        return result

    # What is on the worklist

    @property
    def worklist_stations(self):
        "The AE titles: the chosen one, else those of the study"
        return ae_titles(self.aetitle or self.requested_test.aetitle)

    def get_worklist_template_data(self):
        "Return the variables of the worklist template by name"
        template = template_of(self)
        data = template_data(self, template)
        if template.value_mode == 'gnuhealth5':
            data.update(values_5_0.values(self))
        return data

    @classmethod
    def get_worklist_sample_data(cls, template):
        "Return the same variables for a made-up request"
        return sample_data(cls, template)

    def get_worklist_items(self):
        "Return the rendered items, one for each station"
        template = template_of(self)
        if not template:
            return []
        data = self.get_worklist_template_data()
        stations = self.worklist_stations
        variants = [data]
        if len(stations) > 1:
            variants = [
                dict(data, ScheduledStationAETitle=s) for s in stations]
        items = [template.render(v) for v in variants]
        shared = self._worklist_shared_step(template)
        if shared:
            for item in items:
                item.findings.append(Finding(
                        'warning', 'ScheduledProcedureStepID', 'shared',
                        ', '.join(shared)))
        if template.value_mode == 'standard' and not time_zone(self):
            for item in items:
                item.findings.append(Finding(
                        'warning', 'TimezoneOffsetFromUTC', 'time_zone', ''))
        return items

    def _worklist_shared_step(self, template):
        "Return the lines of other requests that have the same step ID"
        lines = self._worklist_known('_worklist_orders').get(self.request, {})
        return sorted(
            line or '' for id_, line in lines.items()
            if id_ != self.id and (
                template.value_mode == 'gnuhealth5'
                or line == self.request_line))

    @classmethod
    def worklist_context(cls, requests):
        "Return what a batch looks up once"
        orders = defaultdict(dict)
        for request in cls.search([
                    ('request', 'in', list({r.request for r in requests})),
                    ('state', '=', 'requested'),
                    ('worklist_status', '=', 'todo'),
                    ]):
            orders[request.request][request.id] = request.request_line
        return {
            '_worklist_time_zones': time_zones(requests),
            '_worklist_orders': orders,
            }

    def _worklist_known(self, name):
        known = Transaction().context.get(name)
        if known is None:
            known = self.worklist_context([self])[name]
        return known

    @classmethod
    def _worklist_rendered(cls, requests):
        "Return each request with its items, the same whoever asks for them"
        Configuration = Pool().get('ir.configuration')
        with without_check_access(), Transaction().set_context(
                language=Configuration.get_language()):
            requests = cls.browse(requests)
            with Transaction().set_context(cls.worklist_context(requests)):
                return [(r, r._worklist_guarded()) for r in requests]

    def _worklist_guarded(self):
        "Return the items; what nobody foresaw stops no other request"
        try:
            return self.get_worklist_items()
        except backend.DatabaseOperationalError:
            raise
        except Exception as e:
            logger.error("worklist item of request %s: %s", self.id, where(e))
            return [Item(None, None, [
                        Finding('error', '', 'failed', type(e).__name__)], '')]
