"""The change from the CGI to mod_wsgi, or back, without a request that is lost.

    both users may write to `cache` ─▶ site, graceful reload ─▶ a response? ─▶ old processes gone
                                                       └─ no: everything is put back

That is so, too, when the operator interrupts it, or the disk is full.  What not even that can stop,
such as a power failure, is in the record: see `former`.

The user of mod_wsgi's processes is in the web server's group, so whatever the CGI can read by that
group, they can.  The key becomes theirs alone when the last CGI has ended, and the web server's
again before the first one starts: that is what the steps before and after this one are for.

When Apache reloads its configuration, its earlier processes finish the requests that they have
begun.  Those of mod_wsgi are not kept for that.  So on the way back they are started again, beside
the CGI, until nobody needs them.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from .. import config
from ..checks import dry_run, live
from ..checks.finding import Finding, Level
from ..checks.subject import Subject
from ..config import Settings
from ..tools import apache_dump, apache_process, entry, files
from ..tools.apache_config import Configuration
from ..tools.entry import CommandError
from ..tools.layout import SNIPPET, Layout
from ..tools.plan import Plan, run
from . import cache_directory, former, graceful, site, users
from .former import Former
from .permissions import Permissions
from .site import Site, SitePlan
from .users import RESPONDER_USER

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
        self._configuration = its_site.configuration
        self._program = its_site.program
        self._after = after
        self._config = config_path
        self._files = its_site.files(after, config_path)
        self._keys = users.key_paths(settings.cas)
        interrupted = Former.recorded(plan.record)
        self._is_resumed = interrupted is not None
        self._may_be_read = self._is_resumed  # by Apache, the new files
        self._former = interrupted or Former.now(
            after.kind, plan.record, [layout.site, SNIPPET], self._keys
        )
        self._caches = {ca.cache: ca for ca in settings.cas if ca.cache}

    def check(self) -> None:
        """CommandError if the change would replace what is not ours, take the key from a CGI that
        stays, or could not be made as a whole."""
        configuration = self._configuration
        if apache_process.is_running(configuration) is None:
            raise CommandError(
                "Apache's PidFile cannot be read, so nothing says whether Apache runs"
                f" (`{apache_dump.command(self._layout)[0]} -t -D DUMP_RUN_CFG` names it)"
            )
        for key in self._keys:
            if key.exists() and key.stat().st_nlink > 1:
                raise CommandError(
                    f"{key}: has a second name (a hard link), under which others might read it."
                    "  Replace it by a copy, and run this again:\n"
                    f"    cp -p {key} {key}.new && mv {key}.new {key}"
                )
        for path in self._files:
            if os.path.lexists(path) and not self._is_ours(path):
                raise CommandError(
                    f"{path}: has been changed since it was written, so it is not replaced by that"
                    f" for {_NAMES[self._after.is_wsgi]}.  Move it away, let `install` write it"
                    f" anew, and run this again:\n    mv {path} {path}.mine\n    {entry.program()}"
                    f" install {self._after.options}"
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

    def _is_ours(self, path: Path) -> bool:
        if self._plan.record.is_ours(path):
            return True
        # One that was written when the change was interrupted may not be in the record.
        make = self._files[path]
        known = (self._former.text(path), make(), self._with_daemon(make))
        return self._is_resumed and files.content(path) in known

    def plan(self, permissions: Permissions) -> None:
        """Plan it between the permissions: at every moment, whatever answers can read the key."""
        for path in self._files:
            self._plan.directory(path.parent, 0o755)
        permissions.plan_reading()
        self._plan_sharing()
        if self._after.is_wsgi:
            permissions.plan_shared_keys()
        else:
            permissions.plan_keys()
        names = " and ".join(map(str, self._files))
        self._plan.add(
            f"change to {_NAMES[self._after.is_wsgi]}: write {names}, reload Apache gracefully, ask"
            " it, and wait until it has answered what was asked before",
            self._carry_out,
        )
        if self._after.is_wsgi:
            permissions.plan_keys()
        permissions.plan_caches()
        user = self._user(self._after.is_wsgi)
        for directory in self._caches:
            # It has been shared all the same; one of the other user is given away by the above.
            if files.user_name(directory) == user:
                self._plan.add(
                    f"let only {user} write to {directory}",
                    partial(self._close, directory, user),
                )

    def _plan_sharing(self) -> None:
        """Before any key is opened: it may fail, on a full disk."""
        for directory, ca in self._caches.items():
            if self._is_a_responders(directory):
                self._plan.add(
                    f"let {self._layout.user} and {RESPONDER_USER} write to {directory}",
                    partial(cache_directory.share, ca, files.group_id(self._layout.user)),
                )

    def _is_a_responders(self, directory: str) -> bool:
        """Whether a `cache` is in use."""
        users = (self._layout.user, RESPONDER_USER)
        return os.path.isdir(directory) and files.user_name(directory) in users

    def _carry_out(self) -> None:
        configuration, record = self._configuration, self._plan.record
        has_new_modules = bool(record.other.get("reload"))
        is_running = apache_process.is_running(configuration) is not False
        try:
            self._former.keep(record)
            self._plan.apache("reload")
            self._plan.save()
            self._read()
            if self._is_resumed:
                self._write_former()
            if is_running:
                self._change_running(configuration, has_new_modules)
            else:
                self._write(self._files)
                self._finish()
        except BaseException as error:
            self._give_up(configuration if is_running else None, error)
            raise
        former.forget(record)
        if is_running:
            record.other["reload"] = ""

    def _change_running(self, configuration: Configuration, has_new_modules: bool) -> None:
        was_well = not self._faults()
        files_between = self._files
        if not self._after.is_wsgi:
            files_between = {
                path: partial(self._with_daemon, make) for path, make in self._files.items()
            }
        if was_well:
            self._try_out()
        if has_new_modules:
            self._reload(configuration)
        self._write(files_between)
        self._check_what_apache_reads()
        self._reload(configuration)
        self._may_be_read = True
        faults = self._faults()
        if faults and was_well:
            raise CommandError(faults[0].what)
        graceful.wait_for_earlier(configuration)
        if not self._after.is_wsgi:
            self._write(self._files)
        self._finish()
        if not self._after.is_wsgi:
            self._reload(configuration)

    def _with_daemon(self, make: Callable[[], bytes]) -> bytes:
        """A file with mod_wsgi's processes in it, unless they are in one of their own, which is
        still there."""
        return (
            make()
            if self._after.is_included
            else site.with_daemon(make(), self._former.text(self._layout.site))
        )

    def _write(self, wanted: dict[Path, Callable[[], bytes]]) -> None:
        for path, make in wanted.items():
            its_content = make()
            files.write(path, its_content, 0o644)
            self._plan.record.wrote(path, its_content)
            self._plan.save()
        if self._layout.site in wanted:
            self._enable()

    def _enable(self) -> None:
        if self._layout.enables_sites and not site.ENABLED.exists():
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

    def _give_up(self, running: Configuration | None, error: BaseException) -> None:
        """Put back everything because of this error, and raise what to say about both; of one that
        is not the operator's to fix, such as Ctrl-C, it is printed."""
        failures = self._put_back(running)
        if isinstance(error, OSError):
            reason = f"{error.filename or 'install'}: {error.strerror or error}"
        elif isinstance(error, (CommandError, config.ConfigError)):
            reason = str(error)
        else:
            reason = "The change was interrupted."
        name = _NAMES[not self._after.is_wsgi]
        if failures:
            said = "\n".join(f"  {one}" for one in failures)
            reason += f"\n{name} could not be put back in its place completely:\n{said}\n"
            reason += "Fix that, and run this again."
        else:
            reason += f"\nSo {name} is in its place again, as before."
        if isinstance(error, (OSError, CommandError, config.ConfigError)):
            raise CommandError(reason) from None
        print(reason, file=sys.stderr, flush=True)

    def _put_back(self, running: Configuration | None) -> list[str]:
        """Everything that concerns the responder as it was, as far as possible; `running` is the
        configuration of an Apache that runs.  Returns what has failed."""
        site_steps: list[Callable[[], None]] = [self._write_former, self._disable_new_modules]
        if running is not None:
            site_steps.append(partial(self._reload, running))
        # After that: until then, a new CGI may answer.
        its_steps: list[Callable[[], None]] = [
            *(
                partial(self._former.restore_key, key, self._plan.record)
                for key in self._former.keys
            ),
            self._remove_new_link,
            *(partial(self._take_back, one) for one in self._caches),
            self._remove_new_user,
        ]
        before = signal.signal(signal.SIGINT, lambda *_: None)  # an impatient second Ctrl-C
        try:
            failures = _attempt(site_steps)
            if not failures:
                former.forget(self._plan.record)
                self._plan.record.other["reload"] = ""
            if not (failures and self._may_be_read):  # else what runs now needs the key and link
                failures += _attempt(its_steps)
        finally:
            signal.signal(signal.SIGINT, before)
        return failures

    def _write_former(self) -> None:
        record = self._plan.record
        for path in (self._layout.site, SNIPPET):
            its_content = self._former.text(path)
            if its_content:
                if files.content(path) != its_content:
                    files.write(path, its_content, 0o644)
                    record.wrote(path, its_content)
                if path == self._layout.site:
                    self._enable()
            elif path in self._files and path == self._layout.site:
                self._site.remove_own()
            elif path in self._files:
                path.unlink(missing_ok=True)
                record.files.pop(str(path), None)

    def _disable_new_modules(self) -> None:
        modules = self._plan.record.other.get("modules", [])
        for module in [one for one in modules if one not in self._former.modules]:
            run("a2dismod", "--quiet", module)
            modules.remove(module)

    def _remove_new_link(self) -> None:
        link = self._program.link(self._after.is_wsgi)
        link.unlink(missing_ok=True)
        self._plan.record.links.pop(str(link), None)

    def _take_back(self, directory: str) -> None:
        if self._is_a_responders(directory):
            self._close(directory, self._user(not self._after.is_wsgi))

    @staticmethod
    def _close(directory: str, user: str) -> None:
        cache_directory.give(directory, files.user_id(user), files.group_id(user))

    def _remove_new_user(self) -> None:
        if self._after.is_wsgi and RESPONDER_USER in self._plan.record.other.get("users", []):
            users.remove(self._plan, RESPONDER_USER, self._keys)

    def _reload(self, configuration: Configuration) -> None:
        graceful.reload(self._layout, configuration)

    def _read(self) -> Configuration:
        try:
            return apache_dump.read(apache_dump.command(self._layout))
        except apache_dump.Unreadable as error:
            raise CommandError(f"Apache refuses its configuration: {error}") from None


def _failures(findings: list[Finding]) -> list[Finding]:
    return [one for one in findings if one.level is Level.FAIL]


def _attempt(steps: list[Callable[[], None]]) -> list[str]:
    """Carry out each of these, whatever becomes of the others.  Returns what has failed."""
    failures = []
    for step in steps:
        try:
            step()
        except OSError as error:
            failures.append(f"{error.filename or 'install'}: {error.strerror or error}")
        except CommandError as error:
            failures.append(str(error).replace("\n", "\n  "))
    return failures
