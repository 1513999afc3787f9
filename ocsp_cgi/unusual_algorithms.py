"""Algorithms that few CAs use: RSASSA-PSS, curves other than P-256, P-384 and P-521, DSA, hashes
other than SHA-256, SHA-384 and SHA-512; and what an RSA key makes of a client's preferences.

algorithms.py loads this only when it meets one of them, and makes SignatureAlgorithms of the tuples
returned here.  Failures are ValueErrors with the words that its exceptions need.
"""

from __future__ import annotations

from . import der
from .import_cryptography import name_and_version, require_cryptography

TYPE_CHECKING = False
if TYPE_CHECKING:
    # The arguments of a SignatureAlgorithm: key type, hash, AlgorithmIdentifier, hash of MGF1,
    # length of the salt.
    Parts = tuple[str, str | None, bytes, str | None, int]

_SHA1 = bytes.fromhex("2b0e03021a")  # 1.3.14.3.2.26
_HASHES = {
    bytes.fromhex("608648016503040204"): ("SHA224", 28),  # 2.16.840.1.101.3.4.2.4
    bytes.fromhex("608648016503040201"): ("SHA256", 32),  # 2.16.840.1.101.3.4.2.1
    bytes.fromhex("608648016503040202"): ("SHA384", 48),  # 2.16.840.1.101.3.4.2.2
    bytes.fromhex("608648016503040203"): ("SHA512", 64),  # 2.16.840.1.101.3.4.2.3
    bytes.fromhex("608648016503040205"): ("SHA512_224", 28),  # 2.16.840.1.101.3.4.2.5
    bytes.fromhex("608648016503040206"): ("SHA512_256", 32),  # 2.16.840.1.101.3.4.2.6
    bytes.fromhex("608648016503040207"): ("SHA3_224", 28),  # 2.16.840.1.101.3.4.2.7
    bytes.fromhex("608648016503040208"): ("SHA3_256", 32),  # 2.16.840.1.101.3.4.2.8
    bytes.fromhex("608648016503040209"): ("SHA3_384", 48),  # 2.16.840.1.101.3.4.2.9
    bytes.fromhex("60864801650304020a"): ("SHA3_512", 64),  # 2.16.840.1.101.3.4.2.10
}
_OIDS = {hash_name: identifier for identifier, (hash_name, _) in _HASHES.items()}
_SIZES = dict(_HASHES.values())
# RFC 4055 section 5, RFC 5758 sections 3.1 and 3.2, RFC 8410 section 3, NIST's CSOR for SHA-3, RFC
# 9881 for ML-DSA.
_SIGNATURES: dict[bytes, tuple[str, str | None]] = {
    bytes.fromhex("2a864886f70d01010b"): ("RSA", "SHA256"),  # 1.2.840.113549.1.1.11
    bytes.fromhex("2a864886f70d01010c"): ("RSA", "SHA384"),  # 1.2.840.113549.1.1.12
    bytes.fromhex("2a864886f70d01010d"): ("RSA", "SHA512"),  # 1.2.840.113549.1.1.13
    bytes.fromhex("2a8648ce3d040302"): ("EC", "SHA256"),  # 1.2.840.10045.4.3.2
    bytes.fromhex("2a8648ce3d040303"): ("EC", "SHA384"),  # 1.2.840.10045.4.3.3
    bytes.fromhex("2a8648ce3d040304"): ("EC", "SHA512"),  # 1.2.840.10045.4.3.4
    bytes.fromhex("2b6570"): ("Ed25519", None),  # 1.3.101.112
    bytes.fromhex("2b6571"): ("Ed448", None),  # 1.3.101.113
    bytes.fromhex("2a864886f70d01010e"): ("RSA", "SHA224"),  # 1.2.840.113549.1.1.14
    bytes.fromhex("2a864886f70d01010f"): ("RSA", "SHA512_224"),  # 1.2.840.113549.1.1.15
    bytes.fromhex("2a864886f70d010110"): ("RSA", "SHA512_256"),  # 1.2.840.113549.1.1.16
    bytes.fromhex("60864801650304030d"): ("RSA", "SHA3_224"),  # 2.16.840.1.101.3.4.3.13
    bytes.fromhex("60864801650304030e"): ("RSA", "SHA3_256"),  # 2.16.840.1.101.3.4.3.14
    bytes.fromhex("60864801650304030f"): ("RSA", "SHA3_384"),  # 2.16.840.1.101.3.4.3.15
    bytes.fromhex("608648016503040310"): ("RSA", "SHA3_512"),  # 2.16.840.1.101.3.4.3.16
    bytes.fromhex("2a8648ce3d040301"): ("EC", "SHA224"),  # 1.2.840.10045.4.3.1
    bytes.fromhex("608648016503040309"): ("EC", "SHA3_224"),  # 2.16.840.1.101.3.4.3.9
    bytes.fromhex("60864801650304030a"): ("EC", "SHA3_256"),  # 2.16.840.1.101.3.4.3.10
    bytes.fromhex("60864801650304030b"): ("EC", "SHA3_384"),  # 2.16.840.1.101.3.4.3.11
    bytes.fromhex("60864801650304030c"): ("EC", "SHA3_512"),  # 2.16.840.1.101.3.4.3.12
    bytes.fromhex("608648016503040301"): ("DSA", "SHA224"),  # 2.16.840.1.101.3.4.3.1
    bytes.fromhex("608648016503040302"): ("DSA", "SHA256"),  # 2.16.840.1.101.3.4.3.2
    bytes.fromhex("608648016503040303"): ("DSA", "SHA384"),  # 2.16.840.1.101.3.4.3.3
    bytes.fromhex("608648016503040304"): ("DSA", "SHA512"),  # 2.16.840.1.101.3.4.3.4
    bytes.fromhex("608648016503040311"): ("ML-DSA-44", None),  # 2.16.840.1.101.3.4.3.17
    bytes.fromhex("608648016503040312"): ("ML-DSA-65", None),  # 2.16.840.1.101.3.4.3.18
    bytes.fromhex("608648016503040313"): ("ML-DSA-87", None),  # 2.16.840.1.101.3.4.3.19
}
_WEAK = {
    bytes.fromhex("2a864886f70d010102"): "MD2",  # 1.2.840.113549.1.1.2
    bytes.fromhex("2a864886f70d010103"): "MD4",  # 1.2.840.113549.1.1.3
    bytes.fromhex("2a864886f70d010104"): "MD5",  # 1.2.840.113549.1.1.4
    bytes.fromhex("2a864886f70d010105"): "SHA-1",  # 1.2.840.113549.1.1.5
    bytes.fromhex("2a8648ce3d0401"): "SHA-1",  # 1.2.840.10045.4.1
    bytes.fromhex("2a8648ce380403"): "SHA-1",  # 1.2.840.10040.4.3
}
_RSASSA_PSS = bytes.fromhex("2a864886f70d01010a")  # 1.2.840.113549.1.1.10
_MGF1 = bytes.fromhex("2a864886f70d010108")  # 1.2.840.113549.1.1.8
KEY_TYPE_NAMES = {
    **{identifier: kind for identifier, (kind, hash_name) in _SIGNATURES.items() if not hash_name},
    bytes.fromhex("2a8648ce380401"): "DSA",  # 1.2.840.10040.4.1
    bytes.fromhex("2b656e"): "X25519",  # 1.3.101.110
    bytes.fromhex("2b656f"): "X448",  # 1.3.101.111
}
# The hashes an RSA key signs with on request, and their AlgorithmIdentifiers (RFC 4055 section 5).
_PKCS1 = {
    "SHA256": bytes.fromhex("300d06092a864886f70d01010b0500"),
    "SHA384": bytes.fromhex("300d06092a864886f70d01010c0500"),
    "SHA512": bytes.fromhex("300d06092a864886f70d01010d0500"),
}


