"""Signed responses cached on disk (`cache = DIR`): a repeated request is answered without loading a
crypto library.

One file is one response, to one CertID without a nonce, named by that CertID.  It begins with what
the response was made from:

    crc32 of all that follows
    ocsp-cgi response 3 SECTION
    fingerprints of the config and of every certificate it names
    the line of the index
    thisUpdate, nextUpdate, the signer's serial number, the entity tag, the fingerprint of the
        index, the offset of the line in it, a checksum of the settings and CA certificates it was
        made with, and for each certificate whose end the log warns of NAME:FROM:END, with blanks
        between them
    the log fields
    the DER of the OCSPResponse

A response is used only while all of this is as it was, and for half of its life.  The line is read
from the database for each request, so a revocation is never hidden: where it was, if the index is
unchanged (`get_unsearched`); else the caller has to search for it and for the signer's (`get`).
Fingerprints are those of this host's files: if they do not fit, because the response was made on
another host, or a file was replaced by one that says the same, `reuse` compares contents.  A
truncated, corrupt or foreign file is a cache miss.  A cache that cannot be written costs speed,
never a response.

The responder's user owns the directory.  Files are put into buckets, which bound its size: see
buckets.py.
"""

import binascii
import posix

from . import index_file, limits
from .answer import Answer, expiry_warnings, reading, successful

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .config import CASettings, Settings

_FORMAT = b"ocsp-cgi response 3"
SUFFIX = ".ocsp"
BUCKETS = "buckets-"
_CACHED_FIELDS = ("serial", "status", "reason", "warning")  # of the log
_FILE_NAME_DIGITS = bytes.maketrans(b"+/", b"-_")


class CachedResponse:
    """A signed response to one CertID, and what it was made from.

    `ca` is the section of the config, `sources` what `fingerprints` returned before any of that was
    read, `line` and `offset` are the row in the index with that `index_fingerprint`, `signer` is
    the signer's serial number, `made_with` is what `reuse.made_with` returned; `der`,
    `this_update`, `next_update` and `entity_tag` as in an Answer; `log_fields` as in a Log;
    `expiries` as in a Signer.
    """

    __slots__ = (
        "ca",
        "der",
        "entity_tag",
        "expiries",
        "index_fingerprint",
        "line",
        "log_fields",
        "made_with",
        "next_update",
        "offset",
        "signer",
        "sources",
        "this_update",
    )

    def __init__(
        self,
        ca: "CASettings",
        sources: bytes,
        line: bytes,
        offset: int,
        index_fingerprint: bytes,
        signer: int,
        made_with: bytes,
        der: bytes,
        this_update: int,
        next_update: int,
        entity_tag: str,
        log_fields: list[tuple[str, str]],
        expiries: list[tuple[str, int, int]],
    ):
        self.ca = ca
        self.sources = sources
        self.line = line
        self.offset = offset
        self.index_fingerprint = index_fingerprint
        self.signer = signer
        self.made_with = made_with
        self.der = der
        self.this_update = this_update
        self.next_update = next_update
        self.entity_tag = entity_tag
        self.log_fields = log_fields
        self.expiries = expiries

    def answer(self, now: int) -> Answer:
        max_age = self.ca.max_age_seconds
        return successful(
            self.der, self.this_update, self.next_update, now, max_age, self.entity_tag
        )


def fingerprints(settings: "Settings") -> bytes:
    """What changes whenever the config, or a certificate it names, is written or replaced; where
    one of two signers may sign for the other, their keys too.

    To be taken before any of them is read.
    """
    paths = [path for ca in settings.cas for path in (ca.ca, ca.rsigner)]
    for ca in settings.cas:
        if ca.rsigner2:  # the first signs again as soon as its key can be read
            paths += [ca.rsigner2, *[path for _, path in ca.private_files]]
    return b" ".join([settings.fingerprint, *[_fingerprint(path) for path in paths]])


def get_unsearched(
    encoded: "bytes | None", settings: "Settings", now: int
) -> "CachedResponse | None":
    """The cached response to the DER of an OCSPRequest that is nothing but a CertID, while the
    index is unchanged.

    The request need not be read: all around its CertID are tags and lengths.  DatabaseUnavailable
    if the index cannot be read.
    """
    if encoded is None or not 8 < len(encoded) < 0x82:  # beyond which a length takes more bytes
        return None
    around = bytes([byte for left in (2, 4, 6, 8) for byte in (0x30, len(encoded) - left)])
    if encoded[:8] != around:
        return None
    for ca in settings.cas:
        cached = get(encoded[8:], ca, settings, now) if ca.cache else None
        if cached is not None and index_file.is_unchanged(
            ca.db, cached.index_fingerprint, cached.offset, cached.line
        ):
            ca.check_heartbeat(now)
            return cached
    return None


def get(
    cert_id: bytes, ca: "CASettings", settings: "Settings", now: int
) -> "CachedResponse | None":
    """The cached response of a CA to the DER of a CertID, if everything that it was made from is as
    it was; the caller has yet to look at the database."""
    parts = read(path_of(ca, cert_id))
    if (
        parts[0] != _format_and_name(ca)
        or parts[1] != fingerprints(settings)
        or cert_id not in parts[5]
        or is_writable_for_all(ca.cache)
    ):
        return None
    try:
        cached = parse(parts, ca, now)
    except ValueError:  # another version of this program has written it
        return None
    if not cached.this_update <= now < used_until(cached.this_update, cached.next_update):
        return None
    return cached


