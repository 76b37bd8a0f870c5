# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One synchronization of one server.

A run reads the newest change first, then a plan of what to read, then page
after page; each page is committed together with how far the log of changes
was followed, so that whatever kills it, the next run goes on. What changed
meanwhile follows from the remembered change. In the end the counts tell
whether something vanished, which no log says.
"""
import datetime as dt
import gc
import logging
from collections import defaultdict
from contextlib import closing, contextmanager
from functools import cache

from trytond import backend
from trytond.config import config
from trytond.i18n import gettext
from trytond.modules.health_imaging.logs import where
from trytond.pool import Pool
from trytond.transaction import Transaction

from . import mapping
from .census import LEVELS, Census, fingerprint
from .client import OrthancError
from .exceptions import ServerNotValidated, explain
from .identity import Recognition
from .locking import server_lock
from .pages import (
    Mark, ahead, completed, get_mark, pages_of_changes, pages_of_resources,
    pages_of_studies, studies_per_page)
from .pagewriter import Failure, Lacking, Outcome, PageWriter, unexpected
from .rows import delete_rows, forget, insert_rows, select_rows, update_rows
from .secrets import SecretError
from .server import contact_values

__all__ = ['Synchronization']

logger = logging.getLogger(__name__)

# How often an item of the quarantine is tried again by itself
MAX_TRIES = 5
# How often a moving archive is followed before the next run has to
MAX_ROUNDS = 3


def now():
    return dt.datetime.now().replace(microsecond=0)


@contextmanager
def heap_set_aside():
    """Spare the garbage collector what the process held before.

    The answers of an Orthanc are so many objects that it would walk through
    all of trytond again and again, a quarter of the processor's time.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


class Cancelled(Exception):
    "A person cancelled the run"


