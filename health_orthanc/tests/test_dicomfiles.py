# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import struct
import unittest
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from trytond.modules.health_orthanc import dicomfiles
from trytond.modules.health_orthanc.dicomfiles import clean_name, read_files
from trytond.modules.health_orthanc.dicomscan import MAX_DEPTH, Refusal, scan

from .hostile import (
    CONTENT_SEQUENCE, ITEM, PRIVATE, SYNTAXES, UNDEFINED, Elements, append,
    archive, frame, in_syntax)
from .orthanc import dicom


def refusal(content, **options):
    "Return why it is refused, None if it is not"
    try:
        scan(content, **options)
    except Refusal as refused:
        return refused.code


class ScanTestCase(unittest.TestCase):
    "Test what is looked at before a file is sent"

    sound = [in_syntax(name) for name in SYNTAXES]

    def test_facts(self):
        "Test that every transfer syntax tells whose file it is"
        content = dicom(AccessionNumber='A-1', PatientID='Müller 1')
        for name in SYNTAXES:
            with self.subTest(syntax=name):
                facts = scan(in_syntax(name, content))
                self.assertEqual(facts.patient_id, 'Müller 1')
                self.assertEqual(facts.accession_number, 'A-1')
                self.assertTrue(facts.study_uid)

    def test_no_dicom(self):
        for content, code in [
                (b'', 'empty'),
                (b'GIF89a', 'no_dicom'),
                (bytes(200), 'no_dicom'),
                (b'PK\x03\x04' + dicom()[4:], 'disguised'),
                (dicom().replace(b'\x08\0\x18\0', b'\x08\0\x19\0'), 'no_uid'),
                (dicom(StudyInstanceUID=''), 'no_uid'),
                (dicom(SeriesInstanceUID='1' * 65), 'no_uid'),
                (dicom(PatientID='x' * 2000), 'long'),
                (dicom(PixelData=None), 'cut'),
                (dicom(PixelData=None, Rows=None), None),
                (dicom(), None),
                (dicom() + bytes(11), None),
                (dicom() + b'\0' * 11 + b'x', 'damaged'),
                ]:
            with self.subTest(code=code, size=len(content)):
                self.assertEqual(refusal(content), code)

    def test_nested(self):
        "Test sequences that are nested deep in each transfer syntax"
        for name in SYNTAXES:
            make = Elements(name)
            content = in_syntax(name, dicom(PixelData=None, Rows=None))
            for defined in [False, True]:
                for tag in [CONTENT_SEQUENCE, PRIVATE]:
                    for depth, code in [
                            (MAX_DEPTH, None), (MAX_DEPTH + 1, 'deep'),
                            (50_000, 'deep')]:
                        with self.subTest(
                                syntax=name, defined=defined, depth=depth):
                            self.assertEqual(refusal(append(
                                        name, content, make.nested(
                                            depth, defined, tag))), code)

    def test_nested_in_unknown(self):
        "Test that what has no known type is looked into as well"
        content = dicom(PixelData=None, Rows=None)
        inside = Elements('implicit')
        for defined in [False, True]:
            nested = inside.nested(5000, defined)
            item = inside.item(ITEM, len(nested), nested)
            for length in [len(item), UNDEFINED]:
                self.assertEqual(refusal(content + Elements(
                            'explicit').element(
                            PRIVATE, b'UN', item, length)), 'deep')

    def test_no_sequence_after_all(self):
        "Test private values that only begin like a sequence"
        value = b'\xfe\xff\x00\xe0\x10\x00\x00\x00' + b'something'
        content = dicom(PixelData=None, Rows=None)
        self.assertIsNone(refusal(content + Elements('explicit').element(
                    PRIVATE, b'UN', value)))
        self.assertIsNone(refusal(append(
                    'implicit', in_syntax('implicit', content), Elements(
                        'implicit').element(PRIVATE, None, value))))

    def test_twice(self):
        "Test that nothing says two things of the same patient"
        content = dicom(PixelData=None, Rows=None)
        again = struct.pack('<HH2sH', 0x0010, 0x0020, b'LO', 4) + b'OTHR'
        self.assertEqual(refusal(content + again), 'twice')

    def test_lengths(self):
        "Test lengths of 4 GiB and more than there is"
        content = dicom(PixelData=None, Rows=None)
        make = Elements('explicit')
        for vr in [b'OB', b'UT', b'SQ', b'UN']:
            for length in [0xfffffffe, 0x7fffffff, 9]:
                self.assertEqual(refusal(content + make.element(
                            PRIVATE, vr, b'short', length)), 'cut')
        self.assertEqual(refusal(content + make.element(
                    PRIVATE, b'UT', b'text', UNDEFINED)), 'damaged')
        item = make.item(ITEM, 0xfffffff0, b'x' * 8)
        self.assertEqual(refusal(content + make.element(
                    CONTENT_SEQUENCE, b'SQ', item)), 'cut')

    def test_truncated(self):
        "Test that an image that is cut off anywhere is refused"
        for name in SYNTAXES:
            content = in_syntax(name)
            rows = content.find(b'\x28\x00\x10\x00') if name in {
                'explicit', 'implicit'} else 0
            for size in range(len(content) - (name == 'deflated')):
                with self.subTest(syntax=name, size=size):
                    code = refusal(content[:size])
                    if not code:
                        # no byte of an element is missing, nor a pixel
                        self.assertLessEqual(size, rows or size)
                        self.assertNotEqual(name, 'deflated')

    def test_deflated(self):
        "Test that little does not become much"
        with patch(
                'trytond.modules.health_orthanc.dicomscan.MAX_INFLATED',
                1 << 16):
            content = in_syntax('deflated', dicom(
                    Rows=512, Columns=512, PixelData=bytes(512 * 512)))
            self.assertLess(len(content), 2000)
            self.assertEqual(refusal(content), 'bomb')

    def test_head(self):
        "Test that the beginning tells what it holds, and no more"
        content = dicom(AccessionNumber='A-1')
        for name in SYNTAXES:
            whole = in_syntax(name, content)
            for size in range(1, len(whole), 7):
                try:
                    facts = scan(whole[:size], head=True)
                except Refusal as refused:
                    self.assertIn(refused.code, {'no_dicom'})
                    continue
                self.assertIn(facts.accession_number, {None, 'A-1'})
                if facts.complete:
                    self.assertEqual(facts.patient_id, 'TST001GNU')

    @settings(deadline=None, max_examples=300)
    @given(st.data())
    def test_any(self, data):
        "Test that nothing but a refusal comes of any content"
        content = bytearray(data.draw(st.sampled_from(self.sound)))
        for _ in range(data.draw(st.integers(1, 8))):
            start = data.draw(st.integers(132, len(content) - 1))
            piece = data.draw(st.binary(min_size=1, max_size=12))
            content[start:start + data.draw(st.integers(0, 12))] = piece
        refusal(bytes(content))
        refusal(bytes(content), head=True)

    @settings(deadline=None, max_examples=200)
    @given(st.integers(0, 1), st.integers(1, MAX_DEPTH), st.data())
    def test_sound(self, defined, depth, data):
        "Test that no sound file is refused"
        name = data.draw(st.sampled_from(sorted(SYNTAXES)))
        make = Elements(name)
        tag = data.draw(st.sampled_from([CONTENT_SEQUENCE, PRIVATE]))
        padding = bytes(data.draw(st.integers(0, 30)))
        self.assertIsNone(refusal(append(
                    name, in_syntax(name, dicom(PixelData=None, Rows=None)),
                    make.nested(depth, defined, tag) + padding)))


