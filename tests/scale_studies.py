# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many studies in PostgreSQL, and what clients ask of them."""
import datetime as dt
from contextlib import contextmanager

from scale import NOW, PATIENTS, Crowd, Question, recorded

from trytond.modules.health_imaging.tests.tools import (
    DOCTOR, create_user)
from trytond.pool import Pool
from trytond.pyson import PYSONDecoder
from trytond.transaction import Transaction, check_access

STUDY = 'gnuhealth.imaging_orthanc.study'
ORTHANC_PATIENT = 'gnuhealth.orthanc.patient'
# Studies of one patient who comes often
OFTEN = 2000
QUEUE = (
    "request IS NULL AND imaging_test IS NULL AND not_ours_since IS NULL "
    "AND missing_since IS NULL AND (patient IS NULL OR link_origin = 'puid')")
TABS = {
    'all': "true",
    'to_link': QUEUE,
    'unlinked': "patient IS NULL",
    'to_verify': "to_verify",
    'missing': "missing_since IS NOT NULL",
    'not_ours': "not_ours_since IS NOT NULL",
    'linked': "patient IS NOT NULL",
    }


class Archive(Crowd):
    """Studies of ten years: few have an order, some nobody has linked."""

    def archive(self, studies, requests=2000):
        self.crowd(requests, requests)
        Server = Pool().get('gnuhealth.orthanc.config')
        self.server, = Server.create([{
                    'label': "Archive", 'domain': 'http://127.0.0.1'}])
        self.patients = self.patient_id - 7
        self.often = self.patients + 3
        self.cursor.execute(f"""
            INSERT INTO gnuhealth_orthanc_patient
                (server, uuid, ident, name, bd, patient)
            SELECT {self.server.id}, 'patient' || n, 'P' || n,
                'BETZ' || n || '^ANA', DATE '1900-01-01' + n % 40000,
                CASE WHEN n % 5 > 0 THEN {self.patients} + n % {PATIENTS} END
            FROM generate_series(0, {studies // 2}) n""")
        self.cursor.execute(
            'SELECT min(id), max(id) FROM gnuhealth_orthanc_patient')
        first, last = self.cursor.fetchone()
        count = last - first + 1
        ordered = f"n < {requests}"
        patient = f"""CASE WHEN {ordered}
            THEN {self.patients} + n % {PATIENTS}
            WHEN n % 50 < 2 THEN NULL
            WHEN n < {requests + OFTEN} THEN {self.often}
            ELSE {self.patients} + n % {PATIENTS} END"""
        origin = f"""CASE WHEN {ordered} THEN 'uid' WHEN n % 50 < 2 THEN NULL
            WHEN n % 50 < 10 THEN 'puid' ELSE 'person' END"""
        self.cursor.execute(f"""
            INSERT INTO gnuhealth_imaging_orthanc_study (
                server_config, "orthanc_UID", "study_instance_UID",
                orthanc_patient, patient_name, patient_id, study_date,
                description, accession_number, modalities, merge_id,
                patient, request, link_origin, to_verify,
                not_ours_since, missing_since)
            SELECT {self.server.id}, md5(n::text), '1.2.' || n,
                {first} + n % {count}, 'BETZ' || n % {count} || '^ANA',
                'P' || n % {count}, DATE '{NOW.date()}' - (n::bigint * 7919 % 3650)::int,
                'CT head ' || n, 'A' || n, 'CT', '1.2.' || n,
                {patient}, CASE WHEN {ordered} THEN {self.first} + n END,
                {origin}, n % 5000 = 17,
                CASE WHEN n % 50 = 1 AND NOT {ordered} THEN now() END,
                CASE WHEN n % 7000 = 19 THEN now() END
            FROM generate_series(0, {studies - 1}) n""")
        for Model in map(Pool().get, [STUDY, ORTHANC_PATIENT]):
            self.cursor.execute(f'ANALYZE {Model._table}')

    def tabs(self, action):
        pool = Pool()
        Window = pool.get('ir.action.act_window')
        ModelData = pool.get('ir.model.data')
        window = Window(ModelData.get_id('health_orthanc', action))
        for tab in window.act_window_domains:
            yield (tab.name.lower(), PYSONDecoder().decode(tab.domain or '[]'),
                TABS[tab.name.lower().replace(' ', '_')])

    def questions_of_studies(self):
        for action, model, name in [
                ('act_imaging_orthanc_study_view', STUDY, 'studies'),
                ('act_orthanc_patient_form', ORTHANC_PATIENT, 'patients')]:
            for tab, domain, where in self.tabs(action):
                yield Question(f'{name}: {tab}', model, domain, where)
                yield Question(
                    f'{name}: count {tab}', model, domain, where, count=True)
        day = NOW.date() - dt.timedelta(days=700)
        month = day + dt.timedelta(days=30)
        for name, domain, where in [
                ('of a patient', [('patient', '=', self.often)],
                    f"patient = {self.often}"),
                ('PUID', [('patient_id', '=', 'P77')], "patient_id = 'P77'"),
                ('accession', [('accession_number', '=', 'A513')],
                    "accession_number = 'A513'"),
                ('UID', [('study_instance_UID', '=', '1.2.513')],
                    "\"study_instance_UID\" = '1.2.513'"),
                ('server', [('server_config', '=', self.server.id)],
                    f"server_config = {self.server.id}"),
                ('since a day', [('study_date', '>=', day)],
                    f"study_date >= '{day}'"),
                ('a month', [
                        ('study_date', '>=', day), ('study_date', '<', month)],
                    f"study_date >= '{day}' AND study_date < '{month}'"),
                ('modality', [('modalities', '=', 'CT')],
                    "modalities = 'CT'"),
                ('modality has', [('modalities', 'ilike', '%CT%')],
                    "modalities ILIKE '%CT%'"),
                ('name has', [('patient_name', 'ilike', '%etz777^%')],
                    "patient_name ILIKE '%etz777^%'"),
                ('PUID has', [('patient_id', 'ilike', '%P777%')],
                    "patient_id ILIKE '%P777%'"),
                ('accession has', [('accession_number', 'ilike', '%A513%')],
                    "accession_number ILIKE '%A513%'"),
                ]:
            yield Question(f'studies: {name}', STUDY, domain, where)
        for name, domain, where in [
                ('name has', [('name', 'ilike', '%etz777^%')],
                    "name ILIKE '%etz777^%'"),
                ('Patient ID', [('ident', '=', 'P77')], "ident = 'P77'"),
                ]:
            yield Question(f'patients: {name}', ORTHANC_PATIENT, domain, where)

    def forms(self):
        "Yield the name of what a form or a wizard needs, and how it gets it"
        pool = Pool()
        Patient = pool.get('gnuhealth.patient')
        Result = pool.get('gnuhealth.imaging.test.result')
        Study = pool.get(STUDY)
        queue, = [
            domain for name, domain, _ in self.tabs(
                'act_imaging_orthanc_study_view') if name == 'to link']
        result, = Result.search([('patient', '=', self.often)], limit=1)
        waiting = Study.search(queue, limit=50)

        def imaging():
            row, = Patient.read([self.often], ['imaging'])
            Imaging = pool.get('gnuhealth.orthanc.patient_imaging')
            Imaging.read(list(row['imaging'])[:40], [
                    'date', 'description', 'state', 'ohif_viewer_link'])

        yield 'form: imaging of a patient', imaging
        yield 'form: candidates of a result', lambda: Result.read(
            [result.id], ['candidates'])
        yield 'queue: 50 proposals', lambda: Study.read(
            [s.id for s in waiting], ['proposal'])

    @contextmanager
    def by_institution(self):
        "Be a doctor who sees what belongs to the institution"
        Configuration = Pool().get('gnuhealth.imaging.configuration')
        doctor = create_user('doctor', DOCTOR)
        configuration = Configuration(1)
        configuration.own_institution = True
        configuration.save()
        with Transaction().set_user(doctor.id), check_access():
            yield

    def sent_by(self, function):
        Transaction().cache.clear()
        with recorded() as sent:
            function()
        return [(sql, args) for sql, args in sent if sql.startswith('SELECT')]
