# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import io
import unittest
from unittest.mock import patch

from PIL import Image
from pydicom import dcmread
from pydicom.uid import EncapsulatedPDFStorage

from trytond.modules.health_imaging.tests.tools import create_user
from trytond.modules.health_orthanc.client import OrthancClient
from trytond.pool import Pool
from trytond.tests.test_tryton import activate_module, with_transaction
from trytond.transaction import Transaction, check_access

from .orthanc import PASSWORD, USER, Orthanc, dicom, sample_file
from .tools import ImagingMixin

INSTANCE = 'gnuhealth.imaging_orthanc.series_instances'
UID = '1.2.826.0.1.3680043.10.77'
# by accession number: the file, and what is said if there is no picture
FILES = {
    'ct': (sample_file(
            'CT_small.dcm', SOPInstanceUID=UID + '.1', InstanceNumber=7,
            WindowCenter=[40, -600], WindowWidth=[400, 1500],
            WindowCenterWidthExplanation=['MEDIASTINUM', 'CHEST']), None),
    'ct-no-window': (sample_file(
            'CT_small.dcm', SOPInstanceUID=UID + '.2'), None),
    'mr': (sample_file('MR_small.dcm'), None),
    'colour': (sample_file('examples_rgb_color.dcm'), None),
    'palette': (sample_file('examples_palette.dcm'), None),
    'cine': (sample_file('examples_ybr_color.dcm'), None),
    'jpeg': (sample_file('SC_rgb_jpeg_dcmtk.dcm'), None),
    'report': (sample_file('test-SR.dcm'), "structured report"),
    'ecg': (sample_file('waveform_ecg.dcm'), "waveform"),
    'plan': (sample_file('rtplan.dcm'), "RT Plan Storage"),
    'jpeg2000': (
        sample_file('JPEG2000.dcm'), "JPEG 2000 Image Compression"),
    'pdf': (dicom(
            SOPClassUID=EncapsulatedPDFStorage, PixelData=None, Rows=None,
            Columns=None, SamplesPerPixel=None, EncapsulatedDocument=b'%PDF',
            PhotometricInterpretation=None, BitsAllocated=None,
            BitsStored=None, HighBit=None, PixelRepresentation=None), "PDF"),
    }


def relabelled(content, name):
    "The file in a study of its own"
    data = dcmread(io.BytesIO(content))
    data.AccessionNumber = name
    data.StudyInstanceUID = f'{UID}.{100 + list(FILES).index(name)}'
    data.SeriesInstanceUID = data.StudyInstanceUID + '.1'
    target = io.BytesIO()
    data.save_as(target)
    return target.getvalue()


def gray(image):
    "The mean level of a picture"
    picture = Image.open(io.BytesIO(image)).convert('L')
    levels = picture.histogram()
    return sum(n * count for n, count in enumerate(levels)) / sum(levels)


