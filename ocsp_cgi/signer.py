"""The signer: a certificate and its private key, checked before they sign anything, and after.

Every signature is verified with the certificate's public key before it leaves: that is how a key
that belongs to another certificate is found out, at a tenth of a millisecond.
"""

from __future__ import annotations

from . import certificate, der, keys, times
from .certificate import Certificate
from .keys import SignerError


class Signer:
    """A certificate and private key that may sign for a CA.

    `certificate` is the signer's, `ca` the CA's newest valid one.  `delegated` is whether the CA
    made it a responder (RFC 6960 section 4.2.2.2): false if the CA signs its responses itself, and
    for a signer that is only trusted locally.
    """

    __slots__ = ("certificate", "ca", "delegated", "_ca_certificates", "_settings", "_usable")

    def __init__(self, settings, own: list[Certificate], ca: list[Certificate], now: int):
        """`settings` are a CASettings, `own` the certificates in `rsigner`, `ca` those of the CA,
        all of one name and key.  SignerError if the signer's key cannot sign."""
        self.ca = certificate.newest(ca, now)
        self._ca_certificates = ca
        self._settings = settings
        own = [one for one in own if one.is_same_holder(own[0])]
        self.certificate = certificate.newest(own, now)
        signs_itself = self.certificate.is_same_holder(self.ca)
        if signs_itself and not self.certificate.not_before <= now < self.certificate.not_after:
            self.certificate = certificate.newest(own + ca, now)
        self._usable = _usable_algorithms(self.certificate, settings.rsigner)
        self.delegated = not signs_itself
        if self.delegated and settings.signer_trust == "local":
            try:
                self.delegated = self.is_issued()
            except SignerError:  # of a signature that cannot be verified
                self.delegated = False

    def check(self, now: int) -> None:
        """SignerError unless this certificate may sign for its CA at this time."""
        rsigner = self._settings.rsigner
        check_validity(self.certificate, rsigner, now)
        check_validity(self.ca, self._settings.ca, now)
        if not self.delegated or self._settings.signer_trust == "local":
            return
        if certificate.OCSP_SIGNING not in self.certificate.extended_key_usages:
            raise SignerError(
                f"{rsigner}: it lacks the extended key usage OCSPSigning:"
                " issue a signer certificate with `openssl ca -extensions ocsp_ext`"
            )
        if not self.is_issued():
            raise SignerError(
                f"{rsigner}: not issued by {self._settings.ca}: clients would refuse its answers"
            )

    def is_issued(self) -> bool:
        """Whether the CA issued the certificate.  SignerError if that cannot be verified."""
        same_name = certificate.same_name(self.certificate.issuer, self.ca.subject)
        return same_name and self._issued_by_ca()

    def _issued_by_ca(self) -> bool:
        for algorithm in keys.ALGORITHMS:
            if keys.same_algorithm(algorithm, self.certificate.signature_algorithm):
                return keys.verifies(
                    self.ca, self.certificate.signature, self.certificate.tbs, algorithm
                )
        raise SignerError(
            f"{self._settings.rsigner}: its own signature is with a weak or unknown algorithm:"
            " issue it with SHA-256"
        )

    def warnings(self) -> list[str]:
        """What is not as it should be with the certificate, but keeps no client from believing it
        (RFC 6960 section 4.2.2.2.1, Baseline Requirements 7.1.2.8 and 7.1.2.10.7)."""
        holder = self.certificate
        faults = {"keyUsage-lacks-digitalSignature": not holder.may_sign_data}
        for extension in holder.unusual_critical_extensions:
            faults[f"has-critical-extension-{der.dotted(extension)}"] = True
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
        return ["rsigner-" + fault for fault, present in faults.items() if present]

    def algorithm(self, preferred: list[bytes]) -> keys.SignatureAlgorithm:
        """The first AlgorithmIdentifier (DER) of the client's wishes that the key can make, else
        the key's own (RFC 6960 section 4.4.7.2)."""
        for identifier in preferred:
            for algorithm in self._usable:
                if keys.same_algorithm(algorithm, identifier):
                    return algorithm
        return self._usable[0]

    def sign(self, tbs: bytes, algorithm: keys.SignatureAlgorithm) -> bytes:
        """The signature over these bytes.  SignerError if the key cannot be used, or is not the
        certificate's."""
        signature = keys.sign(self._settings.rkey, self._settings.passin, algorithm, tbs)
        if not keys.verifies(self.certificate, signature, tbs, algorithm):
            raise SignerError(
                f"{self._settings.rkey}: not the private key of the certificate in"
                f" {self._settings.rsigner}"
            )
        return signature


def load_certificates(option: str, path: str) -> list[Certificate]:
    """The certificates in a file that this setting names.  SignerError if there is none."""
    try:
        return certificate.load_all(path)
    except OSError as error:
        raise SignerError(
            f"{path}: {error.strerror}; `{option}` names it, and the web server's user must be able"
            " to read it"
        ) from None
    except certificate.CertificateError as error:
        raise SignerError(f"{path}: {error}; `{option}` names it") from None


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


def _usable_algorithms(holder: Certificate, path: str) -> list[keys.SignatureAlgorithm]:
    """The algorithms that the key of a certificate can sign with, its own first."""
    try:
        key_type, _, hash_name = keys.key_type(holder)
        if key_type == "EC":
            usable = [
                algorithm
                for algorithm in keys.ALGORITHMS
                if (algorithm.key_type, algorithm.hash_name) == ("EC", hash_name)
            ]
        elif key_type == "RSA":
            usable = [
                algorithm
                for algorithm in keys.ALGORITHMS
                if algorithm.key_type in ("RSA", "RSASSA-PSS")
            ]
        else:
            usable = [algorithm for algorithm in keys.ALGORITHMS if algorithm.key_type == key_type]
        if key_type == "RSASSA-PSS":  # the certificate may allow one hash alone
            fields = der.read(holder.key_algorithm, der.SEQUENCE).elements()
            next(fields)
            if next(fields, None) is not None:
                usable = [
                    algorithm
                    for algorithm in usable
                    if keys.same_algorithm(algorithm, holder.key_algorithm)
                ]
        if not usable:
            raise KeyError(key_type)
    except (der.DERError, KeyError):
        raise SignerError(
            f"{path}: its key is none of RSA (with SHA-2), EC (P-256, P-384, P-521), Ed25519 and"
            " Ed448"
        ) from None
    return usable
