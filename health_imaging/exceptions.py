# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from trytond.exceptions import UserError, UserWarning
from trytond.model.exceptions import AccessError, ValidationError


class TextError(ValidationError):
    pass


class SearchError(UserError):
    pass


class WizardRecordError(UserError):
    pass


class SequenceMissingError(UserError):
    pass


class NoTestError(UserError):
    pass


class RepeatedTestError(UserError):
    pass


class InactiveTestError(ValidationError):
    pass


class InactivePatientError(ValidationError):
    pass


class DeceasedPatientWarning(UserWarning):
    pass


class ScheduleError(ValidationError):
    pass


class OrderNumberError(ValidationError):
    pass


class OrderLineError(ValidationError):
    pass


class ModalityWarning(UserWarning):
    pass


class RequestLockedError(AccessError):
    pass


class RequestDeleteError(AccessError):
    pass


class NotRequestedError(UserError):
    pass


class NotOpenError(UserError):
    pass


class TransitionError(AccessError):
    pass


class ResultSignedError(AccessError):
    pass


class ResultDeleteError(AccessError):
    pass


class SignatureError(UserError):
    pass


class ReadError(UserError):
    pass


class NotSignedError(UserError):
    pass


class EventTextError(UserError):
    pass


class EventFixedError(AccessError):
    pass


class ResultPatientError(ValidationError):
    pass
