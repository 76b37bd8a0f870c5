# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import io
import unittest
import zipfile
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from unittest.mock import patch

import pydicom
from werkzeug.test import Client

from trytond.exceptions import UserError
from trytond.model.exceptions import AccessError
from trytond.modules.health_imaging.dates import now
from trytond.modules.health_imaging.tests.tools import create_user
from trytond.modules.health_orthanc import client, download
from trytond.pool import Pool
from trytond.transaction import Transaction
from trytond.wsgi import app

from .mirror import CommittingMixin
from .orthanc import study


class BrokenHandler(BaseHTTPRequestHandler):
    "An Orthanc that ends before its archive does"

    def do_GET(self):
        self.send_response(200)
        self.send_header('Content-Length', '100000')
        self.end_headers()
        self.wfile.write(b'x' * 5000)


class BrokenTestCase(unittest.TestCase):
    "Test an archive that breaks off"

    def test_broken_off(self):
        "Test that it is an error, not a short archive"
        with HTTPServer(('127.0.0.1', 0), BrokenHandler) as server:
            thread = Thread(target=server.handle_request)
            thread.start()
            with client.OrthancClient(
                    'http://127.0.0.1:%d' % server.server_port) as orthanc:
                with patch.object(client, 'PIECE', 1000):
                    pieces = orthanc.archive('id')
                    self.assertEqual(next(pieces), b'x' * 1000)
                    with self.assertRaises(client.Unreachable):
                        list(pieces)
            thread.join()


