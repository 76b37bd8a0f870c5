# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a database made with GNU Health 5.0 or older gets at the upgrade

Each step runs before the model's table is updated, since Tryton would fill
a new column of old rows with the default of new ones.
"""
from xml.etree import ElementTree

from sql import Literal, Null
from sql.aggregate import Max

from trytond import backend
from trytond.config import config
from trytond.pool import Pool
from trytond.tools import file_open
from trytond.transaction import Transaction


def health_imaging_first():
    """Update health_imaging where only a module above it is updated.

    trytond-admin updates no module that another one depends on, and takes
    the last -u alone.  Without their columns the models of health_imaging
    cannot be read.  To be called before anything of the other module is
    updated; what was done in the transaction is committed.
    """
    pool = Pool()
    Request = pool.get('gnuhealth.imaging.test.request')
    if not is_5_0(Request):
        return
    transaction = Transaction()
    lang = pool.get('ir.lang').__table__()
    cursor = transaction.connection.cursor()
    cursor.execute(*lang.select(
            lang.code, where=lang.translatable == Literal(True)))
    languages = {code for code, in cursor}
    languages.add(config.get('database', 'language'))
    # The nested update waits for what this transaction has locked
    transaction.commit()
    name = pool.database_name
    loaded = {type_: dict(c) for type_, c in pool._pool[name].items()}
    modules = pool._modules
    try:
        pool.init(update=['health_imaging'], lang=list(languages))
    finally:
        # The update under way goes on with the classes it has set up
        pool._pool[name], pool._modules = loaded, modules


def is_5_0(Request):
    "Tell whether the database was last updated by GNU Health 5.0"
    if not backend.TableHandler.table_exist(Request._table):
        return False
    # A table handler would remember the columns of before the update
    pool = Pool()
    model = pool.get('ir.model').__table__()
    field = pool.get('ir.model.field').__table__()
    cursor = Transaction().connection.cursor()
    cursor.execute(*field.join(model, condition=field.model == model.id)
        .select(
            field.id,
            where=(model.model == Request.__name__)
            & (field.name == 'institution')))
    return not cursor.fetchone()


def _add_column(Model, module, name, value=None):
    "Add the field's column; value(table) is what old rows get"
    if not backend.TableHandler.table_exist(Model._table):
        return
    handler = Model.__table_handler__(module)
    if handler.column_exist(name):
        return
    handler.add_column(name, Model._fields[name]._sql_type)
    if value is not None:
        table = Model.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.update(
                columns=[getattr(table, name)], values=[value(table)]))


def _institution(table):
    "Return the institution of the only company that is one, if it is so"
    pool = Pool()
    company = pool.get('company.company').__table__()
    institution = pool.get('gnuhealth.institution').__table__()
    cursor = Transaction().connection.cursor()
    cursor.execute(*institution.join(
            company, condition=company.party == institution.party)
        .select(institution.id))
    ids = [id_ for id_, in cursor]
    return ids[0] if len(ids) == 1 else Null


def request_columns(Model, module):
    _add_column(Model, module, 'institution', _institution)
    _add_column(
        Model, module, 'scheduled_date', lambda table: table.date)
    if not backend.TableHandler.table_exist(Model._table):
        return
    table = Model.__table__()
    cursor = Transaction().connection.cursor()
    cursor.execute(*table.update(
            columns=[table.urgent], values=[False],
            where=table.urgent == Null))


def result_columns(Model, module):
    _add_column(Model, module, 'institution', _institution)
    _add_column(Model, module, 'state', lambda table: 'reported')
    # GNU Health 5.0 has no mark: what was there counts as read
    _add_column(Model, module, 'read_date', lambda table: table.date)


# What GNU Health 5.0 lets everyone use who has these rights on the models,
# and now is for groups
_granted = [
    ('health_imaging.patient_imaging_test_request', 'ir.action.wizard',
        'gnuhealth.imaging.test.request', 'perm_create'),
    ('health_imaging.menu_patient_imaging_test_request', 'ir.ui.menu',
        'gnuhealth.imaging.test.request', 'perm_create'),
    ('health_imaging.image_request_button', 'ir.model.button',
        'gnuhealth.imaging.test.request', 'perm_write'),
    ('health_imaging.image_generateresults_button', 'ir.model.button',
        'gnuhealth.imaging.test.result', 'perm_create'),
    ('health_imaging.wizard_generate_result', 'ir.action.wizard',
        'gnuhealth.imaging.test.result', 'perm_create'),
    ('health_imaging.imaging_result_report', 'ir.action.report',
        'gnuhealth.imaging.test.result', 'perm_read'),
    ('health_imaging.act_imaging_test_request_view', 'ir.action.act_window',
        'gnuhealth.imaging.test.request', 'perm_read'),
    ('health_imaging.act_imaging_test_request_view2', 'ir.action.act_window',
        'gnuhealth.imaging.test.request', 'perm_read'),
    ('health_imaging.act_imaging_test_result_view', 'ir.action.act_window',
        'gnuhealth.imaging.test.result', 'perm_read'),
    ('health_imaging.act_imaging_test_result_view2', 'ir.action.act_window',
        'gnuhealth.imaging.test.result', 'perm_read'),
    ('health_imaging.act_imaging_test_type_view', 'ir.action.act_window',
        'gnuhealth.imaging.test.type', 'perm_read'),
    ('health_imaging.act_imaging_test_view', 'ir.action.act_window',
        'gnuhealth.imaging.test', 'perm_read'),
    ('health_imaging_worklist.act_imaging_worklist_template_view',
        'ir.action.act_window',
        'gnuhealth.imaging_worklist.worklist_template', 'perm_read'),
    ]
_shipped_groups = [
    ('health', 'group_health_doctor'),
    ('health_imaging', 'group_health_imaging'),
    ('health_imaging', 'group_health_imaging_admin'),
    ]


def from_5_0(Model, module):
    "Called with the request's model before its table is updated"
    if not is_5_0(Model):
        return
    _grant_own_groups()
    _forget_demo_password()
    _hand_over_test_types()
    _add_test_types()


def _grant_own_groups():
    "Keep the groups a hospital made able to do what they could before"
    shipped = {_record(*name) for name in _shipped_groups}
    for fs_id, kind, model, right in _granted:
        record = _record(*fs_id.split('.'))
        if record is None:
            continue
        for group in _groups_with(model, right) - shipped:
            _grant(kind, record, group)


def _forget_demo_password():
    "Nobody logs in with a published password, unless a hospital uses it"
    user = _record('health_imaging', 'user_demo_imaging')
    table = Pool().get('res.user').__table__()
    cursor = Transaction().connection.cursor()
    cursor.execute(*table.update(
            columns=[table.password_hash], values=[Null],
            where=(table.id == user) & (table.active == Literal(False))))


def _hand_over_test_types():
    "Let hospitals change the test types that came with GNU Health 5.0"
    data = Pool().get('ir.model.data').__table__()
    cursor = Transaction().connection.cursor()
    cursor.execute(*data.update(
            columns=[data.noupdate], values=[True],
            where=(data.module == 'health_imaging')
            & (data.model == 'gnuhealth.imaging.test.type')))


def _add_test_types():
    """Add the shipped test types with codes that the hospital does not have

    As test types are the hospital's, updates leave them alone.
    """
    pool = Pool()
    Type = pool.get('gnuhealth.imaging.test.type')
    table = Type.__table__()
    data = pool.get('ir.model.data').__table__()
    cursor = Transaction().connection.cursor()
    cursor.execute(*table.select(table.code))
    codes = {code for code, in cursor}
    for fs_id, values in _shipped_test_types():
        if values['code'] in codes or _record('health_imaging', fs_id):
            continue
        cursor.execute(*table.insert(
                [table.code, table.name, table.active],
                [[values['code'], values['name'], True]]))
        cursor.execute(*table.select(
                Max(table.id), where=table.code == values['code']))
        id_, = cursor.fetchone()
        cursor.execute(*data.insert(
                [data.fs_id, data.module, data.model, data.db_id,
                    data.noupdate],
                [[fs_id, 'health_imaging', Type.__name__, id_, True]]))


def _shipped_test_types():
    "Yield the XML id and the values of each"
    with file_open('health_imaging/catalogue.xml', mode='rb') as file:
        root = ElementTree.parse(file).getroot()
    for record in root.iter('record'):
        if record.get('model') == 'gnuhealth.imaging.test.type':
            yield record.get('id'), {
                field.get('name'): field.text
                for field in record.iter('field')}


def _record(module, fs_id):
    data = Pool().get('ir.model.data').__table__()
    cursor = Transaction().connection.cursor()
    cursor.execute(*data.select(
            data.db_id,
            where=(data.module == module) & (data.fs_id == fs_id)))
    row = cursor.fetchone()
    return row[0] if row else None


def _groups_with(name, right):
    pool = Pool()
    access = pool.get('ir.model.access').__table__()
    model = pool.get('ir.model').__table__()
    cursor = Transaction().connection.cursor()
    cursor.execute(*access.join(model, condition=access.model == model.id)
        .select(
            access.group,
            where=(model.model == name)
            & (access.group != Null)
            & (access.active == Literal(True))
            & (getattr(access, right) == Literal(True))))
    return {group for group, in cursor}


def _grant(kind, record, group):
    pool = Pool()
    cursor = Transaction().connection.cursor()
    if kind == 'ir.model.button':
        table = pool.get('ir.model.button-res.group').__table__()
        columns, values = [table.button, table.active], [record, True]
    elif kind == 'ir.ui.menu':
        table = pool.get('ir.ui.menu-res.group').__table__()
        columns, values = [table.menu], [record]
    else:
        action = pool.get(kind).__table__()
        cursor.execute(*action.select(
                action.action, where=action.id == record))
        record, = cursor.fetchone()
        table = pool.get('ir.action-res.group').__table__()
        columns, values = [table.action], [record]
    cursor.execute(*table.insert(
            columns=columns + [table.group], values=[values + [group]]))