def read(identifier: bytes) -> Parts:
    """Read an unusual AlgorithmIdentifier, or a usual one with parameters that few CAs write: some
    leave out the NULL.  ValueError if it is weak or unknown."""
    try:
        fields = der.read(identifier, der.SEQUENCE).elements()
        algorithm = fields.expect(der.OBJECT_IDENTIFIER).object_identifier()
        if algorithm == _RSASSA_PSS:
            hash_name, mgf1_hash_name, salt_length = _read_pss(fields)
            return "RSASSA-PSS", hash_name, identifier, mgf1_hash_name, salt_length
    except der.DERError as error:
        raise ValueError(f"with an algorithm that cannot be read ({error})") from None
    if algorithm in _WEAK:
        raise ValueError(f"with {_WEAK[algorithm]}, which is weak")
    if algorithm not in _SIGNATURES:
        raise ValueError(f"with an unknown algorithm, OID {der.dotted(algorithm)}")
    key_type, signature_hash = _SIGNATURES[algorithm]
    return key_type, signature_hash, identifier, None, 0


def _read_pss(fields: der.Elements) -> tuple[str, str, int]:
    """The hash, the hash of MGF1 and the salt's length in RSASSA-PSS-params (RFC 4055 section 3.1).

    What is absent there has a default.  ValueError if the hash is weak or unknown.
    """
    parameters = fields.expect(der.SEQUENCE).elements()
    hash_algorithm = parameters.optional(der.context(0))
    mask = parameters.optional(der.context(1))
    salt = parameters.optional(der.context(2))
    trailer = parameters.optional(der.context(3))
    parameters.end()
    hash_oid = mgf1_oid = _SHA1
    if hash_algorithm is not None:
        hash_oid = _oid(hash_algorithm.only(der.SEQUENCE))
    if mask is not None:
        inside = mask.only(der.SEQUENCE).elements()
        function = inside.expect(der.OBJECT_IDENTIFIER).object_identifier()
        if function != _MGF1:
            raise ValueError(f"with RSASSA-PSS and an unknown mask, OID {der.dotted(function)}")
        mgf1_oid = _oid(inside.expect(der.SEQUENCE))
    salt_length = 20 if salt is None else salt.only(der.INTEGER).integer()
    if salt_length < 0 or (trailer is not None and trailer.only(der.INTEGER).integer() != 1):
        raise ValueError("with RSASSA-PSS and parameters that no client accepts")
    if hash_oid == _SHA1:
        raise ValueError("with RSASSA-PSS and SHA-1, which is weak")
    # A weak hash in MGF1 does not weaken the signature.
    mgf1_hash_name = "SHA1" if mgf1_oid == _SHA1 else _HASHES.get(mgf1_oid, ("", 0))[0]
    for oid, is_known in ((hash_oid, hash_oid in _HASHES), (mgf1_oid, mgf1_hash_name)):
        if not is_known:
            raise ValueError(f"with RSASSA-PSS and an unknown hash, OID {der.dotted(oid)}")
    return _HASHES[hash_oid][0], mgf1_hash_name, salt_length


