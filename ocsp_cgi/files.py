"""The seam between a response and the files it is made from.

A CGI reads every file anew for each request: `Files`.  A process that answers many requests passes
an object with the same methods that remembers what it read: `resident.ResidentFiles`.
"""

from __future__ import annotations

import posix

from . import answer, config, index_file, index_search, limits
from .import_cryptography import SignerError
from .issuer import Issuer
from .signer import load_own

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Set

    from .certificate import Certificate
    from .config import CASettings, Settings


class Files:
    """Reads each file when it is asked for."""

    def settings(self, path: str) -> Settings:
        """The config in this file.  ConfigError if it cannot be read, or has a mistake in it."""
        return config.load(path)

    def issuer(self, ca: CASettings) -> Issuer:
        """A CA of the config, with its certificates and its signer, for one request."""
        if ca.cache is None or not ca.rkey:
            return Issuer(ca)
        from .signer_memory import SignerMemory

        return Issuer(ca, SignerMemory)

    def issuers(self, settings: Settings) -> list[Issuer]:
        """The CAs of the config, in its order."""
        return [self.issuer(ca) for ca in settings.cas]

    def signer_certificates(self, ca: CASettings) -> list[Certificate]:
        """The certificates of the signers of a CA that can be read."""
        return [one for alone in ca.signers() for one in _readable(alone)]

    def find(
        self,
        ca: CASettings,
        serial_numbers: set[int],
        also: Set[int] = frozenset(),
        known_in: bytes = b"",
    ) -> index_search.Found:
        """The rows of these serial numbers in the index of a CA, as index_search.find."""
        if _is_long(ca.db):
            from . import sidecar

            found = sidecar.find(ca, serial_numbers, also, known_in)
            if found is not None:
                return found
        return index_search.find(ca.db, serial_numbers, also, known_in)


def _is_long(db: str) -> bool:
    """Whether the index of a `db` setting is one for which there may be a map in a file."""
    answer.reading(db)
    try:
        return posix.stat(index_file.path_of(db)).st_size >= limits.SEARCHED_BYTES
    except (OSError, index_file.DatabaseUnavailable):
        return False  # index_search.find waits for it, or says what is wrong


def _readable(ca: CASettings) -> list[Certificate]:
    try:
        return load_own(ca)
    except SignerError:
        return []  # which matters once a new response is made
