# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures for printed reports, without Tryton"""
import struct
from collections import namedtuple

Picture = namedtuple('Picture', 'image caption')


def picture_size(data):
    """Tell what kind of picture the bytes hold and how large it is.

    Parameters
    ----------
    data : bytes

    Returns
    -------
    tuple of (str, int, int), or None
        MIME type, width and height in pixels; None for what is no PNG, GIF,
        BMP or JPEG.
    """
    if data[:8] == b'\x89PNG\r\n\x1a\n' and len(data) >= 24:
        return ('image/png', *struct.unpack('>II', data[16:24]))
    if data[:6] in {b'GIF87a', b'GIF89a'} and len(data) >= 10:
        return ('image/gif', *struct.unpack('<HH', data[6:10]))
    if data[:2] == b'BM' and len(data) >= 26:
        width, height = struct.unpack('<ii', data[18:26])
        return ('image/bmp', width, abs(height))
    if data[:2] == b'\xff\xd8':
        return _jpeg_size(data)
    return None


def _jpeg_size(data):
    # ITU-T T.81 B.1: segments, the frame header (SOFn) holds the size
    position = 2
    while position + 9 <= len(data):
        marker, length = struct.unpack('>xBH', data[position:position + 4])
        if data[position] != 0xff:
            return None
        if marker == 0xff:
            position += 1
            continue
        if 0xc0 <= marker <= 0xcf and marker not in {0xc4, 0xc8, 0xcc}:
            height, width = struct.unpack(
                '>HH', data[position + 5:position + 9])
            return ('image/jpeg', width, height)
        position += 2 + length
    return None


def fit(data, width, height):
    """Make a relatorio image that keeps its proportions within a box.

    Parameters
    ----------
    data : bytes
    width, height : float
        The box in centimetres.

    Returns
    -------
    tuple of (bytes, str, str, str), or None
        Data, MIME type, width and height as ODF lengths; None for what is
        no picture.
    """
    found = picture_size(data or b'')
    if not found:
        return None
    mimetype, pixels_x, pixels_y = found
    if pixels_x <= 0 or pixels_y <= 0:
        return None
    scale = min(width / pixels_x, height / pixels_y)
    return (
        data, mimetype,
        f'{pixels_x * scale:.2f}cm', f'{pixels_y * scale:.2f}cm')
