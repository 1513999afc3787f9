"""The command `check`.  What each check finds is tested in tests/checks/."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from checking import MYSELF, write_config
from clients import settle

from ocsp_cgi.checks.finding import Level
from ocsp_cgi.commands import check as command
from ocsp_cgi.tools import as_user
from ocsp_cgi.tools.entry import CommandError

pytestmark = pytest.mark.process

CHECKOUT = Path(__file__).resolve().parents[2]


def check(*options: str) -> tuple[int, str, str]:
    run = subprocess.run(
        [sys.executable, "-m", "ocsp_cgi", "check", *options],
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        env={"PYTHONPATH": str(CHECKOUT), "PATH": os.environ["PATH"]},
    )
    return run.returncode, run.stdout, run.stderr


def findings(*options: str) -> dict[str, dict]:
    """What is found, by its text; Apache is that of this machine, and may not be there at all."""
    returned, output, errors = check("--json", "--user", MYSELF, *options)
    assert errors == ""
    found = json.loads(output)
    assert returned == found["exit_code"]
    return {finding["what"]: finding for finding in found["findings"]}


@pytest.mark.slow
def test_every_check_looks_at_a_good_ca(ca):
    path = str(ca.home / "ocsp-cgi.conf")
    found = findings("--config", path)
    about_the_ca = [text for text, one in found.items() if one["where"] == "[root-ca]"]
    assert {found[text]["level"] for text in about_the_ca} == {"OK"}
    for text in (
        f"checked as {MYSELF}",
        "the config can be loaded: [root-ca]",
        f"{MYSELF} can read all 5 files of the config",
        "its key (EC, 256 bits) matches",
        "root-ocsp.crt: expires in ",
        "root-ca.crt: expires in ",
        "db/index: 3 valid, 2 revoked, 0 expired",
        "no `cache` in [root-ca]",
        "makes a signed response: good for",
        "the clock says ",
    ):
        assert any(text in one for one in found), text
    log = "this user may not read the error log"  # that of this machine's Apache
    assert not any("not checked" in one and log not in one for one in found)


@pytest.mark.slow
def test_one_cause_is_one_finding(ca):
    """The key is read by three checks."""
    path = write_config(ca.home, rkey="private/gone.key")
    found = findings("--config", str(path))
    about_the_key = [
        text
        for text, one in found.items()
        if one["level"] == "FAIL" and ("key" in text or one["where"] == "[root-ca]")
    ]
    assert len(about_the_key) == 1 and "gone.key: No such file" in about_the_key[0]


@pytest.mark.parametrize(
    "options, text",
    [
        (("--config", "/nowhere/x.conf"), "/nowhere/x.conf: No such file or directory; this is"),
        pytest.param(
            ("--config", "/etc/passwd"),
            "/etc/passwd:1: neither `setting = value` nor [section]",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_config_that_cannot_be_used(options, text):
    """It hides nothing that does not depend on it."""
    found = findings(*options)
    assert [one["level"] for what, one in found.items() if text in what] == ["FAIL"]
    assert any("the clock says" in one for one in found)


@pytest.mark.parametrize(
    "options, text",
    [
        (("--user", "nobody-of-that-name"), "there is no user nobody-of-that-name"),
        (("--warning", "x"), "invalid number of days `x`"),
        (("--warning", "3"), "--warning 3 must not be less than --critical 7"),
        (("--cert", "/nowhere.crt"), "--cert /nowhere.crt: no such file"),
        (("other-ca",), "no [other-ca] in the config; its CAs are [root-ca]"),
        (("--nonsense",), "unrecognized arguments: --nonsense"),
    ],
)
def test_what_cannot_be_checked_at_all(pki, options, text):
    returned, output, errors = check("--config", str(pki.home / "ocsp-cgi.conf"), *options)
    assert (returned, output, text in errors) == (3, "", True), errors


@pytest.mark.slow
def test_one_ca_of_several(ca):
    path = ca.home / "ocsp-cgi.conf"
    (ca.home / "second").mkdir()
    (ca.home / "second" / "index").write_text("not an index\n")
    settle(ca.home / "second" / "index")
    path.write_text(
        path.read_text().partition("[responder]")[0]
        + "[second]\ndb = second\nca = good.crt\nrsigner = good.crt\nrkey = gone\n"
    )
    both = findings("--config", str(path))
    assert {one["where"] for one in both.values()} >= {"[root-ca]", "[second]"}
    first = findings("--config", str(path), "root-ca")
    assert "[second]" not in {one["where"] for one in first.values()}
    assert {one["level"] for one in first.values() if one["where"] == "[root-ca]"} == {"OK"}
    second = findings("--config", str(path), "second")
    assert "FAIL" in {one["level"] for one in second.values() if one["where"] == "[second]"}


@pytest.mark.slow
def test_exit_codes_and_quiet(ca):
    path = str(ca.home / "ocsp-cgi.conf")
    options = ("--config", path, "--user", MYSELF)
    returned, output, _ = check(*options, "--warning", "100")
    assert returned >= 1
    assert "\nWARN  [root-ca] " in output and output.startswith("OCSP ")
    returned, output, _ = check(*options, "--warning", "100", "--critical", "95", "--quiet")
    assert returned == 2
    assert not output.startswith("OCSP") and "\nOK" not in output
    assert any(
        line.startswith("FAIL  [root-ca] ") and "root-ocsp.crt: expires in " in line
        for line in output.splitlines()
    )


def test_a_check_that_fails_hides_no_other(monkeypatch, ca):
    """A new version of Python, say, breaks one of them."""
    from checking import subject_of

    from ocsp_cgi.checks import database

    def broken(subject):
        return 1 / 0

    monkeypatch.setattr(database, "examine", broken)
    [found] = command._examine("database", subject_of(ca.home / "ocsp-cgi.conf"))
    assert found.level == Level.WARN
    assert found.what.startswith("not checked: database: ") and "test_check.py:" in found.what
    [missing] = command._examine("no_such_check", subject_of(ca.home / "ocsp-cgi.conf"))
    assert missing.what.startswith("not checked: no such check: ")


def run_here(*options: str) -> list:
    """The exit code of the command in this process, and what it prints."""
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        try:
            status = command.run(parser.parse_args(options))
        except CommandError as error:
            return [error.status, str(error)]
    return [status, output.getvalue()]


@pytest.mark.root
def test_without_root_only_oneself_can_be_checked(ca):
    path = str(ca.home / "ocsp-cgi.conf")
    (ca.home / "private").chmod(0o755)
    run_here("--config", path)  # loads what daemon may be unable to read
    status, text = as_user.call("daemon", run_here, "--config", path, "--user", "root")
    assert status == 3
    assert text.startswith("only root can check what root may do: sudo ")
    status, text = as_user.call("daemon", run_here, "--config", path)
    assert status == 2
    assert "checked as daemon" in text
    assert "root-ocsp.key: Permission denied; `rkey` names it" in text
    if "and not as the responder's user" in text:
        assert "sudo " in text and "chgrp daemon" not in text
    status, text = as_user.call("daemon", run_here, "--config", path, "--user", "daemon")
    assert status == 2 and "chgrp daemon" in text


@pytest.mark.slow
def test_a_long_index_takes_seconds(ca):
    with open(ca.home / "db" / "index", "a") as file:
        for number in range(1_000_000):
            file.write(f"V\t270220135115Z\t\t{number + 2**120:X}\tunknown\t/C=GB/CN=x{number}\n")
    settle(ca.home / "db" / "index")
    found = findings("--config", str(ca.home / "ocsp-cgi.conf"))
    assert any("index: 1000003 valid, 2 revoked" in text for text in found)
