# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carry the links that people made in GNU Health 4 to today's studies.

A record of GNU Health 4 is found again by its server and Orthanc ID, then by
the StudyInstanceUID. What was linked in between is left as it is, what
contradicts something is not linked, and both what is carried over and what
contradicts is marked for a person to verify.
"""
from collections import defaultdict
from urllib.parse import urlsplit

from trytond.i18n import gettext
from trytond.modules.health_imaging.access import check_rights
from trytond.pool import Pool, PoolMeta
from trytond.rpc import RPC
from trytond.transaction import (
    Transaction, check_access, without_check_access)

from .evidence import Evidence
from .verify import marked

__all__ = ['LegacyStudy', 'OrthancPatient']

STUDY = 'gnuhealth.imaging_orthanc.study'
PATIENT = 'gnuhealth.orthanc.patient'
LEGACY = 'gnuhealth.orthanc.study'

# The worst that happened to one of the studies is what is told of a patient.
OUTCOMES = ['contradicted', 'decided', 'moved', 'there', 'not_found']
_PORTS = {None: None, 80: None, 443: None}


def same_server(url):
    "What two ways to write the URL of one server have in common"
    try:
        parts = urlsplit(url or '')
        port = parts.port
    except ValueError:
        return url
    return (
        (parts.hostname or '').lower(), _PORTS.get(port, port),
        parts.path.rstrip('/'))


class Carrier:
    """What the carriers of studies and of patients share.

    Parameters
    ----------
    ids : list of int
        Records of GNU Health 4.
    dry_run : bool
        Tell what would be done, write nothing.
    """

    def __init__(self, ids, dry_run):
        pool = Pool()
        self.Study = pool.get(STUDY)
        self.OrthancPatient = pool.get(PATIENT)
        self.Legacy = pool.get(LEGACY)
        self.ids = ids
        self.dry_run = dry_run
        self.values = {}

    def run(self):
        "Return an outcome per record, a dictionary each"
        with check_access():
            for Model in [self.Legacy, self.OrthancPatient, self.Study]:
                check_rights(Model, [], 'read')
            for Model in [self.OrthancPatient, self.Study]:
                check_rights(Model, [], 'write')
        with without_check_access():
            self._load_servers()
            outcomes = self._decide()
            if self.values and not self.dry_run:
                self._write()
        return outcomes

    @staticmethod
    def _readable(Model, domain, **options):
        "Records that the user may read, to be read without looking again"
        with check_access():
            ids = [r.id for r in Model.search(domain, **options)]
        return Model.browse(ids)

    def _load_servers(self):
        pool = Pool()
        Server = pool.get('gnuhealth.orthanc.config')
        Cursor = pool.get('gnuhealth.orthanc.sync.cursor')
        with Transaction().set_context(active_test=False):
            servers = Server.search([])
        by_url = defaultdict(set)
        for server in servers:
            by_url[same_server(server.domain)].add(server.id)
        self.alike = {s.id: by_url[same_server(s.domain)] for s in servers}
        self.complete = {
            c.server.id for c in Cursor.search([('complete', '=', True)])}

    def _load_studies(self, domain):
        "Studies that the user may read, locked until all is written"
        studies = self._readable(self.Study, domain)
        if studies and not self.dry_run:
            self.Study.lock(studies)
            studies = self.Study.browse([s.id for s in studies])
        self.evidence = Evidence(studies)
        return studies

    def _alike(self, server):
        return self.alike[server.id] if server else set()

    def _why_not_found(self, server):
        if not server:
            return 'no_server'
        if not self._alike(server) & self.complete:
            return 'not_synchronized'
        return 'gone'

    def _link(self, study, patient, result=None):
        """Decide about one study.

        Returns
        -------
        tuple of str
            The outcome, and the reason if there is one.
        """
        person = study.link_origin == 'person'
        linked = study.patient or study.imaging_test or study.request
        if result:
            if study.imaging_test == result:
                return 'there', None
        elif patient == study.patient and (
                study.link_origin != 'puid'
                or study.patient_id == patient.party.ref):
            return 'there', None
        if study.not_ours_since:
            return 'decided', 'not_ours'
        if person and not linked:
            return 'decided', 'undone'
        reason = self._contradiction(study, patient, result)
        if reason and person:
            return 'decided', reason
        if reason:
            self._mark(study)
            return 'contradicted', reason
        values = {'patient': patient.id if patient else None}
        if result:
            values.update({
                    'imaging_test': result.id,
                    'request': result.request.id if result.request else None,
                    'link_origin': 'person',
                    })
        else:
            values['link_origin'] = 'patient'
        self._mark(study, **values)
        return 'moved', None

    def _contradiction(self, study, patient, result):
        "Why the study may not be linked so, None if it may"
        request = result.request if result else None
        if study.imaging_test or (study.request and study.request != request):
            return 'other_record'
        if study.patient and study.patient != patient:
            return 'other_patient'
        if patient:
            return next(iter(self.evidence.against(study, patient)), None)

    def _mark(self, study, **values):
        values.update({
                'to_verify': True,
                'merge_comment': marked(study.merge_comment),
                })
        changed = {
            name: value for name, value in values.items()
            if getattr(study, name) != value}
        if changed:
            self.values[study] = {**values, **self.values.get(study, {})}

    def _write(self):
        Audit = Pool().get('gnuhealth.orthanc.audit')
        with check_access():
            check_rights(self.Study, list(self.values), 'write')
        args = []
        for study, values in self.values.items():
            args += [[study], values]
        with Transaction().set_context(_orthanc_linking=True):
            self.Study.write(*args)
        linked = self.Study.browse([
                s.id for s, v in self.values.items() if 'link_origin' in v])
        Audit.note(
            'link', linked, detail=gettext('health_orthanc.msg_carried_over'))
        requests = {
            s.request for s in linked
            if getattr(s.request, 'worklist_status', None) == 'todo'}
        if requests:
            type(next(iter(requests))).finish_worklist(list(requests))


class Finder:
    """Finds the studies of today that studies of GNU Health 4 are.

    Parameters
    ----------
    alike : dict
        Ids of the servers with the same URL, by the id of a server.
    studies : list
        Those that may be.
    """

    def __init__(self, alike, studies):
        self.alike = alike
        self.by_uuid, self.by_uid = defaultdict(list), defaultdict(list)
        for study in studies:
            self.by_uuid[study.orthanc_UID].append(study)
            self.by_uid[study.study_instance_UID].append(study)

    def find(self, legacy):
        """Return how good the find is, 0 is the best, and the studies.

        With more than one study nobody knows which it is.
        """
        servers = self.alike[legacy.server.id] if legacy.server else set()
        found = [
            s for s in self.by_uuid[legacy.uuid]
            if s.server_config.id in servers]
        if found:
            # one URL, one Orthanc: its archived record is the older one
            found.sort(key=lambda s: (
                    not s.server_config.active, bool(s.missing_since), s.id))
            return 0, found[:1]
        found = list(dict.fromkeys([
                    *self.by_uuid[legacy.uuid],
                    *self.by_uid[legacy.instance_uid or None]]))
        for better in [
                lambda s: s.server_config.id in servers,
                lambda s: not s.missing_since,
                lambda s: s.orthanc_UID == legacy.uuid]:
            if len(found) > 1:
                found = list(filter(better, found)) or found
        return 1, found


class StudyCarrier(Carrier):
    "Carry the links of studies to results"

    def _decide(self):
        rows = self._readable(
            self.Legacy, [('id', 'in', self.ids)], order=[('id', 'ASC')])
        uuids = list({r.uuid for r in rows})
        uids = list({r.instance_uid for r in rows} - {None, ''})
        # others may say something else of the same studies
        rivals = self.Legacy.search([
                ('imaging_test', '!=', None),
                ['OR', ('uuid', 'in', uuids), ('instance_uid', 'in', uids)],
                ])
        every = {*rows, *rivals}
        finder = Finder(self.alike, self._load_studies(['OR',
                    ('orthanc_UID', 'in', list({r.uuid for r in every})),
                    ('study_instance_UID', 'in', list(
                            {r.instance_uid for r in every} - {None, ''}))]))
        finds = {r: finder.find(r) for r in every}
        claims = defaultdict(list)
        for row, (rank, found) in finds.items():
            if row.imaging_test:
                for study in found[:1] if len(found) == 1 else ():
                    claims[study].append((rank, row.imaging_test))
        return [
            self._one(row, *finds[row], claims)
            for row in rows if row.imaging_test]

    def _one(self, row, rank, found, claims):
        study = found[0] if len(found) == 1 else None
        if not found:
            outcome = 'not_found', self._why_not_found(row.server)
        elif not study:
            outcome = 'ambiguous', 'several'
        else:
            best = min(rank for rank, _ in claims[study])
            results = {
                result for rank, result in claims[study] if rank == best}
            if len(results) > 1 or row.imaging_test not in results:
                outcome = 'ambiguous', 'claimed'
            else:
                outcome = self._carry(row, study)
        return {
            'id': row.id,
            'orthanc_id': row.uuid,
            'study': study.id if study else None,
            'outcome': outcome[0],
            'reason': outcome[1],
            }

    def _carry(self, row, study):
        result = row.imaging_test
        known = row.patient.patient if row.patient else None
        patient = result.patient or known
        if study.imaging_test != result and known and known != patient and (
                study.link_origin != 'person'):
            self._mark(study)
            return 'contradicted', 'two_patients'
        return self._link(study, patient, result)


class PatientCarrier(Carrier):
    "Carry the links of Orthanc's patients to patients"

    def _decide(self):
        rows = self._readable(self.OrthancPatient, [
                ('id', 'in', self.ids),
                ('patient', '!=', None),
                ('link_origin', '=', None),
                ], order=[('id', 'ASC')])
        self.linked = {}
        rivals = self.OrthancPatient.search(
            [('uuid', 'in', list({r.uuid for r in rows}))])
        self.by_uuid = defaultdict(list)
        for rival in rivals:
            self.by_uuid[rival.uuid].append(rival)
        legacy = [s for r in rows for s in r.studies]
        studies = self._load_studies(['OR',
                ('orthanc_patient', 'in', [r.id for r in rivals]),
                ('orthanc_UID', 'in', list({s.uuid for s in legacy})),
                ('study_instance_UID', 'in', list(
                        {s.instance_uid for s in legacy} - {None, ''}))])
        self.finder = Finder(self.alike, studies)
        self.studies = defaultdict(list)
        for study in studies:
            self.studies[study.orthanc_patient].append(study)
        return [self._one(row) for row in rows]

    def _live(self, row):
        "The patients of today with the studies that are to be linked"
        found = {}
        for other in self.by_uuid[row.uuid]:
            if other == row or (other.server and row.server
                    and other.server.id in self._alike(row.server)):
                found[other] = list(self.studies[other])
        for legacy in row.studies:
            _, studies = self.finder.find(legacy)
            if len(studies) == 1:
                mine = found.setdefault(studies[0].orthanc_patient, [])
                if studies[0] not in mine:
                    mine.append(studies[0])
        return found

    def _one(self, row):
        found, outcomes = self._live(row), []
        rivals = {
            other.patient for other in self.by_uuid[row.uuid]
            if other.patient and other != row and not other.link_origin}
        if not row.server and rivals - {row.patient}:
            outcomes.append(('ambiguous', 'claimed'))
        else:
            for live, studies in found.items():
                outcomes += self._carry(row, live, studies)
        if outcomes:
            outcome, reason = min(outcomes, key=lambda o: (
                    OUTCOMES.index(o[0]) if o[0] in OUTCOMES else -1))
        else:
            outcome, reason = 'not_found', self._why_not_found(row.server)
        return {
            'id': row.id,
            'orthanc_id': row.uuid,
            'studies': sum(map(len, found.values())),
            'outcome': outcome,
            'reason': reason,
            }

    def _carry(self, row, live, studies):
        outcomes = [self._link(study, row.patient) for study in studies]
        if not live or live == row or live.ident != row.ident or not studies:
            return outcomes
        if live.patient and live.patient != row.patient:
            outcomes.append(('decided' if live.link_origin == 'person'
                    else 'contradicted', 'other_patient'))
        elif not live.patient and not live.link_origin and all(
                outcome in {'moved', 'there'} for outcome, _ in outcomes):
            self.linked[live] = row.patient
        return outcomes

    def _write(self):
        super()._write()
        args = []
        for live, patient in self.linked.items():
            args += [[live], {'patient': patient.id}]
        if args:
            with check_access():
                check_rights(
                    self.OrthancPatient, list(self.linked), 'write')
            self.OrthancPatient.write(*args)


class LegacyStudy(metaclass=PoolMeta):
    __name__ = 'gnuhealth.orthanc.study'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls.__rpc__['carry_links'] = RPC(readonly=False)

    @classmethod
    def carry_links(cls, ids, dry_run=False):
        "Carry the links to results; return what became of each"
        return StudyCarrier(ids, dry_run).run()


class OrthancPatient(metaclass=PoolMeta):
    __name__ = 'gnuhealth.orthanc.patient'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls.__rpc__['carry_links'] = RPC(readonly=False)

    @classmethod
    def carry_links(cls, ids, dry_run=False):
        "Carry the links to patients; return what became of each"
        return PatientCarrier(ids, dry_run).run()
