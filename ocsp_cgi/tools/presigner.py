"""Signs responses in advance and caches them (RFC 6960 section 2.5): what one process does.

A response is made by the same code, and cached in the same file, as if a client had asked for it.
So it is used, or not used, by the same rules: a revocation takes effect with the next request, also
where this program has not run since.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Set
from dataclasses import dataclass, field
from io import FileIO

from .. import cache, index_file, index_search, limits, producer
from ..answer import Log, OCSPError
from ..config import CASettings, Settings
from ..import_cryptography import SignerError
from ..index_map import IndexMap
from ..index_row import Row
from ..issuer import Issuer, refuse_shared
from ..ocsp_request import CertID, OCSPRequest, encode_request
from ..resident import ResidentFiles
from . import index_part
from .index_part import Part

HASHES = ("sha1", "sha256")  # of a CertID; clients use no others
_MOST_REASONS = 3  # that are shown of all that failed


class IndexChanged(Exception):
    """The index is not the one that a map was made of any more."""


@dataclass
class Done:
    """What came of a part of an index: how many responses were `signed`, and their `bytes`, how
    many were in the cache and are `fresh`, how many `failed`, and why, as far as that is `reasons`.

    `stop` is the reason why no other part will do better, `is_outdated` whether that is that the
    index has changed.
    """

    signed: int = 0
    bytes: int = 0
    fresh: int = 0
    failed: int = 0
    reasons: list[str] = field(default_factory=list)
    stop: str = ""
    is_outdated: bool = False

    def add(self, other: Done) -> None:
        """Add what came of another part."""
        self.signed += other.signed
        self.bytes += other.bytes
        self.fresh += other.fresh
        self.failed += other.failed
        for reason in other.reasons:
            self.add_reason(reason)
        self.stop = self.stop or other.stop
        self.is_outdated = self.is_outdated or other.is_outdated

    def add_reason(self, reason: str) -> None:
        if reason not in self.reasons and len(self.reasons) < _MOST_REASONS:
            self.reasons.append(reason)


class MappedFiles(ResidentFiles):
    """Finds rows with the map of one index, and raises IndexChanged instead of searching another
    state of it."""

    def __init__(self, db: str, index_map: IndexMap):
        super().__init__()
        self._db = db
        self.index_map = index_map

    def find(
        self,
        ca: CASettings,
        serial_numbers: set[int],
        also: Set[int] = frozenset(),
        known_in: bytes = b"",
    ) -> index_search.Found:
        if ca.db != self._db:
            return super().find(ca, serial_numbers, also, known_in)
        found = index_file.read(ca.db, lambda file: self._find(file, serial_numbers | also))
        return index_search.find(ca.db, serial_numbers, also) if found is None else found

    def _find(self, file: FileIO, serial_numbers: set[int]) -> index_search.Found | None:
        self.check(file)
        return self.index_map.find(file, serial_numbers)

    def check(self, file: FileIO) -> None:
        """IndexChanged unless this open index is the one that was mapped."""
        if index_file.fingerprint(os.fstat(file.fileno())) != self.index_map.fingerprint:
            raise IndexChanged


class Presigner:
    """Signs for one CA of the config, with the map of its index.

    A cached response is fresh if the responder will use it for `margin` seconds more; towards the
    end of the signer, when responses live shorter, for that part of their life.
    """

    def __init__(self, ca: CASettings, settings: Settings, index_map: IndexMap, margin: int):
        self._ca = ca
        self._settings = settings
        self._files = MappedFiles(ca.db, index_map)
        self._margin = self._fresh_seconds = margin
        self._sections: list[CASettings] = []
        self._hashes: list[tuple[str, bytes, bytes]] = []
        self._signers: set[int] = set()

    def prepare(self) -> None:
        """Look at the CA and its signers.  OCSPError if there is none that may sign."""
        now = int(time.time())
        self._ca.check_heartbeat(now)
        issuers = self._files.issuers(self._settings)
        refuse_shared(issuers)
        issuer = issuers[self._settings.cas.index(self._ca)]
        if issuer.unreadable:
            raise issuer.unreadable
        self._signers = self._able(issuer, now)
        signer = issuer.signer(now)
        life = min(
            self._ca.nmin * 60, signer.certificate.not_after - now, signer.ca.not_after - now
        )
        self._fresh_seconds = self._margin * life // (self._ca.nmin * 60)
        # All sections of a CA may sign for it; the first that can does.
        self._sections = [
            one.settings for one in issuers if one.settings.cache and one.is_one_with(issuer)
        ]
        names = dict.fromkeys(one.subject for one in issuer.certificates)
        key = issuer.certificates[0].public_key
        self._hashes = [
            (hash_name, _digest(hash_name, name), _digest(hash_name, key))
            for name in names
            for hash_name in HASHES
        ]

    def check(self, file: FileIO) -> None:
        """IndexChanged unless this open index is the one that was mapped."""
        self._files.check(file)

    @property
    def per_row(self) -> int:
        """How many responses there are for each certificate."""
        return len(self._hashes)

    def _able(self, issuer: Issuer, now: int) -> set[int]:
        """The serial numbers of the signers that may sign, also by what the index says of them."""
        able, error = set(), None
        for signer in issuer.signers(now):
            number = signer.certificate.serial_number
            row = self._files.find(self._ca, set(), {number}).rows.get(number)
            try:
                if row is not None and signer.delegated:
                    signer.check_row(row, True)
                able.add(number)
            except SignerError as refused:
                error = error or refused
        if error and not able:
            raise error
        return able

    def work(self, part: Part) -> Done:
        """Sign what is not fresh of a part of the index."""
        done = Done()
        try:
            self.prepare()
            index_file.read(self._ca.db, lambda file: self._work(file, part, done))
        except IndexChanged:
            done.is_outdated, done.stop = True, "the index has changed"
        except (OCSPError, _Useless) as error:
            done.stop = str(error)
        return done

    def _work(self, file: FileIO, part: Part, done: Done) -> None:
        self._files.check(file)
        since = index_part.asked_since(self._ca, int(time.time()))
        for number, row in index_part.rows(file, part, since):
            for hash_name, name_hash, key_hash in self._hashes:
                cert_id = CertID.make(hash_name, name_hash, key_hash, number)
                if len(cert_id.encoded) > limits.CACHED_CERT_ID_BYTES:
                    done.failed += 1
                    serial = cert_id.index_serial[:40]
                    done.add_reason(f"{self._ca.db}: serial {serial}... is too long to be cached")
                    continue
                if self._is_fresh(cert_id, row):
                    done.fresh += 1
                    continue
                try:
                    done.bytes += self._sign(cert_id)
                    done.signed += 1
                except SignerError:
                    raise
                except OCSPError as error:  # about this row
                    done.failed += 1
                    done.add_reason(str(error))

    def _is_fresh(self, cert_id: CertID, row: Row) -> bool:
        cached = self._get(cert_id, int(time.time()) + self._fresh_seconds)
        if cached is None or cached.signer not in self._signers:
            return False
        if cached.line == row.line:
            return True
        # There may be several rows for one serial number.
        number = cert_id.serial_number
        used = self._files.find(self._ca, {number}).rows.get(number)
        return used is not None and used.line == cached.line

    def _sign(self, cert_id: CertID) -> int:
        """The length of a new response, which is in the cache now."""
        request, log = OCSPRequest.from_der(encode_request([cert_id])), Log()
        now = int(time.time())
        answer = producer.produce_anew(request, self._settings, now, log, self._files)
        if self._get(cert_id, now) is None:
            raise _Useless(_not_cached(self._ca, log))
        return len(answer.der)

    def _get(self, cert_id: CertID, at: int) -> cache.CachedResponse | None:
        for section in self._sections:
            cached = cache.get(cert_id.encoded, section, self._settings, at)
            if cached is not None:
                return cached
        return None


class _Useless(Exception):
    """Nothing else will be signed, or cached, either."""


def _not_cached(ca: CASettings, log: Log) -> str:
    """Why a response that has been signed is not in the cache."""
    for note in log.notes:
        if f"{ca.cache}" in note:
            return note.partition(": ")[2]
    return (
        f"{ca.cache}: a response was signed, and is not there: has something removed it, or is"
        " `cache_size` too small?"
    )


def _digest(hash_name: str, content: bytes) -> bytes:
    return hashlib.new(hash_name, content, usedforsecurity=False).digest()
