# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A person in front of the web client: orders, requests, and looks at the
study in the viewer.

The screenshots go to the folder in the environment's TEST_SCREENSHOTS, by
default a temporary one; README.rst shows those of `make screenshots`.
"""
import os
from pathlib import Path

import pytest
from browser import SIZE, WebClient, chromium, wait_for_picture
from proteus import Model
from test_loop import ask, studies_of, synchronize, take_pictures

from demo import people
from demo.hospital import connect
from demo.installation import VIEWER_LOGIN
from demo.services import wait_until
from trytond.modules.health_orthanc.tests.orthanc import (
    PASSWORD, USER, Orthanc)
from trytond.modules.health_orthanc.tests.orthanc import study as files_of

PERSON = people.PATIENTS[6]
TEST = people.TESTS[0]


@pytest.fixture
def screenshots(tmp_path):
    folder = Path(os.environ.get('TEST_SCREENSHOTS') or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def browser():
    with chromium() as browser:
        yield browser


def test_order_to_picture(sqlite_hospital, browser, screenshots):
    "An order placed in the web client becomes a picture in the viewer"
    hospital = sqlite_hospital
    client = WebClient(
        browser.new_page(viewport=SIZE), hospital.trytond.client_url)
    page = client.page
    client.log_in('admin', hospital.secrets['admin'])

    client.menu('Health', 'Medical Imaging', 'Medical Imaging - New order')
    wizard = page.locator('.modal:visible')
    client.many2one(wizard, 'patient', PERSON.family)
    client.many2many(wizard, 'tests', TEST.name)
    client.screenshot(screenshots / 'order.png')
    wizard.get_by_role('button', name='Request').click()

    with connect(hospital):
        Request = Model.get('gnuhealth.imaging.test.request')
        request, = wait_until(
            lambda: Request.find([
                    ('patient.party.ref', '=', PERSON.ref),
                    ('state', '=', 'draft'),
                    ]), 30, "The draft is made")
        # the wizard shows the draft: press Request on it
        client.open('gnuhealth.imaging.test.request', request.id)
        page.get_by_role('button', name='Request', exact=True).click()
        item, = wait_until(
            lambda: ask(hospital, request), 15, "The worklist item")
        assert item.PatientID == PERSON.ref
        client.open('gnuhealth.imaging.test.request', request.id)
        client.screenshot(screenshots / 'request.png')
        take_pictures(hospital, request, item)
        synchronize(hospital)
        study, = studies_of(request)

        client.menu('Health', 'Medical Imaging', 'Orthanc', 'Studies')
        page.locator('.treeview tr:visible').filter(
            has_text=PERSON.family).first.wait_for()
        client.screenshot(screenshots / 'studies.png')
        client.open('gnuhealth.imaging_orthanc.study', study.id)
        client.screenshot(screenshots / 'study.png')

        link = page.locator('a:visible[href*="/ohif/viewer"]').first
        address = link.get_attribute('href')
        assert address == study.ohif_viewer_link
        assert client.errors == []

    viewer = browser.new_page(viewport=SIZE, http_credentials={
            'username': VIEWER_LOGIN,
            'password': hospital.secrets['viewer'],
            })
    viewer.goto(address)
    assert wait_for_picture(viewer) >= 60
    viewer.screenshot(path=screenshots / 'study-in-viewer.png')


def test_images_on_demand(sqlite_hospital, browser, screenshots):
    "Who opens a series sees its images, though none were synchronized"
    hospital = sqlite_hospital
    with Orthanc() as orthanc, connect(hospital):
        orthanc.store(*files_of(1, 3))
        Server = Model.get('gnuhealth.orthanc.config')
        server = Server(
            label="Large archive", domain=orthanc.url, user=USER,
            password=PASSWORD, images_on_demand=True)
        server.save()
        wait_until(
            lambda: server.reload() or server.validated, 60,
            "GNU Health finds the server")
        server.click('synchronize')
        Series = Model.get('gnuhealth.imaging_orthanc.study_series')
        series, = wait_until(
            lambda: Series.find([('server_config', '=', server.id)]), 60,
            "The series is synchronized")
        assert series.images_pending and series.instance_count == 3
        client = WebClient(
            browser.new_page(viewport=SIZE), hospital.trytond.client_url)
        client.log_in('admin', hospital.secrets['admin'])
        client.open('gnuhealth.imaging_orthanc.study_series', series.id)
        client.page.get_by_role('button', name='Add to RPT').nth(2).wait_for()
        client.screenshot(screenshots / 'series-on-demand.png')
        assert client.errors == []
        client.open('gnuhealth.orthanc.config', server.id)
        client.screenshot(screenshots / 'server-on-demand.png')
        server.click('remove_config_server')
        assert not Series(series.id).images_pending
