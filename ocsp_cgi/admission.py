"""Admission: of many CGI processes that have to sign at once, a few do, and the others wait for their turn.

Loading `cryptography` and signing takes 20 to 90 ms of a processor.  If 256 processes shared the processors for that, all would be
late together, and all work would be lost.  So each takes one of a few slots first, twice as many as there are processors.

The slots are locks on single bytes of the file `.slots` in `cache`.  Byte 0 is the queue: the kernel serves those that block on it in
order, and costs a waiting process nothing.  The one at its head, and no other, looks for a free slot, among the bytes from 1 on.  The
kernel releases a lock when its process ends, however it ends; no process releases its slot before.
"""

import posix
import time

from . import errors, limits, store

OVERLOADED = (
    f"overloaded: more requests need a signature than this machine can make within {limits.DEADLINE_SECONDS} seconds. What helps: a"
    " newer `cryptography`, a P-256 signer, a `cache` in every section, `nonce = ignore`, more processors"
)
_FILE = "/.slots"

waiting = False  # whether this process is in the queue


class Overloaded(errors.OCSPError):
    """The deadline leaves no time to sign."""

    response_status = errors.TRY_LATER


def enter(settings, deadline: "float | None") -> bool:
    """Wait for a slot, which this process keeps until it ends.  Returns whether it had to wait.

    `settings` is the config.Settings, `deadline` a time.monotonic(), None in a process that answers many requests: that one has loaded
    `cryptography` already, and needs no slot.  Overloaded if there is no slot in time.  Without a `cache`, or without locks in
    it, there is no admission: that costs responses under heavy load, and none otherwise.
    """
    global waiting
    directory = next((ca.cache for ca in settings.cas if ca.cache), None)
    if deadline is None or directory is None or not store.may_write(directory):
        return False
    began = time.monotonic()
    waiting = True
    try:
        flags = posix.O_RDWR | posix.O_CREAT | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_CLOEXEC
        descriptor = posix.open(directory + _FILE, flags, 0o600)
        _lock(descriptor, 0, posix.F_LOCK)
        _take_slot(descriptor, deadline - limits.SIGNING_SECONDS)
        _lock(descriptor, 0, posix.F_ULOCK)
    except OSError:
        return False
    finally:
        waiting = False
    return time.monotonic() - began > limits.SLOT_POLL_SECONDS


def _take_slot(descriptor: int, latest: float) -> None:
    """Lock the byte of a free slot, as the head of the queue.  Overloaded if there is none until `latest`, a time.monotonic()."""
    slots = 2 * _processors()
    first = posix.getpid() % slots
    # A process that hangs in a file system keeps its slot; those behind it must not hang with it.
    patience = time.monotonic() + limits.SLOT_PATIENCE_SECONDS
    while True:
        now = time.monotonic()
        if now > latest:
            raise Overloaded(OVERLOADED)
        for number in range(slots):
            try:
                return _lock(descriptor, 1 + (first + number) % slots, posix.F_TLOCK)
            except (BlockingIOError, PermissionError):  # POSIX allows either
                pass
        if now > patience:
            return None
        time.sleep(limits.SLOT_POLL_SECONDS)


def _lock(descriptor: int, byte: int, command: int) -> None:
    """Lock or unlock one byte of a file.  OSError if that fails, of which BlockingIOError is that another process has it."""
    posix.lseek(descriptor, byte, 0)  # SEEK_SET, which posix does not have
    posix.lockf(descriptor, command, 1)


def _processors() -> int:
    """How many processors this process may use."""
    try:
        return len(posix.sched_getaffinity(0))
    except (AttributeError, OSError):  # not a Linux
        return posix.cpu_count() or 1
