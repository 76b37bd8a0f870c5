# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An attacker who knows every name, over the HTTP that clients use.

Each method of each model, wizard and report of the modules is called without
log-in, with a forged session, and as each role that has no right to it; each
address of the modules is asked without its key.
"""
import base64
import itertools
import json
import unittest
from http import HTTPStatus

from rights import ROLES, own_classes, read_table
from rpc_calls import TELLTALE, CallsMixin, content
from werkzeug.test import Client

from trytond.pool import Pool
from trytond.protocols.jsonrpc import JSONEncoder
from trytond.report import Report
from trytond.tests.test_tryton import (
    DB_NAME, activate_module, drop_db, with_transaction)
from trytond.transaction import Transaction
from trytond.wizard import Wizard
from trytond.wsgi import app

PASSWORD = 'Attack the imaging suite 7'
MODULES = ('health_imaging', 'health_orthanc')
# The roles that may use no wizard
WITHOUT = {'nobody', 'others'}
# The same page for everybody: what it may do depends on its key
PUBLIC = {'upload_page', 'upload_static'}
# What Tryton tells a person; all else is a fault of the program
TOLD = {
    'UserError', 'UserWarning', 'AccessError', 'AccessButtonError',
    'ConcurrencyException'}


class AttackTestCase(CallsMixin, unittest.TestCase):
    "Test every entrance as an attacker"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        drop_db()
        activate_module(['health_imaging_worklist', 'health_orthanc'])

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        drop_db()

    def test_entrances(self):
        "Those without rights get nothing and change nothing"
        self.client = Client(app)
        self.numbers = itertools.count(1)
        self.make_hospital()
        before = self.content()
        self._strangers()
        for role in [*ROLES, 'others', 'nobody']:
            self._role(role)
            self.assertEqual(self.content(), before, role)
        self._addresses()
        self.assertEqual(self.content(), before)

    @with_transaction()
    def make_hospital(self):
        records = self.records()
        self.people()
        for user in self.users.values():
            user.password = PASSWORD
            user.save()
        self.known = [
            (name, self.kind(object_), method, arguments, context)
            for name, object_, method, arguments, context
            in self.calls(records)]
        self.watched = [
            model.__name__ for model in {
                *own_classes('model').values(),
                Pool().get('ir.attachment'), Pool().get('ir.queue')}]
        self.table = read_table()
        Transaction().commit()

    @staticmethod
    def kind(object_):
        "What an attacker writes before the name"
        if issubclass(object_, Wizard):
            return 'wizard'
        return 'report' if issubclass(object_, Report) else 'model'

    def post(self, method, params, authorization=None):
        headers = {'Content-Type': 'application/json'}
        if authorization:
            headers['Authorization'] = authorization
        return self.client.post(
            f'/{DB_NAME}/', headers=headers, data=json.dumps({
                    'id': next(self.numbers),
                    'method': method,
                    'params': params,
                    }, cls=JSONEncoder))

    def log_in(self, login):
        answer = self.post('common.db.login', [
                login, {'password': PASSWORD}, 'en']).get_json()
        user, session, *_ = answer['result']
        return self.session(login, user, session)

    @staticmethod
    def session(login, user, key):
        text = f'{login}:{user}:{key}'
        return 'Session ' + base64.b64encode(text.encode()).decode()

    def content(self):
        with Transaction().start(DB_NAME, 0, readonly=True):
            return content([
                    Pool().get(name) for name in sorted(self.watched)])

    def _strangers(self):
        "Without log-in nothing is even looked at"
        for authorization in [
                None, self.session('admin', 1, 'f' * 64),
                self.session('admin', 1, ''), 'Session x', 'Bearer x',
                'Basic ' + base64.b64encode(b'admin:').decode()]:
            for name, kind, method, arguments, context in self.known:
                with self.subTest(
                        authorization=authorization, name=name,
                        method=method):
                    answer = self.post(
                        f'{kind}.{name}.{method}', [*arguments, context],
                        authorization)
                    self.assertIn(answer.status_code, {
                            HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN,
                            HTTPStatus.TOO_MANY_REQUESTS})
                if authorization:
                    # one is enough: the password is hashed at each call
                    break

    def _role(self, role):
        authorization = self.log_in(f'right_{role}')
        rights = {**self.table['models'], **self.table['reports']}
        for name, kind, method, arguments, context in self.known:
            if rights.get(name, {}).get(role, '-') != '-':
                continue
            if name not in rights and role not in WITHOUT:
                # test_rights_matrix.py tells who may start which wizard
                continue
            with self.subTest(role=role, name=name, method=method):
                answer = self.post(
                    f'{kind}.{name}.{method}', [*arguments, context],
                    authorization)
                text = answer.get_data(as_text=True)
                for word in TELLTALE:
                    self.assertNotIn(word, text)
                self.assertEqual(answer.status_code, HTTPStatus.OK, text)
                error = answer.get_json().get('error')
                if error:
                    self.assertIn(error[0], TOLD, text)

    def _addresses(self):
        "No address of the modules answers who does not prove himself"
        rules = [
            rule for rule in app.url_map.iter_rules()
            if any(module in rule.rule for module in MODULES)]
        self.assertTrue(rules)
        keys = [
            {}, {'Authorization': 'Bearer '}, {'Authorization': 'Bearer x'},
            {'Authorization': 'Bearer ' + 'x' * 5000},
            {'Authorization': 'Basic ' + 'x' * 5000},
            {'Authorization': 'Basic ' + base64.b64encode(b'a:b').decode()},
            {'Authorization': self.log_in('right_nobody')},
            ]
        bodies = [b'', b'{}', b'[' * 5000, b'\xff\x00', b'x' * 100000]
        for rule, method in itertools.chain.from_iterable(
                itertools.product([rule], rule.methods) for rule in rules):
            if method == 'OPTIONS':
                continue
            values = {
                name: DB_NAME if name == 'database_name' else '1'
                for name in rule.arguments}
            path = app.url_map.bind('localhost').build(
                rule.endpoint, values, method=method)
            for headers, body in itertools.product(keys, bodies):
                with self.subTest(
                        path=path, method=method, headers=headers, body=body):
                    answer = self.client.open(
                        path, method=method, headers=headers, data=body)
                    if answer.status_code == HTTPStatus.OK:
                        self.assertIn(rule.endpoint.__name__, PUBLIC)
                        self.assertIn('default-src', answer.headers[
                                'Content-Security-Policy'])
                    else:
                        self.assertGreaterEqual(answer.status_code, 400)
                        self.assertLess(answer.status_code, 500)
                    text = answer.get_data(as_text=True)
                    for word in TELLTALE:
                        self.assertNotIn(word, text)
