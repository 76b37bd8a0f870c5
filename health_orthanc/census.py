# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare what the mirror holds of a server with what the server holds."""
import datetime as dt
from contextlib import contextmanager

from sql import Column, Null, Table
from sql.aggregate import Count, Sum

from trytond.pool import Pool
from trytond.transaction import Transaction

from .rows import delete_rows, forget

__all__ = ['Census', 'LEVELS', 'fingerprint']

# Levels of the mirror and what Orthanc's statistics call their number
LEVELS = {
    'study': 'CountStudies',
    'series': 'CountSeries',
    'instance': 'CountInstances',
    }

# identifiers that one statement brings to the database
PIECE = 5000
THERE = 'orthanc_census'


def fingerprint(mark, statistics, on_demand=False):
    """What changes with whatever is added to or deleted from an Orthanc.

    An addition raises the number of the last change, a deletion lowers a
    count. It is another one once images are fetched on demand, or no more.
    """
    values = [*mark]
    values += [statistics.get(n) for n in [
            'CountPatients', *LEVELS.values(), 'TotalDiskSize']]
    if on_demand:
        values.append('on demand')
    return '|'.join(map(str, values))


class Census:
    "Counts and identifiers of a server's resources in the mirror"

    def __init__(self, server_id):
        pool = Pool()
        self.server_id = server_id
        self.Patient = pool.get('gnuhealth.orthanc.patient')
        self.Study = pool.get('gnuhealth.imaging_orthanc.study')
        self.Series = pool.get('gnuhealth.imaging_orthanc.study_series')
        self.Instance = pool.get('gnuhealth.imaging_orthanc.series_instances')

    def _tables(self, level):
        "Tables of studies and of the level, both joined, and the condition"
        study = self.Study.__table__()
        where = study.server_config == self.server_id
        if level == 'study':
            return study, study, study, where
        series = self.Series.__table__()
        where &= study.missing_since == Null
        joined = study.join(series, condition=series.study == study.id)
        if level == 'series':
            return study, series, joined, where
        instance = self.Instance.__table__()
        where &= series.missing_since == Null
        joined = joined.join(
            instance, condition=instance.series == series.id)
        return study, instance, joined, where

    def count(self, level):
        "How many there are, without those that are missing"
        _, table, joined, where = self._tables(level)
        if level != 'instance':
            where &= table.missing_since == Null
        cursor = Transaction().connection.cursor()
        cursor.execute(*joined.select(Count(table.id), where=where))
        count, = cursor.fetchone()
        return count

    def count_told(self):
        "How many instances the series say that they have"
        _, series, joined, where = self._tables('series')
        where &= series.missing_since == Null
        cursor = Transaction().connection.cursor()
        cursor.execute(*joined.select(
                Sum(series.instance_count), where=where))
        count, = cursor.fetchone()
        return count or 0

    def compare(self, level, ids):
        """Mark what Orthanc has no more as missing, delete such instances.

        Parameters
        ----------
        level : str
        ids : list of str
            Orthanc's identifiers of that level.

        Returns
        -------
        tuple of (list of str, int, set of str)
            The identifiers that the mirror lacks or has as missing, how many
            are gone, and the studies which they belonged to.
        """
        study, table, joined, where = self._tables(level)
        if level != 'instance':
            where &= table.missing_since == Null
        cursor = Transaction().connection.cursor()
        with self._there(ids) as there:
            uid = Column(there, 'uid')
            cursor.execute(*joined
                .join(there, 'LEFT', condition=uid == table.orthanc_UID)
                .select(
                    table.id, study.orthanc_UID,
                    where=where & (uid == Null)))
            gone, studies = [], set()
            for id_, study_uid in cursor:
                gone.append(id_)
                studies.add(study_uid)
            known = joined.select(table.orthanc_UID, where=where)
            cursor.execute(*there
                .join(known, 'LEFT', condition=uid == known.orthanc_UID)
                .select(uid, where=known.orthanc_UID == Null))
            lost = [uid for uid, in cursor]
        self._remove(level, gone)
        return lost, len(gone), studies

    @contextmanager
    def _there(self, ids):
        "A table of the identifiers, so that the database compares them"
        cursor = Transaction().connection.cursor()
        cursor.execute('CREATE TEMPORARY TABLE "%s" (uid VARCHAR)' % THERE)
        there = Table(THERE)
        for start in range(0, len(ids), PIECE):
            cursor.execute(*there.insert([there.uid], [
                        [id_] for id_ in ids[start:start + PIECE]]))
        # the planner knows nothing of a new table
        cursor.execute(
            'CREATE INDEX "%s_uid" ON "%s" (uid)' % (THERE, THERE))
        yield there
        # after an error the rollback drops it
        cursor.execute('DROP TABLE "%s"' % THERE)

    def _remove(self, level, ids):
        "Delete the instances, mark studies and series as missing"
        if level == 'instance':
            delete_rows(self.Instance, ids)
            return
        Model = self.Study if level == 'study' else self.Series
        table = Model.__table__()
        since = dt.datetime.now().replace(microsecond=0)
        cursor = Transaction().connection.cursor()
        for start in range(0, len(ids), PIECE):
            part = ids[start:start + PIECE]
            cursor.execute(*table.update(
                    [table.missing_since, table.write_date,
                        table.write_uid],
                    [since, since, Transaction().user],
                    where=table.id.in_(part)))
            forget(Model, part)

    def mark_patients(self):
        "A patient none of whose studies is there any more is missing"
        patient = self.Patient.__table__()
        study = self.Study.__table__()
        cursor = Transaction().connection.cursor()
        since = dt.datetime.now().replace(microsecond=0)
        present = study.select(
            study.orthanc_patient,
            where=(study.server_config == self.server_id)
            & (study.missing_since == Null)
            & (study.orthanc_patient != Null))
        cursor.execute(*patient.update(
                [patient.missing_since], [since],
                where=(patient.server == self.server_id)
                & (patient.missing_since == Null)
                & ~patient.id.in_(present)))
