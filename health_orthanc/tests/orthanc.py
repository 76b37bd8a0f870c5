# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"A real Orthanc on free ports of the loopback, and small studies to store"
import io
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import closing
from pathlib import Path

from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid)

from trytond.modules.health_orthanc.client import OrthancClient, Unreachable

USER, PASSWORD = 'tester', 'a-test-password'
# `make orthancs` chooses others
PROGRAM = os.environ.get('TEST_ORTHANC') or 'Orthanc'


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(('127.0.0.1', 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


class Orthanc:
    """An Orthanc that lives as long as its context

    What it holds is kept if it is given a folder.
    """

    def __init__(self, folder=None, **options):
        self.kept = bool(folder)
        self.folder = Path(
            folder or tempfile.mkdtemp(prefix='orthanc-test-')).absolute()
        http, dicom = free_ports(2)
        self.url = 'http://127.0.0.1:%d' % http
        self.options = {
            'Name': 'test',
            'HttpPort': http,
            'DicomPort': dicom,
            'RemoteAccessAllowed': False,
            'AuthenticationEnabled': True,
            'RegisteredUsers': {USER: PASSWORD},
            'DefaultEncoding': 'Utf8',
            'StableAge': 60,
            'Plugins': [],
            **options}
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, type, value, traceback):
        self.stop()
        if not self.kept:
            shutil.rmtree(self.folder, ignore_errors=True)

    def start(self):
        store = self.folder / 'store'
        store.mkdir(parents=True, exist_ok=True)
        configuration = self.folder / 'orthanc.json'
        configuration.write_text(json.dumps({
                    **self.options,
                    'StorageDirectory': str(store),
                    'IndexDirectory': str(store),
                    }))
        with open(self.folder / 'log', 'ab') as log:
            self.process = subprocess.Popen(
                [PROGRAM, str(configuration)], stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        with self.client() as client:
            while True:
                try:
                    client.system()
                    return
                except Unreachable:
                    if (self.process.poll() is not None
                            or time.monotonic() > deadline):
                        raise
                    time.sleep(.05)

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait(30)
            self.process = None

    def wipe(self):
        "Lose everything, with the log of changes"
        self.stop()
        shutil.rmtree(self.folder / 'store')
        self.start()

    def clear(self):
        "Delete everything, as a user would"
        with self.client() as client:
            for id_ in client.ids('patient'):
                client.delete('patient', id_)

    def client(self):
        return OrthancClient(self.url, USER, PASSWORD)

    def store(self, *files):
        "Store files and return the answers"
        with closing(self.client()) as client:
            return [client.store(content)[0] for content in files]


def dicom(**values):
    "A DICOM file of 2 x 2 pixels; None leaves an element out"
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for name, value in {
            'SpecificCharacterSet': 'ISO_IR 192',
            'SOPClassUID': SecondaryCaptureImageStorage,
            'SOPInstanceUID': generate_uid(),
            'SeriesInstanceUID': generate_uid(),
            'StudyInstanceUID': generate_uid(),
            'PatientID': 'TST001GNU',
            'PatientName': 'Betz^Ana',
            'PatientBirthDate': '19851004',
            'PatientSex': 'F',
            'StudyDate': '20240131',
            'StudyTime': '101112',
            'StudyDescription': 'CT head',
            'AccessionNumber': '',
            'Modality': 'CT',
            'SeriesNumber': 1,
            'InstanceNumber': 1,
            'SamplesPerPixel': 1,
            'PhotometricInterpretation': 'MONOCHROME2',
            'Rows': 2,
            'Columns': 2,
            'BitsAllocated': 8,
            'BitsStored': 8,
            'HighBit': 7,
            'PixelRepresentation': 0,
            'PixelData': b'\x00\x40\x80\xff',
            **values}.items():
        if value is not None:
            setattr(data, name, value)
    target = io.BytesIO()
    data.save_as(target, enforce_file_format=True)
    return target.getvalue()


def study(series=1, instances=1, **values):
    "The files of one study"
    values.setdefault('StudyInstanceUID', generate_uid())
    for number in range(1, series + 1):
        uid = generate_uid()
        for instance in range(1, instances + 1):
            yield dicom(
                SeriesInstanceUID=uid, SeriesNumber=number,
                InstanceNumber=instance, **values)


def sample_file(name, **values):
    "One of pydicom's files; values change its elements, None deletes one"
    data = dcmread(get_testdata_file(name))
    for keyword, value in values.items():
        if value is None:
            delattr(data, keyword)
        else:
            setattr(data, keyword, value)
    if 'SOPInstanceUID' in values:
        data.file_meta.MediaStorageSOPInstanceUID = values['SOPInstanceUID']
    target = io.BytesIO()
    data.save_as(target)
    return target.getvalue()
