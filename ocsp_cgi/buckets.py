"""The files of the cache: written so that nobody sees a part of one, and bounded.

They lie in buckets, cache/buckets-COUNT/NUMBER/, numbered by a checksum of the CertID.  A bucket
may take BUCKET_BYTES of the disk, and there are as many as `cache_size` has room for.  Each put
makes room in its own bucket: it removes what has expired, and then the oldest.  So the bound holds
at every moment, but for a file or two of each process that is writing, and a put costs the same
however many responses there are.  What a cache of another size or an earlier version has left is
removed by the puts that follow, a few files at a time.

The time of a file, as `ls -l` shows it, is its response's nextUpdate.  Its nanoseconds depend on
the content, so rsync distinguishes two with the same length and nextUpdate without reading them.
Names in `cache` other than *.ocsp and buckets-* are neither removed nor counted.
"""

from __future__ import annotations

import binascii
import posix
import time

from . import limits

_NANOSECONDS = 10**9  # of a second


def put(path: str, content: bytes, next_update: int, limit: int) -> None:
    """Write the file of a response to this path, DIRECTORY/buckets-COUNT/NUMBER/NAME.ocsp, if its
    bucket has room.

    `limit` is the bytes of the disk that a bucket may take.  OSError if writing fails.
    """
    directory, buckets, _, _ = path.rsplit("/", 3)
    if _make_room(path, len(content), directory, limit):
        _write(path, content, next_update)
    _remove_leftovers(directory, buckets, _suffix(path))


def _make_room(path: str, size: int, directory: str, limit: int) -> bool:
    """Remove what has expired from the bucket of this path, and the oldest files until one of this
    size fits.  Returns whether it does."""
    bucket = path.rpartition("/")[0]
    room = limit - _disk_usage(_make_bucket(bucket, directory)) - _whole_blocks(size)
    now = time.time()
    oldest_last = []
    for entry in posix.scandir(bucket):
        unfinished = entry.name[0] == "."
        try:
            status = entry.stat(follow_symlinks=False)
            end = status.st_ctime + limits.UNFINISHED_SECONDS if unfinished else status.st_mtime
            if now > end:
                posix.unlink(entry.path)
            elif entry.path != path:  # which is going to be replaced
                room -= _disk_usage(status)
                if not unfinished:
                    oldest_last.append((-status.st_ctime, entry.path, _disk_usage(status)))
        except FileNotFoundError:
            pass  # another process was faster
    oldest_last.sort()
    while room < 0 and oldest_last:
        _, oldest, freed = oldest_last.pop()
        if _unlink(oldest):
            room += freed
    return room >= 0


def _make_bucket(bucket: str, directory: str) -> posix.stat_result:
    """The stat of a bucket, which is made if it is not there.  As many may enter it as may enter
    `cache`."""
    try:
        return posix.lstat(bucket)
    except FileNotFoundError:
        mode = posix.stat(directory).st_mode & 0o777
        for made in (bucket.rpartition("/")[0], bucket):
            try:
                posix.mkdir(made, mode)
            except FileExistsError:
                pass
        return posix.lstat(bucket)


def _disk_usage(status: posix.stat_result) -> int:
    """The bytes that a file takes.  Some file systems find their blocks for it only later."""
    return max(status.st_blocks * 512, _whole_blocks(status.st_size))


def _whole_blocks(size: int) -> int:
    return -(-size // 4096) * 4096


def _unlink(path: str) -> bool:
    """Remove a file.  Returns whether it was there: another process may have been faster."""
    try:
        posix.unlink(path)
    except FileNotFoundError:
        return False
    return True


def _write(path: str, content: bytes, next_update: int) -> None:
    """Write a file so that nobody ever sees a part of it.  OSError if that fails, and nothing is
    left behind."""
    bucket, _, name = path.rpartition("/")
    end = next_update * _NANOSECONDS + binascii.crc32(content) % _NANOSECONDS
    unfinished = f"{bucket}/.{posix.getpid()}-{time.monotonic_ns()}.{_suffix(name)}"
    descriptor = posix.open(
        unfinished, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, 0o600
    )
    try:
        try:
            while content:
                content = content[posix.write(descriptor, content) :]
        finally:
            posix.close(descriptor)
        posix.utime(unfinished, ns=(end, end))
        posix.rename(unfinished, path)
    except OSError:
        posix.unlink(unfinished)
        raise


def _suffix(name: str) -> str:
    return name.rpartition(".")[2]


def _remove_leftovers(directory: str, current: str, suffix: str) -> None:
    """Remove some of what an earlier version or another `cache_size` has left.

    `current` is the name of the buckets in use, `suffix` that of the files.
    """
    left = limits.LEFTOVERS_REMOVED
    prefix = current.rpartition("-")[0] + "-"
    with posix.scandir(directory) as entries:
        for entry in entries:
            if _suffix(entry.name) == suffix:
                _unlink(entry.path)
                left -= 1
            elif (
                entry.name.startswith(prefix)
                and entry.name != current
                and entry.is_dir(follow_symlinks=False)
            ):
                left = _empty(entry.path, left, depth=2)
            if left <= 0:
                return


def _empty(directory: str, left: int, depth: int) -> int:
    """Remove so many files below a directory, and each directory that is empty then.  Returns how
    many more may be removed."""
    try:
        with posix.scandir(directory) as entries:
            for entry in entries:
                if left <= 0:
                    return 0
                if depth > 1:
                    left = _empty(entry.path, left, depth - 1)
                else:
                    _unlink(entry.path)
                    left -= 1
        posix.rmdir(directory)
    except OSError:
        pass  # another process removes them too, or still fills them
    return left - 1
