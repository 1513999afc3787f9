"""Copies over a CA's index in place, as people make them, many of them killed halfway.

The copier knows at every moment which versions the index may be a mixture of, and so which statuses
can be right.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import NamedTuple

from sshd import Sshd

from ocsp_cgi import limits


class Versions:
    """The versions of an index, one for each copy.

    From one to the next, rows are revoked, added at the end, and removed near the beginning.  A V
    row has 104 bytes and a revocation adds 13.  So after eight revocations the rows of two versions
    are exactly one row apart, and after nine the serial of a V row covers the serial of the R
    row that follows it.  The line at the seam of new and old bytes is then often a V row with the
    serial of a row that is R in both versions.
    """

    ROWS = 3000

    def __init__(self, own: bytes, draw: random.Random):
        """`own` are the rows of the CA itself, which stay."""
        self._draw = draw
        self._own = own
        self._head: dict[int, int] = {}
        self._serials = itertools.count(0x40C096302B6A5C7B8DD9AF150E710000)
        self._body: dict[int, int] = dict(
            zip(itertools.islice(self._serials, self.ROWS), itertools.cycle(b"VR"))
        )
        self.statuses: list[dict[int, str]] = []

    def next(self) -> bytes:
        """The next version; `statuses` gets what it says of each serial."""
        valid = [serial for serial, letter in self._head.items() if letter == ord("V")]
        if len(valid) < 20:
            self._head = dict.fromkeys(itertools.islice(self._serials, 48), ord("V"))
            valid = list(self._head)
        revocations = self._draw.choice((8, 8, 9, 9, 9, 9, self._draw.randrange(1, 20)))
        self._head.update(dict.fromkeys(self._draw.sample(valid, revocations), ord("R")))
        self._body[
            self._draw.choice(
                [serial for serial, letter in self._body.items() if letter == ord("V")]
            )
        ] = ord("R")
        self._body.update(
            dict.fromkeys(itertools.islice(self._serials, self._draw.randrange(4)), ord("V"))
        )
        rows = {**self._head, **self._body}
        self.statuses.append(
            {serial: "good" if letter == ord("V") else "revoked" for serial, letter in rows.items()}
        )
        return self._own + b"".join(map(self._line, rows.items()))

    @staticmethod
    def _line(row: tuple[int, int]) -> bytes:
        serial, letter = row
        date = b"261122135115Z" if letter == ord("R") else b""
        return (
            b"%c\t270220135115Z\t%s\t%032X\tunknown\t/C=GB/ST=Hertfordshire/O=Example Ltd"
            b"/CN=hosts\n" % (letter, date, serial)
        )


def _is_hexadecimal(field: bytes) -> bool:
    return bool(field) and not field.strip(b"0123456789ABCDEF")


class Mixture:
    """What a killed copy left, as a reader sees it who does not know what was there before."""

    def __init__(self, content: bytes, whole: set[bytes]):
        """`whole` are the lines of the versions it is mixed from."""
        lines = content.split(b"\n")
        self._is_torn = lines[-1].count(b"\t") < 5 and bool(lines[-1])
        self._revoking = [line for line in lines if line[:1] in (b"R", b"r")]
        self._said: dict[int, set[str]] = {}
        for line in lines:
            fields = line.split(b"\t")
            if len(fields) == 6 and _is_hexadecimal(fields[3]):
                self._said.setdefault(int(fields[3], 16), set()).add(self._status(*fields[:3]))
        self.seam = [line for line in lines if line not in whole]

    @staticmethod
    def _status(letter: bytes, expiry: bytes, revocation: bytes) -> str:
        if letter == b"R":
            return "revoked"
        return "good" if letter == b"V" and revocation in (b"", expiry) else "tryLater"

    def reads(self, serial: int, status: str) -> bool:
        """Whether nothing in the file contradicts that this is the status of the serial."""
        said = self._said.get(serial, set())
        if status == "revoked":
            return any(b"%032X" % serial in line for line in self._revoking)
        return said == {"good"} if status == "good" else not said and not self._is_torn


class Moment(NamedTuple):
    """The state of an index from a time on.

    `versions` are those whose bytes it may contain, `mixture` is what a killed copy left, written
    last at `changed`.
    """

    since: float
    versions: frozenset[int]
    is_being_written: bool = False
    mixture: Mixture | None = None
    changed: float = 0.0


class Copier:
    """Copies one version after the other over a CA's index, and kills many of these copies."""

    SECONDS = 0.6  # for a copy
    PIECES = 20

    def __init__(self, home: Path, sshd: Sshd | None, draw: random.Random):
        self._draw = draw
        self._index, self._source = home / "db" / "index", home / "source"
        self._sshd = sshd
        self._versions = Versions(self._index.read_bytes(), draw)
        self._source.write_bytes(self._versions.next())
        # The index inherits this: the user that sshd serves must be able to overwrite it.
        self._source.chmod(0o666)
        shutil.copy(self._source, home / "db" / "index.new")
        os.rename(home / "db" / "index.new", self._index)
        self.moments = [Moment(time.time(), frozenset([0]))]
        self.hot: list[int] = []  # serials that may be wrong at this moment
        self.done: collections.Counter[str] = collections.Counter()
        bytes_per_second = self._source.stat().st_size / self.SECONDS
        source, index = str(self._source), str(self._index)
        self._commands = [["cp", "/dev/stdin", index]]
        if shutil.which("rsync"):
            rsync = ["rsync", "--ignore-times", f"--bwlimit={bytes_per_second / 1024:.0f}"]
            for options in ("--inplace --no-whole-file", "--inplace --whole-file --times", ""):
                self._commands.append([*rsync, *options.split(), source, index])
        if sshd:
            scp = ["scp", *sshd.options, "-l", f"{bytes_per_second * 8 / 1000:.0f}"]
            self._commands.append([*scp, f"{sshd.host}:{source}", index])
            self._commands.append([*scp, source, f"{sshd.host}:{index}"])

    @property
    def serials(self) -> list[int]:
        return list(self._versions.statuses[-1])

    def __call__(self, stop: threading.Event) -> None:
        while not stop.is_set():
            command = self._draw.choice([[], [], *self._commands])
            is_killed = self._copy(command, self._draw.random() < 0.7)
            self.done[command[0] if command else "small pieces"] += 1
            if is_killed:
                self.done["killed"] += 1
                stop.wait(self._draw.uniform(0.3, 4))
                if self._draw.random() < 0.5:
                    self._rename()
            else:
                stop.wait(self._draw.choice((0, 0, 3)))

    def _rename(self) -> None:
        """Copy to another name and rename, as it should be done."""
        other = self._index.with_name("index.copied")
        self._next_version()
        shutil.copy(self._source, other)
        os.rename(other, self._index)
        self.moments.append(Moment(time.time(), frozenset([len(self._versions.statuses) - 1])))
        self.done["mv"] += 1

    def _next_version(self) -> None:
        """Write the next version to `source`; from now on the index may contain bytes of it."""
        last = self.moments[-1]
        versions = last.versions | {len(self._versions.statuses)}
        self._source.write_bytes(self._versions.next())
        self.moments.append(
            last._replace(since=time.time(), versions=versions, is_being_written=True)
        )

    def _copy(self, command: list[str], kill: bool) -> bool:
        """Copy the next version.  Returns whether the copy was killed and left a mixture."""
        before, old = self.moments[-1], self._index.read_bytes()
        self._next_version()
        new = self._source.read_bytes()
        if command:
            self._run(command, new, kill)
        else:
            pieces = self._draw.randrange(1, self.PIECES) if kill else self.PIECES
            self._write_in_pieces(old, new, pieces)
        left, version = self._index.read_bytes(), len(self._versions.statuses) - 1
        self.hot = []
        if left == new:
            self.moments.append(Moment(time.time(), frozenset([version])))
        elif left == old:
            self.moments.append(before._replace(since=time.time()))
        else:
            assert kill, (command, "has ended, and the index is not what was copied")
            mixture = Mixture(left, set(old.split(b"\n")) | set(new.split(b"\n")))
            self.hot = [serial for line in mixture.seam for serial in self._serials_in(line)]
            changed = self._index.stat().st_ctime
            self.moments.append(
                Moment(time.time(), before.versions | {version}, mixture=mixture, changed=changed)
            )
        return left not in (old, new)

    def _write_in_pieces(self, old: bytes, new: bytes, pieces: int) -> None:
        """Overwrite as scp does, without truncating first, with a pause at random places."""
        stops = [*sorted(self._draw.sample(range(1, len(new)), self.PIECES - 1)), len(new)]
        position = 0
        with open(self._index, "r+b", buffering=0) as file:
            for stop in stops[:pieces]:
                file.write(new[position:stop])
                position = stop
                self.hot = self._serials_in(
                    new[new.rfind(b"\n", 0, stop) + 1 : stop] + old[stop : old.find(b"\n", stop)]
                )
                time.sleep(self.SECONDS / self.PIECES)
            if pieces == self.PIECES:
                file.truncate(len(new))

    def _run(self, command: list[str], new: bytes, kill: bool) -> None:
        """Run a command to its end, or kill it some time after it began to write."""
        begun = self._index.stat()
        is_fed = command[0] == "cp"
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE if is_fed else subprocess.DEVNULL, start_new_session=True
        )
        position, rest = 0, self._draw.uniform(0, self.SECONDS)
        writing_since = None
        try:
            while process.poll() is None:
                if writing_since is None and self._index.stat() != begun:
                    writing_since = time.monotonic()
                if kill and writing_since and time.monotonic() > writing_since + rest:
                    break
                if is_fed and position < len(new):
                    piece = self._draw.choice((100, 4096, 20_000))
                    position += process.stdin.write(new[position : position + piece])
                    process.stdin.flush()
                    if position == len(new):
                        process.stdin.close()
                time.sleep(0.005)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            status = process.wait()
        if is_fed:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        assert kill or status == 0, command
        if command[0] == "scp":
            self._sshd.wait_until_idle()

    def _serials_in(self, line: bytes) -> list[int]:
        known = self._versions.statuses[-1]
        numbers = [int(field, 16) for field in line.split(b"\t") if _is_hexadecimal(field)]
        return [number for number in numbers if number in known]

    def check(self, serial: int, status: str, asked: float, answered: float) -> str:
        """Assert that this status was right between two times, or that the file alone says so.

        Returns the status, followed by "by a seam" if it was wrong and the file says so.
        """
        moments = list(self.moments)
        first = max(
            number for number, moment in enumerate(moments) if number == 0 or moment.since <= asked
        )
        moments = [moment for moment in moments[first:] if moment.since <= answered]
        statuses = self._versions.statuses
        possible = {
            statuses[version].get(serial, "unknown")
            for moment in moments
            for version in moment.versions
        }
        context = (f"{serial:X}", status, possible, answered - asked)
        if status == "tryLater":
            [moment, *later] = moments
            doubtful = (
                later
                or moment.mixture
                or moment.is_being_written
                or asked < moment.since + limits.DATABASE_SETTLING_SECONDS + 0.5
            )
            assert doubtful, (context, "the index has long been whole")
            return status
        if status in possible:
            return status
        for moment in moments:
            if moment.mixture and moment.mixture.reads(serial, status):
                has_settled = answered > moment.changed + limits.DATABASE_SETTLING_SECONDS - 0.1
                if status == "revoked" or has_settled:
                    return f"{status} by a seam"
        # R rows are trusted at any time, and a seam can produce one.
        assert status == "revoked" and any(moment.is_being_written for moment in moments), context
        return "revoked by a seam"
