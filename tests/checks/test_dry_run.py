"""The dry run of the responder."""

from __future__ import annotations

import pytest
from checking import problem, problems, subject_of, write_config
from clients import settle

from ocsp_cgi.checks import dry_run, signer
from ocsp_cgi.checks.finding import Level


def test_a_good_response(ca):
    path = write_config(ca.home, cache="cache")
    (ca.home / "cache").mkdir()
    [found] = dry_run.examine(subject_of(path))
    assert found.level == Level.OK
    assert found.what.endswith(f"makes a signed response: good for {ca.home}/root-ocsp.crt itself")
    assert list((ca.home / "cache").iterdir()) == []


@pytest.mark.root
def test_as_the_user_of_the_responder(ca):
    path = ca.home / "ocsp-cgi.conf"
    (ca.home / "private").chmod(0o700)
    found = problem(dry_run, subject_of(path, "nobody"))
    assert (found.level, "root-ocsp.key: Permission denied" in found.what) == (Level.FAIL, True)


def test_what_the_responder_says_is_what_the_other_checks_say(ca):
    path = write_config(ca.home, rsigner="good.crt", rkey="private/good.key")
    assert problem(dry_run, subject_of(path)).what == problem(signer, subject_of(path)).what


def test_a_signer_without_a_row(ca):
    index, serial = ca.home / "db" / "index", ca.serial("root-ocsp")
    rows = [row for row in index.read_text().splitlines(True) if serial not in row]
    index.write_text("".join(rows))
    settle(index)
    found = problem(dry_run, subject_of(ca.home / "ocsp-cgi.conf"))
    assert (found.level, "no row of" in found.what) == (Level.WARN, True)


def test_a_revoked_signer(ca):
    ca.revoke("root-ocsp")
    settle(ca.home / "db" / "index")
    found = problem(dry_run, subject_of(ca.home / "ocsp-cgi.conf"))
    assert (found.level, "revoked in the database" in found.what) == (Level.FAIL, True)


def test_a_ca_that_signs_its_responses_itself(ca):
    (ca.home / "private" / "root-ca.key").chmod(0o600)
    path = write_config(ca.home, rsigner="root-ca.crt", rkey="private/root-ca.key")
    assert problems(dry_run, subject_of(path)) == []


@pytest.mark.slow
def test_a_file_that_hangs_is_given_up(ca, monkeypatch):
    import os

    from ocsp_cgi.tools import as_user

    monkeypatch.setattr(as_user, "SECONDS", 0.5)
    (ca.home / "db" / "index").unlink()
    os.mkfifo(ca.home / "db" / "index")
    found = problem(dry_run, subject_of(ca.home / "ocsp-cgi.conf"))
    assert "no result within 0.5 seconds" in found.what


def test_the_first_of_two_signers_cannot_sign(ca):
    ca.issue("second", "ocsp_ext")
    settle(ca.home / "db" / "index")
    path = write_config(ca.home, rsigner2="second.crt", rkey2="private/second.key")
    [found] = dry_run.examine(subject_of(path))
    assert found.level == Level.OK and found.what.endswith("root-ocsp.crt itself")
    ca.revoke("root-ocsp")
    settle(ca.home / "db" / "index")
    found = problem(dry_run, subject_of(path))
    assert "`rsigner` cannot sign" in found.what and "revoked in the database" in found.what
    (ca.home / "root-ocsp.crt").unlink()
    found = problem(dry_run, subject_of(path))
    assert found.level == Level.WARN
    assert "`rsigner` cannot sign" in found.what and "No such file" in found.what
