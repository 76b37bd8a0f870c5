# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a release depends on: its bill of materials, and known advisories."""
import datetime as dt
import json
import re
import sys
from configparser import ConfigParser
from pathlib import Path

from release import advisories
from release.build import bill_of_materials

ROOT = Path(__file__).resolve().parent.parent


def pinned():
    text = advisories.CONSTRAINTS.read_text(encoding='utf-8')
    return {normal(name) for name in re.findall(
            r'^([\w.-]+)==', text, re.MULTILINE)}


def normal(name):
    return re.sub('[-_.]+', '-', name).lower()


def required():
    parser = ConfigParser()
    parser.read(ROOT / 'setup.cfg')
    lines = parser['options']['install_requires'].split('\n')
    return {normal(re.match(r'[\w.-]+', line).group())
        for line in lines if line}


def test_advisories():
    "What is pinned has no known advisory, as far as can be asked"
    code, text = advisories.verdict(advisories.audit())
    print(text)
    assert not code, text


def test_verdict():
    "An advisory fails, an unreachable database does not"
    def output(**values):
        return json.dumps({'dependencies': [
                    {'name': 'genshi', 'version': '0.7.1', **values}]})

    found = advisories.answer_of(output(vulns=[
                {'id': 'X-1', 'fix_versions': ['0.7.2']}]))
    code, text = advisories.verdict(found)
    assert code == 1
    assert 'genshi 0.7.1: X-1 (fixed in 0.7.2)' in text
    code, text = advisories.verdict(
        advisories.answer_of(output(vulns=[])))
    assert code == 0
    assert "No known advisories" in text
    for nothing in ['', "error", output(skip_reason="not found")]:
        code, text = advisories.verdict(advisories.answer_of(nothing))
        assert code == 0
        assert "not checked" in text
        assert f'{advisories.age()} days' in text


def test_age():
    days = advisories.age()
    assert days >= 0
    later = dt.date.today() + dt.timedelta(days=10)
    assert advisories.age(later) == days + 10


def test_everything_is_pinned():
    assert required() <= pinned()


def test_bill_of_materials(tmp_path):
    "It names what is installed, with versions"
    target = tmp_path / 'bill.cdx.json'
    bill_of_materials(sys.executable, target)
    bill = json.loads(target.read_text(encoding='utf-8'))
    assert bill['bomFormat'] == 'CycloneDX'
    components = {
        normal(c['name']): c['version'] for c in bill['components']}
    assert required() <= components.keys()
    assert all(components.values())