class FilesTestCase(unittest.TestCase):
    "Test what is inside of what a person chooses"

    containers = [
        archive([('ü/1', dicom()), ('2', b'x' * 50)]),
        frame(dicom(), b'x' * 50)]

    def files(self, content, name='all.zip'):
        return {
            name: file.code if isinstance(file, Refusal) else file
            for name, file in read_files(name, content)}

    def container(self, content):
        with self.assertRaises(Refusal) as context:
            list(read_files('all.zip', content))
        return context.exception.code

    def test_archive(self):
        content = archive([
                ('a/b/c/1.dcm', b'1'), ('../../etc/passwd', b'2'),
                ('__MACOSX/a/1.dcm', b'x'), ('a/', b''),
                ('C:\\temp\\3.dcm', b'3'), ('/abs\u202e\n4', b'4'),
                ('inner.zip', archive([('1', b'1')]))])
        self.assertEqual(self.files(content), {
                'a/b/c/1.dcm': b'1', 'etc/passwd': b'2',
                'C:/temp/3.dcm': b'3', 'abs  4': b'4',
                'inner.zip': 'nested'})

    def test_names(self):
        self.assertEqual(clean_name(None), 'DICOM')
        self.assertEqual(clean_name('../..'), 'DICOM')
        self.assertLess(len(clean_name('x' * 5000)), 300)

    def test_frame(self):
        one, two = dicom(), dicom()
        self.assertEqual(
            self.files(frame(one, archive([('2', two)]))),
            {'#1': one, '#2/2': two})
        self.assertEqual(
            self.files(frame(one, two)[:-1]), {'#1': one, '#2': 'cut'})
        self.assertEqual(
            self.files(frame(one) + b'\xff' * 8), {'#1': one, '#2': 'cut'})
        self.assertEqual(self.files(frame()), {})
        with patch.object(dicomfiles, 'MAX_FILES', 1):
            self.assertEqual(self.container(frame(one, two)), 'too_many')

    def test_zip64(self):
        with patch('zipfile.ZIP64_LIMIT', 0), \
                patch('zipfile.ZIP_FILECOUNT_LIMIT', 0):
            large = archive([('1', b'1'), ('2', b'2')])
        self.assertIn(b'PK\x06\x06', large)
        self.assertEqual(self.files(large), {'1': b'1', '2': b'2'})

    def test_bombs(self):
        zeros = archive([('a', bytes(1 << 20))])
        with patch.object(dicomfiles, 'BIG', 1 << 19):
            self.assertEqual(self.container(zeros), 'archive_bomb')
        with patch.object(dicomfiles, 'MAX_TOTAL_SIZE', 1 << 19):
            self.assertEqual(self.container(zeros), 'archive_bomb')
        with patch.object(dicomfiles, 'MAX_FILE_SIZE', 1 << 19):
            self.assertEqual(self.files(zeros), {'a': 'large'})
        with patch.object(dicomfiles, 'MAX_FILES', 1):
            self.assertEqual(
                self.container(archive([('1', b''), ('2', b'')])),
                'too_many')
        # the directory says less than there is
        lie = zeros.replace(
            struct.pack('<I', 1 << 20), struct.pack('<I', 1 << 10))
        self.assertEqual(self.files(lie), {'a': 'bad_member'})

    def test_damaged(self):
        content = archive([('1.dcm', dicom())])
        self.assertEqual(self.container(b'PK\x03\x04 nothing'), 'bad_archive')
        self.assertEqual(self.container(archive([])), 'empty_archive')
        directory = content.index(b'PK\x01\x02')
        for place, value, code in [
                (directory + 8, b'\x01\x00', 'encrypted'),
                (directory + 10, b'\x0e\x00', 'method'),
                (directory + 10, b'\x63\x00', 'method'),
                (60, b'\xff\xff', 'bad_member'),
                ]:
            with self.subTest(code=code):
                broken = bytearray(content)
                broken[place:place + len(value)] = value
                self.assertEqual(self.files(bytes(broken)), {'1.dcm': code})

    @settings(deadline=None, max_examples=300)
    @given(st.data())
    def test_any(self, data):
        "Test that nothing but a refusal comes of any archive or frame"
        content = bytearray(data.draw(st.sampled_from(self.containers)))
        for _ in range(data.draw(st.integers(1, 6))):
            start = data.draw(st.integers(4, len(content)))
            content[start:start + data.draw(st.integers(0, 9))] = data.draw(
                st.binary(max_size=9))
        try:
            for name, file in read_files('x', bytes(content)):
                self.assertTrue(name)
                self.assertIsInstance(file, (bytes, Refusal))
        except Refusal:
            pass
