# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from collections import namedtuple

from trytond.pool import Pool
from trytond.tools import grouped_slice

from . import code128
from .printing import ImagingReport, Sheet, clean

Study = namedtuple('Study', 'line name modality scheduled state urgent')


class OrderSheet(Sheet):
    "What the slip prints of the requests of an order"

    def __init__(self, requests, report, rtl):
        super().__init__(requests[0], report, rtl)
        self.requests = requests

    @property
    def number(self):
        return clean(self.record.request)

    @property
    def barcode(self):
        "Return the order number as a picture, None if it cannot be one"
        return code128.picture(self.record.request)

    @property
    def heading(self):
        "Return who the order is for, for each page"
        return ' · '.join(filter(None, [self.patient, self.puid, self.number]))

    @property
    def urgent(self):
        return any(study.urgent for study in self.studies)

    @property
    def date(self):
        return self._each(self.local(r.date) for r in self.requests)

    @property
    def doctor(self):
        return self._each(self.name(r.doctor) for r in self.requests)

    @property
    def referring_professional(self):
        return self._each(
            self.name(r.referring_professional) for r in self.requests)

    @property
    def context(self):
        return self._each(self.name(r.context) for r in self.requests)

    @property
    def studies(self):
        return [
            Study(
                clean(r.request_line), clean(r.requested_test.name),
                clean(r.modality), self.local(r.scheduled_date),
                clean(r.state_string), r.urgent and r.state != 'cancelled')
            for r in self.requests]

    @property
    def comment(self):
        comments = dict.fromkeys(
            r.comment for r in self.requests if r.comment)
        return self.lines('\n'.join(comments))

    @staticmethod
    def _each(texts):
        "Return what the lines of an order say, once"
        return ', '.join(dict.fromkeys(filter(None, texts)))


class RequestSlip(ImagingReport):
    "Medical Imaging Request"
    __name__ = 'gnuhealth.imaging.request_slip'
    sheet = OrderSheet

    @classmethod
    def sheets(cls, records, rtl):
        "Return a sheet for each order, with all its lines"
        Request = Pool().get('gnuhealth.imaging.test.request')
        orders = {cls._order(r): [] for r in records}
        requests = set(Request.browse([r.id for r in records]))
        numbers = {r.request for r in records if r.request}
        for sub_numbers in grouped_slice(list(numbers)):
            requests.update(Request.search([
                        ('request', 'in', list(sub_numbers))]))
        for request in sorted(
                requests, key=lambda r: (r.request_line or '', r.id)):
            order = cls._order(request)
            if order in orders:
                orders[order].append(request)
        return super().sheets(orders.values(), rtl)

    @classmethod
    def _order(cls, request):
        # Old databases have requests without a number, and may have the
        # same number for two patients
        return request.request or request.id, request.patient.id
