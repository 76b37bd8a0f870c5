# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carry the tables of GNU Health 5.0 over to the columns of today."""
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from urllib.parse import unquote, urlsplit

from sql import Column, Literal, Null, Table
from sql.aggregate import Count
from sql.conditionals import Case

from trytond import backend
from trytond.pool import Pool
from trytond.tools import grouped_slice
from trytond.transaction import Transaction

from .verify import MARK

# What may hang on a record of any model
_hanging = ['ir.attachment', 'ir.note', 'ir.email']


def merge_duplicates(Model, module, key, links=(), texts=(), children=()):
    """Let one row stand for what Orthanc has once.

    Of the rows with the same columns in key the one with most of the columns
    in links, then in texts, is kept.  It takes over the links that it lacks,
    the texts of all, the rows of the tables in children (pairs of table and
    column) and what hangs on the others.  To be called before the unique
    constraint on the key is added.

    Return the ids of the kept rows whose links another one contradicted.
    """
    table_h = Model.__table_handler__(module)
    if not all(map(table_h.column_exist, key)):
        return []
    links = list(filter(table_h.column_exist, links))
    texts = list(filter(table_h.column_exist, texts))
    kept_ids, contradicted = {}, []
    for rows in _doubled(Model, key, links + texts):
        rows.sort(key=lambda row: (
                -sum(bool(row[n]) for n in links),
                -sum(bool(row[n]) for n in texts), row['id']))
        kept, others = rows[0], rows[1:]
        kept_ids.update((other['id'], kept['id']) for other in others)
        values = {}
        for name in links:
            found = {r[name] for r in rows if r[name]}
            if not kept[name] and found:
                values[name] = next(
                    r[name] for r in rows if r[name])
            if len(found) > 1:
                contradicted.append(kept['id'])
        for name in texts:
            found = dict.fromkeys(
                r[name] for r in sorted(rows, key=itemgetter('id'))
                if r[name])
            if len(found) > 1 or found and not kept[name]:
                separator = (
                    '\n' if Model._fields[name]._type == 'text' else '; ')
                values[name] = separator.join(found)
        if values:
            _update(Model._table, values, [kept['id']])
    for table, column in children:
        _move(table, column, kept_ids)
    for name in _hanging:
        _move(Pool().get(name)._table, 'resource', {
                f'{Model.__name__},{old}': f'{Model.__name__},{new}'
                for old, new in kept_ids.items()})
    table = Table(Model._table)
    cursor = Transaction().connection.cursor()
    for ids in grouped_slice(list(kept_ids)):
        cursor.execute(*table.delete(where=table.id.in_(list(ids))))
    return contradicted


def _doubled(Model, key, names):
    "Yield the rows of each key that several have"
    table, doubled = Table(Model._table), Table(Model._table)
    columns = [Column(doubled, name) for name in key]
    doubled = doubled.select(
        *columns, group_by=columns, having=Count(doubled.id) > 1)
    condition = Literal(True)
    for name in key:
        condition &= Column(table, name) == Column(doubled, name)
    names = ['id', *key, *names]
    columns = [Column(table, name) for name in names]
    cursor = Transaction().connection.cursor()
    cursor.execute(*table.join(doubled, condition=condition).select(
            *columns, order_by=columns[1:len(key) + 1]))
    rows = [dict(zip(names, row)) for row in cursor.fetchall()]
    for _, group in groupby(rows, key=itemgetter(*key)):
        yield list(group)


def _move(table, column, targets):
    "Let the rows refer to what stands for what they referred to"
    table = Table(table)
    column = Column(table, column)
    cursor = Transaction().connection.cursor()
    found = []
    for old in grouped_slice(list(targets)):
        cursor.execute(*table.select(
                table.id, column, where=column.in_(list(old))))
        found += cursor.fetchall()
    for id_, old in found:
        cursor.execute(*table.update(
                [column], [targets[old]], where=table.id == id_))


def _update(table, values, ids):
    table = Table(table)
    Transaction().connection.cursor().execute(*table.update(
            [Column(table, name) for name in values],
            list(values.values()), where=table.id.in_(ids)))


def study_before(Study, module):
    """Turn the URL of the server into a link to it.

    Return None unless the table is one of GNU Health 5.0, else the ids of
    studies with contradicting links.
    """
    table_h = Study.__table_handler__(module)
    if not table_h.column_exist('server'):
        return None
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
    return merge_duplicates(
        Study, module, ['server_config', 'orthanc_UID'],
        links=['patient', 'imaging_test', 'merge_id'],
        texts=['notes', 'merge_comment'],
        children=[('gnuhealth_imaging_orthanc_study_series', 'study')])


def _server_id(url):
    "Return the id of the server with the URL, make an archived one if none"
    Server = Pool().get('gnuhealth.orthanc.config')
    server = Server.__table__()
    cursor = Transaction().connection.cursor()
    # the server's own was taken out of its URL
    url, _, _ = split_credentials(url)
    cursor.execute(*server.select(server.id, server.domain, server.active))
    servers = sorted(
        cursor.fetchall(), key=lambda s: (s[1] != url, not s[2], s[0]))
    for id_, domain, active in servers:
        if domain == url or active and domain.rstrip('/') == url.rstrip('/'):
            return id_
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


def study_after(Study, module, contradicted):
    "Fill the new columns with what the old ones hold"
    table = Study.__table__()
    cursor = Transaction().connection.cursor()
    cursor.execute(*table.select(
            table.date, where=(table.date != Null)
            & (table.study_date == Null), group_by=table.date))
    dates = {text: _parse_date(text) for text, in cursor.fetchall()}
    for texts in grouped_slice([t for t in dates if dates[t]]):
        texts = list(texts)
        cursor.execute(*table.update(
                [table.study_date],
                [Case(*((table.date == t, dates[t]) for t in texts))],
                where=table.date.in_(texts)))
    _link_origins(table, cursor)
    cursor.execute(*table.update(
            [table.to_verify], [True],
            where=table.merge_comment.like(f'%{MARK}%')))
    if contradicted:
        _update(Study._table, {'to_verify': True}, contradicted)
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


def split_credentials(url):
    "Return the URL without user name and password, and both of them"
    try:
        parts = urlsplit(url)
        if parts.username is None and parts.password is None:
            return url, None, None
        netloc = parts.netloc.rpartition('@')[2]
        return (
            parts._replace(netloc=netloc).geturl(),
            unquote(parts.username or '') or None,
            unquote(parts.password or '') or None)
    except ValueError:
        return url, None, None


def credentials_from_urls(Server):
    """Take user name and password out of the URL that everybody reads.

    They serve where the server has none of its own.
    """
    table = Table(Server._table)
    cursor = Transaction().connection.cursor()
    cursor.execute(*table.select(table.id, table.domain, table.user))
    rows = cursor.fetchall()
    urls = {url for _, url, _ in rows}
    for id_, url, user in rows:
        new, url_user, password = split_credentials(url)
        if new == url:
            continue
        while new in urls:
            # one URL is one server; Orthanc does not mind
            new += '/'
        urls.add(new)
        values = {'domain': new}
        if not user:
            values['user'] = url_user
            Server._store_secret([Server(id_)], password)
        _update(Server._table, values, [id_])
