# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from trytond.model import ModelStorage
from trytond.model.modelstorage import is_leaf
from trytond.transaction import Transaction


def looks_inside(domain):
    "Tell whether a clause has a domain for the records of a relation"
    if is_leaf(domain):
        return domain[1].endswith('where')
    return any(
        looks_inside(d) for d in domain if isinstance(d, (list, tuple)))


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


class GuardedSearch:
    """Search that looks for nothing in records the user may not read

    Tryton looks at the rights on dotted names, not on the domain of 'where',
    with which one could guess texts and passwords from any model.
    """
    __slots__ = ()

    @classmethod
    def search(cls, domain, *args, **kwargs):
        transaction = Transaction()
        if (transaction.user and transaction.check_access
                and looks_inside(domain)):
            # looks at the rights only
            ModelStorage.search.__func__(cls, flattened(domain))
        return super().search(domain, *args, **kwargs)
