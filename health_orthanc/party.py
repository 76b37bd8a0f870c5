# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Follow what is corrected in GNU Health: PUIDs, birth dates, merges."""
from sql import Null

from trytond.model import Index
from trytond.pool import Pool, PoolMeta
from trytond.transaction import Transaction, without_check_access

from .matching import AUTOMATIC, Matcher
from .rows import forget, update_rows


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
        for names, follow in [
                ({'replaced_by'}, cls._follow_merges),
                ({'ref', 'dob', 'est_dob'}, cls._follow_puids),
                ({'dob', 'est_dob'}, cls._doubt)]:
            corrected = [
                p for parties, values in zip(args[::2], args[1::2])
                if names & values.keys() for p in parties]
            if corrected:
                follow(cls.browse(corrected))

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

    @classmethod
    @without_check_access
    def _doubt(cls, parties):
        "Have what the rules linked verified if the birth dates differ now"
        Study = Pool().get('gnuhealth.imaging_orthanc.study')
        studies = Study.search([
                ('patient.party', 'in', [p.id for p in parties]),
                ('link_origin', 'in', list(AUTOMATIC - {None})),
                ('to_verify', '=', False),
                ])
        update_rows(Study, ['to_verify'], [
                [s.id, True] for s in studies
                if s.patient.party.dob and not s.patient.party.est_dob
                and s.patient_birth_date not in {
                    None, s.patient.party.dob}])

    @classmethod
    @without_check_access
    def _follow_merges(cls, parties):
        """Give the imaging of patients to those who replace them

        As Tryton does it when parties are replaced: whatever its state.
        """
        pool = Pool()
        Patient = pool.get('gnuhealth.patient')
        cursor = Transaction().connection.cursor()
        with Transaction().set_context(active_test=False):
            patients = Patient.search(
                [('party', 'in', [p.id for p in parties])])
            moves = [(p, p.heir) for p in patients if p.heir != p]
        for patient, heir in moves:
            for name in [
                    'gnuhealth.imaging.test.request',
                    'gnuhealth.imaging.test.result',
                    'gnuhealth.imaging_orthanc.study',
                    'gnuhealth.orthanc.patient']:
                Model = pool.get(name)
                table = Model.__table__()
                cursor.execute(*table.update(
                        [table.patient], [heir.id],
                        where=table.patient == patient.id))
                forget(Model)
        refs = list({p.ref for p in parties} - {None, ''})
        if moves and refs:
            Matcher.match_rows(lambda study: (study.patient == Null)
                & study.patient_id.in_(refs))
