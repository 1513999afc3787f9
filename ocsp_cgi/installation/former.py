"""How everything was before a change between the CGI and mod_wsgi.

It is in the record for as long as Apache may run the one or the other: when a change was
interrupted, even by a power failure, the next `install` finds it there, and finishes that change.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any, NamedTuple

from ..tools import files
from ..tools.entry import CommandError, program
from ..tools.plan import Plan
from ..tools.record import Record
from .site import Site

_CHANGING = "changing"


class Former(NamedTuple):
    """`kind` is that of the site that was wanted, `texts` are the files of the site before, by
    path, "" where there was none, `modules` those that `install` had enabled; `keys` have mode,
    owner and group of each key by path, and what the record had for it."""

    kind: str
    texts: dict[str, str]
    modules: list[str]
    keys: dict[str, list[Any]]

    @classmethod
    def now(cls, kind: str, record: Record, its_files: list[Path], keys: list[Path]) -> Former:
        texts = {str(path): files.content(path).decode(errors="replace") for path in its_files}
        found = {}
        for key in keys:
            if key.exists():
                of = key.stat()
                recorded = record.modes.get(str(key))
                found[str(key)] = [stat.S_IMODE(of.st_mode), of.st_uid, of.st_gid, recorded]
        return cls(kind, texts, list(record.other.get("modules", [])), found)

    @classmethod
    def recorded(cls, record: Record) -> Former | None:
        """That of a change which was interrupted, None if there is none."""
        found = record.other.get(_CHANGING)
        return cls(**found) if found else None

    def keep(self, record: Record) -> None:
        record.other[_CHANGING] = self._asdict()

    def text(self, path: Path) -> bytes:
        return self.texts.get(str(path), "").encode()

    def restore_key(self, name: str, record: Record) -> None:
        """One of `keys`, if it is still there: its mode, owner and group.  OSError,
        CommandError."""
        mode, uid, gid, recorded = self.keys[name]
        try:
            of = os.stat(name)
        except FileNotFoundError:
            return
        if (stat.S_IMODE(of.st_mode), of.st_uid, of.st_gid) != (mode, uid, gid):
            files.give(Path(name), mode, uid, gid)
        if recorded:
            record.modes[name] = recorded
        else:
            record.modes.pop(name, None)


def forget(record: Record) -> None:
    """The change is complete, or everything is as before."""
    record.other.pop(_CHANGING, None)


def resume(plan: Plan, found: Site | None, is_wsgi: bool | None) -> tuple[Site | None, bool | None]:
    """The site before the change, and whether mod_wsgi is wanted, where `found` is in place now and
    the options say `is_wsgi`: a change that was interrupted has yet to be made.

    CommandError if the options ask for the other kind: until that change is complete, nothing says
    which of the two Apache runs.
    """
    interrupted = Former.recorded(plan.record)
    if interrupted is None or found is None:
        forget(plan.record)
        return found, is_wsgi
    kind = interrupted.kind
    if is_wsgi not in (None, kind == "wsgi"):
        raise CommandError(
            f"--{kind} was interrupted.  Finish that first, then run this again:\n"
            f"    {program()} install --{kind}"
        )
    plan.notes.append(f"--{kind} was interrupted before it was complete, and is done again")
    return found._replace(is_wsgi=kind != "wsgi"), kind == "wsgi"
