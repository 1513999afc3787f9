"""Install the responder into Apache, as root, on Debian, Ubuntu, RHEL or Fedora, or uninstall it.

The installer first finds out what is missing, from the config if there is one: `--dry-run` prints
that, and a second run has nothing to do.  What it creates is recorded in installed.json in the
directory --prefix; `--uninstall` removes what is recorded there.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

from .. import config
from ..config import Settings
from ..installation import (
    foreign_script,
    former,
    help_files,
    jobs,
    labels,
    lock,
    memory_cache,
    missing,
    own_config,
    server_name,
    site,
    sources,
    users,
)
from ..installation.changeover import Change
from ..installation.directories import FILES, check_directories
from ..installation.permissions import Permissions
from ..installation.removal import Removal
from ..installation.site import Site, SitePlan
from ..tools import apache_dump, apache_wsgi, config_file, data_files, entry, layout
from ..tools.entry import CommandError
from ..tools.layout import PREFIX
from ..tools.plan import Plan, Problem
from ..tools.program import LAUNCHER, Program, launched_prefix
from ..tools.record import Record, check_trusted

_IN_PLACE = "everything is in place"
_RELOAD_SECONDS = 10  # in which Apache may still answer with its old configuration
EXAMPLES = (
    "install --server-name ocsp.example.com --dry-run",
    "install --server-name ocsp.example.com",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--server-name",
        metavar="NAME",
        help="the host name in ocsp_url (default: as installed before, or in a certificate that the"
        " config names)",
    )
    parser.add_argument(
        "--path",
        metavar="PATH",
        help=f"the path in ocsp_url, such as /ocsp (default: {site.PATH})",
    )
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument(
        "--wsgi",
        action="store_true",
        help="let mod_wsgi run the responder, in processes that stay, as a user of its own; an"
        " installed CGI is changed over without interruption",
    )
    kind.add_argument(
        "--cgi", action="store_true", help="change from mod_wsgi back to the CGI, the default"
    )
    parser.add_argument(
        "--include",
        action="store_true",
        help="for a name that a virtual host has already: write a file to include into that",
    )
    config_file.add_argument(parser)
    parser.add_argument(
        "--prefix",
        metavar="DIR",
        help=f"where the program goes (default: where it is, or {PREFIX})",
    )
    parser.add_argument(
        "--sync-from",
        metavar="[CA=]HOST:PATH",
        action="append",
        default=[],
        help=f"copy the index from there every minute, for example from {sources.EXAMPLE}; once for"
        " each CA",
    )
    parser.add_argument(
        "--offline",
        action="store_true",
        help="with --sync-from: of a CA that issues so rarely that its index may be old",
    )
    parser.add_argument(
        "--cache-in-memory",
        action="store_true",
        help="let `cache` be in memory, which saves a new response about 0.8 ms of writing to disk",
    )
    parser.add_argument(
        "--check", action="store_true", help="check the responder daily, by systemd or cron"
    )
    parser.add_argument(
        "--upgrade", action="store_true", help="install the newest cryptography again"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print what would be done, and change nothing"
    )
    parser.add_argument(
        "--uninstall",
        action="store_true",
        help="remove what was installed; keys, certificates and db stay",
    )
    parser.add_argument(
        "--no-reload", action="store_true", help="neither reload Apache nor check the responder"
    )


def run(arguments: argparse.Namespace) -> int:
    """Returns 0 if everything is in place, and `check` agrees."""
    if os.geteuid() != 0:
        program = entry.program()
        if program == "ocsp-cgi":  # which may not be on root's PATH
            program = shlex.quote(os.path.abspath(sys.argv[0]))
        raise CommandError(f"install must run as root: sudo {program} install")
    os.umask(0o022)
    with lock.alone():
        installation = _Installation(arguments)
        return installation.uninstall() if arguments.uninstall else installation.install()


class _Installation:
    def __init__(self, arguments: argparse.Namespace):
        self.arguments = arguments
        self.layout = layout.find()
        prefix = Path(os.path.abspath(arguments.prefix or _prefix()))
        path = prefix / data_files.RECORD
        check_trusted(path)
        self.record = Record(path)
        self.plan = Plan(self.record)
        self.program = Program(prefix, self.layout, self.plan)
        self.config = self._config_path()
        self.script = self.program.link(False)
        self.change: Change | None = None

    def _config_path(self) -> Path:
        recorded = self.record.other.get("config")
        if not self.arguments.config and recorded:
            return Path(recorded)
        return Path(os.path.abspath(config_file.path(self.arguments)))

    # Installing

    def install(self) -> int:
        other = launched_prefix()
        if other and other != str(self.program.prefix) and not self.record.exists:
            raise CommandError(
                f"{LAUNCHER}: the program is installed in {other}; to move it, uninstall it there"
                f" first: {entry.program()} install --uninstall --prefix {other}"
            )
        data_files.require()
        named = "" if self.config == Path(config.DEFAULT_PATH) else str(self.config)
        self.program.plan(self.arguments.upgrade, named)
        help_files.plan(self.plan, self.arguments.parser, self.config)
        self.record.other["config"] = str(self.config)
        foreign = foreign_script.find(self.script, self.program.script, self.record)
        if foreign:
            # Its config and its virtual host are for `migrate`, which needs the program.
            self.plan.problem(*foreign)
            return self._finish(self._carry_out())
        settings = own_config.settings(self.config)
        its_cache = memory_cache.MemoryCache(self.plan, settings, self.config)
        if self.arguments.cache_in_memory:
            its_cache.choose()
        its_site = self._plan_site(settings)
        is_wsgi = its_site is not None and its_site.is_wsgi
        its_sources = sources.Sources(self.plan, settings)
        its_sources.take(self.arguments.sync_from, self.arguments.offline, self.layout.packages)
        own_config.plan(self.plan, self.config)
        self._plan_kind(settings, is_wsgi)
        its_cache.plan(self._user(is_wsgi))
        its_sources.plan(self.config)
        self._plan_jobs(settings)
        labels.plan(self.plan, settings, self.program)
        if not self._carry_out():
            return self._finish(False)
        reloaded = self._reload()
        if its_site is not None and its_site.is_included:
            self._check_included(its_site)
        self.plan.problems += missing.find(settings.cas, self._user(is_wsgi))
        return self._finish(True, reloaded)

    def _user(self, is_wsgi: bool) -> str:
        return users.RESPONDER_USER if is_wsgi else self.layout.user

    def _plan_site(self, settings: Settings) -> Site | None:
        """Returns the site, None if the operator has made it."""
        arguments, before = self.arguments, site.current(self.layout)
        is_wsgi = True if arguments.wsgi else False if arguments.cgi else None
        before, is_wsgi = former.resume(self.plan, before, is_wsgi)
        migrated = before is None and os.path.lexists(self.script)
        if migrated and is_wsgi:
            raise CommandError(
                f"--wsgi: {self.script} is in a virtual host of yours.  Let `install` write the"
                " responder's part of that first, then run this again:\n"
                f"    {entry.program()} install --server-name NAME --include"
            )
        if migrated and not arguments.server_name and not arguments.include:
            text = f"{self.script} is in a virtual host of yours already, so none is made for it"
            self.plan.notes.append(text)
            return None
        its_site = server_name.find(
            arguments.server_name, arguments.path, arguments.include, before, settings, is_wsgi
        )
        if its_site.is_wsgi and apache_wsgi.module() is None:
            raise CommandError(site.missing_module(self.layout))
        try:
            configuration = apache_dump.read(apache_dump.command(self.layout))
        except apache_dump.Unreadable as error:
            raise CommandError(
                f"Apache refuses its configuration, so its virtual hosts cannot be read: {error}"
            ) from None
        its_plan = SitePlan(self.plan, self.layout, configuration, self.program)
        self.program.is_resident = its_site.is_wsgi
        if its_site.is_wsgi:  # without that user, Apache would refuse what is written next
            users.plan(self.plan, users.RESPONDER_USER, "/nonexistent", self.layout.user)
        if before is None or before.is_wsgi == its_site.is_wsgi:
            its_plan.plan(its_site, str(self.config))
            return its_site
        if arguments.no_reload:
            raise CommandError(f"--{its_site.kind}: Apache must be reloaded: without --no-reload")
        its_plan.plan_change(its_site)
        self.change = Change(self.plan, self.layout, its_plan, its_site, str(self.config), settings)
        self.change.check()
        return its_site

    def _plan_kind(self, settings: Settings, is_wsgi: bool) -> None:
        """Plan links, permissions, and the change from one kind to the other."""
        self.program.plan_link(is_wsgi, apache="" if self.change else "reload")
        permissions = Permissions(self.plan, settings, self.config, self.layout.user, is_wsgi)
        if self.change:
            self.change.plan(permissions)
        else:
            permissions.plan()
        self.program.plan_removal_of_link(not is_wsgi)
        if not is_wsgi:  # who is in the web server's group, and so could read the key
            its = [FILES, *users.key_paths(settings.cas)]
            users.plan_removal(self.plan, users.RESPONDER_USER, its)

    def _check_included(self, its_site: Site) -> None:
        try:
            configuration = apache_dump.read(apache_dump.command(self.layout))
        except apache_dump.Unreadable:
            return  # which `check` says
        text = site.not_included(its_site, configuration)
        if text:
            self.plan.problem(text)

    def _plan_jobs(self, settings: Settings) -> None:
        plan = self.plan
        copied = [ca for ca in settings.cas if ca.sync_from]
        if copied:
            for ca in copied:
                check_directories(ca, settings.cas, self.config)
            jobs.Copying(plan, self.config, copied).plan()
        for ca in settings.cas:
            if ca.cache_from and not ca.sync_from:
                plan.notes.append(jobs.not_by_job(ca))
        jobs.Job(plan, "ocsp-cgi-sync").plan_if(any(map(jobs.is_copied_by_job, copied)))
        if self.arguments.check or self.record.other.get("check"):
            jobs.Job(plan, "ocsp-cgi-check").plan()
            self.record.other["check"] = True
        presigned = [ca for ca in settings.cas if ca.presign == "yes"]
        jobs.presigning(plan, presigned).plan_if(bool(presigned))

    def _carry_out(self) -> bool:
        """Carry out the plan, or print it with --dry-run.  Returns whether it was carried out."""
        plan = self.plan
        for note in plan.notes:
            print(note)
        if self.arguments.dry_run:
            print("This would be done:" if plan.steps else f"Nothing would change: {_IN_PLACE}.")
            for step in plan.steps:
                print(f"  {step.text}")
            return False
        if plan.steps:
            print("Changed:")
            plan.carry_out()
        elif not plan.problems:
            print(f"Nothing to change: {_IN_PLACE}.")
        return True

    def _reload(self) -> bool:
        """Reload Apache if its configuration has changed.  Returns whether it was reloaded."""
        how = self.record.other.get("reload")
        if not how:
            return False
        if self.arguments.no_reload:
            print(
                "Apache has not been reloaded, because of --no-reload: systemctl restart"
                f" {self.layout.service}"
            )
            return False
        self.layout.reload(restart=how == "restart")
        print("Apache has been reloaded.")
        self.record.other["reload"] = ""
        if self.record.path.exists():
            with contextlib.suppress(OSError):  # then Apache is reloaded once more
                self.record.save()
        return True

    def _finish(self, is_done: bool, reloaded: bool = False) -> int:
        """Print what is left to do, or let `check` say whether all is well."""
        if self.plan.problems:
            _print_problems("Still to be done:", self.plan.problems)
            for text in self.plan.advice:
                print(text)
            print("Then run this command again.")
            return entry.WARNING
        if not is_done:
            return entry.OK
        if self.arguments.no_reload:
            print(f"Not checked, because of --no-reload: {LAUNCHER.name} check")
            return entry.OK
        return self._check(_RELOAD_SECONDS if reloaded else 0)

    def _check(self, patience: float) -> int:
        """What `check` finds.  For `patience` seconds, Apache may still start anew."""
        command = [str(LAUNCHER), "check", "--quiet", "--config", str(self.config)]
        deadline = time.monotonic() + patience
        while True:
            ran = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
            if ran.returncode != entry.CRITICAL or time.monotonic() > deadline:
                break
            time.sleep(0.5)
        sys.stdout.write(ran.stdout.decode(errors="replace"))
        if ran.returncode == entry.OK:
            print(f"All is well, as `{LAUNCHER.name} check` says.")
        else:
            print(f"All is installed, but `{LAUNCHER.name} check` has found the above.")
        return min(ran.returncode, entry.UNKNOWN) if ran.returncode >= 0 else entry.UNKNOWN

    # Uninstalling

    def uninstall(self) -> int:
        if not self.record.exists:
            print(
                f"{self.record.path} does not exist, so nothing is installed in"
                f" {self.program.prefix}.  Nothing to undo."
            )
            return entry.OK
        removal = Removal(self.plan, self.program, self.layout, self.config)
        removal.plan()
        for note in self.plan.notes:
            print(note)
        if self.arguments.dry_run:
            removal.plan_program()
            print("This would be done:")
            for step in self.plan.steps:
                print(f"  {step.text}")
            return entry.OK
        print("Changed:")
        failures = removal.carry_out()
        try:
            self._reload()
        except CommandError as error:
            failures.append(Problem(str(error)))
        if failures:
            self.record.save()
            _print_problems("These have failed, and the program stays until they work:", failures)
            print(f"Then run this again: {LAUNCHER.name} install --uninstall")
        else:
            removal.plan_program()
            failures = removal.carry_out()
            _print_problems("These have failed:", failures)
        _print_problems("This stays; to remove it too:", removal.left())
        return entry.WARNING if failures else entry.OK


def _prefix() -> str:
    """Where the program was installed: it may be this one."""
    installed = data_files.PACKAGE.parent if data_files.IS_INSTALLED else launched_prefix()
    return str(installed or PREFIX)


def _print_problems(title: str, problems: list[Problem]) -> None:
    if problems:
        print(title)
    for text, command in problems:
        print("  " + text.replace("\n", "\n  "))
        for line in command.splitlines():
            print(f"    {line}")
