"""The database: files as `openssl ca` writes them, files as people and crashes leave them, and
files being written."""

from __future__ import annotations

import os
import random
import re
import threading
import time
import tracemalloc
import types

import pytest
from clients import settle

from ocsp_cgi import index_file, index_search, ocsp_response, times

ROW = b"V\t270220135115Z\t\t%s\tunknown\t/C=GB/O=Example/CN=www\n"
REVOKED_ROW = (
    b"R\t270220135115Z\t261122135115Z,keyCompromise\t%s\tunknown\t/C=GB/O=Example/CN=www\n"
)


def write(path, content: bytes) -> None:
    path.write_bytes(content)
    settle(path)


@pytest.fixture
def find(tmp_path):
    """find(content, serial) writes an index and looks the serial number up.  Returns its Row or
    None, and the warnings."""

    def find(content: bytes, serial: int, name: str = "index"):
        write(tmp_path / name, content)
        found = index_search.find(str(tmp_path), {serial})
        return found.rows.get(serial), found.warnings

    return find


def status(row) -> str:
    return row.cert_status.name if row else "unknown"


@pytest.mark.parametrize("spelling", [b"0A", b"0a", b"A", b"000A", b"00A", b" 0A", b"0A ", b" a "])
def test_section_2_serials_are_numbers(find, spelling):
    row, warnings = find(ROW % b"0B" + REVOKED_ROW % spelling + ROW % b"AA", 10)
    assert (status(row), warnings) == ("revoked", [])


@pytest.mark.parametrize("spelling", [b"1_0", b"0A0A", b"A0", b"", b"-0A", b"0G"])
def test_what_is_not_that_number(find, spelling):
    assert find(ROW % b"0B" + ROW % spelling, 10) == (None, [])


def test_section_2_zero_negative_and_long_serials(find):
    index = b"".join(REVOKED_ROW % serial for serial in (b"00", b"-0A", b"FF" * 20, b"FF" * 100))
    for number in (0, -10, 2**160 - 1, 2**800 - 1):
        assert status(find(index, number)[0]) == "revoked", number
    assert find(index, 10)[0] is None
    assert find(index, -(2**160) + 1)[0] is None


def test_a_serial_elsewhere_in_the_file_is_not_a_row(find):
    """Inside another serial, a date, a file name, a subject; at the end of one of these."""
    index = (
        b"V\t270220135115Z\t\tCAFE0A01\tCAFE01\t/CN=CAFE01 CAFE01\n"
        b"V\t27022013CAFE01\t\t01CAFE01\tunknown\t/CN=x CAFE01 \n"
        b"V\t270220135115Z\tCAFE01\tCAFE0100\tunknown\t/CN=x\n"
    )
    assert find(index, 0xCAFE01) == (None, [])


ODD_FILES = {
    "empty": (b"", "unknown", 0),
    "nothing but comments": (b"# the index of our CA\n\n  \n", "unknown", 0),
    "nothing but comments, with a byte order mark": (b"\xef\xbb\xbf# of our CA\n", "unknown", 0),
    "blank lines": (b"\n\n" + REVOKED_ROW % b"0A" + b"\n \n\t\n", "revoked", 0),
    "comment": (b"# " + ROW % b"0A" + REVOKED_ROW % b"0A", "revoked", 0),
    "revoked in a comment": (b"#" + REVOKED_ROW % b"0A" + ROW % b"0B", "unknown", 0),
    "comment behind a space": (b" #" + ROW % b"0A" + ROW % b"0B", "unknown", 1),
    "CRLF": ((ROW % b"0B" + REVOKED_ROW % b"0A").replace(b"\n", b"\r\n"), "revoked", 0),
    "no newline at its end": ((ROW % b"0B" + REVOKED_ROW % b"0A").rstrip(b"\n"), "revoked", 0),
    "five fields": (ROW % b"0B" + b"V\t270220135115Z\t\t0A\tunknown\n", "unknown", 1),
    "seven fields": (REVOKED_ROW.replace(b"CN=www", b"CN=w\tw") % b"0A", "revoked", 0),
    "byte order mark": (b"\xef\xbb\xbf" + REVOKED_ROW % b"0A", "revoked", 0),
    "leading blanks": (b" \t " + REVOKED_ROW % b"0A", "revoked", 0),
    "NUL bytes": (
        b"\x00\x00\n" + REVOKED_ROW.replace(b"www", b"w\x00w") % b"0A" + b"\x00\n",
        "revoked",
        0,
    ),
    "Latin-1": (REVOKED_ROW.replace(b"www", b"M\xfcller") % b"0A", "revoked", 0),
    "empty subject": (b"R\t270220135115Z\t261122135115Z\t0A\tunknown\t\n", "revoked", 0),
    "a long line": (
        ROW.replace(b"www", b"x" * 5000) % b"0B" + REVOKED_ROW.replace(b"www", b"x" * 5000) % b"0A",
        "revoked",
        0,
    ),
    "a line of 3 MB before it": (b"x" * 3_000_000 + b"\n" + REVOKED_ROW % b"0A", "revoked", 0),
    "duplicate, revoked first": (REVOKED_ROW % b"0A" + ROW % b"0A", "revoked", 1),
    "duplicate, revoked last": (ROW % b"0A" + REVOKED_ROW % b"000a", "revoked", 1),
    "duplicate subject": (ROW % b"0B" + REVOKED_ROW % b"0A", "revoked", 0),
    "lower-case type": (b"r" + (REVOKED_ROW % b"0A")[1:], "revoked", 0),
    "word as its type": (b"Revoked" + (REVOKED_ROW % b"0A")[1:], "revoked", 0),
    "conflict marks of git": (
        b"<<<<<<< HEAD\n" + REVOKED_ROW % b"0A" + b"=======\n" + ROW % b"0A" + b">>>>>>> x\n",
        "revoked",
        1,
    ),
}


