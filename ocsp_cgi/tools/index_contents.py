"""An index that has been copied, held against what an index must be, and against the one before.

A row is never lost by `openssl ca`, and a revocation is final (RFC 5280 section 5.3.1) unless its
reason is certificateHold.  So an index with fewer rows, or in which something is no longer revoked,
is an older one, another CA's, a truncated one, or has been edited.

Both files are read once, in blocks; of the old one the serial numbers that are revoked are held in
memory, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from .. import index_row, index_search
from ..certificate import Certificate, index_serial
from ..index_file import DatabaseUnavailable
from ..ocsp_response import CERTIFICATE_HOLD
from .labelled import plural
from .not_copied import Refused

_BLOCK_BYTES = 1024 * 1024
_HEX_DIGITS = b"0123456789ABCDEFabcdef"
_LOOKED_UP = 20  # serial numbers in one search


class Contents:
    """The numbers of `rows`, of those that are `revoked`, and of `malformed` lines in an index.

    They are complete once `revocations` has been read to its end.  `ending` is what stands behind
    the last newline, `has_nul` whether there is a NUL byte, as where a write was lost.
    """

    def __init__(self, file: BinaryIO):
        self._file = file
        self.rows = self.revoked = self.malformed = 0
        self.ending = b""
        self.has_nul = False

    def read(self) -> Contents:
        for _ in self.revocations():
            pass
        return self

    def revocations(self) -> Iterator[tuple[int, bool]]:
        """Yield each serial number that is revoked, and whether that may be undone."""
        rows = revoked = 0
        self._file.seek(0)
        while block := self._file.read(_BLOCK_BYTES):
            self.has_nul = self.has_nul or b"\0" in block
            *lines, self.ending = (self.ending + block).split(b"\n")
            if len(self.ending) > _BLOCK_BYTES:  # not an index; it need not fill the memory too
                lines, self.ending = [*lines, self.ending], b""
            for line in lines:
                # What `openssl ca` writes, and nothing else, is counted without index_row.
                fields = line.split(b"\t")
                if (
                    len(fields) == 6
                    and fields[3]
                    and not fields[3].translate(None, _HEX_DIGITS)
                    and fields[4] == b"unknown"
                    and fields[1][-1:] == b"Z"
                ):
                    if fields[0] in (b"V", b"E") and not fields[2]:
                        rows += 1
                        continue
                    if (
                        fields[0] == b"R"
                        and b"hold" not in fields[2].lower()
                        and fields[2][-1:] != b"r"
                    ):
                        rows += 1
                        revoked += 1
                        yield int(fields[3], 16), False
                        continue
                numbers = _revoked_in(line)
                yield from numbers
                revoked += bool(numbers)
                if index_row.is_row(line):
                    rows += 1
                elif not index_row.is_blank(line):
                    self.malformed += 1
        if self.ending:
            yield from _revoked_in(self.ending)
        self.rows, self.revoked = rows, revoked


def _revoked_in(line: bytes) -> list[tuple[int, bool]]:
    """The serial numbers that a line revokes, as the responder reads it, and whether only for the
    time being."""
    candidates = index_row.numbers_in(index_row.split_into_words(line))
    rows, _ = index_row.read(line, 0, candidates)
    return [
        (number, row.cert_status.revocation_reason == CERTIFICATE_HOLD)
        for number, row in rows
        if row.is_revoked
    ]


class Verdict:
    """What has changed: `rows`, `revoked` and `malformed` of the new index, and how many more rows
    and revoked ones it has than the old; None if there is no old one."""

    def __init__(self, new: Contents, old: Contents | None):
        self.rows, self.revoked, self.malformed = new.rows, new.revoked, new.malformed
        self.more_rows = None if old is None else new.rows - old.rows
        self.more_revoked = None if old is None else new.revoked - old.revoked


def verify(
    path: str, old_path: str | None, signers: list[tuple[str, Certificate]], force: bool
) -> Verdict:
    """Verify the index in `path`, which was not written to a moment ago, to replace `old_path`.

    `signers` are the certificates that the CA issued to its responder, each with its file.  With
    `force` the index is not compared with the old one, and need not have their rows.  Refused if it
    must not be used.
    """
    old = None
    revoked: set[int] = set()
    held: set[int] = set()
    if old_path is not None:
        with open(old_path, "rb") as file:
            old = Contents(file)
            for number, is_hold in old.revocations():
                (held if is_hold else revoked).add(number)
        held -= revoked
    with open(path, "rb") as file:
        new = Contents(file)
        for number, _ in new.revocations():
            revoked.discard(number)
            held.discard(number)
    _check_form(new)
    _check_signers(path, old_path, signers, force)
    if old is not None and not force:
        _check_rows(new, old)
        _check_revocations(path, revoked, held)
    return Verdict(new, old)


def _check_form(new: Contents) -> None:
    """Refused if this is not a complete index."""
    if new.has_nul:
        raise Refused(
            "it has NUL bytes in it, as after a crash of the CA's host: restore it there, from"
            " index.old or a backup"
        )
    if not new.rows:
        what = (
            "it has no row (six fields with TABs between them)" if new.malformed else "it is empty"
        )
        raise Refused(f"{what}: is it the file that `openssl ca` writes?")
    if new.ending:
        raise Refused(
            "it does not end with a newline, so its last row may be cut off: if that is complete,"
            " add the newline on the CA's host"
        )


def _check_signers(
    path: str, old_path: str | None, signers: list[tuple[str, Certificate]], force: bool
) -> None:
    """Refused if the index lacks the row of a signer, or has one of another certificate."""
    for file, signer in signers:
        number = signer.serial_number
        serial = index_serial(number)
        row = _look_up(path, {number}).get(number)
        if row is None and not force and not (old_path and _lacks(old_path, number)):
            raise Refused(
                f"it has no row for serial {serial}, that of {file}: is it the index of another"
                " CA, or an old one?",
                may_be_forced=True,
            )
        if row is not None and row.expiry not in (None, signer.not_after):
            raise Refused(
                f"its row for serial {serial} does not have the expiry of {file}, which has this"
                " serial: it is the index of another CA"
            )


def _lacks(path: str, number: int) -> bool:
    """Whether the index that is in use has no row for this serial number either."""
    try:
        return not _look_up(path, {number})
    except Refused:
        return False


def _check_rows(new: Contents, old: Contents) -> None:
    if new.rows < old.rows:
        fewer = old.rows - new.rows
        malformed = f", and {plural(new.malformed, 'malformed line')}" if new.malformed else ""
        raise Refused(
            f"it has {plural(fewer, 'row')} fewer than the index in use, {new.rows} instead of"
            f" {old.rows}{malformed}: has it been pruned, or is it an old one?",
            may_be_forced=True,
        )


def _check_revocations(path: str, revoked: set[int], held: set[int]) -> None:
    """Refused if what was `revoked` for ever is not, or what was `held` is missing."""
    released = set()
    for some in _slices(sorted(held)):
        rows = _look_up(path, some)
        released |= {number for number, row in rows.items() if row.type in (b"V", b"E")}
    lost = sorted(revoked) or sorted(held - released)
    if lost:
        rows = _look_up(path, {lost[0]})
        what = "it says that it is not" if rows else "it has no row for it"
        others = f" (and {plural(len(lost) - 1, 'other')})" if lost[1:] else ""
        raise Refused(
            f"serial {index_serial(lost[0])}{others} is revoked in the index in use, and {what}: a"
            " revocation is final, so is it an old index, or has it been edited?",
            may_be_forced=True,
        )


def _slices(numbers: list[int]) -> Iterator[set[int]]:
    for start in range(0, len(numbers), _LOOKED_UP):
        yield set(numbers[start : start + _LOOKED_UP])


def _look_up(path: str, numbers: set[int]) -> dict[int, index_row.Row]:
    """The rows of these serial numbers, as the responder finds them."""
    try:
        return index_search.find(path, numbers).rows
    except DatabaseUnavailable as error:
        raise Refused(str(error).replace(path, "its file")) from None
