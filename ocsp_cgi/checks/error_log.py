"""Apache's error log: what ocsp.cgi has written there that needs a person, and who asked for
certificates that were never issued."""

from __future__ import annotations

import collections
import re
import shlex

from .. import index_file, limits, times
from ..answer import printable
from ..tools import apache_config, apache_dump, error_log
from ..tools.error_log import Extract, Line
from ..tools.labelled import plural
from .finding import Finding, Level
from .subject import Subject

_HOUR_SECONDS = 60 * 60
_DAY_SECONDS = 24 * _HOUR_SECONDS
_QUOTED_CHARACTERS = 300


def examine(subject: Subject) -> list[Finding]:
    return [finding for log in _logs(subject) for finding in examine_log(log, subject.now)]


def examine_log(log: str, now: int) -> list[Finding]:
    """What is in one ErrorLog, a path or what Apache takes in its place."""
    if apache_config.is_no_file(log):
        text = (
            f"not checked: the error log is `{printable(log)}` and not a file; look there for"
            " `ocsp.cgi: error: `"
        )
        return [Finding(Level.OK, text)]
    try:
        extract = error_log.read(log, now - _DAY_SECONDS)
    except PermissionError:
        text = "not checked: this user may not read the error log"
        return [Finding(Level.WARN, text, log, f"sudo tail {shlex.quote(log)}")]
    except OSError as error:
        text = f"not checked: the error log cannot be read: {error.strerror}"
        return [Finding(Level.WARN, text, log)]
    return _examine(log, extract, now)


def _logs(subject: Subject) -> list[str]:
    """The logs in which lines of ocsp.cgi may be: the main one, and those of the virtual hosts that
    lead to it."""
    try:
        configuration = apache_dump.read(apache_dump.command(subject.layout, subject.apache))
    except apache_dump.Unreadable:
        return [subject.layout.error_log] if subject.layout else []
    logs = configuration.error_logs(apache_config.MAIN_SERVER)
    for script in configuration.scripts():
        logs += configuration.error_logs(script.virtual_host)
    return list(dict.fromkeys(logs))


def _examine(path: str, extract: Extract, now: int) -> list[Finding]:
    span = now - extract.since
    period = "the last day"
    if span < _DAY_SECONDS:
        read = f"{limits.ERROR_LOG_BYTES >> 20} MiB"
        period = f"the last {index_file.duration(span)} (no more than {read} are read)"
    of_kind: dict[str, list[Line]] = collections.defaultdict(list)
    for line in extract.lines:
        of_kind[line.kind].append(line)
    findings = [
        _needs_a_person(path, kind, of_kind[kind], of_kind[""], period, now)
        for kind in ("error", "warning")
        if of_kind[kind]
    ]
    findings += _never_issued(path, of_kind["never-issued"], period)
    if not findings:
        text = f"nothing in the log of {period} needs a person"
        findings.append(Finding(Level.OK, text, path))
    return findings


def _needs_a_person(
    path: str, kind: str, lines: list[Line], requests: list[Line], period: str, now: int
) -> Finding:
    last = lines[-1]
    text = f"{plural(len(lines), f'`{kind}:` line')} in {period}"
    recent = sum(line.time > now - _HOUR_SECONDS for line in lines)
    if len(lines) > recent > 0:
        text += f", {recent} of them in the last hour"
    text += f"; the last, of {times.log_time(last.time)}: "
    text += printable(last.text, _QUOTED_CHARACTERS)
    answered = sum(line.time > last.time and " status=" in line.text for line in requests)
    if kind == "error" and answered:
        text += f" ({plural(answered, 'request')} answered since then)"
    command = f"grep 'ocsp.cgi: {kind}: ' {shlex.quote(path)} | tail"
    return Finding(Level.WARN, text, path, command)


def _never_issued(path: str, lines: list[Line], period: str) -> list[Finding]:
    """How often somebody asked for a serial number that the CA's index does not have.

    Never a failure: anyone can ask for anything.
    """
    counts: dict[str, list[str]] = collections.defaultdict(list)
    for line in lines:
        if found := re.match(r"serial=(\S+) ca=(.*?) is not in ", line.text):
            counts[found[2]].append(found[1])
    findings = []
    for ca, serials in sorted(counts.items()):
        text = (
            f"[{printable(ca)}] was asked {plural(len(serials), 'time')} in {period} for"
            f" {plural(len(set(serials)), 'serial number')} that its index does not have, the"
            f" last {printable(serials[-1])}"
        )
        if len(serials) <= limits.NEVER_ISSUED_PER_DAY:
            findings.append(Finding(Level.OK, text, path))
            continue
        text += (
            ": a certificate that was issued and is not in this index yet (run sync), one whose row"
            " is lost, a forged one, or somebody who tries numbers"
        )
        command = f"grep 'ocsp.cgi: never-issued: ' {shlex.quote(path)} | tail"
        findings.append(Finding(Level.WARN, text, path, command))
    return findings