@pytest.mark.parametrize("content, expected, warnings", ODD_FILES.values(), ids=ODD_FILES.keys())
def test_section_2_odd_files(find, content, expected, warnings):
    row, said = find(content, 10)
    assert (status(row), len(said)) == (expected, warnings)


REVOKING_LINES = {
    "leading zeros": REVOKED_ROW % b"0000CAFE0A12",
    "0x": REVOKED_ROW % b"0xCAFE0A12",
    "0X and small letters": REVOKED_ROW % b"0Xcafe0a12",
    "mixed letters": REVOKED_ROW % b"CafE0a12",
    "colons": REVOKED_ROW % b"CA:FE:0A:12",
    "colons and zeros": REVOKED_ROW % b"00:ca:fe:0a:12",
    "quotes": REVOKED_ROW % b'"CAFE0A12"',
    "type in small letters": b"r" + (REVOKED_ROW % b"CAFE0A12")[1:],
    "type in quotes": b'"R"' + (REVOKED_ROW % b"CAFE0A12")[1:],
    "five fields, no subject": b"R\t270220135115Z\t261122135115Z\tCAFE0A12\tunknown\n",
    "five fields, no expiry": b"R\t261122135115Z\tCAFE0A12\tunknown\t/CN=x\n",
    "four fields": b"R\t270220135115Z\t261122135115Z\tCAFE0A12\n",
    "two fields": b"R\tCAFE0A12\n",
    "seven fields, one before the serial": (
        b"R\t270220135115Z\t\t261122135115Z\tCAFE0A12\tunknown\t/CN=x\n"
    ),
    "blanks instead of TABs": (
        b"R       270220135115Z   261122135115Z,keyCompromise     CAFE0A12        unknown /CN=x\n"
    ),
    "one blank instead of TABs": b"R 270220135115Z 261122135115Z CAFE0A12 unknown /CN=x\n",
    "blanks of a web page": (
        b"R\xc2\xa0270220135115Z\xc2\xa0261122135115Z\xc2\xa0CAFE0A12\xc2\xa0x\n"
    ),
    "CSV": b"R,270220135115Z,261122135115Z,CAFE0A12,unknown,/CN=x\n",
    "CSV in quotes": b'"R";"270220135115Z";"261122135115Z";"CAFE0A12";"unknown";"/CN=x"\n',
    "joined by a TAB": (ROW % b"0B").rstrip() + b"\t" + REVOKED_ROW % b"CAFE0A12",
    "joined by a TAB to a revoked row": (
        (REVOKED_ROW % b"0B").rstrip() + b"\t" + REVOKED_ROW % b"CAFE0A12"
    ),
    "joined by a TAB, and five fields": (
        (ROW % b"0B").rstrip() + b"\tr\t270220135115Z\t261122135115Z\tCAFE0A12\tunknown\n"
    ),
    "joined by nothing": (ROW % b"0B").rstrip() + REVOKED_ROW % b"CAFE0A12",
    "colons, and no zeros": REVOKED_ROW % b"ca:fe:a:12",
    "colons, and one behind": REVOKED_ROW % b"CA:FE:0A:12:",
    "many zeros": REVOKED_ROW % (b"0" * 60 + b"CAFE0A12"),
    "an empty field for the serial": b"R\t270220135115Z\tCAFE0A12\t\tunknown\t/CN=x\n",
    "zeros in front": bytes(5000) + REVOKED_ROW % b"CAFE0A12",
    "marked as a change": b"+" + REVOKED_ROW % b"CAFE0A12",
    "marked as a change, and blanks": b"+R 270220135115Z 261122135115Z CAFE0A12 unknown /CN=x\n",
    "joined to a row that is cut off in its expiry": b"V\t2702" + REVOKED_ROW % b"CAFE0A12",
    "joined to a row that is cut off in its serial": (
        b"V\t270220135115Z\t\t0B" + REVOKED_ROW % b"CAFE0A12"
    ),
    "joined to a row that is cut off behind its type": b"V" + REVOKED_ROW % b"CAFE0A12",
    "as many newlines as rows": (
        b"R 270220135115Z 261122135115Z CAFE0A12 unknown /CN=x\n"
        + (ROW % b"0B").rstrip()
        + ROW % b"0D"
    ),
    "joined to a row that is cut off": b"V\t270220135115Z\t\t0B\tunk\t" + REVOKED_ROW % b"CAFE0A12",
}


