# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and write many rows by one statement.

Rules, validation and logs are passed by: for tables that mirror something,
not for what people enter.
"""
import datetime as dt

from sql import Cast, Column, Values
from sql.functions import Function

from trytond import backend
from trytond.transaction import Transaction

__all__ = [
    'delete_rows', 'forget', 'insert_rows', 'select_rows', 'update_rows']

# SQLite takes no more parameters in one statement.
MAX_PARAMETERS = 32000


class _Unnest(Function):
    "Arrays as a table: half of the time of a list of rows"
    __slots__ = ()
    _function = 'UNNEST'


def select_rows(table, names, where):
    "Return a dictionary per row"
    cursor = Transaction().connection.cursor()
    cursor.execute(*table.select(
            *(Column(table, n) for n in names), where=where))
    return [dict(zip(names, row)) for row in cursor.fetchall()]


def insert_rows(Model, names, rows, numbered=True):
    """Insert rows of the values of the columns in names.

    Returns
    -------
    list of int
        Their ids, in the same order; none if they are not numbered here.
    """
    transaction = Transaction()
    database, connection = transaction.database, transaction.connection
    cursor = connection.cursor()
    table = Model.__table__()
    head = {'create_uid': transaction.user, 'create_date': dt.datetime.now()}
    size = MAX_PARAMETERS // (len(names) + len(head) + 1)
    result = []
    for start in range(0, len(rows), size):
        part = rows[start:start + size]
        ids = []
        if backend.name == 'postgresql':
            arrays = dict(zip(names, map(list, zip(*part))))
            if numbered:
                # with count 2 at least it is a list
                ids = database.nextid(
                    connection, Model._table, count=max(len(part), 2))
                ids = arrays['id'] = ids[:len(part)]
            values = _Unnest(*(Cast(array, _type(Model, n) + '[]')
                    for n, array in arrays.items()))
            cursor.execute(*table.insert(
                    [Column(table, n) for n in [*head, *arrays]],
                    values.select(
                        *(Cast(v, _type(Model, n)) for n, v in head.items()),
                        Column(values, '*'))))
        else:
            # SQLite numbers the rows of one statement in their order.
            cursor.execute(*table.insert(
                    [Column(table, n) for n in [*head, *names]],
                    [[*head.values(), *row] for row in part]))
            last = database.lastid(cursor)
            ids = range(last - len(part) + 1, last + 1)
        result += ids
    return result


def _type(Model, name):
    return Model._fields[name].sql_type().base


def update_rows(Model, names, rows):
    "Update rows of an id and the values of the columns in names"
    transaction = Transaction()
    cursor = transaction.connection.cursor()
    names = [*names, 'write_uid', 'write_date']
    tail = [transaction.user, dt.datetime.now()]
    size = MAX_PARAMETERS // (len(names) + 1)
    for start in range(0, len(rows), size):
        table = Model.__table__()
        part = [list(row) + tail for row in rows[start:start + size]]
        ids = [row[0] for row in part]
        if backend.name == 'postgresql':
            # The first row gives the columns their types.
            part[0] = [
                Cast(value, _type(Model, name))
                for name, value in zip(['id', *names], part[0])]
        values = Values(part)
        cursor.execute(*table.update(
                [Column(table, n) for n in names],
                [Column(values, 'column%d' % i)
                    for i in range(2, len(names) + 2)],
                from_=[values],
                where=table.id == Column(values, 'column1')))
        forget(Model, ids)


def delete_rows(Model, ids):
    cursor = Transaction().connection.cursor()
    table = Model.__table__()
    for start in range(0, len(ids), MAX_PARAMETERS):
        part = ids[start:start + MAX_PARAMETERS]
        cursor.execute(*table.delete(where=table.id.in_(part)))
        forget(Model, part)


def forget(Model, ids=None):
    "Drop what the transaction remembers of records, of all without ids"
    for cache in list(Transaction().cache.values()):
        if Model.__name__ in cache:
            records = cache[Model.__name__]
            for id_ in list(records) if ids is None else ids:
                records.pop(id_, None)
