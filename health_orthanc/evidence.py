# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What speaks for and against linking studies to requests and patients.

All is looked up for many studies at once, through indexes and with a bound.
"""
import datetime as dt

from trytond.i18n import gettext
from trytond.pool import Pool
from trytond.transaction import Transaction, check_access

from .names import other_person, same_name

__all__ = ['Evidence']

# Rows that are looked at for one kind of evidence
BOUND = 200
# Proposals that a person is shown for a study
SHOWN = 20
NEAR = dt.timedelta(days=1)
# How much each kind of evidence tells
_WEIGHTS = {
    'uid': 100,
    'accession': 40,
    'puid': 30,
    'name': 10,
    'birth': 10,
    'modality': 3,
    'date': 3,
    }


class Proposal:
    "A request, or a patient alone, for a study"

    def __init__(
            self, study, patient, request, agrees, contradictions,
            other=False):
        self.study = study
        self.patient = patient
        self.request = request
        self.agrees = agrees
        self.contradictions = contradictions
        self.other = other

    @property
    def rank(self):
        return (
            not self.contradictions,
            not self.other,
            sum(_WEIGHTS[name] for name in self.agrees),
            bool(self.request))

    def worth(self, near=True):
        "Tell whether a person should see it"
        agrees = set(self.agrees)
        if {'uid', 'accession', 'puid'} & agrees or (
                {'name', 'birth'} <= agrees):
            return True
        return near and self.request and {'modality', 'date'} <= agrees

    @property
    def likely(self):
        """It is more than a request of the same kind on the same day

        and the name is not clearly somebody else's.
        """
        return not self.contradictions and not self.other and bool(
            {'uid', 'accession', 'puid', 'name', 'birth'} & set(self.agrees))

    @property
    def agreement(self):
        return ', '.join(
            gettext(f'health_orthanc.msg_agrees_{n}') for n in self.agrees)


class Evidence:
    "What is known about the studies"

    def __init__(self, studies):
        pool = Pool()
        self.Request = pool.get('gnuhealth.imaging.test.request')
        self.Patient = pool.get('gnuhealth.patient')
        self.has_worklist = 'merge_id' in self.Request._fields
        self.studies = studies
        puids = {s.patient_id for s in studies} - {None, ''}
        # also of patients who are not active: it is nobody else's
        with Transaction().set_context(active_test=False):
            self.owners = {p.party.ref: p.heir for p in self._patients(
                    [('party.ref', 'in', list(puids))], len(puids))}

    def _patients(self, domain, bound=BOUND):
        return self.Patient.search(domain, limit=max(bound, 1))

    def _requests(self, domain):
        return self.Request.search(domain, limit=BOUND)

    def owner(self, study):
        "The patient whose the study's PatientID is, if any"
        known = study.orthanc_patient
        if (study.patient_id and known and known.link_origin == 'person'
                and known.patient):
            return known.patient
        return self.owners.get(study.patient_id)

    def proposals(self, near=True):
        """Return the proposals for each study, the best first

        Without near, requests that share but modality and day are left out.
        """
        requests, patients = self._candidates(near)
        # what the user may not see is not proposed
        with check_access():
            requests = self._seen(
                self.Request, requests,
                [('state', 'in', ['requested', 'done'])])
            patients = self._seen(self.Patient, patients)
        result = {}
        for study in self.studies:
            found = [self.proposal(study, r.patient, r) for r in requests]
            found += [self.proposal(study, p) for p in patients]
            found = [p for p in found if p.worth(near)]
            found.sort(key=lambda p: p.rank, reverse=True)
            result[study] = found[:SHOWN]
        return result

    @staticmethod
    def _seen(Model, records, domain=()):
        "Return those of the domain that the user may read"
        Access = Pool().get('ir.model.access')
        if not Access.check(Model.__name__, 'read', raise_exception=False):
            return []
        return Model.search([('id', 'in', [r.id for r in records]), *domain])

    def _candidates(self, near):
        studies = self.studies
        births = {s.patient_birth_date for s in studies} - {None}
        patients = {p for p in self.owners.values() if p.active}
        patients.update(filter(None, map(self.owner, studies)))
        patients.update(s.patient for s in studies if s.patient)
        if births:
            patients.update(self._patients(
                    [('party.dob', 'in', list(births))]))
        orders = {s.accession_number for s in studies} - {None, ''}
        domains = [
            [('request', 'in', list(orders))],
            [
                ('patient', 'in', [p.id for p in patients]),
                ('state', 'in', ['requested', 'done']),
                ]]
        if self.has_worklist:
            uids = {s.study_instance_UID for s in studies}
            uids.update(s.merge_id for s in studies if s.merge_id)
            domains.append([('merge_id', 'in', list(uids))])
        if near:
            domains += [self._near(s) for s in studies if s.study_date]
        requests = {r for d in domains for r in self._requests(d)}
        return requests, patients

    @staticmethod
    def _near(study):
        day = dt.datetime.combine(study.study_date, dt.time())
        domain = [
            ('state', '=', 'requested'),
            ('scheduled_date', '>=', day - NEAR),
            ('scheduled_date', '<', day + 2 * NEAR),
            ]
        modalities = _modalities(study)
        if modalities:
            domain.append(
                ('requested_test.test_type.code', 'in', list(modalities)))
        return domain

    def proposal(self, study, patient, request=None):
        agrees = []
        if request:
            merge_id = getattr(request, 'merge_id', None)
            if merge_id and merge_id in {
                    study.study_instance_UID, study.merge_id}:
                agrees.append('uid')
            if request.request and study.accession_number == request.request:
                agrees.append('accession')
        if self.owner(study) == patient:
            agrees.append('puid')
        party = patient.party
        other = other_person(
            study.patient_name, party.name, party.lastname,
            party.dob and party.dob == study.patient_birth_date)
        if same_name(study.patient_name, f'{party.name} {party.lastname}'):
            agrees.append('name')
        if party.dob and party.dob == study.patient_birth_date:
            agrees.append('birth')
        if request:
            if request.requested_test.test_type.code in _modalities(study):
                agrees.append('modality')
            planned = request.scheduled_date or request.date
            if study.study_date and planned and (
                    abs(planned.date() - study.study_date) <= NEAR):
                agrees.append('date')
        return Proposal(
            study, patient, request, agrees,
            self.contradictions(study, patient), other)

    def contradictions(self, study, patient):
        "Return what speaks against the patient, each with both facts"
        result = []
        kinds = self.against(study, patient)
        if 'puid' in kinds:
            result.append(gettext(
                    'health_orthanc.msg_contradiction_puid',
                    patient_id=study.patient_id or '',
                    owner=named(self.owner(study)), patient=named(patient)))
        if 'birth' in kinds:
            result.append(gettext(
                    'health_orthanc.msg_contradiction_birth',
                    study_birth=study.patient_birth_date,
                    birth=patient.party.dob, patient=named(patient)))
        return result

    def against(self, study, patient):
        "Return which kinds of facts speak against the patient"
        result = []
        owner = self.owner(study)
        if owner and owner != patient:
            result.append('puid')
        party = patient.party
        birth = study.patient_birth_date
        if birth and party.dob and not party.est_dob and party.dob != birth:
            result.append('birth')
        return result


def named(patient):
    return f'{patient.rec_name} [{patient.party.ref or ""}]'


def _modalities(study):
    return set((study.modalities or '').split(', ')) - {''}
