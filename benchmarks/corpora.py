# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Archives to measure with: many small studies, made once and kept.

The files are made from one dataset whose identifiers are replaced in the
encoded bytes, so that 20,000 of them take seconds. Names and dates are such
that upstream 5.0.4 can take them: no PatientID above eight characters, no
tag missing that it asks for.
"""
import io
import queue
import shutil
import threading
import zipfile
from contextlib import closing
from dataclasses import dataclass

from pydicom.uid import CTImageStorage

from trytond.modules.health_orthanc.tests.orthanc import Orthanc, dicom

__all__ = ['CORPORA', 'Corpus', 'orthanc_of']

# files in one archive to send; what one request of Orthanc takes
BATCH = 500
SENDERS = 3
ROOT = '1.2.826.0.1.3680043.10.1368'


@dataclass
class Corpus:
    studies: int
    series: int
    instances: int

    @property
    def name(self):
        return f'{self.studies}x{self.series}x{self.instances}'

    @property
    def size(self):
        return self.studies * self.series * self.instances

    def files(self):
        "The encoded instances"
        template = dicom(
            SOPClassUID=CTImageStorage,
            StudyInstanceUID=f'{ROOT}.1.9999999',
            SeriesInstanceUID=f'{ROOT}.2.9999999.88',
            SOPInstanceUID=f'{ROOT}.3.9999999.88.7777',
            PatientID='B9999999', PatientName='Family9999999^Given',
            StudyDate='99990101', ReferringPhysicianName='Referring^Rita',
            InstitutionName="Test Hospital", BodyPartExamined='HEAD',
            StationName='CT1', SeriesDescription="Axial", SeriesNumber='88',
            InstanceNumber='7777', ImagePositionPatient=[0, 0, 1])
        images = [template
            .replace(b'88', b'%d' % (10 + series))
            .replace(b'7777', b'%d' % (1000 + instance))
            for series in range(self.series)
            for instance in range(self.instances)]
        for study in range(self.studies):
            number = b'%d' % (1000000 + study)
            date = b'%d%02d%02d' % (
                1990 + study % 30, 1 + study % 12, 1 + study % 28)
            for image in images:
                yield (image
                    .replace(b'9999999', number).replace(b'99990101', date))


CORPORA = [
    Corpus(1600, 2, 5), Corpus(40, 2, 200), Corpus(1000, 1, 1),
    Corpus(20000, 1, 1)]


def orthanc_of(corpus, folder):
    "An Orthanc, not started, that holds the corpus; it is made if need be"
    target = folder / corpus.name
    if not target.exists():
        making = folder / (corpus.name + '.making')
        shutil.rmtree(making, ignore_errors=True)
        with Orthanc(folder=making) as orthanc:
            _fill(orthanc, corpus)
        making.rename(target)
    return Orthanc(folder=target)


def _fill(orthanc, corpus):
    batches = queue.Queue(SENDERS)
    errors = []

    def send():
        with closing(orthanc.client()) as client:
            while (batch := batches.get()) is not None:
                try:
                    client.store(batch)
                except Exception as error:
                    errors.append(error)

    threads = [threading.Thread(target=send) for _ in range(SENDERS)]
    for thread in threads:
        thread.start()
    files = iter(corpus.files())
    try:
        while batch := _archive(files):
            batches.put(batch)
    finally:
        for _ in threads:
            batches.put(None)
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]
    with closing(orthanc.client()) as client:
        found = client.statistics()['CountInstances']
    if found != corpus.size:
        raise RuntimeError(f"{found} instead of {corpus.size} instances")


def _archive(files):
    target = io.BytesIO()
    with zipfile.ZipFile(target, 'w') as archive:
        for number, content in zip(range(BATCH), files):
            archive.writestr(f'{number}', content)
        if archive.namelist():
            archive.close()
            return target.getvalue()
