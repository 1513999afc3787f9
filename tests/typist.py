"""Somebody who follows the README on a machine: types its blocks at a terminal, and answers what
the commands ask."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import time
from pathlib import Path

import pages
from machine import Machine

_ANSWERS = {
    rb"pass phrase[^\r\n]*:$": b"a pass phrase\n",
    rb"\[y/n\]:?$": b"y\n",
    rb"\(yes/no/\[fingerprint\]\)\?$": b"yes\n",
}
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Typist:
    """Both hosts of the guide are this machine; root's home, on both, is the directory `home`."""

    def __init__(self, machine: Machine, home: Path):
        self.machine = machine
        self.home = home
        self._edits = [(" ca.example.com:", f" {home}/")]
        self._answers = dict(_ANSWERS)

    def edit(self, old: str, new: str) -> None:
        """Type this in place of that from now on."""
        self._edits.append((old, new))

    def answer(self, prompt: bytes, text: str) -> None:
        """Answer so, from now on, where the screen ends with this regular expression."""
        self._answers[prompt] = text.encode() + b"\n"

    def type_section(self, page: str, heading: str) -> str:
        return "".join(map(self.type, pages.commands(page, heading)))

    def type(self, commands: str, status: int = 0) -> str:
        """Returns what the screen showed; AssertionError if the last command ended with another
        status, or one before it failed."""
        for old, new in self._edits:
            commands = commands.replace(old, new)
        child, terminal = pty.fork()
        if child == 0:
            os.execvp("nsenter", [*self.machine.entering(self.home), *self._shell(commands)])
        screen, ended = _converse(child, terminal, self._answers)
        assert ended == status, f"{commands}\n{screen}"
        return screen

    def _shell(self, commands: str) -> list[str]:
        environment = [f"PATH={_PATH}", f"HOME={self.home}", "LANG=C.UTF-8", "PIP_NO_INDEX=1"]
        return ["env", "-i", *environment, "TERM=dumb", "COLUMNS=300", "bash", "-euc", commands]


def _converse(child: int, terminal: int, answers: dict[bytes, bytes]) -> tuple[str, int]:
    screen, unanswered, deadline, status = b"", b"", time.monotonic() + 120, None
    while status is None:
        assert time.monotonic() < deadline, screen
        part = b""
        with contextlib.suppress(OSError):  # EIO while no process has the terminal open
            part = os.read(terminal, 4096) if select.select([terminal], [], [], 1)[0] else b""
        screen, unanswered = screen + part, unanswered + part
        for prompt, typed in answers.items():
            if re.search(prompt, unanswered.rstrip()):
                time.sleep(0.1)  # some programs forget what is typed before the echo is off
                os.write(terminal, typed)
                unanswered = b""
        if not part:
            ended, code = os.waitpid(child, os.WNOHANG)
            status = os.waitstatus_to_exitcode(code) if ended else None
    os.close(terminal)
    return screen.decode(errors="replace").replace("\r\n", "\n"), status
