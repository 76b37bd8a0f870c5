# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from trytond.model import DeactivableMixin, Index, ModelSQL, ModelView, fields


def search_any_of(*names):
    "Return a search_rec_name that looks in each of the fields"
    def search_rec_name(cls, name, clause):
        _, operator, operand, *extra = clause
        if operator.startswith('!') or operator.startswith('not '):
            bool_op = 'AND'
        else:
            bool_op = 'OR'
        return [bool_op, *(
                (field, operator, operand, *extra) for field in names)]
    return classmethod(search_rec_name)


class ImagingTestType(DeactivableMixin, ModelSQL, ModelView):
    "Medical Imaging Study Type"
    __name__ = 'gnuhealth.imaging.test.type'

    code = fields.Char(
        "Code", required=True,
        help="The DICOM modality: CT, MR, US, DX, ...\n"
        "Worklists and modalities know the type by this code.")
    name = fields.Char("Name", required=True, translate=True)

    search_rec_name = search_any_of('code', 'name')


class ImagingTest(DeactivableMixin, ModelSQL, ModelView):
    "Medical Imaging Study"
    __name__ = 'gnuhealth.imaging.test'

    code = fields.Char("Code", required=True)
    name = fields.Char("Name", required=True, translate=True)
    test_type = fields.Many2One(
        'gnuhealth.imaging.test.type', "Type", required=True)
    product = fields.Many2One(
        'product.product', "Product", required=True,
        help="What is charged for this study.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_indexes.add(
            Index(t, (t.code, Index.Similarity())))

    search_rec_name = search_any_of(
        'code', 'name', 'test_type.code', 'test_type.name')
