"""The change from the CGI to mod_wsgi, or back, without a request that is lost.

    both users may write to `cache` ─▶ site, graceful reload ─▶ a response? ─▶ old processes gone
                                                       └─ no: everything is put back

The user of mod_wsgi's processes is in the web server's group, so whatever the CGI can read by that
group, they can.  The key becomes theirs alone when the last CGI has ended, and the web server's
again before the first one starts: that is what the steps before and after this one are for.

When Apache reloads its configuration, its earlier processes finish the requests that they have
begun.  Those of mod_wsgi are not kept for that.  So on the way back they are started again, beside
the CGI, until nobody needs them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from .. import config, limits
from ..checks import dry_run, live
from ..checks.finding import Finding, Level
from ..checks.subject import Subject
from ..config import Settings
from ..tools import apache_dump, apache_process, entry, files
from ..tools.apache_config import Configuration
from ..tools.entry import CommandError
from ..tools.layout import SNIPPET, Layout
from ..tools.plan import Plan, run
from . import cache_directory, site, users
from .permissions import Permissions
from .site import Site, SitePlan
from .users import RESPONDER_USER

_RELOAD_SECONDS = 20  # in which Apache reads its configuration
# Apache waits no longer for a request; then the responder may take its time.
_OLD_SECONDS = 60 + limits.DEADLINE_SECONDS
_NAMES = {True: "mod_wsgi", False: "the CGI"}


class Change:
    """Plans it; `after` is the site that is wanted, `config_path` what the responder reads, with
    these `settings` in it."""

    def __init__(
        self,
        plan: Plan,
        layout: Layout,
        its_site: SitePlan,
        after: Site,
        config_path: str,
        settings: Settings,
    ):
        self._plan = plan
        self._layout = layout
        self._site = its_site
        self._program = its_site.program
        self._after = after
        self._config = config_path
        self._files = its_site.files(after, config_path)
        self._former_own = files.content(layout.site)
        self._former = {path: files.content(path) for path in (layout.site, SNIPPET)}
        self._settings = settings
        self._former_modules = list(plan.record.other.get("modules", []))
        self._had_user = files.has_user(RESPONDER_USER)
        self._caches = {ca.cache: ca for ca in settings.cas if ca.cache}

    def check(self, configuration: Configuration) -> None:
        """CommandError if the change would replace what is not ours, or take the key from a CGI
        that stays."""
        for path in self._files:
            if os.path.lexists(path) and not self._plan.record.is_ours(path):
                raise CommandError(
                    f"{path}: has been changed since it was written, so it is not replaced by that"
                    f" for {_NAMES[self._after.is_wsgi]}.  Move it away, let `install` write it"
                    f" anew, and run this again:\n    mv {path} {path}.mine\n    {entry.program()}"
                    f" install --server-name {self._after.name} --path {self._after.path}"
                )
        ours = {os.path.realpath(path) for path in (self._layout.site, SNIPPET)}
        link = self._program.link(not self._after.is_wsgi)
        for script in configuration.scripts():
            place = script.directive.place
            is_ours = os.path.realpath(place.rpartition(":")[0]) in ours
            if not is_ours and os.path.realpath(script.file) == os.path.realpath(link):
                raise CommandError(
                    f"{place}: this leads to {script.file}, too, which would no longer answer:"
                    " remove it, and reload Apache"
                )

    def plan(self, permissions: Permissions) -> None:
        """Plan it between the permissions: at every moment, whatever answers can read the key."""
        permissions.plan_reading()
        if self._after.is_wsgi:
            permissions.plan_shared_keys()
        else:
            permissions.plan_keys()
        self._plan_steps()
        if self._after.is_wsgi:
            permissions.plan_keys()
        permissions.plan_caches()

    def _plan_steps(self) -> None:
        for directory, ca in self._caches.items():
            if self._is_a_responders(directory):
                self._plan.add(
                    f"let {self._layout.user} and {RESPONDER_USER} write to {directory}",
                    partial(cache_directory.share, ca, files.group_id(self._layout.user)),
                )
        names = " and ".join(map(str, self._files))
        self._plan.add(
            f"change to {_NAMES[self._after.is_wsgi]}: write {names}, reload Apache gracefully, ask"
            " it, and wait until it has answered what was asked before",
            self._carry_out,
        )

    def _is_a_responders(self, directory: str) -> bool:
        """Whether a `cache` is in use."""
        users = (self._layout.user, RESPONDER_USER)
        return os.path.isdir(directory) and files.user_name(directory) in users

    def _carry_out(self) -> None:
        configuration = self._read()
        if apache_process.is_running(configuration) is not True:
            self._write(self._files)
            self._finish()
            return
        was_well = not self._faults()
        files_between = self._files
        if not self._after.is_wsgi:
            files_between = {
                path: partial(self._with_daemon, make) for path, make in self._files.items()
            }
        try:
            if was_well:
                self._try_out()
            if self._plan.record.other.get("reload"):  # for modules
                self._reload(configuration)
            self._write(files_between)
            self._check_what_apache_reads()
            self._reload(configuration)
            faults = self._faults()
            if faults and was_well:
                raise CommandError(faults[0].what)
        except CommandError as error:
            self._put_back(configuration)
            raise CommandError(
                f"{error}\nSo {_NAMES[not self._after.is_wsgi]} is in its place again, as before."
            ) from None
        self._wait_for_earlier(configuration)
        if not self._after.is_wsgi:
            self._write(self._files)
        self._finish()
        if not self._after.is_wsgi:
            self._reload(configuration)
        self._plan.record.other["reload"] = ""

    def _with_daemon(self, make: Callable[[], bytes]) -> bytes:
        """A file with mod_wsgi's processes in it, unless they are in one of their own, which is
        still there."""
        return make() if self._after.is_included else site.with_daemon(make(), self._former_own)

    def _write(self, wanted: dict[Path, Callable[[], bytes]]) -> None:
        for path, make in wanted.items():
            its_content = make()
            path.parent.mkdir(mode=0o755, exist_ok=True)
            files.write(path, its_content, 0o644)
            self._plan.record.wrote(path, its_content)
        is_disabled = self._layout.enables_sites and not site.ENABLED.exists()
        if self._layout.site in wanted and is_disabled:
            run("a2ensite", "--quiet", "ocsp-cgi")
            self._plan.record.other.setdefault("sites", []).append("ocsp-cgi")

    def _finish(self) -> None:
        """Remove what the new kind does not need, but the old one did."""
        if self._layout.site not in self._files:
            self._site.remove_own()
        self._plan.apache("reload")

    def _check_what_apache_reads(self) -> None:
        """CommandError if Apache refuses the new files, or they would not take effect."""
        error = apache_dump.test(apache_dump.command(self._layout))
        if error:
            raise CommandError(f"Apache refuses its configuration: {error}")
        configuration = self._read()
        host = configuration.answering(self._after.name, *self._layout.address())
        script = configuration.script(host, self._after.path)
        if script is None or script.is_wsgi != self._after.is_wsgi:
            what = "nothing" if script is None else f"`{script.directive.name}`"
            where = script.directive.place if script else str(host)
            raise CommandError(
                f"{where}: {what} leads {self._after.path} elsewhere, and comes first: put it after"
                " the responder's lines"
            )

    def _try_out(self) -> None:
        """CommandError if the user that the responder is to run as cannot make a response."""
        wrong = _failures(dry_run.examine(self._subject(self._user(self._after.is_wsgi))))
        if wrong:
            raise CommandError(f"{wrong[0].where} {wrong[0].what}")

    def _faults(self) -> list[Finding]:
        """What is wrong with the responses that clients get now."""
        found = live.examine(self._subject(self._user(self._after.is_wsgi)))
        asked = [one for one in found if one.level is Level.OK]
        return _failures(found) or ([] if asked else found[:1])

    def _subject(self, user: str) -> Subject:
        settings = config.load(self._config)
        return Subject(self._config, settings, user, self._layout, int(time.time()))

    def _user(self, is_wsgi: bool) -> str:
        return RESPONDER_USER if is_wsgi else self._layout.user

    def _put_back(self, configuration: Configuration) -> None:
        """Everything that concerns the responder as it was."""
        for path in self._files:
            if self._former[path]:
                files.write(path, self._former[path], 0o644)
                self._plan.record.wrote(path, self._former[path])
            elif path == self._layout.site:
                self._site.remove_own()
            else:
                path.unlink(missing_ok=True)
                self._plan.record.files.pop(str(path), None)
        modules = self._plan.record.other.get("modules", [])
        for module in [one for one in modules if one not in self._former_modules]:
            run("a2dismod", "--quiet", module)
            modules.remove(module)
        self._reload(configuration)
        self._plan.record.other["reload"] = ""
        link = self._program.link(self._after.is_wsgi)
        link.unlink()
        self._plan.record.links.pop(str(link), None)
        user = self._user(not self._after.is_wsgi)
        for directory in self._caches:
            if self._is_a_responders(directory):
                cache_directory.give(directory, files.user_id(user), files.group_id(user))
        if not self._had_user:
            users.remove(self._plan, RESPONDER_USER, users.key_paths(self._settings.cas))
        if not self._after.is_wsgi:
            self._take_keys_back()

    def _take_keys_back(self) -> None:
        """From the web server, which was to have them."""
        again = Plan(self._plan.record)
        web = self._layout.user
        Permissions(again, self._settings, Path(self._config), web, is_wsgi=True).plan_keys()
        for step in again.steps:
            step.do()

    def _reload(self, configuration: Configuration) -> None:
        """Reload Apache gracefully, and wait until it has read its configuration."""
        before = apache_process.generation(configuration)
        self._layout.reload(restart=False)
        deadline = time.monotonic() + _RELOAD_SECONDS
        while apache_process.generation(configuration) == before:
            if time.monotonic() > deadline:
                raise CommandError(
                    f"Apache has not read its configuration in {_RELOAD_SECONDS} seconds after it"
                    f" was told to (its error log: {self._layout.error_log})"
                )
            time.sleep(0.05)
        time.sleep(1)  # in which it would not notice that it is to read it again

    def _wait_for_earlier(self, configuration: Configuration) -> None:
        """Wait until Apache has answered what was asked before it was reloaded."""
        deadline = time.monotonic() + _OLD_SECONDS
        while apache_process.has_earlier_children(configuration):
            if time.monotonic() > deadline:
                return  # what it still sends is not a response of OCSP
            time.sleep(0.1)

    def _read(self) -> Configuration:
        try:
            return apache_dump.read(apache_dump.command(self._layout))
        except apache_dump.Unreadable as error:
            raise CommandError(f"Apache refuses its configuration: {error}") from None


def _failures(findings: list[Finding]) -> list[Finding]:
    return [one for one in findings if one.level is Level.FAIL]
