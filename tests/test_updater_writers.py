# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each writer of update_worklists_database.py, seen through Orthanc and
wlmscpfs: what they answer is what the item says, whatever it says."""
import json
import re
import subprocess

import pytest
from pacs_host import make_item, with_version
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import ModalityWorklistInformationFind
from test_updater import Host, orthanc_tools  # noqa: F401
from test_updater_process import wlmscpfs

import _writers
from trytond.modules.health_imaging_worklist.dataset import (
    DatasetError, parse_dump)

from demo.process import LOOPBACK, free_port
from demo.services import Orthanc

WRITERS = ['dump2dcm', 'pydicom', 'orthanc-tools']
# charset, name and a text
NASTY = [
    ('ISO_IR 100', 'Müller^Íñigo', 'Schädel "CT" ] [ für # 1'),
    ('ISO_IR 101', 'Dvořák^Žofie', 'Lebka [hlava] "č"'),
    ('ISO_IR 109', 'Ġorġ^Ħamid', 'Ras "ħ"'),
    ('ISO_IR 110', 'Āboliņš^Ģirts', 'Galva [ķ]'),
    ('ISO_IR 126', 'Διονυσιος^Ελένη', 'Κεφαλή [α]'),
    ('ISO_IR 127', 'قباني^لنزار', 'الرأس'),
    ('ISO_IR 138', 'שרון^דבורה', 'ראש "א"'),
    ('ISO_IR 144', 'Люкceмбypг^Роза', 'Голова [ё]'),
    ('ISO_IR 148', 'Çavuşoğlu^İpek', 'Kafa "ğ"'),
    ('ISO_IR 166', 'ใจดี^สมชาย', 'ศีรษะ [ก]'),
    ('ISO_IR 192', 'Müller 张^😀', '张 [头] "ศีรษะ"'),
    ('GB18030', '王^小东', '头部 [𠮷] "x"'),
    ('GBK', '王^小东', '头部 "CT"'),
    ('ISO_IR 13', 'ﾔﾏﾀﾞ^ﾀﾛｳ', 'CT ｱﾀﾏ [x]'),
    ('\\ISO 2022 IR 87', 'Yamada^Tarou=山田^太郎=やまだ^たろう', '頭部 [CT]'),
    ('\\ISO 2022 IR 149', 'Hong^Gildong=洪^吉洞=홍^길동', '머리 [CT]'),
    ('\\ISO 2022 IR 58', 'Zhang^XiaoDong=张^小东', '头部 [CT]'),
    ('ISO_IR 192', '^Given', r'a\b\\ "c" ${x} {% end %} (0010,0020) LO [evil]'),
    ('ISO_IR 192', "O'Neil \"Q\" [x] ]^[", 'y' * 200),
    ('', 'Plain^Name', '"}, "00100020": {"vr": "LO"}'),
    ]


def nasty_items(first):
    for number, (charset, name, text) in enumerate(NASTY):
        for place, template_type in enumerate(['dump2dcm', 'json']):
            yield make_item(
                first + 2 * number + place, template_type, charset,
                PatientName=name, RequestedProcedureDescription=text,
                ScheduledProcedureStepDescription=text,
                ReasonForTheRequestedProcedure=text)


@pytest.fixture
def published(tmp_path, orthanc_tools):  # noqa: F811
    "A folder with the items of each writer: datasets by UID"
    folder = tmp_path / 'worklists'
    folder.mkdir()
    wanted = {}
    for place, writer in enumerate(WRITERS, 1):
        items = [
            with_version(item) for item in nasty_items(1000 * place)]
        # a database each: none removes the files of another
        summary = Host(folder).update(
            *items, options=['--writer', writer], database=writer)
        assert (summary.written, summary.problems) == (len(items), [])
        wanted.update({
                item['uid']: Dataset.from_json(json.loads(item['dataset']))
                for item in items})
    assert len(wanted) == len(WRITERS) * len(NASTY) * 2
    return folder, wanted


def blank(dataset):
    "A query for each attribute of the dataset"
    query = Dataset()
    for element in dataset:
        if element.VR == 'SQ':
            query.add_new(
                element.tag, 'SQ', [blank(item) for item in element.value])
        elif element.keyword != 'SpecificCharacterSet':
            query.add_new(element.tag, element.VR, None)
    return query


def ask(port, called, query):
    ae = AE(ae_title='CT1')
    ae.add_requested_context(ModalityWorklistInformationFind)
    association = ae.associate(LOOPBACK, port, ae_title=called)
    assert association.is_established
    try:
        return {
            str(item.StudyInstanceUID): item
            for _, item in association.send_c_find(
                query, ModalityWorklistInformationFind) if item}
    finally:
        association.release()


def plain(dataset, prefix=''):
    "The attributes as texts; those of steps with the keyword in front"
    result = {}
    for element in dataset:
        keyword = prefix + element.keyword
        if element.keyword == 'SpecificCharacterSet':
            continue
        if element.VR == 'SQ':
            for item in element.value:
                result.update(plain(item, keyword + '.'))
            continue
        value = str('' if element.value is None else element.value)
        # pydicom leaves the designation of GB2312 in what it reads, Orthanc
        # 1.10 that of Korean, too, in what it turns into UTF-8
        value = re.sub(r'\x1b\$\)[AC]', '', value).rstrip(' ')
        if element.VR == 'PN':
            value = value.rstrip('^=')
        result[keyword] = value
    return result


def test_answers(published, tmp_path):
    "Every attribute of every item from Orthanc, what wlmscpfs knows from it"
    folder, wanted = published
    query = Dataset()
    for dataset in wanted.values():
        query.update(blank(dataset))
    with Orthanc(tmp_path / 'orthanc', free_port(), free_port(), 'test',
            'test', folder) as orthanc, wlmscpfs(folder) as (port, _):
        for server in [
                (orthanc.dicom_port, 'ORTHANC'), (port, 'WORKLIST')]:
            answers = ask(*server, query)
            assert set(answers) == set(wanted)
            for uid, dataset in wanted.items():
                said, expected = plain(answers[uid]), plain(dataset)
                if server[1] == 'WORKLIST':
                    # it knows fewer attributes
                    expected = {
                        k: v for k, v in expected.items() if k in said}
                    assert len(expected) > 20
                    # what is empty is "unknown" for it
                    assert said['PregnancyStatus'] == '4'
                    del expected['PregnancyStatus']
                missing = {
                    k: (v, said.get(k)) for k, v in expected.items()
                    # Orthanc leaves an empty number out
                    if said.get(k, '') != v}
                assert not missing, (server[1], uid)


@pytest.mark.parametrize('value', [
        'a=b', 'b=', '=b', 'a =b', 'a = b', 'a [b]', 'a [=b]', 'a#=b',
        '[=b]', 'a==b', '(=b)', 'a"b'])
def test_bare_values(value, tmp_path):
    "What GNU Health's check lets pass is written, as dump2dcm reads it"
    text = f'(0008,0070) LO {value}'
    try:
        dataset, _ = parse_dump(text)
    except DatasetError:
        assert _writers._is_binary(text)
        return
    assert not _writers._is_binary(text)
    (tmp_path / 'dump').write_text(text)
    subprocess.run(
        ['dump2dcm', '-q', tmp_path / 'dump', tmp_path / 'file'], check=True)
    assert dcmread(tmp_path / 'file', force=True).Manufacturer == (
        dataset.Manufacturer)
