# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Code 128 barcodes for printed orders, without Tryton"""
from reportlab.graphics import renderSVG
from reportlab.graphics.barcode import createBarcodeDrawing
from reportlab.graphics.barcode.code128 import Code128Auto
from reportlab.lib.units import mm

# Millimetres. ISO/IEC 15417: the quiet zone has ten modules.
MODULE = .25
THINNEST = .15
QUIET_ZONE = 10
HEIGHT = 12


def picture(text, width=80):
    """Make a relatorio image of the text as Code 128.

    Parameters
    ----------
    text : str
    width : float
        How wide it may be, in millimetres: a longer one gets thinner bars.

    Returns
    -------
    tuple of (bytes, str, str, str), or None
        SVG, MIME type, width and height as ODF lengths; None for what a
        scanner could not read: no text, one that is too long, or other
        characters than ASCII.
    """
    if not text or not text.isascii():
        return None
    modules = Code128Auto(text, barWidth=1, quiet=False).width
    module = min(MODULE, width / (modules + 2 * QUIET_ZONE))
    if module < THINNEST:
        return None
    drawing = createBarcodeDrawing(
        'Code128Auto', value=text, humanReadable=False,
        barWidth=module * mm, barHeight=HEIGHT * mm,
        lquiet=QUIET_ZONE * module * mm, rquiet=QUIET_ZONE * module * mm)
    return (
        renderSVG.drawToString(drawing).encode('utf-8'), 'image/svg+xml',
        f'{drawing.width / mm:.2f}mm', f'{drawing.height / mm:.2f}mm')
