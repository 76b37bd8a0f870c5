# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long the worklist of many open requests takes to reach the PACS host.

Three runs of update_worklists_database.py (the first one, one in which
nothing changed, one in which three requests changed), beside the way of GNU
Health 5.0: calls for each record over a connection without a session, and a
process for each file; and the same with a session.  These ways are measured
over a part of the requests and scaled up.

    make bench PART=worklists

makes a hospital on PostgreSQL in a temporary folder, and prints a table.
"""
import argparse
import contextlib
import datetime as dt
import json
import os
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
from pathlib import Path

import psycopg2
from proteus import Model
from proteus import config as proteus_config

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / 'tests')]

from demo import people  # noqa: E402
from demo.hospital import connect  # noqa: E402
from demo.installation import SCRIPTS_LOGIN  # noqa: E402
from installation import TestInstallation  # noqa: E402
from postgresql import Cluster  # noqa: E402

REQUEST = 'gnuhealth.imaging.test.request'
HEADER = '%-25s %-16s %7s %7s %9s %9s %10s'
ROW = '%-25s %-16s %7d %7d %9.1f %9.1f %10.1f'
TABLE = 'gnuhealth_imaging_test_request'


def make_request(hospital):
    "One request, made as a doctor makes it"
    with connect(hospital):
        Request, Patient, Test, Doctor = map(Model.get, [
                REQUEST, 'gnuhealth.patient', 'gnuhealth.imaging.test',
                'gnuhealth.healthprofessional'])
        patient, = Patient.find(
            [('party.ref', '=', people.PATIENTS[0].ref)])
        test, = Test.find([('code', '=', 'DEMO-CT-HEAD')])
        request = Request(
            patient=patient, requested_test=test, doctor=Doctor.find([])[0])
        request.save()
        request.click('requested')
        return request.id


def multiply(cursor, id_, count):
    "Copy the row: orders of years cannot be clicked"
    cursor.execute(
        'SELECT column_name FROM information_schema.columns '
        'WHERE table_name = %s ORDER BY ordinal_position', [TABLE])
    changed = {
        'id': f"nextval('{TABLE}_id_seq')",
        'merge_id': "'2.25.77' || n",
        'request_line': "'B' || n || '-01'",
        'request': "'B' || n",
        }
    columns = [name for name, in cursor]
    values = [changed.get(name, f'"{name}"') for name in columns]
    names = ', '.join(f'"{name}"' for name in columns)
    cursor.execute(
        f'INSERT INTO {TABLE} ({names}) SELECT {", ".join(values)} '
        f'FROM {TABLE}, generate_series(2, %s) n WHERE id = %s',
        [count, id_])


def change(cursor, count):
    cursor.execute(
        f'UPDATE {TABLE} SET urgent = NOT urgent, write_date = now() '
        f'WHERE id IN (SELECT id FROM {TABLE} ORDER BY id DESC LIMIT %s)',
        [count])


def files(folder):
    return {
        path.name: path.stat().st_mtime_ns for path in folder.glob('*.wl')}


class Clock:
    "Seconds, and those of the processors: here and in the server"

    def __init__(self, hospital):
        self._hospital = hospital
        self._start = self._now()

    def _now(self):
        stat = Path(f'/proc/{self._hospital.trytond.pid}/stat').read_text()
        fields = stat.rpartition(')')[2].split()
        server = sum(map(int, fields[11:13])) / os.sysconf('SC_CLK_TCK')
        return time.monotonic(), sum(os.times()[:4]), server

    def read(self, factor=1):
        return tuple(
            (now - start) * factor
            for now, start in zip(self._now(), self._start))


def run_script(hospital, folder, *options):
    "Run the script; return what the table says of it"
    before = files(folder)
    clock = Clock(hospital)
    result = subprocess.run(
        list(map(str, [*hospital.updater.arguments(), '-w', folder, '--json',
                    *options])),
        capture_output=True, text=True)
    seconds = clock.read()
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    after = files(folder)
    touched = sum(before.get(name) != after[name] for name in after)
    assert touched == report['written']
    # the log-in, what it brings, and the log-out
    return (report['requests'] + 3, touched, *seconds)


@contextlib.contextmanager
def counted():
    "Count what goes over the network"
    calls = []
    original = xmlrpc.client.Transport.request

    def request(self, *args, **kwargs):
        calls.append(1)
        return original(self, *args, **kwargs)

    xmlrpc.client.Transport.request = request
    try:
        yield calls
    finally:
        xmlrpc.client.Transport.request = original


@contextlib.contextmanager
def logged_in(hospital, with_session):
    "Log in once, or send the password with each call as GNU Health 5.0 does"
    address = f'127.0.0.1:{hospital.trytond.port}/{hospital.state.database}/'
    password = hospital.secrets['scripts']
    if with_session:
        with proteus_config.set_xmlrpc_session(
                f'http://{address}', SCRIPTS_LOGIN, password):
            yield
    else:
        proteus_config.set_xmlrpc(
            f'http://{SCRIPTS_LOGIN}:{password}@{address}')
        yield


def one_by_one(hospital, folder, known, part, with_session):
    "Calls for each record, a process for each file"
    touched = 0
    with counted() as calls, logged_in(hospital, with_session):
        requests = Model.get(REQUEST).find([
                ('state', '=', 'requested'),
                ('worklist_status', '=', 'todo'),
                ], order=[('id', 'DESC')], limit=part)
        for request in requests:
            template = request.requested_test.imaging_worklist_template
            text = request.worklist_text
            if template.template_type != 'dump2dcm' or (
                    known.get(request.id) == text):
                continue
            known[request.id] = text
            touched += 1
            dump = folder / 'dump.txt'
            dump.write_text(text, 'utf-8')
            subprocess.run(
                ['dump2dcm', '-q', dump, folder / f'{request.merge_id}.wl'],
                check=True)
    return len(calls), touched


def measure(hospital, count, part, root):
    database = psycopg2.connect(hospital.uri + hospital.state.database)
    database.autocommit = True
    cursor = database.cursor()
    multiply(cursor, make_request(hospital), count)
    cursor.execute('ANALYZE')
    for writer in ('dump2dcm', 'pydicom'):
        folder = root / writer
        folder.mkdir()
        options = '--writer', writer
        yield f'this script, {writer}', [
            run_script(hospital, folder, *options),
            run_script(hospital, folder, *options),
            change(cursor, 3) or run_script(hospital, folder, *options)]
    for with_session in (False, True):
        folder = root / f'one-by-one-{with_session}'
        folder.mkdir()
        known, rows, factor = {}, [], count / part
        for changes in (0, 0, 3):
            change(cursor, changes)
            clock = Clock(hospital)
            calls, touched = one_by_one(
                hospital, folder, known, part, with_session)
            rows.append((
                    round(calls * factor),
                    touched if changes else round(touched * factor),
                    *clock.read(factor)))
        yield 'one by one' + ', session' * with_session, rows


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--requests', type=int, default=10000)
    parser.add_argument(
        '--part', type=int, default=100,
        help="requests that are fetched one by one")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix='benchmark-') as root, \
            Cluster() as cluster:
        hospital = TestInstallation(Path(root) / 'state', cluster.uri)
        hospital.start()
        try:
            hospital.updater.stop()
            print(f'{args.requests} open requests, {dt.date.today()}; '
                f'{args.part} fetched one by one')
            print(HEADER % (
                    '', 'run', 'calls', 'files', 'seconds', 'CPU here',
                    'CPU server'))
            for name, rows in measure(
                    hospital, args.requests, args.part, Path(root)):
                for run, row in zip(
                        ['first', 'nothing changed', '3 changes'], rows):
                    print(ROW % (name, run, *row), flush=True)
        finally:
            hospital.stop()


if __name__ == '__main__':
    main()
