# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which request, result and patient a study belongs to.

The rules, in this order:

1. A request whose merge id equals the study's StudyInstanceUID.
2. A request whose merge id equals another tag of the study or the PatientID,
   for modalities that cannot hand the StudyInstanceUID on.
3. The accession number is the order's and the PatientID is the PUID of its
   patient, and one open line of the order fits by modality.
4. The PatientID is a patient's PUID: the patient only.

Nothing is linked across a contradiction: when the PatientID is another
patient's PUID, or the birth dates differ; nor when several requests have the
merge id, and none of them alone is of the PatientID's owner. A PatientID that
nobody has links by the first two rules and is marked to be verified, as is a
name that is clearly another person's; by the PatientID alone such a name is
not linked. Patients who are not active are never linked by their PUID. What a
person linked is left alone.

Texts are compared as they are, and empty ones are equal to nothing.
"""
from collections import defaultdict

from sql import Null

from trytond.modules.health_imaging.dates import now
from trytond.pool import Pool, PoolMeta
from trytond.transaction import Transaction

from . import mapping
from .names import other_person
from .rows import select_rows, update_rows

__all__ = ['Candidate', 'LINKS', 'Matcher']

# The columns of a study that the rules fill
LINKS = [
    'patient', 'request', 'imaging_test', 'link_origin', 'to_verify',
    'merge_id', 'link_user', 'link_date', 'link_reason']
AUTOMATIC = {None, 'uid', 'tag', 'accession', 'puid', 'patient'}
_MERGE_IDS = '_orthanc_merge_ids'


class Candidate:
    """A study whose links are looked for.

    Parameters
    ----------
    row : dict
        The columns of LINKS, id, server_config, orthanc_patient,
        study_instance_UID, patient_id, patient_name, accession_number and
        modalities.
    study : dict
        Orthanc's answer about it.
    birth_date : date
        The patient's, as the study tells it.
    """

    def __init__(self, row, study, birth_date):
        self.row = row
        self.study = study
        self.birth_date = birth_date
        self.links = {name: row[name] for name in LINKS}
        self.links['to_verify'] = bool(row['to_verify'])
        self.before = dict(self.links)

    @property
    def open(self):
        "The rules may fill something"
        links = self.links
        if links['link_origin'] not in AUTOMATIC:
            return False
        if links['link_origin'] is None and (
                links['patient'] or links['imaging_test']):
            return False
        return not (links['request'] and links['imaging_test'])

    def sign(self):
        "Tell since when it is linked by a rule, and by no person"
        links = self.links
        if any(links[name] != self.before[name]
                for name in ['patient', 'request', 'imaging_test']):
            links.update({
                    'link_user': None,
                    'link_date': now() if links['patient'] else None,
                    'link_reason': None,
                    })

    @property
    def modalities(self):
        return set((self.row['modalities'] or '').split(', ')) - {''}


def tag_values(study):
    "StudyInstanceUID first, then all other texts of the study that can be ids"
    tags = mapping.tags_of(study)
    patient = mapping.tags_of(study, 'PatientMainDicomTags')
    values = [tags.get('StudyInstanceUID'), patient.get('PatientID')]
    values += [v for k, v in sorted(tags.items()) if k != 'StudyInstanceUID']
    result = []
    for value in map(mapping.clean, values):
        if value and len(value) <= 64 and value not in result:
            result.append(value)
    return result


class Matcher:
    "Link many studies by a constant number of statements"

    def __init__(self):
        pool = Pool()
        self.Study = pool.get('gnuhealth.imaging_orthanc.study')
        self.OrthancPatient = pool.get('gnuhealth.orthanc.patient')
        self.Server = pool.get('gnuhealth.orthanc.config')
        self.Request = pool.get('gnuhealth.imaging.test.request')
        # without health_imaging_worklist there are no merge ids
        self.has_worklist = 'merge_id' in self.Request._fields

    def match(self, candidates):
        "Link what can be linked and return how many studies got a request"
        candidates = [c for c in candidates if c.open]
        if not candidates:
            return 0
        self._load(candidates)
        self._link_orthanc_patients()
        for candidate in candidates:
            self._link(candidate)
            candidate.sign()
        changed = [c for c in candidates if c.links != c.before]
        update_rows(self.Study, LINKS, [
                [c.row['id'], *(c.links[n] for n in LINKS)] for c in changed])
        Pool().get('gnuhealth.orthanc.audit').note_rules(changed)
        linked = [c for c in candidates
            if c.links['request'] and not c.before['request']]
        self._finish_worklist({c.links['request'] for c in linked})
        return len(linked)

    def _load(self, candidates):
        "Read all that the candidates may be linked to"
        rows = [c.row for c in candidates]
        self.requests, self.results, self.taken = {}, {}, set()
        self.by_merge_id = defaultdict(list)
        self.by_order = defaultdict(list)
        self._load_requests(
            {v for c in candidates for v in tag_values(c.study)},
            {r['accession_number'] for r in rows} - {None, ''},
            {r['request'] for r in rows} - {None})
        self._ask_merge_ids(candidates)
        self._load_orthanc_patients(
            {r['orthanc_patient'] for r in rows} - {None})
        self._load_patients({r['patient_id'] for r in rows} - {None, ''})

    def _ask_merge_ids(self, candidates):
        known = frozenset(self.by_merge_id)
        found = set()
        with Transaction().set_context({_MERGE_IDS: known}):
            for candidate in candidates:
                merge_id = self.Study.get_merge_id(
                    candidate.study,
                    self.Server(candidate.row['server_config']))
                if merge_id:
                    candidate.links['merge_id'] = merge_id
                    found.add(merge_id)
        if found - known:
            # An extension may know more than the tags tell.
            self._load_requests(found - known, set(), set())

    def _load_requests(self, merge_ids, orders, known):
        pool = Pool()
        request = self.Request.__table__()
        test = pool.get('gnuhealth.imaging.test').__table__()
        type_ = pool.get('gnuhealth.imaging.test.type').__table__()
        cursor = Transaction().connection.cursor()
        where = request.request.in_(list(orders) or [None])
        where |= request.id.in_(list(known) or [-1])
        names = ['id', 'order', 'patient', 'state', 'modality']
        columns = [
            request.id, request.request, request.patient, request.state,
            type_.code]
        if self.has_worklist:
            where |= request.merge_id.in_(list(merge_ids) or [None])
            names += ['merge_id', 'status']
            columns += [request.merge_id, request.worklist_status]
        cursor.execute(*request
            .join(test, condition=request.requested_test == test.id)
            .join(type_, condition=test.test_type == type_.id)
            .select(*columns, where=where))
        ids = []
        for values in cursor.fetchall():
            line = {'merge_id': None, 'status': None}
            line.update(zip(names, values))
            if line['id'] in self.requests:
                continue
            ids.append(line['id'])
            self.requests[line['id']] = line
            if line['merge_id']:
                self.by_merge_id[line['merge_id']].append(line)
            if line['order']:
                self.by_order[line['order']].append(line)

        if ids:
            result = pool.get('gnuhealth.imaging.test.result').__table__()
            cursor.execute(*result.select(
                    result.request, result.id,
                    where=result.request.in_(ids), order_by=result.id.desc))
            self.results.update(cursor.fetchall())
            for table in [
                    self.Study.__table__(),
                    pool.get('gnuhealth.orthanc.study_line').__table__()]:
                cursor.execute(*table.select(
                        table.request, where=table.request.in_(ids)))
                self.taken.update(id_ for id_, in cursor.fetchall())

    def _load_orthanc_patients(self, ids):
        table = self.OrthancPatient.__table__()
        self.orthanc_patients = {r['id']: r for r in select_rows(
                table,
                ['id', 'ident', 'name', 'bd', 'patient', 'link_origin'],
                table.id.in_(list(ids) or [-1]))}

    def _load_patients(self, puids):
        "Patients by PUID, and those of the requests, with what is known"
        self.by_puid, self.persons = {}, {}
        ids = {r['patient'] for r in self.requests.values()}
        ids.update(p['patient'] for p in self.orthanc_patients.values())
        heirs = self._load_persons(puids, ids)
        while heirs - self.persons.keys():
            # of merges only
            heirs = self._load_persons(set(), heirs - self.persons.keys())
        for puid, id_ in self.by_puid.items():
            seen = {id_}
            while self.persons[id_]['heir'] not in {None, *seen}:
                id_ = self.persons[id_]['heir']
                seen.add(id_)
            self.by_puid[puid] = id_

    def _load_persons(self, puids, ids):
        "Read patients, and return who replaced some of them"
        pool = Pool()
        Patient = pool.get('gnuhealth.patient')
        patient, heir = Patient.__table__(), Patient.__table__()
        party = pool.get('party.party').__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*patient
            .join(party, condition=patient.party == party.id)
            .join(heir, 'LEFT', condition=heir.party == party.replaced_by)
            .select(
                patient.id, party.ref, party.dob, party.est_dob,
                party.name, party.lastname, patient.active & party.active,
                heir.id,
                where=party.ref.in_(list(puids) or [None])
                | patient.id.in_(list(ids - {None}) or [-1])))
        heirs = set()
        for id_, puid, birth, estimated, *names, active, heir_id in (
                cursor.fetchall()):
            if puid:
                self.by_puid[puid] = id_
            self.persons[id_] = {
                'birth': None if estimated else birth,
                'names': names,
                'active': active,
                'heir': heir_id,
                }
            heirs.add(heir_id)
        return heirs - {None}

    def _owner(self, candidate):
        "The patient whose the study's PatientID is, if any"
        if not candidate.row['patient_id']:
            return None
        known = self.orthanc_patients.get(candidate.row['orthanc_patient'])
        if known and known['link_origin'] == 'person' and known['patient']:
            return known['patient']
        owner = self.by_puid.get(candidate.row['patient_id'])
        if not owner and known:
            # the PUID was another one when the patient was linked
            owner = known['patient']
        return owner

    def _same_birth(self, patient, birth_date):
        known = self.persons[patient]['birth']
        return not (known and birth_date and known != birth_date)

    def _other_person(self, patient, name, birth_date):
        "The name is clearly not the patient's"
        person = self.persons[patient]
        return other_person(
            name, *person['names'],
            same_birth=bool(birth_date) and person['birth'] == birth_date)

    def _is_patient(self, patient, name, birth_date):
        "Tell whether the owner of the PatientID may be linked by it alone"
        return (
            self.persons[patient]['active']
            and self._same_birth(patient, birth_date)
            and not self._other_person(patient, name, birth_date))

    def _link(self, candidate):
        links = candidate.links
        if links['request']:
            links['imaging_test'] = (
                links['imaging_test'] or self.results.get(links['request']))
            return
        owner = self._owner(candidate)
        lines, origin = self._find_lines(candidate, owner)
        facts = candidate.row['patient_name'], candidate.birth_date
        if lines:
            line = lines[0]
            patient = line['patient']
            if (len(lines) > 1
                    or (owner and owner != patient)
                    or not self._same_birth(patient, candidate.birth_date)):
                # A person decides, with all in view.
                links['to_verify'] = True
                return
            links.update({
                    'request': line['id'],
                    'patient': patient,
                    'imaging_test': self.results.get(line['id']),
                    'link_origin': origin,
                    'to_verify': self._other_person(patient, *facts) or (
                        not owner
                        and candidate.row['patient_id'] != line['merge_id']),
                    })
            self.taken.add(line['id'])
        elif owner and self._knows(candidate, owner, facts):
            if owner != links['patient']:
                links.update({
                        'patient': owner,
                        'link_origin': 'puid',
                        'to_verify': False,
                        })
        elif (owner and links['link_origin'] == 'puid'
                and self.persons[owner]['active']):
            # what the study or the patient's record tells was corrected
            links.update({
                    'patient': None,
                    'link_origin': None,
                    'to_verify': True,
                    })

    def _knows(self, candidate, owner, facts):
        "The owner of the PatientID is the patient without a doubt"
        known = self.orthanc_patients.get(candidate.row['orthanc_patient'])
        if known and known['link_origin'] == 'person' and (
                known['patient'] == owner):
            return self._same_birth(owner, candidate.birth_date)
        return self._is_patient(owner, *facts)

    def _find_lines(self, candidate, owner):
        "The order lines of a study, and by what they were found"
        row = candidate.row
        merge_id = candidate.links['merge_id']
        if merge_id in self.by_merge_id:
            same = merge_id == row['study_instance_UID']
            lines = self.by_merge_id[merge_id]
            for choice in [
                    lambda line: line['patient'] == owner,
                    lambda line: line['state'] in {'requested', 'done'}]:
                if len(lines) > 1:
                    lines = list(filter(choice, lines)) or lines
            return lines, 'uid' if same else 'tag'
        lines = [line
            for line in self.by_order.get(row['accession_number'], [])
            if owner and line['patient'] == owner
            and line['id'] not in self.taken
            and line['state'] in {'requested', 'done'}
            and line['status'] != 'canceled'
            and (not candidate.modalities
                or line['modality'] in candidate.modalities)]
        # several are not told apart by what the study says
        return lines if len(lines) == 1 else [], 'accession'

    def _link_orthanc_patients(self):
        "Link the server's patients whose PatientID is a PUID"
        updates = []
        for row in self.orthanc_patients.values():
            if row['patient'] or row['link_origin']:
                continue
            owner = self.by_puid.get(row['ident'])
            if owner and self._is_patient(owner, row['name'], row['bd']):
                updates.append([row['id'], owner, 'puid'])
        update_rows(self.OrthancPatient, ['patient', 'link_origin'], updates)

    def _finish_worklist(self, requests):
        "The images are there: no modality need ask for the item any more"
        waiting = [
            id_ for id_ in requests if self.requests[id_]['status'] == 'todo']
        if waiting:
            self.Request.finish_worklist(self.Request.browse(waiting))

    @classmethod
    def match_rows(cls, make_clause):
        """Link studies that are in the mirror already.

        Parameters
        ----------
        make_clause : function
            Returns the condition for a table of studies.
        """
        matcher = cls()
        study = matcher.Study.__table__()
        rows = select_rows(study, [
                'id', 'server_config', 'orthanc_patient',
                'study_instance_UID', 'patient_id', 'patient_name',
                'accession_number', 'modalities', *LINKS], make_clause(study))
        if not rows:
            return 0
        table = matcher.OrthancPatient.__table__()
        births = {r['id']: r['bd'] for r in select_rows(
                table, ['id', 'bd'],
                table.id.in_([r['orthanc_patient'] for r in rows]))}
        return matcher.match([Candidate(
                    row, _as_answer(row), births.get(row['orthanc_patient']))
                for row in rows])


def _as_answer(row):
    "Orthanc's answer about a study, as far as the mirror knows it"
    return {
        'MainDicomTags': {
            'StudyInstanceUID': row['study_instance_UID'],
            'AccessionNumber': row['accession_number'],
            },
        'PatientMainDicomTags': {
            'PatientID': row['patient_id'],
            },
        }


class Study(metaclass=PoolMeta):
    __name__ = 'gnuhealth.imaging_orthanc.study'

    @classmethod
    def get_merge_id(cls, orthanc_study, server):
        """Return the merge id of the request that a study belongs to.

        To be extended for modalities that hand it on in a way of their own.

        Parameters
        ----------
        orthanc_study : dict
            Orthanc's answer about the study, with MainDicomTags and
            PatientMainDicomTags.
        server : gnuhealth.orthanc.config
            Where the study is.

        Returns
        -------
        str or None
            The StudyInstanceUID if it is a request's merge id, else another
            tag or the PatientID that is.
        """
        values = tag_values(orthanc_study)
        known = Transaction().context.get(_MERGE_IDS)
        if known is None:
            known = cls._known_merge_ids(values)
        for value in values:
            if value in known:
                return value

    @classmethod
    def _known_merge_ids(cls, values):
        Request = Pool().get('gnuhealth.imaging.test.request')
        if 'merge_id' not in Request._fields or not values:
            return set()
        request = Request.__table__()
        return {r['merge_id'] for r in select_rows(
                request, ['merge_id'], request.merge_id.in_(values))}


class Request(metaclass=PoolMeta):
    __name__ = 'gnuhealth.imaging.test.request'

    @classmethod
    def create(cls, vlist):
        requests = super().create(vlist)
        merge_ids = list(
            {getattr(r, 'merge_id', None) for r in requests} - {None})
        if merge_ids:
            Matcher.match_rows(lambda study: (study.request == Null) & (
                    study.study_instance_UID.in_(merge_ids)
                    | study.merge_id.in_(merge_ids)))
        return requests


class Patient(metaclass=PoolMeta):
    __name__ = 'gnuhealth.patient'

    @classmethod
    def create(cls, vlist):
        patients = super().create(vlist)
        puids = list({p.party.ref for p in patients if p.party} - {None, ''})
        if puids:
            Matcher.match_rows(lambda study: (study.patient == Null)
                & study.patient_id.in_(puids))
        return patients