class PictureOrthancTestCase(ImagingMixin, unittest.TestCase):
    "Test the pictures that Orthanc makes"

    @classmethod
    def setUpClass(cls):
        activate_module(['health_orthanc', 'health_imaging_worklist'])
        cls.orthanc = Orthanc()
        cls.addClassCleanup(cls.orthanc.__exit__, None, None, None)
        cls.orthanc.start()
        cls.orthanc.store(*(
                relabelled(content, name)
                for name, (content, _) in FILES.items()))

    def setUp(self):
        self.asked = []
        call = OrthancClient._call_once

        def counted(client, method, path, **kwargs):
            self.asked.append(path)
            return call(client, method, path, **kwargs)

        patcher = patch.object(OrthancClient, '_call_once', counted)
        patcher.start()
        self.addCleanup(patcher.stop)

    def mirrored(self):
        "Return the instances by accession number"
        pool = Pool()
        Study = pool.get('gnuhealth.imaging_orthanc.study')
        self.hospital()
        self.server(self.orthanc.url, user=USER, password=PASSWORD)
        Study.full_synchronize()
        self.asked.clear()
        return {
            study.accession_number: study.series[0].instances[0]
            for study in Study.search([])}

    def radiologist(self):
        return create_user(
            'radiologist', 'health_imaging.group_health_imaging').id

    @with_transaction()
    def test_every_kind(self):
        "Test that each kind has a picture or a reason, as a radiologist"
        Instance = Pool().get(INSTANCE)
        instances = self.mirrored()
        with Transaction().set_user(self.radiologist()), check_access():
            for name, (_, reason) in FILES.items():
                with self.subTest(name):
                    self.asked.clear()
                    row, = Instance.read(
                        [instances[name].id], ['image', 'no_picture'])
                    if reason:
                        self.assertIsNone(row['image'])
                        self.assertIn(reason, row['no_picture'])
                        self.assertLessEqual(len(self.asked), 2)
                    else:
                        self.assertIsNone(row['no_picture'])
                        Image.open(io.BytesIO(row['image'])).verify()
                        self.assertEqual(len(self.asked), 1)

    @with_transaction()
    def test_refused(self):
        "Test that a wrong password is told in the form"
        Instance = Pool().get(INSTANCE)
        image = self.mirrored()['ct']
        server = image.series.study.server_config
        server.password = 'wrong'
        server.save()
        row, = Instance.read([image.id], ['image', 'no_picture'])
        self.assertIsNone(row['image'])
        self.assertIn("refused the user name", row['no_picture'])

    @with_transaction()
    def test_gone(self):
        Instance = Pool().get(INSTANCE)
        image = self.mirrored()['mr']
        type(image).write([image], {'orthanc_UID': 'gone'})
        row, = Instance.read([image.id], ['image', 'no_picture'])
        self.assertIn("does not hold image", row['no_picture'])

    def open(self, instance):
        Wizard, session_id = self.wizard('gnuhealth.orthanc.picture', instance)
        answer = Wizard.execute(session_id, {}, Wizard.start_state)
        self.page = answer['view']['defaults']

        def press(state, **values):
            self.asked.clear()
            data = {k: v for k, v in {**self.page, **values}.items()
                if not k.endswith('.')}
            answer = Wizard.execute(session_id, {'show': data}, state)
            self.page = answer['view']['defaults']
            return self.page

        return press

    def choices(self):
        Show = Pool().get('gnuhealth.orthanc.picture.show')
        return {
            name: key for key, name
            in Show(windows=self.page['windows']).get_windows()}

    @with_transaction()
    def test_frames(self):
        "Test going through the frames of a cine, one request for each"
        image = self.mirrored()['cine']
        self.assertEqual(image.number_of_frames, 30)
        press = self.open(image)
        self.assertEqual(
            (self.page['frame'], self.page['frames']), (1, 30))
        self.assertEqual(len(self.asked), 2)
        seen = {1: self.page['image']}
        for state, values, frame in [
                ('next_', {}, 2), ('next_', {}, 3), ('previous', {}, 2),
                ('redraw', {'frame': 30}, 30), ('first', {}, 1)]:
            press(state, **values)
            self.assertEqual(self.page['frame'], frame)
            self.assertFalse(self.page['message'])
            self.assertEqual(len(self.asked), 1)
            self.assertEqual(
                seen.setdefault(frame, self.page['image']),
                self.page['image'])
        self.assertEqual(len(set(seen.values())), 4)
        for frame in [0, -1, 31, 2 ** 40]:
            with self.subTest(frame=frame):
                press('redraw', frame=frame)
                if frame:
                    self.assertIn("from 1 to 30", self.page['message'])
                self.assertEqual(self.page['image'], seen[1])
        Session = Pool().get('ir.session.wizard')
        for session in Session.search([]):
            # no picture is kept there
            self.assertLess(len(session.data), 5000)

    @with_transaction()
    def test_windows(self):
        "Test the windows of the file and those for CT"
        instances = self.mirrored()
        press = self.open(instances['ct'])
        self.assertEqual(list(self.choices()), [
                "Full range", "MEDIASTINUM (40/400)", "CHEST (-600/1500)",
                "Soft tissue (40/400)", "Lung (-600/1500)",
                "Bone (400/1800)", "Brain (40/80)"])
        self.assertEqual(
            self.page['window'], self.choices()["MEDIASTINUM (40/400)"])
        levels = {
            name: gray(press('redraw', window=key)['image'])
            for name, key in self.choices().items()}
        self.assertEqual(
            levels["MEDIASTINUM (40/400)"], levels["Soft tissue (40/400)"])
        self.assertEqual(
            levels["CHEST (-600/1500)"], levels["Lung (-600/1500)"])
        # the lower the window, the brighter the picture
        self.assertLess(
            levels["Bone (400/1800)"], levels["Soft tissue (40/400)"])
        self.assertLess(
            levels["Soft tissue (40/400)"], levels["Lung (-600/1500)"])

        self.open(instances['ct-no-window'])
        self.assertEqual(self.page['window'], self.choices()["Full range"])
        self.assertGreater(gray(self.page['image']), 20)
        self.open(instances['mr'])
        self.assertEqual(
            list(self.choices()), ["Full range", "As stored (600/1600)"])
        self.open(instances['colour'])
        self.assertEqual(list(self.choices()), ["Full range"])
        self.open(instances['report'])
        self.assertIn("structured report", self.page['message'])
        self.assertNotIn('image', self.page)

    @with_transaction()
    def test_add(self):
        "Test that the chosen frame and window are what is added"
        instances = self.mirrored()
        request = self.result().request
        for name in ['ct', 'cine']:
            with Transaction().set_context(_orthanc_linking=True):
                instances[name].series.study.patient = self.patient
                instances[name].series.study.imaging_test = (
                    request.results[0])
                instances[name].series.study.save()
        radiologist = self.radiologist()
        with Transaction().set_user(radiologist), check_access():
            press = self.open(instances['ct'])
            press('redraw', window=self.choices()["Lung (-600/1500)"])
            lung = self.page['image']
            press('attach')
            self.assertIn(
                request.results[0].number, self.page['message'])
            press('attach')
            press = self.open(instances['cine'])
            press('next_')
            second = self.page['image']
            press('attach')
        first, other = request.results[0].images
        self.assertEqual(bytes(first.data), lung)
        self.assertEqual(bytes(other.data), second)
        self.assertIn("Instance Number: 7", first.description)
        self.assertIn("Window: Lung (-600/1500)", first.description)
        self.assertIn("Frame: 2", other.description)
        events = [a.event for a in self.audit()]
        self.assertEqual(events.count('preview'), 2)
        self.assertEqual(events.count('attach'), 2)
        # captions and order are the radiologist's
        with Transaction().set_user(radiologist), check_access():
            first.description = "Nodule"
            first.imaging_sequence = 2
            first.save()
            other.imaging_sequence = 1
            other.save()
        Result = Pool().get('gnuhealth.imaging.test.result')
        result = Result(request.results[0].id)
        self.assertEqual(list(result.images), [other, first])
