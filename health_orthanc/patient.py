# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from sql import Null
from sql.aggregate import Count

from trytond.model import Index, ModelSQL, ModelView, Unique, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Bool, Eval, If
from trytond.transaction import Transaction, without_check_access

from .mirror import check_person_fields
from .viewer import explorer_link


class OrthancPatient(ModelSQL, ModelView):
    "Orthanc patient information"
    __name__ = 'gnuhealth.orthanc.patient'

    server = fields.Many2One(
        'gnuhealth.orthanc.config', "Server", readonly=True)
    uuid = fields.Char("PatientUUID", readonly=True, required=True)
    name = fields.Char("PatientName", readonly=True)
    ident = fields.Char("PatientID", readonly=True)
    bd = fields.Date("Birthdate", readonly=True)
    sex = fields.Char("Sex", readonly=True)
    patient = fields.Many2One('gnuhealth.patient', "Patient",
        help="The patient of GNU Health.")
    link_origin = fields.Selection([
            (None, ""),
            ('uid', "Order"),
            ('puid', "PUID"),
            ('person', "Person"),
            ], "Linked by", readonly=True, sort=False)
    missing_since = fields.DateTime("Missing since", readonly=True)
    orthanc_studies = fields.One2Many(
        'gnuhealth.imaging_orthanc.study', 'orthanc_patient', "Studies",
        readonly=True)
    study_count = fields.Function(
        fields.Integer("Number of Studies"), 'get_study_count')
    studies = fields.One2Many(
        'gnuhealth.orthanc.study', 'patient', "Studies of GNU Health 4",
        readonly=True)
    link = fields.Function(fields.Char("URL"), 'get_link')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls.uuid.search_unaccented = False
        cls.ident.search_unaccented = False
        cls._sql_constraints += [
            ('uuid_unique', Unique(t, t.server, t.uuid),
                'health_orthanc.msg_patient_uuid_unique'),
            ]
        cls._sql_indexes.update({
                Index(t, (t.patient, Index.Range()),
                    where=t.patient != Null),
                Index(t, (t.ident, Index.Range())),
                Index(t, (Index.Unaccent(t.name), Index.Similarity())),
                })

    def get_rec_name(self, name):
        return ' '.join(filter(None, [
                    self.name, f'[{self.ident}]' if self.ident else None])
            ) or self.uuid

    @classmethod
    def search_rec_name(cls, name, clause):
        operator = 'AND' if clause[1].startswith(('!', 'not ')) else 'OR'
        return [operator,
            ('name', *clause[1:]),
            ('ident', *clause[1:]),
            ]

    @classmethod
    def get_study_count(cls, patients, name):
        Study = Pool().get('gnuhealth.imaging_orthanc.study')
        cursor = Transaction().connection.cursor()
        study = Study.__table__()
        ids = [p.id for p in patients]
        counts = dict.fromkeys(ids, 0)
        cursor.execute(*study.select(
                study.orthanc_patient, Count(study.id),
                where=study.orthanc_patient.in_(ids or [-1]),
                group_by=study.orthanc_patient))
        counts.update(cursor.fetchall())
        return counts

    def get_link(self, name):
        if self.server and not self.missing_since:
            return explorer_link(
                self.server.link_base_url, 'patient', self.uuid)

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree', 'visual', If(
                    Bool(Eval('missing_since')), 'muted', '')),
            ]

    @classmethod
    def write(cls, *args):
        check_person_fields(args, {'patient'})
        new_args, linked = [], []
        actions = iter(args)
        for patients, values in zip(actions, actions):
            if 'patient' in values:
                values = {**values, 'link_origin': 'person'}
                linked += patients
            new_args += [patients, values]
        super().write(*new_args)
        if linked:
            cls._link_studies(cls.browse(linked))

    @classmethod
    @without_check_access
    def _link_studies(cls, patients):
        "Link the studies of the patients, except those a person linked"
        Study = Pool().get('gnuhealth.imaging_orthanc.study')
        studies = Study.search([
                ('orthanc_patient', 'in', [p.id for p in patients]),
                ['OR',
                    ('link_origin', '=', None),
                    ('link_origin', '!=', 'person'),
                    ],
                ])
        to_write = []
        for study in studies:
            patient = study.orthanc_patient.patient
            if study.patient != patient:
                to_write += [[study], {
                        'patient': patient.id if patient else None}]
        if to_write:
            Study.write(*to_write)


class Patient(metaclass=PoolMeta):
    __name__ = 'gnuhealth.patient'

    orthanc_patients = fields.One2Many(
        'gnuhealth.orthanc.patient', 'patient', "Orthanc patients",
        readonly=True)
    orthanc_studies = fields.One2Many(
        'gnuhealth.imaging_orthanc.study', 'patient', "Orthanc Study",
        readonly=True)

    @classmethod
    def copy(cls, patients, default=None):
        default = {} if default is None else default.copy()
        default.setdefault('orthanc_patients', None)
        default.setdefault('orthanc_studies', None)
        return super().copy(patients, default=default)
