# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A browser page for whole folders, reached by a link that works once.

The link is for one user, one server and one patient or request. The browser
that opens it gets a key, with which it sends the files one by one. Of link
and key only hashes are kept. uploadroutes.py answers the browser.
"""
import datetime as dt
import secrets
from contextlib import contextmanager
from urllib.parse import quote

from sql import Null

from trytond.i18n import gettext
from trytond.model import Index, ModelSQL, ModelView, fields
from trytond.model.exceptions import AccessError
from trytond.pool import Pool, PoolMeta
from trytond.transaction import (
    Transaction, check_access, without_check_access)
from trytond.url import http_host
from trytond.wizard import Button, StateAction, StateView

from .exceptions import (
    UploadError, UploadMismatchError, UploadPageError)
from .linking import is_imaging_admin
from .notify import hash_key
from .sync import now
from .upload import STATES, TargetMixin, TargetWizard
from .uploader import Expected, Outcome, record

LINK_VALID = dt.timedelta(minutes=10)
PAGE_VALID = dt.timedelta(hours=8)
MAX_PAGE_FILES = 20_000
WIZARD = 'gnuhealth.orthanc.upload_page'


class UploadPage(ModelSQL):
    "Upload Page"
    __name__ = 'gnuhealth.orthanc.upload.page'

    user = fields.Many2One(
        'res.user', "User", required=True, ondelete='CASCADE')
    server = fields.Many2One(
        'gnuhealth.orthanc.config', "Server", required=True,
        ondelete='CASCADE')
    patient = fields.Many2One(
        'gnuhealth.patient', "Patient", ondelete='CASCADE')
    request = fields.Many2One(
        'gnuhealth.imaging.test.request', "Request", ondelete='CASCADE')
    link_hash = fields.Char("Link")
    key_hash = fields.Char("Key")
    expires = fields.DateTime("Expires", required=True)
    reason = fields.Text("Reason")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_indexes.update({
                Index(t, (t.link_hash, Index.Equality()),
                    where=t.link_hash != Null),
                Index(t, (t.key_hash, Index.Equality()),
                    where=t.key_hash != Null),
                })

    @classmethod
    @without_check_access
    def new_link(cls, server, expected):
        "Return the address of a new page of the user"
        transaction = Transaction()
        cls.close_expired()
        token = secrets.token_urlsafe(32)
        cls.create([{
                    'user': transaction.user,
                    'server': server.id,
                    'patient': (
                        expected.patient.id if expected.patient else None),
                    'request': (
                        expected.request.id if expected.request else None),
                    'link_hash': hash_key(token),
                    'expires': now() + LINK_VALID,
                    }])
        # what follows # is neither sent nor logged
        return '%s/%s/health_orthanc/upload#%s' % (
            http_host(), quote(transaction.database.name), token)

    @classmethod
    @without_check_access
    def open(cls, token):
        """Return the page of the link, and its key

        The link does not work again.
        """
        page = cls._find('link_hash', token)
        key = secrets.token_urlsafe(32)
        cls.write([page], {
                'link_hash': None,
                'key_hash': hash_key(key),
                'expires': now() + PAGE_VALID,
                })
        return page, key

    @classmethod
    @without_check_access
    def from_key(cls, key):
        return cls._find('key_hash', key)

    @classmethod
    def _find(cls, name, secret):
        pages = cls.search([(name, '=', hash_key(secret))]) if secret else []
        if not pages or pages[0].expires < now():
            raise UploadPageError(
                gettext('health_orthanc.msg_upload_page_expired'))
        return pages[0]

    @contextmanager
    def as_user(self):
        """Act as the user of the page

        Raise UploadPageError if the user may not upload any more.
        """
        pool = Pool()
        User = pool.get('res.user')
        Wizard = pool.get(WIZARD, type='wizard')
        transaction = Transaction()
        with transaction.set_user(self.user.id):
            context = User.get_preferences(context_only=True)
            with transaction.set_context(context):
                with check_access():
                    try:
                        if not self.user.active:
                            raise AccessError('')
                        Wizard.check_access()
                    except AccessError:
                        raise UploadPageError(gettext(
                                'health_orthanc.msg_upload_page_refused'
                                )) from None
                self.check_server()
                yield self

    def check_server(self):
        server = self.server
        if not server.active or not server.validated:
            raise UploadPageError(gettext(
                    'health_orthanc.msg_upload_not_validated',
                    server=server.rec_name))

    @property
    def expected(self):
        return Expected(self.patient, self.request)

    @property
    def may_go_across(self):
        return bool(self.reason) and is_imaging_admin()

    @without_check_access
    def go_across(self, reason):
        "Let files through that are not what was expected"
        if not is_imaging_admin():
            raise UploadMismatchError(
                gettext('health_orthanc.msg_upload_mismatch_admin'))
        if not reason.strip():
            raise UploadMismatchError(
                gettext('health_orthanc.msg_upload_mismatch_reason'))
        self.reason = reason.strip()
        self.save()

    @without_check_access
    def keep(self, outcomes):
        "Remember what became of files until the page is finished"
        File = Pool().get('gnuhealth.orthanc.upload.page.file')
        File.create([{
                    'page': self.id,
                    'state': o.state,
                    'study': o.study,
                    'study_uid': o.study_uid if o.study else None,
                    } for o in outcomes])

    @without_check_access
    def check_count(self):
        File = Pool().get('gnuhealth.orthanc.upload.page.file')
        if File.search([('page', '=', self.id)], count=True) >= MAX_PAGE_FILES:
            raise UploadError(gettext(
                    'health_orthanc.msg_file_too_many',
                    files=MAX_PAGE_FILES))

    @without_check_access
    def finish(self):
        """Note what came and have it synchronized and linked

        Return the identifiers of the studies. The page may go on.
        """
        File = Pool().get('gnuhealth.orthanc.upload.page.file')
        files = File.search([('page', '=', self.id)])
        if not files:
            return []
        record(self.server, [
                Outcome('', f.state, study=f.study, study_uid=f.study_uid)
                for f in files], self.expected, self.reason)
        studies = sorted({f.study for f in files if f.study})
        File.delete(files)
        return studies

    @classmethod
    @without_check_access
    def close_expired(cls):
        "Finish what browsers left behind, and forget it"
        pages = cls.search([('expires', '<', now())])
        for page in pages:
            with Transaction().set_user(page.user.id):
                page.finish()
        cls.delete(pages)


class UploadPageFile(ModelSQL):
    "Uploaded File"
    __name__ = 'gnuhealth.orthanc.upload.page.file'

    page = fields.Many2One(
        'gnuhealth.orthanc.upload.page', "Page", required=True,
        ondelete='CASCADE')
    state = fields.Selection(STATES, "Result", required=True, sort=False)
    study = fields.Char("Orthanc UID")
    study_uid = fields.Char("Study UID")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_indexes.add(Index(t, (t.page, Index.Range())))


class Run(metaclass=PoolMeta):
    __name__ = 'gnuhealth.orthanc.sync.run'

    @classmethod
    def reconcile_servers(cls):
        Page = Pool().get('gnuhealth.orthanc.upload.page')
        Page.close_expired()
        super().reconcile_servers()


class UploadPageStart(TargetMixin, ModelView):
    "Upload Folders"
    __name__ = 'gnuhealth.orthanc.upload_page.start'


class OpenUploadPage(TargetWizard):
    "Upload Folders"
    __name__ = WIZARD

    start = StateView(
        'gnuhealth.orthanc.upload_page.start',
        'health_orthanc.upload_page_start_view_form', [
            Button("Cancel", 'end', 'tryton-cancel'),
            Button("Open Page", 'open_', 'tryton-launch', default=True),
            ])
    open_ = StateAction('health_orthanc.act_upload_page_url')

    def default_start(self, fields):
        return self.given()

    def do_open_(self, action):
        Page = Pool().get('gnuhealth.orthanc.upload.page')
        action['url'] = Page.new_link(
            self.check_target(), self.start.expected())
        return action, {}
