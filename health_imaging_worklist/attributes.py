# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a request gives to its worklist template

Everything comes from the request and what it refers to, nothing from the
user who renders.
"""
import datetime as dt
import re

from trytond.config import config
from trytond.model import Model
from trytond.pool import Pool
from trytond.tools import timezone
from trytond.transaction import Transaction

from .sandbox import CONTROL, Trusted, View

SECTION = 'health_imaging_worklist'

# Fields that a template cannot read: secrets, and what would render again
_HIDDEN = re.compile(
    r'password|passwd|secret|token|credential|api_?key|signature|^worklist_')
_READABLE = {
    'boolean', 'char', 'date', 'datetime', 'float', 'integer', 'many2many',
    'many2one', 'multiselection', 'numeric', 'one2many', 'one2one',
    'reference', 'selection', 'text', 'time', 'timedelta', 'timestamp'}
_DELIMITERS = re.compile(r'[%s\\^=]+' % CONTROL)
_UNPRINTABLE = re.compile('[%s]+' % CONTROL)


class Adapted(str):
    "A text that had to be changed: `code` says how"
    __slots__ = ('code',)

    def __new__(cls, text, code):
        self = super().__new__(cls, text)
        self.code = code
        return self


def readable(Model, name):
    "Return the field that a template may read; raise KeyError if it may not"
    field = Model._fields.get(name)
    if (field is None
            or field._type not in _READABLE
            or _HIDDEN.search(name)):
        raise KeyError(name)
    if (Model.__name__.startswith(('ir.', 'res.'))
            and name not in {'name', 'rec_name'}):
        raise KeyError(name)
    return field


class RecordView(View):
    "The values of a record's fields, read only"
    __slots__ = ('_record',)

    def __init__(self, record):
        self._record = record

    def field(self, name):
        record = self._record
        if name == 'id':
            return record.id
        readable(record.__class__, name)
        return view(getattr(record, name))


def view(value):
    "Return the value as a template may see it"
    if isinstance(value, Model):
        return RecordView(value)
    if isinstance(value, (list, tuple)):
        return [view(v) for v in value]
    return value


def clean(text, limit=None):
    "Return a free text on one line, as long as its VR allows"
    if not text:
        return ''
    text = ' '.join(text.split())
    result = _UNPRINTABLE.sub(' ', text).replace('\\', '/').strip()
    code = 'replaced' if result != text else None
    if limit and len(result) > limit:
        result = result[:limit - 3].rstrip() + '...'
        code = 'shortened'
    return Adapted(result, code) if code else result


def person_name(party):
    "Return the official name as DICOM writes it, or None"
    if not party:
        return None
    names = [n for n in party.person_names if n.use == 'official']
    if names:
        name = max(
            names, key=lambda n: (n.date_from or dt.date.min, n.id))
        parts = [name.family, name.given, None, name.prefix, name.suffix]
    elif party.is_person:
        parts = [party.lastname, party.name]
    else:
        parts = [party.name]
    changed = False
    components = []
    for part in parts:
        part = (part or '').strip()
        component = _DELIMITERS.sub(' ', part).strip()
        changed |= component != part
        components.append(component)
    result = '^'.join(components).rstrip('^')
    return Adapted(result, 'replaced') if changed else result


def sex(patient):
    gender = patient.gender
    if not gender or gender in {'u', 'nd'}:
        return ''
    return {'m': 'M', 'f': 'F'}.get(gender, 'O')


def age(birth, day):
    "Return the age on that day as an AS value"
    if not birth or not day or birth > day:
        return ''
    days = (day - birth).days
    months = (day.year - birth.year) * 12 + day.month - birth.month
    if day.day < birth.day:
        months -= 1
    if days < 28:
        return '%03dD' % days
    if months < 3:
        return '%03dW' % (days // 7)
    if months < 24:
        return '%03dM' % months
    return '%03dY' % (months // 12)


def institution(request):
    """Return where the study is done, or None

    Requests that do not say it belong where their doctor works.
    """
    if request.institution:
        return request.institution
    return request.doctor.institution if request.doctor else None


def time_zones(requests):
    "Return the name of the time zone of each institution of the requests"
    pool = Pool()
    Company = pool.get('company.company')
    parties = {
        i.party.id: i.id for i in map(institution, requests) if i}
    companies = Company.search([('party', 'in', list(parties))])
    return {
        parties[c.party.id]: c.timezone for c in companies if c.timezone}


def time_zone(request):
    """Return the name of the time zone of the request's institution, or None

    A batch looks them up once and hands them on in the context.
    """
    zones = Transaction().context.get('_worklist_time_zones')
    if zones is None:
        zones = time_zones([request])
    place = institution(request)
    zone = zones.get(place.id) if place else None
    return zone or config.get(SECTION, 'timezone', default=None)


def local(date, zone):
    "Return the UTC date at the time zone, without fractions"
    date = date.replace(microsecond=0, tzinfo=dt.timezone.utc)
    return date.astimezone(timezone.get_tzinfo(zone) if zone else None
        or dt.timezone.utc)


def template_data(request, template):
    "Return the variables of the template"
    patient = request.patient
    test = request.requested_test
    doctor = request.doctor
    referring = request.referring_professional or doctor
    place = institution(request)
    specialty = doctor.main_specialty if doctor else None
    zone = time_zone(request)
    start = local(request.scheduled_date or request.date, zone)
    ordered = local(request.date, zone).date()
    birth = patient.party.dob
    code = test.code if len(test.code) <= 16 else ''
    description = clean(test.name, 64)
    return {
        'my': RecordView(request),
        'template_type': template.template_type,
        'MergeID': request.merge_id,
        # several values are parted by backslashes
        'SpecificCharacterSet': Trusted(template.charset or ''),
        'TimezoneOffsetFromUTC': start.strftime('%z')[:5],
        'AccessionNumber': request.request,
        'InstitutionName': clean(
            place.party.name if place else None, 64),
        'ReferringPhysicianName': person_name(
            referring.party if referring else None),
        'PatientName': person_name(patient.party),
        'PatientID': patient.puid,
        'PatientBirthDate': birth.strftime('%Y%m%d') if birth else '',
        'PatientSex': sex(patient),
        'PatientAge': age(birth, ordered),
        'PatientWeight': '',
        'MedicalAlerts': '',
        'Allergies': '',
        'PregnancyStatus': '',
        'StudyInstanceUID': request.merge_id,
        'RequestingPhysician': person_name(
            doctor.party if doctor else None),
        'RequestingService': clean(
            specialty.specialty.name if specialty else None, 64),
        'RequestedProcedureDescription': description,
        'RequestedProcedureID': request.request_line,
        'RequestedProcedureCode': code,
        'ReasonForTheRequestedProcedure': clean(
            request.context.name if request.context else None, 64),
        'RequestedProcedurePriority': (
            'STAT' if request.urgent else 'ROUTINE'),
        'RequestedContrastAgent': '',
        'AdmissionID': '',
        'CurrentPatientLocation': '',
        'SpecialNeeds': '',
        'PatientState': '',
        'PatientTransportArrangements': '',
        'ConfidentialityConstraintOnPatientDataDescription': '',
        'Modality': (test.test_type.code or '').strip(),
        'ScheduledStationAETitle': (
            request.aetitle or test.aetitle or '').strip(),
        'ScheduledProcedureStepStartDate': start.strftime('%Y%m%d'),
        'ScheduledProcedureStepStartTime': start.strftime('%H%M%S'),
        'ScheduledPerformingPhysicianName': '',
        'PreMedication': '',
        'ScheduledProcedureStepDescription': description,
        'ScheduledProcedureStepID': request.request_line,
        'ScheduledStationName': '',
        'ScheduledProcedureStepLocation': '',
        'ScheduledProcedureStepStatus': 'SCHEDULED',
        }
