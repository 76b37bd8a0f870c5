# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""PostgreSQL answers what clients ask of many rows through indexes."""
import unittest

from scale import LIMIT, REQUEST, RESULT, Crowd
from scale_studies import ORTHANC_PATIENT, STUDY, Archive

from trytond.pool import Pool
from trytond.tests.test_tryton import (
    activate_module, drop_db, with_transaction)
from trytond.transaction import Transaction

REQUESTS, RESULTS, STUDIES = 100000, 80000, 100000
# What may be sorted: some pages of a list
SORTABLE = 3 * LIMIT


class Plans:
    "Looks at plans of PostgreSQL"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        drop_db()
        activate_module(cls.modules)

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        drop_db()

    def index(self, *names):
        "Make the indexes of parts of texts, too; return the tables"
        pool = Pool()
        transaction = Transaction()
        cursor = transaction.connection.cursor()
        cursor.execute('CREATE EXTENSION IF NOT EXISTS pg_trgm')
        # Tryton looks from another connection
        transaction.commit()
        transaction.database._extensions.clear()
        tables = set()
        for name in names:
            Model = pool.get(name)
            Model._update_sql_indexes()
            tables.add(Model._table)
        return tables

    def check_plan(self, plan, tables):
        soon_done = []
        for node in plan:
            kind = node['Node Type']
            if kind == 'Limit':
                # nearly every row fits: the scan ends after some pages
                child, = node['Plans']
                while child and child['Plan Rows'] > 10 * LIMIT:
                    soon_done.append(child)
                    child = child.get('Plans', [None])[0]
            if node.get('Relation Name') in tables and (
                    node not in soon_done):
                self.assertNotEqual(kind, 'Seq Scan')
            if kind == 'Sort':
                self.assertLessEqual(node['Plan Rows'], SORTABLE)


class RequestScaleTestCase(Plans, Crowd, unittest.TestCase):
    "Test how requests and results are read"
    modules = ['health_imaging']

    @with_transaction()
    def test_plans(self):
        "No question reads or sorts a whole table"
        tables = self.index(REQUEST, RESULT)
        self.crowd(REQUESTS, RESULTS)
        for question in self.questions():
            statements = self.statements(question)
            self.assertTrue(statements, question.name)
            for statement, args in statements:
                with self.subTest(question=question.name):
                    self.check_plan(self.plan(statement, args), tables)


class StudyScaleTestCase(Plans, Archive, unittest.TestCase):
    "Test how studies are read"
    modules = ['health_orthanc', 'health_imaging_worklist']

    def look(self, tables, models):
        for question in self.questions_of_studies():
            if question.model not in models:
                continue
            statements = self.statements(question)
            self.assertTrue(statements, question.name)
            for statement, args in statements:
                with self.subTest(question=question.name):
                    self.check_plan(self.plan(statement, args), tables)
        for name, get in self.forms():
            statements = self.sent_by(get)
            self.assertTrue(statements, name)
            for statement, args in statements:
                with self.subTest(form=name, statement=statement):
                    self.check_plan(self.plan(statement, args), tables)

    @with_transaction()
    def test_plans(self):
        "No list, form or wizard reads or sorts a whole table"
        tables = self.index(STUDY, ORTHANC_PATIENT)
        self.archive(STUDIES)
        self.look(tables, {STUDY, ORTHANC_PATIENT})
        with self.by_institution(), self.subTest(rule=True):
            self.look(tables, {STUDY})


if __name__ == '__main__':
    unittest.main()
