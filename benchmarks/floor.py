# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The least that a mirror of the same facts can cost.

Each level is listed, expanded, in large pieces; the answer's texts are
copied into the mirror's own tables, with their indexes and constraints. A
second connection reads ahead. Nothing is compared, checked, linked or
remembered, and nothing could be resumed.
"""
import io
import json
import queue
import threading

import requests

__all__ = ['copy_all']

PIECE = 2000


def copy_all(connection, server, options):
    session = requests.Session()
    session.auth = options['user'], options['password']
    session.headers['Accept-Encoding'] = 'identity'
    pieces = queue.Queue(2)
    thread = threading.Thread(
        target=_read, args=(session, options['url'], pieces))
    thread.start()
    cursor = connection.cursor()
    ids = {None: server}
    while (piece := pieces.get()) is not None:
        level, content = piece
        table, parent, columns = TABLES[level]
        resources = json.loads(content)
        cursor.execute(
            "SELECT nextval('%s_id_seq') FROM generate_series(1, %d)"
            % (table, len(resources)))
        rows = []
        for resource, (id_,) in zip(resources, cursor.fetchall()):
            ids[resource['ID']] = id_
            tags = {
                **resource.get('PatientMainDicomTags', {}),
                **resource['MainDicomTags'],
                'Id': resource['ID'],
                'Count': len(resource.get('Instances', ())),
                'SopClassUid': resource.get(
                    'Metadata', {}).get('SopClassUid'),
                }
            rows.append('\t'.join([
                        str(id_), str(ids[resource.get(parent)]),
                        *(_escape(tags.get(name)) for name in columns)]))
        cursor.copy_expert('COPY %s (id, %s, %s) FROM STDIN' % (
                table, REFERENCES[level],
                ', '.join('"%s"' % name for name in columns.values())),
            io.StringIO('\n'.join(rows) + '\n'))
    thread.join()


def _read(session, url, pieces):
    try:
        for level in TABLES:
            ids = session.get(f'{url}/{level}').json()
            for start in range(0, len(ids), PIECE):
                pieces.put((level, session.post(
                            f'{url}/tools/bulk-content', json={
                                'Resources': ids[start:start + PIECE],
                                'Metadata': level == 'instances',
                                }).content))
    finally:
        pieces.put(None)


def _escape(value):
    if value is None or value == '':
        return r'\N'
    if not isinstance(value, str):
        return str(value)
    return value.replace('\\', '\\\\').replace('\t', ' ').replace('\n', ' ')


REFERENCES = {
    'studies': 'server_config',
    'series': 'study',
    'instances': 'series',
    }
TABLES = {
    'studies': ('gnuhealth_imaging_orthanc_study', None, {
            'Id': 'orthanc_UID',
            'StudyInstanceUID': 'study_instance_UID',
            'PatientName': 'patient_name',
            'PatientID': 'patient_id',
            'StudyDate': 'study_date',
            'StudyTime': 'study_time',
            'StudyDescription': 'description',
            'AccessionNumber': 'accession_number',
            'InstitutionName': 'institution',
            'ReferringPhysicianName': 'referring_physician',
            }),
    'series': ('gnuhealth_imaging_orthanc_study_series', 'ParentStudy', {
            'Id': 'orthanc_UID',
            'SeriesInstanceUID': 'series_UID',
            'SeriesNumber': 'series_number',
            'SeriesDescription': 'series_description',
            'Modality': 'modality',
            'BodyPartExamined': 'body_part',
            'StationName': 'station_name',
            'Count': 'instance_count',
            }),
    'instances': (
        'gnuhealth_imaging_orthanc_series_instances', 'ParentSeries', {
            'Id': 'orthanc_UID',
            'SOPInstanceUID': 'sop_instance_UID',
            'SopClassUid': 'sop_class_UID',
            'InstanceNumber': 'instance_number',
            'ImagePositionPatient': 'image_position_patient',
            }),
    }
