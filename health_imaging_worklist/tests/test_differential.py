# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""dataset.py beside dcmtk's dump2dcm: the same text is the same dataset.

A process for each item would take long: hundreds of generated items are the
items of one sequence in one dump.
"""
import os
import re
import subprocess
import tempfile
import unittest
from random import Random

from pydicom import dcmread
from pydicom.charset import (
    convert_encodings, encode_string, python_encoding)
from pydicom.dataset import Dataset
from pydicom.valuerep import PersonName

from trytond.modules.health_imaging_worklist.conformance import check
from trytond.modules.health_imaging_worklist.dataset import parse_dump
from trytond.modules.health_imaging_worklist.sandbox import (
    Trusted, escape_dump)

from .test_dataset import render

ITEMS = 400
SEED = 20261124
# What people type, and what breaks notations
PIECES = [
    'Betz', 'Ana', 'é', 'ß', '张', 'สม', '😀', "O'Neill", '"', "''", '[', ']',
    '[]', '][', '] #', '#', ' # 4, 1 PatientName', '(0010,0020) LO [EVIL]',
    '(fffe,e00d)', '=', '^', '\\', '\\\\', ' ', '  ', '\t', '<', '>', '{%',
    '$PatientID', '&amp;', '%s', 'x' * 70, '\u3000', '\u200f', '-', '/', ',']
TEXTS = [
    ('0010,2000', 'LO', 'multiple'), ('0010,2110', 'LO', 'multiple'),
    ('0008,0080', 'LO', None), ('0010,0020', 'LO', None),
    ('0010,4000', 'LT', None), ('0040,0400', 'LT', None),
    ('0010,0010', 'PN', None), ('0008,0090', 'PN', None),
    ('0008,0050', 'SH', None), ('0040,0010', 'SH', None),
    ('0008,2111', 'ST', None), ('0040,0280', 'ST', None),
    ('0038,0500', 'LO', None)]
CODED = [
    ('0040,0001', 'AE', ['CT1', 'A B', 'CT1\\CT2', ' CT1']),
    ('0010,1010', 'AS', ['041Y', '003D', '']),
    ('0008,0060', 'CS', ['CT', 'MR ', '']),
    ('0010,0030', 'DA', ['19851004', '']),
    ('0040,0003', 'TM', ['081500', '0815', '081500.25', '']),
    ('0040,4005', 'DT', ['20261124081500+0100', '']),
    ('0010,1030', 'DS', ['70.5', '1e3', '-1', '']),
    ('0020,0013', 'IS', ['1', '-5', '']),
    ('0020,000d', 'UI', ['2.25.1', '1.2.840.10008.1.1', ''])]
NUMBERS = [
    ('0010,21c0', 'US', ['4', '65535', '']),
    ('0018,9461', 'FL', ['1.5', '']),
    ('0018,6028', 'FD', ['0.25', '']),
    ('0018,6020', 'SL', ['-7', '']),
    ('0028,0106', 'US', ['0']),
    ('0018,6016', 'UL', ['4294967295'])]
SEQUENCES = ['0008,1110', '0008,1120', '0032,1064', '0040,0008', '0040,0100']


class Generator:
    "Writes dumps as people and programs write them"

    def __init__(self, seed):
        self.random = Random(seed)

    def tag(self, tag):
        if self.random.random() < .3:
            tag = tag.upper()
        if self.random.random() < .1:
            tag = tag.replace(',', ' , ')
        return '(%s)' % tag

    def line(self, depth, tag, vr, value):
        random = self.random
        indent = random.choice(['', ' ' * depth, '\t' * depth])
        between = random.choice([' ', '  ', '\t'])
        end = random.choice(
            ['', '', '', ' ', '   # 4, 1 Keyword', '\t# note', '#'])
        parts = [self.tag(tag), vr, value]
        return indent + between.join(p for p in parts if p) + end

    def text(self):
        return ''.join(self.random.choices(
                PIECES, k=self.random.choice([0, 1, 1, 2, 3, 6])))

    def elements(self, depth):
        random = self.random
        chosen = {}
        for tag, vr, _ in random.sample(TEXTS, random.randint(1, 6)):
            value = '[%s]' % self.text()
            chosen[tag] = [self.line(depth, tag, vr, value)]
        for tag, vr, values in random.sample(CODED, random.randint(1, 5)):
            value = random.choice(values)
            if not value and random.random() < .3:
                value = '(no value available)'
            else:
                value = '[%s]' % value
            known = random.choice([vr, vr, ''])
            chosen[tag] = [self.line(depth, tag, known, value)]
        for tag, vr, values in random.sample(NUMBERS, random.randint(0, 3)):
            chosen[tag] = [self.line(depth, tag, vr, random.choice(values))]
        if depth < 4:
            for tag in random.sample(SEQUENCES, random.randint(0, 2)):
                chosen[tag] = self.sequence(depth, tag)
        lines = [chosen[tag] for tag in sorted(chosen)]
        if random.random() < .2:
            random.shuffle(lines)
        if random.random() < .2:
            lines.insert(0, [random.choice(['', '# a comment', '  '])])
        return [line for group in lines for line in group]

    def sequence(self, depth, tag, items=None):
        length = self.random.choice(['undefined', 'explicit'])
        if items is None:
            items = [
                self.elements(depth + 1)
                for _ in range(self.random.randint(0, 3))]
        lines = [self.line(
                depth, tag, 'SQ',
                self.random.choice([
                        '(Sequence with %s length #=%d)' % (
                            length, len(items)),
                        '']))]
        for item in items:
            lines.append(self.line(
                    depth, 'fffe,e000', 'na', '(Item with %s length #=%d)' % (
                        length, len(item))))
            lines += item
            lines.append(self.line(
                    depth, 'fffe,e00d', 'na', '(ItemDelimitationItem)'))
        lines.append(self.line(
                depth, 'fffe,e0dd', 'na', '(SequenceDelimitationItem)'))
        return lines


def by_dump2dcm(content):
    "Return the dataset that dcmtk makes of the bytes of a dump"
    with tempfile.TemporaryDirectory() as folder:
        source = os.path.join(folder, 'dump')
        target = os.path.join(folder, 'wl')
        with open(source, 'wb') as file:
            file.write(content)
        subprocess.run(
            ['dump2dcm', '-g', '+te', '+l', '65536', source, target],
            check=True, capture_output=True)
        return Dataset(dcmread(target))


def plain(dataset):
    """Return the dataset as lists and texts, for comparison

    Spaces that pad a value mean nothing.
    """
    result = {}
    for element in dataset:
        value = element.value
        if element.VR == 'SQ':
            value = [plain(item) for item in value]
        elif element.VM > 1:
            value = [str(v).rstrip(' ') for v in value]
        else:
            # pydicom leaves the designation of this set in the text
            value = str(
                '' if value is None else value).replace('\x1b$)A', '')
        result[element.keyword or str(element.tag)] = (element.VR, value)
    return result


def encode(text, charset):
    "Write the values between brackets in the character set"
    if '\\' not in charset:
        return text.encode(python_encoding[charset])
    encodings = convert_encodings(charset.split('\\'))
    lines = []
    for line in text.split('\n'):
        before, bracket, rest = line.partition('[')
        if not bracket or line.isascii():
            lines.append(line.encode('ascii'))
            continue
        value, _, after = rest.rpartition(']')
        if charset.endswith('IR 58'):
            # pydicom leaves out the designation of the set
            value = re.sub(r'[^^=]+', lambda match: (
                    '\x1b$)A' * (not match[0].isascii()) + match[0]), value)
            value = value.encode('gb2312')
        elif ' PN ' in before:
            value = PersonName(value).encode(encodings)
        else:
            value = encode_string(value, encodings)
        lines.append(b'%s[%s]%s' % (before.encode(), value, after.encode()))
    return b'\n'.join(lines)


class DifferentialTestCase(unittest.TestCase):
    "Test that dump2dcm reads what dataset.py reads"

    maxDiff = 2000

    def test_generated(self):
        generator = Generator(SEED)
        items = [generator.elements(1) for _ in range(ITEMS)]
        text = '\n'.join(
            ['(0008,0005) CS [ISO_IR 192]']
            + generator.sequence(0, '0040,0100', items))
        ours, _ = parse_dump(text)
        theirs = by_dump2dcm(text.encode())
        self.assertEqual(len(ours.ScheduledProcedureStepSequence), ITEMS)
        for i, (our, their) in enumerate(zip(
                    ours.ScheduledProcedureStepSequence,
                    theirs.ScheduledProcedureStepSequence)):
            with self.subTest(item='\n'.join(items[i])):
                self.assertEqual(plain(our), plain(their))

    def test_top(self):
        "The same on the top level, where the file's own group begins"
        generator = Generator(SEED + 1)
        for _ in range(10):
            text = '\n'.join([
                    '(0002,0010) UI =LittleEndianExplicit',
                    '(0008,0005) CS [ISO_IR 192]', *generator.elements(0)])
            with self.subTest(text=text):
                ours, _ = parse_dump(text)
                self.assertEqual(
                    plain(by_dump2dcm(text.encode())), plain(ours))

    def test_charsets(self):
        for charset, name in CHARSETS:
            with self.subTest(charset=charset):
                text = render(
                    'dump2dcm', SpecificCharacterSet=Trusted(charset),
                    PatientName=name,
                    RequestedProcedureDescription=escape_dump(
                        'a ] [ "%s"' % name.split('=')[0]))
                ours, _ = parse_dump(text)
                self.assertEqual(check(ours), [])
                self.assertEqual(
                    plain(by_dump2dcm(encode(text, charset))), plain(ours))


# PS3.3 C.12.1.1.2; the last ones with code extensions
CHARSETS = [
    ('ISO_IR 100', 'Müller^Íñigo'),
    ('ISO_IR 101', 'Dvořák^Žofie'),
    ('ISO_IR 109', 'Ġorġ^Ħamid'),
    ('ISO_IR 110', 'Āboliņš^Ģirts'),
    ('ISO_IR 126', 'Διονυσιος^Ελένη'),
    ('ISO_IR 127', 'قباني^لنزار'),
    ('ISO_IR 138', 'שרון^דבורה'),
    ('ISO_IR 144', 'Люкceмбypг^Роза'),
    ('ISO_IR 148', 'Çavuşoğlu^İpek'),
    ('ISO_IR 166', 'สมชาย^ใจดี'),
    ('ISO_IR 192', 'Müller^张三^สม'),
    ('GB18030', '王^小东'),
    ('GBK', '王^小东'),
    ('ISO_IR 13', 'ﾔﾏﾀﾞ^ﾀﾛｳ'),
    ('ISO 2022 IR 13\\ISO 2022 IR 87', 'ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう'),
    ('\\ISO 2022 IR 87', 'Yamada^Tarou=山田^太郎=やまだ^たろう'),
    ('\\ISO 2022 IR 149', 'Hong^Gildong=洪^吉洞=홍^길동'),
    ('\\ISO 2022 IR 58', 'Zhang^XiaoDong=张^小东='),
    ]