def _oid(algorithm: der.Element) -> bytes:
    return algorithm.elements().expect(der.OBJECT_IDENTIFIER).object_identifier()


def _pss(hash_name: str, mgf1_hash_name: str, salt_length: int) -> Parts:
    """RSASSA-PSS and its AlgorithmIdentifier, without what is the default, as DER requires."""
    parameters = [der.tlv(der.context(0), _hash_identifier(_OIDS[hash_name]))]
    if mgf1_hash_name != "SHA1":
        mgf1 = der.tlv(der.OBJECT_IDENTIFIER, _MGF1)
        mask = der.sequence(mgf1, _hash_identifier(_OIDS[mgf1_hash_name]))
        parameters.append(der.tlv(der.context(1), mask))
    if salt_length != 20:
        parameters.append(der.tlv(der.context(2), der.integer(salt_length)))
    identifier = der.sequence(
        der.tlv(der.OBJECT_IDENTIFIER, _RSASSA_PSS), der.sequence(*parameters)
    )
    return "RSASSA-PSS", hash_name, identifier, mgf1_hash_name, salt_length


def _hash_identifier(oid: bytes) -> bytes:
    return der.sequence(der.tlv(der.OBJECT_IDENTIFIER, oid), der.ENCODED_NULL)


def _longest_salt(bits: int, hash_name: str) -> int:
    """The bytes of salt that RSASSA-PSS has room for with a key of so many bits (RFC 8017 section
    9.1.1); negative if the key is too short for the hash."""
    return (bits + 6) // 8 - _SIZES[hash_name] - 2


