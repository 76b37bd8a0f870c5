# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare names as DICOM and GNU Health write them.

Nothing here knows of Tryton. Reference: DICOM PS3.5 section 6.2.1 for the
components of a person's name.
"""
import re
import unicodedata

__all__ = ['other_person', 'same_name']


def _words(name):
    plain = unicodedata.normalize('NFKD', (name or '').casefold())
    plain = ''.join(c for c in plain if not unicodedata.combining(c))
    return set(re.findall(r'\w+', plain))


def same_name(one, other):
    "Tell whether names agree, in any order and with names left out"
    one, other = _words(one), _words(other)
    common = one & other
    return len(common) >= 2 and common in (one, other) or (
        bool(one) and one == other)


def _alike(ones, others):
    "Some word of one is a word of the other, or begins or abbreviates it"
    return any(
        one.startswith(other) or other.startswith(one)
        for one in ones for other in others)


def _spelled(words):
    "As ASCII, or None for another script"
    words = {w.replace('ue', 'u').replace('oe', 'o').replace('ae', 'a')
        for w in words}
    return words if all(w.isascii() for w in words) else None


def other_person(dicom, given, family, same_birth=False):
    """Tell whether the name is clearly that of somebody else.

    Names that cannot be compared (one is missing, has but one part or is
    in another script) are nobody else's.

    Parameters
    ----------
    dicom : str or None
        The value of PatientName: family^given^middle^prefix^suffix.
    given, family : str or None
        The names in GNU Health.
    same_birth : bool
        Both were born on the same day: then the family name may be another
        one, as by marriage. The given names tell twins apart.
    """
    parts = [_words(part)
        for part in (dicom or '').split('=')[0].split('^')[:3]]
    dicom_given = set().union(*parts[1:])
    sets = [_spelled(words) for words in [
            parts[0], dicom_given, _words(given), _words(family)]]
    if not all(sets):
        return False
    dicom_family, dicom_given, given, family = sets
    if _alike(dicom_given, given):
        return not same_birth and not _alike(
            dicom_family | dicom_given, family)
    # devices swap the two, and not all peoples tell them apart
    return not (_alike(dicom_family, given) and _alike(dicom_given, family))
