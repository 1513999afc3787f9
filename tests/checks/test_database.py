"""The database, as `check` sees it."""

from __future__ import annotations

import os
import time

import pytest
from checking import problem, problems, subject_of, write_config
from clients import settle

from ocsp_cgi.checks import database, index_survey
from ocsp_cgi.checks.finding import Level

HOUR = 3600


def index(ca):
    return ca.home / "db" / "index"


def append(ca, *lines: str) -> None:
    with open(index(ca), "a") as file:
        file.write("".join(f"{line}\n" for line in lines))
    settle(index(ca))


def test_rows_by_type(ca):
    found = database.examine(subject_of(ca.home / "ocsp-cgi.conf"))
    assert {finding.level for finding in found} == {Level.OK}
    assert found[0].what.endswith("db/index: 3 valid, 2 revoked, 0 expired")
    values = {one.name: one.value for finding in found for one in finding.measures}
    assert (values["root-ca valid"], values["root-ca revoked"]) == (3, 2)
    assert 60 <= values["root-ca index age"] < HOUR


def test_malformed_lines_have_their_numbers(ca):
    append(
        ca,
        "",
        "V\t270220135115Z\t\tABC",
        "R\t270220135115Z\t2611221351\tABCD\tunknown\t/CN=x",
        "V\t270220135115Z\t261122135115Z\tABCE\tunknown\t/CN=x",
        "X\t270220135115Z\t\tABCF\tunknown\t/CN=x",
        "R 270220135115Z 261122135115Z ABD0 unknown /CN=x",
        "V\t270220135115Z\t\tABD1\tunknown\t/CN=x\tE\t270220135115Z",
    )
    found = problem(database, subject_of(ca.home / "ocsp-cgi.conf"))
    assert found.level == Level.WARN
    before = len(index(ca).read_text().split("\n\n")[0].split("\n"))
    assert "db/index: 6 lines to correct: " in found.what
    for number, text in (
        (2, "not a row (six fields with TABs between them)"),
        (3, "revocation date `2611221351` cannot be read"),
        (4, "type V, and `261122135115Z` in the field of the revocation date"),
        (5, "type `X` is not one of V, R, E, S: unknown"),
        (6, "not a row of six fields, but it says R: revoked"),
    ):
        assert f"line {before + number}: {text}" in found.what
    assert found.what.endswith("; and 1 more")


def test_what_other_tools_write_is_not_malformed(ca):
    append(
        ca,
        '# a comment',
        'V\t270220135115Z\t"empty"\t0abc\tunknown\t/CN=x',
        "V\t270220135115Z\t270220135115Z\tABD0\tunknown\t/CN=x",
        "E\t20600220135115Z\t\tABD1\tunknown\t/CN=x",
        "R\t270220135115Z\t261122135115Z,keyTime,20261122135115Z\tABD2\tunknown\t/CN=x",
    )  # fmt: skip
    found = database.examine(subject_of(ca.home / "ocsp-cgi.conf"))
    assert {finding.level for finding in found} == {Level.OK}
    assert found[0].what.endswith("db/index: 5 valid, 3 revoked, 1 expired")


def test_several_rows_of_one_serial(ca):
    serial = ca.serial("good").lstrip("0")
    append(ca, f"R\t270220135115Z\t261122135115Z\t00{serial.lower()}\tunknown\t/CN=good")
    found = problem(database, subject_of(ca.home / "ocsp-cgi.conf"))
    lines = index(ca).read_text().split("\n")
    at = next(number for number, line in enumerate(lines, 1) if serial in line)
    assert "1 serial number with several rows, of which a revoked one is used" in found.what
    assert found.what.endswith(f"{serial} in lines {at}, {len(lines) - 1}")


@pytest.mark.slow
def test_a_million_rows_take_seconds_and_little_memory(tmp_path):
    path = tmp_path / "index"
    with open(path, "w") as file:
        for number in range(1_000_000):
            file.write(f"V\t270220135115Z\t\t{number + 2**120:X}\tunknown\t/C=GB/CN=x{number}\n")
        file.write(f"V\t270220135115Z\t\t{7 + 2**120:X}\tunknown\t/C=GB/CN=x\n")
    found = index_survey.survey(str(tmp_path))
    assert found["types"] == {"V": 1_000_001}
    assert found["repeated"] == [(f"{7 + 2**120:X}", [8, 1_000_001])]


def cut(db) -> None:
    os.truncate(db / "index", (db / "index").read_text().index("\n") + 20)


@pytest.mark.parametrize(
    "damage, text",
    [
        (lambda db: (db / "index").unlink(), "db/index: No such file or directory"),
        (lambda db: (db / "index.txt").touch(), "both index and index.txt"),
        (lambda db: (db / "index").write_text("hello\n"), "has no row in it"),
        (cut, "breaks off in the middle of its last line"),
    ],
)
@pytest.mark.slow
def test_an_index_that_cannot_be_trusted(ca, damage, text):
    damage(ca.home / "db")
    if (ca.home / "db" / "index").exists():
        settle(ca.home / "db" / "index")
    found = problems(database, subject_of(ca.home / "ocsp-cgi.conf"))
    assert found[0].level >= Level.WARN
    assert any(text in finding.what and finding.level == Level.FAIL for finding in found)


