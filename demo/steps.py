# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Do steps, those that do not need each other at once, and tell the time."""
import contextlib
import signal
import subprocess
import sys
import threading
import time
from concurrent import futures

from .process import ServiceError


class StepError(ServiceError):
    """A step cannot be done; str() is one sentence that says what to do."""


class Report:
    """Prints each step with the seconds it took and the time so far."""

    def __init__(self, stream=None, elapsed=0):
        self.stream = stream or sys.stdout
        self._start = time.monotonic() - elapsed
        self._lock = threading.Lock()

    @property
    def elapsed(self):
        return time.monotonic() - self._start

    def line(self, text=''):
        with self._lock:
            print(text, file=self.stream, flush=True)

    def done(self, text, seconds):
        self.line(f'{self.elapsed:6.1f} s  {text} ({seconds:.1f} s)')

    @contextlib.contextmanager
    def step(self, text):
        """Time a block; the block may set .text for what is printed."""
        note = _Note(text)
        start = time.monotonic()
        yield note
        self.done(note.text, time.monotonic() - start)


class _Note:
    def __init__(self, text):
        self.text = text


class Programs:
    """Runs programs that log to a file, and can end them all early."""

    def __init__(self, log_folder):
        self.log_folder = log_folder
        self._running = set()
        self._cancelled = False
        self._lock = threading.Lock()

    def run(self, name, command, keep=False, **options):
        """Run a program with its output in <log_folder>/<name>.log.

        Parameters
        ----------
        keep : bool
            Let it end by itself even when another step fails.

        Returns
        -------
        tuple
            Whether it succeeded, the path of its log.
        """
        path = self.log_folder / f'{name}.log'
        with open(path, 'ab') as log:
            with self._lock:
                if self._cancelled:
                    raise StepError(f"{name} was not started.")
                process = subprocess.Popen(
                    [str(part) for part in command],
                    stdin=subprocess.DEVNULL, stdout=log,
                    stderr=subprocess.STDOUT, **options)
                if not keep:
                    self._running.add(process)
            try:
                code = process.wait()
            finally:
                with self._lock:
                    self._running.discard(process)
        return code == 0, path

    def cancel(self):
        with self._lock:
            self._cancelled = True
            for process in self._running:
                process.send_signal(signal.SIGTERM)


class Step:
    """A function with the steps that have to come before it.

    The function returns what to print, or None if there was nothing to do.
    """

    def __init__(self, name, function, after=()):
        self.name = name
        self.function = function
        self.after = tuple(after)


def do_steps(steps, report, programs):
    """Do the steps, each as soon as those it comes after are done.

    Raises
    ------
    StepError
        The first step's that failed; the others are ended.
    """
    done, waiting, running = set(), list(steps), {}
    with futures.ThreadPoolExecutor(max_workers=max(1, len(steps))) as pool:
        try:
            while waiting or running:
                for step in list(waiting):
                    if all(name in done for name in step.after):
                        waiting.remove(step)
                        running[pool.submit(_timed, step)] = step
                finished, _ = futures.wait(
                    running, return_when=futures.FIRST_COMPLETED)
                for future in finished:
                    step = running.pop(future)
                    text, seconds = future.result()
                    if text:
                        report.done(text, seconds)
                    done.add(step.name)
        except BaseException:
            programs.cancel()
            raise


def _timed(step):
    start = time.monotonic()
    return step.function(), time.monotonic() - start
