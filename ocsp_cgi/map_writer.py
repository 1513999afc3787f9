"""Writes the map of an index to a file: the process that sidecar.py and index_maps.py start, and
`ocsp-cgi sync`."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time

from . import answer, failure, index_file, index_map, limits, map_file, sidecar, times

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .index_map import IndexMap


def write(index: str, path: str, lock: str = "") -> None:
    """Write the map of an index to a file in `cache`, as a process of its own.

    `lock` is the descriptor of the lock file if that is locked already.  Else another process that
    does the same is waited for, and then there is perhaps nothing left to do.

    If it fails, the reason is logged, and left in the lock file, where `check` finds it: the writer
    that a CGI has started has no log.

    It has the priority of those that search until it is done: with less they would starve it.
    Afterwards this process rests as long as it has worked, so that no more than half of a processor
    is used, however often the index changes.
    """
    descriptor, reason, rest = -1, "", float(limits.MAP_RETRY_SECONDS)
    try:
        descriptor = int(lock) if lock else _locked(path)
        started = time.monotonic()
        made = make(index, path)
        if made is not None:
            _replace(made, path)
        rest = time.monotonic() - started
    except PermissionError as error:
        reason = (
            f"{error.filename}: {error.strerror}: the responder's user must be able to read the"
            " index, and to write in `cache`"
        )
    except Exception as error:
        answer.reading(path)
        reason = failure.explain(error)
    text = warn(index, reason) if reason else ""
    if descriptor < 0:
        time.sleep(rest)
        return
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)
    time.sleep(rest)
    os.close(descriptor)  # until then, nobody else begins


def _locked(path: str) -> int:
    """The descriptor of the lock file, which is waited for."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path + sidecar.LOCK_SUFFIX, flags, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, sidecar.STARTED, 0)
    return descriptor


def make(index: str, path: str) -> IndexMap | None:
    """A map of an index that is to be written to `path`; None if the one there is as good, or the
    index is being written."""
    with open(index, "rb", buffering=0) as file:
        of = os.fstat(file.fileno())
        if _has_map(path, of):
            return None
        time.sleep(max(0.0, min(index_map.readable_from(of) - time.time(), 10)))
        return index_map.make(file)


def save(its_map: IndexMap, unfinished: str) -> None:
    """Write a map to a new file, in place of an unfinished one."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(unfinished)
    try:
        with open(unfinished, "xb", opener=_private) as new:
            its_map.write(new)
            new.flush()
            os.fsync(new.fileno())  # or a power failure could leave half of it under its name
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(unfinished)
        raise


def _replace(its_map: IndexMap, path: str) -> None:
    unfinished = path + ".new"  # of the one process that has the lock
    save(its_map, unfinished)
    os.rename(unfinished, path)


def _has_map(path: str, of: os.stat_result) -> bool:
    """Whether a whole map of the index with this stat is in a file."""
    try:
        descriptor = map_file.open_map(path, of)
    except OSError:
        return False
    try:
        its_map = map_file.MapFile(descriptor)
        for _ in its_map.all_blocks():
            pass
        return its_map.fingerprint == index_file.fingerprint(of)
    except map_file.Corrupt:
        return False
    finally:
        os.close(descriptor)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def warn(index: str, reason: str) -> str:
    """Log that there is no map of this index.  Returns what is logged, without the time."""
    text = (
        f"{index} is searched for each request, which takes longer, since there is no map of it:"
        f" {reason}"
    )
    shown = text.encode("ascii", "backslashreplace").decode()
    line = f"{times.log_time(int(time.time()))} ocsp.cgi: warning: {shown}"
    os.write(2, answer.printable(line, limits.LOG_LINE_CHARACTERS).encode() + b"\n")
    return shown
