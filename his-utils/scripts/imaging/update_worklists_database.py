#!/usr/bin/env python3
# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""
Write the worklist of GNU Health as .wl files, for Orthanc's worklist plugin
or dcmtk's wlmscpfs.

Each run logs in once, fetches all that is on the worklist, writes what is
new or changed, and removes what is no longer there.  Files that this script
did not write are never removed.
"""
import argparse
import contextlib
import fcntl
import getpass
import hashlib
import http.client
import json
import logging
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import warnings
import xmlrpc.client
from xml.parsers.expat import ExpatError

import pydicom
from proteus import config as proteus_config
from pydicom.charset import convert_encodings, encode_string, python_encoding
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pydicom.valuerep import PersonName

EPILOG = """\
the password is taken from the first of these that is given:
  -P, --password-file, the environment variable GNUHEALTH_PASSWORD, the
  systemd credential "gnuhealth-password", a prompt on the terminal

exit status:
  0  everything on the worklist is in the folder
  1  some items could not be published; the others are in the folder
  2  wrong arguments
  3  GNU Health did not answer, or refused; the folder is as it was
  4  another instance works on the folder
  5  the folder cannot be written, or the answer looks wrong

example:
  update_worklists_database.py -d health -u pacs --password-file pw \\
      -w /var/lib/orthanc/worklists --watch 10
"""

OK, BAD_ITEMS, USAGE, NO_SERVER, LOCKED, NO_FOLDER = range(6)

MODEL = 'gnuhealth.imaging.test.request'
# The class that Orthanc's samples and dump2dcm itself give to worklist files
WORKLIST_CLASS = '1.2.276.0.7230010.3.1.0.1'
LOCK_NAME = '.gnuhealth-worklist.lock'
PAGE = 500
# An answer without any item empties no folder with more files than this
SUSPICIOUS = 20
TIMEOUT = 60

_UID = re.compile(r'[0-9]+(\.[0-9]+)+')
_BRACKETS = re.compile(r'([^\[\n]*\[)(.*)(\][^\]\n]*)')
_LINE_VR = re.compile(r'\s*\([^)]*\)\s*([A-Z]{2})')
_REFUSED_VR = {'OB', 'OD', 'OF', 'OL', 'OV', 'OW', 'UN'}
# The replacement of a character that pydicom cannot encode
_LOSS = 'Failed to encode value'


def _encode_gb2312(value, errors='strict'):
    # pydicom leaves the designation to the codec, which does not write it
    # (PS3.5 K.2: before the first character of each component)
    return b'\x1b$)A' + value.encode('iso_ir_58', errors)


pydicom.charset.custom_encoders['iso_ir_58'] = _encode_gb2312

SERVER_ERRORS = (
    xmlrpc.client.Error, http.client.HTTPException, OSError, ExpatError)

logger = logging.getLogger('update_worklists')


class Refused(Exception):
    """The run cannot go on: carries the exit status."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


