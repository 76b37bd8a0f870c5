# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import re
import uuid

from trytond import backend
from trytond.config import config
from trytond.i18n import gettext
from trytond.model import (
    Index, ModelStorage, ModelView, Workflow, fields)
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval, If
from trytond.rpc import RPC
from trytond.tools import grouped_slice
from trytond.transaction import Transaction, without_check_access

from . import dataset
from .attributes import SECTION, template_data, time_zone, time_zones
from .catalogue import HELP_AE_TITLE, check_ae_title
from .conformance import Finding
from .exceptions import UIDError
from .template import sentence

_UID = re.compile(r'(0|[1-9]\d*)(\.(0|[1-9]\d*))+')
# What one batch may hold
MAX_ITEMS = 1000


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
        help=HELP_AE_TITLE + "\nLeave empty to use the one of the study.")
    show_worklist_text = fields.Boolean("Worklist Preview")
    worklist_text = fields.Function(
        fields.Text("Worklist text"), 'get_worklist')
    worklist_findings = fields.Function(
        fields.Text("Worklist check"), 'get_worklist')
    worklist_attributes = fields.Function(
        fields.One2Many(
            'gnuhealth.imaging_worklist.attribute', None, "Attributes"),
        'get_worklist')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_indexes.update({
                Index(t, (t.merge_id, Index.Equality())),
                Index(t, (t.worklist_status, Index.Equality())),
                })
        cls._identity_fields = cls._identity_fields | {'merge_id'}
        cls.__rpc__.update({
                'worklist_items': RPC(check_access=True),
                })

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

    @staticmethod
    def default_show_worklist_text():
        return False

    @classmethod
    def view_attributes(cls):
        hidden = {'invisible': ~Eval('show_worklist_text')}
        return super().view_attributes() + [
            ('//group[@id="worklist_preview"]', 'states', hidden,
                ['show_worklist_text']),
            ]

    @classmethod
    def get_worklist(cls, requests, names):
        result = {name: {r.id: None for r in requests} for name in names}
        for request, item in cls._worklist_rendered(requests):
            lines = [request._worklist_publication(item)]
            rows = []
            if item:
                lines += map(_finding_line, item.findings)
                if item.dataset is not None:
                    rows = list(dataset.rows(item.dataset))
            values = {
                'worklist_text': item.text if item else None,
                'worklist_findings': '\n'.join(lines),
                'worklist_attributes': WorklistAttribute.ids(
                    request.id, len(rows)),
                }
            for name in names:
                result[name][request.id] = values[name]
        return result

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
        default.setdefault('show_worklist_text', False)
        return super().copy(requests, default=default)

    @classmethod
    def validate_fields(cls, requests, field_names):
        super().validate_fields(requests, field_names)
        for request in requests:
            if not field_names or 'aetitle' in field_names:
                check_ae_title(request)
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
        cls.write(
            [r for r in requests if not r.worklist_status],
            {'worklist_status': 'todo'})

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
        cls.write(
            [r for r in requests if r.worklist_status == 'todo'],
            {'worklist_status': 'canceled'})

    @classmethod
    @ModelView.button
    @Workflow.transition('draft')
    def draft(cls, requests):
        super().draft(requests)
        cls.write(
            [r for r in requests if r.worklist_status == 'canceled'],
            {'worklist_status': 'todo'})

    def get_result(self):
        result = super().get_result()
        result.merge_id = self.merge_id
        return result

    # What is on the worklist

    def get_worklist_template_data(self):
        "Return the variables of the worklist template by name"
        return template_data(
            self, self.requested_test.imaging_worklist_template)

    def get_worklist_item(self):
        "Return the rendered item, None without a template"
        template = self.requested_test.imaging_worklist_template
        if not template:
            return None
        item = template.render(self.get_worklist_template_data())
        if template.value_mode == 'standard' and not time_zone(self):
            item.findings.append(Finding(
                    'warning', 'TimezoneOffsetFromUTC', 'time_zone', ''))
        return item

    @classmethod
    def _worklist_rendered(cls, requests):
        "Return each request with its item, the same whoever asks for it"
        Configuration = Pool().get('ir.configuration')
        with without_check_access(), Transaction().set_context(
                language=Configuration.get_language()):
            requests = cls.browse(requests)
            with Transaction().set_context(
                    worklist_time_zones=time_zones(requests)):
                return [(r, r.get_worklist_item()) for r in requests]

    def _worklist_publication(self, item):
        "Return the sentence that says whether modalities see the request"
        if item is None:
            reason = 'no_template'
        elif self.state != 'requested':
            reason = 'not_requested'
        elif self.worklist_status != 'todo':
            reason = 'not_todo'
        elif any(f.severity == 'error' for f in item.findings):
            reason = 'errors'
        else:
            reason = 'published'
        return gettext(
            'health_imaging_worklist.msg_publication_%s' % reason,
            request=self.rec_name)

    @classmethod
    def worklist_domain(cls):
        return [
            ('state', '=', 'requested'),
            ('worklist_status', '=', 'todo'),
            ('requested_test.imaging_worklist_template', '!=', None),
            ]

    @classmethod
    def worklist_items(cls, after=None, limit=500):
        """Return a page of what is on the worklist, in the order of the ids

        `next` is what to give as `after` for the next page, None at the end.
        Each item has the id and the order line of its request, `uid`, `type`
        and `charset` and, if it has no errors, `text` (as the template
        renders it) and `dataset` (DICOM JSON model).  `errors` and `warnings`
        name attributes and codes, never values.
        """
        limit = max(1, min(int(limit), MAX_ITEMS))
        domain = cls.worklist_domain()
        if after is not None:
            domain.append(('id', '>', after))
        requests = cls.search(
            domain, order=[('id', 'ASC')], limit=limit + 1)
        page = requests[:limit]
        return {
            'items': [
                request._worklist_answer(item)
                for request, item in cls._worklist_rendered(page)],
            'next': page[-1].id if len(requests) > limit else None,
            }

    def _worklist_answer(self, item):
        template = self.requested_test.imaging_worklist_template
        problems = {'error': [], 'warning': []}
        for finding in item.findings:
            problems[finding.severity].append({
                    'attribute': finding.attribute,
                    'code': finding.code,
                    })
        answer = {
            'id': self.id,
            'line': self.request_line,
            'uid': self.merge_id,
            'type': template.template_type or 'dump2dcm',
            'charset': template.charset,
            'errors': problems['error'],
            'warnings': problems['warning'],
            'text': None,
            'dataset': None,
            }
        if not problems['error']:
            answer['text'] = item.text
            answer['dataset'] = dataset.to_json(item.dataset)
        return answer


