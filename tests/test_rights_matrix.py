# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every model, button, wizard, report, action and menu of the three modules
answers each role as rights.txt says, and nothing is missing there.

Where a test here fails for something new, add its line to the table and the
access records, groups or both that the line promises.
"""
import unittest

from rights import (
    MODES, RightsMixin, allows, call, complaint, own_classes, own_records,
    pages, read_table, refused, signed_in, stored_models, undone)

from trytond.exceptions import UserError
from trytond.pool import Pool
from trytond.tests.test_tryton import (
    activate_module, drop_db, with_transaction)
from trytond.transaction import Transaction, check_access

ACTIONS = ('act_window', 'wizard', 'report', 'url')
BY_RPC = {
    'read': lambda record: ('read', [record.id], ['id']),
    'write': lambda record: ('write', [record.id], {}),
    'create': lambda record: ('create', [{}]),
    'delete': lambda record: ('delete', [record.id]),
    }


def wizard_context(action, records):
    "What a client sends with the wizard"
    if not action.model:
        return {'action_id': action.id}
    id_ = records[action.model].id
    return {
        'action_id': action.id,
        'active_model': action.model,
        'active_id': id_,
        'active_ids': [id_],
        }


def table_lines(section):
    "Return the lines as they stand in the table"
    return sorted(
        ''.join(f'{cell:<8}' for cell in cells.values()) + name
        for name, cells in section.items())


class RightsMatrixTestCase(RightsMixin, unittest.TestCase):
    "Test the table of rights"
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        drop_db()
        activate_module(['health_imaging_worklist', 'health_orthanc'])
        cls.table = read_table()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        drop_db()

    def assert_table(self, section, found):
        "What was found, {name: {role: cell}}, is what the table says"
        self.assertEqual(
            table_lines(self.table[section]), table_lines(found))

    def ask(self, function):
        "Return {role: cell} of what function(user) gives"
        return {
            role: function(user) or '-' for role, user in self.users.items()}

    @with_transaction()
    def test_models(self):
        "Rights on the models, as set and as they work"
        Access = Pool().get('ir.model.access')
        records = self.records()
        self.people()
        found = {}
        for name, model in stored_models().items():

            def rights(user):
                with signed_in(user), check_access():
                    access = Access.get_access([name])[name]
                return ''.join(m[0] for m in MODES if access[m])

            found[name] = self.ask(rights)
        self.assert_table('models', found)
        for name, model in stored_models().items():
            for role, user in self.users.items():
                for mode in set(MODES) & model.__rpc__.keys():
                    with self.subTest(model=name, role=role, mode=mode):
                        error = complaint(
                            user, model, *BY_RPC[mode](records[name]))
                        if mode[0] in found[name][role]:
                            self.assertFalse(refused(error))
                        else:
                            # records in use are refused before the rights
                            self.assertIsInstance(error, UserError)

    @with_transaction()
    def test_default_deny(self):
        "Each model has a record that gives everybody nothing"
        Access = Pool().get('ir.model.access')
        for name in stored_models():
            with self.subTest(model=name):
                everybody = Access.search([
                        ('model.model', '=', name),
                        ('group', '=', None),
                        ])
                self.assertTrue(everybody)
                self.assertFalse(any(
                        getattr(access, f'perm_{mode}')
                        for access in everybody for mode in MODES))

    @with_transaction()
    def test_pages(self):
        "Models without a table are pages of wizards and need no rights"
        self.assertEqual(self.table['pages'].keys(), pages())

    @with_transaction()
    def test_fields(self):
        "Fields that not everybody who reads the model may read or write"
        pool = Pool()
        Access = pool.get('ir.model.field.access')
        self.hospital()
        self.people()
        models = list(stored_models())
        found = {}
        for access in Access.search([('field.model.model', 'in', models)]):
            model, field = access.field.model.model, access.field.name

            def rights(user):
                with signed_in(user), check_access():
                    access = Access.get_access([model])[model][field]
                return ''.join(
                    m[0] for m in ('read', 'write') if access[m])

            found[f'{model} {field}'] = self.ask(rights)
        self.assert_table('fields', found)

    @with_transaction()
    def test_buttons(self):
        "Buttons have groups and work for them only"
        Button = Pool().get('ir.model.button')
        records = self.records()
        self.people()
        found = {}
        for name, model in stored_models().items():
            for button in getattr(model, '_buttons', {}):
                with self.subTest(model=name, button=button):
                    self.assertTrue(Button.get_groups(name, button))
                found[f'{name} {button}'] = self.ask(
                    lambda user: 'x' if allows(
                        user, model, button, [records[name].id]) else '-')
        self.assert_table('buttons', found)

    @with_transaction()
    def test_wizards(self):
        "Wizards have groups and start for them only"
        Action = Pool().get('ir.action.wizard')
        records = self.records()
        self.people()
        found = {}
        for name, wizard in own_classes('wizard').items():
            actions = Action.search([('wiz_name', '=', name)])
            self.assertTrue(actions, name)
            for action in actions:
                self.assertTrue(action.groups, action.name)
                context = wizard_context(action, records)
                found[' '.join(filter(None, [name, action.model]))] = self.ask(
                    lambda user: 'x' if allows(
                        user, wizard, 'create', context=context) else '-')
        self.assert_table('wizards', found)

    @with_transaction()
    def test_forged_action(self):
        "An action that the client makes up opens no wizard"
        records = self.records()
        self.people()
        Action = Pool().get('ir.action.wizard')
        for name, wizard in own_classes('wizard').items():
            for action in Action.search([('wiz_name', '=', name)]):
                context = wizard_context(action, records)
                context['action_id'] = -1
                cells = self.table['wizards'][
                    ' '.join(filter(None, [name, action.model]))]
                for role, user in self.users.items():
                    for method, *args in [
                            ('create',), ('execute', -1, {}, 'start')]:
                        with self.subTest(
                                wizard=name, role=role, method=method):
                            allowed = allows(
                                user, wizard, method, *args, context=context)
                            self.assertEqual(allowed, cells[role] == 'x')

    @with_transaction()
    def test_reports(self):
        "Reports have groups and print for them only"
        Action = Pool().get('ir.action.report')
        records = self.records()
        self.people()
        found = {}
        for name, report in own_classes('report').items():
            action, = Action.search([('report_name', '=', name)])
            self.assertTrue(action.groups, name)
            record = records[action.model]
            found[name] = self.ask(
                lambda user: 'x' if allows(
                    user, report, 'execute', [record.id], {}) else '-')
        self.assert_table('reports', found)

    @with_transaction()
    def test_actions(self):
        "Actions have groups, and who sees one can open it"
        pool = Pool()
        self.hospital()
        self.people()
        found = {}
        for kind in ACTIONS:
            Action = pool.get(f'ir.action.{kind}')
            for xml_id, action in own_records(f'ir.action.{kind}').items():
                with self.subTest(action=xml_id):
                    self.assertTrue(action.groups)
                found[xml_id] = self.ask(lambda user: 'x' if call(
                        user, Action, 'search', [('id', '=', action.id)])
                    else '-')
                if kind != 'act_window':
                    continue
                for role, user in self.users.items():
                    if found[xml_id][role] == 'x':
                        with self.subTest(action=xml_id, role=role):
                            Model = pool.get(action.res_model)
                            call(user, Model, 'search', [], 0, 1)
        self.assert_table('actions', found)

    @with_transaction()
    def test_relate(self):
        "What the toolbar of a record offers can be opened"
        pool = Pool()
        Keyword = pool.get('ir.action.keyword')
        records = self.records()
        self.people()
        own = {
            (kind, action.id) for kind in ACTIONS
            for action in own_records(f'ir.action.{kind}').values()}
        for name, record in records.items():
            for role, user in self.users.items():
                for keyword in ['form_relate', 'form_action', 'form_print']:
                    for action in call(
                            user, Keyword, 'get_keyword', keyword,
                            [name, record.id]):
                        kind = action['type'].split('.')[-1]
                        if (kind, action['id']) not in own:
                            continue
                        with self.subTest(
                                model=name, role=role, action=action['name']):
                            self.open(user, action, record)

    def open(self, user, action, record):
        pool = Pool()
        if action['type'] == 'ir.action.act_window':
            call(user, pool.get(action['res_model']), 'search', [], 0, 1)
        elif action['type'] == 'ir.action.wizard':
            wizard = pool.get(action['wiz_name'], type='wizard')
            with undone():
                call(user, wizard, 'create', context={
                        'action_id': action['id'],
                        'active_model': record.__name__,
                        'active_id': record.id,
                        'active_ids': [record.id],
                        })
        elif action['type'] == 'ir.action.report':
            report = pool.get(action['report_name'], type='report')
            with signed_in(user):
                report.check_access()

    @with_transaction()
    def test_menus(self):
        "Who sees a menu entry sees the way there and can open it"
        pool = Pool()
        Menu = pool.get('ir.ui.menu')
        self.hospital()
        self.people()
        found = {}
        for menu in own_records('ir.ui.menu').values():
            with Transaction().set_context(language='en'):
                path = Menu(menu.id).complete_name

            def shown(user):
                way = menu
                while way:
                    if not call(user, Menu, 'search', [('id', '=', way.id)]):
                        return '-'
                    way = way.parent
                return 'x'

            found[path] = self.ask(shown)
            for role, user in self.users.items():
                if found[path][role] == 'x' and menu.action:
                    with self.subTest(menu=path, role=role):
                        self.open_menu(user, menu)
        self.assert_table('menus', found)

    def open_menu(self, user, menu):
        pool = Pool()
        Keyword = pool.get('ir.action.keyword')
        actions = call(
            user, Keyword, 'get_keyword', 'tree_open',
            ['ir.ui.menu', menu.id])
        self.assertTrue(actions)
        for action in actions:
            self.open(user, action, menu)

