# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The printed report, converted and looked at

The pages go as PNG to the folder in the environment's TEST_SCREENSHOTS.
"""
import io
import os
import re
import subprocess
import tempfile
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

from PIL import Image, ImageDraw

from trytond.modules.health_imaging import printing
from trytond.modules.health_imaging.printing import clean, is_rtl
from trytond.modules.health_imaging.result_report import ImagingResultReport
from trytond.pool import Pool
from trytond.tests.test_tryton import (
    activate_module, drop_db, with_transaction)
from trytond.transaction import Transaction

from .test_pictures import encode
from .tools import Hospital, create_patient

ENGLISH = "No fracture of the left hip.\nNo bleeding & nothing <else>."
ARABIC = "لا يوجد كسر في عظم الفخذ الأيسر.\nلا يوجد نزيف."
CHINESE = "左侧股骨未见骨折。\n未见出血。"


def picture(number):
    "Return a picture that shows its number"
    image = Image.linear_gradient('L').resize((400, 300))
    ImageDraw.Draw(image).text(
        (150, 100), str(number), fill=255 - number, font_size=90)
    return encode(image, 'PNG')


class ReportTestCase(Hospital, unittest.TestCase):
    "Test what is printed of a result"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        drop_db()
        activate_module('health_imaging')

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        drop_db()

    def hospital(self):
        super().hospital()
        self.institution.picture = encode(
            Image.new('RGB', (300, 100), '#1f5a7a'), 'PNG')
        self.institution.save()
        self.doctor.code = 'LIC-4711'
        self.doctor.save()

    def attach(self, result, count):
        Attachment = Pool().get('ir.attachment')
        Attachment.create([{
                    'name': f'{n}.png', 'data': picture(n),
                    'resource': str(result), 'description': f"Caption {n}",
                    } for n in range(1, count + 1)])

    def print_(self, *results, name, **context):
        "Return text, pages and number of pictures of the PDF"
        Report = Pool().get('patient.imaging_report_results', type='report')
        with Transaction().set_context(**context):
            extension, content, _, _ = Report.execute(
                [r.id for r in results], {})
        self.assertEqual(extension, 'pdf')
        with tempfile.TemporaryDirectory() as folder:
            pdf = Path(folder, 'report.pdf')
            pdf.write_bytes(content)

            def poppler(program, *arguments):
                return subprocess.run(
                    [program, *arguments], check=True, cwd=folder,
                    capture_output=True).stdout.decode('utf-8')

            text = poppler('pdftotext', '-layout', pdf, '-')
            self.words = poppler('pdftotext', '-bbox', pdf, '-')
            images = poppler('pdfimages', '-list', pdf).splitlines()[2:]
            poppler('pdftoppm', '-png', '-r', '70', pdf, 'page')
            pages = []
            target = os.environ.get('TEST_SCREENSHOTS')
            for page in sorted(Path(folder).glob('page*.png')):
                data = page.read_bytes()
                pages.append(Image.open(io.BytesIO(data)).convert('L'))
                if target:
                    Path(target).mkdir(parents=True, exist_ok=True)
                    Path(target, f'report-{name}-{len(pages)}.png'
                        ).write_bytes(data)
        for page in pages:
            # letters in many grays: neither blank nor black
            self.assertGreater(len(page.getcolors()), 20)
            self.assertGreater(page.histogram()[255], page.width)
        return text, pages, len(images)

    @with_transaction()
    def test_styles(self):
        pool = Pool()
        Result = pool.get('gnuhealth.imaging.test.result')
        self.hospital()
        result = self.result()
        Result.write([result], {'comment': ENGLISH})
        self.attach(result, 5)
        Result.sign([result])
        Result.append_addendum([result], "A cyst in the liver.", urgent=True)
        for style, pictures, captions in [
                ('default', 5, True),
                ('no_images', 0, False),
                ('no_image_comments', 5, False)]:
            with self.subTest(style=style):
                Result.write([result], {'report_style': style})
                text, pages, images = self.print_(
                    Result(result.id), name=style)
                # the logo is a picture, too
                self.assertEqual(images, 1 + pictures)
                self.assertEqual(len(pages), 2 if pictures else 1)
                for n in range(1, 6):
                    self.assertEqual(f"Caption {n}" in text, captions)
                for words in [
                        "Test Hospital", "CT head", "TST001GNU", "Betz",
                        "Female", result.number, result.request.request_line,
                        "No fracture of the left hip.",
                        "No bleeding & nothing <else>.",
                        "A cyst in the liver.", "Urgent finding",
                        "LIC-4711", "Signed on"]:
                    self.assertIn(words, text)
                self.assertNotIn("DRAFT", text)

    @with_transaction()
    def test_draft_and_correction(self):
        Result = Pool().get('gnuhealth.imaging.test.result')
        self.hospital()
        result = self.result()
        Result.write([result], {'comment': ENGLISH * 60})
        self.attach(result, 1)
        Result.sign([result])
        Result.withdraw_signature([result], "Wrong side")
        text, pages, images = self.print_(
            Result(result.id), name='draft')
        self.assertGreater(len(pages), 1)
        self.assertEqual(images, 2)
        # on each page who it is about, and that it is no report yet
        self.assertEqual(text.count("DRAFT"), len(pages))
        self.assertGreater(text.count("TST001GNU"), len(pages))
        self.assertIn("Not signed", text)
        self.assertIn("Corrected. It replaces what was signed before", text)

    @with_transaction()
    def test_right_to_left(self):
        Result = Pool().get('gnuhealth.imaging.test.result')
        self.hospital()
        self.patient = create_patient("ليلى", "حداد", 'TST003GNU')
        result = self.result()
        Result.write([result], {'comment': ARABIC})
        self.attach(result, 1)
        Result.sign([result])
        for language in ['en', 'fa']:
            with self.subTest(language=language):
                text, (page,), images = self.print_(
                    Result(result.id), name=f'arabic-in-{language}',
                    language=language)
                self.assertEqual(images, 2)
                self.assertIn("حداد", text)
                # the findings begin at the right margin, 2 cm wide
                self.assertGreater(self.right_end("نزيف"[::-1]), 500)
                title = self.right_end("head")
                (self.assertGreater if language == 'fa'
                    else self.assertLess)(title, 500)

    def right_end(self, text):
        """Return where the word ends on the page, of 595 points

        The words are as one sees them: Arabic ones backwards.
        """
        found = re.search(
            f'xMax="([0-9.]+)"[^>]*>[^<]*{text}', self.words)
        self.assertTrue(found, self.words)
        return float(found[1])

    @with_transaction()
    def test_chinese(self):
        Result = Pool().get('gnuhealth.imaging.test.result')
        self.hospital()
        self.patient = create_patient("伟", "王", 'TST004GNU')
        result = self.result()
        Result.write([result], {'comment': CHINESE})
        Result.sign([result])
        text, pages, images = self.print_(
            Result(result.id), name='chinese')
        self.assertEqual(images, 1)
        self.assertEqual(len(pages), 1)
        self.assertIn("左侧股骨未见骨折。", text)
        self.assertIn("王", text)

    @with_transaction()
    def test_several(self):
        "Each result begins a page, and each page tells whose it is"
        Result = Pool().get('gnuhealth.imaging.test.result')
        self.hospital()
        signed = self.result()
        Result.sign([signed])
        self.patient = create_patient("Bea", "Corso", 'TST002GNU')
        draft = self.result()
        text, pages, _ = self.print_(signed, draft, name='several')
        self.assertEqual(len(pages), 2)
        one, two = text.split('\f')[:2]
        for page, puid, other, drafts in [
                (one, 'TST001GNU', 'TST002GNU', 0),
                (two, 'TST002GNU', 'TST001GNU', 1)]:
            # in the heading, in the table, at the foot
            self.assertEqual(page.count(puid), 3)
            self.assertEqual(page.count(other), 0)
            self.assertEqual(page.count("DRAFT"), drafts)

    @with_transaction()
    def test_hostile(self):
        "Whatever is written and attached, there is a report"
        pool = Pool()
        Attachment = pool.get('ir.attachment')
        Result = pool.get('gnuhealth.imaging.test.result')
        self.hospital()
        result = self.result()
        Result.write([result], {
                'comment': "Control\x01 \x0b\x1f\x7f characters\n\n"
                "  * indented\tby tab\n<text:p> &amp; ${1/0} "
                + "\U0001f600 " + "x" * 5000})
        photo = encode(Image.linear_gradient('L').resize((900, 900)), 'JPEG')
        turned = Image.Exif()
        turned[0x112] = 6
        Attachment.create([{
                    'name': name, 'data': data, 'resource': str(result)}
                for name, data in {
                    'truncated.jpg': photo[:len(photo) // 2],
                    'huge.png': encode(
                        Image.new('1', (20000, 20000)), 'PNG'),
                    'letter.txt': b'text',
                    'empty.png': None,
                    'cmyk.jpg': encode(
                        Image.new('CMYK', (90, 90), 'red'), 'JPEG'),
                    'turned.jpg': encode(
                        Image.new('RGB', (90, 30)), 'JPEG', exif=turned),
                    'twice.jpg': photo,
                    'again.jpg': photo,
                    'bell\x07 <b>.png': picture(1),
                    }.items()]
            + [{'name': "Elsewhere", 'type': 'link',
                'link': 'https://example.org/', 'resource': str(result)}])
        text, _, images = self.print_(Result(result.id), name='hostile')
        self.assertEqual(images, 1 + 5)
        for words in [
                "Control", "characters", "* indented", "${1/0}",
                "<text:p> &amp;", "twice.jpg", "bell <b>.png",
                "Attached, not printed: truncated.jpg, huge.png, letter.txt,"]:
            self.assertIn(words, text)

    def test_clean(self):
        for text, expected in [
                (None, ''), ('', ''), ("a\x00b\ufffe", "ab"),
                ("  a", "\xa0 a"), ("a  b", "a\xa0 b"),
                ("a\tb", "a\xa0\xa0 b"),
                ("\U0001f600", "\U0001f600")]:
            with self.subTest(text=text):
                self.assertEqual(clean(text), expected)
        for text, expected in [
                ("No", False), (ARABIC, True), ("5 mm " + ARABIC, False),
                ("5 " + ARABIC, True), ("שלום", True), ("12", None)]:
            with self.subTest(text=text):
                self.assertEqual(is_rtl(text, None), expected)


class ConversionTestCase(unittest.TestCase):
    "Test what LibreOffice does, and what happens without it"

    def setUp(self):
        self.report = SimpleNamespace(
            report_name='test', template_extension='fodt', extension='pdf')
        template = Path(
            printing.__file__).parent / 'report/imaging_study_report.fodt'
        self.document = template.read_bytes()

    def convert(self, **options):
        return ImagingResultReport.convert(
            self.report, self.document, **options)

    def test_several_at_a_time(self):
        with ThreadPoolExecutor(3) as pool:
            converted = [
                future.result() for future in
                [pool.submit(self.convert) for _ in range(3)]]
        for extension, content in converted:
            self.assertEqual(extension, 'pdf')
            self.assertTrue(content.startswith(b'%PDF'))

    def test_without_libreoffice(self):
        "The document stays as it is, and the log tells"
        for name, script in [
                ('missing', None),
                ('failing', 'exit 77'),
                ('idle', 'exit 0'),
                ('hanging', 'sleep 600 & sleep 600')]:
            with self.subTest(name=name), \
                    tempfile.TemporaryDirectory() as folder, \
                    patch.dict(os.environ, PATH=f'{folder}:/bin:/usr/bin'):
                if script:
                    program = Path(folder, 'soffice')
                    program.write_text(f'#!/bin/sh\n{script}\n')
                    program.chmod(0o700)
                else:
                    os.environ['PATH'] = folder
                with self.assertLogs(printing.__name__, 'WARNING') as log:
                    extension, content = self.convert(timeout=1)
                self.assertEqual(extension, 'fodt')
                self.assertEqual(content, self.document)
                self.assertIn("LibreOffice failed", log.output[0])

    def test_not_converted(self):
        self.report.extension = 'odt'
        self.report.template_extension = 'odt'
        self.assertEqual(self.convert(), ('odt', self.document))
