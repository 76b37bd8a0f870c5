# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from trytond.i18n import gettext
from trytond.model import ModelView, fields
from trytond.modules.health_imaging.access import GuardedWizard
from trytond.pool import Pool
from trytond.pyson import Eval
from trytond.wizard import Button, StateTransition, StateView

from .client import OrthancError
from .exceptions import DeleteReasonError, explain
from .secrets import SecretError


class DeleteAsk(ModelView):
    "Delete from Orthanc"
    __name__ = 'gnuhealth.orthanc.delete.ask'

    what = fields.Text("What Will Be Deleted", readonly=True)
    reason = fields.Selection([
            (None, ""),
            ('quality', "Quality"),
            ('safety', "Patient Safety"),
            ('wrong_patient', "Wrong Patient"),
            ('duplicate', "Duplicate"),
            ('other', "Other"),
            ], "Reason", required=True, sort=False)
    reason_string = reason.translated('reason')
    comment = fields.Text("Comment", states={
            'required': Eval('reason') == 'other',
            })


class DeleteFailed(ModelView):
    "Delete from Orthanc"
    __name__ = 'gnuhealth.orthanc.delete.failed'

    message = fields.Text("Message", readonly=True)


class Delete(GuardedWizard):
    "Delete from Orthanc"
    __name__ = 'gnuhealth.orthanc.delete'

    start = StateView(
        'gnuhealth.orthanc.delete.ask',
        'health_orthanc.delete_ask_view_form', [
            Button("Cancel", 'end', 'tryton-cancel', default=True),
            Button("Delete", 'delete_', 'tryton-delete'),
            ])
    delete_ = StateTransition()
    failed = StateView(
        'gnuhealth.orthanc.delete.failed',
        'health_orthanc.delete_failed_view_form', [
            Button("Close", 'end', 'tryton-close', default=True),
            ])

    def default_start(self, fields):
        return {'what': '\n'.join(r.describe() for r in self.records)}

    def default_failed(self, fields):
        return {'message': self.failed.message}

    def transition_delete_(self):
        "Delete in Orthanc first; what fails there stays as it is here"
        reason = getattr(self.start, 'reason', None)
        comment = getattr(self.start, 'comment', None)
        if not reason or (reason == 'other' and not comment):
            raise DeleteReasonError(
                gettext('health_orthanc.msg_delete_reason'))
        reason = ': '.join(filter(None, [self.start.reason_string, comment]))
        self.model.lock(self.records)
        failures = []
        for record in self.records:
            server = record.server_config
            try:
                with server.get_client() as client:
                    client.delete(self._level, record.orthanc_UID)
            except (SecretError, OrthancError) as error:
                failures.append(gettext(
                        'health_orthanc.msg_delete_failed',
                        record=record.rec_name,
                        reason=explain(error, server)))
            else:
                self._forget(record, reason)
        if failures:
            self.failed.message = '\n'.join(failures)
            return 'failed'
        return 'end'

    @property
    def _level(self):
        if self.model.__name__ == 'gnuhealth.imaging_orthanc.study':
            return 'study'
        return 'series'

    def _forget(self, record, reason):
        Audit = Pool().get('gnuhealth.orthanc.audit')
        if self._level == 'study':
            study, series = record, None
        else:
            study, series = record.study, record
        Audit.note(
            'delete', [study], series=series, reason=reason,
            detail=record.describe())
        self.model.mark_missing([record])

    def end(self):
        return 'reload'
