# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read an Orthanc page by page, in bulk.

Nothing here knows of Tryton. A page holds whole studies with all their
series and some of their instances; the number of requests per page does not
depend on what it holds. Resources that vanish while they are read are
silently left out.

On demand, instances are only named: which of them are read is known when a
page is written.
"""
import itertools
import queue
import threading
from collections import namedtuple
from dataclasses import dataclass, field, replace

from .client import BULK
from .mapping import members

__all__ = [
    'Mark', 'Page', 'ahead', 'completed', 'get_mark', 'pages_of_changes',
    'pages_of_resources', 'pages_of_studies', 'studies_per_page']

# Studies and instances of a page: what is held in memory, twice.
STUDIES = 500
FEWEST_STUDIES = 20
INSTANCES = BULK
# Entries of the log of changes that are followed together
ENTRIES = 10 * BULK
_FOLLOWED = {
    'NewInstance', 'NewSeries', 'NewStudy', 'StableSeries', 'StableStudy',
    'ModifiedSeries', 'ModifiedStudy', 'AnonymizedSeries', 'AnonymizedStudy',
    }

# An entry of the log of changes
Mark = namedtuple('Mark', 'seq id date')


@dataclass
class Page:
    """What is written in one transaction.

    Attributes
    ----------
    studies, series, instances : list of dict
        Orthanc's answers. The series are all of those of the studies, the
        instances may be some of those of the series.
    done : int
        How much of the plan is done with this page.
    mark : Mark, optional
        How far the log of changes is followed with this page.
    again : set of str
        Those of the studies that were already in the page before.
    named : set of str, optional
        On demand, the instances that are to be read if their series has its
        instances in the mirror; None are all of them.
    read : set of str
        The instances that were read on demand, even if in vain.
    """
    studies: list = field(default_factory=list)
    series: list = field(default_factory=list)
    instances: list = field(default_factory=list)
    done: int = 0
    mark: Mark = None
    again: frozenset = frozenset()
    named: frozenset = None
    read: frozenset = frozenset()

    def halves(self):
        "Two pages of half of the studies each"
        middle = (len(self.studies) + 1) // 2
        for studies in [self.studies[:middle], self.studies[middle:]]:
            ids = {s.get('ID') for s in studies}
            series = [s for s in self.series if s.get('ParentStudy') in ids]
            ids = {s.get('ID') for s in series}
            instances = [
                i for i in self.instances if i.get('ParentSeries') in ids]
            yield Page(
                studies, series, instances, again=self.again,
                named=self.named, read=self.read)


def get_mark(client):
    """The newest entry of the log of changes.

    Its id and date are empty when the log is.
    """
    entry, last = client.last_change()
    return _mark(entry) if entry else Mark(last, '', '')


def _mark(entry):
    return Mark(
        entry['Seq'], str(entry.get('ID') or ''), str(entry.get('Date') or ''))


def studies_per_page(statistics):
    """How many studies a page holds.

    The series of all of them, which name their instances, are in memory.
    """
    studies = statistics.get('CountStudies') or 0
    instances = statistics.get('CountInstances') or 0
    size = INSTANCES * studies // (instances or 1)
    return min(max(size, FEWEST_STUDIES), STUDIES)


def _slices(sequence, size):
    for start in range(0, len(sequence), size):
        yield sequence[start:start + size]


def pages_of_studies(client, ids, size=None, on_demand=False):
    """Pages of the studies of the given identifiers, whole.

    Three requests a page, one more for each 2,000 instances; two on demand.
    """
    done = 0
    size = size or STUDIES
    # The first page comes soon; the next is read while it is written.
    first = max(size // 4, 1)
    for slice_ in itertools.chain(
            _slices(ids[:first], first), _slices(ids[first:], size)):
        studies = client.bulk_content(slice_, 'study')
        series = client.bulk_content(
            [s['ID'] for s in studies if s.get('ID')], 'series')
        done += len(slice_)
        if on_demand:
            yield Page(studies, series, done=done)
        else:
            yield from _fill(client, studies, series, done)


def _fill(client, studies, series, done):
    "Pages of the studies with all the instances of their series"
    parts = list(_parts(series))
    if len(parts) < 2:
        ids = parts[0][1] if parts else []
        yield Page(studies, series, _instances(client, ids), done=done)
        return
    before = frozenset()
    for i, (part, ids) in enumerate(parts, 1):
        wanted = frozenset(s.get('ParentStudy') for s in part)
        yield Page(
            [s for s in studies if s.get('ID') in wanted],
            [s for s in series if s.get('ParentStudy') in wanted],
            _instances(client, ids),
            done=done if i == len(parts) else 0, again=before & wanted)
        before |= wanted


def _parts(series):
    "Series with the identifiers of at most INSTANCES of their instances"
    series = sorted(series, key=lambda s: str(s.get('ParentStudy')))
    part, ids = [], []
    for one in series:
        for slice_ in _slices(members(one, 'Instances'), INSTANCES):
            if ids and len(ids) + len(slice_) > INSTANCES:
                yield part, ids
                part, ids = [], []
            ids = ids + slice_
            part = part + [one]
    if part:
        yield part, ids


def completed(client, page, ids):
    """Pages that are the page with the instances of the given identifiers.

    Only the last one ends what the page ends.
    """
    slices = list(_slices(sorted(ids), INSTANCES))
    instances, again = page.instances, page.again
    for number, slice_ in enumerate(slices, 1):
        last = number == len(slices)
        yield replace(
            page, instances=instances + _instances(client, slice_),
            done=page.done if last else 0, mark=page.mark if last else None,
            again=again, read=page.read | ids)
        instances, again = [], frozenset(s.get('ID') for s in page.studies)


def pages_of_resources(client, ids, size=None, on_demand=False):
    """Pages of resources of any level, with their studies.

    Of instances only the given ones are read, of studies and series all
    parents and siblings.

    Parameters
    ----------
    ids : list of tuple of (str, str)
        level and Orthanc identifier
    """
    yield from _pages(
        client, [id_ for level, id_ in ids if level == 'instance'],
        [id_ for level, id_ in ids if level != 'instance'], size, on_demand)


def pages_of_changes(client, since, size=None, on_demand=False):
    """Pages of what changed after an entry of the log.

    Of many entries together each resource is read once, however often it
    changed. The last of their pages has the mark.

    Parameters
    ----------
    since : int
        Seq of the last entry that is known
    """
    done, finished = 0, False
    # The first page comes soon; more is read while it is written.
    answers = 1
    while not finished:
        instances, others, mark = {}, {}, None
        for _ in range(answers):
            entries, _, finished = client.changes(since, BULK)
            if not entries or entries[-1]['Seq'] <= since:
                finished = True
                break
            mark = _mark(entries[-1])
            since = mark.seq
            done += len(entries)
            _collect(entries, instances, others)
            if finished:
                break
        if mark:
            pages = _pages(
                client, list(instances), list(others), size, on_demand)
            page = next(pages, None) or Page()
            for following in pages:
                page.done = 0
                yield page
                page = following
            page.done, page.mark = done, mark
            yield page
        answers = ENTRIES // BULK


def _collect(entries, instances, others):
    "Add the identifiers of what changed"
    for entry in entries:
        id_ = entry.get('ID')
        if entry.get('ChangeType') in _FOLLOWED and isinstance(id_, str):
            if entry.get('ResourceType') == 'Instance':
                instances[id_] = None
            else:
                others[id_] = None


def _pages(client, instances, others, size, on_demand):
    """Pages of instances and of other resources, with their studies.

    Three requests for each 2,000 instances, two for each 2,000 others, one
    more if they have more studies than fit a page. What came along with the
    instances is not read again.
    """
    seen = set()
    done = 0
    for slice_ in _slices(instances, INSTANCES):
        done += len(slice_)
        answers = [] if on_demand else _instances(client, slice_)
        for page in _parents(client, slice_, answers, size, done):
            page.again = frozenset(
                s.get('ID') for s in page.studies) & seen
            page.named = frozenset(slice_)
            for resource in page.studies + page.series:
                seen.add(resource.get('ID'))
            yield page
    left = [id_ for id_ in others if id_ not in seen]
    done += len(others) - len(left)
    for slice_ in _slices(left, INSTANCES):
        done += len(slice_)
        for page in _parents(client, slice_, [], size, done):
            page.named = frozenset()
            yield page


def _parents(client, ids, instances, size, done):
    "Pages of the studies of the resources"
    studies = client.bulk_content(ids, 'study') if ids else []
    size = size or STUDIES
    # a few more than fit make no page of their own
    size = size if len(studies) > 2 * size else 2 * size
    slices = list(_slices(studies, size)) or [[]]
    for number, part in enumerate(slices, 1):
        series = client.bulk_content(
            [s['ID'] for s in part if s.get('ID')], 'series')
        wanted = instances
        if len(slices) > 1:
            siblings = {s.get('ID') for s in series}
            wanted = [
                i for i in instances if i.get('ParentSeries') in siblings]
        yield Page(
            part, series, wanted, done=done if number == len(slices) else 0)


def _instances(client, ids):
    if not ids:
        return []
    return client.bulk_content(ids, 'instance', metadata=True)


class _Ended:
    "The last thing in the queue, with the error that ended it"

    def __init__(self, error=None):
        self.error = error


def ahead(iterator):
    """Take the next item in a thread while this one is worked on.

    To be closed, or run to its end, by the caller: the thread ends with it.
    """
    items = queue.Queue(1)
    stop = threading.Event()

    def put(item):
        while not stop.is_set():
            try:
                items.put(item, timeout=.1)
                return
            except queue.Full:
                continue

    def work():
        error = None
        try:
            for item in iterator:
                put(item)
                if stop.is_set():
                    break
        except BaseException as exception:
            error = exception
        put(_Ended(error))

    thread = threading.Thread(
        target=work, name='orthanc-fetch', daemon=True)
    thread.start()
    try:
        while True:
            item = items.get()
            if isinstance(item, _Ended):
                if item.error:
                    raise item.error
                break
            yield item
    finally:
        stop.set()
        thread.join()
