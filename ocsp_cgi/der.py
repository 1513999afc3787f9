"""DER, the distinguished encoding of ASN.1 (X.690): a strict reader and a writer of
tag-length-value.

Knows nothing of OCSP.  The reader never recurses and never copies: an Element is a pair of
positions in the buffer it was found in, and Elements walks over the children of one, each child
checked to lie inside its parent. The reader of a structure asks for its fields in their order, as
the ASN.1 names them:

    fields = read(buffer, SEQUENCE).elements()
    version = fields.optional(context(0))
    serial = fields.expect(INTEGER).integer()
    fields.end()

Whatever is not DER, or not what was asked for, raises DERError; nothing else is ever raised.
"""

from __future__ import annotations

import binascii

from . import limits

BOOLEAN = 0x01
INTEGER = 0x02
BIT_STRING = 0x03
OCTET_STRING = 0x04
NULL = 0x05
OBJECT_IDENTIFIER = 0x06
ENUMERATED = 0x0A
GENERALIZED_TIME = 0x18
SEQUENCE = 0x30

ENCODED_NULL = b"\x05\x00"


def context(number: int) -> int:
    """The tag of a constructed context-specific element: [number] EXPLICIT, or [number] IMPLICIT of
    a SEQUENCE."""
    return 0xA0 | number


class DERError(ValueError):
    """These bytes are not the DER that was asked for."""


class Element:
    """One tag-length-value in `buffer`: the tag's octet at `start`, the contents from `inside` to
    `end`."""

    __slots__ = ("buffer", "tag", "start", "inside", "end")

    def __init__(self, buffer: bytes, start: int, limit: int):
        if limit - start < 2:
            raise DERError(f"element cut off at byte {start}")
        self.buffer = buffer
        self.start = start
        self.tag = buffer[start]
        if self.tag & 0x1F == 0x1F:
            raise DERError(f"tag number above 30 at byte {start}")
        length = buffer[start + 1]
        self.inside = start + 2
        if length & 0x80:
            octets = length & 0x7F
            if not 1 <= octets <= 4 or limit - self.inside < octets:
                raise DERError(f"length indefinite, too long or cut off at byte {start + 1}")
            length = int.from_bytes(buffer[self.inside : self.inside + octets], "big")
            if length < 0x80 or length >> 8 * (octets - 1) == 0:
                raise DERError(f"length not minimal at byte {start + 1}")
            self.inside += octets
        self.end = self.inside + length
        if self.end > limit:
            raise DERError(f"element at byte {start} reaches past its parent's end")

    @property
    def encoded(self) -> bytes:
        """Tag, length and contents."""
        return self.buffer[self.start : self.end]

    @property
    def contents(self) -> bytes:
        return self.buffer[self.inside : self.end]

    def elements(self) -> Elements:
        """The children of this element."""
        return Elements(self.buffer, self.inside, self.end)

    def only(self, tag: int) -> Element:
        """The one child of this element: what stands inside an EXPLICIT tag."""
        children = self.elements()
        child = children.expect(tag)
        children.end()
        return child

    def boolean(self) -> bool:
        contents = self.contents
        if contents not in (b"\x00", b"\xff"):
            raise DERError(f"BOOLEAN neither 00 nor FF at byte {self.start}")
        return contents == b"\xff"

    def integer(self) -> int:
        """The value of an INTEGER or ENUMERATED, of any size and sign."""
        contents = self.contents
        if not contents:
            raise DERError(f"INTEGER without contents at byte {self.start}")
        if len(contents) > 1 and (contents[0], contents[1] >> 7) in ((0x00, 0), (0xFF, 1)):
            raise DERError(f"INTEGER not minimal at byte {self.start}")
        return int.from_bytes(contents, "big", signed=True)

    def object_identifier(self) -> bytes:
        """The contents of an OBJECT IDENTIFIER, to compare with oid("1.2.3")."""
        contents = self.contents
        if not contents or contents[-1] & 0x80 or len(contents) > limits.OID_BYTES:
            raise DERError(f"OBJECT IDENTIFIER cut off or too long at byte {self.start}")
        if contents[0] == 0x80 or any(
            a < 0x80 and b == 0x80 for a, b in zip(contents, contents[1:])
        ):
            raise DERError(f"OBJECT IDENTIFIER not minimal at byte {self.start}")
        return contents

    def bit_string(self) -> bytes:
        """The bytes of a BIT STRING whose length is a whole number of them."""
        contents = self.contents
        if not contents or contents[0] != 0:
            raise DERError(f"BIT STRING not of whole bytes at byte {self.start}")
        return contents[1:]


