# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from trytond.model import Index, fields
from trytond.pool import PoolMeta
from trytond.pyson import Eval


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
