# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import datetime as dt
import json
import unittest
from unittest.mock import patch

from werkzeug.exceptions import Forbidden
from werkzeug.test import Client

from trytond.model.exceptions import AccessError
from trytond.modules.health_imaging.tests.tools import create_user
from trytond.modules.health_orthanc import uploader, uploadpage
from trytond.modules.health_orthanc.client import OrthancClient
from trytond.pool import Pool
from trytond.transaction import Transaction
from trytond.wsgi import app

from .hostile import archive, frame
from .mirror import CommittingMixin
from .orthanc import PASSWORD, USER, dicom
from .proxy import proxy
from .tools import ImagingMixin

WIZARD = 'gnuhealth.orthanc.upload_page'


class UploadPageTestCase(CommittingMixin, ImagingMixin, unittest.TestCase):
    "Test what the page for folders asks for"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        with Transaction().start(cls.database, 1):
            cls().people()

    def people(self):
        cls = type(self)
        self.hospital()
        Request = Pool().get('gnuhealth.imaging.test.request')
        request = Request(patient=self.patient, requested_test=self.test)
        request.save()
        Request.requested([request])
        request = Request(request.id)
        cls.request_id = request.id
        cls.facts = {
            'PatientID': request.patient.party.ref,
            'AccessionNumber': request.request,
            'StudyInstanceUID': request.merge_id,
            }
        cls.users = {
            'doctor': create_user(
                'doctor', 'health.group_health_doctor',
                'health_imaging.group_health_imaging').id,
            'admin': create_user(
                'chief', 'health.group_health_doctor',
                'health_imaging.group_health_imaging_admin').id,
            'desk': create_user('desk', 'health.group_health_frontdesk').id,
            }

    def setUp(self):
        super().setUp()
        self.client = Client(app)
        self.key = None

    def link(self, user='doctor', request=True):
        "Return the token of a new link, as the wizard makes it"
        with Transaction().start(
                self.database, self.users[user]) as transaction:
            Wizard = Pool().get(WIZARD, type='wizard')
            context = {'_check_access': True}
            if request:
                context.update(
                    active_model='gnuhealth.imaging.test.request',
                    active_id=self.request_id, active_ids=[self.request_id])
            with transaction.set_context(context):
                session, _, _ = Wizard.create()
                page = Wizard.execute(session, {}, 'start')['view']
                values = {
                    k: v for k, v in page['defaults'].items()
                    if not k.endswith('.')}
                values['server_config'] = self.server_id
                (action, _), = Wizard.execute(
                    session, {'start': values}, 'open_')['actions']
                Wizard.delete(session)
        address, token = action['url'].split('#')
        self.assertTrue(address.endswith(f'/{self.database}/health_orthanc/upload'))
        return token

    def post(self, path, body=b'', name=None):
        headers = {}
        if self.key:
            headers['Authorization'] = f'Bearer {self.key}'
        if name:
            headers['X-File-Name'] = name
        response = self.client.post(
            f'/{self.database}/health_orthanc/upload/{path}', data=body,
            headers=headers, content_length=len(body),
            content_type='application/octet-stream')
        return response.status_code, json.loads(response.data)

    def open(self, **options):
        status, answer = self.post('open', self.link(**options).encode())
        self.assertEqual(status, 200, answer)
        self.key = answer['key']
        return answer

    def client_of(self, url):
        "Let the server be somewhere else"
        Server = Pool(self.database).get('gnuhealth.orthanc.config')
        return patch.object(
            Server, 'get_client',
            lambda server: OrthancClient(url, USER, PASSWORD))

    def stored(self):
        with self.orthanc.client() as client:
            return len(client.ids('instance'))

    def test_page(self):
        "Test that the page is served without anything of others in it"
        for name, kind in [
                ('', 'text/html'), ('/page.js', 'text/javascript'),
                ('/page.css', 'text/css')]:
            response = self.client.get(
                f'/{self.database}/health_orthanc/upload{name}')
            self.assertEqual(response.status_code, 200)
            self.assertIn(kind, response.content_type)
            policy = response.headers['Content-Security-Policy']
            self.assertIn("default-src 'none'", policy)
            self.assertNotIn('unsafe', policy)
            self.assertNotIn(b'style="', response.data)
            self.assertNotIn(b'innerHTML', response.data)
        for name in ['page.html', 'uploadroutes.py', '..%2Fsecrets.py']:
            self.assertIn(self.client.get(
                    f'/{self.database}/health_orthanc/upload/{name}'
                    ).status_code, {404, 405})

    def test_files(self):
        "Test files and archives, and what is synchronized in the end"
        answer = self.open()
        self.assertEqual(answer['direction'], 'ltr')
        self.assertTrue(answer['compares'])
        self.assertFalse(answer['may_go_on'])
        content = dicom(**self.facts)
        states = []
        for name, body in [
                ('a/1.dcm', content), ('a/1.dcm', content), ('2', b'GIF'),
                ('3.zip', archive([
                            ('x', dicom(**self.facts)), ('y', b'')])),
                ('%3Cscript%3E%2F..%2Fx', content[:-1]),
                ('4.zip', b'PK\x03\x04')]:
            status, answer = self.post('file', body, name)
            self.assertEqual(status, 200)
            states.append([(f['name'], f['state']) for f in answer['files']])
        self.assertEqual(states, [
                [('a/1.dcm', 'stored')], [('a/1.dcm', 'known')],
                [('2', 'refused')], [('x', 'stored'), ('y', 'refused')],
                [('<script>/x', 'refused')], [('4.zip', 'refused')]])
        status, answer = self.post('finish')
        self.assertEqual(answer, {'studies': 1, 'linked': 1})
        with self.transaction():
            pool = Pool()
            study, = pool.get('gnuhealth.imaging_orthanc.study').search([])
            self.assertEqual(study.request.id, self.request_id)
            audit = pool.get('gnuhealth.orthanc.audit').search([
                    ('event', '=', 'upload'),
                    ('user', '=', self.users['doctor']),
                    ('study_uid', '=', study.study_instance_UID),
                    ])
            self.assertTrue(audit)
            self.assertIn("Stored: 2, already there: 1", audit[0].detail)
        self.assertEqual(
            self.post('finish')[1], {'studies': 0, 'linked': 0})

    def test_link(self):
        "Test that a link works once, for a while, and is nobody else's"
        token = self.link()
        self.assertEqual(self.post('open', token.encode())[0], 200)
        for wrong in [token, '', 'x' * 43, token[:-1], 'ü']:
            status, answer = self.post('open', wrong.encode())
            self.assertEqual(status, 403)
            self.assertTrue(answer['over'])
            self.assertIn("again", answer['error'])
        for key in [None, 'x', token]:
            self.key = key
            for path in ['state', 'check', 'file', 'across', 'finish']:
                status, answer = self.post(path, dicom())
                self.assertEqual(status, 403)
                self.assertTrue(answer['over'])
        self.assertFalse(self.stored())
        with patch.object(uploadpage, 'LINK_VALID', dt.timedelta(seconds=-1)):
            token = self.link()
        self.assertEqual(self.post('open', token.encode())[0], 403)
        with patch.object(uploadpage, 'PAGE_VALID', dt.timedelta(seconds=-1)):
            self.open()
        self.assertEqual(self.post('file', dicom())[0], 403)

    def test_language(self):
        "Test that even a stranger gets a sentence, and users theirs"
        response = self.client.post(
            f'/{self.database}/health_orthanc/upload/open', data=b'x',
            headers={'Accept-Language': 'xx, *;q=0.1'})
        self.assertEqual(response.status_code, 403)

    def test_other_sites(self):
        "Test that no other site can send anything"
        self.open()
        with self.assertRaises(Forbidden):
            self.client.post(
                f'/{self.database}/health_orthanc/upload/file', data=dicom(),
                headers={
                    'Authorization': f'Bearer {self.key}',
                    'Origin': 'https://evil.example.org'})
        self.assertFalse(self.stored())

    def test_revoked(self):
        "Test users and servers that are not what they were"
        def user(**values):
            User = Pool().get('res.user')
            User.write([User(self.users['doctor'])], values)

        def server(**values):
            Server = Pool().get('gnuhealth.orthanc.config')
            Server.write([Server(self.server_id)], values)

        with self.transaction():
            groups = [g.id for g in Pool().get('res.user')(
                    self.users['doctor']).groups]
        for change, back in [
                (lambda: user(active=False), lambda: user(active=True)),
                (lambda: user(groups=[('remove', groups)]),
                    lambda: user(groups=[('add', groups)])),
                (lambda: server(active=False),
                    lambda: server(active=True, validated=True)),
                (lambda: server(validated=False),
                    lambda: server(validated=True)),
                ]:
            self.open()
            with self.transaction():
                change()
            try:
                status, answer = self.post('file', dicom(**self.facts), 'x')
                self.assertEqual(status, 403)
                self.assertTrue(answer['error'])
                self.assertFalse(self.stored())
            finally:
                with self.transaction():
                    back()

    def test_rights(self):
        "Test that nobody else gets a link"
        with self.assertRaises(AccessError):
            self.link(user='desk', request=False)
        with self.assertRaises(AccessError):
            self.link(user='desk')

    def test_read_only(self):
        self.open()
        with proxy(self.orthanc.url) as link, self.client_of(link.url):
            link.fault = lambda handler: handler.path == '/system' and (
                handler.reply({'ReadOnly': True}))
            status, answer = self.post('file', dicom(**self.facts), 'x')
        self.assertEqual(status, 403)
        self.assertIn("read-only", answer['error'])
        self.assertFalse(self.stored())

    def test_unreachable(self):
        "Test that what was not sent can be tried again"
        self.open()
        with self.client_of('http://127.0.0.1:1'), \
                patch.object(uploader, 'PAUSE', 0):
            status, answer = self.post('file', dicom(**self.facts), 'x')
        self.assertTrue(answer['again'])
        self.assertIn("cannot be reached", answer['files'][0]['reason'])

    def test_mismatch(self):
        "Test that what differs is told before, and sent with a reason only"
        self.open()
        other = dicom(**{**self.facts, 'PatientID': 'OTHER'})
        status, answer = self.post('check', frame(
                other[:1000], dicom(**self.facts), b'', b'PK\x03\x04'))
        self.assertEqual(answer['differences'], [
                [['patient_id', 'OTHER', self.facts['PatientID']]],
                [], [], []])
        mixed = archive([('1', other), ('2', dicom(**self.facts))])
        for body in [other, mixed]:
            _, answer = self.post('file', body, 'x')
            self.assertEqual(answer['files'][0]['state'], 'differs')
        self.assertEqual(answer['files'][1]['state'], 'refused')
        self.assertFalse(self.stored())
        status, answer = self.post('across', b"I want to")
        self.assertEqual(status, 403)
        self.assertIn("administrator", answer['error'])
        answer = self.open(user='admin')
        self.assertTrue(answer['may_go_on'])
        self.assertEqual(self.post('across', b" ")[0], 403)
        self.assertEqual(self.post('across', b"From abroad")[0], 200)
        _, answer = self.post('file', mixed, 'x')
        self.assertEqual(
            [f['state'] for f in answer['files']], ['stored', 'stored'])
        self.post('finish')
        with self.transaction():
            audit = Pool().get('gnuhealth.orthanc.audit').search([
                    ('event', '=', 'upload'),
                    ('user', '=', self.users['admin']),
                    ])
            self.assertEqual({a.reason for a in audit}, {"From abroad"})

    def test_sizes(self):
        self.open()
        response = self.client.post(
            f'/{self.database}/health_orthanc/upload/check', data=bytes(3 << 20),
            headers={'Authorization': f'Bearer {self.key}'})
        self.assertEqual(response.status_code, 413)
        with patch.object(uploadpage, 'MAX_PAGE_FILES', 1):
            self.assertEqual(self.post('file', b'', 'x')[0], 200)
            self.assertEqual(self.post('file', b'', 'x')[0], 403)

    def test_left(self):
        "Test that what a browser left is noted and synchronized"
        self.open()
        self.post('file', dicom(), 'x')
        with self.transaction() as transaction:
            pool = Pool()
            Page = pool.get('gnuhealth.orthanc.upload.page')
            with patch.object(uploadpage, 'now', lambda: (
                        dt.datetime.now() + dt.timedelta(days=1))):
                Page.close_expired()
            self.assertFalse(Page.search([]))
            audit, = pool.get('gnuhealth.orthanc.audit').search(
                [], limit=1)
            self.assertEqual(
                (audit.event, audit.user.id),
                ('upload', self.users['doctor']))
            transaction.rollback()
