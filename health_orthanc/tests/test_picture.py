# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import unittest

from trytond.model.exceptions import AccessError
from trytond.modules.health_imaging.exceptions import ResultSignedError
from trytond.modules.health_imaging.tests.tools import create_user
from trytond.modules.health_orthanc import preview
from trytond.modules.health_orthanc.exceptions import (
    NoResultError, OrthancServerError, PictureChoiceError)
from trytond.pool import Pool
from trytond.tests.test_tryton import activate_module, with_transaction
from trytond.transaction import Transaction, check_access

from .fake import PNG, fake_orthanc
from .tools import STUDY_UID, ImagingMixin

INSTANCE = 'gnuhealth.imaging_orthanc.series_instances'
FORM = ['instance_number', 'image', 'no_picture', 'attached']


def asks_size():
    return Transaction().set_context({f'{INSTANCE}.image': 'size'})


class PictureTestCase(ImagingMixin, unittest.TestCase):
    "Test the pictures of instances and how they come into reports"

    @classmethod
    def setUpClass(cls):
        activate_module(['health_orthanc', 'health_imaging_worklist'])

    def linked(self, url):
        self.hospital()
        return self.study(
            self.server(url), patient=self.patient.id,
            imaging_test=self.result().id)

    def previews(self):
        return [a for a in self.audit() if a.event == 'preview']

    @with_transaction()
    def test_picture(self):
        Instance = Pool().get(INSTANCE)
        with fake_orthanc() as orthanc:
            study = self.study(self.server(orthanc.url))
            image, report = study.series[0].instances
            with asks_size():
                self.assertGreater(Instance(image.id).image, 0)
            self.assertFalse(orthanc.asked)
            self.assertEqual(bytes(Instance(image.id).image), PNG)
            self.assertIsNone(Instance(report.id).image)
        with self.assertRaises(OrthancServerError):
            Instance(image.id).image

    @with_transaction()
    def test_form(self):
        "Test that a form gets the picture, once, or why there is none"
        Instance = Pool().get(INSTANCE)
        with fake_orthanc() as orthanc:
            study = self.study(self.server(orthanc.url))
            image, report = study.series[0].instances
            with asks_size():
                row, = Instance.read([image.id], FORM)
                self.assertEqual(bytes(row['image']), PNG)
                self.assertIsNone(row['no_picture'])
                self.assertEqual(
                    orthanc.asked,
                    [('GET', '/instances/orthanc-image/preview')])
                row, = Instance.read([report.id], FORM)
            self.assertIsNone(row['image'])
            self.assertIn('Image "2"', row['no_picture'])
        row, = Instance.read([image.id], FORM)
        self.assertIsNone(row['image'])
        self.assertIn('"PACS" cannot be reached', row['no_picture'])

    @with_transaction()
    def test_list(self):
        "Test that lists ask Orthanc for nothing"
        Instance = Pool().get(INSTANCE)
        with fake_orthanc() as orthanc:
            study = self.study(self.server(orthanc.url))
            ids = [i.id for i in study.series[0].instances]
            with asks_size():
                for row in Instance.read(ids, FORM):
                    self.assertGreater(row['image'], 0)
                    self.assertLessEqual(row['image'], 1_000_000)
                    self.assertIsNone(row['no_picture'])
            self.assertFalse(orthanc.asked)
        self.assertFalse(self.audit())

    @with_transaction()
    def test_no_pixels(self):
        "Test that nothing is asked for what cannot have a picture"
        pool = Pool()
        Instance = pool.get(INSTANCE)
        self.hospital()
        study = self.study(self.server('http://127.0.0.1:1'))
        image = study.series[0].instances[0]
        for sop_class, word in [
                ('1.2.840.10008.5.1.4.1.1.88.33', "structured report"),
                ('1.2.840.10008.5.1.4.1.1.104.1', "PDF"),
                ('1.2.840.10008.5.1.4.1.1.104.3', "document"),
                ('1.2.840.10008.5.1.4.1.1.9.1.1', "waveform")]:
            with self.subTest(word):
                Instance.write([image], {'sop_class_UID': sop_class})
                row, = Instance.read([image.id], FORM)
                self.assertIn(word, row['no_picture'])

    @with_transaction()
    def test_look_is_noted(self):
        "Test that the audit has one entry for many pictures of a series"
        Instance = Pool().get(INSTANCE)
        with fake_orthanc() as orthanc:
            study = self.linked(orthanc.url)
            image, report = study.series[0].instances
            for _ in range(3):
                Instance.read([image.id], FORM)
            Instance.read([report.id], FORM)
            look, = self.previews()
            self.assertEqual(look.user.id, Transaction().user)
            self.assertEqual(look.patient, self.patient)
            self.assertEqual(look.series_uid, STUDY_UID + '.2')
            look.date = look.date.replace(year=2020)
            look.save()
            Instance.read([image.id], FORM)
            self.assertEqual(len(self.previews()), 2)
            user = create_user(
                'looker', 'health_imaging.group_health_imaging')
            with Transaction().set_user(user.id):
                Instance.read([image.id], FORM)
            self.assertEqual(len(self.previews()), 3)

    @with_transaction()
    def test_attach(self):
        Instance = Pool().get(INSTANCE)
        with fake_orthanc() as orthanc:
            study = self.linked(orthanc.url)
            image = study.series[0].instances[0]
            self.assertFalse(image.attached)
            for _ in range(2):
                Instance.attach_image_to_imaging_test_report(
                    [Instance(image.id)])
            self.assertEqual(len(orthanc.asked), 1)
        attachment, = study.imaging_test.images
        self.assertEqual(bytes(attachment.data), PNG)
        self.assertEqual(
            attachment.description.splitlines(), [
                "2 CT", "Instance Number: 1",
                "Image Position Patient: 0\\0\\5"])
        self.assertTrue(Instance(image.id).attached)
        # whatever people call it
        attachment.name = "The finding"
        attachment.save()
        self.assertTrue(Instance(image.id).attached)

    @with_transaction()
    def test_attach_frames_and_windows(self):
        "Test that each frame and window is another picture"
        Instance = Pool().get(INSTANCE)
        with fake_orthanc() as orthanc:
            study = self.linked(orthanc.url)
            image = study.series[0].instances[0]
            for choice in [
                    [1], [3], [1, [40, 400, "Soft tissue"]],
                    [3, ['40', '400']], [3, [40.0, 400.0]]]:
                Instance.attach_image_to_imaging_test_report(
                    [Instance(image.id)], *choice)
            self.assertEqual([path for _, path in orthanc.asked], [
                    f'/instances/orthanc-image{path}' for path in [
                        '/preview', '/frames/2/preview',
                        '/frames/0/rendered?window-center=40.0'
                        '&window-width=400.0',
                        '/frames/2/rendered?window-center=40.0'
                        '&window-width=400.0']])
            self.assertEqual(
                [a.description.splitlines()[3:]
                    for a in study.imaging_test.images], [
                    [], ["Frame: 3"], ["Window: Soft tissue (40/400)"],
                    ["Frame: 3", "Window: 40/400"]])
            for choice in [
                    [0], ['1'], [True], [2 ** 31], [1, 'x'], [1, []],
                    [1, [40]], [1, [40, 0]], [1, [40, -1]],
                    [1, ['nan', 1]], [1, [40, 'inf']], [1, {}],
                    [1, [1, 2, 3, 4]]]:
                with self.subTest(choice), \
                        self.assertRaises(PictureChoiceError):
                    Instance.attach_image_to_imaging_test_report(
                        [image], *choice)

    @with_transaction()
    def test_attach_several(self):
        "Test that several pictures keep the order of the series"
        Instance = Pool().get(INSTANCE)
        with fake_orthanc() as orthanc:
            study = self.linked(orthanc.url)
            series, = study.series
            more = Instance.create([{
                        'series': series.id,
                        'orthanc_UID': f'image-{number}',
                        'sop_instance_UID': f'{STUDY_UID}.3.{number}',
                        'instance_number': number,
                        } for number in range(60, 9, -1)])
            with self.assertRaises(PictureChoiceError):
                Instance.attach_image_to_imaging_test_report(more)
            self.assertFalse(orthanc.asked)
            Instance.attach_image_to_imaging_test_report(more[-3:])
            self.assertEqual(
                [a.description.splitlines()[1]
                    for a in study.imaging_test.images],
                [f"Instance Number: {n}" for n in [10, 11, 12]])

    @with_transaction()
    def test_attach_to_signed(self):
        Instance = Pool().get(INSTANCE)
        Result = Pool().get('gnuhealth.imaging.test.result')
        with fake_orthanc() as orthanc:
            study = self.linked(orthanc.url)
            Result.sign([study.imaging_test])
            with self.assertRaises(ResultSignedError):
                Instance.attach_image_to_imaging_test_report(
                    [study.series[0].instances[0]])
            self.assertFalse(orthanc.asked)

    @with_transaction()
    def test_attach_offers_link(self):
        "Test that who may link is offered to, and nobody else"
        pool = Pool()
        Instance = pool.get(INSTANCE)
        Action = pool.get('ir.action')
        self.hospital()
        study = self.study(self.server('http://127.0.0.1:1'))
        images = list(study.series[0].instances)
        for group, offered in [
                ('health_imaging.group_health_imaging', True),
                ('health_orthanc.group_imaging_orthanc', False)]:
            user = create_user(group, group)
            with Transaction().set_user(user.id), check_access():
                if offered:
                    action = \
                        Instance.attach_image_to_imaging_test_report(images)
                    self.assertEqual(
                        Action(action).get_action_value()['wiz_name'],
                        'gnuhealth.orthanc.picture.attach')
                else:
                    with self.assertRaises(NoResultError):
                        Instance.attach_image_to_imaging_test_report(images)
        user = create_user('desk', 'health.group_health_frontdesk')
        with Transaction().set_user(user.id), check_access(), \
                self.assertRaises(AccessError):
            Instance.attach_image_to_imaging_test_report([])

    @with_transaction()
    def test_link_first(self):
        "Test that the picture is added once the study is linked"
        Instance = Pool().get(INSTANCE)
        with fake_orthanc() as orthanc:
            self.hospital()
            study = self.study(self.server(orthanc.url))
            result = self.result()
            image = study.series[0].instances[0]
            Wizard, session_id = self.wizard(
                'gnuhealth.orthanc.picture.attach', image)
            answer = Wizard.execute(session_id, {}, 'attach')
            line, = [
                {**p, 'chosen': True}
                for p in answer['view']['defaults']['proposals']
                if p['request'] == result.request.id]
            Wizard.execute(
                session_id, {'start': {'proposals': [line]}}, 'link')
        self.assertEqual(len(result.images), 1)
        self.assertTrue(Instance(image.id).attached)

    @with_transaction()
    def test_link_patient_alone(self):
        "Test that a patient without request has no report to add to"
        with fake_orthanc() as orthanc:
            self.hospital()
            study = self.study(self.server(orthanc.url))
            Wizard, session_id = self.wizard(
                'gnuhealth.orthanc.picture.attach',
                study.series[0].instances[0])
            answer = Wizard.execute(session_id, {}, 'attach')
            line, = answer['view']['defaults']['proposals']
            with self.assertRaises(NoResultError):
                Wizard.execute(session_id, {'start': {
                            'proposals': [{**line, 'chosen': True}],
                            }}, 'link')
            self.assertFalse(orthanc.asked)

    @with_transaction()
    def test_wizard_without_server(self):
        self.hospital()
        study = self.study(self.server('http://127.0.0.1:1'))
        Wizard, session_id = self.wizard(
            'gnuhealth.orthanc.picture', study.series[0].instances[0])
        page = Wizard.execute(session_id, {}, 'show')['view']['defaults']
        self.assertNotIn('image', page)
        self.assertIn('"PACS" cannot be reached', page['message'])
        self.assertFalse(self.previews())

    def test_windows(self):
        "Test what the file says, however it says it"
        for center, width, explanation, expected in [
                ('40', '400', None, [(40, 400, '')]),
                ('450\\200', '790\\443', 'A\\B', [
                        (450, 790, 'A'), (200, 443, 'B')]),
                ('40\\40', '400\\400', None, [(40, 400, '')]),
                ('-600.5\\x\\1', '1500\\2', 'Lung', [(-600.5, 1500, 'Lung')]),
                ('1', '0', None, []),
                ('1', '-5', None, []),
                ('nan', '1', None, []),
                ('1', 'inf', None, []),
                ('', '', '', []),
                (None, '1', None, []),
                ('\\'.join(map(str, range(99))), '\\'.join(['5'] * 99), None,
                    [(n, 5, '') for n in range(20)]),
                ]:
            with self.subTest(center=center, width=width):
                self.assertEqual(preview.windows({
                            'WindowCenter': center,
                            'WindowWidth': width,
                            'WindowCenterWidthExplanation': explanation,
                            }), expected)

    def test_frames(self):
        for value, expected in [
                ('30', 30), ('1A', 1), ('-3', 1), ('0', 1), (None, 1),
                ('2\\3', 2)]:
            self.assertEqual(
                preview.count_frames({'NumberOfFrames': value}), expected)

    def test_compression(self):
        for uid, expected in [
                ('1.2.840.10008.1.2.4.90', "JPEG 2000"),
                ('1.2.840.10008.1.2.1', None),
                ('1.2.3.4', '1.2.3.4'),
                ('nonsense', None),
                ('', None),
                (None, None)]:
            found = preview.compression(uid)
            if expected is None:
                self.assertIsNone(found)
            else:
                self.assertIn(expected, found)
