# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What GNU Health knows of patients that those at the modality should

Batches look up what a patient has no field for once, and hand it on in the
context.
"""
from trytond.pool import Pool, PoolMeta

from .attributes import clean
from .sandbox import Trusted
from .versions import Reverse

EVALUATIONS = Reverse('gnuhealth.patient.evaluation', 'patient')
ADMISSIONS = Reverse('gnuhealth.inpatient.registration', 'patient')


class ImagingRequest(metaclass=PoolMeta):
    __name__ = 'gnuhealth.imaging.test.request'

    @classmethod
    def worklist_context(cls, requests):
        return {
            **super().worklist_context(requests),
            'worklist_weights': _weights(requests),
            }

    @classmethod
    def worklist_sources(cls):
        return super().worklist_sources() | {
            'patient.diseases.pathology.name',
            ('patient', EVALUATIONS),
            }

    def get_worklist_template_data(self):
        data = super().get_worklist_template_data()
        patient = self.patient
        weight = self._worklist_known('worklist_weights').get(patient.id)
        allergies = [
            clean(d.pathology.name, 64) for d in patient.diseases
            if d.is_allergy and d.is_active and d.pathology]
        data.update(
            PatientWeight='%.16g' % weight if weight else '',
            MedicalAlerts=clean(patient.critical_info, 64),
            # several values are parted by backslashes
            Allergies=Trusted('\\'.join(filter(None, allergies))))
        return data


class ImagingRequestInpatient(metaclass=PoolMeta):
    __name__ = 'gnuhealth.imaging.test.request'

    @classmethod
    def worklist_context(cls, requests):
        return {
            **super().worklist_context(requests),
            'worklist_admissions': _admissions(requests),
            }

    @classmethod
    def worklist_sources(cls):
        return super().worklist_sources() | {
            ('patient', ADMISSIONS, 'bed', 'ward'),
            ('patient', ADMISSIONS, 'bed', 'product', 'template'),
            }

    def get_worklist_template_data(self):
        data = super().get_worklist_template_data()
        admission = self._worklist_known(
            'worklist_admissions').get(self.patient.id)
        if admission:
            bed = admission.bed
            places = [bed.ward, bed] if bed else []
            data.update(
                AdmissionID=admission.name or '',
                CurrentPatientLocation=clean(
                    ', '.join(p.rec_name for p in places if p), 64))
        return data


class ImagingRequestGyneco(metaclass=PoolMeta):
    __name__ = 'gnuhealth.imaging.test.request'

    @classmethod
    def worklist_sources(cls):
        return super().worklist_sources() | {'patient.pregnancy_history'}

    def get_worklist_template_data(self):
        data = super().get_worklist_template_data()
        if self.patient.currently_pregnant:
            # PS3.3 C.2-4: definitely pregnant
            data['PregnancyStatus'] = '3'
        return data


def _weights(requests):
    "Return the last weight of each patient by its id"
    Evaluation = Pool().get('gnuhealth.patient.evaluation')
    evaluations = Evaluation.search([
            ('patient', 'in', [r.patient.id for r in requests]),
            ('weight', '>', 0),
            ], order=[('evaluation_start', 'ASC'), ('id', 'ASC')])
    return {e.patient.id: e.weight for e in evaluations}


def _admissions(requests):
    "Return the admission of each patient who is in hospital by its id"
    Registration = Pool().get('gnuhealth.inpatient.registration')
    registrations = Registration.search([
            ('patient', 'in', [r.patient.id for r in requests]),
            ('state', '=', 'hospitalized'),
            ], order=[('hospitalization_date', 'ASC'), ('id', 'ASC')])
    return {r.patient.id: r for r in registrations}
