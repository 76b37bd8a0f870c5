# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carry the tables of GNU Health 5.0 over to the columns of today."""
from datetime import datetime

from sql import Column, Literal, Null, Table
from sql.aggregate import Count

from trytond import backend
from trytond.pool import Pool
from trytond.transaction import Transaction


def remove_duplicates(Model, module, key, work):
    """Delete rows that stand for the same resource of Orthanc.

    The row with most of the columns in work filled is kept; it takes over
    what only the others have. To be called before the unique constraint on
    the columns in key is added.
    """
    table_h = Model.__table_handler__(module)
    if not all(map(table_h.column_exist, key)):
        return
    work = [c for c in work if table_h.column_exist(c)]
    table = Table(Model._table)
    cursor = Transaction().connection.cursor()
    key_columns = [Column(table, c) for c in key]
    doubled = table.select(
        *key_columns, group_by=key_columns, having=Count(table.id) > 1)
    cursor.execute(*doubled)
    for values in cursor.fetchall():
        where = Literal(True)
        for column, value in zip(key_columns, values):
            where &= column == value
        cursor.execute(*table.select(
                table.id, *(Column(table, c) for c in work),
                where=where, order_by=table.id))
        rows = sorted(
            cursor.fetchall(), key=lambda r: -sum(map(bool, r[1:])))
        kept, others = rows[0], rows[1:]
        filled = {}
        for i, name in enumerate(work, 1):
            if not kept[i]:
                for other in others:
                    if other[i]:
                        filled[name] = other[i]
                        break
        if filled:
            cursor.execute(*table.update(
                    [Column(table, c) for c in filled],
                    list(filled.values()), where=table.id == kept[0]))
        cursor.execute(*table.delete(
                where=table.id.in_([r[0] for r in others])))


def study_before(Study, module):
    """Turn the URL of the server into a link to it.

    Return True if the table is one of GNU Health 5.0.
    """
    table_h = Study.__table_handler__(module)
    if not table_h.column_exist('server'):
        return False
    table_h.drop_constraint('studyUID_unique')
    table_h.not_null_action('server', action='remove')
    table_h.add_column('server_config', 'INTEGER')
    table = Table(Study._table)
    cursor = Transaction().connection.cursor()
    cursor.execute(*table.select(
            table.server, where=table.server_config == Null,
            group_by=table.server))
    for url, in cursor.fetchall():
        cursor.execute(*table.update(
                [table.server_config], [_server_id(url)],
                where=table.server == url))
    remove_duplicates(
        Study, module, ['server_config', 'orthanc_UID'],
        ['patient', 'imaging_test', 'notes', 'merge_comment', 'merge_id'])
    return True


def _server_id(url):
    "Return the id of the server with the URL, make an archived one if none"
    Server = Pool().get('gnuhealth.orthanc.config')
    server = Server.__table__()
    cursor = Transaction().connection.cursor()
    cursor.execute(*server.select(server.id, server.domain))
    ids = {}
    for id_, domain in cursor:
        ids.setdefault(domain.rstrip('/'), id_)
    try:
        return ids[url.rstrip('/')]
    except KeyError:
        pass
    cursor.execute(*server.select(server.label))
    labels = {label for label, in cursor}
    label, number = url, 1
    while label in labels:
        number += 1
        label = f'{url} ({number})'
    cursor.execute(*server.insert(
            [server.label, server.domain, server.validated, server.active],
            [[label, url, False, False]]))
    cursor.execute(*server.select(
            server.id, where=server.label == label))
    id_, = cursor.fetchone()
    return id_


def study_after(Study, module):
    "Fill the new columns with what the old ones hold"
    table = Study.__table__()
    cursor = Transaction().connection.cursor()
    cursor.execute(*table.select(
            table.date, where=(table.date != Null)
            & (table.study_date == Null), group_by=table.date))
    for text, in cursor.fetchall():
        date = _parse_date(text)
        if date:
            cursor.execute(*table.update(
                    [table.study_date], [date], where=table.date == text))
    _link_origins(table, cursor)
    table_h = Study.__table_handler__(module)
    table_h.drop_column('server')


def _link_origins(table, cursor):
    "A link that the merge id explains is by UID, any other is a person's"
    Result = Pool().get('gnuhealth.imaging.test.result')
    result = Result.__table__()
    cursor.execute(*table.update(
            [table.request],
            [result.select(
                    result.request, where=result.id == table.imaging_test)],
            where=(table.imaging_test != Null) & (table.request == Null)))
    linked = (table.patient != Null) | (table.imaging_test != Null)
    cursor.execute(*table.update(
            [table.link_origin], ['person'], where=linked))
    handler = backend.TableHandler(Result)
    if handler.column_exist('merge_id'):
        merge_id = result.select(
            result.merge_id, where=result.id == table.imaging_test)
        cursor.execute(*table.update(
                [table.link_origin], ['uid'],
                where=linked & (table.merge_id == merge_id)))


def _parse_date(text):
    for format_ in ['%Y%m%d', '%Y-%m-%d', '%Y.%m.%d']:
        try:
            return datetime.strptime(text.strip()[:10], format_).date()
        except ValueError:
            continue


def cursors_from_servers(Cursor):
    """Take over how far each server was synchronized by GNU Health 5.0.

    Nothing says that what came before is complete.
    """
    Server = Pool().get('gnuhealth.orthanc.config')
    server_h = backend.TableHandler(Server)
    if not server_h.column_exist('last_changed_index'):
        return
    cursor = Transaction().connection.cursor()
    # The column is not among the fields of the server.
    server = Table(Server._table)
    table = Cursor.__table__()
    cursor.execute(*table.insert(
            [table.server, table.change_seq, table.complete],
            server.select(
                server.id, server.last_changed_index, Literal(False),
                where=server.last_changed_index != Null)))
    server_h.drop_column('last_changed_index')
