# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures for printed reports and lists, without Tryton"""
import io
import logging
from collections import namedtuple

from PIL import Image, ImageOps

logger = logging.getLogger(__name__)

FORMATS = ('PNG', 'JPEG', 'GIF', 'BMP', 'WEBP', 'TIFF')
# A mammogram has some 30 million; decoding takes a few bytes for each
MAX_PIXELS = 60_000_000
DPI = 250
# So that small pictures do not become mosaics
MIN_DPI = 72

Picture = namedtuple('Picture', 'image caption')


def scale_down(data, width, height):
    """Return a picture upright, in gray or colour, within a box.

    Parameters
    ----------
    data : bytes
        A PNG, JPEG, GIF, BMP, WebP or TIFF file; of several frames the first
        is taken.
    width, height : int
        The box in pixels. Smaller pictures stay as small.

    Returns
    -------
    tuple of (bytes, str, int, int), or None
        Data, MIME type, width and height in pixels; None for what is no
        picture, is damaged, or has more than MAX_PIXELS.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as source:
            if source.width * source.height > MAX_PIXELS:
                return None
            format_ = 'JPEG' if source.format in {'JPEG', 'WEBP'} else 'PNG'
            # JPEG can be decoded at a half, a quarter or an eighth
            source.draft(None, (2 * width, 2 * height))
            image = _gray_or_colour(ImageOps.exif_transpose(source))
            image.thumbnail((width, height))
            output = io.BytesIO()
            image.save(output, format_, quality=90)
    except Exception:
        # Pillow raises nearly anything for damaged files
        logger.debug("not a picture", exc_info=True)
        return None
    return (output.getvalue(), f'image/{format_.lower()}', *image.size)


def _gray_or_colour(image):
    if image.mode[0] in 'IF':
        # 16 bits a pixel, or more of them than a printer shows
        _, highest = image.getextrema()
        factor = 255 / max(highest, 255)
        return image.convert('F').point(lambda v: v * factor).convert('L')
    if image.has_transparency_data:
        image = image.convert('RGBA')
        paper = Image.new('RGBA', image.size, 'white')
        return Image.alpha_composite(paper, image).convert('RGB')
    return image.convert('L' if image.mode in {'1', 'L'} else 'RGB')


def fit(data, width, height):
    """Make a relatorio image that keeps its proportions within a box.

    Parameters
    ----------
    data : bytes or None
    width, height : float
        The box in centimetres.

    Returns
    -------
    tuple of (bytes, str, str, str), or None
        Data, MIME type, width and height as ODF lengths; None for what is
        no picture that scale_down() can read.
    """
    found = data and scale_down(
        data, int(width / 2.54 * DPI), int(height / 2.54 * DPI))
    if not found:
        return None
    data, mimetype, pixels_x, pixels_y = found
    scale = min(width / pixels_x, height / pixels_y, 2.54 / MIN_DPI)
    return (
        data, mimetype, *(
            f'{max(pixels * scale, .05):.2f}cm'
            for pixels in (pixels_x, pixels_y)))
