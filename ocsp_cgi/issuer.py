"""The CAs of the config: whose certificates and database they are, and who signs for them.

A request finds its CA by the hashes in its CertID.  A serial number is only ever looked up in that
CA's own database, since an index does not say which CA issued a certificate.
"""

from __future__ import annotations

import posix

from . import certificate, index_file, keys
from .answer import TRY_LATER, OCSPError
from .certificate import Certificate
from .import_cryptography import SignerError
from .signer import Signer, load_certificates, load_own

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .algorithms import Preference
    from .config import CASettings, Settings
    from .ocsp_request import CertID
    from .signer_memory import SignerMemory

    _Identity = set[tuple[int | str, ...]]

_MOST_LINKS = 40  # as the kernel


class NoKey(OCSPError):
    """A response would have to be signed for a CA whose key is not on this host."""

    response_status = TRY_LATER


class Issuer:
    """A CA of the config.

    `certificates` are those in its `ca` that have the name and key of its signer's issuer: one, or
    several after the CA was renewed.  `unreadable` is the error if there are none, `refused` the
    error if the section shares its database, or has no signer that may sign.  `needs_row` is
    whether only a row of the signer that signs shows that the database is this CA's.
    """

    __slots__ = (
        "settings",
        "certificates",
        "unreadable",
        "refused",
        "needs_row",
        "_database",
        "_failed",
        "_alone",
        "_memory_of",
        "_signers",
        "_own",
        "_hashes",
        "_unusual_hashes",
    )

    def __init__(
        self, settings: CASettings, memory_of: Callable[[CASettings], SignerMemory] | None = None
    ):
        """`memory_of` makes what a Signer has as its memory."""
        self.settings = settings
        self._memory_of = memory_of
        self._alone = settings.signers()
        self.certificates: list[Certificate] = []
        self.unreadable: SignerError | None = None
        self.refused: OCSPError | None = None
        self.needs_row = False
        self._database: _Identity | None = None
        self._failed: dict[str, OCSPError] = {}  # why a signer cannot sign, by its suffix
        # What follows is shared with the copies that `anew` makes, in all threads.
        self._signers: dict[str, Signer] = {}  # the last ones, by their suffix
        self._own: dict[str, list[Certificate]] = {}  # of each signer, by its suffix
        self._hashes: dict[str, tuple[bytes, set[bytes]]] = {}
        self._unusual_hashes: dict[str, set[bytes]] = {}
        try:
            self.certificates = self._choose(load_certificates("ca", settings.ca))
        except SignerError as error:
            self.unreadable = error

    def anew(self) -> Issuer:
        """The same CA for another request: it may be refused for other reasons, while what has been
        made of its files is shared."""
        copy = object.__new__(type(self))
        for name in Issuer.__slots__:
            setattr(copy, name, getattr(self, name))
        copy.refused = None
        copy._database = None
        copy._failed = {}
        return copy

    def _choose(self, found: list[Certificate]) -> list[Certificate]:
        """Those of the certificates in `ca` that belong to the signer's issuer.

        SignerError if there are several CAs in the file, and none is or issued the signer.
        """
        holders = _holders(found)
        if len(holders) > 1:  # perhaps a chain with the signer's own certificate in it
            cas = [one for one in found if one.is_ca or one.issuer == one.subject]
            holders = _holders(cas) or holders
        if len(holders) == 1:
            return holders[0]
        if self.settings.signer_trust == "local":
            raise SignerError(
                f"{self.settings.ca}: has certificates of {len(holders)} CAs, and with"
                " `signer_trust = local` the signer does not show which of them is meant: leave"
                f" only those of [{self.settings.name}] in it"
            )
        failed = []
        for settings in self._alone:
            try:
                chosen = self._issuer_of(settings, holders)
            except SignerError as error:
                failed.append(error)
            else:
                self.needs_row = bool(failed)  # the first signer may be of another CA
                return chosen
        raise failed[0]

    def _issuer_of(
        self, settings: CASettings, holders: list[list[Certificate]]
    ) -> list[Certificate]:
        """Those of several CAs' certificates that belong to the issuer of one signer.

        SignerError if none is or issued the signer.
        """
        signer = self.load_own(settings)[0]
        own = [holder for holder in holders if holder[0].is_same_holder(signer)]
        issuers = [
            holder
            for holder in holders
            if holder not in own and certificate.same_name(holder[0].subject, signer.issuer)
        ]
        if own and not (issuers and certificate.OCSP_SIGNING in signer.extended_key_usages):
            return own[0]
        if len(issuers) > 1:  # the CA has changed its key
            issuers = self._issuers_by_signature(settings, issuers)
        if not issuers:
            raise SignerError(
                f"{settings.rsigner}: not issued by any of the CAs in {settings.ca}: clients would"
                " refuse its responses"
            )
        return issuers[0]

    def _issuers_by_signature(
        self, settings: CASettings, holders: list[list[Certificate]]
    ) -> list[list[Certificate]]:
        """Those CAs whose key has signed the signer's certificate.

        SignerError if none has, as far as can be verified, and one cannot be verified.
        """
        issuers, unverified = [], None
        for holder in holders:
            try:
                if Signer(settings, self.load_own(settings), holder, 0).is_issued():
                    issuers.append(holder)
            except SignerError as error:
                unverified = unverified or error
        if unverified and not issuers:
            raise unverified
        return issuers

    def load_own(self, settings: CASettings) -> list[Certificate]:
        """The certificates of the signer of one of `settings.signers()`, read once.  SignerError if
        there is none."""
        if settings.suffix not in self._own:
            self._own[settings.suffix] = load_own(settings)
        return self._own[settings.suffix]

    def load_all_own(self) -> list[Certificate]:
        """The certificates of all signers that can be read."""
        found = []
        for settings in self._alone:
            try:
                found += self.load_own(settings)
            except SignerError:
                pass  # which matters once a new response is made
        return found

    def signer(self, now: int, preferred: list[Preference] | None = None) -> Signer:
        """The signer that is to sign at this time: that of the client's first preference that any
        can follow, else the first of the config that may sign.  OCSPError if there is none."""
        if not preferred:
            return self._may_sign(now, 1)[0]
        return min(self._may_sign(now), key=lambda signer: signer.place_in(preferred))

    def signers(self, now: int) -> list[Signer]:
        """The signers that may sign at this time.  OCSPError if there is none."""
        return self._may_sign(now)

    def _may_sign(self, now: int, most: int = 2) -> list[Signer]:
        if self.refused:
            raise self.refused
        if not self.settings.rkey:
            raise NoKey(f"[{self.settings.name}] has no `rkey`: this host cannot sign for it")
        found: list[Signer] = []
        for settings in self._alone:
            if settings.suffix in self._failed or len(found) == most:
                continue
            try:
                found.append(self.signer_of(settings, now))
            except SignerError as error:
                self._failed[settings.suffix] = error
        if not found:
            self.refused = self._failed[self._alone[0].suffix]
            raise self.refused
        return found

    def signer_of(self, settings: CASettings, now: int) -> Signer:
        """The signer of one of `settings.signers()`, which may sign at this time.

        SignerError if it may not.
        """
        signer = self._signers.get(settings.suffix)
        if signer is None or not signer.is_same_at(now):
            memory = self._memory_of(settings) if self._memory_of else None
            signer = Signer(settings, self.load_own(settings), self.certificates, now, memory)
            signer.check(now)
            self._signers[settings.suffix] = signer
        return signer

    def do_without(self, signer: Signer, error: OCSPError) -> None:
        """Let another signer sign what is left of this request, since this one cannot."""
        self._failed[signer.settings.suffix] = error

    def signer_warnings(self) -> list[str]:
        """Lines for the log about signers that have been found unable to sign, but for what
        `refused` says."""
        texts = []
        for settings in self._alone:
            error = self._failed.get(settings.suffix)
            if error is None or error is self.refused:
                continue
            other = self._alone[0] if settings.suffix else self._alone[-1]
            but = "cannot sign either" if self.refused else f"cannot sign, {other.rsigner} does"
            texts.append(f"[{settings.name}] `rsigner{settings.suffix}` {but}: {error}")
        return texts

    def failures(self) -> list[tuple[str, str]]:
        """Log fields about the same signers."""
        return [("warning", f"rsigner{suffix}-cannot-sign") for suffix in self._failed]

    def is_one_with(self, other: Issuer) -> bool:
        """Whether both are sections of one CA, with one name and key."""
        if not self.certificates or not other.certificates:
            return False
        return self.certificates[0].is_same_holder(other.certificates[0])

    def matches(self, cert_id: CertID) -> bool:
        """Whether a CertID names this CA: both its hashes have to (RFC 6960 section 4.1.1).

        The name is hashed as the certificate asked about has it in its issuer field, whose strings
        may be of other types than in today's certificate of the CA.
        """
        name = cert_id.hash_name
        if name is None or not self.certificates:
            return False
        digest = keys.digest if self.settings.rkey else keys.digest_unsigned
        if name not in self._hashes:
            subjects = {one.subject for one in self.certificates}
            self._hashes[name] = (
                digest(name, self.certificates[0].public_key),
                {digest(name, subject) for subject in subjects},
            )
        key_hash, name_hashes = self._hashes[name]
        if key_hash != cert_id.issuer_key_hash:
            return False
        if cert_id.issuer_name_hash in name_hashes:
            return True
        if name not in self._unusual_hashes:
            fields = {field for one in self.certificates for field in (one.subject, one.issuer)}
            self._unusual_hashes[name] = {
                digest(name, encoding)
                for field in fields
                if certificate.same_name(field, self.certificates[0].subject)
                for encoding in certificate.encodings(field)
            }
        return cert_id.issuer_name_hash in self._unusual_hashes[name]

    def shares_database_with(self, other: Issuer) -> bool:
        """Whether `db` of both means one index."""
        return not self._database_identity().isdisjoint(other._database_identity())

    def _database_identity(self) -> _Identity:
        if self._database is None:
            self._database = database_identity(self.settings.db)
        return self._database


