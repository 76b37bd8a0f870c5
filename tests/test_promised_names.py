# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The names that GNU Health 5.0.4 gave to models, fields, tables, wizards,
menus and XML ids keep working.

promised_names.json is the one list of them.
"""
import json
import unittest
from pathlib import Path

from trytond.pool import Pool
from trytond.tests.test_tryton import (
    activate_module, drop_db, with_transaction)
from trytond.transaction import Transaction

PROMISED = json.loads(
    Path(__file__).with_name('promised_names.json').read_text('utf-8'))


class PromisedNamesTestCase(unittest.TestCase):
    "Test the names promised to hospitals that upgrade"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        drop_db()
        activate_module(['health_imaging_worklist', 'health_orthanc'])

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        drop_db()

    @with_transaction()
    def test_models(self):
        "Every model has its table, label, fields and buttons"
        pool = Pool()
        Label = pool.get('ir.model')
        own = self._own_models()
        for name, promised in PROMISED['models'].items():
            with self.subTest(model=name):
                model = pool.get(name)
                if promised['table']:
                    self.assertEqual(model._table, promised['table'])
                if name in own:
                    self.assertEqual(
                        Label.get_name(name), promised['label'])
                for button in promised['buttons']:
                    self.assertIn(button, model._buttons)
                    self.assertIn(button, model.__rpc__)
            for field_name, kind in promised['fields'].items():
                with self.subTest(model=name, field=field_name):
                    field = model._fields[field_name]
                    type_ = field._type
                    if hasattr(field, '_field'):
                        field = field._field
                    found = [type_]
                    if len(kind) > 1:
                        found.append(field.get_target().__name__)
                    self.assertEqual(found, kind)

    @staticmethod
    def _own_models():
        # the patient, the sequences and the like belong to other modules
        return {name for name in PROMISED['models']
            if name.startswith(('gnuhealth.imaging', 'gnuhealth.orthanc',
                    'gnuhealth.patient.imaging', 'gnuhealth.request'))
            and name != 'gnuhealth.orthanc.study'}

    @with_transaction()
    def test_wizards(self):
        "Every wizard has its states"
        pool = Pool()
        for name, promised in PROMISED['wizards'].items():
            with self.subTest(wizard=name):
                wizard = pool.get(name, type='wizard')
                self.assertEqual(wizard.start_state, promised['start_state'])
                for state, models in promised['states'].items():
                    self.assertIn(state, wizard.states)
                    if models:
                        self.assertEqual(
                            wizard.states[state].model_name, models[0])

    @with_transaction()
    def test_reports(self):
        "Every report has its action"
        pool = Pool()
        ModelData = pool.get('ir.model.data')
        Report = pool.get('ir.action.report')
        for name, promised in PROMISED['reports'].items():
            with self.subTest(report=name):
                pool.get(name, type='report')
                report = Report(
                    ModelData.get_id(*promised['xml_id'].split('.')))
                self.assertEqual(report.report_name, name)
                self.assertEqual(report.model, promised['model'])

    @with_transaction()
    def test_menus(self):
        "Every menu is where it was"
        pool = Pool()
        ModelData = pool.get('ir.model.data')
        Menu = pool.get('ir.ui.menu')
        for xml_id, path in PROMISED['menus'].items():
            with self.subTest(menu=xml_id):
                menu = Menu(ModelData.get_id(*xml_id.split('.')))
                with Transaction().set_context(language='en'):
                    self.assertEqual(menu.complete_name, path)

    @with_transaction()
    def test_xml_ids(self):
        "Every XML id names a record of the same model"
        pool = Pool()
        ModelData = pool.get('ir.model.data')
        for module, ids in PROMISED['xml_ids'].items():
            found = {data.fs_id: data.model for data in ModelData.search(
                    [('module', '=', module)])}
            for xml_id, model in ids.items():
                with self.subTest(module=module, xml_id=xml_id):
                    self.assertEqual(found.get(xml_id), model)


if __name__ == '__main__':
    unittest.main()
