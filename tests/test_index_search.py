"""The search for rows: in files as `openssl ca` writes them, as people and crashes leave them, and
in files that are being written."""

from __future__ import annotations

import contextlib
import os
import random
import re
import threading
import time
import tracemalloc

import pytest
from clients import settle
from index_lines import NOT_REVOKING_LINES, REVOKED_ROW, REVOKING_LINES, ROW

from ocsp_cgi import (
    config,
    index_file,
    index_map,
    index_maps,
    index_search,
    map_writer,
    sidecar,
)


@pytest.fixture(
    autouse=True,
    params=[
        "search",
        pytest.param("map", marks=pytest.mark.slow),
        pytest.param("file", marks=pytest.mark.slow),
    ],
)
def way(request, monkeypatch):
    """Each test looks serial numbers up by a search of the index, with a map of it in memory, as a
    process that stays does, and with one in a file, as a CGI does."""
    if request.param == "search":
        return
    search = index_search.find
    monkeypatch.setattr(index_map, "readable_from", lambda of: 0)

    def find(db: str, serial_numbers: set[int], also=frozenset()):
        ca = config.CASettings("root-ca")
        ca.db = db
        if request.param == "map":
            found = index_maps.IndexMaps().find(ca, serial_numbers | also)
        else:
            write_map(db)
            found = sidecar.find(ca, serial_numbers, also, b"")
        return search(db, serial_numbers, also) if found is None else found

    monkeypatch.setattr(index_search, "find", find)


def write_map(db: str) -> None:
    """Write the map beside the index, if there can be one."""
    path = sidecar.beside(db)
    with contextlib.suppress(OSError):  # there is no index
        made = map_writer.make(index_file.path_of(db), path)
        if made is not None:
            map_writer.save(made, path)


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


@pytest.mark.parametrize("line", NOT_REVOKING_LINES.values(), ids=NOT_REVOKING_LINES.keys())
def test_no_other_line_revokes(tmp_path, line):
    write(tmp_path / "index", ROW % b"0C" + line + ROW % b"CAFE0A12")
    for others in (set(), set(range(100, 150))):
        found = index_search.find(str(tmp_path), {0xCAFE0A12} | others)
        assert {number: status(row) for number, row in found.rows.items()} == {0xCAFE0A12: "good"}


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
        expected = index_search.Found(str(tmp_path / "index"))
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
            "line 2: contains 0A, but not as the serial number of a row",
        ),
        (
            ROW % b"0B" + b"R 270220135115Z 261122135115Z 0A unknown /CN=x\n",
            "line 2: not a row of six fields, but it says R: revoked. Write it as",
        ),
        (ROW % b"0x0A" + ROW % b"0B", "line 1: contains 0A, but not as the serial number of a row"),
        (
            ROW % b"0B" + (ROW % b"0C").rstrip() + b"\t" + ROW % b"0A",
            "line 2: contains 0A, but not as the serial number of a row",
        ),
        (
            ROW % b"0B" + b"V 270220135115Z 0A unknown /CN=x\n",
            "line 2: contains 0A, but not as the serial",
        ),
        (
            ROW % b"0B" + b"no serial is like 0A\n",
            "line 2: contains 0A, but not as the serial number",
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


@pytest.mark.parametrize("row_type", [b"V", b"E"])
@pytest.mark.parametrize("field", [b"261122135115Z", b"Z,superseded", b"revoked"])
def test_a_doubtful_row_affects_only_its_own_serial(find, row_type, field):
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
    with pytest.raises(index_file.DatabaseUnavailable, match=r"has no row in it|breaks off"):
        find(content, 10)
    assert status(find(content + b"\nR 270220135115Z 261122135115Z 0A x\n", 10)[0]) == "revoked"


def test_rows_at_every_place_between_blocks(find, monkeypatch):
    """A serial may extend across the end of a block, its line across several."""
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
        index_search.find(str(tmp_path), {1})  # with a map, it is made here
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
    """So many that every line is split."""
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


def test_the_number_of_warnings_is_limited(find):
    row, warnings = find(ROW % b"0A" * 3 + REVOKED_ROW % b"0A" * 1000, 10)
    assert status(row) == "revoked" and len(warnings) == 10


def test_a_torn_index_does_not_matter_for_the_serials_in_also(tmp_path):
    write(tmp_path / "index", REVOKED_ROW % b"0A" + b"V\t2702")
    assert status(index_search.find(str(tmp_path), {10}, {11}).rows[10]) == "revoked"
    with pytest.raises(index_file.DatabaseUnavailable):
        index_search.find(str(tmp_path), {10, 11})


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
    read_lines = index_search.whole_lines

    def shrinking(file):
        for part in read_lines(file):
            yield part
            os.truncate(tmp_path / "index", len(ROW % b"0B") * 10)

    monkeypatch.setattr(index_search, "whole_lines", shrinking)
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
            index_file.DatabaseUnavailable, match="index was written to a moment ago"
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
    """And then read again: at first it said only half of the truth."""
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
    try:
        started = time.monotonic()
        found = index_search.find(str(tmp_path), {10, 11})
        waited = time.monotonic() - started
    finally:
        thread.join()
    assert {n: status(row) for n, row in found.rows.items()} == {10: "revoked", 11: "good"}
    assert waited > index_search.limits.DATABASE_SETTLING_SECONDS


def test_a_copy_that_never_ends_is_waited_for_only_so_long(tmp_path, monkeypatch):
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


def test_what_openssl_ca_has_just_renamed_is_trusted(tmp_path, monkeypatch):
    """It is not waited for until it has settled, as a file written in place is."""
    monkeypatch.setattr(index_search.limits, "DATABASE_WAIT_SECONDS", 0)
    (tmp_path / "index.new").write_bytes(ROW % b"0A")
    time.sleep(0.05)  # more than a tick of the kernel's clock
    os.rename(tmp_path / "index.new", tmp_path / "index")
    assert status(index_search.find(str(tmp_path), {10}).rows[10]) == "good"
