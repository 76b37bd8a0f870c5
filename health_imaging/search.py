# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from decimal import Decimal

from sql import Expression, Query

from trytond.i18n import gettext
from trytond.model import ModelStorage, fields
from trytond.model.modelstorage import is_leaf
from trytond.transaction import Transaction

from .exceptions import SearchError

_COMPARE = {'=', '!=', 'in', 'not in'}
_LIKE = {'like', 'not like', 'ilike', 'not ilike'}
_ORDER = {'<', '>', '<=', '>='}
# What searchers can be asked, by the type of their field
_OPERATORS = {
    'boolean': _COMPARE,
    'char': _COMPARE | _LIKE | _ORDER,
    'integer': _COMPARE | _ORDER,
    'many2one': _COMPARE | _LIKE,
    'selection': _COMPARE | _LIKE,
    }
_VALUES = {
    'boolean': (bool, int),
    'char': str,
    'integer': (int, float, Decimal),
    'many2one': int,
    'selection': str,
    }


def looks_inside(domain):
    "Tell whether a clause has a domain for the records of a relation"
    return any(
        is_leaf(clause) and clause[1].endswith('where')
        for clause in leaves(domain))


def leaves(domain):
    "Yield the clauses of the domain, and what is none"
    if is_leaf(domain) or not isinstance(domain, (list, tuple)):
        yield domain
        return
    for number, part in enumerate(domain):
        if number or part not in ['AND', 'OR']:
            yield from leaves(part)


def flattened(domain, prefix=''):
    "Return the domain with dotted names instead of domains for relations"
    if not is_leaf(domain):
        return [
            flattened(d, prefix) if isinstance(d, (list, tuple)) else d
            for d in domain]
    name, operator, operand, *extra = domain
    if operator.endswith('where'):
        return flattened(operand, f'{prefix}{name}.')
    return (prefix + name, operator, operand, *extra)


def is_understood(type_, operator, operand, extra=()):
    "Tell whether the searcher of a field of that type has an answer"
    if type_ not in _OPERATORS or isinstance(operand, (Expression, Query)):
        return True
    if operator not in _OPERATORS[type_]:
        # those of trees say which tree
        return (
            type_ == 'many2one' and operator.endswith('_of') and bool(extra))
    if operator in _LIKE:
        return isinstance(operand, str)
    if operator in {'in', 'not in'}:
        if not isinstance(operand, (list, tuple, set)):
            return False
        return all(v is None or _is_value(type_, v) for v in operand)
    if type_ == 'many2one' and isinstance(operand, str):
        return True
    return (
        operand is None and operator not in _ORDER
        or _is_value(type_, operand))


def _is_value(type_, value):
    return isinstance(value, _VALUES[type_]) and (
        type_ == 'boolean' or not isinstance(value, bool))


def check_searchers(Model, domain):
    """Raise SearchError for what is no domain or cannot be answered

    That is what the searchers of Function fields have no answer for, and
    domains for the records of what is no relation.
    """
    for clause in leaves(domain):
        if not is_leaf(clause):
            raise SearchError(gettext(
                    'health_imaging.msg_search_no_domain',
                    **Model.__names__()))
        name, operator, operand, *extra = clause
        Target, field = _field(Model, name)
        if field is None:
            continue
        understood = True
        if operator.endswith('where'):
            understood = (
                hasattr(field, 'get_target')
                and isinstance(operand, (list, tuple)))
            if understood:
                check_searchers(field.get_target(), operand)
        elif isinstance(field, fields.Function) and field.searcher:
            understood = is_understood(field._type, operator, operand, extra)
        if not understood:
            raise SearchError(gettext(
                    'health_imaging.msg_search_not_understood',
                    operator=operator, **Target.__names__(field.name)))


def _field(Model, name):
    "Return the last field of a dotted name and its model, None for another"
    *path, last = name.split('.')
    for step in path:
        field = Model._fields.get(step)
        if not hasattr(field, 'get_target'):
            return None, None
        Model = field.get_target()
    return Model, Model._fields.get(last)


class GuardedSearch:
    """Search that looks for nothing in records the user may not read

    Tryton looks at the rights on dotted names, not on the domain of 'where',
    with which one could guess texts and passwords from any model.
    """
    __slots__ = ()

    @classmethod
    def search(cls, domain, *args, **kwargs):
        transaction = Transaction()
        if transaction.user and transaction.check_access:
            check_searchers(cls, domain)
            if looks_inside(domain):
                # looks at the rights only
                ModelStorage.search.__func__(cls, flattened(domain))
        return super().search(domain, *args, **kwargs)
