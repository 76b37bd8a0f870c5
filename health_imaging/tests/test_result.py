# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import io
import unittest
from unittest.mock import patch

from PIL import Image

from trytond.model.exceptions import (
    AccessButtonError, AccessError, RequiredValidationError)
from trytond.model.modelsql import ForeignKeyError
from trytond.modules.health_imaging import attachment
from trytond.modules.health_imaging.exceptions import (
    EventFixedError, EventTextError, NotOpenError, NotRequestedError,
    NotSignedError, ReadError, ResultSignedError, SignatureError,
    TransitionError)
from trytond.modules.health_imaging.dates import now
from trytond.pool import Pool
from trytond.tests.test_tryton import (
    activate_module, drop_db, with_transaction)
from trytond.transaction import (
    Transaction, check_access, without_check_access)

from .test_pictures import encode
from .tools import (
    DOCTOR, IMAGING, IMAGING_ADMIN, PNG, Hospital, create_patient,
    create_professional, create_user)


class ResultTestCase(Hospital, unittest.TestCase):
    "Test what becomes of a result"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        drop_db()
        activate_module('health_imaging')

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        drop_db()

    def as_user(self, user):
        return Transaction().set_user(user.id, set_context=False)

    @with_transaction()
    def test_request_stays(self):
        "A result does not become that of another request or patient"
        pool = Pool()
        Request = pool.get('gnuhealth.imaging.test.request')
        Result = pool.get('gnuhealth.imaging.test.result')
        self.hospital()
        result = self.result()
        request = result.request
        other = self.request(
            patient=create_patient("Bea", "Carr", 'TST002GNU'))
        Request.requested([other])
        again = self.request()
        with self.as_user(create_user('doctor', DOCTOR)), check_access():
            for values in [
                    {'request': other.id, 'patient': other.patient.id},
                    {'request': again.id},
                    {'request': None},
                    ]:
                with self.subTest(values=values):
                    with self.assertRaises(TransitionError):
                        Result.write([Result(result.id)], values)
            with self.assertRaises(TransitionError):
                Request.write([Request(request.id)], {
                        'results': [('remove', [result.id])]})
            with self.assertRaises(TransitionError):
                Request.write([Request(again.id)], {
                        'results': [('add', [result.id])]})
            # as forms send it
            Result.write([Result(result.id)], {
                    'request': request.id, 'comment': "Healthy"})
        self.assertEqual(Result(result.id).request, request)

    @with_transaction()
    def test_number_stays(self):
        "A result keeps the number that it was printed with"
        Result = Pool().get('gnuhealth.imaging.test.result')
        self.hospital()
        result = self.result()
        Result.write([result], {'number': result.number})
        with check_access(), self.assertRaises(TransitionError):
            Result.write([result], {'number': "other"})

    @with_transaction()
    def test_nothing_requested(self):
        "There is no result of a draft, and none is lost with its request"
        pool = Pool()
        Request = pool.get('gnuhealth.imaging.test.request')
        Result = pool.get('gnuhealth.imaging.test.result')
        self.hospital()
        draft = self.request()
        values = {
            'patient': self.patient.id, 'request': draft.id,
            'requested_test': self.ct.id, 'doctor': self.doctor.id}
        with self.as_user(create_user('doctor', DOCTOR)), check_access():
            with self.assertRaises(NotRequestedError):
                Result.create([values])
            loose, = Result.create([{**values, 'request': None}])
            with self.assertRaises(NotRequestedError):
                Result.write([loose], {'request': draft.id})
            Request.requested([Request(draft.id)])
            Result.write([loose], {'request': draft.id})
            with without_check_access():
                Request.write([Request(draft.id)], {'cancel_reason': "No"})
            with self.assertRaises(NotOpenError):
                Request.cancel([Request(draft.id)])
        # as older databases have it
        old = self.request()
        Result.create([{**values, 'request': old.id}])
        with self.assertRaises(ForeignKeyError):
            Request.delete([old])

    @with_transaction()
    def test_mark_read(self):
        Result = Pool().get('gnuhealth.imaging.test.result')
        self.hospital()
        result = self.result()
        self.assertFalse(result.unread)
        with self.assertRaises(ReadError):
            Result.mark_read([result])
        Result.report([result])
        self.assertTrue(result.unread)
        self.assertEqual(Result.search([('unread', '=', True)]), [result])

        with self.as_user(create_user('assistant', IMAGING)):
            with self.assertRaises(ReadError):
                Result.mark_read([Result(result.id)])
        Result.mark_read([result])
        self.assertEqual(result.read_by, self.doctor)
        self.assertTrue(result.read_date)
        self.assertFalse(result.unread)
        self.assertEqual(Result.search([('unread', '=', True)]), [])

        # the first reader counts
        other_user = create_user('other', DOCTOR)
        create_professional("Otto", "Other", other_user)
        with self.as_user(other_user):
            Result.mark_read([Result(result.id)])
        self.assertEqual(Result(result.id).read_by, self.doctor)

        copy, = Result.copy([result])
        self.assertFalse(copy.read_by)
        self.assertFalse(copy.read_date)

    @with_transaction()
    def test_unread_again(self):
        Result = Pool().get('gnuhealth.imaging.test.result')
        self.hospital()
        result = self.result()
        Result.write([result], {'comment': "Nodule"})
        Result.report([result])
        for change, unread in [
                ({'comment': "Nodule"}, False),
                ({'report_style': 'no_images'}, False),
                ({'urgent_finding': False}, False),
                ({'urgent_finding': True}, True),
                ({'urgent_finding': True}, False),
                ({'comment': "Nodule of 9 mm"}, True)]:
            with self.subTest(change=change):
                Result.mark_read([result])
                Result.write([result], change)
                self.assertEqual(result.unread, unread)
                self.assertEqual(bool(result.read_by), not unread)

    @with_transaction()
    def test_notice(self):
        Result = Pool().get('gnuhealth.imaging.test.result')
        self.hospital()
        for state, flagged, read, expected in [
                ('draft', True, None, []),
                ('reported', False, None, []),
                ('reported', True, None, ['warning']),
                ('signed', True, None, ['warning']),
                ('signed', True, now(), [])]:
            result = Result(
                state=state, urgent_finding=flagged, read_date=read)
            result.unread = result.on_change_with_unread()
            self.assertEqual(
                [type_ for type_, _ in result.on_change_notify()], expected)

    @with_transaction()
    def test_urgent_finding_signed(self):
        "It is flagged after the signature too, but not taken back"
        Result = Pool().get('gnuhealth.imaging.test.result')
        self.hospital()
        result = self.result()
        Result.sign([result])
        Result.mark_read([result])
        Result.write([result], {'urgent_finding': True})
        self.assertTrue(result.unread)
        with self.assertRaises(ResultSignedError):
            Result.write([result], {'urgent_finding': False})

    @with_transaction()
    def test_addendum(self):
        pool = Pool()
        Event = pool.get('gnuhealth.imaging.test.result.event')
        Result = pool.get('gnuhealth.imaging.test.result')
        self.hospital()
        result = self.result()
        Result.report([result])
        with self.assertRaises(NotSignedError):
            Result.append_addendum([result], "A nodule, too")
        Result.sign([result])
        Result.mark_read([result])
        for text in [None, '', ' \n']:
            with self.assertRaises(EventTextError):
                Result.append_addendum([result], text)
        with self.as_user(create_user('assistant', IMAGING)):
            with self.assertRaises(SignatureError):
                Result.append_addendum([Result(result.id)], "A nodule, too")
        self.assertFalse(result.unread)

        Result.append_addendum([result], " A nodule, too\n", urgent=True)
        result = Result(result.id)
        event, = result.addenda
        self.assertEqual(event.text, "A nodule, too")
        self.assertEqual(event.professional, self.doctor)
        self.assertEqual(event.user.id, Transaction().user)
        self.assertTrue(event.date)
        self.assertTrue(result.urgent_finding)
        self.assertTrue(result.unread)
        self.assertEqual(result.state, 'signed')
        self.assertEqual(result.reopenings, ())

        with self.assertRaises(EventFixedError):
            Event.write([event], {'text': "No nodule"})
        with self.assertRaises(EventFixedError):
            Event.delete([event])
        with self.assertRaises(EventFixedError):
            Result.write([result], {'addenda': [('delete', [event.id])]})
        copy, = Result.copy([result])
        self.assertFalse(copy.addenda)

    @with_transaction()
    def test_reopen(self):
        Result = Pool().get('gnuhealth.imaging.test.result')
        self.hospital()
        result = self.result()
        Result.write([result], {'comment': "Left side"})
        Result.sign([result])
        Result.mark_read([result])
        signed_date = result.signed_date
        for reason in [None, '', '\t ']:
            with self.assertRaises(EventTextError):
                Result.withdraw_signature([result], reason)
        self.assertEqual(result.state, 'signed')
        Result.withdraw_signature([result], "It is the right side")
        result = Result(result.id)
        self.assertEqual(result.state, 'reported')
        self.assertFalse(result.signed_by)
        self.assertTrue(result.unread)
        event, = result.reopenings
        self.assertEqual(event.text, "It is the right side")
        self.assertEqual(event.signed_by, self.doctor)
        self.assertEqual(event.signed_date, signed_date)
        self.assertEqual(event.signed_comment, "Left side")
        with self.assertRaises(NotSignedError):
            Result.withdraw_signature([result], "Once more")

    @with_transaction()
    def test_reopen_over_rpc(self):
        "Neither a button nor a write withdraws a signature without a reason"
        pool = Pool()
        Event = pool.get('gnuhealth.imaging.test.result.event')
        Reopen = pool.get('gnuhealth.imaging.test.result.reopen', 'wizard')
        Result = pool.get('gnuhealth.imaging.test.result')
        self.hospital()
        result = self.result()
        Result.sign([result])
        context = {
            'active_model': Result.__name__,
            'active_id': result.id,
            'active_ids': [result.id],
            }
        chief = create_user('chief', IMAGING_ADMIN)
        with self.as_user(chief), \
                Transaction().set_context(_check_access=True, **context):
            Result.reopen([Result(result.id)])
            for values in [
                    {'state': 'reported'}, {'state': 'draft'},
                    {'signed_by': None}]:
                with self.assertRaises(TransitionError):
                    Result.write([Result(result.id)], values)
            with self.assertRaises(AccessError):
                Event.create([{
                            'result': result.id, 'kind': 'reopening',
                            'text': "Forged", 'user': chief.id,
                            'date': result.date}])
            session_id, _, _ = Reopen.create()
            with self.assertRaises(EventTextError):
                Reopen.execute(session_id, {'start': {}}, 'reopen')
            self.assertEqual(Result(result.id).state, 'signed')
        with self.as_user(create_user('doctor', DOCTOR)), \
                Transaction().set_context(_check_access=True, **context):
            with self.assertRaises((AccessError, KeyError)):
                Reopen.execute(
                    session_id, {'start': {'reason': "Mine"}}, 'reopen')
        self.assertEqual(Result(result.id).state, 'signed')

    @with_transaction()
    def test_signed_needs_patient(self):
        Result = Pool().get('gnuhealth.imaging.test.result')
        self.hospital()
        result = Result(requested_test=self.ct)
        result.save()
        Result.report([result])
        with self.assertRaises(RequiredValidationError):
            Result.sign([result])

    @with_transaction()
    def test_signed_attachments(self):
        "Neither pictures nor captions change, come or go"
        pool = Pool()
        Attachment = pool.get('ir.attachment')
        Result = pool.get('gnuhealth.imaging.test.result')
        self.hospital()
        result, open_ = self.result(), self.result()
        image, other = Attachment.create([
                {'name': 'a.png', 'data': PNG, 'resource': str(result)},
                {'name': 'b.png', 'data': PNG, 'resource': str(open_)}])
        Result.sign([result])
        user = create_user('radiographer', IMAGING)
        with self.as_user(user), \
                Transaction().set_context(_check_access=True):
            image, other = Attachment.browse([image.id, other.id])
            for change in [
                    lambda: Attachment.write([image], {'data': b'other'}),
                    lambda: Attachment.write([image], {'description': "x"}),
                    lambda: Attachment.write([image], {'name': "x"}),
                    lambda: Attachment.write(
                        [image], {'imaging_sequence': 9}),
                    lambda: Attachment.write(
                        [image], {'type': 'link', 'link': 'https://x/'}),
                    lambda: Attachment.write(
                        [image], {'resource': str(open_)}),
                    lambda: Attachment.write(
                        [other], {'resource': str(result)}),
                    lambda: Attachment.copy([image]),
                    lambda: Attachment.copy(
                        [other], {'resource': str(result)}),
                    lambda: Attachment.delete([image]),
                    lambda: Attachment.create([{
                                'name': 'c.png', 'data': PNG,
                                'resource': str(result)}]),
                    lambda: Result.write([Result(result.id)], {
                            'images': [('delete', [image.id])]}),
                    lambda: Result.write([Result(open_.id)], {
                            'images': [('add', [image.id])]}),
                    ]:
                with self.assertRaises(ResultSignedError):
                    change()

    @with_transaction()
    def test_thumbnail(self):
        pool = Pool()
        Attachment = pool.get('ir.attachment')
        Result = pool.get('gnuhealth.imaging.test.result')
        self.hospital()
        result = self.result()
        photo = encode(Image.linear_gradient('L').resize((2000, 1000)), 'BMP')
        attachments = Attachment.create([
                {'name': 'photo.bmp', 'data': photo, 'resource': str(result)},
                {'name': 'letter', 'data': b'text', 'resource': str(result)},
                {'name': 'empty', 'resource': str(result)},
                {'name': 'link', 'type': 'link', 'link': 'https://x/',
                    'resource': str(result)}])
        ids = [a.id for a in attachments]
        with Transaction().set_context(
                {'ir.attachment.thumbnail': 'size'}), \
                patch.object(attachment, 'scale_down') as decode:
            self.assertEqual(
                [r['thumbnail'] for r in Attachment.read(ids, ['thumbnail'])],
                [480 * 480, 4, None, None])
            decode.assert_not_called()
        small, *others = [
            r['thumbnail'] for r in Attachment.read(ids, ['thumbnail'])]
        self.assertEqual(others, [None] * 3)
        self.assertEqual(Image.open(io.BytesIO(small)).size, (480, 240))

        # in the order that people give them, new ones last
        Attachment.write(
            *sum([[[a], {'imaging_sequence': n}]
                    for a, n in zip(attachments, [3, 1, None, 2])], []))
        self.assertEqual(
            [a.name for a in Result(result.id).images],
            ['letter', 'link', 'photo.bmp', 'empty'])

    @with_transaction()
    def test_marks_by_button_only(self):
        Result = Pool().get('gnuhealth.imaging.test.result')
        self.hospital()
        result = self.result()
        Result.report([result])
        user = create_user('radiographer', IMAGING)
        values = {
            'patient': self.patient.id,
            'requested_test': self.ct.id,
            'doctor': self.doctor.id,
            }
        with self.as_user(user), \
                Transaction().set_context(_check_access=True):
            for name, value in [
                    ('read_by', self.doctor.id),
                    ('read_date', result.date),
                    ('signed_by', self.doctor.id),
                    ('signed_date', result.date)]:
                with self.subTest(name=name):
                    with self.assertRaises(TransitionError):
                        Result.write([Result(result.id)], {name: value})
                    with self.assertRaises(TransitionError):
                        Result.create([{**values, name: value}])
            Result.create([{**values, 'read_by': None}])
            nobody = create_user('nobody')
        with self.as_user(nobody), \
                Transaction().set_context(_check_access=True):
            with self.assertRaises((AccessError, AccessButtonError)):
                Result.mark_read([Result(result.id)])

    @with_transaction()
    def test_search_unread(self):
        Result = Pool().get('gnuhealth.imaging.test.result')
        self.hospital()
        draft, unread, read = [self.result() for _ in range(3)]
        Result.report([unread])
        Result.sign([read])
        Result.mark_read([read])
        for clause, expected in [
                (('unread', '=', True), {unread}),
                (('unread', '!=', True), {draft, read}),
                (('unread', '=', False), {draft, read}),
                (('unread', '!=', False), {unread}),
                (('unread', 'in', [True, False]), {draft, unread, read}),
                (('unread', 'not in', [True]), {draft, read}),
                (('unread', 'in', []), set()),
                (('requesting_doctor', '=', self.doctor.id),
                    {draft, unread, read}),
                (('requesting_doctor.rec_name', 'ilike', '%nobody%'),
                    set())]:
            with self.subTest(clause=clause):
                self.assertEqual(set(Result.search([clause])), expected)