def test_index_attr_does_not_matter(ca):
    (ca.home / "db" / "index.attr").write_text("unique_subject = no\n")
    (ca.home / "db" / "index.attr").chmod(0)
    assert problems(database, subject_of(ca.home / "ocsp-cgi.conf")) == []


def test_a_signer_that_is_revoked_or_has_no_row(ca):
    path = ca.home / "ocsp-cgi.conf"
    ca.revoke("root-ocsp")
    settle(index(ca))
    found = problem(database, subject_of(path))
    assert (found.level, "revoked in the database of [root-ca]" in found.what) == (Level.FAIL, True)
    serial = ca.serial("root-ocsp")
    rows = [row for row in index(ca).read_text().splitlines(True) if serial not in row]
    index(ca).write_text("".join(rows))
    settle(index(ca))
    found = problem(database, subject_of(path))
    assert (found.level, "no row of" in found.what) == (Level.WARN, True)
    index(ca).write_text("".join(rows) + f"V\t330101000000Z\t\t{serial}\tunknown\t/CN=other\n")
    settle(index(ca))
    found = problem(database, subject_of(path))
    assert (found.level, "it is the database of another CA" in found.what) == (Level.FAIL, True)


def test_a_heartbeat_that_is_missing_old_or_from_the_future(ca):
    path = write_config(ca.home, stale_after="10", sync_from="ca.example.com:db/index")
    heartbeat = ca.home / "db" / "heartbeat"
    found = problem(database, subject_of(path))
    assert (found.level, "heartbeat: No such file" in found.what) == (Level.FAIL, True)
    assert found.command.endswith(" sync root-ca")
    heartbeat.touch()
    assert problems(database, subject_of(path)) == []
    os.utime(heartbeat, (time.time() - 7 * 24 * HOUR,) * 2)
    found = problem(database, subject_of(path))
    assert "last copied 7 days ago, more than stale_after = 10 minutes" in found.what
    [age] = [one for one in found.measures if one.name == "root-ca heartbeat age"]
    assert (age.value // 60, age.unit, age.critical) == (7 * 24 * 60, "s", "600")
    os.utime(heartbeat, (time.time() + HOUR,) * 2)
    assert "in the future" in problem(database, subject_of(path)).what


def test_a_copied_index_without_stale_after(ca):
    """The command adds the setting."""
    path = write_config(ca.home, sync_from="ca.example.com:db/index")
    found = problem(database, subject_of(path))
    assert (found.level, "no `stale_after`" in found.what) == (Level.WARN, True)
    assert os.system(found.command) == 0
    assert subject_of(path).settings.cas[0].stale_after == 10
    # A CA whose index comes on a stick has none.
    assert problems(database, subject_of(write_config(ca.home, sync_from="/media/index"))) == []
    (ca.home / "db" / "heartbeat").touch()
    path = write_config(ca.home, sync_from="ca.example.com:db/index", stale_after="never")
    os.utime(ca.home / "db" / "heartbeat", (0, 0))
    assert problems(database, subject_of(path)) == []


def test_an_index_from_the_future(ca):
    os.utime(index(ca), (time.time() + 2 * 24 * HOUR + 60,) * 2)
    found = problem(database, subject_of(ca.home / "ocsp-cgi.conf"))
    assert (found.level, "was written 2 days in the future" in found.what) == (Level.WARN, True)


@pytest.mark.root
def test_a_mounted_file(ca):
    import subprocess

    mounted = f"mount --bind {index(ca)} {index(ca)} && cat /proc/self/mountinfo"
    run = subprocess.run(["unshare", "--mount", "sh", "-c", mounted], capture_output=True)
    assert run.returncode == 0, run.stderr
    info = ca.home / "mountinfo"
    info.write_bytes(run.stdout)
    before, database._MOUNTS = database._MOUNTS, str(info)
    try:
        found = problem(database, subject_of(ca.home / "ocsp-cgi.conf"))
    finally:
        database._MOUNTS = before
    assert "this file itself is a mount" in found.what


def test_the_rows_of_two_signers(ca):
    """A revoked one is a warning while the other is not."""
    ca.issue("second", "ocsp_ext")
    settle(ca.home / "db" / "index")
    path = write_config(ca.home, rsigner2="second.crt", rkey2="private/second.key")
    assert problems(database, subject_of(path)) == []
    ca.revoke("second")
    settle(ca.home / "db" / "index")
    found = problem(database, subject_of(path))
    assert (found.level, "second.crt: revoked in" in found.what) == (Level.WARN, True)
    assert found.command.endswith(" renew root-ca --signer 2")
    ca.revoke("root-ocsp")
    settle(ca.home / "db" / "index")
    assert [one.level for one in problems(database, subject_of(path))] == [Level.FAIL] * 2


def test_the_second_signer_without_a_row(ca):
    ca.issue("second", "ocsp_ext")
    index, serial = ca.home / "db" / "index", ca.serial("second")
    rows = [row for row in index.read_text().splitlines(True) if serial not in row]
    index.write_text("".join(rows))
    settle(index)
    path = write_config(ca.home, rsigner2="second.crt", rkey2="private/second.key")
    found = problem(database, subject_of(path))
    assert found.level == Level.WARN and "(warning=rsigner2-has-no-row-in-db)" in found.what
