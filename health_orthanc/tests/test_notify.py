# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import time
import unittest
from unittest.mock import patch

from werkzeug.test import Client

from trytond.modules.health_orthanc.client import OrthancClient
from trytond.pool import Pool
from trytond.worker import run_task
from trytond.wsgi import app

from .mirror import CommittingMixin


class NotifyTestCase(CommittingMixin, unittest.TestCase):
    "Test Orthanc's own call"

    def setUp(self):
        super().setUp()
        self.client = Client(app)
        with self.transaction():
            Server = self.Server
            self.key = Server.new_notification_key(Server(self.server_id))

    @property
    def Server(self):
        return Pool(self.database).get('gnuhealth.orthanc.config')

    def call(self, key, data=b'{}', **headers):
        if key is not None:
            headers['Authorization'] = 'Bearer ' + key
        return self.client.post(
            f'/{self.database}/health_orthanc/changed', data=data,
            headers=headers)

    def runs(self):
        with self.transaction():
            Run = Pool(self.database).get('gnuhealth.orthanc.sync.run')
            return [(r.trigger, r.kind, r.state) for r in Run.search([
                        ('server', '=', self.server_id)])]

    def wait_for_mirror(self):
        "The answer does not wait for the synchronization"
        deadline = time.monotonic() + 60
        while True:
            try:
                self.assertMirrors()
                return
            except AssertionError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(.05)

    def wait_until_done(self):
        deadline = time.monotonic() + 60
        while any(r[2] != 'done' for r in self.runs()):
            self.assertLess(time.monotonic(), deadline, self.runs())
            time.sleep(.05)

    def test_changed(self):
        "Test that what was stored, and what was deleted, is mirrored"
        self.store(1)
        answer = self.call(self.key)
        self.assertEqual((answer.status_code, answer.data), (204, b''))
        self.wait_for_mirror()
        with self.orthanc.client() as client:
            client.delete('study', client.ids('study')[0])
        self.call(self.key)
        self.wait_for_mirror()
        self.wait_until_done()
        self.assertEqual(self.runs(), [('orthanc', 'new', 'done')] * 2)

    def test_refused(self):
        "Test that without a valid key nothing happens"
        with self.transaction():
            self.Server.revoke_notification_key(
                [self.Server(self.server_id)])
        for key in [None, '', 'x', self.key, 'é', 'k' * 10000]:
            with self.subTest(key=key):
                answer = self.call(key)
                self.assertEqual(answer.status_code, 401)
                self.assertEqual(
                    answer.headers['WWW-Authenticate'], 'Bearer')
        answer = self.call(None, Authorization='Basic eDp5')
        self.assertEqual(answer.status_code, 401)
        self.assertFalse(self.runs())

    def test_not_validated(self):
        "Test that the key of a server that is not validated is refused"
        with self.transaction():
            self.Server.write(
                [self.Server(self.server_id)], {'validated': False})
        self.assertEqual(self.call(self.key).status_code, 401)

    def test_bounded(self):
        "Test that what is sent is not read, and may not be long"
        self.assertEqual(
            self.call(self.key, b'x' * 10 ** 6).status_code, 413)
        self.assertEqual(self.call(self.key, b'\xff{').status_code, 204)
        self.wait_until_done()
        self.assertEqual(
            self.client.get(
                f'/{self.database}/health_orthanc/changed').status_code, 405)

    def test_new_key(self):
        "Test that a new key replaces the one before, and is not readable"
        with self.transaction():
            server = self.Server(self.server_id)
            self.assertEqual(server.notification_state, "Set")
            new = self.Server.new_notification_key(server)
            values, = self.Server.read(
                [server.id], list(self.Server._fields))
            self.assertNotIn(new, str(values))
        self.assertEqual(self.call(self.key).status_code, 401)
        self.assertEqual(self.call(new).status_code, 204)
        self.wait_until_done()

    def test_while_running(self):
        "Test changes that Orthanc tells while a run passes by"
        self.store(2)
        _, task = self.submit('full')
        bulk_content = OrthancClient.bulk_content

        def call(client, *args, **kwargs):
            if not calls:
                # One run waits for both calls.
                for _ in range(2):
                    calls.append(self.call(self.key).status_code)
                    self.store(1)
            return bulk_content(client, *args, **kwargs)

        calls = []
        # the thread that reads ahead is in no transaction
        with self.small_pages(), patch.object(
                OrthancClient, 'bulk_content', call):
            run_task(Pool(self.database), task)
        self.wait_until_done()
        self.assertEqual(calls, [204, 204])
        self.assertMirrors()
        self.assertEqual(
            sorted(r[0] for r in self.runs()), ['orthanc', 'user'])
