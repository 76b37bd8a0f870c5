# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import datetime as dt
import unittest
from unittest.mock import patch

from trytond.exceptions import UserError
from trytond.modules.health_imaging.dates import now
from trytond.modules.health_imaging.tests.tools import create_user
from trytond.modules.health_orthanc.condition import parse_version
from trytond.pool import Pool
from trytond.tests.test_tryton import activate_module, with_transaction
from trytond.transaction import Transaction

from .tools import ImagingMixin

GOOD = {'orthanc_version': '1.12.11'}


class ConditionTestCase(ImagingMixin, unittest.TestCase):
    "Test what is said of the state of servers, from what is stored"

    @classmethod
    def setUpClass(cls):
        activate_module(['health_orthanc', 'health_imaging_worklist'])

    def setUp(self):
        # nobody is asked
        called = patch(
            'socket.socket.connect', side_effect=AssertionError)
        called.start()
        self.addCleanup(called.stop)

    def condition(self, **values):
        Server = Pool().get('gnuhealth.orthanc.config')
        Server.write([self.one], {
                'validated': True,
                'validation_message': None,
                'clock_difference': None,
                'last_synchronized': now(),
                'domain': 'https://pacs.example.org',
                **GOOD,
                **values})
        return Server(self.one.id)

    def ran(self, state, message=None):
        Run = Pool().get('gnuhealth.orthanc.sync.run')
        Run.create([{
                    'server': self.one.id,
                    'kind': 'new',
                    'trigger': 'cron',
                    'state': state,
                    'message': message,
                    'ended': now(),
                    }])

    @with_transaction()
    def test_conditions(self):
        "Each trouble is named, with the server and the remedy"
        Server = Pool().get('gnuhealth.orthanc.config')
        self.one = self.server()
        hours = dt.timedelta(hours=3)
        for condition, words, values in [
                ('good', None, {}),
                ('danger', "press Check", {'validated': False}),
                ('danger', "refused", {
                        'validated': False, 'validation_message': "refused"}),
                ('danger', "trytond-cron", {
                        'last_synchronized': now() - hours}),
                ('warning', "holes", {'orthanc_version': '1.12.10'}),
                ('warning', "older than 1.10", {'orthanc_version': '1.9.7'}),
                ('good', None, {'orthanc_version': 'mainline'}),
                ('good', None, {'orthanc_version': '1.13.0+dfsg-1'}),
                ('good', None, {'orthanc_version': None}),
                ('warning', "-7200 seconds", {
                        'clock_difference': dt.timedelta(hours=-2)}),
                ('good', None, {
                        'clock_difference': dt.timedelta(seconds=30)}),
                ('warning', "unencrypted", {
                        'domain': 'http://pacs.example.org'}),
                ('good', None, {'domain': 'http://127.0.0.1:8042'}),
                ]:
            with self.subTest(values=values):
                server = self.condition(**values)
                self.assertEqual(server.condition, condition)
                texts = [server.problems, server.warnings]
                if words:
                    self.assertIn(words, ''.join(filter(None, texts)))
                else:
                    self.assertEqual(texts, [None, None])
                notified = [level for level, _ in server.on_change_notify()]
                self.assertEqual(condition in notified, condition != 'good')
                for searched in ['good', 'warning', 'danger']:
                    self.assertEqual(Server.search([
                                ('condition', '=', searched)]),
                        [server] if searched == condition else [])
        Server.write([server], {'active': False, 'validated': False})
        server = Server(server.id)
        self.assertEqual(server.condition, 'archived')
        self.assertEqual(server.on_change_notify(), [])

    @with_transaction()
    def test_failing(self):
        "The last synchronization decides"
        self.one = self.server()
        self.ran('failed', "It was switched off.")
        self.assertEqual(self.condition().problems, "It was switched off.")
        self.ran('cancelled')
        self.assertEqual(self.condition().condition, 'danger')
        self.ran('done')
        self.assertEqual(self.condition().condition, 'good')

    @with_transaction()
    def test_error_list(self):
        "The list of errors gets one entry, as long as it is the same"
        pool = Pool()
        Server = pool.get('gnuhealth.orthanc.config')
        self.one = self.server()
        self.condition()
        Server.warn_failing()
        messages = set()
        for hours in [2, 3]:
            self.condition(
                last_synchronized=now() - dt.timedelta(hours=hours))
            with self.assertRaises(UserError) as raised:
                Server.warn_failing()
            messages.add(raised.exception.message)
        message, = messages
        self.assertIn("PACS", message)
        Server.write([self.one], {'active': False})
        Server.warn_failing()
        Cron = pool.get('ir.cron')
        self.assertTrue(Cron.search([
                    ('method', '=', 'gnuhealth.orthanc.config|warn_failing')]))

    @with_transaction()
    def test_counts(self):
        "Counts and lag of many servers cost one statement"
        Server = Pool().get('gnuhealth.orthanc.config')
        self.one = self.server()
        other = self.server('http://other.example.org', label="Other")
        self.study(self.one)
        self.study(
            self.one, orthanc_UID='gone', missing_since=now(),
            instance_count=9)
        values = Server.read(
            [self.one.id, other.id], ['studies_here', 'images_here', 'lag'])
        self.assertEqual(
            [(v['studies_here'], v['images_here']) for v in values],
            [(1, 2), (0, 0)])
        self.assertIsNone(values[0]['lag'])
        self.condition(last_synchronized=now() - dt.timedelta(minutes=5))
        lag = Server(self.one.id).lag
        self.assertLess(abs(lag - dt.timedelta(minutes=5)),
            dt.timedelta(seconds=5))

    @with_transaction()
    def test_readers(self):
        "Who may only read sees the condition too"
        Server = Pool().get('gnuhealth.orthanc.config')
        self.one = self.server()
        self.ran('failed', "It was switched off.")
        user = create_user('doctor', 'health.group_health_doctor')
        with Transaction().set_user(user.id), \
                Transaction().set_context(_check_access=True):
            values, = Server.read(
                [self.one.id], ['condition', 'problems', 'studies_here'])
        self.assertEqual(values['condition'], 'danger')

    def test_versions(self):
        "Test texts that are versions, and others"
        for text, expected in [
                ('1.12.10', (1, 12, 10)), ('1.9', (1, 9)),
                ('1.13.0~beta', (1, 13, 0)), ('mainline', None), ('', None),
                (None, None), ('9' * 99, (9999,))]:
            with self.subTest(text=text):
                self.assertEqual(parse_version(text), expected)
