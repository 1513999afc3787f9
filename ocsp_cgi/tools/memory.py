"""The directory `cache` in memory: below /run, which is lost at each boot and where systemd makes
it again, or as a file system of its own, which /etc/fstab names."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from .files import content

CACHE = Path("/run/ocsp-cgi/cache")
TMPFILES = Path("/etc/tmpfiles.d/ocsp-cgi.conf")
FSTAB = Path("/etc/fstab")
_BLANK = "\\040"  # in a path there
MEBIBYTES = 32  # of /run, which others need too
_TMPFILES_DIRECTORIES = ("/etc/tmpfiles.d", "/usr/local/lib/tmpfiles.d", "/usr/lib/tmpfiles.d")


def is_lost_at_boot(directory: str) -> bool:
    return os.path.realpath(directory).startswith("/run/")


def entry(directories: Iterable[str], user: str) -> bytes:
    """What lets systemd make these directories at boot, for a user and the group of that name."""
    lines = ["# `cache` of the OCSP responder, in memory.  Written by `ocsp-cgi install`."]
    for directory in dict.fromkeys(map(os.path.realpath, directories)):
        lines.append(f"d {_quoted(directory)} 0750 {user} {user} -")
    return "\n".join([*lines, ""]).encode()


def made_at_boot_by(directory: str) -> str:
    """The file of systemd-tmpfiles that has this directory in it, "" if none has."""
    wanted = ("d", _quoted(os.path.realpath(directory)))
    for path in (
        file for one in _TMPFILES_DIRECTORIES for file in sorted(Path(one).glob("*.conf"))
    ):
        for line in content(path).decode(errors="replace").splitlines():
            if tuple(line.split()[:2]) == wanted:
                return str(path)
    return ""


def fstab_line(directory: str, mebibytes: int, user: str) -> str:
    """The line of /etc/fstab for a file system in memory."""
    options = f"size={mebibytes}m,mode=750,uid={user},gid={user},nosuid,nodev,noexec"
    return f"tmpfs {directory.replace(' ', _BLANK)} tmpfs {options} 0 0"


def fstab_options(directory: str) -> list[str] | None:
    """The options in the line of /etc/fstab about this directory, None if there is none."""
    for line in content(FSTAB).decode(errors="replace").splitlines():
        fields = [field.replace(_BLANK, " ") for field in line.partition("#")[0].split()]
        is_memory = len(fields) > 3 and fields[2] == "tmpfs"
        if is_memory and os.path.realpath(fields[1]) == os.path.realpath(directory):
            return fields[3].split(",")
    return None


def _quoted(directory: str) -> str:
    escaped = directory.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"' if escaped.split() != [directory] else directory
