"""Where an index is copied to: the file that `db` names, replaced with one rename.

Everything unfinished is in one directory beside it, `.index.sync`, which only the owner may enter.
Its lock is held while something is copied, and what an interrupted run left there is removed by the
next one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shlex
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from .. import index_file, limits, map_writer, sidecar, sync_state
from ..sync_state import SyncState
from . import entry, files
from .not_copied import Failed

_POLL_SECONDS = 0.1


class Busy(Exception):
    """Another process is copying to this index."""


class Target:
    """The index of a `db` setting: `db` as in the config, `path` the real file, which may not exist
    yet, and `owner` the user id of its directory's owner."""

    def __init__(self, db: str):
        """Failed if there is no such directory, or it cannot be told which file is meant."""
        self.db = os.path.abspath(db)
        try:
            index = index_file.path_of(self.db)
            if os.geteuid() == 0:  # nobody else chooses where root writes
                files.real_path(Path(index).parent)
            self.path = Path(os.path.realpath(index))
            os.stat(self.db)
            self._directory = self.path.parent.stat()
        except FileNotFoundError as error:
            raise Failed(
                f"{error.filename}: no such directory; it should belong to the user that copies"
                f" (for an index of another name, `touch {self.db}`)",
                f"{entry.program()} install",
            ) from None
        except OSError as error:
            raise Failed(f"{error.filename}: {error.strerror}") from None
        except (index_file.DatabaseUnavailable, entry.CommandError) as error:
            raise Failed(str(error)) from None
        self.owner = self._directory.st_uid

    @property
    def exists(self) -> bool:
        return self.path.exists()

    @contextlib.contextmanager
    def locked(self, patience: float) -> Iterator[Path]:
        """A new directory for what is unfinished, while no other process copies to this index.

        Busy if another one still does after so many seconds, Failed if it cannot be made.
        """
        lock = -1
        try:
            try:
                lock = self._lock(patience)
                self._remove_leftovers()
                place = Path(tempfile.mkdtemp(dir=self._scratch))
            except OSError as error:
                raise Failed(
                    f"{error.filename or self._scratch}: {error.strerror}: the user that copies"
                    f" must own {self.path.parent}",
                    f"{entry.program()} install",
                ) from None
            try:
                self._check_old()
                yield place
            finally:
                shutil.rmtree(place, ignore_errors=True)
        finally:
            if lock >= 0:
                os.close(lock)

    @property
    def _scratch(self) -> Path:
        return self.path.with_name(f".{self.path.name}.sync")

    def _lock(self, patience: float) -> int:
        self._check_directory()
        with contextlib.suppress(FileExistsError):
            self._scratch.mkdir(0o700)
        lock = -1
        with contextlib.suppress(PermissionError):  # another user's, who alone may enter it
            lock = os.open(self._scratch, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        if lock < 0 or os.fstat(lock).st_uid != os.geteuid():
            if lock >= 0:
                os.close(lock)
            raise Failed(
                f"{self._scratch}: does not belong to the owner of {self.path.parent}",
                f"rm -r {_quoted(self._scratch)}",
            )
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return lock
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    os.close(lock)
                    raise Busy from None
            except OSError:
                os.close(lock)
                raise
            time.sleep(_POLL_SECONDS)

    def _check_directory(self) -> None:
        """Failed if another user could put a symlink where root writes."""
        for directory in {self.path.parent: None, self._beside("heartbeat").parent: None}:
            check_for_root(directory, directory.stat())

    def _check_old(self) -> None:
        """Failed if the index in use cannot be read, and so not compared."""
        if self.exists and not os.access(self.path, os.R_OK):
            raise Failed(
                f"{self.path}: the owner of {self.path.parent} cannot read it",
                f"chown --reference={_quoted(self.path.parent)} {_quoted(self.path)}",
            )

    def _remove_leftovers(self) -> None:
        for path in self._scratch.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        for beside in map(self._beside, ("sync", "heartbeat", "map")):
            for path in beside.parent.iterdir():
                if re.fullmatch(re.escape(beside.name) + r"\.\d+", path.name):
                    path.unlink()

    def _beside(self, name: str) -> Path:
        return Path(index_file.beside(self.db, name))

    def prepare(self, copy: Path, changed: float) -> None:
        """Give a copy its time, and let the web server's group read it whatever the umask.

        The index is for the group of its directory; where everybody may list the directory, it is
        for everybody.  Its time is never that of its last write, which would mark it as being
        written.
        """
        is_open = self._directory.st_mode & 0o005 == 0o005
        with open(copy, "rb") as file:
            of = os.fstat(file.fileno())
            if not stat.S_ISREG(of.st_mode):
                raise Failed(f"{copy.name}: not a regular file")
            try:
                if of.st_gid != self._directory.st_gid:
                    os.fchown(file.fileno(), -1, self._directory.st_gid)
                os.fchmod(file.fileno(), 0o644 if is_open else 0o640)
            except PermissionError:
                raise Failed(
                    f"{self.path.parent}: the group of what is written here is not the directory's,"
                    " so the web server could not read it",
                    f"chmod g+s {_quoted(self.path.parent)}",
                ) from None
            before_writing = min(changed, of.st_mtime - 1)
            os.utime(file.fileno(), (before_writing, before_writing))
            os.fsync(file.fileno())

    def replace(self, copy: Path) -> None:
        """Put a prepared copy into place."""
        os.rename(copy, self.path)
        directory = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def touch_heartbeat(self, as_of: float) -> None:
        """Let the heartbeat say that the index is as old as this."""
        heartbeat = self._beside("heartbeat")
        with contextlib.suppress(FileNotFoundError):
            if int(heartbeat.stat().st_mtime) == int(as_of):
                return
        unfinished = heartbeat.with_name(f"{heartbeat.name}.{os.getpid()}")
        with open(unfinished, "xb") as file:
            os.fchmod(file.fileno(), 0o644)
            os.utime(file.fileno(), (as_of, as_of))
        os.rename(unfinished, heartbeat)

    def write_map(self) -> None:
        """Leave the map of a long index beside it, so that no request has to search the index.

        OSError or Failed if that is not possible; then it is searched.
        """
        try:
            if self.path.stat().st_size <= limits.MAPPED_AT_ONCE_BYTES:
                return
        except FileNotFoundError:
            return
        path = Path(sidecar.beside(self.db))
        its_map = map_writer.make(str(self.path), str(path))
        if its_map is not None:
            unfinished = path.with_name(f"{path.name}.{os.getpid()}")
            map_writer.save(its_map, str(unfinished))
            self.prepare(unfinished, time.time())
            os.rename(unfinished, path)

    def write_state(self, state: SyncState) -> None:
        sync_state.write(self.db, state)


def check_for_root(directory: Path, of: os.stat_result) -> None:
    """Failed if this is root, and another user could put a symlink into this directory."""
    if os.geteuid() != 0:
        return
    if of.st_uid != 0:
        raise Failed(
            f"{directory}: belongs to another user, so root must not write here",
            f"chown root {_quoted(directory)}",
        )
    if of.st_mode & 0o022:
        raise Failed(
            f"{directory}: others than its owner can write here, so root must not",
            f"chmod go-w {_quoted(directory)}",
        )


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
