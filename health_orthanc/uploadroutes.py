# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the page for whole folders asks for

Whoever asks is told by the key in the header of the request, which no other
site can make a browser send. Nothing of a file is read before.
"""
import json
from functools import wraps
from http import HTTPStatus
from pathlib import Path
from urllib.parse import unquote

from trytond.config import config
from trytond.exceptions import UserError
from trytond.i18n import gettext
from trytond.protocols.wrappers import (
    Response, abort, set_max_request_size, with_pool, with_transaction)
from trytond.transaction import Transaction
from trytond.wsgi import app

from .client import OrthancError
from .dicomfiles import clean_name, read_files, read_frame
from .dicomscan import Refusal, is_dicom, scan
from .exceptions import UploadPageError
from .linking import is_imaging_admin
from .routes import MAX_BODY, MAX_KEY, _bearer
from .uploader import Sender, check_writable, examine, explain_refusal

# Bytes of a file; a proxy before trytond may let through less
MAX_FILE = config.getint(
    'health_orthanc', 'upload_max_size', default=512) << 20
# The beginning of a file tells whose it is; those of some are sent together.
HEAD = 64 << 10
HEADS = 32
STATIC = Path(__file__).with_name('static')
TYPES = {
    'page.js': 'text/javascript; charset=utf-8',
    'page.css': 'text/css; charset=utf-8',
    'page.html': 'text/html; charset=utf-8',
    }
HEADERS = {
    'Content-Security-Policy': (
        "default-src 'none'; script-src 'self'; style-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'; require-trusted-types-for 'script'"),
    'X-Content-Type-Options': 'nosniff',
    'X-Frame-Options': 'DENY',
    'Referrer-Policy': 'no-referrer',
    'Cross-Origin-Opener-Policy': 'same-origin',
    'Cache-Control': 'no-store',
    }
TEXTS = [
    'title', 'server', 'patient', 'request', 'drop', 'choose_files',
    'choose_folder', 'retry', 'waiting', 'checking', 'sending', 'stored',
    'known', 'skipped', 'refused', 'differs', 'failed', 'file', 'result',
    'reason', 'progress', 'counts', 'finished', 'linked', 'dropped',
    'mismatch', 'what', 'found', 'expected', 'files', 'patient_id',
    'accession_number', 'study_uid', 'only_admin', 'why', 'leave_out',
    'go_on', 'cancel', 'large', 'only_refused']
ROOT = '/<database_name>/health_orthanc/upload'


def _static(name):
    return Response(
        (STATIC / name).read_bytes(), content_type=TYPES[name],
        headers=HEADERS)


@app.route(ROOT, methods={'GET'})
def upload_page(request, database_name):
    return _static('page.html')


@app.route(ROOT + '/<name>', methods={'GET'})
def upload_static(request, database_name, name):
    if name not in TYPES or name == 'page.html':
        abort(HTTPStatus.NOT_FOUND)
    return _static(name)


def _json(value, status=HTTPStatus.OK):
    return Response(
        json.dumps(value), status=status, content_type='application/json',
        headers=HEADERS)


def answers(readonly):
    """Answer with JSON, and with a sentence when it is refused

    A page that is not valid any more is forbidden for good.
    """
    def decorator(func):
        @wraps(func)
        def wrapper(request, pool, *args):
            Lang = pool.get('ir.lang')
            # who asks is not known yet
            languages = {
                lang.code.replace('_', '-'): lang.code
                for lang in Lang.search([('translatable', '=', True)])}
            language = request.accept_languages.best_match(languages)
            try:
                with Transaction().set_context(
                        language=languages.get(language, 'en')):
                    return func(request, pool, *args)
            except UserError as error:
                Transaction().rollback()
                return {
                    'error': error.message,
                    'over': isinstance(error, UploadPageError),
                    }
        return with_transaction(readonly=readonly)(wrapper)
    return decorator


def _page(request, pool):
    Page = pool.get('gnuhealth.orthanc.upload.page')
    return Page.from_key(_bearer(request))


def _reply(answer):
    if 'error' in answer:
        return _json(answer, HTTPStatus.FORBIDDEN)
    return _json(answer)


@app.route(ROOT + '/open', methods={'POST'})
@set_max_request_size(MAX_KEY)
@with_pool
def upload_open(request, pool):
    "Exchange the link for a key, and tell what the page shows"
    return _reply(_open(request, pool))


@answers(readonly=False)
def _open(request, pool):
    Page = pool.get('gnuhealth.orthanc.upload.page')
    page, key = Page.open(request.get_data(as_text=True).strip())
    return {'key': key, **_describe(pool, page)}


@app.route(ROOT + '/state', methods={'POST'})
@set_max_request_size(MAX_BODY)
@with_pool
def upload_state(request, pool):
    "Tell what the page shows, if it is still valid"
    return _reply(_state(request, pool))


@answers(readonly=True)
def _state(request, pool):
    return _describe(pool, _page(request, pool))


def _describe(pool, page):
    Lang = pool.get('ir.lang')
    with page.as_user():
        server = page.server
        try:
            with server.get_client() as client:
                check_writable(server, client)
        except OrthancError:
            # it may come back before something is sent
            pass
        expected = page.expected
        language = Transaction().language
        lang, = Lang.search([('code', '=', language)], limit=1) or [None]
        return {
            'language': language.replace('_', '-'),
            'direction': lang.direction if lang else 'ltr',
            'server': server.rec_name,
            'patient': expected.patient and expected.patient.rec_name,
            'request': expected.request and expected.request.rec_name,
            'compares': bool(expected.facts),
            'may_go_on': is_imaging_admin(),
            'across': page.may_go_across,
            'head': HEAD,
            'heads': HEADS,
            'limit': MAX_FILE,
            'texts': {
                name: gettext('health_orthanc.msg_page_' + name)
                for name in TEXTS},
            }


def _name(request):
    return clean_name(unquote(request.headers.get('X-File-Name', '')))


@app.route(ROOT + '/check', methods={'POST'})
@set_max_request_size(HEADS * (HEAD + 8) + 8)
@with_pool
def upload_check(request, pool):
    "Tell where the beginnings of files differ from what is expected"
    return _reply(_check(request, pool))


@answers(readonly=True)
def _check(request, pool):
    page = _page(request, pool)
    with page.as_user():
        expected = page.expected
        return {'differences': [
                _differences(content, expected)
                for content in read_frame(request.get_data())
                if isinstance(content, bytes)]}


def _differences(content, expected):
    try:
        return expected.differences(scan(content, head=True))
    except Refusal:
        # the whole file will be refused, with the reason, or is an archive
        return []


@app.route(ROOT + '/across', methods={'POST'})
@set_max_request_size(MAX_BODY)
@with_pool
def upload_across(request, pool):
    "Take the reason why files that differ are sent all the same"
    return _reply(_across(request, pool))


@answers(readonly=False)
def _across(request, pool):
    page = _page(request, pool)
    with page.as_user():
        page.go_across(request.get_data(as_text=True))
    return {'across': True}


@app.route(ROOT + '/file', methods={'POST'})
@set_max_request_size(MAX_FILE)
@with_pool
def upload_file(request, pool):
    "Send a file, or the files of an archive, to the server"
    answer = _file(request, pool)
    outcomes = answer.pop('outcomes', None)
    if outcomes:
        # a transaction of its own: nothing is locked while Orthanc answers
        _keep(request, pool, outcomes)
    return _reply(answer)


@answers(readonly=True)
def _file(request, pool):
    page = _page(request, pool)
    with page.as_user():
        page.check_count()
        across = page.may_go_across
        name, content = _name(request), request.get_data()
        try:
            with Sender(page.server, page.expected) as sender:
                if is_dicom(content):
                    outcomes = [sender.send(name, content, across)]
                else:
                    outcomes = _send_archive(sender, name, content, across)
        except Refusal as refusal:
            return {'files': [{
                        'name': name,
                        'state': 'refused',
                        'reason': explain_refusal(refusal),
                        }]}
        return {
            'outcomes': outcomes,
            'files': [{
                    'name': o.name,
                    'state': o.state,
                    'reason': o.reason,
                    } for o in outcomes],
            # the server did not answer: the same may be tried again
            'again': bool(sender.given_up),
            }


def _send_archive(sender, name, content, across):
    "Send the files of an archive, none if one of them is not expected"
    if not across:
        outcomes = [
            examine(inner, file, sender.expected)
            for inner, file in read_files(name, content)]
        if any(o.state == 'differs' for o in outcomes):
            for outcome in outcomes:
                if outcome.state == 'ready':
                    outcome.state = 'refused'
                    outcome.reason = gettext(
                        'health_orthanc.msg_upload_archive_differs')
            return outcomes
    return [
        sender.send(inner, file, across)
        for inner, file in read_files(name, content)]


@answers(readonly=False)
def _keep(request, pool, outcomes):
    _page(request, pool).keep(outcomes)
    return {}


@app.route(ROOT + '/finish', methods={'POST'})
@set_max_request_size(MAX_BODY)
@with_pool
def upload_finish(request, pool):
    "Have what came synchronized and linked, and tell how much was"
    answer = _finish(request, pool)
    studies = answer.pop('ids', None)
    if studies:
        # after the tasks of the transaction before
        answer['linked'] = _count_linked(request, pool, studies)['linked']
    return _reply(answer)


@answers(readonly=False)
def _finish(request, pool):
    page = _page(request, pool)
    with page.as_user():
        studies = page.finish()
    return {'studies': len(studies), 'linked': 0, 'ids': studies}


@answers(readonly=True)
def _count_linked(request, pool, studies):
    Study = pool.get('gnuhealth.imaging_orthanc.study')
    page = _page(request, pool)
    return {'linked': Study.search([
                ('server_config', '=', page.server.id),
                ('orthanc_UID', 'in', studies),
                ['OR', ('request', '!=', None), ('imaging_test', '!=', None),
                    ('patient', '!=', None)],
                ], count=True)}
