# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that a client can call, with arguments."""
import hashlib

from rights import RightsMixin, own_classes

from trytond.model import ModelSQL, fields
from trytond.pool import Pool
from trytond.transaction import Transaction

# Names, identifiers and secrets of the records
TELLTALE = (
    'Betz', 'BETZ', 'TST001GNU', 'Cordara', 'a-test-password', 'hushed',
    '001-01', 'TEST001')


def form_values(model, record):
    "What a client's form of the record sends"
    values = {}
    for name, field in model._fields.items():
        if isinstance(field, fields.Function):
            continue
        value = getattr(record, name, None)
        if isinstance(field, fields.Many2One):
            values[name] = value.id if value else None
        elif field._type in {
                'char', 'text', 'date', 'datetime', 'boolean', 'selection'}:
            values[name] = value
    return values


def arguments(model, method, record):
    "Return what a client gives to the method"
    names = list(model._fields)
    ids = [record.id] if record else []
    values = form_values(model, record) if record else {}
    listed = {
        'default_get': [names],
        'fields_get': [],
        'fields_view_get': [None, 'form'],
        'view_toolbar_get': [],
        'on_change': [values, [
                n[len('on_change_'):] for n in dir(model)
                if n.startswith('on_change_')
                and n[len('on_change_'):] in names]],
        'on_change_with': [values, [
                n for n in names if hasattr(model, f'on_change_with_{n}')]],
        'on_change_notify': [values],
        'on_scan_code': [values, "code"],
        'autocomplete': ["a"],
        'pre_validate': [values],
        'read': [ids, names],
        'write': [ids, values],
        'create': [[values]],
        'search': [[]],
        'search_count': [[]],
        'search_read': [[], 0, 10, None, names],
        'export_data': [ids, names],
        'export_data_domain': [[], names],
        'import_data': [['id'], [["x"]]],
        'worklist_items': [],
        'worklist_items_of': [ids],
        'worklist_state': ['host'],
        'worklist_fetched': ['host', 1, 0],
        'carry_links': [ids],
        }
    if method in listed:
        return listed[method]
    if method in getattr(model, '_buttons', {}) or method in {
            'delete', 'copy', 'resources', 'history_revisions'}:
        return [ids]
    if method.startswith(('on_change_', 'autocomplete_')):
        return [values]
    # what fields ask for, such as selections
    return [] if model.__rpc__[method].instantiate is None else [values]


def content(models):
    "Return a digest of all that is stored of the models"
    cursor = Transaction().connection.cursor()
    digest = hashlib.sha256()
    for model in models:
        if issubclass(model, ModelSQL) and not callable(model.table_query):
            cursor.execute(
                f'SELECT * FROM "{model._table}" ORDER BY id')
            digest.update(repr(cursor.fetchall()).encode())
    return digest.hexdigest()


class CallsMixin(RightsMixin):
    "A hospital whose names and secrets would be told"

    def server(self, *args, **values):
        values.update(label="hushed", domain='https://hushed.example.org')
        return super().server(*args, **values)

    def calls(self, records):
        "Yield everything that a client can call, with arguments"
        for name, model in own_classes('model').items():
            for method in sorted(model.__rpc__):
                if method == 'on_scan_code' or (
                        method == 'history_revisions'
                        and not model._history):
                    # Tryton's own, without effect here
                    continue
                yield name, model, method, arguments(
                    model, method, records.get(name)), {}
        result = records['gnuhealth.imaging.test.result']
        Action = Pool().get('ir.action.report')
        for name, report in own_classes('report').items():
            action, = Action.search([('report_name', '=', name)])
            yield name, report, 'execute', [
                [records[action.model].id], {}], {}
        for name, wizard in own_classes('wizard').items():
            for record in [None, result, result.request]:
                context = {'action_id': -1}
                if record:
                    context.update(
                        active_model=record.__name__, active_id=record.id,
                        active_ids=[record.id])
                yield name, wizard, 'create', [], context
                yield name, wizard, 'execute', [-1, {}, 'start'], context
