# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import datetime as dt
import logging
from functools import wraps

from trytond.i18n import gettext
from trytond.model import ModelStorage, ModelView
from trytond.model.exceptions import AccessError
from trytond.pool import Pool
from trytond.transaction import Transaction, without_check_access
from trytond.wizard import StateView, Wizard

from .exceptions import WizardRecordError
from .logs import where

logger = logging.getLogger(__name__)


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


def _is_id(value):
    return type(value) is int and 0 <= value < 2 ** 31


_KINDS = {
    'char': str,
    'text': str,
    'fulltext': str,
    'selection': str,
    'boolean': bool,
    'integer': int,
    'date': dt.date,
    'datetime': dt.datetime,
    'timestamp': dt.datetime,
    'one2many': (list, tuple),
    'many2many': (list, tuple),
    }


def _is_page(model, values):
    "Tell whether the values can be those of a page or of a line on it"
    fields = Pool().get(model)._fields
    return (
        isinstance(values, dict)
        and values.keys() - {'id'} <= fields.keys()
        and all(
            value is None or _fits(fields[name], value)
            for name, value in values.items() if name != 'id'))


def _fits(field, value):
    if field._type == 'many2one':
        return _is_id(value)
    if not isinstance(value, _KINDS.get(field._type, object)):
        return False
    if field._type in {'one2many', 'many2many'}:
        target = field.get_target().__name__
        return all(_is_id(v) or _is_page(target, v) for v in value)
    return True


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

    # Whether it works on records, where its actions name their models
    on_records = True

    @classmethod
    def check_access(cls):
        pool = Pool()
        Action = pool.get('ir.action.wizard')
        User = pool.get('res.user')
        transaction = Transaction()
        with transaction.set_context(action_id=None):
            if transaction.user and not (
                    set(User.get_groups()) & Action.get_groups(cls.__name__)):
                raise AccessError(gettext(
                        'ir.msg_access_wizard_error', wizard=cls._title()))
            cls._check_context()
            super().check_access()

    @classmethod
    def _title(cls):
        Action = Pool().get('ir.action.wizard')
        with without_check_access():
            names = {
                a.name
                for a in Action.search([('wiz_name', '=', cls.__name__)])}
        return ', '.join(sorted(names) or [cls.__name__])

    @classmethod
    def _check_context(cls):
        "What the client says of records is possible"
        context = Transaction().context
        name = context.get('active_model')
        id_ = context.get('active_id')
        ids = context.get('active_ids') or []
        if not (
                (not name or cls._is_stored(name))
                and (id_ is None or name and _is_id(id_))
                and isinstance(ids, (list, tuple)) and all(map(_is_id, ids))):
            cls._refuse_call()
        if name and cls.on_records and name not in (cls._models() or {name}):
            cls._refuse_records()

    @classmethod
    def _check_records(cls):
        "There are records to work on, where the wizard is for some"
        context = Transaction().context
        if cls.on_records and cls._models() and not (
                context.get('active_model') and context.get('active_ids')
                and context.get('active_id') is not None):
            cls._refuse_records()

    @classmethod
    @without_check_access
    def _models(cls):
        return Pool().get('ir.action.wizard').get_models(cls.__name__)

    @classmethod
    def _refuse_records(cls):
        pool = Pool()
        raise WizardRecordError(gettext(
                'health_imaging.msg_wizard_records',
                wizard=cls._title(),
                models=', '.join(sorted(
                        pool.get(m).__names__()['model']
                        for m in cls._models()))))

    @staticmethod
    def _is_stored(name):
        return any(
            n == name and issubclass(Model, ModelStorage)
            for n, Model in Pool().iterobject())

    @classmethod
    def _refuse_call(cls):
        raise WizardRecordError(gettext(
                'health_imaging.msg_wizard_invalid', wizard=cls._title()))

    @classmethod
    def execute(cls, session_id, data, state_name):
        cls.check_access()
        if not cls._is_possible(session_id, data, state_name):
            cls._refuse_call()
        if state_name != cls.end_state:
            cls._check_records()
        try:
            return super().execute(session_id, data, state_name)
        except (AttributeError, TypeError) as error:
            if cls._is_complete(data, state_name):
                raise
            logger.warning("wizard %s: %s", cls.__name__, where(error))
            cls._refuse_call()

    @classmethod
    def _pages(cls):
        return {
            name: state for name, state in cls.states.items()
            if isinstance(state, StateView)}

    @classmethod
    def _is_possible(cls, session_id, data, state_name):
        "Tell whether a client can send that, which presses buttons of pages"
        pages = cls._pages()
        return (
            _is_id(session_id)
            and isinstance(state_name, str)
            and state_name in {cls.start_state, cls.end_state, *(
                    b.state for p in pages.values() for b in p.buttons)}
            and isinstance(data, dict)
            and all(
                name in pages
                and _is_page(pages[name].model_name, values)
                for name, values in data.items()))

    @classmethod
    def _is_complete(cls, data, state_name):
        "Tell whether the page with the button says all that it can"
        return not any(
            data.get(name, {}).get(key) is None
            for name, page in cls._pages().items()
            if state_name in {b.state for b in page.buttons}
            for key in Pool().get(page.model_name)._fields.keys() - {
                'id', 'rec_name'})
