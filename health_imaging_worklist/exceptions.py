# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from trytond.exceptions import UserError
from trytond.model.exceptions import ValidationError


class TemplateError(ValidationError):
    pass


class CharsetError(ValidationError):
    pass


class AETitleError(ValidationError):
    pass


class UIDError(ValidationError):
    pass


class WorklistAnswerError(UserError):
    pass


class HostError(UserError):
    pass


class HostLateError(UserError):
    pass
