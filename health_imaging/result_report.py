# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import logging
import shutil

from trytond.modules.health.core import get_institution_timezone
from trytond.pool import Pool
from trytond.report import Report

from .pictures import Picture, fit

logger = logging.getLogger(__name__)


class ImagingResultReport(Report):
    "Medical Imaging Study"
    __name__ = 'patient.imaging_report_results'

    @classmethod
    def get_context(cls, records, header, data):
        context = super().get_context(records, header, data)
        timezone = str(get_institution_timezone())

        def local(value):
            if not value:
                return ''
            return cls.format_datetime(
                value, format='%x %H:%M', timezone=timezone)

        def day(value):
            return cls.format_date(value) if value else ''

        def sex(patient):
            if not patient:
                return ''
            Party = Pool().get('party.party')
            return Party.gender.translated('gender').__get__(
                patient.party, Party)

        context['sex'] = sex
        context['local'] = local
        context['day'] = day
        context['lines'] = lambda text: (text or '').splitlines()
        context['address'] = cls.address
        context['logo'] = cls.logo
        context['pictures'] = cls.pictures
        return context

    @classmethod
    def address(cls, result):
        "Return the institution's address"
        addresses = result.institution.party.addresses
        return addresses[0].full_address if addresses else ''

    @classmethod
    def logo(cls, result):
        "Return the institution's picture, or None"
        image = result.institution and fit(
            result.institution.picture, 4.5, 2.2)
        return Picture(image, '') if image else None

    @classmethod
    def pictures(cls, result):
        "Return the images in rows of two, as the style of the report wants"
        if result.report_style == 'no_images':
            return []
        pictures = []
        for attachment in reversed(result.images):
            image = attachment.type == 'data' and fit(attachment.data, 8, 8)
            if not image:
                continue
            caption = ''
            if result.report_style != 'no_image_comments':
                caption = attachment.description or attachment.name
            pictures.append(Picture(image, caption))
        return [pictures[i:i + 2] for i in range(0, len(pictures), 2)]

    @classmethod
    def convert(cls, report, data, **kwargs):
        # The text document opens as well where LibreOffice is missing
        if not shutil.which('soffice'):
            logger.warning(
                "LibreOffice is missing: %s stays %s",
                report.report_name, report.template_extension)
            return report.template_extension, data
        return super().convert(report, data, **kwargs)
