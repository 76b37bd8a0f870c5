# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a database holds, as its own modules read it.

Knows trytond, but none of the imaging modules: the interpreters of GNU
Health 5.0.4 and of the suite both run it.
"""
import datetime as dt
import hashlib
import json
import re
from contextlib import contextmanager

# Models of the core that hold what a hospital made
SHARED = [
    'ir.action', 'ir.action-res.group', 'ir.action.act_window',
    'ir.action.act_window.domain', 'ir.action.act_window.view',
    'ir.action.keyword', 'ir.action.report', 'ir.action.wizard',
    'ir.attachment', 'ir.export', 'ir.export.line', 'ir.model.access',
    'ir.model.button', 'ir.model.button-res.group', 'ir.model.data',
    'ir.model.field.access', 'ir.note', 'ir.rule', 'ir.rule.group',
    'ir.rule.group-res.group', 'ir.sequence', 'ir.sequence.type',
    'ir.translation', 'ir.ui.menu', 'ir.ui.menu-res.group', 'ir.ui.view',
    'ir.ui.view_search', 'res.group', 'res.user', 'res.user-res.group',
    'gnuhealth.command', 'gnuhealth.healthprofessional', 'gnuhealth.patient',
    'gnuhealth.sequences', 'party.party', 'product.category',
    'product.product', 'product.template',
    ]
MODULES = ('health_imaging', 'health_imaging_worklist', 'health_orthanc')
COMPUTED = {
    'gnuhealth.imaging_orthanc.study': [
        'gnuhealth_patient_name', 'link_base_url', 'ohif_viewer_link',
        'stone_viewer_link'],
    'gnuhealth.imaging_orthanc.study_series': ['server', 'stone_viewer_link'],
    'gnuhealth.imaging_orthanc.series_instances': ['server'],
    'gnuhealth.orthanc.config': ['link', 'link_base_url'],
    'ir.attachment': ['data'],
    'ir.sequence': ['number_next'],
    }


@contextmanager
def opened(database, configuration, readonly=True, **extras):
    "Let the administrator work in the database, with the right to all"
    from trytond.config import config
    config.update_etc(configuration)
    from trytond.pool import Pool
    from trytond.transaction import Transaction
    Pool(database).init()
    with Transaction().start(
            database, 1, readonly=readonly, **extras) as transaction:
        User = Pool().get('res.user')
        company = User(1).company
        with transaction.set_context(
                active_test=False, company=company.id if company else None):
            yield transaction


def fields_of(Model):
    "Return the names of what the model keeps"
    from trytond.model import fields
    names = [
        name for name, field in Model._fields.items()
        if not isinstance(field, (
                fields.Function, fields.One2Many, fields.Many2Many))]
    return sorted(names + COMPUTED.get(Model.__name__, []))


def own_models():
    "Return the names of the stored models that the modules bring"
    from trytond.model import ModelSQL
    from trytond.pool import Pool
    return sorted({
            cls.__name__ for module in MODULES
            for cls in Pool.classes['model'][module]
            if issubclass(Pool().get(cls.__name__), ModelSQL)})


def plain(value):
    if isinstance(value, (bytes, bytearray)):
        return hashlib.sha256(value).hexdigest()
    if isinstance(value, (dt.date, dt.datetime, dt.time, dt.timedelta)):
        return str(value)
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)


def read(wanted=None):
    """Return {model: {id: {field: value}}}.

    `wanted` maps models to their fields; by default all that is kept.
    """
    from trytond.model import ModelSingleton
    from trytond.pool import Pool
    pool = Pool()
    if wanted is None:
        wanted = {
            name: fields_of(pool.get(name))
            for name in sorted({*own_models(), *SHARED})}
    result = {}
    for name, names in wanted.items():
        Model = pool.get(name)
        ids = [r.id for r in Model.search([], order=[('id', 'ASC')])]
        if issubclass(Model, ModelSingleton) and not Model.get_singleton():
            # what is read is but the defaults
            ids = []
        result[name] = {
            str(row['id']): {field: plain(row[field]) for field in names}
            for row in (Model.read(ids, names) if ids else [])}
    return result


def worklist():
    "Return the text of each request that has a worklist template"
    from trytond.pool import Pool
    Request = Pool().get('gnuhealth.imaging.test.request')
    requests = Request.search([
            ('requested_test.imaging_worklist_template', '!=', None)],
        order=[('id', 'ASC')])
    return {str(r.id): r.worklist_text for r in requests}


def openable():
    """Return what each user can open, as pairs of model and type of view.

    As a client does: the view, its fields and the names of what they refer
    to, for the first records.
    """
    from trytond.pool import Pool
    from trytond.transaction import Transaction
    User = Pool().get('res.user')
    result = {}
    for user in User.search([('login', 'like', 'user%')]):
        result[user.login] = opened_views = []
        for name in filter(re.compile('gnuhealth').match, own_models()):
            for type_ in ('tree', 'form'):
                with Transaction().set_user(user.id), \
                        Transaction().set_context(
                            User.get_preferences(context_only=True),
                            _check_access=True):
                    try:
                        _open(Pool().get(name), type_)
                    except Exception:
                        # some of 5.0.4's computed fields fail
                        continue
                opened_views.append([name, type_])
    return result


def _open(Model, type_, records=None):
    view = Model.fields_view_get(None, type_)
    if records is None:
        records = [r.id for r in Model.search([], limit=3)]
    _read(Model, records, view['fields'])


def _read(Model, ids, definitions):
    from trytond.pool import Pool
    # a picture would be fetched from its server
    names = [n for n in definitions if definitions[n]['type'] != 'binary']
    names += [
        f'{name}.rec_name' for name, definition in definitions.items()
        if definition['type'] == 'many2one']
    for row in Model.read(ids, names):
        for name, definition in definitions.items():
            views = definition.get('views') or {}
            if row.get(name) and 'tree' in views:
                _read(
                    Pool().get(definition['relation']), list(row[name]),
                    views['tree']['fields'])


def save(path, **parts):
    with open(path, 'w', encoding='utf-8') as file:
        json.dump(parts, file, ensure_ascii=False)
