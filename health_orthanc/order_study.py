# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Order afterwards what a study shows, as in an emergency."""
import datetime as dt

import pytz

from trytond.i18n import gettext
from trytond.model import ModelView, fields
from trytond.model.exceptions import ValidationError
from trytond.modules.health.core import (
    get_health_professional, get_institution_timezone)
from trytond.modules.health_imaging.access import GuardedWizard, check_rights
from trytond.modules.health_imaging.dates import is_unlikely, now
from trytond.pool import Pool
from trytond.transaction import check_access, without_check_access
from trytond.wizard import Button, StateTransition, StateView

from .evidence import Evidence
from .exceptions import LinkedError


class OrderStudyStart(ModelView):
    "Order for Study"
    __name__ = 'gnuhealth.orthanc.order_study.start'

    study = fields.Many2One(
        'gnuhealth.imaging_orthanc.study', "Study of Orthanc", readonly=True)
    patient = fields.Many2One('gnuhealth.patient', "Patient", required=True)
    requested_test = fields.Many2One(
        'gnuhealth.imaging.test', "Study", required=True)
    doctor = fields.Many2One(
        'gnuhealth.healthprofessional', "Health Prof", required=True,
        help="The health professional who requests the study.")
    date = fields.DateTime(
        "Date", required=True, help="When the study was done.")
    urgent = fields.Boolean("Urgent")
    comment = fields.Text("Additional Information")
    reason = fields.Text(
        "Reason",
        help="Needed to link in spite of a contradiction, "
        "which only imaging administrators may.")


class OrderStudy(GuardedWizard):
    "Order for Study"
    __name__ = 'gnuhealth.orthanc.order_study'

    start = StateView(
        'gnuhealth.orthanc.order_study.start',
        'health_orthanc.order_study_start_view_form', [
            Button("Cancel", 'end', 'tryton-cancel'),
            Button("Create", 'order', 'tryton-ok', default=True),
            ])
    order = StateTransition()

    @without_check_access
    def default_start(self, fields):
        Test = Pool().get('gnuhealth.imaging.test')
        study = self.record
        values = {
            'study': study.id,
            'doctor': get_health_professional(required=False),
            'date': _done_at(study),
            'urgent': False,
            }
        evidence = Evidence([study])
        patient = study.patient or evidence.owner(study)
        if patient and not evidence.contradictions(study, patient):
            values['patient'] = patient.id
        modalities = (study.modalities or '').split(', ')
        tests = Test.search(
            [('test_type.code', 'in', modalities)], limit=2)
        if len(tests) == 1:
            values['requested_test'] = tests[0].id
        return values

    def transition_order(self):
        pool = Pool()
        Request = pool.get('gnuhealth.imaging.test.request')
        Study = pool.get('gnuhealth.imaging_orthanc.study')
        study = self.record
        patient = getattr(self.start, 'patient', None)
        reason = getattr(self.start, 'reason', None)
        with without_check_access():
            Study.lock([study])
            if study.request or study.imaging_test:
                raise LinkedError(gettext(
                        'health_orthanc.msg_study_linked',
                        study=study.rec_name,
                        record=(study.imaging_test or study.request).rec_name))
            # before it costs a number
            if patient:
                study.check_contradictions(patient, reason)
        request = self._request(study)
        with check_access():
            request.save()
            check_rights(Request, [request], 'create')
        with without_check_access():
            Request.requested([request])
            Study(study.id).link_to(request.patient, request, reason)
        return 'end'

    def _request(self, study):
        Request = Pool().get('gnuhealth.imaging.test.request')
        request = Request()
        for name in [
                'patient', 'requested_test', 'doctor', 'urgent', 'comment']:
            setattr(request, name, getattr(self.start, name, None))
        done = getattr(self.start, 'date', None) or _done_at(study)
        request.date = min(done, Request.default_date())
        request.scheduled_date = done
        uid = study.study_instance_UID
        if 'merge_id' in Request._fields and not Request.search(
                [('merge_id', '=', uid)], limit=1):
            # so that the study is found again should it come anew
            request.merge_id = uid
            try:
                request.check_merge_id()
            except ValidationError:
                request.merge_id = None
        return request

    def end(self):
        return 'reload'


def _done_at(study):
    "When the study was done, in UTC"
    if not study.study_date or is_unlikely(study.study_date):
        return now()
    local = dt.datetime.combine(
        study.study_date, study.study_time or dt.time(12))
    zone = get_institution_timezone()
    return min(now(), zone.localize(local.replace(microsecond=0)).astimezone(
            pytz.utc).replace(tzinfo=None))
