# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import re
from urllib.parse import quote

from trytond.i18n import gettext
from trytond.model import ModelView, fields
from trytond.modules.health_imaging.access import GuardedWizard
from trytond.pool import Pool
from trytond.wizard import Button, StateAction, StateView

from .exceptions import NoViewerError

# PS3.5 section 9.1: digits and dots, at most 64 characters
_UID = re.compile(r'[0-9.]{1,64}')


def _uid(value):
    return quote(value) if value and _UID.fullmatch(value) else None


def explorer_link(base_url, level, orthanc_id):
    "Return the address of a resource in Orthanc Explorer"
    if not base_url or not orthanc_id:
        return None
    base_url = base_url.rstrip('/')
    return (f'{base_url}/app/explorer.html'
        f'#{level}?uuid={quote(orthanc_id, safe="")}')


def ohif_link(base_url, study_uid, series_uid=None):
    "Return the address that shows the study in OHIF, None without UID"
    study_uid = _uid(study_uid)
    if not base_url or not study_uid:
        return None
    base_url = base_url.rstrip('/')
    link = f'{base_url}/ohif/viewer?StudyInstanceUIDs={study_uid}'
    if _uid(series_uid):
        link += f'&SeriesInstanceUIDs={_uid(series_uid)}'
    return link


def stone_link(base_url, study_uid, series_uid=None):
    "Return the address that shows the study in Stone, None without UID"
    study_uid = _uid(study_uid)
    if not base_url or not study_uid:
        return None
    base_url = base_url.rstrip('/')
    link = f'{base_url}/stone-webviewer/index.html?study={study_uid}'
    if _uid(series_uid):
        link += f'&series={_uid(series_uid)}'
    return link


class OpenViewerAsk(ModelView):
    "Open Viewer"
    __name__ = 'gnuhealth.orthanc.open_viewer.ask'

    viewer = fields.Selection([
            ('ohif', "OHIF"),
            ('stone', "Stone"),
            ('explorer', "Orthanc Explorer"),
            ], "Viewer", required=True, sort=False)
    viewer_string = viewer.translated('viewer')

    @classmethod
    def default_viewer(cls):
        return 'ohif'


class OpenViewer(GuardedWizard):
    "Open Viewer"
    __name__ = 'gnuhealth.orthanc.open_viewer'

    start = StateView(
        'gnuhealth.orthanc.open_viewer.ask',
        'health_orthanc.open_viewer_ask_view_form', [
            Button("Cancel", 'end', 'tryton-cancel'),
            Button("Open", 'open_', 'tryton-ok', default=True),
            ])
    open_ = StateAction('health_orthanc.act_viewer')

    def do_open_(self, action):
        Audit = Pool().get('gnuhealth.orthanc.audit')
        viewer = self.start.viewer
        url = self.record.viewer_link(viewer)
        if not url:
            raise NoViewerError(gettext(
                    'health_orthanc.msg_no_viewer_link',
                    record=self.record.rec_name))
        study, series = self.record, None
        if self.model.__name__ == 'gnuhealth.imaging_orthanc.study_series':
            study, series = self.record.study, self.record
        Audit.note(
            'view', [study], series=series,
            detail=self.start.viewer_string)
        action['url'] = url
        return action, {}
