"""Owners, groups and modes of what the config names: the responder's user can read it, the job
that copies an index can replace it, and nobody else can read a key.

A CGI runs as the web server's user.  mod_wsgi's processes belong to a user of their own, who is in
the web server's group, and so reads everything as a CGI would.  Only the key is in the group of
that user alone.

What lies in our own directory is given the modes that apache/README.md describes; elsewhere, only
what keeps one of the two users out is changed, and never a directory of another user or of the
system.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import stat
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from .. import index_file
from ..checks.owners import SYNC_USER, above
from ..config import CASettings, Settings
from ..tools import as_user, config_file
from ..tools.entry import CommandError
from ..tools.files import group_id, owner_name, real_path, user_id
from ..tools.plan import Plan
from . import cache_directory, copy_directory
from .account import Account
from .directories import FILES, SYSTEM, check_directories, directory_of, is_within
from .users import RESPONDER_USER

_READ, _ENTER = os.R_OK, os.X_OK


class Permissions:
    """Plans them for all CAs; `web` is the web server's user and group, `is_wsgi` says that
    mod_wsgi runs the responder."""

    def __init__(
        self, plan: Plan, settings: Settings, config: Path, web: str, is_wsgi: bool = False
    ):
        self._plan = plan
        self._cas = settings.cas
        self._config = config
        self._web = Account.named(web)
        self._other = Account.named(RESPONDER_USER, web)
        self._user = self._other if is_wsgi else self._web
        self._sync = Account.named(SYNC_USER)
        self._group = web
        self._key_group = RESPONDER_USER if is_wsgi else web
        self._has_sync = any(ca.sync_from for ca in self._cas)
        self._allowed: dict[tuple[str, int], set[str]] = {}

    def plan(self) -> None:
        self.plan_reading()
        self.plan_keys()
        self.plan_caches()

    def plan_reading(self) -> None:
        """What the responder has to read and may share."""
        for ca in self._cas:
            check_directories(ca, self._cas, self._config)
        self._ask()
        readers = [self._user, self._sync] if self._has_sync else [self._user]
        public = [str(self._config)] if self._config.exists() else []
        public += [path for ca in self._cas for path in _certificates(ca)]
        secret = [path for ca in self._cas for path in _secrets(ca)]
        databases = _databases(self._cas)
        copied = {path for path, cas in databases.items() if any(ca.sync_from for ca in cas)}
        needed: dict[str, list[Account]] = {}
        for path, accounts in (
            *((path, readers) for path in public),
            *((path, [self._user]) for path in secret),
            *((f"{path}/index", readers if path in copied else [self._user]) for path in databases),
        ):
            for directory in _directories_above(path):
                known = needed.setdefault(directory, [])
                known += [account for account in accounts if account not in known]
        for directory, accounts in needed.items():
            if directory not in copied and directory not in map(os.path.realpath, copied):
                self._enter(directory, accounts)
        for path in dict.fromkeys(public):
            self._public(path, readers)
        for path, cas in databases.items():
            if path in copied:
                self._copied(Path(path))
            else:
                self._database(Path(path), cas)

    def plan_keys(self) -> None:
        """What nobody but the responder may read."""
        paths = [path for ca in self._cas for path in _secrets(ca)]
        for ca in self._cas:
            paths += [path for _, path in config_file.former_keys(str(self._config), ca.name)]
        for path in dict.fromkeys(paths):
            self._secret(path)

    def plan_shared_keys(self) -> None:
        """Before the change to mod_wsgi: its user can read the keys, and a CGI still can.

        CommandError for a key whose group may be needed for others who read it.
        """
        for path in dict.fromkeys(path for ca in self._cas for path in _secrets(ca)):
            real = os.path.realpath(path)
            if not os.path.exists(real) or not self._may(self._web, real, _READ):
                continue
            of = os.stat(real)
            mode = stat.S_IMODE(of.st_mode)
            if self._may(self._other, real, _READ):
                continue
            if of.st_gid not in (0, *self._other.gids) and not is_within(real, FILES):
                quoted = shlex.quote(real)
                raise CommandError(
                    f"{real} ({owner_name(of.st_uid, of.st_gid)}, mode {mode:o}):"
                    f" {self._other.name} could not read it, and others may need its group.  If"
                    " nobody else does, change that, and run this again:\n"
                    f"    chgrp {self._group} {quoted} && chmod 640 {quoted}"
                )
            self._own(path, mode & ~0o027 | 0o440, group=self._group)

    def plan_caches(self) -> None:
        for cache in dict.fromkeys(ca.cache for ca in self._cas if ca.cache):
            self._cache(Path(cache))

    # What the users may do now

    def _ask(self) -> None:
        """Find out what the users may really do, with access control lists and all groups."""
        wanted = [
            (path, mode)
            for name in self._paths()
            for path, mode in (*((one, _ENTER) for one in above(name)), (name, _READ))
        ]
        wanted = list(dict.fromkeys(wanted))
        for account in (self._web, self._other, self._sync):
            if account.uid < 0:
                continue
            try:
                found = as_user.call(account.name, _accessible, wanted)
            except as_user.ChildFailed as error:
                raise CommandError(f"what {account.name} may read: {error}") from None
            for one, is_allowed in zip(wanted, found):
                if is_allowed:
                    self._allowed.setdefault(one, set()).add(account.name)

    def _paths(self) -> Iterable[str]:
        names = [str(self._config)]
        for ca in self._cas:
            names += [*_certificates(ca), *_secrets(ca), _index(ca)]
        for name in names:
            yield os.path.abspath(name)
            yield os.path.realpath(name)

    def _may(self, account: Account, path: str, wanted: int) -> bool:
        if account.name in self._allowed.get((path, wanted), ()):
            return True
        return account.may(os.stat(path), wanted)

    # What is planned

    def _enter(self, directory: str, accounts: list[Account]) -> None:
        if directory == str(FILES) and not os.path.lexists(FILES):
            mode = 0o751 if self._has_sync else 0o750
            self._plan.directory(FILES, mode, "root", self._group)
        if os.path.isdir(directory):
            kept_out = [one for one in accounts if not self._may(one, directory, _ENTER)]
            if kept_out:
                self._open(directory, kept_out)

    def _open(self, directory: str, kept_out: list[Account]) -> None:
        of = os.stat(directory)
        mode = stat.S_IMODE(of.st_mode)
        names = " and ".join(one.name for one in kept_out)
        if directory in SYSTEM or of.st_uid != 0:
            owner = owner_name(of.st_uid, of.st_gid)
            acl = ",".join(f"u:{one.name}:x" for one in kept_out)
            self._plan.problem(
                f"{directory} ({owner}, mode {mode:o}): {names} cannot enter it, and it is not the"
                f" responder's to open.  Move what the config names there to {FILES}, or let"
                f" {'them' if len(kept_out) > 1 else names} in (setfacl is in the package acl)",
                f"setfacl -m {acl} {shlex.quote(directory)}",
            )
            return
        is_ours = is_within(directory, FILES)
        if of.st_gid == 0 and (is_ours or kept_out == [self._user]):
            # The group becomes the web server's, which must not gain the right to write.
            mode = mode & ~0o020 | (0o050 if is_ours else 0o010)
            if self._sync in kept_out:
                mode |= 0o001
            self._own(directory, mode, group=self._group)
        elif is_ours and self._sync not in kept_out:
            self._own(directory, mode & ~0o020 | 0o050, group=self._group)
        else:
            self._own(directory, mode | 0o001)

    def _public(self, path: str, readers: list[Account]) -> None:
        """A certificate, or the config."""
        if not os.path.exists(path):
            return
        real = os.path.realpath(path)
        if not all(self._may(one, real, _READ) for one in readers):
            self._own(path, stat.S_IMODE(os.stat(real).st_mode) | 0o444)

    def _secret(self, path: str) -> None:
        if not os.path.exists(path):
            return
        real = os.path.realpath(path)
        of = os.stat(real)
        mode = stat.S_IMODE(of.st_mode)
        is_readable = self._may(self._user, real, _READ)
        is_apart = self._user != self._web
        # Read by the group that mod_wsgi's user shares with the web server, it is not out of reach.
        is_exposed = is_apart and self._may(self._web, real, _READ)
        closed = mode & ~0o027
        if is_readable and closed == mode and not is_exposed:
            return
        by_group = is_readable and of.st_gid in self._user.gids and mode & 0o040
        if (by_group or (of.st_uid == self._user.uid and mode & 0o400)) and not is_exposed:
            self._own(path, closed)
        elif of.st_gid in (0, *self._user.gids, *self._other.gids) or is_within(real, FILES):
            is_webs = is_apart and of.st_uid == self._web.uid
            self._own(path, closed | 0o440, "root" if is_webs else None, self._key_group)
        else:
            self._other_group(real, of)

    def _other_group(self, real: str, of: os.stat_result) -> None:
        """Its group may be needed for others who read it."""
        group = shlex.quote(self._key_group)
        self._plan.problem(
            f"{real} ({owner_name(of.st_uid, of.st_gid)}, mode {stat.S_IMODE(of.st_mode):o}):"
            f" {self._user.name} cannot read it, or too many others can",
            f"chgrp {group} {shlex.quote(real)} && chmod 640 {shlex.quote(real)}",
        )

    def _database(self, directory: Path, cas: list[CASettings]) -> None:
        """A `db` that `openssl ca` writes, or that somebody copies by hand."""
        if not directory.exists():
            if is_within(str(directory), FILES):
                self._plan.directory(directory, 0o750, "root", self._group)
            return
        for ca in cas:
            real = os.path.realpath(_index(ca))
            if not os.path.isfile(real) or self._may(self._user, real, _READ):
                continue
            of = os.stat(real)
            if of.st_gid in (0, *self._web.gids) or is_within(real, FILES):
                mode = stat.S_IMODE(of.st_mode) & ~0o022 | 0o440
                self._own(_index(ca), mode, group=self._group)
            else:
                self._other_group(real, of)

    def _copied(self, directory: Path) -> None:
        """A `db` that `ocsp-cgi sync` writes: its user owns the directory, and what is in it."""
        if not directory.exists():
            self._plan.directory(directory, 0o2750, SYNC_USER, self._group)
            return
        real = os.path.realpath(directory)
        of = os.stat(real)
        if of.st_uid not in (0, self._sync.uid, self._web.uid):
            self._plan.problem(
                f"{directory}: belongs to {owner_name(of.st_uid, of.st_gid)}, and the job that"
                f" copies the index runs as {SYNC_USER}",
                f"chown -R {SYNC_USER}:{self._group} {shlex.quote(str(directory))}",
            )
            return
        if not self._own(str(directory), 0o2750, SYNC_USER, self._group):
            return
        for entry in sorted(os.scandir(real), key=lambda one: one.name):
            its = entry.stat(follow_symlinks=False)
            mode = stat.S_IMODE(its.st_mode)
            is_right = its.st_uid == self._sync.uid and self._user.may(its, _READ)
            if stat.S_ISREG(its.st_mode) and its.st_nlink == 1 and not is_right:
                self._own(entry.path, mode & ~0o037 | 0o640, SYNC_USER, self._group)
            elif stat.S_ISDIR(its.st_mode) and its.st_uid != self._sync.uid:
                copy_directory.plan(self._plan, entry.path, SYNC_USER, self._group)

    def _cache(self, cache: Path) -> None:
        owner, group = self._user.name, self._key_group
        if not cache.exists():
            self._plan.directory(cache, 0o750, owner, group)
            return
        real = os.path.realpath(cache)
        of = os.stat(real)
        if of.st_uid == self._user.uid and of.st_mode & 0o700 == 0o700 and not of.st_mode & 0o022:
            return
        if of.st_uid not in (0, self._web.uid, self._other.uid):
            self._plan.problem(
                f"{cache}: belongs to {owner_name(of.st_uid, of.st_gid)}, and only {owner} may be"
                " able to write there",
                f"chown -R {owner}:{group} {shlex.quote(str(cache))}",
            )
            return
        mode = stat.S_IMODE(of.st_mode) & ~0o022 | 0o750
        if self._own(str(cache), mode, owner, group) and os.listdir(real):
            self._plan.add(
                f"give everything in {cache} to {owner}, or remove it",
                partial(_give, str(cache), owner, group),
                f"chown -R {owner}:{group} {shlex.quote(str(cache))}",
            )

    def _own(
        self, path: str, mode: int, owner: str | None = None, group: str | None = None
    ) -> bool:
        """Returns whether that is possible."""
        try:
            real = real_path(Path(path))
        except CommandError as error:
            self._plan.problem(str(error))
            return False
        of = os.lstat(real)
        its_owner, its_group = owner_name(of.st_uid, of.st_gid).split(":")
        is_recorded = not is_within(str(real), FILES)
        self._plan.own(real, mode, owner or its_owner, group or its_group, is_recorded)
        return True


def _databases(cas: list[CASettings]) -> dict[str, list[CASettings]]:
    found: dict[str, list[CASettings]] = {}
    for ca in cas:
        found.setdefault(directory_of(ca.db), []).append(ca)
    return found


def _directories_above(path: str) -> list[str]:
    """Those above a file as it is named, and past all links, unless others may have put one there,
    who could choose what is opened."""
    names = [os.path.abspath(path)]
    with contextlib.suppress(CommandError):
        names.append(str(real_path(Path(path))))
    return list(dict.fromkeys(one for name in names for one in above(name)))


def _index(ca: CASettings) -> str:
    try:
        return index_file.path_of(ca.db)
    except (OSError, index_file.DatabaseUnavailable):
        return ca.db


def _certificates(ca: CASettings) -> list[str]:
    return [path for path in (ca.ca, ca.rsigner, ca.rsigner2) if path]


def _secrets(ca: CASettings) -> list[str]:
    return [path for _, path in ca.private_files]


def _give(cache: str, owner: str, group: str) -> None:
    """The users exist by now."""
    cache_directory.give(cache, user_id(owner), group_id(group))


def _accessible(wanted: list[tuple[str, int]]) -> list[bool]:
    return [os.access(path, mode) for path, mode in wanted]
