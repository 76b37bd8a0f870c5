# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is reached by HTTP"""
import base64
import binascii
import datetime as dt
import json
from http import HTTPStatus
from threading import Timer

from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import BadRequest, Unauthorized

from trytond.protocols.wrappers import (
    Response, set_max_request_size, with_pool, with_transaction)
from trytond.transaction import Transaction
from trytond.worker import run_task
from trytond.wsgi import app

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
