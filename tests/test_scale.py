# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""PostgreSQL answers what clients ask of many rows through indexes."""
import unittest

from scale import LIMIT, REQUEST, RESULT, Crowd

from trytond.pool import Pool
from trytond.tests.test_tryton import (
    activate_module, drop_db, with_transaction)
from trytond.transaction import Transaction

REQUESTS, RESULTS = 100000, 80000
# What may be sorted: a list's page and a bit
SORTABLE = 2 * LIMIT


class ScaleTestCase(Crowd, unittest.TestCase):
    "Test plans of PostgreSQL"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        drop_db()
        activate_module('health_imaging')

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        drop_db()

    @with_transaction()
    def test_plans(self):
        "No question reads or sorts a whole table"
        pool = Pool()
        transaction = Transaction()
        cursor = transaction.connection.cursor()
        cursor.execute('CREATE EXTENSION IF NOT EXISTS pg_trgm')
        # Tryton looks from another connection
        transaction.commit()
        transaction.database._extensions.clear()
        tables = set()
        for name in [REQUEST, RESULT]:
            Model = pool.get(name)
            Model._update_sql_indexes()
            tables.add(Model._table)
        self.crowd(REQUESTS, RESULTS)
        for question in self.questions():
            statements = self.statements(question)
            self.assertTrue(statements, question.name)
            for statement, args in statements:
                with self.subTest(question=question.name):
                    self.check_plan(self.plan(statement, args), tables)

    def check_plan(self, plan, tables):
        soon_done = []
        for node in plan:
            kind = node['Node Type']
            if kind == 'Limit':
                # nearly every row fits: the scan ends after some pages
                soon_done += [
                    child for child in node['Plans']
                    if child['Plan Rows'] > 10 * LIMIT]
            if node.get('Relation Name') in tables and (
                    node not in soon_done):
                self.assertNotEqual(kind, 'Seq Scan')
            if kind == 'Sort':
                self.assertLessEqual(node['Plan Rows'], SORTABLE)


if __name__ == '__main__':
    unittest.main()
