# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import base64
import datetime as dt
import unittest

from lxml import etree

from trytond.model.exceptions import AccessError
from trytond.modules.health_imaging.tests.tools import create_user
from trytond.modules.health_orthanc.audit_message import (
    EVENTS, Event, messages)
from trytond.pool import Pool
from trytond.tests.test_tryton import activate_module, with_transaction
from trytond.transaction import Transaction, check_access

from .mirror import SyncMixin
from .orthanc import study
from .tools import STUDY_UID, ImagingMixin

# What PS3.15 A.5.1 wants of a message, in RELAX NG's XML syntax
CODED = '<attribute name="csd-code"/><attribute name="codeSystemName"/>' \
    '<attribute name="originalText"/>'
SCHEMA = f'''
<element name="AuditMessage" xmlns="http://relaxng.org/ns/structure/1.0"
    datatypeLibrary="http://www.w3.org/2001/XMLSchema-datatypes">
  <element name="EventIdentification">
    <attribute name="EventActionCode"><choice>
      <value>C</value><value>R</value><value>U</value><value>D</value>
      <value>E</value></choice></attribute>
    <attribute name="EventDateTime"><data type="dateTime"/></attribute>
    <attribute name="EventOutcomeIndicator"><choice><value>0</value>
      <value>4</value><value>8</value><value>12</value></choice></attribute>
    <element name="EventID">{CODED}</element>
    <zeroOrMore><element name="EventTypeCode">{CODED}</element></zeroOrMore>
  </element>
  <oneOrMore><element name="ActiveParticipant">
    <attribute name="UserID"/>
    <optional><attribute name="UserName"/></optional>
    <attribute name="UserIsRequestor"><data type="boolean"/></attribute>
    <zeroOrMore><element name="RoleIDCode">{CODED}</element></zeroOrMore>
  </element></oneOrMore>
  <element name="AuditSourceIdentification">
    <attribute name="AuditSourceID"/>
  </element>
  <zeroOrMore><element name="ParticipantObjectIdentification">
    <attribute name="ParticipantObjectID"/>
    <attribute name="ParticipantObjectTypeCode"><choice>
      <value>1</value><value>2</value></choice></attribute>
    <attribute name="ParticipantObjectTypeCodeRole"><choice>
      <value>1</value><value>3</value></choice></attribute>
    <element name="ParticipantObjectIDTypeCode">{CODED}</element>
    <element name="ParticipantObjectName"><data type="token"/></element>
    <zeroOrMore><element name="ParticipantObjectDetail">
      <attribute name="type"/>
      <attribute name="value"><data type="base64Binary"/></attribute>
    </element></zeroOrMore>
  </element></zeroOrMore>
</element>'''


class MessageTestCase(unittest.TestCase):
    "Test the audit as DICOM audit messages"

    def parse(self, *events):
        root = etree.fromstring(messages(events, 'https://his.example.org'))
        schema = etree.RelaxNG(etree.fromstring(SCHEMA))
        for element in root:
            schema.assertValid(element)
        return root

    def event(self, event='view', **values):
        return Event(**{
                'event': event,
                'title': "Viewer Opened",
                'date': dt.datetime(2026, 3, 4, 9, 5, 7),
                'server': "PACS",
                'user': 'cara',
                'user_name': "Cara Cordara",
                'study_uid': STUDY_UID,
                'patient_id': 'TST001GNU',
                'patient_name': "Betz, Ana",
                **values})

    def test_valid(self):
        "Test that messages of all events are valid, whatever is missing"
        nothing = dict.fromkeys([
                'user', 'user_name', 'study_uid', 'patient_id',
                'patient_name'])
        for event in EVENTS:
            for values in [
                    {}, nothing,
                    {'series_uid': '1.2.3', 'reason': "Weil <&> \x00\x0b\ud800"
                        .encode('utf-8', 'replace').decode(),
                        'detail': "١\nä", 'rule': 'uid',
                        'patient_name': "\x1b<b>&\"'\u202e"},
                    ]:
                with self.subTest(event=event, values=values):
                    message, = self.parse(self.event(event, **values))
                    if values is nothing:
                        requestor, = message.xpath(
                            'ActiveParticipant[@UserIsRequestor="true"]')
                        self.assertEqual(
                            requestor.get('UserID'), 'GNU Health')

    def test_content(self):
        "Test what a message says"
        message, = self.parse(self.event(
                'delete', series_uid='1.2.3', reason="Quality"))
        event, = message.xpath('EventIdentification')
        self.assertEqual(
            event.get('EventDateTime'), '2026-03-04T09:05:07+00:00')
        self.assertEqual(event.get('EventActionCode'), 'D')
        # of the study something is left
        self.assertEqual(event.find('EventID').get('csd-code'), '110103')
        self.assertEqual(
            event.find('EventTypeCode').get('csd-code'), 'delete')
        study, patient = message.xpath('ParticipantObjectIdentification')
        self.assertEqual(study.get('ParticipantObjectID'), STUDY_UID)
        self.assertEqual(patient.get('ParticipantObjectID'), 'TST001GNU')
        self.assertEqual({
                d.get('type'): base64.b64decode(d.get('value')).decode()
                for d in study.xpath('ParticipantObjectDetail')},
            {'SeriesInstanceUID': '1.2.3', 'Reason': "Quality"})
        message, = self.parse(self.event('delete'))
        self.assertEqual(
            message.find('.//EventID').get('csd-code'), '110105')


