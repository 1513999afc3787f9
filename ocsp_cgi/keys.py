"""Keys: what each kind can sign with, and how to read one, to sign with it and to verify.

The only room that imports `cryptography` at request time, and of that only what the key at hand
needs.  A key is made from the numbers in its DER: `serialization`, which could read the same file,
costs half an answer in imports, and reads here only what is encrypted or unusual.
"""

from __future__ import annotations

import gc
import posix
import sys

from . import certificate, der
from .answer import OCSPError, reading


def _identifier(dotted: str, *parameters: bytes) -> bytes:
    return der.sequence(der.tlv(der.OBJECT_IDENTIFIER, der.oid(dotted)), *parameters)


def _pss(hash_oid: str, salt_octets: int) -> bytes:
    """RSASSA-PSS-params with the salt as long as the hash, and trailerField at its default (RFC
    4055 section 3.1)."""
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
    """How to sign: `key_type` (RSA, RSASSA-PSS, EC, Ed25519, Ed448), the hash as `cryptography`
    names it or None, and the DER of the AlgorithmIdentifier that stands in the answer."""

    __slots__ = ("key_type", "hash_name", "identifier")

    def __init__(self, key_type: str, hash_name: str | None, identifier: bytes):
        self.key_type = key_type
        self.hash_name = hash_name
        self.identifier = identifier


# RFC 4055 section 5 (RSA has a NULL), RFC 5758 section 3.2 and RFC 8410 section 3 (the others have
# no parameters). SHA-1 is not here, so nothing is ever signed with it, nor believed.
ALGORITHMS = (
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
    bytes.fromhex("2a864886f70d010101"): "RSA",  # 1.2.840.113549.1.1.1
    bytes.fromhex("2a864886f70d01010a"): "RSASSA-PSS",  # 1.2.840.113549.1.1.10
    bytes.fromhex("2a8648ce3d0201"): "EC",  # 1.2.840.10045.2.1
    bytes.fromhex("2b6570"): "Ed25519",  # 1.3.101.112
    bytes.fromhex("2b6571"): "Ed448",  # 1.3.101.113
}
# The curve as `cryptography` names it, and the hash of its strength (RFC 5480 section 4).
_CURVES = {
    bytes.fromhex("2a8648ce3d030107"): ("SECP256R1", "SHA256"),  # 1.2.840.10045.3.1.7
    bytes.fromhex("2b81040022"): ("SECP384R1", "SHA384"),  # 1.3.132.0.34
    bytes.fromhex("2b81040023"): ("SECP521R1", "SHA512"),  # 1.3.132.0.35
}


def same_algorithm(algorithm: SignatureAlgorithm, identifier: bytes) -> bool:
    """Whether an AlgorithmIdentifier that somebody else wrote means this algorithm.

    Of RSASSA-PSS the hash decides; of all others the OBJECT IDENTIFIER alone, since some leave the
    NULL out.
    """
    try:
        ours, theirs = (
            der.read(one, der.SEQUENCE).elements() for one in (algorithm.identifier, identifier)
        )
        if (
            ours.expect(der.OBJECT_IDENTIFIER).encoded
            != theirs.expect(der.OBJECT_IDENTIFIER).encoded
        ):
            return False
        return algorithm.key_type != "RSASSA-PSS" or _pss_hash(ours) == _pss_hash(theirs)
    except der.DERError:
        return False


def _pss_hash(fields: der.Elements) -> bytes | None:
    """The OBJECT IDENTIFIER of the hash in what is left of an AlgorithmIdentifier of RSASSA-PSS,
    None if it names none."""
    parameters = fields.optional(der.SEQUENCE)
    hash_algorithm = parameters and parameters.elements().optional(der.context(0))
    return (
        hash_algorithm
        and hash_algorithm.only(der.SEQUENCE).elements().expect(der.OBJECT_IDENTIFIER).contents
    )


class SignerError(OCSPError):
    """Nothing may be signed with this certificate and key; the text says why, and what to do about
    it."""


def key_type(holder: certificate.Certificate) -> tuple[str, str, str]:
    """The type of a certificate's key; of an EC key also its curve, and the hash that goes with it.
    KeyError, DERError."""
    return _key_type(der.read(holder.key_algorithm, der.SEQUENCE))


def _key_type(algorithm: der.Element) -> tuple[str, str, str]:
    fields = algorithm.elements()
    key_type = _KEY_TYPES[fields.expect(der.OBJECT_IDENTIFIER).contents]
    curve, hash_name = (
        _CURVES[fields.expect(der.OBJECT_IDENTIFIER).contents] if key_type == "EC" else ("", "")
    )
    return key_type, curve, hash_name


