"""X.509 certificates (RFC 5280 section 4.1), as far as a responder needs to read those of its CA
and signer; and their Names, compared and encoded.

They are read with our own DER reader because the hashes in a CertID are over the certificate's own
bytes, and because `cryptography.x509` costs 40 ms of imports per response.
"""

from __future__ import annotations

import itertools

from . import der, limits, times
from .answer import reading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

OCSP_SIGNING = bytes.fromhex("2b06010505070309")  # 1.3.6.1.5.5.7.3.9
OCSP_NOCHECK = bytes.fromhex("2b0601050507300105")  # 1.3.6.1.5.5.7.48.1.5
SUBJECT_KEY_IDENTIFIER = bytes.fromhex("551d0e")  # 2.5.29.14
KEY_USAGE = bytes.fromhex("551d0f")  # 2.5.29.15
BASIC_CONSTRAINTS = bytes.fromhex("551d13")  # 2.5.29.19
CRL_DISTRIBUTION_POINTS = bytes.fromhex("551d1f")  # 2.5.29.31
AUTHORITY_KEY_IDENTIFIER = bytes.fromhex("551d23")  # 2.5.29.35
EXTENDED_KEY_USAGE = bytes.fromhex("551d25")  # 2.5.29.37
AUTHORITY_INFO_ACCESS = bytes.fromhex("2b06010505070101")  # 1.3.6.1.5.5.7.1.1
# The extensions that every client accepts as critical (RFC 5280 section 4.2; OpenSSL's
# X509_supported_extension has a few more).
_CRITICAL_FOR_ALL = frozenset(
    (
        KEY_USAGE,
        bytes.fromhex("551d11"),  # 2.5.29.17, subjectAltName
        BASIC_CONSTRAINTS,
        bytes.fromhex("551d1e"),  # 2.5.29.30, nameConstraints
        CRL_DISTRIBUTION_POINTS,
        bytes.fromhex("551d20"),  # 2.5.29.32, certificatePolicies
        bytes.fromhex("551d21"),  # 2.5.29.33, policyMappings
        bytes.fromhex("551d24"),  # 2.5.29.36, policyConstraints
        EXTENDED_KEY_USAGE,
        bytes.fromhex("551d36"),  # 2.5.29.54, inhibitAnyPolicy
    )
)

_SET = 0x31
_UTF8_STRING = 0x0C
_PRINTABLE_STRING = 0x13
_T61_STRING = 0x14
_BMP_STRING = 0x1E
# String types in names.  A T61String is read as Latin-1, which is what software writes into it.
_ENCODINGS = {
    _UTF8_STRING: "utf-8",
    0x12: "ascii",  # NumericString
    _PRINTABLE_STRING: "ascii",
    _T61_STRING: "latin-1",
    0x16: "ascii",  # IA5String
    0x1A: "ascii",  # VisibleString
    0x1C: "utf-32-be",  # UniversalString
    _BMP_STRING: "utf-16-be",
}
_DIRECTORY_STRINGS = (_UTF8_STRING, _PRINTABLE_STRING, _T61_STRING, 0x1C, _BMP_STRING)
_PRINTABLE = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 '()+,-./:=?"
)
# The rules by which OpenSSL's `string_mask` (utf8only, nombstr, default, pkix) and most other
# software choose a string's type.
_TYPES_BY_PREFERENCE = (
    (_UTF8_STRING,),
    (_PRINTABLE_STRING, _UTF8_STRING),
    (_PRINTABLE_STRING, _T61_STRING, _BMP_STRING),
    (_PRINTABLE_STRING, _BMP_STRING),
)
_MOST_ENCODINGS = 128
# Attributes that are PrintableString by definition (X.520).
_ALWAYS_PRINTABLE = (
    bytes.fromhex("550405"),  # 2.5.4.5, serialNumber
    bytes.fromhex("550406"),  # 2.5.4.6, countryName
    bytes.fromhex("55042e"),  # 2.5.4.46, dnQualifier
)

# RFC 7468 section 5.1; the last is openssl's, and has trust settings after the certificate.
PEM_LABELS = (b"CERTIFICATE", b"X509 CERTIFICATE", b"TRUSTED CERTIFICATE")
_BEGIN = b"-----BEGIN "


