# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import datetime as dt
import unittest

from trytond.modules.health_orthanc import mapping
from trytond.modules.health_orthanc.mapping import MappingError

STUDY = {
    'ID': 'a-b',
    'LastUpdate': '20240131T101112',
    'ParentPatient': 'p-q',
    'Series': ['s-1'],
    'MainDicomTags': {
        'AccessionNumber': 'ORD001',
        'InstitutionName': 'Hospital',
        'ReferringPhysicianName': 'Ref^Erring',
        'RequestingPhysician': 'Req^Uesting',
        'StudyDate': '20240131',
        'StudyDescription': 'CT head',
        'StudyInstanceUID': '1.2.3',
        'StudyTime': '101112.5',
        },
    'PatientMainDicomTags': {
        'PatientBirthDate': '19851004',
        'PatientID': 'GNU777ORG',
        'PatientName': 'Betz^Ana',
        'PatientSex': 'F',
        },
    }
NONSENSE = [None, '', ' ', 0, 1.5, True, [], {}, ['x'], {'a': 1}, '\x00',
    '\ud800', 'abc', '2026.02.30', '\\', '\\\\', 'x' * 100000, '9' * 400]


class ValueTestCase(unittest.TestCase):
    "Test values out of tags"

    def check(self, function, table):
        for value, expected in table:
            with self.subTest(value=value):
                self.assertEqual(function(value), expected)

    def test_date(self):
        "Test dates"
        self.check(mapping.parse_date, [
                ('20240131', dt.date(2024, 1, 31)),
                (' 20240131 ', dt.date(2024, 1, 31)),
                ('2024.01.31', dt.date(2024, 1, 31)),
                ('2024-01-31', dt.date(2024, 1, 31)),
                ('20240131\\20240201', dt.date(2024, 1, 31)),
                ('20240131101112', None),
                ('2026.02.30', None),
                ('20260230', None),
                ('202401', None),
                ('00000000', None),
                ('19850004', None),
                ('today', None),
                ('', None),
                (None, None),
                (20240131, dt.date(2024, 1, 31)),
                ])

    def test_time(self):
        "Test times"
        self.check(mapping.parse_time, [
                ('101112', dt.time(10, 11, 12)),
                ('101112.123456', dt.time(10, 11, 12)),
                ('101112.', dt.time(10, 11, 12)),
                ('1011', dt.time(10, 11)),
                ('10', dt.time(10)),
                ('10:11:12', dt.time(10, 11, 12)),
                ('235960', dt.time(23, 59, 59)),
                ('101112\\101113', dt.time(10, 11, 12)),
                ('251112', None),
                ('106112', None),
                ('1', None),
                ('', None),
                (None, None),
                ])

    def test_integer(self):
        "Test integers"
        self.check(mapping.parse_integer, [
                ('1', 1),
                (' 12 ', 12),
                ('+3', 3),
                ('-3', -3),
                ('007', 7),
                (7, 7),
                (7.0, 7),
                (7.5, None),
                ('1\\2', 1),
                ('1.5', None),
                ('abc', None),
                ('1e5', None),
                ('2147483647', 2147483647),
                ('2147483648', None),
                ('9' * 40, None),
                ('', None),
                (None, None),
                (True, None),
                ])

    def test_text(self):
        "Test texts"
        self.check(mapping.text, [
                (' CT head ', 'CT head'),
                ('one\r\ntwo\tthree', 'one two three'),
                ('a\x00b', 'a b'),
                ('a\ud800b', 'a b'),
                ('张^三', '张^三'),
                ('', None),
                (' ', None),
                (None, None),
                (['a'], None),
                (3, '3'),
                ])
        self.assertEqual(len(mapping.text('x' * 10000)), mapping.MAX_TEXT)

    def test_identifier(self):
        "Test that an identifier is never shortened"
        self.assertEqual(mapping.identifier('x' * 64, 'PatientID'), 'x' * 64)
        with self.assertRaises(MappingError) as raised:
            mapping.identifier('x' * 1000, 'PatientID')
        self.assertEqual(raised.exception.reason, 'too_long')
        self.assertNotIn('xxx', str(raised.exception))

    def test_modalities(self):
        "Test that each modality is told once"
        self.check(mapping.join_modalities, [
                (['MR', 'CT', 'MR'], 'CT, MR'),
                (['CT\\MR', None, ''], 'CT, MR'),
                ([], None),
                ])


