# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import datetime as dt

import pytz

from trytond.modules.health.core import (
    compute_age_from_dates, get_institution_timezone)


def now():
    return dt.datetime.now(dt.timezone.utc).replace(
        tzinfo=None, microsecond=0)


def is_unlikely(date):
    "Tell whether the year is mistyped: time zones and devices fail at it"
    return not 1900 <= date.year < 2200


def age_at(patient, date):
    "Return the patient's age at that time (UTC) as GNU Health writes it"
    if not patient or not patient.dob or not date or is_unlikely(date):
        return None
    day = pytz.utc.localize(date).astimezone(get_institution_timezone())
    return compute_age_from_dates(
        patient.dob, None, None, None, 'age', day.date())


def day_bounds(day, zone):
    "Return when the day begins and ends in that time zone, in UTC"
    return [
        _midnight(d, zone).astimezone(pytz.utc).replace(tzinfo=None)
        for d in [day, day + dt.timedelta(days=1)]]


def _midnight(day, zone):
    """Return when the day begins

    Where clocks are changed at midnight, it is there twice or not at all.
    """
    moments = [
        zone.normalize(zone.localize(
                dt.datetime.combine(day, dt.time.min), is_dst=is_dst))
        for is_dst in [True, False]]
    within = [m for m in moments if m.date() == day]
    return min(within) if within else max(moments)