def sign(rkey: str, passin: str | None, algorithm: SignatureAlgorithm, tbs: bytes) -> bytes:
    """A signature over `tbs` with the private key in the file `rkey`, b"" if the key is not of a
    kind for this algorithm.

    SignerError if there is no key to be had.
    """
    key = _load_private(rkey, passin)
    try:
        return key.sign(tbs, *_scheme(algorithm))
    except (
        TypeError,
        ValueError,
        AttributeError,
    ):  # so it says of a key of another type, or one too short
        return b""


def verifies(
    holder: certificate.Certificate, signature: bytes, data: bytes, algorithm: SignatureAlgorithm
) -> bool:
    """Whether this is a signature over `data` by the key of this certificate."""
    require_cryptography()
    from cryptography.exceptions import InvalidSignature

    try:
        _public_key(holder).verify(signature, data, *_scheme(algorithm, verify=True))
    except (InvalidSignature, KeyError, TypeError, ValueError):
        return False
    return True


def _load_private(path: str, passin: str | None):
    import resource

    resource.setrlimit(
        resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1])
    )  # no core file holds the key
    text = _read_private(path, "rkey")
    password = None
    encrypted = b"-----BEGIN ENCRYPTED" in text or b"4,ENCRYPTED" in text
    if encrypted:
        if passin is None:
            raise SignerError(
                f"{path}: the key is encrypted. Put its pass phrase in a file and name that with"
                " `passin`, or take the pass phrase off with `openssl pkey`"
            )
        password = _read_private(passin, "passin").partition(b"\n")[0].rstrip(b"\r")
    require_cryptography()
    if not encrypted:
        try:
            return _private_key(text)
        except (der.DERError, KeyError, ValueError):
            pass  # of a kind that openssl knows and we do not, or no key at all: the library knows
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    try:
        return serialization.load_pem_private_key(text, password, **_unvalidated())
    except (TypeError, ValueError, UnsupportedAlgorithm):
        wrong = f", or the pass phrase in {passin} is wrong" if encrypted else ""
        raise SignerError(
            f"{path}: no private key in PEM{wrong}; try `openssl pkey -in {path} -noout`"
        ) from None


def _read_private(path: str, option: str) -> bytes:
    """What a file holds that only the web server may read."""
    reading(path)
    try:
        with open(path, "rb") as file:
            if posix.fstat(file.fileno()).st_mode & 0o007:
                raise SignerError(
                    f"{path}: everybody on this machine may read it: chmod o-rwx {path}"
                )
            return file.read()
    except OSError as error:
        raise SignerError(
            f"{path}: {error.strerror}; `{option}` names it, and the web server's user, and nobody"
            " else, must be able to read it"
        ) from None


def _private_key(text: bytes):
    """The key in PEM that is not encrypted: PKCS#8 (RFC 5958), or as openssl wrote it before (RFC
    8017 A.1.2, RFC 5915).

    ValueError or KeyError if it is none of those we know.
    """
    label, encoded = der.from_pem(text, b"PRIVATE KEY", b"RSA PRIVATE KEY", b"EC PRIVATE KEY")
    fields = der.read(encoded, der.SEQUENCE).elements()
    if label == b"RSA PRIVATE KEY":
        return _rsa_key(fields)
    fields.expect(der.INTEGER)  # version
    if label == b"EC PRIVATE KEY":
        secret = fields.expect(der.OCTET_STRING).contents
        return _ec_key(
            secret, _CURVES[fields.expect(der.context(0)).only(der.OBJECT_IDENTIFIER).contents][0]
        )
    key_type, curve, _ = _key_type(fields.expect(der.SEQUENCE))
    contents = fields.expect(der.OCTET_STRING).contents
    if key_type in ("RSA", "RSASSA-PSS"):
        return _rsa_key(der.read(contents, der.SEQUENCE).elements())
    if key_type == "EC":
        fields = der.read(contents, der.SEQUENCE).elements()
        fields.expect(der.INTEGER)  # version
        return _ec_key(fields.expect(der.OCTET_STRING).contents, curve)
    secret = der.read(contents, der.OCTET_STRING).contents
    if key_type == "Ed25519":
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return Ed25519PrivateKey.from_private_bytes(secret)
    from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey

    return Ed448PrivateKey.from_private_bytes(secret)


