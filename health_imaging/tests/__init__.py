# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later


def load_tests(loader, tests, pattern):
    return loader.loadTestsFromNames(
        f'{__name__}.{name}' for name in [
            'test_module', 'test_order', 'test_pictures', 'test_report',
            'test_result', 'test_rights', 'test_scenario', 'test_slip'])
