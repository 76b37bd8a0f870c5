# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from trytond.i18n import gettext
from trytond.model import ModelView, fields
from trytond.wizard import Button, StateTransition, StateView

from .access import GuardedWizard
from .exceptions import NotOpenError


class CancelRequestStart(ModelView):
    "Cancel Imaging Requests"
    __name__ = 'gnuhealth.imaging.test.request.cancel.start'

    reason = fields.Text("Reason", required=True)


class CancelRequest(GuardedWizard):
    "Cancel Imaging Requests"
    __name__ = 'gnuhealth.imaging.test.request.cancel'

    start = StateView(
        'gnuhealth.imaging.test.request.cancel.start',
        'health_imaging.imaging_request_cancel_start_form', [
            Button("Back", 'end', 'tryton-back'),
            Button("Cancel requests", 'cancel', 'tryton-ok', default=True),
            ])
    cancel = StateTransition()

    def transition_cancel(self):
        requests = [
            r for r in self.records if r.state in {'draft', 'requested'}]
        if not requests:
            raise NotOpenError(gettext(
                    'health_imaging.msg_not_open',
                    request=self.record.rec_name))
        self.model.write(requests, {
                'cancel_reason': getattr(self.start, 'reason', None),
                })
        self.model.cancel(requests)
        return 'end'
