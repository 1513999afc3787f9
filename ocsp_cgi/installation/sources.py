"""--sync-from: where the index of each CA is copied from."""

from __future__ import annotations

import re
import shlex
import shutil
from functools import partial
from pathlib import Path

from ..config import CASettings, Settings, is_remote
from ..tools.entry import CommandError
from ..tools.plan import Plan
from . import jobs

EXAMPLE = "ca.example.com:/root/root-ca/db/index"


class Sources:
    """What is to become `sync_from` in the config, by CA."""

    def __init__(self, plan: Plan, settings: Settings):
        self._plan = plan
        self._settings = settings
        self._new: dict[str, str] = {}
        self._never_stale: list[str] = []

    def take(self, words: list[str], is_offline: bool, packages: str) -> None:
        """Take those that --sync-from gives; `settings` has them from now on.

        `packages` is the command that installs packages.  CommandError if one cannot be used.
        """
        cas, found = self._settings.cas, self._new
        if is_offline and not words:
            raise CommandError("--offline is about an index that --sync-from names: add that")
        for word in words:
            name, source = _source(word, cas)
            if name in found:
                raise CommandError(f"--sync-from {word}: a second one for [{name}]")
            found[name] = source
        self._set_limits(list(found), is_offline)
        former = jobs.former_source()
        if former and len(cas) == 1 and not cas[0].sync_from and not found:
            self._plan.notes.append("`sync_from` is taken from the job of an earlier version")
            found[cas[0].name] = former
        for ca in cas:
            if found.get(ca.name, ca.sync_from) == ca.sync_from:
                found.pop(ca.name, None)
            else:
                ca.sync_from = found[ca.name]
            if ca.is_copied_from_host and not shutil.which("rsync"):
                raise CommandError(
                    f"[{ca.name}] cannot be copied from {ca.sync_from}: the command rsync is"
                    f" missing: {packages} rsync"
                )
        if any(ca.sync_from for ca in cas):
            jobs.plan_user(self._plan)

    def _set_limits(self, names: list[str], is_offline: bool) -> None:
        """The index of an offline CA may be as old as it is; that of another gets a limit when it
        has been copied."""
        for ca in self._settings.cas:
            if ca.name not in names:
                continue
            if is_offline and ca.stale_after != 0:
                self._never_stale.append(ca.name)
                ca.stale_after = 0
            if not is_offline and ca.stale_after == 0:
                ca.stale_after = None

    def plan(self, config: Path) -> None:
        """Plan that the config has them."""
        for name, source in self._new.items():
            self._plan.add(
                f"set sync_from = {source} for [{name}] in {config}",
                partial(jobs.edit, self._plan, config, {(name, "sync_from"): source}),
            )
        for name in self._never_stale:
            self._plan.add(
                f"set stale_after = never for [{name}] in {config}",
                partial(jobs.edit, self._plan, config, {(name, "stale_after"): "never"}),
            )


def _source(word: str, cas: list[CASettings]) -> tuple[str, str]:
    """The CA and the source that a --sync-from names."""
    name, equals, source = word.partition("=")
    names = [ca.name for ca in cas]
    if not equals or name not in names:
        several = ", ".join(f"[{one}]" for one in names)
        if equals and not re.search("[/:]", name):
            raise CommandError(
                f"--sync-from {word}: no [{name}] in the config, which has {several}"
            )
        if len(names) != 1:
            raise CommandError(
                f"--sync-from {word}: say which CA that is of, {several}:"
                f" --sync-from {shlex.quote(names[0])}={EXAMPLE}"
            )
        name, source = names[0], word
    if "://" in source or re.match(r"[^/]*::", source):
        raise CommandError(
            f"--sync-from {word}: rsync's own protocol is not authenticated, so anybody on the way"
            f" could unrevoke: use ssh, as in {EXAMPLE}"
        )
    if (
        not source.isprintable()
        or source.startswith(("-", ":"))
        or source != source.strip()
        or source.endswith(("/", ":"))
        or not (is_remote(source) or source.startswith("/"))
    ):
        raise CommandError(
            f"--sync-from {word}: must name the index file on the CA's host, for example"
            f" {EXAMPLE}, or the path of a file here"
        )
    return name, source
