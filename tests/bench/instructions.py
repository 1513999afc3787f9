"""The processor's instructions for one response, counted by valgrind: unlike seconds, they are the
same on a busy machine."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from measure import Command

TOLERANCE = 1.02  # what may be added to a recorded figure
_RECORD = Path(__file__).with_name("instructions.txt")

Figures = dict[tuple[str, str], float]


class NotCounted(Exception):
    """valgrind is not there."""


def count(command: Command) -> float:
    """Millions of instructions, outside the kernel, that a process and its children execute.

    The least of three runs: what a hash table costs depends on chance.
    """
    return min(_count(command) for _ in range(3))


def _count(command: Command) -> float:
    if shutil.which("valgrind") is None:
        raise NotCounted("valgrind is not installed (Debian: apt-get install valgrind)")
    with tempfile.TemporaryDirectory() as directory:
        callgrind = ["valgrind", "--tool=callgrind", "--trace-children=yes"]
        callgrind += [f"--callgrind-out-file={directory}/%p", "--log-file=/dev/null"]
        with open(command.stdin, "rb") as stdin:
            done = subprocess.run(
                [*callgrind, *command.arguments],
                env=command.environment,
                stdin=stdin,
                capture_output=True,
            )
        command.check(done.stdout + done.stderr)
        counted = re.findall(
            r"^totals: (\d+)", "\n".join([one.read_text() for one in Path(directory).iterdir()]), re.M
        )
    assert counted, (command, done.stderr)
    return sum(map(int, counted)) / 1_000_000


def recorded() -> Figures:
    """The figures of tests/bench/instructions.txt: millions by Python and what was answered."""
    figures = {}
    for line in _RECORD.read_text().splitlines():
        python, what, millions = line.split(": ")
        figures[python, what] = float(millions)
    return figures


def record(figures: Figures) -> None:
    """Write the figures to tests/bench/instructions.txt, in place of those of the same Pythons."""
    pythons = {python for python, _ in figures}
    kept = {key: value for key, value in recorded().items() if key[0] not in pythons}
    _RECORD.write_text(
        "".join(
            [
                f"{python}: {what}: {millions:.1f}\n"
                for (python, what), millions in sorted({**kept, **figures}.items())
            ]
        )
    )


def excess(figures: Figures, bounds: Figures) -> list[str]:
    """What takes more than the recorded figures allow, a line each.

    AssertionError if there is a figure for nothing that was counted.
    """
    common = figures.keys() & bounds.keys()
    assert common, f"{_RECORD} has no figure for {', '.join({python for python, _ in figures})}"
    return [
        f"{python}: {what} takes {figures[python, what]:.1f} million instructions,"
        f" {figures[python, what] / bounds[python, what] - 1:.1%} more than the"
        f" {bounds[python, what]:.1f} in {_RECORD.name}"
        for python, what in sorted(common)
        if figures[python, what] > bounds[python, what] * TOLERANCE
    ]
