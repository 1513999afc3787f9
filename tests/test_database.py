"""The database: files as `openssl ca` writes them, files as people and crashes leave them, and files being written."""

from __future__ import annotations

import os
import threading
import time
import tracemalloc

import pytest
from clients import settle

from ocsp_cgi import database, messages, times
from ocsp_cgi import index as index_file

ROW = b"V\t270220135115Z\t\t%s\tunknown\t/C=GB/O=Example/CN=www\n"
REVOKED_ROW = b"R\t270220135115Z\t261122135115Z,keyCompromise\t%s\tunknown\t/C=GB/O=Example/CN=www\n"


def write(path, content: bytes) -> None:
    path.write_bytes(content)
    settle(path)


@pytest.fixture
def find(tmp_path):
    """find(content, serial) writes an index and looks the serial number up.  Returns its Row or None, and the remarks."""

    def find(content: bytes, serial: int, name: str = "index"):
        write(tmp_path / name, content)
        found = database.find(str(tmp_path), {serial})
        return found.rows.get(serial), found.remarks

    return find


def status(row) -> str:
    return row.cert_status.name if row else "unknown"


@pytest.mark.parametrize("spelling", [b"0A", b"0a", b"A", b"000A", b"00A", b" 0A", b"0A ", b" a "])
def test_section_2_serials_are_numbers(find, spelling):
    row, remarks = find(ROW % b"0B" + REVOKED_ROW % spelling + ROW % b"AA", 10)
    assert (status(row), remarks) == ("revoked", [])


@pytest.mark.parametrize("spelling", [b"1_0", b"0A0A", b"A0", b"", b"-0A", b"0G"])
def test_what_is_not_that_number(find, spelling):
    assert find(ROW % spelling, 10) == (None, [])


@pytest.mark.parametrize("spelling", ["0x0A", "0 A", "--A"])
def test_section_2_what_looks_like_that_number_and_is_none_is_remarked_on(find, tmp_path, spelling):
    assert find(ROW % spelling.encode(), 10) == (None, [f"{tmp_path}/index line 1: skipped, since `{spelling}` is no serial number"])


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
        b"V\t27022013CAFE01\t\t01CAFE01\tunknown\t/CN=x\tCAFE01\t\n"
        b"V\t270220135115Z\tCAFE01\tCAFE0100\tunknown\t/CN=x\n"
    )
    assert find(index, 0xCAFE01) == (None, [])


ODD_FILES = {
    "empty": (b"", "unknown", 0),
    "blank lines": (b"\n\n" + REVOKED_ROW % b"0A" + b"\n \n\t\n", "revoked", 0),
    "comment": (b"# " + ROW % b"0A" + REVOKED_ROW % b"0A", "revoked", 0),
    "comment behind a space": (b" #" + ROW % b"0A", "unknown", 1),
    "CRLF": ((ROW % b"0B" + REVOKED_ROW % b"0A").replace(b"\n", b"\r\n"), "revoked", 0),
    "no newline at its end": ((ROW % b"0B" + REVOKED_ROW % b"0A").rstrip(b"\n"), "revoked", 0),
    "five fields": (b"R\t270220135115Z\t261122135115Z\t0A\tunknown\n", "unknown", 1),
    "five fields, another's": (b"R\t270220135115Z\t261122135115Z\t0B\tunknown\n" + REVOKED_ROW % b"0A", "revoked", 0),
    "seven fields": (REVOKED_ROW.replace(b"CN=www", b"CN=w\tw") % b"0A", "revoked", 0),
    "byte order mark": (b"\xef\xbb\xbf" + REVOKED_ROW % b"0A", "revoked", 0),
    "leading blanks": (b" \t " + REVOKED_ROW % b"0A", "revoked", 0),
    "NUL bytes": (b"\x00\x00\n" + REVOKED_ROW.replace(b"www", b"w\x00w") % b"0A" + b"\x00\n", "revoked", 0),
    "Latin-1": (REVOKED_ROW.replace(b"www", b"M\xfcller") % b"0A", "revoked", 0),
    "empty subject": (b"R\t270220135115Z\t261122135115Z\t0A\tunknown\t\n", "revoked", 0),
    "a long line": (ROW.replace(b"www", b"x" * 5000) % b"0B" + REVOKED_ROW.replace(b"www", b"x" * 5000) % b"0A", "revoked", 0),
    "a line of 3 MB before it": (b"x" * 3_000_000 + b"\n" + REVOKED_ROW % b"0A", "revoked", 0),
    "duplicate, revoked first": (REVOKED_ROW % b"0A" + ROW % b"0A", "revoked", 1),
    "duplicate, revoked last": (ROW % b"0A" + REVOKED_ROW % b"000a", "revoked", 1),
    "duplicate subject": (ROW % b"0B" + REVOKED_ROW % b"0A", "revoked", 0),
    "lower-case type": (b"r" + (REVOKED_ROW % b"0A")[1:], "unknown", 1),
    "word as its type": (b"Revoked" + (REVOKED_ROW % b"0A")[1:], "revoked", 0),
}


