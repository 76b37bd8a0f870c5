# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from trytond.i18n import gettext
from trytond.model import ModelSQL, ValueMixin, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Id
from trytond.transaction import without_check_access

from .exceptions import SequenceMissingError

imaging_req_seq = fields.Many2One(
    'ir.sequence', "Imaging Request Sequence", required=True,
    domain=[
        ('sequence_type', '=', Id(
                'health_imaging', 'seq_type_gnuhealth_imaging_test_request')),
        ],
    help="Numbers the imaging orders.\n"
    "The number of an order is its DICOM accession number: "
    "16 characters at most.")
imaging_test_sequence = fields.Many2One(
    'ir.sequence', "Imaging Sequence", required=True,
    domain=[
        ('sequence_type', '=', Id(
                'health_imaging', 'seq_type_gnuhealth_imaging_test')),
        ],
    help="Numbers the imaging results.")


def _default_sequence(xml_id):
    ModelData = Pool().get('ir.model.data')
    try:
        return ModelData.get_id('health_imaging', xml_id)
    except KeyError:
        return None


class Sequences(metaclass=PoolMeta):
    __name__ = 'gnuhealth.sequences'

    imaging_req_seq = fields.MultiValue(imaging_req_seq)
    imaging_test_sequence = fields.MultiValue(imaging_test_sequence)

    @classmethod
    def default_imaging_req_seq(cls, **pattern):
        return _default_sequence('seq_gnuhealth_imaging_test_request')

    @classmethod
    def default_imaging_test_sequence(cls, **pattern):
        return _default_sequence('seq_gnuhealth_imaging_test')


class RequestSequence(ModelSQL, ValueMixin):
    "Imaging Request Sequence setup"
    __name__ = 'gnuhealth.sequences.imaging_req_seq'

    imaging_req_seq = imaging_req_seq


class ResultSequence(ModelSQL, ValueMixin):
    "Imaging Test Sequence setup"
    __name__ = 'gnuhealth.sequences.imaging_test_sequence'

    imaging_test_sequence = imaging_test_sequence


@without_check_access
def next_numbers(name, count):
    "Return count new numbers of the sequence set in that field"
    pool = Pool()
    Sequences = pool.get('gnuhealth.sequences')
    sequence = Sequences(1).get_multivalue(name)
    if not sequence:
        raise SequenceMissingError(gettext(
                'health_imaging.msg_sequence_missing',
                **Sequences.__names__(name)))
    return [sequence.get() for _ in range(count)]
