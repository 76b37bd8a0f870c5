# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of the audit as DICOM audit messages.

Nothing here knows of Tryton.

Reference: DICOM PS3.15, A.5 "Audit Trail Message Format Profile"; the codes
are those of PS3.16, context groups 400 to 404.
"""
import base64
import datetime as dt
import xml.etree.ElementTree as ET
from dataclasses import dataclass

__all__ = ['EVENTS', 'Event', 'message', 'messages']

# event: EventID and its meaning, EventActionCode
_ACCESSED = ('110103', "DICOM Instances Accessed")
_PROCEDURE = ('110111', "Procedure Record")
EVENTS = {
    'view': (_ACCESSED, 'R'),
    'preview': (_ACCESSED, 'R'),
    'attach': (_ACCESSED, 'R'),
    'download': (('110106', "Export"), 'R'),
    'upload': (('110107', "Import"), 'C'),
    'link': (_PROCEDURE, 'U'),
    'unlink': (_PROCEDURE, 'U'),
    'not_ours': (_PROCEDURE, 'U'),
    'ours': (_PROCEDURE, 'U'),
    'verify': (_PROCEDURE, 'U'),
    'delete': (('110105', "DICOM Study Deleted"), 'D'),
    'remove': (_PROCEDURE, 'D'),
    'replace': (('110113', "Security Alert"), 'E'),
    }
# One series, but not the study, was deleted.
_SERIES_DELETED = (_ACCESSED, 'D')
_OWN_CODES = '99GNUHEALTH'
_SYSTEM = 'GNU Health'


@dataclass
class Event:
    """A row of the audit; None is what is not known.

    Parameters
    ----------
    event : str
        A key of EVENTS.
    title : str
        The event as people read it.
    date : datetime
        In UTC.
    user : str
        Who did it, None for the rules.
    """
    event: str
    title: str
    date: dt.datetime
    server: str
    user: str = None
    user_name: str = None
    study_uid: str = None
    series_uid: str = None
    patient_id: str = None
    patient_name: str = None
    rule: str = None
    reason: str = None
    detail: str = None


def messages(events, source):
    "Return an XML document with the message of each event"
    root = ET.Element('AuditMessages')
    root.extend(message(event, source) for event in events)
    ET.indent(root)
    return ET.tostring(root, encoding='utf-8', xml_declaration=True)


def message(event, source):
    """Return the event as an element AuditMessage.

    Parameters
    ----------
    event : Event
    source : str
        AuditSourceID: what wrote the audit.
    """
    root = ET.Element('AuditMessage')
    _identify(root, event)
    by_person = event.user is not None
    if by_person:
        person = _element(
            root, 'ActiveParticipant', UserID=event.user,
            UserName=event.user_name, UserIsRequestor='true')
        if event.event == 'download':
            _code(person, 'RoleIDCode', '110153', 'DCM', "Source Role ID")
    _element(
        root, 'ActiveParticipant', UserID=_SYSTEM,
        UserIsRequestor=_boolean(not by_person))
    server = _element(
        root, 'ActiveParticipant', UserID=event.server,
        UserIsRequestor='false')
    if event.event == 'upload':
        _code(server, 'RoleIDCode', '110152', 'DCM', "Destination Role ID")
    _element(root, 'AuditSourceIdentification', AuditSourceID=source)
    if event.study_uid:
        _study(root, event)
    if event.patient_id:
        patient = _object(
            root, event.patient_id, type_='1', role='1',
            code=('2', 'RFC-3881', "Patient Number"))
        _element(patient, 'ParticipantObjectName').text = _clean(
            event.patient_name or event.patient_id)
    return root


def _identify(root, event):
    code, action = EVENTS[event.event]
    if event.event == 'delete' and event.series_uid:
        code, action = _SERIES_DELETED
    date = event.date.replace(tzinfo=dt.timezone.utc)
    identification = _element(
        root, 'EventIdentification', EventActionCode=action,
        EventDateTime=date.isoformat(timespec='seconds'),
        EventOutcomeIndicator='0')
    number, meaning = code
    _code(identification, 'EventID', number, 'DCM', meaning)
    _code(identification, 'EventTypeCode',
        event.event, _OWN_CODES, event.title)


def _study(root, event):
    study = _object(
        root, event.study_uid, type_='2', role='3',
        code=('110180', 'DCM', "Study Instance UID"))
    _element(study, 'ParticipantObjectName').text = _clean(event.study_uid)
    for type_, value in [
            ('SeriesInstanceUID', event.series_uid), ('Rule', event.rule),
            ('Reason', event.reason), ('Detail', event.detail)]:
        if value:
            _element(study, 'ParticipantObjectDetail', type=type_,
                value=base64.b64encode(value.encode()).decode())


def _object(root, id_, type_, role, code):
    element = _element(
        root, 'ParticipantObjectIdentification', ParticipantObjectID=id_,
        ParticipantObjectTypeCode=type_, ParticipantObjectTypeCodeRole=role)
    _code(element, 'ParticipantObjectIDTypeCode', *code)
    return element


def _code(parent, name, code, system, meaning):
    attributes = {
        'csd-code': code, 'codeSystemName': system, 'originalText': meaning}
    return _element(parent, name, **attributes)


def _element(parent, name, **attributes):
    return ET.SubElement(parent, name, {
            k: _clean(v) for k, v in attributes.items() if v is not None})


def _clean(text):
    "What XML cannot hold is left out"
    return ''.join(
        c if c.isprintable() or c in '\n\t' else ' ' for c in text)


def _boolean(value):
    return 'true' if value else 'false'
