# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from sql import Column, Null
from sql.functions import CharLength

from trytond.model import Index, ModelSQL, ModelView, Unique, fields
from trytond.pool import Pool
from trytond.transaction import Transaction

from . import upgrade
from .viewer import explorer_link, ohif_link, stone_link

NEWEST = 'DESC NULLS LAST'


class Study(ModelSQL, ModelView):
    "Patient Orthanc Study"
    __name__ = 'gnuhealth.imaging_orthanc.study'

    server_config = fields.Many2One(
        'gnuhealth.orthanc.config', "Server", required=True, readonly=True,
        ondelete='RESTRICT')
    server = fields.Function(
        fields.Char("Orthanc Server"),
        'get_server', setter='set_server', searcher='search_server')
    orthanc_UID = fields.Char("Orthanc UID", required=True, readonly=True)
    study_instance_UID = fields.Char(
        "Study UID", required=True, readonly=True)

    orthanc_patient = fields.Many2One(
        'gnuhealth.orthanc.patient', "Patient in Orthanc", readonly=True)
    patient_name = fields.Char("Orthanc Patient", readonly=True)
    patient_id = fields.Char("Patient ID", readonly=True)
    patient_birth_date = fields.Function(
        fields.Date("Birthdate"), 'get_orthanc_patient')
    patient_sex = fields.Function(fields.Char("Sex"), 'get_orthanc_patient')

    study_date = fields.Date("Study Date", readonly=True)
    study_time = fields.Time("Study Time", readonly=True)
    date = fields.Char("Date", readonly=True,
        help="The date as Orthanc tells it.")
    description = fields.Char("Description", readonly=True)
    accession_number = fields.Char("Accession Number", readonly=True)
    modalities = fields.Char("Modalities", readonly=True)
    series_count = fields.Integer("Series", readonly=True)
    instance_count = fields.Integer("Images", readonly=True)
    institution = fields.Char("Institution", readonly=True)
    performing_physician_name = fields.Char("Physician", readonly=True)
    requesting_physician = fields.Char("Requesting Physician", readonly=True)
    referring_physician = fields.Char("Referring Physician", readonly=True)
    last_update = fields.Char("Last Update", readonly=True)
    missing_since = fields.DateTime("Missing since", readonly=True,
        help="Since when Orthanc no longer holds the study.")

    patient = fields.Many2One('gnuhealth.patient', "Patient",
        help="The patient of GNU Health.")
    gnuhealth_patient_name = fields.Function(
        fields.Char("Health Patient"), 'get_gnuhealth_patient_name')
    request = fields.Many2One(
        'gnuhealth.imaging.test.request', "Request", readonly=True)
    imaging_test = fields.Many2One(
        'gnuhealth.imaging.test.result', "Result")
    merge_id = fields.Char("Merge ID", readonly=True)
    merge_comment = fields.Char("Merge Comment")
    link_origin = fields.Selection([
            (None, ""),
            ('uid', "Study UID"),
            ('tag', "Other Tag"),
            ('accession', "Accession Number"),
            ('puid', "PUID"),
            ('person', "Person"),
            ], "Linked by", readonly=True, sort=False)
    to_verify = fields.Boolean("To Verify",
        help="The link contradicts something and waits for a person.")
    notes = fields.Text("Study notes")

    series = fields.One2Many(
        'gnuhealth.imaging_orthanc.study_series', 'study', "Study Series")

    link_base_url = fields.Function(
        fields.Char("Link Base URL"), 'get_link')
    ohif_viewer_link = fields.Function(
        fields.Char("OHIF Viewer"), 'get_link')
    stone_viewer_link = fields.Function(
        fields.Char("Stone Viewer"), 'get_link')
    orthanc_explorer_link = fields.Function(
        fields.Char("Orthanc Explorer"), 'get_link')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._order = [('study_date', NEWEST), ('id', 'DESC')]
        for name in ['orthanc_UID', 'study_instance_UID', 'merge_id',
                'accession_number', 'patient_id', 'modalities']:
            getattr(cls, name).search_unaccented = False
        t = cls.__table__()
        cls._sql_constraints += [
            ('server_orthanc_unique',
                Unique(t, t.server_config, t.orthanc_UID),
                'health_orthanc.msg_study_unique'),
            ]
        newest = [
            (t.study_date, Index.Range(order=NEWEST)),
            (t.id, Index.Range(order='DESC'))]
        cls._sql_indexes.update({
                Index(t, *newest),
                Index(t, (t.server_config, Index.Range()), *newest),
                Index(t, *newest, where=t.patient == Null),
                Index(t, *newest, where=t.missing_since != Null),
                Index(t, *newest, where=t.to_verify),
                Index(t, (t.merge_id, Index.Range()),
                    where=t.imaging_test == Null),
                Index(t, (t.merge_id, Index.Range())),
                Index(t, (t.study_instance_UID, Index.Range())),
                Index(t, (t.accession_number, Index.Range()),
                    where=t.accession_number != Null),
                Index(t, (t.patient_id, Index.Range())),
                Index(t, (t.patient, Index.Range()),
                    where=t.patient != Null),
                Index(t, (t.imaging_test, Index.Range()),
                    where=t.imaging_test != Null),
                Index(t, (t.request, Index.Range()),
                    where=t.request != Null),
                Index(t, (t.orthanc_patient, Index.Range()),
                    where=t.orthanc_patient != Null),
                Index(t, (Index.Unaccent(t.patient_name),
                        Index.Similarity())),
                })

    @classmethod
    def __register__(cls, module):
        upgraded = upgrade.study_before(cls, module)
        super().__register__(module)
        if upgraded:
            upgrade.study_after(cls, module)

    @classmethod
    def default_to_verify(cls):
        return False

    @classmethod
    def get_server(cls, studies, name):
        return {s.id: s.server_config.domain for s in studies}

    @classmethod
    def set_server(cls, studies, name, value):
        Server = Pool().get('gnuhealth.orthanc.config')
        cls.write(studies, {'server_config': Server.from_url(value).id})

    @classmethod
    def search_server(cls, name, clause):
        return [('server_config.domain', *clause[1:])]

    @classmethod
    def order_server(cls, tables):
        Server = Pool().get('gnuhealth.orthanc.config')
        table, _ = tables[None]
        if 'server_config' not in tables:
            server = Server.__table__()
            tables['server_config'] = {
                None: (server, table.server_config == server.id),
                }
        server, _ = tables['server_config'][None]
        return [server.domain]

    @classmethod
    def get_orthanc_patient(cls, studies, names):
        result = {name: {} for name in names}
        for study in studies:
            patient = study.orthanc_patient
            if 'patient_birth_date' in result:
                result['patient_birth_date'][study.id] = (
                    patient.bd if patient else None)
            if 'patient_sex' in result:
                result['patient_sex'][study.id] = (
                    patient.sex if patient else None)
        return result

    def get_gnuhealth_patient_name(self, name):
        return self.patient.rec_name if self.patient else None

    @classmethod
    def get_link(cls, studies, names):
        result = {name: {} for name in names}
        for study in studies:
            base_url = study.server_config.link_base_url
            links = {
                'link_base_url': base_url,
                'ohif_viewer_link': ohif_link(
                    base_url, study.study_instance_UID),
                'stone_viewer_link': stone_link(
                    base_url, study.study_instance_UID),
                'orthanc_explorer_link': explorer_link(
                    base_url, 'study', study.orthanc_UID),
                }
            for name in names:
                result[name][study.id] = links[name]
        return result

    def get_rec_name(self, name):
        return ' '.join(filter(None, [
                    str(self.study_date or self.date or ''),
                    self.modalities, self.description,
                    self.patient_name])) or self.study_instance_UID

    @classmethod
    def search_rec_name(cls, name, clause):
        operator = 'AND' if clause[1].startswith(('!', 'not ')) else 'OR'
        return [operator,
            ('patient_name', *clause[1:]),
            ('patient_id', *clause[1:]),
            ('accession_number', *clause[1:]),
            ('description', *clause[1:]),
            ]


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
    server = fields.Function(
        fields.Char("Server"), 'get_server', searcher='search_server')
    ohif_viewer_link = fields.Function(
        fields.Char("OHIF Viewer"), 'get_link')
    stone_viewer_link = fields.Function(
        fields.Char("Stone Viewer"), 'get_link')

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

    @classmethod
    def __register__(cls, module):
        upgrade.remove_duplicates(
            cls, module, ['study', 'orthanc_UID'], ['notes'])
        super().__register__(module)

    @classmethod
    def order_series_number(cls, tables):
        table, _ = tables[None]
        # The number is text: without its length 10 would precede 2.
        number = Column(table, 'series_number')
        return [CharLength(number), number]

    @classmethod
    def get_server(cls, series, name):
        return {s.id: s.study.server_config.domain for s in series}

    @classmethod
    def search_server(cls, name, clause):
        return [('study.server_config.domain', *clause[1:])]

    @classmethod
    def get_link(cls, series, names):
        result = {name: {} for name in names}
        make = {
            'ohif_viewer_link': ohif_link, 'stone_viewer_link': stone_link}
        for serie in series:
            study = serie.study
            base_url = study.server_config.link_base_url
            for name in names:
                result[name][serie.id] = make[name](
                    base_url, study.study_instance_UID, serie.series_UID)
        return result

    def get_rec_name(self, name):
        return ' '.join(filter(None, [
                    self.series_number, self.modality,
                    self.series_description])) or self.series_UID

    @classmethod
    def search_rec_name(cls, name, clause):
        return [('series_description', *clause[1:])]


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
    number_of_frames = fields.Integer("Number of Frames", readonly=True)
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
        upgrade.remove_duplicates(
            cls, module, ['series', 'orthanc_UID'], [])
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
