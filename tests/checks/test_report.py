"""How `check` prints what it has found."""

from __future__ import annotations

import io
import json
import re

import pytest

from ocsp_cgi.checks import report
from ocsp_cgi.checks.finding import Finding, Level, Measure
from ocsp_cgi.checks.subject import Subject

SUBJECT = Subject("/etc/ssl/ocsp-cgi.conf", None, "www-data", None, 1_795_931_804)
GOOD = Finding(Level.OK, "it is", "[root-ca]", measures=(Measure("rows", 3),))
DAYS = Measure("it's ca signer days", 12, "", "30:", "7:")
WARNING = Finding(Level.WARN, "expires in 12 days", "/x.crt", "ocsp-cgi renew ca", (DAYS,))
FAILURE = Finding(Level.FAIL, "/y.key: gone | and " + "far " * 30 + "away", "/y.key")


def text(findings, quiet: bool = False) -> str:
    file = io.StringIO()
    report.write(findings, quiet, file)
    return file.getvalue()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_a_terminal(findings, quiet: bool = False) -> str:
    """What is printed on a terminal of 80 columns."""
    file = Terminal()
    report.write(findings, quiet, file)
    return file.getvalue()


@pytest.fixture(autouse=True)
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("NO_COLOR", raising=False)


def test_the_first_line_of_a_nagios_plug_in():
    assert text([GOOD]).split("\n")[0] == "OCSP OK - all 1 checks passed | 'rows'=3"
    assert text([GOOD, WARNING]).split("\n")[0] == (
        "OCSP WARNING - 1 problem: /x.crt: expires in 12 days"
        " | 'rows'=3 'it''s ca signer days'=12;30:;7:"
    )
    first = text([WARNING, FAILURE]).split("\n")[0]
    assert first.startswith("OCSP CRITICAL - 2 problems: /y.key: gone / and far")
    assert first.count("|") == 1


def test_one_line_for_each_finding_and_one_for_its_command():
    assert text([GOOD, WARNING, FAILURE]).split("\n")[1:4] == [
        "OK    [root-ca] it is",
        "WARN  /x.crt: expires in 12 days",
        "          ocsp-cgi renew ca",
    ]
    assert text([FAILURE]).split("\n")[1].startswith("FAIL  /y.key: gone | and far")


def test_quiet():
    assert text([GOOD], quiet=True) == ""
    assert text([GOOD, WARNING], quiet=True) == (
        "WARN  /x.crt: expires in 12 days\n          ocsp-cgi renew ca\n"
    )


def test_on_a_terminal():
    printed = on_a_terminal([GOOD, WARNING, FAILURE])
    assert "\033[32mOK  \033[0m  [root-ca] it is" in printed
    assert "\033[33mWARN\033[0m" in printed and "\033[1;31mFAIL\033[0m" in printed
    assert "'rows'=3" not in printed
    plain = re.sub(r"\033\[[\d;]*m", "", printed)
    assert max(map(len, plain.split("\n"))) <= 80
    assert "\n      far far" in plain


@pytest.mark.parametrize("name, value", [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_without_colour(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert "\033" not in on_a_terminal([WARNING])


def test_what_a_file_says_cannot_control_the_terminal():
    assert "\033" not in text([Finding(Level.FAIL, "\033[2Jgone", "\033x", "rm \033")])


def test_json():
    file = io.StringIO()
    report.write_json([GOOD, WARNING], SUBJECT, False, file)
    assert json.loads(file.getvalue()) == {
        "status": "WARNING",
        "exit_code": 1,
        "summary": "1 problem: /x.crt: expires in 12 days",
        "time": 1_795_931_804,
        "config": "/etc/ssl/ocsp-cgi.conf",
        "user": "www-data",
        "findings": [
            {"level": "OK", "what": "it is", "where": "[root-ca]", "command": ""},
            {
                "level": "WARN",
                "what": "expires in 12 days",
                "where": "/x.crt",
                "command": "ocsp-cgi renew ca",
            },
        ],
        "measures": [
            {"name": "rows", "value": 3, "unit": "", "warning": "", "critical": ""},
            {
                "name": "it's ca signer days",
                "value": 12,
                "unit": "",
                "warning": "30:",
                "critical": "7:",
            },
        ],
    }
    file = io.StringIO()
    report.write_json([GOOD], SUBJECT, True, file)
    assert file.getvalue() == ""


def test_one_cause_is_reported_once():
    again = WARNING._replace(where="[root-ca]", command="", measures=(Measure("rows", 3),))
    [merged] = report.without_repeats([again, WARNING])
    assert merged.command == WARNING.command
    assert [one.name for one in merged.measures] == ["rows", DAYS.name]
