# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from trytond.model.exceptions import ValidationError


class TemplateError(ValidationError):
    pass


class CharsetError(ValidationError):
    pass


class AETitleError(ValidationError):
    pass


class UIDError(ValidationError):
    pass
