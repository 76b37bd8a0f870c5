# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is reached by HTTP"""
import base64
import binascii
import datetime as dt
import json
from contextlib import ExitStack
from functools import partial
from http import HTTPStatus
from threading import Timer

from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import (
    BadGateway, BadRequest, MethodNotAllowed, NotFound, Unauthorized)

from trytond.i18n import gettext
from trytond.protocols.wrappers import (
    Response, set_max_request_size, with_pool, with_transaction)
from trytond.transaction import Transaction
from trytond.worker import run_task
from trytond.wsgi import app

from .client import OrthancError
from .exceptions import explain
from .secrets import SecretError

# What is sent is not read; it only may not be long.
MAX_BODY = 64 * 1024
MAX_KEY = 256
# A call stands for all that changes within a second after it.
DELAY = dt.timedelta(seconds=1)


@app.route('/<database_name>/health_orthanc/changed', methods={'POST'})
@set_max_request_size(MAX_BODY)
@with_pool
def changed(request, pool):
    """Orthanc says that something changed.

    The answer does not wait for the synchronization, since Orthanc may wait
    for the answer while it is asked.
    """
    for task in _notify(request, pool):
        timer = Timer(DELAY.total_seconds(), run_task, args=(pool, task))
        timer.daemon = True
        timer.start()
    return Response(status=HTTPStatus.NO_CONTENT)


@with_transaction()
def _notify(request, pool):
    "Queue a run and return its task if there is no worker that takes it"
    Run = pool.get('gnuhealth.orthanc.sync.run')
    server = _server_of(pool, _bearer(request))
    transaction = Transaction()
    with transaction.set_context(queue_scheduled_at=DELAY):
        Run.notify(server)
    tasks = list(transaction.tasks)
    transaction.tasks.clear()
    return tasks


@app.route('/<database_name>/health_orthanc/authorize', methods={'POST'})
@set_max_request_size(MAX_BODY)
@with_pool
@with_transaction(readonly=True)
def authorize(request, pool):
    "Orthanc asks whether it may hand out what somebody with a token wants"
    server = _server_of(pool, _bearer(request) or _basic_password(request))
    try:
        question = json.loads(request.get_data())
    except (ValueError, RecursionError):
        question = None
    if not isinstance(question, dict):
        raise BadRequest()
    return Response(
        json.dumps(server.authorize(question)),
        content_type='application/json')


@app.route(
    '/<database_name>/health_orthanc/download/<key>', methods={'GET'})
@with_pool
def download(request, pool, key):
    """Hand on a study's archive, piece by piece.

    No transaction is open while Orthanc is waited for, and the link is used
    up only when Orthanc has begun to answer.
    """
    if request.method != 'GET':
        # whoever looks at the headers only does not use the link up
        raise MethodNotAllowed(['GET'])
    client, archive, name = _find_download(request, pool, key[:MAX_KEY])
    with ExitStack() as stack:
        stack.callback(client.close)
        try:
            pieces = archive()
        except OrthancError as error:
            raise BadGateway(
                _explain_download(request, pool, key, error)) from None
        _use_download(request, pool, key)
        response = Response(pieces, content_type='application/zip', headers={
                'Content-Disposition': f'attachment; filename="{name}"',
                'Cache-Control': 'no-store',
                'Referrer-Policy': 'no-referrer',
                'X-Content-Type-Options': 'nosniff',
                })
        response.call_on_close(stack.pop_all().close)
    return response


@with_transaction(readonly=True)
def _find_download(request, pool, key):
    "Return a client, what starts the archive, and the name of its file"
    link = _download_link(pool, key)
    study = link.study
    try:
        client = study.server_config.get_client()
    except (SecretError, OrthancError) as error:
        raise BadGateway(explain(error, study.server_config)) from None
    return client, partial(
        client.archive, study.orthanc_UID, link.format == 'media'
        ), link.file_name


@with_transaction(readonly=True)
def _explain_download(request, pool, key, error):
    link = _download_link(pool, key)
    with Transaction().set_context(link.language_context()):
        return explain(error, link.study.server_config)


@with_transaction(readonly=False)
def _use_download(request, pool, key):
    if not _download_link(pool, key).use():
        raise NotFound(gettext('health_orthanc.msg_download_link'))


def _download_link(pool, key):
    Link = pool.get('gnuhealth.orthanc.download.link')
    link = Link.from_key(key)
    if not link:
        raise NotFound(gettext('health_orthanc.msg_download_link'))
    return link


def _server_of(pool, key):
    "Return the server that calls, by its key"
    Server = pool.get('gnuhealth.orthanc.config')
    server = Server.from_notification_key(key) if key else None
    if not server:
        raise Unauthorized(www_authenticate=WWWAuthenticate('bearer'))
    return server


def _basic_password(request):
    "The authorization plugin knows no other way to hand over the key"
    kind, _, text = request.headers.get('Authorization', '').partition(' ')
    if kind.lower() == 'basic' and len(text) <= 4 * MAX_KEY:
        try:
            text = base64.b64decode(text, validate=True).decode()
        except (binascii.Error, UnicodeError, ValueError):
            return None
        return text.partition(':')[2][:MAX_KEY]


def _bearer(request):
    kind, _, key = request.headers.get('Authorization', '').partition(' ')
    key = key.strip()
    if kind.lower() == 'bearer' and key and len(key) <= MAX_KEY:
        return key
