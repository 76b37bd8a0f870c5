# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Time the lists, tabs, counts and searches of a large hospital.

    make bench PART=imaging_lists
    python benchmarks/imaging_lists.py [REQUESTS [RESULTS]]

A temporary PostgreSQL gets 1,000,000 requests and 800,000 results.  Each
question is asked through the ORM as clients ask it, a list of 1,000 records
or a count up to 1,000, and by one hand-written statement with the same rows.
"""
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / 'tests')]

REPEAT = 5
WAITING = (
    "CASE WHEN urgent AND state IN ('draft', 'requested') "
    "THEN 1 ELSE 0 END")


def by_hand(question):
    "Return the statement that somebody would write for the question"
    from scale import LIMIT, REQUEST
    request = question.model == REQUEST
    table = 'gnuhealth_imaging_test_' + ('request' if request else 'result')
    where = question.where
    if question.count:
        return (f"SELECT count(*) FROM (SELECT 1 FROM {table} "
            f"WHERE {where} LIMIT {LIMIT}) counted")
    order = (
        f"{WAITING} DESC, scheduled_date DESC, id DESC" if request
        else "date DESC, id")
    return (
        f"SELECT * FROM {table} WHERE {where} "
        f"ORDER BY {order} LIMIT {LIMIT}")


def milliseconds(function):
    function()
    times = []
    for _ in range(REPEAT):
        started = time.perf_counter()
        function()
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times)


def measure(requests, results):
    from scale import REQUEST, RESULT, Crowd

    from trytond.pool import Pool
    from trytond.tests.test_tryton import activate_module, with_transaction
    from trytond.transaction import Transaction
    activate_module('health_imaging')

    @with_transaction()
    def run():
        transaction = Transaction()
        cursor = transaction.connection.cursor()
        cursor.execute('CREATE EXTENSION IF NOT EXISTS pg_trgm')
        # Tryton looks from another connection
        transaction.commit()
        transaction.database._extensions.clear()
        for name in [REQUEST, RESULT]:
            Pool().get(name)._update_sql_indexes()
        crowd = Crowd()
        started = time.perf_counter()
        crowd.crowd(requests, results)
        print(f'{requests} requests and {results} results made in '
            f'{time.perf_counter() - started:.0f} s\n')
        print(f'{"question":<34}{"ORM ms":>9}{"SQL ms":>9}{"ratio":>7}  plan')
        for question in crowd.questions():
            def ask():
                transaction.cache.clear()
                crowd.ask(question)

            sent = crowd.statements(question)
            statement, args = sent[-1]
            hand = by_hand(question)

            def ask_by_hand():
                cursor.execute(hand)
                cursor.fetchall()

            orm, sql = milliseconds(ask), milliseconds(ask_by_hand)
            scans = sorted({
                    node['Node Type'] for node in crowd.plan(statement, args)
                    if 'Scan' in node['Node Type']
                    or node['Node Type'] == 'Sort'})
            print(f'{question.name:<34}{orm:>9.1f}{sql:>9.1f}'
                f'{orm / sql:>7.1f}  {", ".join(scans)}', flush=True)
    run()


def main():
    from postgresql import Cluster
    if os.environ.get('BENCH_LISTS'):
        measure(*map(int, os.environ['BENCH_LISTS'].split()))
        return 0
    counts = sys.argv[1:3] or ['1000000', '800000']
    with Cluster() as cluster:
        return subprocess.run([sys.executable, __file__], env={
                **os.environ,
                'BENCH_LISTS': ' '.join(counts),
                'TRYTOND_DATABASE_URI': cluster.uri,
                'DB_NAME': 'bench_lists',
                'PATH': f'{cluster.bin}:{os.environ["PATH"]}',
                'PYTHONWARNINGS': 'ignore',
                }).returncode


if __name__ == '__main__':
    sys.exit(main())