class AuditTestCase(ImagingMixin, unittest.TestCase):
    "Test who sees the audit and that nobody changes it"

    @classmethod
    def setUpClass(cls):
        activate_module(['health_orthanc', 'health_imaging_worklist'])

    @with_transaction()
    def test_readonly(self):
        "Test that nobody writes, whatever rights are given"
        pool = Pool()
        Audit = pool.get('gnuhealth.orthanc.audit')
        Access = pool.get('ir.model.access')
        Audit.note('view', [self.study(self.server())])
        entry, = Audit.search([])
        Access.write(Access.search([
                    ('model.model', '=', Audit.__name__)]), {
                'perm_read': True, 'perm_write': True,
                'perm_create': True, 'perm_delete': True})
        with check_access():
            for call in [
                    lambda: Audit.write([entry], {'detail': "x"}),
                    lambda: Audit.write([entry], {}),
                    lambda: Audit.delete([entry]),
                    lambda: Audit.copy([entry]),
                    lambda: Audit.import_data(
                        ['id', 'detail'], [[str(entry.id), "x"]]),
                    lambda: Audit.create([{
                                'date': entry.date, 'event': 'view'}])]:
                with self.assertRaises(AccessError):
                    call()
        self.assertEqual(
            [(e, e.detail) for e in Audit.search([])], [(entry, None)])

    @with_transaction()
    def test_events(self):
        "Test that all events of the audit have a DICOM code"
        Audit = Pool().get('gnuhealth.orthanc.audit')
        self.assertEqual(
            {key for key, _ in Audit.event.selection}, set(EVENTS))

    @with_transaction()
    def test_search_and_export(self):
        "Test that the imaging administrator searches and exports it"
        pool = Pool()
        Audit = pool.get('gnuhealth.orthanc.audit')
        Report = pool.get('gnuhealth.orthanc.audit.messages', type='report')
        self.hospital()
        study = self.study(self.server(), patient=self.patient.id)
        Audit.note('view', [study], detail="OHIF")
        entry, = Audit.search([])
        admin = create_user(
            'imgadm', 'health_imaging.group_health_imaging_admin')
        with Transaction().set_user(admin.id), check_access():
            for clause in [
                    ('patient', '=', self.patient.id),
                    ('patient.party.ref', '=', self.patient.party.ref),
                    ('user', '=', entry.user.id), ('event', '=', 'view'),
                    ('date', '>', dt.datetime(2020, 1, 1)),
                    ('study_uid', '=', STUDY_UID),
                    ('detail', 'ilike', 'ohif%')]:
                with self.subTest(clause=clause):
                    self.assertEqual(Audit.search([clause]), [entry])
            self.assertEqual(
                Audit.export_data([entry], [
                        'event', 'patient/rec_name', 'user/rec_name',
                        'server', 'detail']),
                [['view', self.patient.rec_name, entry.user.rec_name,
                        "PACS", "OHIF"]])
            extension, content, _, _ = Report.execute([entry.id], {})
        self.assertEqual(extension, 'xml')
        message, = etree.fromstring(content)
        etree.RelaxNG(etree.fromstring(SCHEMA)).assertValid(message)
        self.assertEqual(
            [o.get('ParticipantObjectID') for o in message.xpath(
                    'ParticipantObjectIdentification')],
            [STUDY_UID, self.patient.party.ref])

    @with_transaction()
    def test_result(self):
        "Test that a result which takes up its studies leaves a row"
        self.hospital()
        result = self.result()
        study = self.study(self.server(), request=result.request.id)
        Result = type(result)
        Result._link_arrived_studies([result])
        self.assertEqual(type(study)(study.id).imaging_test, result)
        entry, = self.audit()
        self.assertEqual((entry.event, entry.detail),
            ('link', result.rec_name))


class RulesTestCase(SyncMixin, ImagingMixin, unittest.TestCase):
    "Test that links by the rules are in the audit"

    def server(self, **values):
        return SyncMixin.server(self, **values)

    @with_transaction()
    def test_rules(self):
        "Test one row for each study, by the system, with the rule"
        Audit = Pool().get('gnuhealth.orthanc.audit')
        self.hospital()
        request = self.result().request
        server = self.server()
        puid = self.patient.party.ref
        self.orthanc.store(
            *study(StudyInstanceUID=request.merge_id, PatientID=puid,
                PatientBirthDate=None),
            *study(PatientID=puid, PatientBirthDate=None),
            *study(PatientID='NOBODY', PatientBirthDate=None))
        self.sync(server)
        self.assertEqual(
            sorted((a.rule, a.event, a.user, a.patient, a.server)
                for a in Audit.search([])), [
                (rule, 'link', None, self.patient, server.label)
                for rule in ['puid', 'uid']])
        # what is linked already is not linked once more
        self.sync(server, 'full')
        self.assertEqual(Audit.search([], count=True), 2)
