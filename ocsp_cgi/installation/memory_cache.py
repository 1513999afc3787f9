"""`install --cache-in-memory`: where systemd runs, below /run, and systemd makes the directory at
boot; elsewhere as the file system of a line in /etc/fstab, which the operator writes.

Which it is, the config says: if `cache` is below /run, the file for systemd is written, and if not
any more, it is removed.
"""

from __future__ import annotations

import contextlib
import os
import shlex
from functools import partial
from pathlib import Path

from .. import limits
from ..config import Settings
from ..tools import config_file, layout, memory
from ..tools.plan import Plan
from . import jobs, labels, removal


class MemoryCache:
    """Plans it; `config` need not exist yet."""

    def __init__(self, plan: Plan, settings: Settings, config: Path):
        self._plan = plan
        self._cas = settings.cas
        self._config = config
        self._changes: dict[tuple[str, str], str | None] = {}
        self._former: list[str] = []
        self._wanted = False

    def choose(self) -> None:
        """Change `cache` in the settings, to plan with, and later in the config."""
        self._wanted = True
        for ca in self._cas:
            size = ""
            if self._config.exists():
                size = config_file.value(str(self._config), ca.name, "cache_size")
            if not self._is_for_systemd:
                if ca.cache is None:
                    self._set(ca.name, "cache", str(layout.CACHE))
                    ca.cache = str(layout.CACHE)
                continue
            if ca.cache and memory.is_lost_at_boot(ca.cache):
                continue
            if ca.cache:
                self._former.append(ca.cache)
            self._set(ca.name, "cache", str(memory.CACHE))
            ca.cache = str(memory.CACHE)
            if not size:
                self._set(ca.name, "cache_size", str(memory.MEBIBYTES))
                ca.cache_size = memory.MEBIBYTES

    def plan(self, user: str) -> None:
        """Plan it for a responder that runs as this user, after the directory was planned."""
        plan = self._plan
        if self._changes:
            names = ", ".join(
                f"[{name}]" for name in dict.fromkeys(one for one, _ in self._changes)
            )
            caches = dict.fromkeys(str(ca.cache) for ca in self._cas)
            text = f"set cache = {' and '.join(caches)} for {names} in {self._config}"
            plan.add(text, partial(jobs.edit, plan, self._config, self._changes))
        for directory in dict.fromkeys(self._former):
            if os.path.isdir(directory):
                plan.add(f"empty the cache {directory}", partial(_leave, plan, directory))
        self._plan_entry(user)
        self._plan_file_system(user)

    @property
    def _is_for_systemd(self) -> bool:
        """SELinux's label of the directory would be lost at boot."""
        return layout.systemd_runs() and not labels.are_used()

    def _set(self, section: str, setting: str, value: str) -> None:
        self._changes[section, setting] = value

    def _plan_entry(self, user: str) -> None:
        plan, record = self._plan, self._plan.record
        caches = [ca.cache for ca in self._cas if ca.cache and memory.is_lost_at_boot(ca.cache)]
        if caches and layout.systemd_runs():
            plan.file(memory.TMPFILES, memory.entry(caches, user))
        elif not caches and record.is_ours(memory.TMPFILES):

            def remove() -> None:
                memory.TMPFILES.unlink()
                record.files.pop(str(memory.TMPFILES), None)

            plan.add(f"remove {memory.TMPFILES}", remove, f"rm {memory.TMPFILES}")

    def _plan_file_system(self, user: str) -> None:
        for ca in {ca.cache: ca for ca in self._cas if ca.cache}.values():
            directory = str(ca.cache)
            options = memory.fstab_options(directory)
            if options is None and self._wanted and not memory.is_lost_at_boot(directory):
                mebibytes = ca.cache_size + limits.CACHE_MEBIBYTES // 8
                line = memory.fstab_line(directory, mebibytes, user)
                self._plan.problem(
                    f"{directory}: not in memory yet.  Add a line to {memory.FSTAB}, and mount it:",
                    f"printf '%s\\n' {shlex.quote(line)} >>{memory.FSTAB}\n"
                    f"mount {shlex.quote(directory)}",
                )
            elif options is not None and f"uid={user}" not in options:
                self._plan.problem(
                    f"{memory.FSTAB}: the file system in {directory} would be another user's after"
                    f" the next boot: put uid={user},gid={user} into its options"
                )


def _leave(plan: Plan, directory: str) -> None:
    """Empty a former `cache`, and remove it if we have created it."""
    removal.empty_cache(Path(directory))
    if directory in plan.record.directories:
        with contextlib.suppress(OSError):
            os.rmdir(directory)
            plan.record.directories.remove(directory)
