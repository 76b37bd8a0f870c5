# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from collections import defaultdict

from trytond.i18n import gettext
from trytond.model import ModelView, fields
from trytond.model.exceptions import AccessError
from trytond.modules.health_imaging.access import GuardedWizard, check_rights
from trytond.pool import Pool
from trytond.pyson import Bool, Eval, If
from trytond.transaction import check_access
from trytond.wizard import Button, StateTransition, StateView

from .dicomfiles import MAX_FILES, read_files
from .dicomscan import Refusal
from .exceptions import UploadError, UploadMismatchError
from .linking import is_imaging_admin
from .uploader import (
    Expected, Sender, count, examine, explain_refusal, record)

FACTS = [
    ('patient_id', "Patient ID"),
    ('accession_number', "Accession Number"),
    ('study_uid', "Study UID"),
    ]
STATES = [
    ('stored', "Stored"),
    ('known', "Already There"),
    ('skipped', "Skipped"),
    ('differs', "Mismatch"),
    ('refused', "Refused"),
    ]
REQUEST = 'gnuhealth.imaging.test.request'
RESULT = 'gnuhealth.imaging.test.result'
PATIENT = 'gnuhealth.patient'


def may_read(model):
    with check_access():
        try:
            Pool().get('ir.model.access').check(model, 'read')
        except AccessError:
            return False
    return True


class TargetMixin:
    "Where files go, and whose they are"
    __slots__ = ()

    server_config = fields.Many2One(
        'gnuhealth.orthanc.config', "Server", required=True,
        domain=[('validated', '=', True)])
    patient = fields.Many2One(
        'gnuhealth.patient', "Patient",
        states={
            'readonly': Bool(Eval('given')) | Bool(Eval('request')),
            'invisible': ~Eval('choosable'),
            },
        help="Files of other patients are not sent.")
    request = fields.Many2One(
        'gnuhealth.imaging.test.request', "Request",
        domain=[
            If(Bool(Eval('patient')), ('patient', '=', Eval('patient')), ()),
            ],
        states={
            'readonly': Bool(Eval('given')),
            'invisible': ~Eval('choosable'),
            },
        help="Files that are not for this request are not sent.")
    given = fields.Boolean("Given", states={'invisible': True})
    choosable = fields.Boolean("Choosable", states={'invisible': True})

    @classmethod
    def default_server_config(cls):
        Server = Pool().get('gnuhealth.orthanc.config')
        servers = Server.search([('validated', '=', True)], limit=2)
        if len(servers) == 1:
            return servers[0].id

    @classmethod
    def default_choosable(cls):
        return may_read(REQUEST) and may_read(PATIENT)

    def expected(self):
        "Return whose files are expected, as far as the user may know"
        pool = Pool()
        request = getattr(self, 'request', None)
        patient = getattr(self, 'patient', None)
        with check_access():
            if request:
                check_rights(pool.get(REQUEST), [request], 'read')
            elif patient:
                check_rights(pool.get(PATIENT), [patient], 'read')
        return Expected(patient, request)


class TargetWizard(GuardedWizard):
    "What wizards have in common that begin at a request, result or patient"

    def given(self):
        "Return the defaults that follow from the record in hand"
        record, name = self.record, self.model and self.model.__name__
        if not record or name not in {REQUEST, RESULT, PATIENT}:
            return {}
        request = patient = None
        if name == PATIENT:
            patient = record
        elif name == REQUEST:
            request = record
        else:
            request, patient = record.request, record.patient
        expected = Expected(patient, request)
        return {
            'given': True,
            'request': expected.request.id if expected.request else None,
            'patient': expected.patient.id if expected.patient else None,
            }

    def check_target(self):
        "Raise unless the files may be sent to the chosen server"
        server = self.start.server_config
        if not server.validated or not server.active:
            raise UploadError(gettext(
                    'health_orthanc.msg_upload_not_validated',
                    server=server.rec_name))
        return server


