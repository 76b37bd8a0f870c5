# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One measured synchronization, in a process of its own.

Its only argument is JSON with uri (of PostgreSQL), database, url, user,
password, case (a key of CASES) and modules (what to activate in the new
database, instead of measuring). The last line it prints is JSON.
"""
import json
import sys
from pathlib import Path

from trytond.config import config

sys.path.insert(0, str(Path(__file__).resolve().parent))

from meter import Meter  # noqa: E402


def main(options):
    config.update_etc()
    config.set('database', 'uri', options['uri'])
    from trytond.pool import Pool
    if options.get('modules'):
        from trytond.tests.test_tryton import activate_module, create_db
        create_db(options['database'])
        activate_module(options['modules'])
        return {}
    Pool.start()
    pool = Pool(options['database'])
    pool.init()
    meter = Meter()
    CASES[options['case']](meter, pool, options)
    return meter.result


def _transaction(options):
    from trytond.transaction import Transaction
    return Transaction().start(options['database'], 1, context={})


def upstream(method, meter, pool, options):
    with _transaction(options) as transaction:
        Server = pool.get('gnuhealth.orthanc.config')
        Study = pool.get('gnuhealth.imaging_orthanc.study')
        if not Server.search([]):
            Server.create([{
                        'label': 'benchmark',
                        'domain': options['url'],
                        'user': options['user'],
                        'password': options['password'],
                        'validated': True,
                        }])
        transaction.commit()
        with meter.measure():
            getattr(Study, method)()
            transaction.commit()


def ours(kind, meter, pool, options, from_log=False):
    with _transaction(options) as transaction:
        Cursor = pool.get('gnuhealth.orthanc.sync.cursor')
        Run = pool.get('gnuhealth.orthanc.sync.run')
        Server = pool.get('gnuhealth.orthanc.config')
        server = Server.search([])
        if not server:
            server = Server.create([{
                        'label': 'benchmark',
                        'domain': options['url'],
                        'user': options['user'],
                        'password': options['password'],
                        'validated': True,
                        }])
            if from_log:
                Cursor.create([{
                            'server': server[0].id,
                            'change_seq': 0,
                            'complete': True,
                            }])
        run, = Run.create([{
                    'server': server[0].id,
                    'kind': kind,
                    'trigger': 'script',
                    }])
        transaction.commit()
        with meter.measure():
            Run.execute([run])
            transaction.commit()
        run = Run(run.id)
        meter.result['state'] = run.state
        meter.result['pages'] = run.pages
        if run.message or run.failed:
            raise RuntimeError(run.message or f'{run.failed} items failed')


def floor(meter, pool, options):
    """Fetch the facts by the best requests and COPY them into the tables.

    The next answer is fetched while the one before is written.
    """
    from floor import copy_all
    with _transaction(options) as transaction:
        Server = pool.get('gnuhealth.orthanc.config')
        server, = Server.create([{
                    'label': 'benchmark',
                    'domain': options['url'],
                    'validated': True,
                    }])
        transaction.commit()
        with meter.measure():
            copy_all(transaction.connection, server.id, options)
            transaction.commit()


CASES = {
    'upstream full': lambda *args: upstream('full_synchronize', *args),
    'upstream new': lambda *args: upstream('get_new_studies', *args),
    'full': lambda *args: ours('full', *args),
    'new': lambda *args: ours('new', *args),
    'log': lambda *args: ours('new', *args, from_log=True),
    'reconcile': lambda *args: ours('reconcile', *args),
    'floor': floor,
    }


if __name__ == '__main__':
    print(json.dumps(main(json.loads(sys.argv[1]))))