def parse(parts: list[bytes], ca: "CASettings", now: int) -> CachedResponse:
    """The response in the parts of a file, as a cached one of this CA.  ValueError if it is not
    one."""
    _, sources, line, numbers, fields, encoded = parts
    start, end, signer, entity_tag, index_fingerprint, offset, made_with, *ends = numbers.split(
        b" "
    )
    pairs = [field.split("=") for field in fields.decode().split(" ")]
    triples = [one.split(b":") for one in ends]
    expiries = [(name.decode(), int(begin), int(until)) for name, begin, until in triples]
    log_fields = [
        *[(name, value) for name, value in pairs],
        ("ca", ca.name),
        ("cache", "hit"),
        *expiry_warnings(expiries, now),
    ]
    return CachedResponse(
        ca,
        sources,
        line,
        int(offset),
        index_fingerprint,
        int(signer, 16),
        made_with,
        encoded,
        int(start),
        int(end),
        entity_tag.decode(),
        log_fields,
        expiries,
    )


def used_until(this_update: int, next_update: int) -> int:
    """When a cached response has lived for half of its life, and a new one takes its place."""
    return (this_update + next_update) // 2


def put(response: CachedResponse, cert_id: bytes) -> list[str]:
    """Cache the response to the DER of a CertID.  Returns warnings if that is not possible."""
    directory = response.ca.cache
    if directory is None or len(cert_id) > limits.CACHED_CERT_ID_BYTES:
        return []
    if is_writable_for_all(directory):
        return [
            f"{directory}: not used as `cache`: everybody on this machine may write in it:"
            f" chmod o-w {directory}, and remove everything in it"
        ]
    if not may_write(directory):
        return []
    numbers = (
        f"{response.this_update} {response.next_update} {response.signer:x} {response.entity_tag}"
        f" {(response.index_fingerprint or b'-').decode()} {response.offset}"
        f" {response.made_with.decode()}"
    )
    expiries = "".join([f" {name}:{start}:{end}" for name, start, end in response.expiries])
    fields = [f"{name}={value}" for name, value in response.log_fields if name in _CACHED_FIELDS]
    content = b"\n".join(
        [
            _format_and_name(response.ca),
            response.sources,
            response.line,
            (numbers + expiries).encode(),
            " ".join(fields).encode(),
            response.der,
        ]
    )
    try:
        from . import buckets  # which a cached response does not need

        checked = b"%08x\n" % binascii.crc32(content) + content
        limit = response.ca.cache_size * 1024 * 1024 // bucket_count(response.ca)
        buckets.put(path_of(response.ca, cert_id), checked, response.next_update, limit)
    except OSError as error:
        import errno

        fix = "the responder's user must be able to write there"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            fix = "make room there, or set a smaller `cache_size`"
        return [
            f"{directory}: {error.strerror}: [{response.ca.name}] answers without its `cache`;"
            f" {fix}"
        ]
    return []


def may_write(directory: str) -> bool:
    """Whether files may be put into this `cache`.

    Not by root into another user's, who could lead them elsewhere, and could not replace them; and
    not where everybody could have changed them.  True if there is no such directory.
    """
    try:
        status = posix.stat(directory)
    except OSError:
        return True
    return status.st_mode & 0o002 == 0 and (posix.geteuid() != 0 or status.st_uid == 0)


def path_of(ca: "CASettings", cert_id: bytes) -> str:
    """The file for a CertID in the `cache` of a CA."""
    return path_in(ca.cache, bucket_count(ca), cert_id)


def path_in(directory: "str | None", buckets: int, cert_id: bytes) -> str:
    """The file for a CertID: its bytes in base64 for file names (RFC 4648 section 5), in its
    bucket."""
    name = binascii.b2a_base64(cert_id, newline=False).translate(_FILE_NAME_DIGITS).decode()
    return f"{directory}/{BUCKETS}{buckets}/{binascii.crc32(cert_id) % buckets}/{name}{SUFFIX}"


def bucket_count(ca: "CASettings") -> int:
    """How many buckets the `cache` of a CA has."""
    return min(ca.cache_size * 1024 * 1024 // limits.BUCKET_BYTES, limits.BUCKETS)


def has_format(format_and_name: bytes) -> bool:
    """Whether the first part of a file says that it is a cached response, of whatever section."""
    return format_and_name.startswith(_FORMAT + b" ")


def _format_and_name(ca: "CASettings") -> bytes:
    return b"%s %s" % (_FORMAT, ca.name.encode())


def _fingerprint(path: str) -> bytes:
    try:
        return index_file.fingerprint(posix.stat(path))
    except OSError:
        return b"-"


def is_writable_for_all(directory: "str | None") -> bool:
    """Whether somebody who is not the web server may have put something here."""
    try:
        return posix.stat(directory or "").st_mode & 0o002 != 0
    except OSError:
        return False  # `put` has the reason when it fails


def read(path: str) -> list[bytes]:
    """The six parts of a cached file, all empty if there is no such file, or it is not whole."""
    reading(path)
    try:
        # Something that is not a file must neither be waited for nor lead elsewhere.
        descriptor = posix.open(
            path, posix.O_RDONLY | posix.O_NONBLOCK | posix.O_NOFOLLOW | posix.O_CLOEXEC
        )
        try:
            content = posix.read(descriptor, limits.CACHED_BYTES)
        finally:
            posix.close(descriptor)
    except OSError:
        content = b""
    checksum, _, rest = content.partition(b"\n")
    parts = rest.split(b"\n", 5)
    return parts if checksum == b"%08x" % binascii.crc32(rest) and len(parts) == 6 else [b""] * 6
