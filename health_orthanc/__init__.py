# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from trytond.pool import Pool

from . import audit, legacy, patient, result, server, study, sync


def register():
    Pool.register(
        server.OrthancServer,
        patient.OrthancPatient,
        patient.Patient,
        legacy.LegacyStudy,
        study.Study,
        study.Series,
        study.Instance,
        result.Result,
        audit.Audit,
        sync.Cursor,
        sync.Run,
        sync.Quarantine,
        module='health_orthanc', type_='model')
