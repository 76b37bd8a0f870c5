# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""
The ways to make a .wl file of a worklist item.

A writer is a function that takes an item and returns a function that takes
the path to write to.  Only the second one waits for disks and programs: it
may run in a thread.
"""
import contextlib
import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import tempfile
import warnings

import pydicom
from pydicom.charset import convert_encodings, encode_string, python_encoding
from pydicom.datadict import (
    dictionary_has_tag, dictionary_VR, keyword_for_tag)
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pydicom.valuerep import PersonName

# The class that Orthanc's samples and dump2dcm itself give to worklist files
WORKLIST_CLASS = '1.2.276.0.7230010.3.1.0.1'
TIMEOUT = 60
DICTIONARY = os.path.join(
    os.path.dirname(os.path.abspath(__file__)), 'dump2dcm.dic')

_BRACKETS = re.compile(r'([^\[\n]*\[)(.*)(\][^\]\n]*)')
_LINE = re.compile(
    r'\s*\(\s*(?P<group>[0-9A-Fa-f]{4})\s*,\s*(?P<element>[0-9A-Fa-f]{4})'
    r'\s*\)\s*(?:(?P<vr>[A-Z]{2}|na|\?\?)(?!\w))?\s*(?P<value>.*)')
# What might be the name of a file; GNU Health's check refuses the same
_FILE = re.compile(r'(?:^|\s)=')
_BINARY_VR = {'OB', 'OD', 'OF', 'OL', 'OV', 'OW', 'UN'}
# The replacement of a character that pydicom cannot encode
_LOSS = 'Failed to encode value'


class ItemError(Exception):
    """One item cannot be written."""


def _encode_gb2312(value, errors='strict'):
    # pydicom leaves the designation to the codec, which does not write it
    # (PS3.5 K.2: before the first character of each component)
    return b'\x1b$)A' + value.encode('iso_ir_58', errors)


def _encode_jis_x_0201(value, errors='strict'):
    # pydicom refuses Latin and Katakana letters in one value, which need no
    # designation where both are there from the start (PS3.3 C.12.1.1.2)
    encoded = value.encode('shift_jis')
    if len(encoded) != len(value):
        raise UnicodeEncodeError('shift_jis', value, 0, len(value), "no such")
    return encoded


ENCODERS = pydicom.charset.custom_encoders
ENCODERS['iso_ir_58'] = _encode_gb2312


@contextlib.contextmanager
def _strict(charsets):
    """Refuse to replace characters; not for threads."""
    original = ENCODERS['shift_jis']
    if charsets == ['ISO_IR 13']:
        ENCODERS['shift_jis'] = _encode_jis_x_0201
    try:
        # pydicom writes "?" for what it cannot encode, with a warning
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            warnings.filterwarnings('error', message=_LOSS)
            yield
    except (UnicodeError, UserWarning) as error:
        raise ItemError(
            'its charset cannot write all characters') from error
    except (ValueError, TypeError, KeyError, AttributeError,
            OSError) as error:
        # OSError is a number out of the range of its VR
        raise ItemError('pydicom refuses its dataset') from error
    finally:
        ENCODERS['shift_jis'] = original


# dump2dcm

def encode_dump(text, charset):
    """
    Return the bytes of a dump in the character set it declares.

    An unknown character set is written in UTF-8.

    Raises
    ------
    ItemError
        If a character cannot be encoded: nothing is replaced.
    """
    charsets = (charset or '').split('\\')
    known = all(c in python_encoding for c in charsets)
    if not known or charsets == ['ISO_IR 192']:
        return text.encode('utf-8')
    with _strict(charsets):
        if len(charsets) == 1 and charsets[0] in {'GBK', 'GB18030'}:
            return text.encode(python_encoding[charsets[0]])
        encodings = convert_encodings(list(charsets))
        return b'\n'.join(
            _encode_line(line, encodings) for line in text.split('\n'))


def _encode_line(line, encodings):
    match = _BRACKETS.fullmatch(line)
    if not match or line.isascii():
        return line.encode('ascii')
    before, value, after = match.groups()
    if _vr(line) == 'PN':
        encoded = b'\\'.join(
            PersonName(v).encode(encodings) for v in value.split('\\'))
    else:
        encoded = b'\\'.join(
            encode_string(v, encodings) for v in value.split('\\'))
    return before.encode('ascii') + encoded + after.encode('ascii')


def _vr(line):
    """Return the VR of a line, that of the dictionary if it names none."""
    match = _LINE.match(line)
    if not match:
        return None
    tag = int(match['group'] + match['element'], 16)
    if match['vr'] in {None, '??'} and dictionary_has_tag(tag):
        return dictionary_VR(tag)
    return match['vr']


def _is_binary(line):
    """Return whether dump2dcm might read the value from a file."""
    if _vr(line) in _BINARY_VR:
        return True
    match = _LINE.match(line)
    bare = (match['value'] if match else line).split('[')[0].split('#')[0]
    # in UI it is the name of a UID
    return bool(_FILE.search(bare)) and _vr(line) != 'UI'


def _environment(lines):
    """Spare dump2dcm its dictionary if the text says all that it needs."""
    for line in lines:
        match = _LINE.match(line)
        if (match and match['vr'] in {None, '??'}
                and match['group'].lower() != 'fffe'):
            return None
    return dict(os.environ, DCMDICTPATH=DICTIONARY)


def write_dump2dcm(item):
    """By dcmtk's dump2dcm, from the text."""
    lines = item['text'].split('\n')
    if any(map(_is_binary, lines)):
        raise ItemError('it holds binary data')
    content = encode_dump(item['text'], item['charset'])
    environment = _environment(lines)

    def write(path):
        folder, name = os.path.split(path)
        # of the same kind, so that none stays if this program is killed
        with tempfile.NamedTemporaryFile(
                dir=folder, prefix=name, suffix='.tmp') as dump:
            dump.write(content)
            dump.flush()
            # -g: no group lengths; +te: explicit VR little endian; the text
            # is read from a file, never from the command line
            try:
                result = subprocess.run(
                    ['dump2dcm', '-g', '+te', '+l', '65536', dump.name, path],
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL, timeout=TIMEOUT,
                    env=environment)
            except subprocess.TimeoutExpired:
                raise ItemError('dump2dcm does not end') from None
        if result.returncode or not os.path.getsize(path):
            raise ItemError('dump2dcm refuses its text')

    return write


