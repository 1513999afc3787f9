"""The signer: a certificate and its private key, checked before they sign anything, and after.

The only room that imports `cryptography` at request time, and of that only what the key at hand needs.  Every signature
is verified with the certificate's public key before it leaves: that is how a key that belongs to another certificate
is found out, at a tenth of a millisecond.
"""

from __future__ import annotations

import posix
import sys

from . import certificate, der, messages, times


def _identifier(dotted: str, *parameters: bytes) -> bytes:
    return der.sequence(der.tlv(der.OBJECT_IDENTIFIER, der.oid(dotted)), *parameters)


def _pss(hash_oid: str, salt_octets: int) -> bytes:
    """RSASSA-PSS-params with the salt as long as the hash, and trailerField at its default (RFC 4055 section 3.1)."""
    hash_algorithm = _identifier(hash_oid, der.ENCODED_NULL)
    return _identifier(
        "1.2.840.113549.1.1.10",
        der.sequence(
            der.tlv(der.context(0), hash_algorithm),
            der.tlv(der.context(1), _identifier("1.2.840.113549.1.1.8", hash_algorithm)),
            der.tlv(der.context(2), der.tlv(der.INTEGER, bytes((salt_octets,)))),
        ),
    )


class SignatureAlgorithm:
    """How to sign: `key_type` (RSA, RSASSA-PSS, EC, Ed25519, Ed448), the hash as `cryptography` names it or None,
    and the DER of the AlgorithmIdentifier that stands in the answer."""

    __slots__ = ("key_type", "hash_name", "identifier")

    def __init__(self, key_type: str, hash_name: str | None, identifier: bytes):
        self.key_type = key_type
        self.hash_name = hash_name
        self.identifier = identifier


# RFC 4055 section 5 (RSA has a NULL), RFC 5758 section 3.2 and RFC 8410 section 3 (the others have no parameters).
# SHA-1 is not here, so nothing is ever signed with it, nor believed.
_ALGORITHMS = (
    SignatureAlgorithm("RSA", "SHA256", _identifier("1.2.840.113549.1.1.11", der.ENCODED_NULL)),
    SignatureAlgorithm("RSA", "SHA384", _identifier("1.2.840.113549.1.1.12", der.ENCODED_NULL)),
    SignatureAlgorithm("RSA", "SHA512", _identifier("1.2.840.113549.1.1.13", der.ENCODED_NULL)),
    SignatureAlgorithm("RSASSA-PSS", "SHA256", _pss("2.16.840.1.101.3.4.2.1", 32)),
    SignatureAlgorithm("RSASSA-PSS", "SHA384", _pss("2.16.840.1.101.3.4.2.2", 48)),
    SignatureAlgorithm("RSASSA-PSS", "SHA512", _pss("2.16.840.1.101.3.4.2.3", 64)),
    SignatureAlgorithm("EC", "SHA256", _identifier("1.2.840.10045.4.3.2")),
    SignatureAlgorithm("EC", "SHA384", _identifier("1.2.840.10045.4.3.3")),
    SignatureAlgorithm("EC", "SHA512", _identifier("1.2.840.10045.4.3.4")),
    SignatureAlgorithm("Ed25519", None, _identifier("1.3.101.112")),
    SignatureAlgorithm("Ed448", None, _identifier("1.3.101.113")),
)
_KEY_TYPES = {
    der.oid("1.2.840.113549.1.1.1"): "RSA",
    der.oid("1.2.840.113549.1.1.10"): "RSASSA-PSS",
    der.oid("1.2.840.10045.2.1"): "EC",
    der.oid("1.3.101.112"): "Ed25519",
    der.oid("1.3.101.113"): "Ed448",
}
# The curve as `cryptography` names it, and the hash of its strength (RFC 5480 section 4).
_CURVES = {
    der.oid("1.2.840.10045.3.1.7"): ("SECP256R1", "SHA256"),
    der.oid("1.3.132.0.34"): ("SECP384R1", "SHA384"),
    der.oid("1.3.132.0.35"): ("SECP521R1", "SHA512"),
}


