# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import datetime as dt

from sql import Column, Table

from trytond.model.exceptions import AccessButtonError, AccessError
from trytond.modules.health_imaging.tests.tools import (
    create_patient, create_user)
from trytond.modules.health_orthanc.exceptions import ReadonlyFieldError
from trytond.pool import Pool
from trytond.tests.test_tryton import ModuleTestCase, with_transaction
from trytond.transaction import Transaction

from .tools import ImagingMixin

ORTHANC = 'health_orthanc.group_imaging_orthanc'
ORTHANC_ADMIN = 'health_orthanc.group_imaging_orthanc_admin'
IMAGING = 'health_imaging.group_health_imaging'
DOCTOR = 'health.group_health_doctor'
FRONT_DESK = 'health.group_health_frontdesk'


class HealthOrthancTestCase(ImagingMixin, ModuleTestCase):
    "Test Health Orthanc module"
    module = 'health_orthanc'
    extras = ['health_imaging_worklist']

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
    def test_upgrade_duplicates(self):
        "What was twice is once, with all that people added to either"
        pool = Pool()
        Attachment = pool.get('ir.attachment')
        Study = pool.get('gnuhealth.imaging_orthanc.study')
        Series = pool.get('gnuhealth.imaging_orthanc.study_series')
        Instance = pool.get('gnuhealth.imaging_orthanc.series_instances')
        self.hospital()
        server = self.server()
        other = create_patient("Kim", "Kent", 'TST002GNU')
        for Model, constraint in [
                (Study, 'server_orthanc_unique'),
                (Series, 'study_orthanc_unique'),
                (Instance, 'series_orthanc_unique')]:
            Model.__table_handler__('health_orthanc').drop_constraint(
                constraint)
        table_h = Study.__table_handler__('health_orthanc')
        table_h.add_column('server', 'VARCHAR')
        table_h.not_null_action('server_config', action='remove')

        def insert(Model, names, *rows):
            table = Table(Model._table)
            Transaction().connection.cursor().execute(*table.insert(
                    [Column(table, n) for n in names], list(map(list, rows))))

        insert(Study, [
                'id', 'orthanc_UID', 'study_instance_UID', 'server', 'notes',
                'merge_comment', 'patient'],
            (1, 'a', '1.1', server.domain, "One", "by hand", None),
            (2, 'a', '1.1', server.domain + '/', "Two", "again",
                self.patient.id),
            (3, 'b', '1.2', server.domain, None, None, self.patient.id),
            (4, 'b', '1.2', server.domain + '/', "Four", None, other.id))
        insert(Series, ['id', 'study', 'orthanc_UID', 'series_UID', 'notes'],
            (1, 1, 's', '1.1.1', "First"), (2, 2, 's', '1.1.1', "Second"),
            (3, 1, 't', '1.1.2', "Third"))
        insert(Instance, ['id', 'series', 'orthanc_UID', 'sop_instance_UID'],
            (1, 1, 'i', '1.1.1.1'), (2, 2, 'i', '1.1.1.1'),
            (3, 1, 'j', '1.1.1.2'))
        Attachment.create([{'name': str(i), 'resource': str(Study(i))}
                for i in (1, 2)])
        for Model in [Study, Series, Instance]:
            Model.__register__('health_orthanc')
        studies = {s.id: s for s in Study.search([])}
        self.assertEqual(studies.keys(), {2, 4})
        study = studies[2]
        self.assertEqual(study.notes, "One\nTwo")
        self.assertEqual(study.merge_comment, "by hand; again")
        self.assertEqual(study.patient, self.patient)
        self.assertFalse(study.to_verify)
        self.assertTrue(studies[4].to_verify)
        self.assertEqual(studies[4].notes, "Four")
        self.assertEqual(
            {(s.orthanc_UID, s.notes) for s in study.series},
            {('s', "First\nSecond"), ('t', "Third")})
        self.assertEqual(
            sorted(i.orthanc_UID for s in study.series for i in s.instances),
            ['i', 'j'])
        self.assertEqual(
            len(Attachment.search([('resource', '=', str(study))])), 2)

    @with_transaction()
    def test_upgrade_server_with_slash(self):
        "A URL is that of the server that has it to the letter"
        Study = Pool().get('gnuhealth.imaging_orthanc.study')
        plain = self.server(domain='http://x.example.org')
        slash = self.server(label="Slash", domain='http://x.example.org/')
        gone = 'http://gone.example.org'
        table_h = Study.__table_handler__('health_orthanc')
        table_h.add_column('server', 'VARCHAR')
        table_h.not_null_action('server_config', action='remove')
        table = Table(Study._table)
        urls = [plain.domain, slash.domain, gone, gone + '/']
        Transaction().connection.cursor().execute(*table.insert(
                [Column(table, n) for n in [
                        'orthanc_UID', 'study_instance_UID', 'server']],
                [[str(n), '1.1', url] for n, url in enumerate(urls)]))
        Study.__register__('health_orthanc')
        self.assertEqual(
            [s.server for s in Study.search([], order=[('id', 'ASC')])], urls)

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
    def test_menus(self):
        "The Orthanc group alone sees Orthanc, and nothing that refuses"
        Menu = Pool().get('ir.ui.menu')
        self.hospital()
        user = create_user('orthanc', ORTHANC)
        with Transaction().set_user(user.id), \
                Transaction().set_context(_check_access=True):
            self.assertEqual({
                    m.name for m in Menu.search([
                            ('parent.name', '=', "Medical Imaging"),
                            ('parent.parent.name', '=', "Health")])},
                {"Orthanc"})

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
