"""Where the map of a long index lies, how a CGI uses it, and who writes it.

    beside the index, `db/map`        written by `ocsp-cgi sync` after it has put a new index there
    in `cache`, `index-NUMBER.map`    written by a process of the responder's user

Each is written where its writer may write anyway, and read by the CGI and by processes that stay.
Which of the two fits the index is used; if neither does, the index is searched, and a process is
started that writes the one in `cache`.  Nobody waits for it: it goes on after the response has been
sent, and has none of the CGI's descriptors, which Apache would read to their end.  The CGI that
locks the lock file starts it, and it has that lock until it ends: so there is one at a time.
"""

from __future__ import annotations

import binascii
import posix
import sys
import time

from . import cache, index_file, limits, map_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Set
    from io import FileIO

    from .config import CASettings
    from .index_search import Found

LOCK_SUFFIX = ".lock"
STARTED = b"started"  # in a lock file
# Ctrl-C in a terminal ends it as well, and not with a traceback.
_PROGRAM = """\
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
if len(sys.argv) > 4: os.setsid()
os.chdir("/")
sys.path.insert(0, sys.argv[1])
from ocsp_cgi import map_writer
map_writer.write(*sys.argv[2:])
"""


def find(ca: CASettings, serial_numbers: set[int], also: Set[int], known_in: bytes) -> Found | None:
    """As index_search.find, by a map; None if the index has to be searched.

    For a process that answers one request: if there is no map, one is started that writes it.
    DatabaseUnavailable if the index cannot be read.
    """

    def look(file: FileIO) -> Found | None:
        of = posix.fstat(file.fileno())
        has_known = index_file.fingerprint(of) == known_in
        found = _find(file, of, ca, serial_numbers | (set() if has_known else also))
        if found is not None:
            found.has_known = has_known
        return found

    return index_file.read(ca.db, look)


def _find(file: FileIO, of: posix.stat_result, ca: CASettings, numbers: set[int]) -> Found | None:
    """What the first map says that fits the open index with this stat."""
    if index_file.may_be_a_mixture(str(file.name), of):
        return None
    fingerprint = index_file.fingerprint(of)
    for path in paths(ca):
        try:
            descriptor = map_file.open_map(path, of)
        except OSError:
            continue
        try:
            its_map = map_file.MapFile(descriptor)
            if its_map.fingerprint == fingerprint:
                return its_map.find(file, numbers)
        except (OSError, map_file.Corrupt):
            pass
        finally:
            posix.close(descriptor)
    path_to_write = may_be_written(ca, of)
    if path_to_write:
        _start_writer(absolute(str(file.name)), path_to_write)
    return None


def paths(ca: CASettings) -> list[str]:
    """The files in which there may be a map of the index of a CA."""
    return [path for path in (beside(ca.db), _in_cache(ca)) if path]


def beside(db: str) -> str:
    """The file for the map that `sync` writes."""
    return index_file.beside(absolute(db), "map")


def may_be_written(ca: CASettings, of: posix.stat_result) -> str:
    """The file in `cache` for a map of the index that has this stat; "" if none may be written now.

    Where `sync` copies the index, it has some time to write one beside it.
    """
    if ca.sync_from and 0 <= time.time() - of.st_ctime < limits.SYNC_MAP_SECONDS:
        return ""
    return _in_cache(ca)


def _in_cache(ca: CASettings) -> str:
    """The file in `cache`, "" if there is no `cache` to be used."""
    if ca.cache is None or not cache.may_write(ca.cache):
        return ""
    number = binascii.crc32(absolute(ca.db).encode(errors="surrogateescape"))
    return f"{absolute(ca.cache)}/index-{number:08x}.map"


def command(index: str, path: str, lock: int = -1) -> list[str]:
    """The command that writes the map of an index to a file, with the descriptor of the locked lock
    file, if this process has locked it."""
    package_parent = absolute(__file__).rsplit("/", 2)[0]
    arguments = [package_parent, index, path, *([str(lock)] if lock >= 0 else [])]
    return [_python(), "-IS", "-c", _PROGRAM, *arguments]


def _start_writer(index: str, path: str) -> None:
    """Start the process that writes a map, unless there is one."""
    import fcntl

    flags = posix.O_RDWR | posix.O_CREAT | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_CLOEXEC
    try:
        lock = posix.open(path + LOCK_SUFFIX, flags, 0o600)
    except OSError:
        return  # of which the log warns when a response cannot be put there either
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        of = posix.fstat(lock)
        if of.st_size and 0 <= time.time() - of.st_mtime < limits.MAP_RETRY_SECONDS:
            return  # the last one has ended early
        posix.ftruncate(lock, 0)
        posix.pwrite(lock, STARTED, 0)
        posix.set_inheritable(lock, True)
        words = command(index, path, lock)
        nothing = [
            (posix.POSIX_SPAWN_OPEN, descriptor, "/dev/null", posix.O_RDWR, 0)
            for descriptor in range(3)
        ]
        posix.posix_spawn(words[0], words, {}, file_actions=nothing)
    except OSError:
        pass
    finally:
        posix.close(lock)


def absolute(path: str) -> str:
    return path if path.startswith("/") else f"{posix.getcwd()}/{path}"


def _python() -> str:
    """This Python: within another program, such as Apache, sys.executable may be that."""
    if (sys.executable or "").rpartition("/")[2].startswith("python"):
        return sys.executable
    return f"{sys.prefix}/bin/python3"
