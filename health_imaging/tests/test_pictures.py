# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import io
import random
import unittest
import warnings

from PIL import Image

from trytond.modules.health_imaging.pictures import fit, scale_down

from .tools import PNG


def encode(image, format_, **options):
    output = io.BytesIO()
    image.save(output, format_, **options)
    return output.getvalue()


class PicturesTestCase(unittest.TestCase):
    "Test the pictures of the printed report"

    def open(self, data):
        scaled, mimetype, width, height = scale_down(data, 64, 64)
        image = Image.open(io.BytesIO(scaled))
        self.assertEqual(image.size, (width, height))
        self.assertEqual(Image.MIME[image.format], mimetype)
        return image

    def test_formats_and_modes(self):
        gray = Image.linear_gradient('L')
        for format_, mode in [
                ('PNG', '1'), ('PNG', 'L'), ('PNG', 'LA'), ('PNG', 'P'),
                ('PNG', 'RGB'), ('PNG', 'RGBA'), ('GIF', 'P'), ('BMP', 'RGB'),
                ('WEBP', 'RGB'), ('TIFF', 'I'), ('TIFF', 'F'),
                ('JPEG', 'L'), ('JPEG', 'RGB'), ('JPEG', 'CMYK')]:
            with self.subTest(format=format_, mode=mode):
                image = self.open(encode(gray.convert(mode), format_))
                self.assertEqual(image.size, (64, 64))
                self.assertIn(image.mode, {'L', 'RGB'})
                # as bright as before: black above, white below
                image = image.convert('L')
                self.assertLess(image.getpixel((32, 0)), 30)
                self.assertGreater(image.getpixel((32, 63)), 225)

    def test_sixteen_bits(self):
        for highest in [4095, 65535]:
            data = b''.join(
                value.to_bytes(2, 'little') for value in [0, highest])
            image = self.open(
                encode(Image.frombytes('I;16', (2, 1), data), 'PNG'))
            self.assertEqual(image.getextrema(), (0, 255))

    def test_transparent(self):
        clear = Image.new('RGBA', (9, 9), '#ff000000')
        image = self.open(encode(clear, 'PNG'))
        self.assertEqual(image.getpixel((4, 4)), (255, 255, 255))

    def test_upright(self):
        turned = Image.Exif()
        turned[0x112] = 6
        data = encode(Image.new('RGB', (300, 100)), 'JPEG', exif=turned)
        self.assertEqual(fit(data, 8, 8)[2:], ('2.67cm', '8.00cm'))

    def test_fit(self):
        self.assertEqual(
            fit(encode(Image.new('L', (500, 250)), 'PNG'), 8, 8)[1:],
            ('image/png', '8.00cm', '4.00cm'))
        # small pictures stay small, thin ones visible
        self.assertEqual(fit(PNG, 8, 8)[2:], ('0.05cm', '0.05cm'))
        self.assertEqual(
            fit(encode(Image.new('L', (5000, 1)), 'PNG'), 8, 8)[2:],
            ('8.00cm', '0.05cm'))

    def test_refused(self):
        photo = encode(Image.linear_gradient('L').resize((800, 800)), 'JPEG')
        huge = encode(Image.new('1', (20000, 20000)), 'PNG')
        self.assertLess(len(huge), 100_000)
        for name, data in [
                ('nothing', None), ('empty', b''), ('text', b'%PDF-1.4'),
                ('header only', PNG[:16] + bytes(8)),
                ('truncated', photo[:len(photo) // 2]), ('huge', huge),
                ('postscript', b'%!PS-Adobe-3.0 EPSF-3.0\n')]:
            with self.subTest(name=name), warnings.catch_warnings():
                warnings.simplefilter('ignore')
                self.assertIsNone(fit(data, 8, 8))

    def test_damaged(self):
        "Whatever the bytes are, it is a picture or it is none"
        small = Image.linear_gradient('L').resize((40, 40))
        files = [
            encode(small.convert(mode), format_) for format_, mode in [
                ('JPEG', 'RGB'), ('PNG', 'L'), ('GIF', 'P'), ('BMP', 'RGB'),
                ('WEBP', 'RGB'), ('TIFF', 'RGB'), ('PNG', 'RGBA')]]
        chance = random.Random(1)
        read = 0
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            for data in files * 60:
                data = bytearray(data)
                for _ in range(chance.randint(1, 20)):
                    data[chance.randrange(len(data))] = chance.randrange(256)
                read += bool(fit(bytes(data), 8, 8))
        self.assertGreater(read, 20)
