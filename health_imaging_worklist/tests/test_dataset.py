# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import json
import os
import subprocess
import tempfile
import unittest

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset

from trytond.modules.health_imaging_worklist import dataset
from trytond.modules.health_imaging_worklist.conformance import (
    TYPE_1, TYPE_2, check, encodable)
from trytond.modules.health_imaging_worklist.dataset import (
    DatasetError, parse_dump, parse_json, rows, to_json)
from trytond.modules.health_imaging_worklist.sandbox import (
    ESCAPES, Template, Trusted)
from trytond.tools import file_open

VALUES = {
    'template_type': 'dump2dcm',
    'SpecificCharacterSet': Trusted('ISO_IR 192'),
    'TimezoneOffsetFromUTC': '+0100',
    'AccessionNumber': '001',
    'InstitutionName': 'Demo Hospital',
    'ReferringPhysicianName': 'Cordara^Cara',
    'PatientName': 'Betz^Ana',
    'PatientID': 'GNU777ORG',
    'PatientBirthDate': '19851004',
    'PatientSex': 'F',
    'PatientAge': '041Y',
    'PatientWeight': '',
    'MedicalAlerts': '',
    'Allergies': '',
    'PregnancyStatus': '',
    'StudyInstanceUID': '2.25.1',
    'RequestingPhysician': 'Cordara^Cara',
    'RequestingService': 'Neurology',
    'RequestedProcedureDescription': 'CT head',
    'RequestedProcedureID': '001-01',
    'RequestedProcedureCode': 'CTHEAD',
    'ReasonForTheRequestedProcedure': 'Headache',
    'RequestedProcedurePriority': 'ROUTINE',
    'RequestedContrastAgent': '',
    'PreMedication': '',
    'AdmissionID': '',
    'CurrentPatientLocation': '',
    'SpecialNeeds': '',
    'PatientState': '',
    'PatientTransportArrangements': '',
    'ConfidentialityConstraintOnPatientDataDescription': '',
    'Modality': 'CT',
    'ScheduledStationAETitle': 'CT1',
    'ScheduledProcedureStepStartDate': '20261124',
    'ScheduledProcedureStepStartTime': '081500',
    'ScheduledPerformingPhysicianName': '',
    'ScheduledProcedureStepDescription': 'CT head',
    'ScheduledProcedureStepID': '001-01',
    'ScheduledStationName': '',
    'ScheduledProcedureStepLocation': '',
    'ScheduledProcedureStepStatus': 'SCHEDULED',
    }


def shipped(template_type, kind):
    path = 'health_imaging_worklist/templates/%s_%s.txt' % (
        kind, template_type)
    with file_open(path, encoding='utf-8') as file:
        return Template(file.read())


KINDS = ['standard', 'compact']
TEMPLATES = {(t, k): shipped(t, k) for t in ESCAPES for k in KINDS}


def render(template_type, kind='standard', **extra):
    return TEMPLATES[template_type, kind].render(
        dict(VALUES, **extra), ESCAPES[template_type]).text


def item(template_type='dump2dcm', kind='standard', **extra):
    result, findings = dataset.parse(
        render(template_type, kind, **extra), template_type)
    assert not findings
    return result


def by_dump2dcm(text):
    "Return the dataset that dcmtk makes of a dump"
    with tempfile.TemporaryDirectory() as folder:
        source = os.path.join(folder, 'dump')
        target = os.path.join(folder, 'wl')
        with open(source, 'w', encoding='utf-8', newline='') as file:
            file.write(text)
        subprocess.run(
            ['dump2dcm', '-g', '+te', '+l', '65536', source, target],
            check=True, capture_output=True)
        result = dcmread(target)
        return Dataset(result)


# Texts as people are called and studies described, and worse
names = st.text(
    st.characters(
        codec='utf-8', exclude_categories=['Cs'],
        exclude_characters='\u2028\u2029=^'),
    min_size=1, max_size=30)


