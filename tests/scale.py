# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many requests and results in PostgreSQL, and what clients ask of them."""
import datetime as dt
import json
from collections import namedtuple
from contextlib import contextmanager

from trytond.modules.health_imaging.tests.tools import Hospital
from trytond.pool import Pool
from trytond.transaction import Transaction

REQUEST = 'gnuhealth.imaging.test.request'
RESULT = 'gnuhealth.imaging.test.result'
# What the web client lists and how far its tabs count
LIMIT = 1000
URGENT_FIRST = [
    ('urgent', 'DESC'), ('scheduled_date', 'DESC'), ('id', 'DESC')]
NOW = dt.datetime.now().replace(microsecond=0)
PATIENTS, DOCTORS = 5000, 50

Question = namedtuple('Question', 'name model domain where order count')
Question.__new__.__defaults__ = (None, False)


class Crowd(Hospital):
    """Rows as of ten years: what waits is recent, the rest is done.

    They are made by SQL from one request and one result; what does not vary
    is copied from these.
    """

    def crowd(self, requests, results):
        self.hospital()
        self.cursor = Transaction().connection.cursor()
        sample = self.result()
        self.cursor.execute(
            'UPDATE gnuhealth_imaging_test_request SET urgent = false')
        parties = self.multiply(
            'party_party', self.patient.party.id, PATIENTS, {
                'code': "'P' || n",
                'ref': "'P' || n",
                'federation_account': 'NULL',
                'lastname': "'Betz' || n",
                })
        patients = self.multiply(
            'gnuhealth_patient', self.patient.id, PATIENTS, {
                'party': f"{parties} + n",
                'puid': "'P' || n",
                })
        doctors = self.multiply(
            'gnuhealth_healthprofessional', self.doctor.id, DOCTORS, {
                'party': f"{parties} + n",
                'code': "'D' || n",
                })
        self.patient_id = patients + 7
        number = "'R' || lpad(n::text, 8, '0')"
        age = f"n::float / {requests} * interval '3650 days'"
        date = f"'{NOW}'::timestamp - ({age})"
        self.first = self.multiply(
            'gnuhealth_imaging_test_request', sample.request.id, requests, {
                'request': number,
                'request_line': f"{number} || '-01'",
                'date': date,
                'scheduled_date': date,
                'state': f"""CASE WHEN n % 50 = 0 THEN 'cancelled'
                    WHEN {age} > interval '20 days' THEN 'done'
                    WHEN n % 7 = 0 THEN 'draft' ELSE 'requested' END""",
                'urgent': "n % 20 = 0",
                'patient': f"{patients} + n % {PATIENTS}",
                'doctor': f"""CASE WHEN n % {2 * DOCTORS} = 0
                    THEN {self.doctor.id} ELSE {doctors} + n % {DOCTORS}
                    END""",
                })
        old = f"{age} > interval '40 days'"
        self.multiply(
            'gnuhealth_imaging_test_result', sample.id, results, {
                'number': "'T' || lpad(n::text, 8, '0')",
                '"order"': number,
                'request': f"{self.first} + n",
                'date': date,
                'request_date': date,
                'patient': f"{patients} + n % {PATIENTS}",
                'state': f"""CASE WHEN {old} THEN 'signed'
                    WHEN n % 3 = 0 THEN 'draft' ELSE 'reported' END""",
                'read_date': f"CASE WHEN {old} THEN {date} END",
                'urgent_finding': "n % 100 = 0",
                })
        for table in ['party_party', 'gnuhealth_patient',
                'gnuhealth_imaging_test_request',
                'gnuhealth_imaging_test_result']:
            self.cursor.execute(f'ANALYZE {table}')

    def multiply(self, table, sample, count, values):
        "Copy the row with these values of n from 0 on; return the first id"
        self.cursor.execute(f'SELECT max(id) + 1 FROM {table}')
        first, = self.cursor.fetchone()
        self.cursor.execute(
            "SELECT quote_ident(column_name) FROM information_schema.columns "
            "WHERE table_name = %s AND table_schema = current_schema() "
            "AND is_generated = 'NEVER'", [table])
        columns = {name: f'sample.{name}' for name, in self.cursor}
        columns.update(
            (name, value) for name, value in values.items()
            if name in columns)
        columns['id'] = f'{first} + n'
        self.cursor.execute(
            f"INSERT INTO {table} ({', '.join(columns)}) "
            f"SELECT {', '.join(columns.values())} "
            f"FROM generate_series(0, {count - 1}) n, {table} sample "
            f"WHERE sample.id = {sample}")
        return first

    def questions(self):
        """Yield what clients ask

        `where` is the condition that somebody would write by hand.
        """
        day = NOW.date()
        unread = "read_date IS NULL AND state <> 'draft'"
        mine = f"doctor = {self.doctor.id}"
        for tab, domain, where in [
                *((state, [('state', '=', state)], f"state = '{state}'")
                    for state in ['draft', 'requested', 'done', 'cancelled']),
                ('today', [('today', '=', True), ('state', '!=', 'cancelled')],
                    f"scheduled_date >= '{day}' "
                    f"AND scheduled_date < '{day + dt.timedelta(days=1)}' "
                    "AND state <> 'cancelled'"),
                ('mine', [('mine', '=', True)], mine),
                ('mine, to read', [
                        ('mine', '=', True), ('unread', '=', True)],
                    f"{mine} AND id IN (SELECT request "
                    f"FROM gnuhealth_imaging_test_result WHERE {unread})"),
                ('all', [], "true")]:
            yield Question(
                f'requests: {tab}', REQUEST, domain, where, URGENT_FIRST)
            yield Question(
                f'requests: count {tab}', REQUEST, domain, where, count=True)
        week = NOW - dt.timedelta(days=700)
        end = week + dt.timedelta(days=7)
        patient = (
            'of a patient', [('patient', '=', self.patient_id)],
            f"patient = {self.patient_id}")
        for name, domain, where in [
                patient,
                ('order number', [('request', '=', 'R00001234')],
                    "request = 'R00001234'"),
                ('order number begins', [('request', 'ilike', 'R000012%')],
                    "request ILIKE 'R000012%'"),
                ('order number has', [('request', 'ilike', '%1234%')],
                    "request ILIKE '%1234%'"),
                ('a week', [('date', '>=', week), ('date', '<', end)],
                    f"date >= '{week}' AND date < '{end}'"),
                ('a scheduled week', [
                        ('scheduled_date', '>=', week),
                        ('scheduled_date', '<', end)],
                    f"scheduled_date >= '{week}' "
                    f"AND scheduled_date < '{end}'"),
                ]:
            yield Question(
                f'requests: {name}', REQUEST, domain, where, URGENT_FIRST)
        for tab, domain, where in [
                ('all', [], "true"),
                ('urgent, to read', [
                        ('urgent_finding', '=', True),
                        ('unread', '=', True)],
                    f"urgent_finding AND {unread}"),
                ('to read', [('unread', '=', True)], unread),
                *((state, [('state', '=', state)], f"state = '{state}'")
                    for state in ['draft', 'reported', 'signed'])]:
            yield Question(f'results: {tab}', RESULT, domain, where)
            if tab not in {'all', 'signed'}:
                yield Question(
                    f'results: count {tab}', RESULT, domain, where, count=True)
        for name, domain, where in [
                patient,
                ('number', [('number', '=', 'T00001234')],
                    "number = 'T00001234'"),
                ('number has', [('number', 'ilike', '%1234%')],
                    "number ILIKE '%1234%'"),
                ('order number has', [('order', 'ilike', '%1234%')],
                    "\"order\" ILIKE '%1234%'"),
                ('a week', [('date', '>=', week), ('date', '<', end)],
                    f"date >= '{week}' AND date < '{end}'"),
                ]:
            yield Question(f'results: {name}', RESULT, domain, where)

    def ask(self, question):
        Model = Pool().get(question.model)
        if question.count:
            return Model.search_count(question.domain, 0, LIMIT)
        return Model.search(
            question.domain, limit=LIMIT, order=question.order)

    def statements(self, question):
        "Return the statements that the question sends to its table"
        table = Pool().get(question.model)._table
        # Tryton remembers how many rows there are
        Pool().get(question.model).estimated_count()
        with recorded() as sent:
            self.ask(question)
        return [
            (sql, args) for sql, args in sent
            if sql.startswith('SELECT') and table in sql]

    def plan(self, statement, args):
        "Return the nodes of the plan"
        self.cursor.execute(f'EXPLAIN (FORMAT JSON) {statement}', args)
        (plan, *_), = self.cursor.fetchall()
        return list(nodes((plan if isinstance(plan, list)
                    else json.loads(plan))[0]['Plan']))


def nodes(plan):
    yield plan
    for child in plan.get('Plans', []):
        yield from nodes(child)


class _Recorder:
    "A connection or a cursor that notes what is sent"

    def __init__(self, wrapped, sent):
        self._wrapped = wrapped
        self._sent = sent

    def __getattr__(self, name):
        return getattr(self._wrapped, name)

    def __iter__(self):
        return iter(self._wrapped)

    def cursor(self, *args, **kwargs):
        return _Recorder(self._wrapped.cursor(*args, **kwargs), self._sent)

    def execute(self, statement, args=()):
        self._sent.append((str(statement), args))
        return self._wrapped.execute(statement, args)


@contextmanager
def recorded():
    transaction, sent = Transaction(), []
    connection = transaction.connection
    transaction.connection = _Recorder(connection, sent)
    try:
        yield sent
    finally:
        transaction.connection = connection
