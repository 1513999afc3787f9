"""What `check` finds: one line each."""

from __future__ import annotations

import enum
from typing import NamedTuple


class Level(enum.IntEnum):
    """How bad a finding is.  Its value is the exit code of a command that found nothing worse."""

    OK = 0
    WARN = 1
    FAIL = 2


class Finding(NamedTuple):
    """`what` is found, in the operator's words; `where` is the file, section or URL, `command` what
    to type to fix it.  Both may be empty."""

    level: Level
    what: str
    where: str = ""
    command: str = ""
