# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import datetime as dt

from trytond.i18n import gettext
from trytond.model import Index, ModelSQL, ModelView, fields
from trytond.model.exceptions import AccessError
from trytond.modules.health_imaging.dates import now
from trytond.pool import Pool
from trytond.pyson import Eval
from trytond.report import Report
from trytond.transaction import Transaction, without_check_access
from trytond.url import http_host

from .audit_message import Event, messages
from .rows import insert_rows, select_rows

# For so long one row tells of all pictures of a series that a user looks at
LOOK = dt.timedelta(minutes=15)


class Audit(ModelSQL, ModelView):
    "Imaging Audit"
    __name__ = 'gnuhealth.orthanc.audit'

    date = fields.DateTime("Date", required=True, readonly=True)
    user = fields.Many2One('res.user', "User", readonly=True)
    event = fields.Selection([
            ('view', "Viewer Opened"),
            ('preview', "Picture Viewed"),
            ('download', "Downloaded"),
            ('attach', "Picture Attached"),
            ('upload', "Uploaded"),
            ('link', "Linked"),
            ('unlink', "Unlinked"),
            ('not_ours', "Not Ours"),
            ('ours', "Ours After All"),
            ('verify', "Verified"),
            ('delete', "Deleted"),
            ('remove', "Removed from GNU Health"),
            ('replace', "New Server Accepted"),
            ], "Event", required=True, readonly=True, sort=False)
    event_string = event.translated('event')
    patient = fields.Many2One(
        'gnuhealth.patient', "Patient", readonly=True)
    study_uid = fields.Char("Study UID", readonly=True)
    series_uid = fields.Char("Series UID", readonly=True)
    server = fields.Char("Server", readonly=True,
        help="The label that the server had.")
    server_config = fields.Many2One(
        'gnuhealth.orthanc.config', "Server Record", readonly=True)
    rule = fields.Selection([
            (None, ""),
            ('uid', "Study UID"),
            ('tag', "Other Tag"),
            ('accession', "Accession Number"),
            ('puid', "PUID"),
            ('patient', "Patient in Orthanc"),
            ], "Rule", readonly=True, sort=False,
        help="What linked the study, if no person did.")
    reason = fields.Text("Reason", readonly=True)
    detail = fields.Text("Detail", readonly=True)

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._order = [('date', 'DESC'), ('id', 'DESC')]
        cls.study_uid.search_unaccented = False
        cls.series_uid.search_unaccented = False
        t = cls.__table__()
        cls._sql_indexes.update({
                Index(t, (t.date, Index.Range(order='DESC')),
                    (t.id, Index.Range(order='DESC'))),
                Index(t, (t.study_uid, Index.Range())),
                Index(t, (t.patient, Index.Range()),
                    (t.date, Index.Range(order='DESC'))),
                Index(t, (t.user, Index.Range()),
                    (t.date, Index.Range(order='DESC'))),
                Index(t, (t.server_config, Index.Range()),
                    (t.date, Index.Range(order='DESC'))),
                })

    def get_rec_name(self, name):
        return ' '.join(filter(None, [self.event_string, self.study_uid]))

    @classmethod
    def search_rec_name(cls, name, clause):
        return [('study_uid', *clause[1:])]

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('//separator[@name="reason"]', 'states', {
                    'invisible': ~Eval('reason'),
                    }),
            ]

    @classmethod
    def create(cls, vlist):
        cls._refuse_people()
        return super().create(vlist)

    @classmethod
    def write(cls, *args):
        cls._refuse_people()
        super().write(*args)

    @classmethod
    def delete(cls, entries):
        cls._refuse_people()
        super().delete(entries)

    @classmethod
    def _refuse_people(cls):
        "Nobody adds, changes or removes anything, whatever rights are given"
        transaction = Transaction()
        if transaction.check_access and transaction.user:
            raise AccessError(gettext('health_orthanc.msg_audit_readonly'))

    @classmethod
    @without_check_access
    def note(cls, event, studies, series=None, **values):
        "Store that the user did it with each of the studies"
        cls.create([cls._entry(
                    event, study.server_config,
                    patient=study.patient.id if study.patient else None,
                    study_uid=study.study_instance_UID,
                    series_uid=series.series_UID if series else None,
                    **values) for study in studies])

    @classmethod
    @without_check_access
    def note_look(cls, series):
        """Store that the user looks at pictures of the series

        One row tells of all that are looked at within some time.
        """
        study = series.study
        if not cls.search([
                    ('study_uid', '=', study.study_instance_UID),
                    ('series_uid', '=', series.series_UID),
                    ('server_config', '=', study.server_config.id),
                    ('event', '=', 'preview'),
                    ('user', '=', Transaction().user or None),
                    ('date', '>', now() - LOOK),
                    ], limit=1):
            cls.note('preview', [study], series=series)

    @classmethod
    @without_check_access
    def note_rules(cls, candidates):
        "Store what the rules linked, all of it by one statement"
        Server = Pool().get('gnuhealth.orthanc.config')
        linked = [c for c in candidates if any(
                c.links[n] and c.links[n] != c.before[n]
                for n in ['patient', 'request', 'imaging_test'])]
        if not linked:
            return
        server = Server.__table__()
        labels = {r['id']: r['label'] for r in select_rows(
                server, ['id', 'label'],
                server.id.in_(list({c.row['server_config'] for c in linked})))}
        rows = []
        for candidate in linked:
            row, links = candidate.row, candidate.links
            entry = {
                'date': now(),
                'event': 'link',
                'rule': links['link_origin'],
                'patient': links['patient'],
                'study_uid': row['study_instance_UID'],
                'server': labels[row['server_config']],
                'server_config': row['server_config'],
                }
            rows.append(list(entry.values()))
        insert_rows(cls, list(entry), rows, numbered=False)

    @classmethod
    @without_check_access
    def log_server(cls, event, server, **values):
        "Store that the user did it with the server"
        cls.create([cls._entry(event, server, **values)])

    @classmethod
    def _entry(cls, event, server, **values):
        return {
            'date': now(),
            'user': Transaction().user or None,
            'event': event,
            'server': server.label,
            'server_config': server.id,
            **values,
            }


class AuditMessages(Report):
    "DICOM Audit Messages"
    __name__ = 'gnuhealth.orthanc.audit.messages'

    @classmethod
    def render(cls, report, report_context):
        ModelAccess = Pool().get('ir.model.access')
        with_patients = ModelAccess.check_relation(
            Audit.__name__, 'patient', mode='read')
        return messages(
            [cls._event(r, with_patients) for r in report_context['records']],
            source='/'.join([http_host(), Transaction().database.name]))

    @classmethod
    def convert(cls, report, data, **kwargs):
        return 'xml', data

    @classmethod
    def _event(cls, entry, with_patients):
        patient = entry.patient if with_patients else None
        return Event(
            event=entry.event,
            title=entry.event_string,
            date=entry.date,
            server=entry.server,
            user=entry.user.login if entry.user else None,
            user_name=entry.user.name if entry.user else None,
            study_uid=entry.study_uid,
            series_uid=entry.series_uid,
            patient_id=patient.party.ref if patient else None,
            patient_name=patient.party.rec_name if patient else None,
            rule=entry.rule,
            reason=entry.reason,
            detail=entry.detail)
