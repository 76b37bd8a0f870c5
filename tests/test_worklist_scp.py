# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The worklist as modalities see it: names and texts of every script, time
zones and summer time, asked from Orthanc and from dcmtk's wlmscpfs by
pynetdicom and by findscu."""
import contextlib
import datetime as dt
import re
import subprocess
import tempfile
from collections import namedtuple
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from proteus import config
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import ModalityWorklistInformationFind

from demo import people
from demo.hospital import connect
from demo.process import LOOPBACK
from demo.services import free_port, wait_until

ROOT = Path(__file__).resolve().parents[1]
WLMSCPFS = ROOT / 'his-utils/scripts/imaging/worklists_service_demo.sh'
REQUEST = 'gnuhealth.imaging.test.request'
TEMPLATE = 'gnuhealth.imaging_worklist.worklist_template'
PENDING = {0xff00, 0xff01}
LIMIT = 30
# what servers say where the item says nothing: 4 is unknown
ALLOWED = {
    ('ORTHANC', 'PregnancyStatus', ''): {None},
    ('WLMSCPFS', 'PregnancyStatus', ''): {'4'},
    }

# family, given and a description in the character set
Script = namedtuple('Script', 'charset family given text')
SCRIPTS = [
    Script('', 'ONeil "Q" [x]', "Ann 'A'", r'a\b "c" [d] ${x} {% end %} #1'),
    Script('ISO_IR 100', 'Müller', 'Íñigo', 'Schädel "CT" ] [ für # 1'),
    Script('ISO_IR 101', 'Dvořák', 'Žofie', 'Lebka [hlava] "č"'),
    Script('ISO_IR 109', 'Ġorġ', 'Ħamid', 'Ras "ħ"'),
    Script('ISO_IR 110', 'Āboliņš', 'Ģirts', 'Galva [ķ]'),
    Script('ISO_IR 126', 'Διονυσιος', 'Ελένη', 'Κεφαλή [α]'),
    Script('ISO_IR 127', 'قباني', 'لنزار', 'الرأس [أ]'),
    Script('ISO_IR 138', 'שרון', 'דבורה', 'ראש "א"'),
    Script('ISO_IR 144', 'Люкceмбypг', 'Роза', 'Голова [ё]'),
    Script('ISO_IR 148', 'Çavuşoğlu', 'İpek', 'Kafa "ğ"'),
    Script('ISO_IR 166', 'ใจดี', 'สมชาย', 'ศีรษะ [ก]'),
    Script('ISO_IR 192', 'Müller 张 สม', '😀', '张 [头] "ศีรษะ" \u202bראש'),
    Script('GB18030', '王', '小东', '头部 [𠮷] "x"'),
    Script('GBK', '王', '小东', '头部 "CT"'),
    Script('ISO_IR 13', 'ﾔﾏﾀﾞ', 'ﾀﾛｳ', 'CT ｱﾀﾏ [x]'),
    Script(r'\ISO 2022 IR 87', '山田', '太郎', '頭部 [CT] "x"'),
    Script(r'\ISO 2022 IR 149', '홍', '길동', '머리 [CT] "x"'),
    Script(r'\ISO 2022 IR 58', '张', '小东', '头部 [CT] "x"'),
    # what is too long, and what is missing
    Script('ISO_IR 192', '', 'x' * 40, 'y' * 200),
    ]
START = dt.datetime(2031, 3, 1, 9, 30)
# before and after the clocks change, and both sides of midnight
ZONES = {
    'Europe/Madrid': ['2031-03-30T00:59:59', '2031-03-30T01:00:00',
        '2031-10-26T00:30:00', '2031-10-26T01:30:00', '2031-06-30T22:00:00'],
    'America/St_Johns': ['2031-03-09T05:29:59', '2031-03-09T05:30:00',
        '2031-11-02T03:30:00', '2031-11-02T04:30:00', '2031-07-02T02:29:59'],
    'Asia/Kathmandu': ['2031-03-14T18:14:59', '2031-03-14T18:15:00'],
    'Australia/Lord_Howe': ['2031-04-05T14:45:00', '2031-04-05T15:15:00',
        '2031-10-04T15:29:59', '2031-10-04T15:30:00'],
    'Pacific/Kiritimati': ['2031-12-31T09:59:59', '2031-12-31T10:00:00'],
    }


def proxy(name):
    "The model's methods, many records in one call"
    current = config.get_config()
    model = current.get_proxy(name)

    class Proxy:
        def __getattr__(self, method):
            return lambda *args: getattr(model, method)(
                *args, current.context)
    return Proxy()


def create(name, *values):
    return proxy(name).create(list(values))


def find(name, *domain):
    return proxy(name).search(list(domain), 0, None, None)


class Case:
    "A request and what its item must say"

    def __init__(self, **expected):
        self.expected = expected
        self.id = None


def make_patient(number, script):
    "A patient, and the name as DICOM writes it"
    family, given = f'Q{number:02d} {script.family}', script.given
    if not script.family:
        family, given = '-', f'Q{number:02d} {given}'
    party, = create('party.party', {
            'name': given, 'lastname': family,
            'ref': f'SCP{number:03d}GNU', 'is_person': True,
            'is_patient': True, 'gender': 'f', 'dob': dt.date(1985, 10, 4),
            'fed_country': None})
    if not script.family:
        name, = find('gnuhealth.person_name', ('party', '=', party))
        proxy('gnuhealth.person_name').write([name], {'family': None})
        family = ''
    patients = find('gnuhealth.patient', ('party', '=', party))
    patient, = patients or create('gnuhealth.patient', {'party': party})
    return patient, f'{family}^{given}'


def make_studies(number, script):
    "A study with that text for each type of template"
    base, = find('gnuhealth.imaging.test', ('code', '=', people.TESTS[0].code))
    base, = proxy('gnuhealth.imaging.test').read(
        [base], ['test_type', 'product'])
    types = ['dump2dcm', 'json']
    templates = create(TEMPLATE, *({
                'name': f'{kind} {number}', 'template_type': kind,
                'charset': script.charset, 'value_mode': 'standard',
                } for kind in types))
    return create('gnuhealth.imaging.test', *({
                'code': f'SCP{number}{kind}', 'name': script.text,
                'test_type': base['test_type'], 'product': base['product'],
                'aetitle': 'SCP1', 'imaging_worklist_template': template,
                } for kind, template in zip(types, templates)))


def in_dicom(text):
    "A text as the item has it"
    text = text.replace('\\', '/')
    return text if len(text) <= 64 else text[:61] + '...'


def publish(values, cases):
    "Make the requests and press Request"
    doctor, = find('gnuhealth.healthprofessional',
        ('party.ref', '=', people.DOCTORS[0].ref))
    ids = create(REQUEST, *(
            dict(v, doctor=doctor, date=v['scheduled_date']) for v in values))
    proxy(REQUEST).requested(ids)
    rows = proxy(REQUEST).read(ids, ['request', 'request_line', 'merge_id'])
    rows = {row['id']: row for row in rows}
    for id_, case in zip(ids, cases):
        case.id = id_
        case.expected.update(
            AccessionNumber=rows[id_]['request'],
            RequestedProcedureID=rows[id_]['request_line'],
            ScheduledProcedureStepID=rows[id_]['request_line'],
            StudyInstanceUID=rows[id_]['merge_id'])
    return cases


@pytest.fixture(scope='module')
def session(sqlite_hospital):
    "proteus, logged in as the administrator"
    with connect(sqlite_hospital):
        yield sqlite_hospital


@pytest.fixture(scope='module')
def scripts(session):
    "Requests with names and texts of every script"
    values, cases = [], []
    for number, script in enumerate(SCRIPTS):
        patient, name = make_patient(number, script)
        date = START + dt.timedelta(days=number)
        for study in make_studies(number, script):
            values.append({
                    'patient': patient, 'requested_test': study,
                    'scheduled_date': date})
            cases.append(Case(
                    PatientName=name,
                    PatientID=f'SCP{number:03d}GNU',
                    RequestedProcedureDescription=in_dicom(script.text),
                    ScheduledProcedureStepDescription=in_dicom(script.text),
                    ScheduledProcedureStepStartDate=date.strftime('%Y%m%d'),
                    ))
    yield from published(session, publish(values, cases))


@pytest.fixture
def zones(session):
    "Requests around midnight and the change of clocks in five time zones"
    currency, = find('currency.currency', ('code', '=', 'EUR'))
    patient, = find('gnuhealth.patient',
        ('party.ref', '=', people.PATIENTS[0].ref))
    study, = find('gnuhealth.imaging.test',
        ('code', '=', people.TESTS[0].code))
    values, cases = [], []
    for zone, instants in ZONES.items():
        party, = create('party.party', {
                'name': zone, 'is_institution': True, 'is_person': False})
        create('company.company', {
                'party': party, 'currency': currency, 'timezone': zone})
        institution, = create('gnuhealth.institution', {
                'party': party, 'code': zone, 'institution_type': 'hospital',
                'public_level': 'public'})
        for instant in map(dt.datetime.fromisoformat, instants):
            local = instant.replace(
                tzinfo=dt.timezone.utc).astimezone(ZoneInfo(zone))
            values.append({
                    'patient': patient, 'requested_test': study,
                    'institution': institution, 'aetitle': 'SCP2',
                    'scheduled_date': instant})
            cases.append(Case(
                    InstitutionName=zone,
                    ScheduledProcedureStepStartDate=local.strftime('%Y%m%d'),
                    ScheduledProcedureStepStartTime=local.strftime('%H%M%S'),
                    TimezoneOffsetFromUTC=local.strftime('%z')))
    yield from published(session, publish(values, cases))


def published(hospital, cases):
    folder = hospital.state.worklists
    files = [
        folder / f"{case.expected['StudyInstanceUID']}.wl" for case in cases]
    answer = proxy(REQUEST).worklist_items_of([case.id for case in cases])
    by_id = {item['id']: item for item in answer['items']}
    for case in cases:
        item = by_id[case.id]
        assert not item['errors'], (case.expected, item['errors'])
        case.item = Dataset.from_json(item['dataset'])
    wait_until(
        lambda: all(file.exists() for file in files), LIMIT,
        "The items are in Orthanc's folder")
    yield cases
    # nothing to do for the tests that follow; the script does not believe
    # that many files have to go at once
    for start in range(0, len(cases), 15):
        end = start + 15
        proxy(REQUEST).write(
            [c.id for c in cases[start:end]], {'worklist_status': 'canceled'})
        wait_until(
            lambda some=files[start:end]: not any(f.exists() for f in some),
            LIMIT, "The items leave Orthanc's folder")


Server = namedtuple('Server', 'name port')


@contextlib.contextmanager
def wlmscpfs(folder):
    port = free_port()
    process = subprocess.Popen(
        ['sh', str(WLMSCPFS), '-w', str(folder), '-p', str(port),
            '-a', 'WLMSCPFS'],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL)
    server = Server('WLMSCPFS', port)
    try:
        wait_until(lambda: is_up(server), LIMIT, "wlmscpfs answers")
        yield server
    finally:
        process.terminate()
        process.wait(10)


def is_up(server):
    return not subprocess.run(
        ['echoscu', '-aec', server.name, LOOPBACK, str(server.port)],
        capture_output=True).returncode


@pytest.fixture(scope='module')
def servers(session):
    with wlmscpfs(session.state.worklists) as server:
        yield [Server('ORTHANC', session.orthanc.dicom_port), server]


def blank(dataset):
    "A query for all attributes of the dataset"
    query = Dataset()
    for element in dataset:
        if element.VR == 'SQ':
            items = [blank(item) for item in element.value]
            query.add_new(element.tag, 'SQ', items)
        elif element.keyword != 'SpecificCharacterSet':
            query.add_new(element.tag, element.VR, None)
    return query


def by_pynetdicom(server, query):
    ae = AE(ae_title='SCP1')
    ae.add_requested_context(ModalityWorklistInformationFind)
    association = ae.associate(LOOPBACK, server.port, ae_title=server.name)
    assert association.is_established
    try:
        answers = list(association.send_c_find(
                query, ModalityWorklistInformationFind))
    finally:
        association.release()
    assert answers[-1][0].Status == 0
    return [item for status, item in answers if status.Status in PENDING]


def by_findscu(server, *keys):
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([
                'findscu', '-W', '-X', '-od', folder, '-aet', 'SCP1',
                '-aec', server.name, LOOPBACK, str(server.port),
                *(part for key in keys for part in ('-k', key))],
            check=True, capture_output=True)
        return [dcmread(path, force=True)
            for path in sorted(Path(folder).iterdir())]


def plain(dataset):
    """The attributes as texts, for comparison

    Orthanc 1.10 and pydicom leave designations of character sets in texts;
    Orthanc answers in the encoding of its configuration.
    """
    result = {}
    for element in dataset:
        if element.VR == 'SQ':
            value = [plain(item) for item in element.value]
        else:
            value = str('' if element.value is None else element.value)
            value = re.sub(r'\x1b\$\)[AC]', '', value).rstrip(' ')
        if element.keyword != 'SpecificCharacterSet':
            result[element.keyword] = value
    return result


def uids(items):
    return sorted(item.StudyInstanceUID for item in items)


def flat(item):
    step, = item.ScheduledProcedureStepSequence
    return {**plain(item), **plain(step)}


def query_for(cases, **keys):
    "Ask for all attributes of the items; the keys are matched"
    query = Dataset()
    for case in cases:
        query.update(blank(case.item))
    step = query.ScheduledProcedureStepSequence[0]
    for keyword, value in keys.items():
        target = query if keyword in query else step
        assert keyword in target
        setattr(target, keyword, value)
    return query


def check_answers(server, cases, answers):
    "Each item comes once, and says what was entered"
    answers = {item.StudyInstanceUID: item for item in answers}
    assert set(answers) == {
        case.expected['StudyInstanceUID'] for case in cases}
    wrong = []
    for case in cases:
        said = flat(answers[case.expected['StudyInstanceUID']])
        for keyword, value in {**flat(case.item), **case.expected}.items():
            answer = said.get(keyword)
            # wlmscpfs knows fewer attributes
            if answer is None and server.name == 'WLMSCPFS':
                continue
            if answer != value and answer not in ALLOWED.get(
                    (server.name, keyword, value), ()):
                wrong.append((keyword, value, answer))
        assert {'PatientName', 'PatientID', 'AccessionNumber',
            'RequestedProcedureDescription', 'ScheduledProcedureStepID',
            'ScheduledProcedureStepDescription'} <= set(said)
    assert wrong == []


def test_scripts(scripts, servers):
    "Every attribute of every item, from both servers, is what was entered"
    for server in servers:
        answers = by_pynetdicom(
            server, query_for(scripts, ScheduledStationAETitle='SCP1'))
        check_answers(server, scripts, answers)


def test_matching(scripts, servers):
    "Name wildcard, date range, modality and station find the right ones"
    pairs = list(zip(scripts[::2], scripts[1::2]))
    everything = uids(case.item for case in scripts)
    for server in servers:
        for number, pair in enumerate(pairs):
            wanted = uids(case.item for case in pair)
            assert uids(by_pynetdicom(server, query_for(
                        pair, PatientName=f'*Q{number:02d}*'))) == wanted
            day = START + dt.timedelta(days=number)
            assert uids(by_pynetdicom(server, query_for(
                        pair, ScheduledProcedureStepStartDate=day.strftime(
                            '%Y%m%d-%Y%m%d')))) == wanted
        keys = ['StudyInstanceUID', '(0040,0100)[0].Modality']
        step = '(0040,0100)[0].'
        assert uids(by_findscu(
                    server, *keys, f'{step}0040,0001=SCP1')) == everything
        assert uids(by_findscu(
                    server, *keys, f'{step}0040,0001=SCP1',
                    f'{step}Modality=CT')) == everything
        assert by_findscu(
            server, keys[0], f'{step}0040,0001=SCP1',
            f'{step}Modality=MR') == []
        assert by_findscu(
            server, *keys, f'{step}0040,0001=NOBODY') == []
        assert uids(by_findscu(
                    server, *keys, 'PatientName=Q03*')) == uids(
                        case.item for case in pairs[3])
        first = START.strftime('%Y%m%d')
        last = (START + dt.timedelta(days=4)).strftime('%Y%m%d')
        assert uids(by_findscu(
                    server, *keys, f'{step}0040,0002={first}-{last}')) == uids(
                        case.item for case in scripts[:10])


def test_time_zones(zones, servers):
    "The day, the hour and the offset are the institution's"
    for server in servers:
        check_answers(server, zones, by_pynetdicom(
                server, query_for(zones, ScheduledStationAETitle='SCP2')))
        days = {}
        for case in zones:
            days.setdefault(
                case.expected['ScheduledProcedureStepStartDate'], []).append(
                    case.item)
        for day, items in days.items():
            assert uids(by_findscu(
                        server, 'StudyInstanceUID',
                        '(0040,0100)[0].0040,0001=SCP2',
                        f'(0040,0100)[0].0040,0002={day}')) == uids(items)


def test_conformance_statement():
    "doc/conformance.rst lists what the shipped template holds"
    path = ROOT / 'health_imaging_worklist/templates/standard_dump2dcm.txt'
    template = {
        tag.upper() for tag in re.findall(
            r'^\((\w{4},\w{4})\)', path.read_text('utf-8'), re.M)
        if not tag.startswith(('fffe', '0008,01'))}
    statement = (ROOT / 'doc/conformance.rst').read_text('utf-8')
    stated = set(re.findall(r'\* - >?(\w{4},\w{4})$', statement, re.M))
    assert stated == template
