# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What templates read, and how values are written so that texts stay whole."""
import json
import re

# C0 and C1 controls, the line separators of Unicode and what is no character:
# no DICOM text that a worklist carries may hold them
CONTROL = '\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff'
_CONTROL = re.compile('[%s]+' % CONTROL)


class Trusted(str):
    """A value that may hold several values parted by backslashes."""


class View:
    """
    The only kind of object whose attributes a template may read.

    Subclasses implement :meth:`field`.
    """

    def field(self, name):
        """Return the value of a field; raise KeyError if there is none."""
        raise KeyError(name)


def tame(text, trusted):
    # a backslash is DICOM's separator of values and has no escape
    tamed = _CONTROL.sub(' ', text)
    if not trusted:
        tamed = tamed.replace('\\', '/')
    return tamed


def escape_dump(text, trusted=False):
    """
    Make a value safe between the brackets of a dump2dcm line.

    The value ends at the last bracket of its line (dump2dcm's manual, rule
    6), so brackets are kept; line breaks become spaces and backslashes,
    unless `trusted`, slashes.
    """
    return tame(text, trusted)


def escape_json(text, trusted=False):
    """Make a value safe inside the quotes of a JSON string."""
    return json.dumps(tame(text, trusted), ensure_ascii=False)[1:-1]


ESCAPES = {'dump2dcm': escape_dump, 'json': escape_json}
