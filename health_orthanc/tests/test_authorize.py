# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"Orthanc asks who may read: the service, and the script in a real Orthanc"
import base64
import json
import threading
import unittest
from pathlib import Path
from unittest.mock import patch

import requests
from werkzeug.serving import make_server
from werkzeug.test import Client

from trytond.modules.health_imaging.tests.tools import create_user
from trytond.modules.health_orthanc import tickets
from trytond.pool import Pool
from trytond.transaction import Transaction
from trytond.wsgi import app

from .mirror import CommittingMixin
from .orthanc import PASSWORD, USER, study

PLUGINS = '/usr/share/orthanc/plugins/libOrthanc%s.so'
SCRIPT = Path(__file__).resolve().parents[2].joinpath(
    'his-utils', 'orthanc', 'gnuhealth_authorize.py')


class AuthorizeMixin(CommittingMixin):
    "Two studies of a server that wants tokens, and somebody who sees them"

    def setUp(self):
        super().setUp()
        self.uids = [self.store_study(), self.store_study()]
        self.sync()
        with self.transaction():
            self.Server.write([self.server()], {'viewer_token': True})
            self.key = self.Server.new_notification_key(self.server())
            self.user = create_user(
                self.id(), 'health.group_health_doctor').id

    @property
    def Server(self):
        return Pool(self.database).get('gnuhealth.orthanc.config')

    @property
    def Study(self):
        return Pool(self.database).get('gnuhealth.imaging_orthanc.study')

    def server(self):
        return self.Server(self.server_id)

    def store_study(self):
        files = list(study(1, 2, Rows=16, Columns=16, PixelData=bytes(256)))
        return self.orthanc.store(*files)[0]['ParentStudy']

    def study(self, number=0):
        record, = self.Study.search([
                ('server_config', '=', self.server_id),
                ('orthanc_UID', '=', self.uids[number])])
        return record

    def token(self, number=0, user=None):
        with self.transaction(), Transaction().set_user(user or self.user):
            return self.server().make_viewer_token(self.study(number))

    def names(self, number=0):
        "What the study, its series and its images are called"
        with self.transaction():
            study = self.study(number)
            series, = study.series
            return {
                'study': (study.study_instance_UID, study.orthanc_UID),
                'series': (series.series_UID, series.orthanc_UID),
                'instance': (
                    series.instances[0].sop_instance_UID,
                    series.instances[0].orthanc_UID),
                }


