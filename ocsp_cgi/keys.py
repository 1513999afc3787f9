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
from .answer import OCSPError, printable, reading

# RFC 4055 section 5, RFC 5758 section 3.2, RFC 8410 section 3.  What else can be verified is in
# unusual_keys.py, which few need.
_SIGNATURES = {
    bytes.fromhex("2a864886f70d01010b"): ("RSA", "SHA256"),  # 1.2.840.113549.1.1.11
    bytes.fromhex("2a864886f70d01010c"): ("RSA", "SHA384"),  # 1.2.840.113549.1.1.12
    bytes.fromhex("2a864886f70d01010d"): ("RSA", "SHA512"),  # 1.2.840.113549.1.1.13
    bytes.fromhex("2a8648ce3d040302"): ("EC", "SHA256"),  # 1.2.840.10045.4.3.2
    bytes.fromhex("2a8648ce3d040303"): ("EC", "SHA384"),  # 1.2.840.10045.4.3.3
    bytes.fromhex("2a8648ce3d040304"): ("EC", "SHA512"),  # 1.2.840.10045.4.3.4
    bytes.fromhex("2b6570"): ("Ed25519", None),  # 1.3.101.112
    bytes.fromhex("2b6571"): ("Ed448", None),  # 1.3.101.113
}
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
# The AlgorithmIdentifier that the key of a certificate signs with, by its type and its curve's
# hash.
_OWN_ALGORITHMS = {
    ("RSA", ""): bytes.fromhex("300d06092a864886f70d01010b0500"),
    ("EC", "SHA256"): bytes.fromhex("300a06082a8648ce3d040302"),
    ("EC", "SHA384"): bytes.fromhex("300a06082a8648ce3d040303"),
    ("EC", "SHA512"): bytes.fromhex("300a06082a8648ce3d040304"),
    ("Ed25519", ""): bytes.fromhex("300506032b6570"),
    ("Ed448", ""): bytes.fromhex("300506032b6571"),
}
# What is raised by a damaged installation, a disk or a limit, whichever key is in the file.
_NOT_ABOUT_THE_KEY = (MemoryError, ImportError, OSError, SyntaxError, EOFError, NameError)


class Unsupported(Exception):
    """A signature that cannot be verified here; the text says why: "with SHA-1, which is weak"."""


class UnsupportedKey(Unsupported):
    """A key that cannot be used here; the text says why: "on the curve 1.3.132.0.6, which ..."."""


class SignatureAlgorithm:
    """How a signature is made: `key_type` (RSA, RSASSA-PSS, EC, Ed25519, Ed448 and more), the hash
    as `cryptography` names it or None, and `identifier`, the DER of the AlgorithmIdentifier.  Of
    RSASSA-PSS also the hash of its MGF1, and the length of its salt in bytes."""

    __slots__ = ("key_type", "hash_name", "identifier", "mgf1_hash_name", "salt_length")

    def __init__(
        self,
        key_type: str,
        hash_name: str | None,
        identifier: bytes,
        mgf1_hash_name: str | None = None,
        salt_length: int = 0,
    ):
        self.key_type = key_type
        self.hash_name = hash_name
        self.identifier = identifier
        self.mgf1_hash_name = mgf1_hash_name
        self.salt_length = salt_length

    @classmethod
    def from_der(cls, identifier: bytes) -> SignatureAlgorithm:
        """Read an AlgorithmIdentifier.  Unsupported if it is of a weak or unknown algorithm.

        Parameters matter only to RSASSA-PSS: of the others, some leave out the NULL.
        """
        try:
            fields = der.read(identifier, der.SEQUENCE).elements()
            known = _SIGNATURES.get(fields.expect(der.OBJECT_IDENTIFIER).contents)
        except der.DERError as error:
            raise Unsupported(f"with an algorithm that cannot be read ({error})") from None
        if known is not None:
            return cls(*known, identifier)
        from . import unusual_keys

        return unusual_keys.signature_algorithm(identifier)


class SignerError(OCSPError):
    """Nothing may be signed with this certificate and key; the text says why, and what to do about
    it."""


