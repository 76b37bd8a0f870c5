# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text tables for a terminal, aligned whatever script is in them."""
import unicodedata

# so that a right-to-left name does not pull its neighbours along
ISOLATE, POP_ISOLATE = '\u2068', '\u2069'
WIDE = {'W', 'F'}


def width(text):
    """Return how many columns of a terminal the text takes."""
    columns = 0
    for character in text:
        if unicodedata.category(character) in {'Mn', 'Me', 'Cf'}:
            continue
        wide = unicodedata.east_asian_width(character) in WIDE
        columns += 2 if wide else 1
    return columns


def isolated(text):
    if any(unicodedata.bidirectional(character) in {'R', 'AL'}
            for character in text):
        return ISOLATE + text + POP_ISOLATE
    return text


def table(heading, rows):
    """Return the lines of a table; the last column is not padded."""
    rows = [[str(cell or '') for cell in row] for row in rows]
    widths = [
        max(width(row[column]) for row in [heading, *rows])
        for column in range(len(heading) - 1)]

    def line(row):
        cells = [
            isolated(cell) + ' ' * (columns - width(cell))
            for cell, columns in zip(row, widths)]
        return '  '.join([*cells, row[-1]]).rstrip()

    return [line(heading), line(['-' * columns for columns in widths] + [
                '-' * len(heading[-1])]), *map(line, rows)]
