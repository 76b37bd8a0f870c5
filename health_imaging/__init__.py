# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from trytond.model import ModelSQL
from trytond.pool import Pool

from . import (
    attachment, cancel, catalogue, configuration, flags, institution,
    numbering, order, order_report, packages, request, result, result_event,
    result_report, search, text)

__all__ = ['register']

# What the modules above look for: other packages bring this one, too
SUITE = 'gnuhealth-imaging-suite'


def register():
    packages.warn()
    Pool.register(
        configuration.Sequences,
        configuration.RequestSequence,
        configuration.ResultSequence,
        catalogue.ImagingTestType,
        catalogue.ImagingTest,
        request.ImagingRequest,
        numbering.ImagingRequest,
        flags.ImagingRequest,
        order.NewOrderStart,
        order.NewOrderTest,
        cancel.CancelRequestStart,
        result.ImagingResult,
        attachment.Attachment,
        result_event.ResultEvent,
        result_event.ImagingResult,
        result_event.AddAddendumStart,
        result_event.ReopenStart,
        institution.Configuration,
        institution.Rule,
        institution.Institution,
        institution.Attachment,
        institution.Note,
        module='health_imaging', type_='model')
    Pool.register(
        order.NewOrder,
        cancel.CancelRequest,
        result.GenerateResult,
        result_event.AddAddendum,
        result_event.Reopen,
        module='health_imaging', type_='wizard')
    Pool.register(
        order_report.RequestSlip,
        result_report.ImagingResultReport,
        module='health_imaging', type_='report')
    Pool.register_mixin(
        search.GuardedSearch, ModelSQL, module='health_imaging')
    Pool.register_mixin(
        text.GuardedText, ModelSQL, module='health_imaging')
