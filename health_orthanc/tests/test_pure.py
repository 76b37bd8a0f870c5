# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import unittest

from cryptography.fernet import Fernet

from trytond.modules.health_orthanc.links import (
    explorer_link, ohif_link, stone_link)
from trytond.modules.health_orthanc.secrets import SecretError, Vault


class VaultTestCase(unittest.TestCase):
    "Test what is stored of a password"

    def test_without_key(self):
        vault = Vault()
        self.assertFalse(vault.encrypts)
        stored = vault.encrypt('pass word')
        self.assertEqual(vault.decrypt(stored), 'pass word')

    def test_nothing(self):
        for vault in [Vault(), Vault(Fernet.generate_key().decode())]:
            self.assertIsNone(vault.encrypt(''))
            self.assertIsNone(vault.decrypt(None))

    def test_rotation(self):
        old, new = (Fernet.generate_key().decode() for _ in range(2))
        stored = Vault(old).encrypt('pass word')
        self.assertNotIn('pass', stored)
        rotated = Vault(f'{new}, {old}')
        self.assertEqual(rotated.decrypt(stored), 'pass word')
        again = rotated.encrypt('pass word')
        self.assertEqual(Vault(new).decrypt(again), 'pass word')
        for vault in [Vault(), Vault(old)]:
            with self.assertRaises(SecretError):
                vault.decrypt(again)

    def test_clear_is_read_with_a_key(self):
        stored = Vault().encrypt('pass word')
        key = Fernet.generate_key().decode()
        self.assertEqual(Vault(key).decrypt(stored), 'pass word')

    def test_bad_key(self):
        with self.assertRaises(SecretError):
            Vault('not-a-key')


class LinkTestCase(unittest.TestCase):
    "Test the addresses of viewers"

    def test_links(self):
        base = 'https://pacs.example.org/orthanc'
        for link, expected in [
                (ohif_link(base, '1.2.3'),
                    '/ohif/viewer?StudyInstanceUIDs=1.2.3'),
                (ohif_link(base, '1.2.3', '1.2.4'),
                    '/ohif/viewer?StudyInstanceUIDs=1.2.3'
                    '&SeriesInstanceUIDs=1.2.4'),
                (stone_link(base, '1.2.3', '1.2.4'),
                    '/stone-webviewer/index.html?study=1.2.3&series=1.2.4'),
                (explorer_link(base, 'series', 'a-b'),
                    '/app/explorer.html#series?uuid=a-b'),
                (explorer_link(base + '/', 'study', 'a'),
                    '/app/explorer.html#study?uuid=a'),
                ]:
            with self.subTest(expected=expected):
                self.assertEqual(link, base + expected)

    def test_bad_uids(self):
        for uid in [None, '', '1.2&study=3', '1.2 ', '1' * 65, '../x', '１']:
            with self.subTest(uid=uid):
                self.assertIsNone(ohif_link('https://x.example.org', uid))
                self.assertIsNone(stone_link('https://x.example.org', uid))
        self.assertIsNone(ohif_link('', '1.2'))
        self.assertIsNone(explorer_link(None, 'study', 'a'))


if __name__ == '__main__':
    unittest.main()
