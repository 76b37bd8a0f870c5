# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the scripts of this folder reach GNU Health."""
import configparser
import contextlib
import getpass
import http.client
import os
import socket
import ssl
import sys
import xmlrpc.client
from xml.parsers.expat import ExpatError

from proteus import config as proteus_config

CONFIG_FILES = [
    '~/.config/gnuhealth-imaging.conf', '/etc/gnuhealth-imaging.conf']
SECTION = 'gnuhealth'
SETTINGS = {
    'host': str, 'port': int, 'database': str, 'user': str,
    'password_file': str, 'ca_file': str, 'https': bool, 'plain_http': bool,
    }
ERRORS = (xmlrpc.client.Error, http.client.HTTPException, OSError, ExpatError)

EPILOG = """\
what is not given comes from the section [gnuhealth] of the configuration
(host, port, database, user, password_file, https, ca_file, plain_http), the
first of --config, the environment variable GNUHEALTH_IMAGING_CONFIG, and
  %s

the password is taken from the first of these that is given:
  -P, --password-file, the environment variable GNUHEALTH_PASSWORD, the
  systemd credential "gnuhealth-password", the configuration's password_file,
  a prompt on the terminal
""" % '\n  '.join(CONFIG_FILES)


class UsageError(Exception):
    """The arguments or the configuration do not say what is needed."""


def add_arguments(parser):
    group = parser.add_argument_group('GNU Health')
    group.add_argument(
        '-H', '--host', metavar='NAME',
        help='host of the GNU Health server (default: localhost)')
    group.add_argument(
        '-p', '--port', type=int, metavar='NUMBER',
        help='its port (default: 8000)')
    group.add_argument('-d', '--database', metavar='NAME', help='database')
    group.add_argument('-u', '--user', metavar='LOGIN', help='user')
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


def complete(args):
    """Fill what the arguments leave open.

    Raises
    ------
    UsageError
        If something is missing, or the password would travel in clear.
    """
    # A password file given as argument goes before the environment.
    args.configured_password_file = None
    values = _read_config(args.config)
    args.configured_password_file = values.pop('password_file', None)
    for name, value in values.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    args.host = args.host or 'localhost'
    args.port = args.port or 8000
    args.https = bool(args.https or args.ca_file)
    for name in ['database', 'user']:
        if not getattr(args, name):
            raise UsageError('no %s: give --%s or configure it' % (name, name))
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
        getters = {
            str: section.get, int: section.getint, bool: section.getboolean}
        return {
            name: getters[type_](name)
            for name, type_ in SETTINGS.items() if name in section}
    except (OSError, ValueError, configparser.Error) as error:
        raise UsageError('cannot read the configuration: %s' % error)


def _is_loopback(host):
    try:
        found = socket.getaddrinfo(host, None)
    except OSError:
        return False
    return all(
        address[4][0] == '::1' or address[4][0].startswith('127.')
        for address in found)


def read_password(args):
    """Return the password, see EPILOG for its sources."""
    if args.password is not None:
        print(
            'warning: other users of this host can see a password given '
            'with -P', file=sys.stderr)
        return args.password
    path = args.password_file
    if not path and 'GNUHEALTH_PASSWORD' in os.environ:
        return os.environ['GNUHEALTH_PASSWORD']
    if not path and os.environ.get('CREDENTIALS_DIRECTORY'):
        credential = os.path.join(
            os.environ['CREDENTIALS_DIRECTORY'], 'gnuhealth-password')
        if os.path.exists(credential):
            path = credential
    path = path or args.configured_password_file
    if path:
        try:
            with open(path, encoding='utf-8') as file:
                return file.readline().rstrip('\r\n')
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError('cannot read the password file: %s' % error)
    if sys.stdin.isatty():
        return getpass.getpass('Password of %s: ' % args.user)
    raise UsageError('no password: use --password-file')


@contextlib.contextmanager
def session(args, password):
    """Log in once; the value is proteus's configuration."""
    scheme = 'https' if args.https else 'http'
    host = '[%s]' % args.host if ':' in args.host else args.host
    url = '%s://%s:%s/%s/' % (scheme, host, args.port, args.database)
    options = {}
    if args.https:
        options['context'] = ssl.create_default_context(cafile=args.ca_file)
    with contextlib.ExitStack() as stack:
        config = stack.enter_context(proteus_config.set_xmlrpc_session(
                url, args.user, password, **options))
        log_out = stack.pop_all()
    try:
        yield config
    finally:
        # A server that is gone does not matter any more.
        with contextlib.suppress(*ERRORS):
            log_out.close()


def explain(error):
    """Say what went wrong, without what the server quotes."""
    if isinstance(error, xmlrpc.client.ProtocolError):
        if error.errcode in {401, 403}:
            return 'GNU Health refuses this user, password or database'
        return 'GNU Health answers %s %s' % (error.errcode, error.errmsg)
    if isinstance(error, xmlrpc.client.Fault):
        if error.faultCode == 1:
            # a sentence for the user, such as a missing right
            lines = str(error.faultString).splitlines()[:1]
            return 'GNU Health refuses: %s' % ''.join(lines)[:200]
        return 'GNU Health reports an error: see its log'
    return 'no connection to GNU Health: %s' % (
        error or type(error).__name__)
