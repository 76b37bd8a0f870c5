# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""
Versions of worklist items, without rendering them.

The version of a request stands for the rows that its item is made of: when
each of them was written.  Versions are compared for equality and never put in
order, so no clock and no late transaction can hide a change.
"""
from collections import namedtuple
from functools import reduce
from hashlib import blake2b

from sql import Literal
from sql.conditionals import Coalesce
from sql.operators import Concat

from trytond.config import config
from trytond.model import ModelSQL, fields
from trytond.modules import get_module_info
from trytond.pool import Pool
from trytond.transaction import Transaction

from .attributes import SECTION

# What the variables of templates are taken from: links, seen from the
# request, and names that are translated
SOURCES = {
    'patient.party.person_names',
    'requested_test.name',
    'requested_test.test_type',
    'requested_test.imaging_worklist_template',
    'doctor.party.person_names',
    'doctor.main_specialty.specialty.name',
    'doctor.institution.party',
    'referring_professional.party.person_names',
    'institution.party',
    'context.name',
    }


Reverse = namedtuple('Reverse', 'model field')
Reverse.__doc__ = "A link that is not a field: the model's records, by theirs."


def short_digest(lines):
    "Return a short text that stands for the lines"
    return blake2b(
        '\n'.join(lines).encode(), digest_size=8).hexdigest()


def request_versions(ids, sources, language):
    """Return the version of each request by its id

    Parameters
    ----------
    ids : sql.Select
        The ids of the requests.
    sources : iterable of str or tuple
        Paths like those of `SOURCES`; tuples of their names, too, where
        one may be a `Reverse`.
    language : str
        The language of the names that are translated.
    """
    Request = Pool().get('gnuhealth.imaging.test.request')
    common = _common(language)
    rows = {}
    queries = [((), _tree(sources))]
    cursor = Transaction().connection.cursor()
    while queries:
        query, below = _query(Request, ids, *queries.pop(), language)
        queries.extend(below)
        cursor.execute(*query)
        for id_, row in cursor:
            rows.setdefault(id_, []).append(row)
    return {id_: short_digest([common, *sorted(r)]) for id_, r in rows.items()}


def _common(language):
    "Return what all items depend on"
    Company = Pool().get('company.company')
    table = Company.__table__()
    cursor = Transaction().connection.cursor()
    cursor.execute(*table.select(_stamp(table), order_by=table.id))
    version = get_module_info('health_imaging_worklist')['version']
    zone = config.get(SECTION, 'timezone', default='')
    return ' '.join([version, language, zone, *(stamp for stamp, in cursor)])


def _tree(paths):
    tree = {}
    for path in paths:
        node = tree
        for name in path.split('.') if isinstance(path, str) else path:
            node = node.setdefault(name, {})
    return tree


def _query(Request, ids, path, tree, language):
    """Return a query of the rows at the end of the path, and what is left

    The tree holds what is below the path.  Links to several records are left
    for queries of their own, so that rows do not multiply.
    """
    root = Request.__table__()
    joined = _Joined(root, language)
    Model, table = Request, root
    for name in path:
        Model, table = joined.follow(Model, table, name)
    stamps, left = [], []

    def collect(Model, table, tree, path):
        stamps.append(_stamp(table))
        for name, below in sorted(tree.items(), key=str):
            here = (*path, name)
            if isinstance(name, Reverse):
                left.append((here, below))
                continue
            field = Model._fields.get(name)
            if isinstance(field, (fields.One2Many, fields.Many2Many)):
                if _stored(field.get_target()):
                    left.append((here, below))
            elif isinstance(field, fields.Many2One):
                if _stored(field.get_target()):
                    collect(*joined.follow(Model, table, name), below, here)
            elif getattr(field, 'translate', False):
                stamps.append(_stamp(joined.translation(Model, table, name)))

    collect(Model, table, tree, path)
    return joined.tables.select(
        root.id, reduce(Concat, stamps), where=root.id.in_(ids)), left


def _stamp(table):
    "Return the SQL text of which row it is and when it was written"
    written = Coalesce(table.write_date, table.create_date)
    return Concat(
        Concat(Coalesce(table.id.cast('VARCHAR'), ''), Literal('@')),
        Concat(Coalesce(written.cast('VARCHAR'), ''), Literal(' ')))


def _stored(Model):
    return (issubclass(Model, ModelSQL)
        and not callable(getattr(Model, 'table_query', None)))


class _Joined:
    "Tables joined by links"

    def __init__(self, root, language):
        self.tables = root
        self.language = language

    def _join(self, table, condition):
        self.tables = self.tables.join(table, 'LEFT', condition=condition)
        return table

    def follow(self, Model, table, name):
        "Return the model and the table behind the link"
        if isinstance(name, Reverse):
            Target = Pool().get(name.model)
            target = Target.__table__()
            origin = Target._fields[name.field].sql_column(target)
            self._join(target, origin == table.id)
            return Target, target
        field = Model._fields[name]
        Target = field.get_target()
        target = Target.__table__()
        if isinstance(field, fields.Many2One):
            condition = field.sql_column(table) == target.id
        elif isinstance(field, fields.Many2Many):
            Relation = field.get_relation()
            relation = Relation.__table__()
            origin = getattr(Relation, field.origin).sql_column(relation)
            self._join(relation, origin == table.id)
            condition = target.id == getattr(
                Relation, field.target).sql_column(relation)
        else:
            origin = Target._fields[field.field].sql_column(target)
            if Target._fields[field.field]._type == 'reference':
                condition = origin == Concat(
                    Literal(Model.__name__ + ','), table.id.cast('VARCHAR'))
            else:
                condition = origin == table.id
        self._join(target, condition)
        return Target, target

    def translation(self, Model, table, name):
        translation = Pool().get('ir.translation').__table__()
        return self._join(translation,
            (translation.name == '%s,%s' % (Model.__name__, name))
            & (translation.type == 'model')
            & (translation.lang == self.language)
            & (translation.res_id == table.id))
