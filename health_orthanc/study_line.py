# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One study may serve several lines of an order.

The study's request and result are those of the first line; the others are
kept beside, by the same people and rules.
"""
from trytond.i18n import gettext
from trytond.model import Index, ModelSQL, ModelView, Unique, fields
from trytond.modules.health_imaging.access import check_rights
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval
from trytond.transaction import check_access, without_check_access

from .exceptions import LinkChoiceError, LinkedError


class StudyLine(ModelSQL, ModelView):
    "Further Line of Study"
    __name__ = 'gnuhealth.orthanc.study_line'

    study = fields.Many2One(
        'gnuhealth.imaging_orthanc.study', "Study", required=True,
        readonly=True, ondelete='CASCADE')
    request = fields.Many2One(
        'gnuhealth.imaging.test.request', "Request", required=True,
        readonly=True, ondelete='CASCADE')
    result = fields.Many2One(
        'gnuhealth.imaging.test.result', "Result", readonly=True,
        ondelete='SET NULL')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints.append(
            ('study_request_unique', Unique(t, t.study, t.request),
                'health_orthanc.msg_study_line_unique'))
        cls._sql_indexes.update({
                Index(t, (t.request, Index.Range())),
                Index(t, (t.result, Index.Range())),
                })

    def get_rec_name(self, name):
        return self.request.rec_name

    @classmethod
    def search_rec_name(cls, name, clause):
        return [('request.rec_name', *clause[1:])]


class Study(metaclass=PoolMeta):
    __name__ = 'gnuhealth.imaging_orthanc.study'

    further_lines = fields.One2Many(
        'gnuhealth.orthanc.study_line', 'study', "Further Lines",
        readonly=True,
        states={
            'invisible': ~Eval('further_lines'),
            },
        help="Other lines of the order that the study serves as well.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._buttons.update({
                'link_lines': {
                    'invisible': ~Eval('has_request'),
                    'depends': ['has_request'],
                    },
                })

    @classmethod
    def write(cls, *args):
        super().write(*args)
        for studies, values in zip(args[::2], args[1::2]):
            if {'patient', 'request', 'imaging_test'} & values.keys():
                cls._drop_lines(studies)

    @classmethod
    @without_check_access
    def _drop_lines(cls, studies):
        "Keep no line of another order than that of the study"
        Line = Pool().get('gnuhealth.orthanc.study_line')
        lines = Line.search([('study', 'in', [s.id for s in studies])])
        Line.delete([
                line for line in lines
                if not line.study.serves_with(line.request)])

    def serves_with(self, request):
        "Tell whether the request is another line of the study's order"
        first = self.request
        return bool(first) and first != request and (
            first.request == request.request
            and first.patient == request.patient == self.patient)

    def other_lines(self):
        "Return the lines of the order that the study may serve as well"
        Request = Pool().get('gnuhealth.imaging.test.request')
        if not self.request or not self.request.request:
            return []
        served = {line.request for line in self.further_lines}
        return [r for r in Request.search([
                    ('request', '=', self.request.request),
                    ('state', 'in', ['requested', 'done']),
                    ], order=[('request_line', 'ASC'), ('id', 'ASC')])
            if r not in served and self.serves_with(r)]

    def link_lines_to(self, requests):
        """Let the study serve further lines of its order

        They are then done and have a result.
        """
        pool = Pool()
        Audit = pool.get('gnuhealth.orthanc.audit')
        Line = pool.get('gnuhealth.orthanc.study_line')
        Request = pool.get('gnuhealth.imaging.test.request')
        Study = pool.get('gnuhealth.imaging_orthanc.study')
        with check_access():
            check_rights(Study, [self], 'write')
            check_rights(Request, requests, 'write')
        with without_check_access():
            Study.lock([self])
            self = Study(self.id)
            served = {line.request for line in self.further_lines}
            for request in requests:
                if request in served:
                    raise LinkedError(gettext(
                            'health_orthanc.msg_study_linked',
                            study=self.rec_name, record=request.rec_name))
                if not self.serves_with(request):
                    raise LinkChoiceError(gettext(
                            'health_orthanc.msg_link_other_order',
                            study=self.rec_name, request=request.rec_name))
            # as its button does
            results = {r.request: r for r in Request.create_results(requests)}
            Line.create([{
                        'study': self.id,
                        'request': request.id,
                        'result': results[request].id,
                        } for request in requests])
        Study.finish_requests(requests)
        Audit.note(
            'link', [Study(self.id)],
            detail='\n'.join(r.rec_name for r in requests))

    @classmethod
    @ModelView.button_action('health_orthanc.wizard_link_study')
    def link_lines(cls, studies):
        pass


class Result(metaclass=PoolMeta):
    __name__ = 'gnuhealth.imaging.test.result'

    shared_studies = fields.Many2Many(
        'gnuhealth.orthanc.study_line', 'result', 'study',
        "Studies of Other Lines", readonly=True,
        states={
            'invisible': ~Eval('shared_studies'),
            },
        help="Studies of other lines of the order that show this one, too.")

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('//separator[@name="shared_studies"]', 'states', {
                    'invisible': ~Eval('shared_studies'),
                    }),
            ]

    @classmethod
    def copy(cls, results, default=None):
        default = default.copy() if default is not None else {}
        default.setdefault('shared_studies', None)
        return super().copy(results, default=default)

    @classmethod
    @without_check_access
    def _link_arrived_studies(cls, results):
        super()._link_arrived_studies(results)
        Line = Pool().get('gnuhealth.orthanc.study_line')
        by_request = {r.request: r for r in results if r.request}
        lines = Line.search([
                ('request', 'in', [r.id for r in by_request]),
                ('result', '=', None),
                ])
        for line in lines:
            line.result = by_request[line.request]
        Line.save(lines)