class CertificateError(ValueError):
    """These bytes, or this file, have no readable certificate."""


class Certificate:
    """One certificate.

    `issuer` and `subject` are the DER of the Names; `public_key` is the contents of the BIT STRING
    without its first byte, `key_algorithm` the DER of the key's AlgorithmIdentifier; times are
    seconds since 1970.  `extensions` has the extensions' values by the contents of their OBJECT
    IDENTIFIERs, `critical` the identifiers of the critical ones.
    """

    __slots__ = (
        "der",
        "tbs",
        "serial_number",
        "issuer",
        "subject",
        "not_before",
        "not_after",
        "key_algorithm",
        "public_key",
        "signature_algorithm",
        "signature",
        "extensions",
        "critical",
    )

    extensions: dict[bytes, bytes]
    critical: list[bytes]

    def __init__(self, encoded: bytes):
        """Read the DER of a Certificate.  CertificateError if it is not one."""
        try:
            self._read(encoded)
        except ValueError as error:
            raise CertificateError(f"not an X.509 certificate: {error}") from None

    def _read(self, encoded: bytes) -> None:
        self.der = encoded
        fields = der.read(encoded, der.SEQUENCE).elements()
        tbs = fields.expect(der.SEQUENCE)
        self.tbs = tbs.encoded
        self.signature_algorithm = fields.expect(der.SEQUENCE).encoded
        self.signature = fields.expect(der.BIT_STRING).bit_string()
        fields.end()

        fields = tbs.elements()
        fields.optional(der.context(0))  # version
        self.serial_number = fields.expect(der.INTEGER).integer()
        fields.expect(der.SEQUENCE)  # signature
        self.issuer = fields.expect(der.SEQUENCE).encoded
        validity = fields.expect(der.SEQUENCE).elements()
        self.not_before, self.not_after = (times.parse_time(time.contents) for time in validity)
        self.subject = fields.expect(der.SEQUENCE).encoded
        key_info = fields.expect(der.SEQUENCE).elements()
        self.key_algorithm = key_info.expect(der.SEQUENCE).encoded
        self.public_key = key_info.expect(der.BIT_STRING).bit_string()
        key_info.end()
        self.extensions = {}
        self.critical = []
        for field in fields:
            if field.tag == der.context(3):
                for extension in field.only(der.SEQUENCE).elements().all(der.SEQUENCE):
                    parts = extension.elements()
                    extension_id = parts.expect(der.OBJECT_IDENTIFIER).object_identifier()
                    critical = parts.optional(der.BOOLEAN)
                    if critical is not None and critical.contents != b"\x00":
                        self.critical.append(extension_id)
                    self.extensions[extension_id] = parts.expect(der.OCTET_STRING).contents

    @property
    def extended_key_usages(self) -> list[bytes]:
        """The contents of the extension's OBJECT IDENTIFIERs; empty if it is absent."""
        return self._children(EXTENDED_KEY_USAGE)

    @property
    def is_ca(self) -> bool:
        """Whether basicConstraints say so (RFC 5280 section 4.2.1.9)."""
        return b"\xff" in self._children(BASIC_CONSTRAINTS)[:1]

    @property
    def warned_from(self) -> int:
        """The time from which to warn of its end: 30 days before, or a third of its life if that is
        less."""
        third = (self.not_after - self.not_before) // 3
        return self.not_after - min(limits.EXPIRY_WARNING_DAYS * 86400, third)

    @property
    def may_sign_data(self) -> bool:
        """Whether its keyUsage, if it has one, includes digitalSignature (RFC 5280 section
        4.2.1.3)."""
        value = self.extensions.get(KEY_USAGE)
        return value is None or (len(value) > 3 and value[3] & 0x80 != 0)

    @property
    def unusual_critical_extensions(self) -> list[bytes]:
        """The critical extensions that a client may not know, and so refuse the certificate."""
        return [extension for extension in self.critical if extension not in _CRITICAL_FOR_ALL]

    def is_same_holder(self, other: Certificate) -> bool:
        """Whether both certificates have the same name and the same key."""
        return self.public_key == other.public_key and same_name(self.subject, other.subject)

    def may_be_issued_by(self, issuer: Certificate) -> bool | None:
        """Whether its authorityKeyIdentifier fits this issuer (RFC 5280 section 4.2.1.1).

        None if it has none that can be read.  Only what both certificates state is compared, as in
        OpenSSL's X509_check_akid.
        """
        try:
            value = self.extensions[AUTHORITY_KEY_IDENTIFIER]
            fields = list(der.read(value, der.SEQUENCE).elements())
            key_id = issuer.extensions.get(SUBJECT_KEY_IDENTIFIER)
            key_id = None if key_id is None else der.read(key_id, der.OCTET_STRING).contents
            for field in fields:
                if field.tag == 0x80 and key_id not in (None, field.contents):
                    return False
                if field.tag == der.context(1) and not _has_directory_name(field, issuer.issuer):
                    return False
                if field.tag == 0x82 and field.integer() != issuer.serial_number:
                    return False
        except (KeyError, der.DERError):
            return None
        return True

    def _children(self, extension_id: bytes) -> list[bytes]:
        """The contents of the elements of an extension that is a SEQUENCE; empty if it is absent or
        malformed."""
        try:
            return [
                child.contents
                for child in der.read(
                    self.extensions.get(extension_id, b""), der.SEQUENCE
                ).elements()
            ]
        except der.DERError:
            return []


