# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from types import ModuleType
from unittest import TestCase
from unittest.mock import patch

from trytond.modules import health_imaging
from trytond.modules.health_imaging import packages


class PackagesTestCase(TestCase):
    "Test what is said of other packages with the same modules"

    def setUp(self):
        packages.warn.cache_clear()
        self.addCleanup(packages.warn.cache_clear)

    def test_warn(self):
        "The package to remove is named"
        with patch.object(packages, 'installed') as installed:
            installed.return_value = ['gnuhealth-orthanc']
            with self.assertLogs(packages.logger, 'ERROR') as logs:
                packages.warn()
        self.assertIn("pip uninstall gnuhealth-orthanc;", logs.output[0])

    def test_warn_nothing(self):
        with patch.object(packages, 'REPLACED', ('no-such-package',)):
            with patch.object(packages.logger, 'error') as error:
                packages.warn()
        error.assert_not_called()

    def test_check(self):
        packages.check(health_imaging)
        with self.assertRaisesRegex(ImportError, "has replaced it"):
            packages.check(ModuleType('health_imaging'))
