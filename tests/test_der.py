"""DER: what must be read, what must fail, and how it is written.  Bytes from X.690, or encoded by
hand."""

from __future__ import annotations

import pytest

from ocsp_cgi import der

MUST_FAIL = {
    "nothing": "",
    "a tag alone": "30",
    "a length alone is cut off": "3081",
    "contents cut off": "300200",
    "bytes behind it": "300000",
    "indefinite length": "30800000",
    "length of length 127": "30ff00",
    "five bytes of length": "30850000000100",
    "length 0 in the long form": "308100",
    "length 127 in the long form": "30817f" + "00" * 127,
    "length with a leading zero byte": "30820080" + "00" * 128,
    "tag number above 30": "3f1f00",
    "another tag": "3100",
}


@pytest.mark.parametrize(
    "encoded", [pytest.param(bytes.fromhex(text), id=name) for name, text in MUST_FAIL.items()]
)
def test_what_is_not_der_raises_der_error(encoded):
    with pytest.raises(der.DERError):
        der.read(encoded, der.SEQUENCE)


@pytest.mark.parametrize("length", [0, 1, 127, 128, 255, 256, 65535, 65536])
def test_length_round_trip(length):
    encoded = der.tlv(der.OCTET_STRING, bytes(length))
    element = der.read(encoded, der.OCTET_STRING)
    assert (element.contents, element.encoded) == (bytes(length), encoded)


@pytest.mark.parametrize(
    "length, header",
    [(0, "0400"), (127, "047f"), (128, "048180"), (255, "0481ff"), (256, "04820100")],
)
def test_lengths_are_minimal(length, header):
    assert der.tlv(der.OCTET_STRING, bytes(length)).startswith(bytes.fromhex(header))


def test_child_must_end_inside_its_parent():
    children = der.read(bytes.fromhex("3003040205"), der.SEQUENCE).elements()
    with pytest.raises(der.DERError, match="past its parent's end"):
        children.expect(der.OCTET_STRING)
    inner = (
        der.read(bytes.fromhex("30053002040204"), der.SEQUENCE)
        .elements()
        .expect(der.SEQUENCE)
        .elements()
    )
    with pytest.raises(der.DERError):  # the buffer goes on, the parent does not
        inner.expect(der.OCTET_STRING)


def test_fields_in_their_order():
    fields = der.read(bytes.fromhex("300a a003020100 0201ff 0500"), der.SEQUENCE).elements()
    assert fields.optional(der.context(1)) is None
    assert fields.optional(der.context(0)).only(der.INTEGER).integer() == 0
    assert fields.expect(der.INTEGER).integer() == -1
    with pytest.raises(der.DERError, match="more than was asked for"):
        fields.end()
    with pytest.raises(der.DERError, match="no element of tag 02"):
        fields.expect(der.INTEGER)
    fields.expect(der.NULL)
    fields.end()
    with pytest.raises(der.DERError):
        fields.expect(der.NULL)


@pytest.mark.parametrize(
    "contents, value",
    [
        ("00", 0),
        ("7f", 127),
        ("0080", 128),
        ("ff", -1),
        ("80", -128),
        ("ff7f", -129),
        ("00" + "ff" * 20, 2**160 - 1),
        ("be", -66),
    ],
)
def test_integer(contents, value):
    assert der.read(der.tlv(der.INTEGER, bytes.fromhex(contents)), der.INTEGER).integer() == value


@pytest.mark.parametrize("contents", ["", "0000", "007f", "ff80", "ffff"])
def test_integer_not_minimal(contents):
    with pytest.raises(der.DERError):
        der.read(der.tlv(der.INTEGER, bytes.fromhex(contents)), der.INTEGER).integer()


@pytest.mark.parametrize(
    "contents, value", [("00", False), ("ff", True), ("01", None), ("", None), ("ffff", None)]
)
def test_boolean(contents, value):
    element = der.read(der.tlv(der.BOOLEAN, bytes.fromhex(contents)), der.BOOLEAN)
    if value is None:
        with pytest.raises(der.DERError):
            element.boolean()
    else:
        assert element.boolean() is value


@pytest.mark.parametrize(
    "dotted, contents",
    [
        ("1.3.14.3.2.26", "2b0e03021a"),
        ("1.2.840.113549.1.1.11", "2a864886f70d01010b"),
        ("2.16.840.1.101.3.4.2.1", "608648016503040201"),
        ("2.999.3", "883703"),
        ("0.0", "00"),
        ("1.3.6.1.4.1.4294967296", "2b060104019080808000"),
    ],
)
def test_object_identifier(dotted, contents):
    assert der.oid(dotted).hex() == contents
    assert der.read(
        der.tlv(der.OBJECT_IDENTIFIER, der.oid(dotted)), der.OBJECT_IDENTIFIER
    ).object_identifier() == der.oid(dotted)


@pytest.mark.parametrize("contents", ["", "80", "8001", "2a80", "2a86", "2a8001", "2a" * 64])
def test_not_an_object_identifier(contents):
    with pytest.raises(der.DERError):
        der.read(
            der.tlv(der.OBJECT_IDENTIFIER, bytes.fromhex(contents)), der.OBJECT_IDENTIFIER
        ).object_identifier()


@pytest.mark.parametrize(
    "dotted", ["", "1", "3.1", "1.40", "1.x", "1..2", "-1.2", "1.2.-3", "holdInstructionNone"]
)
def test_not_dotted_numbers(dotted):
    with pytest.raises(ValueError):
        der.oid(dotted)


@pytest.mark.parametrize(
    "contents, value", [("00", b""), ("00a5", b"\xa5"), ("", None), ("01a4", None), ("08", None)]
)
def test_bit_string_of_whole_bytes(contents, value):
    element = der.read(der.tlv(der.BIT_STRING, bytes.fromhex(contents)), der.BIT_STRING)
    if value is None:
        with pytest.raises(der.DERError):
            element.bit_string()
    else:
        assert element.bit_string() == value


def test_deep_nesting_needs_no_stack():
    encoded = b""
    for _ in range(20000):
        encoded = der.sequence(encoded)[:65000]
    with pytest.raises(der.DERError):
        element = der.read(encoded, der.SEQUENCE)
        while True:
            element = element.elements().expect(der.SEQUENCE)