class ItemError(Exception):
    """One item cannot be written."""


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    server = parser.add_argument_group('GNU Health')
    server.add_argument(
        '-H', '--host', default='localhost', metavar='NAME',
        help='host of the GNU Health server (default: %(default)s)')
    server.add_argument(
        '-p', '--port', type=int, default=8000, metavar='NUMBER',
        help='its port (default: %(default)s)')
    server.add_argument(
        '-d', '--database', required=True, metavar='NAME',
        help='database')
    server.add_argument(
        '-u', '--user', required=True, metavar='LOGIN',
        help='user: a member of the group Health Imaging is enough')
    server.add_argument(
        '-P', '--password',
        help='password: other users of this host can see it, so rather use '
        '--password-file')
    server.add_argument(
        '--password-file', metavar='FILE',
        help='file whose first line is the password')
    server.add_argument(
        '--https', action='store_true', help='use https')
    server.add_argument(
        '--ca-file', metavar='FILE',
        help='certificate authorities to trust (PEM); implies --https')
    server.add_argument(
        '--plain-http', action='store_true',
        help='allow http without encryption to a host other than this one')
    folder = parser.add_argument_group('worklist')
    folder.add_argument(
        '-w', '--worklists-dir', '--worklist-dir', dest='folder',
        required=True, metavar='FOLDER',
        help='folder of the .wl files: "Database" in the Worklists section '
        'of Orthanc\'s configuration')
    folder.add_argument(
        '--watch', type=float, metavar='SECONDS',
        help='do not end: update the folder again and again, waiting so long '
        'in between')
    folder.add_argument(
        '--allow-empty', action='store_true',
        help='believe an empty worklist even where it removes more than '
        '%d files' % SUSPICIOUS)
    folder.add_argument(
        '--dry-run', action='store_true',
        help='say what would change, change nothing')
    output = parser.add_argument_group('output')
    output.add_argument(
        '--json', action='store_true',
        help='print a summary of each run as one line of JSON')
    output.add_argument(
        '-v', '--verbose', action='store_true', help='name each file')
    old = parser.add_argument_group(
        'accepted and ignored',
        'so that command lines made for GNU Health 5.0 still work')
    for letter in 'rms':
        old.add_argument(
            '-' + letter, nargs='?', action='append', dest='ignored',
            const='-' + letter, metavar='VALUE', help='has no effect')
    args = parser.parse_args(argv)
    if args.watch is not None and args.watch <= 0:
        parser.error('--watch needs a positive number of seconds')
    if args.ca_file:
        args.https = True
    if not (args.https or args.plain_http or _is_loopback(args.host)):
        parser.error(
            '%s is another host: use --https, or --plain-http to send the '
            'password and patient data without encryption' % args.host)
    return args


def _is_loopback(host):
    try:
        found = socket.getaddrinfo(host, None)
    except OSError:
        return False
    return all(
        address[4][0] == '::1' or address[4][0].startswith('127.')
        for address in found)


def read_password(args):
    """Return the password, see the help text for its sources."""
    if args.password is not None:
        logger.warning(
            'other users of this host can see a password given with -P')
        return args.password
    path = args.password_file
    if not path and 'GNUHEALTH_PASSWORD' in os.environ:
        return os.environ['GNUHEALTH_PASSWORD']
    if not path and os.environ.get('CREDENTIALS_DIRECTORY'):
        credential = os.path.join(
            os.environ['CREDENTIALS_DIRECTORY'], 'gnuhealth-password')
        if os.path.exists(credential):
            path = credential
    if path:
        try:
            with open(path, encoding='utf-8') as file:
                return file.readline().rstrip('\r\n')
        except (OSError, UnicodeDecodeError) as e:
            raise Refused(USAGE, 'cannot read the password file: %s' % e)
    if sys.stdin.isatty():
        return getpass.getpass('Password of %s: ' % args.user)
    raise Refused(USAGE, 'no password: use --password-file')


class Server:
    """GNU Health over XML-RPC, with one session for many calls."""

    def __init__(self, args, password):
        self._args = args
        self._password = password
        self._stack = None
        self._config = None

    def _connect(self):
        args = self._args
        scheme = 'https' if args.https else 'http'
        host = '[%s]' % args.host if ':' in args.host else args.host
        url = '%s://%s:%s/%s/' % (scheme, host, args.port, args.database)
        options = {}
        if args.https:
            options['context'] = ssl.create_default_context(
                cafile=args.ca_file)
        self._stack = contextlib.ExitStack()
        self._config = self._stack.enter_context(
            proteus_config.set_xmlrpc_session(
                url, args.user, self._password, **options))

    def close(self):
        """Log out; a server that is gone does not matter."""
        stack, self._stack, self._config = self._stack, None, None
        if stack:
            with contextlib.suppress(*SERVER_ERRORS):
                stack.close()

    def items(self):
        """
        Return all items of the worklist.

        Raises
        ------
        Refused
            If the server did not answer every page, or not as expected.
        """
        for fresh in (self._config is None, True):
            try:
                if self._config is None:
                    self._connect()
                return self._items()
            except SERVER_ERRORS as e:
                self._stack = self._config = None
                # a session that has expired: log in again, once
                if not fresh and not isinstance(e, ConnectionRefusedError):
                    continue
                raise Refused(NO_SERVER, _reason(e)) from None

    def _items(self):
        model = self._config.get_proxy(MODEL)
        result, after = [], None
        while True:
            answer = model.worklist_items(after, PAGE, self._config.context)
            if (not isinstance(answer, dict)
                    or not isinstance(answer.get('items'), list)
                    or 'next' not in answer):
                raise Refused(NO_FOLDER, 'the answer is no worklist')
            result.extend(answer['items'])
            if answer['next'] is None:
                return result
            if after is not None and answer['next'] <= after:
                raise Refused(NO_FOLDER, 'the pages do not end')
            after = answer['next']


