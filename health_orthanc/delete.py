# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from trytond.i18n import gettext
from trytond.model import ModelView, fields
from trytond.modules.health_imaging.access import GuardedWizard
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval
from trytond.transaction import without_check_access
from trytond.wizard import Button, StateTransition, StateView

from .client import OrthancError
from .exceptions import DeleteReasonError, ReadOnlyServerError, explain
from .secrets import SecretError
from .uploader import check_writable


class Study(metaclass=PoolMeta):
    __name__ = 'gnuhealth.imaging_orthanc.study'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._buttons.update({
                'remove_study': {},
                })

    @classmethod
    @ModelView.button_action('health_orthanc.wizard_remove_study')
    def remove_study(cls, studies):
        pass


class Series(metaclass=PoolMeta):
    __name__ = 'gnuhealth.imaging_orthanc.study_series'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._buttons.update({
                'remove_series': {},
                })

    @classmethod
    @ModelView.button_action('health_orthanc.wizard_remove_series')
    def remove_series(cls, series):
        pass


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


class DeleteWizard(GuardedWizard):
    "What both ways to get rid of studies and series have in common"

    @property
    def _level(self):
        if self.model.__name__ == 'gnuhealth.imaging_orthanc.study':
            return 'study'
        return 'series'

    @without_check_access
    def describe(self):
        "Return what will go, whose it is and what hangs on it"
        lines = []
        for record in self.model.browse(self.records):
            lines.append(record.describe())
            study = record if self._level == 'study' else record.study
            if study.imaging_test:
                lines.append('  ' + gettext(
                        'health_orthanc.msg_delete_result',
                        result=study.imaging_test.rec_name))
        return '\n'.join(lines)

    def reason(self):
        reason = getattr(self.start, 'reason', None)
        comment = (getattr(self.start, 'comment', None) or '').strip()
        if not reason or (reason == 'other' and not comment):
            raise DeleteReasonError(
                gettext('health_orthanc.msg_delete_reason'))
        return ': '.join(filter(None, [self.start.reason_string, comment]))

    def note(self, event, record, reason):
        Audit = Pool().get('gnuhealth.orthanc.audit')
        if self._level == 'study':
            study, series = record, None
        else:
            study, series = record.study, record
        Audit.note(
            event, [study], series=series, reason=reason,
            detail=record.describe())

    def end(self):
        return 'reload'


class Delete(DeleteWizard):
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
        return {'what': self.describe()}

    def default_failed(self, fields):
        return {'message': self.failed.message}

    def transition_delete_(self):
        "Delete in Orthanc first; what fails there stays as it is here"
        reason = self.reason()
        self.model.lock(self.records)
        failures = []
        for record in self.records:
            server = record.server_config
            try:
                with server.get_client() as client:
                    check_writable(server, client)
                    client.delete(self._level, record.orthanc_UID)
            except ReadOnlyServerError as error:
                why = error.message
            except (SecretError, OrthancError) as error:
                why = explain(error, server)
            else:
                self.note('delete', record, reason)
                self.model.mark_missing([record])
                continue
            failures.append(gettext(
                    'health_orthanc.msg_delete_failed',
                    record=record.rec_name, reason=why))
        if failures:
            self.failed.message = '\n'.join(failures)
            return 'failed'
        return 'end'


class Remove(DeleteWizard):
    "Remove from GNU Health"
    __name__ = 'gnuhealth.orthanc.remove'

    start = StateView(
        'gnuhealth.orthanc.delete.ask',
        'health_orthanc.remove_ask_view_form', [
            Button("Cancel", 'end', 'tryton-cancel', default=True),
            Button("Remove", 'remove', 'tryton-delete'),
            ])
    remove = StateTransition()

    def default_start(self, fields):
        lines = [self.describe()]
        if any(not r.missing_since for r in self.records):
            lines.append(gettext('health_orthanc.msg_remove_comes_back'))
        return {'what': '\n'.join(lines)}

    @without_check_access
    def transition_remove(self):
        "Forget what Orthanc holds or held; the audit stays"
        reason = self.reason()
        records = self.model.browse(self.records)
        self.model.lock(records)
        for record in records:
            self.note('remove', record, reason)
        self.model.delete(records)
        return 'end'
