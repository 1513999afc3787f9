"""What `check` prints: text for people, with a first line as a Nagios plug-in has it, or JSON.

The JSON is one object:

    {"status": "WARNING", "exit_code": 1, "summary": "1 problem: ...", "time": SECONDS SINCE 1970,
     "config": PATH, "user": NAME,
     "findings": [{"level": "OK" | "WARN" | "FAIL", "what": TEXT, "where": TEXT, "command": TEXT}],
     "measures": [{"name": TEXT, "value": NUMBER, "unit": "" | "s" | "B",
                   "warning": RANGE, "critical": RANGE}]}
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
from typing import TextIO

from ..answer import printable
from ..tools.labelled import plural
from .finding import Finding, Level, Measure
from .subject import Subject

STATUS = {Level.OK: "OK", Level.WARN: "WARNING", Level.FAIL: "CRITICAL"}
_COLOURS = {Level.OK: "32", Level.WARN: "33", Level.FAIL: "1;31"}
_MARGIN = " " * 6
_CHARACTERS = 2000  # of a line
_SUMMARY_CHARACTERS = 160


def worst(findings: list[Finding]) -> Level:
    return max((finding.level for finding in findings), default=Level.OK)


def summary(findings: list[Finding]) -> str:
    """One line: how many problems there are, and the worst of them."""
    problems = [finding for finding in findings if finding.level]
    if not problems:
        return f"all {len(findings)} checks passed"
    first = max(problems, key=lambda finding: finding.level)  # the first of the worst
    text = f"{plural(len(problems), 'problem')}: {sentence(first)}"
    return printable(text, _SUMMARY_CHARACTERS)


def write(findings: list[Finding], is_quiet: bool, file: TextIO) -> None:
    """Print findings for people and monitoring systems.

    On a terminal, lines are wrapped, and the levels coloured; elsewhere each finding is one line,
    with its command on the next, and the first line ends with the measures.
    """
    is_terminal = file.isatty()
    shown = [finding for finding in findings if finding.level or not is_quiet]
    if not is_quiet:
        level = worst(findings)
        first = f"OCSP {STATUS[level]} - {summary(findings).replace('|', '/')}"
        if is_terminal:
            first = _wrapped(first, "", " " * 5)
        elif measures := _measures(findings):
            first += " | " + " ".join(map(_performance, measures))
        _print(first, file)
    for finding in shown:
        label = f"{finding.level.name:4}"
        if _is_coloured(file):
            label = f"\033[{_COLOURS[finding.level]}m{label}\033[0m"
        text = printable(sentence(finding), _CHARACTERS)
        if is_terminal:
            text = _wrapped(text, _MARGIN, _MARGIN)[len(_MARGIN) :]
        _print(f"{label}  {text}", file)
        if finding.command and finding.level:
            _print(f"{_MARGIN}    {printable(finding.command, _CHARACTERS)}", file)


def write_json(findings: list[Finding], subject: Subject, is_quiet: bool, file: TextIO) -> None:
    shown = [finding for finding in findings if finding.level or not is_quiet]
    if is_quiet and not shown:
        return
    level = worst(findings)
    json.dump(
        {
            "status": STATUS[level],
            "exit_code": int(level),
            "summary": summary(findings),
            "time": subject.now,
            "config": subject.config,
            "user": subject.user,
            "findings": [
                {
                    "level": finding.level.name,
                    "what": finding.what,
                    "where": finding.where,
                    "command": finding.command,
                }
                for finding in shown
            ],
            "measures": [measure._asdict() for measure in _measures(findings)],
        },
        file,
        indent=1,
    )
    file.write("\n")


def without_repeats(findings: list[Finding]) -> list[Finding]:
    """The findings, of which several may have met one cause: each text once, with the command and
    the measures that one of them has."""
    merged: dict[tuple[Level, str], Finding] = {}
    for finding in findings:
        known = merged.get((finding.level, finding.what))
        if known is None:
            merged[finding.level, finding.what] = finding
        else:
            merged[finding.level, finding.what] = known._replace(
                command=known.command or finding.command,
                measures=known.measures + finding.measures,
            )
    return list(merged.values())


def sentence(finding: Finding) -> str:
    """Where and what, in one line, without naming the place twice."""
    if not finding.where or finding.what.startswith(finding.where):
        return finding.what
    return (
        f"{finding.where}: {finding.what}"
        if finding.where[0] != "["
        else (f"{finding.where} {finding.what}")
    )


def _measures(findings: list[Finding]) -> list[Measure]:
    named = {one.name: one for finding in findings for one in finding.measures}
    return list(named.values())


def _performance(measure: Measure) -> str:
    """As the guidelines for Nagios plug-ins have it: 'label'=value[unit];warning;critical."""
    name = measure.name.replace("'", "''").replace("=", "-")
    ranges = f";{measure.warning};{measure.critical}".rstrip(";")
    return f"'{name}'={measure.value}{measure.unit}{ranges}"


def _wrapped(text: str, first: str, rest: str) -> str:
    width = max(40, shutil.get_terminal_size().columns)
    return textwrap.fill(
        text,
        width,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _is_coloured(file: TextIO) -> bool:
    """NO_COLOR is described at no-color.org."""
    return (
        file.isatty()
        and not os.environ.get("NO_COLOR")
        and os.environ.get("TERM", "dumb") != "dumb"
    )


def _print(text: str, file: TextIO) -> None:
    encoding = file.encoding or sys.getdefaultencoding()
    file.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