@pytest.mark.parametrize("surroundings", ["few rows", "split into lines", "split into rows"])
@pytest.mark.parametrize("line", REVOKING_LINES.values(), ids=REVOKING_LINES.keys())
def test_every_line_that_says_r_revokes(tmp_path, line, surroundings, monkeypatch):
    """Before and behind a row that says V, with one CertID and with many, in a block and in
    several."""
    others = set() if surroundings == "few rows" else set(range(100, 150))
    if surroundings == "split into rows":
        monkeypatch.setattr(index_search, "_BLOCK_BYTES", 400)
    valid = b"".join(ROW % serial for serial in (b"0C", b"CAFE0A12", b"CAFE0A1200", b"FFCAFE0A12"))
    for content in (valid + line + valid, ROW % b"0D" + line):
        write(tmp_path / "index", content)
        found = index_search.find(str(tmp_path), {0xCAFE0A12} | others)
        assert {number: status(row) for number, row in found.rows.items()} == {
            0xCAFE0A12: "revoked"
        }
    assert [row.type for row in found.rows.values()] == [b"R"]


NOT_REVOKING_LINES = {
    "R in a subject": ROW.replace(b"www", b"x R 270220135115Z 261122135115Z CAFE0A12 u") % b"0B",
    "R at the end of a subject": ROW.replace(b"www", b"CAFE0A12 R") % b"0B",
    "a subject that is R": b"V\t270220135115Z\t\tCAFE0A12\tunknown\tR\n",
    "digits in the subject of a revoked row": REVOKED_ROW.replace(b"www", b"CAFE0A12") % b"0B",
    "digits as a word of the subject": REVOKED_ROW.replace(b"www", b"a CAFE0A12 b") % b"0B",
    "digits in the subject of a line that is not a row": (
        b"R\t270220135115Z\t261122135115Z\tBB\t/CN=a CAFE0A12 b\n"
    ),
    "digits in the subject of a line that is not a row, as of `openssl x509 -subject`": (
        b"R\t270220135115Z\t261122135115Z\tBB\tC = GB, CN = a CAFE0A12 b\n"
    ),
    "digits in a subject of fields without a name": (
        b"R\t270220135115Z\t261122135115Z\tBB\tCN=a CAFE0A12 b\n"
    ),
    "digits in a subject behind blanks": (
        b"R 270220135115Z 261122135115Z BB unknown CN=a CAFE0A12\n"
    ),
    "a sentence": b"Requests about CAFE0A12 are answered\n",
    "another serial that ends so": REVOKED_ROW % b"01CAFE0A12",
    "another serial that begins so": REVOKED_ROW % b"CAFE0A1200",
    "its negative": REVOKED_ROW % b"-CAFE0A12",
    "colons in other places": REVOKED_ROW % b"CAF:E0A12",
    "colons between digits of several kinds": REVOKED_ROW % b"CA:FE:A:12:00",
    "a comment behind a byte order mark": b"\xef\xbb\xbf#" + REVOKED_ROW % b"CAFE0A12",
    "a valid row that is not one": b"V\t270220135115Z\t\tCAFE0A12\tunknown\n",
}


@pytest.mark.parametrize("line", NOT_REVOKING_LINES.values(), ids=NOT_REVOKING_LINES.keys())
def test_no_other_line_revokes(tmp_path, line):
    write(tmp_path / "index", ROW % b"0C" + line + ROW % b"CAFE0A12")
    for others in (set(), set(range(100, 150))):
        found = index_search.find(str(tmp_path), {0xCAFE0A12} | others)
        assert {number: status(row) for number, row in found.rows.items()} == {0xCAFE0A12: "good"}


