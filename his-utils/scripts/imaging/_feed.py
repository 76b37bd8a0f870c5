# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What GNU Health says of its worklist."""
import concurrent.futures

MODEL = 'gnuhealth.imaging.test.request'
PAGE = 500
TEXTS = ['key', 'line', 'uid', 'version', 'type', 'charset']


class AnswerError(Exception):
    """The answer is no worklist."""


class Feed:
    """
    The worklist over a Connection.

    Parameters
    ----------
    connection : Connection
    host : str
        Name under which GNU Health notes when this host asked last.
    done : bool
        Whether requests with a result are on the worklist, too.
    """

    def __init__(self, connection, host, done=False):
        self._connection = connection
        self._host = host
        self._done = [True] if done else []

    def state(self, digest):
        """
        Ask what is on the worklist.

        Returns
        -------
        digest : str
            Stands for the versions.
        versions : dict or None
            Version by id of the request; None if the digest is still right.
        """
        answer = self._connection.call(
            MODEL, 'worklist_state', self._host, digest, *self._done)
        try:
            current, versions = answer['digest'], answer['versions']
            if not isinstance(current, str):
                raise TypeError
            if versions is None:
                if current != digest:
                    raise ValueError
                return current, None
            lines = [line.split(' ') for line in versions.splitlines()]
            versions = {int(id_): version for id_, version in lines}
            if not all(versions.values()):
                raise ValueError
            if len(versions) != answer['count']:
                raise ValueError
        except (TypeError, KeyError, ValueError, AttributeError):
            raise AnswerError('the answer is no worklist') from None
        return current, versions

    def pages(self, ids):
        """Yield lists of ids with the items of their requests.

        The next page is fetched while this one is written.
        """
        pages = [
            ids[start:start + PAGE] for start in range(0, len(ids), PAGE)]
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            ahead = pages and pool.submit(self._items, pages[0])
            for page, following in zip(pages, [*pages[1:], None]):
                items = ahead.result()
                if following:
                    ahead = pool.submit(self._items, following)
                yield page, items

    def _items(self, ids):
        answer = self._connection.call(
            MODEL, 'worklist_items_of', ids, *self._done)
        try:
            items = list(map(_checked, answer['items']))
            if len({item['key'] for item in items}) != len(items):
                raise ValueError
        except (TypeError, KeyError, ValueError, OverflowError):
            raise AnswerError('the answer is no worklist') from None
        return items

    def fetched(self, published, failed):
        """Tell how many items are published here and how many are not."""
        self._connection.call(
            MODEL, 'worklist_fetched', self._host, published, failed)


def _checked(item):
    item = dict(item, id=int(item['id']))
    for name in TEXTS:
        item[name] = str(item[name] or '')
    for name in ['text', 'dataset']:
        item[name] = str(item[name] or '')
    item['errors'] = [
        '%s %s' % (e['attribute'], e['code']) for e in item['errors']]
    return item
