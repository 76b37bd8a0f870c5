# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Orthanc's REST API.

Nothing here knows of Tryton. One client is one pooled HTTP session, to be
used by one thread at a time. Every call has a connect, a read and a total
timeout and a largest answer, follows no redirect and raises nothing but
`OrthancError`. No message holds a credential or anything about a patient.

Reference: https://orthanc.uclouvain.be/api/ and the Orthanc Book, "REST API
of Orthanc".
"""
import datetime as dt
import itertools
import json
import os
import time
from base64 import b64encode
from urllib.parse import quote, urlsplit, urlunsplit

import requests
from urllib3.exceptions import HTTPError, ReadTimeoutError

from .outward import (
    ForbiddenAddress, Gate, GuardedAdapter, read_certificate)

__all__ = [
    'BadAnswer', 'CertificateChanged', 'CertificateError', 'Closed',
    'Conflict', 'Full', 'LEVELS', 'NoTLS', 'NotAllowed', 'NotFound',
    'NotPermitted', 'OrthancClient', 'OrthancError', 'Refused',
    'ServerFailure', 'Timeout', 'TooLarge', 'UnknownHost', 'Unreachable']

LEVELS = {
    'patient': 'patients',
    'study': 'studies',
    'series': 'series',
    'instance': 'instances',
    }
MEGABYTE = 1024 * 1024
# One answer of the list of identifiers of a million resources has 50 MB.
MAX_JSON = 256 * MEGABYTE
MAX_PREVIEW = 64 * MEGABYTE
# what Orthanc says of itself
MAX_FACTS = MEGABYTE
# What bulk-content is asked for at once; an instance answers some 600 bytes.
BULK = 2000
# Small pieces would wait for the interpreter at each of them.
PIECE = MEGABYTE
RETRIES = 2
RETRY_STATUS = {502, 503, 504}


class OrthancError(Exception):
    "Anything that keeps Orthanc from answering as it should"

    def __init__(self, message='', status=None):
        super().__init__(message)
        self.status = status


class Unreachable(OrthancError):
    "No connection, or it broke"


class Timeout(Unreachable):
    "No connection or no answer in time"


class UnknownHost(Unreachable):
    "No address belongs to the host's name"


class Closed(Unreachable):
    "The host answers that nothing listens at the port"


class CertificateError(Unreachable):
    """The server's TLS certificate is not to be trusted.

    `reason` is one of expired, host, self_signed and unknown.
    """

    reason = 'unknown'


class CertificateChanged(CertificateError):
    "The certificate is another one than was accepted"


class NoTLS(CertificateError):
    "What answers does not speak TLS, or none that is still safe"


class NotAllowed(OrthancError):
    "GNU Health does not call that host"


class Refused(OrthancError):
    "401 or 403: wrong credentials, or not allowed"


class NotPermitted(Refused):
    "403: the credentials may be right, but do not suffice"


class NotFound(OrthancError):
    "404"


class Conflict(OrthancError):
    "409"


class TooLarge(OrthancError):
    "413, or an answer above the limit"


class Full(OrthancError):
    "507: Orthanc's storage is full"


class BadAnswer(OrthancError):
    "Anything that Orthanc would not say"


class ServerFailure(OrthancError):
    "5xx: Orthanc, or a proxy before it, failed"


class _Stale(Unreachable):
    "The connection was lost before any answer: the call may be repeated"


_STATUS = {
    401: Refused, 403: NotPermitted, 404: NotFound, 409: Conflict,
    413: TooLarge, 507: Full,
    }


# What OpenSSL says of a certificate that it does not trust
_REASONS = [
    ('expired', 'expired'),
    ('mismatch', 'host'),
    ("doesn't match", 'host'),
    ('self-signed', 'self_signed'),
    ('self signed', 'self_signed'),
    ]


def _tls_error(error):
    text = repr(error)
    if 'Fingerprints did not match' in text:
        return CertificateChanged("certificate changed")
    if not any(words in text for words in [
                'CERTIFICATE_VERIFY_FAILED', "doesn't match", 'mismatch']):
        return NoTLS("no TLS")
    found = CertificateError("TLS failed")
    for words, found.reason in _REASONS:
        if words in text:
            break
    else:
        found.reason = 'unknown'
    return found


class _LogIn(requests.auth.AuthBase):
    """HTTP basic authentication, in UTF-8.

    Nothing that is reached by attributes is the password: a report's template
    may follow those of any object.
    """

    def __init__(self, user, password):
        token = b64encode(f'{user}:{password}'.encode()).decode('ascii')
        self._header = itertools.cycle(['Basic ' + token])

    def __call__(self, request):
        request.headers['Authorization'] = next(self._header)
        return request


def _is_identifier(value):
    return isinstance(value, str) and bool(value)


class OrthancClient:
    """A session with one Orthanc.

    Parameters
    ----------
    url : str
        Address of the REST API, such as https://pacs.example.org/orthanc,
        without credentials.
    user, password : str, optional
        For HTTP basic authentication.
    connect_timeout, read_timeout : float
        Seconds until connected, and between two pieces of an answer.
    total_timeout : float, optional
        Seconds until the end of an answer; ten times the read timeout if it
        is not given.
    gate : outward.Gate, optional
        Which hosts may be called.
    authority, fingerprint : str, optional
        What certificate to trust: see outward.GuardedAdapter.
    """

    def __init__(self, url, user=None, password=None, connect_timeout=5,
            read_timeout=60, total_timeout=None, gate=None, authority=None,
            fingerprint=None):
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise BadAnswer("not an address") from None
        if parts.scheme not in {'http', 'https'} or not parts.hostname:
            raise BadAnswer("not an http or https address")
        if parts.username is not None or parts.password is not None:
            raise BadAnswer("credentials in the address")
        self.gate = gate or Gate()
        self._host, self._port = parts.hostname, port
        host = parts.hostname
        if ':' in host:
            host = '[%s]' % host
        if port:
            host += ':%d' % port
        self.url = urlunsplit(
            (parts.scheme, host, parts.path.rstrip('/'), '', ''))
        self.connect_timeout = connect_timeout
        self.read_timeout = read_timeout
        self.total_timeout = total_timeout
        self.requests = 0
        self._session = requests.Session()
        # neither a proxy of the environment nor a netrc entry is meant here
        self._session.trust_env = False
        if fingerprint:
            self._session.verify = False
        elif not authority:
            self._session.verify = (
                os.environ.get('REQUESTS_CA_BUNDLE')
                or os.environ.get('SSL_CERT_FILE') or True)
        # gzip doubles the time on a fast network
        self._session.headers.update({
                'Accept-Encoding': 'identity',
                'User-Agent': 'gnuhealth-imaging-suite',
                })
        if user or password:
            self._session.auth = _LogIn(user or '', password or '')
        adapter = GuardedAdapter(
            self.gate, authority, fingerprint,
            pool_connections=1, pool_maxsize=2, max_retries=0)
        self._session.mount('http://', adapter)
        self._session.mount('https://', adapter)

    def __enter__(self):
        return self

    def __exit__(self, type, value, traceback):
        self.close()

    def close(self):
        self._session.close()

    # What Orthanc is

    def system(self):
        "Version, name and capabilities, as a dictionary"
        return self._expect(self._facts('/system'), dict)

    def statistics(self):
        "Counts per level and disk size, as a dictionary"
        return self._expect(self._facts('/statistics'), dict)

    def plugins(self):
        "Names of the plugins that are loaded"
        return [p for p in self._expect(self._facts('/plugins'), list)
            if isinstance(p, str)]

    def clock_difference(self):
        "How far the server's clock is ahead, None if it does not tell"
        started = dt.datetime.now(dt.timezone.utc).replace(tzinfo=None)
        try:
            answer = self._call('GET', '/tools/now', limit=MAX_FACTS)
            there = dt.datetime.strptime(
                answer.decode('ascii').strip(), '%Y%m%dT%H%M%S')
        except (BadAnswer, NotFound, Refused, ValueError):
            return None
        ended = dt.datetime.now(dt.timezone.utc).replace(tzinfo=None)
        # it tells whole seconds; what passed meanwhile is no difference
        if started - dt.timedelta(seconds=1) <= there <= ended:
            return dt.timedelta()
        return there - (ended if there > ended else started)

    def certificate(self):
        """The certificate that the server shows, trusted or not.

        None if it cannot be had.
        """
        if not self.url.startswith('https:'):
            return None
        try:
            return read_certificate(
                self._host, self._port, self.gate, self.connect_timeout)
        except (OSError, HTTPError, ForbiddenAddress):
            return None

    def _facts(self, path):
        return self._json(self._call('GET', path, limit=MAX_FACTS))

    # Single resources

    def preview(self, instance_id, frame=None, window=None):
        """PNG of an instance, or of one of its frames, which start at 0.

        Gray goes from the darkest to the brightest value, or through the
        window of the given center and width.
        """
        path = '/instances/%s' % quote(instance_id, safe='')
        params = None
        if frame is not None or window:
            path += '/frames/%d' % (frame or 0)
        if window:
            center, width = window
            params = {'window-center': center, 'window-width': width}
        return self._call(
            'GET', path + ('/rendered' if window else '/preview'),
            params=params, headers={'Accept': 'image/png'},
            limit=MAX_PREVIEW)

    def instance_tags(self, instance_id):
        "All tags of the file, by keyword and as text"
        return self._expect(self.get_json(
                '/instances/%s/simplified-tags'
                % quote(instance_id, safe='')), dict)

    def instance_metadata(self, instance_id):
        "What Orthanc noted of the file, such as its transfer syntax"
        return self._expect(self.get_json(
                '/instances/%s/metadata' % quote(instance_id, safe=''),
                expand=True), dict)

    def archive(self, study_id, media=False):
        """Return the pieces of a ZIP archive of a study, as Orthanc makes it.

        What keeps Orthanc from it is raised at once, what breaks it off
        later is raised by the next piece. For media it has a DICOMDIR.
        """
        return self._pieces(self._open('GET', '/studies/%s/%s' % (
                    quote(study_id, safe=''),
                    'media' if media else 'archive')))

    def store(self, content):
        """Store a DICOM file or a ZIP archive of them.

        Returns
        -------
        list of dict
            One answer (ID, ParentStudy, Status ...) per stored instance. What
            is not DICOM inside an archive is missing from it.
        """
        answer = self._json(self._call(
                'POST', '/instances', data=content, repeat=False,
                headers={'Content-Type': 'application/octet-stream'}))
        if isinstance(answer, dict):
            answer = [answer]
        return [self._expect(a, dict) for a in self._expect(answer, list)]

    def delete(self, level, orthanc_id):
        "Delete a resource; False when it was gone already"
        path = '/%s/%s' % (LEVELS[level], quote(orthanc_id, safe=''))
        try:
            self._call('DELETE', path)
        except NotFound:
            return False
        return True

    def get_json(self, path, **params):
        "GET of any path; a parameter True becomes a flag without value"
        return self._json(self._call('GET', path, params={
                    k: '' if v is True else v for k, v in params.items()
                    if v is not None and v is not False}))

    # Many resources

    def last_change(self):
        """The newest entry of the log of changes.

        Returns
        -------
        tuple of (dict or None, int)
            The entry, None if the log is empty, and Orthanc's last index.
        """
        entries, last, _ = self._changes(self.get_json('/changes', last=True))
        return (entries[-1] if entries else None), last

    def changes(self, since=0, limit=BULK):
        """Entries of the log of changes whose Seq is above since.

        Returns
        -------
        tuple of (list of dict, int, bool)
            The entries, the index to go on from, and whether that was all.
        """
        return self._changes(
            self.get_json('/changes', since=since, limit=limit))

    def ids(self, level):
        "All identifiers of a level, in one request"
        return [i for i in self._expect(
                self.get_json('/' + LEVELS[level]), list)
            if _is_identifier(i)]

    def expanded(self, level, since, limit):
        "One page of a level's resources with their tags"
        return self._resources(self.get_json(
                '/' + LEVELS[level], expand=True, since=since, limit=limit))

    def bulk_content(self, ids, level=None, metadata=False):
        """The resources of the given identifiers, tags included.

        Identifiers that Orthanc does not know are left out of the answer.

        Parameters
        ----------
        ids : iterable of str
        level : str, optional
            patient, study, series or instance: the parents or the children of
            the given resources at this level instead.
        metadata : bool
            With the metadata of each resource.
        """
        ids = list(ids)
        result = []
        for start in range(0, len(ids), BULK):
            body = {
                'Resources': ids[start:start + BULK],
                'Metadata': metadata,
                }
            if level:
                body['Level'] = level.capitalize()
            result.extend(self._resources(self._json(self._call(
                            'POST', '/tools/bulk-content',
                            data=json.dumps(body),
                            headers={'Content-Type': 'application/json'}))))
        return result

    # Internals

    def _changes(self, answer):
        self._expect(answer, dict)
        entries = self._expect(answer.get('Changes'), list)
        last = self._expect(answer.get('Last'), int)
        for entry in entries:
            self._expect(entry, dict)
            self._expect(entry.get('Seq'), int)
        return entries, last, bool(answer.get('Done'))

    def _resources(self, answer):
        return [r for r in self._expect(answer, list) if isinstance(r, dict)]

    def _expect(self, value, type_):
        if not isinstance(value, type_) or isinstance(value, bool):
            raise BadAnswer("%s expected" % type_.__name__)
        return value

    def _json(self, content):
        try:
            return json.loads(content)
        except (ValueError, RecursionError):
            raise BadAnswer("no JSON") from None

    def _call(self, method, path, repeat=True, **kwargs):
        for attempt in range(RETRIES + 1):
            try:
                return self._call_once(method, path, **kwargs)
            except OrthancError as error:
                if (not repeat or attempt == RETRIES
                        or not (isinstance(error, _Stale)
                            or error.status in RETRY_STATUS)):
                    raise
            time.sleep(.2 * 4 ** attempt)

    def _call_once(self, method, path, limit=MAX_JSON, **kwargs):
        deadline = time.monotonic() + (
            self.total_timeout or 10 * self.read_timeout)
        response = self._open(method, path, **kwargs)
        try:
            return self._read(response, limit, deadline)
        except (ReadTimeoutError, requests.exceptions.Timeout):
            raise Timeout("answer stopped") from None
        except (HTTPError, OSError):
            raise _Stale("answer broke off") from None
        finally:
            response.close()

    def _pieces(self, response):
        try:
            yield from response.raw.stream(PIECE, decode_content=False)
        except ReadTimeoutError:
            raise Timeout("answer stopped") from None
        except (HTTPError, OSError):
            raise Unreachable("answer broke off") from None
        finally:
            response.close()

    def _open(self, method, path, params=None, data=None, headers=None):
        "Return the answer, whose content is still to be read"
        self.requests += 1
        try:
            response = self._session.request(
                method, self.url + path, params=params, data=data,
                headers=headers, stream=True, allow_redirects=False,
                timeout=(self.connect_timeout, self.read_timeout))
        except ForbiddenAddress as error:
            raise NotAllowed(str(error)) from None
        except requests.exceptions.SSLError as error:
            raise _tls_error(error) from None
        except requests.exceptions.Timeout:
            raise Timeout("no answer in time") from None
        except requests.exceptions.ConnectionError as error:
            text = repr(error)
            if any(words in text for words in [
                        'NameResolutionError', 'Name or service',
                        'name resolution']):
                raise UnknownHost("unknown host") from None
            if 'NewConnectionError' in text:
                raise (Closed if 'refused' in text else Unreachable)(
                    "no connection") from None
            if 'BadStatusLine' in text:
                raise BadAnswer("no HTTP") from None
            raise _Stale("connection lost") from None
        except (requests.exceptions.RequestException, HTTPError,
                UnicodeError):
            raise BadAnswer("no HTTP") from None
        try:
            self._check(response)
        except OrthancError:
            response.close()
            raise
        return response

    def _check(self, response):
        status = response.status_code
        if 200 <= status < 300:
            return
        error = _STATUS.get(
            status, ServerFailure if status >= 500 else BadAnswer)
        raise error("HTTP status %d" % status, status)

    def _read(self, response, limit, deadline):
        length = response.headers.get('Content-Length', '')
        if length.isdigit() and int(length) > limit:
            raise TooLarge("answer of %s bytes" % length)
        raw = response.raw
        # read1 returns what has come, so that the deadline holds even when
        # the answer comes byte by byte
        read = getattr(raw, 'read1', None) or raw.read
        pieces, size = [], 0
        while True:
            piece = read(PIECE)
            if not piece:
                break
            size += len(piece)
            if size > limit:
                raise TooLarge("answer above %d bytes" % limit)
            if time.monotonic() > deadline:
                raise Timeout("answer too slow")
            pieces.append(piece)
        if length.isdigit() and size < int(length):
            raise _Stale("answer broke off")
        # A connection is only used again when its answer was read to the end.
        raw.release_conn()
        return b''.join(pieces)
