#!/usr/bin/env python3
# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""
Write the worklist of GNU Health as .wl files, for the worklist plugin of
Orthanc or for wlmscpfs of dcmtk.

Each run asks what is new, writes what is new or changed, and removes what is
no longer there.  All other files stay as they are.
"""
import argparse
import contextlib
import json
import logging
import shutil
import signal
import socket
import sys
import threading
import time
import warnings

import _connection
import _feed
import _folder
import _update
import _writers

USAGE_TEXT = """\
%(prog)s -d DATABASE -u LOGIN
           [--password-file FILE] [-w FOLDER] [--watch SECONDS] [option ...]"""

EPILOG = """\
examples:
  once, with GNU Health on this host:
    update_worklists_database.py -d health -u pacs --password-file pw \\
        -w /var/lib/orthanc/worklists

  for good, over https, asking every ten seconds:
    update_worklists_database.py -H health.example -p 443 --https \\
        -d health -u pacs --password-file /etc/gnuhealth/pacs.password \\
        -w /var/lib/orthanc/worklists --watch 10

  see what would happen, and change nothing:
    update_worklists_database.py -d health -u pacs --dry-run

""" + _connection.EPILOG + """
writers:
  dump2dcm       items of dump2dcm templates by the program of that name
                 (package dcmtk), items of json templates by pydicom
  pydicom        all items by the Python package of that name
  orthanc-tools  all items by the Python package of that name
  Without --writer it is dump2dcm, or pydicom where dcmtk is not installed.
  If a writer drops an attribute of an item, a warning names it.

exit status:
  0  everything on the worklist is in the folder
  1  some items could not be published; the others are in the folder
  2  wrong arguments or configuration
  3  GNU Health did not answer, or refused: what is in the folder stays
  4  another instance works on the folder
  5  the folder cannot be read or written
  6  the answer would remove most files: they are kept, see --allow-empty
  7  the answer is no worklist: what is in the folder stays
