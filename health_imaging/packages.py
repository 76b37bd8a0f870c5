# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"Notice GNU Health's own packages, whose modules have the same names"
import logging
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version

logger = logging.getLogger(__name__)

REPLACED = (
    'gnuhealth-imaging', 'gnuhealth-imaging-worklist', 'gnuhealth-orthanc')


REMEDY = (
    "Run: pip uninstall %s; "
    "pip install --force-reinstall --no-deps gnuhealth-imaging-suite")


def installed():
    "Return those of GNU Health's packages that are installed"
    found = []
    for name in REPLACED:
        try:
            version(name)
        except PackageNotFoundError:
            continue
        found.append(name)
    return found


@lru_cache(maxsize=None)
def warn():
    "Say once in the log if files of the suite may not be its own"
    found = ' '.join(installed())
    if found:
        logger.error(
            "%s and gnuhealth-imaging-suite bring the same modules: "
            "one of them has replaced files of the other. " + REMEDY,
            found, found)


def check(health_imaging):
    "Refuse to work on a health_imaging that is not the suite's"
    if not hasattr(health_imaging, 'SUITE'):
        raise ImportError(
            "health_imaging is not that of gnuhealth-imaging-suite: "
            "gnuhealth-imaging has replaced it. "
            + REMEDY % 'gnuhealth-imaging')