class DumpTestCase(unittest.TestCase):
    "Test dumps"

    def test_grammar(self):
        ds, findings = parse_dump('\n'.join([
                    '# a comment',
                    '',
                    '(0008,0050) SH [001]   # 4, 1 AccessionNumber',
                    '\t( 0010 , 0010 )\tPN\t[A]b]  # no ] bracket',
                    '(0010,0020) [no VR]\r',
                    '(0010,0030) DA (no value available)',
                    '(0010,0040) CS M # comment',
                    '(0010,1030) DS 70.5',
                    '(0010,21c0) US 4',
                    '(0010,2000) LO [a\\b]',
                    '(0010,4000) LT [a\\b]',
                    '(0008,0016) UI =MRImageStorage',
                    '(0002,0010) UI =LittleEndianExplicit',
                    '(0008,0201) SH []',
                    '(0028,0009) AT (3004,000c)',
                    '(0009,0010) LO [PRIVATE]',
                    '(0009,1001) LO [value]',
                    '(0010,0020) LO [again]',
                    ]))
        self.assertEqual(ds.AccessionNumber, '001')
        self.assertEqual(ds.PatientName, 'A]b]  # no')
        self.assertEqual(ds.PatientID, 'no VR')
        self.assertEqual(ds.PatientBirthDate, '')
        self.assertEqual(ds.PatientSex, 'M')
        self.assertEqual(ds.PatientWeight, 70.5)
        self.assertEqual(ds.PregnancyStatus, 4)
        self.assertEqual(list(ds.MedicalAlerts), ['a', 'b'])
        self.assertEqual(ds.PatientComments, 'a\\b')
        self.assertEqual(ds.SOPClassUID, '1.2.840.10008.5.1.4.1.1.4')
        self.assertEqual(ds.FrameIncrementPointer, 0x3004000c)
        self.assertEqual(ds[0x0009, 0x1001].value, 'value')
        self.assertNotIn(0x00020010, ds)
        self.assertEqual([f.code for f in findings], ['twice'])

    def test_sequences(self):
        for length in ['undefined', 'explicit']:
            with self.subTest(length=length):
                ds, _ = parse_dump('\n'.join([
                            '(0008,1110) SQ (Sequence with %s length)',
                            '(fffe,e0dd) na (SequenceDelimitationItem)',
                            '(0040,0100) SQ (Sequence with %s length #=2)',
                            '  (fffe,e000) na (Item with %s length #=1)',
                            '    (0008,0060) CS [CT]',
                            '    (0040,0008) SQ',
                            '      (fffe,e000) na',
                            '        (0008,0100) SH [X]',
                            '      (fffe,e00d) na',
                            '    (fffe,e0dd) na',
                            '  (fffe,e00d) na (ItemDelimitationItem)',
                            '  (fffe,e000) na',
                            '  (fffe,e00d) na',
                            '(fffe,e0dd) na (SequenceDelimitationItem)',
                            '(0010,0010) PN [A]',
                            ]).replace('%s', length))
                self.assertEqual(len(ds.ReferencedStudySequence), 0)
                one, two = ds.ScheduledProcedureStepSequence
                self.assertEqual(one.Modality, 'CT')
                code, = one.ScheduledProtocolCodeSequence
                self.assertEqual(code.CodeValue, 'X')
                self.assertEqual(len(two), 0)
                self.assertEqual(ds.PatientName, 'A')

    def test_refused(self):
        for text, line, code in [
                ('garbage', 1, 'line'),
                ('\nPatientID LO [x]', 2, 'line'),
                ('(0010,0010) PN [A', 1, 'bracket'),
                ('(0010,0010) PN <A>', 1, 'value'),
                ('(0010,9999) [x]', 1, 'tag'),
                ('(fffe,e0dd) na', 1, 'item'),
                ('(fffe,e00d) na', 1, 'item'),
                ('(fffe,e000) na', 1, 'item'),
                ('(0040,0100) SQ\n(0010,0010) PN [A]', 2, 'sequence_open'),
                ('(0040,0100) SQ\n(fffe,e000) na\n(fffe,e0dd) na', 3, 'item'),
                ('(0040,0100) SQ\n(fffe,e000) na', 2, 'sequence_open'),
                ('(0040,0100) SQ', 1, 'sequence_open'),
                ('(7fe0,0010) OW =/etc/passwd', 1, 'binary'),
                ('(0010,0010) OB =/etc/passwd', 1, 'binary'),
                ('(0010,21c0) US x', 1, 'value'),
                ('(0010,21c0) US 65536', 1, 'value'),
                ('(0010,21c0) US -1', 1, 'value'),
                ('(0010,1030) DS x', 1, 'value'),
                ('(0008,0018) UI =Nothing', 1, 'value'),
                ('(0040,0100) SQ\n(fffe,e000) na\n' * 300
                    + '(fffe,e00d) na\n(fffe,e0dd) na\n' * 300, 41, 'value'),
                ('# x\n(0010,4000) LT [a\x0cb]', 2, 'value'),
                ('# \x00', 1, 'value'),
                ('(0010,0010) PN [\ufffe]', 1, 'value'),
                ('(0010,0010) PN [\ud800]', 1, 'value'),
                ]:
            with self.subTest(text=text):
                with self.assertRaises(DatasetError) as caught:
                    parse_dump(text)
                self.assertEqual(caught.exception.line, line)
                self.assertEqual(caught.exception.code, code)

    def test_wrong_vr(self):
        ds, (finding,) = parse_dump('(0008,0005) SH [ISO_IR 100]')
        self.assertEqual(ds['SpecificCharacterSet'].VR, 'CS')
        self.assertEqual(finding.code, 'vr')

    @given(st.text(max_size=200))
    def test_any_text(self, text):
        "Whatever is written is refused or read, nothing else is raised"
        for read in [parse_dump, parse_json]:
            try:
                read(text)
            except DatasetError:
                pass

    def test_dump2dcm_shipped(self):
        text = render('dump2dcm')
        ds, _ = parse_dump(text)
        self.assertEqual(by_dump2dcm(text), ds)

    @settings(max_examples=25, deadline=None)
    @given(names, names, names)
    def test_dump2dcm(self, name, description, reason):
        "dcmtk makes the same dataset of the same text"
        text = render(
            'dump2dcm', PatientName=name,
            RequestedProcedureDescription=description,
            ReasonForTheRequestedProcedure=reason)
        ds, _ = parse_dump(text)
        self.assertEqual(
            by_dump2dcm(text).to_json_dict(), ds.to_json_dict())


