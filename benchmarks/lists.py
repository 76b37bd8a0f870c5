# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Time what people ask of a large archive: tabs, searches, queue and forms.

    make bench PART=lists
    python -m benchmarks.lists --studies 1000000

Each question is asked through the ORM as clients ask it, a list of 1,000
records or a count up to 1,000, and by one hand-written statement with the
same rows; then once more as a doctor who sees their own institution only.
"""
import argparse
import os
import subprocess
import sys
import time

from demo.state import REPOSITORY

sys.path.append(str(REPOSITORY / 'tests'))

from .imaging_lists import milliseconds  # noqa: E402


def by_hand(question):
    "Return the statement that somebody would write for the question"
    from scale import LIMIT
    from scale_studies import STUDY
    study = question.model == STUDY
    table = ('gnuhealth_imaging_orthanc_study' if study
        else 'gnuhealth_orthanc_patient')
    if question.count:
        return (f"SELECT count(*) FROM (SELECT 1 FROM {table} "
            f"WHERE {question.where} LIMIT {LIMIT}) counted")
    order = "study_date DESC NULLS LAST, id DESC" if study else "id"
    return (f"SELECT * FROM {table} WHERE {question.where} "
        f"ORDER BY {order} LIMIT {LIMIT}")


def measure(studies):
    from scale_studies import ORTHANC_PATIENT, STUDY, Archive

    from trytond.pool import Pool
    from trytond.tests.test_tryton import activate_module, with_transaction
    from trytond.transaction import Transaction
    activate_module(['health_orthanc', 'health_imaging_worklist'])

    def compare(archive):
        cursor = archive.cursor
        for question in archive.questions_of_studies():
            def ask():
                Transaction().cache.clear()
                archive.ask(question)

            hand = by_hand(question)

            def ask_by_hand():
                cursor.execute(hand)
                cursor.fetchall()

            statement, args = archive.statements(question)[-1]
            scans = sorted({
                    node['Node Type']
                    for node in archive.plan(statement, args)
                    if 'Scan' in node['Node Type']
                    or node['Node Type'] == 'Sort'})
            orm, sql = milliseconds(ask), milliseconds(ask_by_hand)
            print(f'{question.name:<34}{orm:>9.1f}{sql:>9.1f}'
                f'{orm / sql:>7.1f}  {", ".join(scans)}', flush=True)
        for name, get in archive.forms():
            def fill():
                Transaction().cache.clear()
                get()

            print(f'{name:<34}{milliseconds(fill):>9.1f}', flush=True)

    @with_transaction()
    def run():
        transaction = Transaction()
        cursor = transaction.connection.cursor()
        cursor.execute('CREATE EXTENSION IF NOT EXISTS pg_trgm')
        # Tryton looks from another connection
        transaction.commit()
        transaction.database._extensions.clear()
        for name in [STUDY, ORTHANC_PATIENT]:
            Pool().get(name)._update_sql_indexes()
        archive = Archive()
        started = time.perf_counter()
        archive.archive(studies)
        print(f'{studies} studies made in '
            f'{time.perf_counter() - started:.0f} s\n')
        print(f'{"question":<34}{"ORM ms":>9}{"SQL ms":>9}{"ratio":>7}  plan')
        compare(archive)
        print("\nby institution")
        with archive.by_institution():
            compare(archive)
    run()


def main():
    from postgresql import Cluster
    if os.environ.get('BENCH_LISTS'):
        measure(int(os.environ['BENCH_LISTS']))
        return 0
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--studies', type=int, default=1000000)
    arguments = parser.parse_args()
    with Cluster() as cluster:
        return subprocess.run([sys.executable, '-m', 'benchmarks.lists'],
            cwd=REPOSITORY, env={
                **os.environ,
                'BENCH_LISTS': str(arguments.studies),
                'TRYTOND_DATABASE_URI': cluster.uri,
                'DB_NAME': 'bench_lists',
                'PATH': f'{cluster.bin}:{os.environ["PATH"]}',
                'PYTHONWARNINGS': 'ignore',
                }).returncode


if __name__ == '__main__':
    sys.exit(main())
