# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"A made-up request, with which a template is checked that has none yet"
import datetime as dt
from decimal import Decimal

from .attributes import readable
from .sandbox import Trusted, View

_START = dt.datetime(2026, 11, 24, 7, 15)
_VALUES = {
    'boolean': True,
    'char': "Text",
    'date': dt.date(1985, 10, 4),
    'datetime': _START,
    'float': 1.5,
    'integer': 1,
    'numeric': Decimal('1.5'),
    'text': "Text",
    'time': _START.time(),
    'timedelta': dt.timedelta(hours=1),
    'timestamp': _START,
    }
_UID = '2.25.329400000000000000000000000000000000'


class SampleView(View):
    "A record of the model, with a value in each field"
    __slots__ = ('_Model',)

    def __init__(self, Model):
        self._Model = Model

    def field(self, name):
        if name == 'id':
            return 1
        field = readable(self._Model, name)
        if field._type in {'many2one', 'one2one'}:
            return SampleView(field.get_target())
        if field._type in {'one2many', 'many2many'}:
            return [SampleView(field.get_target())]
        if field._type == 'selection' and isinstance(field.selection, list):
            return next((k for k, _ in field.selection if k), None)
        return _VALUES.get(field._type)


def sample_data(Request, template):
    "Return the variables of the template for the made-up request"
    legacy = template.value_mode == 'gnuhealth5'
    return {
        'my': SampleView(Request),
        'template_type': template.template_type,
        'MergeID': _UID,
        'SpecificCharacterSet': Trusted(template.charset or ''),
        'TimezoneOffsetFromUTC': '+0000' if legacy else '+0100',
        'AccessionNumber': '001',
        'InstitutionName': "Sample Hospital",
        'ReferringPhysicianName': 'Referrer^Rita',
        'PatientName': 'Sample^Sam^^Dr^Jr',
        'PatientID': 'SAM001GNU',
        'PatientBirthDate': '19851004',
        'PatientSex': 'O',
        'PatientAge': '041Y',
        'PatientWeight': '70.5',
        'MedicalAlerts': "Pacemaker",
        'Allergies': "Iodine",
        'PregnancyStatus': '4',
        'StudyInstanceUID': _UID,
        'RequestingPhysician': 'Requester^Ron',
        'RequestingService': "Neurology",
        'RequestedProcedureDescription': "CT head",
        'RequestedProcedureID': '001-01',
        'RequestedProcedureCode': 'CTHEAD',
        'ReasonForTheRequestedProcedure': "Headache",
        'RequestedProcedurePriority': 'STAT',
        'RequestedContrastAgent': "Iohexol",
        'AdmissionID': 'ADM001',
        'CurrentPatientLocation': "Ward 1",
        'SpecialNeeds': "Interpreter",
        'PatientState': "Stable",
        'PatientTransportArrangements': "Wheelchair",
        'ConfidentialityConstraintOnPatientDataDescription': "Restricted",
        'Modality': 'CT',
        'ScheduledStationAETitle': 'CT1',
        'ScheduledProcedureStepStartDate': '20261124',
        'ScheduledProcedureStepStartTime': '071500' if legacy else '081500',
        'ScheduledPerformingPhysicianName': 'Performer^Pat',
        'PreMedication': "Sedation",
        'ScheduledProcedureStepDescription': "CT head",
        'ScheduledProcedureStepID': '001' if legacy else '001-01',
        'ScheduledStationName': "CT room",
        'ScheduledProcedureStepLocation': "Radiology",
        'ScheduledProcedureStepStatus': 'SCHEDULED',
        }
