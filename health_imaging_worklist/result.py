# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from trytond.model import Index, ModelView, Workflow, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval
from trytond.transaction import without_check_access


class ImagingResult(metaclass=PoolMeta):
    __name__ = 'gnuhealth.imaging.test.result'

    merge_id = fields.Char(
        "Merge ID", readonly=True,
        states={
            'invisible': ~Eval('merge_id'),
            },
        help="The Study Instance UID that the request gave to its study.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_indexes.add(Index(t, (t.merge_id, Index.Equality())))

    @classmethod
    def copy(cls, results, default=None):
        default = default.copy() if default is not None else {}
        default.setdefault('merge_id')
        return super().copy(results, default=default)

    @classmethod
    @ModelView.button
    @Workflow.transition('reported')
    def report(cls, results):
        super().report(results)
        cls._finish_worklist(results)

    @classmethod
    @ModelView.button
    @Workflow.transition('signed')
    def sign(cls, results):
        super().sign(results)
        cls._finish_worklist(results)

    @classmethod
    @without_check_access
    def _finish_worklist(cls, results):
        "What is reported was done, also where no study arrives in a PACS"
        Request = Pool().get('gnuhealth.imaging.test.request')
        Request.finish_worklist(Request.browse(
                {r.request.id for r in results if r.request}), 'result')
