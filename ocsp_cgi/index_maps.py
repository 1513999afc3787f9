"""The maps of indexes that a process keeps in memory, and how they are made anew when an index has
changed.

    index changed ─▶ short: mapped within the request
                  └▶ long:  another process maps it ─▶ file in `cache` ─▶ read by each process

Until there is a map, the file is searched, as it is where there is no `cache`, or the map cannot be
made.  So a map only ever saves time, and no request waits for one.
"""

from __future__ import annotations

import binascii
import contextlib
import os
import stat
import subprocess
import sys
import threading
import time

from . import answer, cache, failure, index_file, index_map, limits, times

TYPE_CHECKING = False
if TYPE_CHECKING:
    from io import FileIO

    from .config import CASettings
    from .index_map import IndexMap
    from .index_search import Found

_SUFFIX = ".map"
_PACKAGE_PARENT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Ctrl-C in a terminal ends it as well, and not with a traceback.
_PROGRAM = """\
import signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
sys.path.insert(0, sys.argv[1])
from ocsp_cgi import index_maps
index_maps.write(*sys.argv[2:])
"""


class IndexMaps:
    """The maps of all indexes of a process, for all its threads."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}

    def find(self, ca: CASettings, serial_numbers: set[int]) -> Found | None:
        """What a search of the CA's index would find of these serial numbers; None if it has to be
        searched.

        DatabaseUnavailable if the index cannot be read.
        """
        known = self._known.get(ca.db)
        if known is None:
            known = self._known.setdefault(ca.db, _Known(ca.db))
        return index_file.read(ca.db, lambda file: known.find(file, ca.cache, serial_numbers))

    def keep_only(self, dbs: set[str]) -> None:
        """Forget the maps of all other indexes."""
        for db in set(self._known) - dbs:
            self._known.pop(db, None)


class _Known:
    """What a process knows of one index: its map, and the process that makes the next one."""

    def __init__(self, db: str) -> None:
        self._db = db
        self._map: IndexMap | None = None
        self._renewing = threading.Lock()
        self._file_read = b""  # the fingerprint of the file in which the last map was
        self._child: subprocess.Popen[bytes] | None = None
        self._child_for = b""  # the fingerprint of the index then
        self._child_started = self._not_before = 0.0  # each a time.monotonic()

    def find(self, file: FileIO, directory: str | None, serial_numbers: set[int]) -> Found | None:
        of = os.fstat(file.fileno())
        if index_file.may_be_a_mixture(str(file.name), of):
            return None
        known = self._map
        if known is None or known.fingerprint != index_file.fingerprint(of):
            known = self._renew(file, of, directory)
        return None if known is None else known.find(file, serial_numbers)

    def _renew(self, file: FileIO, of: os.stat_result, directory: str | None) -> IndexMap | None:
        """The map of the open index, if there is one, or it can be made at once.

        One thread at a time sees to that, and the others search.
        """
        if time.monotonic() < self._not_before or not self._renewing.acquire(blocking=False):
            return None
        try:
            if of.st_size <= limits.MAPPED_AT_ONCE_BYTES:
                made = index_map.make(file)
            elif directory is not None and cache.may_write(directory):
                made = self._read(file, of, _path(directory, self._db))
            else:
                made = None
            if made is not None:
                self._map = made
            return made
        except OSError:
            return None
        except Exception as error:  # out of memory, perhaps, and a search takes none
            self._not_before = time.monotonic() + limits.MAP_RETRY_SECONDS
            _warn(str(file.name), failure.explain(error))
            return None
        finally:
            self._renewing.release()

    def _read(self, file: FileIO, of: os.stat_result, path: str) -> IndexMap | None:
        """The map in a file; if it is of another state of the index, a process is started that
        makes a new one."""
        index = os.path.abspath(str(file.name))
        fingerprint = index_file.fingerprint(of)
        with contextlib.suppress(FileNotFoundError):
            written = index_file.fingerprint(os.lstat(path))
            if written != self._file_read:
                self._map = None  # whose memory the new one needs
                found = _load(path, index)
                self._file_read = written
                if found is not None and found.fingerprint == fingerprint:
                    return found
        self._start_child(index, fingerprint, path)
        return None

    def _start_child(self, index: str, fingerprint: bytes, path: str) -> None:
        """Start the process that writes a new map, unless it runs already, or has left none for
        this state of the index."""
        if self._child is not None and self._child.poll() is None:
            return
        if fingerprint != self._child_for:
            self._child_for = fingerprint
        elif time.monotonic() < self._child_started + limits.MAP_RETRY_SECONDS:
            return
        self._child_started = time.monotonic()
        command = [_python(), "-IS", "-c", _PROGRAM, _PACKAGE_PARENT, index, path]
        try:
            self._child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd="/"
            )
        except OSError as error:
            _warn(index, f"{command[0]}: {error.strerror}")


def _load(path: str, index: str) -> IndexMap | None:
    """The map of an index in a file, None if there is no whole one that this user has written.

    Another user could have left out what has been revoked.
    """
    # Something that is not a file must neither be waited for nor lead elsewhere.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags)
    except OSError:
        return None
    with open(descriptor, "rb", buffering=0) as content:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            return None
        return index_map.read(content, index)


def _path(directory: str, db: str) -> str:
    """The file in `cache` for the map of an index."""
    number = binascii.crc32(os.fsencode(os.path.abspath(db)))
    return f"{os.path.abspath(directory)}/index-{number:08x}{_SUFFIX}"


def _python() -> str:
    """This Python: within another program, such as Apache, sys.executable may be that."""
    if os.path.basename(sys.executable or "").startswith("python"):
        return sys.executable
    return f"{sys.prefix}/bin/python3"


def write(index: str, path: str) -> None:
    """Write the map of an index to a file, as the process that `_start_child` starts.

    It has the priority of those that search until it is done: with less they would starve it.
    Another one that does the same is waited for, and then there is perhaps nothing left to do.
    Afterwards this process rests as long as it has worked, so that no more than half of a processor
    is used, however often the index changes.
    """
    try:
        lock = os.open(path + ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        os.lockf(lock, os.F_LOCK, 1)
        started = time.monotonic()
        if _write(index, path):
            time.sleep(time.monotonic() - started)
    except PermissionError as error:
        _warn(
            index,
            f"{error.filename}: {error.strerror}: the responder's user must be able to read the"
            " index, and to write in `cache`",
        )
        time.sleep(limits.MAP_RETRY_SECONDS)
    except Exception as error:
        answer.reading(path)
        _warn(index, failure.explain(error))
        time.sleep(limits.MAP_RETRY_SECONDS)


def _warn(index: str, reason: str) -> None:
    """Log that there is no map of this index."""
    line = (
        f"{times.log_time(int(time.time()))} ocsp.cgi: warning: {index} is searched for each"
        f" request, which takes longer, since there is no map of it: {reason}"
    )
    shown = line.encode("ascii", "backslashreplace").decode()
    os.write(2, answer.printable(shown, limits.LOG_LINE_CHARACTERS).encode() + b"\n")


def _write(index: str, path: str) -> bool:
    """As `write`.  Returns whether there was anything to do."""
    with open(index, "rb", buffering=0) as file:
        of = os.fstat(file.fileno())
        known = _load(path, index)
        if known is not None and known.fingerprint == index_file.fingerprint(of):
            return False
        time.sleep(max(0.0, min(index_map.readable_from(of) - time.time(), 10)))
        made = index_map.make(file)
    if made is None:
        return True
    unfinished = path + ".new"  # of the one process that has the lock
    try:
        with open(unfinished, "wb", opener=_private) as new:
            made.write(new, index)
            new.flush()
            os.fsync(new.fileno())  # or a power failure could leave half of it under its name
        os.rename(unfinished, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(unfinished)
        raise
    return True


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)
