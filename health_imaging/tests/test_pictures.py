# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import unittest

from trytond.modules.health_imaging.pictures import fit, picture_size

from .tools import PNG


class PicturesTestCase(unittest.TestCase):
    "Test the pictures of the printed report"

    def test_picture_size(self):
        jpeg = (
            b'\xff\xd8\xff\xe0\x00\x04ab\xff\xff\xc2\x00\x11\x08'
            b'\x00\x20\x00\x10' + bytes(20))
        for data, size in [
                (PNG, ('image/png', 1, 1)),
                (b'GIF89a' + b'\x03\x00\x02\x00', ('image/gif', 3, 2)),
                (b'BM' + bytes(16) + b'\x05\0\0\0\xfe\xff\xff\xff',
                    ('image/bmp', 5, 2)),
                (jpeg, ('image/jpeg', 16, 32)),
                (jpeg[:9], None),
                (b'\xff\xd8\x00' + bytes(20), None),
                (PNG[:20], None),
                (b'', None),
                (b'%PDF-1.4', None)]:
            with self.subTest(data=data[:12]):
                self.assertEqual(picture_size(data), size)
        self.assertEqual(fit(jpeg, 8, 8)[1:], (
                'image/jpeg', '4.00cm', '8.00cm'))
        self.assertIsNone(fit(None, 8, 8))
        self.assertIsNone(fit(PNG[:16] + bytes(8), 8, 8))
