# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from trytond.tests.test_tryton import ModuleTestCase


class HealthImagingWorklistTestCase(ModuleTestCase):
    "Test Health Imaging Worklist module"
    module = 'health_imaging_worklist'


del ModuleTestCase
