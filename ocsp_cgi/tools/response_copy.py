"""Signed responses, copied with rsync from the `cache` of the host that signs to one without a key.

rsync gives each file its name once it is complete, so what an interrupted run has copied is of use,
and the next run goes on.  Neither the order of files nor that of index and responses matters: the
responder uses a response only while the row in the index is the one it was made from.

Nothing is removed because it is not on the other host any more: what has expired is.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shlex
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .. import cache, limits
from ..config import CASettings
from . import remote_source, rsync_errors
from .index_source import LocalSource
from .index_target import check_for_root
from .not_copied import Failed

SECONDS = 60  # for one run, so that it never keeps the next copy of an index waiting for long
_MOST_BYTES = limits.CACHED_BYTES
_PRUNED = ".pruned"
_PRUNE_SECONDS = 60 * 60
_VANISHED = 24  # as rsync ends if a file was replaced or removed meanwhile
# Neither what is unfinished, nor what the responder keeps beside the responses.
_FILTERS = (
    "--exclude=.*",
    f"--include=/{cache.BUCKETS}*/",
    f"--include=/{cache.BUCKETS}*/*/",
    f"--include=/{cache.BUCKETS}*/*/*{cache.SUFFIX}",
    "--exclude=*",
)


class Copied(NamedTuple):
    """`new` responses were copied, of the `total` that the other host has; both are None if the
    time was up, and the next run goes on."""

    new: int | None
    total: int | None


class BeingCopied(Exception):
    """Another process copies to the same directory."""


def copy(ca: CASettings, source: str, insecure: bool, seconds: float = SECONDS) -> Copied:
    """Copy what is new in the `cache` that `source` names, for a CA without a key.

    BeingCopied, or Failed if that is not possible, CommandError if the source makes no sense.
    """
    parsed = remote_source.parse(source, insecure)
    directory = Path(os.path.abspath(ca.copied_responses))
    with _locked(directory) as is_open:
        command = _command(parsed, is_open, directory, max(1, int(seconds / 2)))
        status, printed, errors = 0, "", ""
        try:
            status, printed, errors = remote_source.run(command, _MOST_BYTES, seconds)
        except remote_source.TooSlow:
            return Copied(None, None)
        finally:
            _prune(directory)
        if status not in (0, _VANISHED):
            host = "" if isinstance(parsed, LocalSource) else parsed.host
            raise rsync_errors.explain(errors or f"rsync ended with {status}", host, source)
    new = re.search(r"(?m)^Number of regular files transferred: (\d+)", printed)
    total = re.search(r"(?m)^Number of files: \d+ \(.*?reg: (\d+)", printed)
    return Copied(int(new.group(1)) if new else 0, int(total.group(1)) if total else 0)


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[bool]:
    """Make the directory, and let no other process copy to it.  Yields whether everybody may read
    what is in there, as is true of the index."""
    beside = directory.parent
    umask, lock = os.umask(0o077), -1
    try:
        try:
            of = beside.stat()
            is_open = of.st_mode & 0o005 == 0o005
            check_for_root(beside, of)
            os.umask(0o022 if is_open else 0o027)
            with contextlib.suppress(FileExistsError):
                directory.mkdir()
            lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            check_for_root(directory, os.fstat(lock))
            _set_group(lock, of.st_gid, beside)
        except OSError as error:
            owned, fix = beside, ""
            if directory.is_dir() and directory.stat().st_uid != of.st_uid:
                owned = directory
                fix = f"chown -R --reference={shlex.quote(str(beside))} {shlex.quote(str(owned))}"
            raise Failed(
                f"{error.filename}: {error.strerror}: the user that copies must own {owned}", fix
            ) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BeingCopied from None
        yield is_open
    finally:
        if lock >= 0:
            os.close(lock)
        os.umask(umask)


def _set_group(directory: int, group: int, beside: Path) -> None:
    """Let what is made in an open directory be for this group, the web server's, as the index is.

    Failed if this user may not.
    """
    of = os.fstat(directory)
    if of.st_gid == group:
        return
    try:
        os.fchown(directory, -1, group)
        os.fchmod(directory, stat.S_IMODE(of.st_mode) | stat.S_ISGID)
    except PermissionError:
        raise Failed(
            f"{beside}: the group of what is written here is not the directory's, so the web server"
            " could not read it",
            f"chmod g+s {shlex.quote(str(beside))}",
        ) from None


def _command(
    source: LocalSource | remote_source.RemoteSource, is_open: bool, directory: Path, silence: int
) -> list[str]:
    """The rsync that copies to a directory, and fails if the other host is silent for so many
    seconds, which must be less than a run may take.  Failed if it cannot be run."""
    # Of two files, those with the same length and time, to the nanosecond, are the same: see
    # buckets.py.
    command = ["rsync", "--recursive", "--times", "--omit-dir-times", "--modify-window=-1"]
    command += ["--chmod=D755,F644" if is_open else "--chmod=D750,F640", *_FILTERS]
    command += [f"--max-size={_MOST_BYTES}", "--prune-empty-dirs"]
    command += ["--stats", "--no-human-readable", f"--timeout={silence}"]
    if isinstance(source, LocalSource):
        argument = source.path
        if not os.path.isdir(argument):
            raise Failed(f"{argument}: no such directory; `cache_from` names a `cache`")
    else:
        source.check_rsync()
        argument = source.argument
        command += ["-e", remote_source.SSH] if source.host else ["--contimeout=20"]
    return [*command, "--", f"{argument.rstrip('/')}/", f"{directory}/"]


def files(directory: str | Path) -> Iterator[os.DirEntry[str]]:
    """Every file in the buckets of a directory, also what is unfinished."""
    for buckets in _entries(directory):
        if buckets.name.startswith(cache.BUCKETS) and buckets.is_dir(follow_symlinks=False):
            for bucket in _entries(buckets.path):
                if bucket.is_dir(follow_symlinks=False):
                    yield from _entries(bucket.path)


def _entries(directory: str | Path) -> Iterator[os.DirEntry[str]]:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(directory) as found:
        yield from found


def _prune(directory: Path) -> None:
    """Once an hour, remove what has expired, and what an interrupted run has left."""
    marker, now = directory / _PRUNED, time.time()
    with contextlib.suppress(FileNotFoundError):
        if 0 <= now - marker.stat().st_mtime < _PRUNE_SECONDS:
            return
    for entry in files(directory):
        with contextlib.suppress(FileNotFoundError):
            of = entry.stat(follow_symlinks=False)
            end = of.st_ctime + _PRUNE_SECONDS if entry.name.startswith(".") else of.st_mtime
            if now > end:
                os.unlink(entry.path)
    marker.touch()
    os.utime(marker)
