"""AlgorithmIdentifiers, key types, curves, and the algorithm that is chosen for a signature."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from ocsp_cgi import algorithms, der
from ocsp_cgi.algorithms import SignatureAlgorithm, Unsupported, UnsupportedKey

NULL = b"\5\0"
RSA, RSASSA_PSS, EC = "1.2.840.113549.1.1.1", "1.2.840.113549.1.1.10", "1.2.840.10045.2.1"
HASHES = {
    "SHA1": "1.3.14.3.2.26",
    "SHA224": "2.16.840.1.101.3.4.2.4",
    "SHA256": "2.16.840.1.101.3.4.2.1",
    "SHA384": "2.16.840.1.101.3.4.2.2",
    "SHA512": "2.16.840.1.101.3.4.2.3",
}


def identifier(dotted: str, parameters: bytes = b"") -> bytes:
    return der.sequence(der.tlv(der.OBJECT_IDENTIFIER, der.oid(dotted)), parameters)


def pss(hash_name: str = "", mgf1: str = "", salt: int | None = None, more: bytes = b"") -> bytes:
    """An AlgorithmIdentifier of RSASSA-PSS, with what is given as parameters."""
    parameters = b""
    if hash_name:
        parameters += der.tlv(0xA0, identifier(HASHES.get(hash_name, hash_name), NULL))
    if mgf1:
        inside = identifier(HASHES.get(mgf1, mgf1), NULL)
        parameters += der.tlv(0xA1, identifier("1.2.840.113549.1.1.8", inside))
    if salt is not None:
        parameters += der.tlv(0xA2, der.integer(salt))
    return identifier(RSASSA_PSS, der.sequence(parameters, more))


def rsa_key(bits: int, key_algorithm: bytes | None = None):
    """A certificate with an RSA key, as far as its key is read."""
    modulus, exponent = der.integer(1 << (bits - 1) | 1), der.integer(65537)
    return SimpleNamespace(
        key_algorithm=key_algorithm or identifier(RSA, NULL),
        public_key=der.sequence(modulus, exponent),
    )


def ec_key(curve: str, size: int = 32, form: bytes = b"\4"):
    """A certificate with an EC key, as far as its key is read."""
    parameters = der.tlv(der.OBJECT_IDENTIFIER, der.oid(curve))
    return SimpleNamespace(
        key_algorithm=identifier(EC, parameters),
        public_key=form + bytes(size * (2 if form == b"\4" else 1)),
    )


def other_key(dotted: str, parameters: bytes = b""):
    return SimpleNamespace(key_algorithm=identifier(dotted, parameters), public_key=bytes(32))


P256, P384, P521 = "1.2.840.10045.3.1.7", "1.3.132.0.34", "1.3.132.0.35"
SECP256K1, BRAINPOOL512 = "1.3.132.0.10", "1.3.36.3.3.2.8.1.1.13"
ED25519, ED448, X448, DSA = "1.3.101.112", "1.3.101.113", "1.3.101.111", "1.2.840.10040.4.1"
RSA_SHA256, RSA_SHA512 = "1.2.840.113549.1.1.11", "1.2.840.113549.1.1.13"
ECDSA_SHA256, ECDSA_SHA384 = "1.2.840.10045.4.3.2", "1.2.840.10045.4.3.3"


@pytest.mark.parametrize(
    "encoded, expected",
    [
        (identifier(RSA_SHA256, NULL), ("RSA", "SHA256")),
        (identifier(RSA_SHA256), ("RSA", "SHA256")),
        (identifier(RSA_SHA512, NULL), ("RSA", "SHA512")),
        (identifier(ECDSA_SHA256), ("EC", "SHA256")),
        (identifier(ECDSA_SHA384), ("EC", "SHA384")),
        (identifier(ED25519), ("Ed25519", None)),
        (identifier(ED448), ("Ed448", None)),
        (identifier("1.2.840.113549.1.1.14", NULL), ("RSA", "SHA224")),
        (identifier("2.16.840.1.101.3.4.3.10"), ("EC", "SHA3_256")),
        (identifier("2.16.840.1.101.3.4.3.2"), ("DSA", "SHA256")),
        (identifier("2.16.840.1.101.3.4.3.17"), ("ML-DSA-44", None)),
    ],
)
def test_reading_an_algorithm(encoded, expected):
    algorithm = SignatureAlgorithm.from_der(encoded)
    assert (algorithm.key_type, algorithm.hash_name) == expected
    assert (algorithm.identifier, algorithm.mgf1_hash_name, algorithm.salt_length) == (
        encoded,
        None,
        0,
    )


@pytest.mark.parametrize(
    "encoded, expected",
    [
        (pss("SHA256", "SHA256", 32), ("SHA256", "SHA256", 32)),
        (pss("SHA512", "SHA384", 0), ("SHA512", "SHA384", 0)),
        (pss("SHA224"), ("SHA224", "SHA1", 20)),  # the defaults
        (pss("SHA256", "SHA256", 32, der.tlv(0xA3, der.integer(1))), ("SHA256", "SHA256", 32)),
        (pss("SHA256", "SHA1", 222), ("SHA256", "SHA1", 222)),
    ],
)
def test_reading_rsassa_pss(encoded, expected):
    algorithm = SignatureAlgorithm.from_der(encoded)
    assert algorithm.key_type == "RSASSA-PSS"
    assert (algorithm.hash_name, algorithm.mgf1_hash_name, algorithm.salt_length) == expected


@pytest.mark.parametrize(
    "encoded, message",
    [
        (identifier("1.2.840.113549.1.1.5", NULL), "with SHA-1, which is weak"),
        (identifier("1.2.840.10045.4.1"), "with SHA-1, which is weak"),
        (identifier("1.2.840.113549.1.1.4", NULL), "with MD5, which is weak"),
        (identifier("1.2.3.4"), "with an unknown algorithm, OID 1.2.3.4"),
        (pss(), "with RSASSA-PSS and SHA-1, which is weak"),
        (pss("SHA1", "SHA256", 32), "with RSASSA-PSS and SHA-1, which is weak"),
        (pss("1.2.3.4"), "with RSASSA-PSS and an unknown hash, OID 1.2.3.4"),
        (pss("SHA256", "1.2.3.4"), "with RSASSA-PSS and an unknown hash, OID 1.2.3.4"),
        (pss("SHA256", "SHA256", -1), "with RSASSA-PSS and parameters that no client accepts"),
        (
            pss("SHA256", "SHA256", 32, der.tlv(0xA3, der.integer(2))),
            "with RSASSA-PSS and parameters that no client accepts",
        ),
        (
            identifier(
                RSASSA_PSS,
                der.sequence(
                    der.tlv(0xA0, identifier(HASHES["SHA256"])),
                    der.tlv(0xA1, identifier("1.2.3.4", identifier(HASHES["SHA256"]))),
                ),
            ),
            "with RSASSA-PSS and an unknown mask, OID 1.2.3.4",
        ),
        (identifier(RSASSA_PSS), "with an algorithm that cannot be read"),
        (pss("SHA256", more=b"\5\0"), "with an algorithm that cannot be read"),
        (b"", "with an algorithm that cannot be read"),
        (b"\x30\0", "with an algorithm that cannot be read"),
        (b"\x30\2\6\0", "with an algorithm that cannot be read"),  # an OID without contents
        (identifier(RSA_SHA256) + b"\0", "with an algorithm that cannot be read"),
    ],
)
def test_a_weak_unknown_or_malformed_algorithm(encoded, message):
    with pytest.raises(Unsupported) as raised:
        SignatureAlgorithm.from_der(encoded)
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize(
    "holder, expected",
    [
        (rsa_key(2048), ("RSA", "", "")),
        (rsa_key(2048, identifier(RSASSA_PSS)), ("RSASSA-PSS", "", "")),
        (ec_key(P256), ("EC", "SECP256R1", "SHA256")),
        (ec_key(P384), ("EC", "SECP384R1", "SHA384")),
        (ec_key(P521), ("EC", "SECP521R1", "SHA512")),
        (ec_key(SECP256K1), ("EC", "SECP256K1", "SHA256")),
        (ec_key(BRAINPOOL512), ("EC", "BrainpoolP512R1", "SHA512")),
        (other_key(ED25519), ("Ed25519", "", "")),
        (other_key(ED448), ("Ed448", "", "")),
    ],
)
def test_key_type(holder, expected):
    assert algorithms.key_type(holder) == expected
    if expected[1]:
        assert issubclass(getattr(ec, expected[1]), ec.EllipticCurve)


@pytest.mark.parametrize(
    "holder, message",
    [
        (other_key(X448), "of the type X448"),
        (other_key(DSA), "of the type DSA"),
        (other_key("1.2.3.4"), "of the type 1.2.3.4"),
        (ec_key("1.2.3.4"), "on the curve 1.2.3.4, which `cryptography` "),
        (other_key(EC, der.sequence(der.integer(1))), "of the type EC with explicit parameters"),
        (other_key(EC), "of the type EC with explicit parameters"),
        (other_key(EC, b"\6\0"), "of a type that cannot be read"),
        (SimpleNamespace(key_algorithm=b"\x30\0"), "of a type that cannot be read"),
        (SimpleNamespace(key_algorithm=b"\x30\2\6\0"), "of a type that cannot be read"),
    ],
)
def test_a_key_that_cannot_sign(holder, message):
    with pytest.raises(UnsupportedKey) as raised:
        algorithms.key_type(holder)
    assert str(raised.value).startswith(message)
    with pytest.raises(UnsupportedKey):
        algorithms.own_algorithm(holder)


@pytest.mark.parametrize(
    "holder, expected",
    [
        (rsa_key(2048), ("RSA", 2048)),
        (rsa_key(1023), ("RSA", 1023)),
        (rsa_key(2048, identifier(RSASSA_PSS)), ("RSA", 2048)),
        (ec_key(P256), ("EC", 256)),
        (ec_key(P256, form=b"\2"), ("EC", 256)),
        (ec_key(P256, form=b"\3"), ("EC", 256)),
        (ec_key("1.2.3.4", 14), ("EC", 112)),
        (other_key(DSA, der.sequence(der.integer(1 << 1023))), ("DSA", 1024)),
        (other_key(ED25519), ("", 0)),
        (other_key(X448), ("", 0)),
        (other_key("1.2.3.4"), ("", 0)),
    ],
)
def test_key_size(holder, expected):
    assert algorithms.key_size(holder) == expected


@pytest.mark.parametrize(
    "key_algorithm, public_key",
    [
        (b"\x30\2\6\0", b""),
        (identifier(RSA, NULL), b""),
        (identifier(RSA, NULL), der.sequence(der.integer(0), der.integer(3))),
        (identifier(RSA, NULL), der.sequence(der.integer(-5), der.integer(3))),
        (identifier(DSA), b""),
    ],
)
def test_the_size_of_a_damaged_key(key_algorithm, public_key):
    with pytest.raises(UnsupportedKey):
        algorithms.key_size(SimpleNamespace(key_algorithm=key_algorithm, public_key=public_key))


@pytest.mark.parametrize(
    "holder, expected",
    [
        (rsa_key(2048), identifier(RSA_SHA256, NULL)),
        (ec_key(P256), identifier(ECDSA_SHA256)),
        (ec_key(P384), identifier(ECDSA_SHA384)),
        (ec_key(SECP256K1), identifier(ECDSA_SHA256)),
        (other_key(ED25519), identifier(ED25519)),
        (other_key(ED448), identifier(ED448)),
        (rsa_key(2048, identifier(RSASSA_PSS)), pss("SHA256", "SHA256", 32)),
        (rsa_key(2048, identifier(RSASSA_PSS, NULL)), pss("SHA256", "SHA256", 32)),
        (rsa_key(2048, pss("SHA384", "SHA384", 48)), pss("SHA384", "SHA384", 48)),
        (rsa_key(2048, pss("SHA384", "SHA384", 100)), pss("SHA384", "SHA384", 100)),
        (rsa_key(1024, pss("SHA512", "SHA512", 62)), pss("SHA512", "SHA512", 62)),
    ],
)
def test_own_algorithm(holder, expected):
    assert algorithms.own_algorithm(holder).identifier == expected


@pytest.mark.parametrize(
    "holder, message",
    [
        (rsa_key(1024, pss("SHA512", "SHA512", 63)), "too short for the hash and salt"),
        (rsa_key(512, pss("SHA512", "SHA512", 0)), "too short for the hash and salt"),
        (rsa_key(2048, pss()), "one that may only sign with RSASSA-PSS and SHA-1, which is weak"),
        (rsa_key(2048, identifier(RSASSA_PSS, der.sequence(NULL))), "damaged"),
    ],
)
def test_a_restriction_that_cannot_be_met(holder, message):
    with pytest.raises(UnsupportedKey) as raised:
        algorithms.own_algorithm(holder)
    assert str(raised.value).startswith(message)


PSS_SHA256, PSS_SHA512 = pss("SHA256", "SHA256", 32), pss("SHA512", "SHA512", 64)
OWN = "own"


def key_on(curve: str) -> bytes:
    return identifier(EC, der.tlv(der.OBJECT_IDENTIFIER, der.oid(curve)))


@pytest.mark.parametrize(
    "holder, preferred, place",
    [
        (ec_key(P256), [], 0),
        (ec_key(P256), [(identifier(ECDSA_SHA256), b"")], 0),
        (ec_key(P256), [(identifier(ECDSA_SHA384), b""), (identifier(ECDSA_SHA256), b"")], 1),
        (ec_key(P256), [(identifier(ECDSA_SHA384), b"")], 1),
        (ec_key(P256), [(identifier(ECDSA_SHA256), key_on(P256))], 0),
        (ec_key(P256), [(identifier(ECDSA_SHA256), key_on(P384))], 1),
        (ec_key(P256), [(identifier(ECDSA_SHA256), identifier(EC))], 0),
        (ec_key(P256), [(identifier(ECDSA_SHA256), b"\x30\x80")], 0),
        (ec_key(P256), [(identifier(ECDSA_SHA256), identifier(ECDSA_SHA256, NULL))], 0),
        (ec_key(SECP256K1), [(identifier(ECDSA_SHA256), key_on(P256))], 1),
        (other_key(ED25519), [(identifier(ED448), b""), (identifier(ED25519), b"")], 1),
        (rsa_key(2048), [(identifier(ECDSA_SHA256), b""), (identifier(RSA_SHA512), b"")], 1),
        (rsa_key(2048), [(identifier(RSA_SHA512), identifier(RSA, NULL))], 0),
        (rsa_key(2048), [(identifier("1.2.3"), b""), (b"", b"")], 2),
    ],
)
def test_the_place_of_the_first_preference_that_a_key_can_follow(holder, preferred, place):
    own = algorithms.own_algorithm(holder)
    assert algorithms.preferred_algorithm(holder, own, preferred)[0] == place


@pytest.mark.parametrize(
    "holder, preferred, expected",
    [
        (rsa_key(2048), [], OWN),
        (rsa_key(2048), [identifier(RSA_SHA512, NULL)], identifier(RSA_SHA512, NULL)),
        (rsa_key(2048), [identifier(RSA_SHA512)], identifier(RSA_SHA512, NULL)),
        (rsa_key(2048), [identifier(ECDSA_SHA256), PSS_SHA512], PSS_SHA512),
        (rsa_key(2048), [pss("SHA256", "SHA256", 20)], PSS_SHA256),  # with the usual salt
        (rsa_key(2048), [pss("SHA256", "SHA512", 32)], OWN),
        (rsa_key(2048), [pss("SHA224", "SHA224", 28)], OWN),
        (rsa_key(2048), [b"", b"\x30\0", identifier("1.2.840.113549.1.1.5", NULL)], OWN),
        (rsa_key(1024), [PSS_SHA512], OWN),
        (rsa_key(1040), [PSS_SHA512], PSS_SHA512),
        (rsa_key(744), [identifier(RSA_SHA512, NULL)], OWN),
        (rsa_key(752), [identifier(RSA_SHA512, NULL)], identifier(RSA_SHA512, NULL)),
        (ec_key(P256), [identifier(ECDSA_SHA384), identifier(ECDSA_SHA256)], OWN),
        (rsa_key(2048, PSS_SHA256), [PSS_SHA512, identifier(RSA_SHA256, NULL)], OWN),
    ],
)
def test_preferred_algorithm(holder, preferred, expected):
    own = algorithms.own_algorithm(holder)
    chosen = algorithms.preferred_algorithm(holder, own, [(one, b"") for one in preferred])[1]
    if expected is OWN:
        assert chosen is own
    else:
        assert chosen.identifier == expected
        again = SignatureAlgorithm.from_der(expected)
        for field in SignatureAlgorithm.__slots__:
            assert getattr(chosen, field) == getattr(again, field)


@pytest.mark.parametrize(
    "holder, expected",
    [
        (rsa_key(2048), True),
        (ec_key(P256), True),
        (ec_key(P384), True),
        (ec_key(P521), True),
        (ec_key(SECP256K1), False),
        (rsa_key(2048, identifier(RSASSA_PSS)), False),
        (other_key(ED25519), False),
    ],
)
def test_is_known_to_firefox(holder, expected):
    assert algorithms.is_known_to_firefox(holder) is expected