class Elements:
    """The elements between two positions of a buffer, read one after the other."""

    __slots__ = ("buffer", "position", "limit")

    def __init__(self, buffer: bytes, start: int, limit: int):
        self.buffer = buffer
        self.position = start
        self.limit = limit

    def __iter__(self) -> Elements:
        return self

    def __next__(self) -> Element:
        if self.position == self.limit:
            raise StopIteration
        element = Element(self.buffer, self.position, self.limit)
        self.position = element.end
        return element

    def expect(self, tag: int) -> Element:
        """The next element, which must have this tag."""
        element = self.optional(tag)
        if element is None:
            raise DERError(f"no element of tag {tag:02x} at byte {self.position}")
        return element

    def optional(self, tag: int) -> Element | None:
        """The next element if it has this tag."""
        if self.position < self.limit and self.buffer[self.position] == tag:
            return next(self)
        return None

    def all(self, tag: int) -> list[Element]:
        """All elements that are left, which must have this tag: a SEQUENCE OF."""
        elements = []
        while self.position < self.limit:
            elements.append(self.expect(tag))
        return elements

    def end(self) -> None:
        """Raise unless everything has been read."""
        if self.position != self.limit:
            raise DERError(f"more than was asked for at byte {self.position}")


def read(buffer: bytes, tag: int) -> Element:
    """The element that fills `buffer`, which must have this tag."""
    elements = Elements(buffer, 0, len(buffer))
    element = elements.expect(tag)
    elements.end()
    return element


def from_pem(text: bytes, *labels: bytes) -> tuple[bytes, bytes]:
    """The label and the bytes of the first PEM block (RFC 7468) with one of these labels; text
    around it does no harm."""
    begins = {text.find(b"-----BEGIN %s-----" % label): label for label in labels}
    begins.pop(-1, None)
    if not begins:
        raise DERError(f"no -----BEGIN {labels[0].decode()}----- block")
    label = begins[min(begins)]
    body, end, _ = text[min(begins) + len(b"-----BEGIN -----") + len(label) :].partition(
        b"-----END %s-----" % label
    )
    if not end:
        raise DERError(f"no -----END {label.decode()}----- behind its beginning")
    try:
        return label, binascii.a2b_base64(body)
    except binascii.Error as error:
        raise DERError(f"broken base64 in the {label.decode()} block: {error}") from None


def tlv(tag: int, *contents: bytes) -> bytes:
    """The encoding of an element with these contents, joined."""
    body = b"".join(contents)
    length = len(body)
    if length < 0x80:
        return bytes((tag, length)) + body
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + body


def sequence(*elements: bytes) -> bytes:
    return tlv(SEQUENCE, *elements)


def integer(value: int) -> bytes:
    """The encoding of an INTEGER of any size and sign."""
    bits = (value if value >= 0 else ~value).bit_length()
    return tlv(INTEGER, value.to_bytes(bits // 8 + 1, "big", signed=True))


def oid(dotted: str) -> bytes:
    """The contents of an OBJECT IDENTIFIER.  ValueError if `dotted` is not numbers with dots
    between them."""
    first, second, *rest = (int(number) for number in dotted.split("."))
    if (
        first not in (0, 1, 2)
        or second < 0
        or (first < 2 and second > 39)
        or any(number < 0 for number in rest)
    ):
        raise ValueError(f"no object identifier: {dotted}")
    contents = bytearray()
    for number in (40 * first + second, *rest):
        groups = [number & 0x7F]
        while number := number >> 7:
            groups.append(0x80 | number & 0x7F)
        contents += bytes(reversed(groups))
    return bytes(contents)


def dotted(contents: bytes) -> str:
    """The contents of an OBJECT IDENTIFIER as numbers with dots between them."""
    numbers, number = [], 0
    for byte in contents:
        number = number << 7 | byte & 0x7F
        if not byte & 0x80:
            numbers.append(number)
            number = 0
    first = min(numbers[0] // 40, 2)
    return ".".join(map(str, (first, numbers[0] - 40 * first, *numbers[1:])))
