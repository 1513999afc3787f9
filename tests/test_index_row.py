"""What a line of the index says: types, dates, reasons, and every spelling of a revocation."""

from __future__ import annotations

import pytest
from index_lines import NOT_REVOKING_LINES, REVOKED_ROW, REVOKING_LINES, ROW

from ocsp_cgi import index_row, ocsp_response, times


def read(content: bytes, serial: int = 10) -> tuple[list[index_row.Row], list[str]]:
    """What the lines of an index say of a serial number: Rows, and warnings."""
    rows: list[index_row.Row] = []
    warnings: list[str] = []
    for line in content.split(b"\n"):
        found, said = index_row.read(line, 0, {serial})
        rows += [row for number, row in found if number == serial]
        warnings += said
    return rows, warnings


def read_one(content: bytes, serial: int = 10) -> index_row.Row:
    (row,), _ = read(content, serial)
    return row


@pytest.mark.parametrize("spelling", [b"0A", b"0a", b"A", b"000A", b"00A", b" 0A", b"0A ", b" a "])
def test_section_2_serials_are_numbers(spelling):
    rows, warnings = read(ROW % b"0B" + REVOKED_ROW % spelling + ROW % b"AA")
    assert ([row.cert_status.name for row in rows], warnings) == (["revoked"], [])


@pytest.mark.parametrize("spelling", [b"1_0", b"0A0A", b"A0", b"", b"-0A", b"0G"])
def test_another_serial(spelling):
    assert read(ROW % spelling) == ([], [])


def test_section_2_zero_negative_and_long_serials():
    index = b"".join(REVOKED_ROW % serial for serial in (b"00", b"-0A", b"FF" * 20, b"FF" * 100))
    for number in (0, -10, 2**160 - 1, 2**800 - 1):
        assert read_one(index, number).is_revoked, number
    assert read(index, 10) == read(index, -(2**160) + 1) == ([], [])


@pytest.mark.parametrize("line", REVOKING_LINES.values(), ids=REVOKING_LINES.keys())
def test_every_line_that_says_r_revokes(line):
    rows, _ = read(line, 0xCAFE0A12)
    assert rows and all(row.is_revoked and row.type == b"R" for row in rows)


@pytest.mark.parametrize("line", NOT_REVOKING_LINES.values(), ids=NOT_REVOKING_LINES.keys())
def test_no_other_line_revokes(line):
    rows, _ = read(line, 0xCAFE0A12)
    assert not any(row.is_revoked for row in rows)


def test_a_revoked_line_that_is_not_a_row_keeps_its_time_and_reason():
    row = read_one(b"R 270220135115Z 261122135115Z,keyCompromise 0A unknown /CN=x\n")
    assert times.generalized_time(row.cert_status.revocation_time) == b"20261122135115Z"
    assert row.cert_status.revocation_reason == ocsp_response.KEY_COMPROMISE
    assert row.warning.startswith("not a row of six fields, but it says R: revoked")
    row = read_one(b"R\t0A\n")
    assert (row.cert_status.revocation_time, row.cert_status.revocation_reason) == (0, None)


HARMLESS = [
    b"",
    b" ",
    b'"empty"',
    b"empty",
    b"none",
    b"None",
    b"-",
    b"n/a",
    b"270220135115Z",
    b"20270220135115Z",
]
DOUBTFUL = [
    b"261122135115Z",
    b"261122135115Z,keyCompromise",
    b"20261122135115Z",
    b"2611221351Z",
    b"261122",
    b"5Z",
    b"Z",
    b"Z,superseded",
    b",superseded",
    b"superseded",
    b"seded",
    b"0",
    b"270220135115Z,superseded",
    b"270220135116Z",
    b"revoked",
    b"Nov 22 13:51:15 2026 GMT",
]


@pytest.mark.parametrize("row_type", [b"V", b"E"])
@pytest.mark.parametrize("field", HARMLESS)
def test_a_valid_row_with_a_harmless_third_field_is_good(row_type, field):
    row = read_one(row_type + b"\t270220135115Z\t" + field + b"\t0A\tunknown\t/CN=x\n")
    assert (row.cert_status.name, row.doubt, row.warning) == ("good", "", "")


@pytest.mark.parametrize("row_type", [b"V", b"E"])
@pytest.mark.parametrize("field", DOUBTFUL)
def test_a_valid_row_with_a_revocation_or_a_piece_of_one_is_doubtful(row_type, field):
    """A row that an interrupted copy has put together looks so."""
    row = read_one(row_type + b"\t270220135115Z\t" + field + b"\t0A\tunknown\t/CN=x\n")
    text = f"type {row_type.decode()}, and `{field.decode()}` in the field of the revocation date"
    assert row.doubt.startswith(text)


