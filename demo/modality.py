# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A modality: asks for its worklist, takes a picture, sends it.

From the command line it does the first open item of its own AE title::

    python -m demo.modality --port 4265 --aet CT_DEMO --modality CT
"""
import argparse
import datetime as dt
import re
import sys

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    PYDICOM_IMPLEMENTATION_UID, ExplicitVRLittleEndian, generate_uid)
from pynetdicom import AE
from pynetdicom.sop_class import ModalityWorklistInformationFind

from . import phantom

PENDING = 0xff00, 0xff01
SUCCESS = 0x0000
# what the modality asks to be told, besides what it asks by
RETURN_KEYS = (
    'AccessionNumber', 'InstitutionName', 'MedicalAlerts', 'PatientAge',
    'PatientBirthDate', 'PatientID', 'PatientName', 'PatientSex',
    'PatientWeight', 'ReferringPhysicianName', 'RequestedProcedureDescription',
    'RequestedProcedureID', 'RequestedProcedurePriority',
    'RequestingPhysician', 'RequestingService', 'StudyInstanceUID',
    'TimezoneOffsetFromUTC')
RETURN_STEP_KEYS = (
    'Modality', 'ScheduledPerformingPhysicianName',
    'ScheduledProcedureStepDescription', 'ScheduledProcedureStepID',
    'ScheduledProcedureStepStartDate', 'ScheduledProcedureStepStartTime',
    'ScheduledStationAETitle', 'ScheduledStationName')
# what goes from the item into every picture as it is
COPIED = (
    'SpecificCharacterSet', 'TimezoneOffsetFromUTC', 'AccessionNumber',
    'InstitutionName', 'ReferringPhysicianName', 'PatientName', 'PatientID',
    'PatientBirthDate', 'PatientSex', 'PatientAge', 'PatientWeight',
    'StudyInstanceUID', 'RequestingPhysician', 'RequestingService')


class ModalityError(Exception):
    """The archive refused or did not answer; str() is one sentence."""


def associate(ae, host, port, called):
    association = ae.associate(host, port, ae_title=called)
    if not association.is_established:
        raise ModalityError(
            f"No DICOM association with {called} at {host}:{port}.")
    return association


def ask_worklist(host, port, aet, modality='', called='ORTHANC', date='',
        station=None, **keys):
    """Return the worklist items that match, as datasets (C-FIND).

    Parameters
    ----------
    host, port, called : str, int, str
        The worklist server and its AE title.
    aet : str
        The own AE title, which is asked by unless `station` says another.
    modality, date : str
        To ask by; empty matches all. Dates are YYYYMMDD or a range.
    station : str, optional
        The station to ask by; empty for all stations.
    **keys
        More attributes of the item to ask by, such as PatientID.
    """
    query = Dataset()
    query.SpecificCharacterSet = 'ISO_IR 192'
    for keyword in RETURN_KEYS:
        setattr(query, keyword, None)
    for keyword, value in keys.items():
        setattr(query, keyword, value)
    step = Dataset()
    for keyword in RETURN_STEP_KEYS:
        setattr(step, keyword, None)
    step.ScheduledStationAETitle = aet if station is None else station
    step.Modality = modality
    step.ScheduledProcedureStepStartDate = date
    query.ScheduledProcedureStepSequence = [step]
    ae = AE(ae_title=aet)
    ae.add_requested_context(ModalityWorklistInformationFind)
    association = associate(ae, host, port, called)
    items = []
    try:
        for status, item in association.send_c_find(
                query, ModalityWorklistInformationFind):
            code = status.get('Status')
            if code in PENDING:
                items.append(item)
            elif code != SUCCESS:
                raise ModalityError(
                    "The worklist query was refused"
                    + (f" with status {code:#06x}." if code else "."))
    finally:
        association.release()
    return items


def take_pictures(item, aet):
    """Return a series of phantom pictures of what the item asks for.

    Patient, order and study are the item's, in its own character set.
    """
    step = item.ScheduledProcedureStepSequence[0]
    now = local_time(item)
    series_uid, frame_uid = generate_uid(None), generate_uid(None)
    pictures = phantom.series(step.Modality)
    for number, picture in enumerate(pictures, 1):
        for keyword in COPIED:
            if keyword in item:
                picture[keyword] = item[keyword]
        for keyword in ('PatientName', 'PatientID', 'PatientBirthDate',
                'PatientSex', 'ReferringPhysicianName', 'AccessionNumber'):
            if keyword not in picture:
                setattr(picture, keyword, '')
        description = item.get('RequestedProcedureDescription', '')
        picture.StudyDescription = description
        picture.ProtocolName = step.get(
            'ScheduledProcedureStepDescription') or description
        picture.StudyID = str(item.get('RequestedProcedureID') or '')[:16]
        request = Dataset()
        for source, keyword in (
                (item, 'RequestedProcedureID'),
                (item, 'RequestedProcedureDescription'),
                (step, 'ScheduledProcedureStepID'),
                (step, 'ScheduledProcedureStepDescription')):
            if source.get(keyword):
                request[keyword] = source[keyword]
        picture.RequestAttributesSequence = [request]
        picture.Modality = step.Modality
        picture.SeriesInstanceUID = series_uid
        picture.SeriesNumber = 1
        picture.InstanceNumber = number
        picture.SOPInstanceUID = generate_uid(None)
        if 'ImagePositionPatient' in picture:
            picture.FrameOfReferenceUID = frame_uid
        for kind in ('Study', 'Series', 'Acquisition', 'Content',
                'InstanceCreation', 'PerformedProcedureStepStart'):
            setattr(picture, f'{kind}Date', now.strftime('%Y%m%d'))
            setattr(picture, f'{kind}Time', now.strftime('%H%M%S'))
        picture.PerformedProcedureStepID = step.get(
            'ScheduledProcedureStepID', '')
        picture.PerformedProcedureStepDescription = picture.ProtocolName
        picture.Manufacturer = "GNU Health imaging demo"
        picture.ManufacturerModelName = "Phantom"
        picture.DeviceSerialNumber = '1'
        picture.SoftwareVersions = '1'
        picture.StationName = aet
        picture.file_meta = FileMetaDataset()
        picture.file_meta.MediaStorageSOPClassUID = picture.SOPClassUID
        picture.file_meta.MediaStorageSOPInstanceUID = picture.SOPInstanceUID
        picture.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        picture.file_meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    return pictures


def local_time(item):
    """The time now, as the item's time zone has it, else this machine's."""
    offset = re.fullmatch(
        r'([+-])(\d\d)(\d\d)', str(item.get('TimezoneOffsetFromUTC') or ''))
    if not offset:
        return dt.datetime.now()
    sign, hours, minutes = offset.groups()
    delta = dt.timedelta(hours=int(hours), minutes=int(minutes))
    return dt.datetime.now(dt.timezone(-delta if sign == '-' else delta))


def send_pictures(pictures, host, port, aet, called='ORTHANC'):
    """Send pictures (C-STORE); each must be accepted."""
    ae = AE(ae_title=aet)
    for sop_class in {picture.SOPClassUID for picture in pictures}:
        ae.add_requested_context(sop_class, ExplicitVRLittleEndian)
    association = associate(ae, host, port, called)
    try:
        for picture in pictures:
            code = association.send_c_store(picture).get('Status')
            if code != SUCCESS:
                raise ModalityError(
                    f"Picture {picture.InstanceNumber} was not stored"
                    + (f": status {code:#06x}." if code is not None
                        else "."))
    finally:
        association.release()


def main():
    parser = argparse.ArgumentParser(
        prog='python -m demo.modality', description=__doc__.split('\n')[0])
    parser.add_argument('--host', default='127.0.0.1')
    parser.add_argument('--port', type=int, default=4265)
    parser.add_argument('--called', default='ORTHANC')
    parser.add_argument('--aet', default='CT_DEMO',
        help="the own AE title, which the worklist is asked by")
    parser.add_argument('--modality', default='',
        choices=['', *phantom.MODALITIES])
    parser.add_argument('--list', action='store_true',
        help="only show the worklist")
    options = parser.parse_args()
    try:
        items = ask_worklist(options.host, options.port, options.aet,
            options.modality, options.called)
        for item in items:
            print(item.get('AccessionNumber'), item.get('PatientID'),
                item.get('PatientName'),
                item.get('RequestedProcedureDescription'), sep='\t')
        if not items:
            sys.exit(f"Nothing to do for {options.aet}.")
        if not options.list:
            pictures = take_pictures(items[0], options.aet)
            send_pictures(pictures, options.host, options.port, options.aet,
                options.called)
            print(f"Sent {len(pictures)} for {items[0].AccessionNumber}.")
    except ModalityError as error:
        sys.exit(str(error))


if __name__ == '__main__':
    main()
