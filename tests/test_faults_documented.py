# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"The table of faults of the synchronization names its tests"
import importlib
import re

from demo.state import REPOSITORY

DOC = REPOSITORY / 'health_orthanc' / 'doc' / 'faults.rst'
PACKAGE = 'trytond.modules.health_orthanc.tests'


def test_faults_are_tested():
    "Each row is a fault of a test, or names a test; no fault is left out"
    text = DOC.read_text(encoding='utf-8')
    rows = re.findall(r'^   \* - .+\n     - .+\n     - (.+)$', text, re.M)
    assert len(rows) == text.count('   * - ')
    assert len(rows) > 25
    tests = importlib.import_module(f'{PACKAGE}.test_faults')
    faults = {*tests.SERVER, *tests.SURVIVED, *tests.RESOURCES}
    assert rows.pop(0) == 'Test'
    for row in rows:
        if row in faults:
            faults.discard(row)
            continue
        module, class_, test = row.split('.')
        tests = importlib.import_module(f'{PACKAGE}.{module}')
        assert callable(getattr(getattr(tests, class_), test))
    assert not faults
