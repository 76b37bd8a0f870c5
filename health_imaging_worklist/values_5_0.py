# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The values of worklist variables as GNU Health 5.0 gave them

Templates made for it keep their items: UTC, the order number as step ID, and
texts as they are stored, whatever DICOM allows.
"""
from dateutil.relativedelta import relativedelta

from .attributes import institution


def values(request):
    "Return the variables whose values differ from the standard ones"
    patient, doctor = request.patient, request.doctor
    test = request.requested_test
    place = institution(request)
    start = request.scheduled_date or request.date
    name = _person_name(doctor.party) if doctor else ''
    referring = request.referring_professional
    return {
        'TimezoneOffsetFromUTC': '+0000',
        'InstitutionName': place.rec_name if place else '',
        'ReferringPhysicianName': (
            _person_name(referring.party) if referring else name),
        'PatientName': _person_name(patient.party),
        'PatientSex': {'f': 'F', 'm': 'M'}.get(patient.gender, 'O'),
        'PatientAge': _age(patient.party.dob, request.date.date()),
        'RequestingPhysician': name,
        'RequestingService': (
            doctor.main_specialty.rec_name
            if doctor and doctor.main_specialty else ''),
        'RequestedProcedureDescription': test.rec_name,
        'ScheduledProcedureStepDescription': test.rec_name,
        'Modality': test.test_type.code,
        'ScheduledStationAETitle': request.aetitle or test.aetitle or '',
        'ScheduledProcedureStepStartDate': start.strftime('%Y%m%d'),
        'ScheduledProcedureStepStartTime': start.strftime('%H%M%S'),
        'ScheduledProcedureStepID': request.request,
        }


def _person_name(party):
    names = [n for n in party.person_names if n.use == 'official']
    if not names:
        return party.rec_name
    name = min(names, key=lambda n: n.id)
    return '^'.join(part or '' for part in [
            name.family, name.given, None, name.prefix, name.suffix]
        ).rstrip('^')


def _age(birth, day):
    if not birth:
        return None
    age = relativedelta(day, birth)
    if age.years > 0:
        return '%03dY' % age.years
    if age.years == 0 and age.months > 0:
        return '%03dM' % age.months
    if age.years == 0 and age.months == 0 and age.days > 0:
        return '%03dD' % age.days
    return ''
