# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from sql import Null
from sql.aggregate import Count

from trytond.i18n import gettext
from trytond.model import Index, ModelSQL, ModelView, Unique, fields
from trytond.modules.health_imaging.dates import now
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Bool, Eval, If
from trytond.transaction import Transaction, without_check_access

from .evidence import named
from .exceptions import LinkContradictionError, LinkReasonError
from .linking import is_imaging_admin
from .matching import Matcher
from .mirror import check_person_fields
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
    link_user = fields.Many2One(
        'res.user', "Linked by User", readonly=True,
        states={
            'invisible': ~Eval('link_user'),
            })
    link_date = fields.DateTime("Linked on", readonly=True,
        states={
            'invisible': ~Eval('link_date'),
            })
    link_reason = fields.Text("Reason of Link",
        help="Needed to link in spite of a contradiction, "
        "which only imaging administrators may.")
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
                Index(t, (t.id, Index.Range()), where=t.patient == Null),
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
        check_person_fields(args, {'patient', 'link_reason'})
        new_args, linked = [], []
        actions = iter(args)
        for patients, values in zip(actions, actions):
            if 'patient' in values:
                values = {
                    'link_reason': None,
                    **values,
                    'link_origin': 'person',
                    'link_user': Transaction().user,
                    'link_date': now(),
                    }
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
        """Nobody links across a contradiction

        An imaging administrator may do it all the same, with a reason.
        """
        for patient in patients:
            refused, facts = patient._refused(), patient._contradictions()
            if not refused and is_imaging_admin():
                if not facts or (patient.link_reason or '').strip():
                    continue
                error, message = LinkReasonError, 'msg_patient_reason'
            elif refused or facts:
                error, message = (
                    LinkContradictionError, 'msg_patient_contradiction')
            else:
                continue
            raise error(gettext(
                    f'health_orthanc.{message}',
                    patient=patient.rec_name,
                    facts='\n'.join(refused + facts)))

    def _contradictions(self):
        Patient = Pool().get('gnuhealth.patient')
        patient, party, facts = self.patient, self.patient.party, []
        with Transaction().set_context(active_test=False):
            owner = self.ident and Patient.of_puid(self.ident)
        if owner and owner != patient:
            facts.append(gettext(
                    'health_orthanc.msg_contradiction_puid',
                    patient_id=self.ident, owner=named(owner),
                    patient=named(patient)))
        birth = None if party.est_dob else party.dob
        if self.bd and birth and self.bd != birth:
            facts.append(gettext(
                    'health_orthanc.msg_contradiction_birth',
                    study_birth=self.bd, birth=birth,
                    patient=named(patient)))
        return facts

    def _refused(self):
        "Return why not even a reason helps"
        patient, facts = self.patient, []
        if not self.ident:
            # Orthanc takes all who have none for one patient
            facts.append(gettext('health_orthanc.msg_patient_no_id'))
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
                        'link_user': row.link_user,
                        'link_date': row.link_date,
                        'link_reason': row.link_reason,
                        'to_verify': False,
                        }]
                (linked if row.patient else unlinked).append(study)
        if not to_write:
            return
        Audit.note('unlink', unlinked)
        with Transaction().set_context(_orthanc_linking=True):
            Study.write(*to_write)
        for row in patients:
            Audit.note(
                'link', Study.browse(
                    [s for s in linked if s.orthanc_patient == row]),
                reason=row.link_reason or None)
        Matcher.match_rows(
            lambda table: table.id.in_([s.id for s in linked] or [-1]))


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

    @classmethod
    def of_puid(cls, puid):
        "Return the patient whose the PUID is, or was before a merge"
        patients = cls.search([('party.ref', '=', puid)], limit=1)
        return patients[0].heir if patients else None

    @property
    def heir(self):
        "The patient who took the place of this one, otherwise this one"
        patient, seen = self, set()
        while patient.party.replaced_by and patient not in seen:
            seen.add(patient)
            heirs = self.search(
                [('party', '=', patient.party.replaced_by.id)], limit=1)
            if not heirs:
                break
            patient, = heirs
        return patient
