# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"The numbers of orders and of the lines in them"
from collections import defaultdict

from trytond.i18n import gettext
from trytond.pool import PoolMeta
from trytond.tools import grouped_slice
from trytond.transaction import Transaction, without_check_access

from .configuration import next_numbers
from .exceptions import OrderLineError, OrderNumberError


class ImagingRequest(metaclass=PoolMeta):
    __name__ = 'gnuhealth.imaging.test.request'

    @classmethod
    def create(cls, vlist):
        vlist = [values.copy() for values in vlist]
        cls._number(vlist)
        return super().create(vlist)

    @classmethod
    def new_orders(cls, count=1):
        "Return the numbers of new orders"
        return next_numbers('imaging_req_seq', count)

    @classmethod
    def _number(cls, vlist):
        "Give each of the values an order and its line in the order"
        without = [v for v in vlist if not v.get('request')]
        for values, order in zip(without, cls.new_orders(len(without))):
            values['request'] = order
        lines = [v for v in vlist if not v.get('request_line')]
        last = cls._last_lines({v['request'] for v in vlist})
        for values in lines:
            order = values['request']
            last[order] = last.get(order, 0) + 1
            values['request_line'] = f'{order}-{last[order]:02}'

    @classmethod
    def _last_lines(cls, orders):
        last = {}
        cursor = Transaction().connection.cursor()
        table = cls.__table__()
        for sub_orders in grouped_slice(list(orders)):
            where = table.request.in_(list(sub_orders))
            # Written though it changes nothing: who adds a line to the same
            # order at the same time then has to start anew
            cursor.execute(*table.update(
                    columns=[table.request], values=[table.request],
                    where=where))
            cursor.execute(*table.select(
                    table.request, table.request_line, where=where))
            for order, line in cursor:
                suffix = (line or '').rpartition('-')[2]
                number = (
                    int(suffix)
                    if suffix.isdecimal() and len(suffix) < 10 else 0)
                last[order] = max(last.get(order, 0), number)
        return last

    @classmethod
    def validate_fields(cls, requests, field_names):
        super().validate_fields(requests, field_names)
        if not field_names or field_names & {
                'request', 'request_line', 'patient'}:
            cls.check_orders(requests, not field_names or bool(
                    field_names & {'request', 'request_line'}))

    @classmethod
    @without_check_access
    def check_orders(cls, requests, lines=True):
        """An accession number is for one patient, a line for one request

        Requests of GNU Health 5.0 may lack lines.
        """
        for sub_requests in grouped_slice(requests):
            sub_requests = list(sub_requests)
            by_order = defaultdict(list)
            for other in cls.search([
                        ('request', 'in', list({
                                    r.request for r in sub_requests}))]):
                by_order[other.request].append(other)
            for request in sub_requests:
                others = [
                    o for o in by_order[request.request] if o != request]
                if any(o.patient != request.patient for o in others):
                    raise OrderNumberError(gettext(
                            'health_imaging.msg_order_patient',
                            order=request.request))
                if lines and request.request_line and any(
                        o.request_line == request.request_line
                        for o in others):
                    raise OrderLineError(gettext(
                            'health_imaging.msg_order_line',
                            line=request.request_line,
                            order=request.request))
