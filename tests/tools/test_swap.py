"""The change from the old script to ocsp.cgi, where others may write to cgi-bin."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ocsp_cgi.tools.entry import CommandError
from ocsp_cgi.tools.swap import Swap

PROGRAM = Path(__file__).resolve().parents[2] / "ocsp.cgi"


def test_no_link_is_followed_to_a_file_of_others(place):
    script, other = place / "responder.cgi", place / "other"
    script.write_text("#!/bin/sh\nexit 0\n")
    other.write_text("precious\n")
    (place / f".{script.name}.both.{os.getpid()}").symlink_to(other)
    swap = Swap(script, PROGRAM)
    with pytest.raises(CommandError, match="File exists"):
        swap.carry_out(0)
    assert other.read_text() == "precious\n" and script.read_text() == "#!/bin/sh\nexit 0\n"
    swap.carry_out(0)
    assert swap.is_done
    swap.undo(0)
    assert script.read_text() == "#!/bin/sh\nexit 0\n"