def _reason(error):
    """Say what went wrong, without what the server quotes."""
    if isinstance(error, xmlrpc.client.ProtocolError):
        if error.errcode in {401, 403}:
            return 'the server refuses this user, password or database'
        return 'the server answers %s %s' % (error.errcode, error.errmsg)
    if isinstance(error, xmlrpc.client.Fault):
        if error.faultCode == 1:
            # a sentence for the user, such as a missing right
            lines = str(error.faultString).splitlines()[:1]
            return 'the server refuses: %s' % ''.join(lines)[:200]
        return 'the server reports an error: see its log'
    return 'no connection: %s' % (error or type(error).__name__)


# Writing

def encode_dump(text, charset):
    """
    Return the bytes of a dump in the character set it declares.

    An unknown character set is written in UTF-8.

    Raises
    ------
    ItemError
        If a character cannot be encoded: nothing is replaced.
    """
    charsets = (charset or '').split('\\')
    known = all(c in python_encoding for c in charsets)
    if not known or charsets == ['ISO_IR 192']:
        return text.encode('utf-8')
    try:
        if len(charsets) == 1 and charsets[0] in {'GBK', 'GB18030'}:
            return text.encode(python_encoding[charsets[0]])
        with _strict():
            encodings = convert_encodings(list(charsets))
            return b'\n'.join(
                _encode_line(line, encodings) for line in text.split('\n'))
    except (UnicodeError, UserWarning) as e:
        raise ItemError('its charset cannot write all characters') from e


def _encode_line(line, encodings):
    match = _BRACKETS.fullmatch(line)
    if not match or line.isascii():
        return line.encode('ascii')
    before, value, after = match.groups()
    if _vr(line) == 'PN':
        encoded = b'\\'.join(
            PersonName(v).encode(encodings) for v in value.split('\\'))
    else:
        encoded = b'\\'.join(
            encode_string(v, encodings) for v in value.split('\\'))
    return before.encode('ascii') + encoded + after.encode('ascii')


def _vr(line):
    match = _LINE_VR.match(line)
    return match[1] if match else None


@contextlib.contextmanager
def _strict():
    # pydicom writes "?" for what it cannot encode, with a warning
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        warnings.filterwarnings('error', message=_LOSS)
        yield


def write_dump(item, path):
    """Write an item by dcmtk's dump2dcm."""
    for line in item['text'].split('\n'):
        # dump2dcm would read such values from a file of this host
        if _vr(line) in _REFUSED_VR:
            raise ItemError('it holds binary data')
    content = encode_dump(item['text'], item['charset'])
    with tempfile.NamedTemporaryFile(suffix='.dump') as dump:
        dump.write(content)
        dump.flush()
        # -g: no group lengths; +te: explicit VR little endian; the text is
        # read from a file, never from the command line
        result = subprocess.run(
            ['dump2dcm', '-g', '+te', '+l', '65536', dump.name, path],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, timeout=TIMEOUT)
    if result.returncode or not os.path.getsize(path):
        raise ItemError('dump2dcm refuses its text')


