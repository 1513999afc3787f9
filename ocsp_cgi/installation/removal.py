"""--uninstall: removes what is recorded, and nothing that cannot have been created by `install`."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from .. import admission, cache, config, signer_memory
from ..checks import presigned, sync_job
from ..checks.owners import SYNC_USER
from ..tools import apache_dump, files, layout, memory
from ..tools.apache_config import NAMES, Configuration, Directive
from ..tools.entry import CommandError
from ..tools.layout import SNIPPET, Layout
from ..tools.plan import Plan, Problem, run
from ..tools.program import LAUNCHER, Program
from . import help_files, jobs, site, users
from .directories import FILES, directory_of

_MODULES = ("cgi", "cgid", "wsgi", "alias", "env")
_USED_BY = {  # directives of each module that stop working, silently or not, without it
    "alias": ("Alias", "AliasMatch", "ScriptAlias", "ScriptAliasMatch", "Redirect"),
    "env": ("SetEnv", "PassEnv", "UnsetEnv"),
    "wsgi": ("WSGIDaemonProcess", "WSGIScriptAlias", "WSGIScriptAliasMatch", "WSGIProcessGroup"),
}
_OF_A_MAP = (".map", ".lock", ".new")  # the ends of their names, see sidecar.py
_JOB_ENDS = ("", ".service", ".timer", ".path")
_DEBIANS = "serve-cgi-bin.conf"  # which leads to cgi-bin wherever a module runs scripts


class Removal:
    def __init__(self, plan: Plan, program_: Program, found: Layout, config_path: Path):
        self._plan = plan
        self._record = plan.record
        self._program = program_
        self._layout = found
        self._config = config_path
        # The config may be removed before these are needed.
        self._caches = [Path(one) for one in dict.fromkeys(self._cache_names())]
        self._databases = [Path(one) for one in dict.fromkeys(self._database_names())]
        self._keys = self._key_paths()

    def plan(self) -> None:
        """The steps, of which the last removes the program itself."""
        plan, record = self._plan, self._record
        for name in ("ocsp-cgi-sync", "ocsp-cgi-check"):
            jobs.Job(plan, name).plan_uninstall()
        jobs.presigning(plan, []).plan_uninstall()
        self._plan_apache()
        for is_wsgi in (False, True):
            self._program.plan_removal_of_link(is_wsgi)
        self._program.plan_removal_of_migrated()
        for name in list(record.files):
            self._plan_file(Path(name))
        if (
            any(Path(name).parent == sync_job.UNITS for name in record.files)
            and layout.systemd_runs()
        ):
            plan.command("systemctl", "daemon-reload")
        self._plan_modules()  # which Apache needs as long as the files are there
        for path in self._caches:
            plan.add(f"empty the cache {path}", partial(empty_cache, path))
            if memory.fstab_options(str(path)) is not None:
                plan.notes.append(
                    f"{memory.FSTAB}: remove the line for {path}, and then: umount {path}"
                )
        self._plan_modes()
        users.plan_removal(plan, SYNC_USER, [FILES, *self._databases, jobs.HOME])

    def plan_program(self) -> None:
        """What is needed to run this again after a failure, and so comes last, and a user whose
        processes end when Apache is reloaded."""
        plan, record = self._plan, self._record
        users.plan_removal(plan, users.RESPONDER_USER, [FILES, *self._keys, *self._caches])
        if record.is_ours(LAUNCHER):
            plan.add(f"remove {LAUNCHER}", partial(os.unlink, LAUNCHER), f"rm {LAUNCHER}")
        prefix = self._program.prefix
        by_hand = f"rm -r {prefix}/ocsp_cgi {prefix}/ocsp.cgi {record.path}"
        plan.add(f"remove the program from {prefix}", self._program.remove, by_hand)
        for directory in sorted(record.directories, key=len, reverse=True):
            if self._can_have_created(Path(directory)):
                plan.add(
                    f"remove the directory {directory} if it is empty by then",
                    partial(_remove_if_empty, directory),
                )

    def carry_out(self) -> list[Problem]:
        """Carry out every step, also after one has failed.  Returns what has failed."""
        failures = []
        for step in self._plan.steps:
            print(f"  {step.text}", flush=True)
            try:
                step.do()
            except BrokenPipeError:
                raise
            except (OSError, CommandError, shutil.Error) as error:
                reason = str(error)
                if isinstance(error, OSError) and error.strerror:
                    reason = f"{error.filename}: {error.strerror}"
                print(f"    {reason}")
                failures.append(Problem(f"{step.text}: {reason}", step.by_hand))
        self._plan.steps.clear()
        return failures

    def left(self) -> list[Problem]:
        """What stays, with the command that removes it."""
        found = []
        for path in (*self._named(), self._config, jobs.HOME):
            if path.is_file() or (path.is_dir() and _has_files(path)):
                recursive = "-r " if path.is_dir() else ""
                found.append(Problem(f"{path}", f"rm {recursive}{shlex.quote(str(path))}"))
        return list(dict.fromkeys(found))

    # Apache

    def _plan_apache(self) -> None:
        plan, record = self._plan, self._record
        if "ocsp-cgi" in record.other.get("sites", []) and site.ENABLED.exists():
            plan.command("a2dissite", "--quiet", "--purge", "ocsp-cgi", apache="reload")

    def _plan_modules(self) -> None:
        plan, record = self._plan, self._record
        configuration = self._configuration()
        directives = self._directives(configuration) if configuration else []
        for module in record.other.get("modules", []):
            if module not in _MODULES or not (site.MODULES / f"{module}.load").exists():
                continue
            user = self._user_of(module, directives)
            if user:
                plan.notes.append(
                    f"the module {module}: left enabled, because {user} uses it; if not:"
                    f" a2dismod {module}"
                )
            else:
                plan.add(
                    f"a2dismod --quiet --purge {module}",
                    partial(self._disable, module),
                    f"a2dismod {module}",
                )
        if configuration and SNIPPET.exists():
            for place in site.including(configuration):
                plan.notes.append(f"{place}: this line includes {SNIPPET}, and is to be removed")

    def _configuration(self) -> Configuration | None:
        try:
            return apache_dump.read(apache_dump.command(self._layout))
        except apache_dump.Unreadable:
            return None

    def _directives(self, configuration: Configuration) -> list[Directive]:
        """Everyone else's in Apache's configuration."""
        ours = {os.path.realpath(path) for path in (self._layout.site, SNIPPET)}
        return [
            one
            for one in configuration.directives
            if os.path.realpath(one.place.rpartition(":")[0]) not in ours
        ]

    def _user_of(self, module: str, directives: list[Directive]) -> str:
        """Who else uses a module: a place in Apache's configuration, or a script."""
        if module in ("cgi", "cgid"):
            others = [
                path
                for path in sorted(self._layout.cgi_bin.glob("*"))
                if path.name not in NAMES and not path.name.startswith(".")
            ]
            if others:
                return str(others[0])
        for one in directives:
            file = Path(one.place.rpartition(":")[0])
            if file.name in (_DEBIANS, f"{module}.conf"):
                continue
            if module in _USED_BY:
                if one.is_one_of(*_USED_BY[module]):
                    return one.place
            elif one.is_one_of("ScriptAlias", "ScriptAliasMatch", "ScriptSock") or (
                one.is_one_of("AddHandler", "SetHandler", "Options", "Action", "FcgidWrapper")
                and any(word.lower().lstrip("+") in ("cgi-script", "execcgi") for word in one.words)
            ):
                return one.place
        return ""

    def _disable(self, module: str) -> None:
        run("a2dismod", "--quiet", "--purge", module)
        self._plan.apache("restart")
        error = apache_dump.test(apache_dump.command(self._layout))
        if error:
            run("a2enmod", "--quiet", module)
            raise CommandError(f"Apache needs it: {error}")

    # Files

    def _plan_file(self, path: Path) -> None:
        plan = self._plan
        if path == LAUNCHER:
            return
        if not self._can_have_written(path):
            plan.notes.append(f"{path}: left alone, because `install` never writes such a file")
        elif self._record.is_ours(path):
            plan.add(f"remove {path}", partial(self._remove, path), f"rm {path}")
        elif os.path.lexists(path):
            plan.notes.append(f"{path}: left as it is, because it has been changed")

    def _remove(self, path: Path) -> None:
        path.unlink()
        if path in (self._layout.site, SNIPPET):
            self._plan.apache("reload")

    def _can_have_written(self, path: Path) -> bool:
        own = ("ocsp-cgi-sync", "ocsp-cgi-check", presigned.JOB)
        names = [f"{job}{end}" for job in own for end in _JOB_ENDS]
        return path in (
            self._layout.site,
            SNIPPET,
            Path(config.DEFAULT_PATH),
            self._config,
            memory.TMPFILES,
            *help_files.PATHS,
            *(parent / name for parent in (sync_job.UNITS, sync_job.CRON) for name in names),
        )

    def _can_have_created(self, directory: Path) -> bool:
        """Only empty directories are removed; yet none that a system has without us."""
        if directory.is_symlink() or os.path.realpath(directory) != str(directory):
            return False
        return directory.is_absolute() and len(directory.parts) > 2

    def _plan_modes(self) -> None:
        """Of files that are not ours: as they were, unless somebody has changed them since."""
        for name, (before, after) in self._record.modes.items():
            with contextlib.suppress(OSError, ValueError):
                of = os.lstat(name)
                if [of.st_mode & 0o7777, of.st_uid, of.st_gid] == after:
                    mode, uid, gid = before
                    owner = files.owner_name(uid, gid)
                    self._plan.add(
                        f"chown {owner}, chmod {mode:o}: {name}, as it was",
                        partial(files.give, Path(name), mode, uid, gid),
                        f"chown {owner} {shlex.quote(name)} && chmod {mode:o} {shlex.quote(name)}",
                    )

    def _cache_names(self) -> Iterator[str]:
        with contextlib.suppress(config.ConfigError):
            for ca in config.load(str(self._config)).cas:
                if ca.cache and os.path.isdir(ca.cache):
                    yield ca.cache

    def _database_names(self) -> Iterator[str]:
        with contextlib.suppress(config.ConfigError):
            for ca in config.load(str(self._config)).cas:
                if os.path.isdir(directory_of(ca.db)):  # perhaps it was copied earlier
                    yield directory_of(ca.db)

    def _key_paths(self) -> list[Path]:
        with contextlib.suppress(config.ConfigError):
            return users.key_paths(config.load(str(self._config)).cas)
        return []

    def _named(self) -> Iterator[Path]:
        """What is in our own directory, and what else the config names."""
        if FILES.is_dir():
            yield from sorted(FILES.iterdir())


def _has_files(directory: Path) -> bool:
    return any(not path.is_dir() for path in users.below(directory))


def empty_cache(directory: Path) -> None:
    """Remove what the responder puts into its cache, and nothing else."""
    for path in files.real_path(directory).iterdir():
        is_ours = (
            path.suffix in (cache.SUFFIX, *_OF_A_MAP)
            or path.name == admission.FILE
            or path.name.startswith(signer_memory.PREFIX)
        )
        if is_ours and not path.is_dir():
            path.unlink(missing_ok=True)
        elif path.name.startswith(cache.BUCKETS) and not path.is_symlink():
            shutil.rmtree(path)


def _remove_if_empty(directory: str) -> None:
    with contextlib.suppress(OSError):
        os.rmdir(directory)
