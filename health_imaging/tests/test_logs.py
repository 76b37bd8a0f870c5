# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import unittest

from trytond.modules.health_imaging.logs import where


class LogsTestCase(unittest.TestCase):
    "Test what a log says of an error"

    def test_where(self):
        "It has the types and places of the error and its cause, no message"
        def fail():
            try:
                int("Zeynep Aydın")
            except ValueError as cause:
                raise KeyError("Aydın^Zeynep") from cause

        try:
            fail()
        except KeyError as error:
            text = where(error)
        self.assertRegex(text, r'(?s)^KeyError at .*test_logs\.py:\d+ fail')
        self.assertRegex(text, r'from ValueError at .*test_logs\.py:\d+ fail')
        self.assertNotIn("Zeynep", text)

    def test_not_raised(self):
        self.assertEqual(where(ValueError("Zeynep")), "ValueError at unknown")