def write_pydicom(item, path):
    """Write an item by pydicom, from its DICOM JSON dataset."""
    try:
        with _strict():
            dataset = Dataset.from_json(item['dataset'])
            charset = dataset.get('SpecificCharacterSet') or ''
            charsets = [charset] if isinstance(charset, str) else charset
            if any(c not in python_encoding for c in charsets):
                dataset.SpecificCharacterSet = 'ISO_IR 192'
            meta = FileMetaDataset()
            meta.MediaStorageSOPClassUID = WORKLIST_CLASS
            meta.MediaStorageSOPInstanceUID = generate_uid()
            meta.TransferSyntaxUID = ExplicitVRLittleEndian
            dataset.file_meta = meta
            dataset.save_as(path, enforce_file_format=True)
    except (UnicodeError, UserWarning) as e:
        raise ItemError('its charset cannot write all characters') from e
    except (ValueError, TypeError, KeyError, AttributeError) as e:
        raise ItemError('pydicom refuses its dataset') from e


def _umask():
    current = os.umask(0o077)
    os.umask(current)
    return current


class Folder:
    """
    The folder of the .wl files and the list of those that are ours.

    Parameters
    ----------
    path : str
    source : str
        Name of the database: two databases may share a folder.
    """

    def __init__(self, path, source):
        self.path = path
        digest = hashlib.sha256(source.encode()).hexdigest()[:12]
        self._manifest = os.path.join(
            path, '.gnuhealth-worklist-%s.json' % digest)
        self._lock = None
        self._mode = 0o666 & ~_umask()
        self.files = {}

    def lock(self):
        try:
            self._lock = open(os.path.join(self.path, LOCK_NAME), 'a')
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(
                LOCKED, 'another instance works on %s' % self.path) from None
        except OSError as e:
            raise Refused(NO_FOLDER, str(e)) from None

    def load(self):
        """Read the list; a file that is gone counts as not written."""
        try:
            with open(self._manifest, encoding='utf-8') as file:
                listed = json.load(file)['files']
        except FileNotFoundError:
            listed = {}
        except (OSError, ValueError, KeyError, TypeError) as e:
            raise Refused(
                NO_FOLDER, 'cannot read %s: %s' % (self._manifest, e))
        self.files = {
            name: digest for name, digest in listed.items()
            if name.endswith('.wl') and os.path.basename(name) == name
            and os.path.exists(os.path.join(self.path, name))}

    def save(self):
        content = json.dumps({'files': self.files}, sort_keys=True)
        self._replace(
            self._manifest, lambda path: _write_text(path, content))

    def put(self, name, digest, write):
        """Write a file as a whole or not at all."""
        self._replace(os.path.join(self.path, name), write)
        self.files[name] = digest

    def remove(self, name):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.path, name))
        del self.files[name]

    def _replace(self, path, write):
        # a name that neither Orthanc nor wlmscpfs reads
        handle, temporary = tempfile.mkstemp(dir=self.path, suffix='.tmp')
        os.close(handle)
        try:
            write(temporary)
            os.chmod(temporary, self._mode)
            with open(temporary, 'rb') as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        directory = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _write_text(path, content):
    with open(path, 'w', encoding='utf-8') as file:
        file.write(content)


def file_name(item, taken):
    """Return a name made of digits and dots, whatever the item says."""
    uid = str(item.get('uid') or '')
    name = '%s.wl' % uid
    if len(uid) > 64 or not _UID.fullmatch(uid) or name in taken:
        name = 'request-%d.wl' % int(item['id'])
    return name


def fingerprint(item, writer):
    parts = [writer.__name__, item['type'], item['charset'], item['text'],
        item['dataset']]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def check_written(item, path):
    """What was written must be the item: a file for nobody helps nobody."""
    try:
        written = pydicom.dcmread(path, specific_tags=['StudyInstanceUID'])
    except (pydicom.errors.InvalidDicomError, OSError) as e:
        raise ItemError('the file is not readable') from e
    if written.get('StudyInstanceUID', '') != (item['uid'] or ''):
        raise ItemError('the file has another Study Instance UID')


