# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is reached by HTTP"""
import datetime as dt
from http import HTTPStatus
from threading import Timer

from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Unauthorized

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
    Server = pool.get('gnuhealth.orthanc.config')
    key = _bearer(request)
    server = Server.from_notification_key(key) if key else None
    if not server:
        raise Unauthorized(www_authenticate=WWWAuthenticate('bearer'))
    transaction = Transaction()
    with transaction.set_context(queue_scheduled_at=DELAY):
        Run.notify(server)
    tasks = list(transaction.tasks)
    transaction.tasks.clear()
    return tasks


def _bearer(request):
    kind, _, key = request.headers.get('Authorization', '').partition(' ')
    key = key.strip()
    if kind.lower() == 'bearer' and key and len(key) <= MAX_KEY:
        return key
