# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Orthanc says, as the values of the mirror's rows.

Nothing here knows of Tryton. Any tag may be missing, empty, repeated, too
long or nonsense: what cannot be read is None, and only a resource that
cannot be told from others (no Orthanc identifier, no UID) is refused.

Reference: DICOM PS3.5 section 6.2 for the value representations.
"""
import datetime as dt
import re

__all__ = [
    'MappingError', 'instance_values', 'join_modalities', 'parse_date',
    'parse_integer', 'parse_time', 'patient_values', 'series_values',
    'study_values', 'tags_of']

# Longer than any value representation of a name or a description, short
# enough for an index of PostgreSQL even if each character takes four bytes.
MAX_TEXT = 640
MAX_IDENTIFIER = 255
_INT4 = 2 ** 31 - 1
_UNWANTED = re.compile(r'[\x00-\x1f\x7f-\x9f\ud800-\udfff]+')
_DATE = re.compile(r'(\d{4})([.\-/]?)(\d{2})\2(\d{2})(?!\d)')
_TIME = re.compile(
    r'(\d{2})(?::?(\d{2})(?::?(\d{2})(?:\.\d*)?)?)?(?!\d)')
_INTEGER = re.compile(r'[+-]?\d{1,12}\Z')


class MappingError(ValueError):
    """The resource cannot be stored.

    Attributes
    ----------
    reason : str
        no_id, no_uid or too_long
    name : str
        the tag or key in question
    """

    def __init__(self, reason, name=''):
        super().__init__(' '.join(filter(None, [reason, name])))
        self.reason = reason
        self.name = name


def clean(value):
    "Text on one line without what a database refuses; None if empty"
    if type(value) is not str:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return None
        value = str(value)
    if not value.isprintable():
        value = _UNWANTED.sub(' ', value)
    return value.strip() or None


def text(value):
    if value is None:
        return None
    value = clean(value)
    if value is not None and len(value) > MAX_TEXT:
        value = value[:MAX_TEXT - 1].rstrip() + '\N{HORIZONTAL ELLIPSIS}'
    return value


def identifier(value, name):
    "Text that is never shortened, since a part of it may be another's"
    value = clean(value)
    if value is not None and len(value) > MAX_IDENTIFIER:
        raise MappingError('too_long', name)
    return value


def required(value, name, reason):
    value = identifier(value, name)
    if value is None:
        raise MappingError(reason, name)
    return value


def first(value):
    "The first of several values"
    if value is None:
        return None
    value = clean(value)
    if value is not None and '\\' in value:
        value = value.split('\\', 1)[0].strip() or None
    return value


def parse_date(value):
    "DA, also with the separators of ACR-NEMA and ISO 8601, as a date"
    match = _DATE.match(first(value) or '')
    if match:
        year, _, month, day = match.groups()
        try:
            return dt.date(int(year), int(month), int(day))
        except ValueError:
            pass


def parse_time(value):
    "TM, also with colons, as a time in full seconds"
    match = _TIME.match(first(value) or '')
    if match:
        hour, minute, second = map(int, match.groups(default='0'))
        if second == 60:    # a leap second
            second = 59
        try:
            return dt.time(hour, minute, second)
        except ValueError:
            pass


def parse_integer(value):
    "IS, or a number, within four bytes"
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    value = first(value)
    if value and _INTEGER.match(value) and abs(int(value)) <= _INT4:
        return int(value)


def join_modalities(values):
    "The different modalities, sorted, as one text"
    found = {v.strip() for value in values if value
        for v in value.split('\\') if v.strip()}
    return text(', '.join(sorted(found)))


def tags_of(resource, key='MainDicomTags'):
    tags = resource.get(key)
    return tags if isinstance(tags, dict) else {}


def members(resource, key):
    "The identifiers of a resource's children"
    value = resource.get(key)
    if not isinstance(value, list):
        return []
    return [v for v in value if isinstance(v, str) and v]


def patient_values(study):
    """Row of gnuhealth.orthanc.patient out of the answer about a study.

    None if the study does not tell its parent.
    """
    uuid = identifier(study.get('ParentPatient'), 'ParentPatient')
    if uuid is None:
        return None
    tags = tags_of(study, 'PatientMainDicomTags')
    return {
        'uuid': uuid,
        'name': text(tags.get('PatientName')),
        'ident': identifier(tags.get('PatientID'), 'PatientID'),
        'bd': parse_date(tags.get('PatientBirthDate')),
        'sex': text(first(tags.get('PatientSex'))),
        }


def study_values(study):
    "Row of gnuhealth.imaging_orthanc.study out of the answer about it"
    tags = tags_of(study)
    patient = tags_of(study, 'PatientMainDicomTags')
    requesting = text(tags.get('RequestingPhysician'))
    referring = text(tags.get('ReferringPhysicianName'))
    return {
        'orthanc_UID': required(study.get('ID'), 'ID', 'no_id'),
        'study_instance_UID': required(
            tags.get('StudyInstanceUID'), 'StudyInstanceUID', 'no_uid'),
        'patient_name': text(patient.get('PatientName')),
        'patient_id': identifier(patient.get('PatientID'), 'PatientID'),
        'date': text(tags.get('StudyDate')),
        'study_date': parse_date(tags.get('StudyDate')),
        'study_time': parse_time(tags.get('StudyTime')),
        'description': text(tags.get('StudyDescription')),
        'accession_number': identifier(
            tags.get('AccessionNumber'), 'AccessionNumber'),
        'institution': text(tags.get('InstitutionName')),
        'requesting_physician': requesting,
        'referring_physician': referring,
        'performing_physician_name': requesting or referring,
        }


def series_values(series):
    "Row of gnuhealth.imaging_orthanc.study_series out of the answer about it"
    tags = tags_of(series)
    return {
        'orthanc_UID': required(series.get('ID'), 'ID', 'no_id'),
        'series_UID': required(
            tags.get('SeriesInstanceUID'), 'SeriesInstanceUID', 'no_uid'),
        'series_number': text(tags.get('SeriesNumber')),
        'series_description': text(tags.get('SeriesDescription')),
        'modality': text(first(tags.get('Modality'))),
        'body_part': text(tags.get('BodyPartExamined')),
        'series_date': parse_date(tags.get('SeriesDate')),
        'series_time': parse_time(tags.get('SeriesTime')),
        'station_name': text(tags.get('StationName')),
        'instance_count': len(members(series, 'Instances')),
        'last_update': text(series.get('LastUpdate')),
        }


def instance_values(instance):
    """Row of gnuhealth.imaging_orthanc.series_instances.

    Rows and Columns are only known when Orthanc keeps them among its main
    DICOM tags.
    """
    tags = tags_of(instance)
    metadata = tags_of(instance, 'Metadata')
    return {
        'orthanc_UID': required(instance.get('ID'), 'ID', 'no_id'),
        'sop_instance_UID': required(
            tags.get('SOPInstanceUID'), 'SOPInstanceUID', 'no_uid'),
        'sop_class_UID': text(
            tags.get('SOPClassUID') or metadata.get('SopClassUid')),
        'instance_number': parse_integer(tags.get('InstanceNumber')),
        'image_position_patient': text(tags.get('ImagePositionPatient')),
        'rows': parse_integer(tags.get('Rows')),
        'columns': parse_integer(tags.get('Columns')),
        'number_of_frames': parse_integer(tags.get('NumberOfFrames')),
        }