class UploadStart(TargetMixin, ModelView):
    "Upload Image Data Start"
    __name__ = 'gnuhealth.imaging_orthanc.upload_image_data.start'

    data_to_upload = fields.Binary(
        "File to upload", filename='file_name',
        states={
            'required': ~Eval('attachments'),
            },
        help="A DICOM file, or a ZIP archive of DICOM files.")
    file_name = fields.Char("File Name")
    resource = fields.Char("Resource", states={'invisible': True})
    attachments = fields.Many2Many(
        'ir.attachment', None, None, "Attachments",
        domain=[
            ('type', '=', 'data'),
            ('resource', '=', Eval('resource')),
            ],
        states={
            'invisible': ~Eval('resource'),
            },
        help="Files that were attached to the record.")


class UploadMismatchLine(ModelView):
    "Mismatch"
    __name__ = 'gnuhealth.imaging_orthanc.upload_image_data.mismatch.line'

    fact = fields.Selection(FACTS, "What", readonly=True, sort=False)
    found = fields.Char("In the Files", readonly=True)
    expected = fields.Char("Expected", readonly=True)
    files = fields.Integer("Files", readonly=True)
    example = fields.Char("First File", readonly=True)

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree/field[@name="found"]', 'visual', 'danger'),
            ]


class UploadMismatch(ModelView):
    "Files of Something Else"
    __name__ = 'gnuhealth.imaging_orthanc.upload_image_data.mismatch'

    patient = fields.Many2One('gnuhealth.patient', "Patient", readonly=True)
    request = fields.Many2One(
        'gnuhealth.imaging.test.request', "Request", readonly=True)
    lines = fields.One2Many(
        'gnuhealth.imaging_orthanc.upload_image_data.mismatch.line', None,
        "Mismatches", readonly=True)
    may_go_on = fields.Boolean("May Go On", states={'invisible': True})
    reason = fields.Text("Reason",
        states={
            'invisible': ~Eval('may_go_on'),
            },
        help="Why the files are sent all the same.")
    # nothing of it is kept on the server meanwhile
    data = fields.Binary("File", filename='file_name')
    file_name = fields.Char("File Name")


class UploadFile(ModelView):
    "Uploaded File"
    __name__ = 'gnuhealth.imaging_orthanc.upload_image_data.file'

    name = fields.Char("File", readonly=True)
    state = fields.Selection(STATES, "Result", readonly=True, sort=False)
    reason = fields.Char("Reason", readonly=True)

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree', 'visual', If(
                    Eval('state').in_(['refused', 'differs']), 'danger',
                    If(Eval('state') == 'stored', '', 'muted'))),
            ]


class UploadDone(ModelView):
    "Uploaded Image Data"
    __name__ = 'gnuhealth.imaging_orthanc.upload_image_data.done'

    server_config = fields.Many2One(
        'gnuhealth.orthanc.config', "Server", readonly=True)
    stored = fields.Integer("Stored", readonly=True)
    known = fields.Integer("Already There", readonly=True)
    skipped = fields.Integer("Skipped", readonly=True)
    refused = fields.Integer("Refused", readonly=True)
    files = fields.One2Many(
        'gnuhealth.imaging_orthanc.upload_image_data.file', None, "Files",
        readonly=True)