def test_a_revoked_line_that_is_not_a_row_keeps_its_time_and_reason(find):
    line = b"R 270220135115Z 261122135115Z,keyCompromise 0A unknown /CN=x\n"
    row, warnings = find(ROW % b"0B" + line, 10)
    assert times.generalized_time(row.cert_status.revocation_time) == b"20261122135115Z"
    assert row.cert_status.revocation_reason == ocsp_response.KEY_COMPROMISE
    assert len(warnings) == 1 and "line 2: not a row of six fields, but it says R" in warnings[0]
    row, _ = find(ROW % b"0B" + b"R\t0A\n", 10)
    assert (row.cert_status.revocation_time, row.cert_status.revocation_reason) == (0, None)


@pytest.mark.slow
def test_every_way_to_search_finds_the_same(tmp_path, monkeypatch):
    """Lines of every shape, searched for few serial numbers, for many, and line by line."""
    draw = random.Random(7)
    pieces = (
        b"V",
        b"R",
        b"r",
        b"E",
        b"X",
        b"#",
        b"\t",
        b"\t",
        b"\t",
        b"\t",
        b" ",
        b"  ",
        b",",
        b'"',
        b":",
        b"270220135115Z",
        b"261122135115Z",
        b"0A",
        b"a",
        b"0x0a",
        b"00:0A",
        b"ABCDEF01",
        b"abCDef01",
        b"AB:CD:EF:01",
        b"0xabcdef01",
        b"000ABCDEF01",
        b"-0A",
        b"unknown",
        b"/CN=x",
        b"/CN=0A ABCDEF01",
        b"\r",
        b"\n",
        b"\xef\xbb\xbf",
        b"\0",
        b"0" * 70,
    )
    rows = [ROW % b"0A", REVOKED_ROW % b"0A", ROW % b"ABCDEF01", REVOKED_ROW % b"abcdef01", b"\n"]
    monkeypatch.setattr(index_search, "_BLOCK_BYTES", 200)
    found_something = 0
    for _ in range(3000):
        lines = [
            (
                draw.choice(rows)
                if draw.random() < 0.5
                else b"".join(draw.choice(pieces) for _ in range(draw.randrange(14))) + b"\n"
            )
            for _ in range(draw.randrange(1, 6))
        ]
        content = ROW % b"0B" + b"".join(lines) + ROW % b"0C"
        write(tmp_path / "index", content)
        expected = index_search.Found()
        offset = 0
        for line in content.split(b"\n"):
            expected.consider(line, offset, {10, 0xABCDEF01})
            offset += len(line) + 1
        for others in (set(), set(range(1000, 1020))):
            try:
                found = index_search.find(str(tmp_path), {10, 0xABCDEF01} | others)
            except index_file.DatabaseUnavailable:
                assert any(row.doubt for row in expected.rows.values())
                continue
            assert {n: (r.type, r.line) for n, r in found.rows.items()} == {
                n: (r.type, r.line) for n, r in expected.rows.items()
            }, content
            found_something += len(found.rows)
    assert found_something > 3000


@pytest.mark.parametrize(
    "content, warning",
    [
        (
            ROW % b"0B" + b"V\t270220135115Z\t\t0A\tunknown\n",
            "line 2: contains A, but not as the serial number of a row",
        ),
        (ROW % b"0x0A" + ROW % b"0B", "line 1: contains A, but not as the serial number of a row"),
        (
            ROW % b"0B" + (ROW % b"0C").rstrip() + b"\t" + ROW % b"0A",
            "line 2: contains A, but not as the serial number of a row",
        ),
        (
            ROW % b"0B" + b"V 270220135115Z 0A unknown /CN=x\n",
            "line 2: contains A, but not as the serial",
        ),
        (
            ROW % b"0B" + b"no serial is like 0A\n",
            "line 2: contains A, but not as the serial number",
        ),
        (
            ROW % b"0B" + ROW % b"0A" + REVOKED_ROW % b"0a",
            "line 3: several rows for one serial, of which a revoked one is used; another is in",
        ),
        (
            ROW % b"0B" * 5000
            + REVOKED_ROW.replace(b"261122135115Z,keyCompromise", b"yesterday") % b"0A",
            (
                "line 5001: revocation date `yesterday` cannot be read: revoked at 1970-01-01,"
                " without a reason"
            ),
        ),
        (
            REVOKED_ROW.replace(b"keyC", b"c") % b"0A",
            (
                "line 1: revocation reason `compromise` is not one that `openssl ca` writes:"
                " revoked without"
            ),
        ),
        (b"+" + REVOKED_ROW % b"0A", "line 1: type `+R` is not one of V, R, E, S: revoked"),
        (b"X" + (REVOKED_ROW % b"0A")[1:], "line 1: type `X` is not one of V, R, E, S: unknown"),
        (
            REVOKED_ROW.replace(b"keyCompromise", b"keyTime,never") % b"0A",
            "line 1: `never` after `keytime` cannot be read: answered without it",
        ),
    ],
)
def test_section_2_warnings_name_the_line(find, tmp_path, content, warning):
    (said,) = find(content, 10)[1]
    assert said.startswith(f"{tmp_path}/index {warning}")


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
def test_a_valid_row_with_a_harmless_third_field_is_good(find, row_type, field):
    line = row_type + b"\t270220135115Z\t" + field + b"\t0A\tunknown\t/CN=x\n"
    row, warnings = find(line, 10)
    assert (status(row), warnings) == ("good", [])


