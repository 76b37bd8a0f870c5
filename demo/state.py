# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one folder that holds all a demo makes, its ports and its secrets."""
import base64
import contextlib
import fcntl
import json
import os
import secrets
import shutil
import stat
from pathlib import Path

from .process import write_private
from .steps import StepError

REPOSITORY = Path(__file__).resolve().parent.parent
DEFAULT_PORTS = {
    'TRYTON_PORT': 8065,
    'ORTHANC_PORT': 8165,
    'DICOM_PORT': 4265,
    }
# left in the folder, so that nothing but a demo's folder is ever removed
MARK = 'This folder belongs to the GNU Health imaging demo.\n'


def port_of(name):
    """Return a port from the environment, else the default."""
    text = os.environ.get(name) or str(DEFAULT_PORTS[name])
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise StepError(f"{name}={text} is no port number.")
    return int(text)


class State:
    """Paths below the state folder, by default .demo in the repository."""
    database = 'hospital'

    def __init__(self, root=None):
        root = root or os.environ.get('DEMO_STATE') or REPOSITORY / '.demo'
        self.root = Path(root).absolute()
        self.log = self.root / 'log'
        self.run = self.root / 'run'
        self.stamps = self.root / 'stamps'
        self.venv = self.root / 'venv'
        self.python = self.venv / 'bin' / 'python'
        self.node = self.root / 'node'
        self.sao = self.root / 'sao'
        self.ohif = self.root / 'ohif'
        self.database_folder = self.root / 'db'
        self.database_file = self.database_folder / f'{self.database}.sqlite'
        self.trytond_config = self.run / 'trytond.conf'
        self.orthanc = self.root / 'orthanc'
        self.worklists = self.root / 'worklists'
        self.secrets_file = self.root / 'secrets.json'
        self.mark = self.root / 'README'

    def make(self):
        """Make the folder, readable by its owner alone."""
        if self.root.exists() and not self.is_ours() and (
                not self.root.is_dir() or any(self.root.iterdir())):
            raise StepError(
                f"{self.root} is not a demo's folder: choose an empty one "
                "with DEMO_STATE.")
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self.root.chmod(stat.S_IRWXU)
            self.mark.write_text(MARK)
            for folder in (self.log, self.run, self.stamps):
                folder.mkdir(exist_ok=True)
        except OSError as error:
            raise StepError(
                f"{self.root} cannot be written: {error.strerror}.") from None

    def is_ours(self):
        try:
            return self.mark.read_text() == MARK
        except OSError:
            return False

    def remove(self):
        """Remove the folder; False if there is none."""
        if not self.root.exists():
            return False
        if not self.is_ours():
            raise StepError(
                f"{self.root} is not a demo's folder: nothing is removed.")
        shutil.rmtree(self.root)
        return True

    @contextlib.contextmanager
    def lock(self, report):
        """Make and hold the folder: a second process waits for the first."""
        while True:
            self.make()
            with open(self.root / 'lock', 'a+') as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    report.line(f"Another process works in {self.root}: "
                        "waiting for it.")
                    fcntl.flock(file, fcntl.LOCK_EX)
                # that one may have removed the folder
                if os.fstat(file.fileno()).st_nlink:
                    yield
                    return

    def secrets(self):
        """The passwords of this installation, made at the first call."""
        try:
            return json.loads(self.secrets_file.read_text())
        except FileNotFoundError:
            pass
        values = {
            'admin': os.environ.get('DEMO_ADMIN_PASSWORD')
            or secrets.token_urlsafe(12),
            'scripts': secrets.token_urlsafe(24),
            'orthanc': secrets.token_urlsafe(24),
            'viewer': secrets.token_urlsafe(12),
            # a Fernet key: the stored password of the Orthanc server
            'encryption_key': base64.urlsafe_b64encode(
                secrets.token_bytes(32)).decode(),
            }
        write_private(self.secrets_file, json.dumps(values, indent=4) + '\n')
        return values

    def stamped(self, name, value):
        """Tell whether a step was done with exactly this value."""
        try:
            return (self.stamps / name).read_text() == value
        except OSError:
            return False

    def stamp(self, name, value):
        (self.stamps / name).write_text(value)

    def unstamp(self, name):
        (self.stamps / name).unlink(missing_ok=True)
