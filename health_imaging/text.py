# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Texts that no database can hold are refused before they get there

JSON carries the NUL and halves of surrogate pairs, PostgreSQL stores neither.
"""
import re

from trytond.i18n import gettext
from trytond.model.modelstorage import is_leaf

from .exceptions import TextError
from .search import leaves

_IMPOSSIBLE = re.compile('[\0\ud800-\udfff]')


def is_impossible(value):
    if isinstance(value, str):
        return bool(_IMPOSSIBLE.search(value))
    if isinstance(value, dict):
        return any(map(is_impossible, (*value.keys(), *value.values())))
    if isinstance(value, (list, tuple)):
        return any(map(is_impossible, value))
    return False


class GuardedText:
    "Records and searches without characters that no database can hold"
    __slots__ = ()

    @classmethod
    def create(cls, vlist):
        vlist = list(vlist)
        for values in vlist:
            cls._check_characters(values)
        return super().create(vlist)

    @classmethod
    def write(cls, *args):
        for values in args[1::2]:
            cls._check_characters(values)
        super().write(*args)

    @classmethod
    def search(cls, domain, *args, **kwargs):
        for clause in filter(is_leaf, leaves(domain)):
            cls._check_characters({clause[0].split('.')[0]: clause[2]})
        return super().search(domain, *args, **kwargs)

    @classmethod
    def _check_characters(cls, values):
        for name, value in values.items():
            field = cls._fields.get(name)
            # the records of a relation look after themselves
            if field and field._type in {'one2many', 'many2many'}:
                continue
            if is_impossible(value):
                raise TextError(gettext(
                        'health_imaging.msg_text_impossible',
                        **(cls.__names__(name) if field else {
                                'field': ascii(name),
                                'model': cls.__name__})))