@pytest.mark.parametrize("content, expected, remarks", ODD_FILES.values(), ids=ODD_FILES.keys())
def test_section_2_odd_files(find, content, expected, remarks):
    row, said = find(content, 10)
    assert (status(row), len(said)) == (expected, remarks)


@pytest.mark.parametrize("content, remark", [
    (ROW % b"0B" + b"R\t270220135115Z\t261122135115Z\t0A\tunknown\n", "index line 2: skipped, since it is no row of six fields"),
    (ROW % b"0B" + ROW % b"0A" + REVOKED_ROW % b"0a", "index line 3: a revoked one counts, of several rows for one serial; another is in line 2"),
    (ROW % b"0B" * 5000 + REVOKED_ROW.replace(b"261122135115Z,keyCompromise", b"yesterday") % b"0A",
     "index line 5001: revocation date `yesterday` cannot be read: revoked at 1970-01-01, without a reason"),
    (REVOKED_ROW.replace(b"keyC", b"c") % b"0A",
     "index line 1: revocation reason `compromise` is none that `openssl ca` writes: revoked without a reason"),
    (b"V" + (REVOKED_ROW % b"0A")[1:], "index line 1: it is marked as valid and has a revocation date: good"),
    (b"X" + (REVOKED_ROW % b"0A")[1:], "index line 1: type `X` is none of V, R, E, S: unknown"),
    (REVOKED_ROW.replace(b"keyCompromise", b"keyTime,never") % b"0A",
     "index line 1: `never` after `keytime` cannot be read: answered without it"),
])  # fmt: skip
def test_section_2_remarks_name_the_line(find, tmp_path, content, remark):
    assert find(content, 10)[1] == [f"{tmp_path}/{remark.format(tmp_path)}"]


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
    b"261122135115Z,holdInstruction,holdInstructionNone": (b"20261122135115Z", 6, [("551d17", "06072a864 8ce380201")]),
    b"261122135115Z,holdInstruction,holdInstructionCallIssuer": (b"20261122135115Z", 6, [("551d17", "06072a8648ce380202")]),
    b"261122135115Z,holdInstruction,holdInstructionReject": (b"20261122135115Z", 6, [("551d17", "06072a8648ce380203")]),
    b"261122135115Z,holdInstruction,1.2.3.4": (b"20261122135115Z", 6, [("551d17", "06032a0304")]),
    b"261122135115Z,holdInstruction,ourOwnName": (b"20261122135115Z", 6, []),
    b"261122135115Z,holdInstruction": (b"20261122135115Z", 6, []),
    b"261122135115Z,keyTime,20260101000000Z": (b"20261122135115Z", 1, [("551d18", b"\x18\x0f20260101000000Z".hex())]),
    b"261122135115Z,CAkeyTime,20260101000000Z": (b"20261122135115Z", 2, [("551d18", b"\x18\x0f20260101000000Z".hex())]),
    b"261122135115Z,keyTime,20260101000000.5Z": (b"20261122135115Z", 1, [("551d18", b"\x18\x0f20260101000000Z".hex())]),
    b"261122135115Z,keyTime,202601010000Z": (b"20261122135115Z", 1, [("551d18", b"\x18\x0f20260101000000Z".hex())]),
    b"261122135115Z,keyTime": (b"20261122135115Z", 1, []),
    b"261122135115Z,keyTime,never": (b"20261122135115Z", 1, []),
    b"": (b"19700101000000Z", None, []),
    b"garbage": (b"19700101000000Z", None, []),
    b"261322135115Z,keyCompromise": (b"19700101000000Z", None, []),
}


