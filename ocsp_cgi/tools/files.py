"""Files read, written and given away by root, in directories that may belong to others."""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
import re
import shutil
import stat
from pathlib import Path

from .entry import CommandError

_MOST_LINKS = 40  # as the kernel


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
    except BaseException as error:
        unfinished.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # as on a full disk
            error.filename = str(path)
        raise


def reason(error: OSError) -> str:
    """The file that it is about, and what is wrong."""
    if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list):
        _, path, text = error.args[0][0]  # of a directory, the first file that was not copied
        return f"{path}: {re.sub(r'^.Errno [0-9]+. |: .*', '', text)}"
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error)


def real_path(path: Path) -> Path:
    """The path past all links.  CommandError for a link in a directory that others than root, or
    this user, can write to: they could lead root to any file."""
    left, here = list(Path(os.path.abspath(path)).parts[1:]), Path("/")
    is_trusted, links = True, 0
    while left:
        name = left.pop(0)
        if name == "..":
            here = here.parent
            continue
        place = here / name
        is_trusted = is_trusted and _is_trusted(here, place)
        if not place.is_symlink():
            here = place
            continue
        links += 1
        if links > _MOST_LINKS:
            raise CommandError(f"{path}: too many links")
        target = Path(os.readlink(place))
        if not is_trusted:
            raise CommandError(
                f"{place}: a link to {target}, which is not followed, because others than root can"
                f" write to {here}.  Name the file itself instead of {path}"
            )
        left = [*target.parts[target.is_absolute() :], *left]
        here = Path("/") if target.is_absolute() else here
    return here


def _is_trusted(directory: Path, place: Path) -> bool:
    """Whether nobody but root, or this user, can put a link at a place in a directory."""
    own = (0, os.geteuid())
    try:
        of, its = os.lstat(directory), os.lstat(place)
    except OSError:
        return True  # nothing is there
    if of.st_mode & stat.S_ISVTX:  # what is in there belongs to its owner
        return of.st_uid in own and its.st_uid in own
    is_shared = of.st_mode & 0o002 or (of.st_mode & 0o020 and of.st_gid not in (0, os.getegid()))
    return of.st_uid in own and not is_shared


def opened(path: Path, flags: int) -> int:
    """A descriptor of a file or directory, when no part of its path is a link.  OSError."""
    within = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in path.parts[1:-1]:
            way = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            deeper = os.open(name, way, dir_fd=within)
            os.close(within)
            within = deeper
        return os.open(path.name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=within)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        os.close(within)


def give(path: Path, mode: int, uid: int, gid: int) -> None:
    """Set owner and mode of a file or directory.

    A directory above it may belong to another user, who must not get at other files this way: no
    link of theirs is followed, and a file with a second name is refused.  CommandError, OSError.
    """
    # Not blocking, for a FIFO would.
    descriptor = opened(real_path(path.parent) / path.name, os.O_RDONLY | os.O_NONBLOCK)
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
