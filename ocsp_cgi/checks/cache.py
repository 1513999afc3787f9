"""The directory of cached responses: whether it is used, by whom, and whether it has room."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import shlex
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Any

from ..answer import printable
from ..cache import SUFFIX
from ..sidecar import LOCK_SUFFIX, STARTED
from ..tools import as_user, memory
from ..tools.labelled import plural
from . import commands, owners
from .finding import Finding, Level, Measure
from .subject import Subject

_MEBIBYTE = 1024 * 1024
_ENDED_EARLY = (
    "the process that writes the map of a long index has ended early, so the index is searched for"
    " each request, which takes longer: was it killed, or out of memory?"
)


def examine(subject: Subject) -> list[Finding]:
    """A cache that cannot be used costs speed and never a response, so nothing here is a FAIL."""
    findings: list[Finding] = []
    cas = subject.settings.cas if subject.settings else []
    without = [f"[{ca.name}]" for ca in cas if not ca.cache and ca.rkey]
    if without:
        text = f"no `cache` in {' and '.join(without)}: each response is signed anew"
        findings.append(Finding(Level.OK, text))
    for directory, size in {ca.cache: ca.cache_size for ca in cas if ca.cache}.items():
        findings.append(_examine(directory, size, subject.user))
        findings += _unmapped(directory, subject.user)
    return findings


def _unmapped(directory: str, user: str) -> list[Finding]:
    """The indexes whose map could not be written there."""
    try:
        reasons = as_user.call(user, _failures, directory)
    except as_user.ChildFailed:
        return []
    return [Finding(Level.WARN, printable(reason, 1000), directory) for reason in reasons]


def _failures(directory: str) -> list[str]:
    """What the process that writes maps has left in its lock files, see map_writer.py."""
    found = []
    for path in sorted(Path(directory).glob(f"index-*.map{LOCK_SUFFIX}")):
        with contextlib.suppress(OSError), open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # else it is at work, or rests
            reason = file.read(4096)
            if reason == STARTED:
                found.append(f"{path}: {_ENDED_EARLY}")
            elif reason:
                found.append(reason.decode(errors="replace"))
    return found


def _examine(directory: str, mebibytes: int, user: str) -> Finding:
    quoted, account = shlex.quote(directory), pwd.getpwnam(user)
    group = owners.group_name(account.pw_gid)
    make = f"install -d -m 750 -o {user} -g {group} {quoted}"
    try:
        of = os.stat(directory)
    except OSError as error:
        text = f"`cache` is not used: {error.strerror}"
        if memory.is_lost_at_boot(directory):
            text = (
                "`cache` is not used: what is in /run is lost at each boot, and this was not made"
            )
            file = memory.made_at_boot_by(directory)
            make = f"systemd-tmpfiles --create {file}" if file else make
        return Finding(Level.WARN, text, directory, make)
    if not stat.S_ISDIR(of.st_mode):
        text = "`cache` is not used: this is not a directory: name another one"
        return Finding(Level.WARN, text, directory)
    if of.st_mode & 0o002:
        text = "`cache` is not used: everybody on this machine may write in it"
        empty = f"chmod o-w {quoted} && find {quoted} -mindepth 1 -delete"
        return Finding(Level.WARN, text, directory, empty)
    try:
        seen = as_user.call(user, _look, directory)
    except as_user.ChildFailed as error:
        return Finding(Level.WARN, f"cache not checked: {error}", directory)
    if seen["error"]:
        text = f"`cache` is not used: {user} cannot write in it: {seen['error']}"
        return Finding(Level.WARN, text, directory, f"chown -R {user}:{group} {quoted}")
    used, limit = seen["bytes"], mebibytes * _MEBIBYTE
    free = shutil.disk_usage(directory).free
    measure = Measure(f"cache {directory}", used, "B")
    text = f"`cache` has {plural(seen['files'], 'response')}, {_size(used)} of {_size(limit)}"
    if free < limit - used:
        text += (
            f", and its disk has only {_size(free)} left: give it room, or set a smaller"
            " `cache_size`"
        )
        return Finding(Level.WARN, text, directory, f"df -h {quoted}", (measure,))
    if memory.is_lost_at_boot(directory) and not memory.made_at_boot_by(directory):
        text = "`cache` is lost at the next boot, and nothing makes it then"
        return Finding(Level.WARN, text, directory, commands.ours("install"), (measure,))
    return Finding(Level.OK, text, directory, measures=(measure,))


def _look(directory: str) -> dict[str, Any]:
    """What this user finds in the cache: the number of `files`, their `bytes`, and the `error` if a
    file cannot be created."""
    try:
        with tempfile.NamedTemporaryFile(prefix=".check-", dir=directory):
            pass
    except OSError as error:
        return {"error": error.strerror, "files": 0, "bytes": 0}
    files = size = 0
    for path, _, names in os.walk(directory):
        for name in names:
            try:
                size += os.lstat(os.path.join(path, name)).st_blocks * 512
            except OSError:
                continue
            files += name.endswith(SUFFIX)
    return {"error": "", "files": files, "bytes": size}


def _size(count: int) -> str:
    if count < 10 * _MEBIBYTE:
        return f"{count / 1024:.0f} KiB"
    return f"{count // _MEBIBYTE} MiB" if count < 10240 * _MEBIBYTE else f"{count >> 30} GiB"
