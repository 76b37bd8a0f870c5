# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from trytond.i18n import gettext
from trytond.transaction import Transaction

from .exceptions import ReadonlyFieldError


def check_person_fields(args, names):
    "Raise if a person writes other fields than the named ones"
    transaction = Transaction()
    if not transaction.user or not transaction.check_access:
        return
    for values in args[1::2]:
        others = values.keys() - names
        if others:
            raise ReadonlyFieldError(gettext(
                    'health_orthanc.msg_study_readonly',
                    fields=', '.join(sorted(others))))