With --watch errors are reported and the next run tries again; the exit status
is 0 after SIGTERM or SIGINT.
"""

(OK, BAD_ITEMS, USAGE, NO_SERVER, LOCKED, NO_FOLDER, SUSPICIOUS,
    NO_WORKLIST) = range(8)

TIMEOUT = 120
# Between two tries while GNU Health does not answer
LONGEST_WAIT = 300

logger = logging.getLogger('update_worklists')


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        usage=USAGE_TEXT, description=__doc__, epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    _connection.add_arguments(parser)
    folder = parser.add_argument_group('worklist')
    folder.add_argument(
        '-w', '--worklists-dir', dest='folder', metavar='FOLDER',
        default='/var/lib/orthanc/worklists',
        help='folder of the .wl files: "Database" in the Worklists section '
        'of Orthanc\'s configuration (default: %(default)s)')
    folder.add_argument(
        '--writer', choices=list(_writers.WRITERS),
        help='what makes the files, see below')
    folder.add_argument(
        '-m', '--handle-done-state', dest='done', action='store_true',
        help='publish requests that have a result, too, while their '
        'worklist status is Todo')
    folder.add_argument(
        '--host-name', metavar='NAME', default=socket.gethostname(),
        help='name under which GNU Health lists this host (default: '
        '%(default)s)')
    folder.add_argument(
        '--server-renamed', action='store_true',
        help='go on with the folder though it was filled from a server of '
        'another name or port')
    run = parser.add_argument_group('run')
    run.add_argument(
        '-s', '--watch', '--seconds', type=_seconds, metavar='SECONDS',
        help='do not end: update the folder again and again, waiting so long '
        'in between')
    run.add_argument(
        '-r', '--regenerate', action='store_true',
        help='fetch everything and write all files anew')
    run.add_argument(
        '--allow-empty', action='store_true',
        help='believe an answer that removes more than %d files and more '
        'than half of them' % _update.SUSPICIOUS)
    run.add_argument(
        '--confirm', type=_seconds, default=300, metavar='SECONDS',
        help='believe it when GNU Health still gives it after so long '
        '(default: %(default)g)')
    run.add_argument(
        '--dry-run', action='store_true',
        help='say what would change, change nothing')
    output = parser.add_argument_group('output')
    output.add_argument(
        '--json', action='store_true',
        help='print a summary of each run as one line of JSON')
    output.add_argument(
        '-v', '--verbose', action='store_true', help='name each file')
    # as GNU Health 5.0 spells them
    for name in ['--worklists-db', '--worklist-dir']:
        folder.add_argument(name, dest='folder', help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    try:
        _connection.complete(args)
    except _connection.UsageError as error:
        parser.error(str(error))
    if not args.writer:
        args.writer = 'dump2dcm'
        if not _writers.available('dump2dcm'):
            args.writer = 'pydicom'
    elif not _writers.available(args.writer):
        parser.error('%s is not installed' % args.writer)
    return args


def _seconds(text):
    value = float(text)
    if not 0 <= value < float('inf'):
        raise ValueError
    return value


class Program:
    """
    Runs, one or many, over one session with GNU Health.

    Parameters
    ----------
    args : argparse.Namespace
    password : str
    stop : threading.Event
        Ends it as soon as the folder is in order.
    """

    def __init__(self, args, password, stop):
        self.args = args
        self.stop = stop
        self.folder = _folder.Folder(
            args.folder, args.database, _connection.address(args),
            args.server_renamed)
        self.connection = _connection.Connection(args, password)
        self.feed = _feed.Feed(
            self.connection, args.host_name, done=args.done)

    def open(self):
        """Keep other instances out.

        Raises Locked or FolderError.
        """
        if not self.args.dry_run:
            self.folder.lock()
            self.folder.clean()

    def once(self):
        """Update the folder once; return the exit status and the report."""
        started, calls = time.monotonic(), self.connection.calls
        progress = Progress(self.args)
        try:
            summary = _update.Run(
                self.feed, self.folder, self.args, self.stop,
                progress.show).run()
        except Exception as error:
            status, message = _failure(error)
            return status, {'status': status, 'error': message}
        finally:
            progress.end()
        self.args.regenerate = False
        status = OK
        if summary.held:
            status = SUSPICIOUS
        elif summary.problems:
            status = BAD_ITEMS
        return status, {
            'status': status,
            **summary.as_json(),
            'requests': self.connection.calls - calls,
            'seconds': round(time.monotonic() - started, 3),
            }

    def run(self):
        """Update the folder as the arguments say; return the status."""
        failures = 0
        while True:
            status, report = self.once()
            self.report(report)
            watch = self.args.watch
            if not watch:
                return status
            wait = watch
            if 'error' in report:
                # a server in trouble, or one that refuses the password, is
                # not asked at the same pace
                wait = max(watch, min(
                        watch * 2 ** min(failures, 9), LONGEST_WAIT))
                failures += 1
                logger.error('trying again in %g s', wait)
            elif failures:
                logger.info('working again')
                failures = 0
            if self.stop.wait(wait):
                return OK

    def report(self, report):
        if self.args.json:
            print(json.dumps(report, sort_keys=True), flush=True)
        if 'error' in report:
            logger.error('%s', report['error'])
            return
        if report['dropped']:
            logger.warning(
                '%s drops %s', self.args.writer, ', '.join(report['dropped']))
        if not self.args.watch or report['written'] or report['removed']:
            logger.info(
                '%d on the worklist: %d written, %d unchanged, %d removed, '
                '%d not published', report['items'], report['written'],
                report['unchanged'], report['removed'], len(report['bad']))


def _failure(error):
    """Return the exit status and what to say."""
    if isinstance(error, _folder.Locked):
        return LOCKED, str(error)
    if isinstance(error, _folder.FolderError):
        return NO_FOLDER, str(error)
    if isinstance(error, _feed.AnswerError):
        return NO_WORKLIST, str(error)
    if isinstance(error, _connection.ERRORS):
        return NO_SERVER, _connection.explain(error)
    raise error


class Progress:
    """A bar on a terminal, nothing elsewhere."""

    def __init__(self, args):
        self.on = sys.stderr.isatty() and not args.verbose
        self.shown = False

    def show(self, done, count):
        if not self.on or not count:
            return
        self.shown = True
        width = max(min(shutil.get_terminal_size().columns - 40, 40), 10)
        print(
            '\r[%s] %d of %d requests' % (
                ('#' * (width * done // count)).ljust(width, '.'),
                done, count),
            end='', file=sys.stderr, flush=True)

    def end(self):
        if self.shown:
            print(file=sys.stderr)


def main(argv=None):
    args = parse_args(argv)
    logging.basicConfig(
        level=logging.INFO, format='%(asctime)s %(levelname)s %(message)s')
    # what pydicom says may quote the patient
    logging.getLogger('pydicom').setLevel(logging.CRITICAL + 1)
    warnings.simplefilter('ignore')
    socket.setdefaulttimeout(TIMEOUT)
    stop = threading.Event()
    try:
        program = Program(args, _connection.read_password(args), stop)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        program.open()
    except _connection.UsageError as error:
        status, message = USAGE, str(error)
    except _folder.FolderError as error:
        status, message = _failure(error)
    else:
        with contextlib.closing(program.connection):
            return program.run()
    logger.error('%s', message)
    if args.json:
        print(json.dumps({'status': status, 'error': message}), flush=True)
    return status


if __name__ == '__main__':
    sys.exit(main())
