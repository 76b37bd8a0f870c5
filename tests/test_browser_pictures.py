# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A radiologist in front of the web client looks at pictures and adds them to
the report.

The screenshots go where those of test_browser.py go.
"""
import re

import pytest
from browser import SIZE, WebClient
from playwright.sync_api import expect
from proteus import Model
from test_browser import browser, screenshots  # noqa: F401
from test_loop import place_order, synchronize

from demo import people
from demo.hospital import connect
from demo.services import wait_until
from trytond.modules.health_orthanc.tests.orthanc import sample_file

PERSON = people.PATIENTS[7]
SERIES = 'gnuhealth.imaging_orthanc.study_series'


@pytest.fixture
def archive(sqlite_hospital):
    "Yield the hospital with a CT series and a cine of an order each"
    hospital = sqlite_hospital
    with connect(hospital):
        ct, us = (
            place_order(PERSON, [code])[0]
            for code in ['DEMO-CT-HEAD', 'DEMO-US-ABDOMEN'])
        for request, files in [
                (ct, [('CT_small.dcm', {
                                'SOPInstanceUID': f'1.2.826.0.1.{number}',
                                'InstanceNumber': number,
                                'WindowCenter': [40], 'WindowWidth': [400],
                                }) for number in range(1, 5)]
                    + [('test-SR.dcm', {'SeriesNumber': 9})]),
                (us, [('examples_ybr_color.dcm', {})])]:
            request.click('requested')
            for name, values in files:
                hospital.orthanc.post('/instances', sample_file(
                        name, PatientID=PERSON.ref,
                        PatientName='Conceicao^Joao',
                        PatientBirthDate=f'{PERSON.birth:%Y%m%d}',
                        StudyInstanceUID=request.merge_id, **values))
        synchronize(hospital)
        Series = Model.get(SERIES)
        wait_until(
            lambda: len(Series.find([
                        ('study.request', 'in', [ct.id, us.id])])) == 3,
            30, "The series are there")
        ct.click('generate_results')
        yield hospital, ct, us


def picture_of(within):
    "Return address and width of the picture, once the browser has it"
    image = within.locator('.form-image img.center-block:visible').last
    expect(image).to_have_js_property('complete', True)
    return image.get_attribute('src'), image.evaluate('i => i.naturalWidth')


def test_pictures(archive, browser, screenshots):  # noqa: F811
    hospital, ct, us = archive
    client = WebClient(
        browser.new_page(viewport=SIZE), hospital.trytond.client_url)
    page = client.page
    client.log_in('admin', hospital.secrets['admin'])
    Series = Model.get(SERIES)
    slices, report = Series.find(
        [('study.request', '=', ct.id)], order=[('series_number', 'ASC')])
    cine, = Series.find([('study.request', '=', us.id)])
    result, = Model.get('gnuhealth.imaging.test.result').find(
        [('request', '=', ct.id)])

    # several at once, from the series' images
    client.open(SERIES, slices.id)
    page.locator('.tab-form .form-container:visible').first.wait_for()
    page.get_by_title('Open related records').click()
    page.get_by_role('menuitem', name='Images').click()
    # the list of its own has taken the form's place
    expect(page.locator('.form-container:visible')).to_have_count(0)
    rows = page.locator('.treeview:visible tr:visible').filter(
        has_text='1.2.826.0.1.')
    expect(rows).to_have_count(4)
    for number in (0, 2, 3):
        rows.nth(number).locator('input[type=checkbox]').first.click()
    client.screenshot(screenshots / 'images-chosen.png')
    page.get_by_title('Launch action').last.click()
    page.get_by_role('menuitem', name='Add to RPT').click()
    wait_until(
        lambda: len(type(result)(result.id).images) == 3, 30,
        "The pictures are added")
    numbers = [
        image.description.splitlines()[1]
        for image in type(result)(result.id).images]
    assert numbers == [f'Instance Number: {n}' for n in (1, 3, 4)]

    # one, through a window
    rows.nth(1).dblclick()
    picture_of(page)
    client.screenshot(screenshots / 'image.png')
    page.get_by_role('button', name='Frames and Windows').click()
    wizard = page.locator('.modal:visible')
    stored, width = picture_of(wizard)
    assert width == 128
    wizard.locator('select').select_option(label='Lung (-600/1500)')
    wizard.get_by_role('button', name='Show').click()
    expect(wizard.locator('img.center-block')).not_to_have_attribute(
        'src', stored)
    picture_of(wizard)
    client.screenshot(screenshots / 'image-window.png')
    wizard.get_by_role('button', name='Add to RPT').click()
    expect(wizard.locator('textarea[name=message]')).to_have_value(
        re.compile(re.escape(result.number)))
    wizard.get_by_role('button', name='Close').click()
    images = type(result)(result.id).images
    assert "Window: Lung (-600/1500)" in images[-1].description

    # a cine without result: its order comes first
    client.open(SERIES, cine.id)
    page.locator(
        '.form-container .treeview tbody tr:visible').first.dblclick()
    first, width = picture_of(page)
    assert width == 320
    page.get_by_role('button', name='Frames and Windows').click()
    wizard = page.locator('.modal:visible').last
    for frame in ('2', '3'):
        wizard.get_by_role('button', name='Next').click()
        expect(wizard.locator(
            'input[type=text][name=frame]')).to_have_value(frame)
    picture_of(wizard)
    client.screenshot(screenshots / 'cine.png')
    wizard.get_by_role('button', name='Close').click()

    # and what has no picture says so
    client.open(SERIES, report.id)
    page.locator(
        '.form-container .treeview tbody tr:visible').first.dblclick()
    reason = page.locator('.modal textarea[name=no_picture]:visible')
    expect(reason).to_have_value(
        'Image "1" is a structured report, which has no picture: '
        'open it in a viewer.')
    client.screenshot(screenshots / 'image-without-picture.png')

    client.open('gnuhealth.imaging.test.result', result.id)
    page.get_by_role('tab', name='Images').click()
    page.wait_for_timeout(500)
    client.screenshot(screenshots / 'result-images.png')
    assert client.errors == []
