# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import datetime as dt
import json
import unittest
from unittest.mock import patch
from xmlrpc.client import dumps, loads

from pydicom.dataset import Dataset

from trytond.model.exceptions import AccessError
from trytond.modules.health_imaging.tests.tools import (
    IMAGING, create_patient, create_professional, create_test, create_user)
from trytond.modules.health_imaging_worklist import host as host_module
from trytond.modules.health_imaging_worklist import request as request_module
from trytond.modules.health_imaging_worklist import versions
from trytond.modules.health_imaging_worklist.exceptions import (
    HostError, HostLateError, WorklistAnswerError)
from trytond.pool import Pool
from trytond.tests.test_tryton import (
    activate_module, drop_db, with_transaction)
from trytond.transaction import Transaction

from .tools import WorklistMixin, forget, statements


def touch(record):
    """Make the row look as written by another transaction

    It began before all others: dates are compared, not put in order.
    """
    table = record.__class__.__table__()
    cursor = Transaction().connection.cursor()
    cursor.execute(*table.update(
            [table.write_date], [dt.datetime(2000, 1, 1)],
            where=table.id == record.id))


class PublicationTestCase(WorklistMixin, unittest.TestCase):
    "Test what the PACS hosts are told"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        drop_db()
        activate_module('health_imaging_worklist')

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        drop_db()

    def state(self, digest=None):
        Request = Pool().get('gnuhealth.imaging.test.request')
        answer = Request.worklist_state('pacs', digest)
        if answer['versions'] is not None:
            answer['versions'] = {
                int(id_): version for id_, version in (
                    line.split() for line in answer['versions'].split('\n')
                    if line)}
        return answer

    @with_transaction()
    def test_worklist_items(self):
        Request = Pool().get('gnuhealth.imaging.test.request')
        self.hospital()
        dump, other = self.request(), self.request(requested_test=self.mr)
        self.draft()
        self.request(requested_test=create_test('US', "US"))
        done = self.request()
        done.worklist_status = 'done'
        done.save()
        Request.create_results([self.request()])
        answer = Request.worklist_items()
        self.assertIsNone(answer['next'])
        one, two = answer['items']
        self.assertEqual(
            [one['id'], two['id']], [dump.id, other.id])
        self.assertEqual(
            {n: one[n] for n in [
                    'line', 'uid', 'type', 'charset', 'errors', 'warnings']},
            {
                'line': dump.request_line,
                'uid': dump.merge_id,
                'type': 'dump2dcm',
                'charset': 'ISO_IR 192',
                'errors': [],
                'warnings': [],
                })
        self.assertIn('PN [Betz^Ana]', one['text'])
        self.assertEqual(two['type'], 'json')
        for item in [one, two]:
            ds = Dataset.from_json(item['dataset'])
            self.assertEqual(ds.PatientName, 'Betz^Ana')
            self.assertEqual(ds.StudyInstanceUID, item['uid'])

    @with_transaction()
    def test_worklist_items_pages(self):
        Request = Pool().get('gnuhealth.imaging.test.request')
        self.hospital()
        requests = [self.request() for _ in range(5)]
        seen, after, pages = [], None, 0
        while True:
            answer = Request.worklist_items(after, 2)
            seen += [i['id'] for i in answer['items']]
            after = answer['next']
            pages += 1
            if after is None:
                break
        self.assertEqual(seen, [r.id for r in requests])
        self.assertEqual(pages, 3)

    @with_transaction()
    def test_worklist_items_errors(self):
        Request = Pool().get('gnuhealth.imaging.test.request')
        self.hospital()
        self.ct.aetitle = None
        self.ct.save()
        self.request()
        good = self.request(aetitle='CT2')
        one, two = Request.worklist_items()['items']
        self.assertEqual(one['errors'], [{
                    'attribute': 'ScheduledStationAETitle',
                    'code': 'empty',
                    }])
        self.assertIsNone(one['text'])
        self.assertIsNone(one['dataset'])
        self.assertEqual(two['id'], good.id)
        self.assertFalse(two['errors'])
        # what is said of a bad item names no value
        self.assertNotIn('Betz', json.dumps(one))

    @with_transaction()
    def test_worklist_items_statements(self):
        "The number of statements does not grow with the page"
        Request = Pool().get('gnuhealth.imaging.test.request')
        self.hospital()
        counts = []
        for total in [4, 40]:
            for i in range(total - len(Request.search([]))):
                patient = create_patient(
                    "Ana%d" % i, "Betz", 'T%02d%05d' % (total, i))
                self.request(patient=patient)
            forget()
            with statements() as executed:
                self.assertEqual(
                    len(Request.worklist_items()['items']), total)
            counts.append(len(executed))
        self.assertLessEqual(counts[1], counts[0])
        self.assertLess(counts[0], 40)

    @with_transaction()
    def test_rights_items(self):
        "The group Health Imaging alone is enough for the PACS host"
        Request = Pool().get('gnuhealth.imaging.test.request')
        self.hospital()
        self.request()
        user = create_user('pacs', IMAGING)
        with Transaction().set_user(user.id), \
                Transaction().set_context(_check_access=True):
            item, = Request.worklist_items()['items']
        self.assertFalse(item['errors'])
        self.assertIn('Betz^Ana', item['text'])

    @with_transaction()
    def test_rights_read_only(self):
        "Who only reads requests does not see what items say of the patient"
        pool = Pool()
        Attribute = pool.get('gnuhealth.imaging_worklist.attribute')
        Request = pool.get('gnuhealth.imaging.test.request')
        self.hospital()
        request = self.request()
        row, = request.worklist_attributes[:1]
        names = ['worklist_text', 'worklist_findings', 'worklist_attributes']
        for login, group, full in [
                ('desk', 'health.group_health_frontdesk', False),
                ('pacs', IMAGING, True)]:
            user = create_user(login, group)
            with self.subTest(login=login), \
                    Transaction().set_user(user.id), \
                    Transaction().set_context(_check_access=True):
                values, = Request.read([request.id], names)
                self.assertEqual(
                    [bool(values[n]) for n in names], [full] * 3)
                values, = Attribute.read([row.id], ['value'])
                self.assertEqual(bool(values['value']), full)
                if not full:
                    for method, arguments in [
                            (Request.worklist_items, []),
                            (Request.worklist_items_of, [[request.id]])]:
                        with self.assertRaises(AccessError):
                            method(*arguments)

    @with_transaction()
    def test_items_unforeseen(self):
        "A request that nobody foresaw stops no other one"
        Request = Pool().get('gnuhealth.imaging.test.request')
        self.hospital()
        self.dump.template += '(0032,1032) PN [a\\\\\\\\b]\n'
        self.dump.template = self.dump.template.replace(
            '(0032,1032) PN [$RequestingPhysician]\n', '')
        self.dump.value_mode = 'gnuhealth5'
        self.dump.save()
        bad, worse, good = (
            self.request(),
            self.request(requested_test=self.mr),
            self.request(requested_test=self.mr))
        original = Request.get_worklist_template_data

        def failing(self):
            if self == worse:
                raise ZeroDivisionError(self.patient.rec_name)
            return original(self)
        with patch.object(Request, 'get_worklist_template_data', failing), \
                self.assertLogs(request_module.logger, 'ERROR') as logged:
            items = Request.worklist_items()['items']
        self.assertIn(str(worse.id), logged.output[0])
        self.assertEqual(
            [(i['id'], [e['code'] for e in i['errors']]) for i in items],
            [
                (bad.id, ['multiple', 'text']), (worse.id, ['failed']),
                (good.id, [])])

    @with_transaction()
    def test_items_without_control_characters(self):
        "XML cannot carry them: one would cost the hosts the whole answer"
        Request = Pool().get('gnuhealth.imaging.test.request')
        self.hospital()
        template, = self.dump.copy([self.dump], {'value_mode': 'gnuhealth5'})
        template.charset = 'x\ufffe'
        template.template += "(0010,4000) LT [a\x0cb]\n"
        template.save()
        other, = self.dump.copy([template])
        other.template = self.dump.template + "# ${'\x01'}\n"
        other.save()
        for template in [template, other]:
            self.request(requested_test=create_test(
                    'X%s' % template.id, "X", aetitle='X',
                    imaging_worklist_template=template))
        self.request(patient=create_patient(
                "A\uffffna", "Betz\ufffe", 'TST003GNU'))
        answer = Request.worklist_items()
        loads(dumps((answer,), methodresponse=True, allow_none=True))
        bad, other, name = answer['items']
        self.assertEqual([e['code'] for e in bad['errors']], ['text'])
        self.assertFalse(other['errors'])
        self.assertIn('PN [Betz^A na]', name['text'])
        self.assertIn(
            {'attribute': 'PatientName', 'code': 'replaced'},
            name['warnings'])

    @with_transaction()
    def test_stations(self):
        "An item for each AE title of the study, or for the one chosen"
        Request = Pool().get('gnuhealth.imaging.test.request')
        self.hospital()
        self.ct.aetitle = 'CT1\\CT2\\CT1'
        self.ct.save()
        both, chosen = self.request(), self.request(aetitle='CT2')
        items = Request.worklist_items()['items']
        self.assertEqual(
            [(i['key'], i['id'], i['station']) for i in items], [
                (str(both.id), both.id, 'CT1'),
                ('%d-1' % both.id, both.id, 'CT2'),
                (str(chosen.id), chosen.id, 'CT2'),
                ])
        self.assertEqual(items[0]['uid'], items[1]['uid'])
        for item in items:
            step, = Dataset.from_json(
                item['dataset']).ScheduledProcedureStepSequence
            self.assertEqual(step.ScheduledStationAETitle, item['station'])
        self.assertIn("CT1, CT2", both.worklist_findings)
        self.assertEqual(
            self.draft().autocomplete_aetitle(), ['CT1', 'CT2'])

    @with_transaction()
    def test_state(self):
        Request = Pool().get('gnuhealth.imaging.test.request')
        self.hospital()
        empty = self.state()
        self.assertEqual((empty['count'], empty['versions']), (0, {}))
        one, two = self.request(), self.request(requested_test=self.mr)
        self.draft()
        state = self.state(empty['digest'])
        self.assertEqual(state['count'], 2)
        self.assertEqual(set(state['versions']), {one.id, two.id})
        again = self.state(state['digest'])
        self.assertIsNone(again['versions'])
        self.assertEqual(again['digest'], state['digest'])
        self.assertEqual(again['count'], 2)
        items = Request.worklist_items()['items']
        self.assertEqual(
            {i['id']: i['version'] for i in items}, state['versions'])
        one.worklist_status = 'done'
        one.save()
        self.assertEqual(
            self.state(state['digest'])['versions'],
            {two.id: state['versions'][two.id]})

    @with_transaction()
    def test_items_of(self):
        Request = Pool().get('gnuhealth.imaging.test.request')
        self.hospital()
        _, two, draft = self.request(), self.request(), self.draft()
        items = Request.worklist_items_of([two.id, draft.id, 10 ** 9])
        self.assertEqual([i['id'] for i in items['items']], [two.id])
        self.assertEqual(Request.worklist_items_of([]), {'items': []})
        with self.assertRaises(WorklistAnswerError):
            Request.worklist_items_of(list(range(1001)))

    @with_transaction()
    def test_done(self):
        "Requests with a result, if asked for"
        Request = Pool().get('gnuhealth.imaging.test.request')
        self.hospital()
        request = self.request()
        Request.write([request], {'state': 'done'})
        self.assertEqual(Request.worklist_state('pacs')['count'], 0)
        self.assertEqual(Request.worklist_items_of([request.id])['items'], [])
        self.assertEqual(
            Request.worklist_state('pacs', done=True)['count'], 1)
        for answer in [
                Request.worklist_items_of([request.id], True),
                Request.worklist_items(None, 500, True)]:
            item, = answer['items']
            self.assertEqual(item['id'], request.id)
        Request.write([request], {'worklist_status': 'done'})
        self.assertEqual(
            Request.worklist_state('pacs', done=True)['count'], 0)

    @with_transaction()
    def test_versions(self):
        "Whatever an item is made of gives it another version"
        pool = Pool()
        Pathology = pool.get('gnuhealth.pathology')
        Translation = pool.get('ir.translation')
        Company = pool.get('company.company')
        self.hospital()
        referring = create_professional("Ref", "Erring")
        pathology, = Pathology.create([{'name': "Headache", 'code': 'X1'}])
        self.dump.template += (
            '{# ${my.patient.party.fed_country} #}'
            '{% for a in my.patient.party.addresses %}'
            '${a.country.code}{% end %}')
        self.dump.save()
        country, = pool.get('country.country').create(
            [{'name': "Nowhere", 'code': 'NW', 'code3': 'NWH',
                    'code_numeric': '999'}])
        address, = pool.get('party.address').create(
            [{'party': self.patient.party.id, 'country': country.id}])
        request = self.request(
            institution=self.institution, referring_professional=referring,
            context=pathology)
        other = self.request(
            patient=create_patient("Joe", "Doe", ref='TST002GNU'),
            requested_test=self.mr)
        translation, = Translation.create([{
                    'name': 'gnuhealth.imaging.test,name', 'lang': 'en',
                    'type': 'model', 'res_id': self.ct.id,
                    'value': "CT", 'module': None}])
        company, = Company.search([])
        name, = self.patient.party.person_names
        state = self.state()
        with patch.object(versions.config, 'get', return_value='Asia/Tokyo'):
            self.assertNotEqual(
                self.state()['versions'][other.id],
                state['versions'][other.id])
        for record, both in [
                (request, False),
                (self.patient, False),
                (self.patient.party, False),
                (name, False),
                (address, False),
                (country, False),
                (self.ct, False),
                (self.ct.test_type, False),
                (self.dump, False),
                (translation, False),
                (referring, False),
                (referring.party, False),
                (pathology, False),
                (self.institution, True),
                (self.institution.party, True),
                (self.doctor, True),
                (self.doctor.party, True),
                (company, True),
                ]:
            with self.subTest(record=record):
                touch(record)
                changed = self.state(state['digest'])
                self.assertNotEqual(
                    changed['versions'][request.id],
                    state['versions'][request.id])
                if not both:
                    self.assertEqual(
                        changed['versions'][other.id],
                        state['versions'][other.id])
                state = changed
        name.__class__.delete([name])
        self.assertNotEqual(
            self.state()['versions'][request.id],
            state['versions'][request.id])

    @with_transaction()
    def test_state_statements(self):
        "The number of statements does not grow with the worklist"
        self.hospital()
        counts = []
        for total in [2, 12]:
            while self.state()['count'] < total:
                self.request()
            forget()
            with statements() as executed:
                self.state()
            counts.append(len(executed))
        self.assertEqual(counts[0], counts[1])
        self.assertLess(counts[0], 20)

    @with_transaction()
    def test_host(self):
        pool = Pool()
        Host = pool.get('gnuhealth.imaging.worklist.host')
        Request = pool.get('gnuhealth.imaging.test.request')
        self.hospital()
        self.state()
        host, = Host.search([])
        self.assertEqual(host.name, 'pacs')
        self.assertFalse(host.late)
        self.assertLess(
            host_module.now() - host.last_fetch, dt.timedelta(seconds=60))
        Request.worklist_fetched('pacs', 7, 1)
        forget()
        host, = Host.search([])
        self.assertEqual((host.published, host.failed), (7, 1))
        self.assertEqual(Host.search([('late', '=', True)]), [])
        Host.warn_late()

        host.last_fetch = host_module.now() - dt.timedelta(minutes=16)
        host.save()
        self.assertTrue(host.late)
        self.assertEqual(
            [level for level, _ in host.on_change_notify()],
            ['danger', 'warning'])
        self.assertEqual(Host.search([('late', '=', True)]), [host])
        self.assertEqual(Host.search([('late', '=', False)]), [])
        with self.assertRaises(HostLateError) as caught:
            Host.warn_late()
        self.assertIn('pacs', caught.exception.message)
        host.active = False
        host.save()
        self.assertFalse(host.late)
        Host.warn_late()

    @with_transaction()
    def test_host_refused(self):
        Request = Pool().get('gnuhealth.imaging.test.request')
        for name in ['', ' ', 'x' * 65, 'a\nb', None, 5]:
            with self.subTest(name=name):
                with self.assertRaises(HostError):
                    Request.worklist_state(name)
        for i in range(host_module.MAX_HOSTS):
            Request.worklist_state('host%d' % i)
        with self.assertRaises(HostError):
            Request.worklist_state('another')

    @with_transaction()
    def test_rights_state(self):
        Request = Pool().get('gnuhealth.imaging.test.request')
        self.hospital()
        request = self.request()
        pacs, nobody = create_user('pacs', IMAGING), create_user('nobody')
        calls = [
            lambda: Request.worklist_state('pacs'),
            lambda: Request.worklist_items_of([request.id]),
            lambda: Request.worklist_fetched('pacs', 1, 0),
            ]
        for user in [pacs, nobody]:
            with Transaction().set_user(user.id), \
                    Transaction().set_context(_check_access=True):
                for call in calls:
                    if user == pacs:
                        call()
                    else:
                        with self.assertRaises(AccessError):
                            call()
