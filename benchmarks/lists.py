# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure the lists of studies: tabs, searches and counts.

    make bench PART=lists
    python -m benchmarks.lists --studies 1000000
"""
import argparse
import datetime as dt
import json
import os
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import psycopg2

from demo.state import REPOSITORY

sys.path.append(str(REPOSITORY / 'tests'))

from postgresql import Cluster  # noqa: E402

HERE = Path(__file__).resolve().parent
DATABASE = 'lists'
MODULES = ['health_imaging_worklist', 'health_orthanc']
REPEATS = 5
SEARCHES = {
    'server': [('server_config.label', '=', 'benchmark')],
    'server by URL': [('server', '=', 'http://127.0.0.1')],
    'Patient ID': [('patient_id', '=', 'P77')],
    'accession number': [('accession_number', '=', 'A5123')],
    'Study UID': [('study_instance_UID', '=', '1.2.5123')],
    'merge id': [('merge_id', '=', '1.2.5123')],
    'patient': [('patient', '=', 5)],
    'result': [('imaging_test', '=', 5)],
    'since a day': [('study_date', '>=', dt.date(2024, 1, 1))],
    'a month': [
        ('study_date', '>=', dt.date(2004, 1, 1)),
        ('study_date', '<', dt.date(2004, 2, 1))],
    'part of the name': [('patient_name', 'ilike', '%amily777^%')],
    'part of the number': [('accession_number', 'ilike', '%A5123%')],
    'anything': [('rec_name', 'ilike', '%amily777^%')],
    'anything, nowhere': [('rec_name', 'ilike', '%nowhere%')],
    }
FILL = """
INSERT INTO gnuhealth_imaging_orthanc_study (
    server_config, "orthanc_UID", "study_instance_UID", patient_name,
    patient_id, study_date, description, accession_number, modalities,
    to_verify, missing_since)
SELECT %s, md5(i::text), '1.2.' || i,
    'Family' || (i %% 300000) || '^Given' || (i %% 977),
    'P' || (i %% 300000), DATE '2000-01-01' + (i %% 9000)::int,
    'CT head', 'A' || i, 'CT', i %% 5000 = 0,
    CASE WHEN i %% 7000 = 0 THEN now() END
FROM generate_series(1, %s) i
"""


def tabs(pool, decode):
    "The tabs of the list of studies, as domains by their names"
    Window = pool.get('ir.action.act_window')
    ModelData = pool.get('ir.model.data')
    window = Window(ModelData.get_id(
            'health_orthanc', 'act_imaging_orthanc_study_view'))
    return {
        f'tab {tab.name}': decode(tab.domain or '[]')
        for tab in window.act_window_domains}


def best_of(function):
    "The shortest of some times, in milliseconds"
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return min(times) * 1000


def measure(count):
    from trytond.pool import Pool
    from trytond.pyson import PYSONDecoder
    from trytond.transaction import Transaction
    Pool.start()
    pool = Pool(DATABASE)
    pool.init()
    with Transaction().start(DATABASE, 1) as transaction:
        Server = pool.get('gnuhealth.orthanc.config')
        Study = pool.get('gnuhealth.imaging_orthanc.study')
        server, = Server.create([{
                    'label': 'benchmark', 'domain': 'http://127.0.0.1'}])
        cursor = transaction.connection.cursor()
        cursor.execute(FILL, (server.id, count))
        cursor.execute('ANALYZE gnuhealth_imaging_orthanc_study')
        transaction.commit()
        print(f"{count} studies{'list ms':>22}{'count ms':>10}")
        for name, domain in {
                **tabs(pool, PYSONDecoder().decode), **SEARCHES}.items():
            lines = best_of(lambda: Study.search(domain, limit=100))
            total = best_of(lambda: Study.search_count(domain, limit=100))
            print(f'{name:24}{lines:12.1f}{total:10.1f}', flush=True)


def activate(cluster, modules):
    subprocess.run(
        [sys.executable, HERE / 'sync_case.py', json.dumps({
                    'uri': cluster.uri, 'database': DATABASE,
                    'modules': modules})],
        check=True, stdout=subprocess.DEVNULL)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--studies', type=int, default=1000000)
    arguments = parser.parse_args()
    with Cluster() as cluster:
        os.environ['TRYTOND_DATABASE_URI'] = cluster.uri
        os.environ['DB_NAME'] = DATABASE
        activate(cluster, ['ir'])
        # the index of parts of texts needs the extension beforehand
        with closing(psycopg2.connect(cluster.uri + DATABASE)) as connection:
            connection.autocommit = True
            connection.cursor().execute('CREATE EXTENSION pg_trgm')
        activate(cluster, MODULES)
        from trytond.config import config
        config.update_etc()
        config.set('database', 'uri', cluster.uri)
        measure(arguments.studies)


if __name__ == '__main__':
    main()
