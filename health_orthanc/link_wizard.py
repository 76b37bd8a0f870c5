# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show a person what studies may belong to, and link what is chosen."""
import datetime as dt

from trytond.i18n import gettext
from trytond.model import ModelView, fields
from trytond.modules.health_imaging.access import GuardedWizard
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Bool, Eval, If
from trytond.transaction import check_access, without_check_access
from trytond.wizard import Button, StateTransition, StateView

from .evidence import Evidence
from .exceptions import LinkChoiceError
from .linking import TO_LINK


class Result(metaclass=PoolMeta):
    __name__ = 'gnuhealth.imaging.test.result'

    candidates = fields.Function(
        fields.One2Many(
            'gnuhealth.imaging_orthanc.study', None, "Candidates",
            readonly=True,
            states={
                'invisible': Bool(Eval('orthanc_studies')) | ~Eval(
                    'candidates'),
                },
            help="Unlinked studies that may belong to the result, the "
            "likeliest first: press Find Studies to link them."),
        'get_candidates')

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
    def view_attributes(cls):
        return super().view_attributes() + [
            ('//separator[@name="candidates"]',
                'states', cls.candidates.states),
            ]

    @classmethod
    def get_candidates(cls, results, name):
        # a form shows one result
        return {
            result.id: [
                p.study.id for p in result.proposed_studies() if p.likely]
            for result in results}

    @without_check_access
    def proposed_studies(self):
        "Return what speaks for unlinked studies that the user may see"
        request = self.request
        if not request or self.orthanc_studies:
            return []
        return _for_request(request)

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
    several_lines = fields.Boolean("Several Lines", readonly=True)
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
            Button("Link All Lines", 'link_all', 'tryton-link', states={
                    'invisible': ~Eval('several_lines'),
                    }),
            Button("Link", 'link', 'tryton-ok', default=True),
            ])
    link = StateTransition()
    link_all = StateTransition()

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
            proposals = [
                (p, _study_facts(p.study)) for p in _for_request(request)]
        else:
            facts = _study_facts(self.record)
            proposals = [
                (p, _request_facts(p.request, p.patient))
                for p in self._for_study(self.record)]
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
        return {
            **facts,
            'proposals': lines,
            'several_lines': not self._from_result and any(
                len(requests) > 1
                for requests in _orders(p for p, _ in proposals).values()),
            }

    def _for_study(self, study):
        "Return what the study may belong to, or the other lines it may serve"
        evidence = Evidence([study])
        if not study.request:
            return evidence.proposals()[study]
        with check_access():
            requests = study.other_lines()
        if not requests:
            raise LinkChoiceError(gettext(
                    'health_orthanc.msg_link_no_lines',
                    study=study.rec_name, request=study.request.rec_name))
        return [evidence.proposal(study, r.patient, r) for r in requests]

    @without_check_access
    def transition_link(self):
        chosen = [p for p in self.start.proposals if p.chosen]
        if self._from_result:
            self._link_result(chosen)
        else:
            self._link_study(chosen)
        return 'end'

    @without_check_access
    def transition_link_all(self):
        "Link all lines of the order of the chosen one, or of the first"
        orders = _orders(self.start.proposals)
        several = [
            line for lines in orders.values() if len(lines) > 1
            for line in lines]
        first = next(iter([p for p in several if p.chosen] or several), None)
        for line in self.start.proposals:
            if first and _order(line) == _order(first):
                line.chosen = True
        return self.transition_link()

    def _link_result(self, chosen):
        pool = Pool()
        Request = pool.get('gnuhealth.imaging.test.request')
        Study = pool.get('gnuhealth.imaging_orthanc.study')
        with check_access():
            request = _readable(Request, self.record.request)
            studies = [_readable(Study, line.study) for line in chosen]
        if not request or not studies or not all(studies):
            raise LinkChoiceError(gettext('health_orthanc.msg_link_choice'))
        for study in studies:
            study.link_to(request.patient, request, self._reason)

    def _link_study(self, chosen):
        pool = Pool()
        Request = pool.get('gnuhealth.imaging.test.request')
        Patient = pool.get('gnuhealth.patient')
        study = self.record
        with check_access():
            requests = [
                _readable(Request, getattr(line, 'request', None))
                for line in chosen]
            patient = requests and (
                requests[0].patient if requests[0] else _readable(
                    Patient, getattr(chosen[0], 'patient', None)))
        if not patient or len(requests) > 1 and not all(requests):
            raise LinkChoiceError(gettext('health_orthanc.msg_link_choice'))
        if not study.request:
            first, *requests = requests
            study.link_to(patient, first, self._reason)
        if requests:
            study.link_lines_to(requests)

    @property
    def _reason(self):
        return getattr(self.start, 'reason', None)

    def end(self):
        return 'reload'


def _for_request(request):
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
    Access = Pool().get('ir.model.access')
    if not Access.check(Study.__name__, 'read', raise_exception=False):
        return []
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
    return proposals[:20]


def _order(proposal):
    request = getattr(proposal, 'request', None)
    return (request.request, request.patient.id) if request else None


def _orders(proposals):
    "Return the proposed lines by their order and its patient"
    orders = {}
    for proposal in proposals:
        if _order(proposal):
            orders.setdefault(_order(proposal), []).append(proposal)
    return orders


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
