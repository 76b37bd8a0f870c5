# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import contextlib
import importlib.util
import io
import json
import logging
import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import unittest
import xmlrpc.client
from pathlib import Path
from unittest.mock import patch

from pydicom import dcmread

from trytond.modules.health_imaging_worklist import dataset
from trytond.modules.health_imaging_worklist.sandbox import Trusted

from .test_dataset import render

SCRIPT = (
    Path(__file__).resolve().parents[2]
    / 'his-utils' / 'scripts' / 'imaging' / 'update_worklists_database.py')


def load():
    spec = importlib.util.spec_from_file_location('updater', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def item(number, template_type='dump2dcm', charset='ISO_IR 192', **values):
    "What the server answers for a request"
    values.setdefault('StudyInstanceUID', '2.25.%d' % number)
    text = render(
        template_type, SpecificCharacterSet=Trusted(charset), **values)
    ds, _ = dataset.parse(text, template_type)
    return {
        'id': number,
        'line': '%03d-01' % number,
        'uid': values['StudyInstanceUID'],
        'type': template_type,
        'charset': charset,
        'text': text,
        'dataset': dataset.to_json(ds),
        'errors': [],
        'warnings': [],
        }


class Server:
    "Answers without a network"

    def __init__(self, *items):
        self.answer = list(items)

    def items(self):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class UpdaterTestCase(unittest.TestCase):
    "Test update_worklists_database.py"

    def setUp(self):
        self.script = load()
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = Path(directory.name)
        logging.getLogger('update_worklists').setLevel(logging.CRITICAL)
        self.stop = threading.Event()

    def args(self, *options):
        return self.script.parse_args([
                '-d', 'health', '-u', 'pacs', '-w', str(self.path),
                *options])

    def update(self, server, *options):
        folder = self.script.Folder(str(self.path), 'health')
        return self.script.update(
            server, folder, self.args(*options), self.stop)

    def files(self):
        return sorted(p.name for p in self.path.glob('*.wl'))

    def test_types(self):
        "Both writers write the same item"
        self.update(Server(item(1), item(2, 'json')))
        self.assertEqual(self.files(), ['2.25.1.wl', '2.25.2.wl'])
        one, two = (dcmread(self.path / n) for n in self.files())
        for ds in (one, two):
            self.assertEqual(
                ds.file_meta.MediaStorageSOPClassUID,
                '1.2.276.0.7230010.3.1.0.1')
            self.assertEqual(ds.PatientName, 'Betz^Ana')
            self.assertFalse(ds.read_implicit_vr)
            del ds.StudyInstanceUID
        self.assertEqual(one.to_json_dict(), two.to_json_dict())

    def test_charsets(self):
        for charset, name in [
                ('ISO_IR 100', 'Müller^Íñigo'), ('ISO_IR 101', 'Dvořák'),
                ('ISO_IR 109', 'Ġorġ'), ('ISO_IR 110', 'Āboliņš'),
                ('ISO_IR 126', 'Διονυσιος'), ('ISO_IR 127', 'قباني^لنزار'),
                ('ISO_IR 138', 'שרון^דבורה'), ('ISO_IR 144', 'Люкceмбypг'),
                ('ISO_IR 148', 'Çavuşoğlu'), ('ISO_IR 166', 'สมชาย'),
                ('ISO_IR 192', '张^三 สมชาย'), ('GBK', '张^三'),
                ('GB18030', '张^三'),
                ('\\ISO 2022 IR 87', 'Yamada^Tarou=山田^太郎'),
                ('\\ISO 2022 IR 149', 'Hong^Gildong=洪^吉洞=홍^길동'),
                ('\\ISO 2022 IR 58', 'Zhang^XiaoDong=张^小东'),
                ]:
            for template_type in ['dump2dcm', 'json']:
                with self.subTest(charset=charset, type=template_type):
                    summary = self.update(Server(item(
                                1, template_type, charset,
                                PatientName=name)))
                    self.assertEqual(summary['bad'], [])
                    path = self.path / '2.25.1.wl'
                    if charset.endswith('IR 58'):
                        # pydicom does not read it
                        found = subprocess.run(
                            ['dcmdump', '-q', '+U8', '+P', '0010,0010',
                                path],
                            check=True, capture_output=True,
                            text=True).stdout
                    else:
                        found = '[%s]' % dcmread(path).PatientName
                    self.assertIn('[%s]' % name, found)

    def test_unencodable(self):
        "Nothing becomes a question mark"
        for template_type in ['dump2dcm', 'json']:
            for charset in ['ISO_IR 100', 'GBK', '\\ISO 2022 IR 87']:
                with self.subTest(type=template_type, charset=charset):
                    summary = self.update(Server(item(
                                1, template_type, charset,
                                PatientName='สมชาย'), item(2)))
                    self.assertEqual(summary['bad'], ['001-01'])
                    self.assertEqual(self.files(), ['2.25.2.wl'])

    def test_unknown_charset(self):
        "As templates of GNU Health 5.0 spell it"
        self.update(Server(
                item(1, 'json', 'IS0_IR 192', PatientName='张^三'),
                item(2, 'dump2dcm', 'IS0_IR 192', PatientName='张^三')))
        one = dcmread(self.path / '2.25.1.wl')
        self.assertEqual(one.PatientName, '张^三')
        self.assertIn(
            '张^三'.encode(), (self.path / '2.25.2.wl').read_bytes())

    def test_changes(self):
        first, second, third = item(1), item(2), item(3, 'json')
        self.assertEqual(
            self.update(Server(first, second, third))['written'], 3)
        before = {
            n: os.stat(self.path / n).st_mtime_ns for n in self.files()}
        summary = self.update(Server(
                first, item(2, PatientName='New^Name'), item(4)))
        self.assertEqual(
            {k: summary[k] for k in ['written', 'unchanged', 'removed']},
            {'written': 2, 'unchanged': 1, 'removed': 1})
        self.assertEqual(
            self.files(), ['2.25.1.wl', '2.25.2.wl', '2.25.4.wl'])
        self.assertEqual(
            os.stat(self.path / '2.25.1.wl').st_mtime_ns,
            before['2.25.1.wl'])
        self.assertEqual(
            dcmread(self.path / '2.25.2.wl').PatientName, 'New^Name')
        # a file that somebody removed comes back
        os.unlink(self.path / '2.25.1.wl')
        self.update(Server(first))
        self.assertEqual(self.files(), ['2.25.1.wl'])

    def test_files_of_others(self):
        for name in ['other.wl', 'lockfile', 'x.txt']:
            (self.path / name).write_text('x')
        self.update(Server(item(1)))
        self.update(Server())
        self.assertEqual(self.files(), ['other.wl'])
        self.assertTrue((self.path / 'lockfile').exists())

    def test_two_databases(self):
        self.update(Server(item(1)))
        other = self.script.Folder(str(self.path), 'other')
        self.script.update(
            Server(item(2)), other, self.args(), self.stop)
        self.assertEqual(self.files(), ['2.25.1.wl', '2.25.2.wl'])

    def test_names(self):
        nasty = item(7, StudyInstanceUID='../../evil')
        same = dict(item(8), id=9)
        taken = set()
        names = []
        for one in [nasty, item(8), same]:
            names.append(self.script.file_name(one, taken))
            taken.add(names[-1])
        self.assertEqual(
            names, ['request-7.wl', '2.25.8.wl', 'request-9.wl'])

    def test_bad_items(self):
        bad = dict(
            item(1), text=None, dataset=None,
            errors=[{'attribute': 'PatientID', 'code': 'empty'}])
        broken = dict(item(2), text='garbage')
        other = dict(item(3, 'json'), uid='2.25.4')
        binary = dict(
            item(5), text='(7fe0,0010) OW =/etc/passwd\n')
        summary = self.update(Server(bad, broken, other, binary, item(6)))
        self.assertEqual(
            summary['bad'], ['001-01', '002-01', '003-01', '005-01'])
        self.assertEqual(self.files(), ['2.25.6.wl'])
        self.assertFalse(list(self.path.glob('*.tmp')))

    def test_bad_items_keep_the_old_file(self):
        "What cannot be written leaves what was written before"
        self.update(Server(item(1)))
        self.update(Server(dict(item(1), text='garbage')))
        self.assertEqual(self.files(), ['2.25.1.wl'])
        self.update(Server())
        self.assertEqual(self.files(), [])

    def test_errors_keep_the_folder(self):
        self.update(Server(item(1)))
        server = Server()
        server.answer = self.script.Refused(
            self.script.NO_SERVER, "no connection")
        with self.assertRaises(self.script.Refused):
            self.update(server)
        self.assertEqual(self.files(), ['2.25.1.wl'])

    def test_empty_answer(self):
        self.update(Server(*(item(i, 'json') for i in range(1, 26))))
        with self.assertRaises(self.script.Refused) as caught:
            self.update(Server())
        self.assertEqual(caught.exception.status, self.script.NO_FOLDER)
        self.assertEqual(len(self.files()), 25)
        self.update(Server(), '--allow-empty')
        self.assertEqual(self.files(), [])

    def test_dry_run(self):
        summary = self.update(Server(item(1)), '--dry-run')
        self.assertEqual(summary['written'], 1)
        self.assertEqual(list(self.path.iterdir()), [])

    def test_interrupted(self):
        "What a killed run wrote is known as ours"
        folder = self.script.Folder(str(self.path), 'health')

        class Killed(BaseException):
            pass
        def write_pydicom(item, path):
            raise Killed
        with patch.object(self.script, 'write_pydicom', write_pydicom):
            original = folder.save
            calls = []

            def save():
                calls.append(1)
                if len(calls) == 1:
                    original()
            folder.save = save
            with self.assertRaises(Killed):
                self.script.update(
                    Server(item(1), item(2, 'json')), folder, self.args(),
                    self.stop)
        self.assertEqual(self.files(), ['2.25.1.wl'])
        self.assertFalse(list(self.path.glob('*.tmp')))
        self.update(Server())
        self.assertEqual(self.files(), [])

    def test_without_dump2dcm(self):
        with patch.object(self.script.shutil, 'which', return_value=None):
            self.update(Server(item(1)))
        self.assertEqual(
            dcmread(self.path / '2.25.1.wl').PatientName, 'Betz^Ana')

    def test_lock(self):
        one, two = (
            self.script.Folder(str(self.path), 'health') for _ in range(2))
        one.lock()
        with self.assertRaises(self.script.Refused) as caught:
            two.lock()
        self.assertEqual(caught.exception.status, self.script.LOCKED)

    def test_permissions(self):
        umask = os.umask(0o027)
        try:
            self.update(Server(item(1)))
        finally:
            os.umask(umask)
        mode = os.stat(self.path / '2.25.1.wl').st_mode
        self.assertEqual(stat.S_IMODE(mode), 0o640)

    def test_arguments(self):
        args = self.args('-r', '5', '-m', '-s', 'x')
        self.assertEqual(args.ignored, ['5', '-m', 'x'])
        for options in [
                ['-H', '192.0.2.1'], ['--watch', '0'], ['--watch', 'x']]:
            with self.subTest(options=options), \
                    contextlib.redirect_stderr(io.StringIO()):
                with self.assertRaises(SystemExit) as caught:
                    self.args(*options)
                self.assertEqual(caught.exception.code, 2)
        self.args('-H', '192.0.2.1', '--https')
        self.args('-H', '192.0.2.1', '--plain-http')
        self.args('-H', '127.0.0.1')

    def test_password(self):
        read = self.script.read_password
        file = self.path / 'gnuhealth-password'
        file.write_text('of the file\n')
        with patch.dict(os.environ, {}, clear=True):
            self.assertEqual(read(self.args('-P', 'given')), 'given')
            self.assertEqual(
                read(self.args('--password-file', str(file))),
                'of the file')
            os.environ['CREDENTIALS_DIRECTORY'] = str(self.path)
            self.assertEqual(read(self.args()), 'of the file')
            os.environ['GNUHEALTH_PASSWORD'] = 'of the environment'
            self.assertEqual(read(self.args()), 'of the environment')
            os.environ.clear()
            with patch.object(self.script.sys, 'stdin', io.StringIO()):
                with self.assertRaises(self.script.Refused):
                    read(self.args())
            with self.assertRaises(self.script.Refused):
                read(self.args('--password-file', '/nowhere'))

    def test_sessions(self):
        "One log-in for many runs, a new one when the session has ended"
        script = self.script
        log = []

        class Proxy:
            fail = 0

            def worklist_items(self, after, limit, context):
                log.append(('items', after))
                if Proxy.fail:
                    Proxy.fail -= 1
                    raise xmlrpc.client.ProtocolError(
                        'url', 401, "Unauthorized", {})
                return {
                    'items': [item(1 if after is None else 2)],
                    'next': 1 if after is None else None,
                    }

        class Config:
            context = {}

            def get_proxy(self, name):
                return Proxy()

        @contextlib.contextmanager
        def session(url, user, password, **options):
            log.append(('login', url, user, password))
            yield Config()
            log.append(('logout',))

        with patch.object(
                script.proteus_config, 'set_xmlrpc_session', session):
            server = script.Server(self.args(), 'secret')
            self.assertEqual(len(server.items()), 2)
            self.assertEqual(len(server.items()), 2)
            self.assertEqual([e[0] for e in log].count('login'), 1)
            Proxy.fail = 1
            self.assertEqual(len(server.items()), 2)
            self.assertEqual([e[0] for e in log].count('login'), 2)
            Proxy.fail = 5
            with self.assertRaises(script.Refused) as caught:
                server.items()
            self.assertEqual(caught.exception.status, script.NO_SERVER)
            self.assertNotIn('secret', str(caught.exception))
            Proxy.fail = 0
            server.items()
            server.close()
        self.assertEqual(
            log[0],
            ('login', 'http://localhost:8000/health/', 'pacs', 'secret'))
        self.assertEqual(log[-1], ('logout',))

    def test_wrong_answers(self):
        script = self.script

        class Proxy:
            def __init__(self, answer):
                self.answer = answer

            def worklist_items(self, after, limit, context):
                return self.answer

        class Config:
            context = {}

        for answer in [
                None, [], {}, {'items': None, 'next': None}, {'items': []},
                {'items': [], 'next': 1}]:
            with self.subTest(answer=answer):
                server = script.Server(self.args(), 'x')
                server._config = Config()
                server._config.get_proxy = lambda name: Proxy(answer)
                with self.assertRaises(script.Refused) as caught:
                    server.items()
                self.assertEqual(
                    caught.exception.status, script.NO_FOLDER)

    def test_process(self):
        "No server: reported, tried again, ended by a signal"
        command = [
            sys.executable, str(SCRIPT), '-d', 'x', '-u', 'x', '-p', '1',
            '-w', str(self.path)]
        environment = dict(os.environ, GNUHEALTH_PASSWORD='very secret')
        once = subprocess.run(
            command, env=environment, capture_output=True, text=True)
        self.assertEqual(once.returncode, self.script.NO_SERVER)
        self.assertNotIn('very secret', once.stderr)
        self.assertNotIn('Traceback', once.stderr)
        watch = subprocess.Popen(
            command + ['--watch', '0.1'], env=environment, text=True,
            stderr=subprocess.PIPE)
        try:
            for _ in range(2):
                self.assertIn('trying again', watch.stderr.readline())
            second = subprocess.run(
                command, env=environment, capture_output=True)
            self.assertEqual(second.returncode, self.script.LOCKED)
        finally:
            watch.send_signal(signal.SIGTERM)
            watch.communicate(timeout=20)
        self.assertEqual(watch.returncode, 0)

    def test_summary(self):
        output = io.StringIO()
        folder = self.script.Folder(str(self.path), 'health')
        with contextlib.redirect_stdout(output):
            status = self.script.run(
                Server(item(1), dict(item(2), text='garbage')), folder,
                self.args('--json'), self.stop)
        self.assertEqual(status, self.script.BAD_ITEMS)
        self.assertEqual(json.loads(output.getvalue()), {
                'items': 2, 'written': 1, 'unchanged': 0, 'removed': 0,
                'bad': ['002-01']})
