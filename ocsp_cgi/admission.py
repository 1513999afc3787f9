"""Admission: of many CGI processes that have to sign at once, a few do, and the others wait for
their turn.

Loading `cryptography` and signing takes 20 to 90 ms of a processor.  If 256 processes shared the
processors for that, all would be late together, and all work would be lost.  So each takes one of a
few slots first, twice as many as there are processors.

The slots are locks on single bytes of the file `.slots` in `cache`.  Byte 0 is the queue: the
kernel serves those that block on it in order, and costs a waiting process nothing.  The one at its
head, and no other, looks for a free slot, among the bytes from 1 on.  The kernel releases a lock
when its process ends, however it ends; before that, a process leaves its slot only to wait for a
file.

The file holds the time at which each slot was taken.  The process that takes it over learns from
that how long the work takes at the moment, and does not begin what it could not finish by the
deadline.  Otherwise, under lasting overload, every process would begin too late and none would
finish.
"""

import posix
import time

from . import cache, limits
from .answer import TRY_LATER, OCSPError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .config import Settings

OVERLOADED = (
    "overloaded: more requests need a signature than this machine can make within"
    f" {limits.DEADLINE_SECONDS} seconds. What helps: a newer `cryptography`, a P-256 signer, a"
    " `cache` in every section, `nonce = ignore`, more processors"
)
FILE = ".slots"
_RECORD = b"%020d"  # of a time.monotonic_ns()
_RECORD_BYTES = 20

overloaded = False  # whether waiting for a slot is what this process has spent its time on
_slots = -1  # the descriptor of the file in which this process has a slot


class Overloaded(OCSPError):
    """The deadline leaves no time to sign."""

    response_status = TRY_LATER


def enter(settings: "Settings", deadline: "float | None") -> bool:
    """Wait for a slot, which this process keeps until it ends.  Returns whether it had to wait.

    `deadline` is a time.monotonic(), None in a process that answers
    many requests: that one has loaded `cryptography` already, and needs no slot.  Overloaded if
    there is no slot in time.  Without a `cache`, or without locks in it, there is no admission:
    that costs responses under heavy load, and none otherwise.
    """
    global overloaded, _slots
    directory = next((ca.cache for ca in settings.cas if ca.cache), None)
    if deadline is None or directory is None or not cache.may_write(directory):
        return False
    began = time.monotonic()
    overloaded = True
    try:
        flags = posix.O_RDWR | posix.O_CREAT | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_CLOEXEC
        descriptor = posix.open(f"{directory}/{FILE}", flags, 0o600)
        _lock(descriptor, 0, posix.F_LOCK)
        _take_slot(descriptor, deadline)
        _lock(descriptor, 0, posix.F_ULOCK)
        _slots = descriptor
    except OSError:
        pass
    waited = time.monotonic() - began
    overloaded = waited > limits.DEADLINE_SECONDS / 2
    return waited > limits.SLOT_POLL_SECONDS


def leave() -> None:
    """Leave the slot to another process, if this one has any, before waiting for something else."""
    global _slots
    if _slots >= 0:
        posix.close(_slots)
        _slots = -1


def _take_slot(descriptor: int, deadline: float) -> None:
    """Lock the byte of a free slot, as the head of the queue.  Overloaded if the deadline leaves no
    time to sign."""
    slots = 2 * _processors()
    first = posix.getpid() % slots
    # A process that hangs in a file system keeps its slot; those behind it must not hang with it.
    patience = time.monotonic() + limits.SLOT_PATIENCE_SECONDS
    all_taken = False
    while True:
        for number in range(slots):
            slot = 1 + (first + number) % slots
            try:
                _lock(descriptor, slot, posix.F_TLOCK)
            except (BlockingIOError, PermissionError):  # POSIX allows either
                continue
            _check_time(deadline, _seconds_held(descriptor, slot) if all_taken else 0)
            posix.pwrite(descriptor, _RECORD % time.monotonic_ns(), slot * _RECORD_BYTES)
            return
        all_taken = True
        _check_time(deadline, 0)
        if time.monotonic() > patience:
            return
        time.sleep(limits.SLOT_POLL_SECONDS)


def _check_time(deadline: float, seconds: float) -> None:
    """Overloaded if the deadline does not leave so many seconds, and those that a signature takes
    at best."""
    if time.monotonic() + max(seconds, limits.SIGNING_SECONDS) > deadline:
        raise Overloaded(OVERLOADED)


def _seconds_held(descriptor: int, slot: int) -> float:
    """How long the process before this one had a slot; at most half the deadline, which is what one
    that hung says nothing about."""
    taken = posix.pread(descriptor, _RECORD_BYTES, slot * _RECORD_BYTES)
    return (
        min(time.monotonic() - int(taken) / 1e9, limits.DEADLINE_SECONDS / 2)
        if taken.isdigit()
        else 0
    )


def _lock(descriptor: int, byte: int, command: int) -> None:
    """Lock or unlock one byte of a file.  OSError if that fails, of which BlockingIOError is that
    another process has it."""
    posix.lseek(descriptor, byte, 0)  # SEEK_SET, which posix does not have
    posix.lockf(descriptor, command, 1)


def _processors() -> int:
    """How many processors this process may use."""
    try:
        return len(posix.sched_getaffinity(0))
    except (AttributeError, OSError):  # not a Linux
        return posix.cpu_count() or 1
