"""pytest over these tests, ended as every command is."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from ocsp_cgi.tools import entry

TESTS = Path(__file__).resolve().parent


class _Ending:
    """A plugin that remembers Ctrl-C: pytest's status is the same for other early ends."""

    is_interrupted = False

    def pytest_keyboard_interrupt(self, excinfo) -> None:
        self.is_interrupted = excinfo.errisinstance(KeyboardInterrupt)


class _Output(io.FileIO):
    """Standard output.  Ends the tests as Ctrl-C does when its reader has gone: they clean up."""

    has_no_reader = False

    def write(self, data) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            entry.discard_output()
            self.has_no_reader = True
            raise KeyboardInterrupt from None


def main() -> int:
    arguments = sys.argv[1:]
    if not any(Path(argument.partition("::")[0]).exists() for argument in arguments):
        arguments.append(str(TESTS))
    output, ending = _Output(1, "w", closefd=False), _Ending()
    before, buffer = sys.stdout, io.BufferedWriter(output)
    sys.stdout = io.TextIOWrapper(buffer, before.encoding, before.errors, line_buffering=True)
    options = ["--rootdir", str(TESTS.parent), "-c", str(TESTS.parent / "setup.cfg")]
    try:
        status = pytest.main([*options, *arguments], plugins=[ending])
    except KeyboardInterrupt:
        status = entry.INTERRUPTED
    if output.has_no_reader:
        return entry.NOBODY_READS
    return entry.INTERRUPTED if ending.is_interrupted else status
