# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs of the loop: Orthanc, trytond, trytond-cron, updater.

The demo and the tests start them with the same classes, which take explicit
folders, ports, interpreters and environments, are context managers, and
never sleep blindly: start() returns when the program serves, stop() when it
is gone::

    from demo.services import (
        Cron, Orthanc, Trytond, Updater, free_port, trytond_config,
        wait_until)

    config = trytond_config(
        tmp / 'trytond.conf', port := free_port(), tmp / 'db', web_root=sao)
    with Orthanc(tmp / 'orthanc', free_port(), free_port(), 'gnuhealth',
            password, tmp / 'worklists', ohif_root=ohif) as orthanc, \\
            Trytond(tmp / 'run', port, config, python, 'hospital') as tryton:
        orthanc.get('/system')
        wait_until(lambda: orthanc.get('/studies'), 30, "The study arrives")

Secrets go into files of mode 0600 or into the environment, never into argv.
Only the standard library is used.
"""
import base64
import json
import shutil
import urllib.error
import urllib.request
from pathlib import Path

from .process import (
    LOOPBACK, Service, ServiceError, ServiceTimeout, accepts, free_port,
    port_is_busy, wait_until, write_private)

__all__ = [
    'Cron', 'Orthanc', 'Service', 'ServiceError', 'ServiceTimeout',
    'Trytond', 'Updater', 'accepts', 'free_port', 'port_is_busy',
    'trytond_config', 'wait_until', 'write_private']

HERE = Path(__file__).resolve().parent
UPDATER = (
    HERE.parent / 'his-utils/scripts/imaging/update_worklists_database.py')
PLUGIN_FOLDERS = (
    '/usr/share/orthanc/plugins', '/usr/lib/orthanc/plugins')
ORTHANC_PROGRAMS = ('Orthanc', '/usr/sbin/Orthanc')


class Orthanc(Service):
    """Orthanc with worklists, DICOMweb and, given a build of it, OHIF.

    Parameters
    ----------
    folder : path
        Holds configuration (mode 0600), pid file, log and the archive.
    http_port, dicom_port : int
        Both answer loopback only.
    user, password : str
        The account that may use the REST API.
    worklists_dir : path
        The folder of the .wl files; made if it is missing.
    ohif_root : path, optional
        A build rebased to /ohif/, then served at /ohif/.
    users : dict, optional
        More accounts, user to password.
    options : dict, optional
        More of Orthanc's configuration, on top of everything.
    program : str, optional
        The Orthanc executable; by default the installed one.
    """
    name = 'orthanc'
    aet = 'ORTHANC'

    def __init__(self, folder, http_port, dicom_port, user, password,
            worklists_dir, ohif_root=None, users=None, options=None,
            program=None, environment=None):
        super().__init__(folder, environment)
        self.http_port = http_port
        self.dicom_port = dicom_port
        self.user = user
        self.password = password
        self.worklists_dir = Path(worklists_dir).absolute()
        self.ohif_root = ohif_root and Path(ohif_root).absolute()
        self.users = dict(users or {})
        self.options = dict(options or {})
        self.program = program
        self.storage = self.folder / 'store'
        self.config_path = self.folder / 'orthanc.json'

    @property
    def url(self):
        """The address of the REST API, with a slash at its end."""
        return f'http://{LOOPBACK}:{self.http_port}/'

    def ports(self):
        return [self.http_port, self.dicom_port]

    def configuration(self):
        plugins = ['DicomWeb', 'ModalityWorklists']
        config = {
            'Name': "Demo",
            'StorageDirectory': str(self.storage),
            'IndexDirectory': str(self.storage),
            'HttpPort': self.http_port,
            'DicomPort': self.dicom_port,
            'DicomAet': self.aet,
            'DicomCheckCalledAet': False,
            # without it names outside Latin-1 come back empty from C-FIND
            'DefaultEncoding': 'Utf8',
            'Locale': 'C.UTF-8',
            'AuthenticationEnabled': True,
            'RegisteredUsers': {**self.users, self.user: self.password},
            # HTTP is refused to other machines by Orthanc itself (newer
            # versions also bind to the address), DICOM by the script
            'RemoteAccessAllowed': False,
            'HttpBindAddresses': [LOOPBACK],
            'LuaScripts': [str(HERE / 'orthanc_loopback.lua')],
            'DicomAlwaysAllowStore': True,
            'DicomAlwaysAllowFindWorklist': True,
            'DicomAlwaysAllowFind': False,
            'DicomAlwaysAllowGet': False,
            'DicomAlwaysAllowMove': False,
            'StableAge': 2,
            'SaveJobs': False,
            'StorageAccessOnFind': 'Never',
            'Worklists': {
                'Enable': True,
                'Database': str(self.worklists_dir),
                },
            'DicomWeb': {
                'Enable': True,
                'Root': '/dicom-web/',
                'StudiesMetadata': 'Full',
                'SeriesMetadata': 'Full',
                },
            }
        if self.ohif_root:
            plugins.append('Python')
            config['PythonScript'] = str(HERE / 'ohif_plugin.py')
            config['PythonVerbose'] = False
            config['OHIF'] = {'Root': str(self.ohif_root)}
        config['Plugins'] = [self._plugin(name) for name in plugins]
        config.update(self.options)
        return config

    @staticmethod
    def _plugin(name):
        file_name = (f'libOrthanc{name}.so' if name != 'ModalityWorklists'
            else 'libModalityWorklists.so')
        for folder in PLUGIN_FOLDERS:
            path = Path(folder, file_name)
            if path.exists():
                return str(path)
        raise ServiceError(
            f"Orthanc's plugin {file_name} is not installed: install the "
            "packages orthanc, orthanc-dicomweb and orthanc-python.")

    def prepare(self):
        self.storage.mkdir(parents=True, exist_ok=True)
        self.worklists_dir.mkdir(parents=True, exist_ok=True)
        write_private(self.config_path,
            json.dumps(self.configuration(), indent=4) + '\n')

    def command(self):
        program = self.program or next(
            filter(shutil.which, ORTHANC_PROGRAMS), ORTHANC_PROGRAMS[0])
        return [program, self.config_path]

    def ready(self):
        return self.get('/system') and accepts(self.dicom_port)

    def request(self, path, data=None, method=None, content_type=None):
        """Return what the REST API answers: parsed JSON, else bytes.

        Raises
        ------
        urllib.error.HTTPError
            Orthanc answers with an error.
        OSError
            Orthanc does not answer.
        """
        token = base64.b64encode(
            f'{self.user}:{self.password}'.encode()).decode()
        request = urllib.request.Request(
            self.url + path.lstrip('/'), data, method=method,
            headers={'Authorization': f'Basic {token}'})
        if content_type:
            request.add_header('Content-Type', content_type)
        # the loopback address is never asked for through a proxy
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=60) as answer:
            body = answer.read()
            if 'json' in answer.headers.get('Content-Type', ''):
                return json.loads(body)
            return body

    def get(self, path):
        return self.request(path)

    def post(self, path, value):
        """Post bytes as they are, anything else as JSON."""
        if isinstance(value, bytes):
            return self.request(path, value, 'POST', 'application/dicom')
        return self.request(
            path, json.dumps(value).encode(), 'POST', 'application/json')

    def delete(self, path):
        return self.request(path, method='DELETE')


def trytond_config(path, port, database_path=None, web_root=None,
        uri='sqlite://', sections=None):
    """Write a trytond.conf of mode 0600 and return its path.

    Parameters
    ----------
    path : path
        The file to write.
    port : int
        Where trytond listens, on loopback.
    database_path : path, optional
        The folder of the SQLite files.
    web_root : path, optional
        The folder of the web client.
    uri : str
        Database URI; for PostgreSQL as trytond takes it.
    sections : dict, optional
        More sections: {'health_orthanc': {'key': ...}}.
    """
    content = {
        'database': {'uri': uri},
        'web': {'listen': f'{LOOPBACK}:{port}'},
        'password': {'length': 8},
        }
    if database_path:
        content['database']['path'] = database_path
    if web_root:
        content['web']['root'] = web_root
    for name, values in (sections or {}).items():
        content.setdefault(name, {}).update(values)
    lines = []
    for name, values in content.items():
        lines.append(f'[{name}]')
        lines += (f'{key} = {value}' for key, value in values.items())
        lines.append('')
    return write_private(path, '\n'.join(lines))


class TrytonProgram(Service):
    """One of the programs of a trytond installation.

    Parameters
    ----------
    folder : path
        Holds pid file and log.
    config_path : path
        trytond.conf, see `trytond_config`.
    python : path
        The interpreter of the virtual environment.
    database : str, optional
        The database's name; loaded at the start.
    environment : dict, optional
        On top of this process's, e.g. TRYTOND_DATABASE_URI.
    """

    def __init__(self, folder, config_path, python, database=None,
            environment=None):
        super().__init__(folder, {
                'PYTHONWARNINGS': 'ignore',
                'PYTHONUNBUFFERED': '1',
                **(environment or {})})
        self.config_path = Path(config_path).absolute()
        # not resolved: the link is what makes it a virtual environment
        self.python = Path(python).absolute()
        self.database = database

    def program(self, name):
        command = [
            self.python, self.python.parent / name, '-c', self.config_path]
        if self.database:
            command += ['-d', self.database]
        return command


class Trytond(TrytonProgram):
    """trytond's own web server: Trytond(folder, port, config, python, db).

    Ready when it answers a call and, given a database, has it loaded.
    """
    name = 'trytond'
    start_limit = 120

    def __init__(self, folder, port, config_path, python, database=None,
            environment=None):
        super().__init__(
            folder, config_path, python, database, environment)
        self.port = port

    @property
    def url(self):
        """The address of the server, with a slash at its end."""
        return f'http://{LOOPBACK}:{self.port}/'

    @property
    def rpc_url(self):
        """What proteus connects to."""
        return f'{self.url}{self.database}/'

    @property
    def client_url(self):
        """Where a browser logs in to the database."""
        return f'{self.url}#{self.database}'

    def ports(self):
        return [self.port]

    def command(self):
        return self.program('trytond')

    def ready(self):
        request = urllib.request.Request(
            self.url, json.dumps({
                    'id': 1,
                    'method': 'common.server.version',
                    'params': [],
                    }).encode(),
            {'Content-Type': 'application/json'})
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=30) as answer:
            return answer.status == 200


class Cron(TrytonProgram):
    """trytond-cron for one database: Cron(folder, config, python, db).

    Ready when it has loaded the database and looked for jobs once.
    """
    name = 'trytond-cron'
    start_limit = 120

    def command(self):
        return [*self.program('trytond-cron'), '-vv']

    def ready(self):
        return 'start thread for' in self.log()


class Updater(Service):
    """The worklist updater of the PACS host, watching a trytond.

    Parameters
    ----------
    folder : path
        Holds pid file, log and the password file (mode 0600).
    python : path
        An interpreter with the PACS host's requirements.
    trytond_url : str
        E.g. http://127.0.0.1:8065/
    database, user, password : str
        What the updater logs in with.
    worklists_dir : path
        The folder Orthanc reads.
    watch : int
        Seconds between two looks.
    """
    name = 'worklist-updater'

    def __init__(self, folder, python, trytond_url, database, user,
            password, worklists_dir, watch=3, environment=None):
        super().__init__(folder, {
                'PYTHONWARNINGS': 'ignore',
                'PYTHONUNBUFFERED': '1',
                **(environment or {})})
        self.python = Path(python).absolute()
        self.trytond_url = trytond_url
        self.database = database
        self.user = user
        self.password = password
        self.worklists_dir = Path(worklists_dir).absolute()
        self.watch = watch
        self.password_path = self.folder / f'{self.name}.password'

    def prepare(self):
        self.worklists_dir.mkdir(parents=True, exist_ok=True)
        write_private(self.password_path, self.password + '\n')

    def arguments(self, *more):
        """The command line, without and with a look every few seconds."""
        port = self.trytond_url.rstrip('/').rpartition(':')[2]
        return [
            self.python, UPDATER, '-H', LOOPBACK, '-p', port,
            '-d', self.database, '-u', self.user,
            '--password-file', self.password_path,
            '-w', self.worklists_dir, *more]

    def command(self):
        return self.arguments('--watch', self.watch)