class Upload(TargetWizard):
    "Upload DICOM Files"
    __name__ = 'gnuhealth.imaging_orthanc.upload_image_data'
    on_records = False

    start = StateView(
        'gnuhealth.imaging_orthanc.upload_image_data.start',
        'health_orthanc.upload_image_data_start_form', [
            Button("Cancel", 'end', 'tryton-cancel'),
            Button("Upload Image Data", 'upload', 'tryton-ok', default=True),
            ])
    upload = StateTransition()
    mismatch = StateView(
        'gnuhealth.imaging_orthanc.upload_image_data.mismatch',
        'health_orthanc.upload_image_data_mismatch_view_form', [
            Button("Cancel", 'end', 'tryton-cancel', default=True),
            Button("Upload All the Same", 'go_on', 'tryton-warning',
                states={
                    'invisible': ~Eval('may_go_on'),
                    }),
            ])
    go_on = StateTransition()
    done = StateView(
        'gnuhealth.imaging_orthanc.upload_image_data.done',
        'health_orthanc.upload_image_data_done_view_form', [
            Button("Close", 'end', 'tryton-ok', default=True),
            ])

    def default_start(self, fields):
        defaults = self.given()
        if defaults:
            defaults['resource'] = str(self.record)
        return defaults

    def transition_upload(self):
        self._take(self.start, 'data_to_upload')
        outcomes = self._examine()
        self._differing = [o for o in outcomes if o.state == 'differs']
        if self._differing:
            return 'mismatch'
        return self._send()

    def transition_go_on(self):
        self._take(self.mismatch, 'data')
        reason = getattr(self.mismatch, 'reason', None)
        self.mismatch.reason = None
        if not is_imaging_admin():
            raise AccessError(
                gettext('health_orthanc.msg_upload_mismatch_admin'))
        if not (reason or '').strip():
            raise UploadMismatchError(
                gettext('health_orthanc.msg_upload_mismatch_reason'))
        return self._send(reason.strip())

    def _take(self, view, name):
        "Take the file, which would be kept in the database, out of the view"
        self._data = bytes(getattr(view, name, None) or b'')
        self._file_name = getattr(view, 'file_name', None)
        setattr(view, name, None)
        view.file_name = None

    def _files(self):
        "Yield name and content of all that was chosen"
        Attachment = Pool().get('ir.attachment')
        if self._data:
            try:
                yield from read_files(self._file_name, self._data)
            except Refusal as refusal:
                raise UploadError(explain_refusal(refusal)) from None
        attachments = getattr(self.start, 'attachments', None) or []
        ids = [a.id for a in attachments]
        with check_access():
            # one content at a time
            for id_ in ids:
                attachment = Attachment(id_)
                try:
                    yield from read_files(
                        attachment.name, bytes(attachment.data or b''))
                except Refusal as refusal:
                    yield attachment.name, refusal
        if not self._data and not ids:
            raise UploadError(gettext('health_orthanc.msg_upload_nothing'))

    def _counted(self):
        for number, file in enumerate(self._files()):
            if number == MAX_FILES:
                raise UploadError(explain_refusal(
                        Refusal('too_many', files=MAX_FILES)))
            yield file

    def _examine(self):
        "Look at all before anything is sent"
        self.check_target()
        expected = self.start.expected()
        return [
            examine(name, content, expected)
            for name, content in self._counted()]

    def _send(self, reason=None):
        server = self.check_target()
        expected = self.start.expected()
        with Sender(server, expected) as sender:
            self._outcomes = [
                sender.send(name, content, across=bool(reason))
                for name, content in self._counted()]
        record(server, self._outcomes, expected, reason)
        return 'done'

    def default_mismatch(self, fields):
        found = defaultdict(list)
        for outcome in self._differing:
            for difference in outcome.differences:
                found[difference].append(outcome.name)
        expected = self.start.expected()
        return {
            'patient': expected.patient.id,
            'request': expected.request.id if expected.request else None,
            'lines': [{
                    'fact': fact,
                    'found': value,
                    'expected': wanted,
                    'files': len(names),
                    'example': names[0],
                    } for (fact, value, wanted), names in found.items()],
            'may_go_on': is_imaging_admin(),
            'data': self._data or None,
            'file_name': self._file_name,
            }

    def default_done(self, fields):
        return {
            'server_config': self.start.server_config.id,
            **count(self._outcomes),
            'files': [{
                    'name': o.name,
                    'state': o.state,
                    'reason': o.reason,
                    } for o in self._outcomes],
            }

    def end(self):
        return 'reload'
