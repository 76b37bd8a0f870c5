# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import datetime as dt
import io
import zipfile
from unittest.mock import patch

from trytond.model.exceptions import (
    AccessButtonError, AccessError, RequiredValidationError)
from trytond.modules.health_imaging import upgrade
from trytond.modules.health_imaging.exceptions import (
    DeceasedPatientWarning, InactiveTestError, NoTestError,
    NotRequestedError, RequestDeleteError, RequestLockedError,
    ResultDeleteError, ResultSignedError, SignatureError, TransitionError)
from trytond.modules.health_imaging.pictures import fit, picture_size
from trytond.pool import Pool
from trytond.tests.test_tryton import ModuleTestCase, with_transaction
from trytond.transaction import Transaction

from .tools import (
    company_context, create_hospital, create_patient, create_professional,
    create_test, create_user)

PNG = bytes.fromhex(
    '89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55'
    '0000000a49444154789c6360000000020001e221bc330000000049454e44ae426082')
IMAGING = 'health_imaging.group_health_imaging'
IMAGING_ADMIN = 'health_imaging.group_health_imaging_admin'
DOCTOR = 'health.group_health_doctor'
FRONT_DESK = 'health.group_health_frontdesk'


class HealthImagingTestCase(ModuleTestCase):
    "Test Health Imaging module"
    module = 'health_imaging'

    def hospital(self):
        self.institution = create_hospital()
        Transaction().set_context(company_context())
        self.doctor = create_professional(
            "Cara", "Cordara", user=Transaction().user,
            institution=self.institution)
        self.patient = create_patient()
        self.ct = create_test()
        self.mr = create_test('MRKNEE', "MR knee", 'mri')

    def request(self, **values):
        Request = Pool().get('gnuhealth.imaging.test.request')
        values.setdefault('patient', self.patient)
        values.setdefault('requested_test', self.ct)
        request = Request(**values)
        request.save()
        return request

    def result(self):
        Request = Pool().get('gnuhealth.imaging.test.request')
        request = self.request()
        Request.requested([request])
        result, = Request.create_results([request])
        return result

    def new_order(self, **values):
        NewOrder = Pool().get(
            'gnuhealth.patient.imaging.test.request', type='wizard')
        session_id, _, _ = NewOrder.create()
        start = NewOrder(session_id).default_start([])
        start['patient'] = self.patient.id
        start.update(values)
        return NewOrder.execute(session_id, {'start': start}, 'request')

    @with_transaction()
    def test_request_defaults(self):
        self.hospital()
        request = self.request()
        self.assertEqual(request.state, 'draft')
        self.assertEqual(request.doctor, self.doctor)
        self.assertEqual(request.institution, self.institution)
        self.assertEqual(request.scheduled_date, request.date)
        self.assertEqual(request.request_line, f'{request.request}-01')
        self.assertTrue(request.computed_age)

        date = dt.datetime(2024, 5, 6, 7, 8)
        self.assertEqual(
            self.request(date=date, scheduled_date=None).scheduled_date, date)

    @with_transaction()
    def test_request_numbers(self):
        Request = Pool().get('gnuhealth.imaging.test.request')
        self.hospital()
        values = {
            'patient': self.patient.id,
            'requested_test': self.ct.id,
            'doctor': self.doctor.id,
            }
        one, two = Request.create([values, values])
        self.assertNotEqual(one.request, two.request)

        lines = Request.create(
            [dict(values, request='A7')] * 3
            + [dict(values, request='A7', request_line='kept')])
        self.assertEqual(
            [r.request_line for r in lines],
            ['A7-01', 'A7-02', 'A7-03', 'kept'])
        Request.delete(lines[:1])
        self.assertEqual(
            self.request(request='A7').request_line, 'A7-04')

    @with_transaction()
    def test_request_copy(self):
        Request = Pool().get('gnuhealth.imaging.test.request')
        self.hospital()
        result = self.result()
        request = result.request
        self.assertEqual(request.state, 'done')
        copy, = Request.copy([request])
        self.assertEqual(copy.state, 'draft')
        self.assertNotEqual(copy.request, request.request)
        self.assertEqual(copy.request_line, f'{copy.request}-01')
        self.assertFalse(copy.results)
        self.assertEqual(request.results, (result,))

    @with_transaction()
    def test_request_identity(self):
        Request = Pool().get('gnuhealth.imaging.test.request')
        self.hospital()
        other = create_patient("Bo", "Other", 'TST002GNU')
        request = self.request()
        Request.write([request], {'patient': other.id})
        Request.requested([request])
        for values in [
                {'patient': self.patient.id},
                {'requested_test': self.mr.id},
                {'request': 'X'},
                {'request_line': 'X-01'}]:
            with self.subTest(values=values):
                with self.assertRaises(RequestLockedError):
                    Request.write([request], values)
        Request.write(
            [request], {'patient': other.id, 'comment': "Same patient"})

    @with_transaction()
    def test_request_workflow(self):
        Request = Pool().get('gnuhealth.imaging.test.request')
        self.hospital()
        request = self.request()
        with self.assertRaises(NotRequestedError):
            Request.create_results([request])
        with self.assertRaises(TransitionError):
            Request.write([request], {'state': 'done'})
        Request.requested([request])
        self.assertEqual(request.state, 'requested')
        with self.assertRaises(RequestDeleteError):
            Request.delete([request])

        Request.write([request], {'cancel_reason': "Patient left"})
        Request.cancel([request])
        self.assertEqual(request.state, 'cancelled')
        with self.assertRaises(NotRequestedError):
            Request.create_results([request])

        Request.draft([request])
        self.assertEqual(request.state, 'draft')
        self.assertFalse(request.cancel_reason)
        Request.delete([request])

    @with_transaction()
    def test_request_cancel_reason(self):
        Request = Pool().get('gnuhealth.imaging.test.request')
        self.hospital()
        with self.assertRaises(RequiredValidationError):
            Request.cancel([self.request()])

    @with_transaction()
    def test_request_inactive_test(self):
        Request = Pool().get('gnuhealth.imaging.test.request')
        self.hospital()
        request = self.request()
        self.ct.active = False
        self.ct.save()
        with self.assertRaises(InactiveTestError):
            Request.requested([request])

    @with_transaction()
    def test_cancel_wizard(self):
        pool = Pool()
        Cancel = pool.get(
            'gnuhealth.imaging.test.request.cancel', type='wizard')
        Request = pool.get('gnuhealth.imaging.test.request')
        self.hospital()
        request = self.request()
        done = self.result().request
        with Transaction().set_context(
                active_model=Request.__name__, active_id=request.id,
                active_ids=[request.id, done.id]):
            session_id, _, _ = Cancel.create()
            Cancel.execute(
                session_id, {'start': {'reason': "Twice"}}, 'cancel')
        request, done = Request.browse([request, done])
        self.assertEqual(
            (request.state, request.cancel_reason), ('cancelled', "Twice"))
        self.assertEqual((done.state, done.cancel_reason), ('done', None))

    @with_transaction()
    def test_new_order(self):
        Request = Pool().get('gnuhealth.imaging.test.request')
        self.hospital()
        referrer = create_professional("Rea", "Ferrer")
        date = dt.datetime(2030, 1, 2, 3, 4)
        result = self.new_order(
            tests=[self.ct.id, self.mr.id], urgent=True,
            referring_professional=referrer.id, scheduled_date=date,
            comment="Allergic to iodine")
        action, = [a for a, _ in result['actions']]
        self.assertEqual(
            action['res_model'], 'gnuhealth.imaging.test.request')
        one, two = Request.search([], order=[('id', 'ASC')])
        self.assertEqual(one.request, two.request)
        self.assertEqual(
            [r.request_line for r in [one, two]],
            [f'{one.request}-01', f'{one.request}-02'])
        self.assertEqual(
            [r.requested_test for r in [one, two]], [self.ct, self.mr])
        for request in [one, two]:
            self.assertEqual(request.state, 'draft')
            self.assertTrue(request.urgent)
            self.assertEqual(request.doctor, self.doctor)
            self.assertEqual(request.institution, self.institution)
            self.assertEqual(request.referring_professional, referrer)
            self.assertEqual(request.scheduled_date, date)
            self.assertEqual(request.comment, "Allergic to iodine")

    @with_transaction()
    def test_new_order_refused(self):
        Request = Pool().get('gnuhealth.imaging.test.request')
        self.hospital()
        with self.assertRaises(NoTestError):
            self.new_order(tests=[])
        self.mr.active = False
        self.mr.save()
        with self.assertRaises(InactiveTestError):
            self.new_order(tests=[self.ct.id, self.mr.id])
        self.patient.party.deceased = True
        self.patient.party.save()
        with self.assertRaises(DeceasedPatientWarning):
            self.new_order(tests=[self.ct.id])
        self.assertFalse(Request.search([], count=True))

    @with_transaction()
    def test_urgent_first(self):
        Request = Pool().get('gnuhealth.imaging.test.request')
        self.hospital()
        done = self.result().request
        Request.write([done], {'urgent': True})
        urgent = self.request(
            urgent=True, scheduled_date=dt.datetime(2020, 1, 1))
        new = self.request(scheduled_date=dt.datetime(2030, 1, 1))
        self.assertEqual(
            Request.search([], order=[
                    ('urgent', 'DESC'), ('scheduled_date', 'DESC')]),
            [urgent, new, done])

    @with_transaction()
    def test_generate_result(self):
        pool = Pool()
        Generate = pool.get('wizard.generate.result', type='wizard')
        Request = pool.get('gnuhealth.imaging.test.request')
        Result = pool.get('gnuhealth.imaging.test.result')
        self.hospital()
        requests = [self.request(), self.request(requested_test=self.mr)]
        Request.requested(requests)
        for _ in range(2):
            with Transaction().set_context(
                    active_model=Request.__name__,
                    active_id=requests[0].id,
                    active_ids=[r.id for r in requests]):
                session_id, _, _ = Generate.create()
                Generate.execute(session_id, {}, 'open_')
            requests = Request.browse(requests)
            self.assertEqual({r.state for r in requests}, {'done'})
            self.assertEqual(Result.search([], count=True), 2)
        for request in requests:
            result, = request.results
            self.assertTrue(result.number)
            self.assertEqual(result.state, 'draft')
            self.assertEqual(result.patient, request.patient)
            self.assertEqual(result.requested_test, request.requested_test)
            self.assertEqual(result.order, request.request)
            self.assertEqual(result.request_date, request.date)
            self.assertEqual(result.institution, request.institution)
            self.assertEqual(result.doctor, self.doctor)

    @with_transaction()
    def test_result_signed(self):
        pool = Pool()
        Attachment = pool.get('ir.attachment')
        Result = pool.get('gnuhealth.imaging.test.result')
        self.hospital()
        result = self.result()
        image = Attachment(name='a.png', data=PNG, resource=result)
        image.save()
        other = Attachment(name='b.png', data=PNG, resource=self.patient)
        other.save()
        Result.write([result], {'comment': "Normal"})
        Result.report([result])
        self.assertEqual(result.state, 'reported')
        with self.assertRaises(ResultDeleteError):
            Result.delete([result])
        Result.sign([result])
        self.assertEqual(result.state, 'signed')
        self.assertEqual(result.signed_by, self.doctor)
        self.assertTrue(result.signed_date)

        for change in [
                lambda: Result.write([result], {'comment': "Not normal"}),
                lambda: Result.write([result], {
                        'images': [('delete', [image.id])]}),
                lambda: Attachment.write([image], {'data': b'other'}),
                lambda: Attachment.write([image], {
                        'resource': str(self.patient)}),
                lambda: Attachment.write([other], {'resource': str(result)}),
                lambda: Attachment.delete([image]),
                lambda: Attachment.create([{
                            'name': 'c.png', 'data': PNG,
                            'resource': str(result)}]),
                ]:
            with self.assertRaises(ResultSignedError):
                change()
        Result.write([result], {'report_style': 'no_images'})

        Result.reopen([result])
        self.assertEqual(result.state, 'reported')
        self.assertFalse(result.signed_by)
        Attachment.delete([image])

    @with_transaction()
    def test_result_signed_by_professional(self):
        pool = Pool()
        Result = pool.get('gnuhealth.imaging.test.result')
        self.hospital()
        result = self.result()
        user = create_user('radiographer', IMAGING)
        with Transaction().set_user(user.id):
            with self.assertRaises(SignatureError):
                Result.sign([Result(result.id)])

    @with_transaction()
    def test_result_without_request(self):
        Result = Pool().get('gnuhealth.imaging.test.result')
        self.hospital()
        result = Result(patient=self.patient, requested_test=self.mr)
        result.save()
        self.assertTrue(result.number)
        copy, = Result.copy([result])
        self.assertNotEqual(copy.number, result.number)

    @with_transaction()
    def test_report_styles(self):
        pool = Pool()
        Attachment = pool.get('ir.attachment')
        Report = pool.get('patient.imaging_report_results', type='report')
        self.hospital()
        result = self.result()
        result.comment = "No fracture.\nNo bleeding & nothing <else>."
        result.save()
        Attachment.create([{
                    'name': f'{n}.png', 'data': PNG + bytes([n]),
                    'resource': str(result), 'description': f"Image {n}",
                    } for n in range(3)]
            + [{'name': 'letter.txt', 'data': b'text',
                'resource': str(result)}])
        for style, images, captions in [
                ('default', 3, True),
                ('no_images', 0, False),
                ('no_image_comments', 3, False)]:
            with self.subTest(style=style):
                result.report_style = style
                result.save()
                with patch('shutil.which', return_value=None), \
                        self.assertLogs('trytond.modules.health_imaging'):
                    extension, content, _, _ = Report.execute(
                        [result.id], {})
                self.assertEqual(extension, 'odt')
                with zipfile.ZipFile(io.BytesIO(content)) as document:
                    text = document.read('content.xml').decode('utf-8')
                    pictures = [
                        n for n in document.namelist()
                        if n.startswith('Pictures/')]
                self.assertEqual(len(pictures), images)
                self.assertEqual("Image 2" in text, captions)
                self.assertIn("No bleeding &amp; nothing &lt;else&gt;.", text)
                self.assertIn("TST001GNU", text)
                self.assertIn(result.number, text)

    def test_picture_size(self):
        jpeg = (
            b'\xff\xd8\xff\xe0\x00\x04ab\xff\xff\xc2\x00\x11\x08'
            b'\x00\x20\x00\x10' + bytes(20))
        for data, size in [
                (PNG, ('image/png', 1, 1)),
                (b'GIF89a' + b'\x03\x00\x02\x00', ('image/gif', 3, 2)),
                (b'BM' + bytes(16) + b'\x05\0\0\0\xfe\xff\xff\xff',
                    ('image/bmp', 5, 2)),
                (jpeg, ('image/jpeg', 16, 32)),
                (jpeg[:9], None),
                (b'\xff\xd8\x00' + bytes(20), None),
                (PNG[:20], None),
                (b'', None),
                (b'%PDF-1.4', None)]:
            with self.subTest(data=data[:12]):
                self.assertEqual(picture_size(data), size)
        self.assertEqual(fit(jpeg, 8, 8)[1:], (
                'image/jpeg', '4.00cm', '8.00cm'))
        self.assertIsNone(fit(None, 8, 8))
        self.assertIsNone(fit(PNG[:16] + bytes(8), 8, 8))

    @with_transaction()
    def test_rights(self):
        pool = Pool()
        self.hospital()
        result = self.result()
        models = {
            'gnuhealth.imaging.test.type': self.ct.test_type,
            'gnuhealth.imaging.test': self.ct,
            'gnuhealth.imaging.test.request': result.request,
            'gnuhealth.imaging.test.result': result,
            'gnuhealth.sequences.imaging_req_seq': None,
            'gnuhealth.sequences.imaging_test_sequence': None,
            }
        rights = {
            (): ['', '', '', '', '', ''],
            (IMAGING,): ['r', 'r', 'rwcd', 'rwc', '', ''],
            (IMAGING_ADMIN,): ['rwcd', 'rwcd', 'rwcd', 'rwc', '', ''],
            (DOCTOR,): ['r', 'r', 'rwcd', 'rwc', '', ''],
            (FRONT_DESK,): ['r', 'r', 'r', '', '', ''],
            ('health.group_health_admin',): [
                'rwc', 'rwc', '', '', 'rwcd', 'rwcd'],
            ('health.group_health_nursing',): ['', '', '', '', '', ''],
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
                    ('reopen', Result, signed, {IMAGING_ADMIN})]:
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
                    # trytond 7.0 stumbles over its own message
                    with self.assertRaises((AccessError, KeyError)):
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
                    (['health.group_health_admin'], catalogue)]):
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


del ModuleTestCase
