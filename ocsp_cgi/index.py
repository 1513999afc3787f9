"""The index of a db directory of `openssl ca`: waited for, opened, and recognised.

`openssl ca` rewrites it for each change and renames it into place; between its two renames there is no file, so a missing
one is waited for.  `index.old` is never read: it is the state before the revocation that is being written.
"""

import posix
import time

from . import errors, limits


class DatabaseUnavailable(errors.OCSPError):
    """The database cannot be read, or not to its end, at this moment."""

    response_status = errors.TRY_LATER


def stamp(of: posix.stat_result) -> bytes:
    """What is another whenever a file has been written or replaced, from its stat."""
    return b"%d:%d:%d:%d:%d" % (of.st_dev, of.st_ino, of.st_size, of.st_mtime_ns, of.st_ctime_ns)


def is_still(directory: str, index_stamp: bytes, offset: int, line: bytes) -> bool:
    """Whether the index of a db directory is still the one of this stamp, with this line at this offset of it.

    Nothing is searched, so this takes no longer in a long index.  DatabaseUnavailable if the index cannot be read.
    """

    def look(file) -> bool:
        if stamp(posix.fstat(file.fileno())) != index_stamp:
            return False
        file.seek(offset)
        return file.read(len(line)) == line

    return read(directory, look)


def read(directory: str, use):
    """What use(file) returns for the open index of a db directory.  DatabaseUnavailable, with the mend, if it cannot be read."""
    path = directory + "/index"
    errors.reading(path)
    try:
        with _open_index(directory) as file:
            path = file.name
            return use(file)
    except PermissionError:
        raise DatabaseUnavailable(
            f"{path}: permission denied. `openssl ca` gives it the mode of its umask; the web server's user"
            " must be able to read it, and to enter every directory above it"
        ) from None
    except OSError as error:
        raise DatabaseUnavailable(f"{path}: {error.strerror}. `db` names the directory that holds `index`") from None


def check_heartbeat(directory: str, minutes: int, now: int) -> None:
    """DatabaseUnavailable if the file `heartbeat` of a db directory was not touched in the last minutes, by the job that copies
    the directory from the CA's host: what is there then may have been overtaken by revocations."""
    path = directory + "/heartbeat"
    errors.reading(path)
    try:
        age = now - posix.stat(path).st_mtime
    except OSError as error:
        raise DatabaseUnavailable(f"{path}: {error.strerror}. With `stale_after` the job that copies db touches this file") from None
    if age > minutes * 60:
        raise DatabaseUnavailable(
            f"{path}: touched {age / 60:.0f} minutes ago, more than stale_after = {minutes}: does the job still run that copies db?"
        )


def _open_index(directory: str):
    """The open index, `index` or `index.txt`, whichever the directory has."""
    index, index_txt = directory + "/index", directory + "/index.txt"
    deadline = time.monotonic() + limits.DATABASE_RETRY_SECONDS
    while True:
        in_use = [path for path in (index, index_txt) if _exists(path) or _exists(path + ".old")]
        if len(in_use) == 2:
            raise DatabaseUnavailable(
                f"{directory}: both index and index.txt, or their .old: remove what belongs to the one `openssl ca` does not write"
            )
        try:
            return open(in_use[0] if in_use else index, "rb", buffering=0)
        except FileNotFoundError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.002)


def _exists(path: str) -> bool:
    try:
        posix.stat(path)
    except FileNotFoundError:
        return False
    return True
