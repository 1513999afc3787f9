"""Users of the system that `install` creates: `ocsp-sync` for the job that copies, `ocsp-cgi` for
mod_wsgi's processes."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import time
from pathlib import Path

from ..checks.owners import SYNC_USER
from ..tools.entry import CommandError
from ..tools.plan import Plan, run, search_path

RESPONDER_USER = "ocsp-cgi"  # as whom mod_wsgi runs the responder
CREATED = (SYNC_USER, RESPONDER_USER)
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

    def create() -> None:
        run("useradd", *options, name)
        created = plan.record.other.setdefault("users", [])
        if name not in created:
            created.append(name)

    which = f", home {home}" if not group else f", in the group {group}"
    plan.add(f"create the user {name}{which}", create)


def existing() -> set[str]:
    """Those of CREATED that are there."""
    return {user.pw_name for user in pwd.getpwall() if user.pw_name in CREATED}


def remove(name: str) -> None:
    """Remove a user and its group, once its processes have ended."""
    uid = pwd.getpwnam(name).pw_uid
    deadline = time.monotonic() + _SECONDS
    while _has_processes(uid):
        if time.monotonic() > deadline:
            raise CommandError(f"the user {name} still has processes: pkill -u {name}")
        time.sleep(0.1)
    run("userdel", name)


def _has_processes(uid: int) -> bool:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.stat().st_uid == uid:
                return True
        except OSError:
            continue  # it has ended
    return False
