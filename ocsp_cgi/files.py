"""The seam between a response and the files it is made from.

A CGI reads every file anew for each request.  A process that answers many requests may pass an
object with the same methods that remembers what it read, and looks at the fingerprint of each file
before it uses that again.
"""

from __future__ import annotations

from . import index_search
from .issuer import Issuer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Set

    from .config import Settings


class Files:
    """Reads each file when it is asked for."""

    def issuers(self, settings: Settings) -> list[Issuer]:
        """The CAs of the config, in its order, with their certificates and signers."""
        return [Issuer(ca) for ca in settings.cas]

    def find(
        self, db: str, serial_numbers: set[int], also: Set[int] = frozenset()
    ) -> index_search.Found:
        """As index_search.find."""
        return index_search.find(db, serial_numbers, also)
