# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from datetime import datetime

from trytond.model import Index, ModelSQL, ModelView, fields
from trytond.transaction import Transaction


class Audit(ModelSQL, ModelView):
    "Imaging Audit"
    __name__ = 'gnuhealth.orthanc.audit'

    date = fields.DateTime("Date", required=True, readonly=True)
    user = fields.Many2One('res.user', "User", readonly=True)
    event = fields.Selection([
            ('view', "Viewer Opened"),
            ('preview', "Picture Opened"),
            ('attach', "Picture Attached"),
            ('upload', "Uploaded"),
            ('link', "Linked"),
            ('unlink', "Unlinked"),
            ('delete', "Deleted"),
            ], "Event", required=True, readonly=True, sort=False)
    patient = fields.Many2One(
        'gnuhealth.patient', "Patient", readonly=True)
    study_uid = fields.Char("Study UID", readonly=True)
    series_uid = fields.Char("Series UID", readonly=True)
    server = fields.Char("Server", readonly=True,
        help="The label that the server had.")
    reason = fields.Text("Reason", readonly=True)
    detail = fields.Text("Detail", readonly=True)

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._order = [('date', 'DESC'), ('id', 'DESC')]
        t = cls.__table__()
        cls._sql_indexes.update({
                Index(t, (t.date, Index.Range(order='DESC')),
                    (t.id, Index.Range(order='DESC'))),
                Index(t, (t.study_uid, Index.Range())),
                })

    def get_rec_name(self, name):
        return f'{self.event_string} {self.study_uid or ""}'.strip()

    @classmethod
    def search_rec_name(cls, name, clause):
        return [('study_uid', *clause[1:])]

    @classmethod
    def log(cls, event, studies=(), series=None, reason=None, detail=None):
        "Store who did what with each of the studies"
        now = datetime.now().replace(microsecond=0)
        with Transaction().set_context(_check_access=False):
            return cls.create([{
                        'date': now,
                        'user': Transaction().user or None,
                        'event': event,
                        'patient': study.patient.id if study.patient else None,
                        'study_uid': study.study_instance_UID,
                        'series_uid': series.series_UID if series else None,
                        'server': study.server_config.label,
                        'reason': reason,
                        'detail': detail,
                        } for study in studies])
