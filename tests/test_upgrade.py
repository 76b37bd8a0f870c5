# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hospital that used GNU Health 5.0.4's imaging modules for years swaps
the packages, updates its database, and nothing is lost.

The database is made and read by the modules of PyPI, in an environment of
their own (tests/upgrade).
"""
import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import psycopg2
import pytest
from upgrade import environments, hospital, snapshot

TESTS = Path(__file__).parent
DATABASE = 'hospital_5_0'
MODULES = snapshot.MODULES
STUDY = 'gnuhealth.imaging_orthanc.study'
SERIES = 'gnuhealth.imaging_orthanc.study_series'
INSTANCE = 'gnuhealth.imaging_orthanc.series_instances'
REQUEST = 'gnuhealth.imaging.test.request'
SERVER = 'gnuhealth.orthanc.config'
TEMPLATE = 'gnuhealth.imaging_worklist.worklist_template'
XML_ID = ['module', 'fs_id', 'model', 'db_id']
# as one may type it: of several -u trytond-admin takes the last
UPDATE = [word for module in MODULES for word in ('-u', module)]
# Rights on models that GNU Health 5.0.4 gave to everyone or, for what only
# the migration reads, to administrators
WITHDRAWN = {
    'access_orthanc_config_server', 'access_imaging_orthanc_study',
    'access_imaging_orthanc_study_series',
    'access_imaging_orthanc_series_instances', 'orthanc_access_study_admin'}


def run(*command, password=''):
    environment = {
        key: value for key, value in os.environ.items()
        if not key.startswith(('TRYTOND_', 'DB_', 'PYTHON'))}
    environment['PYTHONWARNINGS'] = 'ignore'
    environment['TRYTONPASSFILE'] = str(password)
    result = subprocess.run(
        list(map(str, command)), env=environment, text=True, cwd=TESTS,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT)
    assert result.returncode == 0, result.stdout
    return result.stdout


class Hospital:
    "The upgraded database, and what it held before"

    def __init__(self, folder, uri):
        self.configuration = folder / 'trytond.conf'
        self.configuration.write_text(
            f'[database]\nuri = {uri}\npath = {folder}\n')
        self.password = folder / 'password'
        self.password.write_text('a password')
        connection = psycopg2.connect(uri + 'postgres')
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f'CREATE DATABASE {DATABASE}')
        connection.close()
        old = environments.upstream()
        self.make_empty(old, uri + DATABASE)
        old /= 'bin'
        expected = folder / 'expected.json'
        run(old / 'python', '-m', hospital.__name__, self.configuration,
            DATABASE, expected)
        expected = json.loads(expected.read_text(encoding='utf-8'))
        self.before = expected['models']
        self.worklist = expected['worklist']
        self.openable = expected['openable']
        self.log = self.update(*UPDATE)
        with self.opened():
            self.after = snapshot.read({
                    name: list(next(iter(rows.values())))
                    for name, rows in self.before.items() if rows})

    def make_empty(self, environment, uri):
        "Make the database with nothing in it; keep a copy for the next run"
        dump = environment / 'empty.dump'
        if dump.exists():
            run('pg_restore', '--no-owner', '--dbname', uri, dump)
            return
        self.admin(environment / 'bin', '--activate-dependencies', '-u',
            *MODULES, '--email', 'admin@example.org', '--password')
        part = dump.with_suffix('.part')
        run('pg_dump', '--format=custom', '--file', part, uri)
        part.rename(dump)

    def admin(self, programs, *arguments):
        return run(
            programs / 'trytond-admin', '-c', self.configuration,
            '-d', DATABASE, *arguments, password=self.password)

    def update(self, *arguments):
        return self.admin(Path(sys.executable).parent, *arguments)

    def opened(self, **extras):
        return snapshot.opened(DATABASE, str(self.configuration), **extras)

    def xml_ids(self, name):
        "Return the XML ids of the modules by the id of the model's record"
        return {
            str(data['db_id']): data['fs_id']
            for data in self.before['ir.model.data'].values()
            if data['model'] == name and data['module'] in MODULES}


@pytest.fixture(scope='module')
def upgraded(tmp_path_factory, postgresql_uri):
    return Hospital(tmp_path_factory.mktemp('upgrade'), postgresql_uri)


@pytest.fixture
def database(upgraded):
    with upgraded.opened() as transaction:
        yield transaction


def get(name):
    from trytond.pool import Pool
    return Pool().get(name)


def merged(before):
    """Return the sets of ids that now are one row, by model

    A study is one with the same Orthanc identifier of the same server.
    """
    servers = {row['domain']: row['domain'] for row in before[SERVER].values()}
    for domain in list(servers):
        servers.setdefault(domain.rstrip('/'), domain)
    result, stands_for = {}, {}
    for name, parent in [
            (STUDY, 'server'), (SERIES, 'study'), (INSTANCE, 'series')]:
        groups, owners = {}, stands_for
        for id_, row in before[name].items():
            owner = str(row[parent])
            if name == STUDY and owner not in servers:
                owner = servers.get(owner.rstrip('/'), owner)
            groups.setdefault((
                    owners.get(owner, owner), row['orthanc_UID']),
                set()).add(id_)
        result[name] = [ids for ids in groups.values() if len(ids) > 1]
        stands_for = {id_: min(ids) for ids in result[name] for id_ in ids}
    return result


def differences(upgraded, name, ignored=()):
    "Return what is no longer as it was: (id, field, before, after)"
    after = upgraded.after[name]
    return [
        (id_, field, value, after.get(id_, {}).get(field))
        for id_, row in upgraded.before[name].items()
        for field, value in row.items()
        if field not in ignored and (
            id_ not in after or after[id_][field] != value)]


def test_update_says_nothing_else(upgraded):
    "No constraint, index or column could not be made"
    lines = [
        line for line in upgraded.log.splitlines()
        if 'has changed since the last update' not in line]
    assert not lines


def test_hospital_is_full(upgraded):
    "The comparison below is about something"
    counts = {name: len(rows) for name, rows in upgraded.before.items()}
    assert counts[REQUEST] > 300
    assert counts['gnuhealth.imaging.test.result'] > 100
    assert counts[STUDY] == 120 and counts[INSTANCE] == 720
    states = [row['state'] for row in upgraded.before[REQUEST].values()]
    assert min(map(states.count, ['draft', 'requested', 'done'])) > 100
    for rows in upgraded.before.values():
        assert rows


@pytest.mark.parametrize('name', [
        'gnuhealth.healthprofessional', 'gnuhealth.imaging.test',
        'gnuhealth.imaging.test.result', 'gnuhealth.imaging.test.type',
        'gnuhealth.imaging_worklist.worklist_template',
        'gnuhealth.orthanc.patient', 'gnuhealth.orthanc.study',
        'gnuhealth.patient', 'gnuhealth.sequences',
        'gnuhealth.sequences.imaging_req_seq',
        'gnuhealth.sequences.imaging_test_sequence', 'ir.export',
        'ir.export.line', 'ir.model.button-res.group',
        'ir.model.field.access', 'ir.rule', 'ir.rule.group',
        'ir.rule.group-res.group', 'ir.sequence', 'ir.sequence.type',
        'ir.ui.view_search', 'party.party', 'product.category',
        'product.product', 'product.template', 'res.group', 'res.user',
        'res.user-res.group'])
def test_rows(upgraded, name):
    "Each row has each of its values, whoever made it"
    assert differences(upgraded, name) == []


def test_types(upgraded):
    "The hospital may name the types as it likes"
    from trytond.pool import Pool
    with upgraded.opened(readonly=False) as transaction:
        Type = Pool().get('gnuhealth.imaging.test.type')
        types = Type.search([])
        assert len(types) > 8
        Type.write(types, {'name': "Renamed"})
        transaction.rollback()


def test_new_types(upgraded, database):
    "The hospital gets the types that it lacks, once, and keeps its own"
    from trytond.transaction import inactive_records
    Type, ModelData = get('gnuhealth.imaging.test.type'), get('ir.model.data')
    with inactive_records():
        types = Type.search([])
    codes = [t.code for t in types]
    before = upgraded.before[Type.__name__]
    assert {'DX', 'CR', 'MG', 'NM', 'XA'} <= set(codes)
    new = [t for t in types if str(t.id) not in before]
    assert len(new) > 5
    assert not {t.code for t in new} & {
        row['code'] for row in before.values()}
    assert len({t.code for t in new}) == len(new)
    assert all(t.active and t.name for t in new)
    assert {data.db_id for data in ModelData.search([
                ('module', '=', 'health_imaging'),
                ('model', '=', Type.__name__),
                ('noupdate', '=', True)])} >= {t.id for t in new}


def test_requests(upgraded):
    "A request that said nothing of urgency is not urgent"
    assert {
        difference[1:] for difference in differences(upgraded, REQUEST)
        } == {('urgent', None, False)}


def test_servers(upgraded, database):
    "Nothing reads a password any more, but it is the same"
    assert differences(upgraded, SERVER, ['password']) == []
    for id_, row in upgraded.before[SERVER].items():
        assert upgraded.after[SERVER][id_]['password'] is None
        assert get(SERVER)(int(id_))._get_secret() == row['password']


@pytest.mark.parametrize('name, parent, texts', [
        (STUDY, None, {'notes', 'merge_comment'}),
        (SERIES, 'study', {'notes'}),
        (INSTANCE, 'series', set()),
        ])
def test_mirror(upgraded, name, parent, texts):
    """What Orthanc has once is one row, that has what all of them had

    Viewers open what they opened, at the server where it is.
    """
    all_groups = merged(upgraded.before)
    groups = all_groups[name]
    before, after = upgraded.before[name], upgraded.after[name]
    twins = set().union(*groups)
    assert twins and set(before) - set(after) <= twins
    for id_, field, value, now in differences(upgraded, name):
        if id_ in twins:
            continue
        # moved with what it belongs to
        assert field in {
            parent, 'server', 'link_base_url', 'stone_viewer_link'}, field
        if field == parent:
            above = STUDY if name == SERIES else SERIES
            assert any(
                {str(value), str(now)} <= group
                for group in all_groups[above])
        elif field in {'server', 'link_base_url'}:
            assert now.rstrip('/') == value.rstrip('/')
    for group in groups:
        kept, = group & set(after)
        for id_, field in product(group, texts):
            assert (before[id_][field] or '') in (after[kept][field] or '')


@pytest.mark.parametrize('name', ['ir.attachment', 'ir.note'])
def test_attachments(upgraded, name):
    "Every picture, letter and note is where it was"
    groups = merged(upgraded.before)
    for id_, field, value, now in differences(upgraded, name):
        assert field == 'resource', (id_, field, value, now)
        model, old = value.split(',')
        assert {old, now.split(',')[1]} in groups[model]


def test_xml_ids(upgraded):
    "Each XML id names the same record"
    assert differences(upgraded, 'ir.model.data', [
            name for name in upgraded.before['ir.model.data']['1']
            if name not in XML_ID]) == []


def test_rights(upgraded):
    "Each group has the rights that it had"
    xml_ids = upgraded.xml_ids('ir.model.access')
    changed = differences(
        upgraded, 'ir.model.access', ['write_date', 'write_uid'])
    assert {xml_ids.get(change[0]) for change in changed} <= WITHDRAWN
    for name, fields in [
            ('ir.ui.menu-res.group', ['menu', 'group']),
            ('ir.action-res.group', ['action', 'group'])]:
        before, after = (
            {tuple(row[f] for f in fields) for row in rows[name].values()}
            for rows in (upgraded.before, upgraded.after))
        assert before <= after, name


@pytest.mark.parametrize('name', [
        'ir.action', 'ir.action.act_window', 'ir.action.act_window.domain',
        'ir.action.act_window.view', 'ir.action.keyword', 'ir.action.report',
        'ir.action.wizard', 'ir.model.button', 'ir.ui.menu', 'ir.ui.view'])
def test_own_records(upgraded, name):
    "The hospital's own views, actions and reports are as they were"
    shipped = {
        str(data['db_id'])
        for data in upgraded.before['ir.model.data'].values()
        if data['model'] == name}
    if name == 'ir.action':
        shipped = {
            str(row['action']) for kind in ['wizard', 'act_window', 'report']
            for id_, row in upgraded.before[f'ir.action.{kind}'].items()
            if id_ in {
                str(data['db_id'])
                for data in upgraded.before['ir.model.data'].values()
                if data['model'] == f'ir.action.{kind}'}}
    changed = [
        difference for difference in differences(upgraded, name)
        if difference[0] not in shipped]
    assert changed == []
    assert set(upgraded.before[name]) <= set(upgraded.after[name])


def test_translations(upgraded):
    translated = {
        id_ for id_, row in upgraded.before['ir.translation'].items()
        if row['name'].startswith('gnuhealth.imaging')
        and row['type'] == 'model'}
    assert translated
    changed = differences(upgraded, 'ir.translation')
    assert [change for change in changed if change[0] in translated] == []


def test_users_open_what_they_opened(upgraded, database):
    """Also users of groups that only this hospital has

    But for worklist templates, which were open to everyone.
    """
    now = snapshot.openable()
    for login, views in upgraded.openable.items():
        assert [
            view for view in views if view not in now[login]
            and view[0] != TEMPLATE] == [], login
    assert max(map(len, upgraded.openable.values())) > 10


def test_worklist_texts(upgraded, database):
    "Modalities get the items that they got, unless these could not be read"
    from trytond.modules.health_imaging_worklist import dataset
    Request = get(REQUEST)
    unreadable = 0
    for id_, text in upgraded.worklist.items():
        request = Request(int(id_))
        template = request.requested_test.imaging_worklist_template
        assert template.value_mode == 'gnuhealth5'
        # what no data element can hold is a blank now
        if request.worklist_text == text.replace('\t', ' '):
            continue
        comment = upgraded.before[REQUEST][id_]['comment']
        assert comment in text, id_
        with pytest.raises(dataset.DatasetError):
            dataset.parse(text, template.template_type)
        dataset.parse(request.worklist_text, template.template_type)
        unreadable += 1
    assert 0 < unreadable < len(upgraded.worklist) / 10


def test_worklist_is_published(upgraded, database):
    "What modalities could ask for is there"
    Request = get(REQUEST)
    expected = {
        int(id_) for id_, row in upgraded.before[REQUEST].items()
        if id_ in upgraded.worklist and row['state'] == 'requested'
        and row['worklist_status'] == 'todo'}
    found, after = {}, None
    while True:
        answer = Request.worklist_items(after=after, limit=50)
        found.update((item['id'], item) for item in answer['items'])
        after = answer['next']
        if after is None:
            break
    assert set(found) == expected and expected
    assert [i['id'] for i in found.values() if not i['text']] == []


def test_searches(upgraded, database):
    "Each field is searched and sorted by as before"
    for name, rows in upgraded.before.items():
        if not name.startswith(('gnuhealth.imaging', 'gnuhealth.orthanc')):
            continue
        Model = get(name)
        after = upgraded.after[name]
        for field in next(iter(rows.values())):
            if field in snapshot.COMPUTED.get(name, ()) and (
                    field != 'server') or field == 'password':
                continue
            value = next(
                (row[field] for row in after.values() if row[field]), None)
            if value:
                found = Model.search([(field, '=', value)])
                assert {str(r.id) for r in found} == {
                    id_ for id_, row in after.items() if row[field] == value
                    }, (name, field)
            if field not in snapshot.COMPUTED.get(name, ()):
                Model.search([], order=[(field, 'DESC')], limit=1)
    Study = get(STUDY)
    assert [s.domain for s in get(SERVER).search(
            [('last_changed_index', '>', 0)])] == [hospital.SERVERS[0][1]]
    assert len(Study.search([('server', 'ilike', '%second%')])) == sum(
        'second' in row['server'] for row in upgraded.after[STUDY].values())


def test_second_update(upgraded):
    """An update changes nothing that is there, old or new

    Requests, results, studies and rows of old scripts made after the first.
    """
    with upgraded.opened(readonly=False) as transaction:
        request, *_ = get(REQUEST).search(
            [('requested_test.code', '=', 'T0')])
        new, = get(REQUEST).copy([request])
        get(REQUEST).requested([new])
        get(REQUEST).create_results([new])
        study, other = get(STUDY).create([{
                    'server': url, 'orthanc_UID': f'new-{number}',
                    'study_instance_UID': f'1.2.9.{number}',
                    'patient_name': "New^One", 'notes': "New",
                    } for number, url in enumerate([
                        hospital.SERVERS[1][1], 'http://new.example.org'])])
        get(STUDY).write([other], {'server': hospital.GONE})
        transaction.commit()
        assert study.server == hospital.SERVERS[1][1]
        assert other.server == hospital.GONE
    with upgraded.opened():
        fields = {
            name: snapshot.fields_of(get(name))
            for name in {*snapshot.own_models(), *snapshot.SHARED}}
        # the rest is trytond's bookkeeping
        fields['ir.model.data'] = XML_ID
        # which writes each translation again
        fields['ir.translation'] = [
            field for field in fields['ir.translation']
            if not field.startswith('write_')]
        before = snapshot.read(fields)
    upgraded.update('-u', *MODULES)
    with upgraded.opened():
        after = snapshot.read(fields)
    assert after.keys() == before.keys()
    for name in before:
        changed = {
            id_: (row, after[name].get(id_))
            for id_, row in before[name].items()
            if row != after[name].get(id_)}
        assert changed == {}, (name, changed)
        assert len(after[name]) == len(before[name]), name