class ServiceTestCase(AuthorizeMixin, unittest.TestCase):
    "Test the service that Orthanc asks"

    def setUp(self):
        super().setUp()
        self.client = Client(app)

    def call(self, question, authorization=None):
        return self.client.post(
            f'/{self.database}/health_orthanc/authorize',
            data=question if isinstance(question, bytes)
            else json.dumps(question),
            headers={
                'Authorization': authorization or 'Bearer ' + self.key,
                'Content-Type': 'application/json',
                })

    def granted(self, token, level='study', uid=None, id_=None, **values):
        question = {
            'level': level,
            'method': 'get',
            'dicom-uid': uid,
            'orthanc-id': id_,
            'token-key': 'token',
            'token-value': token,
            **values}
        answer = self.call(question)
        self.assertEqual(answer.status_code, 200)
        # 0 would mean for ever
        self.assertGreaterEqual(answer.json['validity'], 1)
        self.assertLessEqual(answer.json['validity'], 10)
        return answer.json['granted']

    def test_granted(self):
        "Test that a token opens its study and what is in it, nothing else"
        token = self.token()
        for number in [0, 1]:
            for level, (uid, id_) in self.names(number).items():
                with self.subTest(number=number, level=level):
                    for names in [(uid, id_), (uid, None), (None, id_)]:
                        self.assertEqual(
                            self.granted(token, level, *names), not number)
        uid, id_ = self.names()['study']
        self.assertTrue(self.granted('Bearer ' + token, 'study', uid))

    def test_denied(self):
        "Test that what is not foreseen is not granted"
        token = self.token()
        uid, id_ = self.names()['study']
        other = self.names(1)['study']
        for values in [
                {'method': 'post'}, {'method': 'delete'}, {'method': 'put'},
                {'method': 'GET '}, {'method': None}, {'method': ['get']},
                {'level': 'patient', 'dicom-uid': 'TST001GNU'},
                {'level': 'patient'}, {'level': 'system', 'uri': '/changes'},
                {'level': 'system', 'uri': f'/studies/{id_}'},
                {'level': None}, {'level': 'Study'},
                {'dicom-uid': None, 'orthanc-id': None},
                {'dicom-uid': '', 'orthanc-id': ''},
                {'dicom-uid': uid, 'orthanc-id': other[1]},
                {'dicom-uid': other[0], 'orthanc-id': id_},
                {'dicom-uid': [uid]}, {'dicom-uid': 1}, {'dicom-uid': '%'},
                {'dicom-uid': True}, {'orthanc-id': {'a': 1}},
                {'token-value': None}, {'token-value': ''},
                {'token-value': 5}, {'token-value': [token]},
                {'token-value': 'x' * 5000}, {'token-value': 'é'},
                {'token-value': token[:-4] + 'AAAA'},
                {'token-value': token[:40] + 'B' + token[41:]},
                ]:
            with self.subTest(values=values):
                question = {'uid': uid, **values}
                level = question.pop('level', 'study')
                self.assertFalse(self.granted(
                        question.pop('token-value', token), level,
                        question.pop('uid'), **question))

    def test_expired(self):
        "Test that the token is void after its time"
        uid, _ = self.names()['study']
        token = self.token()
        now = tickets.time.time()
        with patch.object(tickets.time, 'time') as time:
            time.return_value = now + 3600 + 1
            self.assertFalse(self.granted(token, 'study', uid))
            time.return_value = now + 3590
            self.assertTrue(self.granted(token, 'study', uid))

    def test_other_server(self):
        "Test that the token of one server is worth nothing at another"
        uid, _ = self.names()['study']
        token = self.token()
        self.new_server()
        self.sync()
        with self.transaction():
            self.Server.write([self.server()], {'viewer_token': True})
            self.key = self.Server.new_notification_key(self.server())
        self.assertFalse(self.granted(token, 'study', uid))
        self.assertTrue(self.granted(self.token(), 'study', uid))

    def test_revoked(self):
        "Test that whoever lost the right reads no more with an old token"
        pool = Pool(self.database)
        uid, _ = self.names()['study']
        token = self.token()
        self.assertTrue(self.granted(token, 'study', uid))
        User = pool.get('res.user')
        with self.transaction():
            groups = [g.id for g in User(self.user).groups]
        for values, back in [
                ({'active': False}, {'active': True}),
                ({'groups': [('remove', groups)]},
                    {'groups': [('add', groups)]}),
                ]:
            with self.subTest(values=values):
                with self.transaction():
                    User.write([User(self.user)], values)
                self.assertFalse(self.granted(token, 'study', uid))
                with self.transaction():
                    User.write([User(self.user)], back)
                self.assertTrue(self.granted(token, 'study', uid))
        with self.transaction():
            self.Study.mark_missing([self.study()])
        self.assertFalse(self.granted(token, 'study', uid))
        with self.transaction():
            self.Study.write([self.study()], {'missing_since': None})
            self.Server.revoke_viewer_tokens([self.server()])
        self.assertFalse(self.granted(token, 'study', uid))
        token = self.token()
        self.assertTrue(self.granted(token, 'study', uid))
        with self.transaction():
            self.Server.write([self.server()], {'viewer_token': False})
        self.assertFalse(self.granted(token, 'study', uid))

    def test_key(self):
        "Test that only the server itself may ask"
        uid, _ = self.names()['study']
        question = {
            'level': 'study', 'method': 'get', 'dicom-uid': uid,
            'token-value': self.token()}

        def basic(text):
            return 'Basic ' + base64.b64encode(text.encode()).decode()

        for authorization, status in [
                (basic('orthanc:' + self.key), 200),
                (basic('orthanc:' + self.key + 'x'), 401),
                (basic(self.key), 401), ('Basic é', 401), ('Basic', 401),
                ('Bearer x', 401), ('Bearer ' + 'x' * 9000, 401),
                ]:
            with self.subTest(authorization=authorization):
                answer = self.call(question, authorization)
                self.assertEqual(answer.status_code, status)
        for body in [b'{', b'[]', b'null', b'"x"', b'\xff', b'[' * 9999]:
            with self.subTest(body=body[:5]):
                self.assertEqual(self.call(body).status_code, 400)
        self.assertEqual(self.call(b'x' * 10 ** 6).status_code, 413)


