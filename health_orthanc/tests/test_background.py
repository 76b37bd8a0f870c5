# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import threading
import unittest
from unittest.mock import patch

from trytond.modules.health_orthanc.locking import server_lock
from trytond.modules.health_orthanc.pagewriter import PageWriter
from trytond.pool import Pool
from trytond.transaction import Transaction
from trytond.worker import run_task

from .mirror import CommittingMixin, Killed
from .orthanc import study


class BackgroundTestCase(CommittingMixin, unittest.TestCase):
    "Test the synchronization as a task that commits page by page"

    def test_task(self):
        "Test that a task synchronizes and commits"
        self.store(3)
        run = self.sync('full')
        self.assertEqual((run['state'], run['new']), ('done', 3))
        self.assertMirrors()
        self.store(1)
        run = self.sync()
        self.assertEqual((run['state'], run['new']), ('done', 1))
        self.assertMirrors()
        run = self.sync()
        self.assertEqual((run['state'], run['pages']), ('done', 0))
        with self.transaction():
            Server = Pool(self.database).get('gnuhealth.orthanc.config')
            self.assertTrue(Server(self.server_id).last_synchronized)

    def test_pages_are_committed(self):
        "Test that others see a page as soon as it is written"
        self.store(3)
        write = PageWriter.write
        seen = []

        def look(writer, page):
            thread = threading.Thread(
                target=lambda: seen.append(len(self.mirrored())))
            thread.start()
            thread.join()
            return write(writer, page)

        with self.small_pages(), patch.object(PageWriter, 'write', look):
            self.sync('full')
        self.assertEqual(seen[:3], [0, 4, 8])

    def test_killed(self):
        "Test that the next run goes on where one was killed"
        self.store(5)
        write = PageWriter.write
        for kind in ['full', 'new']:
            for last in range(3):
                pages = []

                def kill(writer, page):
                    outcome = write(writer, page)
                    if len(pages) == last:
                        raise Killed
                    pages.append(page)
                    return outcome

                with self.small_pages(), patch.object(
                        PageWriter, 'write', kill):
                    run, task = self.submit(kind)
                    with self.assertRaises(Killed):
                        run_task(Pool(self.database), task)
                self.assertEqual(self.read(run)['state'], 'running')
            after = self.sync()
            self.assertEqual(after['state'], 'done')
            self.assertEqual(self.read(run)['state'], 'failed')
            self.assertMirrors()
            self.store(4)

    def test_two_at_once(self):
        "Test that of two runs of a server one leaves"
        self.store(3)
        first, first_task = self.submit('full')
        second, second_task = self.submit('full')
        with self.transaction() as transaction:
            Run = Pool(self.database).get('gnuhealth.orthanc.sync.run')
            Run.__queue__.execute([Run(first)])
            again = transaction.tasks.pop()
        write = PageWriter.write

        def start_another(writer, page):
            if not others:
                # The first task a second time leaves its own run alone.
                for task in [second_task, again]:
                    other = threading.Thread(
                        target=run_task, args=(Pool(self.database), task))
                    others.append(other)
                    other.start()
                    other.join()
            return write(writer, page)

        others = []
        with self.small_pages(), patch.object(
                PageWriter, 'write', start_another):
            run_task(Pool(self.database), first_task)
        self.assertEqual(self.read(first)['state'], 'done')
        self.assertEqual(self.read(second)['state'], 'cancelled')
        self.assertIn("Another", self.read(second)['message'])
        self.assertMirrors()

    def test_lock(self):
        "Test that the lock is free again after its use"
        with self.transaction():
            for _ in range(2):
                with server_lock(self.server_id) as locked:
                    self.assertTrue(locked)

    def test_cancelled_by_another(self):
        "Test that a person cancels a run that is under way"
        self.store(3)
        run, task = self.submit('full')
        write = PageWriter.write

        def cancel_run():
            with self.transaction():
                Run = Pool(self.database).get('gnuhealth.orthanc.sync.run')
                Run.cancel([Run(run)])

        def cancel(writer, page):
            if not pages:
                thread = threading.Thread(target=cancel_run)
                thread.start()
                thread.join()
            pages.append(page)
            return write(writer, page)

        pages = []
        with self.small_pages(), patch.object(PageWriter, 'write', cancel):
            run_task(Pool(self.database), task)
        self.assertEqual(self.read(run)['state'], 'cancelled')
        self.assertLess(len(self.mirrored()), 12)
        self.sync()
        self.assertMirrors()

    def test_person_writes_meanwhile(self):
        "Test that a page is written again when a person changed its study"
        self.store(1)
        self.sync('full')
        with self.orthanc.client() as client:
            uid, = client.ids('study')
        write = PageWriter.write

        def take_notes():
            with self.transaction():
                Study = Pool(self.database).get(
                    'gnuhealth.imaging_orthanc.study')
                one, = Study.search([
                        ('server_config', '=', self.server_id),
                        ('orthanc_UID', '=', uid)])
                one.notes = "Look again"
                one.save()

        def meanwhile(writer, page):
            if not pages:
                # the page's snapshot is taken before the notes
                Transaction().connection.cursor().execute('SELECT 1')
                thread = threading.Thread(target=take_notes)
                thread.start()
                thread.join()
            pages.append(page)
            return write(writer, page)

        pages = []
        with self.orthanc.client() as client:
            one = client.bulk_content([uid], 'study')[0]
        self.orthanc.store(*study(
                StudyInstanceUID=one['MainDicomTags']['StudyInstanceUID']))
        with patch.object(PageWriter, 'write', meanwhile):
            run = self.sync()
        self.assertEqual((run['state'], run['changed']), ('done', 1))
        self.assertMirrors()
        with self.transaction():
            Study = Pool(self.database).get('gnuhealth.imaging_orthanc.study')
            one, = Study.search([
                    ('server_config', '=', self.server_id),
                    ('orthanc_UID', '=', uid)])
            self.assertEqual(one.notes, "Look again")
            self.assertEqual(one.instance_count, 5)
