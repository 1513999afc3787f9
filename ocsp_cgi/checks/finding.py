"""What `check` finds: one line each."""

from __future__ import annotations

import enum
from typing import NamedTuple


class Level(enum.IntEnum):
    """How bad a finding is.  Its value is the exit code of a command that found nothing worse."""

    OK = 0
    WARN = 1
    FAIL = 2


class Measure(NamedTuple):
    """A number for a monitoring system, which draws its curve: `name` is unique, `unit` is "", "s"
    or "B".  `warning` and `critical` are the ranges of a Nagios plug-in, "30:" for an alert below
    30; either may be empty."""

    name: str
    value: int
    unit: str = ""
    warning: str = ""
    critical: str = ""


class Finding(NamedTuple):
    """`what` is found, in the operator's words; `where` is the file, section or URL, `command` what
    to type to fix it.  Both may be empty.  `measures` are the numbers it is about."""

    level: Level
    what: str
    where: str = ""
    command: str = ""
    measures: tuple[Measure, ...] = ()
