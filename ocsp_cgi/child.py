"""A child process that makes one signature, and may hang: the command openssl, with a key on a
token.

It has no terminal, so it can ask nobody for a PIN, and a process group that can be ended with all
that it has started.
"""

from __future__ import annotations

import posix
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_SIGKILL = 9  # the module `signal` would be one more import
_OUTPUT_BYTES = 64 * 1024  # of each; a signature has 512, an error some lines
_ENDING_SECONDS = 0.2  # in which a process that has closed its output, or was killed, has ended
_running: set[int] = set()
_unended: set[int] = set()  # killed, and not yet gone, as a process that a device holds


class Hanging(Exception):
    """The process was ended, because it had not ended in time."""


def run(
    command: list[str],
    environment: Mapping[bytes, bytes],
    inherited: list[int],
    deadline: float,
) -> tuple[bytes, bytes]:
    """What a command writes to standard output and to standard error.

    Its standard input is empty, and it has the descriptors `inherited` under the same numbers.
    `deadline` is a time.monotonic(): Hanging if it has not ended by then.  OSError if it cannot be
    started.
    """
    _reap()
    output, output_end = posix.pipe()
    errors, errors_end = posix.pipe()
    try:
        for descriptor in inherited:
            posix.set_inheritable(descriptor, True)
        try:
            process = posix.posix_spawnp(
                command[0],
                command,
                environment,
                file_actions=[
                    (posix.POSIX_SPAWN_OPEN, 0, "/dev/null", posix.O_RDONLY, 0),
                    (posix.POSIX_SPAWN_DUP2, output_end, 1),
                    (posix.POSIX_SPAWN_DUP2, errors_end, 2),
                ],
                setsid=True,
            )
        finally:
            posix.close(output_end)
            posix.close(errors_end)
        _running.add(process)
        try:
            return _read([output, errors], deadline)
        finally:
            _end(process)
    finally:
        posix.close(output)
        posix.close(errors)


def kill_all() -> None:
    """End all children, before this process ends and nobody else does."""
    for process in list(_running):
        _kill(process)


def _read(descriptors: list[int], deadline: float) -> tuple[bytes, bytes]:
    """All that comes from two descriptors.  Hanging if that has no end by the deadline."""
    import select

    found = dict.fromkeys(descriptors, b"")
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    left = set(descriptors)
    while left:
        seconds = deadline - time.monotonic()
        ready = poll.poll(seconds * 1000) if seconds > 0 else []
        if not ready:
            raise Hanging
        for descriptor, _ in ready:
            part = posix.read(descriptor, 8192)
            found[descriptor] += part[: _OUTPUT_BYTES - len(found[descriptor])]
            if not part:
                poll.unregister(descriptor)
                left.remove(descriptor)
    first, second = descriptors
    return found[first], found[second]


def _end(process: int) -> None:
    """End a child that has nothing more to say, and all that it has started."""
    _running.discard(process)
    if _has_ended(process, _ENDING_SECONDS):
        return
    _kill(process)
    if not _has_ended(process, _ENDING_SECONDS):
        _unended.add(process)


def _kill(process: int) -> None:
    try:
        posix.killpg(process, _SIGKILL)
    except OSError:
        pass


def _reap() -> None:
    for process in list(_unended):
        if _has_ended(process, 0):
            _unended.discard(process)


def _has_ended(process: int, seconds: float) -> bool:
    """Whether a child ends within so many seconds."""
    until = time.monotonic() + seconds
    while True:
        try:
            if posix.waitpid(process, posix.WNOHANG)[0]:
                return True
        except ChildProcessError:  # this program leaves that to the kernel, or another thread did
            return True
        if time.monotonic() >= until:
            return False
        time.sleep(0.001)