def _same_algorithm(algorithm: SignatureAlgorithm, identifier: bytes) -> bool:
    """Whether an AlgorithmIdentifier that somebody else wrote means this algorithm.

    Of RSASSA-PSS the hash decides; of all others the OBJECT IDENTIFIER alone, since some leave the NULL out.
    """
    try:
        ours, theirs = (der.read(one, der.SEQUENCE).elements() for one in (algorithm.identifier, identifier))
        if ours.next(der.OBJECT_IDENTIFIER).encoded != theirs.next(der.OBJECT_IDENTIFIER).encoded:
            return False
        return algorithm.key_type != "RSASSA-PSS" or _pss_hash(ours) == _pss_hash(theirs)
    except der.DERError:
        return False


def _pss_hash(fields: der.Elements) -> bytes | None:
    """The OBJECT IDENTIFIER of the hash in what is left of an AlgorithmIdentifier of RSASSA-PSS, None if it names none."""
    parameters = fields.optional(der.SEQUENCE)
    hash_algorithm = parameters and parameters.elements().optional(der.context(0))
    return hash_algorithm and hash_algorithm.only(der.SEQUENCE).elements().next(der.OBJECT_IDENTIFIER).contents


class SignerError(messages.OCSPError):
    """Nothing may be signed with this certificate and key; the text says why, and what to do about it."""


class Signer:
    """A certificate and private key that may sign for a CA.

    `certificate` is the signer's, `ca` the CA's; they are the same where the CA signs its answers itself.
    """

    __slots__ = ("certificate", "ca", "_settings", "_usable")

    def __init__(self, settings, ca: certificate.Certificate):
        """Read the certificate; `settings` are a CASettings.  SignerError if it cannot be read, or its key cannot sign."""
        self.ca = ca
        self.certificate = load_certificate("rsigner", settings.rsigner)
        self._settings = settings
        self._usable = _usable_algorithms(self.certificate, settings.rsigner)

    @property
    def delegated(self) -> bool:
        """Whether the CA has made another certificate its responder's (RFC 6960 section 4.2.2.2)."""
        return self.certificate.der != self.ca.der

    def check(self, now: int) -> None:
        """SignerError unless this certificate may sign for its CA at this time."""
        rsigner = self._settings.rsigner
        check_validity(self.certificate, rsigner, now)
        if not self.delegated:
            return
        if certificate.OCSP_SIGNING not in self.certificate.extended_key_usages:
            raise SignerError(
                f"{rsigner}: it lacks the extended key usage OCSPSigning:"
                " issue a signer certificate with `openssl ca -extensions ocsp_ext`"
            )
        if self.certificate.issuer != self.ca.subject or not self._issued_by_ca():
            raise SignerError(f"{rsigner}: not issued by {self._settings.ca}: clients would refuse its answers")

    def _issued_by_ca(self) -> bool:
        for algorithm in _ALGORITHMS:
            if _same_algorithm(algorithm, self.certificate.signature_algorithm):
                return _verifies(self.ca, self.certificate.signature, self.certificate.tbs, algorithm)
        raise SignerError(f"{self._settings.rsigner}: its own signature is with a weak or unknown algorithm: issue it with SHA-256")

    def warnings(self) -> list[str]:
        """What is not as it should be with the certificate, but keeps no client from believing it (RFC 6960 section 4.2.2.2.1,
        Baseline Requirements 7.1.2.8 and 7.1.2.10.7)."""
        holder = self.certificate
        faults = {"keyUsage-lacks-digitalSignature": not holder.may_sign_data}
        if self.delegated:
            faults["lacks-ocsp-nocheck"] = certificate.OCSP_NOCHECK not in holder.extensions
            faults["lacks-authorityKeyIdentifier"] = certificate.AUTHORITY_KEY_IDENTIFIER not in holder.extensions
            faults["has-authorityInfoAccess"] = certificate.AUTHORITY_INFO_ACCESS in holder.extensions
            faults["has-crlDistributionPoints"] = certificate.CRL_DISTRIBUTION_POINTS in holder.extensions
            faults["has-other-extendedKeyUsage"] = holder.extended_key_usages != [certificate.OCSP_SIGNING]
            faults["is-a-CA"] = holder.is_ca
        return ["rsigner-" + fault for fault, present in faults.items() if present]

    def algorithm(self, preferred: list[bytes]) -> SignatureAlgorithm:
        """The first AlgorithmIdentifier (DER) of the client's wishes that the key can make, else the key's own
        (RFC 6960 section 4.4.7.2)."""
        for identifier in preferred:
            for algorithm in self._usable:
                if _same_algorithm(algorithm, identifier):
                    return algorithm
        return self._usable[0]

    def sign(self, tbs: bytes, algorithm: SignatureAlgorithm) -> bytes:
        """The signature over these bytes.  SignerError if the key cannot be used, or is not the certificate's."""
        key = _load_key(self._settings.rkey, self._settings.passin)
        try:
            signature = key.sign(tbs, *_scheme(algorithm))
        except (TypeError, ValueError, AttributeError):  # so it says of a key of another type, or one too short
            signature = b""
        if not _verifies(self.certificate, signature, tbs, algorithm):
            raise SignerError(f"{self._settings.rkey}: not the private key of the certificate in {self._settings.rsigner}")
        return signature


