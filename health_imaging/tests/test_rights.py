# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import unittest

from trytond.model.exceptions import AccessButtonError, AccessError
from trytond.modules.health_imaging import upgrade
from trytond.modules.health_imaging.exceptions import TransitionError
from trytond.pool import Pool
from trytond.tests.test_tryton import (
    activate_module, drop_db, with_transaction)
from trytond.transaction import Transaction, check_access

from .tools import (
    DOCTOR, FRONT_DESK, IMAGING, IMAGING_ADMIN, Hospital, create_hospital,
    create_user)


class RightsTestCase(Hospital, unittest.TestCase):
    "Test who may do what with imaging orders and results"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        drop_db()
        activate_module('health_imaging')

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        drop_db()

    @with_transaction()
    def test_search_inside(self):
        "Nobody guesses by searches what may not be read"
        pool = Pool()
        Request = pool.get('gnuhealth.imaging.test.request')
        self.hospital()
        result = self.result()
        result.comment = "Fracture"
        result.save()
        inside = ('results', 'where', [('comment', 'like', 'F%')])
        domains = [
            [inside],
            [('id', '>', 0), ['OR', ('urgent', '=', True), [inside]]],
            [('results', 'not where', ['OR', ('comment', 'like', 'F%')])],
            [('patient', 'where', [('id', '>', 0)]), inside],
            ]
        for group, allowed in [(DOCTOR, True), (FRONT_DESK, False)]:
            user = create_user(group, group)
            with Transaction().set_user(user.id), check_access():
                for domain in domains:
                    with self.subTest(group=group, domain=domain):
                        if allowed:
                            Request.search(domain)
                            continue
                        with self.assertRaises(AccessError):
                            Request.search(domain)
                        with self.assertRaises(AccessError):
                            Request.search(domain, count=True)
                self.assertTrue(Request.search([
                            ('requested_test', 'where', [
                                ('test_type', 'where', [
                                    ('code', '=', 'CT')])])]))

    @with_transaction()
    def test_rights(self):
        pool = Pool()
        create_hospital()
        models = [
            'gnuhealth.imaging.test.type',
            'gnuhealth.imaging.test',
            'gnuhealth.imaging.test.request',
            'gnuhealth.imaging.test.result',
            'gnuhealth.imaging.test.result.event',
            'gnuhealth.sequences.imaging_req_seq',
            'gnuhealth.sequences.imaging_test_sequence',
            ]
        rights = {
            (): ['', '', '', '', '', '', ''],
            (IMAGING,): ['r', 'r', 'rwcd', 'rwc', 'r', '', ''],
            (IMAGING_ADMIN,): [
                'rwcd', 'rwcd', 'rwcd', 'rwc', 'r', '', ''],
            (DOCTOR,): ['r', 'r', 'rwcd', 'rwc', 'r', '', ''],
            (FRONT_DESK,): ['r', 'r', 'r', '', '', '', ''],
            ('health.group_health_admin',): [
                'rwc', 'rwc', '', '', '', 'rwcd', 'rwcd'],
            ('health.group_health_nursing',): ['', '', '', '', '', '', ''],
            }
        Access = pool.get('ir.model.access')
        for i, (groups, expected) in enumerate(rights.items()):
            user = create_user(f'user{i}', *groups)
            with Transaction().set_user(user.id), \
                    Transaction().set_context(_check_access=True):
                for model, perms in zip(models, expected):
                    access = Access.get_access([model])[model]
                    with self.subTest(groups=groups, model=model):
                        self.assertEqual(
                            ''.join(
                                n[0] for n in [
                                    'read', 'write', 'create', 'delete']
                                if access[n]),
                            perms)

    @with_transaction()
    def test_rights_buttons(self):
        pool = Pool()
        Request = pool.get('gnuhealth.imaging.test.request')
        Result = pool.get('gnuhealth.imaging.test.result')
        NewOrder = pool.get(
            'gnuhealth.patient.imaging.test.request', type='wizard')
        self.hospital()
        users = {
            group: create_user(f'user{i}', *([group] if group else []))
            for i, group in enumerate([
                    None, IMAGING, IMAGING_ADMIN, DOCTOR, FRONT_DESK])}
        may_act = {IMAGING, IMAGING_ADMIN, DOCTOR}
        cancelled = self.request(cancel_reason="Test")
        Request.cancel([cancelled])
        signed = self.result()
        Result.sign([signed])
        for group, user in users.items():
            draft = self.request()
            for button, model, record, allowed in [
                    ('requested', Request, draft, may_act),
                    ('draft', Request, cancelled, {IMAGING_ADMIN}),
                    ('reopen', Result, signed, {IMAGING_ADMIN}),
                    ('add_addendum', Result, signed, may_act)]:
                with self.subTest(group=group, button=button), \
                        Transaction().set_user(user.id), \
                        Transaction().set_context(_check_access=True):
                    press = getattr(model, button)
                    if group in allowed:
                        press([model(record.id)])
                    else:
                        with self.assertRaises(
                                (AccessError, AccessButtonError)):
                            press([model(record.id)])
            with self.subTest(group=group, wizard=NewOrder.__name__), \
                    Transaction().set_user(user.id), \
                    Transaction().set_context(_check_access=True):
                if group in may_act:
                    NewOrder.create()
                else:
                    with self.assertRaises(AccessError):
                        NewOrder.create()

    @with_transaction()
    def test_state_by_button_only(self):
        pool = Pool()
        Request = pool.get('gnuhealth.imaging.test.request')
        Result = pool.get('gnuhealth.imaging.test.result')
        self.hospital()
        request, result = self.request(), self.result()
        user = create_user('radiographer', IMAGING)
        with Transaction().set_user(user.id), \
                Transaction().set_context(_check_access=True):
            with self.assertRaises(TransitionError):
                Request.write([Request(request.id)], {'state': 'requested'})
            with self.assertRaises(TransitionError):
                Result.write([Result(result.id)], {
                        'state': 'signed', 'signed_by': self.doctor.id})
            with self.assertRaises(TransitionError):
                Request.create([{
                            'patient': self.patient.id,
                            'requested_test': self.ct.id,
                            'doctor': self.doctor.id,
                            'state': 'requested',
                            }])

    @with_transaction()
    def test_menus(self):
        pool = Pool()
        Menu = pool.get('ir.ui.menu')
        create_hospital()

        def shown(parent=None):
            for menu in Menu.search([('parent', '=', parent)]):
                yield menu.complete_name
                yield from shown(menu.id)

        orders = {
            'Health / Medical Imaging',
            'Health / Medical Imaging / Medical Imaging - New order',
            'Health / Medical Imaging / My Imaging Requests',
            'Health / Medical Imaging / Medical Imaging Requests',
            'Health / Medical Imaging / Medical Imaging Results',
            }
        catalogue = {
            'Health / Configuration / Medical Imaging',
            'Health / Configuration / Medical Imaging / '
            'Medical Imaging Types',
            'Health / Configuration / Medical Imaging / '
            'Medical Imaging Studies',
            }
        for i, (groups, expected) in enumerate([
                    ([], set()),
                    ([IMAGING], orders),
                    ([IMAGING_ADMIN], orders | catalogue),
                    ([DOCTOR], orders),
                    ([FRONT_DESK], {'Health / Medical Imaging Requests'}),
                    (['health.group_health_admin'], catalogue | {
                            'Health / Configuration / Medical Imaging / '
                            'Medical Imaging Configuration'})]):
            user = create_user(f'user{i}', *groups)
            with self.subTest(groups=groups), \
                    Transaction().set_user(user.id), \
                    Transaction().set_context(_check_access=True):
                self.assertEqual(
                    {m for m in shown() if 'Imaging' in m}, expected)

    @with_transaction()
    def test_upgrade_own_groups(self):
        "Groups that a hospital made keep buttons, wizards and the report"
        pool = Pool()
        Access = pool.get('ir.model.access')
        Button = pool.get('ir.model.button')
        Group = pool.get('res.group')
        Model = pool.get('ir.model')
        create_hospital()
        night, readers = Group.create([
                {'name': "Night shift"}, {'name': "Readers"}])
        for name in ['request', 'result']:
            model, = Model.search([
                    ('model', '=', f'gnuhealth.imaging.test.{name}')])
            for group, allowed in [(night, True), (readers, False)]:
                Access.create([{
                            'model': model.id, 'group': group.id,
                            'perm_read': True, 'perm_write': allowed,
                            'perm_create': allowed, 'perm_delete': False,
                            }])
        upgrade._grant_own_groups()
        Button._groups_cache.clear()
        for kind, name, expected in [
                ('wizard', 'gnuhealth.patient.imaging.test.request', {night}),
                ('wizard', 'wizard.generate.result', {night}),
                ('report', 'patient.imaging_report_results',
                    {night, readers})]:
            Action = pool.get(f'ir.action.{kind}')
            with self.subTest(name=name):
                self.assertEqual(
                    {night.id, readers.id} & Action.get_groups(name),
                    {g.id for g in expected})
        for name in ['requested', 'generate_results']:
            with self.subTest(button=name):
                self.assertEqual(
                    {night.id, readers.id} & Button.get_groups(
                        'gnuhealth.imaging.test.request', name),
                    {night.id})
        Menu = pool.get('ir.ui.menu')
        ModelData = pool.get('ir.model.data')
        menu = Menu(ModelData.get_id(
                'health_imaging', 'menu_patient_imaging_test_request'))
        self.assertIn(night, menu.groups)
        self.assertNotIn(readers, menu.groups)

    @with_transaction()
    def test_demo_user(self):
        pool = Pool()
        ModelData = pool.get('ir.model.data')
        User = pool.get('res.user')
        user = User(ModelData.get_id('health_imaging', 'user_demo_imaging'))
        self.assertFalse(user.active)
        table = User.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.select(
                table.password_hash, where=table.id == user.id))
        self.assertEqual(cursor.fetchone(), (None,))
