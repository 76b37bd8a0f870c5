# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""update_worklists_database.py over a GNU Health that is a Python object:
what is written, what stays, what goes."""
import json
import logging
import os
import stat
import subprocess
import sys
import threading
import time
import types

import pytest
from pacs_host import (
    SCRIPTS, Worklist, make_item, make_items, with_version)
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

sys.path.insert(0, str(SCRIPTS))

import _feed  # noqa: E402
import _folder  # noqa: E402
import _update  # noqa: E402
import _writers  # noqa: E402
import update_worklists_database as script  # noqa: E402


class Connection:
    "Calls the worklist without a network"

    def __init__(self, worklist):
        self.worklist = worklist
        self.calls = []

    def call(self, model, method, *arguments):
        self.calls.append(method)
        return getattr(self.worklist, method)(*arguments)


class Host:
    "A folder that is filled from a worklist"

    def __init__(self, path, *items):
        self.path = path
        self.worklist = Worklist(*items)
        self.calls = []

    def update(self, *items, options=(), stop_after=None, database='health'):
        "Run once with these items on the worklist"
        stop = threading.Event()

        def show(done, count):
            if done == stop_after:
                stop.set()

        self.worklist.items = list(items)
        connection = Connection(self.worklist)
        args = script.parse_args([
                '-d', database, '-w', str(self.path), *options])
        folder = _folder.Folder(str(self.path), database)
        if not args.dry_run:
            folder.clean()
        try:
            return _update.Run(
                _feed.Feed(connection, 'pacs1', args.done), folder, args,
                stop, show).run()
        finally:
            self.calls = connection.calls

    def files(self):
        return sorted(path.name for path in self.path.glob('*.wl'))

    def times(self):
        return {
            name: (self.path / name).stat().st_mtime_ns
            for name in self.files()}

    def read(self, name):
        return dcmread(self.path / name)


@pytest.fixture
def host(tmp_path):
    folder = tmp_path / 'worklists'
    folder.mkdir()
    return Host(folder)


def numbers(summary):
    return summary.written, summary.unchanged, summary.removed


def lines(summary):
    return [line for line, _ in summary.problems]


def test_both_template_types(host):
    "They give the same attributes"
    summary = host.update(make_item(1), make_item(2, 'json'))
    assert numbers(summary) == (2, 0, 0)
    assert host.files() == ['2.25.1.wl', '2.25.2.wl']
    one, two = map(host.read, host.files())
    for ds in (one, two):
        assert (ds.file_meta.MediaStorageSOPClassUID
            == '1.2.276.0.7230010.3.1.0.1')
        assert ds.PatientName == 'Betz^Ana'
        assert not ds.read_implicit_vr
        del ds.StudyInstanceUID
    assert one.to_json_dict() == two.to_json_dict()


@pytest.mark.parametrize('template_type', ['dump2dcm', 'json'])
@pytest.mark.parametrize('charset, name', [
        ('ISO_IR 100', 'Müller^Íñigo'), ('ISO_IR 101', 'Dvořák'),
        ('ISO_IR 109', 'Ġorġ'), ('ISO_IR 110', 'Āboliņš'),
        ('ISO_IR 126', 'Διονυσιος'), ('ISO_IR 127', 'قباني^لنزار'),
        ('ISO_IR 138', 'שרון^דבורה'), ('ISO_IR 144', 'Люкceмбypг'),
        ('ISO_IR 148', 'Çavuşoğlu'), ('ISO_IR 166', 'สมชาย'),
        ('ISO_IR 192', '张^三 สมชาย'), ('GBK', '张^三'), ('GB18030', '张^三'),
        ('ISO_IR 13', 'ﾔﾏﾀﾞ Yamada^ﾀﾛｳ'),
        ('\\ISO 2022 IR 13', 'ﾔﾏﾀﾞ Yamada^ﾀﾛｳ'),
        ('\\ISO 2022 IR 87', 'Yamada^Tarou=山田^太郎'),
        ('\\ISO 2022 IR 149', 'Hong^Gildong=洪^吉洞=홍^길동'),
        ('\\ISO 2022 IR 58', 'Zhang^XiaoDong=张^小东'),
        ])
def test_charsets(host, template_type, charset, name):
    summary = host.update(
        make_item(1, template_type, charset, PatientName=name))
    assert summary.problems == []
    if charset.endswith('IR 58'):
        # pydicom does not read it
        found = subprocess.run(
            ['dcmdump', '-q', '+U8', '+P', '0010,0010',
                host.path / '2.25.1.wl'],
            check=True, capture_output=True, text=True).stdout
    else:
        found = f"[{host.read('2.25.1.wl').PatientName}]"
    assert f'[{name}]' in found


@pytest.mark.parametrize('template_type', ['dump2dcm', 'json'])
@pytest.mark.parametrize(
    'charset', ['ISO_IR 100', 'ISO_IR 13', 'GBK', '\\ISO 2022 IR 87'])
def test_unencodable(host, template_type, charset):
    "Nothing becomes a question mark"
    summary = host.update(
        make_item(1, template_type, charset, PatientName='สมชาย'),
        make_item(2))
    assert lines(summary) == ['001-01']
    assert host.files() == ['2.25.2.wl']


def test_unknown_charset(host):
    "As templates of GNU Health 5.0 spell it"
    host.update(
        make_item(1, 'json', 'IS0_IR 192', PatientName='张^三'),
        make_item(2, 'dump2dcm', 'IS0_IR 192', PatientName='张^三'))
    assert host.read('2.25.1.wl').PatientName == '张^三'
    assert '张^三'.encode() in (host.path / '2.25.2.wl').read_bytes()


def test_only_what_changed(host):
    "300 requests, then 3 changes: 3 files are touched, in 2 calls"
    items = list(make_items(300))
    for n in range(3, 301, 10):
        items[n - 1] = make_item(n)
    assert numbers(host.update(*items)) == (300, 0, 0)
    assert host.calls == [
        'worklist_state', 'worklist_items_of', 'worklist_fetched']
    before = host.times()
    assert numbers(host.update(*items)) == (0, 300, 0)
    assert host.calls == ['worklist_state']
    assert host.times() == before
    for n in (3, 77, 200):
        items[n - 1] = make_item(
            n, items[n - 1]['type'], PatientName='New^Name')
    assert numbers(host.update(*items)) == (3, 297, 0)
    assert host.calls == ['worklist_state', 'worklist_items_of']
    assert host.worklist.asked[-1] == [3, 77, 200]
    after = host.times()
    assert {n for n in after if after[n] != before[n]} == {
        '2.25.3.wl', '2.25.77.wl', '2.25.200.wl'}
    assert host.read('2.25.77.wl').PatientName == 'New^Name'


def test_a_page_is_one_call(host, monkeypatch):
    monkeypatch.setattr(_feed, 'PAGE', 10)
    host.update(*make_items(21))
    assert host.calls == ['worklist_state'] + 3 * ['worklist_items_of'] + [
        'worklist_fetched']
    assert len(host.files()) == 21


def test_new_version_same_content(host):
    "What says the same is not written again"
    item = make_item(1)
    host.update(item)
    before = host.times()
    assert numbers(host.update(dict(item, version='other'))) == (0, 1, 0)
    assert host.times() == before


def test_read_all(host, monkeypatch):
    "What no version tells is noticed after an hour"
    host.update(make_item(1), make_item(2))
    before = host.times()
    changed = [
        dict(make_item(1, PatientName='New^Name'),
            version=make_item(1)['version']), make_item(2)]
    assert numbers(host.update(*changed)) == (0, 2, 0)
    now = time.time()
    monkeypatch.setattr(_update.time, 'time', lambda: now + 3601)
    assert numbers(host.update(*changed)) == (1, 1, 0)
    assert host.times()['2.25.2.wl'] == before['2.25.2.wl']
    assert numbers(host.update(*changed)) == (0, 2, 0)
    assert host.calls == ['worklist_state']


def test_leaving_and_coming_back(host):
    first, second = make_item(1), make_item(2)
    host.update(first, second)
    assert numbers(host.update(second)) == (0, 1, 1)
    assert host.files() == ['2.25.2.wl']
    assert numbers(host.update(first, second)) == (1, 1, 0)
    # the last one may go
    assert numbers(host.update()) == (0, 0, 2)
    assert host.files() == []


def test_several_stations(host):
    "A request has an item for each"
    one = make_item(7)
    two = make_item(7, key='7-1', ScheduledStationAETitle='CT2')
    host.update(one, two)
    tag = _folder.Folder('', 'health').tag
    assert host.files() == ['2.25.7.wl', f'request-{tag}-7-1.wl']
    assert [
        host.read(n).ScheduledProcedureStepSequence[0]
        .ScheduledStationAETitle for n in host.files()] == ['CT1', 'CT2']
    host.update(one)
    assert host.files() == ['2.25.7.wl']


def test_another_uid(host):
    "The old file goes after the new one is there"
    host.update(make_item(1))
    host.update(make_item(1, StudyInstanceUID='2.25.99'))
    assert host.files() == ['2.25.99.wl']


def test_changed_by_others(host):
    "A file that somebody removed, emptied or changed comes back"
    items = [make_item(n) for n in range(1, 5)]
    host.update(*items)
    (host.path / '2.25.1.wl').unlink()
    (host.path / '2.25.2.wl').write_bytes(b'')
    os.utime(host.path / '2.25.3.wl')
    assert numbers(host.update(*items)) == (3, 1, 0)
    assert host.calls == ['worklist_state', 'worklist_items_of']
    for name in host.files():
        assert host.read(name).PatientName == 'Betz^Ana'


def test_files_of_others(host):
    for name in ['other.wl', 'lockfile', 'x.txt', 'x.tmp']:
        (host.path / name).write_text('x')
    host.update(make_item(1))
    host.update(options=['--allow-empty', '-r'])
    assert {p.name for p in host.path.iterdir() if p.name[0] != '.'} == {
        'other.wl', 'lockfile', 'x.txt', 'x.tmp'}


def test_two_databases(host):
    host.update(make_item(1))
    host.update(make_item(2), database='other')
    assert host.files() == ['2.25.1.wl', '2.25.2.wl']


def test_two_hosts(host, tmp_path):
    "Each has its own memory"
    other = Host(tmp_path / 'second')
    other.path.mkdir()
    other.worklist = host.worklist
    items = [make_item(1), make_item(2)]
    host.update(*items)
    assert numbers(other.update(*items)) == (2, 0, 0)
    items[0] = make_item(1, PatientName='New^Name')
    for each in (host, other):
        assert numbers(each.update(*items)) == (1, 1, 0)
        assert each.read('2.25.1.wl').PatientName == 'New^Name'


def test_names(host):
    "What the item says does not leave the folder"
    evil = [
        make_item(7, AccessionNumber='../x', StudyInstanceUID='../../evil'),
        make_item(8, StudyInstanceUID='/etc/evil'),
        make_item(9, StudyInstanceUID='2.25.8'),
        make_item(10, StudyInstanceUID='2.25.8'),
        with_version(make_item(11, StudyInstanceUID=''), key='../../k'),
        ]
    host.update(*evil)
    assert host.files()[0] == '2.25.8.wl'
    assert all(
        n == '2.25.8.wl' or n.startswith('request-') and '/' not in n
        for n in host.files())
    assert [p.name for p in host.path.parent.iterdir()] == ['worklists']
    host.update()
    assert host.files() == []


def test_memory_cannot_lead_outside(host):
    "A memory that names files elsewhere"
    outside = host.path.parent / 'precious.wl'
    outside.write_text('x')
    folder = _folder.Folder(str(host.path), 'health')
    folder.files['../precious.wl'] = _folder.Entry(2, '2', 'x')
    folder.save()
    host.update(options=['--allow-empty'])
    assert outside.exists()


@pytest.mark.parametrize('change', [
        lambda text: '', lambda text: '{}', lambda text: text[:-5],
        lambda text: text.replace('2.25.1', '2.25.7')])
def test_unreadable_memory(host, change):
    "Everything is fetched anew"
    host.update(make_item(1))
    memory, = host.path.glob('.*-memory')
    memory.write_text(change(memory.read_text()))
    summary = host.update(make_item(1), make_item(2))
    assert numbers(summary) == (2, 0, 0)
    assert host.files() == ['2.25.1.wl', '2.25.2.wl']


def test_symbolic_links(host, tmp_path):
    "They are replaced, what they point to stays"
    target = tmp_path / 'target'
    target.write_text('x')
    (host.path / '2.25.1.wl').symlink_to(target)
    host.update(make_item(1))
    assert target.read_text() == 'x'
    assert not (host.path / '2.25.1.wl').is_symlink()
    folder = _folder.Folder(str(host.path), 'health')
    lock = f'.gnuhealth-worklist-{folder.tag}-lock'
    (host.path / lock).symlink_to(tmp_path / 'elsewhere')
    with pytest.raises(_folder.FolderError):
        folder.lock()
    assert not (tmp_path / 'elsewhere').exists()


def test_bad_items(host):
    "They are reported and do not stop the others"
    bad = with_version(make_item(1), text=None, dataset=None, errors=[
            {'attribute': 'PatientID', 'code': 'empty'}])
    broken = with_version(make_item(2), text='garbage')
    other = with_version(make_item(3, 'json'), uid='2.25.4')
    garbage = with_version(make_item(4, 'json'), dataset='{"x": 1}')
    (host.path / '2.25.5.wl').mkdir()
    summary = host.update(
        bad, broken, other, garbage, make_item(5), make_item(6))
    assert lines(summary) == [
        '001-01', '002-01', '003-01', '004-01', '005-01']
    assert summary.problems[0][1] == 'PatientID empty'
    assert host.files() == ['2.25.5.wl', '2.25.6.wl']
    assert not list(host.path.glob('*.tmp'))
    assert host.worklist.noted[-1] == ('pacs1', 1, 5)
    # they stay reported while nothing changes, and are tried again
    (host.path / '2.25.5.wl').rmdir()
    summary = host.update(*host.worklist.items)
    assert lines(summary) == ['001-01', '002-01', '003-01', '004-01']
    assert host.worklist.asked[-1] == [2, 3, 4, 5]
    assert host.files() == ['2.25.5.wl', '2.25.6.wl']
    # and are forgotten with their request
    assert host.update(make_item(6)).problems == []


@pytest.mark.parametrize('line', [
        '(7fe0,0010) OW =/etc/passwd', '(7fe0,0010) OB 00\\01',
        '(7fe0,0010) =/etc/passwd', ' ( 7fe0 , 0010 )  =/etc/passwd',
        '(7fe0,0010) ow =/etc/passwd', '(0009,0010) UN =/etc/passwd',
        '(0042,0011) ?? =/etc/passwd'])
def test_files_of_the_host(host, line):
    "A text cannot make dump2dcm read one"
    item = make_item(1)
    summary = host.update(with_version(item, text=item['text'] + line + '\n'))
    assert summary.problems == [['001-01', 'it holds binary data']]
    assert host.files() == []


def test_uid_names(host):
    "That is what = stands for in a UI"
    item = make_item(1)
    text = item['text'] + '(0008,0016) UI =SecondaryCaptureImageStorage\n'
    assert host.update(with_version(item, text=text)).problems == []
    assert host.read('2.25.1.wl').SOPClassUID == '1.2.840.10008.5.1.4.1.1.7'


def test_text_without_vr(host):
    "dump2dcm takes it from its dictionary"
    item = make_item(1)
    text = item['text'].replace('(0010,0020) LO', '(0010,0020)')
    assert host.update(with_version(item, text=text)).problems == []
    ds = host.read('2.25.1.wl')
    assert (ds['PatientID'].VR, ds.PatientID) == ('LO', 'GNU777ORG')


def test_bad_item_keeps_the_old_file(host):
    "If it cannot be written; but not if GNU Health finds errors in it"
    item = make_item(1)
    host.update(item)
    host.update(with_version(item, text='garbage'))
    assert host.files() == ['2.25.1.wl']
    host.update(with_version(item, text=None, dataset=None, errors=[
                {'attribute': 'PatientID', 'code': 'empty'}]))
    assert host.files() == []


def test_empty_answer(host):
    "It is not believed at once, and nothing else is held up"
    host.update(*make_items(30))
    summary = host.update(make_item(99, 'json'))
    assert (summary.held, summary.removed, summary.written) == (30, 0, 1)
    assert len(host.files()) == 31
    # still there, and still said
    assert host.update(make_item(99, 'json')).held == 30
    summary = host.update(make_item(99, 'json'), options=['--allow-empty'])
    assert (summary.held, summary.removed) == (0, 30)
    assert host.files() == ['2.25.99.wl']


def test_empty_answer_confirmed(host, monkeypatch):
    "What is said for five minutes is believed"
    host.update(*make_items(30))
    assert host.update().held == 30
    now = time.time()
    monkeypatch.setattr(_update.time, 'time', lambda: now + 200)
    assert host.update().held == 30
    monkeypatch.setattr(_update.time, 'time', lambda: now + 301)
    assert host.update().removed == 30


def test_empty_answer_taken_back(host, monkeypatch):
    items = list(make_items(30))
    host.update(*items)
    assert host.update().held == 30
    assert numbers(host.update(*items)) == (0, 30, 0)
    # a new one has to be confirmed anew
    now = time.time()
    monkeypatch.setattr(_update.time, 'time', lambda: now + 1000)
    assert host.update().held == 30


def test_all_items_with_errors(host):
    "A broken template does not empty the folder at once"
    host.update(*make_items(30))
    summary = host.update(*(
            with_version(item, text=None, dataset=None, errors=[
                    {'attribute': 'PatientID', 'code': 'empty'}])
            for item in make_items(30)))
    assert (summary.held, len(summary.problems)) == (30, 30)
    assert len(host.files()) == 30
    assert numbers(host.update(*make_items(30))) == (0, 30, 0)
    assert host.update(*make_items(30)).problems == []


def test_half_of_the_files(host):
    "That may go"
    items = list(make_items(50))
    host.update(*items)
    assert host.update(*items[:25]).removed == 25


def test_regenerate(host):
    items = [make_item(1), make_item(2, 'json')]
    host.update(*items)
    before = host.times()
    assert numbers(host.update(*items, options=['-r'])) == (2, 0, 0)
    after = host.times()
    assert all(after[n] != before[n] for n in before)


def test_another_writer(host):
    "Files of another writer are written again, by this one"
    items = [make_item(1), make_item(2, 'json')]
    host.update(*items)
    summary = host.update(*items, options=['--writer', 'pydicom'])
    assert numbers(summary) == (1, 1, 0)
    assert (host.read('2.25.1.wl').file_meta.ImplementationVersionName
        .startswith('PYDICOM'))


def test_done_state(host):
    "-m asks for requests with a result, too"
    host.update(make_item(1), options=['-m'])
    host.update(make_item(1))
    assert host.worklist.done == [True, False]


def test_dry_run(host):
    host.update(make_item(1), make_item(2))
    content = {p.name: p.read_bytes() for p in host.path.iterdir()}
    summary = host.update(
        make_item(1, PatientName='New^Name'), make_item(3),
        options=['--dry-run'])
    assert numbers(summary) == (2, 0, 1)
    assert content == {p.name: p.read_bytes() for p in host.path.iterdir()}
    assert len(host.worklist.noted) == 1


def test_interrupted(host, monkeypatch):
    "What a killed run wrote is known as ours, and written again"
    class Killed(BaseException):
        pass

    items = [make_item(n, 'json') for n in range(1, 4)]
    put = _folder.Folder.put
    save = _folder.Folder.save
    saved = []

    def killed(self, name, write):
        if name == '2.25.3.wl':
            raise Killed
        return put(self, name, write)

    def save_once(self):
        if not saved:
            save(self)
        saved.append(1)

    with monkeypatch.context() as patch:
        patch.setattr(_folder.Folder, 'put', killed)
        patch.setattr(_folder.Folder, 'save', save_once)
        with pytest.raises(Killed):
            host.update(*items)
    assert host.files() == ['2.25.1.wl', '2.25.2.wl']
    tag = _folder.Folder('', 'health').tag
    left = f'.gnuhealth-worklist-{tag}-abc.tmp'
    (host.path / left).write_text('left over')
    host.update(*items)
    assert len(host.files()) == 3
    assert not list(host.path.glob('.*.tmp'))
    host.update()
    assert host.files() == []


def test_stop(host, monkeypatch):
    "The pages that were written stay, and the next run goes on"
    monkeypatch.setattr(_feed, 'PAGE', 10)
    items = list(make_items(15))
    summary = host.update(*items, stop_after=10)
    assert not summary.complete
    assert len(host.files()) == 10
    assert numbers(host.update(*items)) == (5, 10, 0)


def test_server_error_in_the_middle(host, monkeypatch):
    "What came before it is published, nothing is removed"
    monkeypatch.setattr(_feed, 'PAGE', 10)
    host.update(make_item(1000, 'json'))

    def items_of(ids, done=False):
        if len(host.worklist.asked) == 2:
            raise ConnectionError
        return real(ids)

    real = host.worklist.worklist_items_of
    host.worklist.worklist_items_of = items_of
    with pytest.raises(ConnectionError):
        host.update(*make_items(15))
    assert len(host.files()) == 11
    assert '2.25.1000.wl' in host.files()
    del host.worklist.worklist_items_of
    summary = host.update(*make_items(15))
    assert (summary.written, summary.removed) == (5, 1)


@pytest.mark.parametrize('answer', [
        None, [], {}, {'digest': None, 'versions': ''},
        {'digest': 'x', 'count': 1, 'versions': ''},
        {'digest': 'x', 'count': 1, 'versions': 'x y'},
        {'digest': 'x', 'count': 1, 'versions': '1'},
        {'digest': 'x', 'count': 0, 'versions': None}])
def test_wrong_answers(host, answer):
    host.update(make_item(1))
    host.worklist.worklist_state = lambda *args: answer
    with pytest.raises(_feed.AnswerError):
        host.update()
    assert host.files() == ['2.25.1.wl']


@pytest.mark.parametrize('answer', [
        None, {}, {'items': None}, {'items': [1]}, {'items': [{}]}])
def test_wrong_items(host, answer):
    host.worklist.worklist_items_of = lambda *args: answer
    with pytest.raises(_feed.AnswerError):
        host.update(make_item(1))


@pytest.mark.parametrize('items', [
        [dict(make_item(1), id=float('inf'))],
        [make_item(1), make_item(1)],
        [dict(make_item(1), dataset='x'), dict(make_item(1), text='x')],
        ])
def test_items_that_cannot_be(host, items):
    host.worklist.worklist_items_of = lambda *args: {'items': items}
    with pytest.raises(_feed.AnswerError):
        host.update(make_item(1))
    assert not host.files()


def test_items_nobody_asked_for(host):
    "They are not published"
    host.worklist.worklist_items_of = lambda ids: {
        'items': [make_item(1), make_item(2)]}
    host.update(make_item(1))
    assert host.files() == ['2.25.1.wl']


def test_without_dump2dcm(host, monkeypatch):
    monkeypatch.setattr(_writers.shutil, 'which', lambda name: None)
    host.update(make_item(1))
    assert host.read('2.25.1.wl').PatientName == 'Betz^Ana'
    with pytest.raises(SystemExit):
        host.update(make_item(1), options=['--writer', 'dump2dcm'])


def test_permissions(host):
    umask = os.umask(0o027)
    try:
        host.update(make_item(1))
    finally:
        os.umask(umask)
    mode = os.stat(host.path / '2.25.1.wl').st_mode
    assert stat.S_IMODE(mode) == 0o640


def test_no_folder(host):
    host.path.rmdir()
    with pytest.raises(_folder.FolderError, match="no folder"):
        host.update(make_item(1))


def test_lock(host):
    one, two = (
        _folder.Folder(str(host.path), 'health') for _ in range(2))
    one.lock()
    with pytest.raises(_folder.Locked):
        two.lock()
    # another database is another instance
    _folder.Folder(str(host.path), 'other').lock()


def test_log_names_no_patient(host, caplog):
    caplog.set_level(logging.DEBUG)
    host.update(
        make_item(1), make_item(2, charset='ISO_IR 100', PatientName='สมชาย'),
        with_version(make_item(3), text='garbage'), options=['-v'])
    host.update(options=['-v'])
    assert '001-01' in caplog.text
    for secret in ['Betz', 'GNU777ORG', 'สมชาย', 'garbage']:
        assert secret not in caplog.text


# The attributes that orthanc-tools 0.23 takes from its values; the second
# ones must be among them
ORTHANC_TOOLS = {
    'item': (
        ['AccessionNumber', 'InstitutionName', 'RequestingPhysician',
            'ReferringPhysicianName', 'RequestedProcedureDescription',
            'ConfidentialityConstraintOnPatientDataDescription',
            'PatientWeight'],
        ['PatientID', 'PatientName', 'PatientBirthDate', 'PatientSex',
            'StudyInstanceUID', 'RequestedProcedureID',
            'SpecificCharacterSet']),
    'step': (
        ['Modality', 'ScheduledProcedureStepStartDate',
            'ScheduledProcedureStepStartTime',
            'ReasonForTheRequestedProcedure', 'ReferringPhysicianName',
            'ScheduledPerformingPhysicianName', 'ScheduledStationName'],
        ['ScheduledStationAETitle', 'ScheduledProcedureStepID']),
    }


@pytest.fixture
def orthanc_tools(monkeypatch):
    "A builder that takes what the one of orthanc-tools takes"
    class Builder:
        customizes = True

        def customize(self, values):
            return values

        def generate(self, values, file_name):
            meta = FileMetaDataset()
            meta.MediaStorageSOPClassUID = '1.2.276.0.7230010.3.1.0.1'
            meta.MediaStorageSOPInstanceUID = generate_uid()
            meta.TransferSyntaxUID = ExplicitVRLittleEndian
            ds = FileDataset(file_name, {}, file_meta=meta)
            ds.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
            step = Dataset()
            ds.ScheduledProcedureStepSequence = [step]
            step.ScheduledProcedureStepDescription = values.get(
                'RequestedProcedureDescription')
            for name, target in (('item', ds), ('step', step)):
                optional, mandatory = ORTHANC_TOOLS[name]
                for keyword in optional + mandatory:
                    if keyword in values:
                        setattr(target, keyword, values[keyword])
                    elif keyword in mandatory:
                        raise Exception(f"missing field '{keyword}'")
            if self.customizes:
                ds = self.customize(ds)
            ds.save_as(file_name, enforce_file_format=True)

    module = types.ModuleType('hl7_dicom_worklist_builder')
    module.DicomWorklistBuilder = Builder
    for name in ['orthanc_tools', 'orthanc_tools.hl7Lib']:
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(
        sys.modules, 'orthanc_tools.hl7Lib.hl7_dicom_worklist_builder',
        module)
    monkeypatch.setattr(_writers, 'available', lambda name: True)
    return Builder


def test_orthanc_tools(host, orthanc_tools):
    "Every attribute is in the file, those it does not know, too"
    items = [
        make_item(1), make_item(2, 'json', 'ISO_IR 100', PatientName='Müller'),
        make_item(3, 'json', 'ISO_IR 100', PatientName='สมชาย')]
    host.update(*items[:2], options=['--writer', 'pydicom'])
    wanted = [host.read(name).to_json_dict() for name in host.files()]
    summary = host.update(*items, options=['--writer', 'orthanc-tools'])
    assert numbers(summary) == (2, 0, 0)
    assert (summary.dropped, lines(summary)) == ([], ['003-01'])
    for name, attributes in zip(host.files(), wanted):
        written = host.read(name)
        assert written.PatientAge == '041Y'
        del written.SOPInstanceUID
        assert written.to_json_dict() == attributes


def test_orthanc_tools_refuses(host, orthanc_tools):
    item = make_item(1)
    content = json.loads(item['dataset'])
    del content['00100040']
    summary = host.update(
        with_version(item, dataset=json.dumps(content)),
        options=['--writer', 'orthanc-tools'])
    assert summary.problems == [[
            '001-01',
            "orthanc-tools refuses its dataset: missing field 'PatientSex'"]]


def test_dropped_attributes(host, orthanc_tools):
    "A release that gives no chance to add them"
    orthanc_tools.customizes = False
    summary = host.update(
        make_item(1), options=['--writer', 'orthanc-tools'])
    assert summary.written == 1
    for keyword in [
            'PatientAge', 'RequestingService', 'TimezoneOffsetFromUTC',
            'RequestedProcedurePriority', 'ScheduledProcedureStepLocation']:
        assert keyword in summary.dropped
    assert 'PatientName' not in summary.dropped


def test_server_of_the_same_database_name(tmp_path):
    "The worklists of two servers do not fill one folder by mistake"
    (tmp_path / '1.wl').write_bytes(b'')

    def folder(server, **options):
        return _folder.Folder(str(tmp_path), 'health', server, **options)

    first = folder('gnuhealth1:8000')
    first.load()
    first.announce({'1.wl': _folder.Entry(1, '1', 'd', first._stamp('1.wl'))})
    first.memory['more'] = 1
    first.save()
    second = folder('gnuhealth2:8000')
    with pytest.raises(_folder.OtherServer) as caught:
        second.load()
    assert 'gnuhealth1:8000' in str(caught.value)
    assert '--server-renamed' in str(caught.value)
    moved = folder('gnuhealth2:8000', renamed=True)
    moved.load()
    assert list(moved.files) == ['1.wl'] and moved.memory == {'more': 1}
    moved.save()
    second = folder('gnuhealth2:8000')
    second.load()
    assert list(second.files) == ['1.wl']
    with pytest.raises(_folder.OtherServer):
        folder('gnuhealth1:8000').load()
