#!/usr/bin/env python3
# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""
Carry the links that people made in GNU Health 4 over to today's studies.

To be run after a full synchronization of all servers: study -> result and
Orthanc's patient -> patient.  What is carried over gets "NEED TO VERIFY!" into
its merge comment and waits in the tab "To verify" of the studies.
"""
import argparse
import collections
import json
import shutil
import sys
from pathlib import Path

# beside it, in a checkout and where the folder "scripts" was copied to
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'imaging'))

import _connection  # noqa: E402

EPILOG = _connection.EPILOG + """
what comes of a link:
  moved         it was carried over, and is to be verified
  already there the study is linked so
  ambiguous     several studies, or several links, come into question
  contradicted  it does not agree with what is known: the study is not linked
                so, but marked to be verified
  decided       a person has decided otherwise in between: that stays
  not found     Orthanc's studies are not in GNU Health

exit status:
  0  all links are carried over, or were already there, or decided otherwise
  1  some are ambiguous, contradicted or not found: they are listed
  2  wrong arguments or configuration
  3  GNU Health did not answer, or refused
Run it as often as you like: what is done is not done again.  The user needs the
group "Health Imaging Orthanc Administration" and no other.

examples:
  see what would happen:
    migrate_orthanc_module.py -d health -u pacs --password-file pw --dry-run
  do it, and keep the list of what needs a person:
    migrate_orthanc_module.py -d health -u pacs --password-file pw \\
        --json > migration.json
"""

OK, LEFT, USAGE, NO_SERVER = range(4)
BATCH = 200
KINDS = [
    ('studies', 'gnuhealth.orthanc.study', [('imaging_test', '!=', None)]),
    ('patients', 'gnuhealth.orthanc.patient',
        [('patient', '!=', None), ('link_origin', '=', None)]),
    ]
OUTCOMES = {
    'moved': 'moved',
    'there': 'already there',
    'ambiguous': 'ambiguous',
    'contradicted': 'contradicted',
    'decided': 'decided',
    'not_found': 'not found',
    }
TO_REPORT = ['ambiguous', 'contradicted', 'not_found']
REASONS = {
    'several': 'several studies have the study UID',
    'claimed': 'records of GNU Health 4 say different things of one study',
    'two_patients': 'GNU Health 4 links the study to one patient and its '
    'result to another',
    'other_record': 'the study is linked to another request or result',
    'other_patient': 'the study is linked to another patient',
    'puid': "the Patient ID is another patient's PUID",
    'birth': 'the birth dates differ',
    'not_ours': 'a person said that the study is of no patient here',
    'undone': 'a person undid the link',
    'no_server': 'GNU Health 4 knew no server of it any more',
    'not_synchronized': 'its server was not fully synchronized yet',
    'gone': 'its server holds it no more',
    }


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    _connection.add_arguments(parser)
    group = parser.add_argument_group('migration')
    group.add_argument(
        '-n', '--dry-run', action='store_true',
        help='say what would be done, change nothing')
    group.add_argument(
        '--json', action='store_true',
        help='print the summary and every link as JSON')
    group.add_argument(
        '-q', '--quiet', action='store_true', help='print the summary only')
    args = parser.parse_args(argv)
    try:
        _connection.complete(args)
    except _connection.UsageError as error:
        parser.error(str(error))
    return args


def migrate(connection, args):
    """Carry all links over; return what came of each, by kind."""
    ids = {
        kind: connection.call(model, 'search', domain, 0, None,
            [('id', 'ASC')])
        for kind, model, domain in KINDS}
    count, done = sum(map(len, ids.values())), 0
    result = {kind: [] for kind in ids}
    for kind, model, _ in KINDS:
        for start in range(0, len(ids[kind]), BATCH):
            batch = ids[kind][start:start + BATCH]
            result[kind] += connection.call(
                model, 'carry_links', batch, args.dry_run)
            done += len(batch)
            show_progress(done, count)
    return result


def show_progress(done, count):
    """A bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        return
    width = max(min(shutil.get_terminal_size().columns - 40, 40), 10)
    print(
        '\r[%s] %d of %d links' % (
            ('#' * (width * done // count)).ljust(width, '.'), done, count),
        end='\n' if done == count else '', file=sys.stderr, flush=True)


def summarize(result):
    return {
        kind: {
            **dict.fromkeys(OUTCOMES, 0),
            **collections.Counter(link['outcome'] for link in links)}
        for kind, links in result.items()}


def report(result, summary, args):
    """Print each link that is left, and how many there are of each kind."""
    if args.json:
        print(json.dumps({
                    'dry_run': args.dry_run, 'summary': summary, **result}))
        return
    for kind, links in result.items():
        for link in links:
            if not args.quiet and link['reason']:
                print('%s %s (Orthanc %s): %s, %s' % (
                        {'studies': 'study', 'patients': 'patient'}[kind],
                        link['id'], link['orthanc_id'],
                        OUTCOMES[link['outcome']],
                        REASONS.get(link['reason'], link['reason'])))
    for kind, counts in summary.items():
        print('%s%s: %s' % (
                kind, ' (dry run)' if args.dry_run else '', ', '.join(
                    '%d %s' % (counts[name], OUTCOMES[name])
                    for name in OUTCOMES)))


def main(argv=None):
    args = parse_args(argv)
    try:
        password = _connection.read_password(args)
        with _connection.Connection(args, password) as connection:
            result = migrate(connection, args)
    except _connection.UsageError as error:
        print('error: %s' % error, file=sys.stderr)
        return USAGE
    except _connection.ERRORS as error:
        print('error: %s' % _connection.explain(error), file=sys.stderr)
        return NO_SERVER
    summary = summarize(result)
    report(result, summary, args)
    if any(counts[name]
            for counts in summary.values() for name in TO_REPORT):
        return LEFT
    return OK


if __name__ == '__main__':
    sys.exit(main())