def load_certificate(option: str, path: str) -> certificate.Certificate:
    """The certificate in a file that this option of the config names.  SignerError if there is none."""
    try:
        return certificate.load(path)
    except OSError as error:
        raise SignerError(f"{path}: {error.strerror}; `{option}` names it, and the web server's user must be able to read it") from None
    except certificate.CertificateError as error:
        raise SignerError(f"{path}: {error}; `{option}` names it") from None


def check_validity(holder: certificate.Certificate, path: str, now: int) -> None:
    """SignerError unless the certificate in this file is valid at this time."""
    if now < holder.not_before:
        raise SignerError(f"{path}: not valid before {times.http_date(holder.not_before)}: is this machine's clock right?")
    if now >= holder.not_after:
        raise SignerError(f"{path}: expired on {times.http_date(holder.not_after)}: issue a new one")


def _key_type(holder: certificate.Certificate) -> tuple[str, str, str]:
    """The type of a certificate's key; of an EC key also its curve, and the hash that goes with it.  KeyError, DERError."""
    fields = der.read(holder.key_algorithm, der.SEQUENCE).elements()
    key_type = _KEY_TYPES[fields.next(der.OBJECT_IDENTIFIER).contents]
    curve, hash_name = _CURVES[fields.next(der.OBJECT_IDENTIFIER).contents] if key_type == "EC" else ("", "")
    return key_type, curve, hash_name


def _usable_algorithms(holder: certificate.Certificate, path: str) -> list[SignatureAlgorithm]:
    """The algorithms that the key of a certificate can sign with, its own first."""
    try:
        key_type, _, hash_name = _key_type(holder)
        if key_type == "EC":
            usable = [algorithm for algorithm in _ALGORITHMS if (algorithm.key_type, algorithm.hash_name) == ("EC", hash_name)]
        elif key_type == "RSA":
            usable = [algorithm for algorithm in _ALGORITHMS if algorithm.key_type in ("RSA", "RSASSA-PSS")]
        else:
            usable = [algorithm for algorithm in _ALGORITHMS if algorithm.key_type == key_type]
        if key_type == "RSASSA-PSS":  # the certificate may allow one hash alone
            fields = der.read(holder.key_algorithm, der.SEQUENCE).elements()
            next(fields)
            if next(fields, None) is not None:
                usable = [algorithm for algorithm in usable if _same_algorithm(algorithm, holder.key_algorithm)]
        if not usable:
            raise KeyError(key_type)
    except (der.DERError, KeyError):
        raise SignerError(f"{path}: its key is none of RSA (with SHA-2), EC (P-256, P-384, P-521), Ed25519 and Ed448") from None
    return usable


