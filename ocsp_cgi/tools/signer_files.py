"""A signer's files: each renewal has its date in their names, so that none is overwritten."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from pathlib import Path
from typing import NamedTuple

from ..config import CASettings, is_uri
from . import files
from .entry import CommandError

_SUFFIXES = (".key", ".pem", ".crt", ".cer", ".der", ".csr")
_DATED = re.compile(r"(.*)-(\d{4}-\d\d-\d\d)(?:-(\d+))?")
_Tag = tuple[str, int]  # a date and number, ("", 0) for the first signer, which has none


class Names(NamedTuple):
    """Paths of a private key, of the request for its certificate, and of the certificate."""

    key: str
    request: str
    certificate: str


def names(ca: CASettings, date: str, number: int = 1) -> Names:
    """The files of a renewal on this date, beside those of the CA's signer; `number` tells several
    of a day apart."""
    tag = date if number == 1 else f"{date}-{number}"
    certificate = _undated(ca.rsigner)
    key = certificate if is_uri(ca.rkey) else _undated(ca.rkey)
    key_suffix, suffix = _suffix(ca.rkey) or ".key", _suffix(ca.rsigner) or ".crt"
    if (key, key_suffix) == (certificate, suffix) or ".csr" in (key_suffix, suffix):
        key_suffix, suffix = ".key", ".crt"
    return Names(f"{key}-{tag}{key_suffix}", f"{key}-{tag}.csr", f"{certificate}-{tag}{suffix}")


def certificate_path(ca: CASettings, key: str, date: str) -> str:
    """Where the certificate of this key belongs: under the key's date, or else under `date`."""
    tag = _tag(key)
    own = names(ca, *tag)
    return own.certificate if tag[0] and own.key == key else names(ca, date).certificate


def added(ca: CASettings, word: str) -> tuple[str, str]:
    """Certificate and key of a second signer, named as those of the CA's first and this word; the
    files of its renewals are named after these."""
    key, certificate = _undated(ca.rkey), _undated(ca.rsigner)
    return (
        f"{certificate}-{word}{_suffix(ca.rsigner) or '.crt'}",
        f"{key}-{word}{_suffix(ca.rkey) or '.key'}",
    )


def free(ca: CASettings, date: str) -> Names:
    """The files of the next renewal, none of which exists."""
    number = 1
    while any(os.path.lexists(path) for path in names(ca, date, number)):
        number += 1
    return names(ca, date, number)


def create(path: str, content: bytes, mode: int, owner: tuple[int, int] | None = None) -> bool:
    """Write a new file, which appears complete or not at all.  Returns whether it was created:
    False if the name is taken.

    `owner` is a user and group, by default ours.  CommandError if it cannot be written.
    """
    unfinished = hidden(path, content, mode, owner)
    try:
        return link(unfinished, path)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(unfinished)


def link(unfinished: str, path: str) -> bool:
    """Give the file that `hidden` wrote its name.  Returns False if the name is taken."""
    try:
        os.link(unfinished, path)
    except FileExistsError:
        return False
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from None
    return True


def hidden(path: str, content: bytes, mode: int, owner: tuple[int, int] | None = None) -> str:
    """Write a new file beside `path`, with the mode and owner it is to have, whatever the umask.
    Returns its path."""
    directory, name = os.path.split(path)
    unfinished = os.path.join(directory, f".{name}.{os.getpid()}")
    try:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}{_as_root(error)}") from None
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            if owner and owner != (os.fstat(descriptor).st_uid, os.fstat(descriptor).st_gid):
                os.fchown(descriptor, *owner)
            os.fchmod(descriptor, mode)
            file.flush()
            os.fsync(descriptor)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(unfinished)
        if isinstance(error, OSError):
            raise CommandError(f"{path}: {error.strerror}{_as_root(error)}") from None
        raise
    return unfinished


def give_as(key: str, today: str) -> None:
    """Give a key the owner and mode of the one that signs today, as root: since it was made, the
    responder may have become another user's.  CommandError."""
    try:
        of, its = os.stat(today), os.stat(key)
    except OSError:
        return  # on a token, or lost
    is_unset = of.st_uid == of.st_gid == 0  # nobody has made that one readable for the responder
    if os.geteuid() != 0 or is_unset or (of.st_uid, of.st_gid) == (its.st_uid, its.st_gid):
        return
    try:
        files.give(
            files.real_path(Path(key)), stat.S_IMODE(of.st_mode) & 0o660, of.st_uid, of.st_gid
        )
    except OSError as error:
        raise CommandError(f"{key}: {error.strerror}") from None


def _as_root(error: OSError) -> str:
    forbidden = isinstance(error, PermissionError) and os.geteuid() != 0
    return "; this command must run as root" if forbidden else ""


def unused(ca: CASettings, in_use: list[str], others: list[str]) -> list[str]:
    """The files of this CA's earlier signers that nothing needs any more, oldest first.

    `in_use` are the keys and certificates that the config names, or remembers; what is of one
    renewal with any of them stays, and so does what is newer than the CA's key.  `others` are files
    that the config names besides, whatever they are called.
    """
    bases = {_undated(ca.rkey), _undated(ca.rsigner)}
    tags = {_tag(path) for path in in_use if _undated(path) in bases}
    real = {os.path.realpath(path) for path in (*in_use, *others)}
    found = []
    for directory in sorted({os.path.dirname(base) for base in bases}):
        with contextlib.suppress(OSError):
            found += [os.path.join(directory, name) for name in os.listdir(directory or ".")]
    old = [
        path
        for path in found
        if _suffix(path)
        and _undated(path) in bases
        and _tag(path) not in tags
        and _tag(path) < _tag(ca.rsigner if is_uri(ca.rkey) else ca.rkey)
        and os.path.realpath(path) not in real
    ]
    return sorted(old, key=lambda path: (_tag(path), path))


def _suffix(path: str) -> str:
    suffix = os.path.splitext(path)[1]
    return suffix if suffix in _SUFFIXES else ""


def _undated(path: str) -> str:
    """A path without its suffix, and without the date of a renewal."""
    path = path[: len(path) - len(_suffix(path))]
    directory, name = os.path.split(path)
    found = _DATED.fullmatch(name)
    return os.path.join(directory, found[1] if found else name)


def _tag(path: str) -> _Tag:
    name = os.path.basename(path)
    found = _DATED.fullmatch(name[: len(name) - len(_suffix(name))])
    return (found[2], int(found[3] or 1)) if found else ("", 0)
