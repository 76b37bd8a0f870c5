# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Logs name things by their ids: no patient, no password and no URL is in
what the programs wrote of a loop in which everything has a name of its own,
nor is a password in the database."""
import datetime as dt
import os
import subprocess
import time
from xmlrpc.client import Fault

import pytest
from proteus import Model, Wizard
from test_loop import (
    place_order, publish, studies_of, synchronize)
from trytond.exceptions import TrytonException

from demo import modality, people
from demo.hospital import connect, make_person, one
from demo.process import LOOPBACK
from demo.state import REPOSITORY

WORD = 'Zqx'
PERSON = people.Person(
    'ZQX001GNU', f'{WORD}given', f'{WORD}family', 'f', dt.date(1990, 2, 3),
    'ES')
PASSWORD = f'{WORD}-a-password'
KEYS = REPOSITORY / 'bin' / 'gnuhealth-orthanc-keys'
SYNCHRONIZE = 'gnuhealth.orthanc.sync.run|synchronize_servers'
REFUSED = (TrytonException, Fault, ValueError)


@pytest.fixture
def session(hospital):
    with connect(hospital):
        yield hospital


def fill(record):
    "Write a sentinel into each text that the record takes"
    filled = []
    definitions = type(record)._proxy.fields_get({})
    for name, definition in definitions.items():
        if (definition['type'] not in {'char', 'text'}
                or definition.get('readonly')
                or name in {'aetitle', 'code', 'ref'}
                or getattr(record, name, None)):
            continue
        changed = type(record)(record.id)
        try:
            setattr(changed, name, f'{WORD} {name}')
            changed.save()
        except REFUSED:
            continue
        filled.append(name)
    return filled


def take_named_pictures(hospital, request, item):
    "Pictures whose tags carry sentinels too"
    aet = request.requested_test.aetitle
    pictures = modality.take_pictures(item, aet)
    for picture in pictures:
        for name in [
                'StudyDescription', 'SeriesDescription', 'ProtocolName',
                'PatientComments', 'OtherPatientIDs', 'OperatorsName',
                'StationName', 'StudyID', 'InstitutionName',
                'PerformingPhysicianName', 'ImageComments',
                'RequestingPhysician', 'ReferringPhysicianName']:
            setattr(picture, name, (WORD + name)[:16])
    modality.send_pictures(
        pictures, LOOPBACK, hospital.orthanc.dicom_port, aet)


def fail(hospital, study):
    "What goes wrong, by people and programs"
    Server = Model.get('gnuhealth.orthanc.config')
    Study = Model.get('gnuhealth.imaging_orthanc.study')
    Request = Model.get('gnuhealth.imaging.test.request')
    orthanc = hospital.orthanc.url.rstrip('/')
    for url in [f'{orthanc}/{WORD}path', f'http://127.0.0.1:1/{WORD}',
            f'http://{WORD}.invalid/', f'http://user:{WORD}@127.0.0.1/',
            f'ftp://{WORD}', 'http://169.254.169.254/' + WORD,
            orthanc.replace('http', 'https') + f'/{WORD}']:
        wizard = Wizard(
            'gnuhealth.imaging_orthanc.wizard.orthanc_new_connect')
        wizard.form.label = f'{WORD} label'
        wizard.form.domain = url
        wizard.form.user = f'{WORD}-user'
        wizard.form.password = PASSWORD
        wizard.execute('connect')
        assert wizard.form_state == 'error', url
        wizard.execute('end')
    for label, url in [
            (f'{WORD} one', f'{orthanc}/{WORD}path'),
            (f'{WORD} two', f'http://127.0.0.1:1/{WORD}')]:
        server = Server()
        server.label, server.domain = label, url
        server.user, server.password = f'{WORD}-user', PASSWORD
        server.save()
        server.reload()
        assert not server.validated and server.validation_message
        # as if it had worked before
        Server.write([server.id], {'validated': True}, {})
    other, = Model.get('gnuhealth.patient').find(
        [('party.ref', '=', people.PATIENTS[0].ref)])
    for do in [
            lambda: Study.write([study.id], {'patient_name': WORD}, {}),
            lambda: Study.write([study.id], {'patient': other.id}, {}),
            lambda: Study.create([{'patient_name': WORD}], {}),
            lambda: Request.create(
                [{'comment': WORD, 'patient': other.id}], {}),
            lambda: Request.write(
                [study.request.id], {'patient': other.id}, {}),
            lambda: study.server_config.delete(),
            lambda: Server.write(
                [study.server_config.id], {'domain': f'ftp://{WORD}'}, {}),
            ]:
        with pytest.raises(REFUSED):
            do()


def run_cron(hospital, method, **environment):
    "Do what is scheduled and what it queues, and nothing else"
    Cron = Model.get('ir.cron')
    jobs = Cron.find([])
    Cron.write([job.id for job in jobs], {
            'next_call': dt.datetime(2100, 1, 1)}, {})
    Cron.write([job.id for job in jobs if job.method == method], {
            'next_call': dt.datetime(2020, 1, 1)}, {})
    run_program(hospital, 'trytond-cron', '--once', **environment)


def run_program(hospital, name, *arguments, limit=None, **environment):
    cron = hospital.cron
    with open(hospital.state.run / f'{name}-once.log', 'ab') as log:
        process = subprocess.Popen(
            list(map(str, [*cron.program(name), *arguments])),
            env={**os.environ, **cron.environment, **environment},
            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            if limit is None:
                assert process.wait(300) == 0
            else:
                deadline = time.monotonic() + 60
                while not limit() and time.monotonic() < deadline:
                    time.sleep(.2)
        finally:
            process.terminate()
            process.wait(60)


def logs(hospital):
    """What the programs of the suite wrote; Orthanc's own log is Orthanc's"""
    for path in hospital.state.root.rglob('*.log'):
        if path.name != 'orthanc.log':
            yield path, path.read_text(encoding='utf-8', errors='replace')


def test_logs_and_secrets(session):
    hospital = session
    person = make_person(PERSON, is_patient=True)
    patient = one('gnuhealth.patient', [('party', '=', person.id)],
        party=person)
    filled = fill(person) + fill(patient)
    request, = place_order(PERSON, [people.TESTS[0].code])
    filled += fill(request)
    item, = publish(hospital, [request])
    take_named_pictures(hospital, request, item)
    synchronize(hospital)
    study, = studies_of(request)
    assert study.description.startswith(WORD)
    request.reload()
    request.click('generate_results')
    result, = Model.get('gnuhealth.imaging.test.result').find(
        [('request', '=', request.id)])
    filled += fill(result) + fill(study)
    assert len(filled) > 10, filled
    fail(hospital, study)
    run_cron(hospital, SYNCHRONIZE)
    run_cron(hospital, 'gnuhealth.orthanc.config|warn_failing')
    error, = Model.get('ir.error').find([
            ('message', 'like', f'%{WORD} one%')])
    assert f'{WORD} two' in error.message
    Run = Model.get('gnuhealth.orthanc.sync.run')
    if not hospital.is_sqlite:
        run_cron(hospital, SYNCHRONIZE, TRYTOND_QUEUE__WORKER='True')
        assert Run.find([('state', '=', 'queued')])
        run_program(
            hospital, 'trytond-worker', TRYTOND_QUEUE__WORKER='True',
            limit=lambda: not Run.find(
                [('state', 'in', ['queued', 'running'])]))
    assert Run.find([('state', '=', 'failed')])
    assert Run.find([('state', '=', 'done')])
    for server in Model.get('gnuhealth.orthanc.config').find(
            [('label', 'like', f'{WORD}%')]):
        server.click('remove_config_server')

    names = [WORD.lower(), *(
            name.lower() for p in [PERSON, *people.PATIENTS]
            for name in [p.ref, p.family] if len(name) > 3)]
    read = []
    for path, text in logs(hospital):
        read.append(path.name)
        for line in text.splitlines():
            for word in [*names, *hospital.secrets.values()]:
                assert word not in line.lower() and word not in line, (
                    path.name, line)
    assert {'trytond.log', 'trytond-cron-once.log'} <= set(read)
    check_database(hospital)
    check_keys(hospital)


def check_keys(hospital):
    "The program that changes keys finds that of the configuration in use"
    output = subprocess.run(
        [str(hospital.state.python), str(KEYS), 'check',
            '-c', str(hospital.state.trytond_config),
            '-d', hospital.state.database],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True,
        text=True).stdout
    assert '0 in clear' in output, output
    assert ' encrypted with the first key' in output


def check_database(hospital):
    "No password of a server is in the database"
    if hospital.is_sqlite:
        files = [
            path.read_bytes()
            for path in hospital.state.database_folder.iterdir()
            if path.is_file()]
        assert any(WORD.encode() in content for content in files)
    else:
        files = [subprocess.run(
                ['pg_dump', hospital.uri + hospital.state.database],
                stdout=subprocess.PIPE, check=True).stdout]
        assert WORD.encode() in files[0]
    for content in files:
        for secret in [PASSWORD, hospital.secrets['orthanc']]:
            assert secret.encode() not in content
