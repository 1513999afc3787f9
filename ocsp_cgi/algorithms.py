"""Which algorithm a signature was made with, and which one a key signs with: AlgorithmIdentifiers,
key types and curves.

What most CAs use is listed here; the rest is in unusual_algorithms.py, which is loaded only when it
is needed, since each module costs every new response.  Nothing here loads `cryptography`, except
to ask it about a curve that is not listed.
"""

from __future__ import annotations

from . import certificate, der

TYPE_CHECKING = False
if TYPE_CHECKING:
    # The AlgorithmIdentifier of a signature, and that of the key for it, b"" if any will do
    Preference = tuple[bytes, bytes]

# The usual AlgorithmIdentifiers in DER, which need not be read.
_SIGNATURES = {  # RFC 4055 section 5, RFC 5758 section 3.2, RFC 8410 section 3
    bytes.fromhex("300d06092a864886f70d01010b0500"): ("RSA", "SHA256"),
    bytes.fromhex("300d06092a864886f70d01010c0500"): ("RSA", "SHA384"),
    bytes.fromhex("300d06092a864886f70d01010d0500"): ("RSA", "SHA512"),
    bytes.fromhex("300a06082a8648ce3d040302"): ("EC", "SHA256"),
    bytes.fromhex("300a06082a8648ce3d040303"): ("EC", "SHA384"),
    bytes.fromhex("300a06082a8648ce3d040304"): ("EC", "SHA512"),
    bytes.fromhex("300506032b6570"): ("Ed25519", None),
    bytes.fromhex("300506032b6571"): ("Ed448", None),
}
_KEYS = {  # RFC 3279 section 2.3.1, RFC 5480 section 2.1.1, RFC 8410 section 3
    bytes.fromhex("300d06092a864886f70d0101010500"): ("RSA", "", ""),
    bytes.fromhex("301306072a8648ce3d020106082a8648ce3d030107"): ("EC", "SECP256R1", "SHA256"),
    bytes.fromhex("301006072a8648ce3d020106052b81040022"): ("EC", "SECP384R1", "SHA384"),
    bytes.fromhex("301006072a8648ce3d020106052b81040023"): ("EC", "SECP521R1", "SHA512"),
    bytes.fromhex("300506032b6570"): ("Ed25519", "", ""),
    bytes.fromhex("300506032b6571"): ("Ed448", "", ""),
}
KEY_TYPES = {
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
# The AlgorithmIdentifier a key signs with, by its type and its curve's hash.
_OWN_ALGORITHMS = {
    ("RSA", ""): bytes.fromhex("300d06092a864886f70d01010b0500"),
    ("EC", "SHA256"): bytes.fromhex("300a06082a8648ce3d040302"),
    ("EC", "SHA384"): bytes.fromhex("300a06082a8648ce3d040303"),
    ("EC", "SHA512"): bytes.fromhex("300a06082a8648ce3d040304"),
    ("Ed25519", ""): bytes.fromhex("300506032b6570"),
    ("Ed448", ""): bytes.fromhex("300506032b6571"),
}


class Unsupported(Exception):
    """A signature that cannot be verified here; the text says why, as in "it is signed ...": "with
    SHA-1, which is weak"."""


class UnsupportedKey(Unsupported):
    """A key that cannot be used here; the text says why, as in "its key is ...": "on the curve
    1.3.132.0.6, which ..."."""


class SignatureAlgorithm:
    """How a signature is made.

    `key_type` is RSA, RSASSA-PSS, EC, Ed25519, Ed448 or another; `hash_name` is the hash as
    `cryptography` names it, or None; `identifier` is the DER of the AlgorithmIdentifier.
    RSASSA-PSS also has the hash of its MGF1, and the length of its salt in bytes.
    """

    __slots__ = ("hash_name", "identifier", "key_type", "mgf1_hash_name", "salt_length")

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

    def is_like(self, other: SignatureAlgorithm) -> bool:
        """Whether both are the same, but for the length of a salt."""
        return (self.key_type, self.hash_name, self.mgf1_hash_name) == (
            other.key_type,
            other.hash_name,
            other.mgf1_hash_name,
        )

    @classmethod
    def from_der(cls, identifier: bytes) -> SignatureAlgorithm:
        """Read an AlgorithmIdentifier.  Unsupported if the algorithm is weak or unknown.

        Parameters matter only to RSASSA-PSS.
        """
        usual = _SIGNATURES.get(identifier)
        if usual is not None:
            return cls(*usual, identifier)
        from . import unusual_algorithms

        try:
            return cls(*unusual_algorithms.read(identifier))
        except ValueError as error:
            raise Unsupported(str(error)) from None


def key_type(holder: certificate.Certificate) -> tuple[str, str, str]:
    """The type of a certificate's key; if it is EC, also the curve and the hash that goes with it.

    UnsupportedKey if the key cannot sign responses.
    """
    try:
        return read_key_type(holder.key_algorithm)
    except der.DERError as error:
        raise UnsupportedKey(f"of a type that cannot be read ({error})") from None


def read_key_type(algorithm: bytes) -> tuple[str, str, str]:
    """As `key_type`, from the DER of the AlgorithmIdentifier of a key.  Also DERError."""
    usual = _KEYS.get(algorithm)
    if usual is not None:
        return usual
    fields = der.read(algorithm, der.SEQUENCE).elements()
    identifier = fields.expect(der.OBJECT_IDENTIFIER)
    kind = KEY_TYPES.get(identifier.contents)
    if kind is None:
        raise UnsupportedKey(f"of the type {key_type_name(identifier.object_identifier())}")
    curve, hash_name = read_curve(fields) if kind == "EC" else ("", "")
    return kind, curve, hash_name


def read_curve(fields: der.Elements) -> tuple[str, str]:
    """The curve that ECParameters (RFC 5480 section 2.1.1) name, and the hash that goes with it.

    UnsupportedKey if it cannot be used, DERError if it cannot be read.
    """
    name = fields.optional(der.OBJECT_IDENTIFIER)
    if name is None:
        raise UnsupportedKey(
            "of the type EC with explicit parameters of its curve, which clients refuse"
        )
    usual = _CURVES.get(name.contents)
    if usual is not None:
        return usual
    from . import unusual_algorithms

    oid = name.object_identifier()
    try:
        return unusual_algorithms.curve(oid)
    except ValueError as error:
        raise UnsupportedKey(str(error)) from None


def key_type_name(identifier: bytes) -> str:
    """The name of a key type, by the contents of its OBJECT IDENTIFIER, for messages."""
    from . import unusual_algorithms

    return unusual_algorithms.KEY_TYPE_NAMES.get(identifier) or der.dotted(identifier)


def key_size(holder: certificate.Certificate) -> tuple[str, int]:
    """RSA, EC or DSA, and the length of a certificate's key in bits; ("", 0) for other types,
    whose length is not limited.  UnsupportedKey if the key cannot be read.

    The length of an EC key is that of its coordinates in whole bytes, for which the curve need not
    be known.
    """
    try:
        kind = key_kind(holder)
        if kind == "EC":
            point = holder.public_key
            is_uncompressed = point[:1] not in (b"\x02", b"\x03")
            return "EC", max(0, len(point) - 1) * 8 // (2 if is_uncompressed else 1)
        if kind in ("RSA", "RSASSA-PSS"):
            numbers = der.read(holder.public_key, der.SEQUENCE).elements()
            modulus = numbers.expect(der.INTEGER).integer()
            if modulus <= 0:
                raise UnsupportedKey("an RSA key whose modulus is not a positive number")
            return "RSA", modulus.bit_length()
        if kind == "DSA":
            fields = der.read(holder.key_algorithm, der.SEQUENCE).elements()
            fields.expect(der.OBJECT_IDENTIFIER)
            prime = fields.expect(der.SEQUENCE).elements().expect(der.INTEGER).integer()
            return "DSA", max(prime, 0).bit_length()
    except der.DERError as error:
        raise UnsupportedKey(f"damaged ({error})") from None
    return "", 0


def key_kind(holder: certificate.Certificate) -> str:
    """The type of a certificate's key, whether or not it can sign.  DERError if it cannot be
    read."""
    usual = _KEYS.get(holder.key_algorithm)
    if usual is not None:
        return usual[0]
    identifier = (
        der.read(holder.key_algorithm, der.SEQUENCE).elements().expect(der.OBJECT_IDENTIFIER)
    )
    kind = KEY_TYPES.get(identifier.contents)
    return kind or key_type_name(identifier.object_identifier())


def is_known_to_firefox(holder: certificate.Certificate) -> bool:
    """Whether Firefox can verify what a certificate's key signs: RSA, P-256, P-384 and P-521.

    With its default settings it treats a response it cannot verify as none at all, and loads the
    revoked site.
    """
    kind, curve, _ = key_type(holder)
    return kind == "RSA" or any(curve == name for name, _ in _CURVES.values())


def own_algorithm(holder: certificate.Certificate) -> SignatureAlgorithm:
    """The algorithm that a certificate's key signs with by default.  UnsupportedKey if it has
    none."""
    kind, _, hash_name = key_type(holder)
    if kind != "RSASSA-PSS":
        return SignatureAlgorithm.from_der(_OWN_ALGORITHMS[kind, hash_name])
    from . import unusual_algorithms

    bits = key_size(holder)[1]
    try:
        return SignatureAlgorithm(*unusual_algorithms.restricted_pss(holder.key_algorithm, bits))
    except ValueError as error:
        raise UnsupportedKey(str(error)) from None


def preferred_algorithm(
    holder: certificate.Certificate, own: SignatureAlgorithm, preferred: list[Preference]
) -> tuple[int, SignatureAlgorithm]:
    """The first of a client's preferences (RFC 6960 section 4.4.7) that a certificate's key can
    sign with, after its place among them; their number and `own`, the key's own algorithm, if it
    can sign with none."""
    for place, (identifier, key_algorithm) in enumerate(preferred):
        try:
            wanted = SignatureAlgorithm.from_der(identifier)
        except Unsupported:
            continue
        if own.key_type != "RSA":  # has no choice
            if wanted.is_like(own) and _is_on_curve(holder, key_algorithm):
                return place, own
            continue
        from . import unusual_algorithms

        parts = unusual_algorithms.for_rsa_key(
            wanted.key_type, wanted.hash_name, wanted.mgf1_hash_name, key_size(holder)[1]
        )
        if parts is not None:
            return place, SignatureAlgorithm(*parts)
    return len(preferred), own


def _is_on_curve(holder: certificate.Certificate, key_algorithm: bytes) -> bool:
    """Whether an EC key is on the curve that a client prefers; true if the client names none."""
    if key_algorithm in (b"", holder.key_algorithm):
        return True
    try:
        wanted, own = (
            [field.encoded for field in der.read(one, der.SEQUENCE).elements()]
            for one in (key_algorithm, holder.key_algorithm)
        )
    except der.DERError:
        return True
    return wanted[:1] != own[:1] or len(wanted) < 2
