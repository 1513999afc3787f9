"""Signed answers, kept on disk (`cache = DIR`): who asks what has been asked before is spared the start of a whole crypto library.

One file is one answer, to one CertID without a nonce, and its name is that CertID.  It begins with what the answer was made from:

    crc32 of all that follows
    ocsp-cgi answer 1 SECTION
    inode, size and times of the config, and of every certificate it names
    the line of the index
    thisUpdate, nextUpdate, the signer's serial number, the entity tag, inode, size and times of the index, the line's offset
    what the log says of it
    DER

It is used only if all this is as it was, and for half of its life.  The line is read from the database for each answer, so a
revocation is never hidden: from where it was, if the index is the same file (`find_same`), else whoever asks has to search for it
and for the signer's (`find`).  What is cut off, damaged or something else counts as not there.  A store that cannot be written
costs time, never an answer.

The files lie in buckets, cache/buckets-COUNT/NUMBER/, numbered by a checksum of the CertID.  A bucket may take BUCKET_BYTES of the
disk, and there are as many as `cache_size` has room for.  Each put makes room in its own bucket: it removes what has expired, and then
the oldest.  So the bound holds at every moment, but for a file per process that writes at that moment, and a put costs the same however
many responses there are.  What a cache of another size or an earlier version has left is removed by the puts that follow, a few
files at a time.

The time of a file, as `ls -l` shows it, is its response's nextUpdate.  Names in `cache` other than *.ocsp and buckets-* are not ours:
they are neither removed nor counted.
"""

import binascii
import posix
import time

from . import index, limits

_FORMAT = b"ocsp-cgi answer 1"
_SUFFIX = ".ocsp"
_BUCKETS = "buckets-"
_DIGITS_FOR_FILES = bytes.maketrans(b"+/", b"-_")


class Kept:
    """A signed answer to one CertID, and what it was made from.

    `ca` are the CASettings, `stamps` what `made_from` was before these were read, `line` and `offset` the row in the index with that
    `index_stamp`, `signer` the signer's serial number; `der`, `this_update`, `next_update`, `entity_tag` and `facts` are as in a
    responder's Answer.
    """

    __slots__ = ("ca", "stamps", "line", "offset", "index_stamp", "signer", "der", "this_update", "next_update", "entity_tag", "facts")

    def __init__(self, ca, stamps: bytes, line: bytes, offset: int, index_stamp: bytes, signer: int, der: bytes, this_update: int,
                 next_update: int, entity_tag: str, facts: list[tuple[str, str]]):  # fmt: skip
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
    """What shows that the config (config.Settings) and the certificates it names are as before; to be asked before they are read."""
    return b" ".join([settings.stamp, *[_stamp(path) for ca in settings.cas for path in (ca.ca, ca.rsigner)]])


def find_same(encoded: "bytes | None", settings, now: int) -> "Kept | None":
    """The kept answer to the DER of an OCSPRequest that is nothing but a CertID, while the index is the same file as then.

    It needs no reading of the request: all around a CertID in such a one are tags and lengths.  DatabaseUnavailable if the index
    cannot be read.
    """
    if encoded is None or not 8 < len(encoded) < 0x82:  # beyond which lengths take more than an octet
        return None
    if encoded[:8] != bytes(octet for left in (2, 4, 6, 8) for octet in (0x30, len(encoded) - left)):
        return None
    for ca in settings.cas:
        kept = find(encoded[8:], ca, settings, now) if ca.cache else None
        if kept is not None and index.is_still(ca.db, kept.index_stamp, kept.offset, kept.line):
            if ca.stale_after is not None:
                index.check_heartbeat(ca.db, ca.stale_after, now)
            return kept
    return None


def find(cert_id: bytes, ca, settings, now: int) -> "Kept | None":
    """The kept answer of a CA (CASettings) to the DER of a CertID, if all it was made from but the database is as it was."""
    format_and_name, stamps, line, numbers, facts, encoded = _read(_path(ca, cert_id))
    if format_and_name != _format_and_name(ca) or stamps != made_from(settings) or cert_id not in encoded or _is_writable_for_all(ca.cache):
        return None
    this_update, next_update, signer, entity_tag, index_stamp, offset = numbers.split(b" ")
    start, end = int(this_update), int(next_update)
    if not start <= now < (start + end) // 2:
        return None
    pairs = [tuple(fact.split("=")) for fact in facts.decode().split(" ")] + [("ca", ca.name)]
    return Kept(ca, stamps, line, int(offset), index_stamp, int(signer, 16), encoded, start, end, entity_tag.decode(), pairs)


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
    numbers = f"{kept.this_update} {kept.next_update} {kept.signer:x} {kept.entity_tag} {(kept.index_stamp or b'-').decode()} {kept.offset}"
    facts = " ".join("=".join(fact) for fact in kept.facts if fact[0] != "ca")
    content = b"\n".join([_format_and_name(kept.ca), kept.stamps, kept.line, numbers.encode(), facts.encode(), kept.der])
    try:
        content = b"%08x\n" % binascii.crc32(content) + content
        path = _path(kept.ca, cert_id)
        if _make_room(path, len(content), kept.ca):
            _write(path, content, kept.next_update)
        _remove_leftovers(directory, f"{_BUCKETS}{_bucket_count(kept.ca)}")
    except OSError as error:
        reason = f"{directory}: {error.strerror}: [{kept.ca.name}] answers without its `cache`"
        return [f"{reason}; the web server's user must be able to write there"]
    return []


