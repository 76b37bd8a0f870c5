# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a piece of work costs the process that does it.

Runs in upstream's environment too: nothing of the suite is imported.
"""
import time
from contextlib import contextmanager

__all__ = ['Meter']


class Meter:
    """Seconds, CPU seconds, memory, HTTP requests and SQL statements.

    Attributes
    ----------
    result : dict
        wall and cpu in seconds, memory in MB above what was in use before,
        requests and statements.
    """

    def __init__(self):
        self.requests = self.statements = 0
        self.result = {}
        self._count_requests()
        self._count_statements()

    def _count_requests(self):
        from urllib3.connectionpool import HTTPConnectionPool
        targets = [(HTTPConnectionPool, '_make_request')]
        try:
            import httpx
        except ImportError:
            pass
        else:
            targets.append((httpx.Client, 'send'))
        for class_, name in targets:
            self._count(class_, name, 'requests')

    def _count_statements(self):
        from trytond.backend.postgresql.database import LoggingCursor
        self._count(LoggingCursor, 'execute', 'statements')

    def _count(self, class_, name, counter):
        function = getattr(class_, name)

        def counted(*args, **kwargs):
            setattr(self, counter, getattr(self, counter) + 1)
            return function(*args, **kwargs)

        setattr(class_, name, counted)

    @contextmanager
    def measure(self):
        _forget_peak()
        before = _status('VmRSS')
        requests, statements = self.requests, self.statements
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.result = {
            'wall': time.perf_counter() - wall,
            'cpu': time.process_time() - cpu,
            'memory': (_status('VmHWM') - before) / 1024,
            'requests': self.requests - requests,
            'statements': self.statements - statements,
            }


def _status(name):
    "A value of /proc/self/status, in kB"
    with open('/proc/self/status') as status:
        for line in status:
            if line.startswith(name + ':'):
                return int(line.split()[1])


def _forget_peak():
    "Let the peak of the memory start from what is in use now"
    with open('/proc/self/clear_refs', 'w') as file:
        file.write('5')
