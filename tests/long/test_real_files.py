# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The real DICOM files that pydicom, pydicom-data, nibabel and dicognito
ship, stored in Orthanc and synchronized."""
import bz2
import gzip
import subprocess
import sys
import tarfile
import unittest
import zipfile
from collections import Counter
from pathlib import Path

import pydicom

from demo.state import State
from trytond.modules.health_orthanc.client import OrthancError
from trytond.modules.health_orthanc.tests.mirror import SyncMixin
from trytond.pool import Pool
from trytond.tests.test_tryton import with_transaction

# dicognito's files are in its source archive only
PACKAGES = [
    ('pydicom-data == 1.0.0', '--only-binary'),
    ('nibabel == 5.4.2', '--only-binary'),
    ('dicognito == 0.19.0', '--no-binary'),
    ]
FOLDERS = {'__pycache__', '.git'}


def fetch():
    "Return the folder of the packages' files; they are fetched once"
    folder = State().root / 'real-files'
    if not folder.exists():
        making = folder.with_suffix('.making')
        making.mkdir(parents=True, exist_ok=True)
        for requirement, kind in PACKAGES:
            subprocess.run(
                [sys.executable, '-m', 'pip', 'download', '--quiet',
                    '--no-deps', kind, ':all:',
                    '--dest', making, requirement],
                check=True, stdin=subprocess.DEVNULL)
        for archive in list(making.iterdir()):
            if archive.suffix == '.whl':
                zipfile.ZipFile(archive).extractall(making)
            elif archive.suffixes[-2:] == ['.tar', '.gz']:
                tarfile.open(archive).extractall(making, filter='data')
        making.rename(folder)
    return folder


def contents():
    "The content of each file that may be DICOM"
    for folder in [Path(pydicom.__file__).parent, fetch()]:
        for path in sorted(folder.rglob('*')):
            if (not path.is_file() or path.suffix in {'.py', '.pyc', '.whl'}
                    or FOLDERS & set(path.parts)):
                continue
            content = path.read_bytes()
            try:
                if path.suffix == '.gz':
                    content = gzip.decompress(content)
                elif path.suffix == '.bz2':
                    content = bz2.decompress(content)
            except (OSError, EOFError):
                continue
            yield content


class RealFilesTestCase(SyncMixin, unittest.TestCase):
    "Test real DICOM files"

    @with_transaction()
    def test_real_files(self):
        "Test that each study, series and instance is present, none failed"
        refused = Counter()
        with self.orthanc.client() as client:
            for content in contents():
                # a broken file is Orthanc's to refuse
                try:
                    client.store(content)
                except OrthancError as error:
                    self.assertIsNotNone(error.status)
                    refused[content[128:132] == b'DICM'] += 1
            counts = client.statistics()
        self.assertGreater(counts['CountStudies'], 60)
        self.assertGreater(counts['CountInstances'], 150)
        print({n: counts[n] for n in [
                    'CountStudies', 'CountSeries', 'CountInstances']},
            "refused by Orthanc:", refused[True], "with a DICOM preamble,",
            refused[False], "other files")
        for kind in ['full', 'new']:
            server = self.server(self.orthanc.url + '/' * (kind == 'new'))
            run = self.sync(server, kind)
            self.assertRun(
                run, new=counts['CountStudies'], failed=0, missing=0)
            self.assertMirrors(server)
            Quarantine = Pool().get('gnuhealth.orthanc.sync.quarantine')
            self.assertFalse(Quarantine.search([]))
