# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A person confirms links that nobody has looked at."""
from trytond.model import ModelView, fields
from trytond.modules.health_imaging.access import GuardedWizard, check_rights
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval
from trytond.transaction import (
    Transaction, check_access, without_check_access)
from trytond.wizard import StateTransition

__all__ = ['MARK', 'marked', 'unmarked']

# The documentation promises it literally: it is not translated
MARK = 'NEED TO VERIFY!'


def marked(comment):
    "Return the merge comment with the mark"
    comment = comment or ''
    return comment if MARK in comment else f'{MARK} {comment}'.strip()


def unmarked(comment):
    "Return the merge comment as the person wrote it"
    return ' '.join(filter(None, [
                part.strip() for part in (comment or '').split(MARK)])) or None


class Study(metaclass=PoolMeta):
    __name__ = 'gnuhealth.imaging_orthanc.study'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._buttons.update({
                'verify': {
                    'invisible': ~Eval('to_verify'),
                    'depends': ['to_verify'],
                    },
                })

    @fields.depends('to_verify', 'merge_comment')
    def on_change_to_verify(self):
        if not self.to_verify:
            self.merge_comment = unmarked(self.merge_comment)

    @classmethod
    def write(cls, *args):
        super().write(*args)
        decided = [
            study for studies, values in zip(args[::2], args[1::2])
            if values.get('to_verify') is False
            or {'patient', 'imaging_test'} & values.keys()
            for study in studies]
        cls._unmark(decided)

    @classmethod
    @without_check_access
    def _unmark(cls, studies):
        "A comment says that it is to verify as long as it is"
        to_write = []
        for study in cls.browse(studies):
            if not study.to_verify and MARK in (study.merge_comment or ''):
                to_write += [
                    [study], {'merge_comment': unmarked(study.merge_comment)}]
        if to_write:
            cls.write(*to_write)

    @classmethod
    @ModelView.button
    def verify(cls, studies):
        "From now on the links are the person's"
        Audit = Pool().get('gnuhealth.orthanc.audit')
        with check_access():
            check_rights(cls, studies, 'write')
        studies = [s for s in studies if s.to_verify]
        if not studies:
            return
        with without_check_access(), Transaction().set_context(
                _orthanc_linking=True):
            cls.write(studies, {
                    'to_verify': False,
                    'link_origin': 'person',
                    })
        Audit.note('verify', studies)


class Verify(GuardedWizard):
    "Verify Studies"
    __name__ = 'gnuhealth.orthanc.verify'

    start_state = 'verify'
    verify = StateTransition()

    def transition_verify(self):
        self.model.verify(self.records)
        return 'end'

    def end(self):
        return 'reload'
