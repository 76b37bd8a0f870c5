# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a database made with GNU Health 5.0 or older gets at the upgrade

Each step runs before the model's table is updated, since Tryton would fill
a new column of old rows with the default of new ones.
"""
from sql import Null

from trytond import backend
from trytond.transaction import Transaction


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


def request_columns(Model, module):
    _add_column(Model, module, 'institution')
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
    _add_column(Model, module, 'institution')
    _add_column(Model, module, 'state', lambda table: 'reported')
