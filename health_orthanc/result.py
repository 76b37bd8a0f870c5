# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from trytond.model import fields
from trytond.pool import PoolMeta


class Result(metaclass=PoolMeta):
    __name__ = 'gnuhealth.imaging.test.result'

    orthanc_studies = fields.One2Many(
        'gnuhealth.imaging_orthanc.study', 'imaging_test', "Orthanc studies",
        readonly=True)
    studies = fields.One2Many(
        'gnuhealth.orthanc.study', 'imaging_test', "Orthanc studies (4.x)",
        readonly=True)
