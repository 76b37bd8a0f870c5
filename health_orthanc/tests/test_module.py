# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import datetime as dt
import io
import json
import zipfile
from unittest.mock import patch

from cryptography.fernet import Fernet
from sql import Column, Table

from trytond.config import config
from trytond.model.exceptions import (
    AccessButtonError, AccessError, DomainValidationError)
from trytond.modules.health_imaging.tests.tools import (
    company_context, create_hospital, create_patient, create_professional,
    create_test, create_user)
from trytond.modules.health_orthanc.exceptions import (
    NoResultError, NoViewerError, OrthancServerError, ReadonlyFieldError,
    ServerCopyError, ServerURLError, UploadError)
from trytond.pool import Pool
from trytond.tests.test_tryton import ModuleTestCase, with_transaction
from trytond.transaction import Transaction

from .fake import PNG, fake_orthanc

ORTHANC = 'health_orthanc.group_imaging_orthanc'
ORTHANC_ADMIN = 'health_orthanc.group_imaging_orthanc_admin'
IMAGING = 'health_imaging.group_health_imaging'
DOCTOR = 'health.group_health_doctor'
FRONT_DESK = 'health.group_health_frontdesk'
STUDY_UID = '1.2.826.0.1.3680043.10.1.1'


class HealthOrthancTestCase(ModuleTestCase):
    "Test Health Orthanc module"
    module = 'health_orthanc'
    extras = ['health_imaging_worklist']

    def hospital(self):
        institution = create_hospital()
        Transaction().set_context(company_context())
        create_professional(
            "Cara", "Cordara", user=Transaction().user,
            institution=institution)
        self.patient = create_patient()
        self.test = create_test()

    def server(self, url='https://pacs.example.org/orthanc', **values):
        Server = Pool().get('gnuhealth.orthanc.config')
        server, = Server.create([{
                    'label': "PACS",
                    'domain': url,
                    'user': 'ana',
                    'password': 'a-test-password',
                    'validated': True,
                    **values,
                    }])
        return server

    def study(self, server, **values):
        pool = Pool()
        Study = pool.get('gnuhealth.imaging_orthanc.study')
        Series = pool.get('gnuhealth.imaging_orthanc.study_series')
        Instance = pool.get('gnuhealth.imaging_orthanc.series_instances')
        study, = Study.create([{
                    'server_config': server.id,
                    'orthanc_UID': 'orthanc-study',
                    'study_instance_UID': STUDY_UID,
                    'patient_name': 'BETZ^ANA',
                    'patient_id': 'TST001GNU',
                    'study_date': dt.date(2026, 3, 4),
                    'series_count': 1,
                    'instance_count': 2,
                    **values,
                    }])
        series, = Series.create([{
                    'study': study.id,
                    'orthanc_UID': 'orthanc-series',
                    'series_UID': STUDY_UID + '.2',
                    'series_number': '2',
                    'modality': 'CT',
                    'instance_count': 2,
                    }])
        Instance.create([{
                    'series': series.id,
                    'orthanc_UID': 'orthanc-' + name,
                    'sop_instance_UID': f'{STUDY_UID}.2.{number}',
                    'instance_number': number,
                    'image_position_patient': '0\\0\\5',
                    } for number, name in [(1, 'image'), (2, 'report')]])
        return Study(study.id)

    def result(self, patient=None):
        Request = Pool().get('gnuhealth.imaging.test.request')
        request = Request(
            patient=patient or self.patient, requested_test=self.test)
        request.save()
        Request.requested([request])
        result, = Request.create_results([request])
        return result

    def wizard(self, name, record=None):
        Wizard = Pool().get(name, type='wizard')
        if record is not None:
            Transaction().set_context(
                active_model=record.__name__, active_id=record.id,
                active_ids=[record.id])
        session_id, start, _ = Wizard.create()
        return Wizard, session_id

    def connect(self, **values):
        Wizard, session_id = self.wizard(
            'gnuhealth.imaging_orthanc.wizard.orthanc_new_connect')
        start = {
            'label': "PACS", 'user': 'ana', 'password': 'a-test-password'}
        answer = Wizard.execute(
            session_id, {'start': {**start, **values}}, 'connect')
        Session = Pool().get('ir.session.wizard')
        self.assertNotIn('a-test-password', Session(session_id).data)
        view = answer['view']
        return view['state'], {**view['defaults'], **view['values']}

    def audit(self):
        Audit = Pool().get('gnuhealth.orthanc.audit')
        return Audit.search([])

    def tasks(self, method):
        Queue = Pool().get('ir.queue')
        return sum(q.data['method'] == method for q in Queue.search([]))

    def secret(self, server):
        table = Table('gnuhealth_orthanc_config')
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.select(
                table.secret, where=table.id == server.id))
        return cursor.fetchone()[0]

    @with_transaction()
    def test_add_server(self):
        Server = Pool().get('gnuhealth.orthanc.config')
        with fake_orthanc() as orthanc:
            state, page = self.connect(domain=orthanc.url + '/')
        self.assertEqual(state, 'success')
        self.assertEqual(page['orthanc_version'], '1.10.1')
        self.assertEqual(page['studies'], 3)
        self.assertEqual(page['plugins'], 'dicom-web, explorer.js')
        server = Server(page['server'])
        self.assertEqual(server.domain, orthanc.url)
        self.assertTrue(server.validated)
        self.assertEqual(server._get_secret(), 'a-test-password')

    @with_transaction()
    def test_add_server_errors(self):
        Server = Pool().get('gnuhealth.orthanc.config')
        with fake_orthanc() as orthanc:
            for values, words in [
                    ({'domain': orthanc.url, 'password': 'wrong'},
                        "refused the user name"),
                    ({'domain': orthanc.url + '/nowhere'}, "does not know"),
                    ({'domain': 'ftp://pacs.example.org'}, "http://"),
                    ({'domain': 'http://ana:b@pacs.example.org'}, "http://"),
                    ({'domain': 'http://127.0.0.1:1'}, "cannot be reached"),
                    ]:
                with self.subTest(values=values):
                    state, page = self.connect(**values)
                    self.assertEqual(state, 'error')
                    self.assertIn(words, page['message'])
        self.assertFalse(Server.search([]))

    @with_transaction()
    def test_add_archived_server(self):
        Server = Pool().get('gnuhealth.orthanc.config')
        with fake_orthanc() as orthanc:
            archived = Server.from_url(orthanc.url)
            self.assertFalse(archived.active)
            state, page = self.connect(domain=orthanc.url)
            self.assertEqual((state, page['server']), ('success', archived.id))
            state, page = self.connect(domain=orthanc.url, label="Other")
            self.assertEqual(state, 'error')
        self.assertEqual(Server(archived.id).label, "PACS")

    @with_transaction()
    def test_server_password(self):
        Server = Pool().get('gnuhealth.orthanc.config')
        server = self.server()
        self.assertIsNone(server.password)
        self.assertEqual(self.secret(server), 'plain:a-test-password')
        self.assertIn("clear", server.password_state)
        Server.write([server], {'password': ''})
        self.assertEqual(server._get_secret(), 'a-test-password')
        key = Fernet.generate_key().decode()
        config.add_section('health_orthanc')
        config.set('health_orthanc', 'encryption_keys', key)
        try:
            Server.write([server], {'password': 'another'})
            self.assertNotIn('another', self.secret(server))
            self.assertEqual(Server(server.id).password_state, "Encrypted")
            self.assertEqual(server._get_secret(), 'another')
        finally:
            config.remove_section('health_orthanc')
        check = server._check()
        self.assertFalse(check['validated'])
        self.assertIn("cannot be decrypted", check['validation_message'])
        self.assertNotIn('secret', Server._fields)
        exported = Server.export_data([server], list(Server._fields))
        self.assertNotIn('another', str(exported))

    @with_transaction()
    def test_server_change_is_checked(self):
        Server = Pool().get('gnuhealth.orthanc.config')
        with fake_orthanc() as orthanc:
            server = self.server(orthanc.url)
            Server.write([server], {'label': "Archive"})
            self.assertTrue(server.validated)
            for values in [
                    {'domain': orthanc.url + '/x'}, {'user': 'bea'},
                    {'password': 'new'}]:
                with self.subTest(values=values):
                    Server.write([server], {'validated': True})
                    tasks = self.tasks('check_connection')
                    Server.write([server], values)
                    self.assertFalse(Server(server.id).validated)
                    self.assertEqual(
                        self.tasks('check_connection'), tasks + 1)
            Server.write([server], {
                    'domain': orthanc.url,
                    'user': 'ana',
                    'password': 'a-test-password',
                    })
            Server.check_connection([server])
            self.assertTrue(Server(server.id).validated)
            self.assertTrue(server.last_contact)
            orthanc.credentials = 'ana', 'changed'
            Server.check_connection([server])
        self.assertFalse(Server(server.id).validated)
        self.assertIn("refused", Server(server.id).validation_message)

    @with_transaction()
    def test_server_urls(self):
        server = self.server()
        for url in [
                'pacs.example.org', 'file:///etc/passwd', 'http://',
                'http://a:b@pacs.example.org', 'http://pacs.example.org/?x=1',
                'http://pacs.example.org:99999', 'gopher://pacs.example.org',
                ]:
            with self.subTest(url=url):
                with self.assertRaises(ServerURLError):
                    server.domain = url
                    server.save()

    @with_transaction()
    def test_server_remove(self):
        Server = Pool().get('gnuhealth.orthanc.config')
        server = self.server()
        study = self.study(server)
        with self.assertRaises(ServerCopyError):
            Server.copy([server])
        Server.remove_config_server([server])
        server = Server(server.id)
        self.assertFalse(server.active or server.validated or server.user)
        self.assertIsNone(self.secret(server))
        self.assertEqual(study.server_config, server)

    @with_transaction()
    def test_study_server_url(self):
        pool = Pool()
        Study = pool.get('gnuhealth.imaging_orthanc.study')
        Series = pool.get('gnuhealth.imaging_orthanc.study_series')
        server = self.server()
        study = self.study(server)
        self.assertEqual(study.server, server.domain)
        self.assertEqual(study.series[0].server, server.domain)
        for Model, record in [(Study, study), (Series, study.series[0])]:
            self.assertEqual(
                Model.search([('server', '=', server.domain)]), [record])
            self.assertEqual(
                Model.search([('server', 'like', '%nowhere%')]), [])
        self.assertEqual(
            Study.search([], order=[('server', 'ASC')]), [study])
        other, = Study.create([{
                    'server': 'http://unknown.example.org',
                    'orthanc_UID': 'other',
                    'study_instance_UID': '1.2.3',
                    }])
        self.assertFalse(other.server_config.active)
        self.assertFalse(other.server_config.validated)
        other.server = server.domain
        other.save()
        self.assertEqual(Study(other.id).server_config, server)

    @with_transaction()
    def test_links(self):
        server = self.server(proxy_domain='https://viewer.example.org/')
        study = self.study(server)
        series, = study.series
        base = 'https://viewer.example.org'
        self.assertEqual(
            study.ohif_viewer_link,
            f'{base}/ohif/viewer?StudyInstanceUIDs={STUDY_UID}')
        self.assertEqual(
            series.stone_viewer_link,
            f'{base}/stone-webviewer/index.html?study={STUDY_UID}'
            f'&series={STUDY_UID}.2')
        self.assertEqual(
            study.orthanc_explorer_link,
            f'{base}/app/explorer.html#study?uuid=orthanc-study')
        bad = self.study(
            server, orthanc_UID='bad', study_instance_UID='1.2&x=<script>')
        self.assertIsNone(bad.ohif_viewer_link)
        self.assertIsNone(bad.stone_viewer_link)

    @with_transaction()
    def test_open_viewer(self):
        self.hospital()
        study = self.study(self.server(), patient=self.patient.id)
        Wizard, session_id = self.wizard(
            'gnuhealth.orthanc.open_viewer', study.series[0])
        answer = Wizard.execute(
            session_id, {'start': {'viewer': 'ohif'}}, 'open_')
        (action, _), = answer['actions']
        self.assertEqual(action['type'], 'ir.action.url')
        self.assertEqual(action['url'], study.series[0].ohif_viewer_link)
        entry, = self.audit()
        self.assertEqual(entry.event, 'view')
        self.assertEqual(entry.patient, self.patient)
        self.assertEqual(entry.series_uid, study.series[0].series_UID)
        self.assertEqual(entry.user.id, Transaction().user)
        type(study).mark_missing([study])
        with self.assertRaises(NoViewerError):
            Wizard.execute(session_id, {'start': {'viewer': 'ohif'}}, 'open_')

    @with_transaction()
    def test_person_links(self):
        Study = Pool().get('gnuhealth.imaging_orthanc.study')
        self.hospital()
        study = self.study(self.server(), to_verify=True)
        result = self.result()
        study.imaging_test = result
        study.on_change_imaging_test()
        self.assertEqual(study.patient, self.patient)
        study.save()
        study = Study(study.id)
        self.assertEqual(study.link_origin, 'person')
        self.assertEqual(study.request, result.request)
        self.assertFalse(study.to_verify)
        self.assertEqual(result.orthanc_studies, (study,))
        other = create_patient("Bea", "Cole", 'TST002GNU')
        with self.assertRaises(DomainValidationError):
            Study.write([study], {'patient': other.id})

    @with_transaction()
    def test_person_unlinks(self):
        Study = Pool().get('gnuhealth.imaging_orthanc.study')
        self.hospital()
        study = self.study(
            self.server(), patient=self.patient.id, link_origin='uid')
        Study.write([study], {'patient': None})
        self.assertEqual(Study(study.id).link_origin, 'person')
        self.assertEqual([a.event for a in self.audit()], ['unlink'])

    @with_transaction()
    def test_result_links_arrived_studies(self):
        Study = Pool().get('gnuhealth.imaging_orthanc.study')
        Request = Pool().get('gnuhealth.imaging.test.request')
        self.hospital()
        request = Request(patient=self.patient, requested_test=self.test)
        request.save()
        Request.requested([request])
        server = self.server()
        study = self.study(
            server, request=request.id, patient=self.patient.id,
            link_origin='uid')
        contrary = self.study(
            server, orthanc_UID='contrary', request=request.id,
            patient=create_patient("Bea", "Cole", 'TST002GNU').id)
        result, = Request.create_results([request])
        self.assertEqual(Study(study.id).imaging_test, result)
        self.assertEqual(Study(study.id).link_origin, 'uid')
        self.assertIsNone(Study(contrary.id).imaging_test)
        self.assertFalse(self.audit())

    @with_transaction()
    def test_picture(self):
        Instance = Pool().get('gnuhealth.imaging_orthanc.series_instances')
        with fake_orthanc() as orthanc:
            study = self.study(self.server(orthanc.url))
            image, report = study.series[0].instances
            with Transaction().set_context({
                        f'{Instance.__name__}.image': 'size'}):
                self.assertGreater(Instance(image.id).image, 0)
            self.assertFalse(orthanc.asked)
            self.assertEqual(bytes(Instance(image.id).image), PNG)
            self.assertIsNone(Instance(report.id).image)
        with self.assertRaises(OrthancServerError):
            Instance(image.id).image

    @with_transaction()
    def test_attach(self):
        Instance = Pool().get('gnuhealth.imaging_orthanc.series_instances')
        self.hospital()
        with fake_orthanc() as orthanc:
            study = self.study(self.server(orthanc.url))
            image = study.series[0].instances[0]
            with self.assertRaises(NoResultError):
                Instance.attach_image_to_imaging_test_report([image])
            study.imaging_test = self.result()
            study.patient = self.patient
            study.save()
            image = Instance(image.id)
            self.assertFalse(image.attached)
            Instance.attach_image_to_imaging_test_report([image])
            Instance.attach_image_to_imaging_test_report([Instance(image.id)])
        attachment, = study.imaging_test.images
        self.assertEqual(bytes(attachment.data), PNG)
        self.assertEqual(
            attachment.description.splitlines(), [
                "2 CT", "Instance Number: 1",
                "Image Position Patient: 0\\0\\5"])
        self.assertTrue(Instance(image.id).attached)

    def delete(self, record, **values):
        Wizard, session_id = self.wizard('gnuhealth.orthanc.delete', record)
        answer = Wizard.execute(session_id, {}, 'start')
        self.assertIn("BETZ^ANA", answer['view']['defaults']['what'])
        return Wizard.execute(session_id, {'start': values}, 'delete_')

    @with_transaction()
    def test_delete_study(self):
        Study = Pool().get('gnuhealth.imaging_orthanc.study')
        with fake_orthanc() as orthanc:
            study = self.study(self.server(orthanc.url), notes="A note")
            action = Study.delete_study([study])
            self.assertTrue(action)
            self.delete(study, reason='other', comment="A test")
            self.assertEqual(
                orthanc.asked, [('DELETE', '/studies/orthanc-study')])
        study = Study(study.id)
        self.assertTrue(study.missing_since)
        self.assertTrue(study.series[0].missing_since)
        self.assertFalse(study.series[0].instances)
        self.assertEqual(study.notes, "A note")
        entry, = self.audit()
        self.assertEqual(
            (entry.event, entry.reason, entry.study_uid),
            ('delete', "Other: A test", STUDY_UID))

    @with_transaction()
    def test_delete_series_fails(self):
        with fake_orthanc() as orthanc:
            orthanc.read_only = True
            study = self.study(self.server(orthanc.url))
            series, = study.series
            answer = self.delete(series, reason='quality')
            message = answer['view']['defaults']['message']
            self.assertIn("was not deleted", message)
            self.assertEqual(
                orthanc.asked, [('DELETE', '/series/orthanc-series')])
        self.assertIsNone(type(series)(series.id).missing_since)
        self.assertTrue(series.instances)
        self.assertFalse(self.audit())

    def upload(self, server, name, content):
        Wizard, session_id = self.wizard(
            'gnuhealth.imaging_orthanc.upload_image_data')
        answer = Wizard.execute(session_id, {'start': {
                    'server_config': server.id,
                    'data_to_upload': content,
                    'file_name': name,
                    }}, 'upload')
        Session = Pool().get('ir.session.wizard')
        data = json.loads(Session(session_id).data)
        self.assertIsNone(data['start']['data_to_upload'])
        page = answer['view']['defaults']
        return {f['name']: f['state'] for f in page['files']}, page

    @with_transaction()
    def test_upload(self):
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, 'w') as file:
            for name, content in [
                    ('a/1.dcm', b'DICM one'), ('a/2.dcm', b'DICM two'),
                    ('readme.txt', b'Nothing'), ('empty', b''),
                    ('__MACOSX/1', b'x')]:
                file.writestr(name, content)
        with fake_orthanc() as orthanc:
            server = self.server(orthanc.url)
            states, _ = self.upload(server, 'one.dcm', b'DICM one')
            self.assertEqual(states, {'one.dcm': 'stored'})
            states, page = self.upload(
                server, 'all.zip', archive.getvalue())
        self.assertEqual(states, {
                'a/1.dcm': 'known', 'a/2.dcm': 'stored',
                'readme.txt': 'refused', 'empty': 'refused'})
        self.assertEqual(
            (page['stored'], page['known'], page['refused']), (1, 1, 2))
        self.assertEqual([a.event for a in self.audit()], ['upload'] * 2)
        self.assertEqual(self.tasks('execute'), 2)

    @with_transaction()
    def test_upload_errors(self):
        server = self.server('http://127.0.0.1:1')
        states, page = self.upload(server, 'one.dcm', b'DICM one')
        self.assertEqual(states, {'one.dcm': 'refused'})
        self.assertIn("cannot be reached", page['files'][0]['reason'])
        with self.assertRaises(UploadError):
            self.upload(server, 'bad.zip', b'PK\x03\x04 nothing')
        with patch('trytond.modules.health_orthanc.upload.MAX_FILES', 0):
            archive = io.BytesIO()
            with zipfile.ZipFile(archive, 'w') as file:
                file.writestr('a', b'DICM')
            with self.assertRaises(UploadError):
                self.upload(server, 'a.zip', archive.getvalue())
        server.validated = False
        server.save()
        with self.assertRaises(UploadError):
            self.upload(server, 'one.dcm', b'DICM one')

    @with_transaction()
    def test_upgrade_servers(self):
        "Passwords and positions of GNU Health 5.0 are taken over"
        pool = Pool()
        Server = pool.get('gnuhealth.orthanc.config')
        Cursor = pool.get('gnuhealth.orthanc.sync.cursor')
        server = self.server(password=None)
        table_h = Server.__table_handler__('health_orthanc')
        table_h.add_column('password', 'VARCHAR')
        table_h.add_column('last_changed_index', 'INTEGER')
        table = Table(Server._table)
        Transaction().connection.cursor().execute(*table.update(
                [table.password, table.last_changed_index],
                ['an-old-password', 42], where=table.id == server.id))
        for Model in [Server, Cursor]:
            Model.__register__('health_orthanc')
        self.assertEqual(server._get_secret(), 'an-old-password')
        self.assertEqual(Server(server.id).last_changed_index, 42)
        cursor, = Cursor.search([])
        self.assertFalse(cursor.complete)
        for name in ['password', 'last_changed_index']:
            self.assertFalse(
                Server.__table_handler__('health_orthanc').column_exist(name))

    @with_transaction()
    def test_upgrade_studies(self):
        "The URL text of GNU Health 5.0 becomes a link; no study is lost"
        Study = Pool().get('gnuhealth.imaging_orthanc.study')
        self.hospital()
        server = self.server()
        url = server.domain
        table_h = Study.__table_handler__('health_orthanc')
        table_h.add_column('server', 'VARCHAR')
        table_h.not_null_action('server_config', action='remove')
        table_h.drop_constraint('server_orthanc_unique')
        table = Table(Study._table)
        columns = [
            'id', 'orthanc_UID', 'study_instance_UID', 'server', 'date',
            'patient', 'notes']
        Transaction().connection.cursor().execute(*table.insert(
                [Column(table, c) for c in columns], [
                    [1, 'a', '1.1', url, '20240105', self.patient.id, None],
                    [2, 'b', '1.2', 'http://gone.example.org', 'x', None, ''],
                    [3, 'c', '1.3', url, None, None, None],
                    [4, 'c', '1.3', url + '/', '2024-02-06', None, "A note"],
                    ]))
        Study.__register__('health_orthanc')
        studies = {s.id: s for s in Study.search([])}
        self.assertEqual(studies.keys(), {1, 2, 4})
        self.assertEqual(studies[1].server_config, server)
        self.assertEqual(studies[1].study_date, dt.date(2024, 1, 5))
        self.assertEqual(studies[1].link_origin, 'person')
        self.assertEqual(studies[2].date, 'x')
        self.assertIsNone(studies[2].study_date)
        gone = studies[2].server_config
        self.assertEqual(gone.domain, 'http://gone.example.org')
        self.assertFalse(gone.active or gone.validated)
        self.assertEqual(studies[4].server_config, server)
        self.assertEqual(studies[4].notes, "A note")
        self.assertFalse(
            Study.__table_handler__('health_orthanc').column_exist('server'))

    @with_transaction()
    def test_orthanc_patients(self):
        pool = Pool()
        OrthancPatient = pool.get('gnuhealth.orthanc.patient')
        Patient = pool.get('gnuhealth.patient')
        self.hospital()
        server = self.server()
        orthanc_patient, = OrthancPatient.create([{
                    'server': server.id,
                    'uuid': 'orthanc-patient',
                    'name': 'BETZ^ANA',
                    'ident': 'TST001GNU',
                    'bd': dt.date(1985, 10, 4),
                    'sex': 'F',
                    }])
        study = self.study(server, orthanc_patient=orthanc_patient.id)
        self.assertEqual(OrthancPatient(orthanc_patient.id).study_count, 1)
        self.assertEqual(study.patient_birth_date, dt.date(1985, 10, 4))
        self.assertEqual(study.patient_sex, 'F')
        self.assertFalse(Patient.search([('orthanc_studies', '!=', None)]))
        OrthancPatient.write([orthanc_patient], {'patient': self.patient.id})
        study = type(study)(study.id)
        self.assertEqual(study.patient, self.patient)
        self.assertEqual(study.link_origin, 'person')
        self.assertEqual(
            Patient.search([('orthanc_studies', '!=', None)]), [self.patient])

    @with_transaction()
    def test_rights(self):
        pool = Pool()
        Server = pool.get('gnuhealth.orthanc.config')
        Study = pool.get('gnuhealth.imaging_orthanc.study')
        Access = pool.get('ir.model.access')
        self.hospital()
        server = self.server()
        study = self.study(server)
        users = {
            None: create_user('nobody'),
            FRONT_DESK: create_user('desk', FRONT_DESK),
            DOCTOR: create_user('doctor', DOCTOR),
            ORTHANC: create_user('orthanc', ORTHANC),
            ORTHANC_ADMIN: create_user('orthanc_admin', ORTHANC_ADMIN),
            }
        for group, read, write, delete, admin in [
                (None, False, False, False, False),
                (FRONT_DESK, False, False, False, False),
                (DOCTOR, True, True, False, False),
                (ORTHANC, True, True, False, False),
                (ORTHANC_ADMIN, True, True, True, True),
                ]:
            for number, (action, may) in enumerate([
                    (lambda: Study.read([study.id], ['notes']), read),
                    (lambda: Study.write([study], {'notes': "x"}), write),
                    (lambda: Study.delete_study([study]), delete),
                    (lambda: Access.check(Study.__name__, 'delete'), False),
                    (lambda: Study.create([{}]), False),
                    (lambda: Server.read([server.id], ['label']), read),
                    (lambda: Server.read([server.id], ['user']), admin),
                    (lambda: Server.write([server], {'label': "x"}), admin),
                    ]):
                with self.subTest(group=group, action=number), \
                        Transaction().set_user(users[group].id), \
                        Transaction().set_context(_check_access=True):
                    if may:
                        action()
                    else:
                        with self.assertRaises(
                                (AccessError, AccessButtonError)):
                            action()

    @with_transaction()
    def test_mirror_is_read_only(self):
        self.hospital()
        study = self.study(self.server())
        user = create_user('imaging', IMAGING)
        with Transaction().set_user(user.id), \
                Transaction().set_context(_check_access=True):
            for record, values in [
                    (study, {'study_instance_UID': '1.2.3'}),
                    (study, {'link_origin': 'uid'}),
                    (study.series[0], {'modality': 'MR'}),
                    ]:
                with self.subTest(values=values):
                    with self.assertRaises(ReadonlyFieldError):
                        type(record).write([record], values)


del ModuleTestCase
