# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from trytond.pool import Pool

from . import catalogue, request, result, template

__all__ = ['register']


def register():
    Pool.register(
        template.WorklistTemplate,
        catalogue.ImagingTest,
        request.ImagingRequest,
        request.WorklistAttribute,
        result.ImagingResult,
        module='health_imaging_worklist', type_='model')