def _holders(certificates: list[Certificate]) -> list[list[Certificate]]:
    """Certificates, grouped by name and key."""
    holders: list[list[Certificate]] = []
    for one in certificates:
        for holder in holders:
            if holder[0].is_same_holder(one):
                holder.append(one)
                break
        else:
            holders.append([one])
    return holders


def refuse_shared(issuers: list[Issuer]) -> None:
    """Set `refused` of the sections that share a database and are not one CA.

    An index has no issuers: of another CA's certificate it says what is true of one of its own.
    Sections with the same name or the same key are one CA, renewed, rekeyed or renamed, which
    gives each serial number once.
    """
    if len(issuers) < 2:
        return
    for issuer in issuers:
        sharing = [other for other in issuers if issuer.shares_database_with(other)]
        if len(sharing) > 1:
            issuer.refused = _refusal(sharing)


def is_refused(
    ca: CASettings, settings: Settings, issuer_of: Callable[[CASettings], Issuer]
) -> bool:
    """Whether `refuse_shared` would refuse this section of the config.

    Certificates are read only if it shares its database.
    """
    if len(settings.cas) < 2:
        return False
    identity = database_identity(ca.db)
    sharing = [
        other
        for other in settings.cas
        if other is ca or not identity.isdisjoint(database_identity(other.db))
    ]
    return len(sharing) > 1 and _refusal(list(map(issuer_of, sharing))) is not None