REVOCATIONS = {
    # field 3: revocationTime, reason, singleExtensions
    b"261122135115Z": (b"20261122135115Z", None, []),
    b"20261122135115Z": (b"20261122135115Z", None, []),
    b"491122135115Z": (b"20491122135115Z", None, []),
    b"501122135115Z": (b"19501122135115Z", None, []),
    b"2611221351Z": (b"20261122135100Z", None, []),
    b"261122135115+0100": (b"20261122125115Z", None, []),
    b"20600101000000Z,superseded": (b"20600101000000Z", 4, []),
    b"261122135115Z,unspecified": (b"20261122135115Z", None, []),
    b"261122135115Z,keyCompromise": (b"20261122135115Z", 1, []),
    b"261122135115Z,CACompromise": (b"20261122135115Z", 2, []),
    b"261122135115Z,affiliationChanged": (b"20261122135115Z", 3, []),
    b"261122135115Z,superseded": (b"20261122135115Z", 4, []),
    b"261122135115Z,cessationOfOperation": (b"20261122135115Z", 5, []),
    b"261122135115Z,certificateHold": (b"20261122135115Z", 6, []),
    b"261122135115Z,removeFromCRL": (b"20261122135115Z", None, []),
    b"261122135115Z,privilegeWithdrawn": (b"20261122135115Z", 9, []),
    b"261122135115Z,AACompromise": (b"20261122135115Z", 10, []),
    b"261122135115Z,KEYCOMPROMISE": (b"20261122135115Z", 1, []),
    b"261122135115Z, keyCompromise": (b"20261122135115Z", 1, []),
    b"261122135115Z,keyCompromise,extra": (b"20261122135115Z", 1, []),
    b"261122135115Z,1": (b"20261122135115Z", None, []),
    b"261122135115Z,holdInstruction,holdInstructionNone": (
        b"20261122135115Z",
        6,
        [("551d17", "06072a864 8ce380201")],
    ),
    b"261122135115Z,holdInstruction,holdInstructionCallIssuer": (
        b"20261122135115Z",
        6,
        [("551d17", "06072a8648ce380202")],
    ),
    b"261122135115Z,holdInstruction,holdInstructionReject": (
        b"20261122135115Z",
        6,
        [("551d17", "06072a8648ce380203")],
    ),
    b"261122135115Z,holdInstruction,1.2.3.4": (b"20261122135115Z", 6, [("551d17", "06032a0304")]),
    b"261122135115Z,holdInstruction,ourOwnName": (b"20261122135115Z", 6, []),
    b"261122135115Z,holdInstruction": (b"20261122135115Z", 6, []),
    b"261122135115Z,keyTime,20260101000000Z": (
        b"20261122135115Z",
        1,
        [("551d18", b"\x18\x0f20260101000000Z".hex())],
    ),
    b"261122135115Z,CAkeyTime,20260101000000Z": (
        b"20261122135115Z",
        2,
        [("551d18", b"\x18\x0f20260101000000Z".hex())],
    ),
    b"261122135115Z,keyTime,20260101000000.5Z": (
        b"20261122135115Z",
        1,
        [("551d18", b"\x18\x0f20260101000000Z".hex())],
    ),
    b"261122135115Z,keyTime,202601010000Z": (
        b"20261122135115Z",
        1,
        [("551d18", b"\x18\x0f20260101000000Z".hex())],
    ),
    b"261122135115Z,keyTime": (b"20261122135115Z", 1, []),
    b"261122135115Z,keyTime,never": (b"20261122135115Z", 1, []),
    b"": (b"19700101000000Z", None, []),
    b"garbage": (b"19700101000000Z", None, []),
    b"261322135115Z,keyCompromise": (b"19700101000000Z", None, []),
}


@pytest.mark.parametrize(
    "field, expected",
    REVOCATIONS.items(),
    ids=lambda value: value.decode() if isinstance(value, bytes) else "",
)
def test_section_3_revocation_field(field, expected):
    row = read_one(REVOKED_ROW.replace(b"261122135115Z,keyCompromise", field) % b"0A")
    revocation_time, reason, extensions = expected
    assert row.cert_status.name == "revoked"
    assert times.generalized_time(row.cert_status.revocation_time) == revocation_time
    assert row.cert_status.revocation_reason == reason
    found = row.single_extensions.values()
    assert [(one.extn_id.hex(), one.value.hex()) for one in found] == [
        (extn_id, value.replace(" ", "")) for extn_id, value in extensions
    ]


@pytest.mark.parametrize(
    "row_type, expected",
    [(b"V", "good"), (b"E", "good"), (b"R", "revoked"), (b"S", "revoked"), (b"X", "unknown")],
)
def test_section_3_types(row_type, expected):
    row = read_one(row_type + (ROW % b"0A")[1:])
    assert row.cert_status.name == expected
    if row_type == b"S":
        assert (row.cert_status.revocation_time, row.cert_status.revocation_reason) == (
            0,
            ocsp_response.CERTIFICATE_HOLD,
        )


@pytest.mark.parametrize(
    "line, expected",
    [
        (ROW % b"0A", True),
        (REVOKED_ROW % b"0A", True),
        (b"X" + (ROW % b"0A")[1:], True),
        (b"#" + ROW % b"0A", False),
        (b"XY" + (ROW % b"0A")[1:], False),
        (ROW % b"", False),
        (ROW % b"0x0A", False),
        (b"V\t270220135115Z\t\t0A\tunknown", False),
        (b"V 270220135115Z 0A unknown /CN=x", False),
        (b"", False),
    ],
)
def test_is_row(line, expected):
    assert index_row.is_row(line.rstrip(b"\n")) == expected
