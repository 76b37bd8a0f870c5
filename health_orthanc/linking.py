# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A person decides what studies belong to."""
import datetime as dt

import pytz
from sql import Null

from trytond.i18n import gettext
from trytond.model import Index, ModelView, fields
from trytond.model.exceptions import ValidationError
from trytond.modules.health.core import (
    get_health_professional, get_institution_timezone)
from trytond.modules.health_imaging.access import GuardedWizard, check_rights
from trytond.modules.health_imaging.request import is_unlikely, now
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Bool, Eval, If
from trytond.transaction import (
    Transaction, check_access, without_check_access)
from trytond.wizard import Button, StateTransition, StateView

from .evidence import Evidence
from .exceptions import (
    LinkChoiceError, LinkContradictionError, LinkedError, LinkReasonError)
from .matching import Matcher

# Studies without request or result that nobody has decided about
TO_LINK = [
    ('request', '=', None),
    ('imaging_test', '=', None),
    ('not_ours_since', '=', None),
    ('missing_since', '=', None),
    ['OR', ('patient', '=', None), ('link_origin', '=', 'puid')],
    ]


def is_imaging_admin():
    pool = Pool()
    ModelData = pool.get('ir.model.data')
    User = pool.get('res.user')
    return ModelData.get_id(
        'health_imaging', 'group_health_imaging_admin') in User.get_groups()


