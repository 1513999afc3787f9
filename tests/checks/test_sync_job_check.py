"""The job that copies the databases, as `check` sees it."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from checking import problem, problems, subject_of, write_config

from ocsp_cgi.checks import sync_job
from ocsp_cgi.checks.finding import Level
from ocsp_cgi.sync_state import FAILED, OK, REFUSED, SyncState, write
from ocsp_cgi.tools.data_files import APACHE

SOURCE = "ca.example.com:/root/root-ca/db/index"


@pytest.fixture(autouse=True)
def places(place, monkeypatch) -> Path:
    """Directories for jobs in place of those in /etc, and no running cron."""
    for name in ("UNITS", "CRON", "PROCESSES"):
        directory = place / name.lower()
        directory.mkdir()
        monkeypatch.setattr(sync_job, name, directory)
    return place


@pytest.fixture
def cron(place, monkeypatch):
    """A process that has cron's name."""
    monkeypatch.setattr(sync_job, "PROCESSES", Path("/proc"))
    shutil.copy(shutil.which("sleep"), place / "crond")
    process = subprocess.Popen([place / "crond", "60"])
    deadline = time.monotonic() + 10
    while Path(f"/proc/{process.pid}/comm").read_text().strip() != "crond":
        assert time.monotonic() < deadline
    yield
    process.kill()
    process.wait()


def ran(ca, result: str = OK, ago: int = 30, source: str = SOURCE, **more: str) -> None:
    write(str(ca.home / "db"), SyncState(int(time.time()) - ago, source, result, **more))


def job(places: Path) -> None:
    line = "* * * * * ocsp-sync /usr/local/sbin/ocsp-cgi sync --quiet\n"
    (places / "cron" / "ocsp-cgi-sync").write_text(line)


def test_nothing_to_copy(ca):
    assert sync_job.examine(subject_of(ca.home / "ocsp-cgi.conf")) == []


def test_a_job_that_runs(ca, places, cron):
    job(places)
    ran(ca)
    found = sync_job.examine(subject_of(write_config(ca.home, sync_from=SOURCE)))
    assert [finding.level for finding in found] == [Level.OK, Level.OK]
    assert re.search(rf"last copied 3\d seconds ago from {SOURCE}", found[1].what)


def test_an_offline_ca_needs_no_job(ca):
    ran(ca, source="/media/index", ago=100 * 24 * 3600)
    path = write_config(ca.home, sync_from="/media/index", stale_after="never")
    [found] = sync_job.examine(subject_of(path))
    assert (found.level, found.what) == (Level.OK, "last copied 100 days ago from /media/index")


def test_no_job(ca):
    ran(ca)
    found = problem(sync_job, subject_of(write_config(ca.home, sync_from=SOURCE)))
    assert found.level == Level.FAIL
    assert found.what.startswith("nothing copies [root-ca] regularly")
    # What comes on a stick may be copied by hand.
    source = str(ca.home / "pushed")
    ran(ca, source=source)
    found = problem(sync_job, subject_of(write_config(ca.home, sync_from=source)))
    assert found.level == Level.WARN


def test_no_cron(ca, places):
    job(places)
    ran(ca)
    found = problem(sync_job, subject_of(write_config(ca.home, sync_from=SOURCE)))
    assert (found.level, "no cron daemon is running" in found.what) == (Level.FAIL, True)
    assert found.command


@pytest.mark.parametrize(
    "state, level, text, command",
    [
        (None, Level.WARN, f"sync root-ca` has never run for {SOURCE}", "sync root-ca"),
        (
            {"result": REFUSED, "reason": "fewer rows", "fix": "rm -rf /"},
            Level.FAIL,
            r"the last copy, 3\d seconds ago, was refused: fewer rows",
            " sync --force root-ca",  # whatever the job's user wrote there
        ),
        (
            {"result": FAILED, "reason": "no route to host", "ago": 240},
            Level.WARN,
            "the last copy, 4 minutes ago, failed: no route to host",
            "sync root-ca",
        ),
        (
            {"source": "old.example.com:index"},
            Level.WARN,
            "came from old.example.com:index, and `sync_from` has changed",
            "sync root-ca",
        ),
        ({"ago": 7200}, Level.WARN, "should run every minute, and last ran 2 hours ago", "ocsp"),
    ],
)
def test_the_last_run(ca, places, cron, state, level, text, command):
    job(places)
    if state is not None:
        ran(ca, **state)
    found = problem(sync_job, subject_of(write_config(ca.home, sync_from=SOURCE)))
    assert found.level == level and re.search(text, found.what), found.what
    assert command in found.command


def old_jobs(places: Path, target: str) -> None:
    """The jobs of version 0.2."""
    options = '--copy-links --rsh="ssh -o BatchMode=yes"'
    service = f"[Service]\nExecStart=/usr/bin/rsync {options} {SOURCE} {target}\n"
    (places / "units" / "ocsp-cgi-sync.service").write_text(service)
    line = f"* * * * * root flock x rsync {options} {SOURCE} {target} && touch {target}heartbeat\n"
    (places / "cron" / "ocsp-cgi-sync").write_text(f"# rsync a:b /c\n{line}")


def test_jobs_of_earlier_versions(ca, places):
    old_jobs(places, "/etc/ssl/ocsp/db/")
    found = problems(sync_job, subject_of(ca.home / "ocsp-cgi.conf"))
    assert [finding.level for finding in found] == [Level.FAIL, Level.FAIL]
    for finding in found:
        assert f"copies {SOURCE} to /etc/ssl/ocsp/db/, which is no `db`" in finding.what
        assert finding.command.endswith(f"install --sync-from {SOURCE}")
    old_jobs(places, f"{ca.home}/db/")
    found = problems(sync_job, subject_of(ca.home / "ocsp-cgi.conf"))
    assert [finding.level for finding in found] == [Level.WARN, Level.WARN]


def test_the_jobs_in_this_version_are_not_taken_for_old_ones_unless_they_are(ca, places):
    """They run either rsync itself, or our own command."""
    shutil.copy(APACHE / "ocsp-cgi-sync.service", places / "units")
    text = (APACHE / "ocsp-cgi-sync.service").read_text()
    found = problems(sync_job, subject_of(ca.home / "ocsp-cgi.conf"))
    assert bool(found) == ("ExecStart=/usr/bin/rsync" in text)