class Synchronization:
    """A run that is carried out

    Parameters
    ----------
    run_id : int
    commit : bool
        Commit page by page, in transactions of their own. Otherwise all is
        written in the caller's transaction.
    studies : list of str, optional
        Orthanc's identifiers of all that is read. The run then stays as it
        is when the server is not free.
    """

    def __init__(self, run_id, commit=True, studies=None):
        pool = Pool()
        self.run_id = run_id
        self.studies = studies
        # A database in memory has but one connection.
        self.commit = commit and Transaction().database.name != ':memory:'
        self.Run = pool.get('gnuhealth.orthanc.sync.run')
        self.Cursor = pool.get('gnuhealth.orthanc.sync.cursor')
        self.Quarantine = pool.get('gnuhealth.orthanc.sync.quarantine')
        self.Server = pool.get('gnuhealth.orthanc.config')
        self.totals = dict.fromkeys([
                'planned', 'seen', 'new', 'changed', 'missing', 'failed',
                'linked', 'pages'], 0)
        # how much was seen before the plan in hand
        self.base = 0
        self.followed = None
        # items of the quarantine, and those that came up again
        self.quarantine, self.handled = set(), set()

    # The run

    def execute(self):
        """Carry the run out; what goes wrong is told on it.

        Return whether the server was free.
        """
        with self._transaction():
            run = self.Run(self.run_id)
            self.kind, self.server_id = run.kind, run.server.id
            self.on_demand = bool(run.server.images_on_demand)
            self.writer = PageWriter(self.server_id, self.on_demand)
            self.census = Census(self.server_id)
        with server_lock(self.server_id, self.commit) as locked:
            if not locked:
                if self.studies is None:
                    self._leave()
                return False
            if not self._begin():
                return True
            try:
                with heap_set_aside():
                    self._synchronize()
            except Cancelled:
                logger.info("run %s cancelled", self.run_id)
            except OrthancError as error:
                logger.warning(
                    "run %s of server %s: %s %s", self.run_id,
                    self.server_id, type(error).__name__, error)
                self._end('failed', self._sentence(
                        lambda server: explain(error, server)))
            except SecretError:
                self._end('failed', self._sentence(lambda server: gettext(
                            'health_orthanc.msg_password_unreadable',
                            server=server.rec_name)))
            except Exception as error:
                logger.error(
                    "run %s of server %s: %s", self.run_id, self.server_id,
                    where(error))
                if not self.commit:
                    raise
                self._end('failed', gettext(
                        'health_orthanc.msg_sync_error',
                        error=type(error).__name__))
            else:
                self._end('done', None)
            return True

    def waiting(self):
        "The run that Orthanc asked for meanwhile, which left, if any"
        run = self.Run.__table__()
        with self._transaction():
            rows = select_rows(
                run, ['id'], (run.server == self.server_id)
                & (run.state == 'queued') & (run.trigger == 'orthanc'))
        return rows[0]['id'] if rows else None

    @contextmanager
    def _transaction(self):
        "What is written inside is committed"
        if not self.commit:
            yield
            return
        with Transaction().new_transaction():
            yield

    def _begin(self):
        "Take the run, and give those up that were killed"
        run = self.Run.__table__()
        with self._transaction():
            cursor = Transaction().connection.cursor()
            cursor.execute(*run.update(
                    [run.state, run.message, run.ended],
                    ['failed', gettext('health_orthanc.msg_sync_killed'),
                        now()],
                    where=(run.server == self.server_id)
                    & (run.id != self.run_id)
                    & (run.state == 'running')))
            cursor.execute(*run.update(
                    [run.state, run.started, run.heartbeat],
                    ['running', now(), now()],
                    where=(run.id == self.run_id) & run.state.in_(
                        ['queued', 'running'])))
            taken = cursor.rowcount == 1
            forget(self.Run)
        return taken

    def _leave(self):
        """Say that another run has the server, unless it is this very run.

        What Orthanc asks for waits: the other may have passed by already.
        """
        run = self.Run.__table__()
        with self._transaction():
            cursor = Transaction().connection.cursor()
            cursor.execute(*run.update(
                    [run.state, run.message, run.ended],
                    ['cancelled',
                        gettext('health_orthanc.msg_sync_already_running'),
                        now()],
                    where=(run.id == self.run_id)
                    & (run.state == 'queued')
                    & (run.trigger != 'orthanc')))
            forget(self.Run, [self.run_id])

    def _end(self, state, message):
        values = {'state': state, 'message': message, 'ended': now()}
        try:
            with self._transaction():
                self._update_run(values)
        except Cancelled:
            logger.info("run %s cancelled", self.run_id)

    def _sentence(self, make):
        with self._transaction():
            return make(self.Server(self.server_id))

    def _update_run(self, values=None):
        "Write the totals; raise Cancelled if a person cancelled the run"
        values = {**self.totals, 'heartbeat': now(), **(values or {})}
        run = self.Run.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*run.update(
                [getattr(run, n) for n in values], list(values.values()),
                where=(run.id == self.run_id)
                & run.state.in_(['queued', 'running'])))
        if cursor.rowcount != 1:
            raise Cancelled
        forget(self.Run, [self.run_id])

    # The plan

    def _synchronize(self):
        with self._transaction():
            server = self.Server(self.server_id)
            if not server.active or not server.validated:
                raise ServerNotValidated("not validated")
            client = server.get_client()
        with closing(client):
            self.client = client
            system = client.system()
            mark, statistics = get_mark(client), client.statistics()
            self.size = studies_per_page(statistics)
            if self.studies is not None:
                self._write_pages(
                    pages_of_studies, self._plan(self.studies))
                return
            cursor = self._load_cursor()
            retries = self._load_quarantine()
            if (self.kind == 'new' and cursor['complete'] and not retries
                    and cursor['fingerprint'] == fingerprint(
                        mark, statistics, self.on_demand)):
                self._touch_server(system, statistics)
                return
            followed = Mark(
                cursor['change_seq'] or 0, cursor['change_id'] or '',
                cursor['change_date'] or '')
            is_there = cache(lambda: self._is_there(followed, mark))
            Recognition(self.server_id, system, self._transaction).check(
                client, lambda: is_there() or self._goes_on(followed))
            if self.kind == 'full' or not cursor['complete']:
                self._read_all()
                followed = mark
            elif (self.kind == 'reconcile'
                    or not is_there()):
                self._reconcile(LEVELS)
                followed = mark
            self._retry(retries)
            statistics = self._settle(followed)
            clock = None
            if self.kind != 'new':
                clock = client.clock_difference()
            self._touch_server(system, statistics, clock)

    def _read_all(self):
        "Read every study, and mark those missing that Orthanc has no more"
        self._write_pages(
            pages_of_studies, self._plan(self.client.ids('study')))
        self._compare('study', self.client.ids('study'))

    def _settle(self, followed):
        """Follow the log of changes to its end and compare the counts.

        The log goes on from followed. A moving archive is followed a few
        times; what comes then is for the next run.
        """
        print_ = None
        for _ in range(MAX_ROUNDS):
            self.followed = followed
            self._write_pages(pages_of_changes, followed.seq, plan=False)
            followed = self.followed
            statistics, mark = self.client.statistics(), get_mark(self.client)
            if mark.seq > followed.seq:
                continue
            # The newest entry vanishes with its resource.
            followed = mark
            if self._reconcile(
                    level for level, name in LEVELS.items()
                    if self._count(level) != statistics.get(name)):
                continue
            print_ = fingerprint(mark, statistics, self.on_demand)
            break
        with self._transaction():
            self.census.mark_patients()
            self._update_cursor(followed, {
                    'complete': True,
                    'fingerprint': print_,
                    })
            self._update_run()
        return statistics

    def _goes_on(self, followed):
        "Nothing in the log is as old as what was followed"
        entries, _, _ = self.client.changes(0, 1)
        return not entries or entries[0]['Seq'] > followed.seq

    def _is_there(self, followed, mark):
        "The last entry that was followed is still in the log as it was"
        if mark.seq < followed.seq:
            return False
        if not followed.seq:
            return True
        entries, _, _ = self.client.changes(followed.seq - 1, 1)
        found = [e for e in entries if e['Seq'] == followed.seq]
        if not found:
            # An empty log tells nothing of what came since it was cleared.
            return not followed.id and mark.seq == followed.seq
        return (found[0].get('ID'), found[0].get('Date')) == followed[1:]

    def _reconcile(self, levels):
        """Compare the identifiers of the levels with those of the mirror.

        Return whether anything differed.
        """
        differs = False
        for level in levels:
            if level == 'instance' and self.on_demand:
                differs |= self._read_again()
                continue
            lost, gone, studies = self._compare(
                level, self.client.ids(level))
            if lost:
                self._fetch(level, lost)
            if gone and level != 'study':
                # What is left of the studies has other counts.
                self._write_pages(pages_of_resources, self._plan(
                        [('study', id_) for id_ in studies]))
            differs |= bool(lost or gone)
        return differs

    def _read_again(self):
        """Read what the studies and series tell, on demand.

        The instances that are not mirrored cannot be compared.
        Return whether anything differed.
        """
        before = self.totals['new'] + self.totals['changed']
        self._write_pages(
            pages_of_studies, self._plan(self.client.ids('study')))
        return self.totals['new'] + self.totals['changed'] != before

    def _compare(self, level, ids):
        with self._transaction():
            lost, gone, studies = self.census.compare(level, ids)
            if level == 'study':
                self.totals['missing'] += gone
            self._update_run()
        return lost, gone, studies

    def _count(self, level):
        with self._transaction():
            if level == 'instance' and self.on_demand:
                return self.census.count_told()
            return self.census.count(level)

    def _fetch(self, level, ids):
        "Read resources of a level with all that is below them"
        if level == 'series':
            ids = [s['ID'] for s in self.client.bulk_content(ids, 'study')
                if s.get('ID')]
        if level == 'instance':
            ids = [('instance', id_) for id_ in ids]
            pages = pages_of_resources
        else:
            pages = pages_of_studies
        self._write_pages(pages, self._plan(ids))

    def _plan(self, ids):
        self.totals['planned'] += len(ids)
        return ids

    def _write_pages(self, make_pages, argument, plan=True):
        self.base = self.totals['seen']
        pages = ahead(make_pages(
                self.client, argument, self.size, self.on_demand))
        with closing(pages):
            for page in pages:
                if not plan:
                    self.totals['planned'] = max(
                        self.totals['planned'], self.base + page.done)
                self._write(page)

    # The pages

    def _write(self, page):
        "Write and commit a page; if it fails, halves of it"
        tries = config.getint('database', 'retry')
        while True:
            try:
                with self._transaction(), self._savepoint():
                    outcome = self.writer.write(page)
                    totals = self._add(page, outcome)
                    self._record(page, outcome, totals)
            except Cancelled:
                raise
            except Lacking as lacking:
                for part in completed(self.client, page, lacking.ids):
                    self._write(part)
                return
            except backend.DatabaseOperationalError:
                # Somebody wrote one of the rows at the same time.
                tries -= 1
                if not self.commit or tries < 0:
                    raise
            except Exception as error:
                if not page.studies:
                    raise
                self._write_halves(page, error)
                return
            else:
                self.totals = totals
                self.followed = page.mark or self.followed
                return

    def _write_halves(self, page, error):
        if len(page.studies) > 1:
            for half in page.halves():
                self._write(half)
            failures = []
        else:
            id_ = mapping.clean(page.studies[0].get('ID')) or ''
            logger.error(
                "study %s of server %s not written: %s", id_,
                self.server_id, where(error))
            failures = [Failure('study', id_[:255], None)]
        with self._transaction():
            for failure in failures:
                failure.reason = unexpected(error)
            outcome = Outcome()
            outcome.failures = failures
            totals = self._add(page, outcome)
            self._record(page, outcome, totals)
        self.totals = totals
        self.followed = page.mark or self.followed

    @contextmanager
    def _savepoint(self):
        "In the caller's transaction a page that fails is undone by itself"
        if self.commit:
            yield
            return
        cursor = Transaction().connection.cursor()
        cursor.execute('SAVEPOINT orthanc_page')
        try:
            yield
        except BaseException:
            cursor.execute('ROLLBACK TO SAVEPOINT orthanc_page')
            raise
        finally:
            cursor.execute('RELEASE SAVEPOINT orthanc_page')

    def _add(self, page, outcome):
        totals = dict(self.totals)
        if page.done:
            totals['seen'] = self.base + page.done
        totals['new'] += len(outcome.new)
        totals['changed'] += len(outcome.changed)
        totals['linked'] += outcome.linked
        totals['failed'] += len(outcome.failures)
        totals['pages'] += 1
        return totals

    def _record(self, page, outcome, totals):
        "Remember with the page what failed and how far the log was followed"
        self._write_quarantine(outcome)
        if page.mark:
            self._update_cursor(page.mark)
        self._update_run(totals)

    # What is remembered

    def _load_cursor(self):
        names = [
            'change_seq', 'change_id', 'change_date', 'complete',
            'fingerprint']
        table = self.Cursor.__table__()
        with self._transaction():
            rows = select_rows(
                table, names, table.server == self.server_id)
            if rows:
                return rows[0]
            insert_rows(
                self.Cursor, ['server', 'complete'],
                [[self.server_id, False]])
            return dict.fromkeys(names)

    def _update_cursor(self, mark, values=None):
        table = self.Cursor.__table__()
        values = {
            'change_seq': mark.seq,
            'change_id': mark.id,
            'change_date': mark.date,
            'fingerprint': None,
            **(values or {})}
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.update(
                [getattr(table, n) for n in values], list(values.values()),
                where=table.server == self.server_id))

    def _load_quarantine(self):
        "Remember the quarantine and return what is to be tried again"
        table = self.Quarantine.__table__()
        with self._transaction():
            rows = select_rows(
                table, ['id', 'level', 'orthanc_id', 'tries'],
                table.server == self.server_id)
        self.quarantine = {(r['level'], r['orthanc_id']) for r in rows}
        retries = defaultdict(list)
        for row in rows:
            if (row['tries'] or 0) < MAX_TRIES and row['level'] in LEVELS:
                retries[row['level']].append(row['orthanc_id'])
        return retries

    def _retry(self, retries):
        "Try the quarantine's items again; those that are gone leave it"
        self.handled = set()
        for level, ids in retries.items():
            self._fetch(level, ids)
            gone = [id_ for id_ in ids if (level, id_) not in self.handled]
            table = self.Quarantine.__table__()
            with self._transaction():
                delete_rows(self.Quarantine, [r['id'] for r in select_rows(
                            table, ['id'],
                            (table.server == self.server_id)
                            & (table.level == level)
                            & table.orthanc_id.in_(gone or [None]))])

    def _write_quarantine(self, outcome):
        failures = {(f.level, f.orthanc_id): f for f in outcome.failures}
        healed = self.quarantine & outcome.written
        self.quarantine.update(failures)
        self.handled.update(failures, healed)
        if not failures and not healed:
            return
        table = self.Quarantine.__table__()
        known = {(r['level'], r['orthanc_id']): r for r in select_rows(
                table, ['id', 'level', 'orthanc_id', 'tries'],
                (table.server == self.server_id) & table.orthanc_id.in_(
                    [id_ for _, id_ in [*failures, *healed]]))}
        inserts, updates = [], []
        for key, failure in failures.items():
            row = known.get(key)
            if row:
                updates.append([
                        row['id'], failure.reason, (row['tries'] or 0) + 1,
                        now()])
            else:
                inserts.append([
                        self.server_id, *key, failure.reason, 1, now(),
                        now()])
        insert_rows(self.Quarantine, [
                'server', 'level', 'orthanc_id', 'reason', 'tries',
                'first_seen', 'last_try'], inserts)
        update_rows(
            self.Quarantine, ['reason', 'tries', 'last_try'], updates)
        delete_rows(self.Quarantine, [
                row['id'] for key, row in known.items() if key in healed])

    def _touch_server(self, system, statistics, clock=None):
        "Note on the server when it was reached and what it is"
        values = contact_values(system, statistics, clock=clock)
        # whether it may be synchronized is for a check to say
        del values['validated'], values['validation_message']
        values['last_synchronized'] = now()
        table = self.Server.__table__()
        with self._transaction():
            cursor = Transaction().connection.cursor()
            # Not write_date: nobody who edits the server is disturbed.
            cursor.execute(*table.update(
                    [getattr(table, n) for n in values],
                    [self.Server._fields[n].sql_format(v)
                        for n, v in values.items()],
                    where=table.id == self.server_id))
            forget(self.Server, [self.server_id])
