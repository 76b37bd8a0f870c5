# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import re
from urllib.parse import quote

# PS3.5 section 9.1: digits and dots, at most 64 characters
_UID = re.compile(r'[0-9.]{1,64}')


def _uid(value):
    return quote(value) if value and _UID.fullmatch(value) else None


def explorer_link(base_url, level=None, orthanc_id=None):
    "Return the address of Orthanc Explorer, or of a resource in it"
    if not base_url:
        return None
    link = f'{base_url}/app/explorer.html'
    if level and orthanc_id:
        link += f'#{level}?uuid={quote(orthanc_id, safe="")}'
    return link


def ohif_link(base_url, study_uid, series_uid=None):
    "Return the address that shows the study in OHIF, None without UID"
    study_uid = _uid(study_uid)
    if not base_url or not study_uid:
        return None
    link = f'{base_url}/ohif/viewer?StudyInstanceUIDs={study_uid}'
    if _uid(series_uid):
        link += f'&SeriesInstanceUIDs={_uid(series_uid)}'
    return link


def stone_link(base_url, study_uid, series_uid=None):
    "Return the address that shows the study in Stone, None without UID"
    study_uid = _uid(study_uid)
    if not base_url or not study_uid:
        return None
    link = f'{base_url}/stone-webviewer/index.html?study={study_uid}'
    if _uid(series_uid):
        link += f'&series={_uid(series_uid)}'
    return link
