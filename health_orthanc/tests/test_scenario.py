# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import unittest

from trytond.tests.test_tryton import drop_db, load_doc_tests


def load_tests(*args, **kwargs):
    return load_doc_tests(__name__, __file__, *args, **kwargs)


def test_scenarios():
    "For pytest, which knows no load_tests"
    # scenarios make databases, and the tests before may have left theirs
    drop_db()
    suite = load_tests(unittest.defaultTestLoader, unittest.TestSuite(), None)
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    assert result.testsRun and result.wasSuccessful()
