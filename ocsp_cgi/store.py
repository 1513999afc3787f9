"""Signed answers, kept on disk (`cache = DIR`): who asks what has been asked before is spared the
start of a whole crypto library.

One file is one answer, to one CertID without a nonce, and its name is that CertID.  It begins with
what the answer was made from:

    crc32 of all that follows
    ocsp-cgi answer 2 SECTION
    inode, size and times of the config, and of every certificate it names
    the line of the index
    thisUpdate, nextUpdate, the signer's serial number, the entity tag, inode, size and times of the index, the line's offset
    what the log says of it
    DER

It is used only if all this is as it was, and for half of its life.  The line is read from the
database for each answer, so a revocation is never hidden: from where it was, if the index is the
same file (`find_same`), else whoever asks has to search for it and for the signer's (`find`).  What
is cut off, damaged or something else counts as not there.  A store that cannot be written costs
time, never an answer.

The files lie in the buckets that `buckets` makes room in, so a directory takes no more of the disk
than its `cache_size`.
"""

import binascii
import posix

from . import errors, index, limits

_FORMAT = b"ocsp-cgi answer 2"
SUFFIX = ".ocsp"
BUCKETS = "buckets-"
_DIGITS_FOR_FILES = bytes.maketrans(b"+/", b"-_")


class Kept:
    """A signed answer to one CertID, and what it was made from.

    `ca` are the CASettings, `stamps` what `made_from` was before these were read, `line` and
    `offset` the row in the index with that `index_stamp`, `signer` the signer's serial number;
    `der`, `this_update`, `next_update`, `entity_tag` and `facts` are as in a responder's Answer.
    """

    __slots__ = (
        "ca",
        "stamps",
        "line",
        "offset",
        "index_stamp",
        "signer",
        "der",
        "this_update",
        "next_update",
        "entity_tag",
        "facts",
    )

    def __init__(
        self,
        ca,
        stamps: bytes,
        line: bytes,
        offset: int,
        index_stamp: bytes,
        signer: int,
        der: bytes,
        this_update: int,
        next_update: int,
        entity_tag: str,
        facts: list[tuple[str, str]],
    ):
        self.ca = ca
        self.stamps = stamps
        self.line = line
        self.offset = offset
        self.index_stamp = index_stamp
        self.signer = signer
        self.der = der
        self.this_update = this_update
        self.next_update = next_update
        self.entity_tag = entity_tag
        self.facts = facts


def made_from(settings) -> bytes:
    """What shows that the config (config.Settings) and the certificates it names are as before; to
    be asked before they are read."""
    return b" ".join(
        [settings.stamp, *[_stamp(path) for ca in settings.cas for path in (ca.ca, ca.rsigner)]]
    )


def find_same(encoded: "bytes | None", settings, now: int) -> "Kept | None":
    """The kept answer to the DER of an OCSPRequest that is nothing but a CertID, while the index is
    the same file as then.

    It needs no reading of the request: all around a CertID in such a one are tags and lengths.
    DatabaseUnavailable if the index cannot be read.
    """
    if (
        encoded is None or not 8 < len(encoded) < 0x82
    ):  # beyond which lengths take more than an octet
        return None
    if encoded[:8] != bytes(
        octet for left in (2, 4, 6, 8) for octet in (0x30, len(encoded) - left)
    ):
        return None
    for ca in settings.cas:
        kept = find(encoded[8:], ca, settings, now) if ca.cache else None
        if kept is not None and index.is_still(ca.db, kept.index_stamp, kept.offset, kept.line):
            if ca.stale_after is not None:
                index.check_heartbeat(ca.db, ca.stale_after, now)
            return kept
    return None


def find(cert_id: bytes, ca, settings, now: int) -> "Kept | None":
    """The kept answer of a CA (CASettings) to the DER of a CertID, if all it was made from but the
    database is as it was."""
    format_and_name, stamps, line, numbers, facts, encoded = _read(_path(ca, cert_id))
    if (
        format_and_name != _format_and_name(ca)
        or stamps != made_from(settings)
        or cert_id not in encoded
        or _is_writable_for_all(ca.cache)
    ):
        return None
    this_update, next_update, signer, entity_tag, index_stamp, offset = numbers.split(b" ")
    start, end = int(this_update), int(next_update)
    if not start <= now < (start + end) // 2:
        return None
    pairs = [tuple(fact.split("=")) for fact in facts.decode().split(" ")] + [("ca", ca.name)]
    return Kept(
        ca,
        stamps,
        line,
        int(offset),
        index_stamp,
        int(signer, 16),
        encoded,
        start,
        end,
        entity_tag.decode(),
        pairs,
    )


