# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""
The text of a worklist item as a pydicom Dataset.

Two notations are read: the dump of dcmtk's dcmdump and dump2dcm, and JSON
(flat keywords, nested keywords, or the DICOM JSON model of PS3.18 annex F).
What is wrong with the dataset is said by `check`, from :mod:`.conformance`.

This file imports nothing of Tryton.
"""
import json
import re
import warnings
from collections import namedtuple

from pydicom import config as dicom_config
from pydicom.datadict import (
    dictionary_has_tag, dictionary_VR, keyword_for_tag, tag_for_keyword)
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import UID_dictionary

from .conformance import Finding, check

__all__ = [
    'DatasetError', 'Finding', 'Row', 'check', 'parse', 'parse_dump',
    'parse_json', 'rows', 'to_json']

# VRs of bulk and of unknown data: no worklist has any, and dump2dcm would
# read their values from files of the machine that runs it
REFUSED_VR = {'OB', 'OD', 'OF', 'OL', 'OV', 'OW', 'UN'}
# VRs in which a backslash is a character (PS3.5 6.2)
SINGLE_VR = {'LT', 'ST', 'UR', 'UT'}
# dump2dcm cuts off the bits for which there is no room
INTEGERS = {
    'SL': range(-2**31, 2**31), 'SS': range(-2**15, 2**15),
    'SV': range(-2**63, 2**63), 'UL': range(2**32), 'US': range(2**16),
    'UV': range(2**64)}
INTEGER_VR = set(INTEGERS)
FLOAT_VR = {'FD', 'FL'}
NUMBER_VR = INTEGER_VR | FLOAT_VR | {'DS', 'IS'}
KNOWN_VR = {
    'AE', 'AS', 'AT', 'CS', 'DA', 'DS', 'DT', 'IS', 'LO', 'LT', 'PN', 'SH',
    'SQ', 'ST', 'TM', 'UC', 'UI', 'UR', 'UT'} | INTEGER_VR | FLOAT_VR
# Flat JSON may hold the attributes of the one scheduled step
STEP_KEYWORDS = {
    'CommentsOnTheScheduledProcedureStep', 'Modality', 'PreMedication',
    'RequestedContrastAgent', 'ScheduledPerformingPhysicianName',
    'ScheduledProcedureStepDescription', 'ScheduledProcedureStepEndDate',
    'ScheduledProcedureStepEndTime', 'ScheduledProcedureStepID',
    'ScheduledProcedureStepLocation', 'ScheduledProcedureStepStartDate',
    'ScheduledProcedureStepStartTime', 'ScheduledProcedureStepStatus',
    'ScheduledProtocolCodeSequence', 'ScheduledStationAETitle',
    'ScheduledStationName'}

# Sequences in sequences: a worklist has two
MAX_DEPTH = 20
# What cannot be sent to the hosts
NOT_XML = re.compile(
    '[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]')

_LINE = re.compile(
    r'[ \t]*\([ \t]*(?P<group>[0-9A-Fa-f]{4})[ \t]*,'
    r'[ \t]*(?P<element>[0-9A-Fa-f]{4})[ \t]*\)[ \t]*'
    r'(?:(?P<vr>[A-Z]{2}|na|\?\?)(?![\w]))?[ \t]*(?P<value>.*)')
# What might be the name of a file to dump2dcm: the hosts refuse the same
_FILE = re.compile(r'(?:^|\s)=')
_TAG = re.compile(r'\(?([0-9A-Fa-f]{4}),?([0-9A-Fa-f]{4})\)?')
_ITEM, _ITEM_END, _SEQUENCE_END = (
    Tag(0xfffe, 0xe000), Tag(0xfffe, 0xe00d), Tag(0xfffe, 0xe0dd))
_UIDS = {entry[4]: uid for uid, entry in UID_dictionary.items() if entry[4]}

Row = namedtuple('Row', 'depth tag keyword vr value')
Row.__doc__ = "One line of the readable attribute table."


class DatasetError(ValueError):
    """
    A text that is no dataset.

    Attributes
    ----------
    line : int or None
        Line of the text, counted from 1.
    code : str
        What is wrong: the caller owns the sentence for each code.
    detail : str
        The tag, keyword or value the code is about.
    """

    def __init__(self, line, code, detail=''):
        super().__init__('line %s: %s: %s' % (line, code, detail))
        self.line = line
        self.code = code
        self.detail = str(detail)[:120]


def parse(text, template_type):
    """
    Read the rendered text of a template.

    Returns
    -------
    tuple of pydicom.dataset.Dataset and list of Finding
        The findings are what was noticed while reading.
    """
    if template_type == 'json':
        return parse_json(text)
    return parse_dump(text)


def _check_text(text):
    match = NOT_XML.search(text)
    if match:
        number = text.count('\n', 0, match.start()) + 1
        raise DatasetError(
            number, 'value',
            NOT_XML.sub('?', text.split('\n')[number - 1].strip()))


def parse_dump(text):
    """
    Read a dump as dump2dcm reads it (see its manual, "Dump File
    Description").

    As there, an item and a sequence end with their delimiters whether their
    length is called explicit or undefined, and of an attribute that comes
    twice the first one counts.
    """
    _check_text(text)
    root = Dataset()
    findings = []
    # open datasets and sequences, in turn
    stack = [root]
    sequences = []
    for number, line in enumerate(text.split('\n'), 1):
        line = line.rstrip('\r')
        stripped = line.strip(' \t')
        if not stripped or stripped.startswith('#'):
            continue
        match = _LINE.fullmatch(line)
        if not match:
            raise DatasetError(number, 'line', stripped)
        tag = Tag(int(match['group'], 16), int(match['element'], 16))
        in_sequence = len(sequences) == len(stack)
        if tag == _ITEM:
            if not in_sequence:
                raise DatasetError(number, 'item', tag)
            item = Dataset()
            sequences[-1].append(item)
            stack.append(item)
            continue
        elif tag == _ITEM_END:
            if in_sequence or len(stack) == 1:
                raise DatasetError(number, 'item', tag)
            stack.pop()
            continue
        elif tag == _SEQUENCE_END:
            if not in_sequence:
                raise DatasetError(number, 'item', tag)
            sequences.pop()
            continue
        if in_sequence:
            raise DatasetError(number, 'sequence_open', tag)
        if tag.group <= 2:
            continue
        vr = _vr(number, tag, match['vr'], findings)
        if vr == 'SQ':
            if len(stack) > MAX_DEPTH:
                raise DatasetError(number, 'value', tag)
            sequence = Sequence()
            if tag not in stack[-1]:
                stack[-1].add(DataElement(tag, 'SQ', sequence))
            else:
                findings.append(_twice(tag))
            # pydicom copies nothing: the list that is filled is the value
            sequences.append(sequence)
            continue
        value = _dump_value(number, vr, match['value'])
        if tag in stack[-1]:
            findings.append(_twice(tag))
            continue
        _add(stack[-1], number, tag, vr, value)
    if sequences:
        raise DatasetError(number, 'sequence_open', 'SQ')
    return root, findings


def _twice(tag):
    return Finding('warning', keyword_for_tag(tag) or str(tag), 'twice', '')


def _vr(number, tag, given, findings):
    known = (
        dictionary_VR(tag).split()[0] if dictionary_has_tag(tag) else None)
    if tag.is_private_creator:
        known = 'LO'
    if given not in KNOWN_VR | REFUSED_VR:
        given = None
    vr = known or given
    if vr is None:
        raise DatasetError(number, 'tag', tag)
    if vr in REFUSED_VR or given in REFUSED_VR:
        raise DatasetError(number, 'binary', tag)
    if known and given and given != known:
        findings.append(Finding(
                'warning', keyword_for_tag(tag) or str(tag), 'vr',
                '%s, %s' % (given, known)))
    return vr


def _dump_value(number, vr, text):
    text = text.strip(' \t')
    if text.startswith('['):
        end = text.rfind(']')
        if end < 1:
            raise DatasetError(number, 'bracket', text)
        return text[1:end].rstrip(' ')
    if text.startswith('<'):
        raise DatasetError(number, 'value', text)
    if text.startswith('('):
        return text[:text.find(')') + 1] if vr == 'AT' else ''
    text = text.split('#')[0].strip(' \t')
    if text.startswith('='):
        if vr != 'UI' or text[1:] not in _UIDS:
            raise DatasetError(number, 'value', text)
        return str(_UIDS[text[1:]])
    if vr != 'UI' and _FILE.search(text.split('[')[0]):
        raise DatasetError(number, 'value', text)
    return text


def _add(dataset, line, tag, vr, value):
    """Add an element from its text value."""
    try:
        if vr in SINGLE_VR:
            result = value
        elif value in {'', None}:
            result = None if vr in NUMBER_VR | {'AT'} else ''
        else:
            parts = [p.rstrip(' ') for p in value.split('\\')]
            if vr == 'AE':
                parts = [p.lstrip(' ') for p in parts]
            if vr in INTEGER_VR:
                parts = [int(p) for p in parts]
                if not all(p in INTEGERS[vr] for p in parts):
                    raise ValueError(vr)
            elif vr in FLOAT_VR:
                parts = [float(p) for p in parts]
            elif vr == 'AT':
                parts = [_tag(line, p) for p in parts]
            result = parts[0] if len(parts) == 1 else parts
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            dataset.add(DataElement(
                    tag, vr, result, validation_mode=dicom_config.IGNORE))
    except (ValueError, TypeError, OverflowError, ArithmeticError) as e:
        if isinstance(e, DatasetError):
            raise
        raise DatasetError(line, 'value', keyword_for_tag(tag) or tag) from e


def _tag(line, text):
    match = _TAG.fullmatch(text.replace(' ', ''))
    if match:
        return Tag(int(match[1], 16), int(match[2], 16))
    tag = tag_for_keyword(text)
    if tag is None:
        raise DatasetError(line, 'keyword', text)
    return Tag(tag)


def parse_json(text):
    """
    Read a JSON object.

    Keys are keywords or tags.  A value is plain (``"PatientID": "X"``, lists
    for several values, objects or lists of objects for sequences) or an
    element of the DICOM JSON model (``{"vr": "LO", "Value": ["X"]}``).
    Attributes of the scheduled step that stand at the top, where no Scheduled
    Procedure Step Sequence is given, become its one item.
    """
    _check_text(text)
    try:
        content = json.loads(
            text, object_pairs_hook=_pairs, parse_constant=_constant)
    except json.JSONDecodeError as e:
        raise DatasetError(e.lineno, 'json', e.msg) from e
    except RecursionError as e:
        raise DatasetError(None, 'json', 'recursion') from e
    except DatasetError:
        raise
    except ValueError as e:
        # a number of thousands of digits
        raise DatasetError(None, 'json', type(e).__name__) from e
    if not isinstance(content, dict):
        raise DatasetError(None, 'json', type(content).__name__)
    findings = []
    sequence = 'ScheduledProcedureStepSequence'
    if sequence not in content and '00400100' not in content:
        step = {k: v for k, v in content.items() if k in STEP_KEYWORDS}
        if step:
            content = {
                k: v for k, v in content.items() if k not in STEP_KEYWORDS}
            content[sequence] = [step]
    return _json_dataset(content, findings), findings


def _pairs(pairs):
    result = {}
    for key, value in pairs:
        if key in result:
            raise DatasetError(None, 'twice', key)
        result[key] = value
    return result


def _constant(name):
    raise DatasetError(None, 'json', name)


def _json_dataset(content, findings, depth=0):
    dataset = Dataset()
    for key, value in content.items():
        tag = _tag(None, key)
        if tag.group <= 2:
            continue
        if tag in dataset:
            raise DatasetError(None, 'twice', key)
        given = None
        modelled = isinstance(value, dict) and isinstance(
            value.get('vr'), str)
        if modelled:
            given = value['vr']
            if set(value) - {'vr', 'Value'}:
                raise DatasetError(None, 'binary', key)
            value = value.get('Value', [])
        vr = _vr(None, tag, given, findings)
        if vr == 'SQ':
            if depth >= MAX_DEPTH:
                raise DatasetError(None, 'value', key)
            items = [] if value in ('', None) else value
            if isinstance(items, dict):
                items = [items]
            if (not isinstance(items, list)
                    or not all(isinstance(i, dict) for i in items)):
                raise DatasetError(None, 'value', key)
            dataset.add(DataElement(
                    tag, 'SQ', Sequence(
                        _json_dataset(i, findings, depth + 1) for i in items)))
            continue
        values = value if isinstance(value, list) else [value]
        _add(dataset, None, tag, vr,
            '\\'.join(_json_text(key, v) for v in values))
    return dataset


def _json_text(key, value):
    if value is None:
        return ''
    if isinstance(value, dict):
        names = ('Alphabetic', 'Ideographic', 'Phonetic')
        groups = [value.get(name, '') for name in names]
        if (not set(value) - set(names)
                and all(isinstance(g, str) for g in groups)):
            return '='.join(groups).rstrip('=')
    elif isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return str(value)
    raise DatasetError(None, 'value', key)


def to_json(dataset):
    """
    Return the dataset in the DICOM JSON model, as ASCII text.

    Raises
    ------
    DatasetError
        If the model cannot hold it, such as a name with four groups.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            return json.dumps(
                dataset.to_json_dict(), sort_keys=True, allow_nan=False)
    except (ValueError, TypeError, LookupError, ArithmeticError) as e:
        raise DatasetError(None, 'value', type(e).__name__) from e


def rows(dataset, depth=0):
    """Yield the readable attribute table, items indented below sequences."""
    for element in dataset:
        if element.VR == 'SQ':
            yield Row(depth, _label(element.tag), element.keyword, 'SQ', '')
            for item in element.value:
                yield from rows(item, depth + 1)
            continue
        value = element.value
        if element.VM > 1:
            value = '\\'.join(str(v) for v in value)
        yield Row(
            depth, _label(element.tag), element.keyword, element.VR,
            '' if value is None else str(value))


def _label(tag):
    return '(%04X,%04X)' % (tag.group, tag.element)