# pydicom

def _dataset(item):
    """Return the dataset of an item and its character sets."""
    with _strict([]):
        dataset = Dataset.from_json(item['dataset'])
        charset = dataset.get('SpecificCharacterSet') or ''
        charsets = [charset] if isinstance(charset, str) else list(charset)
        if any(c not in python_encoding for c in charsets):
            dataset.SpecificCharacterSet = 'ISO_IR 192'
        return dataset, charsets


def write_pydicom(item):
    """By pydicom, from the DICOM JSON dataset."""
    dataset, charsets = _dataset(item)
    with _strict(charsets):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = WORKLIST_CLASS
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.file_meta = meta
        content = io.BytesIO()
        dataset.save_as(content, enforce_file_format=True)
    return lambda path: _write(path, content.getbuffer())


def _write(path, content):
    with open(path, 'wb') as file:
        file.write(content)


# orthanc-tools

def _worklist_builder():
    from orthanc_tools.hl7Lib.hl7_dicom_worklist_builder import (
        DicomWorklistBuilder)

    class Builder(DicomWorklistBuilder):
        """Takes the attributes that orthanc-tools leaves out, too."""

        def __init__(self, dataset):
            super().__init__()
            self.dataset = dataset

        def customize(self, values):
            # it asks for one even where the default will do
            del values.SpecificCharacterSet
            values.update(self.dataset)
            values.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            return values

    return Builder


def write_orthanc_tools(item):
    """By the worklist builder of python-orthanc-tools, from the dataset."""
    dataset, charsets = _dataset(item)
    content = io.BytesIO()
    with _strict(charsets):
        values = {
            element.keyword: element.value for element in dataset
            if element.keyword and element.VR != 'SQ'}
        for step in dataset.get('ScheduledProcedureStepSequence') or []:
            for element in step:
                values.setdefault(element.keyword, element.value)
        values.setdefault('SpecificCharacterSet', '')
        try:
            _worklist_builder()(dataset).generate(values, content)
        except (ItemError, UnicodeError, UserWarning, OSError):
            raise
        except Exception as error:
            # it raises nothing more special when an attribute is missing
            reason = str(error)
            if not re.fullmatch("missing field '[A-Za-z]+'", reason):
                reason = type(error).__name__
            raise ItemError(
                'orthanc-tools refuses its dataset: %s' % reason) from error
    return lambda path: _write(path, content.getbuffer())


WRITERS = {
    'dump2dcm': write_dump2dcm,
    'pydicom': write_pydicom,
    'orthanc-tools': write_orthanc_tools,
    }


def available(name):
    """Return whether the program or package of a writer is installed."""
    if name == 'dump2dcm':
        return bool(shutil.which('dump2dcm'))
    if name == 'orthanc-tools':
        return bool(importlib.util.find_spec('orthanc_tools'))
    return True


def choose(item, wanted=None):
    """Return the name of an item's writer.

    dump2dcm can write only what a dump2dcm template renders: other items are
    written by pydicom.
    """
    name = wanted or 'dump2dcm'
    if name == 'dump2dcm' and item['type'] != 'dump2dcm':
        name = 'pydicom'
    return name


def check_written(item, path):
    """Compare what was written with the item.

    Returns
    -------
    list of str
        Attributes of the item that the writer dropped.

    Raises
    ------
    ItemError
        If the file is not readable or of another study: a file for nobody
        helps nobody.
    """
    try:
        written = pydicom.dcmread(path)
        uid = written.get('StudyInstanceUID', '')
        found = set(_tags(written))
    except Exception as error:
        # whatever pydicom makes of bytes that are no DICOM
        raise ItemError('the file is not readable') from error
    if uid != (item['uid'] or ''):
        raise ItemError('the file has another Study Instance UID')
    return sorted(
        keyword_for_tag(tag) or tag
        for tag in set(_json_tags(json.loads(item['dataset']))) - found)


def _tags(dataset):
    for tag in dataset.keys():
        yield '%08X' % tag
        if dataset.get_item(tag).VR == 'SQ':
            for item in dataset[tag].value:
                yield from _tags(item)


def _json_tags(dataset):
    for tag, element in dataset.items():
        # group lengths are made anew
        if not tag.endswith('0000'):
            yield tag
        if element['vr'] == 'SQ':
            for item in element.get('Value', []):
                yield from _json_tags(item)