def load(path: str) -> Certificate:
    """The first certificate of a file, PEM (with or without text around it) or DER.

    OSError if the file cannot be read, CertificateError if it has no certificate.
    """
    return load_all(path)[0]


def load_all(path: str) -> list[Certificate]:
    """The certificates of a file, PEM (with or without text around them) or DER, each once.

    Unreadable ones are skipped if there is a readable one.  OSError if the file cannot be read,
    CertificateError if it has no certificate.
    """
    reading(path)
    with open(path, "rb") as file:
        return load_all_from(file.read(), path)


def load_all_from(content: bytes, path: str) -> list[Certificate]:
    """As `load_all`, of what has been read from this file."""
    found: dict[bytes, Certificate] = {}
    unreadable: CertificateError | None = None
    for block in blocks(content):
        try:
            encoded = block_der(block)
            if encoded not in found:
                found[encoded] = Certificate(encoded)
        except ValueError as error:  # DERError or CertificateError
            if unreadable is None or isinstance(error, CertificateError):
                unreadable = CertificateError(str(error))
    if not found:
        from . import file_kinds

        hint = file_kinds.certificate_hint(path, content)
        raise CertificateError(hint or str(unreadable))
    return list(found.values())


def blocks(content: bytes) -> list[bytes]:
    """Each PEM block of some content, whatever its label, up to the beginning of the next; or all
    of the content if it may be DER.

    Text may begin with the digit 0, which is also the first byte of DER.
    """
    if _BEGIN not in content or _is_der(content):
        return [content]
    return [_BEGIN + block for block in content.split(_BEGIN)[1:]]


def block_der(block: bytes) -> bytes:
    """The DER of the certificate in one of `blocks`.  DERError if it has none."""
    if _is_der(block):
        encoded, rest = _first(block)
        if rest.strip():
            raise der.DERError(
                f"trailing data after the certificate in DER, at byte {len(encoded)}"
            )
        return encoded
    label, encoded = der.from_pem(block, *PEM_LABELS)
    return _first(encoded)[0] if label == b"TRUSTED CERTIFICATE" else encoded


def _is_der(content: bytes) -> bool:
    """Whether it begins as a SEQUENCE of 128 bytes or more, as every certificate does."""
    return content[:2] in (b"\x30\x81", b"\x30\x82", b"\x30\x83")


def _first(encoded: bytes) -> tuple[bytes, bytes]:
    """The first element of some DER, and the rest."""
    element = der.Elements(encoded, 0, len(encoded)).expect(der.SEQUENCE)
    return element.encoded, encoded[element.end :]


def index_serial(number: int) -> str:
    """Write a serial number as the index of `openssl ca` has it: two digits for each octet."""
    digits = f"{abs(number):X}"
    return ("-" if number < 0 else "") + "0" * (len(digits) % 2) + digits


def newest(certificates: list[Certificate], now: int) -> Certificate:
    """The newest of those that are valid at this time, or of all if none is."""
    valid = [one for one in certificates if one.not_before <= now < one.not_after]
    return max(valid or certificates, key=lambda one: (one.not_before, one.not_after))