@pytest.mark.parametrize("field, expected", REVOCATIONS.items(), ids=lambda value: value.decode() if isinstance(value, bytes) else "")
def test_section_3_revocation_field(find, field, expected):
    row, _ = find(REVOKED_ROW.replace(b"261122135115Z,keyCompromise", field) % b"0A", 10)
    revocation_time, reason, extensions = expected
    assert row.cert_status.name == "revoked"
    assert times.generalized_time(row.cert_status.revocation_time) == revocation_time
    assert row.cert_status.revocation_reason == reason
    assert [(extn_id.hex(), value.hex()) for extn_id, value in row.single_extensions] == [
        (extn_id, value.replace(" ", "")) for extn_id, value in extensions
    ]


@pytest.mark.parametrize("row_type, expected", [(b"V", "good"), (b"E", "good"), (b"R", "revoked"), (b"S", "revoked"), (b"X", "unknown")])
def test_section_3_types(find, row_type, expected):
    row, _ = find(row_type + (ROW % b"0A")[1:], 10)
    assert row.cert_status.name == expected
    if row_type == b"S":
        assert (row.cert_status.revocation_time, row.cert_status.revocation_reason) == (0, messages.CERTIFICATE_HOLD)


def test_rows_at_every_place_between_blocks(find, monkeypatch):
    """A serial may lie across the end of a block, its line across several."""
    index = ROW % b"0B" + REVOKED_ROW % b"CAFE0A" + ROW % b"0C"
    for size in range(1, len(index) + 2):
        monkeypatch.setattr(database, "_BLOCK_BYTES", size)
        row, remarks = find(index, 0xCAFE0A)
        assert (status(row), remarks) == ("revoked", []), size


@pytest.mark.parametrize("spelling", [bytes.upper, bytes.lower, lambda serial: b"00" + serial.upper(), lambda serial: b" %s " % serial.lower()])
@pytest.mark.parametrize("serial", [b"A0", b"CAFE0A", b"CAFE0A12345678901234567890ABCDEF"])
def test_a_long_index(find, monkeypatch, spelling, serial):
    """Which is not read in every spelling at once."""
    monkeypatch.setattr(database, "_FOLDED_BYTES", 0)
    monkeypatch.setattr(database, "_BLOCK_BYTES", 150)
    index = ROW % (serial + b"00") + ROW % (b"FF" + serial) + REVOKED_ROW % spelling(serial) + ROW % b"0C"
    row, remarks = find(index, int(serial, 16))
    assert (status(row), remarks) == ("revoked", [])
    assert find(index, int(serial + b"11", 16)) == (None, [])