def may_write(directory: str) -> bool:
    """Whether files may be put into this `cache`.  Not by root into another user's, who could lead them elsewhere, and could not
    replace them; and not where everybody could have changed them.  True if there is no such directory."""
    try:
        status = posix.stat(directory)
    except OSError:
        return True
    return status.st_mode & 0o002 == 0 and (posix.geteuid() != 0 or status.st_uid == 0)


def _path(ca, cert_id: bytes) -> str:
    """The file for a CertID: its bytes in base64 for file names (RFC 4648 section 5), in its bucket."""
    buckets = _bucket_count(ca)
    name = binascii.b2a_base64(cert_id, newline=False).translate(_DIGITS_FOR_FILES).decode()
    return f"{ca.cache}/{_BUCKETS}{buckets}/{binascii.crc32(cert_id) % buckets}/{name}{_SUFFIX}"


def _bucket_count(ca) -> int:
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
    """The six parts of the file of an answer, all empty if there is no such file, or it is not whole."""
    try:
        # A file that is none must neither be waited for nor lead elsewhere.
        descriptor = posix.open(path, posix.O_RDONLY | posix.O_NONBLOCK | posix.O_NOFOLLOW | posix.O_CLOEXEC)
        try:
            content = posix.read(descriptor, limits.KEPT_BYTES)
        finally:
            posix.close(descriptor)
    except OSError:
        content = b""
    checksum, _, rest = content.partition(b"\n")
    parts = rest.split(b"\n", 5)
    return parts if checksum == b"%08x" % binascii.crc32(rest) and len(parts) == 6 else [b""] * 6


def _write(path: str, content: bytes, next_update: int) -> None:
    """Write a file so that nobody ever sees a part of it.  OSError if that fails, and nothing is left behind."""
    unfinished = f"{path.rpartition('/')[0]}/.{posix.getpid()}-{time.monotonic_ns()}{_SUFFIX}"
    descriptor = posix.open(unfinished, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, 0o600)
    try:
        try:
            while content:
                content = content[posix.write(descriptor, content) :]
        finally:
            posix.close(descriptor)
        posix.utime(unfinished, (next_update, next_update))
        posix.rename(unfinished, path)
    except OSError:
        posix.unlink(unfinished)
        raise


def _make_room(path: str, size: int, ca) -> bool:
    """Remove what has expired from the bucket of this path, and the oldest until a file of this size fits.  Returns whether it does."""
    bucket = path.rpartition("/")[0]
    room = ca.cache_size * 1024 * 1024 // _bucket_count(ca) - _disk_usage(_make_bucket(bucket, ca.cache)) - _whole_blocks(size)
    now = time.time()
    oldest_last = []
    for entry in posix.scandir(bucket):
        unfinished = entry.name[0] == "."
        try:
            status = entry.stat(follow_symlinks=False)
            if now > status.st_mtime + (limits.UNFINISHED_SECONDS if unfinished else 0):
                posix.unlink(entry.path)
            elif entry.path != path:  # which is going to be replaced
                room -= _disk_usage(status)
                if not unfinished:
                    oldest_last.append((-status.st_mtime, entry.path, _disk_usage(status)))
        except FileNotFoundError:
            pass  # another process was faster
    oldest_last.sort()
    while room < 0 and oldest_last:
        _, oldest, freed = oldest_last.pop()
        _unlink(oldest)
        room += freed
    return room >= 0


def _make_bucket(bucket: str, directory: str) -> posix.stat_result:
    """The stat of a bucket, which is made if it is not there.  As many may enter it as may enter `cache`."""
    try:
        return posix.lstat(bucket)
    except FileNotFoundError:
        mode = posix.stat(directory).st_mode & 0o777
        for made in (bucket.rpartition("/")[0], bucket):
            try:
                posix.mkdir(made, mode)
            except FileExistsError:
                pass
        return posix.lstat(bucket)


def _disk_usage(status: posix.stat_result) -> int:
    """The bytes that a file takes.  Some file systems find their blocks for it only later."""
    return max(status.st_blocks * 512, _whole_blocks(status.st_size))


def _whole_blocks(size: int) -> int:
    return -(-size // 4096) * 4096


def _unlink(path: str) -> None:
    try:
        posix.unlink(path)
    except FileNotFoundError:
        pass


def _remove_leftovers(directory: str, current: str) -> None:
    """Remove some of what an earlier version or another `cache_size` has left; `current` is the name of the directory in use."""
    left = limits.LEFTOVERS_REMOVED
    with posix.scandir(directory) as entries:
        for entry in entries:
            if entry.name.endswith(_SUFFIX):
                _unlink(entry.path)
                left -= 1
            elif entry.name.startswith(_BUCKETS) and entry.name != current and entry.is_dir(follow_symlinks=False):
                left = _empty(entry.path, left, depth=2)
            if left <= 0:
                return


def _empty(directory: str, left: int, depth: int) -> int:
    """Remove so many files below a directory, and each directory that is empty then.  Returns how many more may be removed."""
    try:
        with posix.scandir(directory) as entries:
            for entry in entries:
                if left <= 0:
                    return 0
                if depth > 1:
                    left = _empty(entry.path, left, depth - 1)
                else:
                    _unlink(entry.path)
                    left -= 1
        posix.rmdir(directory)
    except OSError:
        pass  # another process removes them too, or still fills them
    return left - 1
