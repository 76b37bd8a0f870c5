# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from trytond.model import fields
from trytond.pool import Pool, PoolMeta
from trytond.transaction import Transaction, without_check_access


class Result(metaclass=PoolMeta):
    __name__ = 'gnuhealth.imaging.test.result'

    orthanc_studies = fields.One2Many(
        'gnuhealth.imaging_orthanc.study', 'imaging_test', "Orthanc studies",
        readonly=True)
    studies = fields.One2Many(
        'gnuhealth.orthanc.study', 'imaging_test', "Studies of GNU Health 4",
        readonly=True)

    @classmethod
    def create(cls, vlist):
        results = super().create(vlist)
        cls._link_arrived_studies(results)
        return results

    @classmethod
    @without_check_access
    def _link_arrived_studies(cls, results):
        "Link the studies that had come before the result of their request"
        pool = Pool()
        Study = pool.get('gnuhealth.imaging_orthanc.study')
        Audit = pool.get('gnuhealth.orthanc.audit')
        by_request = {r.request: r for r in results if r.request}
        if not by_request:
            return
        studies = Study.search([
                ('request', 'in', [r.id for r in by_request]),
                ('imaging_test', '=', None),
                ])
        to_write = []
        for study in studies:
            result = by_request[study.request]
            if study.patient and study.patient != result.patient:
                continue
            to_write += [[study], {
                    'imaging_test': result.id,
                    'patient': result.patient.id if result.patient else None,
                    }]
        if to_write:
            with Transaction().set_context(_orthanc_linking=True):
                Study.write(*to_write)
            for study in Study.browse([s for s, in to_write[::2]]):
                Audit.note(
                    'link', [study], detail=study.imaging_test.rec_name)

    @classmethod
    def copy(cls, results, default=None):
        default = default.copy() if default is not None else {}
        default.setdefault('orthanc_studies', None)
        default.setdefault('studies', None)
        return super().copy(results, default=default)
