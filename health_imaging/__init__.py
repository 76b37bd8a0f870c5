# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from trytond.pool import Pool

from . import catalogue, configuration, request, result, result_report

__all__ = ['register']


def register():
    Pool.register(
        configuration.Sequences,
        configuration.RequestSequence,
        configuration.ResultSequence,
        catalogue.ImagingTestType,
        catalogue.ImagingTest,
        request.ImagingRequest,
        request.NewOrderStart,
        request.NewOrderTest,
        request.CancelRequestStart,
        result.ImagingResult,
        result.Attachment,
        module='health_imaging', type_='model')
    Pool.register(
        request.NewOrder,
        request.CancelRequest,
        result.GenerateResult,
        module='health_imaging', type_='wizard')
    Pool.register(
        result_report.ImagingResultReport,
        module='health_imaging', type_='report')
