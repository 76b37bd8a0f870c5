# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import re

from trytond.i18n import gettext
from trytond.model import fields
from trytond.pool import PoolMeta

from .exceptions import AETitleError

# PS3.5 6.2: 16 characters of ASCII, no backslash, no control characters
_AE_TITLE = re.compile(r'(?! *$)[\x20-\x5b\x5d-\x7e]{1,16}')

HELP_AE_TITLE = (
    "The Scheduled Station AE Title (0040,0001): "
    "the modality that asks for its worklist by this title.")


def ae_titles(text):
    "Return the AE titles that backslashes part, each once"
    titles = (t.strip() for t in (text or '').split('\\'))
    return list(dict.fromkeys(t for t in titles if t))


def check_ae_title(record, *titles):
    for title in titles:
        if title and not _AE_TITLE.fullmatch(title):
            raise AETitleError(gettext(
                    'health_imaging_worklist.msg_ae_title_invalid',
                    aetitle=title, record=record.rec_name))


class ImagingTest(metaclass=PoolMeta):
    __name__ = 'gnuhealth.imaging.test'

    aetitle = fields.Char(
        "AETitle",
        help=HELP_AE_TITLE + "\n"
        "Several, parted by backslashes, put a request on the worklist of "
        "each, unless it chooses one.")
    imaging_worklist_template = fields.Many2One(
        'gnuhealth.imaging_worklist.worklist_template', "Worklist template",
        help="How requests of this study appear on the worklist.\n"
        "Leave empty to keep them off the worklist.")

    @classmethod
    def validate_fields(cls, tests, field_names):
        super().validate_fields(tests, field_names)
        if not field_names or 'aetitle' in field_names:
            for test in tests:
                check_ae_title(test, *(test.aetitle or '').split('\\'))