def key_type(holder: certificate.Certificate) -> tuple[str, str, str]:
    """The type of a certificate's key; of an EC key also its curve, and the hash that goes with it.

    UnsupportedKey if it is not one that can sign responses.
    """
    try:
        return _key_type(der.read(holder.key_algorithm, der.SEQUENCE))
    except der.DERError as error:
        raise UnsupportedKey(f"of a type that cannot be read ({error})") from None


def _key_type(algorithm: der.Element) -> tuple[str, str, str]:
    fields = algorithm.elements()
    identifier = fields.expect(der.OBJECT_IDENTIFIER).contents
    key_type = _KEY_TYPES.get(identifier)
    if key_type is None:
        from . import unusual_keys

        raise UnsupportedKey(f"of the type {unusual_keys.name(identifier)}")
    curve, hash_name = _curve(fields) if key_type == "EC" else ("", "")
    return key_type, curve, hash_name


def _curve(fields: der.Elements) -> tuple[str, str]:
    """The curve that ECParameters (RFC 5480 section 2.1.1) name, and the hash that goes with it."""
    name = fields.optional(der.OBJECT_IDENTIFIER)
    if name is None:
        raise UnsupportedKey(
            "of the type EC with explicit parameters of its curve, which clients refuse"
        )
    known = _CURVES.get(name.contents)
    if known is not None:
        return known
    from . import unusual_keys

    return unusual_keys.curve(name.contents)


def key_size(holder: certificate.Certificate) -> tuple[str, int]:
    """RSA, EC or another type of a certificate's key, and its length in bits, as far as there is a
    limit on it; ("", 0) if there is none.  UnsupportedKey if the key cannot be read.

    Of an EC key it is that of the coordinates in whole bytes, which needs no list of curves.
    """
    try:
        fields = der.read(holder.key_algorithm, der.SEQUENCE).elements()
        key_type = _KEY_TYPES.get(fields.expect(der.OBJECT_IDENTIFIER).contents)
        if key_type == "EC":
            point = holder.public_key
            is_uncompressed = point[:1] not in (b"\x02", b"\x03")
            return "EC", max(0, len(point) - 1) * 8 // (2 if is_uncompressed else 1)
        if key_type in ("RSA", "RSASSA-PSS"):
            numbers = der.read(holder.public_key, der.SEQUENCE).elements()
            modulus = numbers.expect(der.INTEGER).integer()
            if modulus <= 0:
                raise UnsupportedKey("an RSA key whose modulus is not a positive number")
            return "RSA", modulus.bit_length()
        if key_type is None:
            from . import unusual_keys

            return unusual_keys.key_size(holder)
    except der.DERError as error:
        raise UnsupportedKey(f"damaged ({error})") from None
    return "", 0


def is_known_to_firefox(holder: certificate.Certificate) -> bool:
    """Whether Firefox can verify what the key of a certificate signs: RSA, and the curves P-256,
    P-384 and P-521.  With its default settings it takes what it cannot verify for no response, and
    loads the revoked site."""
    kind, curve, _ = key_type(holder)
    return kind == "RSA" or any(curve == name for name, _ in _CURVES.values())


def own_algorithm(holder: certificate.Certificate) -> SignatureAlgorithm:
    """The algorithm with which the key of a certificate signs.  UnsupportedKey if it cannot."""
    kind, _, hash_name = key_type(holder)
    if kind == "RSASSA-PSS":
        from . import unusual_keys

        return unusual_keys.own_pss_algorithm(holder)
    return SignatureAlgorithm.from_der(_OWN_ALGORITHMS[kind, hash_name])


def preferred_algorithm(
    holder: certificate.Certificate, own: SignatureAlgorithm, preferred: list[bytes]
) -> SignatureAlgorithm:
    """The first of a client's preferences (AlgorithmIdentifiers, RFC 6960 section 4.4.7) that the
    key of a certificate can sign with; `own`, the key's own algorithm, if there is none."""
    if preferred:
        from . import unusual_keys

        for identifier in preferred:
            algorithm = unusual_keys.preferred_algorithm(holder, own, identifier)
            if algorithm is not None:
                return algorithm
    return own


