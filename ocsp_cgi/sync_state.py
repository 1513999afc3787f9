"""What the last copy of an index came to: written by `ocsp-cgi sync`, read by `check` and, for its
log, by the responder.

A text file `sync` beside the index (see index_file.beside), with one `name = value` a line.
"""

from __future__ import annotations

import os

from . import index_file
from .answer import printable

OK = "ok"
REFUSED = "refused"  # what was copied was not put in place
FAILED = "failed"  # nothing could be copied

_NAMES = ("ended", "source", "result", "reason", "fix")


class SyncState:
    """The end of the last run for one CA.

    `ended` is seconds since 1970, `source` the `sync_from` of that run, `result` one of OK, REFUSED
    and FAILED; unless it is OK, `reason` says why, in one line, and `fix` is the command to run.
    """

    __slots__ = _NAMES

    def __init__(self, ended: int, source: str, result: str, reason: str = "", fix: str = ""):
        self.ended = ended
        self.source = source
        self.result = result
        self.reason = reason
        self.fix = fix


def read(db: str) -> SyncState | None:
    """The state beside the index of a `db` setting; None if there is none that can be read."""
    try:
        with open(index_file.beside(db, "sync"), encoding="utf-8") as file:
            pairs = [line.partition("=") for line in file.read(65536).split("\n")]
        found = {name.strip(): value.strip() for name, _, value in pairs}
        return SyncState(int(found.pop("ended")), *(found[name] for name in _NAMES[1:]))
    except (OSError, ValueError, KeyError):
        return None


def outcome(db: str, minutes: int, now: int) -> str:
    """What to add to a message that the index of a `db` setting was last copied more than so many
    minutes ago: how the last attempt ended, and the command to run; "" if that explains nothing."""
    state = read(db)
    if state is None:
        return ""
    age = max(0, now - state.ended)
    last = f" The last copy, {index_file.duration(age)} ago,"
    if state.result == OK:
        if age > minutes * 60:
            return ""
        return f"{last} succeeded: is {printable(state.source)} itself kept up to date?"
    verb = "was refused" if state.result == REFUSED else "failed"
    return f"{last} {verb}: {printable(state.reason, 500)}; {printable(state.fix, 300)}"


def write(db: str, state: SyncState) -> None:
    """Replace the state beside the index of a `db` setting.  OSError if that is not possible."""
    path = index_file.beside(db, "sync")
    unfinished = f"{path}.{os.getpid()}"
    text = "".join(f"{name} = {' '.join(str(getattr(state, name)).split())}\n" for name in _NAMES)
    try:
        with open(unfinished, "x", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(text)
        os.rename(unfinished, path)
    except OSError:
        if os.path.exists(unfinished):
            os.unlink(unfinished)
        raise
