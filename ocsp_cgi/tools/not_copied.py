"""Why an index, or responses, were not copied."""

from __future__ import annotations

import sys

from .. import sync_state
from ..answer import printable


class NotCopied(Exception):
    """`result` as in SyncState, `reason` in the operator's words, `fix` the command to run."""

    result = sync_state.FAILED

    def __init__(self, reason: str, fix: str = ""):
        super().__init__(reason)
        self.reason = reason
        self.fix = fix

    def print(self, label: str, reason: str, fix: str, end: str = "") -> None:
        """Write one line of why, behind a label and before an `end`, and what to type below it."""
        reason = printable(reason, 2000)
        colon = "" if (end or reason)[-1] in "?." else ":"
        sys.stderr.write(
            f"{label} {self.result}: {reason}{end}{colon}\n    {printable(fix, 1000)}\n"
        )


class Failed(NotCopied):
    """Nothing could be copied."""


class Refused(NotCopied):
    """What was copied must not replace the index, or only if a person says so with --force."""

    result = sync_state.REFUSED

    def __init__(self, reason: str, may_be_forced: bool = False):
        super().__init__(reason)
        self.may_be_forced = may_be_forced
