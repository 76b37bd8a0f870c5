# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A person uploads a folder from the web client: from the request to the
page in another tab, on a link to Orthanc that drops."""
import re

import pytest
from browser import SIZE, WebClient
from playwright.sync_api import expect
from proteus import Model
from test_browser import browser, screenshots  # noqa: F401
from test_loop import place_order

from demo import people
from demo.hospital import ORTHANC_LOGIN, connect
from trytond.modules.health_orthanc.tests.orthanc import dicom, generate_uid
from trytond.modules.health_orthanc.tests.proxy import proxy

PERSON = people.PATIENTS[4]
FILES, BROKEN = 300, 10


@pytest.fixture
def request_(sqlite_hospital):
    with connect(sqlite_hospital):
        request, = place_order(PERSON, [people.TESTS[0].code])
        request.click('requested')
        request.reload()
        yield request


@pytest.fixture
def link(sqlite_hospital, request_):
    "A server of GNU Health whose link can be made to drop"
    with proxy(sqlite_hospital.orthanc.url.rstrip('/')) as link:
        Server = Model.get('gnuhealth.orthanc.config')
        link.label = f"Far Away {link.server_port}"
        server = Server(label=link.label, domain=link.url)
        server.user = ORTHANC_LOGIN
        server.password = sqlite_hospital.orthanc.password
        server.save()
        server.reload()
        assert server.validated, server.validation_message
        yield link
        server.click('remove_config_server')


def make_folder(folder, request):
    "300 files in a folder, ten of them broken"
    series = generate_uid()
    for number in range(FILES):
        content = dicom(
            PatientID=request.patient.puid,
            PatientName=f'{PERSON.family}^{PERSON.given}',
            PatientBirthDate=PERSON.birth.strftime('%Y%m%d'),
            PatientSex=PERSON.sex.upper(),
            AccessionNumber=request.request,
            StudyInstanceUID=request.merge_id, SeriesInstanceUID=series,
            InstanceNumber=number)
        path = folder / 'DICOM' / f'{number // 100}' / f'IM{number:03}'
        path.parent.mkdir(parents=True, exist_ok=True)
        if number % (FILES // BROKEN) == 7:
            path = path.with_name(f'<b>broken{number}')
            content = content[:-3]
        path.write_bytes(content)
    return folder / 'DICOM'


def start_wizard(client, request, link, name):
    "Choose one of the request's actions, and the server"
    page = client.page
    client.open('gnuhealth.imaging.test.request', request.id)
    page.locator('.tab-form [title="Launch action"]:visible').first.click()
    page.get_by_role('menuitem', name=name).first.click()
    wizard = page.locator('.modal:visible')
    wizard.locator('select[name="server_config"]').select_option(
        label=link.label)
    return wizard


def open_page(client, request, link):
    "Press the request's action and the wizard's button"
    wizard = start_wizard(
        client, request, link, "Upload Folders of DICOM Files")
    page = client.page
    with page.context.expect_page() as opened:
        wizard.get_by_role('button', name="Open Page").click()
    return opened.value


def test_folder(
        sqlite_hospital, browser, screenshots, link, request_,  # noqa: F811
        tmp_path):
    hospital = sqlite_hospital
    client = WebClient(
        browser.new_page(viewport=SIZE), hospital.trytond.client_url)
    client.log_in('admin', hospital.secrets['admin'])
    page = open_page(client, request_, link)
    errors = []
    page.on('pageerror', lambda error: errors.append(str(error)))
    page.on('console', lambda message: message.type == 'error'
        and errors.append(message.text))
    expect(page.get_by_role('heading', name="Upload Images")).to_be_visible()
    expect(page.locator('#facts')).to_contain_text("Far Away")
    assert '#' not in page.url
    page.screenshot(path=screenshots / 'upload-page.png')

    # of somebody else: nothing is sent before the reason is given
    other = tmp_path / 'other.dcm'
    other.write_bytes(dicom(PatientID='SOMEBODY'))
    asked = link.asked
    page.set_input_files('#files', other)
    expect(page.locator('#differences')).to_contain_text('SOMEBODY')
    page.screenshot(path=screenshots / 'upload-mismatch.png')
    page.get_by_role('button', name="Cancel").click()
    assert link.asked == asked

    dropped = []

    def drop(handler):
        if handler.command == 'POST' and handler.path == '/instances':
            dropped.append(handler.path)
            if len(dropped) == 100:
                return handler.hang_up()

    link.fault = drop
    page.set_input_files('#folder', make_folder(tmp_path, request_))
    expect(page.locator('#counts')).to_contain_text(
        re.compile(r'\b[1-9]\d* stored'), timeout=60_000)
    page.screenshot(path=screenshots / 'upload-sending.png')
    expect(page.locator('#outcome')).to_contain_text(
        "Linked studies: 1 of 1", timeout=120_000)
    expect(page.locator('#counts')).to_have_text(
        "300 of 300 files, 290 stored, 0 already there, 0 skipped, "
        "10 refused")
    expect(page.locator('#rows .refused')).to_have_count(BROKEN)
    page.get_by_label("Only what was not stored").check()
    expect(page.locator('#rows tr:visible')).to_have_count(BROKEN)
    expect(page.locator('#rows tr:visible').first).to_contain_text(
        "is cut off")
    page.screenshot(path=screenshots / 'upload-done.png')
    assert len(dropped) == FILES - BROKEN + 1
    assert not errors

    Study = Model.get('gnuhealth.imaging_orthanc.study')
    study, = Study.find([('request', '=', request_.id)])
    assert study.instance_count == FILES - BROKEN
    Audit = Model.get('gnuhealth.orthanc.audit')
    assert Audit.find([
            ('event', '=', 'upload'),
            ('study_uid', '=', request_.merge_id),
            ])

    # the same folder again: nothing is sent twice
    page.set_input_files('#folder', tmp_path / 'DICOM')
    page.wait_for_timeout(300)
    assert len(dropped) == FILES - BROKEN + 1
    # the link was for once
    page.reload()
    expect(page.locator('#facts')).to_contain_text("Far Away")


def test_wizard(
        sqlite_hospital, browser, screenshots, link, request_,  # noqa: F811
        tmp_path):
    "The file goes to the client and back when it is somebody else's"
    hospital = sqlite_hospital
    client = WebClient(
        browser.new_page(viewport=SIZE), hospital.trytond.client_url)
    client.log_in('admin', hospital.secrets['admin'])
    path = tmp_path / 'other.dcm'
    path.write_bytes(dicom(
            PatientID='SOMEBODY',
            PatientBirthDate=PERSON.birth.strftime('%Y%m%d'),
            PatientSex=PERSON.sex.upper()))
    wizard = start_wizard(client, request_, link, "Upload DICOM Files")
    wizard.locator('input[type=file]').first.set_input_files(path)
    client.screenshot(screenshots / 'upload-wizard.png')
    wizard.get_by_role('button', name="Upload Image Data").click()
    wizard = client.page.locator('.modal:visible')
    expect(wizard).to_contain_text("Nothing was sent", timeout=30_000)
    expect(wizard).to_contain_text('SOMEBODY')
    reason = wizard.locator('textarea:visible')
    reason.click()
    reason.press_sequentially("Her number elsewhere")
    reason.press('Tab')
    client.screenshot(screenshots / 'upload-wizard-mismatch.png')
    wizard.get_by_role('button', name="Upload All the Same").click()
    expect(client.page.locator('.modal:visible')).to_contain_text(
        "Already There", timeout=30_000)
    client.screenshot(screenshots / 'upload-wizard-done.png')
    client.page.locator('.modal:visible .modal-footer').get_by_role(
        'button', name="Close").click()
    Study = Model.get('gnuhealth.imaging_orthanc.study')
    study, = Study.find([('request', '=', request_.id)])
    assert study.patient_id == 'SOMEBODY'
    assert client.errors == []
