# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Orthanc can draw of an instance: frames, windows, or why nothing.

Nothing here knows of Tryton. Tags are those that Orthanc calls simplified:
keywords with text. Any of them may be missing or nonsense.

Reference: DICOM PS3.3 section C.11.2.1.2 for windows, PS3.4 section B.5 for
SOP classes.
"""
import math
from collections import namedtuple

from pydicom import config
from pydicom.uid import UID

from .mapping import clean, parse_integer, text

__all__ = [
    'PRESETS', 'Window', 'compression', 'count_frames', 'has_presets', 'kind',
    'kind_name', 'make_window', 'window_text', 'windows']

Window = namedtuple('Window', 'center width explanation', defaults=[''])

# In Hounsfield units, hence for CT only
PRESETS = {
    'soft_tissue': Window(40, 400),
    'lung': Window(-600, 1500),
    'bone': Window(400, 1800),
    'brain': Window(40, 80),
    }
MAX_WINDOWS = 20
_STORAGE = '1.2.840.10008.5.1.4.1.1.'
# What has no pixels, by the beginning of its SOP class
_KINDS = [
    (_STORAGE + '88.', 'report'),
    (_STORAGE + '104.1', 'pdf'),
    (_STORAGE + '104.', 'document'),
    (_STORAGE + '9.', 'waveform'),
    ]


def count_frames(tags):
    return max(parse_integer(tags.get('NumberOfFrames')) or 1, 1)


def windows(tags):
    "The windows that the file says, each one once"
    centers = _values(tags.get('WindowCenter'))
    widths = _values(tags.get('WindowWidth'))
    explanations = _values(tags.get('WindowCenterWidthExplanation'))
    explanations += [''] * len(centers)
    found = {}
    for values in zip(centers, widths, explanations):
        window = make_window(*values)
        if window:
            found.setdefault(window[:2], window)
    return list(found.values())[:MAX_WINDOWS]


def make_window(center=None, width=None, explanation='', *others):
    "Return a window of what may be none, in which case it is None"
    center, width = _number(center), _number(width)
    if center is None or width is None or width <= 0 or others:
        return None
    return Window(center, width, text(explanation) or '')


def has_presets(tags):
    """Tell whether the values can be drawn in Hounsfield units.

    Orthanc takes no slope and intercept out of the functional groups of
    enhanced images.
    """
    return (
        clean(tags.get('Modality')) == 'CT'
        and _number(tags.get('RescaleIntercept')) is not None)


def window_text(center, width):
    return f'{center:.10g}/{width:.10g}'


def kind(sop_class):
    "report, pdf, document or waveform; None for what may have pixels"
    for start, name in _KINDS:
        if (sop_class or '').startswith(start):
            return name


def kind_name(sop_class):
    "What the standard calls the SOP class, otherwise its UID"
    return _uid(sop_class).name


def compression(transfer_syntax):
    "What the standard calls the compression, None if there is none"
    uid = _uid(transfer_syntax)
    if uid.is_private:
        return str(uid) or None
    if uid.is_transfer_syntax and uid.is_compressed:
        return uid.name


def _uid(value):
    uid = UID(clean(value) or '', validation_mode=config.IGNORE)
    return uid if uid.is_valid else UID('')


def _values(value):
    value = clean(value)
    return value.split('\\') if value else []


def _number(value):
    try:
        number = float(clean(value))
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
