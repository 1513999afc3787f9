"""Files, as a process sees them that answers many requests: what was made of a file is kept until
the file's fingerprint changes, and that is looked at for every request.

So a revocation, a renewed signer or an edited config takes effect with the next request, in every
process.  What could not be read or used is never kept: it is read again for each request, and
answered as a CGI would, whatever was there before.

A file that is written twice within a tick of the kernel's clock has one fingerprint for two states.
So nothing is kept of a file that was written to a moment ago.
"""

from __future__ import annotations

import posix

from . import answer, index_file, index_search, limits
from .files import Files
from .index_maps import IndexMaps
from .issuer import Issuer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Set

    from .certificate import Certificate
    from .config import CASettings, Settings


class ResidentFiles(Files):
    """Keeps what it has made of each file.  For all requests of a process, in any thread.

    Nothing is kept of a file that was written to within the last `settling` seconds.
    """

    def __init__(self, settling: float = limits.DATABASE_SETTLING_SECONDS) -> None:
        self._settling = settling
        self._settings: dict[str, tuple[bytes, Settings]] = {}
        self._files: dict[CASettings, list[str]] = {}
        self._issuers: dict[CASettings, tuple[bytes, Issuer]] = {}
        self._maps = IndexMaps()

    def settings(self, path: str) -> Settings:
        fingerprint = self._fingerprint(path)
        kept = self._settings.get(path)
        if kept is not None and kept[0] == fingerprint:
            return kept[1]
        self._settings.pop(path, None)
        settings = super().settings(path)
        # A link may have led elsewhere for the moment in which the file was read.
        if fingerprint and settings.fingerprint == fingerprint:
            self._settings[path] = fingerprint, settings
        self._forget_issuers(settings)
        return settings

    def issuer(self, ca: CASettings) -> Issuer:
        joined = self._joined_fingerprints(ca)
        kept = self._issuers.get(ca)
        if kept is not None and kept[0] == joined:
            return kept[1].anew()
        self._issuers.pop(ca, None)
        issuer = Issuer(ca)
        is_whole = joined and not issuer.unreadable and issuer.load_all_own()
        # A link may have led elsewhere for the moment in which the files were read.
        if is_whole and self._joined_fingerprints(ca) == joined:
            self._issuers[ca] = joined, issuer
        return issuer.anew()

    def _joined_fingerprints(self, ca: CASettings) -> bytes:
        """Those of all that an issuer and its signer are made of, b"" if nothing may be kept."""
        paths = self._files.get(ca)
        if paths is None:
            paths = self._files[ca] = _files_of(ca)
        # While one of two signers lacks a file, the other signs, and is kept.
        missing = b"-" if ca.rsigner2 else b""
        fingerprints = [self._fingerprint(path, missing) for path in paths]
        return b" ".join(fingerprints) if all(fingerprints) else b""

    def signer_certificates(self, ca: CASettings) -> list[Certificate]:
        return self.issuer(ca).load_all_own()

    def find(
        self,
        ca: CASettings,
        serial_numbers: set[int],
        also: Set[int] = frozenset(),
        known_in: bytes = b"",
    ) -> index_search.Found:
        found = self._maps.find(ca, serial_numbers | also)
        return index_search.find(ca.db, serial_numbers, also) if found is None else found

    def _fingerprint(self, path: str, missing: bytes = b"") -> bytes:
        """The fingerprint of a file, to be taken before it is read, `missing` if there is no such
        file; b"" if nothing of it may be kept."""
        answer.reading(path)
        try:
            return index_file.lasting_fingerprint(posix.stat(path), self._settling)
        except FileNotFoundError:
            return missing
        except OSError:
            return b""

    def _forget_issuers(self, current: Settings) -> None:
        """Keep only the issuers, and the maps, of this config and of those that are kept."""
        kept = [settings for _, settings in list(self._settings.values())]
        used = {ca for settings in (*kept, current) for ca in settings.cas}
        for ca in set(self._issuers) - used:
            self._issuers.pop(ca, None)
        for ca in set(self._files) - used:
            self._files.pop(ca, None)
        self._maps.keep_only({ca.db for ca in used})


def _files_of(ca: CASettings) -> list[str]:
    """What an issuer and its signers are made of."""
    certificates = [path for path in (ca.ca, ca.rsigner, ca.rsigner2) if path]
    return certificates + [path for _, path in ca.private_files]
