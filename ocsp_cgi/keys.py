"""Keys: reading one, signing with it, and verifying.

At request time only the modules of `cryptography` that the key needs are imported.  A key is made
from the numbers in its DER: `serialization`, which could read the same file, costs half a response
in imports, and reads only what is encrypted or unusual here.
"""

from __future__ import annotations

import posix

from . import algorithms, certificate, der
from .algorithms import SignatureAlgorithm, Unsupported, UnsupportedKey
from .answer import reading
from .import_cryptography import (
    SignerError,
    major_version,
    name_and_version,
    reason,
    require_cryptography,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# What a damaged installation, a disk or a limit raises, whatever the key
_NOT_ABOUT_THE_KEY = (MemoryError, ImportError, OSError, SyntaxError, EOFError, NameError)

# Of Python up to 3.11, and since
_BUILT_IN = {"sha1": ("_sha1",), "sha256": ("_sha256", "_sha2")}

_ecdsa_class: Any = None  # made when it is first needed


def sign(key: Any, algorithm: SignatureAlgorithm, tbs: bytes) -> bytes:
    """A signature over `tbs` with a private key that `load` returned; b"" if it cannot sign with
    this algorithm."""
    scheme = _scheme(algorithm)
    try:
        signature: bytes = key.sign(tbs, *scheme)
    except _NOT_ABOUT_THE_KEY:
        raise
    except Exception:  # many classes, for a key of another type or a damaged one
        return b""
    return signature


def is_own_key(holder: certificate.Certificate, rkey: str, passin: str | None) -> bool:
    """Whether the private key in the file `rkey` claims to be the certificate's, as a damaged one
    may too."""
    try:
        from cryptography.hazmat.primitives import serialization

        formats = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        info = load(rkey, passin).public_key().public_bytes(*formats)
        fields = der.read(info, der.SEQUENCE).elements()
        fields.expect(der.SEQUENCE)
        return fields.expect(der.BIT_STRING).bit_string() == holder.public_key
    except _NOT_ABOUT_THE_KEY:
        raise
    except Exception:  # a damaged key may fail in any way
        return False


def verifies(
    holder: certificate.Certificate, signature: bytes, data: bytes, identifier: bytes
) -> bool:
    """Whether `signature` is over `data`, made with this certificate's key and the algorithm that
    an AlgorithmIdentifier names.  Unsupported, or UnsupportedKey, if that cannot be verified."""
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
            f"with an algorithm that {name_and_version()} does not support ({reason(error)})"
        ) from None
    except (TypeError, ValueError):  # for example a signature of the wrong length
        return False
    return True


def load(path: str, passin: str | None, suffix: str = "") -> Any:
    """The private key in the file `rkey`, as an object of `cryptography`; `suffix` as in
    CASettings.  SignerError if there is none."""
    import resource

    # No core file may contain the key.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    text = read_private(path, f"rkey{suffix}")
    is_encrypted = b"-----BEGIN ENCRYPTED" in text or b"4,ENCRYPTED" in text
    password = None
    if is_encrypted:
        if passin is None:
            from . import file_kinds

            raise SignerError(file_kinds.encrypted_key(path, suffix))
        password = read_phrase(passin, f"passin{suffix}")
    require_cryptography()
    if not is_encrypted:
        try:
            return _private_key(text)
        except _NOT_ABOUT_THE_KEY:
            raise
        except Exception:  # not a key, absurd numbers, or a key that only the library knows
            pass
    from cryptography.hazmat.primitives import serialization

    reading(path)
    try:
        return serialization.load_pem_private_key(text, password, **_unvalidated())
    except _NOT_ABOUT_THE_KEY:
        raise
    except Exception as error:  # many classes, depending on the version and what is wrong
        from . import file_kinds

        raise SignerError(
            file_kinds.unreadable_key(path, text, passin, reason(error), name_and_version(), suffix)
        ) from None


def read_private(path: str, option: str) -> bytes:
    """The contents of a file that only the web server may read.  SignerError if it cannot be read,
    or others can."""
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
            f"{path}: {error.strerror}; `{option}` names it, and the responder's user, and nobody"
            " else, must be able to read it"
        ) from None


def read_phrase(path: str, option: str) -> bytes:
    """The pass phrase, or the PIN, in the first line of a file.  SignerError as `read_private`."""
    return read_private(path, option).partition(b"\n")[0].rstrip(b"\r")


def _private_key(text: bytes) -> Any:
    """The key in unencrypted PEM: PKCS#8 (RFC 5958), or the traditional forms of openssl (RFC 8017
    A.1.2, RFC 5915).  Any exception if it is something else."""
    label, encoded = der.from_pem(text, b"PRIVATE KEY", b"RSA PRIVATE KEY", b"EC PRIVATE KEY")
    fields = der.read(encoded, der.SEQUENCE).elements()
    if label == b"RSA PRIVATE KEY":
        return _rsa_key(fields)
    fields.expect(der.INTEGER)  # version
    if label == b"EC PRIVATE KEY":
        secret = fields.expect(der.OCTET_STRING).contents
        return _ec_key(secret, algorithms.read_curve(fields.expect(der.context(0)).elements())[0])
    key_type, curve, _ = algorithms.read_key_type(fields.expect(der.SEQUENCE).encoded)
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