def restricted_pss(key_algorithm: bytes, bits: int) -> Parts:
    """How a key of the type RSASSA-PSS and of so many bits signs.

    Its AlgorithmIdentifier may restrict it to a hash, a hash of MGF1 and a shortest salt (RFC 4055
    section 3.1).  ValueError if nothing can be signed so.
    """
    try:
        fields = der.read(key_algorithm, der.SEQUENCE).elements()
        fields.expect(der.OBJECT_IDENTIFIER)
        is_restricted = fields.position < fields.limit and fields.optional(der.NULL) is None
    except der.DERError as error:
        raise ValueError(f"damaged ({error})") from None
    hash_name, mgf1_hash_name, shortest = "SHA256", "SHA256", 0
    if is_restricted:
        try:
            hash_name, mgf1_hash_name, shortest = _read_pss(fields)
        except der.DERError as error:
            raise ValueError(f"damaged ({error})") from None
        except ValueError as error:
            raise ValueError(f"one that may only sign {error}") from None
    longest = _longest_salt(bits, hash_name)
    salt_length = max(shortest, min(_SIZES[hash_name], longest))
    if salt_length > longest or salt_length < 0:
        raise ValueError(
            f"too short for the hash and salt of RSASSA-PSS that it is restricted to ({hash_name},"
            f" {max(salt_length, 0)} bytes)"
        )
    return _pss(hash_name, mgf1_hash_name, salt_length)


def for_rsa_key(
    key_type: str, hash_name: str | None, mgf1_hash_name: str | None, bits: int
) -> Parts | None:
    """How an RSA key of so many bits signs as a client prefers, None if it cannot or should not.

    The AlgorithmIdentifier has the NULL that a client may have left out, and the usual salt.
    """
    if hash_name is None or hash_name not in _PKCS1:
        return None
    if key_type == "RSA":
        # DigestInfo has 19 bytes beside the hash, and its padding 11 (RFC 8017 section 9.2).
        if (bits + 7) // 8 < _SIZES[hash_name] + 19 + 11:
            return None
        return "RSA", hash_name, _PKCS1[hash_name], None, 0
    if key_type != "RSASSA-PSS" or mgf1_hash_name != hash_name:
        return None
    salt_length = _SIZES[hash_name]
    if salt_length > _longest_salt(bits, hash_name):
        return None
    return _pss(hash_name, hash_name, salt_length)


def curve(oid: bytes) -> tuple[str, str]:
    """A curve as `cryptography` names it, and the hash of its strength (RFC 5480 section 4).

    ValueError if `cryptography` does not know the curve.
    """
    require_cryptography()
    from cryptography.hazmat.primitives.asymmetric import ec

    # The class of these names; to import it as x509.ObjectIdentifier would cost 40 ms.
    object_identifier = type(ec.EllipticCurveOID.SECP256R1)
    try:
        found = ec.get_curve_for_oid(object_identifier(der.dotted(oid)))
    except (LookupError, ValueError):
        raise ValueError(
            f"on the curve {der.dotted(oid)}, which {name_and_version()} does not support"
        ) from None
    size = found().key_size
    return found.__name__, "SHA256" if size < 384 else "SHA384" if size < 512 else "SHA512"