def sign(rkey: str, passin: str | None, algorithm: SignatureAlgorithm, tbs: bytes) -> bytes:
    """A signature over `tbs` with the private key in the file `rkey`, b"" if the key cannot make
    one with this algorithm.

    SignerError if the key cannot be loaded.
    """
    key = _load_private(rkey, passin)
    scheme = _scheme(algorithm)
    try:
        return key.sign(tbs, *scheme)
    except _NOT_ABOUT_THE_KEY:
        raise
    except Exception:  # of many classes, for a key of another type or a damaged one
        return b""


def is_own_key(holder: certificate.Certificate, rkey: str, passin: str | None) -> bool:
    """Whether the private key in the file `rkey` says it is that of the certificate: the one it
    belongs to, or what is left of it in a damaged file."""
    try:
        from cryptography.hazmat.primitives import serialization

        formats = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        info = _load_private(rkey, passin).public_key().public_bytes(*formats)
        fields = der.read(info, der.SEQUENCE).elements()
        fields.expect(der.SEQUENCE)
        return fields.expect(der.BIT_STRING).bit_string() == holder.public_key
    except _NOT_ABOUT_THE_KEY:
        raise
    except Exception:  # what is damaged fails in any way
        return False


def verifies(
    holder: certificate.Certificate, signature: bytes, data: bytes, identifier: bytes
) -> bool:
    """Whether this is a signature over `data` by the key of this certificate, by an
    AlgorithmIdentifier.  Unsupported, or UnsupportedKey, if that cannot be found out."""
    algorithm = SignatureAlgorithm.from_der(identifier)
    require_cryptography()
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

    kind, key = _public_key(holder)
    if algorithm.key_type != kind and (algorithm.key_type, kind) != ("RSASSA-PSS", "RSA"):
        return False
    scheme = _scheme(algorithm)
    try:
        key.verify(signature, data, *scheme)
    except InvalidSignature:
        return False
    except UnsupportedAlgorithm as error:
        raise Unsupported(
            f"with an algorithm that {library()} does not support ({reason(error)})"
        ) from None
    except (TypeError, ValueError):  # as of a signature of another length
        return False
    return True


def library() -> str:
    """Name and version of the library that reads keys."""
    import cryptography

    return f"`cryptography` {cryptography.__version__}"


def reason(error: Exception) -> str:
    """The first sentence of what the library says: the rest is for its developers."""
    said = str(error.args[0] if error.args else error).partition(". ")[0]
    return printable(said or type(error).__name__, 100)


