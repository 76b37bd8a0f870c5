# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the printed documents of imaging have in common"""
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

from .pictures import fit

logger = logging.getLogger(__name__)

# seconds that LibreOffice may take for a document
TIMEOUT = 120
FO_TEXT_ALIGN = (
    '{urn:oasis:names:tc:opendocument:xmlns:xsl-fo-compatible:1.0}text-align')
# What XML 1.0 has no place for
_no_xml = re.compile('[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]')

Line = namedtuple('Line', 'text rtl')


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
    "What a document prints of a record, ready for the document"

    def __init__(self, record, report, rtl):
        self.record = record
        self.report = report
        self.rtl = rtl
        self.zone = institution_timezone(record.institution)

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
        return self.name(self.record.institution)

    @property
    def address(self):
        "Return the lines of the institution's address"
        institution = self.record.institution
        addresses = institution.party.addresses if institution else []
        if not addresses:
            return []
        return list(map(clean, addresses[0].full_address.splitlines()))

    @cached_property
    def logo(self):
        "Return the institution's picture, or None"
        institution = self.record.institution
        return institution and fit(institution.picture, 4.5, 2.2)

    @property
    def patient(self):
        return self.name(self.record.patient)

    @property
    def puid(self):
        return clean(self.record.patient.puid) if self.record.patient else ''

    @property
    def birth(self):
        patient = self.record.patient
        return clean(self.report.format_date(patient.dob)
            if patient and patient.dob else '')

    @property
    def age(self):
        return clean(self.record.computed_age)

    @property
    def sex(self):
        if not self.record.patient:
            return ''
        Party = Pool().get('party.party')
        return clean(Party.gender.translated('gender').__get__(
                self.record.patient.party, Party))


def institution_timezone(institution):
    "Return the time zone of the institution, else the one of the user's"
    if institution:
        Company = Pool().get('company.company')
        for company in Company.search([
                    ('party', '=', institution.party.id),
                    ('timezone', '!=', None)]):
            return company.timezone
    return get_institution_timezone()


class ImagingReport(Report):
    "A document with a sheet for each record"
    sheet = Sheet

    @classmethod
    def get_context(cls, records, header, data):
        context = super().get_context(records, header, data)
        Lang = Pool().get('ir.lang')
        rtl = Lang.get(Transaction().language).direction == 'rtl'
        context['rtl'] = rtl
        context['align'] = align
        context['sheets'] = cls.sheets(records, rtl)
        return context

    @classmethod
    def sheets(cls, records, rtl):
        return [cls.sheet(record, cls, rtl) for record in records]

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
