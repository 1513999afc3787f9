"""The signer: a certificate and private key, checked before and after they sign.

The first signature of a key by each algorithm is verified with the certificate's public key before
it is sent, which takes a tenth of a millisecond and detects a key that belongs to another
certificate.  In a CGI that is every signature.
"""

from __future__ import annotations

from . import algorithms, certificate, der, index_file, keys, limits, times
from .certificate import Certificate
from .config import is_uri
from .import_cryptography import SignerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .algorithms import Preference
    from .config import CASettings
    from .index_row import Row
    from .signer_memory import SignerMemory


class Signer:
    """A certificate and private key that may sign for a CA.

    `settings` are the section of the config with this signer alone; `certificate` is the signer's,
    `ca` the CA's newest valid one.  `delegated` is whether the CA authorized it as a responder (RFC
    6960 section 4.2.2.2): false if the CA signs its responses itself, and for a signer that is only
    trusted locally.  `memory` is what is known of it from earlier requests, None if that is of no
    use.
    """

    __slots__ = (
        "certificate",
        "ca",
        "delegated",
        "memory",
        "settings",
        "_algorithm",
        "_ca_certificates",
        "_chosen_at",
        "_key",
        "_key_hash",
        "_own",
        "_warnings",
    )

    def __init__(
        self,
        settings: CASettings,
        own: list[Certificate],
        ca: list[Certificate],
        now: int,
        memory: SignerMemory | None = None,
    ):
        """`own` are the certificates of the signer, `ca` those of the CA, each of one name and key;
        `memory` is what is known of them already.

        SignerError if the signer's key cannot sign.
        """
        self.ca = certificate.newest(ca, now)
        self._ca_certificates = ca
        self._own = own
        self._chosen_at = now
        self.settings = settings
        self.memory = memory
        # A key of which a signature has been verified, and by which algorithms; replaced as one,
        # since several threads may sign.
        self._key: tuple[Any, frozenset[bytes]] = (None, frozenset())
        self._key_hash = b""
        self._warnings: list[str] | None = None
        self.certificate = certificate.newest(own, now)
        signs_itself = self.certificate.is_same_holder(self.ca)
        if signs_itself and not self.certificate.not_before <= now < self.certificate.not_after:
            self.certificate = certificate.newest(own + ca, now)
        try:
            _refuse_short_key(self.certificate, settings.rsigner)
            self._algorithm = algorithms.own_algorithm(self.certificate)
        except algorithms.UnsupportedKey as error:
            raise SignerError(
                f"{settings.rsigner}: its key is {error}: issue a signer certificate with a new"
                " key, P-256 or RSA"
            ) from None
        self.delegated = not signs_itself
        if self.delegated and settings.signer_trust == "local":
            try:
                self.delegated = self.is_issued()
            except SignerError:  # the signature cannot be verified
                self.delegated = False

    @property
    def option(self) -> str:
        """The setting that names its certificate."""
        return f"rsigner{self.settings.suffix}"

    def check(self, now: int) -> None:
        """SignerError unless this certificate may sign for its CA at this time."""
        rsigner = self.settings.rsigner
        check_validity(self.certificate, rsigner, now)
        check_validity(self.ca, self.settings.ca, now)
        try:
            _refuse_short_key(self.ca, self.settings.ca)
        except algorithms.UnsupportedKey:
            pass  # an error only once it has to verify something
        if not self.delegated or self.settings.signer_trust == "local":
            return
        if certificate.OCSP_SIGNING not in self.certificate.extended_key_usages:
            raise SignerError(
                f"{rsigner}: it lacks the extended key usage OCSPSigning:"
                " issue a signer certificate with `openssl ca -extensions ocsp_ext`"
            )
        if not self.is_issued():
            raise SignerError(
                f"{rsigner}: not issued by {self.settings.ca}: clients would refuse its responses"
            )

    def check_row(self, row: Row, is_settled: bool) -> None:
        """Check what the index of the CA says of this signer.

        SignerError if it has been revoked.  DatabaseUnavailable if the row is of another
        certificate with that serial number: this is the index of another CA.
        """
        ca, own = self.settings, self.certificate
        is_another = row.expiry not in (None, own.not_after)
        if row.is_revoked and not (is_settled and is_another):
            raise SignerError(
                f"{ca.rsigner}: revoked in the database of [{ca.name}]; issue a new signer"
                " certificate"
            )
        if is_settled and is_another:
            raise index_file.DatabaseUnavailable(
                f"{ca.db}: its row for serial {certificate.index_serial(own.serial_number)} does"
                f" not have the expiry of {ca.rsigner}, which has this serial: it is the database"
                f" of another CA. Correct `db` or `{self.option}` in [{ca.name}]"
            )

    def is_same_at(self, now: int) -> bool:
        """Whether the same certificates would be chosen at another time, and pass the same checks:
        in between, none of them becomes valid, and none expires."""
        first, last = sorted((self._chosen_at, now))
        return first == last or not any(
            first < turn <= last
            for one in self._own + self._ca_certificates
            for turn in (one.not_before, one.not_after)
        )

    def is_issued(self) -> bool:
        """Whether the CA issued the certificate.  SignerError if that cannot be verified."""
        same_name = certificate.same_name(self.certificate.issuer, self.ca.subject)
        if not same_name:
            return False
        if self.memory and self.memory.is_issued(self.certificate, self.ca):
            return True
        return self._issued_by_ca()

    def _issued_by_ca(self) -> bool:
        own, ca, rsigner = self.certificate, self.settings.ca, self.settings.rsigner
        try:
            _refuse_short_key(self.ca, ca)
            return keys.verifies(self.ca, own.signature, own.tbs, own.signature_algorithm)
        except algorithms.UnsupportedKey as error:
            raise SignerError(
                f"{ca}: its key is {error}: whether this CA issued {rsigner} cannot be verified"
            ) from None
        except algorithms.Unsupported as error:
            raise SignerError(
                f"{rsigner}: signed {error}: issue it again with SHA-256 (`default_md` in the CA's"
                " config)"
            ) from None

    def key_hash(self) -> bytes:
        """The SHA-1 of the certificate's key, as in a ResponderID (RFC 6960 section 4.2.1)."""
        self._key_hash = self._key_hash or keys.digest("sha1", self.certificate.public_key)
        return self._key_hash

    def warnings(self) -> list[str]:
        """What should be changed in the certificate although it is accepted (RFC 6960 section
        4.2.2.2.1, Baseline Requirements 7.1.2.8 and 7.1.2.10.7)."""
        if self._warnings is None:
            self._warnings = self._faults()
        return self._warnings[:]

    def _faults(self) -> list[str]:
        holder = self.certificate
        faults = {"keyUsage-lacks-digitalSignature": not holder.may_sign_data}
        for extension in holder.unusual_critical_extensions:
            faults[f"has-critical-extension-{der.dotted(extension)}"] = True
        faults["key-cannot-be-verified-by-Firefox"] = not algorithms.is_known_to_firefox(holder)
        short_key = _short_key(holder)
        faults[short_key] = bool(short_key)
        if self.delegated:
            faults["lacks-ocsp-nocheck"] = certificate.OCSP_NOCHECK not in holder.extensions
            faults["lacks-authorityKeyIdentifier"] = (
                certificate.AUTHORITY_KEY_IDENTIFIER not in holder.extensions
            )
            if holder.may_be_issued_by(self.ca) is False:
                older = any(holder.may_be_issued_by(one) for one in self._ca_certificates)
                which = "an-older" if older else "another"
                faults[f"authorityKeyIdentifier-names-{which}-ca-certificate"] = True
            faults["has-authorityInfoAccess"] = (
                certificate.AUTHORITY_INFO_ACCESS in holder.extensions
            )
            faults["has-crlDistributionPoints"] = (
                certificate.CRL_DISTRIBUTION_POINTS in holder.extensions
            )
            faults["has-other-extendedKeyUsage"] = holder.extended_key_usages != [
                certificate.OCSP_SIGNING
            ]
            faults["is-a-CA"] = holder.is_ca
        elif holder.is_same_holder(self.ca):
            faults["is-not-the-newest-certificate-in-ca"] = holder.der != self.ca.der
        warnings = [f"{self.option}-{fault}" for fault, present in faults.items() if present]
        if self.ca.public_key != holder.public_key and _short_key(self.ca):
            warnings.append("ca-" + _short_key(self.ca))
        return warnings

    @property
    def expiries(self) -> list[tuple[str, int, int]]:
        """Whose end to warn of, from when on, and when it is: see answer.expiry_warnings."""
        own, ca = self.certificate, self.ca
        named = [(self.option, own)] if own.der == ca.der else [(self.option, own), ("ca", ca)]
        return [(name, one.warned_from, one.not_after) for name, one in named]

    def algorithm(self, preferred: list[Preference]) -> algorithms.SignatureAlgorithm:
        """The first algorithm that the client prefers and the key can sign with, else the key's own
        (RFC 6960 section 4.4.7.2)."""
        return algorithms.preferred_algorithm(self.certificate, self._algorithm, preferred)[1]

    def place_in(self, preferred: list[Preference]) -> int:
        """The place of that algorithm among the client's preferences, their number if it is in
        none."""
        return algorithms.preferred_algorithm(self.certificate, self._algorithm, preferred)[0]

    def sign(self, tbs: bytes, algorithm: algorithms.SignatureAlgorithm) -> bytes:
        """A signature over `tbs`.  SignerError if the key cannot be used, or is not the
        certificate's."""
        settings, own, identifier = self.settings, self.certificate, algorithm.identifier
        if is_uri(settings.rkey):
            return self._sign_on_token(tbs, algorithm)
        key, verified = self._key
        key = key or keys.load(settings.rkey, settings.passin, settings.suffix)
        signature = keys.sign(key, algorithm, tbs)
        if signature and identifier in verified:
            return signature
        if self._verifies(signature, tbs, identifier):
            self._key = key, verified | {identifier}
            return signature
        from . import file_kinds

        is_own = keys.is_own_key(own, settings.rkey, settings.passin)
        raise SignerError(file_kinds.wrong_key(settings.rkey, settings.rsigner, is_own))

    def _sign_on_token(self, tbs: bytes, algorithm: algorithms.SignatureAlgorithm) -> bytes:
        """As `sign`, with a key that is not in a file.  Each signature is verified: nothing shows
        that the token has another key under that name now."""
        from . import token_faults, token_key

        signature = token_key.sign(self.settings, algorithm, tbs)
        if self._verifies(signature, tbs, algorithm.identifier):
            return signature
        raise SignerError(token_faults.wrong_key(self.settings))

    def _verifies(self, signature: bytes, tbs: bytes, identifier: bytes) -> bool:
        """Whether a signature fits the certificate.  SignerError if that cannot be verified."""
        try:
            return keys.verifies(self.certificate, signature, tbs, identifier)
        except algorithms.Unsupported as error:
            raise SignerError(
                f"{self.settings.rsigner}: its key is {error}: issue a signer certificate with a"
                " new key"
            ) from None


