# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from trytond.model import ModelSQL, ModelView, Unique, fields


class Cursor(ModelSQL, ModelView):
    "Orthanc Synchronization Cursor"
    __name__ = 'gnuhealth.orthanc.sync.cursor'

    server = fields.Many2One(
        'gnuhealth.orthanc.config', "Server", required=True,
        ondelete='CASCADE')
    change_seq = fields.Integer("Change")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('server_unique', Unique(t, t.server),
                'health_orthanc.msg_cursor_unique'),
            ]


class Run(ModelSQL, ModelView):
    "Orthanc Synchronization"
    __name__ = 'gnuhealth.orthanc.sync.run'

    server = fields.Many2One(
        'gnuhealth.orthanc.config', "Server", required=True,
        ondelete='CASCADE')


class Quarantine(ModelSQL, ModelView):
    "Orthanc Quarantine"
    __name__ = 'gnuhealth.orthanc.sync.quarantine'

    server = fields.Many2One(
        'gnuhealth.orthanc.config', "Server", required=True,
        ondelete='CASCADE')
