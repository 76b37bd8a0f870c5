# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was asked and what was done for a patient, in the order of time.

Studies, and the requests that have none.
"""
from sql import Literal, Null, Union
from sql.conditionals import Coalesce
from sql.operators import Exists

from trytond.model import ModelSQL, ModelView, fields
from trytond.pool import Pool, PoolMeta
from trytond.transaction import (
    Transaction, check_access, without_check_access)

# What the form of a patient shows
SHOWN = 100
_IDS = '_imaging_timeline_ids'
_PATIENT = '_imaging_timeline_patient'


class Imaging(ModelSQL, ModelView):
    "Imaging of Patient"
    __name__ = 'gnuhealth.orthanc.patient_imaging'

    patient = fields.Many2One('gnuhealth.patient', "Patient")
    date = fields.Date("Date")
    study = fields.Many2One('gnuhealth.imaging_orthanc.study', "Study")
    request = fields.Many2One('gnuhealth.imaging.test.request', "Request")
    description = fields.Function(fields.Char("Description"), 'get_facts')
    modality = fields.Function(fields.Char("Modality"), 'get_facts')
    images = fields.Function(fields.Integer("Images"), 'get_facts')
    state = fields.Function(fields.Char("State"), 'get_facts')
    ohif_viewer_link = fields.Function(
        fields.Char("OHIF Viewer"), 'get_facts')
    stone_viewer_link = fields.Function(
        fields.Char("Stone Viewer"), 'get_facts')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._order = [
            ('date', 'DESC NULLS FIRST'), ('id', 'DESC')]
        # there is no table to write to
        for name in ['create', 'write', 'delete', 'copy']:
            cls.__rpc__.pop(name, None)

    @classmethod
    def table_query(cls):
        # who may read neither does not get here
        studies, requests = cls._studies(), cls._requests()
        if studies and requests:
            return Union(studies, requests, all_=True)
        return studies or requests

    @classmethod
    def _visible(cls, Model, odd):
        """Return what limits the user to some records of the model

        It is False if there are none to see.
        """
        transaction = Transaction()
        if not transaction.user or not transaction.check_access:
            return None
        pool = Pool()
        if not pool.get('ir.model.access').check(
                Model.__name__, 'read', raise_exception=False):
            return False
        if pool.get('ir.rule').domain_get(Model.__name__):
            # of few records, so that no index is in vain
            domain, patient = [], transaction.context.get(_PATIENT)
            if patient:
                domain.append(('patient', '=', patient))
            if transaction.context.get(_IDS) is not None:
                domain.append(('id', 'in', cls._wanted(odd)))
            return Model.search(domain, order=[], query=True)
        return None

    @classmethod
    def _studies(cls):
        Study = Pool().get('gnuhealth.imaging_orthanc.study')
        study = Study.__table__()
        visible = cls._visible(Study, 0)
        if visible is False:
            return None
        where = study.patient != Null
        if visible:
            where &= study.id.in_(visible)
        where &= cls._known(study, 0)
        return cls._select(
            study, study.id * 2, study.patient, study.study_date, study.id,
            study.request, where=where)

    @classmethod
    def _requests(cls):
        pool = Pool()
        Request = pool.get('gnuhealth.imaging.test.request')
        Study = pool.get('gnuhealth.imaging_orthanc.study')
        request = Request.__table__()
        visible = cls._visible(Request, 1)
        if visible is False:
            return None
        where = cls._known(request, 1)
        if visible:
            where &= request.id.in_(visible)
        if cls._visible(Study, 0) is not False:
            # their studies speak for them
            for Model in [Study, pool.get('gnuhealth.orthanc.study_line')]:
                table = Model.__table__()
                where &= ~Exists(table.select(
                        Literal(1), where=table.request == request.id))
        date = cls.date.sql_cast(
            Coalesce(request.scheduled_date, request.date))
        return cls._select(
            request, request.id * 2 + 1, request.patient, date,
            cls.study.sql_cast(Literal(None)), request.id, where=where)

    @staticmethod
    def _wanted(odd):
        return [id_ // 2 for id_ in Transaction().context[_IDS]
            if id_ % 2 == odd] or [-1]

    @classmethod
    def _known(cls, table, odd):
        "Return what finds the wanted records by their own index"
        if Transaction().context.get(_IDS) is None:
            return Literal(True)
        return table.id.in_(cls._wanted(odd))

    @staticmethod
    def _select(table, *columns, where):
        names = ['id', 'patient', 'date', 'study', 'request']
        return table.select(
            table.create_uid, table.create_date,
            table.write_uid, table.write_date,
            *(c.as_(n) for n, c in zip(names, columns)), where=where)

    @classmethod
    def read(cls, ids, fields_names):
        with Transaction().set_context({_IDS: tuple(ids)}):
            return super().read(ids, fields_names)

    @classmethod
    @without_check_access
    def get_facts(cls, records, names):
        "Return what the study says, otherwise the request"
        result = {name: {} for name in names}
        for record in records:
            facts = (
                record._study_facts() if record.study
                else record._request_facts())
            for name in names:
                result[name][record.id] = facts.get(name)
        return result

    def _study_facts(self):
        study, request = self.study, self.request
        return {
            'description': study.description or (
                request.requested_test.rec_name if request else None),
            'modality': study.modalities,
            'images': study.instance_count,
            'state': request.state_string if request else None,
            'ohif_viewer_link': study.ohif_viewer_link,
            'stone_viewer_link': study.stone_viewer_link,
            }

    def _request_facts(self):
        request = self.request
        return {
            'description': request.requested_test.rec_name,
            'modality': request.modality,
            'state': request.state_string,
            }

    def get_rec_name(self, name):
        return ' '.join(filter(None, [
                    str(self.date or ''), self.modality, self.description]))


class Patient(metaclass=PoolMeta):
    __name__ = 'gnuhealth.patient'

    imaging = fields.Function(
        fields.One2Many(
            'gnuhealth.orthanc.patient_imaging', 'patient', "Imaging",
            readonly=True,
            help="The newest studies, and the requests without one. "
            "All are under Open related records."),
        'get_imaging')

    @classmethod
    @check_access
    def get_imaging(cls, patients, name):
        pool = Pool()
        Access = pool.get('ir.model.access')
        Imaging = pool.get('gnuhealth.orthanc.patient_imaging')
        if not Access.check(Imaging.__name__, 'read', raise_exception=False):
            return {patient.id: [] for patient in patients}
        result = {}
        # a form shows one patient
        for patient in patients:
            with Transaction().set_context({_PATIENT: patient.id}):
                result[patient.id] = [r.id for r in Imaging.search(
                        [('patient', '=', patient.id)], limit=SHOWN)]
        return result
