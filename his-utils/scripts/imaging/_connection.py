# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the scripts of this folder reach GNU Health."""
import argparse
import configparser
import contextlib
import getpass
import http.client
import os
import socket
import ssl
import sys
import urllib.parse
import xmlrpc.client
from xml.parsers.expat import ExpatError

from proteus import config as proteus_config

# The suite's: the scripts are copied to hosts that have nothing else of it
VERSION = '0.1.0'
CONFIG_FILES = [
    '~/.config/gnuhealth-imaging.conf', '/etc/gnuhealth-imaging.conf']
SECTION = 'gnuhealth'
SETTINGS = {
    'host': str, 'port': int, 'database': str, 'user': str,
    'password_file': str, 'ca_file': str, 'https': bool, 'plain_http': bool,
    }
DEFAULTS = {'host': 'localhost', 'port': 8000, 'user': 'admin'}
CREDENTIAL = 'gnuhealth-password'
ERRORS = (xmlrpc.client.Error, http.client.HTTPException, OSError, ExpatError)

EPILOG = """\
configuration:
  What is not given comes from the section [gnuhealth] of a configuration file
  (host, port, database, user, password_file, https, ca_file, plain_http), the
  first of --config, the environment variable GNUHEALTH_IMAGING_CONFIG, and
    %s

password:
  The first of these that is there is taken:
    -P, --password-file, the environment variable GNUHEALTH_PASSWORD,
    the systemd credential "%s", password_file of the
    configuration, a prompt on the terminal
""" % ('\n    '.join(CONFIG_FILES), CREDENTIAL)


# Bytes of one answer: a batch of worklist items takes some megabytes
MAX_ANSWER = 256 * 1024 * 1024


class UsageError(Exception):
    """The arguments or the configuration do not say what is needed."""


def add_arguments(parser):
    parser.add_argument(
        '--version', action='version', version='%(prog)s ' + VERSION)
    group = parser.add_argument_group('GNU Health')
    group.add_argument(
        '-H', '--host', metavar='NAME',
        help='host of the GNU Health server (default: localhost)')
    group.add_argument(
        '-p', '--port', type=int, metavar='NUMBER',
        help='its port (default: 8000)')
    group.add_argument('-d', '--database', metavar='NAME', help='database')
    group.add_argument(
        '-u', '--user', metavar='LOGIN', help='user (default: admin)')
    group.add_argument(
        '-P', '--password',
        help='password: other users of this host can see it, so rather use '
        '--password-file')
    group.add_argument(
        '--password-file', metavar='FILE',
        help='file whose first line is the password')
    group.add_argument(
        '--https', action='store_true', default=None, help='use https')
    group.add_argument(
        '--ca-file', metavar='FILE',
        help='certificate authorities to trust (PEM); implies --https')
    group.add_argument(
        '--plain-http', action='store_true', default=None,
        help='allow http without encryption to a host other than this one')
    group.add_argument(
        '-c', '--config', metavar='FILE', help='configuration, see below')
    # as GNU Health 5.0 spells them
    group.add_argument('--hostname', dest='host', help=argparse.SUPPRESS)
    group.add_argument('--passwd', dest='password', help=argparse.SUPPRESS)


def complete(args):
    """Fill what the arguments leave open.

    Raises
    ------
    UsageError
        If something is missing, or the password would travel in clear.
    """
    values = _read_config(args.config)
    # A password file given as argument goes before the environment.
    args.configured_password_file = values.pop('password_file', None)
    for name, value in [*values.items(), *DEFAULTS.items()]:
        if getattr(args, name) is None:
            setattr(args, name, value)
    args.https = bool(args.https or args.ca_file)
    if not args.database:
        raise UsageError('no database: give --database or configure it')
    if not (args.https or args.plain_http or _is_loopback(args.host)):
        raise UsageError(
            '%s is another host: use --https, or --plain-http to send the '
            'password and patient data without encryption' % args.host)


def _read_config(path):
    given = path or os.environ.get('GNUHEALTH_IMAGING_CONFIG')
    parser = configparser.ConfigParser(interpolation=None)
    try:
        if given:
            with open(given, encoding='utf-8') as file:
                parser.read_file(file)
        else:
            for path in map(os.path.expanduser, CONFIG_FILES):
                if parser.read(path, encoding='utf-8'):
                    break
        if not parser.has_section(SECTION):
            return {}
        section = parser[SECTION]
        if 'password' in section:
            raise UsageError(
                'no password belongs into the configuration: use '
                'password_file')
        getters = {
            str: section.get, int: section.getint, bool: section.getboolean}
        return {
            name: getters[type_](name)
            for name, type_ in SETTINGS.items() if name in section}
    except configparser.Error:
        # it would quote the line, which may be a secret
        raise UsageError('the configuration is no INI file') from None
    except (OSError, ValueError) as error:
        raise UsageError('cannot read the configuration: %s' % error)


def _is_loopback(host):
    try:
        found = socket.getaddrinfo(host, None)
    except (OSError, UnicodeError):
        return False
    return all(
        address[4][0] == '::1' or address[4][0].startswith('127.')
        for address in found)


def address(args):
    """Return what tells the server from others, however it is reached."""
    host = 'localhost' if _is_loopback(args.host) else args.host.lower()
    return '%s:%d' % (host, args.port)


