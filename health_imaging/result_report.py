# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import logging
import os
import re
import signal
import subprocess
import tempfile
import unicodedata
from collections import namedtuple
from functools import cached_property
from pathlib import Path

from trytond.modules.health.core import get_institution_timezone
from trytond.pool import Pool
from trytond.report import Report
from trytond.report.report import FORMAT2EXT
from trytond.transaction import Transaction

from .pictures import Picture, fit

logger = logging.getLogger(__name__)

# seconds that LibreOffice may take for a document
TIMEOUT = 120
FO_TEXT_ALIGN = (
    '{urn:oasis:names:tc:opendocument:xmlns:xsl-fo-compatible:1.0}text-align')
# What XML 1.0 has no place for
_no_xml = re.compile('[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]')

Line = namedtuple('Line', 'text rtl')
Addendum = namedtuple('Addendum', 'lines author date')
Correction = namedtuple('Correction', 'signer date')


def clean(text):
    """Return the text as a document can hold it

    Runs of spaces and tabs, by which people align, would become one space.
    """
    text = _no_xml.sub('', text or '').expandtabs(4)
    return re.sub(
        '^ | (?= )', '\N{NO-BREAK SPACE}', text, flags=re.MULTILINE)


def is_rtl(text, default=False):
    "Tell the direction of a text by its first letter, as Unicode does (P2)"
    for character in text:
        direction = unicodedata.bidirectional(character)
        if direction in {'L', 'R', 'AL'}:
            return direction != 'L'
    return default


def align(right):
    "Return the alignment, since LibreOffice has 'start' always at the left"
    return {FO_TEXT_ALIGN: 'right' if right else 'left'}


class Sheet:
    "What the report prints of a result, ready for the document"

    def __init__(self, result, report, rtl):
        self.result = result
        self.report = report
        self.rtl = rtl
        self.zone = institution_timezone(result.institution)

    def local(self, date):
        return clean(self.report.format_datetime(
                date, format='%x %H:%M', timezone=str(self.zone))
            if date else '')

    def lines(self, text):
        return [
            Line(line, is_rtl(line, self.rtl))
            for line in map(clean, (text or '').splitlines())]

    @staticmethod
    def name(record):
        return clean(record.rec_name) if record else ''

    @staticmethod
    def person(professional):
        "Return name and licence of a health professional"
        return clean(', '.join(filter(None, [
                        professional.rec_name, professional.code])))

    @property
    def institution(self):
        return self.name(self.result.institution)

    @property
    def address(self):
        "Return the lines of the institution's address"
        institution = self.result.institution
        addresses = institution.party.addresses if institution else []
        if not addresses:
            return []
        return list(map(clean, addresses[0].full_address.splitlines()))

    @cached_property
    def logo(self):
        "Return the institution's picture, or None"
        institution = self.result.institution
        return institution and fit(institution.picture, 4.5, 2.2)

    @property
    def study(self):
        return clean(self.result.requested_test.name)

    @property
    def patient(self):
        return self.name(self.result.patient)

    @property
    def heading(self):
        "Return who the report is about, for each page"
        return ' · '.join(filter(None, [self.patient, self.puid, self.number]))

    @property
    def urgent(self):
        return self.result.urgent_finding

    @property
    def puid(self):
        return clean(self.result.patient.puid) if self.result.patient else ''

    @property
    def birth(self):
        patient = self.result.patient
        return clean(self.report.format_date(patient.dob)
            if patient and patient.dob else '')

    @property
    def age(self):
        return clean(self.result.computed_age)

    @property
    def sex(self):
        if not self.result.patient:
            return ''
        Party = Pool().get('party.party')
        return clean(Party.gender.translated('gender').__get__(
                self.result.patient.party, Party))

    @property
    def number(self):
        return clean(self.result.number)

    @property
    def date(self):
        return self.local(self.result.date)

    @property
    def order(self):
        request = self.result.request
        return clean(request and request.request_line or self.result.order)

    @property
    def order_date(self):
        return self.local(self.result.request_date)

    @property
    def requesting_doctor(self):
        return self.name(self.result.requesting_doctor)

    @property
    def context(self):
        request = self.result.request
        return self.name(request and request.context)

    @property
    def doctor(self):
        return self.name(self.result.doctor)

    @property
    def findings(self):
        return self.lines(self.result.comment)

    @property
    def addenda(self):
        return [
            Addendum(
                self.lines(event.text), self.person(event.professional),
                self.local(event.date))
            for event in self.result.addenda]

    @property
    def corrections(self):
        return [
            Correction(
                self.name(event.signed_by), self.local(event.signed_date))
            for event in self.result.reopenings]

    @property
    def signed(self):
        return self.result.state == 'signed'

    @property
    def signer(self):
        return self.person(
            self.result.signed_by if self.signed else self.result.doctor)

    @property
    def signed_date(self):
        return self.local(self.result.signed_date)

    @cached_property
    def images(self):
        "Return pictures in rows of two, and the names of what is none"
        if self.result.report_style == 'no_images':
            return [], []
        box = (15, 9) if len(self.result.images) == 1 else (8, 8)
        Attachment = Pool().get('ir.attachment')
        pictures, others = [], []
        for attachment in self.result.images:
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
        if self.result.report_style == 'no_image_comments':
            return []
        return self.lines(attachment.description or attachment.name)


def institution_timezone(institution):
    "Return the time zone of the institution, else the one of the user's"
    if institution:
        Company = Pool().get('company.company')
        for company in Company.search([
                    ('party', '=', institution.party.id),
                    ('timezone', '!=', None)]):
            return company.timezone
    return get_institution_timezone()


class ImagingResultReport(Report):
    "Medical Imaging Study"
    __name__ = 'patient.imaging_report_results'

    @classmethod
    def get_context(cls, records, header, data):
        context = super().get_context(records, header, data)
        Lang = Pool().get('ir.lang')
        rtl = Lang.get(Transaction().language).direction == 'rtl'
        context['rtl'] = rtl
        context['align'] = align
        context['sheets'] = [Sheet(record, cls, rtl) for record in records]
        return context

    @classmethod
    def convert(cls, report, data, timeout=TIMEOUT, **kwargs):
        """Convert the document, which opens as well where this fails

        Each conversion has a profile of its own: LibreOffice refuses to
        share one, and several people print at a time.
        """
        wanted = report.extension or report.template_extension
        if wanted == report.template_extension:
            return super().convert(report, data, **kwargs)
        wanted = FORMAT2EXT.get(wanted, wanted)
        with tempfile.TemporaryDirectory(prefix='imaging-report-') as folder:
            source = Path(folder, f'report.{report.template_extension}')
            source.write_bytes(data)
            target = source.with_suffix(f'.{wanted}')
            try:
                run([
                        'soffice',
                        f'-env:UserInstallation=file://{folder}/profile',
                        '--headless', '--nolockcheck', '--nodefault',
                        '--norestore', '--convert-to', wanted,
                        '--outdir', folder, str(source)], timeout)
                return wanted, target.read_bytes()
            except (OSError, subprocess.SubprocessError) as error:
                logger.warning(
                    "%s stays %s, since LibreOffice failed: %s",
                    report.report_name, report.template_extension, error)
        return report.template_extension, data


def run(command, timeout):
    "Run a command, and end it with all that it started when time is over"
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        code = process.wait(timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    if code:
        raise subprocess.CalledProcessError(code, command[0])