def test_memory_does_not_grow_with_the_index(tmp_path):
    """Nor does the time to find out that a serial is nowhere, beyond that of reading."""
    rows = b"".join(ROW % b"%040X" % (number * 0x9E3779B97F4A7C15F39CC0605CEDC8341082276B) for number in range(1000, 101_000))
    peaks = {}
    for length in (len(rows) // 20, len(rows)):
        write(tmp_path / "index", rows[:length].rpartition(b"\n")[0])
        tracemalloc.start()
        assert database.find(str(tmp_path), {0xCAFE << 140}).rows == {}
        peaks[length] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peaks[len(rows)] < 1.1 * peaks[len(rows) // 20] < 2 * 1024 * 1024


def test_several_serials_in_one_reading(tmp_path):
    index = b"".join((REVOKED_ROW if number % 3 else ROW) % b"%04X" % number for number in range(5000))
    write(tmp_path / "index", index)
    wanted = {0, 1, 2, 3, 2500, 4999, 5000}
    found = database.find(str(tmp_path), wanted)
    assert {number: status(row) for number, row in found.rows.items()} == {
        0: "good", 1: "revoked", 2: "revoked", 3: "good", 2500: "revoked", 4999: "revoked",
    }  # fmt: skip


def test_many_serials_in_one_reading(tmp_path):
    """So many that every line is taken apart."""
    write(tmp_path / "index", (b"".join((REVOKED_ROW if number % 3 else ROW) % b"%04x" % number for number in range(1000))).rstrip(b"\n"))
    found = database.find(str(tmp_path), set(range(950, 1050)))
    assert {number: status(row) for number, row in found.rows.items()} == {
        number: "revoked" if number % 3 else "good" for number in range(950, 1000)
    }  # fmt: skip


def test_remarks_have_an_end(find):
    row, remarks = find(ROW % b"0A" * 3 + REVOKED_ROW % b"0A" * 1000, 10)
    assert status(row) == "revoked" and len(remarks) == 10


def test_a_tear_does_not_matter_for_what_is_only_looked_for_also(tmp_path):
    write(tmp_path / "index", REVOKED_ROW % b"0A" + b"V\t2702")
    assert status(database.find(str(tmp_path), {10}, {11}).rows[10]) == "revoked"
    with pytest.raises(index_file.DatabaseUnavailable):
        database.find(str(tmp_path), {10, 11})


def test_index_txt(find):
    assert status(find(REVOKED_ROW % b"0A", 10, "index.txt")[0]) == "revoked"


def test_section_2_index_old_is_never_read(find, tmp_path, monkeypatch):
    monkeypatch.setattr(database.limits, "DATABASE_RETRY_SECONDS", 0.02)
    (tmp_path / "index.old").write_bytes(ROW % b"0A")
    with pytest.raises(index_file.DatabaseUnavailable, match="index: No such file or directory"):
        database.find(str(tmp_path), {10})


@pytest.mark.parametrize("left_over", ["index.txt", "index.txt.old"])
def test_two_databases_in_one_directory_are_refused(find, tmp_path, left_over):
    """Either could be the stale one, also in the moment between openssl's two renames."""
    (tmp_path / left_over).write_bytes(ROW % b"0A")
    with pytest.raises(index_file.DatabaseUnavailable, match="both index and index.txt, or their .old: remove what belongs"):
        find(REVOKED_ROW % b"0A", 10)


def test_section_2_a_missing_index_is_waited_for(tmp_path):
    def rename():
        time.sleep(0.05)
        os.rename(tmp_path / "index.new", tmp_path / "index")

    (tmp_path / "index.new").write_bytes(REVOKED_ROW % b"0A")
    (tmp_path / "index.old").write_bytes(ROW % b"0A")
    thread = threading.Thread(target=rename)
    thread.start()
    found = database.find(str(tmp_path), {10})
    thread.join()
    assert status(found.rows[10]) == "revoked"


@pytest.mark.parametrize("make, message", [
    (lambda path: None, "No such file or directory. `db` names the directory that holds `index`"),
    (lambda path: path.write_text("x"), "Not a directory. `db` names the directory that holds `index`"),
    (lambda path: (path / "index").mkdir(parents=True), "Is a directory. `db` names the directory that holds `index`"),
], ids=["missing", "a file", "index a directory"])  # fmt: skip
def test_errors_name_the_file_and_the_mend(tmp_path, monkeypatch, make, message):
    monkeypatch.setattr(database.limits, "DATABASE_RETRY_SECONDS", 0.02)
    make(tmp_path / "db")
    with pytest.raises(index_file.DatabaseUnavailable) as error:
        database.find(str(tmp_path / "db"), {10})
    assert str(error.value) == f"{tmp_path}/db/index: {message}"


def test_a_copy_cut_off_anywhere(find):
    """A row above the tear is believed; one below might be there, so that there is no answer about it."""
    index = ROW % b"0B" + REVOKED_ROW % b"0A"
    first = len(ROW % b"0B")
    for length in range(first, len(index)):
        cut = index[:length]
        assert status(find(cut, 11)[0]) == "good"
        if length == first:
            assert find(cut, 10) == (None, [])  # nothing shows that there was more
        elif cut[first:].count(b"\t") < 5:
            with pytest.raises(index_file.DatabaseUnavailable, match="index breaks off in the middle of its last line"):
                find(cut, 10)
        else:
            assert status(find(cut, 10)[0]) == "revoked"


def test_a_file_that_shrinks_while_it_is_read_is_torn(find, tmp_path, monkeypatch):
    monkeypatch.setattr(database, "_BLOCK_BYTES", 100)
    index = ROW % b"0B" * 50 + REVOKED_ROW % b"0A"
    read_lines = database._whole_lines

    def shrinking(file):
        for part in read_lines(file):
            yield part
            os.truncate(tmp_path / "index", len(ROW % b"0B") * 10)

    monkeypatch.setattr(database, "_whole_lines", shrinking)
    with pytest.raises(index_file.DatabaseUnavailable, match=r"index ends after \d+ of \d+ bytes"):
        find(index, 10)


def test_a_row_missing_from_a_file_written_a_moment_ago_means_nothing(tmp_path):
    """Its copy may have stopped at the end of a line for a moment; a row that is there is there."""
    (tmp_path / "index").write_bytes(REVOKED_ROW % b"0A")
    assert status(database.find(str(tmp_path), {10}).rows[10]) == "revoked"
    with pytest.raises(index_file.DatabaseUnavailable, match="index was written to a moment ago: is it being copied"):
        database.find(str(tmp_path), {11})
    settle(tmp_path / "index")
    assert database.find(str(tmp_path), {11}).rows == {}


def test_a_file_renamed_a_moment_ago_is_whole(tmp_path):
    (tmp_path / "index.new").write_bytes(REVOKED_ROW % b"0A")
    written = os.stat(tmp_path / "index.new").st_mtime_ns
    while True:  # the clock of a file system moves a few milliseconds at a time
        os.rename(tmp_path / "index.new", tmp_path / "index")
        if os.stat(tmp_path / "index").st_ctime_ns != written:
            break
        os.rename(tmp_path / "index", tmp_path / "index.new")
    assert database.find(str(tmp_path), {11}).rows == {}


def test_a_file_that_grows_while_it_is_read_is_torn(find, tmp_path, monkeypatch):
    read_lines = database._whole_lines

    def growing(file):
        yield from read_lines(file)
        with open(tmp_path / "index", "ab") as more:
            more.write(ROW % b"0C")
        settle(tmp_path / "index")

    monkeypatch.setattr(database, "_whole_lines", growing)
    with pytest.raises(index_file.DatabaseUnavailable, match="index was written to while it was read"):
        find(ROW % b"0B", 10)


def test_heartbeat(tmp_path):
    with pytest.raises(index_file.DatabaseUnavailable, match="heartbeat: No such file or directory. With `stale_after` the job"):
        index_file.check_heartbeat(str(tmp_path), 60, int(time.time()))
    (tmp_path / "heartbeat").touch()
    index_file.check_heartbeat(str(tmp_path), 60, int(time.time()))
    index_file.check_heartbeat(str(tmp_path), 60, int(time.time()) + 3599)
    index_file.check_heartbeat(str(tmp_path), 60, int(time.time()) - 3600)
    with pytest.raises(index_file.DatabaseUnavailable, match=r"heartbeat: touched 61 minutes ago, more than stale_after = 60: does the job"):
        index_file.check_heartbeat(str(tmp_path), 60, int(time.time()) + 3660)
