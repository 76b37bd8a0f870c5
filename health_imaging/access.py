# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from functools import wraps

from trytond.i18n import gettext
from trytond.model import ModelView
from trytond.model.exceptions import AccessError
from trytond.pool import Pool
from trytond.transaction import Transaction, without_check_access
from trytond.wizard import Wizard


def check_rights(Model, records, mode):
    """Raise AccessError unless the user may do it with the records

    To be called before a complaint names a record: Tryton looks at the rights
    only when all has been said.
    """
    pool = Pool()
    pool.get('ir.model.access').check(Model.__name__, mode)
    pool.get('ir.rule').check(
        Model.__name__, [r.id for r in records if (r.id or -1) >= 0], mode)


def _for_readers(func):
    @wraps(func)
    def wrapper(record, *args, **kwargs):
        Access = Pool().get('ir.model.access')
        Access.check(record.__name__, 'read')
        return func(record, *args, **kwargs)
    return wrapper


class GuardedView(ModelView):
    """Views whose forms help only those who may read the model

    Tryton answers everybody, and on_change reads without looking at rights.
    """
    __slots__ = ()

    @classmethod
    def __post_setup__(cls):
        super().__post_setup__()
        for name, rpc in cls.__rpc__.items():
            if name.startswith(('on_change', 'autocomplete_')):
                rpc.decorator = _for_readers


class GuardedWizard(Wizard):
    """Wizard for the groups of its actions, whatever the client says

    Tryton takes the action from the client's context, and one that does not
    exist has no groups and lets everybody in.
    """

    @classmethod
    def check_access(cls):
        pool = Pool()
        Action = pool.get('ir.action.wizard')
        User = pool.get('res.user')
        transaction = Transaction()
        with transaction.set_context(action_id=None):
            if transaction.user and not (
                    set(User.get_groups()) & Action.get_groups(cls.__name__)):
                with without_check_access():
                    names = {a.name for a in Action.search([
                                ('wiz_name', '=', cls.__name__)])}
                raise AccessError(gettext(
                        'ir.msg_access_wizard_error',
                        wizard=', '.join(sorted(names) or [cls.__name__])))
            super().check_access()
