# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from trytond.pool import PoolMeta


class Cron(metaclass=PoolMeta):
    __name__ = 'ir.cron'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls.method.selection.extend([
                ('gnuhealth.orthanc.sync.run|synchronize_servers',
                    "Synchronize Orthanc Servers"),
                ('gnuhealth.orthanc.sync.run|reconcile_servers',
                    "Reconcile Orthanc Servers"),
                ('gnuhealth.orthanc.config|warn_failing',
                    "Warn of Failing Orthanc Servers"),
                ])
