"""Keys and signatures that few CAs have: RSASSA-PSS, curves other than P-256, P-384 and P-521, DSA,
hashes other than SHA-256, SHA-384 and SHA-512; and the preferences of clients.

keys.py loads it only when it meets one: each module costs every new response.  Whether a key can be
used is for `cryptography` to say, which knows more with each release.
"""

from __future__ import annotations

from . import certificate, der, keys
from .keys import SignatureAlgorithm, Unsupported, UnsupportedKey

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
# RFC 4055 section 5, RFC 5758 sections 3.1 and 3.2, NIST's CSOR for SHA-3, RFC 9881 for ML-DSA.
_SIGNATURES = {
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
_DSA = bytes.fromhex("2a8648ce380401")  # 1.2.840.10040.4.1
_KEY_NAMES = {
    **{identifier: kind for identifier, (kind, hash_name) in _SIGNATURES.items() if not hash_name},
    _DSA: "DSA",
    bytes.fromhex("2b656e"): "X25519",  # 1.3.101.110
    bytes.fromhex("2b656f"): "X448",  # 1.3.101.111
}
_PREFERRED = ("SHA256", "SHA384", "SHA512")  # what we sign with


def name(identifier: bytes) -> str:
    """A type of keys, by the contents of its OBJECT IDENTIFIER."""
    return _KEY_NAMES.get(identifier) or der.dotted(identifier)


def signature_algorithm(identifier: bytes) -> SignatureAlgorithm:
    """Read an AlgorithmIdentifier that is unusual.  Unsupported if it is weak or unknown."""
    try:
        fields = der.read(identifier, der.SEQUENCE).elements()
        algorithm = fields.expect(der.OBJECT_IDENTIFIER).object_identifier()
        if algorithm == _RSASSA_PSS:
            hash_name, mgf1_hash_name, salt_length = _read_pss(fields)
            return SignatureAlgorithm(
                "RSASSA-PSS", hash_name, identifier, mgf1_hash_name, salt_length
            )
    except der.DERError as error:
        raise Unsupported(f"with an algorithm that cannot be read ({error})") from None
    if algorithm in _WEAK:
        raise Unsupported(f"with {_WEAK[algorithm]}, which is weak")
    if algorithm not in _SIGNATURES:
        raise Unsupported(f"with an unknown algorithm, OID {der.dotted(algorithm)}")
    return SignatureAlgorithm(*_SIGNATURES[algorithm], identifier)


def _read_pss(fields: der.Elements) -> tuple[str, str, int]:
    """The hash, the hash of MGF1 and the salt's length in RSASSA-PSS-params (RFC 4055 section 3.1).

    What is absent there has a default.  Unsupported if the hash is weak or unknown.
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
            raise Unsupported(f"with RSASSA-PSS and an unknown mask, OID {der.dotted(function)}")
        mgf1_oid = _oid(inside.expect(der.SEQUENCE))
    salt_length = 20 if salt is None else salt.only(der.INTEGER).integer()
    if salt_length < 0 or (trailer is not None and trailer.only(der.INTEGER).integer() != 1):
        raise Unsupported("with RSASSA-PSS and parameters that no client accepts")
    if hash_oid == _SHA1:
        raise Unsupported("with RSASSA-PSS and SHA-1, which is weak")
    # A weak hash in MGF1 does not weaken the signature.
    mgf1_hash_name = "SHA1" if mgf1_oid == _SHA1 else _HASHES.get(mgf1_oid, ("", 0))[0]
    for one, known in ((hash_oid, hash_oid in _HASHES), (mgf1_oid, mgf1_hash_name)):
        if not known:
            raise Unsupported(f"with RSASSA-PSS and an unknown hash, OID {der.dotted(one)}")
    return _HASHES[hash_oid][0], mgf1_hash_name, salt_length


def _oid(algorithm: der.Element) -> bytes:
    return algorithm.elements().expect(der.OBJECT_IDENTIFIER).object_identifier()


def _pss(hash_name: str, mgf1_hash_name: str, salt_length: int) -> SignatureAlgorithm:
    """RSASSA-PSS with an AlgorithmIdentifier that says so; what is the default is left out, as DER
    has it."""
    parameters = [der.tlv(der.context(0), _hash_identifier(_OIDS[hash_name]))]
    if mgf1_hash_name != "SHA1":
        mgf1 = der.tlv(der.OBJECT_IDENTIFIER, _MGF1)
        mask = der.sequence(mgf1, _hash_identifier(_OIDS[mgf1_hash_name]))
        parameters.append(der.tlv(der.context(1), mask))
    if salt_length != 20:
        octets = salt_length.to_bytes(salt_length.bit_length() // 8 + 1, "big")
        parameters.append(der.tlv(der.context(2), der.tlv(der.INTEGER, octets)))
    identifier = der.sequence(
        der.tlv(der.OBJECT_IDENTIFIER, _RSASSA_PSS), der.sequence(*parameters)
    )
    return SignatureAlgorithm("RSASSA-PSS", hash_name, identifier, mgf1_hash_name, salt_length)


def _hash_identifier(oid: bytes) -> bytes:
    return der.sequence(der.tlv(der.OBJECT_IDENTIFIER, oid), der.ENCODED_NULL)


def _longest_salt(holder: certificate.Certificate, hash_name: str) -> int:
    """The most bytes of salt that RSASSA-PSS can have with this key and hash (RFC 8017 section
    9.1.1); negative if the key is too short for the hash."""
    return (keys.key_size(holder)[1] + 6) // 8 - _SIZES[hash_name] - 2


def own_pss_algorithm(holder: certificate.Certificate) -> SignatureAlgorithm:
    """The algorithm of a key of the type RSASSA-PSS, whose certificate may restrict it to a hash, a
    hash for MGF1 and a shortest salt (RFC 4055 section 3.1).  UnsupportedKey if it is restricted to
    what cannot be."""
    try:
        fields = der.read(holder.key_algorithm, der.SEQUENCE).elements()
        fields.expect(der.OBJECT_IDENTIFIER)
        is_restricted = fields.position < fields.limit and fields.optional(0x05) is None
        hash_name, mgf1_hash_name, shortest = (
            _read_pss(fields) if is_restricted else ("SHA256", "SHA256", 0)
        )
    except der.DERError as error:
        raise UnsupportedKey(f"damaged ({error})") from None
    except Unsupported as error:
        raise UnsupportedKey(f"one that may only sign {error}") from None
    longest = _longest_salt(holder, hash_name)
    salt_length = max(shortest, min(_SIZES[hash_name], longest))
    if salt_length > longest or salt_length < 0:
        raise UnsupportedKey(
            f"too short for the hash and salt of RSASSA-PSS that it is restricted to ({hash_name},"
            f" {max(salt_length, 0)} bytes)"
        )
    return _pss(hash_name, mgf1_hash_name, salt_length)


def preferred_algorithm(
    holder: certificate.Certificate, own: SignatureAlgorithm, identifier: bytes
) -> SignatureAlgorithm | None:
    """How to sign as this AlgorithmIdentifier says, None if the key of the certificate cannot."""
    try:
        wanted = SignatureAlgorithm.from_der(identifier)
    except Unsupported:
        return None
    if own.key_type != "RSA":
        asked, made = ((one.key_type, one.hash_name, one.mgf1_hash_name) for one in (wanted, own))
        return own if asked == made else None
    if wanted.hash_name not in _PREFERRED:
        return None
    if wanted.key_type == "RSA":
        # DigestInfo has 19 bytes beside the hash, and its padding 11 (RFC 8017 section 9.2).
        fits = (keys.key_size(holder)[1] + 7) // 8 >= _SIZES[wanted.hash_name] + 19 + 11
        return _rsa(identifier, wanted.hash_name) if fits else None
    if wanted.key_type != "RSASSA-PSS" or wanted.mgf1_hash_name != wanted.hash_name:
        return None
    salt_length = _SIZES[wanted.hash_name]
    if salt_length > _longest_salt(holder, wanted.hash_name):
        return None
    return _pss(wanted.hash_name, wanted.hash_name, salt_length)


def _rsa(identifier: bytes, hash_name: str) -> SignatureAlgorithm:
    """PKCS #1 v1.5 with this hash, with the NULL that a client may have left out."""
    oid = _oid(der.read(identifier, der.SEQUENCE))
    encoded = der.sequence(der.tlv(der.OBJECT_IDENTIFIER, oid), der.ENCODED_NULL)
    return SignatureAlgorithm("RSA", hash_name, encoded)


def key_size(holder: certificate.Certificate) -> tuple[str, int]:
    """As keys.key_size, of a key that is neither RSA nor EC."""
    fields = der.read(holder.key_algorithm, der.SEQUENCE).elements()
    if fields.expect(der.OBJECT_IDENTIFIER).contents != _DSA:
        return "", 0
    prime = fields.expect(der.SEQUENCE).elements().expect(der.INTEGER).integer()
    return "DSA", max(prime, 0).bit_length()


def curve(oid: bytes) -> tuple[str, str]:
    """A curve as `cryptography` names it, and the hash of its strength (RFC 5480 section 4).

    UnsupportedKey if it does not know the curve.
    """
    keys.require_cryptography()
    from cryptography.hazmat.primitives.asymmetric import ec

    # The class of these names; to import it as x509.ObjectIdentifier would cost 40 ms.
    object_identifier = type(ec.EllipticCurveOID.SECP256R1)
    try:
        found = ec.get_curve_for_oid(object_identifier(der.dotted(oid)))
    except (LookupError, ValueError):
        raise UnsupportedKey(
            f"on the curve {der.dotted(oid)}, which {keys.library()} does not support"
        ) from None
    size = found().key_size
    return found.__name__, "SHA256" if size < 384 else "SHA384" if size < 512 else "SHA512"


def public_key(holder: certificate.Certificate) -> tuple:
    """The key of a certificate, and its type, as `cryptography` reads it.  UnsupportedKey, or an
    error of the library, if it can verify no signature."""
    from cryptography.hazmat.primitives import serialization

    identifier = _oid(der.read(holder.key_algorithm, der.SEQUENCE))
    bits = der.tlv(der.BIT_STRING, b"\0", holder.public_key)
    key = serialization.load_der_public_key(der.sequence(holder.key_algorithm, bits))
    if not hasattr(key, "verify"):
        raise UnsupportedKey(f"of the type {name(identifier)}, which signs nothing")
    return name(identifier), key