class Study(metaclass=PoolMeta):
    __name__ = 'gnuhealth.imaging_orthanc.study'

    not_ours_since = fields.DateTime(
        "Not Ours since", readonly=True,
        states={
            'invisible': ~Eval('not_ours_since'),
            })
    not_ours_by = fields.Many2One(
        'res.user', "Not Ours says", readonly=True,
        states={
            'invisible': ~Eval('not_ours_since'),
            },
        help="Who said that the study is of no patient here.")
    proposal = fields.Function(
        fields.Char("Proposal", help="What the study most likely belongs to."),
        'get_proposal')
    # the buttons' own, since not all who see studies may read requests
    has_request = fields.Function(
        fields.Boolean("Request"), 'get_has_request')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        newest = [
            (t.study_date, Index.Range(order='DESC NULLS LAST')),
            (t.id, Index.Range(order='DESC'))]
        cls._sql_indexes.update({
                Index(t, *newest, where=(t.request == Null)
                    & (t.imaging_test == Null) & (t.not_ours_since == Null)
                    & (t.missing_since == Null)),
                Index(t, *newest, where=t.not_ours_since != Null),
                })
        linked = Bool(Eval('has_request')) | Bool(Eval('imaging_test'))
        decided = linked | Bool(Eval('not_ours_since'))
        to_decide = {
            'invisible': decided,
            'depends': ['has_request', 'imaging_test', 'not_ours_since'],
            }
        cls._buttons.update({
                'link_wizard': to_decide.copy(),
                'create_order': to_decide.copy(),
                'not_ours': to_decide.copy(),
                'ours': {
                    'invisible': ~Eval('not_ours_since'),
                    'depends': ['not_ours_since'],
                    },
                'undo_link': {
                    'invisible': ~(linked | Bool(Eval('patient'))),
                    'depends': ['has_request', 'imaging_test', 'patient'],
                    },
                })

    @classmethod
    @without_check_access
    def get_has_request(cls, studies, name):
        return {s.id: bool(s.request) for s in cls.browse(studies)}

    @classmethod
    @without_check_access
    def get_proposal(cls, studies, name):
        result = dict.fromkeys([s.id for s in studies])
        waiting = [s for s in studies if s._waits_for_link()]
        if waiting:
            found = Evidence(waiting).proposals(near=False)
            for study, proposals in found.items():
                if proposals and proposals[0].likely:
                    best = proposals[0]
                    record = best.request or best.patient
                    result[study.id] = (
                        f'{record.rec_name} ({best.agreement})')
        return result

    def _waits_for_link(self):
        return not (
            self.request or self.imaging_test or self.not_ours_since
            or self.missing_since
            or (self.patient and self.link_origin != 'puid'))

    @classmethod
    def write(cls, *args):
        if not Transaction().context.get('orthanc_linking'):
            actions = iter(args)
            for studies, values in zip(actions, actions):
                if values.get('patient') or values.get('imaging_test'):
                    cls._check_written(studies, values)
        super().write(*args)

    @classmethod
    def _check_written(cls, studies, values):
        "Nobody links across a contradiction by editing the study"
        pool = Pool()
        Patient = pool.get('gnuhealth.patient')
        Result = pool.get('gnuhealth.imaging.test.result')
        check_rights(cls, studies, 'write')
        with without_check_access():
            if values.get('patient'):
                patient = Patient(values['patient'])
            else:
                patient = Result(values['imaging_test']).patient
            if patient:
                for study in cls.browse(studies):
                    if patient != study.patient:
                        study.check_contradictions(patient)

    @classmethod
    def _person_link(cls, values):
        values = super()._person_link(values)
        if values.get('patient') or values.get('imaging_test'):
            values.update(not_ours_since=None, not_ours_by=None)
        return values

    def check_contradictions(self, patient, reason=None):
        """Raise unless the study may be linked to the patient

        An imaging administrator may do it all the same, with a reason.
        """
        found = Evidence([self]).contradictions(self, patient)
        if not found:
            return
        facts = '\n'.join(found)
        if not is_imaging_admin():
            raise LinkContradictionError(gettext(
                    'health_orthanc.msg_link_contradiction',
                    study=self.rec_name, facts=facts))
        if not (reason or '').strip():
            raise LinkReasonError(gettext(
                    'health_orthanc.msg_link_reason',
                    study=self.rec_name, facts=facts))

    def link_to(self, patient, request=None, reason=None):
        """Link the study as the user says

        The request is then done and has a result.
        """
        pool = Pool()
        Study = pool.get('gnuhealth.imaging_orthanc.study')
        Request = pool.get('gnuhealth.imaging.test.request')
        Audit = pool.get('gnuhealth.orthanc.audit')
        with check_access():
            check_rights(Study, [self], 'write')
            if request:
                check_rights(Request, [request], 'write')
        Study.lock([self])
        self = Study(self.id)
        if self.imaging_test or (self.request and self.request != request):
            raise LinkedError(gettext(
                    'health_orthanc.msg_study_linked',
                    study=self.rec_name,
                    record=(self.imaging_test or self.request).rec_name))
        self.check_contradictions(patient, reason)
        proposal = Evidence([self]).proposal(self, patient, request)
        result = None
        if request:
            # as its button does
            with without_check_access():
                result = Request.create_results([request])[0]
        with without_check_access(), Transaction().set_context(
                orthanc_linking=True):
            Study.write([self], {
                    'patient': patient.id,
                    'request': request.id if request else None,
                    'imaging_test': result.id if result else None,
                    'link_origin': 'person',
                    'to_verify': False,
                    'not_ours_since': None,
                    'not_ours_by': None,
                    })
        if getattr(request, 'worklist_status', None) == 'todo':
            Request.finish_worklist([request])
        detail = [(request or patient).rec_name, proposal.agreement]
        Audit.note(
            'link', [Study(self.id)], reason=reason or None,
            detail='\n'.join(filter(
                    None, detail + proposal.contradictions)))

    @classmethod
    @ModelView.button_action('health_orthanc.wizard_link_study')
    def link_wizard(cls, studies):
        pass

    @classmethod
    @ModelView.button_action('health_orthanc.wizard_order_study')
    def create_order(cls, studies):
        pass

    @classmethod
    @ModelView.button
    def undo_link(cls, studies):
        Audit = Pool().get('gnuhealth.orthanc.audit')
        cls._check_decider(studies)
        for study in studies:
            linked = study.imaging_test or study.request or study.patient
            if linked:
                Audit.note('unlink', [study], detail=linked.rec_name)
        cls._decide(studies, link_origin='person')

    @classmethod
    @ModelView.button
    def not_ours(cls, studies):
        Audit = Pool().get('gnuhealth.orthanc.audit')
        cls._check_decider(studies)
        for study in studies:
            if study.request or study.imaging_test:
                raise LinkedError(gettext(
                        'health_orthanc.msg_study_linked',
                        study=study.rec_name,
                        record=(study.imaging_test or study.request).rec_name))
        Audit.note('not_ours', studies)
        cls._decide(
            studies, link_origin='person', not_ours_since=now(),
            not_ours_by=Transaction().user)

    @classmethod
    @ModelView.button
    def ours(cls, studies):
        "Let the rules and people decide again"
        Audit = Pool().get('gnuhealth.orthanc.audit')
        cls._check_decider(studies)
        studies = [s for s in studies if s.not_ours_since]
        Audit.note('ours', studies)
        cls._decide(studies, link_origin=None)
        Matcher.match_rows(
            lambda table: table.id.in_([s.id for s in studies] or [-1]))

    @classmethod
    @check_access
    def _check_decider(cls, studies):
        check_rights(cls, studies, 'write')

    @classmethod
    @without_check_access
    def _decide(cls, studies, **values):
        with Transaction().set_context(orthanc_linking=True):
            cls.write(studies, {
                    'patient': None,
                    'request': None,
                    'imaging_test': None,
                    'to_verify': False,
                    'not_ours_since': None,
                    'not_ours_by': None,
                    **values,
                    })


