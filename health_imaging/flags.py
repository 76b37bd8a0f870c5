# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"What people look for among requests: theirs, today's, those with news"
import datetime as dt

from sql import Null

from trytond.model import fields
from trytond.modules.health.core import (
    get_health_professional, get_institution_timezone)
from trytond.pool import Pool, PoolMeta
from trytond.tools import grouped_slice
from trytond.transaction import without_check_access

from .dates import day_bounds


def wanted_values(clause):
    "Return which of True and False a clause on a Boolean asks for"
    _, operator, operand = clause
    values = operand if operator in {'in', 'not in'} else [operand]
    wanted = {bool(v) for v in values}
    if operator in {'!=', 'not in'}:
        return {True, False} - wanted
    return wanted


def search_flag(clause, domain):
    "Return the domain of a clause on a Boolean that is true in the domain"
    wanted = wanted_values(clause)
    if wanted == {True}:
        return domain
    elif wanted == {False}:
        Request = Pool().get('gnuhealth.imaging.test.request')
        return [('id', 'not in', Request.search(domain, query=True))]
    return [] if wanted else [('id', '=', None)]


class ImagingRequest(metaclass=PoolMeta):
    __name__ = 'gnuhealth.imaging.test.request'

    mine = fields.Function(
        fields.Boolean("Requested by me"), 'get_flag', searcher='search_mine')
    today = fields.Function(
        fields.Boolean("Today", help="The study is planned for today."),
        'get_flag', searcher='search_today')
    unread = fields.Function(
        fields.Boolean("Not read", help="There are results to read."),
        'get_flag', searcher='search_unread')

    @classmethod
    @without_check_access
    def get_flag(cls, requests, name):
        flags = {r.id: False for r in requests}
        for sub_requests in grouped_slice(requests):
            flags.update((r.id, True) for r in cls.search([
                        ('id', 'in', [r.id for r in sub_requests]),
                        (name, '=', True)]))
        return flags

    @classmethod
    def search_mine(cls, name, clause):
        return search_flag(clause, [
                ('doctor', '=', get_health_professional(required=False)),
                ('doctor', '!=', None)])

    @classmethod
    def search_today(cls, name, clause):
        zone = get_institution_timezone()
        start, end = day_bounds(dt.datetime.now(zone).date(), zone)
        return search_flag(clause, [
                ('scheduled_date', '>=', start),
                ('scheduled_date', '<', end)])

    @classmethod
    @without_check_access
    def search_unread(cls, name, clause):
        # also for who may not read results
        Result = Pool().get('gnuhealth.imaging.test.result')
        result = Result.__table__()
        # two joins less than by ('results.unread', '=', True)
        unread = result.select(
            result.request,
            where=(result.read_date == Null) & (result.state != 'draft')
            & (result.request != Null))
        return search_flag(clause, [('id', 'in', unread)])
