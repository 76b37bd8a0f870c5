# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is a file safe to hand to Orthanc, and whose is it?

Nothing here knows of Tryton. The elements of a file are walked through
without recursion, with a bound on everything: a file whose sequences are
nested thousands deep ends the process of Orthanc 1.10.1.

Reference: PS3.5 section 7 (data sets, sequences), annex A (transfer
syntaxes) and PS3.10 section 7 (meta information).
"""
import re
import zlib
from dataclasses import dataclass
from struct import Struct

from pydicom.charset import (
    convert_encodings, decode_bytes, python_encoding)
from pydicom.datadict import dictionary_VR

__all__ = ['Facts', 'MAX_DEPTH', 'Refusal', 'is_dicom', 'scan']

# Reports nest some ten levels, nothing else more than five.
MAX_DEPTH = 64
# An image of 100,000 frames has some three million.
MAX_ELEMENTS = 5_000_000
MAX_META = 64
MAX_INFLATED = 256 << 20
MAX_VALUE = 1024

PREFIX = b'DICM'
PREAMBLE = 128
UNDEFINED = 0xffffffff
IMPLICIT = '1.2.840.10008.1.2'
# big endian, implicit for all but its pixels
IMPLICIT_GE = '1.2.840.113619.5.2'
BIG_ENDIAN = '1.2.840.10008.1.2.2'
DEFLATED = {
    '1.2.840.10008.1.2.1.99', '1.2.840.10008.1.2.4.95',
    '1.2.840.10008.1.2.4.205'}
DIRECTORY = '1.2.840.10008.1.3.10'

ITEM = 0xfffee000
ITEM_END = 0xfffee00d
SEQUENCE_END = 0xfffee0dd
PIXEL_DATA = 0x7fe00010
ITEM_BYTES = b'\xfe\xff\x00\xe0'

SHORT = {bytes(vr, 'ascii') for vr in (
    'AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US').split()}
LONG = {bytes(vr, 'ascii') for vr in (
    'OB OD OF OL OV OW SQ SV UC UN UR UT UV').split()}

CHARSET = 0x00080005
ROWS = 0x00280010
# where the pixels of an image may be: in it, or at an address
PIXELS = {PIXEL_DATA, 0x7fe00008, 0x7fe00009, 0x00287fe0}
NAMES = {
    CHARSET: 'SpecificCharacterSet',
    0x00080018: 'SOPInstanceUID',
    0x00080050: 'AccessionNumber',
    0x00100020: 'PatientID',
    0x0020000d: 'StudyInstanceUID',
    0x0020000e: 'SeriesInstanceUID',
    }
REQUIRED = ['SOPInstanceUID', 'SeriesInstanceUID', 'StudyInstanceUID']
LAST_NAMED = max(NAMES)
_UID = re.compile(r'[!-\[\]-~]{1,64}')


class Refusal(Exception):
    """Why a file is not sent.

    Attributes
    ----------
    code : str
        What stands for the sentence.
    values : dict
        What the sentence names.
    """

    def __init__(self, code, **values):
        super().__init__(code)
        self.code = code
        self.values = values


class _Broken(Exception):
    "The elements end too early (cut) or contradict themselves (damaged)"


@dataclass
class Facts:
    """What a file says of itself; None stands for what it does not say.

    Attributes
    ----------
    complete : bool
        False if the beginning of a file did not reach all of it.
    """
    sop_uid: str = None
    series_uid: str = None
    study_uid: str = None
    patient_id: str = None
    accession_number: str = None
    complete: bool = True


def is_dicom(content):
    return content[PREAMBLE:PREAMBLE + 4] == PREFIX


def scan(content, head=False):
    """Walk through a file and return what it says of itself.

    Parameters
    ----------
    content : bytes
    head : bool
        The content is only the beginning of a file.

    Returns
    -------
    Facts

    Raises
    ------
    Refusal
        The file is not to be sent.
    """
    if not content:
        raise Refusal('empty')
    if not is_dicom(content):
        raise Refusal('no_dicom')
    if content[:2] == b'PK':
        # Orthanc looks at these first and would unpack it.
        raise Refusal('disguised')
    try:
        syntax, start = _read_meta(content)
        if syntax in DEFLATED:
            content, start = _inflate(content[start:], head), 0
    except _Broken as error:
        if head:
            return Facts(complete=False)
        raise Refusal(str(error)) from None
    walk = _Walk(
        content, start, implicit=syntax in {IMPLICIT, IMPLICIT_GE},
        big=syntax == BIG_ENDIAN)
    complete = True
    try:
        if head:
            complete = bool(walk.run(stop=LAST_NAMED))
        else:
            walk.run()
    except _Broken as error:
        if not head:
            raise Refusal(str(error)) from None
        complete = False
    if walk.rows and not walk.pixels and not head:
        raise Refusal('cut')
    return _facts(walk.found, complete)


def _read_meta(content):
    "Return the transfer syntax and where the data set starts"
    header = Struct('<HH2sH').unpack_from
    pos, size = PREAMBLE + 4, len(content)
    values, length = {}, None
    while True:
        if size - pos < 8:
            raise _Broken('cut')
        group, element, vr, count = header(content, pos)
        if group != 2:
            break
        head = 8
        if vr in LONG:
            if size - pos < 12:
                raise _Broken('cut')
            count, head = int.from_bytes(
                content[pos + 8:pos + 12], 'little'), 12
        elif vr not in SHORT:
            raise Refusal('damaged')
        start, pos = pos + head, pos + head + count
        if pos > size:
            raise _Broken('cut')
        if element in values:
            raise Refusal('twice', name='(0002,%04x)' % element)
        if len(values) == MAX_META:
            raise Refusal('elements')
        values[element] = content[start:min(pos, start + MAX_VALUE)]
        if element == 0 and count == 4:
            length = pos + int.from_bytes(values[0], 'little')
    if length is not None and length != pos:
        # Orthanc trusts it, and would read other elements than these.
        raise Refusal('damaged')
    if _ascii(values.get(2)) == DIRECTORY:
        raise Refusal('index')
    syntax = _ascii(values.get(0x10))
    if not syntax:
        raise Refusal('no_syntax')
    return syntax, pos


def _inflate(content, head):
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    limit = len(content) * 2 if head else MAX_INFLATED
    try:
        result = inflater.decompress(content, limit)
    except zlib.error:
        raise _Broken('damaged') from None
    if not inflater.eof and not head:
        if inflater.unconsumed_tail or len(result) >= limit:
            raise Refusal('bomb')
        raise _Broken('cut')
    return result


class _Walk:
    """A walk over all elements, which keeps its own stack.

    Attributes
    ----------
    found : dict of str to bytes
        The values of the elements in NAMES.
    rows, pixels : bool
        It is an image, and has pixels.
    """

    def __init__(self, content, start, implicit, big):
        self.content = content
        self.start = start
        self.implicit = implicit
        self.order = '>' if big else '<'
        self.found = {}
        self.rows = self.pixels = False

    def run(self, stop=None):
        """Walk to the end, or behind the element stop of the data set.

        Return True if that was reached.

        Raises
        ------
        _Broken, Refusal
        """
        content, size = self.content, len(self.content)
        pos, count = self.start, 0
        # What is open: (end or None, bound, kind, implicit, order). The kind
        # is S for a sequence, I for an item, F for fragments of pixels.
        stack = []
        # Private elements that look like sequences: (open before, end)
        guesses = []
        top = (size, size, 'I', self.implicit, self.order)
        while True:
            while stack and stack[-1][0] == pos:
                stack.pop()
            while guesses and len(stack) <= guesses[-1][0]:
                guesses.pop()
            if not stack and pos == size:
                return
            count += 1
            if count > MAX_ELEMENTS:
                raise Refusal('elements')
            end, bound, kind, implicit, order = stack[-1] if stack else top
            try:
                if bound - pos < 8:
                    if not stack and not any(content[pos:]):
                        return
                    raise _Broken('cut' if bound == size else 'damaged')
                tag, length = _TAGS[order](content, pos)
                tag = tag[0] << 16 | tag[1]
                if kind != 'I':
                    pos = self._part(stack, pos, tag, length)
                    continue
                if tag >> 16 == 0xfffe:
                    if tag != ITEM_END or not stack or end is not None:
                        raise _Broken('damaged')
                    stack.pop()
                    pos += 8
                    continue
                vr, head = None, 8
                if not implicit:
                    vr = content[pos + 4:pos + 6]
                    if vr in SHORT:
                        length = _U16[order](content, pos + 6)[0]
                    elif vr in LONG:
                        if bound - pos < 12:
                            raise _Broken(
                                'cut' if bound == size else 'damaged')
                        length, head = _U32[order](content, pos + 8)[0], 12
                    elif not stack and not any(content[pos:pos + 8]):
                        # zeros that fill up the file
                        if any(content[pos:]):
                            raise _Broken('damaged')
                        return
                    else:
                        raise _Broken('damaged')
                elif not stack and not tag and not length:
                    if any(content[pos:]):
                        raise _Broken('damaged')
                    return
                value = pos + head
                if not stack:
                    self.rows |= tag == ROWS
                    self.pixels |= tag in PIXELS
                if length == UNDEFINED:
                    stack.append((
                            None, bound, _kind(tag, vr),
                            implicit or vr == b'UN',
                            '<' if vr == b'UN' else order))
                    pos = value
                else:
                    after = value + length
                    if after > bound:
                        raise _Broken('cut' if bound == size else 'damaged')
                    guess = self._is_sequence(tag, vr, value, length, order)
                    if guess is not None:
                        if guess:
                            guesses.append((len(stack), after))
                        stack.append((
                                after, after, 'S', implicit or vr == b'UN',
                                '<' if vr == b'UN' else order))
                        pos = value
                    else:
                        if not stack and tag in NAMES:
                            self._keep(NAMES[tag], value, after)
                        pos = after
                if len(stack) > 2 * MAX_DEPTH:
                    raise Refusal('deep', depth=MAX_DEPTH)
                if stop and not stack and tag > stop:
                    return True
            except _Broken:
                if not guesses:
                    raise
                # It was no sequence after all.
                depth, pos = guesses.pop()
                del stack[depth:]

    def _part(self, stack, pos, tag, length):
        "Step into an item, over a fragment, or out of what holds them"
        end, bound, kind, implicit, order = stack[-1]
        if tag == SEQUENCE_END and end is None:
            stack.pop()
            return pos + 8
        if tag != ITEM or (kind == 'F' and length == UNDEFINED):
            raise _Broken('damaged')
        start = pos + 8
        if length == UNDEFINED:
            stack.append((None, bound, 'I', implicit, order))
            return start
        after = start + length
        if after > bound:
            raise _Broken(
                'cut' if bound == len(self.content) else 'damaged')
        if kind == 'F':
            return after
        stack.append((after, after, 'I', implicit, order))
        return start

    def _is_sequence(self, tag, vr, value, length, order):
        """Return False if it is a sequence, True if it may be one

        None if it is none.
        """
        if vr == b'SQ':
            return False
        if vr not in {None, b'UN'}:
            return None
        if vr is None:
            known = _vr(tag)
            if known:
                return False if known == 'SQ' else None
        item = ITEM_BYTES
        if order == '>' and vr is None:
            item = b'\xff\xfe\xe0\x00'
        if length >= 8 and self.content[value:value + 4] == item:
            return True
        return None

    def _keep(self, name, start, end):
        if name in self.found:
            # Which of them counts is up to who reads it.
            raise Refusal('twice', name=name)
        if end - start > MAX_VALUE:
            raise Refusal('long', name=name)
        self.found[name] = bytes(self.content[start:end])


def _two(order):
    unpack = Struct(order + 'HHI').unpack_from

    def read(content, pos):
        group, element, length = unpack(content, pos)
        return (group, element), length
    return read


_TAGS = {order: _two(order) for order in '<>'}
_U16 = {order: Struct(order + 'H').unpack_from for order in '<>'}
_U32 = {order: Struct(order + 'I').unpack_from for order in '<>'}
_known = {}


def _vr(tag):
    "Return the VR of a tag of the standard, None if it is not in it"
    try:
        return _known[tag]
    except KeyError:
        pass
    try:
        vr = dictionary_VR(tag)
    except KeyError:
        return None
    # nothing but what the standard has is remembered
    _known[tag] = vr
    return vr


def _kind(tag, vr):
    "What an element of undefined length holds"
    if tag == PIXEL_DATA or vr in {b'OB', b'OW'}:
        return 'F'
    if vr in {None, b'SQ', b'UN'}:
        return 'S'
    raise _Broken('damaged')


def _ascii(value):
    return (value or b'').rstrip(b'\0 ').decode('ascii', 'replace')


def _decode(value, charsets):
    # others are not spoken of in the log
    charsets = [c.strip() for c in charsets if c.strip() in python_encoding]
    try:
        return decode_bytes(
            value, convert_encodings(charsets or ['ISO_IR 6']), set())
    except (ValueError, LookupError):
        return value.decode('ascii', 'replace')


def _facts(found, complete):
    texts = {}
    charsets = _ascii(found.get('SpecificCharacterSet')).split('\\')
    for name, value in found.items():
        if name in REQUIRED:
            texts[name] = _ascii(value).strip()
        elif name != 'SpecificCharacterSet':
            texts[name] = _decode(value, charsets).strip('\0 ')
    for name in REQUIRED:
        text = texts.get(name)
        if (text or complete) and not _UID.fullmatch(text or ''):
            raise Refusal('no_uid', name=name)
    return Facts(
        sop_uid=texts.get('SOPInstanceUID'),
        series_uid=texts.get('SeriesInstanceUID'),
        study_uid=texts.get('StudyInstanceUID'),
        patient_id=texts.get('PatientID') or None,
        accession_number=texts.get('AccessionNumber') or None,
        complete=complete)
