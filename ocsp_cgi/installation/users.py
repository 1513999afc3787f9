"""Users of the system that `install` creates, and removes: `ocsp-sync` for the job that copies,
`ocsp-cgi` for mod_wsgi's processes."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import shutil
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ..config import CASettings
from ..tools.entry import CommandError
from ..tools.plan import Plan, run, search_path

RESPONDER_USER = "ocsp-cgi"  # as whom mod_wsgi runs the responder
_SECONDS = 30  # in which the processes of a user end, after Apache was reloaded


def plan(plan: Plan, name: str, home: str, group: str = "") -> None:
    """Plan a user with a group of its own, which is also in the group `group`."""
    try:
        gid = pwd.getpwnam(name).pw_gid
    except KeyError:
        _plan_creation(plan, name, home, group)
        return
    if group and grp.getgrnam(group).gr_gid not in os.getgrouplist(name, gid):
        plan.command("usermod", "--append", "--groups", group, name)


def _plan_creation(plan: Plan, name: str, home: str, group: str) -> None:
    shell = shutil.which("nologin", path=search_path()) or "/bin/false"
    options = ["--system", "--user-group", "--no-create-home", "--home-dir", home]
    options += ["--shell", shell] + (["--groups", group] if group else [])

    create = partial(run, "useradd", *options, name)
    which = f", home {home}" if not group else f", in the group {group}"
    text = f"create the user {name}{which}"
    plan.add(text, partial(plan.remembered, "users", name, create))


def plan_removal(plan: Plan, name: str, tops: list[Path]) -> None:
    """Plan that a user we have created is removed, and that root gets what belongs to it and its
    group, since the next user may get its id.

    `tops` are the files and directories where that can be.
    """
    if name in plan.record.other.get("users", []):
        text = f"give root what belongs to {name}, and remove that user"
        plan.add(text, partial(remove, plan, name, tops))


def remove(plan: Plan, name: str, tops: list[Path]) -> None:
    """Carry that out, once the processes of the user have ended."""
    try:
        uid = pwd.getpwnam(name).pw_uid
    except KeyError:
        uid = -1
    if uid >= 0:
        gid = grp.getgrnam(name).gr_gid
        for top in tops:
            for path in (top, *below(top)):
                _give_root(path, uid, gid)
        deadline = time.monotonic() + _SECONDS
        while _has_processes(uid):
            if time.monotonic() > deadline:
                raise CommandError(f"the user {name} still has processes: ps -u {name}")
            time.sleep(0.1)
        run("userdel", name)
    plan.record.other["users"].remove(name)


def key_paths(cas: list[CASettings]) -> list[Path]:
    """What may belong to mod_wsgi's user: the keys."""
    named = [path for ca in cas for _, path in ca.private_files]
    return [Path(os.path.realpath(path)) for path in dict.fromkeys(named)]


def below(directory: Path) -> Iterator[Path]:
    """Everything in a directory that is there, links not followed."""
    for path, names, its_files in os.walk(directory):
        yield from (Path(path, name) for name in (*names, *its_files))


def _give_root(path: Path, uid: int, gid: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        of = path.lstat()
        if of.st_uid == uid or of.st_gid == gid:
            owner, group = 0 if of.st_uid == uid else -1, 0 if of.st_gid == gid else -1
            os.chown(path, owner, group, follow_symlinks=False)


def _has_processes(uid: int) -> bool:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.stat().st_uid == uid:
                return True
        except OSError:
            continue  # it has ended
    return False
