# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from sql import Null

from trytond.i18n import gettext
from trytond.model import Index, ModelSQL, ModelView, Unique, fields
from trytond.modules.health_imaging.access import GuardedView
from trytond.modules.health_imaging.dates import now
from trytond.pool import Pool
from trytond.pyson import Bool, Eval, If
from trytond.transaction import Transaction

from . import upgrade
from .mirror import check_person_fields
from .links import explorer_link, ohif_link, stone_link

NEWEST = 'DESC NULLS LAST'


class Study(ModelSQL, GuardedView):
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
    missing_since = fields.DateTime(
        "Missing since", readonly=True,
        states={
            'invisible': ~Eval('missing_since'),
            },
        help="Since when Orthanc no longer holds the study.")

    patient = fields.Many2One('gnuhealth.patient', "Patient",
        help="The patient of GNU Health.")
    gnuhealth_patient_name = fields.Function(
        fields.Char("Health Patient"), 'get_gnuhealth_patient_name')
    puid = fields.Function(
        fields.Char("PUID", help="The patient's in GNU Health."),
        'get_puid', searcher='search_puid')
    request = fields.Many2One(
        'gnuhealth.imaging.test.request', "Request", readonly=True)
    imaging_test = fields.Many2One(
        'gnuhealth.imaging.test.result', "Result",
        domain=[
            If(Bool(Eval('patient')), ('patient', '=', Eval('patient')), ()),
            ])
    merge_id = fields.Char("Merge ID", readonly=True)
    merge_comment = fields.Char("Merge Comment")
    link_origin = fields.Selection([
            (None, ""),
            ('uid', "Study UID"),
            ('tag', "Other Tag"),
            ('accession', "Accession Number"),
            ('puid', "PUID"),
            ('patient', "Patient in Orthanc"),
            ('person', "Person"),
            ], "Linked by", readonly=True, sort=False)
    link_user = fields.Many2One(
        'res.user', "Linked by User", readonly=True,
        states={
            'invisible': ~Eval('link_user'),
            },
        help="Who linked the study, or took its link back.")
    link_date = fields.DateTime("Linked on", readonly=True,
        states={
            'invisible': ~Eval('link_date'),
            })
    link_reason = fields.Text("Reason of Link", readonly=True,
        states={
            'invisible': ~Eval('link_reason'),
            },
        help="Why the study was linked in spite of a contradiction.")
    to_verify = fields.Boolean("To Verify",
        help="The link contradicts something and waits for a person.")
    notes = fields.Text("Study notes")

    series = fields.One2Many(
        'gnuhealth.imaging_orthanc.study_series', 'study', "Study Series")

    link_base_url = fields.Function(
        fields.Char("Link Base URL"), 'get_link')
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
    orthanc_explorer_link = fields.Function(
        fields.Char("Orthanc Explorer"), 'get_link')

    # What a person may write; all else is what Orthanc says
    _person_fields = {
        'patient', 'imaging_test', 'to_verify', 'merge_comment', 'notes',
        'series', 'server', 'server_config'}

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
                Index(t, (t.patient, Index.Range()), *newest,
                    where=t.patient != Null),
                Index(t, (t.imaging_test, Index.Range()),
                    where=t.imaging_test != Null),
                Index(t, (t.request, Index.Range()),
                    where=t.request != Null),
                Index(t, (t.orthanc_patient, Index.Range()),
                    where=t.orthanc_patient != Null),
                # what rec_name searches; PostgreSQL with pg_trgm only
                *(Index(t, (column, Index.Similarity())) for column in [
                        Index.Unaccent(t.patient_name),
                        Index.Unaccent(t.description),
                        t.patient_id, t.accession_number]),
                })
        not_missing = {
            'invisible': Bool(Eval('missing_since')),
            'depends': ['missing_since'],
            }
        cls._buttons.update({
                'delete_study': not_missing.copy(),
                'open_viewer': not_missing.copy(),
                })

    @classmethod
    def __register__(cls, module):
        contradicted = upgrade.study_before(cls, module)
        super().__register__(module)
        if contradicted is not None:
            upgrade.study_after(cls, module, contradicted)

    @classmethod
    def default_to_verify(cls):
        return False

    @fields.depends(
        'imaging_test', '_parent_imaging_test.patient', 'patient',
        '_parent_patient.id')
    def on_change_imaging_test(self):
        if self.imaging_test and not self.patient:
            self.patient = self.imaging_test.patient

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

    def get_puid(self, name):
        return self.patient.puid if self.patient else None

    @classmethod
    def search_puid(cls, name, clause):
        return [('patient.party.ref', *clause[1:])]

    @classmethod
    def get_link(cls, studies, names):
        result = {name: {} for name in names}
        for study in studies:
            for name in names:
                if name == 'link_base_url':
                    link = study.server_config.link_base_url
                else:
                    link = study.viewer_link(name.split('_')[0])
                result[name][study.id] = link
        return result

    def viewer_link(self, viewer, token=None):
        "Return the address of the study in ohif, stone or orthanc (Explorer)"
        server = self.server_config
        if self.missing_since or not server.has_viewer(viewer):
            return None
        base_url = server.link_base_url
        if viewer == 'ohif':
            return ohif_link(base_url, self.study_instance_UID, token=token)
        if viewer == 'stone':
            return stone_link(base_url, self.study_instance_UID, token=token)
        return explorer_link(base_url, 'study', self.orthanc_UID)

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

    @classmethod
    def view_attributes(cls):
        Server = Pool().get('gnuhealth.orthanc.config')
        return super().view_attributes() + Server.missing_links() + [
            ('/tree', 'visual', If(
                    Bool(Eval('missing_since')), 'muted',
                    If(Bool(Eval('to_verify')), 'warning', ''))),
            ]

    @classmethod
    def create(cls, vlist):
        vlist = [cls._link_server(v) for v in vlist]
        return super().create(vlist)

    @classmethod
    def _link_server(cls, values):
        "Replace the URL of the server by the link to it"
        if 'server' not in values:
            return values
        Server = Pool().get('gnuhealth.orthanc.config')
        values = values.copy()
        url = values.pop('server')
        if url and not values.get('server_config'):
            values['server_config'] = Server.from_url(url).id
        return values

    @classmethod
    def write(cls, *args):
        transaction = Transaction()
        check_person_fields(args, cls._person_fields)
        new_args, links = [], []
        actions = iter(args)
        for studies, values in zip(actions, actions):
            if {'patient', 'imaging_test'} & values.keys() and (
                    not transaction.context.get('_orthanc_linking')):
                values = cls._person_link(values)
                links += studies
            new_args += [studies, values]
        super().write(*new_args)
        if links:
            cls._log_links(links)

    @classmethod
    def _person_link(cls, values):
        "Complete what a person links; nobody else changes it from now on"
        Result = Pool().get('gnuhealth.imaging.test.result')
        values = {
            **values,
            'link_origin': 'person',
            'to_verify': False,
            'link_user': Transaction().user,
            'link_date': now(),
            'link_reason': None,
            }
        if 'imaging_test' in values:
            result = values['imaging_test'] and Result(values['imaging_test'])
            values['request'] = (
                result.request.id if result and result.request else None)
            if result and result.patient:
                values.setdefault('patient', result.patient.id)
        return values

    @classmethod
    def _log_links(cls, studies):
        Audit = Pool().get('gnuhealth.orthanc.audit')
        studies = cls.browse(studies)
        linked = [s for s in studies if s.patient or s.imaging_test]
        Audit.note('link', linked)
        Audit.note('unlink', [s for s in studies if s not in linked])

    @classmethod
    @ModelView.button_action('health_orthanc.wizard_delete_study')
    def delete_study(cls, studies):
        pass

    @classmethod
    @ModelView.button_action('health_orthanc.wizard_open_viewer_study')
    def open_viewer(cls, studies):
        pass

    def describe(self):
        "Return whose study it is and how much of it there is"
        return gettext(
            'health_orthanc.msg_study_description',
            study=self.rec_name,
            patient=(self.patient.rec_name if self.patient
                else self.patient_name or ''),
            patient_id=self.patient_id or '',
            server=self.server_config.rec_name,
            series=self.series_count or len(self.series),
            images=self.instance_count or 0)

    @classmethod
    def mark_missing(cls, studies):
        "Note that Orthanc does not hold the studies any more"
        Series = Pool().get('gnuhealth.imaging_orthanc.study_series')
        Series.mark_missing([s for study in studies for s in study.series])
        cls.write(studies, {'missing_since': now()})
