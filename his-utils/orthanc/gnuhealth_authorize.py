# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let viewers read one study with a token: a script of Orthanc's Python plugin.

Name this file as "PythonScript" in Orthanc's configuration and add

    "AuthenticationEnabled": false,
    "GnuHealth": {
      "AuthorizeUrl":
        "https://gnuhealth.example.org/health/health_orthanc/authorize",
      "Key": "${GNUHEALTH_NOTIFICATION_KEY}"
    }

Orthanc then leaves it to this script who may read what:

- The users of "RegisteredUsers" may do everything, with their passwords.
- The pages of OHIF and Stone are for everybody: nothing of a patient is in
  them.
- What viewers read of a study needs a token, about which GNU Health is asked.
- All else is refused.

With "Url" among the settings of GnuHealth, gnuhealth.py of the same folder
tells GNU Health of changes, too.
"""
import base64
import binascii
import hmac
import json
import re
import threading
import time
import urllib.request

import orthanc

CONFIGURATION = json.loads(orthanc.GetConfiguration())
SETTINGS = CONFIGURATION['GnuHealth']
USERS = CONFIGURATION.get('RegisteredUsers', {})
DICOM_WEB = '/' + CONFIGURATION.get('DicomWeb', {}).get(
    'Root', '/dicom-web/').strip('/')
READ = {orthanc.HttpMethod.GET}

PAGES = re.compile(r'/(ohif|stone-webviewer)(/[\w.@~+-]+)*/?')
SEGMENT = re.compile(r'[\w.,@~+-]+')
UID = re.compile(r'[0-9.]{1,64}')
ORTHANC_ID = re.compile(r'[0-9a-f]{8}(-[0-9a-f]{8}){4}')
LEVELS = {'studies': 'study', 'series': 'series', 'instances': 'instance'}
# What leads from a resource to those above it, or to many others
UPWARDS = {'patient', 'study', 'series', 'attachments'}
# The arguments that name a study in a query, without their punctuation
STUDY_NAMES = {'studyinstanceuid', '0020000d', 'studyuid'}
PUNCTUATION = re.compile(r'[^0-9a-z]')
# The answers kept at most
MEMORY = 10_000

answers = {}
lock = threading.Lock()


def is_user(header):
    "Whether it is the name and the password of one of Orthanc's users"
    kind, _, text = header.partition(' ')
    if kind.lower() != 'basic':
        return False
    try:
        name, _, password = base64.b64decode(
            text, validate=True).decode().partition(':')
    except (binascii.Error, ValueError):
        return False
    known = USERS.get(name)
    return isinstance(known, str) and hmac.compare_digest(
        known.encode(), password.encode())


def token_of(headers, arguments):
    kind, _, token = headers.get('authorization', '').partition(' ')
    if kind.lower() == 'bearer':
        return token.strip()
    return headers.get('token') or arguments.get('token')


def resource_of(uri, arguments):
    """Return the level and how the resource is named, None if there is none.

    The study for all that DICOMweb reads of one.
    """
    named = {
        value for name, value in arguments.items()
        if PUNCTUATION.sub('', name.lower()) in STUDY_NAMES}
    if uri == DICOM_WEB or uri.startswith(DICOM_WEB + '/'):
        first, *rest = segments(uri[len(DICOM_WEB):])
        if first != 'studies':
            return None
        uid = rest[0] if rest else ''.join(named)
        # nothing else may be asked for along with it
        if UID.fullmatch(uid) and named <= {uid}:
            return 'study', 'dicom-uid', uid
        return None
    first, id_, *rest = segments(uri) + ['']
    if (first in LEVELS and ORTHANC_ID.fullmatch(id_)
            and not is_upwards(LEVELS[first], rest)):
        return LEVELS[first], 'orthanc-id', id_


def segments(uri):
    parts = [p for p in uri.split('/') if p]
    if not all(SEGMENT.fullmatch(p) and p.strip('.') for p in parts):
        return ['']
    return parts or ['']


def is_upwards(level, rest):
    names = set(rest)
    if level == 'study':
        # a study's own series are below it
        names.discard('series')
    return bool(names & UPWARDS)


def ask(token, level, key, value):
    "Ask GNU Health, and remember its answer as long as it says"
    question = (token, level, key, value)
    now = time.monotonic()
    with lock:
        granted, until = answers.get(question, (False, 0))
    if until > now:
        return granted
    request = urllib.request.Request(
        SETTINGS['AuthorizeUrl'], json.dumps({
                'level': level,
                'method': 'get',
                key: value,
                'token-key': 'token',
                'token-value': token,
                }).encode(), {
            'Authorization': 'Bearer ' + SETTINGS['Key'],
            'Content-Type': 'application/json',
            })
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            answer = json.load(response)
        granted = answer['granted'] is True
        until = now + float(answer['validity'])
    except (OSError, ValueError, TypeError, KeyError) as error:
        orthanc.LogWarning(
            "GNU Health did not say who may read: %s" % error)
        return False
    with lock:
        if len(answers) >= MEMORY:
            answers.clear()
        answers[question] = granted, until
    return granted


def is_allowed(uri, **request):
    try:
        headers = {
            k.lower(): v for k, v in (request.get('headers') or {}).items()}
        arguments = request.get('get') or {}
        if is_user(headers.get('authorization', '')):
            return True
        if request['method'] not in READ:
            return False
        if PAGES.fullmatch(uri) and '..' not in uri:
            return True
        token = token_of(headers, arguments)
        resource = token and resource_of(uri, arguments)
        return bool(resource) and ask(token, *resource)
    except Exception as error:
        # whatever it is, nobody gets in by it
        orthanc.LogError("Refused: %s" % type(error).__name__)
        return False


orthanc.RegisterIncomingHttpRequestFilter(is_allowed)
if 'Url' in SETTINGS:
    import gnuhealth  # noqa: F401
