"""Who may replace a file: who owns, or may write to, the file or a directory above it; and what
keeps this user from reading one."""

from __future__ import annotations

import grp
import os
import pwd
import shlex
import stat
from collections.abc import Iterator
from typing import NamedTuple

SYNC_USER = "ocsp-sync"  # who owns `db` where the index is copied from another host
_MOST_LINKS = 40  # as the kernel


class Access(NamedTuple):
    """Users who may write to a place, and should not; `uids` is empty if that is everybody."""

    place: str
    who: str
    uids: frozenset[int]
    command: str


def above(path: str) -> list[str]:
    """The directories above a file, from the root on."""
    parts = os.path.abspath(path).split("/")
    return ["/".join(parts[:end]) or "/" for end in range(1, len(parts))]


def closed(path: str) -> str:
    """The directory above a file that this user may not enter, or the file if he may not read it;
    "" if he may."""
    for place in (path, os.path.realpath(path)):
        for directory in above(place):
            if os.path.isdir(directory) and not os.access(directory, os.X_OK):
                return directory
    return path if os.path.exists(path) and not os.access(path, os.R_OK) else ""


def writers(path: str, trusted: set[int]) -> list[Access]:
    """Who else than these users may replace what is at this path, at every place on the way to it,
    past all links.  Nobody if it does not exist."""
    found = []
    for place, of in _way_to(path):
        quoted = shlex.quote(place)
        if of.st_uid not in trusted:
            who = user_name(of.st_uid)
            found.append(Access(place, who, frozenset((of.st_uid,)), f"chown root {quoted}"))
        if stat.S_ISDIR(of.st_mode) and of.st_mode & stat.S_ISVTX:
            continue  # what is in there belongs to its owner
        if of.st_mode & 0o002:
            found.append(Access(place, "everybody", frozenset(), f"chmod o-w {quoted}"))
        elif of.st_mode & 0o020:
            others = members(of.st_gid) - trusted
            if others:
                who = f"the group {group_name(of.st_gid)} ({names(others)})"
                found.append(Access(place, who, frozenset(others), f"chmod g-w {quoted}"))
    return found


def database_users(db: str, web: int) -> set[int]:
    """Who may write a `db`: the job that copies it, or the account of a CA on this host, which is
    the owner of the directory; but never the web server's user."""
    allowed = set()
    try:
        allowed.add(pwd.getpwnam(SYNC_USER).pw_uid)
    except KeyError:
        pass
    try:
        allowed.add(os.stat(db if os.path.isdir(db) else os.path.dirname(db)).st_uid)
    except OSError:
        pass
    return allowed - {web}


def members(gid: int) -> set[int]:
    """The users in a group, also those whose own group it is."""
    found = {user.pw_uid for user in pwd.getpwall() if user.pw_gid == gid}
    try:
        listed = grp.getgrgid(gid).gr_mem
    except KeyError:
        listed = []
    for name in listed:
        try:
            found.add(pwd.getpwnam(name).pw_uid)
        except KeyError:
            pass
    return found


def names(uids: set[int]) -> str:
    """The first names of users, for a message."""
    first = sorted(map(user_name, uids))
    return ", ".join(first[:3]) + (f" and {len(first) - 3} more" if len(first) > 3 else "")


def user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _way_to(path: str) -> Iterator[tuple[str, os.stat_result]]:
    """Each directory on the way to a file, and the file, with its stat.

    A link itself cannot be written to: what matters is the directory it is in, and where it leads.
    """
    left = os.path.abspath(path).split("/")[1:]
    here = "/"
    links = 0
    try:
        yield here, os.stat(here)
        while left:
            name = left.pop(0)
            if name in ("", "."):
                continue
            if name == "..":
                here = os.path.dirname(here)
                continue
            place = os.path.join(here, name)
            of = os.lstat(place)
            if not stat.S_ISLNK(of.st_mode):
                here = place
                yield place, of
                continue
            links += 1
            if links > _MOST_LINKS:
                return
            target = os.readlink(place)
            left = [*target.split("/"), *left]
            if target.startswith("/"):
                here = "/"
    except OSError:
        return
