# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses that open a study or a series in a viewer.

Nothing here knows of Tryton. What comes from files is checked before it gets
into an address, and no address holds a password.
"""
import re
from urllib.parse import quote, unquote, urlsplit, urlunsplit

__all__ = [
    'TemplateError', 'check_template', 'expand', 'explorer_link', 'ohif_link',
    'stone_link', 'without_credentials']

PLACEHOLDERS = ('base_url', 'study_uid', 'series_uid', 'orthanc_id', 'token')
WEASIS = 'weasis://'

# PS3.5 section 9.1: digits and dots, at most 64 characters
_UID = re.compile(r'[0-9.]{1,64}')
_ORTHANC_ID = re.compile(r'[0-9A-Za-z-]{1,64}')
_PLACEHOLDER = re.compile(r'\{([^{}]*)\}')
_START = re.compile(
    r'\{base_url\}|weasis://|https?://(?P<host>[^/?#{}\\\s]+)(?=[/?#])',
    re.IGNORECASE)
_CREDENTIALS = re.compile(
    r'''://[^/?#\s"']*@'''
    r'|\bbasic\s+[0-9a-z+/=_-]{4,}'
    r'|(?<![a-z])(?:pass(?:word|wd|wort)?|pwd|secret|api[-_]?key)\s*[=:]',
    re.IGNORECASE)
# RFC 3986: what an address may hold as it is
_RESERVED = "%/:?#[]@!$&'()*+,;=~"


class TemplateError(ValueError):
    """The template makes no address that may be opened.

    Parameters
    ----------
    reason : str
        placeholder, address, credentials, no_uid or series_uid.
    part : str
        What of the template is meant.
    """

    def __init__(self, reason, part=''):
        super().__init__(reason)
        self.reason = reason
        self.part = part


def without_credentials(url):
    "Return the address without the user name and the password in it"
    try:
        parts = urlsplit(url)
    except ValueError:
        return ''
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition('@')[2]))


def _checked(pattern, value):
    return value if value and pattern.fullmatch(value) else None


def _uid(value):
    return _checked(_UID, value)


def explorer_link(base_url, level, orthanc_id):
    "Return the address of a resource in Orthanc Explorer"
    if not base_url or not orthanc_id:
        return None
    base_url = base_url.rstrip('/')
    return (f'{base_url}/app/explorer.html'
        f'#{level}?uuid={quote(orthanc_id, safe="")}')


def ohif_link(base_url, study_uid, series_uid=None, token=None):
    "Return the address that shows the study in OHIF, None without UID"
    return _viewer_link(
        base_url, '/ohif/viewer?StudyInstanceUIDs=', study_uid,
        '&SeriesInstanceUIDs=', series_uid, token)


def stone_link(base_url, study_uid, series_uid=None, token=None):
    "Return the address that shows the study in Stone, None without UID"
    return _viewer_link(
        base_url, '/stone-webviewer/index.html?study=', study_uid,
        '&series=', series_uid, token)


def _viewer_link(
        base_url, study, study_uid, series, series_uid, token):
    if not base_url or not _uid(study_uid):
        return None
    link = base_url.rstrip('/') + study + study_uid
    if _uid(series_uid):
        link += series + series_uid
    if token:
        link += '&token=' + quote(token, safe='')
    return link


def check_template(template, level):
    """Raise TemplateError unless the template makes addresses for a viewer.

    It starts with {base_url}, with http:// or https:// and a host, or with
    weasis://, and names the resource of the level: study or series.
    """
    names = set(_PLACEHOLDER.findall(template))
    for name in sorted(names.difference(PLACEHOLDERS)):
        raise TemplateError('placeholder', '{%s}' % name)
    for brace in _PLACEHOLDER.sub('', template):
        if brace in '{}':
            raise TemplateError('placeholder', brace)
    start = _START.match(template)
    if not start or not all(c.isprintable() for c in template):
        raise TemplateError('address')
    plain = template
    for _ in range(3):
        if _CREDENTIALS.search(plain):
            raise TemplateError('credentials')
        plain = unquote(plain)
    if start['host'] and not _is_host(start['host']):
        raise TemplateError('address')
    if level == 'study' and 'series_uid' in names:
        raise TemplateError('series_uid')
    if not names & {'orthanc_id', f'{level}_uid'}:
        raise TemplateError('no_uid', '{%s_uid}' % level)


def _is_host(text):
    try:
        parts = urlsplit('//' + text)
        return bool(
            text.isascii() and parts.hostname and parts.username is None
            and (parts.port is None or parts.port > 0))
    except ValueError:
        return False


def expand(template, base_url, study_uid, series_uid=None, orthanc_id=None,
        token=None):
    """Return the address that the template makes.

    Returns
    -------
    str or None
        None if something that the template names is not there or not valid.
    """
    values = {
        'base_url': quote(base_url.rstrip('/') + '/', safe=_RESERVED),
        'study_uid': _uid(study_uid),
        'series_uid': _uid(series_uid),
        'orthanc_id': _checked(_ORTHANC_ID, orthanc_id),
        'token': token,
        }
    if not all(values[n] for n in _PLACEHOLDER.findall(template)):
        return None
    if template.lower().startswith(WEASIS):
        # A command line, as a whole one percent-encoded part: a template may
        # have it encoded already.
        command = unquote(template[len(WEASIS):])
        return WEASIS + quote(_fill(command, values), safe='')
    start = '{base_url}'
    if template.startswith(start):
        head = values['base_url']
        rest = template[len(start):].removeprefix('/')
    else:
        head = _START.match(template)[0]
        rest = template[len(head):]
    rest = quote(rest, safe=_RESERVED + '{}')
    return head + _fill(
        rest, {k: quote(v or '', safe='') for k, v in values.items()})


def _fill(text, values):
    # {base_url} ends with a slash, and people write one after it
    text = text.replace('{base_url}/', '{base_url}')
    return _PLACEHOLDER.sub(lambda match: values[match[1]], text)
