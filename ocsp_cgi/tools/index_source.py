"""Where an index is copied from: `sync_from` of the config, and a local file.

A source leaves a copy beside the index and says how old that is; remote_source.py has those on
other hosts.
"""

from __future__ import annotations

import os
import shlex
import stat
import time
from pathlib import Path
from typing import BinaryIO

from .. import index_file, limits
from .not_copied import Failed, Refused

_BLOCK_BYTES = 1024 * 1024


class Copied:
    """What a source had.

    `path` is the copy, None if its bytes are those of the index in use.  `changed` is when the
    source was last written to, `as_of` the time of which it surely tells everything; both in
    seconds since 1970.
    """

    def __init__(self, path: Path | None, changed: float, as_of: float):
        self.path = path
        self.changed = changed
        self.as_of = as_of


class LocalSource:
    """A file on this host: pushed by the CA's host, or on a USB stick."""

    def __init__(self, path: str):
        self.path = os.path.abspath(path)

    def copy(self, target: Path, copy: Path, max_size: int) -> Copied:
        """Copy to `copy` unless `target` has the same bytes.  NotCopied if that cannot be done.

        While the file is being written, this waits for limits.DATABASE_WAIT_SECONDS.  It is as old
        as its last change, or as its heartbeat, which the CA's host may push as well.
        """
        deadline = time.monotonic() + limits.DATABASE_WAIT_SECONDS
        while True:
            path, file = self._open(target, max_size)
            with file:
                before = os.fstat(file.fileno())
                if not index_file.may_be_a_mixture(path, before):
                    is_same = _has_same_bytes(file, before.st_size, target)
                    if not is_same:
                        _write(file, copy, max_size)
                    after = os.fstat(file.fileno())
                    if index_file.fingerprint(before) == index_file.fingerprint(after):
                        changed = before.st_mtime
                        as_of = max([changed, *self._heartbeats(path)])
                        return Copied(None if is_same else copy, changed, as_of)
            if time.monotonic() > deadline:
                raise Failed(
                    f"{path} is being written at this moment: write it under another name, then"
                    " rename it, as rsync and `mv` do"
                )
            time.sleep(0.05)

    def _open(self, target: Path, max_size: int) -> tuple[str, BinaryIO]:
        """The path of the index itself, and the open file."""
        deadline = time.monotonic() + limits.DATABASE_RETRY_SECONDS
        while True:
            path = self.path
            try:
                path = index_file.path_of(self.path)
                file = open(path, "rb", opener=_open_at_once)  # noqa: SIM115  the caller closes it
                break
            except FileNotFoundError as error:
                # `openssl ca` renames the index in two steps: between them there is none.
                if time.monotonic() > deadline:
                    raise Failed(
                        f"{path}: {error.strerror}", f"ls -l {shlex.quote(path)}"
                    ) from None
                time.sleep(0.01)
            except OSError as error:
                raise Failed(
                    f"{error.filename or path}: {error.strerror}: the owner of {target.parent} has"
                    " to be able to read it",
                    f"namei -l {shlex.quote(path)}",
                ) from None
            except index_file.DatabaseUnavailable as error:
                raise Failed(str(error)) from None
        of = os.fstat(file.fileno())
        try:
            if not stat.S_ISREG(of.st_mode):
                raise Failed(f"{path}: not a regular file", f"ls -l {shlex.quote(path)}")
            if target.exists() and os.path.samestat(of, target.stat()):
                raise Failed(f"{path}: `sync_from` is the index in `db` itself")
            if of.st_size > max_size:
                raise too_large(path, max_size)
        except BaseException:
            file.close()
            raise
        return path, file

    def _heartbeats(self, path: str) -> list[float]:
        """When the heartbeats that may have been pushed with this index were touched."""
        found = []
        places = {index_file.beside(self.path, "heartbeat"), f"{path}.heartbeat"}
        if os.path.basename(path) in ("index", "index.txt"):
            places.add(os.path.join(os.path.dirname(path), "heartbeat"))
        for place in places:
            try:
                found.append(os.stat(place).st_mtime)
            except OSError:
                continue
        return found


def too_large(path: str, max_size: int) -> Refused:
    return Refused(
        f"{path} has more than --max-size = {max_size} bytes: is it the file that `openssl ca`"
        " writes?"
    )


def _open_at_once(path: str, flags: int) -> int:
    """Open for reading without waiting for a writer, if it is a pipe."""
    return os.open(path, flags | os.O_NONBLOCK)


def _has_same_bytes(file: BinaryIO, size: int, target: Path) -> bool:
    try:
        with open(target, "rb") as other:
            if os.fstat(other.fileno()).st_size != size:
                return False
            while block := other.read(_BLOCK_BYTES):
                if file.read(_BLOCK_BYTES) != block:
                    return False
            return not file.read(1)
    except FileNotFoundError:
        return False


def _write(file: BinaryIO, copy: Path, max_size: int) -> None:
    file.seek(0)
    left = max_size
    with open(copy, "wb") as output:
        while left and (block := file.read(min(left, _BLOCK_BYTES))):
            output.write(block)
            left -= len(block)
