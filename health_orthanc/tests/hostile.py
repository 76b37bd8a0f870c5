# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"Files that mean no good"
import io
import struct
import zipfile
import zlib

from pydicom import Dataset, dcmread
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian,
    ExplicitVRLittleEndian, ImplicitVRLittleEndian)

from .orthanc import dicom

SYNTAXES = {
    'explicit': ExplicitVRLittleEndian,
    'implicit': ImplicitVRLittleEndian,
    'big': ExplicitVRBigEndian,
    'deflated': DeflatedExplicitVRLittleEndian,
    }
CONTENT_SEQUENCE = 0x0040, 0xa730
PRIVATE = 0x0041, 0x1001
ITEM, ITEM_END, SEQUENCE_END = 0xe000, 0xe00d, 0xe0dd
UNDEFINED = 0xffffffff


def in_syntax(name, content=None):
    "The file in one of the transfer syntaxes"
    source = dcmread(io.BytesIO(content or dicom()))
    data = Dataset()
    data.update(source)
    data.file_meta = source.file_meta
    data.file_meta.TransferSyntaxUID = SYNTAXES[name]
    target = io.BytesIO()
    data.save_as(target, enforce_file_format=True)
    return target.getvalue()


def append(name, content, elements):
    "The file with more elements at its end"
    if name != 'deflated':
        return content + elements
    # behind the group length of the meta information
    start = 144 + int.from_bytes(content[140:144], 'little')
    data = zlib.decompress(content[start:], -zlib.MAX_WBITS)
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = deflater.compress(data + elements) + deflater.flush()
    return content[:start] + packed + b'\0' * (len(packed) % 2)


class Elements:
    "Makes elements in a transfer syntax"

    def __init__(self, syntax):
        self.implicit = syntax == 'implicit'
        self.order = '>' if syntax == 'big' else '<'

    def element(self, tag, vr, content, length=None):
        length = len(content) if length is None else length
        if self.implicit:
            return struct.pack(
                self.order + 'HHI', *tag, length) + content
        return struct.pack(
            self.order + 'HH2sHI', *tag, vr, 0, length) + content

    def item(self, element, length, content=b''):
        return struct.pack(
            self.order + 'HHI', 0xfffe, element, length) + content

    def nested(self, depth, defined, tag=CONTENT_SEQUENCE, vr=b'SQ'):
        "A sequence in a sequence in a sequence"
        if not defined:
            begin = self.element(tag, vr, b'', UNDEFINED) + self.item(
                ITEM, UNDEFINED)
            end = self.item(ITEM_END, 0) + self.item(SEQUENCE_END, 0)
            return begin * depth + end * depth
        parts, inside = [], 0
        for _ in range(depth):
            part = self.element(tag, vr, b'', inside + 8) + self.item(
                ITEM, inside)
            parts.append(part)
            inside += len(part)
        return b''.join(reversed(parts))


def archive(files, **options):
    "A ZIP archive of (name, content)"
    target = io.BytesIO()
    with zipfile.ZipFile(
            target, 'w', zipfile.ZIP_DEFLATED, **options) as file:
        for name, content in files:
            file.writestr(name, content)
    return target.getvalue()


def frame(*contents):
    "What GNU Health's widget makes of several files"
    return b'MULT' + b''.join(
        struct.pack('<Q', len(content)) + content for content in contents)
