# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""
What a worklist item must hold, and how its values must look.

The types of attributes are those of PS3.4 table K.6-1 for return keys, the
rules of values those of PS3.5 section 6.2, the character sets those of PS3.3
section C.12.1.1.2.  This file imports nothing of Tryton.
"""
import datetime
import re
from collections import namedtuple

from pydicom.charset import STAND_ALONE_ENCODINGS, python_encoding
from pydicom.datadict import dictionary_has_tag, dictionary_VM

from .sandbox import CONTROL

__all__ = ['Finding', 'MODALITIES', 'check', 'codec', 'encodable']

Finding = namedtuple('Finding', 'severity attribute code detail')
Finding.__doc__ = """\
One thing that is wrong: `severity` ("error" or "warning"), the keyword of the
`attribute`, a `code` for which the caller owns sentence and remedy, and a
`detail` that goes into them.
"""

# PS3.4 table K.6-1
TYPE_1 = ('PatientName', 'PatientID', 'StudyInstanceUID',
    'RequestedProcedureID', 'ScheduledProcedureStepSequence')
TYPE_1_STEP = ('Modality', 'ScheduledStationAETitle',
    'ScheduledProcedureStepStartDate', 'ScheduledProcedureStepStartTime',
    'ScheduledProcedureStepID')
# of each pair at least one has a value, and none is present and empty
PAIRS = (('RequestedProcedureDescription', 'RequestedProcedureCodeSequence'),)
PAIRS_STEP = (
    ('ScheduledProcedureStepDescription', 'ScheduledProtocolCodeSequence'),)
TYPE_2 = (
    'AccessionNumber', 'ReferringPhysicianName', 'ReferencedStudySequence',
    'ReferencedPatientSequence', 'PatientBirthDate', 'PatientSex',
    'PatientWeight', 'MedicalAlerts', 'Allergies', 'PregnancyStatus',
    'RequestingPhysician', 'AdmissionID', 'CurrentPatientLocation',
    'SpecialNeeds', 'PatientState', 'RequestedProcedurePriority',
    'PatientTransportArrangements',
    'ConfidentialityConstraintOnPatientDataDescription')
TYPE_2_STEP = (
    'ScheduledPerformingPhysicianName', 'ScheduledStationName',
    'ScheduledProcedureStepLocation')
NEVER_EMPTY = (
    'SpecificCharacterSet', 'TimezoneOffsetFromUTC')
NEVER_EMPTY_STEP = ('PreMedication', 'RequestedContrastAgent')

# characters, per value; PN counts each of its component groups
LENGTHS = {
    'AE': 16, 'AS': 4, 'CS': 16, 'DS': 16, 'IS': 12, 'LO': 64, 'LT': 10240,
    'PN': 64, 'SH': 16, 'ST': 1024, 'UI': 64}
TEXT_VR = {'LO', 'LT', 'PN', 'SH', 'ST', 'UC', 'UT'}

# Defined terms of (0008,0060) that order imaging, PS3.3 C.7.3.1.1.1
MODALITIES = set(
    'AR AU BDUS BI BMD CFM CR CT CTPROTOCOL DG DMS DOCD DX ECG EEG EMG EOG '
    'EPS ES FID GM HC HD IO IOL IVOCT IVUS KER KO LEN LS MG MR NM OAM OCT '
    'OP OPM OPT OPTBSV OPTENF OPV OSS OT PA POS PR PT PX REG RESP RF RG '
    'RTDOSE RTIMAGE RTPLAN RTRECORD RTSTRUCT SEG SM SMR SR SRF STAIN TG US '
    'VA XA XAPROTOCOL XC'.split())

_RULES = {
    'AE': re.compile(r'[\x20-\x5b\x5d-\x7e]*[\x21-\x5b\x5d-\x7e][\x20-\x7e]*'),
    'AS': re.compile(r'\d{3}[DWMY]'),
    'CS': re.compile(r'[A-Z0-9_ ]+'),
    'DA': re.compile(r'\d{8}'),
    'DS': re.compile(r'[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?'),
    'IS': re.compile(r'[+-]?\d+'),
    'TM': re.compile(
        r'([01]\d|2[0-3])([0-5]\d([0-5]\d|60)?)?'),
    'UI': re.compile(r'(0|[1-9]\d*)(\.(0|[1-9]\d*))+'),
    }
_TIME_FRACTION = re.compile(r'\d{6}\.\d{1,6}')
_OFFSET = re.compile(r'[+-](0\d|1[0-4])[0-5]\d')
_CONTROL = re.compile('[%s]' % CONTROL)


def codec(charset):
    """
    Return the Python codec of one defined term, or None if there is none.

    The default repertoire is plain ASCII here, stricter than pydicom.
    """
    if charset in {'', 'ISO_IR 6', 'ISO 2022 IR 6'}:
        return 'ascii'
    if charset in {'ISO 2022 GBK', 'ISO 2022 58'}:
        return None
    return python_encoding.get(charset)


def encodable(text, charsets):
    """
    Return the characters that none of the character sets can encode.

    Parameters
    ----------
    text : str
    charsets : list of str
        The values of Specific Character Set; unknown ones count for nothing.
    """
    codecs = [c for c in map(codec, charsets or ['']) if c]
    codecs = codecs or ['ascii']
    missing = []
    for char in sorted(set(text)):
        if char.isascii():
            continue
        for name in codecs:
            try:
                encoded = char.encode(name)
            except UnicodeError:
                continue
            # pydicom's codec holds the single bytes of JIS X 0201 only
            if name != 'shift_jis' or len(encoded) == 1:
                break
        else:
            missing.append(char)
    return ''.join(missing)


def check(dataset):
    """
    Check an item against PS3.4 K.6-1 and the rules of values.

    Parameters
    ----------
    dataset : pydicom.dataset.Dataset

    Returns
    -------
    list of Finding
        Errors first.
    """
    findings = []
    charsets = _charsets(dataset, findings)
    _presence(dataset, findings, TYPE_1, PAIRS, NEVER_EMPTY)
    steps = dataset.get('ScheduledProcedureStepSequence') or []
    missing = [k for k in TYPE_2 if k not in dataset]
    for step in steps:
        _presence(step, findings, TYPE_1_STEP, PAIRS_STEP, NEVER_EMPTY_STEP)
        missing.extend(k for k in TYPE_2_STEP if k not in step)
        modality = step.get('Modality')
        if modality and modality not in MODALITIES:
            findings.append(
                Finding('warning', 'Modality', 'modality', modality))
    if len(steps) > 1:
        findings.append(Finding(
                'error', 'ScheduledProcedureStepSequence', 'items',
                str(len(steps))))
        ids = [s.get('ScheduledProcedureStepID') for s in steps]
        if len(set(ids)) < len(ids):
            findings.append(Finding(
                    'error', 'ScheduledProcedureStepID', 'duplicate', ''))
    if missing:
        findings.append(Finding(
                'warning', missing[0], 'type_2', ', '.join(missing)))
    offset = dataset.get('TimezoneOffsetFromUTC')
    if offset and not _OFFSET.fullmatch(str(offset)):
        findings.append(Finding(
                'error', 'TimezoneOffsetFromUTC', 'offset', str(offset)))
    _values(dataset, findings, charsets)
    return sorted(findings, key=lambda f: f.severity != 'error')


def _charsets(dataset, findings):
    value = dataset.get('SpecificCharacterSet')
    charsets = (
        [''] if not value else [value] if isinstance(value, str)
        else [str(v) for v in value])
    for charset in charsets:
        if codec(charset) is None:
            findings.append(Finding(
                    'error', 'SpecificCharacterSet', 'charset', charset))
    if len(charsets) > 1:
        for i, charset in enumerate(charsets):
            extension = charset.startswith('ISO 2022 IR ')
            if (charset in STAND_ALONE_ENCODINGS
                    or not extension and (i or charset)):
                findings.append(Finding(
                        'error', 'SpecificCharacterSet', 'charset_mixed',
                        '\\'.join(charsets)))
                break
    return charsets


def _presence(dataset, findings, type_1, pairs, never_empty):
    for keyword in type_1:
        if keyword not in dataset:
            findings.append(Finding('error', keyword, 'missing', ''))
        elif _empty(dataset, keyword):
            findings.append(Finding('error', keyword, 'empty', ''))
    for pair in pairs:
        present = [k for k in pair if k in dataset]
        filled = [k for k in present if not _empty(dataset, k)]
        if not filled:
            findings.append(
                Finding('error', pair[0], 'pair', ' / '.join(pair)))
        for keyword in set(present) - set(filled):
            if filled:
                findings.append(
                    Finding('error', keyword, 'empty_conditional', ''))
    for keyword in never_empty:
        if keyword in dataset and _empty(dataset, keyword):
            findings.append(
                Finding('error', keyword, 'empty_conditional', ''))


def _empty(dataset, keyword):
    value = dataset[keyword].value
    if value is None:
        return True
    if isinstance(value, (str, bytes)):
        return not value.strip()
    if isinstance(value, (int, float)):
        return False
    if hasattr(value, 'components'):
        return not str(value).strip('^= ')
    return not len(value)


def _values(dataset, findings, charsets):
    # of an unknown character set it is said once, not of each value
    known = all(codec(c) for c in charsets)
    for element in dataset:
        keyword = element.keyword or str(element.tag)
        if element.VR == 'SQ':
            for item in element.value:
                _values(item, findings, charsets)
            continue
        if element.is_empty:
            continue
        values = element.value if element.VM > 1 else [element.value]
        if (element.VM > 1 and dictionary_has_tag(element.tag)
                and dictionary_VM(element.tag) == '1'):
            findings.append(
                Finding('error', keyword, 'multiple', str(element.VM)))
        for value in values:
            code = _value(element.VR, str(value))
            if code:
                findings.append(
                    Finding('error', keyword, code, str(value)[:80]))
            if known and element.VR in TEXT_VR:
                lost = encodable(str(value), charsets)
                if lost:
                    findings.append(Finding(
                            'error', keyword, 'encoding',
                            ' '.join(lost[:10])))


def _value(vr, value):
    """Return the code of the rule that a value breaks."""
    if not value:
        return None
    if _CONTROL.search(value) and vr not in {'LT', 'ST', 'UT'}:
        return 'control'
    groups = value.split('=') if vr == 'PN' else [value]
    limit = LENGTHS.get(vr)
    if limit and any(len(g) > limit for g in groups):
        return 'length'
    if vr == 'PN':
        if len(groups) > 3 or any(g.count('^') > 4 for g in groups):
            return 'person'
    elif vr == 'DA':
        try:
            datetime.datetime.strptime(value, '%Y%m%d')
        except ValueError:
            return 'value'
    rule = _RULES.get(vr)
    if rule and not rule.fullmatch(value):
        if vr == 'TM' and _TIME_FRACTION.fullmatch(value):
            return None
        return 'value'
    return None
