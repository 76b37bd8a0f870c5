# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import datetime as dt
import json
import unittest

from trytond import backend
from trytond.modules.health_orthanc.rows import insert_rows
from trytond.pool import Pool
from trytond.pyson import PYSONDecoder
from trytond.tests.test_tryton import (
    activate_module, drop_db, with_transaction)
from trytond.transaction import Transaction

from .tools import ImagingMixin

COUNT = 2000
DAY = dt.date(2024, 1, 1)
SEARCHES = {
    'server': lambda server: [('server_config', '=', server.id)],
    'server by URL': lambda server: [('server', '=', server.domain)],
    'patient': lambda server: [('patient', '=', 5)],
    'result': lambda server: [('imaging_test', '=', 5)],
    'Patient ID': lambda server: [('patient_id', '=', 'P7')],
    'accession number': lambda server: [('accession_number', '=', 'A7')],
    'Study UID': lambda server: [('study_instance_UID', '=', '1.2.7')],
    'merge id': lambda server: [('merge_id', '=', '1.2.7')],
    'days': lambda server: [('study_date', '>=', DAY)],
    }


class ListsTestCase(ImagingMixin, unittest.TestCase):
    "Test that lists of studies read an index, newest first"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        drop_db()
        activate_module(['health_orthanc', 'health_imaging_worklist'])

    @classmethod
    def tearDownClass(cls):
        drop_db()
        super().tearDownClass()

    def fill(self):
        Study = Pool().get('gnuhealth.imaging_orthanc.study')
        server = self.server()
        insert_rows(Study, [
                'server_config', 'orthanc_UID', 'study_instance_UID',
                'patient_id', 'patient_name', 'accession_number',
                'study_date', 'to_verify', 'missing_since'],
            [[server.id, f'study-{i}', f'1.2.{i}', f'P{i // 3}', f"Name{i}",
                    f'A{i}', DAY + dt.timedelta(days=i % 600), i % 100 == 0,
                    dt.datetime.now() if i % 90 == 0 else None]
                for i in range(COUNT)])
        return server

    def domains(self, server):
        pool = Pool()
        Window = pool.get('ir.action.act_window')
        ModelData = pool.get('ir.model.data')
        window = Window(ModelData.get_id(
                'health_orthanc', 'act_imaging_orthanc_study_view'))
        for tab in window.act_window_domains:
            yield tab.name, PYSONDecoder().decode(tab.domain or '[]')
        for name, make in SEARCHES.items():
            yield name, make(server)

    @with_transaction()
    def test_newest_first(self):
        "Test the order of the list, and that the tabs count"
        Study = Pool().get('gnuhealth.imaging_orthanc.study')
        server = self.fill()
        for name, domain in self.domains(server):
            with self.subTest(list=name):
                studies = Study.search(domain, limit=50)
                keys = [(s.study_date, s.id) for s in studies]
                self.assertEqual(keys, sorted(keys, reverse=True))
                self.assertEqual(
                    Study.search_count(domain, limit=50), len(studies))

    @with_transaction()
    def test_index(self):
        "Test that PostgreSQL has an index for each list and search"
        Study = Pool().get('gnuhealth.imaging_orthanc.study')
        server = self.fill()
        cursor = Transaction().connection.cursor()
        if backend.name == 'postgresql':
            cursor.execute('ANALYZE gnuhealth_imaging_orthanc_study')
            # then only what has no index is read through
            cursor.execute('SET LOCAL enable_seqscan = off')
            explain = 'EXPLAIN (FORMAT JSON) '
        else:
            explain = 'EXPLAIN QUERY PLAN '
        for name, domain in self.domains(server):
            with self.subTest(list=name):
                query = Study.search(domain, limit=100, query=True)
                sql, params = tuple(query)
                cursor.execute(explain + sql, params)
                plan = cursor.fetchall()
                if backend.name == 'postgresql':
                    self.assertNotIn('Seq Scan', json.dumps(plan), plan)
                else:
                    # SQLite has only the indexes that constraints need
                    self.assertTrue(plan)

