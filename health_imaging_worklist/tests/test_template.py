# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import unittest

from trytond.modules.health_imaging.tests.tools import (
    DOCTOR, IMAGING_ADMIN, create_patient, create_user)
from trytond.pool import Pool
from trytond.tests.test_tryton import (
    activate_module, drop_db, with_transaction)
from trytond.transaction import Transaction

from .tools import WorklistMixin


class TemplateCheckTestCase(WorklistMixin, unittest.TestCase):
    "Test the check of a template with a sample"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        drop_db()
        activate_module('health_imaging_worklist')

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        drop_db()

    def new(self, **values):
        Template = Pool().get('gnuhealth.imaging_worklist.worklist_template')
        names = ['template', 'template_type', 'charset', 'value_mode']
        return Template(**{
                **Template.default_get(names, with_rec_name=False), **values})

    @with_transaction()
    def test_shipped(self):
        "What ships has no findings with the made-up request"
        Template = Pool().get('gnuhealth.imaging_worklist.worklist_template')
        for template in Template.search([]):
            with self.subTest(template=template.name):
                self.assertIn("is correct", template.check_findings)
                self.assertIn('Sample^Sam', template.check_text)

    @with_transaction()
    def test_sample_variables(self):
        "The made-up request has the variables of a real one"
        Request = Pool().get('gnuhealth.imaging.test.request')
        self.hospital()
        for mode in ['standard', 'gnuhealth5']:
            self.dump.value_mode = mode
            self.assertEqual(
                set(Request.get_worklist_sample_data(self.dump)),
                set(self.request().get_worklist_template_data()))

    @with_transaction()
    def test_findings(self):
        "They are shown before the template is saved"
        for values, sentences in [
                ({'template': '(0010,0010) PN [$PatientName]\n'},
                    ["Error: PatientID is missing. Add it to the template."]),
                ({'template': 'a\n${my.__class__}'},
                    ["Error: The template failed in line 2",
                        '"__class__" is not allowed']),
                ({'template': 'x' * 70000}, ["larger than 65536"]),
                ({'template': ''}, ["PatientName is missing"]),
                ({'template': None}, ["PatientName is missing"]),
                ({'charset': 'IS0_IR 192'}, ["is no defined term"]),
                ({'charset': 'ISO_IR 192\\GBK'}, ["do not go together"]),
                ({'value_mode': 'gnuhealth5',
                        'template': '(0010,0010) PN []\n'},
                    ["Warning: PatientName is empty"]),
                ({'template_type': 'json'}, ["The text is no JSON object"]),
                ({'template': self.new().template.replace(
                            '$PatientBirthDate', '04.10.1985')},
                    ['PatientBirthDate "04.10.1985" breaks the rules']),
                ({'template': self.new().template.replace(
                            '$StudyInstanceUID', '1.02')},
                    ['StudyInstanceUID "1.02" breaks the rules']),
                ({'template': self.new().template.replace(
                            '$AccessionNumber', 'x' * 17)},
                    ['AccessionNumber is too long: "xxxxx']),
                ]:
            with self.subTest(values=values):
                shown = self.new(**values).on_change_with_check_findings()
                for sentence in sentences:
                    self.assertIn(sentence, shown)

    @with_transaction()
    def test_my(self):
        "The made-up request has fields of each type"
        template = self.new(template=(
                '${my.patient.party.dob.year} ${my.date.strftime("%H")} '
                '${my.requested_test.code} $my.state $my.urgent '
                '{% for n in my.patient.party.person_names %}'
                '$n.family{% end %}'))
        self.assertEqual(
            template.on_change_with_check_text(),
            '1985 07 Text draft True Text')
        template.template = '${my.patient.party.internal_user.password}'
        self.assertIn(
            '"password" cannot be read',
            template.on_change_with_check_findings())

    @with_transaction()
    def test_sample(self):
        "A real request is rendered with the text that is not saved yet"
        self.hospital()
        request = self.request(
            patient=create_patient("三", "张", 'TST002GNU'))
        template = self.new(sample=request, charset='ISO_IR 100')
        self.assertIn('(0010,0010) PN [张^三]',
            template.on_change_with_check_text())
        self.assertIn(
            "PatientName has characters that the charset cannot write",
            template.on_change_with_check_findings())
        self.assertIn("is on the worklist", request.worklist_findings)
        template.name = "Checked"
        template.charset = 'ISO_IR 192'
        template.save()
        self.assertIsNone(template.__class__(template.id).sample)

    @with_transaction()
    def test_sample_rights(self):
        "Only who may save templates may try them with real patients"
        self.hospital()
        request = self.request()
        for login, group, real in [
                ('admin2', IMAGING_ADMIN, True),
                ('doctor', DOCTOR, False),
                ('nobody', None, False),
                ]:
            user = create_user(login, *filter(None, [group]))
            with self.subTest(login=login), \
                    Transaction().set_user(user.id), \
                    Transaction().set_context(_check_access=True):
                text = self.new(sample=request).on_change_with_check_text()
                self.assertEqual('Betz^Ana' in text, real)

    @with_transaction()
    def test_paths(self):
        "What a template reads of its request"
        Template = Pool().get('gnuhealth.imaging_worklist.worklist_template')
        self.new(name="Paths", template=(
                '${my.comment} {% if my.patient.party.dob %}x{% end %}'
                '{% for a in my.patient.party.addresses %}'
                '${a.country.code} ${my.results[0].number}{% end %}'
                '{% for my in my.results %}$my.number{% end %}'
                '$other.name')).save()
        paths = Template.paths()
        for path in ['comment', 'patient.party.dob',
                'patient.party.addresses.country.code', 'results.number']:
            self.assertIn(path, paths)
        self.assertNotIn('number', paths)
        self.assertFalse([p for p in paths if 'name' in p])

    @with_transaction()
    def test_history(self):
        "Each saved text is kept"
        Template = Pool().get('gnuhealth.imaging_worklist.worklist_template')
        history = Template.__table_history__()
        template = self.new(name="First", template='a')
        template.save()
        template.template = 'b'
        template.save()
        cursor = Transaction().connection.cursor()
        cursor.execute(*history.select(
                history.template, where=history.id == template.id))
        self.assertEqual({text for text, in cursor}, {'a', 'b'})
