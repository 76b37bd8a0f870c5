# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Newer versions of Orthanc, as newer releases of Debian have them.

They are not installed: their packages are unpacked in the state folder, once,
and the program is run with the libraries that came with it. That needs no
root and leaves the machine's own Orthanc alone.
"""
import shutil
import subprocess

from demo.state import State

SUITES = ('trixie', 'sid')
MIRROR = 'http://deb.debian.org/debian'
ARCHITECTURE = 'x86_64-linux-gnu'
SCRIPT = """#!/bin/sh
root={root}
libraries=$root/usr/lib/{architecture}
export DCMDICTPATH=$root/usr/share/dcmtk/dicom.dic
exec "$libraries/ld-linux-x86-64.so.2" \\
    --library-path "$libraries:$libraries/systemd" \\
    "$root/usr/sbin/Orthanc" "$@"
"""


class OrthancMissing(Exception):
    "An Orthanc cannot be had"


def fetch(suite):
    "Return the program that runs the Orthanc of a release of Debian"
    folder = State().root / 'orthancs' / suite
    program = folder / 'Orthanc'
    if program.exists():
        return program
    if not shutil.which('debootstrap'):
        raise OrthancMissing(
            "debootstrap is missing: run 'apt-get install debootstrap' as "
            "root, then try again.")
    shutil.rmtree(folder, ignore_errors=True)
    packages, root = folder / 'packages', folder / 'root'
    root.mkdir(parents=True)
    run('debootstrap', '--download-only', '--variant=minbase',
        '--include=orthanc', suite, packages, MIRROR)
    for package in (packages / 'var/cache/apt/archives').glob('*.deb'):
        run('dpkg-deb', '--extract', package, root)
    shutil.rmtree(packages)
    making = folder / 'making'
    making.write_text(SCRIPT.format(root=root, architecture=ARCHITECTURE))
    making.chmod(0o755)
    making.rename(program)
    return program


def run(*command):
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT)
    if done.returncode:
        raise OrthancMissing("%s failed: %s" % (
                command[0], done.stdout.decode('utf-8', 'replace')[-1000:]))


def version(program):
    "Return the version that an Orthanc tells"
    answer = subprocess.run(
        [program, '--version'], stdin=subprocess.DEVNULL, check=True,
        stdout=subprocess.PIPE, text=True)
    return answer.stdout.split('\n')[0].split()[-1]
