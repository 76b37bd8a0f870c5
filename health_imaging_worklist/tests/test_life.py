# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import datetime as dt
import unittest

from trytond.modules.health_imaging.tests.tools import IMAGING, create_user
from trytond.modules.health_imaging_worklist.host import now
from trytond.pool import Pool
from trytond.tests.test_tryton import (
    activate_module, drop_db, with_transaction)
from trytond.transaction import Transaction

from .tools import DATE, WorklistMixin


class LifeTestCase(WorklistMixin, unittest.TestCase):
    "Test the life of worklist items"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        drop_db()
        activate_module('health_imaging_worklist')

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        drop_db()

    def published(self):
        Request = Pool().get('gnuhealth.imaging.test.request')
        return [i['id'] for i in Request.worklist_items()['items']]

    def log(self, request):
        "The changes, the newest last"
        return [
            (e.event, e.before, e.after, e.reason)
            for e in request.worklist_log[::-1]]

    def configure(self, **values):
        Configuration = Pool().get('gnuhealth.imaging.worklist.configuration')
        configuration = Configuration(1)
        for name, value in values.items():
            setattr(configuration, name, value)
        configuration.save()

    @with_transaction()
    def test_draft(self):
        "A draft is on no worklist and has no log"
        self.hospital()
        draft = self.draft()
        draft.scheduled_date = now()
        draft.save()
        self.assertEqual(self.published(), [])
        self.assertEqual(
            [e[0] for e in self.log(draft)], ['scheduled_date'])

    @with_transaction()
    def test_log(self):
        "Who changed what, and why"
        Request = Pool().get('gnuhealth.imaging.test.request')
        self.hospital()
        request = self.request()
        user = create_user('reception', IMAGING)
        with Transaction().set_user(user.id), \
                Transaction().set_context(_check_access=True):
            request = Request(request.id)
            request.scheduled_date = DATE + dt.timedelta(days=1)
            request.aetitle = 'CT2'
            request.save()
            request.comment = "no change of the worklist"
            request.save()
            request.worklist_status = 'done'
            request.save()
        request = Request(request.id)
        self.assertEqual(self.log(request), [
                ('state', "Draft", "Requested", 'request'),
                ('scheduled_date', '2024-02-01 00:30 +0100',
                    '2024-02-02 00:30 +0100', 'person'),
                ('aetitle', None, 'CT2', 'person'),
                ('worklist_status', "Todo", "Done", 'person'),
                ])
        self.assertEqual(
            [e.user.login for e in request.worklist_log][:3],
            ['reception'] * 3)
        copy, = Request.copy([request])
        self.assertFalse(copy.worklist_log)

    @with_transaction()
    def test_cancel(self):
        Request = Pool().get('gnuhealth.imaging.test.request')
        self.hospital()
        request = self.request()
        request.cancel_reason = "Not needed"
        request.save()
        Request.cancel([request])
        self.assertEqual(self.published(), [])
        Request.draft([request])
        Request.requested([request])
        self.assertEqual(self.published(), [request.id])
        self.assertEqual([
                e for e in self.log(Request(request.id))
                if e[0] == 'worklist_status'], [
                ('worklist_status', "Todo", "Canceled", 'request'),
                ('worklist_status', "Canceled", "Todo", 'request'),
                ])

    @with_transaction()
    def test_study(self):
        Request = Pool().get('gnuhealth.imaging.test.request')
        self.hospital()
        request, other = self.request(), self.request()
        Request.finish_worklist([request])
        self.assertEqual(self.published(), [other.id])
        self.assertEqual(self.log(request)[-1],
            ('worklist_status', "Todo", "Done", 'study'))

    @with_transaction()
    def test_result(self):
        "A report ends the item where no study arrives; a draft does not"
        pool = Pool()
        Request = pool.get('gnuhealth.imaging.test.request')
        Result = pool.get('gnuhealth.imaging.test.result')
        self.hospital()
        requests = [self.request() for _ in range(2)]
        results = Request.create_results(requests)
        self.assertEqual(self.published(), [])
        for button, result in zip([Result.report, Result.sign], results):
            request = Request(result.request.id)
            self.assertEqual(request.worklist_status, 'todo')
            button([result])
            request = Request(request.id)
            self.assertEqual(self.log(request)[-1],
                ('worklist_status', "Todo", "Done", 'result'))
            entries = len(request.worklist_log)
        Result.sign(results[:1])
        self.assertEqual(
            len(Request(results[0].request.id).worklist_log), entries)

    @with_transaction()
    def test_rescheduled(self):
        "The item moves with the date"
        Request = Pool().get('gnuhealth.imaging.test.request')
        self.hospital()
        request = self.request()
        request.scheduled_date = dt.datetime(2024, 7, 1, 8, 15)
        request.save()
        item, = Request.worklist_items()['items']
        self.assertIn('DA [20240701]', item['text'])
        self.assertIn('TM [101500]', item['text'])

    @with_transaction()
    def test_expired(self):
        Request = Pool().get('gnuhealth.imaging.test.request')
        self.hospital()
        old = self.request(date=now() - dt.timedelta(days=9))
        new = self.request(date=now() - dt.timedelta(days=6))
        draft = self.draft(date=now() - dt.timedelta(days=9))
        Request.expire_worklist()
        self.assertEqual(self.published(), [old.id, new.id])
        self.configure(expire_after=7)
        Request.expire_worklist()
        self.assertEqual(self.published(), [new.id])
        old, draft = Request.browse([old, draft])
        self.assertEqual(old.worklist_status, 'canceled')
        self.assertEqual(draft.worklist_status, 'todo')
        self.assertEqual(self.log(old)[-1],
            ('worklist_status', "Todo", "Canceled", 'expired'))

        # a new date puts it on the worklist again
        old.scheduled_date = now() + dt.timedelta(days=1)
        old.save()
        self.assertEqual(set(self.published()), {old.id, new.id})
        self.assertEqual(self.log(Request(old.id))[-1],
            ('worklist_status', "Canceled", "Todo", 'scheduled'))

    @with_transaction()
    def test_expired_done(self):
        "The end state is chosen; what a person ended stays ended"
        Request = Pool().get('gnuhealth.imaging.test.request')
        self.hospital()
        request = self.request(date=now() - dt.timedelta(days=9))
        self.configure(expire_after=7, expire_status='done')
        Request.expire_worklist()
        request = Request(request.id)
        self.assertEqual(request.worklist_status, 'done')
        request.worklist_status = 'canceled'
        request.save()
        request.scheduled_date = now() + dt.timedelta(days=1)
        request.save()
        self.assertEqual(self.published(), [])
