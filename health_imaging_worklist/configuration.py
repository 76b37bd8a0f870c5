# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from trytond.model import ModelSingleton, ModelSQL, ModelView, fields
from trytond.pyson import Bool, Eval


class WorklistConfiguration(ModelSingleton, ModelSQL, ModelView):
    "Worklist Configuration"
    __name__ = 'gnuhealth.imaging.worklist.configuration'

    late_after = fields.Integer(
        "Late after", required=True,
        domain=[('late_after', '>', 0)],
        help="A host that has not fetched the worklist for so many minutes "
        "is late.")
    expire_after = fields.Integer(
        "Expire after",
        domain=['OR',
            ('expire_after', '=', None),
            ('expire_after', '>', 0),
            ],
        help="A request leaves the worklist so many days after the day it is "
        "scheduled for.\n"
        "Leave empty to keep requests until they are done or cancelled.")
    expire_status = fields.Selection([
            ('done', "Done"),
            ('canceled', "Canceled"),
            ], "Status when expired", required=True, sort=False,
        states={
            'invisible': ~Bool(Eval('expire_after')),
            },
        help="The worklist status of a request that expired.")

    @staticmethod
    def default_late_after():
        return 15

    @staticmethod
    def default_expire_status():
        return 'canceled'
