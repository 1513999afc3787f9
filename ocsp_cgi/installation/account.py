"""A user, who may not exist yet, and what modes let that user do."""

from __future__ import annotations

import grp
import os
import pwd
from typing import NamedTuple


class Account(NamedTuple):
    """A user; the ids are -1 if no user has this name yet."""

    name: str
    uid: int
    gids: frozenset[int]

    @classmethod
    def named(cls, name: str, group: str = "") -> Account:
        """`group` is one that the user will be in."""
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            gids = (grp.getgrnam(group).gr_gid,) if group else ()
            return cls(name, -1, frozenset(gids))
        return cls(name, user.pw_uid, frozenset(os.getgrouplist(name, user.pw_gid)))

    def may(self, of: os.stat_result, wanted: int) -> bool:
        """Whether the mode lets this user read (os.R_OK) or enter (os.X_OK)."""
        shift = 6 if of.st_uid == self.uid else 3 if of.st_gid in self.gids else 0
        return of.st_mode >> shift & wanted == wanted
