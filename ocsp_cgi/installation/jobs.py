"""The jobs: `ocsp-cgi sync` every minute, as a user of its own, `ocsp-cgi check` daily, and
`ocsp-cgi presign` after each change of an index and every few minutes, by systemd or by cron."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from functools import partial
from pathlib import Path

from .. import index_file, sync_state
from ..checks import presigned, sync_job
from ..checks.owners import SYNC_USER
from ..config import CASettings
from ..tools import config_file, data_files, layout
from ..tools.entry import CommandError
from ..tools.files import content
from ..tools.plan import Plan, search_path
from ..tools.program import LAUNCHER
from . import users
from .directories import directory_of

HOME = Path("/var/lib/ocsp-sync")
STALE_AFTER = "10"
_CRON_DAEMONS = ("cron", "crond", "fcron", "busybox-crond")
# Jobs of version 0.2.0, without their source and the web server's group: root ran rsync.
_FORMER = frozenset(
    (
        "975fb65f0e19ff78108f1e4d9c451434159751585112d9ef31ad3c0c1a2b55a8",
        "b34e0460ac6d60aafabfaeac097eb28be158b0c1284e81c2b409aa2781c7118f",
        "cdb7058e91ebd00723ec0a9d56e75116e1f0366063fda6392f9e36dc6be3056b",
    )
)


def is_copied_by_job(ca: CASettings) -> bool:
    """Whether the index of a CA with `sync_from`, or its responses, come by themselves, and not on
    a stick, by hand."""
    return ca.stale_after != 0 or ca.is_copied_from_host or ca.cache_from is not None


def not_by_job(ca: CASettings) -> str:
    """What to say of a CA with `cache_from` alone, in whose `db` another user may write."""
    return (
        f"[{ca.name}] has `cache_from`, but no `sync_from`, so no job copies its responses: what"
        f" copies its index has to run `{LAUNCHER.name} sync {ca.name}`, too"
    )


class Job:
    """Plans one job, `ocsp-cgi-NAME`, which may have a unit that looks at `watched` files too."""

    def __init__(self, plan: Plan, name: str, watched: list[str] | None = None):
        self._plan = plan
        self._name = name
        self._watched = watched
        starting = (".timer", *[".path"] * (watched is not None))
        self._starting = [f"{name}{kind}" for kind in starting]

    def plan(self) -> None:
        """Plan its files.  CommandError if nothing here could run it."""
        plan, name = self._plan, self._name
        if layout.systemd_runs():
            before = len(plan.steps)
            for unit in (f"{name}.service", *self._starting):
                text = _edited(unit, self._watched or [])
                plan.file(sync_job.UNITS / unit, text, may_replace=is_former)
            is_changed = len(plan.steps) > before
            if is_changed:
                plan.command("systemctl", "daemon-reload")
            for unit in self._starting:
                kind = unit.rpartition(".")[2]
                if is_changed or not (sync_job.UNITS / f"{kind}s.target.wants" / unit).exists():
                    plan.command("systemctl", "enable", "--now", unit)
            self._plan_removal(sync_job.CRON / name)
            return
        if not sync_job.CRON.is_dir() or not cron_daemon():
            raise CommandError(
                f"nothing here can run {name} regularly: neither systemd nor cron is there."
                "  Install cron (apt-get install cron, dnf install cronie), or let something else"
                f" run `{LAUNCHER} {name.rpartition('-')[2]}`"
            )
        plan.file(sync_job.CRON / name, _edited(f"{name}.cron", []), may_replace=is_former)
        if not sync_job.cron_runs():
            plan.problem("the cron daemon does not run, so no job does", sync_job.start_cron())

    def plan_uninstall(self) -> None:
        record = self._plan.record
        for unit in self._starting:
            if str(sync_job.UNITS / unit) in record.files and layout.systemd_runs():
                self._plan.command("systemctl", "disable", "--now", unit)

    def plan_if(self, is_wanted: bool) -> None:
        """Plan it if the config asks for it, or else that it ends.  CommandError as `plan`."""
        if is_wanted:
            self.plan()
        elif not former_source():  # which the config does not name
            self._plan_end()

    def _plan_end(self) -> None:
        plan, record = self._plan, self._plan.record
        before = len(plan.steps)
        for unit in self._starting:
            if record.is_ours(sync_job.UNITS / unit) and layout.systemd_runs():
                plan.command("systemctl", "disable", "--now", unit)
        units = [sync_job.UNITS / unit for unit in (*self._starting, f"{self._name}.service")]
        for path in (*units, sync_job.CRON / self._name):
            if record.is_ours(path):
                self._plan_removal(path)
            elif str(path) in record.files and path.exists():
                plan.notes.append(
                    f"{path}: left as it is, because it has been changed, though nothing in the"
                    " config asks for it"
                )
        if len(plan.steps) > before and layout.systemd_runs():
            plan.command("systemctl", "daemon-reload")

    def _plan_removal(self, path: Path) -> None:
        """Of a file of the job that is not wanted any more."""
        record = self._plan.record
        if record.is_ours(path) or is_former(content(path)):

            def remove() -> None:
                path.unlink()
                record.files.pop(str(path), None)

            self._plan.add(f"remove {path}", remove, f"rm {path}")


def is_former(text: bytes) -> bool:
    """Whether this is a job of version 0.2.0 that nobody has changed but for its source."""
    return _essence(text) in _FORMER


def _essence(text: bytes) -> str:
    """A hash of a job without its comments, its source and the web server's group."""
    lines = []
    for line in text.decode(errors="replace").splitlines():
        if line and line[0] != "#":
            line = re.sub(r" \S+ /etc/ssl/ocsp/db/(?= |$)", " SOURCE /etc/ssl/ocsp/db/", line)
            lines.append(re.sub(r"root:(www-data|apache)\b", "root:GROUP", line))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def former_source() -> str:
    """Where the job of version 0.2.0 copies from, "" if there is none that nobody has changed."""
    for path in (sync_job.UNITS / "ocsp-cgi-sync.service", sync_job.CRON / "ocsp-cgi-sync"):
        text = content(path)
        found = re.search(rb"^[^#].* (\S+) /etc/ssl/ocsp/db/( |$)", text, re.MULTILINE)
        if found and is_former(text):
            return found[1].decode(errors="replace")
    return ""


