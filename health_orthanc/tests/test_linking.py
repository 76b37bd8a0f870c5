# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import datetime as dt
import unittest

from trytond.modules.health_imaging.tests.tools import (
    IMAGING, IMAGING_ADMIN, create_patient, create_test, create_user)
from trytond.modules.health_orthanc.exceptions import (
    LinkChoiceError, LinkContradictionError, LinkedError, LinkReasonError)
from trytond.modules.health_orthanc.linking import TO_LINK
from trytond.modules.health_orthanc.matching import Matcher
from trytond.modules.health_orthanc.names import same_name
from trytond.pool import Pool
from trytond.tests.test_tryton import (
    activate_module, drop_db, with_transaction)
from trytond.transaction import Transaction

from .tools import STUDY_UID, ImagingMixin

STUDY = 'gnuhealth.imaging_orthanc.study'
REQUEST = 'gnuhealth.imaging.test.request'


class LinkingMixin(ImagingMixin):
    "Requests, studies, and what the wizards show"

    def request(self, patient=None, test=None, **values):
        Request = Pool().get(REQUEST)
        request = Request(
            patient=patient or self.patient,
            requested_test=test or self.test, **values)
        request.save()
        Request.requested([request])
        return Request(request.id)

    def arrive(self, patient_id='FOREIGN', name='BETZ^ANA', birth=None,
            **values):
        "Return a study as the mirror holds it"
        pool = Pool()
        OrthancPatient = pool.get('gnuhealth.orthanc.patient')
        Study = pool.get(STUDY)
        if not hasattr(self, 'pacs') or not self.pacs:
            self.pacs = self.server()
        self.count = getattr(self, 'count', 0) + 1
        row, = OrthancPatient.create([{
                    'server': self.pacs.id,
                    'uuid': f'patient-{self.count}',
                    'name': name,
                    'ident': patient_id,
                    'bd': birth,
                    }])
        study, = Study.create([{
                    'server_config': self.pacs.id,
                    'orthanc_UID': f'study-{self.count}',
                    'study_instance_UID': f'{STUDY_UID}.{self.count}',
                    'orthanc_patient': row.id,
                    'patient_name': name,
                    'patient_id': patient_id,
                    'study_date': dt.date(2026, 3, 4),
                    'modalities': 'CT',
                    **values,
                    }])
        return Study(study.id)

    def setUp(self):
        self.pacs = None

    def open(self, record, name='gnuhealth.orthanc.link'):
        "Open the wizard; return what it shows and a function to go on"
        Wizard, session = self.wizard(name, record)
        shown = Wizard.execute(session, {}, 'start')['view']['defaults']

        def go_on(state, **values):
            keep = {k: v for k, v in shown.items() if '.' not in k}
            keep.update(values)
            if 'proposals' in keep:
                keep['proposals'] = [
                    {k: v for k, v in p.items() if '.' not in k}
                    for p in keep['proposals']]
            Wizard.execute(session, {'start': keep}, state)
        return shown, go_on

    def waiting(self):
        return Pool().get(STUDY).search(TO_LINK)

    def lines(self, count=2):
        "Return the requested lines of one order"
        Request = Pool().get(REQUEST)
        number = f'ORDER{count}'
        requests = Request.create([{
                    'patient': self.patient.id,
                    'requested_test': self.test.id,
                    'request': number,
                    'doctor': Request.default_doctor(),
                    } for _ in range(count)])
        Request.requested(requests)
        return Request.browse(requests)


