"""What a log has that needs a person."""

from __future__ import annotations

import os
import time

import pytest
from checks.conftest import SITE
from clients import as_nobody

from ocsp_cgi import limits, times
from ocsp_cgi.checks import error_log, live
from ocsp_cgi.checks.finding import Finding, Level
from ocsp_cgi.tools import error_log as reader

NOW = 1795922400


@pytest.fixture
def log(place):
    return place / "error.log"


def examine(log) -> list[Finding]:
    return error_log.examine_log(str(log), NOW)


def line(ago: int, text: str) -> str:
    return f"{times.log_time(NOW - ago)} ocsp.cgi: {text}\n"


def test_nothing(log):
    log.write_text(line(100000, "error: long ago") + line(60, "POST serial=1 status=good ca=a"))
    assert examine(log) == [
        Finding(Level.OK, "nothing in the log of the last day needs a person", str(log), "")
    ]


def test_errors_and_warnings(log):
    log.write_text(
        line(7200, "error: an older one")
        + line(1800, "error: the disk\x1b[31m fails")
        + line(1700, "warning: an odd row")
        + line(60, "POST serial=1 status=good ca=a")
    )
    failed, warned = examine(log)
    moment = times.log_time(NOW - 1800)
    assert failed == Finding(
        Level.WARN,
        "2 `error:` lines in the last day, 1 of them in the last hour; the last, of"
        f" {moment}: the disk\\x1b[31m fails (1 request answered since then)",
        str(log),
        f"grep 'ocsp.cgi: error: ' {log} | tail",
    )
    assert warned.level is Level.WARN
    assert warned.what.startswith("1 `warning:` line in the last day; the last, of ")


def test_never_issued(log):
    """A warning above a threshold, never a failure: anyone can ask."""
    asked = "never-issued: serial={} ca={} is not in /srv/db/index client=192.0.2.1"
    some = [line(60 + n, asked.format(f"{n % 3:X}", "sub ca")) for n in range(2)]
    many = [
        line(60, asked.format(f"{n % 3:X}", "root-ca")) for n in range(limits.NEVER_ISSUED_PER_DAY)
    ]
    log.write_text("".join(some + many))
    few, none = examine(log)
    assert few.level is none.level is Level.OK
    assert none.what == (
        "[sub ca] was asked 2 times in the last day for 2 serial numbers that its index does not"
        " have, the last 1"
    )
    log.write_text("".join([*some, *many, many[0]]))
    warned, _ = examine(log)
    assert warned.level is Level.WARN
    assert warned.what.startswith("[root-ca] was asked 11 times in the last day for 3 serial")
    assert warned.command == f"grep 'ocsp.cgi: never-issued: ' {log} | tail"


@pytest.mark.slow
def test_a_log_that_is_longer_than_is_read(log):
    filler = line(3 * 3600, "POST serial=1 status=good ca=a client=192.0.2.1") * 1000
    with open(log, "w") as file:
        for _ in range(limits.ERROR_LOG_BYTES // len(filler) + 1):
            file.write(filler)
    [finding] = examine(log)
    assert finding.what == (
        "nothing in the log of the last 3 hours (no more than 16 MiB are read) needs a person"
    )


def test_a_log_that_cannot_be_read(log):
    [finding] = examine(log)
    assert finding.level is Level.WARN
    assert finding.what == "not checked: the error log cannot be read: No such file or directory"
    log.write_text("")
    log.chmod(0)
    with as_nobody():
        [finding] = examine(log)
    assert finding.what == "not checked: this user may not read the error log"
    assert finding.command == f"sudo tail {log}"


@pytest.mark.apache
def test_a_log_that_is_not_a_file(web, place):
    with web.serving(place) as (server, subject):
        config = server.home / "httpd.conf"
        config.write_text(
            config.read_text().replace(f'"{server.home}/run/error.log"', "syslog:local7")
        )
        [finding] = error_log.examine(subject)
    assert finding.level is Level.OK and "the error log is `syslog:local7` and not" in finding.what


@pytest.mark.apache
@pytest.mark.parametrize("mpm", ["event", "prefork"])
def test_lines_of_a_real_apache(web, place, mpm):
    """A config that is not there is an error, in the log that the virtual host's scripts have."""
    site = SITE.replace("TraceEnable off", "ErrorLog run/own.log")
    with web.serving(place, site, mpm) as (server, subject):
        live.examine(subject)
        [finding] = error_log.examine(subject)[:1]
        own = server.home / "run" / ("error.log" if mpm == "event" else "own.log")
        extract = reader.read(str(own), int(time.time()) - 60)
    assert finding.level is Level.OK and os.path.exists(own)
    assert [" status=good " in one.text for one in extract.lines] == [True] * 5