class DownloadTestCase(CommittingMixin, unittest.TestCase):
    "Test the download of a study"

    def setUp(self):
        super().setUp()
        self.client = Client(app)
        self.orthanc.store(*study(
                2, 3, Rows=64, Columns=64, PixelData=bytes(4096),
                AccessionNumber='A/1"é'))
        self.sync()
        with self.transaction():
            self.study_id = self.Study.search([
                    ('server_config', '=', self.server_id)])[0].id
            self.user = create_user(
                self.id(), 'health.group_health_doctor').id

    @property
    def Study(self):
        return Pool(self.database).get('gnuhealth.imaging_orthanc.study')

    def ask(self, user=None, **values):
        "Press Download as a person does, and return the address"
        Wizard = Pool(self.database).get(
            'gnuhealth.orthanc.download', type='wizard')
        values = {'format': 'archive', 'reason': 'referral', **values}
        with Transaction().start(
                self.database, user or self.user, context={
                    'active_model': self.Study.__name__,
                    'active_id': self.study_id,
                    'active_ids': [self.study_id],
                    }):
            session_id, _, _ = Wizard.create()
            answer = Wizard.execute(
                session_id, {'start': values}, 'download')
            url = answer['actions'][0][0]['url']
        return url[url.index('/' + self.database):]

    def audit(self):
        Audit = Pool(self.database).get('gnuhealth.orthanc.audit')
        with self.transaction():
            return [(a.user.id, a.reason, a.detail, a.study_uid)
                for a in Audit.search([
                        ('event', '=', 'download'),
                        ('server_config', '=', self.server_id)])]

    def test_archive(self):
        "Test that the archive holds all images, once, with a row"
        url = self.ask(comment="Dr. Cole")
        self.assertFalse(self.audit())
        answer = self.client.get(url)
        self.assertEqual(answer.status_code, 200)
        self.assertEqual(answer.content_type, 'application/zip')
        self.assertEqual(
            answer.headers['Content-Disposition'],
            'attachment; filename="study-2024-01-31-CT-A-1.zip"')
        with zipfile.ZipFile(io.BytesIO(answer.data)) as archive:
            images = [
                pydicom.dcmread(io.BytesIO(archive.read(n)))
                for n in archive.namelist()]
        self.assertEqual(len(images), 6)
        uid = images[0].StudyInstanceUID
        self.assertEqual(self.audit(), [
                (self.user, "Referral: Dr. Cole", "ZIP of DICOM Files", uid)])
        again = self.client.get(url)
        self.assertEqual(again.status_code, 404)
        self.assertIn("works once", again.text)
        self.assertEqual(len(self.audit()), 1)

    def test_media(self):
        "Test that the archive for a CD has a DICOMDIR"
        answer = self.client.get(self.ask(format='media'))
        with zipfile.ZipFile(io.BytesIO(answer.data)) as archive:
            self.assertIn('DICOMDIR', archive.namelist())

    def test_pieces(self):
        "Test that the archive passes through in pieces, and is not kept"
        with patch.object(client, 'PIECE', 1000):
            answer = self.client.get(self.ask(), buffered=False)
            sizes = [len(p) for p in answer.iter_encoded()]
        self.assertGreater(len(sizes), 2)
        self.assertLessEqual(max(sizes), 1000)

    def test_looked_at(self):
        "Test that a look at the headers does not use the link up"
        url = self.ask()
        self.assertEqual(self.client.head(url).status_code, 405)
        self.assertEqual(self.client.post(url).status_code, 405)
        self.assertEqual(self.client.get(url).status_code, 200)

    def test_void_links(self):
        "Test links that are no longer, or never were"
        pool = Pool(self.database)
        url = self.ask()
        for wrong in [url[:-1], url + 'x', url[:-10] + '%00',
                url.rpartition('/')[0] + '/' + 'x' * 5000]:
            with self.subTest(url=wrong[-20:]):
                self.assertEqual(self.client.get(wrong).status_code, 404)
        with patch.object(download, 'now') as clock:
            clock.return_value = now() + download.VALIDITY
            self.assertEqual(self.client.get(url).status_code, 404)
        User = pool.get('res.user')
        with self.transaction():
            User.write([User(self.user)], {'active': False})
        self.assertEqual(self.client.get(url).status_code, 404)
        with self.transaction():
            User.write([User(self.user)], {'active': True})
            self.Study.mark_missing([self.Study(self.study_id)])
        self.assertEqual(self.client.get(url).status_code, 404)
        self.assertFalse(self.audit())

    def test_at_once(self):
        "Test that of two who use the link at once one gets the archive"
        url = self.ask()
        archive, answers = client.OrthancClient.archive, []

        def other_is_faster(*args, **kwargs):
            if not answers:
                answers.append(None)
                answers[0] = self.client.get(url).status_code
            return archive(*args, **kwargs)

        with patch.object(
                client.OrthancClient, 'archive', other_is_faster):
            answers.append(self.client.get(url).status_code)
        self.assertEqual(answers, [200, 404])
        self.assertEqual(len(self.audit()), 1)

    def test_server_away(self):
        "Test that a server that is away is named, and the link stays"
        url = self.ask()
        self.orthanc.stop()
        try:
            with self.assertRaisesRegex(UserError, "cannot be downloaded"):
                self.ask()
            answer = self.client.get(url)
        finally:
            self.orthanc.start()
        self.assertEqual(answer.status_code, 502)
        self.assertIn("Server &#34;", answer.text)
        self.assertFalse(self.audit())
        self.assertEqual(self.client.get(url).status_code, 200)

    def test_refused(self):
        "Test who and what is refused before there is a link"
        with self.transaction():
            nobody = create_user(self.id() + 'x').id
        with self.assertRaises(AccessError):
            self.ask(user=nobody)
        for values in [
                {'reason': None}, {'reason': 'other'}, {'format': 'x'},
                {'reason': 'other', 'comment': ' '}]:
            with self.subTest(values=values):
                with self.assertRaises(UserError):
                    self.ask(**values)
        self.orthanc.clear()
        with self.assertRaisesRegex(UserError, "it is gone"):
            self.ask()
        with self.transaction():
            self.Study.mark_missing([self.Study(self.study_id)])
        with self.assertRaisesRegex(UserError, "not hold it any more"):
            self.ask()
