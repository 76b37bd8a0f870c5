# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import unittest

from lxml import etree

from trytond.model.exceptions import AccessError, ValidationError
from trytond.modules.health_imaging.tests.tools import create_user
from trytond.modules.health_orthanc.exceptions import (
    NoViewerError, ViewerTemplateError)
from trytond.modules.health_orthanc.tickets import unseal
from trytond.pool import Pool
from trytond.tests.test_tryton import activate_module, with_transaction
from trytond.transaction import Transaction, check_access

from .fake import fake_orthanc
from .tools import STUDY_UID, ImagingMixin

OWN = '{base_url}own/{study_uid}'


class ViewerTestCase(ImagingMixin, unittest.TestCase):
    "Test the viewers that servers offer"

    @classmethod
    def setUpClass(cls):
        activate_module(['health_orthanc', 'health_imaging_worklist'])

    def viewer(self, server, **values):
        Viewer = Pool().get('gnuhealth.orthanc.viewer')
        viewer, = Viewer.create([{
                    'server': server.id,
                    'name': "Own",
                    'template': OWN,
                    **values,
                    }])
        return viewer

    def open_(self, record, viewer):
        Wizard, session_id = self.wizard(
            'gnuhealth.orthanc.open_viewer', record)
        answer = Wizard.execute(
            session_id, {'start': {'viewer': str(viewer)}}, 'open_')
        return answer['actions'][0][0]['url']

    def asked(self, record):
        "The page of the wizard: its default, and what may be chosen"
        Ask = Pool().get('gnuhealth.orthanc.open_viewer.ask')
        Wizard, session_id = self.wizard(
            'gnuhealth.orthanc.open_viewer', record)
        values = Wizard.execute(session_id, {}, 'start')['view']['defaults']
        ask = Ask(server=values['server'], level=values['level'])
        return values['viewer'], [name for _, name in ask.get_viewers()]

    @with_transaction()
    def test_refused_templates(self):
        "Test that a template which is none is refused with the reason"
        server = self.server()
        viewer = self.viewer(server)
        for values, words in [
                ({'template': 'javascript:alert("{study_uid}")'}, "http://"),
                ({'template': 'data:,{study_uid}'}, "http://"),
                ({'template': '{base_url}{patient}{study_uid}'},
                    "{patient}"),
                ({'template': '{base_url}{study_uid}{'}, "has {"),
                ({'template': 'https://a:b@v.example.org/{study_uid}'},
                    "password"),
                ({'template': '{base_url}'}, "{study_uid} or {orthanc_id}"),
                ({'level': 'series'}, "{series_uid} or {orthanc_id}"),
                ({'template': OWN + '{series_uid}'}, "take it out"),
                ({'template': OWN + '?t={token}'}, "tick Viewer Token"),
                ]:
            with self.subTest(values=values):
                with self.assertRaises(ViewerTemplateError) as caught:
                    viewer.write([viewer], {
                            'template': OWN, 'level': 'study', **values})
                self.assertIn(words, caught.exception.message)
                self.assertIn('"Own"', caught.exception.message)
                self.assertNotIn('%(', caught.exception.message)
                with self.assertRaises(ViewerTemplateError):
                    self.viewer(server, **values)

    @with_transaction()
    def test_choices(self):
        "Test what the wizard offers, and its default"
        self.hospital()
        server = self.server()
        study = self.study(server)
        series, = study.series
        self.viewer(server, sequence=2)
        self.viewer(server, sequence=1, name="First", level='series',
            template='{base_url}{series_uid}')
        self.viewer(server, name="Old", active=False)
        built_in = ["OHIF", "Stone", "Orthanc Explorer"]
        self.assertEqual(self.asked(study), ('ohif', built_in + ["Own"]))
        self.assertEqual(
            self.asked(series), ('ohif', built_in + ["First", "Own"]))
        server.plugins = 'dicom-web, explorer.js, stone-webviewer'
        server.save()
        self.assertEqual(
            self.asked(study), ('stone', built_in[1:] + ["Own"]))

    @with_transaction()
    def test_open(self):
        "Test that viewers open what they are for, with a row in the audit"
        self.hospital()
        server = self.server(proxy_domain='https://v.example.org')
        study = self.study(server)
        series, = study.series
        own = self.viewer(server)
        of_series = self.viewer(server, name="S", level='series',
            template='weasis://$dicom:rs -r {series_uid} {orthanc_id}')
        self.assertEqual(
            self.open_(study, own.id), f'https://v.example.org/own/{STUDY_UID}')
        self.assertEqual(
            self.open_(series, own.id),
            f'https://v.example.org/own/{STUDY_UID}')
        self.assertEqual(
            self.open_(series, of_series.id),
            'weasis://%24dicom%3Ars%20-r%20' f'{STUDY_UID}.2'
            '%20orthanc-series')
        self.assertEqual([a.detail for a in self.audit()], ["S", "Own", "Own"])
        other = self.viewer(self.server(
                url='https://other.example.org', label="Other"))
        bad = self.study(server, orthanc_UID='bad', study_instance_UID='x')
        for record, viewer in [
                (study, of_series.id), (study, other.id), (bad, own.id),
                (study, 'nothing'), (study, 10 ** 6), (bad, 'ohif')]:
            with self.subTest(record=record, viewer=viewer):
                with self.assertRaises(NoViewerError):
                    self.open_(record, viewer)
        self.assertEqual(len(self.audit()), 3)

    @with_transaction()
    def test_token(self):
        "Test that the token is in what is opened, and nowhere else"
        self.hospital()
        server = self.server(viewer_token=True)
        study = self.study(server)
        own = self.viewer(server, template=OWN + '?t={token}')
        urls = [
            self.open_(study, 'ohif'), self.open_(study.series[0], 'stone'),
            self.open_(study, own.id)]
        for url in urls:
            token = url.rpartition('=')[2].replace('%3D', '=')
            ticket = unseal(server._get_secret('viewer_secret'), token)
            self.assertEqual(ticket.study_uid, STUDY_UID)
            self.assertEqual(ticket.user, Transaction().user)
            self.assertTrue(3590 < ticket.seconds_left() <= 3600)
            self.assertNotIn('a-test-password', url)
        self.assertEqual(len(set(urls)), 3)
        # the page of Orthanc has its own log-in
        self.assertNotIn('token', self.open_(study, 'explorer'))
        self.assertNotIn('token', study.ohif_viewer_link)
        secret = server._get_secret('viewer_secret')
        values, = server.read([server.id], list(server._fields))
        self.assertNotIn(secret, str(values))
        for entry in self.audit():
            self.assertNotIn('gAAAA', f'{entry.detail} {entry.reason}')
        server.viewer_token = False
        server.save()
        self.assertNotIn('token', self.open_(study, 'ohif'))
        with self.assertRaises(NoViewerError):
            self.open_(study, own.id)

    @with_transaction()
    def test_token_minutes(self):
        "Test how long tokens may be valid"
        server = self.server(viewer_token=True)
        for minutes in [0, -1, 1441, None]:
            with self.subTest(minutes=minutes):
                with self.assertRaises(ValidationError):
                    server.write([server], {'token_minutes': minutes})
        server.write([server], {'token_minutes': 5})

    def column_hidden(self, model):
        view = Pool().get(model).fields_view_get(view_type='tree')
        return {
            name: etree.fromstring(view['arch']).find(
                f'field[@name="{name}_viewer_link"]').get('tree_invisible')
            in {'1', 'true'}
            for name in ['ohif', 'stone']}

    @with_transaction()
    def test_plugins(self):
        "Test that links of viewers which the server has not are hidden"
        server = self.server()
        study = self.study(server)
        for plugins, proxy, expected in [
                (None, None, (True, True)),
                ('dicom-web, explorer.js', None, (False, False)),
                ('ohif', None, (True, False)),
                # a script of Orthanc, or the proxy, may have OHIF
                ('python', None, (True, False)),
                ('explorer.js', 'https://v.example.org', (True, False)),
                ('stone-webviewer', None, (False, True)),
                ]:
            with self.subTest(plugins=plugins):
                server.write([server], {
                        'plugins': plugins, 'proxy_domain': proxy})
                for record in [study, study.series[0]]:
                    record = type(record)(record.id)
                    self.assertEqual((
                            bool(record.ohif_viewer_link),
                            bool(record.stone_viewer_link)), expected)
                    self.assertEqual(
                        tuple(self.column_hidden(record.__name__).values()),
                        tuple(not e for e in expected))
                self.assertTrue(study.orthanc_explorer_link)
        # one of two servers has it: the column is there
        self.server(url='https://other.example.org', label="Other")
        self.assertFalse(any(self.column_hidden(study.__name__).values()))

    @with_transaction()
    def test_check_keeps_plugins(self):
        "Test that the check stores the plugins, a new address forgets them"
        Server = Pool().get('gnuhealth.orthanc.config')
        with fake_orthanc() as orthanc:
            server = self.server(url=orthanc.url)
            Server.check_connection([server])
        self.assertTrue(server.validated)
        self.assertEqual(server.plugins, 'dicom-web, explorer.js')
        Server.check_connection([server])
        self.assertFalse(server.validated)
        self.assertEqual(server.plugins, 'dicom-web, explorer.js')
        Server.write([server], {'domain': 'http://127.0.0.1:1'})
        self.assertIsNone(server.plugins)

    @with_transaction()
    def test_old_address(self):
        "Test that links show no password of an old server's address"
        server = self.server()
        table = server.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.update(
                [table.domain], ['https://ana:hushed@pacs.example.org'],
                where=table.id == server.id))
        study = self.study(server)
        for name in ['ohif_viewer_link', 'stone_viewer_link',
                'orthanc_explorer_link', 'link_base_url']:
            self.assertNotIn('hushed', getattr(study, name))
            self.assertNotIn('ana', getattr(study, name))

    @with_transaction()
    def test_rights(self):
        "Test who sees and who sets up the viewers of a server"
        Ask = Pool().get('gnuhealth.orthanc.open_viewer.ask')
        server = self.server()
        viewer = self.viewer(server)
        doctor = create_user('doctor', 'health.group_health_doctor')
        nobody = create_user('nobody')
        admin = create_user('ortadm',
            'health_orthanc.group_imaging_orthanc_admin')
        for user, read, write in [
                (doctor, True, False), (nobody, False, False),
                (admin, True, True)]:
            with self.subTest(user=user.login), \
                    Transaction().set_user(user.id), check_access():
                ask = Ask(server=server.id, level='study')
                for may, call in [
                        (read, lambda: viewer.read([viewer.id], ['name'])),
                        (read, ask.get_viewers),
                        (write, lambda: viewer.write([viewer], {
                                    'name': "Other"})),
                        (write, lambda: viewer.copy([viewer]))]:
                    if may:
                        call()
                    else:
                        with self.assertRaises(AccessError):
                            call()