def _load_private(path: str, passin: str | None):
    import resource

    resource.setrlimit(
        resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1])
    )  # no core file holds the key
    text = _read_private(path, "rkey")
    is_encrypted = b"-----BEGIN ENCRYPTED" in text or b"4,ENCRYPTED" in text
    password = None
    if is_encrypted:
        if passin is None:
            from . import file_kinds

            raise SignerError(file_kinds.encrypted_key(path))
        password = _read_private(passin, "passin").partition(b"\n")[0].rstrip(b"\r")
    require_cryptography()
    if not is_encrypted:
        try:
            return _private_key(text)
        except _NOT_ABOUT_THE_KEY:
            raise
        except Exception:  # a kind that the library may know, no key, or absurd numbers
            pass
    from cryptography.hazmat.primitives import serialization

    reading(path)
    try:
        return serialization.load_pem_private_key(text, password, **_unvalidated())
    except _NOT_ABOUT_THE_KEY:
        raise
    except Exception as error:  # of many classes, by version and by what is wrong
        from . import file_kinds

        raise SignerError(
            file_kinds.unreadable_key(path, text, passin, reason(error), library())
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

    Any exception if it is none of those we know.
    """
    label, encoded = der.from_pem(text, b"PRIVATE KEY", b"RSA PRIVATE KEY", b"EC PRIVATE KEY")
    fields = der.read(encoded, der.SEQUENCE).elements()
    if label == b"RSA PRIVATE KEY":
        return _rsa_key(fields)
    fields.expect(der.INTEGER)  # version
    if label == b"EC PRIVATE KEY":
        secret = fields.expect(der.OCTET_STRING).contents
        return _ec_key(secret, _curve(fields.expect(der.context(0)).elements())[0])
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
    usual = _site_packages(prefix)
    if prefix != sys.base_prefix and _includes_system_packages(prefix):
        usual += _site_packages(sys.base_prefix)
    before = sys.path[:]
    sys.path += usual
    try:
        import cryptography  # noqa: F401
    except ModuleNotFoundError:
        import site

        sys.path = before
        site.main()


def _site_packages(prefix: str) -> list[str]:
    version = "python%d.%d" % sys.version_info[:2]
    usual = [f"{prefix}/lib/{version}/site-packages", f"{prefix}/lib64/{version}/site-packages"]
    if prefix == "/usr":
        return [f"/usr/local/lib/{version}/dist-packages", "/usr/lib/python3/dist-packages", *usual]
    return usual


def _includes_system_packages(prefix: str) -> bool:
    """Whether this is a virtual environment that also uses the packages of the Python it was made
    with."""
    try:
        with open(prefix + "/pyvenv.cfg", "rb") as file:
            return b"include-system-site-packages=true" in file.read().lower().replace(b" ", b"")
    except OSError:
        return False


def _scheme(algorithm: SignatureAlgorithm) -> tuple:
    """What `cryptography` wants to know of an algorithm beside the data, to sign as to verify."""
    if algorithm.hash_name is None:
        return ()
    from cryptography.hazmat.primitives import hashes

    hash_algorithm = getattr(hashes, algorithm.hash_name)()
    if algorithm.key_type == "DSA":
        return (hash_algorithm,)
    if algorithm.key_type == "EC":
        from cryptography.hazmat.primitives.asymmetric import ec

        return (ec.ECDSA(hash_algorithm),)
    from cryptography.hazmat.primitives.asymmetric import padding

    if algorithm.key_type == "RSA":
        return padding.PKCS1v15(), hash_algorithm
    mgf1 = padding.MGF1(getattr(hashes, algorithm.mgf1_hash_name)())
    return padding.PSS(mgf1, algorithm.salt_length), hash_algorithm


def _public_key(holder: certificate.Certificate) -> tuple:
    """The key of a certificate and its type.  UnsupportedKey if it cannot be used.

    Made from its numbers: reading it as X.509 would cost the imports that this saves.
    """
    try:
        algorithm = der.read(holder.key_algorithm, der.SEQUENCE)
        if algorithm.elements().expect(der.OBJECT_IDENTIFIER).contents in _KEY_TYPES:
            kind, curve, _ = _key_type(algorithm)
            return kind, _public_key_of(kind, curve, holder.public_key)
        from . import unusual_keys

        return unusual_keys.public_key(holder)
    except (UnsupportedKey, AttributeError, *_NOT_ABOUT_THE_KEY):
        raise
    except Exception as error:  # of many classes, by version and by what is wrong with the numbers
        raise UnsupportedKey(f"one that {library()} does not accept ({reason(error)})") from None


def _public_key_of(kind: str, curve: str, encoded: bytes):
    if kind in ("RSA", "RSASSA-PSS"):
        from cryptography.hazmat.primitives.asymmetric import rsa

        numbers = der.read(encoded, der.SEQUENCE).elements()
        modulus, exponent = (number.integer() for number in numbers)
        return rsa.RSAPublicNumbers(exponent, modulus).public_key()
    if kind == "EC":
        from cryptography.hazmat.primitives.asymmetric import ec

        return ec.EllipticCurvePublicKey.from_encoded_point(getattr(ec, curve)(), encoded)
    if kind == "Ed25519":
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        return Ed25519PublicKey.from_public_bytes(encoded)
    from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey

    return Ed448PublicKey.from_public_bytes(encoded)


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