class JSONTestCase(unittest.TestCase):
    "Test JSON"

    def test_forms(self):
        step = {'Modality': 'CT', 'ScheduledStationAETitle': 'A'}
        flat = dict(
            PatientName='Betz^Ana', PatientWeight=70.5, PregnancyStatus=4,
            MedicalAlerts=['a', 'b'], PatientSex=None, **step)
        nested = {k: v for k, v in flat.items() if k not in step}
        nested['ScheduledProcedureStepSequence'] = [step]
        single = dict(nested, ScheduledProcedureStepSequence=step)
        expected, _ = parse_json(json.dumps(nested))
        self.assertEqual(expected.PatientWeight, 70.5)
        self.assertEqual(expected.PatientSex, '')
        self.assertEqual(
            expected.ScheduledProcedureStepSequence[0].Modality, 'CT')
        for content in [flat, single, json.loads(to_json(expected))]:
            ds, findings = parse_json(json.dumps(content))
            self.assertEqual(ds, expected)
            self.assertFalse(findings)

    def test_tags(self):
        ds, _ = parse_json('{"(0010,0010)": "A", "00100020": "B"}')
        self.assertEqual((ds.PatientName, ds.PatientID), ('A', 'B'))

    def test_refused(self):
        for text, code in [
                ('', 'json'), ('[]', 'json'), ('{"PatientID": NaN}', 'json'),
                ('{"PatientID": "x"', 'json'), ('[' * 99999, 'json'),
                ('{"Nonsense": "x"}', 'keyword'),
                ('{"PatientID": "x", "PatientID": "y"}', 'twice'),
                ('{"PatientID": "x", "00100020": "y"}', 'twice'),
                ('{"PatientID": {"a": 1}}', 'value'),
                ('{"PatientID": true}', 'value'),
                ('{"ScheduledProcedureStepSequence": "x"}', 'value'),
                ('{"PixelData": "x"}', 'binary'),
                ('{"PatientID": {"vr": "LO", "BulkDataURI": "file:x"}}',
                    'binary'),
                ('{"PatientID": {"vr": "OB", "InlineBinary": "eA=="}}',
                    'binary'),
                ('{"PatientID": %s}' % ('9' * 5000), 'json'),
                ('{"00400100": [' * 300 + '{}' + ']}' * 300, 'value'),
                ]:
            with self.subTest(text=text[:50]):
                with self.assertRaises(DatasetError) as caught:
                    parse_json(text)
                self.assertEqual(caught.exception.code, code)

    def test_types_agree(self):
        "Both shipped templates give the same dataset"
        full = {name: 'x' for name in [
                'RequestedContrastAgent', 'PreMedication', 'Allergies']}
        for kind in KINDS:
            for extra in [{}, full]:
                self.assertEqual(
                    item('dump2dcm', kind, **extra),
                    item('json', kind, **extra))

    @settings(max_examples=200, deadline=None)
    @given(names, names)
    def test_round_trip(self, name, description):
        """No value breaks the text or adds an attribute

        What comes out is what went in, but for what DICOM cannot hold.
        """
        clean = ESCAPES['dump2dcm']
        assume(name.strip() and description.strip())
        plain = {e.tag for e in item()}
        for template_type in ESCAPES:
            ds = item(
                template_type, PatientName=name,
                RequestedProcedureDescription=description)
            self.assertEqual({e.tag for e in ds}, plain)
            self.assertEqual(
                str(ds.PatientName), clean(name).rstrip(' '))
            self.assertEqual(
                ds.RequestedProcedureDescription.strip(' '),
                clean(description).strip(' '))
            self.assertEqual(ds.PatientID, VALUES['PatientID'])


