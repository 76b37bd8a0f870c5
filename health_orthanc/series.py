# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from sql import Column
from sql.functions import CharLength

from trytond.i18n import gettext
from trytond.model import Index, ModelSQL, ModelView, Unique, fields
from trytond.modules.health_imaging.dates import now
from trytond.pool import Pool
from trytond.pyson import Bool, Eval, If

from . import upgrade
from .links import explorer_link, ohif_link, stone_link
from .mirror import check_person_fields


class Series(ModelSQL, ModelView):
    "Study Series"
    __name__ = 'gnuhealth.imaging_orthanc.study_series'

    study = fields.Many2One(
        'gnuhealth.imaging_orthanc.study', "Study", required=True,
        readonly=True, ondelete='CASCADE')
    orthanc_UID = fields.Char("Orthanc UID", required=True, readonly=True)
    series_UID = fields.Char("Series UID", required=True, readonly=True)
    series_number = fields.Char("Series No.", readonly=True)
    series_description = fields.Char("Description", readonly=True)
    modality = fields.Char("Modality", readonly=True)
    body_part = fields.Char("Body Part", readonly=True)
    series_date = fields.Date("Series Date", readonly=True)
    series_time = fields.Time("Series Time", readonly=True)
    station_name = fields.Char("Station", readonly=True)
    instance_count = fields.Integer("Images", readonly=True)
    last_update = fields.Char("Last Update", readonly=True)
    missing_since = fields.DateTime("Missing since", readonly=True)
    notes = fields.Text("Series notes")
    instances = fields.One2Many(
        'gnuhealth.imaging_orthanc.series_instances', 'series',
        "Series Instance")
    server_config = fields.Function(
        fields.Many2One('gnuhealth.orthanc.config', "Server"),
        'get_server', searcher='search_server')
    server = fields.Function(
        fields.Char("Server"), 'get_server', searcher='search_server')
    ohif_viewer_link = fields.Function(
        fields.Char("OHIF Viewer", states={
                'invisible': ~Eval('ohif_viewer_link'),
                }),
        'get_link')
    stone_viewer_link = fields.Function(
        fields.Char("Stone Viewer", states={
                'invisible': ~Eval('stone_viewer_link'),
                }),
        'get_link')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls.__access__.add('study')
        cls._order = [
            ('study', 'DESC'), ('series_number', 'ASC'), ('id', None)]
        for name in ['orthanc_UID', 'series_UID', 'modality']:
            getattr(cls, name).search_unaccented = False
        t = cls.__table__()
        cls._sql_constraints += [
            ('study_orthanc_unique', Unique(t, t.study, t.orthanc_UID),
                'health_orthanc.msg_series_unique'),
            ]
        cls._sql_indexes.update({
                Index(t, (t.study, Index.Range())),
                Index(t, (t.orthanc_UID, Index.Range())),
                })
        not_missing = {
            'invisible': Bool(Eval('missing_since')),
            'depends': ['missing_since'],
            }
        cls._buttons.update({
                'delete_series': not_missing.copy(),
                'open_viewer': not_missing.copy(),
                })

    @classmethod
    def __register__(cls, module):
        upgrade.merge_duplicates(
            cls, module, ['study', 'orthanc_UID'], texts=['notes'],
            children=[
                ('gnuhealth_imaging_orthanc_series_instances', 'series')])
        super().__register__(module)

    @classmethod
    def order_series_number(cls, tables):
        table, _ = tables[None]
        # The number is text: without its length 10 would precede 2.
        number = Column(table, 'series_number')
        return [CharLength(number), number]

    @classmethod
    def get_server(cls, series, names):
        result = {name: {} for name in names}
        for one in series:
            server = one.study.server_config
            values = {'server': server.domain, 'server_config': server.id}
            for name in names:
                result[name][one.id] = values[name]
        return result

    @classmethod
    def search_server(cls, name, clause):
        nested = clause[0][len(name):]
        if name == 'server':
            nested = '.domain'
        return [('study.server_config' + nested, *clause[1:])]

    @classmethod
    def get_link(cls, series, names):
        return {
            name: {s.id: s.viewer_link(name.split('_')[0]) for s in series}
            for name in names}

    def viewer_link(self, viewer, token=None):
        "Return the address of the series in ohif, stone or orthanc (Explorer)"
        study, server = self.study, self.study.server_config
        if self.missing_since or not server.has_viewer(viewer):
            return None
        base_url = server.link_base_url
        uids = study.study_instance_UID, self.series_UID
        if viewer == 'ohif':
            return ohif_link(base_url, *uids, token=token)
        if viewer == 'stone':
            return stone_link(base_url, *uids, token=token)
        return explorer_link(base_url, 'series', self.orthanc_UID)

    def get_rec_name(self, name):
        return ' '.join(filter(None, [
                    self.series_number, self.modality,
                    self.series_description])) or self.series_UID

    @classmethod
    def search_rec_name(cls, name, clause):
        return [('series_description', *clause[1:])]

    @classmethod
    def view_attributes(cls):
        Server = Pool().get('gnuhealth.orthanc.config')
        return super().view_attributes() + Server.missing_links() + [
            ('/tree', 'visual', If(
                    Bool(Eval('missing_since')), 'muted', '')),
            ]

    @classmethod
    def write(cls, *args):
        check_person_fields(args, {'notes', 'instances'})
        super().write(*args)

    @classmethod
    @ModelView.button_action('health_orthanc.wizard_delete_series')
    def delete_series(cls, series):
        pass

    @classmethod
    @ModelView.button_action('health_orthanc.wizard_open_viewer_series')
    def open_viewer(cls, series):
        pass

    def describe(self):
        "Return whose series it is and how much of it there is"
        study = self.study
        return gettext(
            'health_orthanc.msg_series_description',
            series=self.rec_name,
            study=study.rec_name,
            patient=(study.patient.rec_name if study.patient
                else study.patient_name or ''),
            patient_id=study.patient_id or '',
            server=study.server_config.rec_name,
            images=self.instance_count or len(self.instances))

    @classmethod
    def mark_missing(cls, series):
        "Note that Orthanc does not hold the series any more"
        Instance = Pool().get('gnuhealth.imaging_orthanc.series_instances')
        Instance.delete([i for s in series for i in s.instances])
        cls.write(series, {'missing_since': now()})