def read_password(args):
    """Return the password, see EPILOG for its sources."""
    if args.password is not None:
        print(
            'warning: other users of this host can see a password given '
            'with -P', file=sys.stderr)
        return args.password
    path = args.password_file
    if not path and 'GNUHEALTH_PASSWORD' in os.environ:
        # not for the programs that this one starts
        return os.environ.pop('GNUHEALTH_PASSWORD')
    if not path and os.environ.get('CREDENTIALS_DIRECTORY'):
        credential = os.path.join(
            os.environ['CREDENTIALS_DIRECTORY'], CREDENTIAL)
        if os.path.exists(credential):
            path = credential
    path = path or args.configured_password_file
    if path:
        try:
            with open(path, encoding='utf-8') as file:
                password = file.readline().rstrip('\r\n')
        except UnicodeDecodeError:
            raise UsageError('%s is no UTF-8 text' % path) from None
        except OSError as error:
            raise UsageError('cannot read the password file: %s' % error)
        if not password:
            raise UsageError('%s holds no password' % path)
        return password
    if sys.stdin and sys.stdin.isatty():
        return getpass.getpass('Password of %s: ' % args.user)
    raise UsageError('no password: use --password-file')


class AnswerTooLarge(xmlrpc.client.Error):
    """More than any answer of GNU Health takes."""


class _Answer:
    """An answer of bounded size, which nobody unpacks."""

    def __init__(self, response):
        self._response = response
        self._left = MAX_ANSWER

    def read(self, size):
        data = self._response.read(size)
        self._left -= len(data)
        if self._left < 0:
            self._response.close()
            raise AnswerTooLarge
        return data

    def close(self):
        self._response.close()


class _Bounded:
    """A transport of XML-RPC that reads no endless answers.

    Parameters
    ----------
    headers : list
        What to send with each request; it may grow.
    """
    accept_gzip_encoding = False

    def __init__(self, headers, **options):
        super().__init__(use_builtin_types=True, **options)
        self._shared = headers

    def send_headers(self, connection, headers):
        super().send_headers(connection, headers + self._shared)

    def parse_response(self, response):
        return super().parse_response(_Answer(response))


class _HTTP(_Bounded, xmlrpc.client.Transport):
    pass


class _HTTPS(_Bounded, xmlrpc.client.SafeTransport):
    pass


class Connection:
    """A session with GNU Health: one log-in for many calls.

    Attributes
    ----------
    calls, logins : int
        How many calls of methods and log-ins there were.
    """

    def __init__(self, args, password):
        self._args = args
        self._password = password
        self._log_out = None
        self._config = None
        self.calls = self.logins = 0

    def __enter__(self):
        self._connect()
        return self

    def __exit__(self, *exception):
        self.close()

    def _connect(self):
        args = self._args
        url = '%s://%s:%s/%s/' % (
            'https' if args.https else 'http',
            '[%s]' % args.host if ':' in args.host else args.host,
            args.port, urllib.parse.quote(args.database, safe=''))
        headers = []
        transport = _HTTP(headers)
        if args.https:
            transport = _HTTPS(headers, context=ssl.create_default_context(
                    cafile=args.ca_file))
        self.logins += 1
        with contextlib.ExitStack() as stack:
            self._config = stack.enter_context(
                proteus_config.set_xmlrpc_session(
                    url, args.user, self._password,
                    headers=headers, transport=transport))
            self._log_out = stack.pop_all()

    def call(self, model, method, *arguments):
        """Call a method of a model; log in again if the session has ended.

        Raises one of ERRORS.
        """
        expired = self._config is not None
        while True:
            if self._config is None:
                self._connect()
            self.calls += 1
            try:
                proxy = self._config.get_proxy(model)
                return getattr(proxy, method)(
                    *arguments, self._config.context)
            except xmlrpc.client.ProtocolError as error:
                # GNU Health has done nothing: it can be asked again
                if error.errcode not in {401, 403} or not expired:
                    raise
                self._config = self._log_out = None
                expired = False

    def close(self):
        """Log out; a server that is gone does not matter."""
        log_out, self._log_out, self._config = self._log_out, None, None
        if log_out:
            with contextlib.suppress(*ERRORS):
                log_out.close()


def explain(error):
    """Say what went wrong, without what the server quotes."""
    if isinstance(error, xmlrpc.client.ProtocolError):
        return {
            401: 'GNU Health refuses this user or password',
            403: 'GNU Health refuses this user or password',
            404: 'GNU Health has no such database',
            429: 'GNU Health has seen too many wrong passwords: wait',
            }.get(error.errcode, 'GNU Health answers %s %s' % (
                error.errcode, error.errmsg))
    if isinstance(error, xmlrpc.client.Fault):
        if error.faultCode == 1:
            # a sentence for the user, such as a missing right
            lines = str(error.faultString).splitlines()[:1]
            return 'GNU Health refuses: %s' % ''.join(lines)[:200]
        return 'GNU Health reports an error: see its log'
    if isinstance(error, AnswerTooLarge):
        return 'the answer is larger than any of GNU Health (%d MB)' % (
            MAX_ANSWER // 1024 ** 2)
    if isinstance(error, (xmlrpc.client.Error, ExpatError)):
        return 'this is no answer of GNU Health'
    return 'no connection to GNU Health: %s' % (
        error or type(error).__name__)
