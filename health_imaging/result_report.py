# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from collections import namedtuple
from functools import cached_property

from trytond.pool import Pool

from .pictures import Picture, fit
from .printing import ImagingReport, Sheet, clean

Addendum = namedtuple('Addendum', 'lines author')


class ResultSheet(Sheet):
    "What the report prints of a result, ready for the document"

    @property
    def study(self):
        return clean(self.record.requested_test.name)

    @property
    def heading(self):
        "Return who the report is about, for each page"
        return ' · '.join(filter(None, [self.patient, self.puid, self.number]))

    @property
    def urgent(self):
        return self.record.urgent_finding

    @property
    def number(self):
        return clean(self.record.number)

    @property
    def date(self):
        return self.local(self.record.date)

    @property
    def order(self):
        request = self.record.request
        return clean(request and request.request_line or self.record.order)

    @property
    def order_date(self):
        return self.local(self.record.request_date)

    @property
    def requesting_doctor(self):
        return self.name(self.record.requesting_doctor)

    @property
    def context(self):
        request = self.record.request
        return self.name(request and request.context)

    @property
    def doctor(self):
        return self.name(self.record.doctor)

    @property
    def findings(self):
        return self.lines(self.record.comment)

    @property
    def addenda(self):
        return [
            Addendum(
                self.lines(event.text),
                f'{self.person(event.professional)}, {self.local(event.date)}')
            for event in self.record.addenda]

    @property
    def corrections(self):
        return [
            f'{self.name(event.signed_by)}, {self.local(event.signed_date)}'
            for event in self.record.reopenings]

    @property
    def signed(self):
        return self.record.state == 'signed'

    @property
    def signer(self):
        return self.person(
            self.record.signed_by if self.signed else self.record.doctor)

    @property
    def signed_date(self):
        return self.local(self.record.signed_date)

    @cached_property
    def images(self):
        "Return pictures in rows of two, and the names of what is none"
        if self.record.report_style == 'no_images':
            return [], []
        box = (15, 9) if len(self.record.images) == 1 else (8, 8)
        Attachment = Pool().get('ir.attachment')
        pictures, others = [], []
        for attachment in self.record.images:
            # read one by one, since each may be large
            data = (Attachment(attachment.id).data
                if attachment.type == 'data' else None)
            image = fit(data, *box)
            if image:
                pictures.append(Picture(image, self.caption(attachment)))
            else:
                others.append(clean(attachment.name))
        return [pictures[i:i + 2] for i in range(0, len(pictures), 2)], others

    def caption(self, attachment):
        "Return the lines below an image"
        if self.record.report_style == 'no_image_comments':
            return []
        return self.lines(attachment.description or attachment.name)


class ImagingResultReport(ImagingReport):
    "Medical Imaging Study"
    __name__ = 'patient.imaging_report_results'
    sheet = ResultSheet
