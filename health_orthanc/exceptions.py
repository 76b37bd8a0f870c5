# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from trytond.exceptions import UserError
from trytond.i18n import gettext
from trytond.model.exceptions import AccessError, ValidationError

from . import client
from .secrets import SecretError


class ServerURLError(ValidationError):
    pass


class ServerCopyError(AccessError):
    pass


class ServerDeleteError(AccessError):
    pass


class CertificateFieldError(ValidationError):
    pass


class OrthancServerError(UserError):
    pass


class ServersFailingError(UserError):
    pass


class NoPictureError(UserError):
    pass


class PictureChoiceError(UserError):
    pass


class NoResultError(UserError):
    pass


class ReadonlyFieldError(AccessError):
    pass


class NoViewerError(UserError):
    pass


class ViewerTemplateError(ValidationError):
    pass


class DownloadError(UserError):
    pass


class ReadOnlyServerError(UserError):
    pass


class UploadError(UserError):
    pass


class UploadMismatchError(UserError):
    pass


class UploadPageError(UserError):
    pass


class DeleteReasonError(UserError):
    pass


class LinkChoiceError(UserError):
    pass


class SeriesGoneError(UserError):
    pass


class LinkedError(UserError):
    pass


class LinkContradictionError(UserError):
    pass


class LinkReasonError(LinkContradictionError):
    pass


class ServerNotValidated(client.OrthancError):
    "The server is not to be synchronized before a check reached it"


class ServerReplaced(client.OrthancError):
    "Another Orthanc answers at the URL than the one whose studies are known"


_MESSAGES = [
    (SecretError, 'msg_password_unreadable'),
    (client.CertificateChanged, 'msg_orthanc_certificate_changed'),
    (client.NoTLS, 'msg_orthanc_no_tls'),
    (client.CertificateError, 'msg_orthanc_certificate'),
    (client.NotAllowed, 'msg_orthanc_not_allowed'),
    (client.UnknownHost, 'msg_orthanc_unknown_host'),
    (client.Closed, 'msg_orthanc_closed'),
    (client.Timeout, 'msg_orthanc_timeout'),
    (client.Unreachable, 'msg_orthanc_unreachable'),
    (client.NotPermitted, 'msg_orthanc_not_permitted'),
    (client.Refused, 'msg_orthanc_refused'),
    (client.NotFound, 'msg_orthanc_not_found'),
    (client.Conflict, 'msg_orthanc_conflict'),
    (client.TooLarge, 'msg_orthanc_too_large'),
    (client.Full, 'msg_orthanc_full'),
    (ServerNotValidated, 'msg_server_not_synchronized'),
    (ServerReplaced, 'msg_server_replaced'),
    (client.ServerFailure, 'msg_orthanc_failure'),
    (client.BadAnswer, 'msg_orthanc_bad_answer'),
    ]


def explain(error, server):
    """Return the sentence that tells a user what the error means.

    The server may be a record or the text that names it.
    """
    name = server if isinstance(server, str) else server.rec_name
    for type_, message in _MESSAGES:
        if isinstance(error, type_):
            return gettext('health_orthanc.' + message, server=name)
    return gettext('health_orthanc.msg_orthanc_error', server=name)