@pytest.mark.parametrize("row_type", [b"V", b"E"])
@pytest.mark.parametrize("field", DOUBTFUL)
def test_a_valid_row_with_a_revocation_or_a_piece_of_one_is_not_trusted(
    find, tmp_path, row_type, field
):
    """A row that an interrupted copy has put together looks so; nothing else in the file suffers."""
    line = row_type + b"\t270220135115Z\t" + field + b"\t0A\tunknown\t/CN=x\n"
    text = f"index line 2: type {row_type.decode()}, and `{field.decode()}` in the field of the"
    with pytest.raises(index_file.DatabaseUnavailable, match=re.escape(text)):
        find(ROW % b"0B" + line, 10)
    assert status(find(ROW % b"0B" + line, 11)[0]) == "good"
    assert status(find(line + REVOKED_ROW % b"0A", 10)[0]) == "revoked"


NOT_AN_INDEX = {
    "HTML": b"<!DOCTYPE html>\n<html><body>404 Not Found: 0A</body></html>\n",
    "CSV": b"status,expiry,revoked,serial,file,subject\nV,280101000000Z,,0A,unknown,/CN=x\n",
    "CRL": b"-----BEGIN X509 CRL-----\nMIIB\n-----END X509 CRL-----\n",
    "DER": bytes(range(256)) * 3,
    "blanks instead of TABs": b"V  280101000000Z    0A  unknown /CN=x\n" * 3,
    "UTF-16": (ROW % b"0A").decode().encode("utf-16"),
    "a table of another program": b"name\tcolour\tsize\tprice\tfile\tremark\n" * 3,
    "one word": b"x",
    "NUL bytes": bytes(5000),
}


@pytest.mark.parametrize("content", NOT_AN_INDEX.values(), ids=NOT_AN_INDEX.keys())
def test_section_0_a_file_that_is_not_an_index_says_nothing(find, content):
    with pytest.raises(index_file.DatabaseUnavailable, match="has no row in it|breaks off"):
        find(content, 10)
    assert status(find(content + b"\nR 270220135115Z 261122135115Z 0A x\n", 10)[0]) == "revoked"


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
def test_section_3_revocation_field(find, field, expected):
    row, _ = find(REVOKED_ROW.replace(b"261122135115Z,keyCompromise", field) % b"0A", 10)
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
def test_section_3_types(find, row_type, expected):
    row, _ = find(row_type + (ROW % b"0A")[1:] + ROW % b"0B", 10)
    assert row.cert_status.name == expected
    if row_type == b"S":
        assert (row.cert_status.revocation_time, row.cert_status.revocation_reason) == (
            0,
            ocsp_response.CERTIFICATE_HOLD,
        )


def test_rows_at_every_place_between_blocks(find, monkeypatch):
    """A serial may lie across the end of a block, its line across several."""
    index = ROW % b"0B" + REVOKED_ROW % b"CAFE0A" + ROW % b"0C"
    for size in range(1, len(index) + 2):
        monkeypatch.setattr(index_search, "_BLOCK_BYTES", size)
        row, warnings = find(index, 0xCAFE0A)
        assert (status(row), warnings) == ("revoked", []), size


