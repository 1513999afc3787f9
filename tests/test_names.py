"""Names of CAs, compared and encoded."""

from __future__ import annotations

import itertools

import pytest

from ocsp_cgi import certificate, der

UTF8, NUMERIC, PRINTABLE, T61, IA5, VISIBLE, UNIVERSAL, BMP = (
    0x0C,
    0x12,
    0x13,
    0x14,
    0x16,
    0x1A,
    0x1C,
    0x1E,
)
CODECS = {T61: "latin-1", UNIVERSAL: "utf-32-be", BMP: "utf-16-be"}
ORGANIZATION, CN, COUNTRY, EMAIL, DC = (
    "2.5.4.10",
    "2.5.4.3",
    "2.5.4.6",
    "1.2.840.113549.1.9.1",
    "0.9.2342.19200300.100.1.25",
)


def attribute(kind: str, tag: int, value: str | bytes) -> bytes:
    contents = value if isinstance(value, bytes) else value.encode(CODECS.get(tag, "utf-8"))
    return der.sequence(der.tlv(der.OBJECT_IDENTIFIER, der.oid(kind)), der.tlv(tag, contents))


def name(*relatives: bytes | tuple[bytes, ...]) -> bytes:
    """The DER of a Name; a tuple is a RelativeDistinguishedName of several attributes."""
    sets = [one if isinstance(one, tuple) else (one,) for one in relatives]
    return der.sequence(*[der.tlv(0x31, *one) for one in sets])


def cn(tag: int, value: str | bytes) -> bytes:
    return name(attribute(CN, tag, value))


@pytest.mark.parametrize(
    "a, b",
    [
        (cn(PRINTABLE, "Root CA"), cn(UTF8, "Root CA")),
        (cn(PRINTABLE, "Root CA"), cn(BMP, "Root CA")),
        (cn(T61, "Zoë"), cn(UTF8, "Zoë")),
        (cn(UNIVERSAL, "Łódź"), cn(BMP, "Łódź")),
        (cn(NUMERIC, "17"), cn(VISIBLE, "17")),
        (name(attribute(DC, IA5, "Example")), name(attribute(DC, UTF8, "example"))),
        (
            name(attribute(EMAIL, IA5, "ca@example.com")),
            name(attribute(EMAIL, UTF8, "ca@example.com")),
        ),
        (cn(PRINTABLE, "Root CA"), cn(UTF8, "ROOT ca")),
        (cn(UTF8, "Straße"), cn(UTF8, "STRASSE")),
        (cn(UTF8, "Zoe\u0308"), cn(UTF8, "Zoë")),
        (cn(UTF8, "\uff32oot"), cn(UTF8, "Root")),
        (cn(UTF8, "  Root \t  CA "), cn(PRINTABLE, "Root CA")),
        (cn(UTF8, "Root\u00a0CA"), cn(PRINTABLE, "Root CA")),
        (cn(UTF8, "Root\u00adCA"), cn(PRINTABLE, "RootCA")),
        (
            name((attribute(ORGANIZATION, UTF8, "Example"), attribute(CN, PRINTABLE, "CA"))),
            name((attribute(CN, UTF8, "CA"), attribute(ORGANIZATION, UTF8, "Example"))),
        ),
        (cn(0x03, b"\0abc"), cn(0x03, b"\0abc")),
        (b"broken", b"broken"),
    ],
)
def test_equal_names(a, b):
    assert certificate.same_name(a, b) and certificate.same_name(b, a)


O_A, CN_B = attribute(ORGANIZATION, UTF8, "a"), attribute(CN, UTF8, "b")


@pytest.mark.parametrize(
    "a, b",
    [
        (cn(UTF8, "Root CA"), cn(UTF8, "Root CB")),
        (cn(UTF8, "Root CA"), cn(UTF8, "RootCA")),
        (cn(UTF8, "Root CA"), name(attribute(ORGANIZATION, UTF8, "Root CA"))),
        (
            cn(UTF8, "Root CA"),
            name(attribute(COUNTRY, PRINTABLE, "GB"), attribute(CN, UTF8, "Root CA")),
        ),
        (name(O_A, CN_B), name(CN_B, O_A)),
        (name(O_A, CN_B), name((O_A, CN_B))),
        (name(), cn(UTF8, "Root CA")),
        (cn(UTF8, b"\xff"), cn(T61, b"\xff")),
        (cn(0x03, b"\0abc"), cn(0x04, b"\0abc")),
        (cn(BMP, b"\0"), cn(UTF8, "")),
        (cn(PRINTABLE, "Root CA"), b""),
        (cn(PRINTABLE, "Root CA"), cn(UTF8, "Root CA") + b"\0"),
        (cn(PRINTABLE, "Root CA"), der.sequence(der.tlv(0x31, der.sequence()))),
    ],
)
def test_different_names(a, b):
    assert not certificate.same_name(a, b) and not certificate.same_name(b, a)


def test_encodings():
    four = {
        name(attribute(COUNTRY, c_tag, "GB"), attribute(CN, cn_tag, "Root CA"))
        for c_tag in (PRINTABLE, UTF8)
        for cn_tag in (PRINTABLE, UTF8)
    }
    for one in four:
        assert sorted(certificate.encodings(one)) == sorted(four)
    latin = {cn(tag, "Zoë") for tag in (UTF8, T61, BMP)}
    assert (
        latin
        == set(certificate.encodings(cn(UTF8, "Zoë")))
        == set(certificate.encodings(cn(BMP, "Zoë")))
    )
    both = name((attribute(ORGANIZATION, UTF8, "a"), attribute(CN, UTF8, "b")))
    for tag in (UTF8, PRINTABLE):  # a SET OF is sorted
        in_order = name((attribute(CN, tag, "b"), attribute(ORGANIZATION, tag, "a")))
        assert in_order in certificate.encodings(both)
    for unchanged in (
        cn(0x03, b"\0abc"),
        name(attribute(EMAIL, IA5, "ca@example.com")),
        b"broken",
        name(),
    ):
        assert certificate.encodings(unchanged) == [unchanged]
    for one in certificate.encodings(cn(UTF8, "a & b")):
        assert certificate.same_name(one, cn(UTF8, "a & b")) and der.read(one, der.SEQUENCE)


def test_encodings_with_different_types_in_one_name():
    kinds = (ORGANIZATION, CN, "2.5.4.11", "2.5.4.7")
    mixed = name(
        *[attribute(kind, tag, "a") for kind, tag in zip(kinds, (UTF8, PRINTABLE, BMP, UTF8))]
    )
    found = certificate.encodings(mixed)
    for tags in itertools.product((UTF8, PRINTABLE), repeat=4):
        assert name(*[attribute(kind, tag, "a") for kind, tag in zip(kinds, tags)]) in found
    assert len(found) == len(set(found)) == 17


def test_encodings_are_bounded():
    many = [
        attribute(kind, tag, "Zoë 1")
        for kind in (ORGANIZATION, CN, COUNTRY, DC)
        for tag in (UTF8, BMP)
    ]
    assert len(certificate.encodings(name(*many * 9))) <= 9
    ascii_name = name(*[attribute(ORGANIZATION, UTF8, "a")] * 7)
    assert len(certificate.encodings(ascii_name)) == 128


@pytest.mark.parametrize(
    "dotted",
    [
        "0.0",
        "0.39",
        "1.2.840.113549.1.1.11",
        "2.5.29.35",
        "2.39.1",
        "2.40",
        "2.999.3",
        "2.16.840.1.113730.1.13",
    ],
)
def test_an_object_identifier_with_dots(dotted):
    assert der.dotted(der.oid(dotted)) == dotted