def _rsa_key(fields: der.Elements) -> Any:
    from cryptography.hazmat.primitives.asymmetric import rsa

    _version, n, e, d, p, q, dmp1, dmq1, iqmp = (field.integer() for field in fields)
    numbers = rsa.RSAPrivateNumbers(p, q, d, dmp1, dmq1, iqmp, rsa.RSAPublicNumbers(e, n))
    return numbers.private_key(**_unvalidated())


def _unvalidated() -> dict[str, Any]:
    """The option that saves the primality test of an RSA key, which takes 30 ms per response.

    That is safe here: the key is the operator's own file, and a signature by a wrong or damaged key
    is never sent, since each is verified with the certificate.
    """
    return {"unsafe_skip_rsa_key_validation": True} if major_version() >= 39 else {}


def _ec_key(secret: bytes, curve: str) -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.derive_private_key(int.from_bytes(secret, "big"), getattr(ec, curve)())


def _scheme(algorithm: SignatureAlgorithm) -> tuple[Any, ...]:
    """The arguments of `cryptography` for an algorithm, besides the data, to sign or to verify."""
    if algorithm.hash_name is None:
        return ()
    from cryptography.hazmat.primitives import hashes

    hash_algorithm = getattr(hashes, algorithm.hash_name)()
    if algorithm.key_type == "DSA":
        return (hash_algorithm,)
    if algorithm.key_type == "EC":
        return (_ecdsa(hash_algorithm),)
    from cryptography.hazmat.primitives.asymmetric import padding

    if algorithm.key_type == "RSA":
        return padding.PKCS1v15(), hash_algorithm
    mgf1 = padding.MGF1(getattr(hashes, algorithm.mgf1_hash_name or algorithm.hash_name)())
    return padding.PSS(mgf1, algorithm.salt_length), hash_algorithm


def _ecdsa(hash_algorithm: Any) -> Any:
    """An ec.ECDSA.

    Its constructor imports, from version 43 on, a backend that is only asked about deterministic
    signatures, which costs a seventh of a response.  This subclass has no such constructor.
    """
    global _ecdsa_class
    if _ecdsa_class is None:
        from cryptography.hazmat.primitives.asymmetric import ec

        class ECDSA(ec.ECDSA):
            def __init__(self, algorithm: Any) -> None:
                self._chosen = algorithm

            @property
            def algorithm(self) -> Any:
                return self._chosen

            @property
            def deterministic_signing(self) -> bool:
                return False

            def __getattr__(self, name: str) -> Any:
                """What another version may read."""
                return getattr(ec.ECDSA(self._chosen), name)

        _ecdsa_class = ECDSA
    return _ecdsa_class(hash_algorithm)


def _public_key(holder: certificate.Certificate) -> tuple[str, Any]:
    """The type of a certificate's key, and the key.  UnsupportedKey if it cannot be used.

    Made from its numbers, which saves the imports that reading it as X.509 costs.
    """
    try:
        kind = algorithms.key_kind(holder)
        if kind not in algorithms.KEY_TYPES.values():
            return kind, _unusual_public_key(holder, kind)
        kind, curve, _ = algorithms.read_key_type(holder.key_algorithm)
        return kind, _public_key_of(kind, curve, holder.public_key)
    except (UnsupportedKey, AttributeError, *_NOT_ABOUT_THE_KEY):
        raise
    except Exception as error:  # many classes, depending on the version and what is wrong
        raise UnsupportedKey(
            f"one that {name_and_version()} does not accept ({reason(error)})"
        ) from None


def _unusual_public_key(holder: certificate.Certificate, kind: str) -> Any:
    """A key of a type that is not listed.  UnsupportedKey, or any error of the library, if it
    cannot verify signatures."""
    from cryptography.hazmat.primitives import serialization

    bits = der.tlv(der.BIT_STRING, b"\0", holder.public_key)
    key = serialization.load_der_public_key(der.sequence(holder.key_algorithm, bits))
    if not hasattr(key, "verify"):
        raise UnsupportedKey(f"of the type {kind}, which signs nothing")
    return key


def _public_key_of(kind: str, curve: str, encoded: bytes) -> Any:
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
    """A hash, by hashlib's name, computed by the library that is about to sign: to load hashlib's
    takes 3 ms.

    SHA-1 only identifies here: where a policy forbids it otherwise, hashlib allows that.
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
    return digest_unsigned(name, data)


def digest_unsigned(name: str, data: bytes) -> bytes:
    """The same where nothing is to be signed: by what is built into Python, if it has that hash."""
    for module in _BUILT_IN.get(name, ()):
        try:
            digest: bytes = getattr(__import__(module), name)(data).digest()
        except ImportError:
            continue
        return digest
    import hashlib

    return hashlib.new(name, data, usedforsecurity=False).digest()