def test_memory_does_not_grow_with_the_index(tmp_path):
    """Nor does the time to find out that a serial is nowhere, beyond that of reading."""
    rows = b"".join(
        ROW % b"%040X" % (number * 0x9E3779B97F4A7C15F39CC0605CEDC8341082276B)
        for number in range(1000, 101_000)
    )
    peaks = {}
    for length in (len(rows) // 20, len(rows)):
        write(tmp_path / "index", rows[:length].rpartition(b"\n")[0])
        tracemalloc.start()
        assert index_search.find(str(tmp_path), {0xCAFE << 140}).rows == {}
        peaks[length] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peaks[len(rows)] < 1.1 * peaks[len(rows) // 20] < 2 * 1024 * 1024


def test_several_serials_in_one_reading(tmp_path):
    index = b"".join(
        (REVOKED_ROW if number % 3 else ROW) % b"%04X" % number for number in range(5000)
    )
    write(tmp_path / "index", index)
    wanted = {0, 1, 2, 3, 2500, 4999, 5000}
    found = index_search.find(str(tmp_path), wanted)
    assert {number: status(row) for number, row in found.rows.items()} == {
        0: "good",
        1: "revoked",
        2: "revoked",
        3: "good",
        2500: "revoked",
        4999: "revoked",
    }


def test_many_serials_in_one_reading(tmp_path):
    """So many that every line is taken apart."""
    write(
        tmp_path / "index",
        (
            b"".join(
                (REVOKED_ROW if number % 3 else ROW) % b"%04x" % number for number in range(1000)
            )
        ).rstrip(b"\n"),
    )
    found = index_search.find(str(tmp_path), set(range(950, 1050)))
    assert {number: status(row) for number, row in found.rows.items()} == {
        number: "revoked" if number % 3 else "good" for number in range(950, 1000)
    }


def test_warnings_have_an_end(find):
    row, warnings = find(ROW % b"0A" * 3 + REVOKED_ROW % b"0A" * 1000, 10)
    assert status(row) == "revoked" and len(warnings) == 10


def test_a_tear_does_not_matter_for_what_is_only_looked_for_also(tmp_path):
    write(tmp_path / "index", REVOKED_ROW % b"0A" + b"V\t2702")
    assert status(index_search.find(str(tmp_path), {10}, {11}).rows[10]) == "revoked"
    with pytest.raises(index_file.DatabaseUnavailable):
        index_search.find(str(tmp_path), {10, 11})


def test_index_txt(find):
    assert status(find(REVOKED_ROW % b"0A", 10, "index.txt")[0]) == "revoked"


def test_section_2_index_old_is_never_read(find, tmp_path, monkeypatch):
    monkeypatch.setattr(index_search.limits, "DATABASE_RETRY_SECONDS", 0.02)
    (tmp_path / "index.old").write_bytes(ROW % b"0A")
    with pytest.raises(index_file.DatabaseUnavailable, match="index: No such file or directory"):
        index_search.find(str(tmp_path), {10})


@pytest.mark.parametrize("left_over", ["index.txt", "index.txt.old"])
def test_two_databases_in_one_directory_are_refused(find, tmp_path, left_over):
    """Either could be the stale one, also in the moment between openssl's two renames."""
    (tmp_path / left_over).write_bytes(ROW % b"0A")
    with pytest.raises(
        index_file.DatabaseUnavailable,
        match="both index and index.txt, or their .old: remove the pair",
    ):
        find(REVOKED_ROW % b"0A", 10)


def test_section_2_a_missing_index_is_waited_for(tmp_path):
    def rename():
        time.sleep(0.05)
        os.rename(tmp_path / "index.new", tmp_path / "index")

    (tmp_path / "index.new").write_bytes(REVOKED_ROW % b"0A")
    (tmp_path / "index.old").write_bytes(ROW % b"0A")
    thread = threading.Thread(target=rename)
    thread.start()
    found = index_search.find(str(tmp_path), {10})
    thread.join()
    assert status(found.rows[10]) == "revoked"


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda path: None, "db: No such file or directory."),
        (lambda path: path.mkdir(), "db/index: No such file or directory."),
        (lambda path: (path / "index").mkdir(parents=True), "db/index: Is a directory."),
        (lambda path: path.symlink_to(path), "db: Too many levels of symbolic links."),
    ],
    ids=["missing", "index missing", "index a directory", "loop"],
)
def test_errors_name_the_file_and_the_fix(tmp_path, monkeypatch, make, message):
    monkeypatch.setattr(index_search.limits, "DATABASE_RETRY_SECONDS", 0.02)
    make(tmp_path / "db")
    with pytest.raises(index_file.DatabaseUnavailable) as error:
        index_search.find(str(tmp_path / "db"), {10})
    fix = " `db` names the index, or the directory that holds `index`"
    assert str(error.value) == f"{tmp_path}/{message}{fix}"


