# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from sql import Null
from sql.aggregate import Count

from trytond.i18n import gettext
from trytond.model import Index, ModelSQL, ModelView, Unique, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Bool, Eval, If
from trytond.transaction import Transaction, without_check_access

from .evidence import named
from .exceptions import LinkContradictionError
from .matching import Matcher
from .mirror import check_person_fields
from .rows import update_rows
from .links import explorer_link


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
            linked = cls.browse(linked)
            cls._check_links([p for p in linked if p.patient])
            cls._link_studies(linked)

    @classmethod
    @without_check_access
    def _check_links(cls, patients):
        "Nobody links across a contradiction"
        for patient in patients:
            facts = patient._contradictions()
            if facts:
                raise LinkContradictionError(gettext(
                        'health_orthanc.msg_patient_contradiction',
                        patient=patient.rec_name, facts='\n'.join(facts)))

    def _contradictions(self):
        Patient = Pool().get('gnuhealth.patient')
        patient, party, facts = self.patient, self.patient.party, []
        owners = self.ident and Patient.search(
            [('party.ref', '=', self.ident)], limit=1)
        if owners and owners[0] != patient:
            facts.append(gettext(
                    'health_orthanc.msg_contradiction_puid',
                    patient_id=self.ident, owner=named(owners[0]),
                    patient=named(patient)))
        birth = None if party.est_dob else party.dob
        if self.bd and birth and self.bd != birth:
            facts.append(gettext(
                    'health_orthanc.msg_contradiction_birth',
                    study_birth=self.bd, birth=birth,
                    patient=named(patient)))
        for study in self._studies_to_link():
            record = study.imaging_test or study.request
            if record and record.patient != patient:
                facts.append(gettext(
                        'health_orthanc.msg_contradiction_request',
                        study=study.rec_name, record=record.rec_name,
                        owner=named(record.patient), patient=named(patient)))
        return facts

    def _studies_to_link(self):
        "The studies, except those a person linked"
        Study = Pool().get('gnuhealth.imaging_orthanc.study')
        return Study.search([
                ('orthanc_patient', '=', self.id),
                ['OR',
                    ('link_origin', '=', None),
                    ('link_origin', '!=', 'person'),
                    ],
                ])

    @classmethod
    @without_check_access
    def _link_studies(cls, patients):
        pool = Pool()
        Study = pool.get('gnuhealth.imaging_orthanc.study')
        Audit = pool.get('gnuhealth.orthanc.audit')
        to_write, linked, unlinked = [], [], []
        for row in patients:
            for study in row._studies_to_link():
                if study.patient == row.patient or study.request or (
                        study.imaging_test):
                    continue
                to_write += [[study], {
                        'patient': row.patient.id if row.patient else None,
                        'link_origin': 'patient' if row.patient else None,
                        'to_verify': False,
                        }]
                (linked if row.patient else unlinked).append(study)
        if not to_write:
            return
        Audit.note('unlink', unlinked)
        with Transaction().set_context(orthanc_linking=True):
            Study.write(*to_write)
        Audit.note('link', Study.browse(linked))
        Matcher.match_rows(
            lambda table: table.id.in_([s.id for s in linked] or [-1]))


class Party(metaclass=PoolMeta):
    __name__ = 'party.party'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_indexes.add(
            Index(t, (t.dob, Index.Range()), where=t.dob != Null))

    @classmethod
    def write(cls, *args):
        super().write(*args)
        corrected = [
            p for parties, values in zip(args[::2], args[1::2])
            if {'ref', 'dob', 'est_dob'} & values.keys() for p in parties]
        if corrected:
            cls._follow_puids(cls.browse(corrected))

    @classmethod
    @without_check_access
    def _follow_puids(cls, parties):
        "Link what the corrected PUIDs and birth dates tell about"
        pool = Pool()
        OrthancPatient = pool.get('gnuhealth.orthanc.patient')
        Study = pool.get('gnuhealth.imaging_orthanc.study')
        Audit = pool.get('gnuhealth.orthanc.audit')
        refs = list({p.ref for p in parties} - {None, ''})
        if not refs:
            return
        wrong = [
            ('link_origin', '=', 'puid'),
            ('patient.party.ref', 'not in', refs),
            ]
        studies = Study.search([('patient_id', 'in', refs), wrong])
        Audit.note('unlink', studies)
        for Model, records in [
                (Study, studies),
                (OrthancPatient, OrthancPatient.search(
                        [('ident', 'in', refs), wrong])),
                ]:
            update_rows(Model, ['patient', 'link_origin'], [
                    [r.id, None, None] for r in records])
        Matcher.match_rows(lambda study: (study.patient == Null)
            & study.patient_id.in_(refs))


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
