# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Do the pinned dependencies have known security advisories?

    python3 -m release.advisories

Exit code 1: some have. Where the database of advisories cannot be reached
nothing is known; then the age of the pins is told, and the code is 0.
"""
import datetime as dt
import json
import re
import subprocess
import sys
from pathlib import Path

__all__ = [
    'CONSTRAINTS', 'age', 'answer_of', 'audit', 'findings', 'verdict']

CONSTRAINTS = Path(__file__).with_name('constraints.txt')
# seconds
PATIENCE = 180


def age(today=None):
    "The days since the versions were pinned"
    pinned = re.search(
        r'^# pinned (\d{4}-\d\d-\d\d)$',
        CONSTRAINTS.read_text(encoding='utf-8'), re.MULTILINE)
    return ((today or dt.date.today())
        - dt.date.fromisoformat(pinned.group(1))).days


def audit(constraints=CONSTRAINTS):
    "Ask pip-audit; return its packages, None if it reached no database"
    command = [
        sys.executable, '-m', 'pip_audit', '--requirement', str(constraints),
        '--no-deps', '--disable-pip', '--format', 'json',
        '--progress-spinner', 'off']
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return None
    return answer_of(done.stdout)


def answer_of(output):
    "Return the packages that pip-audit looked up, None if it found none"
    if not output.startswith('{'):
        return None
    packages = json.loads(output)['dependencies']
    # A mirror of PyPI without advisories knows no package at all.
    return [p for p in packages if 'skip_reason' not in p] or None


def findings(packages):
    "Return a line for each advisory"
    lines = []
    for package in packages:
        for advisory in package.get('vulns', []):
            fixed = ', '.join(advisory['fix_versions']) or "no release yet"
            lines.append(f"{package['name']} {package['version']}: "
                f"{advisory['id']} (fixed in {fixed})")
    return lines


def verdict(packages):
    "Return the exit code and what to print"
    days = age()
    if packages is None:
        return 0, (
            "Advisories not checked: their database cannot be reached. "
            f"The versions were pinned {days} days ago.")
    lines = findings(packages)
    if lines:
        return 1, '\n'.join(["Known advisories:", *lines])
    return 0, f"No known advisories in what was pinned {days} days ago."


if __name__ == '__main__':
    code, text = verdict(audit())
    print(text)
    sys.exit(code)
