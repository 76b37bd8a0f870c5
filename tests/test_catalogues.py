# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every text of the three modules stands translated in each catalogue."""
import re
import unittest

import catalogues
from trytond.i18n import gettext
from trytond.pool import Pool
from trytond.tests.test_tryton import (
    activate_module, drop_db, with_transaction)
from trytond.transaction import Transaction

PLACEHOLDER = re.compile(r'%\(\w+\)[sdf]|<[^<>]+>')
# the same in many languages: names, codes, units
LATIN_WORD = re.compile(r'[A-Za-z]{4,}')


class CataloguesTestCase(unittest.TestCase):
    "Test the translations"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        drop_db()
        activate_module(catalogues.MODULES)

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        drop_db()

    @with_transaction()
    def test_complete(self):
        "No text is missing, none is left over"
        for module in catalogues.MODULES:
            texts = set(map(catalogues.key, catalogues.template(module)))
            self.assertTrue(texts)
            for language in catalogues.LANGUAGES:
                with self.subTest(module=module, language=language):
                    catalogue = catalogues.load(module, language)
                    entries = list(map(catalogues.key, catalogue))
                    self.assertEqual(len(set(entries)), len(entries))
                    self.assertEqual(
                        sorted(texts - set(entries)), [],
                        "without entry: run make locale and translate")
                    self.assertEqual(
                        sorted(set(entries) - texts), [],
                        "not in the module any more: run make locale")
                    self.assertEqual(
                        [e.msgid for e in catalogue
                            if not e.msgstr.strip() or e.fuzzy], [],
                        "not translated")

    def test_placeholders(self):
        "A translation names the same records as the text, in its own order"
        for module in catalogues.MODULES:
            for language in catalogues.LANGUAGES:
                for entry in catalogues.load(module, language):
                    with self.subTest(
                            module=module, language=language,
                            text=entry.msgid):
                        self.assertEqual(
                            sorted(PLACEHOLDER.findall(entry.msgid)),
                            sorted(PLACEHOLDER.findall(entry.msgstr)))

    def test_translated(self):
        "Sentences are in the language, not copied"
        for module in catalogues.MODULES:
            for language in catalogues.LANGUAGES:
                same = [
                    e.msgid for e in catalogues.load(module, language)
                    if e.msgid == e.msgstr
                    and len(LATIN_WORD.findall(e.msgid)) > 3]
                with self.subTest(module=module, language=language):
                    self.assertEqual(same, [])

    @with_transaction()
    def test_used(self):
        "What a person reads is in the person's language"
        Translation = Pool().get('ir.translation')
        Lang = Pool().get('ir.lang')
        known = {lang.code for lang in Lang.search([])}
        Lang.create([{
                    'code': code, 'name': code, 'date': '%d/%m/%Y',
                    'grouping': '[]', 'decimal_point': '.',
                    'thousands_sep': '', 'translatable': False,
                    }
                for code in catalogues.LANGUAGES if code not in known])
        name = 'health_imaging.msg_no_test'
        for language in catalogues.LANGUAGES:
            with self.subTest(language=language):
                Translation.translation_import(
                    language, 'health_imaging',
                    str(catalogues.path('health_imaging', language)))
                with Transaction().set_context(language=language):
                    translated = gettext(name)
                self.assertNotEqual(translated, gettext(name))
