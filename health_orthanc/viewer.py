# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from trytond.i18n import gettext
from trytond.model import (
    DeactivableMixin, ModelSQL, ModelView, fields, sequence_ordered)
from trytond.modules.health_imaging.access import GuardedWizard, check_rights
from trytond.pool import Pool, PoolMeta
from trytond.transaction import without_check_access
from trytond.wizard import Button, StateAction, StateView

from .exceptions import NoViewerError, ViewerTemplateError
from .links import PLACEHOLDERS, TemplateError, check_template, expand

_BUILT_IN = [('ohif', "OHIF"), ('stone', "Stone")]
_EXPLORER = ('explorer', "Orthanc Explorer")


class Viewer(sequence_ordered(), DeactivableMixin, ModelSQL, ModelView):
    "Viewer"
    __name__ = 'gnuhealth.orthanc.viewer'

    server = fields.Many2One(
        'gnuhealth.orthanc.config', "Server", required=True,
        ondelete='CASCADE')
    name = fields.Char("Name", required=True)
    level = fields.Selection([
            ('study', "Study"),
            ('series', "Series"),
            ], "Opens", required=True, sort=False)
    template = fields.Char("URL Template", required=True,
        help="The address that opens it, with {study_uid}, {series_uid}, "
        "{orthanc_id}, {base_url} and {token} to be filled in.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls.__access__.add('server')

    @classmethod
    def default_level(cls):
        return 'study'

    @property
    def wants_token(self):
        return '{token}' in self.template

    @classmethod
    def validate_fields(cls, viewers, field_names):
        super().validate_fields(viewers, field_names)
        if field_names & {'template', 'level', 'server'}:
            for viewer in viewers:
                viewer.check_template()

    def check_template(self):
        try:
            check_template(self.template, self.level)
        except TemplateError as error:
            raise ViewerTemplateError(gettext(
                    'health_orthanc.msg_viewer_' + error.reason,
                    viewer=self.name, part=error.part,
                    placeholders=', '.join(
                        '{%s}' % p for p in PLACEHOLDERS))) from None
        if self.wants_token and not self.server.viewer_token:
            raise ViewerTemplateError(gettext(
                    'health_orthanc.msg_viewer_no_token',
                    viewer=self.name, server=self.server.rec_name))

    def get_url(self, study, series=None, token=None):
        "Return the address that opens it, None if there is none"
        orthanc_id = study.orthanc_UID
        if self.level == 'series':
            orthanc_id = series and series.orthanc_UID
        return expand(
            self.template, study.server_config.link_base_url,
            study.study_instance_UID, series and series.series_UID,
            orthanc_id, token)


class Server(metaclass=PoolMeta):
    __name__ = 'gnuhealth.orthanc.config'

    viewers = fields.One2Many(
        'gnuhealth.orthanc.viewer', 'server', "Viewers")

    def has_viewer(self, viewer):
        "Whether the server may have ohif or stone: False only if it has not"
        plugins = (self.plugins or '').split(', ')
        if not self.plugins:
            return True
        if viewer == 'stone':
            return 'stone-webviewer' in plugins
        if viewer == 'ohif':
            # a script or a proxy may serve it too
            return bool(
                self.proxy_domain or {'ohif', 'python'}.intersection(plugins))
        return True

    def viewer_choices(self, level):
        "What opens a study or a series of the server: keys and names"
        choices = [v for v in _BUILT_IN if self.has_viewer(v[0])]
        choices.append(_EXPLORER)
        choices += [
            (str(v.id), v.name) for v in self.viewers
            if v.level in {'study', level}
            and (self.viewer_token or not v.wants_token)]
        return choices

    @classmethod
    @without_check_access
    def missing_links(cls):
        """What hides the columns of links that no server has

        To be added to the attributes of a view.
        """
        servers = cls.search([])
        return [
            (f'/tree/field[@name="{viewer}_viewer_link"]',
                'tree_invisible', True)
            for viewer, _ in _BUILT_IN
            if servers and not any(s.has_viewer(viewer) for s in servers)]

    @classmethod
    def create(cls, vlist):
        ModelView._fields_view_get_cache.clear()
        return super().create(vlist)

    @classmethod
    def write(cls, *args):
        args = [
            # another Orthanc may have others
            {'plugins': None, **a} if 'domain' in a else a for a in args]
        super().write(*args)
        if any({'plugins', 'active', 'proxy_domain'} & values.keys()
                for values in args[1::2]):
            ModelView._fields_view_get_cache.clear()


class OpenViewerAsk(ModelView):
    "Open Viewer"
    __name__ = 'gnuhealth.orthanc.open_viewer.ask'

    server = fields.Many2One(
        'gnuhealth.orthanc.config', "Server", readonly=True)
    level = fields.Char("Level", readonly=True)
    viewer = fields.Selection(
        'get_viewers', "Viewer", required=True, sort=False)

    @fields.depends('server', 'level')
    def get_viewers(self):
        if not self.server:
            return []
        check_rights(type(self.server), [self.server], 'read')
        return self.server.viewer_choices(self.level)


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

    def _resource(self):
        if self.model.__name__ == 'gnuhealth.imaging_orthanc.study_series':
            return self.record.study, self.record
        return self.record, None

    def default_start(self, fields):
        study, series = self._resource()
        server, level = study.server_config, 'series' if series else 'study'
        return {
            'server': server.id,
            'level': level,
            'viewer': server.viewer_choices(level)[0][0],
            }

    def do_open_(self, action):
        pool = Pool()
        Audit = pool.get('gnuhealth.orthanc.audit')
        Viewer = pool.get('gnuhealth.orthanc.viewer')
        study, series = self._resource()
        server = study.server_config
        choices = dict(
            server.viewer_choices('series' if series else 'study'))
        viewer = self.start.viewer
        url = None
        if viewer in choices and not self.record.missing_since:
            token = server.make_viewer_token(study)
            if viewer.isdigit():
                url = Viewer(int(viewer)).get_url(study, series, token)
            else:
                url = self.record.viewer_link(viewer, token)
        if not url:
            raise NoViewerError(gettext(
                    'health_orthanc.msg_no_viewer_link',
                    record=self.record.rec_name))
        Audit.note('view', [study], series=series, detail=choices[viewer])
        action['url'] = url
        return action, {}
