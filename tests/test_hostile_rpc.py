# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever a client sends, it gets an answer or a sentence, no traceback:
texts that no database holds, odd searches, wizards without their records."""
import unittest
from itertools import product

from rights import (
    RightsMixin, complaint, own_classes, signed_in, stored_models, undone)

from trytond.const import OPERATORS
from trytond.exceptions import TrytonException, UserError
from trytond.model import ModelSQL, ModelView, fields
from trytond.pool import Pool
from trytond.tests.test_tryton import (
    activate_module, drop_db, with_transaction)
from trytond.transaction import check_access
from trytond.wizard import StateView

OPERANDS = [None, True, 2 ** 40, "x", [], [1, "x", None], [[]], {'x': 1}]


class HostileRPCTestCase(RightsMixin, unittest.TestCase):
    "Test what no client of Tryton's sends"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        drop_db()
        activate_module(['health_imaging_worklist', 'health_orthanc'])

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        drop_db()

    def all_rights(self):
        "Return a user who may do everything in the three modules"
        self.people()
        user = self.users['imaging']
        user.groups = [g for u in self.users.values() for g in u.groups]
        user.save()
        return user

    def ask(self, user, object_, method, *args, context=None):
        "Ask as the user, who has to get an answer or a sentence"
        error = complaint(user, object_, method, *args, context=context)
        self.assertTrue(
            error is None or isinstance(error, TrytonException),
            repr(error))
        return error

    @with_transaction()
    def test_searchers(self):
        "Each field with a searcher, each operator, anything to compare with"
        self.records()
        user = self.all_rights()
        asked = 0
        with signed_in(user), check_access():
            for model, Model in stored_models().items():
                for name, field in Model._fields.items():
                    if not (isinstance(field, fields.Function)
                            and field.searcher):
                        continue
                    for clause in product([name], OPERATORS, OPERANDS):
                        asked += 1
                        with self.subTest(model=model, clause=clause), \
                                undone():
                            try:
                                Model.search([clause], count=True)
                            except TrytonException:
                                pass
        self.assertGreater(asked, 1000)

    @with_transaction()
    def test_flags(self):
        "A flag is searched by all that makes sense"
        records = self.records()
        request = records['gnuhealth.imaging.test.request']
        Request = type(request)
        for name in ['mine', 'today', 'unread']:
            value = getattr(request, name)
            for clause, expected in [
                    (('=', True), value),
                    (('=', False), not value),
                    (('=', None), not value),
                    (('!=', True), not value),
                    (('!=', None), value),
                    (('in', [True]), value),
                    (('in', []), False),
                    (('in', [True, None]), True),
                    (('not in', []), True),
                    (('not in', [True, False]), False),
                    ]:
                with self.subTest(name=name, clause=clause):
                    found = Request.search([
                            ('id', '=', request.id), (name, *clause)])
                    self.assertEqual(bool(found), expected)

    @with_transaction()
    def test_texts(self):
        "The complaint about a character that cannot be stored names the field"
        records = self.records()
        user = self.all_rights()
        tried = 0
        for model, Model in stored_models().items():
            if not (issubclass(Model, ModelSQL)
                    and issubclass(Model, ModelView)):
                continue
            for name, field in Model._fields.items():
                if field._type not in {'char', 'text', 'fulltext'}:
                    continue
                label = Model.__names__(name)['field']
                for text in ["a\0b", "a\ud800b"]:
                    calls = [('search', [(name, '=', text)])]
                    if (not isinstance(field, fields.Function)
                            and 'write' in Model.__rpc__):
                        calls += [
                            ('write', [records[model].id], {name: text}),
                            ('create', [{name: text}])]
                    for method, *args in calls:
                        with self.subTest(
                                model=model, name=name, method=method):
                            error = self.ask(user, Model, method, *args)
                            self.assertIsInstance(error, UserError)
                            if type(error).__name__ == 'TextError':
                                self.assertIn(label, error.message)
                                tried += 1
                            else:
                                self.assertNotEqual(method, 'search')
        self.assertGreater(tried, 100)

    def contexts(self, records, models):
        "Yield what a client may say of the records of a wizard"
        yield {}
        own = next(iter(sorted(models)), 'gnuhealth.imaging.test.request')
        record = records[own]
        good = (record.id, [record.id])
        for model, id_, ids in [
                *((m, *good) for m in [
                    None, 'party.party', 'no.such.model', [],
                    'gnuhealth.imaging.test.request.cancel.start']),
                *((own, *bad) for bad in [
                    (None, None), (record.id, None), (None, [record.id]),
                    (record.id, "x"), (-1, [-1]), (2 ** 31, [2 ** 31]),
                    ("1", ["1"]), ([1], [[1]]), (True, 5)])]:
            yield {
                'active_model': model, 'active_id': id_, 'active_ids': ids}

    @with_transaction()
    def test_wizards(self):
        "Started for nothing, for a stranger's records or for no such thing"
        records = self.records()
        user = self.all_rights()
        Action = Pool().get('ir.action.wizard')
        Session = Pool().get('ir.session.wizard')
        for name, Wizard in own_classes('wizard').items():
            models = Action.get_models(name)
            session, = Session.create([{'create_uid': user.id}])
            for context in self.contexts(records, models):
                with self.subTest(wizard=name, context=context):
                    self.ask(user, Wizard, 'create', context=context)
                    error = self.ask(
                        user, Wizard, 'execute', session.id, {},
                        Wizard.start_state, context=context)
                    if models and Wizard.on_records:
                        self.assertEqual(
                            type(error).__name__, 'WizardRecordError')

    @with_transaction()
    def test_wizard_states(self):
        "Any state at once, with pages that are empty or no pages at all"
        pool = Pool()
        records = self.records()
        user = self.all_rights()
        Action = pool.get('ir.action.wizard')
        Session = pool.get('ir.session.wizard')
        for name, Wizard in own_classes('wizard').items():
            models = Action.get_models(name) or {None}
            for model in sorted(models, key=str):
                context = {}
                if model:
                    id_ = records[model].id
                    context = {
                        'active_model': model, 'active_id': id_,
                        'active_ids': [id_]}
                session, = Session.create([{'create_uid': user.id}])
                pages = [
                    n for n, s in Wizard.states.items()
                    if isinstance(s, StateView)]
                for state in [*Wizard.states, 'end', 'nothing', []]:
                    for data in [
                            {}, {n: {} for n in pages},
                            *({n: {f: None for f in pool.get(
                                            Wizard.states[n].model_name
                                            )._fields}} for n in pages),
                            *({n: {f: value for f in pool.get(
                                            Wizard.states[n].model_name
                                            )._fields}} for n in pages
                                for value in ['x', 5, [[5]], [{'x': 1}]]),
                            {'nothing': {}}, {'start': {'nothing': 1}}, []]:
                        with self.subTest(
                                wizard=name, state=state, data=data):
                            self.ask(
                                user, Wizard, 'execute', session.id, data,
                                state, context=context)


if __name__ == '__main__':
    unittest.main()
