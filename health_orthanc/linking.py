# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A person decides what studies belong to."""
from sql import Null

from trytond.i18n import gettext
from trytond.model import Index, ModelView, fields
from trytond.modules.health_imaging.access import check_rights
from trytond.modules.health_imaging.dates import now
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Bool, Eval
from trytond.transaction import (
    Transaction, check_access, without_check_access)

from .evidence import Evidence
from .exceptions import (
    LinkContradictionError, LinkedError, LinkReasonError)
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
        if not Transaction().context.get('_orthanc_linking'):
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
        Study._decide(
            [self],
            patient=patient.id,
            request=request.id if request else None,
            imaging_test=result.id if result else None,
            link_origin='person',
            link_reason=reason or None)
        Study.finish_requests([request] if request else [])
        detail = [(request or patient).rec_name, proposal.agreement]
        Audit.note(
            'link', [Study(self.id)], reason=reason or None,
            detail='\n'.join(filter(
                    None, detail + proposal.contradictions)))

    @staticmethod
    def finish_requests(requests):
        "The images are there: no modality need ask for them any more"
        Request = Pool().get('gnuhealth.imaging.test.request')
        waiting = [r for r in Request.browse(requests)
            if getattr(r, 'worklist_status', None) == 'todo']
        if waiting:
            Request.finish_worklist(waiting)

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
            linked = [study.imaging_test or study.request or study.patient]
            linked += [line.request for line in study.further_lines]
            if linked[0]:
                Audit.note(
                    'unlink', [study],
                    detail='\n'.join(r.rec_name for r in linked))
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
        "Write what a person decided, or with link_origin None took back"
        decided = bool(values['link_origin'])
        with Transaction().set_context(_orthanc_linking=True):
            cls.write(studies, {
                    'link_user': Transaction().user if decided else None,
                    'link_date': now() if decided else None,
                    'link_reason': None,
                    'patient': None,
                    'request': None,
                    'imaging_test': None,
                    'to_verify': False,
                    'not_ours_since': None,
                    'not_ours_by': None,
                    **values,
                    })
