# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import datetime as dt
import re
from unittest.mock import patch

from sql import Null

from trytond.model.exceptions import AccessButtonError, AccessError
from trytond.modules.health_imaging.exceptions import RequestLockedError
from trytond.modules.health_imaging.tests.tools import (
    create_patient, create_test, create_user)
from trytond.modules.health_imaging_worklist import attributes, sandbox
from trytond.modules.health_imaging_worklist import request as request_module
from trytond.modules.health_imaging_worklist.exceptions import (
    AETitleError, CharsetError, TemplateError, UIDError)
from trytond.pool import Pool
from trytond.tests.test_tryton import ModuleTestCase, with_transaction
from trytond.tools import file_open
from trytond.transaction import Transaction

from .tools import DATE, WorklistMixin, forget

IMAGING = 'health_imaging.group_health_imaging'
IMAGING_ADMIN = 'health_imaging.group_health_imaging_admin'
DOCTOR = 'health.group_health_doctor'


class HealthImagingWorklistTestCase(WorklistMixin, ModuleTestCase):
    "Test Health Imaging Worklist module"
    module = 'health_imaging_worklist'

    # identity and status

    @with_transaction()
    def test_merge_id(self):
        Request = Pool().get('gnuhealth.imaging.test.request')
        self.hospital()
        request = self.draft()
        self.assertRegex(request.merge_id, r'^2\.25\.[1-9][0-9]*$')
        self.assertLessEqual(len(request.merge_id), 64)
        copy, = Request.copy([request])
        self.assertNotEqual(copy.merge_id, request.merge_id)
        self.assertEqual(
            self.draft(merge_id='1.2.3').merge_id, '1.2.3')

        with self.assertRaises(UIDError):
            self.draft(merge_id='1.02')
        with self.assertRaises(UIDError):
            self.draft(merge_id='1.' + '2' * 63)

    @with_transaction()
    def test_merge_id_root(self):
        Request = Pool().get('gnuhealth.imaging.test.request')
        root = '1.2.826.0.1.3680043.8.498.123456789'
        with patch.object(request_module.config, 'get') as get:
            get.return_value = root
            uids = {Request.new_merge_id() for _ in range(50)}
        self.assertEqual(len(uids), 50)
        for uid in uids:
            self.assertTrue(uid.startswith(root + '.'))
            self.assertLessEqual(len(uid), 64)

    @with_transaction()
    def test_merge_id_when_requested(self):
        "A request from before the module, and one with another's id"
        Request = Pool().get('gnuhealth.imaging.test.request')
        self.hospital()
        old, first, second = (self.draft() for _ in range(3))
        table = Request.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.update(
                [table.merge_id, table.worklist_status], [Null, Null],
                where=table.id == old.id))
        cursor.execute(*table.update(
                [table.merge_id], ['1.2.3'],
                where=table.id.in_([first.id, second.id])))
        forget()
        old, first, second = Request.browse([old, first, second])
        self.assertIsNone(old.worklist_status)
        Request.requested([old])
        self.assertTrue(old.merge_id)
        self.assertEqual(old.worklist_status, 'todo')
        Request.requested([first, second])
        self.assertNotEqual(first.merge_id, second.merge_id)
        third = self.draft(merge_id=first.merge_id)
        Request.requested([third])
        self.assertNotEqual(third.merge_id, first.merge_id)

    @with_transaction()
    def test_merge_id_is_fixed(self):
        "What modalities were told is not changed afterwards"
        self.hospital()
        draft, request = self.draft(), self.request()
        draft.merge_id = '1.2.3'
        draft.save()
        request.merge_id = '1.2.4'
        with self.assertRaises(RequestLockedError):
            request.save()

    @with_transaction()
    def test_status(self):
        Request = Pool().get('gnuhealth.imaging.test.request')
        self.hospital()
        request = self.request()
        self.assertEqual(request.worklist_status, 'todo')
        request.cancel_reason = "Not needed"
        request.save()
        Request.cancel([request])
        self.assertEqual(request.state, 'cancelled')
        self.assertEqual(request.worklist_status, 'canceled')
        Request.draft([request])
        self.assertEqual(request.worklist_status, 'todo')

        done = self.request()
        done.worklist_status = 'done'
        done.save()
        copy, = Request.copy([done])
        self.assertEqual(copy.worklist_status, 'todo')
        self.assertFalse(copy.show_worklist_text)

    @with_transaction()
    def test_result(self):
        pool = Pool()
        Request = pool.get('gnuhealth.imaging.test.request')
        Result = pool.get('gnuhealth.imaging.test.result')
        self.hospital()
        request = self.request()
        result, = Request.create_results([request])
        self.assertEqual(result.merge_id, request.merge_id)
        copy, = Result.copy([result])
        self.assertIsNone(copy.merge_id)

    @with_transaction()
    def test_ae_title(self):
        self.hospital()
        for title in ['x' * 17, 'é', 'CT1\\' + 'x' * 17, 'CT1\\é']:
            with self.subTest(title=title):
                with self.assertRaises(AETitleError):
                    create_test(aetitle=title)
                with self.assertRaises(AETitleError):
                    self.draft(aetitle=title)
        with self.assertRaises(AETitleError):
            self.draft(aetitle='CT1\\CT2')

    # templates

    @with_transaction()
    def test_template_refused(self):
        Template = Pool().get('gnuhealth.imaging_worklist.worklist_template')
        with self.assertRaises(TemplateError) as caught:
            Template.create([{
                        'name': "Bad",
                        'template': 'a\n${my.__class__}',
                        }])
        message = caught.exception.message
        self.assertIn("line 2", message)
        self.assertIn("__class__", message)
        template, = Template.create([{'name': "Good", 'template': 'a'}])
        with self.assertRaises(TemplateError):
            Template.write([template], {'template': '{% python x %}'})

    @with_transaction()
    def test_template_refused_when_rendered(self):
        "What was stored past the check does not run either"
        Template = Pool().get('gnuhealth.imaging_worklist.worklist_template')
        self.hospital()
        table = Template.__table__()
        Transaction().connection.cursor().execute(*table.update(
                [table.template], ['{% include /etc/passwd %}'],
                where=table.id == self.dump.id))
        template = Template(self.dump.id)
        item = template.render({})
        self.assertIsNone(item.text)
        self.assertEqual(
            [(f.severity, f.code) for f in item.findings],
            [('error', 'template')])

    @with_transaction()
    def test_template_charset(self):
        Template = Pool().get('gnuhealth.imaging_worklist.worklist_template')
        template, = Template.create([{
                    'name': "Old",
                    'charset': 'IS0_IR 192',
                    'value_mode': 'gnuhealth5',
                    'template': 'a',
                    }])
        with self.assertRaises(CharsetError):
            Template.write([template], {'value_mode': 'standard'})
        Template.load_shipped([template])
        self.assertEqual(template.value_mode, 'standard')
        self.assertEqual(template.charset, 'ISO_IR 192')
        self.assertEqual(template.template, Template.shipped('dump2dcm'))

    @with_transaction()
    def test_template_default(self):
        Template = Pool().get('gnuhealth.imaging_worklist.worklist_template')
        template = Template(name="New", **Template.default_get(
                ['template', 'template_type'], with_rec_name=False))
        self.assertEqual(template.template, Template.shipped('dump2dcm'))
        template.template_type = 'json'
        template.on_change_template_type()
        self.assertEqual(template.template, Template.shipped('json'))
        template.shipped_text = 'compact'
        template.on_change_shipped_text()
        self.assertEqual(
            template.template, Template.shipped('json', 'compact'))
        template.template = 'own'
        template.template_type = 'dump2dcm'
        template.on_change_template_type()
        self.assertEqual(template.template, 'own')

    @with_transaction()
    def test_sentences(self):
        "Each code has a sentence"
        Message = Pool().get('ir.message')
        path = 'health_imaging_worklist/%s.py'
        codes = set()
        for name, prefix, pattern in [
                ('sandbox', 'sandbox',
                    r"(?:SandboxError\(\s*[\w.]+,|fail\()\s*'(\w+)'"),
                ('dataset', 'dataset', r"DatasetError\(\s*\w+,\s*'(\w+)'"),
                ('dataset', 'finding',
                    r"Finding\(\s*'\w+',[^']*'(\w+)'"),
                ('conformance', 'finding',
                    r"Finding\(\s*'\w+', *[\w\[\]']+, '(\w+)'"),
                ('preview', 'publication', r"reason = '(\w+)'"),
                ]:
            with file_open(path % name, encoding='utf-8') as file:
                found = set(re.findall(pattern, file.read()))
            self.assertTrue(found, name)
            codes |= {'%s_%s' % (prefix, c) for c in found}
        for code in codes:
            with self.subTest(code=code):
                self.assertNotEqual(
                    Message.gettext(
                        'health_imaging_worklist', 'msg_%s' % code, 'en'),
                    '')

    # variables

    @with_transaction()
    def test_variables(self):
        self.hospital()
        request = self.request(urgent=True)
        data = request.get_worklist_template_data()
        self.assertIsInstance(data.pop('my'), sandbox.View)
        uid = request.merge_id
        expected = {
            'template_type': 'dump2dcm',
            'SpecificCharacterSet': 'ISO_IR 192',
            'MergeID': uid,
            'StudyInstanceUID': uid,
            'AccessionNumber': request.request,
            'RequestedProcedureID': request.request_line,
            'ScheduledProcedureStepID': request.request_line,
            'PatientName': 'Betz^Ana',
            'PatientID': 'TST001GNU',
            'PatientBirthDate': '19851004',
            'PatientSex': 'F',
            'PatientAge': '038Y',
            'RequestingPhysician': 'Cordara^Cara',
            'ReferringPhysicianName': 'Cordara^Cara',
            'RequestingService': '',
            'InstitutionName': "Test Hospital",
            'RequestedProcedureDescription': "CT head",
            'ScheduledProcedureStepDescription': "CT head",
            'RequestedProcedureCode': 'CTHEAD',
            'RequestedProcedurePriority': 'STAT',
            'Modality': 'CT',
            'ScheduledStationAETitle': 'CT1',
            # the day has begun in Madrid
            'ScheduledProcedureStepStartDate': '20240201',
            'ScheduledProcedureStepStartTime': '003000',
            'TimezoneOffsetFromUTC': '+0100',
            }
        for name, value in expected.items():
            with self.subTest(name=name):
                self.assertEqual(data[name], value)

    @with_transaction()
    def test_variables_gnuhealth5(self):
        self.hospital()
        self.dump.value_mode = 'gnuhealth5'
        self.dump.save()
        request = self.request()
        data = request.get_worklist_template_data()
        for name, value in {
                'ScheduledProcedureStepID': request.request,
                'RequestedProcedureID': request.request_line,
                'ScheduledProcedureStepStartDate': '20240131',
                'ScheduledProcedureStepStartTime': '233000',
                'TimezoneOffsetFromUTC': '+0000',
                }.items():
            with self.subTest(name=name):
                self.assertEqual(data[name], value)

    @with_transaction()
    def test_people_gnuhealth5(self):
        "Names, age and sex are what GNU Health 5.0 made of them"
        self.hospital()
        self.dump.value_mode = 'gnuhealth5'
        self.dump.save()
        self.ct.name = "A name " * 20
        self.ct.save()
        request = self.request()
        party = request.patient.party
        name, = party.person_names
        name.family, name.prefix, name.suffix = "Be^tz", 'Dr', "jun."
        name.save()
        for gender, birth, sex, age in [
                ('f', dt.date(1985, 10, 4), 'F', '038Y'),
                ('nb', dt.date(2024, 1, 1), 'O', '030D'),
                ('u', dt.date(2023, 12, 31), 'O', '001M'),
                ('nd', dt.date(2024, 1, 31), 'O', ''),
                ('m', None, 'M', None),
                ]:
            party.gender, party.dob = gender, birth
            party.save()
            data = type(request)(request.id).get_worklist_template_data()
            with self.subTest(gender=gender, birth=birth):
                self.assertEqual(data['PatientSex'], sex)
                self.assertEqual(data['PatientAge'], age)
        self.assertEqual(data['PatientName'], "Be^tz^Ana^^Dr^jun.")
        self.assertEqual(
            data['RequestedProcedureDescription'], ("A name " * 20).strip())

    @with_transaction()
    def test_institution(self):
        "A request from before the upgrade belongs where its doctor works"
        self.hospital()
        request = self.request()
        request.institution = None
        request.save()
        data = request.get_worklist_template_data()
        self.assertEqual(data['InstitutionName'], "Test Hospital")
        self.assertEqual(data['TimezoneOffsetFromUTC'], '+0100')

    @with_transaction()
    def test_time_zones(self):
        "Start, day and offset agree, in summer as in winter"
        self.hospital()
        Company = Pool().get('company.company')
        company, = Company.search([])
        for zone, date, start, offset in [
                ('Europe/Madrid', DATE, '20240201003000', '+0100'),
                ('Europe/Madrid', dt.datetime(2024, 6, 30, 22, 30),
                    '20240701003000', '+0200'),
                ('Asia/Kathmandu', DATE, '20240201051500', '+0545'),
                ('America/St_Johns', DATE, '20240131200000', '-0330'),
                ('Pacific/Kiritimati', DATE, '20240201133000', '+1400'),
                ]:
            with self.subTest(zone=zone, date=date):
                company.timezone = zone
                company.save()
                data = self.draft(
                    date=date).get_worklist_template_data()
                self.assertEqual(
                    data['ScheduledProcedureStepStartDate']
                    + data['ScheduledProcedureStepStartTime'], start)
                self.assertEqual(data['TimezoneOffsetFromUTC'], offset)

    @with_transaction()
    def test_time_zone_missing(self):
        self.hospital()
        Company = Pool().get('company.company')
        company, = Company.search([])
        company.timezone = None
        company.save()
        request = self.request()
        item = request.get_worklist_items()[0]
        self.assertEqual(item.dataset.TimezoneOffsetFromUTC, '+0000')
        self.assertIn('time_zone', [f.code for f in item.findings])
        self.assertIn("time zone", request.worklist_findings)

    @with_transaction()
    def test_person_name(self):
        self.hospital()
        party = self.patient.party
        name, = party.person_names
        for values, result in [
                ({}, 'Betz^Ana'),
                ({'prefix': 'Dr'}, 'Betz^Ana^^Dr'),
                ({'suffix': "PhD"}, 'Betz^Ana^^Dr^PhD'),
                ({'family': "O=B^r\\x", 'prefix': None, 'suffix': None},
                    'O B r x^Ana'),
                ({'family': None}, '^Ana'),
                ]:
            with self.subTest(values=values):
                name.__class__.write([name], values)
                party = party.__class__(party.id)
                self.assertEqual(attributes.person_name(party), result)
        party = party.__class__(party.id)
        name.use = 'old'
        name.save()
        party = party.__class__(party.id)
        self.assertEqual(
            attributes.person_name(party), 'Betz^Ana')
        self.assertEqual(
            attributes.person_name(self.institution.party),
            "Test Hospital")
        self.assertIsNone(attributes.person_name(None))

    def test_age(self):
        birth = dt.date(2024, 2, 29)
        for day, value in [
                (dt.date(2024, 2, 28), ''),
                (birth, '000D'),
                (dt.date(2024, 3, 27), '027D'),
                (dt.date(2024, 3, 28), '004W'),
                (dt.date(2024, 5, 28), '012W'),
                (dt.date(2024, 5, 29), '003M'),
                (dt.date(2026, 2, 27), '023M'),
                (dt.date(2026, 3, 1), '002Y'),
                (dt.date(2124, 3, 1), '100Y'),
                ]:
            with self.subTest(day=day):
                self.assertEqual(attributes.age(birth, day), value)

    def test_clean(self):
        for text, result, code in [
                (None, '', None),
                ("CT head", "CT head", None),
                (" CT\n head\t", "CT head", None),
                ("a\\b", "a/b", 'replaced'),
                ("x" * 65, "x" * 61 + '...', 'shortened'),
                ]:
            with self.subTest(text=text):
                cleaned = attributes.clean(text, 64)
                self.assertEqual(cleaned, result)
                self.assertEqual(getattr(cleaned, 'code', None), code)

    @with_transaction()
    def test_view(self):
        "What a template may read of a record"
        self.hospital()
        view = attributes.RecordView(self.request())
        for path in [
                ['id'], ['rec_name'], ['patient', 'puid'],
                ['patient', 'party', 'person_names'],
                ['create_uid', 'name'], ['requested_test', 'test_type']]:
            value = view
            for name in path:
                value = value.field(name)
            self.assertTrue(value)
        for path in [
                ['unknown'], ['delete'], ['_values'], ['worklist_text'],
                ['create_uid', 'password'], ['create_uid', 'password_hash'],
                ['create_uid', 'login'], ['create_uid', 'groups'],
                ['patient', 'party', 'photo']]:
            with self.subTest(path=path):
                value = view
                for name in path[:-1]:
                    value = value.field(name)
                with self.assertRaises(KeyError):
                    value.field(path[-1])

    # items

    @with_transaction()
    def test_item(self):
        self.hospital()
        for test in [self.ct, self.mr]:
            with self.subTest(test=test.code):
                item = self.request(
                    requested_test=test).get_worklist_items()[0]
                self.assertEqual(item.findings, [])
                step, = item.dataset.ScheduledProcedureStepSequence
                self.assertEqual(
                    step.Modality, test.test_type.code)

    @with_transaction()
    def test_item_texts(self):
        "No name or description breaks the text"
        self.hospital()
        nasty = '"]}\n(0010,0020) LO [EVIL]\\", "PatientID": "EVIL'
        patient = create_patient("An]a", 'Be"tz', 'TST002GNU')
        for test, template in [(self.ct, self.dump), (self.mr, self.json)]:
            with self.subTest(template=template.template_type):
                study = create_test(
                    name=nasty.replace('\n', ' ') * 3, aetitle='CT1',
                    imaging_worklist_template=template)
                request = self.request(
                    requested_test=study, patient=patient)
                item = request.get_worklist_items()[0]
                self.assertEqual(item.dataset.PatientID, 'TST002GNU')
                self.assertEqual(item.dataset.PatientName, 'Be"tz^An]a')
                self.assertEqual(
                    len(item.dataset.RequestedProcedureDescription), 64)
                self.assertEqual(
                    {(f.severity, f.code) for f in item.findings},
                    {('warning', 'shortened')})

    @with_transaction()
    def test_item_my(self):
        "What comes through my is escaped as well"
        self.hospital()
        self.dump.template = self.dump.template.replace(
            '$ReasonForTheRequestedProcedure', '$my.comment').replace(
            'if ReasonForTheRequestedProcedure', 'if my.comment')
        self.dump.save()
        item = self.request(
            comment="x]\n(0010,0020) LO [EVIL]\\y").get_worklist_items()[0]
        self.assertEqual(item.dataset.PatientID, 'TST001GNU')
        self.assertEqual(
            item.dataset.ReasonForTheRequestedProcedure,
            "x] (0010,0020) LO [EVIL]/y")
        self.assertEqual(
            [(f.attribute, f.code) for f in item.findings],
            [('my.comment', 'replaced')])

    @with_transaction()
    def test_item_errors(self):
        self.hospital()
        self.dump.charset = 'ISO_IR 100'
        self.dump.save()
        patient = create_patient("三", "张", 'TST002GNU')
        request = self.request(patient=patient)
        item = request.get_worklist_items()[0]
        self.assertIn(
            ('error', 'PatientName', 'encoding'),
            [f[:3] for f in item.findings])
        self.assertIn("has errors", request.worklist_findings)
        self.dump.value_mode = 'gnuhealth5'
        self.dump.save()
        Request = request.__class__
        request = Request(request.id)
        self.assertEqual(
            {f.severity for f in request.get_worklist_items()[0].findings},
            {'warning'})
        self.assertIn("is on the worklist", request.worklist_findings)

    @with_transaction()
    def test_item_shared_step(self):
        "With the values of 5.0 the lines of an order have one step ID"
        self.hospital()
        one = self.request()
        two = self.request(request=one.request)

        def shared(request):
            item, = request.get_worklist_items()
            return [
                (f.severity, f.detail) for f in item.findings
                if f.code == 'shared']

        self.assertEqual(shared(one), [])
        self.dump.value_mode = 'gnuhealth5'
        self.dump.save()
        one, two = one.__class__.browse([one, two])
        self.assertEqual(shared(one), [('warning', two.request_line)])
        self.assertIn(two.request_line, one.worklist_findings)
        two.worklist_status = 'done'
        two.save()
        self.assertEqual(shared(one), [])

    @with_transaction()
    def test_extension(self):
        "Another module may add variables"
        Request = Pool().get('gnuhealth.imaging.test.request')
        self.hospital()
        self.dump.template += '(0010,4000) LT [$Ward]\n'
        self.dump.save()
        request = self.request()
        self.assertIn('Ward', request.worklist_findings)
        original = Request.get_worklist_template_data

        def extended(self):
            return dict(original(self), Ward="North")
        with patch.object(Request, 'get_worklist_template_data', extended):
            item = request.get_worklist_items()[0]
        self.assertEqual(item.dataset.PatientComments, "North")

    @with_transaction()
    def test_preview(self):
        pool = Pool()
        Request = pool.get('gnuhealth.imaging.test.request')
        Attribute = pool.get('gnuhealth.imaging_worklist.attribute')
        self.hospital()
        draft = self.draft()
        self.assertIn("it is not requested", draft.worklist_findings)
        request = self.request()
        self.assertIn('(0010,0010) PN [Betz^Ana]', request.worklist_text)
        self.assertIn("is on the worklist", request.worklist_findings)
        rows = [
            (a.keyword, a.vr, a.value) for a in request.worklist_attributes]
        self.assertIn(('PatientName', 'PN', 'Betz^Ana'), rows)
        self.assertIn(('    Modality', 'CS', 'CT'), rows)
        self.assertEqual(Attribute.read([10 ** 9], ['tag']), [
                {'id': 10 ** 9, 'tag': None}])
        request.worklist_status = 'done'
        request.save()
        self.assertIn("is not to do", request.worklist_findings)

        plain = self.request(requested_test=create_test('US', "US"))
        self.assertIsNone(plain.worklist_text)
        self.assertIn("no worklist template", plain.worklist_findings)
        self.assertFalse(plain.worklist_attributes)
        # lists do not render
        with patch.object(Request, '_worklist_rendered') as rendered:
            Request.search_read([], fields_names=[
                    'request', 'patient.rec_name', 'worklist_status'])
            rendered.assert_not_called()

    # rights

    @with_transaction()
    def test_rights(self):
        pool = Pool()
        Request = pool.get('gnuhealth.imaging.test.request')
        Template = pool.get('gnuhealth.imaging_worklist.worklist_template')
        Attribute = pool.get('gnuhealth.imaging_worklist.attribute')
        self.hospital()
        request = self.request()
        for login, group, reads, writes in [
                ('imaging', IMAGING, True, False),
                ('doctor', DOCTOR, True, False),
                ('admin2', IMAGING_ADMIN, True, True),
                ('nobody', None, False, False),
                ]:
            user = create_user(login, *filter(None, [group]))
            with Transaction().set_user(user.id), \
                    Transaction().set_context(_check_access=True), \
                    self.subTest(login=login):
                calls = [
                    (reads, lambda: Template.read([self.dump.id], ['name'])),
                    (reads, lambda: Request.worklist_items()),
                    (reads, lambda: Request.read(
                            [request.id], ['worklist_text'])),
                    (reads, lambda: Attribute.read(
                            Attribute.ids(request.id, 3), ['tag'])),
                    (writes, lambda: Template.write(
                            [self.dump], {'comment': "x"})),
                    (writes, lambda: Template.create([{'name': login}])),
                    (writes, lambda: Template.load_shipped([self.dump])),
                    ]
                for allowed, call in calls:
                    if allowed:
                        self.assertIsNot(call(), False)
                    else:
                        with self.assertRaises(
                                (AccessError, AccessButtonError)):
                            call()

    @with_transaction()
    def test_same_for_everyone(self):
        "The item does not depend on who renders"
        Request = Pool().get('gnuhealth.imaging.test.request')
        self.hospital()
        request = self.request()
        text = request.worklist_text
        user = create_user('other', IMAGING)
        user.company = None
        user.companies = []
        user.save()
        with Transaction().set_user(user.id), Transaction().set_context(
                company=None, language='de'):
            self.assertEqual(Request(request.id).worklist_text, text)


del ModuleTestCase
