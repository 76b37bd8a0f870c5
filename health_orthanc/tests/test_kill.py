# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import os
import random
import signal
import time
import unittest

from trytond.pool import Pool
from trytond.worker import run_task

from .mirror import CommittingMixin
from .orthanc import study

# how often; `make long` takes 200
KILLS = int(os.environ.get('TEST_SYNC_KILLS') or 5)


class KillTestCase(CommittingMixin, unittest.TestCase):
    "Test synchronizations whose process is killed"

    def test_kill(self):
        "Test that kill -9 at random moments leaves nothing that does not heal"
        seed = random.randrange(10 ** 9)
        chance = random.Random(seed)
        self.store(6)
        with self.small_pages():
            longest = self.time_of(self.submit('full')[1])
            for number in range(KILLS):
                with self.subTest(number=number, seed=seed):
                    self.disturb(chance)
                    runs = [
                        self.kill(chance, longest)
                        for _ in range(chance.randint(1, 3))]
                    after = self.sync()
                    self.assertEqual(
                        (after['state'], after['message']), ('done', None))
                    for run in runs:
                        self.assertNotIn(
                            self.read(run)['state'], {'running', 'queued'})
                    self.assertMirrors()

    def disturb(self, chance):
        "Add something, and delete something when there is much"
        self.orthanc.store(*study(chance.randint(1, 3), 2))
        with self.orthanc.client() as client:
            level = chance.choice(['study', 'series', 'instance'])
            ids = client.ids(level)
            if len(client.ids('study')) > 6:
                client.delete(level, chance.choice(ids))

    def kill(self, chance, longest):
        "Start a synchronization in a process that is killed, return its run"
        run, task = self.submit(chance.choice(['full', 'new', 'reconcile']))
        process = self.fork(
            lambda: run_task(Pool(self.database), task))
        time.sleep(chance.uniform(0, longest))
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        if self.read(run)['state'] == 'queued':
            # It died before it began: the scheduler takes it up.
            run_task(Pool(self.database), task)
        return run

    def time_of(self, task):
        "Seconds that the task takes in a process of its own"
        started = time.monotonic()
        _, status = os.waitpid(
            self.fork(lambda: run_task(Pool(self.database), task)), 0)
        self.assertEqual(status, 0)
        return time.monotonic() - started
