# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Orthanc's REST API."""


class OrthancError(Exception):
    pass


class Unreachable(OrthancError):
    pass


class Timeout(Unreachable):
    pass


class CertificateError(Unreachable):
    pass


class Refused(OrthancError):
    pass


class NotFound(OrthancError):
    pass


class Conflict(OrthancError):
    pass


class TooLarge(OrthancError):
    pass


class Full(OrthancError):
    pass


class BadAnswer(OrthancError):
    pass


class OrthancClient:
    pass
