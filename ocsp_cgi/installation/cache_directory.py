"""The directory `cache` when the responder becomes another user's.

For a while both users write there: the web server's, whose CGI answers what has begun, and that of
mod_wsgi's processes, who is in the web server's group.  Then the one directory is given away, and
what the other has left in it is removed: it is only a cache.

Its owner must not lead root elsewhere, so no path in it is used, but only names in directories that
are open, and no link is followed.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from .. import cache
from ..config import CASettings
from ..tools import files


def share(ca: CASettings, gid: int) -> None:
    """Let this group write in the `cache` of a CA, too."""
    assert ca.cache
    with opened(ca.cache) as top:
        of = os.fstat(top)
        os.fchown(top, -1, gid)
        os.fchmod(top, _shared(of))
        # A responder would make the missing ones for itself alone.
        count = cache.bucket_count(ca)
        buckets = f"{cache.BUCKETS}{count}"
        _make(top, buckets, of.st_uid, gid, _shared(of))
        with opened(buckets, top) as within:
            for number in range(count):
                _make(within, str(number), of.st_uid, gid, _shared(of))
        for _, descriptor in directories_in(top):
            os.fchown(descriptor, -1, gid)
            os.fchmod(descriptor, _shared(os.fstat(descriptor)))


def give(directory: str, uid: int, gid: int) -> None:
    """Make a user the only one who can write in a `cache`, and remove what is of others."""
    with opened(directory) as top:
        for names, descriptor in directories_in(top):
            os.fchown(descriptor, uid, gid)
            os.fchmod(descriptor, stat.S_IMODE(os.fstat(descriptor).st_mode) & ~0o027 | 0o750)
            for name in names:
                with contextlib.suppress(FileNotFoundError):  # the responder was faster
                    if os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_uid != uid:
                        os.unlink(name, dir_fd=descriptor)


class opened:
    """A directory's descriptor inside the `with`."""

    def __init__(self, path: str, dir_fd: int | None = None):
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        if dir_fd is None:  # a path that the config names
            self._descriptor = files.opened(files.real_path(Path(path)), flags)
        else:
            self._descriptor = os.open(path, flags, dir_fd=dir_fd)

    def __enter__(self) -> int:
        return self._descriptor

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def _shared(of: os.stat_result) -> int:
    return stat.S_IMODE(of.st_mode) & ~0o007 | 0o770


def _make(within: int, name: str, uid: int, gid: int, mode: int) -> None:
    """Make a directory if there is none."""
    try:
        os.mkdir(name, 0o700, dir_fd=within)
    except FileExistsError:
        return
    with opened(name, within) as made:
        os.fchown(made, uid, gid)
        os.fchmod(made, mode)


def directories_in(top: int) -> Iterator[tuple[list[str], int]]:
    """The names of everything but directories in each directory, and its descriptor."""
    for _, directories, names, descriptor in os.fwalk(".", dir_fd=top, follow_symlinks=False):
        # os.fwalk has links to directories among the directories.
        yield [*names, *(name for name in directories if _is_link(name, descriptor))], descriptor


def _is_link(name: str, dir_fd: int) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False
