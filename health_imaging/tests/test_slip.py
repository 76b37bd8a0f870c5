# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import datetime as dt
import io
import os
import subprocess
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree
import zipfile
from pathlib import Path
from unittest.mock import patch

import zxingcpp
from PIL import Image, ImageDraw

from trytond.exceptions import UserError
from trytond.modules.health_imaging import code128
from trytond.pool import Pool
from trytond.tests.test_tryton import (
    activate_module, drop_db, with_transaction)
from trytond.transaction import Transaction

from .tools import (
    DOCTOR, FRONT_DESK, Hospital, create_patient, create_professional,
    create_test, create_user)


def read_barcodes(image):
    "Return what an independent reader finds in the picture"
    return [
        (code.format, code.text) for code in zxingcpp.read_barcodes(image)]


def draw(svg):
    "Return the bars as a picture"
    root = ElementTree.fromstring(svg)
    scale = 10

    def length(element, name):
        return float(element.get(name)) * scale

    image = Image.new('L', (round(length(root, 'width')), 100), 255)
    pen = ImageDraw.Draw(image)
    for bar in root.iter('{http://www.w3.org/2000/svg}rect'):
        if 'fill: rgb(0%,0%,0%)' in bar.get('style', ''):
            x, width = length(bar, 'x'), length(bar, 'width')
            pen.rectangle((round(x), 0, round(x + width) - 1, 100), fill=0)
    return image


def pages(pdf):
    "Return the pages of the PDF as text and as pictures"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'slip.pdf')
        path.write_bytes(pdf)
        subprocess.run(
            ['pdftoppm', '-r', '200', '-png', path, f'{folder}/page'],
            check=True)
        text = subprocess.run(
            ['pdftotext', '-layout', path, '-'],
            check=True, capture_output=True, text=True).stdout
        pictures = []
        for page in sorted(Path(folder).glob('page*.png')):
            with Image.open(page) as picture:
                pictures.append(picture.convert('L'))
    return text.split('\f')[:-1], pictures


class BarcodeTestCase(unittest.TestCase):
    "Test barcodes"

    def test_read(self):
        for text in [
                '1', '001', 'A7', '0123456789', 'ORD2024/00001', 'a-B_9.z',
                '<&>"\'', ' A 1', '12345', '9900', 'X' * 16, '9' * 40]:
            with self.subTest(text=text):
                svg, mimetype, width, height = code128.picture(text)
                self.assertEqual(mimetype, 'image/svg+xml')
                self.assertLessEqual(float(width.removesuffix('mm')), 80)
                self.assertEqual(
                    read_barcodes(draw(svg)),
                    [(zxingcpp.BarcodeFormat.Code128, text)])

    def test_not_readable(self):
        for text in [None, '', 'Ü1', '٣٤٥', '注文1', 'X' * 100]:
            with self.subTest(text=text):
                self.assertIsNone(code128.picture(text))


class SlipTestCase(Hospital, unittest.TestCase):
    "Test the printed request"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        drop_db()
        activate_module('health_imaging')

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        drop_db()

    def print_slip(self, requests, **context):
        Slip = Pool().get('gnuhealth.imaging.request_slip', type='report')
        with Transaction().set_context(_check_access=True, **context):
            extension, content, _, _ = Slip.execute(
                [r.id for r in requests], {})
        return extension, content

    @with_transaction()
    def test_slip(self):
        "One page for an order, with all its lines and its number as barcode"
        Request = Pool().get('gnuhealth.imaging.test.request')
        self.hospital()
        other = create_patient("Bo", "O'Other & <Söhne>", 'TST002GNU')
        referrer = create_professional("Rea", "Ferrer")
        lines = [
            self.request(
                request='ORD2024/00017', requested_test=test, urgent=True,
                date=dt.datetime(2024, 5, 6, 7, 8),
                scheduled_date=dt.datetime(2024, 5, 7, 22, 30),
                referring_professional=referrer,
                comment="Fell down.\nAllergic to iodine.")
            for test in [self.ct, self.mr]]
        Request.write(lines[1:], {'cancel_reason': "One is enough"})
        Request.cancel(lines[1:])
        another = self.request(patient=other)

        extension, content = self.print_slip([lines[0], another])
        self.assertEqual(extension, 'pdf')
        texts, pictures = pages(content)
        self.assertEqual(len(texts), 2)
        first, second = sorted(texts, key=lambda t: "Betz" not in t)
        for text in [
                "Test Hospital", "Betz", "TST001GNU", "ORD2024/00017",
                "ORD2024/00017-01", "ORD2024/00017-02", "CT head", "MR knee",
                "CT", "MR", "Draft", "Cancelled", "Urgent", "Cordara",
                "Ferrer", "Fell down.", "Allergic to iodine.",
                # in Madrid
                "05/08/2024 00:30", "05/06/2024 09:08"]:
            with self.subTest(text=text):
                self.assertIn(text, first)
        self.assertEqual(first.count("Allergic"), 1)
        self.assertNotIn("TST002GNU", first)
        self.assertIn("O'Other & <Söhne>", second)
        self.assertNotIn("Urgent", second)
        self.assertEqual(
            sorted(code for page in pictures for code in read_barcodes(page)),
            sorted((zxingcpp.BarcodeFormat.Code128, r.request)
                for r in [lines[0], another]))

    @with_transaction()
    def test_text_document(self):
        "Without LibreOffice it is a text document; any order is printed"
        Request = Pool().get('gnuhealth.imaging.test.request')
        self.hospital()
        plain = self.request(request='Ü/1')
        old = self.request(requested_test=self.mr)
        table = Request.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.update(
                [table.request, table.request_line, table.institution],
                [None, None, None], where=table.id == old.id))
        many = Request.create([{
                    'patient': self.patient.id,
                    'requested_test': create_test(f'T{i}', f"Test {i}").id,
                    'doctor': self.doctor.id,
                    'request': 'A9',
                    } for i in range(12)])
        desk = create_user('desk', FRONT_DESK)
        with patch.dict(os.environ, PATH=''), \
                self.assertLogs('trytond.modules.health_imaging'), \
                Transaction().set_user(desk.id, set_context=False):
            extension, content = self.print_slip([plain, old, many[0]])
        self.assertEqual(extension, 'odt')
        with zipfile.ZipFile(io.BytesIO(content)) as document:
            text = document.read('content.xml').decode('utf-8')
            bars = [
                document.read(n) for n in document.namelist()
                if n.startswith('Pictures/')]
        self.assertIn("Ü/1", text)
        self.assertIn("MR knee", text)
        self.assertIn("A9-12", text)
        self.assertEqual(
            [read_barcodes(draw(svg)) for svg in bars],
            [[(zxingcpp.BarcodeFormat.Code128, 'A9')]])

    @with_transaction()
    def test_groups(self):
        self.hospital()
        request = self.request()
        user = create_user('nurse', 'health.group_health_nursing')
        with Transaction().set_user(user.id, set_context=False):
            with self.assertRaises(UserError):
                self.print_slip([request])
        user = create_user('doctor', DOCTOR)
        with patch.dict(os.environ, PATH=''), \
                self.assertLogs('trytond.modules.health_imaging'), \
                Transaction().set_user(user.id, set_context=False):
            self.assertTrue(self.print_slip([request])[1])
