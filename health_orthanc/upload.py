# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import io
import zipfile

from trytond.i18n import gettext
from trytond.model import ModelView, fields
from trytond.modules.health_imaging.access import GuardedWizard
from trytond.pool import Pool
from trytond.pyson import Eval, If
from trytond.wizard import Button, StateTransition, StateView

from .client import BadAnswer, Full, OrthancError, Refused, Unreachable
from .exceptions import OrthancServerError, UploadError, explain
from .secrets import SecretError

MAX_FILES = 5000
MAX_FILE_SIZE = 1 << 30
MAX_TOTAL_SIZE = 4 << 30
ZIP_MAGIC = b'PK\x03\x04'


class UploadStart(ModelView):
    "Upload Image Data Start"
    __name__ = 'gnuhealth.imaging_orthanc.upload_image_data.start'

    server_config = fields.Many2One(
        'gnuhealth.orthanc.config', "Server", required=True,
        domain=[('validated', '=', True)])
    data_to_upload = fields.Binary(
        "File to upload", required=True, filename='file_name',
        help="A DICOM file, or a ZIP archive of DICOM files.")
    file_name = fields.Char("File Name")

    @classmethod
    def default_server_config(cls):
        Server = Pool().get('gnuhealth.orthanc.config')
        servers = Server.search([('validated', '=', True)], limit=2)
        if len(servers) == 1:
            return servers[0].id


class UploadFile(ModelView):
    "Uploaded File"
    __name__ = 'gnuhealth.imaging_orthanc.upload_image_data.file'

    name = fields.Char("File", readonly=True)
    state = fields.Selection([
            ('stored', "Stored"),
            ('known', "Already There"),
            ('refused', "Refused"),
            ], "Result", readonly=True, sort=False)
    reason = fields.Char("Reason", readonly=True)

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree', 'visual', If(Eval('state') == 'refused', 'danger',
                    If(Eval('state') == 'known', 'muted', ''))),
            ]


class UploadDone(ModelView):
    "Uploaded Image Data"
    __name__ = 'gnuhealth.imaging_orthanc.upload_image_data.done'

    server_config = fields.Many2One(
        'gnuhealth.orthanc.config', "Server", readonly=True)
    stored = fields.Integer("Stored", readonly=True)
    known = fields.Integer("Already There", readonly=True)
    refused = fields.Integer("Refused", readonly=True)
    files = fields.One2Many(
        'gnuhealth.imaging_orthanc.upload_image_data.file', None, "Files",
        readonly=True)


class Upload(GuardedWizard):
    "Upload DICOM Files"
    __name__ = 'gnuhealth.imaging_orthanc.upload_image_data'

    start = StateView(
        'gnuhealth.imaging_orthanc.upload_image_data.start',
        'health_orthanc.upload_image_data_start_form', [
            Button("Cancel", 'end', 'tryton-cancel'),
            Button("Upload Image Data", 'upload', 'tryton-ok', default=True),
            ])
    upload = StateTransition()
    done = StateView(
        'gnuhealth.imaging_orthanc.upload_image_data.done',
        'health_orthanc.upload_image_data_done_view_form', [
            Button("Close", 'end', 'tryton-ok', default=True),
            ])

    def transition_upload(self):
        pool = Pool()
        Audit = pool.get('gnuhealth.orthanc.audit')
        Run = pool.get('gnuhealth.orthanc.sync.run')
        server = self.start.server_config
        data = bytes(self.start.data_to_upload or b'')
        file_name = getattr(self.start, 'file_name', None)
        # The wizard would keep the file in the database until it is closed.
        self.start.data_to_upload = None
        if not server.validated:
            raise UploadError(gettext(
                    'health_orthanc.msg_upload_not_validated',
                    server=server.rec_name))
        self._set_done(server, list(send(
                    server, read_files(file_name, data))))
        Audit.log_server('upload', server, detail=gettext(
                'health_orthanc.msg_upload_counts',
                stored=self.done.stored, known=self.done.known,
                refused=self.done.refused))
        if self.done.stored:
            Run.submit([server], 'new', 'user')
        return 'done'

    def _set_done(self, server, outcomes):
        File = Pool().get(
            'gnuhealth.imaging_orthanc.upload_image_data.file')
        states = [state for _, state, _ in outcomes]
        self.done.server_config = server
        self.done.stored = states.count('stored')
        self.done.known = states.count('known')
        self.done.refused = states.count('refused')
        self.done.files = [
            File(name=name, state=state, reason=reason)
            for name, state, reason in outcomes]

    def default_done(self, fields):
        done = self.done
        return {
            'server_config': done.server_config.id,
            'stored': done.stored,
            'known': done.known,
            'refused': done.refused,
            'files': [{
                    'name': f.name,
                    'state': f.state,
                    'reason': f.reason,
                    } for f in done.files],
            }

    def end(self):
        return 'reload'


def read_files(name, data):
    """Yield name and content of the file, or of each file of the archive.

    A content that is an UploadError says why the file cannot be sent.
    """
    if not data.startswith(ZIP_MAGIC):
        yield name or 'DICOM', data
        return
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        raise UploadError(gettext(
                'health_orthanc.msg_upload_bad_zip')) from None
    members = [
        m for m in archive.infolist()
        if not m.is_dir() and not m.filename.startswith('__MACOSX/')]
    total = sum(m.file_size for m in members)
    if len(members) > MAX_FILES or total > MAX_TOTAL_SIZE:
        raise UploadError(gettext(
                'health_orthanc.msg_upload_zip_too_large',
                files=MAX_FILES, size=MAX_TOTAL_SIZE >> 30))
    for member in members:
        yield member.filename, _read_member(archive, member)


def _read_member(archive, member):
    if member.file_size > MAX_FILE_SIZE:
        return UploadError(gettext('health_orthanc.msg_upload_file_large'))
    try:
        with archive.open(member) as file:
            # The size in the directory of the archive may be a lie.
            return file.read(member.file_size)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, OSError,
            EOFError, ValueError):
        return UploadError(gettext('health_orthanc.msg_upload_bad_member'))


def send(server, files):
    """Send each of the files to the server.

    Yield the name, what became of it (stored, known or refused) and why.
    Once the server fails to answer the others are not sent.
    """
    try:
        client = server.get_client()
    except (SecretError, OrthancError) as error:
        raise OrthancServerError(explain(error, server)) from None
    given_up = None
    with client:
        for name, content in files:
            if given_up:
                yield name, 'refused', given_up
                continue
            try:
                yield (name, *_store(client, content))
            except BadAnswer:
                yield name, 'refused', gettext(
                    'health_orthanc.msg_upload_no_dicom')
            except OrthancError as error:
                reason = explain(error, server)
                if isinstance(error, (Unreachable, Refused, Full)):
                    given_up = reason
                yield name, 'refused', reason


def _store(client, content):
    if isinstance(content, UploadError):
        return 'refused', content.message
    if not content:
        return 'refused', gettext('health_orthanc.msg_upload_empty')
    answers = client.store(content)
    statuses = {a.get('Status') for a in answers}
    if 'Success' in statuses:
        return 'stored', None
    if 'AlreadyStored' in statuses:
        return 'known', None
    return 'refused', gettext('health_orthanc.msg_upload_filtered')
