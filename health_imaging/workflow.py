# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from trytond.i18n import gettext
from trytond.model import Workflow
from trytond.transaction import Transaction

from .exceptions import TransitionError


class GuardedWorkflow(Workflow):
    """Workflow whose state follows the transitions, whoever writes it

    What comes from a client changes the state through the buttons only.
    """
    __slots__ = ()

    @classmethod
    def create(cls, vlist):
        if Transaction().check_access:
            start = cls._defaults[cls._transition_state]()
            for values in vlist:
                if values.get(cls._transition_state, start) != start:
                    raise TransitionError(gettext(
                            'health_imaging.msg_state_by_button',
                            **cls.__names__(cls._transition_state)))
        return super().create(vlist)

    @classmethod
    def write(cls, *args):
        actions = iter(args)
        for records, values in zip(actions, actions):
            if cls._transition_state in values:
                cls._check_transition(records, values[cls._transition_state])
        super().write(*args)

    @classmethod
    def _check_transition(cls, records, state):
        for record in records:
            current = getattr(record, cls._transition_state)
            if current == state:
                continue
            if Transaction().check_access:
                raise TransitionError(gettext(
                        'health_imaging.msg_state_by_button',
                        **cls.__names__(cls._transition_state)))
            if (current, state) not in cls._transitions:
                raise TransitionError(gettext(
                        'health_imaging.msg_transition_unknown',
                        record=record.rec_name,
                        current=current, state=state))