def load_certificates(option: str, path: str) -> list[Certificate]:
    """The certificates in the file that `option` names.  SignerError if there are none."""
    try:
        return certificate.load_all(path)
    except OSError as error:
        raise SignerError(
            f"{path}: {error.strerror}; `{option}` names it, and the responder's user must be able"
            " to read it"
        ) from None
    except certificate.CertificateError as error:
        raise SignerError(f"{path}: {error}; `{option}` names it") from None


def load_own(settings: CASettings) -> list[Certificate]:
    """The certificates of the signer in `rsigner` of a section, which may have its chain too, in
    any order.

    SignerError if there is none.
    """
    found = load_certificates(f"rsigner{settings.suffix}", settings.rsigner)
    found.sort(key=lambda one: certificate.OCSP_SIGNING not in one.extended_key_usages)
    return [one for one in found if one.is_same_holder(found[0])]


def check_validity(holder: Certificate, path: str, now: int) -> None:
    """SignerError unless the certificate in this file is valid at this time."""
    if now < holder.not_before:
        raise SignerError(
            f"{path}: not valid before {times.http_date(holder.not_before)}: is this machine's"
            " clock right?"
        )
    if now >= holder.not_after:
        raise SignerError(
            f"{path}: expired on {times.http_date(holder.not_after)}: issue a new one"
        )


def _short_key(holder: Certificate) -> str:
    """A warning if the key of a certificate is shorter than it should be, else ""."""
    try:
        kind, bits = algorithms.key_size(holder)
    except algorithms.UnsupportedKey:
        return ""
    return f"{kind}-key-has-{bits}-bits" if bits < limits.WEAK_KEY_BITS.get(kind, 0) else ""


def _refuse_short_key(holder: Certificate, path: str) -> None:
    """SignerError if the key of the certificate in this file is so short that it can be broken."""
    kind, bits = algorithms.key_size(holder)
    if bits < limits.REFUSED_KEY_BITS.get(kind, 0):
        raise SignerError(
            f"{path}: its {kind} key has {bits} bits, and can be broken: replace it with P-256 or"
            f" RSA of {limits.WEAK_KEY_BITS['RSA']} bits"
        )
