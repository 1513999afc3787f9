"""The job that copies the databases: whether it is scheduled, what its last run came to, and jobs
of earlier versions that copy somewhere else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from .. import index_file, sync_state
from ..config import CASettings
from ..tools import as_user, layout
from ..tools.plan import search_path
from . import commands
from .finding import Finding, Level
from .subject import Subject

UNITS = Path("/etc/systemd/system")
CRON = Path("/etc/cron.d")
PROCESSES = Path("/proc")
_TIMER = "ocsp-cgi-sync.timer"
_SERVICE = "ocsp-cgi-sync.service"
_CRON_JOB = "ocsp-cgi-sync"
_DAEMONS = ("cron", "crond", "fcron", "dcron", "systemd-cron")
_LATE_SECONDS = 15 * 60  # without a run of a job that runs every minute


def examine(subject: Subject) -> list[Finding]:
    cas = subject.settings.cas if subject.settings else []
    copied = [ca for ca in cas if ca.sync_from]
    findings = _old_jobs(subject)
    if not copied:
        return findings
    # What comes on a stick is copied by hand.
    by_job = [ca for ca in copied if ca.stale_after != 0 or ca.is_copied_from_host]
    scheduler = _scheduler(by_job) if by_job else None
    if scheduler is not None:
        findings.append(scheduler)
    is_scheduled = scheduler is not None and scheduler.level == Level.OK
    for ca in copied:
        findings.append(_last_run(ca, subject, is_scheduled and ca in by_job))
    return findings


def _scheduler(copied: list[CASettings]) -> Finding:
    """Whether something runs the job every minute."""
    names = " and ".join(f"[{ca.name}]" for ca in copied)
    # What is pushed here, or comes on a stick, may well be copied by hand.
    remote = any(ca.is_copied_from_host for ca in copied)
    missing = Level.FAIL if remote else Level.WARN
    install = commands.ours("install")
    if layout.systemd_runs() and (UNITS / _TIMER).exists():
        where = str(UNITS / _TIMER)
        enabled, active = _systemctl("is-enabled"), _systemctl("is-active")
        if enabled and active:
            return Finding(Level.OK, f"the timer that copies {names} runs", where)
        text = f"the timer that copies {names} {'has been stopped' if enabled else 'is disabled'}"
        return Finding(missing, text, where, f"systemctl enable --now {_TIMER}")
    if (CRON / _CRON_JOB).exists():
        where = str(CRON / _CRON_JOB)
        if cron_runs():
            return Finding(Level.OK, f"cron copies {names}", where)
        text = f"cron is to copy {names}, but no cron daemon is running"
        return Finding(missing, text, where, start_cron())
    text = f"nothing copies {names} regularly: `sync_from` is set, but no job is installed"
    return Finding(missing, text, "", install)


def _last_run(ca: CASettings, subject: Subject, is_scheduled: bool) -> Finding:
    where = f"[{ca.name}]"
    again = commands.ours("sync", ca.name)
    # The file belongs to the user of the job, who need not be trusted with what root waits for.
    try:
        lines = as_user.call(subject.user, _state, ca.db)
    except as_user.ChildFailed as error:
        return Finding(Level.WARN, f"the last copy not checked: {error}", where)
    if lines is None:
        return Finding(Level.WARN, f"`{again}` has never run for {ca.sync_from}", where, again)
    state = sync_state.SyncState(*lines)
    ago = index_file.duration(max(0, subject.now - state.ended))
    if state.result == sync_state.REFUSED:  # which stands until somebody decides
        text = f"the last copy, {ago} ago, was refused: {state.reason}"
        force = commands.ours("sync", "--force", ca.name)
        return Finding(Level.FAIL, text, where, force)
    if state.result != sync_state.OK:
        fix = f"; {state.fix}" if state.fix else ""
        text = f"the last copy, {ago} ago, failed: {state.reason}{fix}"
        return Finding(Level.WARN, text, where, again)
    if state.source != ca.sync_from:
        text = f"the last copy, {ago} ago, came from {state.source}, and `sync_from` has changed"
        return Finding(Level.WARN, text, where, again)
    if subject.now - state.ended > _LATE_SECONDS and is_scheduled:
        log = f"journalctl -u {_SERVICE}" if layout.systemd_runs() else "grep -r ocsp /var/log"
        text = f"the job should run every minute, and last ran {ago} ago"
        return Finding(Level.WARN, text, where, log)
    return Finding(Level.OK, f"last copied {ago} ago from {state.source}", where)


def _state(db: str) -> tuple[int, str, str, str, str] | None:
    state = sync_state.read(db)
    if state is None:
        return None
    return state.ended, state.source, state.result, state.reason, state.fix


def _old_jobs(subject: Subject) -> list[Finding]:
    """Jobs as version 0.2 installed them: root runs rsync to a fixed place."""
    findings = []
    databases = {_directory(ca.db) for ca in subject.settings.cas} if subject.settings else set()
    for path in (UNITS / _SERVICE, CRON / _CRON_JOB):
        try:
            text = path.read_text(errors="replace")
        except OSError:
            continue
        for line in text.splitlines():
            if line.startswith("#") or not re.search(r"\brsync\b.*\s\S*:\S+\s+/\S+", line):
                continue
            # What rsync is told last: HOST:PATH DIRECTORY, before `&&` if it is cron's.
            source, target = line.partition("&&")[0].split()[-2:]
            install = commands.ours("install", "--sync-from", source)
            if _directory(target) in databases:
                what = (
                    f"an earlier version's job copies the index as root, unchecked, from {source}"
                )
                findings.append(Finding(Level.WARN, what, str(path), install))
            else:
                what = (
                    f"an earlier version's job copies {source} to {target}, which is no `db` of"
                    " the config: revoked certificates stay good"
                )
                findings.append(Finding(Level.FAIL, what, str(path), install))
    return findings


def _directory(path: str) -> str:
    """The directory that a `db`, or a target of rsync, is or is in."""
    real = os.path.realpath(path)
    return real if os.path.isdir(real) or path.endswith("/") else os.path.dirname(real)


def _systemctl(question: str) -> bool:
    program = shutil.which("systemctl", path=search_path()) or "systemctl"
    try:
        asked = subprocess.run(
            [program, "--quiet", question, _TIMER], stdin=subprocess.DEVNULL, capture_output=True
        )
    except OSError:
        return False
    return asked.returncode == 0


def cron_runs() -> bool:
    for path in PROCESSES.glob("[0-9]*/comm"):
        try:
            if path.read_text().strip() in _DAEMONS:
                return True
        except OSError:
            continue
    return False


def start_cron() -> str:
    has_crond = shutil.which("crond", path=search_path())
    name = "crond" if has_crond else "cron"
    if layout.systemd_runs():
        return f"systemctl enable --now {name}"
    return "crond" if has_crond else "service cron start"
