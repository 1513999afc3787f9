"""The directories that `sync` makes beside an index, when another user becomes the one who copies.

Root has typed `sync` before, or what the user copied became root's by `install --uninstall`.  As in
cache_directory.py, no path in a directory of that user is used, and no link is followed.
"""

from __future__ import annotations

import os
import shlex
import stat
from functools import partial

from ..tools.files import group_id, user_id
from ..tools.plan import Plan
from .cache_directory import directories_in, opened

_NAMES = (".sync", "responses")  # how they end


def plan(its_plan: Plan, path: str, owner: str, group: str) -> None:
    """Plan that this user, who need not exist yet, gets such a directory with all that is in it."""
    if path.endswith(_NAMES):
        its_plan.add(
            f"give everything in {path} to {owner}",
            partial(_hand_over, path, owner, group),
            f"chown -R {owner}:{group} {shlex.quote(path)}",
        )


def _hand_over(path: str, owner: str, group: str) -> None:
    """Files with a second name stay as they are: they may be others' elsewhere."""
    uid, gid = user_id(owner), group_id(group)
    with opened(os.path.dirname(path)) as top, opened(os.path.basename(path), top) as its:
        for names, descriptor in directories_in(its):
            for name in names:
                of = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                if stat.S_ISREG(of.st_mode) and of.st_nlink == 1:
                    os.chown(name, uid, gid, dir_fd=descriptor, follow_symlinks=False)
            # New files in it get its group, as in `db`.
            os.fchmod(descriptor, stat.S_IMODE(os.fstat(descriptor).st_mode) | stat.S_ISGID)
            os.fchown(descriptor, uid, gid)  # last: its owner can put other files there
