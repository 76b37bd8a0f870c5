# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure the synchronization against upstream 5.0.4 and the floor.

    make bench PART=sync
    python -m benchmarks.sync --corpus 1600x2x5 --case full --case log

Each measurement starts a new process with a new database on one PostgreSQL,
and reads the same Orthanc.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import psycopg2

from demo.state import REPOSITORY, State
from demo.steps import Programs

from .corpora import CORPORA, orthanc_of
from .upstream import upstream_python

sys.path.append(str(REPOSITORY / 'tests'))

from postgresql import Cluster  # noqa: E402

HERE = Path(__file__).resolve().parent
MODULES = ['health_imaging_worklist', 'health_orthanc']
UPSTREAM = ['upstream full', 'upstream new']
# What follows in the same database, the second time
AGAIN = {
    'full': ['full', 'new', 'reconcile'],
    }
# upstream's time grows faster than the size: hours at this one
TOO_LONG = 20000
LIMIT = 1800
REPEATS = 3
COLUMNS = ['wall', 'cpu', 'memory', 'requests', 'statements']
CASES = ['floor', 'full', 'log', *UPSTREAM]
# What each is compared with
BASES = {'full': 'upstream full', 'log': 'upstream new'}


class Bench:
    "Runs cases against one Orthanc and one PostgreSQL"

    def __init__(self, cluster, pythons, folder):
        self.cluster = cluster
        self.pythons = pythons
        self.folder = folder
        self.templates = set()
        self.count = 0

    def sql(self, statement):
        with closing(psycopg2.connect(
                    self.cluster.uri + 'postgres')) as connection:
            connection.autocommit = True
            connection.cursor().execute(statement)

    def database(self, side):
        "A new database with the modules, from a template"
        if side not in self.templates:
            self._run(side, {'database': side, 'modules': MODULES})
            self.templates.add(side)
        self.count += 1
        name = f'bench{self.count}'
        self.sql(f'CREATE DATABASE {name} TEMPLATE {side}')
        return name

    def measure(self, case, orthanc):
        """Return what a case and those that follow it cost, by their names.

        A crash or a run that takes too long is a text instead.
        """
        from trytond.modules.health_orthanc.tests.orthanc import (
            PASSWORD, USER)
        side = 'upstream' if case in UPSTREAM else 'ours'
        database = self.database(side)
        results = {}
        for number, one in enumerate([case, *AGAIN.get(case, [])]):
            name = one + ' again' if number and one == case else one
            if number and one == 'new':
                name = 'unchanged'
            try:
                results[name] = self._run(side, {
                        'database': database, 'case': one,
                        'url': orthanc.url, 'user': USER,
                        'password': PASSWORD})
            except (subprocess.SubprocessError, RuntimeError) as error:
                results[name] = str(error).strip().splitlines()[-1][:60]
                break
        self.sql(f'DROP DATABASE {database} WITH (FORCE)')
        return results

    def best(self, case, orthanc):
        "The shortest of some measurements, of one of upstream's"
        results = {}
        for _ in range(1 if case in UPSTREAM else REPEATS):
            for name, result in self.measure(case, orthanc).items():
                best = results.get(name)
                if (not isinstance(best, dict) or isinstance(result, dict)
                        and result['wall'] < best['wall']):
                    results[name] = result
        return results

    def _run(self, side, options):
        environment = {
            **os.environ,
            'TRYTOND_DATABASE_URI': self.cluster.uri,
            'DB_NAME': options['database'],
            'PYTHONWARNINGS': 'ignore',
            }
        done = subprocess.run(
            [self.pythons[side], HERE / 'sync_case.py',
                json.dumps({'uri': self.cluster.uri, **options})],
            cwd=self.folder, env=environment, timeout=LIMIT,
            stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr)
        return json.loads(done.stdout.splitlines()[-1])


def report(corpus, results):
    print(
        f"\n{corpus.name}: {corpus.studies} studies, "
        f"{corpus.size} instances")
    print(f"{'':16}{'wall s':>9}{'CPU s':>9}{'+MB':>7}{'requests':>10}"
        f"{'SQL':>9}{'upstream':>10}{'floor':>8}")
    floor = results.get('floor')
    for name, result in results.items():
        if isinstance(result, str):
            print(f'{name:16}{result}')
            continue
        line = (f"{name:16}{result['wall']:9.2f}{result['cpu']:9.2f}"
            f"{result['memory']:7.0f}{result['requests']:10}"
            f"{result['statements']:9}")
        base = results.get(BASES.get(name))
        line += (f"{base['wall'] / result['wall']:9.0f}x"
            if isinstance(base, dict) else f"{'':10}")
        if isinstance(floor, dict):
            line += f"{result['wall'] / floor['wall']:8.2f}"
        print(line, flush=True)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [c.name for c in CORPORA]
    parser.add_argument('--corpus', action='append', choices=names,
        help="only these (default: all)")
    parser.add_argument('--case', action='append', choices=CASES,
        help="only these (default: all)")
    arguments = parser.parse_args()
    cases = arguments.case or CASES
    state = State()
    state.make()
    pythons = {'ours': sys.executable}
    if any(case in UPSTREAM for case in cases):
        pythons['upstream'] = upstream_python(state, Programs(state.log))
    archives = state.root / 'benchmarks'
    archives.mkdir(exist_ok=True)
    with Cluster() as cluster, tempfile.TemporaryDirectory() as folder:
        bench = Bench(cluster, pythons, folder)
        for corpus in CORPORA:
            if arguments.corpus and corpus.name not in arguments.corpus:
                continue
            results = {}
            with orthanc_of(corpus, archives) as orthanc:
                for case in cases:
                    if case in UPSTREAM and corpus.studies >= TOO_LONG:
                        results[case] = "not measured: hours"
                        continue
                    results.update(bench.best(case, orthanc))
            report(corpus, results)


if __name__ == '__main__':
    main()