class RowTestCase(unittest.TestCase):
    "Test rows out of answers"

    def test_study(self):
        "Test a study with all tags"
        self.assertEqual(mapping.study_values(STUDY), {
                'orthanc_UID': 'a-b',
                'study_instance_UID': '1.2.3',
                'patient_name': 'Betz^Ana',
                'patient_id': 'GNU777ORG',
                'date': '20240131',
                'study_date': dt.date(2024, 1, 31),
                'study_time': dt.time(10, 11, 12),
                'description': 'CT head',
                'accession_number': 'ORD001',
                'institution': 'Hospital',
                'requesting_physician': 'Req^Uesting',
                'referring_physician': 'Ref^Erring',
                'performing_physician_name': 'Req^Uesting',
                })

    def test_patient(self):
        "Test the patient of a study"
        self.assertEqual(mapping.patient_values(STUDY), {
                'uuid': 'p-q',
                'name': 'Betz^Ana',
                'ident': 'GNU777ORG',
                'bd': dt.date(1985, 10, 4),
                'sex': 'F',
                })
        self.assertIsNone(mapping.patient_values({}))

    def test_least(self):
        "Test rows of what has nothing but identifiers"
        study = mapping.study_values({
                'ID': 'a', 'MainDicomTags': {'StudyInstanceUID': '1'}})
        series = mapping.series_values({
                'ID': 'b', 'MainDicomTags': {'SeriesInstanceUID': '2'}})
        instance = mapping.instance_values({
                'ID': 'c', 'MainDicomTags': {'SOPInstanceUID': '3'}})
        for values, known in [
                (study, 2), (series, 3), (instance, 2)]:
            self.assertEqual(
                len([v for v in values.values() if v is not None]), known)
        self.assertEqual(series['instance_count'], 0)

    def test_refused(self):
        "Test what cannot be told from others"
        for function, answer, reason in [
                (mapping.study_values, {}, 'no_id'),
                (mapping.study_values, {'ID': 'a'}, 'no_uid'),
                (mapping.study_values, {
                        'ID': 'a',
                        'MainDicomTags': {'StudyInstanceUID': ' '},
                        }, 'no_uid'),
                (mapping.series_values, {
                        'ID': 'a', 'MainDicomTags': None}, 'no_uid'),
                (mapping.instance_values, {
                        'ID': 'a', 'MainDicomTags': []}, 'no_uid'),
                ]:
            with self.subTest(answer=answer):
                with self.assertRaises(MappingError) as raised:
                    function(answer)
                self.assertEqual(raised.exception.reason, reason)

    def test_sop_class(self):
        "Test that the SOP class may come as metadata"
        answer = {
            'ID': 'c',
            'MainDicomTags': {
                'SOPInstanceUID': '3',
                'InstanceNumber': 'abc',
                'ImagePositionPatient': '1.0\\2.0',
                'NumberOfFrames': '12',
                },
            'Metadata': {'SopClassUid': '1.2.840'},
            }
        values = mapping.instance_values(answer)
        self.assertEqual(values['sop_class_UID'], '1.2.840')
        self.assertEqual(values['image_position_patient'], '1.0\\2.0')
        self.assertEqual(values['number_of_frames'], 12)
        self.assertIsNone(values['instance_number'])

    def test_nonsense(self):
        "Test that nonsense in any tag is refused cleanly or read as nothing"
        for function, tags in [
                (mapping.study_values, STUDY['MainDicomTags']),
                (mapping.patient_values, STUDY['PatientMainDicomTags']),
                (mapping.series_values, dict.fromkeys([
                            'SeriesInstanceUID', 'SeriesNumber', 'Modality',
                            'SeriesDate', 'SeriesTime'])),
                (mapping.instance_values, dict.fromkeys([
                            'SOPInstanceUID', 'InstanceNumber', 'Rows'])),
                ]:
            for name in tags:
                for value in NONSENSE:
                    with self.subTest(name=name, value=repr(value)[:20]):
                        answer = {
                            'ID': 'a',
                            'ParentPatient': 'p',
                            'MainDicomTags': {
                                'StudyInstanceUID': '1',
                                'SeriesInstanceUID': '2',
                                'SOPInstanceUID': '3',
                                name: value,
                                },
                            'PatientMainDicomTags': {name: value},
                            }
                        try:
                            function(answer)
                        except MappingError as error:
                            self.assertIn(
                                error.reason, {'no_uid', 'too_long'})
