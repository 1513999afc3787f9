"""A script in cgi-bin that is not ours."""

from __future__ import annotations

import os
from pathlib import Path

from ..tools.files import content
from ..tools.plan import Problem
from ..tools.program import LAUNCHER
from ..tools.record import Record


def find(script: Path, program: Path, record: Record) -> Problem | None:
    """What to do about the file `script` if it is not the link to `program`."""
    if not os.path.lexists(script) or (
        script.is_symlink() and os.readlink(script) in (str(program), record.links.get(str(script)))
    ):
        return None
    if b"ocsp_cgi" in content(script):
        return Problem(
            f"{script}: installed by hand.  Remove it, and run this again:", f"rm {script}"
        )
    return Problem(
        f"{script}: another program, perhaps your old script, which goes on answering.  To move"
        " from that to this:",
        f"{LAUNCHER.name} migrate {script}",
    )