def _finding_line(finding):
    return gettext(
        'health_imaging_worklist.msg_%s' % finding.severity,
        finding=sentence(finding))


class WorklistAttribute(ModelStorage, ModelView):
    "Worklist Attribute"
    __name__ = 'gnuhealth.imaging_worklist.attribute'

    tag = fields.Char("Tag", readonly=True)
    keyword = fields.Char("Attribute", readonly=True)
    vr = fields.Char("VR", readonly=True)
    value = fields.Char("Value", readonly=True)
    depth = fields.Integer("Depth", readonly=True)

    # An id tells the request and the row of its table
    _rows = 1024

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree', 'visual', If(Eval('depth', 0) > 0, 'muted', '')),
            ]

    @classmethod
    def ids(cls, request, count):
        first = request * cls._rows
        return list(range(first, first + min(count, cls._rows)))

    @classmethod
    def read(cls, ids, fields_names):
        Request = Pool().get('gnuhealth.imaging.test.request')
        super().read(ids, fields_names)
        wanted = {id_ // cls._rows for id_ in ids}
        # only what the user may read
        requests = Request.search([('id', 'in', list(wanted))])
        tables = {
            request.id: list(dataset.rows(item.dataset))
            for request, item in Request._worklist_rendered(requests)
            if item and item.dataset is not None}
        result = []
        for id_ in ids:
            request, index = divmod(id_, cls._rows)
            row = tables.get(request, [])[index:index + 1]
            values = {'id': id_}
            if row:
                row, = row
                values.update(row._asdict())
                values['keyword'] = (
                    '    ' * row.depth + (row.keyword or row.tag))
            result.append({
                    name: values.get(name)
                    for name in {'id', *(fields_names or cls._fields)}})
        return result
