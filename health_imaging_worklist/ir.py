# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from trytond.pool import PoolMeta


class Cron(metaclass=PoolMeta):
    __name__ = 'ir.cron'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls.method.selection.extend([
                ('gnuhealth.imaging.worklist.host|warn_late',
                    "Warn of late Worklist Hosts"),
                ('gnuhealth.imaging.test.request|expire_worklist',
                    "Expire the Worklist"),
                ])
