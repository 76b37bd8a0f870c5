# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a log may say of an error, without Tryton"""
import traceback


def where(error):
    """Tell what went wrong where, but not with what.

    The message of an error may hold what the person is called: PostgreSQL
    adds the row that failed, Python the value.

    Parameters
    ----------
    error : Exception

    Returns
    -------
    str
        The error's type, then the calls that led to it, outermost first;
        the same for each error that caused it.
    """
    parts, seen = [], set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        calls = ' > '.join(
            f'{frame.filename}:{frame.lineno} {frame.name}'
            for frame in traceback.extract_tb(error.__traceback__))
        parts.append(f'{type(error).__name__} at {calls or "unknown"}')
        error = error.__cause__ or error.__context__
    return '\n  from '.join(parts)
