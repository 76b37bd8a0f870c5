# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import json
import unittest
from unittest.mock import patch

from trytond.model.exceptions import AccessError
from trytond.modules.health_imaging.tests.tools import (
    create_patient, create_user)
from trytond.modules.health_orthanc import upload, uploader
from trytond.modules.health_orthanc.exceptions import (
    ReadOnlyServerError, UploadError, UploadMismatchError)
from trytond.pool import Pool
from trytond.tests.test_tryton import activate_module, with_transaction
from trytond.transaction import Transaction

from .hostile import Elements, archive, frame
from .orthanc import PASSWORD, USER, Orthanc, dicom, study
from .proxy import proxy
from .tools import ImagingMixin

WIZARD = 'gnuhealth.imaging_orthanc.upload_image_data'


class UploadTestCase(ImagingMixin, unittest.TestCase):
    "Test the wizard that uploads, with a real Orthanc"

    @classmethod
    def setUpClass(cls):
        activate_module(['health_orthanc', 'health_imaging_worklist'])
        cls.orthanc = cls.enterClassContext(Orthanc())

    def setUp(self):
        self.addCleanup(self.orthanc.clear)

    def real_server(self, url=None):
        return self.server(
            url or self.orthanc.url, user=USER, password=PASSWORD)

    def request(self):
        Request = Pool().get('gnuhealth.imaging.test.request')
        request = Request(patient=self.patient, requested_test=self.test)
        request.save()
        Request.requested([request])
        return Request(request.id)

    def start(self, record=None):
        Wizard, self.session = self.wizard(WIZARD, record)
        answer = Wizard.execute(self.session, {}, 'start')
        return Wizard, answer['view']['defaults']

    def upload(self, server, name, content, **values):
        "Upload as the client does and return the page that follows"
        Wizard, _ = self.start()
        page = Wizard.execute(self.session, {'start': {
                    'server_config': server.id,
                    'data_to_upload': content,
                    'file_name': name,
                    **values,
                    }}, 'upload')['view']
        self.assert_forgotten(name)
        return page['defaults']

    def assert_forgotten(self, *names):
        "Nothing of the files is left in the database"
        Session = Pool().get('ir.session.wizard')
        data = Session(self.session).data
        self.assertNotIn('base64', data)
        for name in names:
            self.assertNotIn(name, data)

    def states(self, page):
        return {f['name']: f['state'] for f in page['files']}

    def matching(self, request, **values):
        return dicom(
            PatientID=request.patient.party.ref,
            AccessionNumber=request.request,
            **{'StudyInstanceUID': request.merge_id, **values})

    def work(self):
        "Do what a worker does with what was queued"
        pool = Pool()
        Queue = pool.get('ir.queue')
        Run = pool.get('gnuhealth.orthanc.sync.run')
        for task in Queue.search([]):
            if task.data['method'] == 'execute_studies':
                runs = Run.browse(task.data['instances'])
                # in this transaction, which is not committed: its own rows
                # cannot be locked
                Study = pool.get('gnuhealth.imaging_orthanc.study')
                with patch.object(Study, 'lock'), patch.object(
                        uploader, 'Synchronization',
                        lambda id_, studies: self.synchronization(
                            id_, commit=False, studies=studies)):
                    Run.execute_studies(
                        runs, *task.data['args'], **task.data['kwargs'])
        Queue.delete(Queue.search([]))

    synchronization = staticmethod(uploader.Synchronization)

    @with_transaction()
    def test_kinds_of_files(self):
        one, two = study(instances=2)
        server = self.real_server()
        page = self.upload(server, 'one.dcm', one)
        self.assertEqual(self.states(page), {'one.dcm': 'stored'})
        page = self.upload(server, 'all.zip', archive([
                    ('a/1.dcm', one), ('a/2.dcm', two),
                    ('readme.txt', b'Nothing'), ('empty', b'')]))
        self.assertEqual(self.states(page), {
                'a/1.dcm': 'known', 'a/2.dcm': 'stored',
                'readme.txt': 'refused', 'empty': 'refused'})
        self.assertEqual(
            (page['stored'], page['known'], page['refused']), (1, 1, 2))
        page = self.upload(server, 'x', frame(dicom(), two))
        self.assertEqual(
            self.states(page), {'#1': 'stored', '#2': 'known'})
        index = dicom().replace(
            b'1.2.840.10008.5.1.4.1.1.7\0', b'1.2.840.10008.1.3.10\0     ', 1)
        page = self.upload(server, 'DICOMDIR', index)
        self.assertEqual(self.states(page), {'DICOMDIR': 'skipped'})
        self.assertIn("table of contents", page['files'][0]['reason'])

    @with_transaction()
    def test_synchronized(self):
        "Test that what was stored is read, linked and noted"
        pool = Pool()
        Study = pool.get('gnuhealth.imaging_orthanc.study')
        self.hospital()
        request = self.request()
        server = self.real_server()
        self.upload(server, 'all.zip', archive([
                    ('1', self.matching(request)),
                    ('2', self.matching(request)), ('3', b'')]),
            request=request.id)
        stored, refused = self.audit()[::-1]
        self.assertEqual(
            (stored.event, stored.study_uid, stored.patient),
            ('upload', request.merge_id, self.patient))
        self.assertIn("Stored: 2", stored.detail)
        self.assertIn("refused: 1", refused.detail)
        self.work()
        found, = Study.search([])
        self.assertEqual(
            (found.study_instance_UID, found.request, found.patient),
            (request.merge_id, request, self.patient))
        self.assertEqual(found.instance_count, 2)

    @with_transaction()
    def test_hostile(self):
        "Test that Orthanc lives on"
        deep = dicom(PixelData=None, Rows=None) + Elements(
            'explicit').nested(100_000, False)
        disguised = archive([('x', deep)])
        disguised += bytes(128 - len(disguised) % 128)
        server = self.real_server()
        page = self.upload(server, 'all.zip', archive([
                    ('deep', deep), ('cut', dicom()[:-2]),
                    ('good', dicom()), ('inner.zip', disguised),
                    ('disguised', b'PK\x03\x04' + dicom()[4:])]))
        self.assertEqual(self.states(page), {
                'deep': 'refused', 'cut': 'refused', 'good': 'stored',
                'inner.zip': 'refused', 'disguised': 'refused'})
        self.assertIsNone(self.orthanc.process.poll())

    @with_transaction()
    def test_mismatch(self):
        "Test that nothing is sent before an administrator gives the reason"
        pool = Pool()
        Study = pool.get('gnuhealth.imaging_orthanc.study')
        # a lock restarts the transaction, and with it the test
        self.orthanc.clear()
        self.hospital()
        request = self.request()
        server = self.real_server()
        content = archive([
                ('1', self.matching(request)),
                ('2', dicom(PatientID='OTHER', AccessionNumber='77')),
                ('3', dicom(PatientID='OTHER'))])
        page = self.upload(server, 'all.zip', content, request=request.id)
        lines = {(line['fact'], line['found']): line for line in page['lines']}
        self.assertEqual(
            lines['patient_id', 'OTHER']['files'], 2)
        self.assertEqual(
            lines['patient_id', 'OTHER']['expected'],
            self.patient.party.ref)
        self.assertEqual(
            lines['accession_number', '77']['expected'], request.request)
        self.assertEqual(len(lines), 4)
        self.assertEqual(bytes(page['data']), content)
        with self.orthanc.client() as client:
            self.assertFalse(client.ids('instance'))
        self.assertFalse(self.audit())

        Wizard = pool.get(WIZARD, type='wizard')
        answer = {'data': content, 'file_name': 'all.zip', 'reason': " "}
        with self.assertRaises(UploadMismatchError):
            Wizard.execute(self.session, {'mismatch': answer}, 'go_on')
        answer['reason'] = "Images of the same person from abroad"
        with patch.object(upload, 'is_imaging_admin', lambda: False):
            with self.assertRaises(AccessError):
                Wizard.execute(self.session, {'mismatch': answer}, 'go_on')
        page = Wizard.execute(
            self.session, {'mismatch': answer}, 'go_on')['view']['defaults']
        self.assert_forgotten('all.zip', 'from abroad')
        self.assertEqual(set(self.states(page).values()), {'stored'})
        self.work()
        studies = Study.search([])
        self.assertEqual(len(studies), 3)
        self.assertEqual({s.request for s in studies}, {request})
        self.assertEqual(
            {a.reason for a in self.audit() if a.event == 'upload'},
            {answer['reason']})

    @with_transaction()
    def test_targets(self):
        "Test where the wizard may begin"
        self.hospital()
        result = self.result()
        request = result.request
        for record, expected in [
                (None, (None, None)),
                (self.patient, (None, self.patient.id)),
                (request, (request.id, self.patient.id)),
                (result, (request.id, self.patient.id)),
                ]:
            with Transaction().set_context(
                    active_model=None, active_id=None, active_ids=None):
                _, page = self.start(record)
            self.assertEqual(
                (page.get('request'), page.get('patient')), expected)

    @with_transaction()
    def test_other_patient(self):
        self.hospital()
        other = create_patient("Zenon", "Betz", ref='TST002GNU')
        page = self.upload(
            self.real_server(), 'x.dcm',
            dicom(PatientID=other.party.ref), patient=self.patient.id)
        self.assertEqual(
            [line['fact'] for line in page['lines']], ['patient_id'])

    @with_transaction()
    def test_person_linked(self):
        "Test that a later upload does not undo what a person linked"
        pool = Pool()
        Run = pool.get('gnuhealth.orthanc.sync.run')
        Study = pool.get('gnuhealth.imaging_orthanc.study')
        self.hospital()
        server, request = self.real_server(), self.request()
        self.upload(
            server, 'x.dcm', self.matching(request), request=request.id)
        self.work()
        study, = Study.search([])
        other = create_patient("Zenon", "Betz", ref='TST002GNU')
        with Transaction().set_context(_orthanc_linking=True):
            Study.write([study], {
                    'patient': other.id,
                    'request': None,
                    'imaging_test': None,
                    'link_origin': 'person',
                    })
        self.upload(
            server, 'y.dcm', self.matching(request), request=request.id)
        self.work()
        study = Study(study.id)
        self.assertEqual((study.patient, study.request), (other, None))
        run, = Run.search([], order=[('id', 'DESC')], limit=1)
        self.assertIn(other.rec_name, run.message)

    @with_transaction()
    def test_attachments(self):
        Attachment = Pool().get('ir.attachment')
        self.hospital()
        request = self.request()
        content = self.matching(request)
        attachments = Attachment.create([{
                    'name': name,
                    'resource': str(request),
                    'data': data,
                    } for name, data in [
                        ('IM1.dcm', content), ('IM2.dcm', b'no'),
                        ('IM3.zip', archive([
                                    ('a', self.matching(request))])),
                        ('IM4.zip', b'PK\x03\x04 no')]])
        Wizard, page = self.start(request)
        self.assertEqual(page['resource'], str(request))
        page = Wizard.execute(self.session, {'start': {
                    'server_config': self.real_server().id,
                    'request': request.id,
                    'attachments': [a.id for a in attachments],
                    }}, 'upload')['view']['defaults']
        self.assertEqual(self.states(page), {
                'IM1.dcm': 'stored', 'IM2.dcm': 'refused', 'a': 'stored',
                'IM4.zip': 'refused'})

    @with_transaction()
    def test_nothing_to_send(self):
        server = self.server('http://127.0.0.1:1')
        page = self.upload(server, 'one.dcm', dicom())
        self.assertEqual(self.states(page), {'one.dcm': 'refused'})
        self.assertIn("cannot be reached", page['files'][0]['reason'])
        for content in [None, b'PK\x03\x04 nothing', archive([])]:
            with self.assertRaises(UploadError):
                self.upload(server, 'bad.zip', content)
        with patch.object(upload, 'MAX_FILES', 1):
            with self.assertRaises(UploadError):
                self.upload(server, 'x', frame(dicom(), dicom()))
        server.validated = False
        server.save()
        with self.assertRaises(UploadError):
            self.upload(server, 'one.dcm', dicom())

    @with_transaction()
    def test_read_only(self):
        "Test a server that says that it stores nothing"
        with proxy(self.orthanc.url) as link:
            link.fault = lambda handler: handler.path == '/system' and (
                handler.reply({'ReadOnly': True, 'Version': '1.12.5'}))
            with self.assertRaises(ReadOnlyServerError):
                self.upload(self.real_server(link.url), 'x', dicom())
            self.assertEqual(link.asked, 1)

    @with_transaction()
    def test_link_drops(self):
        "Test that a file is sent once more, and no more often"
        server_files = list(study(instances=3))
        posts = []

        def drop(handler):
            if handler.command == 'POST':
                posts.append(handler.path)
                if len(posts) in dropped:
                    if stores:
                        handler.forward()
                    return handler.hang_up()

        with proxy(self.orthanc.url) as link, \
                patch.object(uploader, 'PAUSE', 0):
            link.fault = drop
            server = self.real_server(link.url)
            for stores, dropped, states in [
                    (True, {2}, ['stored'] * 3),
                    (False, {2}, ['stored'] * 3),
                    (False, {2, 3}, ['stored', 'refused', 'refused'])]:
                with self.subTest(stores=stores, dropped=dropped):
                    self.orthanc.clear()
                    posts.clear()
                    page = self.upload(server, 'x', frame(*server_files))
                    self.assertEqual(
                        [f['state'] for f in page['files']], states)

    @with_transaction()
    def test_many(self):
        "Test 300 files, ten of them broken, on a link that drops once"
        pool = Pool()
        Study = pool.get('gnuhealth.imaging_orthanc.study')
        self.hospital()
        request = self.request()
        files = [
            ('IM%03d' % n, self.matching(request, InstanceNumber=n))
            for n in range(290)]
        files += [('broken%d' % n, dicom()[:600 + n]) for n in range(10)]
        dropped = []

        def drop(handler):
            if handler.command == 'POST' and handler.server.asked == 150:
                dropped.append(handler.path)
                return handler.hang_up()

        with proxy(self.orthanc.url) as link:
            link.fault = drop
            page = self.upload(
                self.real_server(link.url), 'all.zip', archive(files),
                request=request.id)
            self.work()
        self.assertTrue(dropped)
        self.assertEqual((page['stored'], page['refused']), (290, 10))
        self.assertEqual(
            {f['name'] for f in page['files'] if f['reason']},
            {'broken%d' % n for n in range(10)})
        found, = Study.search([])
        self.assertEqual(found.instance_count, 290)
        self.assertEqual(found.request, request)

    @with_transaction()
    def test_rights(self):
        "Test that one may not upload for what one may not see"
        self.hospital()
        request = self.request()
        server = self.real_server()
        user = create_user(
            'orthanc', 'health_orthanc.group_imaging_orthanc')
        with Transaction().set_user(user.id), \
                Transaction().set_context(_check_access=True):
            Wizard, page = self.start()
            self.assertFalse(page['choosable'])
            with self.assertRaises(AccessError):
                self.upload(server, 'x', dicom(), request=request.id)
            with self.assertRaises(AccessError):
                self.start(request)
        self.assertFalse(json.loads(
                Pool().get('ir.session.wizard').search([])[0].data or '{}'
                ).get('done'))