class Instance(ModelSQL, ModelView):
    "Series Instance"
    __name__ = 'gnuhealth.imaging_orthanc.series_instances'

    series = fields.Many2One(
        'gnuhealth.imaging_orthanc.study_series', "Series", required=True,
        readonly=True, ondelete='CASCADE')
    orthanc_UID = fields.Char("Orthanc UID", required=True, readonly=True)
    sop_instance_UID = fields.Char(
        "SOP Instance UID", required=True, readonly=True)
    sop_class_UID = fields.Char("SOP Class UID", readonly=True)
    instance_number = fields.Integer("Instance Number", readonly=True)
    image_position_patient = fields.Char("Image Position", readonly=True)
    rows = fields.Integer("Rows", readonly=True)
    columns = fields.Integer("Columns", readonly=True)
    number_of_frames = fields.Integer("Frames", readonly=True)
    server = fields.Function(
        fields.Char("Server"), 'get_server', searcher='search_server')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls.__access__.add('series')
        cls._order = [('instance_number', 'ASC'), ('id', None)]
        for name in ['orthanc_UID', 'sop_instance_UID', 'sop_class_UID']:
            getattr(cls, name).search_unaccented = False
        t = cls.__table__()
        cls._sql_constraints += [
            ('series_orthanc_unique', Unique(t, t.series, t.orthanc_UID),
                'health_orthanc.msg_instance_unique'),
            ]
        cls._sql_indexes.update({
                Index(t, (t.series, Index.Range())),
                Index(t, (t.orthanc_UID, Index.Range())),
                })

    @classmethod
    def __register__(cls, module):
        upgrade.merge_duplicates(cls, module, ['series', 'orthanc_UID'])
        super().__register__(module)

    @classmethod
    def get_server(cls, instances, name):
        return {
            i.id: i.series.study.server_config.domain for i in instances}

    @classmethod
    def search_server(cls, name, clause):
        return [('series.study.server_config.domain', *clause[1:])]

    def get_rec_name(self, name):
        if self.instance_number is not None:
            return str(self.instance_number)
        return self.sop_instance_UID

    @classmethod
    def search_rec_name(cls, name, clause):
        return [('sop_instance_UID', *clause[1:])]

    @classmethod
    def write(cls, *args):
        check_person_fields(args, set())
        super().write(*args)
