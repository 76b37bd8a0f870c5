# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder of the .wl files and the memory of what is ours in it."""
import contextlib
import errno
import fcntl
import hashlib
import json
import logging
import os
import tempfile

logger = logging.getLogger('update_worklists')

# No server reads files of such names
HIDDEN = '.gnuhealth-worklist-'
# These concern the folder, not one file
FATAL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM,
    errno.EIO, errno.ENOENT, errno.ENOTDIR}


class FolderError(Exception):
    """The folder cannot be read or written."""


class OtherServer(FolderError):
    """The folder belongs to a database of the same name elsewhere."""


class Locked(FolderError):
    """Another instance works on the folder."""


class Entry:
    """
    A file that is ours.

    Attributes
    ----------
    request : int
    key : str
        The item of the request that it holds.
    digest : str
        Tells the item's content; empty while it is being written.
    stamp : list
        Size and time of the file: whoever changes it changes them.
    """
    __slots__ = ('request', 'key', 'digest', 'stamp')

    def __init__(self, request, key, digest='', stamp=None):
        self.request = request
        self.key = key
        self.digest = digest
        self.stamp = stamp


class Folder:
    """
    The folder and what is remembered between two runs.

    The memory is a file in the folder: it cannot be parted from the files
    that it lists, and each host has its own.

    Parameters
    ----------
    path : str
    source : str
        Tells the database: two databases may share a folder.
    server : str, optional
        Tells the server: databases of the same name on two servers may not.
    renamed : bool
        Whether the server of the folder has got this name.

    Attributes
    ----------
    tag : str
        Stands for the database in names of files.
    files : dict
        Entry by name.
    memory : dict
        What else is to be remembered, as JSON.
    damaged : set
        Requests whose files somebody else changed or removed, or that a
        killed run was writing.
    """

    def __init__(self, path, source, server='', renamed=False):
        self.path = path
        self._source = source
        self._server = server
        self._renamed = renamed
        self.tag = _checksum(source)[:8]
        self._prefix = '%s%s-' % (HIDDEN, self.tag)
        self._memory_path = self._path(self._prefix + 'memory')
        self._lock = None
        self._mode = 0o666 & ~_umask()
        self.files = {}
        self.memory = {}
        self.damaged = set()

    def _path(self, name):
        return os.path.join(self.path, name)

    def lock(self):
        """Keep other instances out until this process ends."""
        try:
            self._lock = os.open(
                self._path(self._prefix + 'lock'),
                os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Locked(
                'another instance works on %s' % self.path) from None
        except OSError as error:
            raise FolderError(str(error)) from None

    def clean(self):
        """Remove what a killed run has left half written."""
        with self._errors():
            for entry in os.scandir(self.path):
                if (entry.name.startswith(self._prefix)
                        and entry.name.endswith('.tmp')):
                    os.unlink(entry.path)

    def load(self):
        """Read the memory and compare it with the files."""
        self.files, self.memory, self.damaged = {}, {}, set()
        try:
            with self._errors(), \
                    open(self._memory_path, encoding='utf-8') as file:
                checksum, content = file.read().split('\n', 1)
            if checksum != _checksum(content):
                raise ValueError
            memory = json.loads(content)
            server = memory.pop('server', self._server)
            files = {
                name: Entry(*values)
                for name, values in memory.pop('files').items()
                if name.endswith('.wl') and os.path.basename(name) == name}
        except FileNotFoundError:
            return
        except ValueError:
            logger.error(
                '%s is not readable: everything is fetched anew; files that '
                'are on the worklist no more stay', self._memory_path)
            return
        if server != self._server and not self._renamed:
            raise OtherServer(
                '%s holds the worklist of the database %s of %s, not of %s: '
                'give each server a folder of its own, or use '
                '--server-renamed if it is the same one' % (
                    self.path, self._source, server, self._server))
        self.memory = memory
        for name, entry in files.items():
            stamp = self._stamp(name)
            if not entry.digest or stamp != entry.stamp:
                self.damaged.add(entry.request)
                entry.digest = ''
            if stamp:
                self.files[name] = entry

    def save(self):
        """Write the memory."""
        content = json.dumps({
                **self.memory,
                'server': self._server,
                'files': {
                    name: [
                        getattr(entry, slot) for slot in Entry.__slots__]
                    for name, entry in self.files.items()},
                })

        def write(path):
            with open(path, 'w', encoding='utf-8') as file:
                file.write(_checksum(content) + '\n' + content)

        with self._errors():
            self._replace(self._memory_path, write)
            self._sync()

    def announce(self, names):
        """Remember files as ours before they are written.

        Parameters
        ----------
        names : dict
            Entry by name.
        """
        self.files.update(names)
        self.save()

    def put(self, name, write):
        """Write a file as a whole or not at all; may run in a thread.

        Returns its stamp.
        """
        with self._errors():
            self._replace(self._path(name), write)
            return self._stamp(name)

    def has(self, name):
        return bool(self._stamp(name))

    def remove(self, name):
        with self._errors(), contextlib.suppress(FileNotFoundError):
            os.unlink(self._path(name))
        del self.files[name]

    def _stamp(self, name):
        try:
            status = os.lstat(self._path(name))
        except OSError:
            return None
        return [status.st_size, status.st_mtime_ns]

    def _replace(self, path, write):
        handle, temporary = tempfile.mkstemp(
            dir=self.path, prefix=self._prefix, suffix='.tmp')
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

    def _sync(self):
        """Make the names last."""
        directory = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    @contextlib.contextmanager
    def _errors(self):
        try:
            yield
        except FileNotFoundError:
            if os.path.isdir(self.path):
                raise
            raise FolderError(
                'there is no folder %s' % self.path) from None
        except OSError as error:
            if error.errno in FATAL:
                raise FolderError(str(error)) from None
            raise


def _checksum(text):
    return hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()


def _umask():
    current = os.umask(0o077)
    os.umask(current)
    return current