def update(server, folder, args, stop):
    """
    Bring the folder up to date.

    Returns
    -------
    dict
        Numbers of items and files, and `bad`, a list of order lines.
    """
    items = server.items()
    folder.load()
    summary = {
        'items': len(items), 'written': 0, 'unchanged': 0, 'removed': 0,
        'bad': []}
    if not items and len(folder.files) > SUSPICIOUS and not args.allow_empty:
        raise Refused(NO_FOLDER, (
                'the worklist is empty: %d files are kept. Use --allow-empty '
                'if that is right' % len(folder.files)))
    keep, planned = _plan(items, folder, summary)
    if not args.dry_run and planned:
        # whatever happens from here on, what is written is known as ours
        for name, _, _, _ in planned:
            folder.files.setdefault(name, '')
        folder.save()
    try:
        for name, digest, item, writer in planned:
            if stop.is_set():
                return summary
            logger.log(_detail(args), 'write %s (%s)', name, item['line'])
            try:
                if not args.dry_run:
                    folder.put(name, digest, _checked(item, writer))
            except (ItemError, subprocess.SubprocessError) as e:
                _report(summary, item, str(e))
                continue
            summary['written'] += 1
        for name in sorted(set(folder.files) - keep):
            if stop.is_set():
                return summary
            logger.log(_detail(args), 'remove %s', name)
            if not args.dry_run:
                folder.remove(name)
            summary['removed'] += 1
    finally:
        if not args.dry_run and (planned or summary['removed']):
            folder.save()
    return summary


def _plan(items, folder, summary):
    """Return the names of all files to be, and what must be written."""
    keep, planned = set(), []
    dump2dcm = shutil.which('dump2dcm')
    if not dump2dcm and any(i['type'] == 'dump2dcm' for i in items):
        logger.warning(
            'dump2dcm is not installed (package dcmtk): pydicom writes the '
            'files instead')
    for item in items:
        if item['errors']:
            _report(summary, item, ', '.join(sorted({
                            '%s %s' % (e['attribute'], e['code'])
                            for e in item['errors']})))
            continue
        writer = write_pydicom
        if item['type'] == 'dump2dcm' and dump2dcm:
            writer = write_dump
        name = file_name(item, keep)
        keep.add(name)
        digest = fingerprint(item, writer)
        if folder.files.get(name) == digest:
            summary['unchanged'] += 1
        else:
            planned.append((name, digest, item, writer))
    return keep, planned


def _checked(item, writer):
    def write(path):
        writer(item, path)
        check_written(item, path)
    return write


def _detail(args):
    return logging.INFO if args.verbose or args.dry_run else logging.DEBUG


def _report(summary, item, reason):
    summary['bad'].append(item['line'])
    logger.error('order line %s is not published: %s', item['line'], reason)


def run(server, folder, args, stop):
    """Update once; return the exit status."""
    try:
        summary = update(server, folder, args, stop)
    except OSError as e:
        raise Refused(NO_FOLDER, str(e)) from None
    if args.json:
        print(json.dumps(summary, sort_keys=True), flush=True)
    if not args.watch or summary['written'] or summary['removed']:
        logger.info(
            '%d on the worklist: %d written, %d unchanged, %d removed, '
            '%d not published', summary['items'], summary['written'],
            summary['unchanged'], summary['removed'], len(summary['bad']))
    return BAD_ITEMS if summary['bad'] else OK


def main(argv=None):
    args = parse_args(argv)
    logging.basicConfig(
        level=logging.INFO, format='%(asctime)s %(levelname)s %(message)s')
    socket.setdefaulttimeout(TIMEOUT)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if args.ignored:
        logger.warning('-r, -m and -s have no effect')
    server = None
    failed = False
    try:
        folder = Folder(args.folder, args.database)
        folder.lock()
        server = Server(args, read_password(args))
        while True:
            try:
                status = run(server, folder, args, stop)
                if failed:
                    logger.info('working again')
                failed = False
            except Refused as e:
                failed = True
                if not args.watch:
                    raise
                logger.error('%s; trying again in %g s', e, args.watch)
                status = e.status
            if not args.watch or stop.wait(args.watch):
                return OK if args.watch else status
    except Refused as e:
        logger.error('%s', e)
        return e.status
    finally:
        if server:
            server.close()


if __name__ == '__main__':
    sys.exit(main())