def keep(kept: Kept, cert_id: bytes) -> list[str]:
    """Keep the answer to the DER of a CertID.  Returns remarks on what hinders that."""
    directory = kept.ca.cache
    if len(cert_id) > limits.KEPT_CERT_ID_OCTETS:
        return []
    if _is_writable_for_all(directory):
        return [
            f"{directory}: not used as `cache`: everybody on this machine may write in it:"
            f" chmod o-w {directory}, and remove everything in it"
        ]
    if not may_write(directory):
        return []
    numbers = (
        f"{kept.this_update} {kept.next_update} {kept.signer:x} {kept.entity_tag}"
        f" {(kept.index_stamp or b'-').decode()} {kept.offset}"
    )
    facts = " ".join("=".join(fact) for fact in kept.facts if fact[0] != "ca")
    content = b"\n".join(
        [
            _format_and_name(kept.ca),
            kept.stamps,
            kept.line,
            numbers.encode(),
            facts.encode(),
            kept.der,
        ]
    )
    try:
        from . import buckets  # which a cached response does not need

        buckets.put(
            _path(kept.ca, cert_id),
            b"%08x\n" % binascii.crc32(content) + content,
            kept.next_update,
            kept.ca,
        )
    except OSError as error:
        reason = f"{directory}: {error.strerror}: [{kept.ca.name}] answers without its `cache`"
        return [f"{reason}; the web server's user must be able to write there"]
    return []


def may_write(directory: str) -> bool:
    """Whether files may be put into this `cache`.  Not by root into another user's, who could lead
    them elsewhere, and could not replace them; and not where everybody could have changed them.
    True if there is no such directory."""
    try:
        status = posix.stat(directory)
    except OSError:
        return True
    return status.st_mode & 0o002 == 0 and (posix.geteuid() != 0 or status.st_uid == 0)


def _path(ca, cert_id: bytes) -> str:
    """The file for a CertID: its bytes in base64 for file names (RFC 4648 section 5), in its
    bucket."""
    count = bucket_count(ca)
    name = binascii.b2a_base64(cert_id, newline=False).translate(_DIGITS_FOR_FILES).decode()
    return f"{ca.cache}/{BUCKETS}{count}/{binascii.crc32(cert_id) % count}/{name}{SUFFIX}"


def bucket_count(ca) -> int:
    """How many buckets the `cache` of a CA (CASettings) has."""
    return min(ca.cache_size * 1024 * 1024 // limits.BUCKET_BYTES, limits.BUCKETS)


def _format_and_name(ca) -> bytes:
    return b"%s %s" % (_FORMAT, ca.name.encode())


def _stamp(path: str) -> bytes:
    try:
        return index.stamp(posix.stat(path))
    except OSError:
        return b"-"


def _is_writable_for_all(directory: str) -> bool:
    """Whether somebody who is not the web server may have put something here."""
    try:
        return posix.stat(directory).st_mode & 0o002 != 0
    except OSError:
        return False  # `keep` has the reason when it fails


def _read(path: str) -> list[bytes]:
    """The six parts of the file of an answer, all empty if there is no such file, or it is not
    whole."""
    errors.reading(path)
    try:
        # A file that is none must neither be waited for nor lead elsewhere.
        descriptor = posix.open(
            path, posix.O_RDONLY | posix.O_NONBLOCK | posix.O_NOFOLLOW | posix.O_CLOEXEC
        )
        try:
            content = posix.read(descriptor, limits.KEPT_BYTES)
        finally:
            posix.close(descriptor)
    except OSError:
        content = b""
    checksum, _, rest = content.partition(b"\n")
    parts = rest.split(b"\n", 5)
    return parts if checksum == b"%08x" % binascii.crc32(rest) and len(parts) == 6 else [b""] * 6