class CheckTestCase(unittest.TestCase):
    "Test what is found wrong"

    def findings(self, **extra):
        return [
            (f.severity, f.attribute, f.code) for f in check(item(**extra))]

    def test_shipped(self):
        for template_type, kind in TEMPLATES:
            with self.subTest(template_type=template_type, kind=kind):
                self.assertEqual(check(item(template_type, kind)), [])

    def test_shipped_complete(self):
        "The shipped text has each variable that an item can hold"
        for template_type, kind in TEMPLATES:
            filled = {
                name: 'X' for name in VALUES if name != 'template_type'}
            filled.update(PregnancyStatus='4', PatientWeight='70')
            tags = {
                row.keyword for row in rows(
                    item(template_type, kind, **filled))}
            with self.subTest(template_type=template_type, kind=kind):
                left = set(VALUES) - tags - {
                    'template_type', 'RequestedProcedureCode'}
                if kind == 'standard':
                    self.assertEqual(left, set())
                self.assertEqual(left & {*TYPE_1, *TYPE_2}, set())

    def test_values(self):
        for extra, attribute, code in [
                ({'PatientName': ''}, 'PatientName', 'empty'),
                ({'PatientName': '^^'}, 'PatientName', 'empty'),
                ({'PatientName': 'x' * 65}, 'PatientName', 'length'),
                ({'PatientName': 'a^b^c^d^e^f'}, 'PatientName', 'person'),
                ({'PatientID': ''}, 'PatientID', 'empty'),
                ({'PatientID': 'x' * 65}, 'PatientID', 'length'),
                ({'PatientBirthDate': '20261301'}, 'PatientBirthDate',
                    'value'),
                ({'PatientSex': 'f'}, 'PatientSex', 'value'),
                ({'PatientAge': '41'}, 'PatientAge', 'value'),
                ({'StudyInstanceUID': '1.02'}, 'StudyInstanceUID', 'value'),
                ({'StudyInstanceUID': ''}, 'StudyInstanceUID', 'empty'),
                ({'AccessionNumber': 'x' * 17}, 'AccessionNumber', 'length'),
                ({'RequestedProcedureID': ''}, 'RequestedProcedureID',
                    'empty'),
                ({'ScheduledStationAETitle': ''}, 'ScheduledStationAETitle',
                    'empty'),
                ({'ScheduledStationAETitle': 'é'}, 'ScheduledStationAETitle',
                    'value'),
                ({'ScheduledProcedureStepStartTime': '2460'},
                    'ScheduledProcedureStepStartTime', 'value'),
                ({'ScheduledProcedureStepID': ''},
                    'ScheduledProcedureStepID', 'empty'),
                ({'TimezoneOffsetFromUTC': '+01:00'},
                    'TimezoneOffsetFromUTC', 'offset'),
                ({'RequestedProcedureDescription': '',
                        'RequestedProcedureCode': ''},
                    'RequestedProcedureDescription', 'pair'),
                ({'SpecificCharacterSet': Trusted('IS0_IR 192')},
                    'SpecificCharacterSet', 'charset'),
                ({'SpecificCharacterSet': Trusted('ISO_IR 192\\GBK')},
                    'SpecificCharacterSet', 'charset_mixed'),
                ({'SpecificCharacterSet': Trusted('ISO_IR 100'),
                        'PatientName': '张^三'},
                    'PatientName', 'encoding'),
                ({'SpecificCharacterSet': Trusted(''),
                        'PatientName': 'Müller'}, 'PatientName', 'encoding'),
                ]:
            with self.subTest(extra=extra):
                self.assertIn(
                    ('error', attribute, code), self.findings(**extra))

    def test_control(self):
        for value in [r'a\ufffeb', r'\ud800', r'\u0001']:
            ds, _ = parse_json('{"PatientName": "%s"}' % value)
            with self.subTest(value=value):
                self.assertIn(
                    ('PatientName', 'control'),
                    [(f.attribute, f.code) for f in check(ds)])

    def test_warnings(self):
        self.assertEqual(
            self.findings(Modality='XR'),
            [('warning', 'Modality', 'modality')])
        ds = item()
        del ds.PatientSex
        finding, = check(ds)
        self.assertEqual(
            (finding.severity, finding.code, finding.detail),
            ('warning', 'type_2', 'PatientSex'))

    def test_conditional(self):
        ds = item()
        ds.RequestedProcedureDescription = ''
        self.assertEqual(
            [(f.attribute, f.code) for f in check(ds)],
            [('RequestedProcedureDescription', 'empty_conditional')])
        ds = item()
        ds.PatientID = ['a', 'b']
        self.assertEqual(
            [(f.attribute, f.code) for f in check(ds)],
            [('PatientID', 'multiple')])

    def test_steps(self):
        ds = item()
        ds.ScheduledProcedureStepSequence.append(
            ds.ScheduledProcedureStepSequence[0])
        self.assertEqual(
            {f.code for f in check(ds)}, {'items', 'duplicate'})

    def test_charsets(self):
        for charset, text in [
                ('ISO_IR 100', 'Müller Íñigo'), ('ISO_IR 101', 'Dvořák'),
                ('ISO_IR 109', 'Ġorġ'), ('ISO_IR 110', 'Āboliņš'),
                ('ISO_IR 126', 'Διονυσιος'), ('ISO_IR 127', 'قباني'),
                ('ISO_IR 138', 'שרון'), ('ISO_IR 144', 'Люкceмбypг'),
                ('ISO_IR 148', 'Çavuşoğlu'), ('ISO_IR 166', 'สมชาย'),
                ('ISO_IR 192', '张三 Müller สมชาย'), ('GBK', '张三'),
                ('GB18030', '张三'), ('ISO_IR 13', 'ﾔﾏﾀﾞ'),
                ('\\ISO 2022 IR 87', '山田'),
                ('\\ISO 2022 IR 149', '김희중'),
                ('\\ISO 2022 IR 58', '张三')]:
            with self.subTest(charset=charset):
                self.assertEqual(
                    encodable(text, charset.split('\\')), '')
                self.assertEqual(self.findings(
                        SpecificCharacterSet=Trusted(charset),
                        PatientName=text), [])
        self.assertEqual(encodable('aé€', ['ISO_IR 100']), '€')
        self.assertEqual(encodable('山', ['ISO_IR 13']), '山')

    def test_rows(self):
        table = list(rows(item()))
        self.assertIn(
            (0, '(0010,0010)', 'PatientName', 'PN', 'Betz^Ana'), table)
        self.assertIn((1, '(0008,0060)', 'Modality', 'CS', 'CT'), table)