class Result(metaclass=PoolMeta):
    __name__ = 'gnuhealth.imaging.test.result'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._buttons.update({
                'link_studies': {
                    'invisible': ~Eval('request'),
                    'depends': ['request'],
                    },
                })

    @classmethod
    @ModelView.button_action('health_orthanc.wizard_link_result')
    def link_studies(cls, results):
        pass


class LinkProposal(ModelView):
    "Proposed Link"
    __name__ = 'gnuhealth.orthanc.link.proposal'

    chosen = fields.Boolean("Link")
    study = fields.Many2One(
        'gnuhealth.imaging_orthanc.study', "Study", readonly=True)
    request = fields.Many2One(
        'gnuhealth.imaging.test.request', "Request", readonly=True)
    patient = fields.Many2One('gnuhealth.patient', "Patient", readonly=True)
    record = fields.Char("Proposal", readonly=True)
    patient_name = fields.Char("Patient Name", readonly=True)
    patient_id = fields.Char("Patient ID", readonly=True)
    birth_date = fields.Date("Birthdate", readonly=True)
    modality = fields.Char("Modality", readonly=True)
    date = fields.Date("Date", readonly=True)
    accession_number = fields.Char("Accession Number", readonly=True)
    agrees = fields.Char("Agrees", readonly=True)
    contradicts = fields.Text("Contradicts", readonly=True)

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree/field[@name="contradicts"]', 'visual', If(
                    Bool(Eval('contradicts')), 'danger', '')),
            ]


class LinkStart(ModelView):
    "Link Study"
    __name__ = 'gnuhealth.orthanc.link.start'

    patient_name = fields.Char("Patient", readonly=True)
    patient_id = fields.Char("Patient ID", readonly=True)
    birth_date = fields.Date("Birthdate", readonly=True)
    modality = fields.Char("Modality", readonly=True)
    date = fields.Date("Date", readonly=True)
    accession_number = fields.Char("Accession Number", readonly=True)
    proposals = fields.One2Many(
        'gnuhealth.orthanc.link.proposal', None, "Proposals")
    reason = fields.Text(
        "Reason",
        help="Needed to link in spite of a contradiction, "
        "which only imaging administrators may.")


