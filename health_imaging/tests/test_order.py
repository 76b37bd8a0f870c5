# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import datetime as dt
import unittest

import pytz

from trytond.modules.health_imaging.dates import day_bounds, now
from trytond.modules.health_imaging.exceptions import (
    DeceasedPatientWarning, InactivePatientError, InactiveTestError,
    ModalityWarning, NotOpenError, OrderLineError, OrderNumberError,
    ScheduleError)
from trytond.modules.health_imaging.modality import DEFINED_TERMS
from trytond.pool import Pool
from trytond.tests.test_tryton import (
    activate_module, drop_db, with_transaction)
from trytond.transaction import Transaction, without_check_access

from .tools import (
    DOCTOR, FRONT_DESK, IMAGING, Hospital, create_patient,
    create_professional, create_test, create_user)


class OrderTestCase(Hospital, unittest.TestCase):
    "Test what can be ordered, and how requests are found"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        drop_db()
        activate_module('health_imaging')

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        drop_db()

    def hospital(self):
        super().hospital()
        pool = Pool()
        self.Request = pool.get('gnuhealth.imaging.test.request')
        self.Result = pool.get('gnuhealth.imaging.test.result')

    def values(self, **values):
        return {
            'patient': self.patient.id,
            'requested_test': self.ct.id,
            'doctor': self.doctor.id,
            **values}

    def as_user(self, user):
        return Transaction().set_user(user.id, set_context=False)

    @with_transaction()
    def test_refused(self):
        "What makes no sense is refused, whoever asks, and names the record"
        self.hospital()
        other = create_patient("Bo", "Other", 'TST002GNU')
        gone = create_patient("Cy", "Gone", 'TST003GNU')
        gone.active = False
        gone.save()
        old = create_test('CTOLD', "CT old", active=False)
        self.request(request='A1')
        date = dt.datetime(2024, 5, 6, 7, 8)
        early = date - dt.timedelta(days=1, seconds=1)
        for error, name, lines in [
                (InactiveTestError, "CT old",
                    [self.values(requested_test=old.id)]),
                (InactivePatientError, "Gone",
                    [self.values(patient=gone.id)]),
                (OrderNumberError, "A1", [self.values(
                            request='A1', patient=other.id)]),
                (OrderNumberError, "A2", [
                        self.values(request='A2'),
                        self.values(request='A2', patient=other.id)]),
                (ScheduleError, "CT head", [self.values(
                            date=date, scheduled_date=early)]),
                ]:
            with self.subTest(error=error, name=name):
                with self.assertRaises(error) as cm:
                    self.Request.create(lines)
                self.assertIn(name, str(cm.exception))

    @with_transaction()
    def test_refused_change(self):
        self.hospital()
        gone = create_patient("Cy", "Gone", 'TST003GNU')
        gone.active = False
        gone.save()
        other = create_patient("Bo", "Other", 'TST002GNU')
        old = create_test('CTOLD', "CT old", active=False)
        request = self.request(request='A1')
        self.request(request='A1', requested_test=self.mr)
        for error, values in [
                (InactiveTestError, {'requested_test': old.id}),
                (InactivePatientError, {'patient': gone.id}),
                (OrderNumberError, {'patient': other.id}),
                (ScheduleError, {'date': dt.datetime(1, 1, 1)}),
                (ScheduleError, {'scheduled_date': dt.datetime.max}),
                (ScheduleError, {
                        'scheduled_date':
                        request.date - dt.timedelta(days=2)})]:
            with self.subTest(error=error):
                with self.assertRaises(error):
                    self.Request.write([request], values)

        self.patient.active = False
        self.patient.save()
        request = self.request(patient=create_patient(
                "Di", "Here", 'TST004GNU'))
        request.patient.active = False
        request.patient.save()
        with self.assertRaises(InactivePatientError):
            self.Request.requested([request])

    @with_transaction()
    def test_ordered_afterwards(self):
        "In an emergency the order is written after the study"
        self.hospital()
        date = dt.datetime(2024, 5, 6, 7, 8)
        request = self.request(
            date=date, scheduled_date=date - dt.timedelta(hours=20))
        self.assertEqual(request.state, 'draft')
        # a program that gives the time of the study alone
        self.assertEqual(self.request(scheduled_date=date).date, date)

    @with_transaction()
    def test_deceased(self):
        "One confirmation is enough for all lines"
        Warning = Pool().get('res.user.warning')
        self.hospital()
        self.patient.party.deceased = True
        self.patient.party.save()
        lines = [self.values(), self.values(requested_test=self.mr.id)]
        with self.assertRaises(DeceasedPatientWarning) as cm:
            self.Request.create(lines)
        self.assertIn("Betz", cm.exception.message)
        Warning(
            user=Transaction().user, name=cm.exception.name).save()
        self.assertEqual(len(self.Request.create(lines)), 2)

    @with_transaction()
    def test_lines_are_unique(self):
        "A line of an order is for one request; old ones may have none"
        self.hospital()
        first, second = (self.request() for _ in range(2))
        with self.assertRaises(OrderLineError) as cm:
            self.request(
                request=first.request, request_line=first.request_line)
        self.assertIn(first.request_line, cm.exception.message)
        with self.assertRaises(OrderLineError):
            self.Request.write([second], {
                    'request': first.request,
                    'request_line': first.request_line})
        added = self.request(request=first.request)
        self.assertEqual(added.request_line, f'{first.request}-02')
        # as older databases have it
        table = self.Request.__table__()
        cursor = Transaction().connection.cursor()
        for line in [None, '1']:
            cursor.execute(*table.update(
                    columns=[table.request_line], values=[line],
                    where=table.request == first.request))
            first, added = self.Request.browse([first, added])
            self.Request.write([added], {'urgent': True})
            self.Request.requested([first])
        self.assertEqual(
            self.request(request=first.request).request_line,
            f'{first.request}-02')

    def test_days_of_two_midnights(self):
        "A day holds all its hours where clocks change at midnight"
        for name, day, hours in [
                ('America/Havana', dt.date(2025, 11, 2), 25),
                ('America/Havana', dt.date(2025, 3, 9), 23),
                ('America/Havana', dt.date(2025, 3, 8), 24),
                ('America/Asuncion', dt.date(2023, 10, 1), 23),
                ('Africa/Cairo', dt.date(2025, 4, 25), 23),
                ('Europe/Madrid', dt.date(2025, 10, 26), 25),
                ('Pacific/Apia', dt.date(2011, 12, 29), 24),
                ]:
            with self.subTest(zone=name, day=day):
                zone = pytz.timezone(name)
                start, end = day_bounds(day, zone)
                self.assertEqual(end - start, dt.timedelta(hours=hours))
                for moment in [start, end - dt.timedelta(seconds=1)]:
                    self.assertEqual(
                        pytz.utc.localize(moment).astimezone(zone).date(),
                        day)

    @with_transaction()
    def test_cancel_nothing(self):
        Cancel = Pool().get(
            'gnuhealth.imaging.test.request.cancel', type='wizard')
        self.hospital()
        done = self.result().request
        with Transaction().set_context(
                active_model=self.Request.__name__, active_id=done.id,
                active_ids=[done.id]):
            session_id, _, _ = Cancel.create()
            with self.assertRaises(NotOpenError) as cm:
                Cancel.execute(
                    session_id, {'start': {'reason': "No"}}, 'cancel')
        self.assertIn(done.rec_name, str(cm.exception))

    @with_transaction()
    def test_many_at_once(self):
        "Press Request, and Cancel, on what was selected in the list"
        pool = Pool()
        Cancel = pool.get(
            'gnuhealth.imaging.test.request.cancel', type='wizard')
        self.hospital()
        requests = self.Request.create([self.values() for _ in range(5)])
        user = create_user('doctor', DOCTOR)
        with self.as_user(user), Transaction().set_context(
                _check_access=True, active_model=self.Request.__name__,
                active_id=requests[0].id,
                active_ids=[r.id for r in requests]):
            self.Request.requested(requests[:3])
            self.assertEqual(
                [r.state for r in self.Request.browse(requests)],
                ['requested'] * 3 + ['draft'] * 2)
            session_id, _, _ = Cancel.create()
            with without_check_access():
                # as by RPC
                Cancel.execute(
                    session_id, {'start': {'reason': "Strike"}}, 'cancel')
        self.assertEqual(
            {(r.state, r.cancel_reason)
                for r in self.Request.browse(requests)},
            {('cancelled', "Strike")})

    @with_transaction()
    def test_result_again(self):
        "A draft result that was deleted is made again, once"
        self.hospital()
        result = self.result()
        request = result.request
        self.Result.delete([result])
        again, = self.Request.create_results([self.Request(request.id)])
        self.assertEqual(again.request, request)
        self.assertEqual(
            self.Request.create_results([self.Request(request.id)]), [again])

    def found(self, clause):
        return set(self.Request.search([clause]))

    @with_transaction()
    def test_search_modality(self):
        self.hospital()
        ct = self.request()
        mr = self.request(requested_test=self.mr)
        self.assertEqual((ct.modality, mr.modality), ('CT', 'MR'))
        self.assertEqual(self.found(('modality', '=', 'CT')), {ct})
        self.assertEqual(self.found(('modality', 'ilike', '%m%')), {mr})
        self.assertEqual(self.found(('modality', 'in', ['CT', 'MR'])), {
                ct, mr})
        self.assertEqual(self.found(('modality', '!=', 'CT')), {mr})

    @with_transaction()
    def test_search_test(self):
        "A study is found by its code, name and modality"
        Test = Pool().get('gnuhealth.imaging.test')
        self.hospital()
        for name, found in [
                ("CTHEAD", [self.ct]),
                ("T hea", [self.ct]),
                ("knee", [self.mr]),
                ("Magnetic", [self.mr]),
                ("MR", [self.mr]),
                ("X-ray", [])]:
            with self.subTest(name=name):
                self.assertEqual(
                    Test.search([('rec_name', 'ilike', f'%{name}%')]), found)
        self.assertEqual(Test.search([('modality', '=', 'MR')]), [self.mr])
        self.assertEqual(Test.search([]), [self.ct, self.mr])

    @with_transaction()
    def test_search_today(self):
        Company = Pool().get('company.company')
        self.hospital()
        company = Company(Transaction().context['company'])
        for name in ['Europe/Madrid', 'Asia/Tokyo', 'America/Lima']:
            company.timezone = name
            company.save()
            zone = pytz.timezone(name)
            start, end = day_bounds(dt.datetime.now(zone).date(), zone)
            self.assertTrue(start <= now() < end)
            date = start - dt.timedelta(days=3)
            second = dt.timedelta(seconds=1)
            before, first, last, after = [
                self.request(date=date, scheduled_date=scheduled)
                for scheduled in [start - second, start, end - second, end]]
            never = self.request(date=date)
            self.Request.write([never], {'scheduled_date': None})
            ids = [r.id for r in [before, first, last, after, never]]
            with self.subTest(zone=name):
                for clause, found in [
                        (('today', '=', True), {first, last}),
                        (('today', '!=', True), {before, after, never}),
                        (('today', '=', False), {before, after, never}),
                        (('today', 'in', [True, False]), set(
                            self.Request.browse(ids))),
                        (('today', 'in', []), set())]:
                    self.assertEqual(set(self.Request.search([
                                    clause, ('id', 'in', ids)])), found)
                self.assertEqual(
                    [r.today for r in self.Request.browse(ids)],
                    [False, True, True, False, False])

    def test_day_bounds(self):
        "A day has 23 or 25 hours when clocks change"
        zone = pytz.timezone('Europe/Madrid')
        for day, hours in [
                (dt.date(2024, 5, 6), 24),
                (dt.date(2024, 3, 31), 23),
                (dt.date(2024, 10, 27), 25)]:
            start, end = day_bounds(day, zone)
            self.assertEqual(end - start, dt.timedelta(hours=hours))
        self.assertEqual(start, dt.datetime(2024, 10, 26, 22))

    @with_transaction()
    def test_my_requests(self):
        self.hospital()
        user = create_user('doctor', DOCTOR)
        other = create_professional("Dora", "Other", user)
        mine = self.result().request
        theirs = self.request(doctor=other)
        nobody = create_user('nobody', IMAGING)
        desk = create_user('desk', FRONT_DESK)

        self.assertEqual(self.found(('mine', '=', True)), {mine})
        self.assertEqual(self.found(('mine', '=', False)), {theirs})
        self.assertTrue(self.Request(mine.id).mine)
        with self.as_user(user):
            self.assertEqual(self.found(('mine', '=', True)), {theirs})
        with self.as_user(nobody):
            self.assertEqual(self.found(('mine', '=', True)), set())

        self.assertEqual(self.found(('unread', '=', True)), set())
        self.Result.report(list(mine.results))
        with self.as_user(desk), \
                Transaction().set_context(_check_access=True):
            # without a right on results
            self.assertEqual(self.found(('unread', '=', True)), {mine})
            self.assertEqual(self.found(('unread', '=', False)), {theirs})
            self.assertTrue(self.Request(mine.id).unread)
        self.Result.mark_read(list(mine.results))
        self.assertEqual(self.found(('unread', '=', True)), set())

    @with_transaction()
    def test_modality_terms(self):
        "The types are modalities of DICOM, but for XR of GNU Health 5.0"
        Type = Pool().get('gnuhealth.imaging.test.type')
        Warning = Pool().get('res.user.warning')
        self.assertEqual(
            {t.code for t in Type.search([])} - DEFINED_TERMS, {'XR'})
        xr, = Type.search([('code', '=', 'XR')])
        Type.write([xr], {'active': True})
        Type.create([{'code': 'MG', 'name': "Breast"}])
        for code in ['XR', 'mr', 'CT1', "TOO LONG FOR DICOM"]:
            with self.subTest(code=code):
                with self.assertRaises(ModalityWarning) as cm:
                    Type.create([{'code': code, 'name': "Own"}])
                self.assertIn(code, cm.exception.message)
        Warning(user=Transaction().user, name=cm.exception.name).save()
        Type.create([{'code': code, 'name': "Own"}])

    @with_transaction()
    def test_type_change(self):
        "A hospital changes the types that are shipped"
        Type = Pool().get('gnuhealth.imaging.test.type')
        user = create_user(
            'chief', 'health_imaging.group_health_imaging_admin')
        with self.as_user(user), \
                Transaction().set_context(_check_access=True):
            io, = Type.search([('code', '=', 'IO')])
            Type.write([io], {'name': "Dental", 'active': False})
            px, = Type.search([('code', '=', 'PX')])
            Type.delete([px])

    def test_modality_codes(self):
        "The terms are those of CID 29 in pydicom's copy of PS3.16, and more"
        from pydicom.sr._cid_dict import cid_concepts
        from pydicom.sr._concepts_dict import concepts
        names = cid_concepts[29]['DCM']
        codes = {next(iter(concepts['DCM'][name])) for name in names}
        self.assertGreater(len(codes), 40)
        self.assertLessEqual(codes, DEFINED_TERMS)
