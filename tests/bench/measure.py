"""Wall time, processor time and peak memory of whole processes, run side by side, and medians of
their ratios."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple


class Command(NamedTuple):
    """A process to measure: its arguments, its whole environment, the file it gets as standard
    input, and what it must write."""

    arguments: list[str]
    environment: dict[str, str]
    stdin: Path
    expected: list[bytes]

    def check(self, written: bytes) -> None:
        """AssertionError if it did not write what it should."""
        assert all(part in written for part in self.expected), (self, written)


class Run(NamedTuple):
    """Seconds of one run, by the clock and of the processors, its children's included."""

    wall: float
    cpu: float


def run(command: Command) -> Run:
    """Run it once.  AssertionError if it does not write what it should."""
    with open(command.stdin, "rb") as stdin:
        before, started = _cpu(), time.perf_counter()
        done = subprocess.run(
            command.arguments,
            env=command.environment,
            stdin=stdin,
            capture_output=True,
        )
        measured = Run(time.perf_counter() - started, _cpu() - before)
    command.check(done.stdout + done.stderr)
    return measured


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def interleaved(commands: dict[str, Command], rounds: int) -> dict[str, list[Run]]:
    """Run each once a round, so that other load affects all alike.  A first round is not
    included."""
    runs: dict[str, list[Run]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            measured = run(command)
            if number:
                runs[name].append(measured)
    return runs


class Ratio(NamedTuple):
    """A ratio of medians, and the quartiles of the ratios of single rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, ours: list[float], theirs: list[float]) -> Ratio:
        rounds = [a / b for a, b in zip(ours, theirs)]
        quartiles = statistics.quantiles(rounds, n=4) if len(rounds) > 1 else rounds * 3
        return cls(statistics.median(ours) / statistics.median(theirs), quartiles[0], quartiles[2])


_MEMORY = """\
import posix, sys
pid = posix.posix_spawn(sys.argv[1], sys.argv[1:], posix.environ)
_, status, usage = posix.wait4(pid, 0)
posix.write(2, b"\\npeak %d" % usage.ru_maxrss)
posix._exit(status != 0)
"""


def peak_memory(command: Command) -> int:
    """The peak memory of a run, in KiB.

    Measured by a small process in between, since a process inherits the peak of the one that starts
    it.
    """
    arguments = [sys.executable, "-IS", "-c", _MEMORY, *command.arguments]
    with open(command.stdin, "rb") as stdin:
        done = subprocess.run(
            arguments,
            env=command.environment,
            stdin=stdin,
            capture_output=True,
            check=True,
        )
    command.check(done.stdout + done.stderr)
    return int(done.stderr.rpartition(b"peak ")[2])
