"""Files read, written and given away by root, in directories that may belong to others."""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
import stat
from pathlib import Path

from .entry import CommandError


def content(path: Path) -> bytes:
    """What is in a file, b"" if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def digest(path: Path) -> str:
    """The SHA-256 of a file, "" if it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def write(path: Path, content: bytes, mode: int, owner: tuple[int, int] | None = None) -> None:
    """Write a file so that it is never seen half-written, not even after a crash.

    `owner` is a user and a group, by default those of this process.  Owner and mode are set through
    the descriptor: who owns the directory may put a link to another file under that name meanwhile.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            if owner:
                os.fchown(file.fileno(), *owner)
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        unfinished.rename(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def give(path: Path, mode: int, uid: int, gid: int) -> None:
    """Set owner and mode of a file or directory.

    Its directory may belong to another user, who must not get at other files this way: no link is
    followed, and a file with a second name is refused.  CommandError, OSError.
    """
    # Not blocking, for a FIFO would.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        of = os.fstat(descriptor)
        if not (stat.S_ISDIR(of.st_mode) or (stat.S_ISREG(of.st_mode) and of.st_nlink == 1)):
            raise CommandError(f"{path}: neither a directory nor a file with one name: left alone")
        os.fchown(descriptor, uid, gid)
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)


def user_id(name: str) -> int:
    return pwd.getpwnam(name).pw_uid


def group_id(name: str) -> int:
    return grp.getgrnam(name).gr_gid


def owner_name(uid: int, gid: int) -> str:
    """USER:GROUP."""
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = str(uid)
    try:
        group = grp.getgrgid(gid).gr_name
    except KeyError:
        group = str(gid)
    return f"{user}:{group}"


def user_name(path: str) -> str:
    """The user that a file or directory belongs to, "" if it is not there."""
    try:
        of = os.stat(path)
    except OSError:
        return ""
    return owner_name(of.st_uid, of.st_gid).partition(":")[0]


def has_user(name: str) -> bool:
    """Whether there is a user of this name."""
    try:
        user_id(name)
    except KeyError:
        return False
    return True
