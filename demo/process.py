# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a program in the background: start, wait until it serves, stop.

Only the standard library, since it runs before the virtual environment
exists. Linux only (reads /proc).
"""
import os
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import time
from pathlib import Path

LOOPBACK = '127.0.0.1'


class ServiceError(Exception):
    """Something did not start, answer or stop; str() is one sentence."""


class ServiceTimeout(ServiceError):
    """A condition did not come true within its limit."""


def free_port():
    """Return a TCP port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return probe.getsockname()[1]


def port_is_busy(port):
    """Tell whether a program listens on the port, on any address."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(('', port))
        except OSError:
            return True
    return False


def accepts(port, host=LOOPBACK):
    """Tell whether a TCP connection to the port succeeds."""
    try:
        with socket.create_connection((host, port), timeout=2):
            return True
    except OSError:
        return False


def wait_until(condition, limit, what, pause=.1):
    """Call condition until it returns something true, and return that.

    Parameters
    ----------
    condition : callable
        Called without arguments. An OSError (refused connection, failed
        request) counts as "not yet".
    limit : float
        Seconds after which ServiceTimeout is raised.
    what : str
        What is waited for, as the subject of the error's sentence.
    pause : float
        Seconds between two calls.
    """
    deadline = time.monotonic() + limit
    reason = ''
    while True:
        try:
            result = condition()
            reason = ''
        except OSError as error:
            result, reason = None, f" ({error})"
        if result:
            return result
        if time.monotonic() >= deadline:
            raise ServiceTimeout(
                f"{what}: not within {limit:g} seconds{reason}")
        time.sleep(pause)


def write_private(path, text):
    """Write a file that only its owner can read, in one step."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + '.new')
    beside.unlink(missing_ok=True)
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, 'w', encoding='utf-8') as file:
        file.write(text)
    beside.replace(path)
    return path


def started_at(pid):
    """Return the kernel's start time of a live process, else None.

    A zombie does not live. With the start time a recycled process id is
    told apart from the process that was started.
    """
    try:
        text = Path(f'/proc/{pid}/stat').read_text()
    except (OSError, UnicodeDecodeError):
        return None
    fields = text.rpartition(')')[2].split()
    if fields[0] in 'ZX':
        return None
    return fields[19]


class Service:
    """A background program with a pid file and a log file in a folder.

    A subclass gives `name`, `command()` and `ready()`, and may write its
    configuration in `prepare()`. The program is found again by another
    process through its pid file, so one command may start it and another
    one stop it. As a context manager: started on entry, stopped on exit.
    """
    name = None
    start_limit = 60
    stop_limit = 30

    def __init__(self, folder, environment=None):
        self.folder = Path(folder).absolute()
        self.environment = dict(environment or {})
        self.pid_path = self.folder / f'{self.name}.pid'
        self.log_path = self.folder / f'{self.name}.log'
        self._process = None

    def command(self):
        raise NotImplementedError

    def ready(self):
        """Tell whether the program serves; an OSError means not yet."""
        return True

    def prepare(self):
        """Write what the program reads at its start."""

    def ports(self):
        """The TCP ports that the program is going to listen on."""
        return []

    def check_ports(self):
        for port in self.ports():
            if port_is_busy(port):
                raise ServiceError(
                    f"{self.name} needs port {port}, which another program "
                    "uses: stop that program or choose another port.")

    @property
    def pid(self):
        """The process id if the program runs, else None."""
        try:
            pid, started = self.pid_path.read_text().split()
        except (OSError, ValueError):
            return None
        if self._process is not None and self._process.pid == int(pid):
            self._process.poll()
        return int(pid) if started_at(int(pid)) == started else None

    @property
    def running(self):
        return self.pid is not None

    def start(self, limit=None):
        """Start the program and return when it serves."""
        if self.running:
            return self
        self.check_ports()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(stat.S_IRWXU)
        self.prepare()
        command = [str(part) for part in self.command()]
        if not shutil.which(command[0]):
            raise ServiceError(
                f"{self.name}: the program {command[0]} is not installed.")
        handle = os.open(self.log_path,
            os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(handle, 'ab') as log:
            self._log_start = log.seek(0, os.SEEK_END)
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **self.environment},
                cwd=self.folder, start_new_session=True)
        self.pid_path.write_text(
            f'{self._process.pid} {started_at(self._process.pid)}\n')
        try:
            wait_until(
                self._serves, limit or self.start_limit,
                f"{self.name} starts (log: {self.log_path})")
        except BaseException:
            self.stop()
            raise
        return self

    def _serves(self):
        if not self.running:
            raise ServiceError(
                f"{self.name} ended at its start: {self._last_words()} "
                f"(log: {self.log_path})")
        return self.ready()

    def _last_words(self):
        lines = [line.strip() for line in self.log().splitlines()]
        return next(
            (line[:300] for line in reversed(lines) if line), "no output")

    def log(self):
        """What the program has written since this object started it."""
        try:
            with open(self.log_path, 'rb') as file:
                file.seek(getattr(self, '_log_start', 0))
                return file.read().decode('utf-8', 'replace')
        except OSError:
            return ''

    def stop(self, limit=None):
        """Ask the program to end, and return when it is gone.

        What has not ended at the limit is killed. Without a running
        program nothing happens.
        """
        pid = self.pid
        if pid is not None:
            limit = limit or self.stop_limit
            self._signal(pid, signal.SIGTERM)
            try:
                wait_until(lambda: not self.running, limit, self.name)
            except ServiceTimeout:
                self._signal(pid, signal.SIGKILL)
                wait_until(
                    lambda: not self.running, 10, f"{self.name} ends")
        self._process = None
        self.pid_path.unlink(missing_ok=True)

    @staticmethod
    def _signal(pid, number):
        # the program leads its own session: this reaches its children too
        try:
            os.killpg(pid, number)
        except ProcessLookupError:
            pass

    def __enter__(self):
        return self.start()

    def __exit__(self, *exception):
        self.stop()

    def __repr__(self):
        return f'<{self.name} {shlex.quote(str(self.folder))}>'
