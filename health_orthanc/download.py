# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A study as a ZIP archive, by a link that works once.

The archive goes from Orthanc through GNU Health to the browser piece by
piece: neither stores it.
"""
import datetime as dt
import re
import secrets

from trytond.i18n import gettext
from trytond.model import Index, ModelSQL, ModelView, fields
from trytond.modules.health_imaging.access import GuardedWizard
from trytond.modules.health_imaging.dates import now
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Bool, Eval
from trytond.transaction import Transaction, without_check_access
from trytond.url import http_host
from trytond.wizard import Button, StateAction, StateView

from .authorize import may_view
from .client import OrthancError
from .exceptions import DownloadError, explain
from .notify import hash_key
from .secrets import SecretError

# For so long a link may be used.
VALIDITY = dt.timedelta(minutes=10)
FORMATS = [
    ('archive', "ZIP of DICOM Files"),
    ('media', "ZIP with DICOMDIR"),
    ]
_UNSAFE = re.compile(r'[^0-9A-Za-z]+')


class Study(metaclass=PoolMeta):
    __name__ = 'gnuhealth.imaging_orthanc.study'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._buttons.update({
                'download': {
                    'invisible': Bool(Eval('missing_since')),
                    'depends': ['missing_since'],
                    },
                })

    @classmethod
    @ModelView.button_action('health_orthanc.wizard_download_study')
    def download(cls, studies):
        pass


class DownloadLink(ModelSQL):
    "Download Link"
    __name__ = 'gnuhealth.orthanc.download.link'

    key_hash = fields.Char("Key", required=True)
    study = fields.Many2One(
        'gnuhealth.imaging_orthanc.study', "Study", required=True,
        ondelete='CASCADE')
    user = fields.Many2One(
        'res.user', "User", required=True, ondelete='CASCADE')
    format = fields.Selection(FORMATS, "Format", required=True, sort=False)
    format_string = format.translated('format')
    reason = fields.Text("Reason")
    expires = fields.DateTime("Expires", required=True)

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_indexes.add(Index(t, (t.key_hash, Index.Equality())))

    @classmethod
    @without_check_access
    def make(cls, study, format, reason):
        "Return the address from which the user can fetch the study once"
        cls.delete(cls.search([('expires', '<', now())]))
        key = secrets.token_urlsafe(32)
        cls.create([{
                    'key_hash': hash_key(key),
                    'study': study.id,
                    'user': Transaction().user,
                    'format': format,
                    'reason': reason,
                    'expires': now() + VALIDITY,
                    }])
        return '%s/%s/health_orthanc/download/%s' % (
            http_host(), Transaction().database.name, key)

    @classmethod
    @without_check_access
    def from_key(cls, key):
        "Return the link that may be used now, None if there is none"
        links = cls.search([
                ('key_hash', '=', hash_key(key)),
                ('expires', '>', now()),
                ], limit=1)
        if links and not links[0].study.missing_since and may_view(
                links[0].user.id, [links[0].study]):
            return links[0]

    def language_context(self):
        language = self.user.language
        return {'language': language.code} if language else {}

    @without_check_access
    def use(self):
        "Whether the link was not used before; it is used now, and noted"
        pool = Pool()
        Audit = pool.get('gnuhealth.orthanc.audit')
        cursor = Transaction().connection.cursor()
        table = self.__table__()
        cursor.execute(*table.delete(where=table.id == self.id))
        if not cursor.rowcount:
            return False
        with Transaction().set_user(self.user.id):
            Audit.note(
                'download', [self.study], reason=self.reason,
                detail=self.format_string)
        return True

    @property
    def file_name(self):
        "A name without anything that may not stand in one, or the patient's"
        study = self.study
        parts = ['study', str(study.study_date or ''), study.modalities,
            study.accession_number]
        return '-'.join(filter(None, (
                    _UNSAFE.sub('-', p or '').strip('-')
                    for p in parts)))[:100] + '.zip'


class DownloadAsk(ModelView):
    "Download Study"
    __name__ = 'gnuhealth.orthanc.download.ask'

    what = fields.Text("What Will Be Downloaded", readonly=True)
    format = fields.Selection(FORMATS, "Format", required=True, sort=False,
        help="With DICOMDIR it can be burned on a CD.")
    reason = fields.Selection([
            ('patient', "For the Patient"),
            ('referral', "Referral"),
            ('other', "Other"),
            ], "Reason", required=True, sort=False)
    reason_string = reason.translated('reason')
    comment = fields.Char("Comment", states={
            'required': Eval('reason') == 'other',
            })

    @classmethod
    def default_format(cls):
        return 'archive'


class Download(GuardedWizard):
    "Download Study"
    __name__ = 'gnuhealth.orthanc.download'

    start = StateView(
        'gnuhealth.orthanc.download.ask',
        'health_orthanc.download_ask_view_form', [
            Button("Cancel", 'end', 'tryton-cancel'),
            Button("Download", 'download', 'tryton-ok', default=True),
            ])
    download = StateAction('health_orthanc.act_download')

    def default_start(self, fields):
        return {'what': self.record.describe()}

    def do_download(self, action):
        Link = Pool().get('gnuhealth.orthanc.download.link')
        study, start = self.record, self.start
        comment = (getattr(start, 'comment', None) or '').strip()
        reason = getattr(start, 'reason', None)
        if not reason or (reason == 'other' and not comment):
            raise DownloadError(gettext('health_orthanc.msg_download_reason'))
        if start.format not in dict(FORMATS):
            raise DownloadError(gettext('health_orthanc.msg_download_format'))
        self._check_there(study)
        action['url'] = Link.make(
            study, start.format,
            ': '.join(filter(None, [start.reason_string, comment])))
        return action, {}

    def _check_there(self, study):
        "Complain here, where it can be read, rather than behind the link"
        if study.missing_since:
            raise DownloadError(gettext(
                    'health_orthanc.msg_download_missing',
                    study=study.rec_name))
        server = study.server_config
        try:
            with server.get_client() as client:
                client.get_json('/studies/%s/statistics' % study.orthanc_UID)
        except (SecretError, OrthancError) as error:
            raise DownloadError(gettext(
                    'health_orthanc.msg_download_failed',
                    study=study.rec_name,
                    reason=explain(error, server))) from None
