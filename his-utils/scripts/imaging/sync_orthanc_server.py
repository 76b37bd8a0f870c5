#!/usr/bin/env python3
# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""
Synchronize the studies of Orthanc servers to GNU Health.

Without arguments all validated servers are asked for what is new.  GNU Health
does the work; this script starts it, shows how far it is, and waits.
"""
import argparse
import shutil
import signal
import sys
import threading
import time

import _connection

EPILOG = _connection.EPILOG + """
exit status:
  0  all servers are synchronized
  1  some servers failed or items of them did; the others are synchronized
  2  wrong arguments or configuration
  3  GNU Health did not answer, or refused
  4  GNU Health has not finished within --timeout; it goes on
With --watch what fails is reported and tried again; SIGTERM and SIGINT end it
with exit status 0.

examples:
  what is new on all servers:
    sync_orthanc_server.py -d health -u pacs --password-file pw
  everything on one server, such as after a restore:
    sync_orthanc_server.py -d health -u pacs --password-file pw \\
        --full -l "Main PACS"
  for good, over https, a minute after each end:
    sync_orthanc_server.py -H health.example -p 443 --https -d health \\
        -u pacs --password-file pw --watch 60 --quiet
"""

OK, FAILED, USAGE, NO_SERVER, LATE = range(5)

RUN = 'gnuhealth.orthanc.sync.run'
SERVER = 'gnuhealth.orthanc.config'
FINAL = {'done', 'failed', 'cancelled'}
FIELDS = [
    'server.rec_name', 'state', 'progress', 'seen', 'new', 'changed',
    'missing', 'linked', 'failed', 'duration', 'message']
COLUMNS = ['seen', 'new', 'changed', 'missing', 'linked', 'failed']


def _seconds(text):
    value = float(text)
    if not 0 < value < float('inf'):
        raise ValueError
    return value


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    _connection.add_arguments(parser)
    group = parser.add_argument_group('synchronization')
    group.add_argument(
        '-l', '--label', action='append', dest='labels', metavar='LABEL',
        help='only the server of this label; may be repeated')
    group.add_argument(
        '--full', action='store_true',
        help='read all studies, not only what is new')
    group.add_argument(
        '--watch', type=_seconds, metavar='SECONDS',
        help='synchronize again so long after each end, until stopped')
    group.add_argument(
        '--timeout', type=_seconds, default=3600, metavar='SECONDS',
        help='wait so long for the end (default: %(default)g)')
    group.add_argument(
        '-q', '--quiet', action='store_true',
        help='print nothing but what failed')
    args = parser.parse_args(argv)
    try:
        _connection.complete(args)
    except _connection.UsageError as error:
        parser.error(str(error))
    return args


def find_servers(connection, labels):
    """Return the ids of the validated servers, of the labels only if any."""
    servers = connection.call(
        SERVER, 'search_read', [('validated', '=', True)], 0, None,
        [('label', 'ASC')], ['label'])
    if labels:
        missing = set(labels) - {s['label'] for s in servers}
        if missing:
            raise _connection.UsageError(
                'no validated server has the label %s'
                % ', '.join(map(repr, sorted(missing))))
        servers = [s for s in servers if s['label'] in labels]
    return [s['id'] for s in servers]


def start(connection, servers, full):
    """Start one run per server and return their ids."""
    runs = connection.call(RUN, 'create', [{
                'server': server,
                'kind': 'full' if full else 'new',
                'trigger': 'script',
                } for server in servers])
    # Without a worker GNU Health answers when all is done.
    connection.call(RUN, 'start', runs)
    return runs


def wait(connection, runs, timeout, show):
    """Return the runs as soon as all are at their end, or at the timeout."""
    deadline = time.monotonic() + timeout
    while True:
        found = connection.call(RUN, 'read', runs, FIELDS)
        if show:
            show_progress(found)
        if (all(r['state'] in FINAL for r in found)
                or time.monotonic() > deadline):
            return sorted(found, key=lambda r: runs.index(r['id']))
        time.sleep(1)


def show_progress(runs):
    progress = sum(r['progress'] or 0 for r in runs) / len(runs)
    ended = sum(r['state'] in FINAL for r in runs)
    width = max(min(shutil.get_terminal_size().columns - 40, 40), 10)
    bar = ('#' * int(progress * width)).ljust(width, '.')
    print(
        '\r[%s] %3d %%  %d of %d servers' % (
            bar, progress * 100, ended, len(runs)),
        end='\n' if ended == len(runs) else '', file=sys.stderr, flush=True)


def summarize(runs, quiet):
    """Print a table of the runs, a line each."""
    names = [r['server.']['rec_name'] for r in runs]
    width = max([len(n) for n in names] + [len('server')])
    if not quiet:
        print('%-*s  %-9s %s %8s' % (
                width, 'server', 'state',
                ' '.join('%8s' % c for c in COLUMNS), 'seconds'))
    for name, run in zip(names, runs):
        fine = run['state'] == 'done' and not run['failed']
        if not (quiet and fine):
            duration = run['duration']
            print('%-*s  %-9s %s %8s' % (
                    width, name, run['state'],
                    ' '.join('%8d' % (run[c] or 0) for c in COLUMNS),
                    '%.0f' % duration.total_seconds() if duration else ''))
    for name, run in zip(names, runs):
        if run['message']:
            print('%s: %s' % (name, run['message']), file=sys.stderr)


def synchronize(connection, args):
    """Synchronize once, print what came of it, return the exit status."""
    servers = find_servers(connection, args.labels)
    if not servers:
        print('no validated server', file=sys.stderr)
        return OK
    runs = start(connection, servers, args.full)
    runs = wait(
        connection, runs, args.timeout,
        show=not args.quiet and sys.stderr.isatty())
    summarize(runs, args.quiet)
    if any(r['state'] not in FINAL for r in runs):
        print('not finished yet: see the runs in GNU Health', file=sys.stderr)
        return LATE
    if any(r['state'] != 'done' or r['failed'] for r in runs):
        return FAILED
    return OK


def attempt(args, password):
    try:
        with _connection.Connection(args, password) as connection:
            return synchronize(connection, args)
    except _connection.UsageError as error:
        print('error: %s' % error, file=sys.stderr)
        return USAGE
    except _connection.ERRORS as error:
        print('error: %s' % _connection.explain(error), file=sys.stderr)
        return NO_SERVER


def main(argv=None):
    args = parse_args(argv)
    try:
        password = _connection.read_password(args)
    except _connection.UsageError as error:
        print('error: %s' % error, file=sys.stderr)
        return USAGE
    if not args.watch:
        return attempt(args, password)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    while not stop.is_set():
        attempt(args, password)
        sys.stdout.flush()
        stop.wait(args.watch)
    return OK


if __name__ == '__main__':
    sys.exit(main())
