# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong with a server, and what becomes of the synchronization.

Each row of doc/faults.rst names a fault of the tables here, or a test.
"""
import json
import time
import unittest
from unittest.mock import patch

from sql import Table

from trytond.modules.health_orthanc import client
from trytond.modules.health_orthanc.client import OrthancClient
from trytond.pool import Pool
from trytond.tests.test_tryton import with_transaction
from trytond.transaction import Transaction

from .mirror import SyncMixin
from .orthanc import study
from .proxy import proxy


# What the proxy does instead of passing on

def status(number, times=None, headers=None):
    left = [times]

    def fault(handler):
        if times is not None:
            if not left[0]:
                return False
            left[0] -= 1
        return handler.reply({}, number, headers)

    return fault


def content(value):
    return lambda handler: handler.reply(value)


def at(path, fault):
    "The fault only where the path begins so"
    return lambda handler: handler.path.startswith(path) and fault(handler)


def silent(handler):
    time.sleep(1)
    return handler.hang_up()


def stalls(handler):
    handler.reply(b'[' + b' ' * 100, length=10000)
    time.sleep(1)
    return handler.hang_up()


def drips(handler):
    handler.reply(b'[', length=10000)
    for _ in range(200):
        handler.wfile.write(b' ')
        handler.wfile.flush()
        time.sleep(.05)
    return True


def breaks_off(times):
    left = [times]

    def fault(handler):
        if not left[0]:
            return False
        left[0] -= 1
        handler.reply(b'[', length=10000)
        return handler.hang_up()

    return fault


def no_http(handler):
    handler.connection.sendall(b'\x16\x03\x01\x02\x00\x01nonsense\r\n\r\n')
    return handler.hang_up()


def endless_log(handler):
    entry = {
        'Seq': 1, 'ID': 'x', 'Date': '20260101T000000',
        'ChangeType': 'NewStudy', 'ResourceType': 'Study'}
    return handler.reply({'Changes': [entry], 'Done': False, 'Last': 999})


# Faults of the server as a whole: the run fails with this message, and the
# next one, without the fault, mirrors everything.
SERVER = {
    'silent': (silent, 'timeout'),
    'stalls': (stalls, 'timeout'),
    'drips': (drips, 'timeout'),
    'breaks off': (breaks_off(9999), 'unreachable'),
    'wrong password': (status(401), 'refused'),
    'forbidden': (status(403), 'not_permitted'),
    'another server': (status(404), 'not_found'),
    'conflict': (status(409), 'conflict'),
    'fails': (status(500), 'failure'),
    'busy for long': (status(503), 'failure'),
    'login page': (
        status(302, headers={'Location': '/login'}), 'bad_answer'),
    'web page': (content(b'<html>Welcome</html>'), 'bad_answer'),
    'wrong shape': (content([[], 1, None]), 'bad_answer'),
    'broken text': (content(b'{"Name": "\xff\xfe'), 'bad_answer'),
    'nested without end': (content(b'[' * 200000), 'bad_answer'),
    'no HTTP': (no_http, 'bad_answer'),
    'too large': (content(b' ' * 5000), 'too_large'),
    'fails in the middle': (
        at('/tools/bulk-content', status(500)), 'failure'),
    'wrong list': (at('/studies', content({'a': 1})), 'bad_answer'),
    }
# Faults that the run survives
SURVIVED = {
    'busy for a moment': status(503, times=2),
    'breaks off once': breaks_off(1),
    'endless log': at('/changes?since', endless_log),
    }


# What the proxy changes in Orthanc's answers about one resource; the second
# item is what stays out of the mirror and waits in the quarantine.

def without(*path):
    def change(resource):
        for name in path[:-1]:
            resource = resource.get(name, {})
        resource.pop(path[-1], None)
    return change


def tag(name, value, part='MainDicomTags'):
    def change(resource):
        resource[part][name] = value
    return change


RESOURCES = {
    'study without UID': (
        'study', tag('StudyInstanceUID', ''), True),
    'series without UID': (
        'series', without('MainDicomTags', 'SeriesInstanceUID'), True),
    'instance without UID': (
        'instance', without('MainDicomTags', 'SOPInstanceUID'), True),
    'UID too long': ('study', tag('StudyInstanceUID', '1' * 300), True),
    'accession number too long': (
        'study', tag('AccessionNumber', 'A' * 300), True),
    'no tags': ('instance', without('MainDicomTags'), True),
    'tags are a list': (
        'series', lambda resource: resource.update(MainDicomTags=[]), True),
    'optional tags missing': (
        'study', lambda resource: resource.update(
            MainDicomTags={'StudyInstanceUID': '1.2.3'}), False),
    'patient missing': ('study', without('PatientMainDicomTags'), False),
    'no parent patient': ('study', without('ParentPatient'), False),
    'nonsense number': ('instance', tag('InstanceNumber', 'abc'), False),
    'nonsense date': ('study', tag('StudyDate', '2026.02.30'), False),
    'text too long': (
        'study', tag('StudyDescription', 'Ω' * 100000), False),
    'NUL and lone surrogate': (
        'study', tag('StudyDescription', 'a\x00b\ud800c'), False),
    'several values': ('instance', tag('InstanceNumber', '1\\2'), False),
    'tag is a number': ('study', tag('StudyDescription', 17), False),
    'tag is an object': ('study', tag('StudyDate', {'a': []}), False),
    }


class FaultsTestCase(SyncMixin, unittest.TestCase):
    "Test the synchronization against faults"

    def setUp(self):
        super().setUp()
        for _ in range(3):
            self.orthanc.store(*study(1, 2))
        patcher = patch(
            'trytond.modules.health_orthanc.server.get_timeouts',
            return_value=(5, 20))
        self.addCleanup(patcher.stop)
        self.timeouts = patcher.start()

    def quarantine(self, server):
        Quarantine = Pool().get('gnuhealth.orthanc.sync.quarantine')
        return Quarantine.search([('server', '=', server.id)])

    @with_transaction()
    def test_server(self):
        "Test faults of a server: a sentence, no rows, and all of it later"
        Message = Pool().get('ir.message')
        for name, (fault, message) in SERVER.items():
            with self.subTest(fault=name), proxy(self.orthanc.url) as faulty:
                server = self.server(faulty.url)
                # nobody waits for what comes in time anyway
                self.timeouts.return_value = (
                    (.5, .3) if message == 'timeout' else (5, 20))
                faulty.fault = fault
                limit = 4000 if name == 'too large' else 10 ** 6
                with patch.object(
                        OrthancClient._call_once,
                        '__defaults__', (None, None, None, limit)), \
                        patch.object(client, 'MAX_FACTS', limit):
                    run = self.sync(server, 'full')
                sentence = Message.gettext(
                    'health_orthanc', 'msg_orthanc_' + message, 'en',
                    server=server.rec_name)
                self.assertRun(run, state='failed', message=sentence)
                self.assertFalse(self.quarantine(server))
                self.assertLess(faulty.asked, 12)
                faulty.fault = None
                self.assertRun(self.sync(server), new=3, failed=0)
                self.assertMirrors(server)

    @with_transaction()
    def test_survived(self):
        "Test faults that stop nothing"
        for name, fault in SURVIVED.items():
            with self.subTest(fault=name), proxy(self.orthanc.url) as faulty:
                server = self.server(faulty.url)
                faulty.fault = fault
                self.assertRun(self.sync(server, 'full'), new=3, failed=0)
                self.assertMirrors(server)

    @with_transaction()
    def test_resources(self):
        "Test answers about a resource: it waits alone, or is mirrored"
        with self.orthanc.client() as client:
            chosen = {level: client.ids(level)[0]
                for level in ['study', 'series', 'instance']}
        for name, (level, change, waits) in RESOURCES.items():
            with self.subTest(fault=name), proxy(self.orthanc.url) as faulty:
                server = self.server(faulty.url)
                faulty.fault = changing(chosen[level], change)
                run = self.sync(server, 'full')
                items = self.quarantine(server)
                self.assertRun(run)
                if not waits:
                    self.assertFalse(items)
                    self.assertMirrors(server)
                    continue
                self.assertEqual(
                    [(i.level, i.orthanc_id) for i in items],
                    [(level, chosen[level])])
                self.assertTrue(items[0].reason)
                self.assertGreaterEqual(len(self.rows(server, 'study')), 2)
                faulty.fault = None
                self.assertRun(self.sync(server), failed=0)
                self.assertFalse(self.quarantine(server))
                self.assertMirrors(server)

    @with_transaction()
    def test_lost_key(self):
        "Test that the password cannot be decrypted"
        server = self.server()
        table = Table('gnuhealth_orthanc_config')
        Transaction().connection.cursor().execute(*table.update(
                [table.secret], ['fernet:lost'],
                where=table.id == server.id))
        run = self.sync(server)
        self.assertEqual(run.state, 'failed')
        self.assertIn("enter it again", run.message)

    @with_transaction()
    def test_vanishing(self):
        "Test resources that are deleted between two requests"
        for level in ['study', 'series', 'instance']:
            with self.subTest(level=level), \
                    proxy(self.orthanc.url) as faulty:
                self.orthanc.store(*study(2, 3))
                server = self.server(faulty.url)
                deleted = []

                def delete(handler):
                    if handler.path != '/tools/bulk-content':
                        return
                    if json.loads(handler.body).get(
                            'Level') != level.capitalize() or deleted:
                        return
                    answer = handler.forward()
                    with self.orthanc.client() as client:
                        deleted.append(client.ids(level)[0])
                        client.delete(level, deleted[0])
                    return handler.reply(answer[1])

                faulty.fault = delete
                self.assertRun(self.sync(server, 'full'), failed=0)
                self.assertTrue(deleted)
                self.assertMirrors(server)

    @with_transaction()
    def test_repeated(self):
        "Test lists that name things twice, or things that are none"
        def repeat(handler):
            if handler.path == '/studies':
                ids = json.loads(handler.forward()[1])
                return handler.reply([*ids, *ids, None, 7, ''])
            if handler.path == '/tools/bulk-content':
                answers = json.loads(handler.forward()[1])
                return handler.reply([*answers, None, 'x', *answers])

        with proxy(self.orthanc.url) as faulty:
            faulty.fault = repeat
            server = self.server(faulty.url)
            self.assertRun(self.sync(server, 'full'), new=3, failed=0)
            self.assertMirrors(server)


def changing(orthanc_id, change):
    "A fault that changes the answers about a resource"
    def fault(handler):
        if handler.path != '/tools/bulk-content':
            return
        answers = json.loads(handler.forward()[1])
        for answer in answers:
            if answer['ID'] == orthanc_id:
                change(answer)
        # what is not ASCII goes as an escape, which may be half a character
        return handler.reply(answers)

    return fault
