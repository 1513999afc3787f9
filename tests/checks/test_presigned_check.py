"""Responses signed in advance, as `check` sees them."""

from __future__ import annotations

import shutil
import sys

import pytest
from checking import problem, problems, subject_of, write_config
from clients import settle

from ocsp_cgi import command_line, limits
from ocsp_cgi.checks import presigned, sync_job
from ocsp_cgi.checks.finding import Level
from ocsp_cgi.tools.data_files import APACHE


@pytest.fixture
def path(ca, place, monkeypatch):
    """The config of a CA for which a job is installed."""
    monkeypatch.setattr(limits, "DATABASE_SETTLING_SECONDS", 0.1)
    monkeypatch.setattr(presigned, "_PATIENCE_SECONDS", 0)
    monkeypatch.setattr(sync_job, "UNITS", place / "units")
    monkeypatch.setattr(sync_job, "CRON", place)
    (place / "ocsp-cgi-presign").touch()
    (ca.home / "cache").mkdir(mode=0o750)
    settle(ca.home / "db" / "index")
    return write_config(ca.home, cache="cache", presign="yes")


def presign(path, monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", ["ocsp-cgi", "presign", "--quiet", "--config", str(path)])
    assert command_line.main() == 0


def test_nothing_to_presign(ca):
    assert presigned.examine(subject_of(ca.home / "ocsp-cgi.conf")) == []


def test_all_is_there(path, monkeypatch):
    presign(path, monkeypatch)
    [found] = presigned.examine(subject_of(path))
    assert found.level == Level.OK
    assert found.what == "presigned: all of 5 certificates looked at"


def test_what_is_missing(ca, path, monkeypatch):
    found = problem(presigned, subject_of(path))
    assert found.level == Level.WARN
    assert found.what == "5 of 5 certificates looked at have no presigned response"
    assert found.command.endswith("presign root-ca")
    presign(path, monkeypatch)
    ca.revoke("good")
    settle(ca.home / "db" / "index")
    assert problem(presigned, subject_of(path)).what.startswith("1 of 5 certificates ")
    presign(path, monkeypatch)
    assert problems(presigned, subject_of(path)) == []


def test_nmin_is_short_for_the_timer(ca, path, place):
    """What `presign` signs now would be missing again before the job's next run but one."""
    write_config(ca.home, cache="cache", presign="yes", nmin="39")
    assert problem(presigned, subject_of(path)).command  # cron starts the job more often
    (place / "units").mkdir()
    timer = place / "units" / "ocsp-cgi-presign.timer"
    shutil.copy(APACHE / timer.name, timer)
    assert f"OnCalendar=*:0/{presigned._TIMER_MINUTES}\n" in timer.read_text()
    found = problem(presigned, subject_of(path))
    assert found.what.endswith("but it runs every 10: set `nmin` to 40 or more")
    assert "use it for 9.75 more minutes" in found.what and not found.command
    write_config(ca.home, cache="cache", presign="yes", nmin="40")
    assert problem(presigned, subject_of(path)).command


def test_several_rows_for_one_serial_number(ca, path, monkeypatch):
    index = ca.home / "db" / "index"
    row = next(one for one in index.read_text().splitlines() if "CN=good" in one)
    index.write_text(f"{index.read_text()}{row}2\n")
    settle(index)
    presign(path, monkeypatch)
    assert problems(presigned, subject_of(path)) == []
    revoked = row.split("\t")
    revoked[0], revoked[2] = "R", "260101000000Z"
    index.write_text(index.read_text() + "\t".join(revoked) + "\n")
    settle(index)
    assert problem(presigned, subject_of(path)).what.startswith("1 of 5 certificates ")


def test_what_is_missing_yet(path, monkeypatch):
    monkeypatch.setattr(presigned, "_PATIENCE_SECONDS", 900)
    [found] = presigned.examine(subject_of(path))
    assert found.level == Level.OK and found.what.endswith(" yet, since the index has just changed")


def test_no_job(path, place, monkeypatch):
    presign(path, monkeypatch)
    (place / "ocsp-cgi-presign").unlink()
    found = problem(presigned, subject_of(path))
    assert (found.level, found.command.split()[-1]) == (Level.WARN, "install")
    (place / "units").mkdir()
    (place / "units" / "ocsp-cgi-presign.timer").touch()
    assert problems(presigned, subject_of(path)) == []


def test_no_cache(ca, path):
    path = write_config(ca.home, presign="yes")
    assert "there is no `cache`" in problem(presigned, subject_of(path)).what
