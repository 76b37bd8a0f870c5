# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a page of what Orthanc holds into the mirror's tables.

A page costs a constant number of statements: what is there is read, compared,
and the difference written by one INSERT and one UPDATE per table. Records
are not used, since they would cost some statements per row.
"""
import datetime as dt
import logging
from collections import defaultdict

from trytond.i18n import gettext
from trytond.modules.health_imaging.logs import where
from trytond.pool import Pool

from . import mapping
from .mapping import MappingError, members
from .matching import LINKS, Candidate, Matcher
from .rows import delete_rows, insert_rows, select_rows, update_rows

__all__ = ['Failure', 'Lacking', 'Outcome', 'PageWriter', 'unexpected']

logger = logging.getLogger(__name__)

PATIENT = 'gnuhealth.orthanc.patient'
STUDY = 'gnuhealth.imaging_orthanc.study'
SERIES = 'gnuhealth.imaging_orthanc.study_series'
INSTANCE = 'gnuhealth.imaging_orthanc.series_instances'

# What Orthanc says about each
NAMES = {
    PATIENT: ['uuid', 'name', 'ident', 'bd', 'sex'],
    STUDY: [
        'orthanc_UID', 'study_instance_UID', 'orthanc_patient',
        'patient_name', 'patient_id', 'date', 'study_date', 'study_time',
        'description', 'accession_number', 'institution',
        'requesting_physician', 'referring_physician',
        'performing_physician_name', 'modalities', 'series_count',
        'instance_count', 'last_update'],
    SERIES: [
        'orthanc_UID', 'series_UID', 'series_number', 'series_description',
        'modality', 'body_part', 'series_date', 'series_time',
        'station_name', 'instance_count', 'last_update'],
    INSTANCE: [
        'orthanc_UID', 'sop_instance_UID', 'sop_class_UID',
        'instance_number', 'image_position_patient', 'rows', 'columns',
        'number_of_frames'],
    }


class Failure:
    "A resource that could not be written, and why"
    __slots__ = ('level', 'orthanc_id', 'reason')

    def __init__(self, level, orthanc_id, reason):
        self.level = level
        self.orthanc_id = orthanc_id
        self.reason = reason


class Lacking(Exception):
    """Series that have their instances in the mirror lack some.

    Attributes
    ----------
    ids : set of str
        Orthanc's identifiers of those instances
    """

    def __init__(self, ids):
        super().__init__()
        self.ids = ids


def unexpected(error):
    "The reason when something else goes wrong"
    return gettext(
        'health_orthanc.msg_quarantine_error', error=type(error).__name__)


class Outcome:
    """What the writing of a page did.

    Attributes
    ----------
    new, changed : set of str
        Orthanc identifiers of studies
    linked : int
        studies that found their request
    failures : list of Failure
    written : set of tuple of (str, str)
        level and Orthanc identifier of all that is in the mirror now
    """

    def __init__(self):
        self.new = set()
        self.changed = set()
        self.linked = 0
        self.failures = []
        self.written = set()


class PageWriter:
    """Writes the rows of one server

    On demand, new series get no instances, and those without stay so.
    """

    def __init__(self, server_id, on_demand=False):
        self.server_id = server_id
        self.on_demand = on_demand
        pool = Pool()
        self.models = {name: pool.get(name) for name in NAMES}
        Trigger = pool.get('ir.trigger')
        self._triggered = {
            name for name in NAMES if Trigger.get_triggers(name, 'create')}

    def write(self, page):
        """Write a page and link its studies.

        What the database raises is not caught; then nothing of the page is to
        be committed. Neither is it after Lacking, which says what else the
        page has to have.
        """
        outcome = Outcome()
        patients, studies, series, instances = self._map(page, outcome)
        patient_ids = self._write_patients(patients)
        rows = self._write_studies(studies, patient_ids, outcome)
        old, new = self._write_series(series, rows, outcome)
        self._write_instances(page, instances, series, old, new, outcome)
        outcome.changed -= outcome.new
        outcome.new -= page.again
        outcome.changed -= page.again
        self._match(page, rows, patients, outcome)
        return outcome

    def _map(self, page, outcome):
        "Map the answers to rows; what fails takes its children along"
        parts = defaultdict(list)
        for answer in page.series:
            parts[answer.get('ParentStudy')].append(answer)
        patients, studies, series, instances = {}, {}, {}, {}
        for answer in page.studies:
            try:
                values = mapping.study_values(answer)
                patient = mapping.patient_values(answer)
                values.update(_sums(parts[answer['ID']]))
                values['last_update'] = mapping.text(answer.get('LastUpdate'))
                values['parent'] = patient and patient['uuid']
                if patient:
                    patients[patient['uuid']] = patient
                studies[values['orthanc_UID']] = values
            except Exception as error:
                self._fail('study', answer, error, outcome)
        for answer in page.series:
            try:
                values = mapping.series_values(answer)
                values['parent'] = answer.get('ParentStudy')
                values['members'] = members(answer, 'Instances')
                if values['parent'] in studies:
                    series[values['orthanc_UID']] = values
            except Exception as error:
                self._fail('series', answer, error, outcome)
        for answer in page.instances:
            try:
                values = mapping.instance_values(answer)
                values['parent'] = answer.get('ParentSeries')
                if values['parent'] in series:
                    instances[values['orthanc_UID']] = values
            except Exception as error:
                self._fail('instance', answer, error, outcome)
        for level, written in [
                ('study', studies), ('series', series),
                ('instance', instances)]:
            outcome.written.update((level, uid) for uid in written)
        return patients, studies, series, instances

    def _fail(self, level, answer, error, outcome):
        "Note why an item cannot be mapped"
        if isinstance(error, MappingError):
            reason = gettext(
                'health_orthanc.msg_quarantine_' + error.reason,
                name=error.name)
        else:
            logger.error(
                "%s of server %s not mapped: %s", level, self.server_id,
                where(error))
            reason = unexpected(error)
        id_ = mapping.clean(answer.get('ID')) or ''
        outcome.failures.append(Failure(level, id_[:255], reason))

    def _write_patients(self, patients):
        "Write the patients and return their ids"
        Patient = self.models[PATIENT]
        names = NAMES[PATIENT]
        table = Patient.__table__()
        where = (table.server == self.server_id) & table.uuid.in_(
            list(patients) or [None])
        found = {r['uuid']: r for r in select_rows(
                table, ['id', 'missing_since', *names], where)}
        inserts, updates = [], []
        for uuid, values in patients.items():
            row = [values[n] for n in names]
            old = found.get(uuid)
            if not old:
                inserts.append([self.server_id, *row])
            elif old['missing_since'] or row != [old[n] for n in names]:
                updates.append([old['id'], None, *row])
        new = insert_rows(Patient, ['server', *names], inserts)
        update_rows(Patient, ['missing_since', *names], updates)
        self._trigger(PATIENT, new)
        ids = {uuid: row['id'] for uuid, row in found.items()}
        ids.update((row[1], id_) for row, id_ in zip(inserts, new))
        return ids

    def _write_studies(self, studies, patient_ids, outcome):
        "Write the studies and return their rows"
        Study = self.models[STUDY]
        names = NAMES[STUDY]
        table = Study.__table__()
        where = (table.server_config == self.server_id) & (
            table.orthanc_UID.in_(list(studies) or [None]))
        columns = ['id', 'server_config', 'missing_since', *names, *LINKS]
        found = {r['orthanc_UID']: r
            for r in select_rows(table, columns, where)}
        inserts, updates = [], []
        for uid, values in studies.items():
            values['orthanc_patient'] = patient_ids.get(values['parent'])
            row = [values[n] for n in names]
            old = found.get(uid)
            if not old:
                inserts.append([self.server_id, False, *row])
                outcome.new.add(uid)
            elif old['missing_since'] or row != [old[n] for n in names]:
                updates.append([old['id'], None, *row])
                outcome.changed.add(uid)
                old.update(zip(names, row))
        new_names = ['server_config', 'to_verify', *names]
        new = insert_rows(Study, new_names, inserts)
        update_rows(Study, ['missing_since', *names], updates)
        for id_, row in zip(new, inserts):
            values = dict(zip(new_names, row))
            found[values['orthanc_UID']] = {
                **dict.fromkeys(columns), 'id': id_, **values}
        self._trigger(STUDY, new)
        return found

    def _write_series(self, series, study_rows, outcome):
        """Write the series and return the ids of the old and of the new ones.

        Series of the studies that Orthanc does not list are missing.
        """
        Series = self.models[SERIES]
        names = [*NAMES[SERIES], 'images_pending']
        table = Series.__table__()
        studies = {row['id']: uid for uid, row in study_rows.items()}
        old_studies = [
            id_ for id_, uid in studies.items() if uid not in outcome.new]
        found = {}
        if old_studies:
            found = {(r['study'], r['orthanc_UID']): r for r in select_rows(
                    table, ['id', 'study', 'missing_since', *names],
                    table.study.in_(old_studies))}
            for row in found.values():
                row['images_pending'] = bool(row['images_pending'])
        inserts, updates, keys = [], [], {}
        for uid, values in series.items():
            key = (study_rows[values['parent']]['id'], uid)
            keys[key] = uid
            old = found.get(key)
            values['images_pending'] = self.on_demand and (
                not old or old['images_pending'])
            row = [values[n] for n in names]
            if not old:
                inserts.append([key[0], *row])
            elif old['missing_since'] or row != [old[n] for n in names]:
                updates.append([old['id'], None, *row])
            else:
                continue
            outcome.changed.add(values['parent'])
        failed = {f.orthanc_id for f in outcome.failures}
        gone = [row for key, row in found.items()
            if key not in keys and key[1] not in failed
            and not row['missing_since']]
        outcome.changed.update(studies[row['study']] for row in gone)
        since = dt.datetime.now().replace(microsecond=0)
        ids = insert_rows(Series, ['study', *names], inserts)
        update_rows(Series, ['missing_since', *names], updates)
        update_rows(Series, ['missing_since'], [
                [row['id'], since] for row in gone])
        old = {keys[k]: row['id'] for k, row in found.items() if k in keys}
        new = {row[1]: id_ for row, id_ in zip(inserts, ids)}
        self._trigger(SERIES, ids)
        return old, new

    def _write_instances(self, page, instances, series, old, new, outcome):
        """Write the instances.

        Those of old series that Orthanc no longer lists are deleted: they
        hold nothing that a person added.
        """
        Instance = self.models[INSTANCE]
        names = NAMES[INSTANCE]
        table = Instance.__table__()
        found = {}
        if old:
            found = {(r['series'], r['orthanc_UID']): r for r in select_rows(
                    table, ['id', 'series', *names],
                    table.series.in_(list(old.values())))}
        if self.on_demand:
            self._check_read(page, series, old, found)
        inserts, updates = [], []
        for uid, values in instances.items():
            parent = values['parent']
            if series[parent]['images_pending']:
                continue
            id_ = new.get(parent) or old[parent]
            row = [values[n] for n in names]
            known = found.get((id_, uid))
            if not known:
                inserts.append([id_, *row])
            elif row != [known[n] for n in names]:
                updates.append([known['id'], *row])
            else:
                continue
            outcome.changed.add(series[parent]['parent'])
        parents = {id_: series[uid] for uid, id_ in old.items()}
        listed = {(id_, uid)
            for id_, parent in parents.items() for uid in parent['members']}
        gone = []
        for key, row in found.items():
            if key not in listed:
                gone.append(row['id'])
                outcome.changed.add(parents[key[0]]['parent'])
        ids = insert_rows(
            Instance, ['series', *names], inserts,
            numbered=INSTANCE in self._triggered)
        update_rows(Instance, names, updates)
        delete_rows(Instance, gone)
        self._trigger(INSTANCE, ids)

    def _check_read(self, page, series, old, found):
        "Raise Lacking if series whose instances are mirrored lack some"
        lacking = set()
        for uid, id_ in old.items():
            if series[uid]['images_pending']:
                continue
            lacking.update(
                member for member in series[uid]['members']
                if page.named is None or member in page.named
                or (id_, member) not in found)
        lacking -= page.read
        if lacking:
            raise Lacking(lacking)

    def _trigger(self, name, ids):
        if ids and name in self._triggered:
            Model = self.models[name]
            Model.trigger_create(Model.browse(ids))

    def _match(self, page, study_rows, patients, outcome):
        candidates = []
        for answer in page.studies:
            row = study_rows.get(answer.get('ID'))
            if row:
                patient = patients.get(answer.get('ParentPatient')) or {}
                candidates.append(
                    Candidate(row, answer, patient.get('bd')))
        outcome.linked = Matcher().match(candidates)


def _sums(series):
    "What a study's series say about it"
    return {
        'modalities': mapping.join_modalities(
            mapping.clean(mapping.tags_of(s).get('Modality'))
            for s in series),
        'series_count': len(series),
        'instance_count': sum(
            len(members(s, 'Instances')) for s in series),
        }
