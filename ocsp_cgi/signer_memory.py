"""What is known of a signer from earlier requests: that its CA issued it, and that it has not been
revoked.

To find that out again, a CGI would have to verify the CA's signature for each response, often with
a type of key that it needs for nothing else, and to search the index for a second serial number.
So both are remembered in `cache`, in one file `.signer-NUMBER` for each signer of the config:

    crc32 of all that follows
    ocsp-cgi signer 1 VERSION
    the fingerprint of the index in which the signer is not revoked, or -
    warnings about the signer's row in that index, with blanks between them
    the DER of the certificates of the CA and of the signer

It is used only for the same two certificates, and an index that is written or replaced has another
fingerprint, so nothing here can be out of date.  An index that was written to a moment ago may
change once more under the same fingerprint, and is not remembered.

Who can write such a file can let a revoked signer sign.  So nothing is read or written where
everybody may write, nothing is read that another user has written, and root uses no other user's
`cache`.  A truncated, corrupt or foreign file says nothing.  A file that cannot be written costs
time, never a response.
"""

from __future__ import annotations

import binascii
import posix

from . import __version__, cache
from .answer import reading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .certificate import Certificate
    from .config import CASettings

PREFIX = ".signer-"
_FORMAT = f"ocsp-cgi signer 1 {__version__}".encode()
_BYTES = 64 * 1024
_NOTHING = b"-"
# Something that is not a file must neither be waited for nor lead elsewhere.
_NO_OTHER_KIND = posix.O_NONBLOCK | posix.O_NOFOLLOW | posix.O_CLOEXEC


class SignerMemory:
    """What is remembered of one signer of a CA of the config, for one request.

    `index_fingerprint` is that of the index in which the signer is known not to be revoked, b"" if
    there is none, and `warnings` what that index said of it.
    """

    __slots__ = ("_certificates", "_path", "_read", "index_fingerprint", "warnings")

    def __init__(self, settings: CASettings):
        """Of the signer of a CA with a `cache`."""
        # No name of a section has a newline in it.
        which = f"{settings.name}\n{settings.suffix}" if settings.suffix else settings.name
        number = binascii.crc32(which.encode())
        self._path = f"{settings.cache}/{PREFIX}{number:08x}"
        self._certificates = b""
        self._read = b""
        self.index_fingerprint = b""
        self.warnings: list[str] = []

    def is_issued(self, certificate: Certificate, ca: Certificate) -> bool:
        """Whether this certificate is known to have been issued with the key of this one of a CA.

        Only after this is anything known of an index, and can anything be remembered.
        """
        self._certificates = ca.der + certificate.der
        self._read = read(self._path)
        parts = self._read.split(b"\n", 3)
        if len(parts) != 4 or parts[0] != _FORMAT or parts[3] != self._certificates:
            self._read = b""
            return False
        if parts[1] != _NOTHING:
            self.index_fingerprint = parts[1]
            self.warnings = parts[2].decode().split()
        return True

    def remember(self, index_fingerprint: bytes, warnings: list[str]) -> None:
        """Remember that the CA issued the signer, which has been verified, and that the signer is
        not revoked in the index with this fingerprint, b"" if it may still change."""
        if not self._certificates or (self._read and not index_fingerprint):
            return
        known = index_fingerprint or _NOTHING
        text = b"\n".join([_FORMAT, known, " ".join(warnings).encode(), self._certificates])
        if text != self._read:
            write(self._path, text)


def read(path: str) -> bytes:
    """The text in a file, b"" if there is none that can be relied on."""
    reading(path)
    try:
        if not cache.may_write(path.rpartition("/")[0]):
            return b""
        descriptor = posix.open(path, posix.O_RDONLY | _NO_OTHER_KIND)
        try:
            if posix.fstat(descriptor).st_uid != posix.geteuid():
                return b""
            content = posix.read(descriptor, _BYTES)
        finally:
            posix.close(descriptor)
    except OSError:
        return b""
    checksum, _, text = content.partition(b"\n")
    return text if checksum == b"%08x" % binascii.crc32(text) else b""


def write(path: str, text: bytes) -> None:
    """Write a file, or leave nothing behind if that is not possible.

    Where two processes do at once, the checksum shows whether the file is of one of them.
    """
    if not cache.may_write(path.rpartition("/")[0]):
        return
    flags = posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | _NO_OTHER_KIND
    content = b"%08x\n" % binascii.crc32(text) + text
    try:
        descriptor = posix.open(path + ".new", flags, 0o600)
    except OSError:
        return
    try:
        is_whole = posix.write(descriptor, content) == len(content)
    except OSError:
        is_whole = False
    try:
        posix.close(descriptor)
        if is_whole:
            posix.rename(path + ".new", path)
        else:
            posix.unlink(path + ".new")
    except OSError:
        pass