def test_db_may_name_the_index(tmp_path):
    """Of any name; also between the two renames of `openssl ca`, and with a heartbeat beside it."""
    path = tmp_path / "root-ca.db"
    write(tmp_path / "new", REVOKED_ROW % b"0A")
    threading.Timer(0.05, os.rename, (tmp_path / "new", path)).start()
    assert status(index_search.find(str(path), {10}).rows[10]) == "revoked"
    with pytest.raises(index_file.DatabaseUnavailable, match="root-ca.db.heartbeat: No such file"):
        index_file.check_heartbeat(str(path), 60, int(time.time()))
    (tmp_path / "root-ca.db.heartbeat").touch()
    index_file.check_heartbeat(str(path), 60, int(time.time()))


def test_a_copy_cut_off_anywhere(find):
    """In a file that is torn only revocations are trusted, and no digit of a serial is made up."""
    index = ROW % b"0B" + REVOKED_ROW % b"0C" + REVOKED_ROW % b"CAFE0A"
    first = len(ROW % b"0B" + REVOKED_ROW % b"0C")
    for length in range(first, len(index)):
        cut = index[:length]
        assert status(find(cut, 12)[0]) == "revoked"
        for beginning in (0xC, 0xCA, 0xCAF, 0xCAFE, 0xCAFE0) if length > first else ():
            if beginning != 0xC and cut[first:].count(b"\t") < 5:
                with pytest.raises(
                    index_file.DatabaseUnavailable, match="breaks off in the middle"
                ):
                    find(cut, beginning)
        if length == first:
            assert find(cut, 0xCAFE0A) == (None, [])  # nothing shows that there was more
        elif cut[first:].count(b"\t") < 4:
            for serial in (11, 0xCAFE0A):
                with pytest.raises(
                    index_file.DatabaseUnavailable, match="breaks off in the middle"
                ):
                    find(cut, serial)
        else:
            assert status(find(cut, 0xCAFE0A)[0]) == "revoked"


def test_a_file_that_shrinks_while_it_is_read_is_torn(find, tmp_path, monkeypatch):
    monkeypatch.setattr(index_search, "_BLOCK_BYTES", 100)
    index = ROW % b"0B" * 50 + REVOKED_ROW % b"0A"
    read_lines = index_search._whole_lines

    def shrinking(file):
        for part in read_lines(file):
            yield part
            os.truncate(tmp_path / "index", len(ROW % b"0B") * 10)

    monkeypatch.setattr(index_search, "_whole_lines", shrinking)
    monkeypatch.setattr(index_search.limits, "DATABASE_WAIT_SECONDS", 0)
    with pytest.raises(
        index_file.DatabaseUnavailable, match="index was written to while it was read"
    ):
        find(index, 10)


def test_in_a_file_written_in_place_a_moment_ago_only_revocations_are_trusted(
    tmp_path, monkeypatch
):
    """Its copy may have stopped for a moment, at the end of a line or in the middle of one."""
    (tmp_path / "index").write_bytes(REVOKED_ROW % b"0A" + ROW % b"0B")
    monkeypatch.setattr(index_search.limits, "DATABASE_WAIT_SECONDS", 0)
    found = index_search.find(str(tmp_path), {10})
    assert (status(found.rows[10]), found.is_settled, found.fingerprint) == ("revoked", False, b"")
    for serial in (11, 12):
        with pytest.raises(
            index_file.DatabaseUnavailable, match="index was written to a moment ago. A copy"
        ):
            index_search.find(str(tmp_path), {serial})
    settle(tmp_path / "index")
    found = index_search.find(str(tmp_path), {11, 12})
    assert ({n: status(row) for n, row in found.rows.items()}, found.is_settled) == (
        {11: "good"},
        True,
    )


@pytest.mark.slow
def test_a_file_written_in_place_is_waited_for_until_it_has_settled(tmp_path):
    """And then read again: what it said at first was half of the truth."""
    path = tmp_path / "index"
    old = ROW % b"0A" * 2 + ROW % b"0B"
    path.write_bytes(old)

    def copy():
        with open(path, "r+b", buffering=0) as file:
            for byte in REVOKED_ROW % b"0A" + ROW % b"0B":
                file.write(bytes((byte,)))
                time.sleep(0.005)
            file.truncate()

    thread = threading.Thread(target=copy)
    thread.start()
    started = time.monotonic()
    found = index_search.find(str(tmp_path), {10, 11})
    waited = time.monotonic() - started
    thread.join()
    assert {n: status(row) for n, row in found.rows.items()} == {10: "revoked", 11: "good"}
    assert waited > index_search.limits.DATABASE_SETTLING_SECONDS