class LinkingTestCase(LinkingMixin, unittest.TestCase):
    "Test how people link studies"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        drop_db()
        activate_module(['health_orthanc', 'health_imaging_worklist'])

    @classmethod
    def tearDownClass(cls):
        drop_db()
        super().tearDownClass()

    def test_names(self):
        "Names agree whatever the order, accents and case"
        for one, other, expected in [
                ('BETZ^ANA', "Ana Betz", True),
                ('BETZ^ANA^MARIA', "Ana Betz", True),
                ('GARCIA LOPEZ^JOSE', "José García López", True),
                ('BETZ', "Ana Betz", False),
                ('BETZ^EVA', "Ana Betz", False),
                ('', "", False),
                (None, "Ana Betz", False),
                ]:
            with self.subTest(one=one, other=other):
                self.assertEqual(same_name(one, other), expected)

    @with_transaction()
    def test_link(self):
        "One press links the study, makes the result and ends the worklist"
        pool = Pool()
        Study, Request = pool.get(STUDY), pool.get(REQUEST)
        self.hospital()
        other = create_patient("Joe", "Doe", 'TST002GNU')
        self.request(other)
        request = self.request()
        study = self.arrive(
            birth=self.patient.party.dob, accession_number=request.request)
        self.assertEqual(self.waiting(), [study])
        self.assertIn(request.rec_name, study.proposal)
        shown, go_on = self.open(study)
        self.assertEqual(shown['patient_id'], 'FOREIGN')
        best = shown['proposals'][0]
        self.assertEqual(best['request'], request.id)
        self.assertTrue(best['chosen'])
        self.assertEqual(
            best['agrees'], 'accession number, name, birth date, modality')
        self.assertFalse(best['contradicts'])
        go_on('link')
        study, request = Study(study.id), Request(request.id)
        result, = request.results
        self.assertEqual(
            (study.patient, study.request, study.imaging_test,
                study.link_origin),
            (self.patient, request, result, 'person'))
        self.assertEqual(
            (request.state, request.worklist_status), ('done', 'done'))
        self.assertEqual(self.waiting(), [])
        entry, = self.audit()
        self.assertEqual(
            (entry.event, entry.user.id, entry.patient),
            ('link', Transaction().user, self.patient))
        self.assertIn('accession number', entry.detail)

        Study.undo_link([study])
        study = Study(study.id)
        self.assertEqual(
            (study.patient, study.request, study.imaging_test),
            (None, None, None))
        self.assertEqual(self.waiting(), [study])
        self.assertEqual(self.audit()[0].event, 'unlink')
        self.assertIn(result.rec_name, self.audit()[0].detail)

    @with_transaction()
    def test_ranking(self):
        "The more agrees, the higher; what says nothing is not shown"
        self.hospital()
        joe = create_patient(
            "Joe", "Doe", 'TST002GNU', dob=dt.date(1970, 5, 6))
        mr = create_test('MRHEAD', "MR head", 'mri')
        day = dt.datetime(2026, 3, 4, 9)
        near = self.request(joe, scheduled_date=day, date=day)
        self.request(joe, mr, scheduled_date=day, date=day)
        open_ = self.request()
        study = self.arrive('TST001GNU', birth=self.patient.party.dob)
        shown, _ = self.open(study)
        self.assertEqual(
            [(p.get('request'), p['patient']) for p in shown['proposals']],
            [(open_.id, self.patient.id), (None, self.patient.id),
                (near.id, joe.id)])
        self.assertIn("TST001GNU", shown['proposals'][2]['contradicts'])

    @with_transaction()
    def test_patient_alone(self):
        "A study without an order is linked to its patient"
        self.hospital()
        study = self.arrive(birth=self.patient.party.dob)
        shown, go_on = self.open(study)
        self.assertEqual(len(shown['proposals']), 1)
        go_on('link')
        study = type(study)(study.id)
        self.assertEqual(
            (study.patient, study.request, study.link_origin),
            (self.patient, None, 'person'))
        self.assertEqual(self.waiting(), [])

    @with_transaction()
    def test_choice(self):
        "One line is chosen, and once"
        self.hospital()
        request = self.request()
        study = self.arrive(birth=self.patient.party.dob)
        shown, go_on = self.open(study)
        proposals = shown['proposals']
        self.assertEqual(len(proposals), 2)
        for chosen in [False, True]:
            with self.assertRaises(LinkChoiceError):
                go_on('link', proposals=[
                        {**p, 'chosen': chosen} for p in proposals])
        go_on('link')
        with self.assertRaises(LinkedError):
            study.link_to(self.patient, self.request())
        self.assertEqual(type(study)(study.id).request, request)

    def contradicted(self):
        self.hospital()
        create_patient("Joe", "Doe", 'TST002GNU')
        request = self.request()
        study = self.arrive(
            'TST002GNU', birth=dt.date(1999, 9, 9),
            accession_number=request.request)
        return study, request

    @with_transaction()
    def test_contradiction(self):
        "A contradiction is refused with both facts"
        study, request = self.contradicted()
        user = create_user('imaging', IMAGING)
        with Transaction().set_user(user.id):
            shown, go_on = self.open(study)
            line = next(p for p in shown['proposals']
                if p.get('request') == request.id)
            self.assertFalse(line['chosen'])
            with self.assertRaises(LinkContradictionError) as raised:
                go_on('link', reason="Wrong badge", proposals=[
                        {**line, 'chosen': True}])
        for fact in ['TST002GNU', 'Doe', 'TST001GNU', '1999', '1985']:
            self.assertIn(fact, raised.exception.message)
        study = type(study)(study.id)
        self.assertFalse(study.patient)
        self.assertEqual(request.state, 'requested')
        with Transaction().set_user(user.id), \
                self.assertRaises(LinkContradictionError):
            type(study).write([study], {'patient': self.patient.id})
        # whatever a client says in the context
        for name in ['orthanc_linking', '_orthanc_linking']:
            args, kwargs, context, _ = type(study).__rpc__['write'].convert(
                type(study), [study.id], {'patient': self.patient.id},
                {name: True})
            with self.subTest(name), Transaction().set_user(user.id), \
                    Transaction().set_context(context), \
                    self.assertRaises(LinkContradictionError):
                type(study).write(*args, **kwargs)

    @with_transaction()
    def test_deliberate(self):
        "An imaging administrator links across it with a reason"
        study, request = self.contradicted()
        user = create_user('boss', IMAGING_ADMIN)
        with Transaction().set_user(user.id):
            shown, go_on = self.open(study)
            lines = [{**p, 'chosen': p.get('request') == request.id}
                for p in shown['proposals']]
            with self.assertRaises(LinkReasonError):
                go_on('link', proposals=lines)
            go_on('link', proposals=lines, reason="Wrong badge")
        study = type(study)(study.id)
        self.assertEqual(study.request, request)
        entry = self.audit()[0]
        self.assertEqual((entry.reason, entry.user), ("Wrong badge", user))
        self.assertIn('1999', entry.detail)

    @with_transaction()
    def test_not_ours(self):
        "What is not ours leaves the queue, and may come back"
        Study = Pool().get(STUDY)
        self.hospital()
        study = self.arrive('TST001GNU')
        Study.not_ours([study])
        study = Study(study.id)
        self.assertEqual(study.not_ours_by.id, Transaction().user)
        self.assertTrue(study.not_ours_since)
        self.assertEqual(self.waiting(), [])
        # no order takes it
        self.request(merge_id=study.study_instance_UID)
        study = Study(study.id)
        self.assertFalse(study.request)
        Study.ours([study])
        study = Study(study.id)
        self.assertFalse(study.not_ours_since)
        self.assertEqual(study.link_origin, 'uid')
        with self.assertRaises(LinkedError):
            Study.not_ours([study])
        self.assertEqual(
            [a.event for a in self.audit()], ['link', 'ours', 'not_ours'])

    @with_transaction()
    def test_from_result(self):
        "The result offers the studies that may be its own"
        pool = Pool()
        Study, Request = pool.get(STUDY), pool.get(REQUEST)
        self.hospital()
        day = dt.datetime(2026, 3, 4, 9)
        request = self.request(scheduled_date=day, date=day)
        result, = Request.create_results([request])
        one = self.arrive('TST001GNU')
        other = self.arrive(birth=self.patient.party.dob)
        self.arrive(name='DOE^JOE', modalities='US')
        shown, go_on = self.open(result)
        self.assertEqual(
            [p['study'] for p in shown['proposals']], [one.id, other.id])
        go_on('link', proposals=[
                {**p, 'chosen': True} for p in shown['proposals']])
        self.assertEqual(
            {s.id for s in type(result)(result.id).orthanc_studies},
            {one.id, other.id})
        self.assertEqual(Study(one.id).request, request)

    @with_transaction()
    def test_order_study(self):
        "An emergency's study gets its order and result in one step"
        pool = Pool()
        Study, Request = pool.get(STUDY), pool.get(REQUEST)
        self.hospital()
        study = self.arrive('TST001GNU', study_time=dt.time(10, 30))
        shown, go_on = self.open(study, 'gnuhealth.orthanc.order_study')
        self.assertEqual(
            (shown['patient'], shown['requested_test']),
            (self.patient.id, self.test.id))
        # Madrid is an hour ahead
        self.assertEqual(shown['date'], dt.datetime(2026, 3, 4, 9, 30))
        go_on('order', urgent=True)
        study = Study(study.id)
        request, = Request.search([])
        self.assertEqual(
            (study.request, study.patient, study.imaging_test),
            (request, self.patient, request.results[0]))
        self.assertEqual(
            (request.state, request.worklist_status, request.merge_id,
                request.urgent),
            ('done', 'done', study.study_instance_UID, True))
        with self.assertRaises(LinkedError):
            go_on('order')

    @with_transaction()
    def test_orthanc_patient(self):
        "The link of Orthanc's patient is that of its studies"
        pool = Pool()
        Study = pool.get(STUDY)
        OrthancPatient = pool.get('gnuhealth.orthanc.patient')
        self.hospital()
        joe = create_patient("Joe", "Doe", 'TST002GNU')
        request = self.request()
        study = self.arrive(accession_number=request.request)
        row = study.orthanc_patient
        # a wrong one, and the right one
        OrthancPatient.write([row], {'patient': joe.id})
        self.assertEqual(Study(study.id).patient, joe)
        OrthancPatient.write([row], {'patient': self.patient.id})
        study = Study(study.id)
        self.assertEqual(
            (study.patient, study.request, study.link_origin),
            (self.patient, request, 'accession'))
        # not against its request
        with self.assertRaises(LinkContradictionError):
            OrthancPatient.write([row], {'patient': joe.id})

    @with_transaction()
    def test_orthanc_patient_contradiction(self):
        "Orthanc's patient is not linked to another PUID's patient"
        OrthancPatient = Pool().get('gnuhealth.orthanc.patient')
        self.hospital()
        joe = create_patient("Joe", "Doe", 'TST002GNU')
        row = self.arrive('TST001GNU').orthanc_patient
        with self.assertRaises(LinkContradictionError) as raised:
            OrthancPatient.write([row], {'patient': joe.id})
        for fact in ['TST001GNU', 'TST002GNU']:
            self.assertIn(fact, raised.exception.message)

    @with_transaction()
    def test_person_stays(self):
        "What a person linked does not follow Orthanc's patient"
        pool = Pool()
        Study = pool.get(STUDY)
        OrthancPatient = pool.get('gnuhealth.orthanc.patient')
        self.hospital()
        joe = create_patient("Joe", "Doe", 'TST002GNU')
        study = self.arrive()
        Study.write([study], {'patient': joe.id})
        OrthancPatient.write(
            [study.orthanc_patient], {'patient': self.patient.id})
        study = Study(study.id)
        self.assertEqual(
            (study.patient, study.link_origin), (joe, 'person'))

    @with_transaction()
    def test_corrected_puid(self):
        "Studies follow a PUID that is corrected"
        pool = Pool()
        Study = pool.get(STUDY)
        self.hospital()
        study = self.arrive('TST009GNU', name=None)
        self.patient.party.ref = 'TST009GNU'
        self.patient.party.save()
        study = Study(study.id)
        self.assertEqual(
            (study.patient, study.link_origin), (self.patient, 'puid'))
        # it was another one's
        self.patient.party.ref = 'TST001GNU'
        self.patient.party.save()
        self.assertEqual(Study(study.id).patient, self.patient)
        joe = create_patient("Joe", "Doe", 'TST002GNU')
        joe.party.ref = 'TST009GNU'
        joe.party.save()
        self.assertEqual(Study(study.id).patient, joe)
        self.assertEqual(Study(study.id).orthanc_patient.patient, joe)

    @with_transaction()
    def test_list_without_requests(self):
        "Who may not read requests opens the list of studies all the same"
        self.hospital()
        study = self.arrive()
        request = self.request()
        Study = Pool().get(STUDY)
        linked = self.arrive()
        linked.request = request
        linked.patient = request.patient
        linked.save()
        user = create_user('pacs', 'health_orthanc.group_imaging_orthanc')
        with Transaction().set_user(user.id), \
                Transaction().set_context(_check_access=True):
            fields = Study.fields_view_get(None, 'tree')['fields']
            names = [*fields, *(
                    f'{name}.rec_name' for name in fields
                    if fields[name]['type'] == 'many2one')]
            rows = Study.read([study.id, linked.id], names)
        self.assertEqual(
            {row['id']: row['has_request'] for row in rows},
            {study.id: False, linked.id: True})

    @with_transaction()
    def test_all_lines(self):
        "A study of several lines of an order is linked to all of them"
        pool = Pool()
        Study, Request = pool.get(STUDY), pool.get(REQUEST)
        self.hospital()
        one, two = self.lines()
        study = self.arrive(
            'TST001GNU', birth=self.patient.party.dob,
            accession_number=one.request)
        shown, go_on = self.open(study)
        self.assertTrue(shown['several_lines'])
        go_on('link_all')
        study, one, two = Study(study.id), Request(one.id), Request(two.id)
        self.assertEqual(
            (study.request, study.imaging_test), (one, one.results[0]))
        line, = study.further_lines
        self.assertEqual((line.request, line.result), (two, two.results[0]))
        self.assertEqual(one.results[0].orthanc_studies, (study,))
        self.assertEqual(two.results[0].shared_studies, (study,))
        for request in [one, two]:
            self.assertEqual(
                (request.state, request.worklist_status), ('done', 'done'))
        self.assertEqual(
            [a.detail.split('\n')[0] for a in self.audit()],
            [two.rec_name, one.rec_name])

        Study.undo_link([study])
        study = Study(study.id)
        self.assertEqual(
            (study.request, study.further_lines), (None, ()))
        self.assertEqual(
            type(two.results[0])(two.results[0].id).shared_studies, ())
        self.assertEqual(self.audit()[0].event, 'unlink')
        for record in [one.results[0], two]:
            self.assertIn(record.rec_name, self.audit()[0].detail)

    @with_transaction()
    def test_add_lines(self):
        "A linked study may serve other lines of its order, and no others"
        pool = Pool()
        Study, Request = pool.get(STUDY), pool.get(REQUEST)
        Line = pool.get('gnuhealth.orthanc.study_line')
        self.hospital()
        one, two, three = self.lines(3)
        other = self.request()
        study = self.arrive('TST001GNU')
        study.link_to(self.patient, one)
        study = Study(study.id)
        shown, go_on = self.open(study)
        self.assertEqual(
            [p['request'] for p in shown['proposals']], [two.id, three.id])
        go_on('link', proposals=[
                {**p, 'chosen': p['request'] == three.id}
                for p in shown['proposals']])
        study = Study(study.id)
        self.assertEqual([l.request for l in study.further_lines], [three])
        for request, error in [
                (other, LinkChoiceError), (one, LinkChoiceError),
                (three, LinkedError)]:
            with self.assertRaises(error):
                study.link_lines_to([request])
        # no accession number takes what a study serves
        self.assertEqual(Request(two.id).state, 'requested')
        # a result that is made anew shows the study
        result = Request(three.id).results[0]
        type(result).delete([result])
        result, = Request.create_results([three])
        self.assertEqual(result.shared_studies, (study,))
        # another order is chosen by hand
        Study.write([study], {
                'imaging_test': Request.create_results([other])[0].id})
        self.assertEqual(Line.search([]), [])

    @with_transaction()
    def test_several_orders(self):
        "Lines of two orders are not linked at once"
        self.hospital()
        self.request()
        self.request()
        study = self.arrive('TST001GNU')
        shown, go_on = self.open(study)
        self.assertFalse(shown['several_lines'])
        proposals = [
            {**p, 'chosen': True} for p in shown['proposals']
            if p.get('request')]
        self.assertEqual(len(proposals), 2)
        for state in ['link', 'link_all']:
            with self.assertRaises(LinkChoiceError):
                go_on(state, proposals=proposals)

    @with_transaction()
    def test_who_when_why(self):
        "Each link tells who made it, when and why"
        Study = Pool().get(STUDY)
        study, request = self.contradicted()
        user = create_user('boss', IMAGING_ADMIN)
        with Transaction().set_user(user.id):
            study.link_to(self.patient, request, "Wrong badge")
        study = Study(study.id)
        self.assertEqual(
            (study.link_origin, study.link_user, study.link_reason),
            ('person', user, "Wrong badge"))
        self.assertTrue(study.link_date)
        by_rule = self.arrive('TST001GNU')
        Matcher.match_rows(lambda table: table.id == by_rule.id)
        by_rule = Study(by_rule.id)
        self.assertEqual(
            (by_rule.link_origin, by_rule.link_user), ('puid', None))
        self.assertTrue(by_rule.link_date)
        with Transaction().set_user(user.id):
            Study.undo_link([by_rule])
        by_rule = Study(by_rule.id)
        self.assertEqual(
            (by_rule.patient, by_rule.link_user), (None, user))
