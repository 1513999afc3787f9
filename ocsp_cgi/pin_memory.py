"""What is known of the PIN of a token: whether the token has accepted it, or refused it.

Most tokens lock after a few wrong PINs.  So one that was refused is not tried again while the file
`passin` is unchanged, neither for this key nor for another on the same token, and one that is not
known is tried by one request at a time.  A process keeps that in memory, and in a file
`.signer-NUMBER.pin` in `cache` for the other processes.
"""

from __future__ import annotations

import _thread
import binascii
import contextlib
import posix
import time

from . import cache, child, index_file, signer_memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .config import CASettings

ACCEPTED, REFUSED = b"PIN accepted\n", b"PIN refused\n"
_POLL_SECONDS = 0.005
_OF_A_KEY = "object", "id", "type"  # in a URI; what else there is names the token (RFC 7512)
_known: dict[tuple[str, str], bytes] = {}  # by token and `passin`, as in the file
_trying: dict[tuple[str, str], _thread.LockType] = {}


class PIN:
    """The PIN in the file `passin` of a section with one signer; `directory` is the `cache`, None
    if there is none."""

    __slots__ = ("_directory", "_fingerprint", "_key", "_path")

    def __init__(self, settings: CASettings, directory: str | None):
        self._key = _token(settings.rkey), settings.passin or ""
        self._directory = directory
        number = binascii.crc32("\n".join(self._key).encode())
        self._path = f"{directory}/{signer_memory.PREFIX}{number:08x}.pin" if directory else ""
        try:
            self._fingerprint = index_file.fingerprint(posix.stat(self._key[1]))
        except OSError:
            self._fingerprint = b""

    def standing(self) -> bytes:
        """ACCEPTED, REFUSED, or b"" if it has not been tried."""
        known = _known.get(self._key, b"")
        if known != REFUSED + self._fingerprint and self._path:
            # Another process may have been refused since: the token may have a new PIN.
            found = signer_memory.read(self._path)
            known = found if self._is_of_this(found) else known
        if not self._is_of_this(known):
            return b""
        _known[self._key] = known
        return known[: -len(self._fingerprint)]

    def _is_of_this(self, known: bytes) -> bool:
        return bool(self._fingerprint) and known in (
            ACCEPTED + self._fingerprint,
            REFUSED + self._fingerprint,
        )

    def note(self, standing: bytes) -> None:
        """Remember what the token has made of it."""
        if self._fingerprint and self.standing() != standing:
            _known[self._key] = standing + self._fingerprint
            if self._path:
                signer_memory.write(self._path, standing + self._fingerprint)

    @contextlib.contextmanager
    def turn(self, deadline: float) -> Iterator[None]:
        """In this only one request at a time tries a PIN that is not known.  child.Hanging if it is
        not this one's turn by the deadline, a time.monotonic()."""
        if not self._fingerprint or self.standing() == ACCEPTED:
            yield
            return
        trying = _trying.setdefault(self._key, _thread.allocate_lock())
        if not trying.acquire(timeout=max(0, deadline - time.monotonic())):
            raise child.Hanging
        try:
            lock = self._lock(deadline)
            try:
                yield
            finally:
                if lock >= 0:
                    posix.close(lock)
        finally:
            trying.release()

    def _lock(self, deadline: float) -> int:
        """The descriptor of the locked file, -1 if there is none in `cache`."""
        import fcntl

        if not self._directory or not cache.may_write(self._directory):
            return -1
        flags = posix.O_RDWR | posix.O_CREAT | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_CLOEXEC
        try:
            lock = posix.open(self._path + ".lock", flags, 0o600)
        except OSError:
            return -1
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return lock
            except BlockingIOError:
                pass
            except OSError:  # without locks in this file system
                return lock
            if time.monotonic() > deadline:
                posix.close(lock)
                raise child.Hanging
            time.sleep(_POLL_SECONDS)


def _token(rkey: str) -> str:
    """What is the same in the URIs of all keys on one token; all of one that does not say which."""
    path, _, query = rkey.partition("?")
    scheme, _, attributes = path.partition(":")
    named = [one for one in attributes.split(";") if one.partition("=")[0] not in _OF_A_KEY]
    if scheme != "pkcs11" or not any(named):
        return rkey
    return ";".join(sorted(named)) + "?" + query