def _refusal(sharing: list[Issuer]) -> OCSPError | None:
    """Why these sections, which share a database, are refused; None if they are one CA."""
    names = " and ".join(f"[{issuer.settings.name}]" for issuer in sharing)
    shared = f"{names} of the config have the same `db`, {sharing[0].settings.db}"
    for issuer in sharing:
        if issuer.unreadable:
            return OCSPError(
                f"{shared}, and whether they are one CA cannot be told: {issuer.unreadable}"
            )
    linked, left = sharing[:1], sharing[1:]
    for one in linked:  # grows meanwhile
        subject, public_key = one.certificates[0].subject, one.certificates[0].public_key
        for other in left[:]:
            theirs = other.certificates[0]
            if theirs.public_key == public_key or certificate.same_name(theirs.subject, subject):
                linked.append(other)
                left.remove(other)
    if not left:
        return None
    return OCSPError(
        f"{shared}, but are different CAs by the certificates in `ca`, and an index does not say"
        " which of them issued a certificate: set `db` of each to the database of its own CA"
    )


def database_identity(db: str) -> _Identity:
    """What two `db` settings have in common if they mean one index, however they spell it.

    That is the directory and name of the file, past all links, since `openssl ca` replaces the
    file; and the file itself, which may have several names.
    """
    path = db = db.rstrip("/") or "/"
    try:
        path = index_file.path_of(db)
    except (OSError, index_file.DatabaseUnavailable):
        pass
    for _ in range(_MOST_LINKS):
        try:
            target = posix.readlink(path)
        except OSError:
            break
        path = target if target[:1] == "/" else f"{path.rpartition('/')[0] or '.'}/{target}"
    directory, slash, name = path.rpartition("/")
    identity: _Identity = {(db,)}  # though a link may come to lead elsewhere meanwhile
    for place, last in ((directory + slash or ".", name), (path, "")):
        try:
            found = posix.stat(place)
            identity.add((found.st_dev, found.st_ino, last))
        except OSError:
            pass
    return identity
