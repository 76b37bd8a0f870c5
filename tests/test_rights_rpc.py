# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever a client can call, it tells nothing to those without rights,
writes nothing for them, and reaches for no network while a form is edited."""
import socket
import unittest
from unittest.mock import patch

from rights import (
    call, complaint, own_classes, read_table, refused, stored_models, undone)
from rpc_calls import TELLTALE, CallsMixin, arguments, content

from trytond.exceptions import TrytonException
from trytond.pool import Pool
from trytond.tests.test_tryton import (
    activate_module, drop_db, with_transaction)


class RightsRPCTestCase(CallsMixin, unittest.TestCase):
    "Test what can be called without rights"

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

    @with_transaction()
    def test_without_rights(self):
        "Nothing is told or written"
        records = self.records()
        self.people()
        models = [
            *stored_models().values(), Pool().get('ir.attachment'),
            Pool().get('ir.session.wizard'), Pool().get('ir.queue')]
        before = content(models)
        for role in ['nobody', 'others', 'desk']:
            user = self.users[role]
            for name, object_, method, args, context in self.calls(records):
                rights = {
                    **self.table['models'], **self.table['reports'],
                    }.get(name, {}).get(role, '-')
                answer = error = None
                with undone(), self.subTest(
                        role=role, name=name, method=method):
                    try:
                        answer = call(
                            user, object_, method, *args, context=context)
                    except TrytonException as exception:
                        error = exception
                    if rights == '-':
                        told = f'{answer} {error}'
                        for word in TELLTALE:
                            self.assertNotIn(word, told)
                    if not error and not object_.__rpc__[method].readonly:
                        # an error would have rolled back the transaction
                        self.assertEqual(content(models), before)

    @with_transaction()
    def test_attachments(self):
        "The pictures of a result are for those who may read the result"
        Attachment = Pool().get('ir.attachment')
        records = self.records()
        self.people()
        result = records['gnuhealth.imaging.test.result']
        attachment, = Attachment.create([{
                    'name': "hushed.png", 'data': b'hushed',
                    'resource': str(result),
                    }])
        for role in ['nobody', 'others', 'desk', 'orthanc', 'health']:
            for method, *args in [
                    ('read', [attachment.id], ['name', 'data']),
                    ('write', [attachment.id], {'name': "x"}),
                    ('delete', [attachment.id]),
                    ('create', [{'name': "x", 'resource': str(result)}]),
                    ]:
                with self.subTest(role=role, method=method), undone():
                    with self.assertRaises(TrytonException):
                        call(self.users[role], Attachment, method, *args)
            with self.subTest(role=role, method='search'):
                self.assertRaises(
                    TrytonException,
                    call, self.users[role], Attachment, 'search', [])

    @with_transaction()
    def test_secrets(self):
        "Nobody reads a password, whatever the rights"
        records = self.records()
        self.people()
        Server = Pool().get('gnuhealth.orthanc.config')
        server = records[Server.__name__]
        readers = {
            role for role, cell in self.table['models'][
                Server.__name__].items() if 'r' in cell}
        allowed = {
            role for role, cell in self.table['fields'][
                f'{Server.__name__} password'].items() if 'r' in cell}
        for role in readers:
            names = Server._fields.keys() - {'runs', 'quarantine'}
            if role not in allowed:
                names -= {'user', 'password', 'password_state'}
            for method, *args in [
                    ('read', [server.id], list(names)),
                    ('search_read', [], 0, 10, None, list(names)),
                    ('export_data', [server.id], sorted(names)),
                    ]:
                with self.subTest(role=role, method=method):
                    answer = str(call(
                            self.users[role], Server, method, *args))
                    self.assertIn('hushed', answer)
                    self.assertNotIn('a-test-password', answer)
                    self.assertNotIn(self.secret(server), answer)

    @with_transaction()
    def test_guessed(self):
        "Nobody guesses by searches what may not be read of a server"
        self.records()
        self.people()
        Study = Pool().get('gnuhealth.imaging_orthanc.study')
        guess = ('user', 'like', 'a%')
        for role in ['imaging', 'imgadm', 'doctor', 'orthanc']:
            for domain in [
                    [('server_config.user', *guess[1:])],
                    [('server_config', 'where', [guess])],
                    [('series', 'where', [
                        ('study', 'where', [
                            ('server_config', 'where', [guess])])])],
                    ]:
                with self.subTest(role=role, domain=domain):
                    error = complaint(
                        self.users[role], Study, 'search_count', domain)
                    self.assertTrue(refused(error), error)

    @with_transaction()
    def test_on_change_without_network(self):
        "Editing a form talks to nobody"
        records = self.records()
        self.people()
        user = self.users['health']
        methods = {
            'default_get', 'on_change', 'on_change_with', 'on_change_notify',
            'pre_validate'}

        def network(*args, **kwargs):
            raise AssertionError("something reached for the network")

        with patch.object(socket, 'getaddrinfo', network), \
                patch.object(socket.socket, 'connect', network):
            for name, model in own_classes('model').items():
                for method in model.__rpc__:
                    if method not in methods and not method.startswith(
                            ('on_change_', 'autocomplete_')):
                        continue
                    with self.subTest(model=name, method=method), undone():
                        try:
                            call(user, model, method, *arguments(
                                    model, method, records.get(name)))
                        except TrytonException:
                            pass


if __name__ == '__main__':
    unittest.main()
