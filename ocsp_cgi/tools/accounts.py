"""The user that the responder runs as: what that user can read and run."""

from __future__ import annotations

import argparse
import os
import pwd
import subprocess
from pathlib import Path
from typing import Any

from . import layout
from .entry import CommandError


def add_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--user",
        metavar="USER",
        help="the user that the responder runs as (default: the distribution's or that of the"
        " installation, if root runs this)",
    )


def account(user: str | None) -> dict[str, Any]:
    """Arguments for subprocess with which a child runs as the responder's user; none if this
    process is not root's and cannot choose.  CommandError if there is no such user."""
    if os.geteuid() != 0:
        if user and pwd.getpwuid(os.geteuid()).pw_name != user:
            raise CommandError(f"--user {user}: only root can run programs as another user")
        return {}
    if user is None:
        try:
            user = layout.find().user
        except CommandError:
            user = next((one for one in ("www-data", "apache") if _exists(one)), "")
            if not user:
                raise CommandError(
                    "which user does Apache run as?  Name it with --user, for example"
                    " --user www-data"
                ) from None
    if not _exists(user):
        raise CommandError(f"--user {user}: there is no such user")
    found = pwd.getpwnam(user)
    groups = os.getgrouplist(user, found.pw_gid)
    return {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": groups}


def responders(user: str | None) -> dict[str, Any]:
    """As `account`, of the user that the installed responder runs as."""
    if user is None and os.geteuid() == 0:
        try:
            user = layout.find().responder_user()
        except CommandError:
            pass
    return account(user)


def name(account: dict[str, Any]) -> str:
    uid = account.get("user", os.geteuid())
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def can(account: dict[str, Any], what: str, path: str) -> bool:
    """Whether the user can do that with a file, `what` being an option of test(1)."""
    return subprocess.run(["test", what, path], cwd="/", **account).returncode == 0


def may(user: str, what: str, path: str) -> bool | None:
    """As `can`, of a user by name; None if that cannot be told."""
    try:
        return can(account(user), what, path)
    except (CommandError, KeyError, OSError):
        return None


def check_program(path: Path, account: dict[str, Any]) -> None:
    """CommandError unless the user can run this program."""
    if not path.is_file():
        raise CommandError(f"{path}: {'not a file' if path.exists() else 'no such file'}")
    if not can(account, "-x", str(path.resolve())):
        raise CommandError(
            f"{path}: {name(account)} cannot run it: chmod 755 {path}, and look at the directories"
            f" above it with `namei -l {path}`"
        )


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True