def same_name(a: bytes, b: bytes) -> bool:
    """Whether two Names in DER are equal (RFC 5280 section 7.1).

    String types, case and the amount of white space make no difference.  A value that is not a
    string of a known type is compared byte for byte.
    """
    if a == b:
        return True
    try:
        return _comparable(a) == _comparable(b)
    except der.DERError:
        return False


def encodings(name: bytes) -> list[bytes]:
    """The DER of a Name as it is, and as CAs may have written it with other string types.

    All combinations of types; if there are too many, only those in which one rule chose all types.
    """
    try:
        relatives = _attributes(name)
    except der.DERError:
        return [name]
    choices = [_as_other_types(*attribute) for relative in relatives for attribute in relative]
    chosen = set(zip(*choices))
    different = [list(dict.fromkeys(choice)) for choice in choices]
    combinations = 1
    for choice in different:
        combinations *= len(choice)
    if combinations <= _MOST_ENCODINGS:
        chosen.update(itertools.product(*different))
    return list({name: None, **{_name(relatives, iter(one)): None for one in chosen}})


def _attributes(name: bytes) -> list[list[tuple[bytes, der.Element]]]:
    """The (type, value) pairs of each RelativeDistinguishedName of a Name (RFC 5280 4.1.2.4)."""
    names = []
    for relative in der.read(name, der.SEQUENCE).elements().all(_SET):
        pairs = []
        for attribute in relative.elements().all(der.SEQUENCE):
            fields = attribute.elements()
            kind = fields.expect(der.OBJECT_IDENTIFIER).contents
            value = next(fields, None)
            if value is None:
                raise der.DERError("an attribute without a value")
            fields.end()
            pairs.append((kind, value))
        names.append(pairs)
    return names


def _text(value: der.Element) -> str | None:
    """The string in an attribute's value, None if it is not one of a known type."""
    try:
        return value.contents.decode(_ENCODINGS[value.tag])
    except (KeyError, UnicodeDecodeError):
        return None


def _comparable(name: bytes) -> list[list[tuple[bytes, bool, bytes]]]:
    """A Name in a form that is equal for equal names."""
    compared = []
    for relative in _attributes(name):
        pairs = []
        for kind, value in relative:
            text = _text(value)
            pairs.append(
                (kind, text is None, value.encoded if text is None else _folded(text).encode())
            )
        compared.append(sorted(pairs))
    return compared


def _folded(text: str) -> str:
    """A string prepared for comparison (RFC 4518): case folded, insignificant space removed."""
    if not text.isascii():
        import unicodedata

        text = unicodedata.normalize("NFKC", text.replace("\xad", "").casefold())
    return " ".join(text.casefold().split())


def _as_other_types(kind: bytes, value: der.Element) -> list[bytes]:
    """The DER of an attribute with the string type that each of the rules chooses.

    Only a DirectoryString is changed.
    """
    text = _text(value)
    encoded = []
    for types in _TYPES_BY_PREFERENCE:
        for only_printable in (kind in _ALWAYS_PRINTABLE, False):
            changed = value.encoded
            if text is not None and value.tag in _DIRECTORY_STRINGS:
                for tag in (_PRINTABLE_STRING,) if only_printable else types:
                    if tag != _PRINTABLE_STRING or _PRINTABLE.issuperset(text.encode()):
                        try:
                            changed = der.tlv(tag, text.encode(_ENCODINGS[tag]))
                            break
                        except UnicodeEncodeError:
                            pass
            encoded.append(der.sequence(der.tlv(der.OBJECT_IDENTIFIER, kind), changed))
    return encoded


def _name(relatives: list[list[tuple[bytes, der.Element]]], attributes: Iterator[bytes]) -> bytes:
    """The DER of a Name with the structure of `relatives`, from the DER of its attributes."""
    sets = [sorted(next(attributes) for _ in relative) for relative in relatives]
    return der.sequence(*[der.tlv(_SET, *one) for one in sets])


def _has_directory_name(names: der.Element, name: bytes) -> bool:
    """Whether GeneralNames include this Name as a directoryName, or have no directoryName."""
    directory_names = [one for one in names.elements() if one.tag == der.context(4)]
    return not directory_names or any(
        same_name(one.only(der.SEQUENCE).encoded, name) for one in directory_names
    )
