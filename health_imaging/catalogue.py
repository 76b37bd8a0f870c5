# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from trytond.i18n import gettext
from trytond.model import DeactivableMixin, Index, ModelSQL, ModelView, fields
from trytond.pool import Pool
from trytond.pyson import Eval, If

from .exceptions import ModalityWarning
from .modality import DEFINED_TERMS


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
        help="The DICOM modality: CT, MR, US, DX, CR, ...\n"
        "Worklists and devices know the type by this code.\n"
        "XR is no DICOM modality: what devices know is DX or CR.")
    name = fields.Char("Name", required=True, translate=True)

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._order.insert(0, ('code', 'ASC'))

    search_rec_name = search_any_of('code', 'name')

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree', 'visual', If(
                    Eval('code').in_(sorted(DEFINED_TERMS)), '', 'warning')),
            ]

    @classmethod
    def validate_fields(cls, types, field_names):
        super().validate_fields(types, field_names)
        if not field_names or 'code' in field_names:
            for type_ in types:
                type_.check_modality()

    def check_modality(self):
        Warning = Pool().get('res.user.warning')
        if self.code in DEFINED_TERMS:
            return
        # a new type has another id at each attempt
        key = f'imaging_modality_{self.code}'
        if Warning.check(key):
            raise ModalityWarning(key, gettext(
                    'health_imaging.msg_modality_unknown',
                    code=self.code, type=self.name))


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
    modality = fields.Function(
        fields.Char("Modality"),
        'on_change_with_modality', searcher='search_modality')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._order.insert(0, ('name', 'ASC'))
        t = cls.__table__()
        cls._sql_indexes.add(
            Index(t, (t.code, Index.Similarity())))

    @fields.depends('test_type')
    def on_change_with_modality(self, name=None):
        return self.test_type.code if self.test_type else None

    @classmethod
    def search_modality(cls, name, clause):
        return [('test_type.code', *clause[1:])]

    search_rec_name = search_any_of(
        'code', 'name', 'test_type.code', 'test_type.name')