def _rsa_key(fields: der.Elements):
    from cryptography.hazmat.primitives.asymmetric import rsa

    version, n, e, d, p, q, dmp1, dmq1, iqmp = (field.integer() for field in fields)
    numbers = rsa.RSAPrivateNumbers(p, q, d, dmp1, dmq1, iqmp, rsa.RSAPublicNumbers(e, n))
    return numbers.private_key(**_unvalidated())


def _unvalidated() -> dict[str, bool]:
    """The option by which an RSA key's primes are not proved at every answer, which takes 30 ms.

    That is safe here: the key is the operator's own file, and no signature leaves that does not fit
    the certificate, which is what a wrong key, or one damaged on the disk, gives itself away by.
    """
    import cryptography

    return (
        {"unsafe_skip_rsa_key_validation": True}
        if int(cryptography.__version__.partition(".")[0]) >= 39
        else {}
    )


def _ec_key(secret: bytes, curve: str):
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.derive_private_key(int.from_bytes(secret, "big"), getattr(ec, curve)())


def require_cryptography() -> None:
    """Make `cryptography` importable under `python3 -S`, which spares the search for it wherever no
    signature is needed.

    SignerError if it is not installed.
    """
    try:
        reading("the package `cryptography`")
        if sys.flags.no_site and "site" not in sys.modules:
            _add_site_packages()
        import cryptography  # noqa: F401
    except ImportError as error:
        raise SignerError(
            f"{sys.executable} cannot import the package `cryptography`: {error}"
        ) from None


def _add_site_packages() -> None:
    """Append to sys.path what `site` would, first without it, since it takes 3 ms.

    A process that was started so answers once and ends: while it loads what it needs, it need not
    look for garbage.
    """
    gc.disable()
    prefix = sys.executable.rpartition("/bin/")[0]
    version = "python%d.%d" % sys.version_info[:2]
    usual = [f"{prefix}/lib/{version}/site-packages", f"{prefix}/lib64/{version}/site-packages"]
    if prefix == "/usr":
        usual = [
            f"/usr/local/lib/{version}/dist-packages",
            "/usr/lib/python3/dist-packages",
            *usual,
        ]
    before = sys.path[:]
    sys.path += usual
    try:
        import cryptography  # noqa: F401
    except ModuleNotFoundError:
        import site

        sys.path = before
        site.main()


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
    salt_length = (
        padding.PSS.AUTO if verify else hash_algorithm.digest_size
    )  # openssl's own salts are as long as can be
    return padding.PSS(padding.MGF1(hash_algorithm), salt_length), hash_algorithm


def _public_key(holder: certificate.Certificate):
    """The key of a certificate, made from its numbers: reading it as X.509 would cost the imports
    that this saves."""
    kind, curve, _ = key_type(holder)
    if kind in ("RSA", "RSASSA-PSS"):
        from cryptography.hazmat.primitives.asymmetric import rsa

        modulus, exponent = (
            number.integer() for number in der.read(holder.public_key, der.SEQUENCE).elements()
        )
        return rsa.RSAPublicNumbers(exponent, modulus).public_key()
    if kind == "EC":
        from cryptography.hazmat.primitives.asymmetric import ec

        return ec.EllipticCurvePublicKey.from_encoded_point(getattr(ec, curve)(), holder.public_key)
    if kind == "Ed25519":
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        return Ed25519PublicKey.from_public_bytes(holder.public_key)
    from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey

    return Ed448PublicKey.from_public_bytes(holder.public_key)


def digest(name: str, data: bytes) -> bytes:
    """A hash by hashlib's name, from the library that is about to sign: hashlib would load another
    one, for 3 ms.

    SHA-1 identifies here and protects nothing, which hashlib can be told where it is otherwise
    forbidden.
    """
    try:
        require_cryptography()
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import hashes

        try:
            context = hashes.Hash(getattr(hashes, name.upper())())
            context.update(data)
            return context.finalize()
        except UnsupportedAlgorithm:
            pass
    except SignerError:
        pass
    import hashlib

    return hashlib.new(name, data, usedforsecurity=False).digest()


def crypto_library() -> str:
    """Name and version of the library that signs, "" if it cannot be loaded."""
    try:
        require_cryptography()
        import cryptography
        from cryptography.hazmat.backends.openssl import backend
    except (SignerError, ImportError):
        return ""

    return f"cryptography {cryptography.__version__} ({backend.openssl_version_text()})"