class ScriptTestCase(AuthorizeMixin, unittest.TestCase):
    "Test the script in Orthanc's Python plugin"

    orthanc_options = {
        'AuthenticationEnabled': False,
        'Plugins': [PLUGINS % 'Python', PLUGINS % 'DicomWeb'],
        'PythonScript': str(SCRIPT),
        'DicomWeb': {'Enable': True, 'Root': '/dicom-web/'},
        }

    @classmethod
    def setUpClass(cls):
        cls.service = make_server('127.0.0.1', 0, app, threaded=True)
        cls.addClassCleanup(cls.service.server_close)
        cls.settings = {'AuthorizeUrl': 'http://127.0.0.1:1/', 'Key': ''}
        cls.orthanc_options = {
            **cls.orthanc_options, 'GnuHealth': cls.settings}
        super().setUpClass()
        thread = threading.Thread(target=cls.service.serve_forever)
        thread.start()
        cls.addClassCleanup(thread.join)
        cls.addClassCleanup(cls.service.shutdown)

    def setUp(self):
        super().setUp()
        self.settings.update(
            Key=self.key, AuthorizeUrl='http://127.0.0.1:%d/%s/health_orthanc'
            '/authorize' % (self.service.server_port, self.database))
        self.orthanc.stop()
        self.orthanc.start()

    def get(self, path, token=None, method='GET', auth=None, **headers):
        "Ask Orthanc as a viewer does, the path as it is written"
        if token:
            headers['Authorization'] = 'Bearer ' + token
        session = requests.Session()
        session.trust_env = False
        request = requests.Request(
            method, self.orthanc.url, headers=headers, auth=auth).prepare()
        request.url = self.orthanc.url + path
        return session.send(request)

    def viewer_paths(self, number):
        "What OHIF and Stone read of a study, and Orthanc's own paths"
        names = self.names(number)
        study, series, instance = (n[0] for n in names.values())
        root = '/dicom-web/studies'
        return [
            f'{root}?limit=101&offset=0&StudyInstanceUID={study}',
            f'{root}?0020000D={study}',
            f'{root}/{study}/series',
            f'{root}/{study}/series?includefield=0008103E,00081030',
            f'{root}/{study}/metadata',
            f'{root}/{study}/series/{series}/metadata',
            f'{root}/{study}/series/{series}/instances',
            f'{root}/{study}/series/{series}/instances/{instance}/metadata',
            f'{root}/{study}/series/{series}/instances/{instance}/frames/1',
            f'{root}/{study}/series/{series}/instances/{instance}',
            f'{root}/{study}/series/{series}/instances/{instance}/rendered',
            f'{root}/{study}/series/{series}/rendered',
            f'/studies/{names["study"][1]}',
            f'/studies/{names["study"][1]}/series',
            f'/studies/{names["study"][1]}/archive',
            f'/series/{names["series"][1]}',
            f'/instances/{names["instance"][1]}/tags',
            f'/instances/{names["instance"][1]}/frames/0/preview',
            f'/instances/{names["instance"][1]}/file',
            ]

    def test_study(self):
        "Test that a token opens its own study and no other"
        token = self.token()
        for number, status in [(0, 200), (1, 403)]:
            for path in self.viewer_paths(number):
                with self.subTest(number=number, path=path):
                    self.assertEqual(
                        self.get(path, token).status_code, status)
        path = self.viewer_paths(0)[2]
        self.assertEqual(self.get(path).status_code, 403)
        self.assertEqual(self.get(path, token=token).status_code, 200)
        self.assertEqual(
            self.get(path + '?token=' + token).status_code, 200)

    def test_refused(self):
        "Test what else might be tried with a token"
        token = self.token()
        (a, a_id), (b, b_id) = (self.names(n)['study'] for n in [0, 1])
        b_series, b_series_id = self.names(1)['series']
        b_instance, b_instance_id = self.names(1)['instance']
        root = '/dicom-web/studies'
        for path in [
                '/', '/system', '/studies', '/patients', '/changes',
                '/plugins', '/tools/find', '/statistics', '/modalities',
                '/app/explorer.html', '/instances', '/series', '/jobs',
                '/exports', '/dicom-web', '/dicom-web/', root, root + '/',
                '/dicom-web/series', '/dicom-web/instances',
                f'/dicom-web/series?StudyInstanceUID={a}',
                f'{root}?limit=5', f'{root}?PatientID=TST001GNU',
                f'{root}?StudyInstanceUID=', f'{root}?StudyInstanceUID=*',
                f'{root}?StudyInstanceUID={a},{b}',
                f'{root}?StudyInstanceUID={a}\\{b}',
                f'{root}?StudyInstanceUID={a[:-1]}*',
                f'{root}?StudyInstanceUID={a}&0020000D={b}',
                f'{root}?StudyInstanceUID={a}&0020,000D={b}',
                f'{root}?StudyInstanceUID={a}&0020-000d={b}',
                f'{root}/{a}/series?StudyInstanceUID={b}',
                f'{root}/{a}/../{b}/series', f'{root}/{a}%2f..%2f{b}/series',
                f'{root}/{b}/../{b}/series', f'//dicom-web//studies//{b}',
                f'/dicom-web/../studies/{b_id}',
                f'/wado?requestType=WADO&studyUID={a}&seriesUID={b_series}'
                f'&objectUID={b_instance}',
                f'/studies/{a_id}/patient', f'/studies/{a_id}/../{b_id}',
                f'/studies/{a_id}/attachments', f'/studies/{a}',
                f'/series/{b_series_id}', f'/instances/{b_instance_id}/file',
                f'/patients/{a_id}', '/ohif/../system', '/ohif/..%2fsystem',
                '/ohif/%2e%2e/system',
                ]:
            with self.subTest(path=path):
                answer = self.get(path, token)
                # what Orthanc itself takes for a path to study A is no way
                # to another
                self.assertEqual(answer.status_code, 403)
        for method in ['POST', 'PUT', 'DELETE']:
            for path in [f'/studies/{a_id}', f'{root}/{a}', root]:
                with self.subTest(method=method, path=path):
                    answer = self.get(path, token, method)
                    self.assertEqual(answer.status_code, 403)
        # the series of another study is none of study A
        for path in [
                f'{root}/{a}/series/{b_series}/metadata',
                f'{root}/{a}/series/{b_series}/instances/{b_instance}',
                f'{root}/{a}/series/{b_series}/instances/{b_instance}/'
                'frames/1']:
            with self.subTest(path=path):
                self.assertEqual(self.get(path, token).status_code, 404)
        for uids in [(a, b), (b, a)]:
            answer = self.get(
                root + '?StudyInstanceUID=%s&StudyInstanceUID=%s' % uids,
                token)
            self.assertNotIn(b, answer.text)

    def test_tokens(self):
        "Test tokens that are void"
        path = self.viewer_paths(0)[2]
        token = self.token()
        for wrong in [
                token[:-4] + 'AAAA', token[:-1], token + 'A', 'x', 'é' * 9,
                tickets.seal(tickets.new_key(), tickets.Ticket(
                        self.names()['study'][0], self.user, 2 ** 33)),
                ]:
            with self.subTest(token=wrong):
                answer = self.get(
                    path, Authorization=b'Bearer ' + wrong.encode())
                self.assertEqual(answer.status_code, 403)
        with patch.object(tickets.time, 'time') as time:
            time.return_value = 10 ** 10
            self.assertEqual(self.get(path, token).status_code, 403)
        pool = Pool(self.database)
        with self.transaction():
            User = pool.get('res.user')
            User.write([User(self.user)], {'active': False})
        self.assertEqual(
            self.get(path, self.token()).status_code, 403)

    def test_users(self):
        "Test that Orthanc's own users may do all, with their password"
        for auth, status in [
                ((USER, PASSWORD), 200), ((USER, 'x'), 403),
                (('x', PASSWORD), 403), ((USER, ''), 403)]:
            with self.subTest(auth=auth):
                self.assertEqual(
                    self.get('/system', auth=auth).status_code, status)
        self.assertEqual(self.get('/system').status_code, 403)
        # pages hold nothing of a patient; here there are none
        self.assertEqual(self.get('/ohif/viewer').status_code, 404)

    def test_service_away(self):
        "Test that nobody reads when GNU Health does not answer"
        self.settings['AuthorizeUrl'] = 'http://127.0.0.1:1/'
        self.orthanc.stop()
        self.orthanc.start()
        path = self.viewer_paths(0)[2]
        self.assertEqual(self.get(path, self.token()).status_code, 403)
