# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build a release into dist/: source, wheel, and the wheel's bill of materials.

    make dist

The bill (CycloneDX JSON) lists what an environment holds that has the wheel
with the versions of constraints.txt, and nothing else.
"""
import argparse
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from .advisories import CONSTRAINTS, audit, verdict

__all__ = ['bill_of_materials', 'build', 'environment']

ROOT = Path(__file__).resolve().parent.parent


def run(*command):
    subprocess.run(
        [str(part) for part in command], check=True,
        stdin=subprocess.DEVNULL)


def build(target, source=ROOT):
    "Build source distribution and wheel and return the path of the wheel"
    run(sys.executable, '-m', 'build', '--outdir', target, source)
    wheel, = Path(target).glob('*.whl')
    return wheel


def environment(folder, wheel):
    "Install the wheel into a new environment and return its interpreter"
    venv.create(folder, with_pip=True)
    python = Path(folder, 'bin', 'python')
    run(python, '-m', 'pip', '--quiet', 'install', '--constraint',
        CONSTRAINTS, wheel)
    return python


def bill_of_materials(python, target):
    "Write the bill of materials of an environment"
    run(sys.executable, '-m', 'cyclonedx_py', 'environment',
        '--output-reproducible', '--output-file', target, python)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--outdir', type=Path, default=ROOT / 'dist')
    target = parser.parse_args().outdir
    wheel = build(target)
    with tempfile.TemporaryDirectory() as folder:
        bill_of_materials(
            environment(folder, wheel), target / f'{wheel.stem}.cdx.json')
    code, text = verdict(audit())
    print(text)
    return code


if __name__ == '__main__':
    sys.exit(main())