def test_a_copy_that_never_ends_is_not_waited_for_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(index_search.limits, "DATABASE_WAIT_SECONDS", 0.3)
    path = tmp_path / "index"
    path.write_bytes(ROW % b"0A")
    ended = threading.Event()

    def write_on():
        while not ended.wait(0.01):
            os.utime(path)

    thread = threading.Thread(target=write_on)
    thread.start()
    started = time.monotonic()
    try:
        with pytest.raises(index_file.DatabaseUnavailable, match="was written to"):
            index_search.find(str(tmp_path), {10})
    finally:
        ended.set()
        thread.join()
    assert time.monotonic() - started < 3


def test_a_torn_file_that_has_settled_is_refused_at_once(tmp_path):
    write(tmp_path / "index", ROW % b"0A" + b"V\t2702")
    started = time.monotonic()
    with pytest.raises(
        index_file.DatabaseUnavailable, match="breaks off in the middle of its last line"
    ):
        index_search.find(str(tmp_path), {10})
    assert time.monotonic() - started < index_search.limits.DATABASE_SETTLING_SECONDS


def _one_tick(directory, make) -> None:
    """make() until its writes and renames fall into one tick of the kernel's clock."""
    for _ in range(1000):
        make()
        stat = os.stat(directory / "index")
        if stat.st_mtime_ns == stat.st_ctime_ns:
            return
    pytest.fail("never in one tick")


def test_what_openssl_ca_renames_in_the_tick_in_which_it_was_written_is_whole(
    tmp_path, monkeypatch
):
    """Then nothing in the stat of the file tells it from one that was written in place."""
    monkeypatch.setattr(index_search.limits, "DATABASE_WAIT_SECONDS", 0)
    path = tmp_path / "index"
    path.write_bytes(b"")

    def openssl_ca():
        settle(path)
        (tmp_path / "index.new").write_bytes(ROW % b"0A")
        os.rename(path, tmp_path / "index.old")
        os.rename(tmp_path / "index.new", path)

    _one_tick(tmp_path, openssl_ca)
    assert status(index_search.find(str(tmp_path), {10}).rows[10]) == "good"
    with open(path, "r+b") as file:  # a copy over it
        file.write(ROW % b"0A")
    with pytest.raises(index_file.DatabaseUnavailable, match="was written to a moment ago"):
        index_search.find(str(tmp_path), {10})


def test_a_bind_mount_of_a_file_is_told_from_a_rename(tmp_path, monkeypatch):
    """`openssl ca` renames: what a bind mount of the file shows has no name any more, and never
    changes."""
    write(tmp_path / "index", ROW % b"0A")
    stat = os.stat(tmp_path / "index")
    unlinked = types.SimpleNamespace(
        **{name: getattr(stat, name) for name in dir(stat) if name.startswith("st_")}
    )
    unlinked.st_nlink = 0
    real = index_file.posix.fstat
    monkeypatch.setattr(index_file.posix, "fstat", lambda descriptor: unlinked)
    with pytest.raises(
        index_file.DatabaseUnavailable, match="index: this file has been replaced, and its old"
    ):
        index_search.find(str(tmp_path), {10})

    answers = iter([unlinked])
    monkeypatch.setattr(
        index_file.posix, "fstat", lambda descriptor: next(answers, None) or real(descriptor)
    )
    assert status(index_search.find(str(tmp_path), {10}).rows[10]) == "good"


def test_heartbeat(tmp_path):
    now = int(time.time())
    with pytest.raises(
        index_file.DatabaseUnavailable, match="heartbeat: No such file or directory. With"
    ):
        index_file.check_heartbeat(str(tmp_path), 60, now)
    (tmp_path / "heartbeat").touch()
    index_file.check_heartbeat(str(tmp_path), 60, now)
    index_file.check_heartbeat(str(tmp_path), 60, now + 3599)
    index_file.check_heartbeat(str(tmp_path), 60, now - 299)


@pytest.mark.parametrize(
    "minutes, age, message",
    [
        (60, 3660, "the index was last copied 61 minutes ago, more than stale_after = 60 minutes"),
        (60, 7 * 86400, "the index was last copied 7 days ago, more than stale_after = 60 minutes"),
        (1, 100, "the index was last copied 100 seconds ago"),
        (60, 5 * 3600, "the index was last copied 5 hours ago"),
        (60, -310, "its time is 5 minutes in the future"),
        (60, -3600 * 24 * 365, "its time is 365 days in the future"),
    ],
)
def test_a_heartbeat_that_is_stale_or_ahead(tmp_path, minutes, age, message):
    (tmp_path / "heartbeat").touch()
    now = int(os.stat(tmp_path / "heartbeat").st_mtime)
    with pytest.raises(index_file.DatabaseUnavailable, match=f"heartbeat: {message}"):
        index_file.check_heartbeat(str(tmp_path), minutes, now + age)
