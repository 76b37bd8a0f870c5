# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"What a person sees of a request's worklist item"
from trytond.i18n import gettext
from trytond.model import ModelStorage, ModelView, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval, If

from . import dataset
from .template import finding_line


class ImagingRequest(metaclass=PoolMeta):
    __name__ = 'gnuhealth.imaging.test.request'

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
        cls._buttons.update({
                'refresh_worklist': {
                    'invisible': ~Eval('show_worklist_text'),
                    'depends': ['show_worklist_text'],
                    },
                })

    @staticmethod
    def default_show_worklist_text():
        return False

    @classmethod
    def copy(cls, requests, default=None):
        default = default.copy() if default is not None else {}
        default.setdefault('show_worklist_text', False)
        return super().copy(requests, default=default)

    @classmethod
    def view_attributes(cls):
        hidden = {'invisible': ~Eval('show_worklist_text')}
        return super().view_attributes() + [
            ('//page[@name="worklist_attributes"]', 'states', hidden,
                ['show_worklist_text']),
            ('//page[@name="worklist_text"]', 'states', hidden,
                ['show_worklist_text']),
            ]

    @classmethod
    @ModelView.button
    def refresh_worklist(cls, requests):
        "The client reads the record again"

    @classmethod
    def get_worklist(cls, requests, names):
        empty = {'worklist_attributes': []}
        result = {
            name: {r.id: empty.get(name) for r in requests} for name in names}
        if not cls._may_preview():
            return result
        for request, items in cls._worklist_rendered(requests):
            lines = request._worklist_publication(items)
            rows = []
            if items:
                findings = {f: None for i in items for f in i.findings}
                lines += map(finding_line, findings)
                rows = item_rows(items[0])
            values = {
                'worklist_text': items[0].text if items else None,
                'worklist_findings': '\n'.join(lines),
                'worklist_attributes': WorklistAttribute.ids(
                    request.id, len(rows)),
                }
            for name in names:
                result[name][request.id] = values[name]
        return result

    @classmethod
    def _may_preview(cls):
        """Return whether the user may see items

        They hold more of the patient than the request does: who only reads
        requests, such as the front desk, may not.
        """
        ModelAccess = Pool().get('ir.model.access')
        return ModelAccess.get_access([cls.__name__])[cls.__name__]['write']

    def _worklist_publication(self, items):
        "Return the sentences that say whether modalities see the request"
        if not items:
            reason = 'no_template'
        elif self.state != 'requested':
            reason = 'not_requested'
        elif self.worklist_status != 'todo':
            reason = 'not_todo'
        elif all(i.has_errors for i in items):
            reason = 'errors'
        else:
            reason = 'published'
        lines = [gettext(
                'health_imaging_worklist.msg_publication_%s' % reason,
                request=self.rec_name)]
        if len(items) > 1:
            lines.append(gettext(
                    'health_imaging_worklist.msg_publication_stations',
                    stations=', '.join(self.worklist_stations)))
        return lines


def item_rows(item):
    "Return the rows of the readable attribute table"
    return [] if item.dataset is None else list(dataset.rows(item.dataset))


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
        requests = []
        if Request._may_preview():
            requests = Request.search([('id', 'in', list(wanted))])
        tables = {
            request.id: item_rows(items[0])
            for request, items in Request._worklist_rendered(requests)
            if items}
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
