"""The index of `openssl ca`: waited for, opened, and recognized.

`openssl ca` rewrites the index for each change and renames it into place.  Between its two renames
there is no file, so a missing one is waited for.  `index.old` is never read: it is the state before
the revocation that is being written.

Other programs write into the file that is being read: `scp`, `cp` and `rsync --inplace` put the new
bytes over the old ones.  Until they end, and for ever if they are killed, the file is a mixture of
both.  `may_be_a_mixture` recognizes a file that was written in place a moment ago.
"""

import posix
import time

from . import limits
from .answer import TRY_LATER, OCSPError, reading

TYPE_CHECKING = False  # `typing` costs every response 8 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from io import FileIO
    from typing import TypeVar

    _Result = TypeVar("_Result")

_DIRECTORY = 0o040000
_FILE_TYPE = 0o170000


class DatabaseUnavailable(OCSPError):
    """The database cannot be read, or cannot be trusted, at this moment."""

    response_status = TRY_LATER


def fingerprint(of: posix.stat_result) -> bytes:
    """A fingerprint that changes whenever the file is written or replaced, from its stat."""
    return b"%d:%d:%d:%d:%d" % (of.st_dev, of.st_ino, of.st_size, of.st_mtime_ns, of.st_ctime_ns)


def lasting_fingerprint(of: posix.stat_result, settling: float) -> bytes:
    """The fingerprint, b"" if the file was written to or replaced within the last `settling`
    seconds: it may change once more in the same tick of its file system's clock, which may be
    ahead of this host's."""
    return b"" if abs(time.time() - of.st_ctime) < settling else fingerprint(of)


def is_unchanged(db: str, index_fingerprint: bytes, offset: int, line: bytes) -> bool:
    """Whether the index still has this fingerprint, and this line at this offset.

    Nothing is searched, so this takes no longer in a long index.  DatabaseUnavailable if the index
    cannot be read.
    """

    def look(file: "FileIO") -> bool:
        if fingerprint(posix.fstat(file.fileno())) != index_fingerprint:
            return False
        file.seek(offset)
        return file.read(len(line)) == line

    return read(db, look)


def read(db: str, use: "Callable[[FileIO], _Result]") -> "_Result":
    """What use(file) returns for the open index of a `db` setting.

    DatabaseUnavailable, with the fix, if the index cannot be read.
    """
    path = db
    reading(path)
    try:
        with _open_index(db) as file:
            path = str(file.name)
            reading(path)
            return use(file)
    except PermissionError as error:
        raise DatabaseUnavailable(
            f"{error.filename or path}: permission denied. `openssl ca` gives it the mode of"
            " its umask; the responder's user must be able to read it, and to enter every"
            " directory above it"
        ) from None
    except OSError as error:
        raise DatabaseUnavailable(
            f"{error.filename or path}: {error.strerror}. `db` names the index, or the directory"
            " that holds `index`"
        ) from None


def may_be_a_mixture(path: str, of: posix.stat_result) -> bool:
    """Whether the index in `path`, with this stat, was written in place within the settling time.

    Renaming a file changes its ctime after its mtime; writing changes both at once.  The write and
    the rename of `openssl ca` may fall into one tick of the kernel's clock, which looks like a
    write in place.  But then the file that it renamed to `.old` has that ctime as well, and an
    older mtime.
    """
    if of.st_mtime_ns != of.st_ctime_ns:
        return False
    if abs(time.time() - of.st_mtime) >= limits.DATABASE_SETTLING_SECONDS:
        return False
    try:
        old = posix.stat(path + ".old")
    except OSError:
        return True
    return not old.st_mtime_ns < old.st_ctime_ns == of.st_mtime_ns


def wait_until_settled(db: str, deadline: float) -> None:
    """Wait while the index may be a mixture, until `deadline`, a time.monotonic()."""

    def look(file: "FileIO") -> bool:
        return may_be_a_mixture(str(file.name), posix.fstat(file.fileno()))

    while read(db, look) and time.monotonic() < deadline:
        time.sleep(0.02)


def check_heartbeat(db: str, minutes: int, now: int) -> None:
    """DatabaseUnavailable unless the heartbeat of a `db` setting was touched in the last minutes.

    The job that copies the index from the CA's host touches it: without that, what is there may
    have been overtaken by revocations.
    """
    path = db
    reading(path)
    try:
        path = beside(db, "heartbeat")
        age = now - int(posix.stat(path).st_mtime)
    except OSError as error:
        raise DatabaseUnavailable(
            f"{path}: {error.strerror}. With `stale_after`, the job that copies the index must"
            " touch this file: does it run?"
        ) from None
    if age > minutes * 60:
        raise DatabaseUnavailable(
            f"{path}: the index was last copied {duration(age)} ago, more than"
            f" stale_after = {minutes} minutes: is the job that copies it still running?"
        )
    if age < -limits.HEARTBEAT_AHEAD_SECONDS:
        raise DatabaseUnavailable(
            f"{path}: its time is {duration(-age)} in the future, so it does not say when the"
            " index was last copied: set this host's clock, then run the copy job again."
        )


def beside(db: str, name: str) -> str:
    """The file of this name that belongs to a `db` setting: `db/heartbeat` if it is a directory,
    `root-ca.db.heartbeat` if it is the index itself."""
    return f"{db}/{name}" if _is_directory(db) else f"{db}.{name}"


def duration(seconds: int) -> str:
    """A span of time for people, in the largest unit of which it has two."""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} second{'' if seconds == 1 else 's'}"


def _open_index(db: str) -> "FileIO":
    """The open index of a `db` setting, which names the file itself or its directory.

    A file that has been replaced since it was opened has no name left (st_nlink is 0), and is
    opened again.  If that yields the same file, it is the bind mount of a file, which shows one
    state for ever.
    """
    deadline = time.monotonic() + limits.DATABASE_RETRY_SECONDS
    unlinked = 0
    while True:
        path = path_of(db)
        try:
            file = open(path, "rb", buffering=0)  # noqa: SIM115  the caller closes it
        except FileNotFoundError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.002)
            continue
        opened = posix.fstat(file.fileno())
        if opened.st_nlink:
            return file
        file.close()
        if opened.st_ino == unlinked:
            raise DatabaseUnavailable(
                f"{path}: this file has been replaced, and its old state is mounted here."
                " Mount the directory that holds the index, not the file"
            )
        unlinked = opened.st_ino


def path_of(db: str) -> str:
    """The file that `db` names: itself, or `index` or `index.txt` in it, whichever is in use.

    DatabaseUnavailable if both are.
    """
    if not _is_directory(db):
        return db
    index, index_txt = db + "/index", db + "/index.txt"
    in_use = [path for path in (index, index_txt) if _exists(path) or _exists(path + ".old")]
    if len(in_use) == 2:
        raise DatabaseUnavailable(
            f"{db}: both index and index.txt, or their .old: remove the pair that `openssl ca` does"
            " not write"
        )
    return in_use[0] if in_use else index


def _is_directory(path: str) -> bool:
    try:
        return posix.stat(path).st_mode & _FILE_TYPE == _DIRECTORY
    except FileNotFoundError:
        return False


def _exists(path: str) -> bool:
    try:
        posix.stat(path)
    except FileNotFoundError:
        return False
    return True
