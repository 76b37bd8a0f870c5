# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from trytond.modules import health_imaging
from trytond.modules.health_imaging import packages
from trytond.pool import Pool

packages.check(health_imaging)

from . import (  # noqa: E402
    catalogue, clinical, configuration, host, ir, life, preview, publication,
    request, result, template)

__all__ = ['register']


def register():
    Pool.register(
        template.WorklistTemplate,
        catalogue.ImagingTest,
        configuration.WorklistConfiguration,
        host.WorklistHost,
        life.WorklistLog,
        life.ImagingRequest,
        request.ImagingRequest,
        preview.ImagingRequest,
        preview.WorklistAttribute,
        publication.ImagingRequest,
        clinical.ImagingRequest,
        result.ImagingResult,
        ir.Cron,
        module='health_imaging_worklist', type_='model')
    Pool.register(
        clinical.ImagingRequestInpatient,
        module='health_imaging_worklist', type_='model',
        depends=['health_inpatient'])
    Pool.register(
        clinical.ImagingRequestGyneco,
        module='health_imaging_worklist', type_='model',
        depends=['health_gyneco'])