class Link(GuardedWizard):
    "Link Study"
    __name__ = 'gnuhealth.orthanc.link'

    start = StateView(
        'gnuhealth.orthanc.link.start',
        'health_orthanc.link_start_view_form', [
            Button("Cancel", 'end', 'tryton-cancel'),
            Button("Link", 'link', 'tryton-ok', default=True),
            ])
    link = StateTransition()

    @property
    def _from_result(self):
        return self.model.__name__ == 'gnuhealth.imaging.test.result'

    @without_check_access
    def default_start(self, fields):
        if self._from_result:
            request = self.record.request
            if not request:
                raise LinkChoiceError(gettext(
                        'health_orthanc.msg_link_no_request',
                        result=self.record.rec_name))
            facts = _request_facts(request, request.patient)
            proposals = self._for_result(request)
        else:
            facts = _study_facts(self.record)
            proposals = [
                (p, _request_facts(p.request, p.patient))
                for p in Evidence([self.record]).proposals()[self.record]]
        lines = []
        for number, (proposal, values) in enumerate(proposals):
            lines.append({
                    **values,
                    'study': proposal.study.id,
                    'request': proposal.request and proposal.request.id,
                    'patient': proposal.patient.id,
                    'chosen': number == 0 and proposal.likely,
                    'agrees': proposal.agreement,
                    'contradicts': '\n'.join(proposal.contradictions),
                    })
        del facts['record']
        return {**facts, 'proposals': lines}

    def _for_result(self, request):
        "Return what speaks for the studies that may belong to the result"
        Study = Pool().get('gnuhealth.imaging_orthanc.study')
        ways = [
            ('accession_number', '=', request.request),
            ('patient', '=', request.patient.id),
            ('patient_id', '=', request.patient.party.ref),
            ('orthanc_patient.patient', '=', request.patient.id),
            ]
        planned = (request.scheduled_date or request.date).date()
        ways.append([
                ('study_date', '>=', planned - dt.timedelta(days=1)),
                ('study_date', '<=', planned + dt.timedelta(days=1)),
                ])
        if getattr(request, 'merge_id', None):
            ways.append(('study_instance_UID', '=', request.merge_id))
            ways.append(('merge_id', '=', request.merge_id))
        with check_access():
            studies = {s for way in ways for s in Study.search(
                    [TO_LINK[:-1], way], limit=50)}
        if not studies:
            return []
        evidence = Evidence(list(studies))
        proposals = [
            evidence.proposal(s, request.patient, request) for s in studies]
        proposals = [p for p in proposals if p.worth()]
        proposals.sort(key=lambda p: p.rank, reverse=True)
        return [(p, _study_facts(p.study)) for p in proposals[:20]]

    @without_check_access
    def transition_link(self):
        pool = Pool()
        Request = pool.get('gnuhealth.imaging.test.request')
        Patient = pool.get('gnuhealth.patient')
        Study = pool.get('gnuhealth.imaging_orthanc.study')
        chosen = [p for p in self.start.proposals if p.chosen]
        if not chosen or (len(chosen) > 1 and not self._from_result):
            raise LinkChoiceError(gettext('health_orthanc.msg_link_choice'))
        reason = getattr(self.start, 'reason', None)
        for line in chosen:
            with check_access():
                if self._from_result:
                    study = _readable(Study, line.study)
                    request = _readable(Request, self.record.request)
                else:
                    study = self.record
                    request = _readable(
                        Request, getattr(line, 'request', None))
                patient = request.patient if request else _readable(
                    Patient, getattr(line, 'patient', None))
            if not study or not patient:
                raise LinkChoiceError(
                    gettext('health_orthanc.msg_link_choice'))
            study.link_to(patient, request, reason)
        return 'end'

    def end(self):
        return 'reload'


def _readable(Model, record):
    "Return the record if the user may read it"
    if not record:
        return None
    records = Model.search([('id', '=', record.id)], limit=1)
    return records[0] if records else None


def _study_facts(study):
    return {
        'record': study.rec_name,
        'patient_name': study.patient_name,
        'patient_id': study.patient_id,
        'birth_date': study.patient_birth_date,
        'modality': study.modalities,
        'date': study.study_date,
        'accession_number': study.accession_number,
        }


def _request_facts(request, patient):
    values = {
        'record': (request or patient).rec_name,
        'patient_name': patient.rec_name,
        'patient_id': patient.party.ref,
        'birth_date': patient.party.dob,
        }
    if request:
        values.update({
                'modality': request.requested_test.test_type.code,
                'date': (request.scheduled_date or request.date).date(),
                'accession_number': request.request,
                })
    return values


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
