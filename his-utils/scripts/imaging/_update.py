# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""
One run: what the feed says becomes the files of the folder.

New and changed files are written first, old ones are removed last, and each
file is replaced as a whole: whoever reads the folder meanwhile finds every
item, in its old or its new form.  Files are remembered as ours before they
are written, and what was fetched counts as fetched only after it was
written: a run may be killed at any point.
"""
import concurrent.futures
import hashlib
import json
import logging
import os
import re
import time
from dataclasses import dataclass, field

import _writers
from _folder import Entry, FolderError

logger = logging.getLogger('update_worklists')

# Removing more files than this, and more than half of them, is suspicious
SUSPICIOUS = 20
# A version may not cover what other modules bring into an item: everything is
# read again after so many seconds
READ_ALL = 3600
# dump2dcm and the disk are waited for in so many threads
THREADS = min(8, 2 * (os.cpu_count() or 1))

_UID = re.compile(r'[0-9]+(\.[0-9]+)+')
_KEY = re.compile(r'[0-9]+(-[0-9]+)?')


@dataclass
class Summary:
    """What a run did; `problems` are the lines not published, with reason."""
    items: int = 0
    written: int = 0
    unchanged: int = 0
    removed: int = 0
    held: int = 0
    problems: list = field(default_factory=list)
    dropped: list = field(default_factory=list)
    complete: bool = False

    def as_json(self):
        return {
            'items': self.items,
            'written': self.written,
            'unchanged': self.unchanged,
            'removed': self.removed,
            'held': self.held,
            'bad': [line for line, _ in self.problems],
            'problems': [
                {'line': line, 'reason': reason}
                for line, reason in self.problems],
            'dropped': self.dropped,
            'complete': self.complete,
            }


@dataclass
class Planned:
    """A file to write."""
    name: str
    digest: str
    item: dict
    write: object


def file_name(item, is_free, tag):
    """Return a name made of letters, digits, dots and dashes.

    It is the Study Instance UID where that is one and nobody has it;
    otherwise the tag tells the item from those of other databases.
    """
    uid = item['uid']
    if len(uid) <= 64 and _UID.fullmatch(uid) and is_free(uid + '.wl'):
        return uid + '.wl'
    key = item['key']
    if not _KEY.fullmatch(key):
        key = hashlib.sha256(key.encode('utf-8', 'replace')).hexdigest()[:32]
    return 'request-%s-%s.wl' % (tag, key)


def digest_of(item, writer):
    parts = [writer] + [
        item[name] for name in ['uid', 'type', 'charset', 'text', 'dataset']]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


class Run:
    """
    Bring the folder up to date.

    Parameters
    ----------
    feed : Feed
    folder : Folder
    args
        dry_run, regenerate, allow_empty, confirm, writer, watch, verbose
    stop : threading.Event
    show : callable
        Told how many of how many requests are done.
    """

    def __init__(self, feed, folder, args, stop, show=lambda done, all: None):
        self.feed = feed
        self.folder = folder
        self.args = args
        self.stop = stop
        self.show = show
        self.summary = Summary()
        self.gone = set()

    def run(self):
        """Return the summary.

        Raises what the feed raises, and FolderError.
        """
        self._remember()
        wanted = self._ask()
        self.show(0, len(wanted))
        done = 0
        for ids, items in self.feed.pages(wanted):
            self._publish(ids, items)
            done += len(ids)
            self.show(done, len(wanted))
            if self.stop.is_set():
                break
        else:
            self._remove()
            if not self.stop.is_set():
                self.memory['digest'] = self.digest
                self.summary.complete = True
        return self._end()

    def _remember(self):
        self.folder.load()
        memory = self.memory = self.folder.memory
        memory.setdefault('digest', None)
        memory.setdefault('held', None)
        # version by request, as what is published has it; '' is a failure
        self.versions = memory.setdefault('versions', {})
        # what is not published, by key
        self.bad = memory.setdefault('bad', {})
        self.owners = {
            name: entry.key for name, entry in self.folder.files.items()}
        self.names = {key: name for name, key in self.owners.items()}
        self.before = json.dumps(memory)
        now = time.time()
        if (memory.get('writer') != self.args.writer or self.args.regenerate
                or not 0 <= now - memory.get('read', 0) < READ_ALL):
            memory.update(writer=self.args.writer, read=now, digest=None)
            self.versions.clear()
        if memory['held']:
            memory['digest'] = None
        for request in map(str, self.folder.damaged):
            if request in self.versions:
                self.versions[request] = ''

    def _ask(self):
        """Return the requests whose items are to be fetched."""
        self.digest, versions = self.feed.state(self.memory['digest'])
        if versions is None:
            self.listed = set(map(int, self.versions))
            self.current = {}
            return sorted(
                int(id_) for id_, version in self.versions.items()
                if not version)
        self.listed = set(versions)
        self.current = versions
        # what follows may end at any point: ask for everything then
        self.memory['digest'] = None
        for id_ in list(self.versions):
            if int(id_) not in versions:
                del self.versions[id_]
        return sorted(
            id_ for id_, version in versions.items()
            if self.versions.get(str(id_)) != version)

    def _publish(self, ids, items):
        """Write what is new of a page of items."""
        items = [item for item in items if item['id'] in self.listed]
        self.failed = set()
        planned = list(filter(None, map(self._plan, items)))
        if planned and not self.args.dry_run:
            self.folder.announce({
                    plan.name: Entry(plan.item['id'], plan.item['key'])
                    for plan in planned})
            self._write(planned)
        else:
            for plan in planned:
                self._written(plan)
        self._note(ids, items)
        if planned and not self.args.dry_run:
            self.folder.save()

    def _note(self, ids, items):
        """Remember what is known of requests, and which files to remove."""
        for id_ in ids:
            self.versions[str(id_)] = self.current.get(id_, '')
        for item in items:
            self.versions[str(item['id'])] = item['version']
        for id_ in self.failed:
            self.versions[str(id_)] = ''
        ids = set(ids)
        valid = {item['key'] for item in items if not item['errors']}
        self.gone.update(
            name for name, entry in self.folder.files.items()
            if entry.request in ids and entry.key not in valid)
        answered = {item['key'] for item in items}
        for key, problem in list(self.bad.items()):
            if problem[0] in ids and key not in answered:
                del self.bad[key]

    def _plan(self, item):
        """Return what to write for an item, None if there is nothing."""
        key = item['key']
        if item['errors']:
            self._problem(item, ', '.join(sorted(set(item['errors']))))
            return None
        writer = _writers.choose(item, self.args.writer)
        digest = digest_of(item, writer)
        name = file_name(
            item, lambda n: self.owners.get(n, key) == key, self.folder.tag)
        self.owners[name] = key
        entry = self.folder.files.get(name)
        if entry and entry.digest == digest and not self.args.regenerate:
            self.bad.pop(key, None)
            return None
        try:
            return Planned(
                name, digest, item, _writers.WRITERS[writer](item))
        except Exception as error:
            self._fail(item, error)
            return None

    def _write(self, planned):
        with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
            futures = [pool.submit(self._put, plan) for plan in planned]
            try:
                for plan, future in zip(planned, futures):
                    self._put_result(plan, future)
            finally:
                for future in futures:
                    future.cancel()

    def _put(self, plan):
        if self.stop.is_set():
            return None, []
        dropped = []

        def write(path):
            plan.write(path)
            dropped.extend(_writers.check_written(plan.item, path))

        return self.folder.put(plan.name, write), dropped

    def _put_result(self, plan, future):
        files = self.folder.files
        try:
            stamp, dropped = future.result()
        except FolderError:
            raise
        except Exception as error:
            if not self.folder.has(plan.name):
                del files[plan.name]
            self._fail(plan.item, error)
            return
        if stamp is None:
            self.failed.add(plan.item['id'])
            return
        files[plan.name].digest = plan.digest
        files[plan.name].stamp = stamp
        self.summary.dropped = sorted({*self.summary.dropped, *dropped})
        self._written(plan)

    def _written(self, plan):
        key = plan.item['key']
        old = self.names.get(key)
        if old not in {None, plan.name} and not self.args.dry_run:
            self.folder.remove(old)
        self.names[key] = plan.name
        self.bad.pop(key, None)
        self.summary.written += 1
        self._log('write %s (%s)', plan.name, plan.item['line'])

    def _fail(self, item, error):
        # what other exceptions say may quote the patient
        if isinstance(error, _writers.ItemError):
            reason = str(error)
        else:
            reason = 'its writer fails (%s)' % type(error).__name__
        self.failed.add(item['id'])
        self._problem(item, reason)

    def _problem(self, item, reason):
        problem = [item['id'], item['line'], reason]
        if not self.args.watch or self.bad.get(item['key']) != problem:
            logger.error(
                'order line %s is not published: %s', item['line'], reason)
        self.bad[item['key']] = problem

    def _remove(self):
        """Remove the files of what is not on the worklist any more."""
        files = self.folder.files
        self.gone.update(
            name for name, entry in files.items()
            if entry.request not in self.listed)
        for key, problem in list(self.bad.items()):
            if problem[0] not in self.listed:
                del self.bad[key]
        if self._is_suspicious():
            self.summary.held = len(self.gone)
            for name in self.gone:
                # these are asked for again
                request = str(files[name].request)
                if request in self.versions:
                    self.versions[request] = ''
            return
        for name in sorted(self.gone):
            if self.stop.is_set():
                break
            self._log('remove %s', name)
            self.names.pop(files[name].key, None)
            if not self.args.dry_run:
                self.folder.remove(name)
            self.summary.removed += 1

    def _is_suspicious(self):
        """Keep the files of an answer that removes most of them.

        It is believed when GNU Health still gives it after a while.
        """
        held, self.memory['held'] = self.memory['held'], None
        count, total = len(self.gone), len(self.folder.files)
        if (self.args.allow_empty or count <= SUSPICIOUS
                or 2 * count <= total):
            return False
        now = time.time()
        # a clock that was set back starts anew
        since = held if held and held <= now else now
        if held and now - since >= self.args.confirm:
            return False
        self.memory['held'] = since
        if not (self.args.watch and held):
            logger.error(
                '%d of %d files would be removed: they are kept. They go '
                'when GNU Health still says so after %g s, or at once with '
                '--allow-empty', count, total, self.args.confirm)
        return True

    def _end(self):
        summary = self.summary
        if not self.args.dry_run and (
                summary.removed or json.dumps(self.memory) != self.before):
            self.folder.save()
        published = set(self.names)
        for name in self.gone if summary.held else ():
            published.discard(self.folder.files[name].key)
        summary.problems = sorted(
            [line, reason] for _, line, reason in self.bad.values())
        summary.items = len(published | set(self.bad))
        summary.unchanged = len(published - set(self.bad)) - summary.written
        counts = [len(self.names), len(self.bad)]
        if (summary.complete and not self.args.dry_run
                and self.memory.get('reported') != counts):
            self.feed.fetched(*counts)
            self.memory['reported'] = counts
            self.folder.save()
        return summary

    def _log(self, message, *arguments):
        level = logging.DEBUG
        if self.args.verbose or self.args.dry_run:
            level = logging.INFO
        logger.log(level, message, *arguments)