def cron_daemon() -> str:
    """The cron daemon that is installed, "" if none is."""
    found = (shutil.which(name, path=search_path()) for name in _CRON_DAEMONS)
    return next(filter(None, found), "")


def plan_user(plan: Plan) -> None:
    """Plan the user that copies."""
    users.plan(plan, SYNC_USER, str(HOME))
    plan.directory(HOME, 0o700, SYNC_USER, SYNC_USER)


class Copying:
    """Copies for the first time, and lets responses depend on it from then on."""

    def __init__(self, plan: Plan, config: Path, cas: list[CASettings]):
        self._plan = plan
        self._config = config
        self._cas = [ca for ca in cas if ca.sync_from]

    def plan(self) -> None:
        due = [ca for ca in self._cas if not _is_copied(ca)]
        if due:
            names = " and ".join(f"[{ca.name}]" for ca in due)
            self._plan.add(f"copy {names} with `ocsp-cgi sync`", partial(self._copy, due))
        unset = [ca for ca in self._cas if ca.stale_after is None]
        for ca in unset:
            if _is_copied(ca):
                text = f"set stale_after = {STALE_AFTER} for [{ca.name}] in {self._config}"
                self._plan.add(text, partial(self._limit, ca))

    def _copy(self, due: list[CASettings]) -> None:
        command = [str(LAUNCHER), "sync", "--config", str(self._config)]
        command += [ca.name for ca in due]
        ran = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        output = ran.stdout.decode(errors="replace").strip()
        for line in output.splitlines():
            print(f"    {line}")
        for ca in due:
            if _is_copied(ca):
                if ca.stale_after is None:
                    print(f"  set stale_after = {STALE_AFTER} for [{ca.name}] in {self._config}")
                    self._limit(ca)
                continue
            text = f"[{ca.name}] could not be copied from {ca.sync_from}, as said above"
            if former_source():
                raise CommandError(
                    f"{text}.  So the job of the earlier version stays.  When this works, run this"
                    f" again: {LAUNCHER.name} sync {ca.name}\n{_how_to_log_in(ca)}"
                )
            self._plan.problem(
                f"{text}.  When this works, run `{LAUNCHER.name} install` again",
                f"{LAUNCHER.name} sync {ca.name}",
            )
            if ca.is_copied_from_host:
                self._plan.advice.append(_how_to_log_in(ca))

    def _limit(self, ca: CASettings) -> None:
        edit(self._plan, self._config, {(ca.name, "stale_after"): STALE_AFTER})


def edit(plan: Plan, config: Path, changes: dict[tuple[str, str], str | None]) -> None:
    """Change settings; a config that we wrote, and nobody has changed, stays ours."""
    was_ours = plan.record.is_ours(config)
    config_file.edit(str(config), changes)
    if was_ours:
        plan.record.wrote(config, content(config))


def _is_copied(ca: CASettings) -> bool:
    """Whether the last copy was put in place, and came from where the config says."""
    state = sync_state.read(ca.db)
    return state is not None and state.result == sync_state.OK and state.source == ca.sync_from


def _how_to_log_in(ca: CASettings) -> str:
    host, _, path = (ca.sync_from or "").partition(":")
    key = HOME / ".ssh" / "id_ed25519"
    directory = os.path.dirname(path) or f"/DIRECTORY-OF-{path}"
    return (
        f"[{ca.name}] is copied over ssh by the user {SYNC_USER}.  It needs a key, and has to know"
        f" {host.rpartition('@')[2]}:\n"
        f"    install -d -m 700 -o {SYNC_USER} -g {SYNC_USER} {HOME}/.ssh\n"
        f'    runuser -u {SYNC_USER} -- ssh-keygen -q -t ed25519 -N "" -f {key}\n'
        f"    runuser -u {SYNC_USER} -- ssh {host} true      # compare the fingerprint\n"
        f"On {host.rpartition('@')[2]}, let that key do nothing but read the index, by one line in"
        " ~/.ssh/authorized_keys:\n"
        f'    restrict,command="rrsync -ro {directory}" (the line in {key}.pub)'
    )


def _edited(name: str, watched: list[str]) -> bytes:
    """A job as it is in apache/, with the files that it looks at."""
    text = (data_files.APACHE / name).read_text()
    if watched:
        lines = "\n".join(f"PathChanged={path}" for path in watched)
        text = re.sub(r"(?m)^PathChanged=.*$", lambda _: lines, text)
    return text.encode()


def presigning(plan: Plan, cas: list[CASettings]) -> Job:
    """The job that presigns for these CAs."""
    return Job(plan, presigned.JOB, list(dict.fromkeys(_index(ca.db) for ca in cas)))


def _index(db: str) -> str:
    """The index of a `db` setting, which need not be there yet."""
    if not os.path.exists(db):
        return f"{db}/index" if directory_of(db) == db else db
    try:
        return index_file.path_of(db)
    except (OSError, index_file.DatabaseUnavailable):
        return f"{db}/index"
