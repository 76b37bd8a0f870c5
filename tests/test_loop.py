# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The loop on SQLite and on PostgreSQL, with a real Orthanc: from the order
over the worklist and the pictures to the linked study."""
import base64
import datetime as dt
import http.client
import io
import subprocess
from zoneinfo import ZoneInfo

import pydicom.data
import pytest
from proteus import Model, Wizard
from pynetdicom import AE

from demo import modality, people
from demo.hospital import connect
from demo.installation import SCRIPTS_LOGIN
from demo.play import SYNCHRONIZER, Loop
from demo.process import LOOPBACK
from demo.services import wait_until
from demo.steps import Report

# pressing Request to the answer of C-FIND
WORKLIST_LIMIT = 15
ZONE = ZoneInfo(people.TIMEZONE)


@pytest.fixture
def session(hospital):
    "proteus, logged in as the administrator"
    with connect(hospital):
        yield hospital


def ask(hospital, request):
    "What the station of the request sees of it on its worklist"
    items = modality.ask_worklist(
        LOOPBACK, hospital.orthanc.dicom_port,
        request.requested_test.aetitle, request.requested_test.test_type.code)
    return [
        item for item in items if item.StudyInstanceUID == request.merge_id]


def place_order(person, codes, **values):
    "Order with the New order wizard; return the drafts"
    Request = Model.get('gnuhealth.imaging.test.request')
    before = {request.id for request in Request.find([])}
    wizard = Wizard('gnuhealth.patient.imaging.test.request')
    wizard.form.patient, = Model.get('gnuhealth.patient').find(
        [('party.ref', '=', person.ref)])
    for test in Model.get('gnuhealth.imaging.test').find(
            [('code', 'in', codes)], order=[('code', 'ASC')]):
        wizard.form.tests.append(test)
    for name, value in values.items():
        setattr(wizard.form, name, value)
    wizard.execute('request')
    return Request.find(
        [('id', 'not in', list(before))], order=[('request_line', 'ASC')])


def publish(hospital, requests):
    "Press Request; return the items that the stations find"
    type(requests[0]).click(requests, 'requested')
    return [
        wait_until(
            lambda request=request: ask(hospital, request), WORKLIST_LIMIT,
            f"The worklist item of {request.request_line}")[0]
        for request in requests]


def take_pictures(hospital, request, item):
    aet = request.requested_test.aetitle
    pictures = modality.take_pictures(item, aet)
    modality.send_pictures(
        pictures, LOOPBACK, hospital.orthanc.dicom_port, aet)
    return pictures


def synchronize(hospital, *arguments):
    "Run the script of the PACS host"
    result = subprocess.run([
            str(hospital.state.python), str(SYNCHRONIZER),
            '-H', LOOPBACK, '-p', str(hospital.trytond.port),
            '-d', hospital.state.database, '-u', SCRIPTS_LOGIN,
            '--password-file', str(hospital.updater.password_path),
            *arguments],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=300)
    assert result.returncode == 0, result.stdout


def studies_of(request):
    return Model.get('gnuhealth.imaging_orthanc.study').find(
        [('request', '=', request.id)])


def dicom_name(person):
    return f'{person.family}^{person.given}'


def check_item(item, request, person):
    "The item says what the request says"
    test, = [t for t in people.TESTS if t.code == request.requested_test.code]
    step, = item.ScheduledProcedureStepSequence
    assert str(item.PatientName).rstrip('^') == dicom_name(person)
    assert item.PatientID == person.ref
    assert item.PatientBirthDate == person.birth.strftime('%Y%m%d')
    assert item.PatientSex == person.sex.upper()
    assert item.AccessionNumber == request.request
    assert item.StudyInstanceUID == request.merge_id
    assert item.RequestedProcedureID == request.request_line
    assert item.RequestedProcedureDescription == test.name
    assert item.RequestedProcedurePriority == (
        'STAT' if request.urgent else 'ROUTINE')
    assert item.InstitutionName == people.HOSPITAL
    assert step.ScheduledProcedureStepID == request.request_line
    assert step.ScheduledStationAETitle == test.aet
    assert step.Modality == test.modality
    local = request.scheduled_date.replace(
        tzinfo=dt.timezone.utc).astimezone(ZONE)
    assert step.ScheduledProcedureStepStartDate == local.strftime('%Y%m%d')
    assert step.ScheduledProcedureStepStartTime[:6] == local.strftime(
        '%H%M%S')
    assert item.TimezoneOffsetFromUTC == local.strftime('%z')


def check_study(study, request, pictures):
    "The mirror says what the modality sent, and whose it is"
    assert study.study_instance_UID == request.merge_id
    assert study.request == request
    assert study.patient == request.patient
    assert study.link_origin == 'uid'
    assert not study.to_verify
    assert study.accession_number == request.request
    assert study.patient_id == request.patient.puid
    assert study.study_date == dt.datetime.strptime(
        pictures[0].StudyDate, '%Y%m%d').date()
    assert study.instance_count == len(pictures)
    series, = study.series
    assert series.modality == request.requested_test.test_type.code
    assert sorted(i.sop_instance_UID for i in series.instances) == sorted(
        str(picture.SOPInstanceUID) for picture in pictures)


def test_loop_of_an_order(session):
    "An order of two lines becomes two linked studies"
    person = people.PATIENTS[0]
    requests = place_order(
        person, ['DEMO-CT-HEAD', 'DEMO-DX-CHEST'], urgent=True)
    assert [request.state for request in requests] == ['draft', 'draft']
    assert len({request.request for request in requests}) == 1
    assert len({request.request_line for request in requests}) == 2
    assert len({request.merge_id for request in requests}) == 2
    # a draft is on no worklist
    assert not any(ask(session, request) for request in requests)

    items = publish(session, requests)
    taken = []
    for request, item in zip(requests, items):
        check_item(item, request, person)
        taken.append(take_pictures(session, request, item))

    synchronize(session)
    studies = []
    for request, pictures in zip(requests, taken):
        study, = studies_of(request)
        check_study(study, request, pictures)
        assert study.imaging_test is None
        assert request.merge_id in study.ohif_viewer_link
        studies.append(study)
    # a study that has arrived is nothing to do any more
    for request in requests:
        request.reload()
        assert request.worklist_status == 'done'
        assert request.state == 'requested'
    wait_until(
        lambda: not any(ask(session, request) for request in requests),
        WORKLIST_LIMIT, "The worklist items go")

    for request, study in zip(requests, studies):
        Wizard('wizard.generate.result', [request])
        request.reload()
        study.reload()
        result, = request.results
        assert request.state == 'done'
        assert study.imaging_test == result
        assert result.patient == request.patient
        assert result.orthanc_studies == [study]


@pytest.mark.parametrize(
    'person', people.PATIENTS, ids=lambda person: person.country)
def test_names_of_every_script(session, person):
    "The station reads each name as it is written"
    request, = place_order(person, ['DEMO-MR-BRAIN'])
    item, = publish(session, [request])
    check_item(item, request, person)
    assert item.SpecificCharacterSet == 'ISO_IR 192'
    wizard = Wizard('gnuhealth.imaging.test.request.cancel', [request])
    wizard.form.reason = "Only the name was asked for"
    wizard.execute('cancel')
    wait_until(
        lambda: not ask(session, request), WORKLIST_LIMIT,
        "The cancelled item goes")


def test_result_before_the_study(session):
    "A study that arrives after the result is linked to it"
    person = people.PATIENTS[1]
    request, = place_order(person, ['DEMO-US-ABDOMEN'])
    item, = publish(session, [request])
    pictures = take_pictures(session, request, item)
    Wizard('wizard.generate.result', [request])
    synchronize(session)
    study, = studies_of(request)
    check_study(study, request, pictures)
    request.reload()
    assert study.imaging_test == request.results[0]


def test_studies_without_an_order(session):
    "What nobody ordered is mirrored and linked to nobody"
    Study = Model.get('gnuhealth.imaging_orthanc.study')
    path = pydicom.data.get_testdata_file('CT_small.dcm', download=False)
    with open(path, 'rb') as file:
        data = file.read()
    session.orthanc.post('/instances', data)
    synchronize(session)
    study, = Study.find([
            ('study_instance_UID', '=',
                str(pydicom.dcmread(path).StudyInstanceUID))])
    assert study.request is None
    assert study.patient is None
    assert study.imaging_test is None


def test_users_with_a_known_password(session):
    "Only the administrator and the scripts can log in"
    users = Model.get('res.user').find([('active', '=', True)])
    assert {user.login for user in users} == {'admin', SCRIPTS_LOGIN}


def test_every_way_to_synchronize(session):
    "Scheduler, button and wizards mirror the same, once"
    Study = Model.get('gnuhealth.imaging_orthanc.study')

    def mirrored():
        return sorted(
            study.orthanc_UID for study in Study.find(
                [('missing_since', '=', None)]))

    def with_scheduler():
        cron, = Model.get('ir.cron').find([
                ('method', '=',
                    'gnuhealth.orthanc.sync.run|synchronize_servers')])
        cron.click('run_once')

    def with_button():
        server, = Model.get('gnuhealth.orthanc.config').find([])
        server.click('synchronize')

    def with_wizard_new():
        wizard = Wizard('gnuhealth.imaging_orthanc.get_new_studies')
        wizard.execute('update')

    def with_wizard_full():
        wizard = Wizard('gnuhealth.imaging_orthanc.full_synchronize')
        wizard.execute('synchronize')

    def with_script():
        synchronize(session, '--full')

    person = people.PATIENTS[5]
    for way in (with_scheduler, with_button, with_wizard_new,
            with_wizard_full, with_script):
        request, = place_order(person, ['DEMO-DX-CHEST'])
        item, = publish(session, [request])
        take_pictures(session, request, item)
        way()
        wait_until(
            lambda request=request: studies_of(request), 30,
            f"{way.__name__} links the study")
        assert mirrored() == sorted(session.orthanc.get('/studies')), way


def test_a_study_that_is_gone(session):
    "A study deleted in Orthanc is marked missing and keeps its link"
    person = people.PATIENTS[2]
    request, = place_order(person, ['DEMO-CT-HEAD'])
    item, = publish(session, [request])
    take_pictures(session, request, item)
    synchronize(session)
    study, = studies_of(request)
    assert study.missing_since is None
    session.orthanc.delete(f'/studies/{study.orthanc_UID}')
    synchronize(session, '--full')
    study.reload()
    assert study.missing_since is not None
    assert study.request == request
    assert study.patient == request.patient


def test_what_the_demo_plays(session):
    "The demo's order ends as a row with its study, result and viewer link"
    stream = io.StringIO()
    loop = Loop(session, Report(stream))
    loop.play()
    rows, _ = loop.rows()
    order, patient, accession, study, result, link = rows[-1]
    request, = Model.get('gnuhealth.imaging.test.request').find(
        [('request_line', '=', order)])
    assert accession == request.request
    assert patient == request.patient.rec_name
    assert study.startswith(request.requested_test.name)
    assert result == request.results[0].number
    assert request.merge_id in link
    assert f"{order}, " in stream.getvalue()


def test_other_machines_are_refused(sqlite_hospital, monkeypatch):
    "Another address than 127.0.0.1 is told nothing and brings nothing"
    hospital, elsewhere = sqlite_hospital, ('127.0.0.2', 0)
    with connect(hospital):
        request, = place_order(people.PATIENTS[3], ['DEMO-DX-CHEST'])
        item, = publish(hospital, [request])
    stored = hospital.orthanc.get('/statistics')

    associate = AE.associate
    monkeypatch.setattr(AE, 'associate', lambda *args, **values: associate(
            *args, **values, bind_address=elsewhere))
    with pytest.raises(modality.ModalityError):
        ask(hospital, request)
    take_pictures(hospital, request, item)
    assert hospital.orthanc.get('/statistics') == stored

    account = f'{hospital.orthanc.user}:{hospital.orthanc.password}'
    connection = http.client.HTTPConnection(
        LOOPBACK, hospital.orthanc.http_port, source_address=elsewhere)
    connection.request('GET', '/system', headers={
            'Authorization': 'Basic '
            + base64.b64encode(account.encode()).decode()})
    assert connection.getresponse().status == http.client.UNAUTHORIZED
    connection.close()
