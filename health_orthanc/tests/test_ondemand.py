# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import json
import unittest
from unittest.mock import patch

from trytond.modules.health_orthanc.client import OrthancClient
from trytond.modules.health_orthanc.exceptions import (
    OrthancServerError, SeriesGoneError)
from trytond.pool import Pool
from trytond.tests.test_tryton import with_transaction
from trytond.transaction import Transaction

from .mirror import SyncMixin
from .orthanc import dicom, study


class OnDemandTestCase(SyncMixin, unittest.TestCase):
    "Test images that are fetched when their series is opened"

    def server(self, on_demand=True, **values):
        server = super().server(**values)
        server.images_on_demand = on_demand
        server.save()
        return server

    @property
    def Series(self):
        return Pool().get('gnuhealth.imaging_orthanc.study_series')

    def series(self, server):
        return self.Series.search([
                ('study', 'where', [
                        ('server_config', '=', server.id),
                        ('missing_since', '=', None)]),
                ('missing_since', '=', None)], order=[('id', 'ASC')])

    def open(self, series):
        "Do what a client does when the form is opened"
        values, = self.Series.read([series.id], ['instances', 'no_images'])
        return values

    def instances(self, series):
        return sorted(i.orthanc_UID for i in series.instances)

    def there(self, series):
        with self.orthanc.client() as client:
            return sorted(i['ID'] for i in client.bulk_content(
                    [series.orthanc_UID], 'instance'))

    def assertPartlyMirrors(self, server, fetched):
        "Studies, series and counts are Orthanc's, as are the fetched images"
        with self.orthanc.client() as client:
            for level in ['study', 'series']:
                self.assertEqual(
                    self.rows(server, level), sorted(client.ids(level)))
            count = client.statistics()['CountInstances']
        self.assertEqual(
            sum(s.instance_count for s in self.studies(
                    server, missing_since=None)), count)
        for one in self.series(server):
            with self.subTest(series=one.id):
                there = self.there(one)
                self.assertEqual(one.instance_count, len(there))
                self.assertEqual(
                    self.instances(one),
                    there if one.orthanc_UID in fetched else [])

    @staticmethod
    def asked(call):
        "What was asked for instances, and how often anything"
        asked = []
        for _, method, path, *_ in (c.args for c in call.mock_calls):
            asked.append(path)
        bodies = [
            json.loads(c.kwargs['data']) for c in call.mock_calls
            if c.kwargs.get('data')]
        return ([p for p in asked if p.startswith('/instances')]
            + [b for b in bodies if b.get('Level') == 'Instance'], len(asked))

    def counted(self):
        return patch.object(
            OrthancClient, '_call_once', autospec=True,
            side_effect=OrthancClient._call_once)

    @with_transaction()
    def test_cost(self):
        "Test that a synchronization asks for no instance and stores none"
        server = self.server()
        costs = []
        for number in [1, 10]:
            self.store(number, instances=number)
            with self.counted() as call:
                self.assertRun(self.sync(server, 'full'), failed=0)
            instances, count = self.asked(call)
            self.assertFalse(instances)
            costs.append(count)
            self.assertPartlyMirrors(server, set())
            self.store(1)
            with self.counted() as call:
                self.assertRun(self.sync(server), new=1)
            self.assertFalse(self.asked(call)[0])
            self.assertPartlyMirrors(server, set())
        # One page more is two requests: the first page is a small one.
        self.assertLessEqual(costs[1], costs[0] + 2)
        self.assertFalse(self.rows(server, 'instance'))
        with self.counted() as call:
            self.assertRun(self.sync(server), pages=0)
        self.assertEqual(self.asked(call)[1], 3)

    def store(self, studies, instances=2):
        for _ in range(studies):
            self.orthanc.store(*study(2, instances))

    @with_transaction()
    def test_open(self):
        "Test that who opens a series sees its images, and only once asks"
        server = self.server()
        self.store(1)
        self.sync(server, 'full')
        first, second = self.series(server)
        # what lists and other code read
        self.Series.read([first.id, second.id], ['instances', 'no_images'])
        self.Series.read([first.id], ['instances', 'images_pending'])
        self.assertEqual(len(first.instances), 0)
        self.assertIn("Fetch Images", first.no_images)
        with self.counted() as call:
            values = self.open(first)
            self.assertEqual(len(values['instances']), 2)
            self.assertFalse(values['no_images'])
            self.assertEqual(self.asked(call)[1], 3)
            self.assertEqual(
                self.open(first)['instances'], values['instances'])
            self.assertEqual(self.asked(call)[1], 3)
        self.assertPartlyMirrors(server, {first.orthanc_UID})
        self.assertRun(self.sync(server, 'full'), changed=0)
        self.assertPartlyMirrors(server, {first.orthanc_UID})

    @with_transaction()
    def test_button(self):
        "Test the button, also with all series at once"
        server = self.server()
        self.store(3)
        self.sync(server, 'full')
        series = self.series(server)
        with self.counted() as call:
            self.Series.fetch_images(series)
        self.assertEqual(self.asked(call)[1], 3)
        self.assertPartlyMirrors(server, {s.orthanc_UID for s in series})
        with self.counted() as call:
            self.Series.fetch_images(self.series(server))
        self.assertEqual(self.asked(call)[1], 0)

    @with_transaction()
    def test_down(self):
        "Test that a server that is down is told, and the form still opens"
        server = self.server()
        self.store(1)
        self.sync(server, 'full')
        one = self.series(server)[0]
        server.domain = 'http://127.0.0.1:1'
        server.save()
        values = self.open(one)
        self.assertEqual(tuple(values['instances']), ())
        self.assertIn(server.label, values['no_images'])
        with self.assertRaises(OrthancServerError):
            self.Series.fetch_images([one])
        self.assertTrue(self.Series(one.id).images_pending)

    @with_transaction()
    def test_gone(self):
        "Test a series that Orthanc holds no more"
        server = self.server()
        self.store(1)
        self.sync(server, 'full')
        one = self.series(server)[0]
        with self.orthanc.client() as client:
            client.delete('series', one.orthanc_UID)
        self.assertIn("any more", self.open(one)['no_images'])
        with self.assertRaises(SeriesGoneError):
            self.Series.fetch_images([one])
        self.sync(server)
        self.assertTrue(one.missing_since)
        self.assertFalse(self.open(one)['no_images'])
        self.assertPartlyMirrors(server, set())

    def tags(self, one):
        return {
            'PatientID': one.study.patient_id,
            'StudyInstanceUID': one.study.study_instance_UID,
            'SeriesInstanceUID': one.series_UID,
            }

    @with_transaction()
    def test_follows(self):
        "Test what is added to, deleted from and stored again in series"
        server = self.server()
        self.store(2, instances=3)
        self.sync(server, 'full')
        opened, *others = self.series(server)
        closed = [s for s in others if s.study != opened.study][0]
        self.open(opened)
        fetched = {opened.orthanc_UID}
        extra = [
            dicom(**self.tags(one), InstanceNumber=7)
            for one in [opened, closed]]
        for kind in ['new', 'reconcile', 'full']:
            with self.subTest(kind=kind):
                answers = self.orthanc.store(*extra)
                self.assertRun(self.sync(server, kind), changed=2)
                self.assertPartlyMirrors(server, fetched)
                with self.orthanc.client() as client:
                    for answer in answers:
                        client.delete('instance', answer['ID'])
                self.assertRun(self.sync(server, kind), changed=2)
                self.assertPartlyMirrors(server, fetched)
                # one comes, another goes, and no log tells
                with self.orthanc.client() as client:
                    for one in [opened, closed]:
                        client.delete('instance', self.there(one)[0])
                    self.orthanc.store(*extra)
                    client._call('DELETE', '/changes')
                self.sync(server, kind)
                self.assertPartlyMirrors(server, fetched)
                with self.orthanc.client() as client:
                    for answer in answers:
                        client.delete('instance', answer['ID'])
                self.sync(server, kind)
                self.orthanc.store(
                    dicom(**self.tags(opened)), dicom(**self.tags(closed)))
                self.sync(server, kind)
        # gone and come back
        files = {}
        with self.orthanc.client() as client:
            for one in [opened, closed]:
                files[one] = [
                    client._call('GET', f'/instances/{id_}/file')
                    for id_ in self.there(one)]
                client.delete('study', one.study.orthanc_UID)
        self.assertRun(self.sync(server), missing=2)
        self.assertPartlyMirrors(server, fetched)
        self.orthanc.store(*files[opened], *files[closed])
        self.sync(server)
        self.assertPartlyMirrors(server, fetched)

    @with_transaction()
    def test_many(self):
        "Test a fetched series of more images than are read at once"
        server = self.server()
        self.store(1, instances=3)
        with patch('trytond.modules.health_orthanc.pages.INSTANCES', 2):
            self.sync(server, 'full')
            one = self.series(server)[0]
            self.open(one)
            self.orthanc.store(*(
                    dicom(**self.tags(one)) for _ in range(5)))
            run = self.sync(server)
            self.assertRun(run, changed=1, failed=0)
            self.assertPartlyMirrors(server, {one.orthanc_UID})
            self.assertRun(self.sync(server, 'full'), changed=0, seen=1)

    @with_transaction()
    def test_switch(self):
        "Test that switching it off fetches the rest, and on keeps it"
        server = self.server()
        self.store(3)
        self.sync(server, 'full')
        self.open(self.series(server)[0])
        server.images_on_demand = False
        server.save()
        self.sync(server)
        self.assertMirrors(server)
        self.assertFalse(any(s.images_pending for s in self.series(server)))
        server.images_on_demand = True
        server.save()
        fetched = {s.orthanc_UID for s in self.series(server)}
        self.store(1)
        self.assertRun(self.sync(server), new=1)
        self.assertPartlyMirrors(server, fetched)

    @with_transaction()
    def test_delete(self):
        "Test that a series that was never opened is deleted as others are"
        server = self.server()
        self.store(1)
        self.sync(server, 'full')
        one = self.series(server)[0]
        self.assertIn('2', one.describe())
        Transaction().set_context(
            active_model=one.__name__, active_id=one.id, active_ids=[one.id])
        Delete = Pool().get('gnuhealth.orthanc.delete', type='wizard')
        session_id, _, _ = Delete.create()
        # Rows of this very transaction cannot be locked at its start.
        with patch.object(self.Series, 'lock'):
            Delete.execute(session_id, {
                    'start': {'reason': 'other', 'comment': "Twice"},
                    }, 'delete_')
        self.assertTrue(self.Series(one.id).missing_since)
        self.assertNotIn(
            one.orthanc_UID, self.orthanc.client().ids('series'))
