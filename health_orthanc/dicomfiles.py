# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files inside of what a person chose to upload.

Nothing here knows of Tryton. What was chosen is one file, a ZIP archive, or
several of either in the frame that GNU Health's own widget makes of them:
the letters MULT, then for each its length in eight bytes, little endian,
and its content. Names are only shown: nothing is written anywhere.
"""
import io
import re
import struct
import zipfile
import zlib

from .dicomscan import Refusal, is_dicom

__all__ = [
    'MAX_FILES', 'MAX_FILE_SIZE', 'MAX_TOTAL_SIZE', 'clean_name',
    'read_files', 'read_frame']

MAX_FILES = 5000
MAX_FILE_SIZE = 1 << 30
MAX_TOTAL_SIZE = 4 << 30
# Pictures shrink to a tenth; more than this is looked at only when it is big.
MAX_RATIO = 100
BIG = 256 << 20
MAX_NAME = 200

FRAME = b'MULT'
ARCHIVES = (b'PK\x03\x04', b'PK\x05\x06', b'PK\x07\x08')
# one for each file in the archive's directory
ENTRY = b'PK\x01\x02'
# the others, and Orthanc knows none of them, may ask for any memory
METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2}


def clean_name(name):
    "Return a name that is safe to show, without where it is"
    name = ''.join(c if c.isprintable() else ' ' for c in name or '')
    parts = [
        p.strip() for p in re.split(r'[\\/]+', name)
        if p.strip() not in {'', '.', '..'}]
    name = '/'.join(parts)
    if len(name) > MAX_NAME:
        name = '…' + name[-MAX_NAME:]
    return name or 'DICOM'


def is_archive(content):
    return content.startswith(ARCHIVES) and not is_dicom(content)


def read_files(name, content):
    """Yield name and content of each file.

    A content that is a Refusal tells why there is none.

    Parameters
    ----------
    name : str or None
    content : bytes

    Raises
    ------
    Refusal
        Nothing of it is to be sent.
    """
    if content.startswith(FRAME) and not is_dicom(content):
        yield from _read_frame(content)
    elif is_archive(content):
        yield from _read_archive(content)
    else:
        yield clean_name(name), content


def _read_frame(content):
    for number, part in enumerate(read_frame(content), 1):
        name = '#%d' % number
        if isinstance(part, bytes) and is_archive(part):
            try:
                for inner, file in _read_archive(part):
                    yield '%s/%s' % (name, inner), file
            except Refusal as refusal:
                yield name, refusal
        else:
            yield name, part


def read_frame(content):
    """Return the contents in a frame

    A Refusal stands for one that is cut off.
    """
    parts, pos = [], len(FRAME)
    while pos < len(content):
        if len(parts) == MAX_FILES:
            raise Refusal('too_many', files=MAX_FILES)
        start = pos + 8
        pos = start + int.from_bytes(content[pos:start], 'little')
        if pos > len(content):
            parts.append(Refusal('cut'))
        else:
            parts.append(content[start:pos])
    return parts


def _read_archive(content):
    if content.count(ENTRY) > MAX_FILES:
        raise Refusal('too_many', files=MAX_FILES)
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except (zipfile.BadZipFile, ValueError, NotImplementedError,
            OverflowError, EOFError, OSError, struct.error):
        raise Refusal('bad_archive') from None
    members = [
        m for m in archive.infolist()
        if not m.is_dir() and not m.filename.startswith('__MACOSX/')]
    if not members:
        raise Refusal('empty_archive')
    total = sum(m.file_size for m in members)
    if (total > MAX_TOTAL_SIZE
            or (total > BIG and total > MAX_RATIO * len(content))):
        raise Refusal('archive_bomb')
    for member in members:
        try:
            file = _read_member(archive, member)
        except Refusal as refusal:
            file = refusal
        yield clean_name(member.filename), file


def _read_member(archive, member):
    if member.file_size > MAX_FILE_SIZE:
        raise Refusal('large', size=MAX_FILE_SIZE >> 20)
    if member.flag_bits & 1:
        raise Refusal('encrypted')
    if member.compress_type not in METHODS:
        raise Refusal('method')
    try:
        with archive.open(member) as file:
            # What the directory says may be a lie: it reads no further.
            content = file.read(member.file_size)
            # the check sum is only looked at here
            if file.read(1) or len(content) != member.file_size:
                raise Refusal('bad_member')
    except (zipfile.BadZipFile, zlib.error, RuntimeError,
            NotImplementedError, OSError, EOFError, ValueError,
            OverflowError, struct.error):
        raise Refusal('bad_member') from None
    if is_archive(content):
        raise Refusal('nested')
    return content