def _load_key(path: str, passin: str | None):
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))  # no core file holds the key
    text = _read_private(path, "rkey")
    password = None
    if b"-----BEGIN ENCRYPTED" in text or b"4,ENCRYPTED" in text:
        if passin is None:
            raise SignerError(
                f"{path}: the key is encrypted. Put its pass phrase in a file and name that with `passin`,"
                " or take the pass phrase off with `openssl pkey`"
            )
        password = _read_private(passin, "passin").partition(b"\n")[0].rstrip(b"\r")
    _require_cryptography()
    import cryptography
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    # The key is the operator's own file, and a wrong one is found out when its signature does not fit the
    # certificate: so its primes need not be proved at every answer, which takes 30 ms.
    options = {}
    if int(cryptography.__version__.partition(".")[0]) >= 39:
        options["unsafe_skip_rsa_key_validation"] = True
    try:
        return serialization.load_pem_private_key(text, password, **options)
    except (TypeError, ValueError, UnsupportedAlgorithm):
        wrong = f", or the pass phrase in {passin} is wrong" if password is not None else ""
        raise SignerError(f"{path}: no private key in PEM{wrong}; try `openssl pkey -in {path} -noout`") from None


def _read_private(path: str, option: str) -> bytes:
    """What a file holds that only the web server may read."""
    try:
        with open(path, "rb") as file:
            if posix.fstat(file.fileno()).st_mode & 0o007:
                raise SignerError(f"{path}: everybody on this machine may read it: chmod o-rwx {path}")
            return file.read()
    except OSError as error:
        raise SignerError(
            f"{path}: {error.strerror}; `{option}` names it, and the web server's user, and nobody else, must be able to read it"
        ) from None


def _require_cryptography() -> None:
    """Make `cryptography` importable under `python3 -S`, which spares the search for it wherever no signature is needed.

    SignerError if it is not installed.
    """
    if sys.flags.no_site and "site" not in sys.modules:
        import site

        site.main()
    try:
        import cryptography  # noqa: F401
    except ImportError as error:
        raise SignerError(f"{sys.executable} cannot import the package `cryptography`: {error}") from None


def _scheme(algorithm: SignatureAlgorithm, verify: bool = False) -> tuple:
    """What `cryptography` wants to know of an algorithm beside the data, to sign as to verify."""
    if algorithm.hash_name is None:
        return ()
    from cryptography.hazmat.primitives import hashes

    hash_algorithm = getattr(hashes, algorithm.hash_name)()
    if algorithm.key_type == "EC":
        from cryptography.hazmat.primitives.asymmetric import ec

        return (ec.ECDSA(hash_algorithm),)
    from cryptography.hazmat.primitives.asymmetric import padding

    if algorithm.key_type == "RSA":
        return padding.PKCS1v15(), hash_algorithm
    salt_length = padding.PSS.AUTO if verify else hash_algorithm.digest_size  # openssl's own salts are as long as can be
    return padding.PSS(padding.MGF1(hash_algorithm), salt_length), hash_algorithm


def _verifies(holder: certificate.Certificate, signature: bytes, data: bytes, algorithm: SignatureAlgorithm) -> bool:
    """Whether this is a signature over `data` by the key of this certificate."""
    _require_cryptography()
    from cryptography.exceptions import InvalidSignature

    try:
        _public_key(holder).verify(signature, data, *_scheme(algorithm, verify=True))
    except (InvalidSignature, KeyError, TypeError, ValueError):
        return False
    return True


def _public_key(holder: certificate.Certificate):
    """The key of a certificate, made from its numbers: reading it as X.509 would cost the imports that this saves."""
    key_type, curve, _ = _key_type(holder)
    if key_type in ("RSA", "RSASSA-PSS"):
        from cryptography.hazmat.primitives.asymmetric import rsa

        modulus, exponent = (number.integer() for number in der.read(holder.public_key, der.SEQUENCE).elements())
        return rsa.RSAPublicNumbers(exponent, modulus).public_key()
    if key_type == "EC":
        from cryptography.hazmat.primitives.asymmetric import ec

        return ec.EllipticCurvePublicKey.from_encoded_point(getattr(ec, curve)(), holder.public_key)
    if key_type == "Ed25519":
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        return Ed25519PublicKey.from_public_bytes(holder.public_key)
    from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey

    return Ed448PublicKey.from_public_bytes(holder.public_key)


def crypto_library() -> str:
    """Name and version of the library that signs, "" if it cannot be loaded."""
    try:
        _require_cryptography()
        import cryptography
        from cryptography.hazmat.backends.openssl import backend
    except (SignerError, ImportError):
        return ""

    return f"cryptography {cryptography.__version__} ({backend.openssl_version_text()})"
