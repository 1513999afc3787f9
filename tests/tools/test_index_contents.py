"""What an index must be to take the place of another one."""

from __future__ import annotations

import io
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from index_lines import NOT_REVOKING_LINES, REVOKED_ROW, REVOKING_LINES, ROW

from ocsp_cgi import index_row, times
from ocsp_cgi.tools import index_contents
from ocsp_cgi.tools.index_contents import Contents
from ocsp_cgi.tools.not_copied import Refused

SERIAL = 0xCAFE0A12
HELD = REVOKED_ROW.replace(b"keyCompromise", b"certificateHold")
CHECKOUT = Path(__file__).resolve().parent.parent.parent


class Certificate:
    """What matters here of a signer's certificate."""

    def __init__(self, serial_number: int, not_after: str = "270220135115Z"):
        self.serial_number = serial_number
        self.not_after = times.parse_time(not_after.encode())


def revoked_in(content: bytes) -> set[int]:
    return {number for number, _ in Contents(io.BytesIO(content)).revocations()}


def verify(tmp_path, new: bytes, old: bytes | None = None, signers=(), force: bool = False):
    paths = []
    for name, content in (("new", new), ("old", old)):
        path = tmp_path / name
        path.write_bytes(content or b"")
        os.utime(path, (time.time() - 60,) * 2)
        paths.append(str(path))
    signers = [("root-ocsp.crt", one) for one in signers]
    return index_contents.verify(paths[0], paths[1] if old is not None else None, signers, force)


def refused(tmp_path, *arguments, **keywords) -> Refused:
    with pytest.raises(Refused) as error:
        verify(tmp_path, *arguments, **keywords)
    return error.value


@pytest.mark.parametrize("name", REVOKING_LINES)
def test_a_line_that_revokes_is_found(name):
    assert SERIAL in revoked_in(REVOKING_LINES[name])


@pytest.mark.parametrize("name", NOT_REVOKING_LINES)
def test_a_line_that_does_not_revoke_is_not(name):
    assert SERIAL not in revoked_in(NOT_REVOKING_LINES[name])


def test_lines_mean_what_they_mean_to_the_responder(monkeypatch):
    """Of rows, and of rows in which some bytes were changed, cut or doubled."""
    draw = random.Random(7)
    alphabet = b"RrVE \t\n:Zz0A1f,/\"'x"
    for block in (64, 1000, index_contents._BLOCK_BYTES):
        monkeypatch.setattr(index_contents, "_BLOCK_BYTES", block)
        for _ in range(300):
            content = bytearray()
            for _ in range(5):
                row = draw.choice((ROW, REVOKED_ROW, HELD)) % (b"%X" % draw.getrandbits(40))
                content += row
            for _ in range(draw.randrange(6)):
                at = draw.randrange(len(content))
                content[at : at + draw.randrange(3)] = bytes(draw.choices(alphabet, k=1))
            contents = Contents(io.BytesIO(bytes(content)))
            found = set(contents.revocations())
            expected, rows = set(), 0
            *whole, ending = bytes(content).split(b"\n")
            for line in (*whole, ending):
                words = index_row.split_into_words(line)
                read, _ = index_row.read(line, 0, index_row.numbers_in(words))
                for number, row in read:
                    if row.is_revoked:
                        hold = row.cert_status.revocation_reason == 6
                        expected.add((number, hold))
                rows += index_row.is_row(line) and line is not ending
            assert (found, contents.rows, contents.ending) == (expected, rows, ending), content


def test_counts(tmp_path):
    old = ROW % b"0A" + REVOKED_ROW % b"0B"
    new = b"# a comment\n" + REVOKED_ROW % b"0A" + REVOKED_ROW % b"0B" + ROW % b"0C" + b"oops\n"
    verdict = verify(tmp_path, new, old)
    assert (verdict.rows, verdict.revoked, verdict.malformed) == (3, 2, 1)
    assert (verdict.more_rows, verdict.more_revoked) == (1, 1)
    verdict = verify(tmp_path, new)
    assert (verdict.more_rows, verdict.more_revoked) == (None, None)


ROWS = ROW % b"0A" + REVOKED_ROW % b"0B" + HELD % b"0C"


@pytest.mark.parametrize(
    "new, reason",
    [
        (b"", "it is empty"),
        (b"<html>\n<p>404\n", "it has no row"),
        (ROWS[:-1], "does not end with a newline"),
        (ROWS[:-30], "does not end with a newline"),
        (ROWS + bytes(100) + b"\n", "NUL bytes"),
    ],
)
def test_what_is_not_a_complete_index_is_refused_whatever_was_there(tmp_path, new, reason):
    for old, force in ((None, False), (ROWS, False), (ROWS, True)):
        error = refused(tmp_path, new, old, force=force)
        assert reason in error.reason and not error.may_be_forced


@pytest.mark.parametrize(
    "new, reason",
    [
        (ROW % b"0A" + REVOKED_ROW % b"0B", "it has 1 row fewer than the index in use, 2 instead"),
        (
            ROW % b"0A" + ROW % b"0B" + HELD % b"0C",
            "serial 0B is revoked in the index in use, and it says that it is not",
        ),
        (ROW % b"0A" + REVOKED_ROW % b"0B" + ROW % b"0D", "serial 0C is revoked"),
        (
            ROWS.replace(b"0B", b"0E").replace(b"0C", b"0F"),
            "serial 0B is revoked in the index in use, and it has no row for it",
        ),
    ],
)
def test_an_index_that_takes_something_back_is_refused_unless_forced(tmp_path, new, reason):
    error = refused(tmp_path, new, ROWS)
    assert reason in error.reason and error.may_be_forced
    assert verify(tmp_path, new, ROWS, force=True).rows


def test_a_released_hold_that_the_responder_would_not_trust_is_refused(tmp_path):
    new = ROWS.replace(b"R\t", b"V\t")
    error = refused(tmp_path, new, ROWS.replace(b"keyCompromise", b"certificateHold"))
    assert "in the field of the revocation date" in error.reason and not error.may_be_forced


@pytest.mark.parametrize("row", [ROW, b"E" + ROW[1:], HELD, REVOKED_ROW])
def test_a_hold_may_be_released(tmp_path, row):
    verify(tmp_path, ROW % b"0A" + REVOKED_ROW % b"0B" + row % b"0C", ROWS)


def test_many_holds_may_be_released_at_once(tmp_path):
    old, new = (b"".join(row % (b"%04X" % number) for number in range(70)) for row in (HELD, ROW))
    assert verify(tmp_path, new, old).more_revoked == -70
    missing = new.replace(ROW % b"0045", ROW % b"FF45")
    assert "serial 45 is revoked" in refused(tmp_path, missing, old).reason


def test_a_revocation_may_be_written_in_another_way(tmp_path):
    new = ROW % b"0A" + REVOKED_ROW.lower() % b"0b" + b"R 270220135115Z 261122135115Z 0C x\n"
    assert verify(tmp_path, new + ROW % b"0D", ROWS).more_revoked == 0


def test_the_signer_has_its_row(tmp_path):
    signer = Certificate(0x0A)
    verify(tmp_path, ROWS, None, [signer])
    verify(tmp_path, REVOKED_ROW % b"0A", None, [signer])
    error = refused(tmp_path, ROWS, None, [Certificate(0xDD)])
    assert "no row for serial DD, that of root-ocsp.crt" in error.reason and error.may_be_forced
    verify(tmp_path, ROWS, None, [Certificate(0xDD)], force=True)
    verify(tmp_path, ROWS, ROWS, [Certificate(0xDD)])  # no worse than before
    old = ROWS + ROW % b"DD"
    new = ROWS + ROW % b"DE"
    assert "no row for serial DD" in refused(tmp_path, new, old, [Certificate(0xDD)]).reason


@pytest.mark.parametrize("force", [False, True])
def test_the_index_of_another_ca_is_refused_even_if_forced(tmp_path, force):
    error = refused(tmp_path, ROWS, None, [Certificate(0x0A, "280220135115Z")], force=force)
    assert "it is the index of another CA" in error.reason and not error.may_be_forced


@pytest.mark.slow
@pytest.mark.process
def test_a_million_revoked_rows_take_little_memory(tmp_path):
    program = """
import random, re, sys
from ocsp_cgi.tools import index_contents
from pathlib import Path
import os
draw = random.Random(1)
row = "R\\t270220135115Z\\t261122135115Z,keyCompromise\\t%040X\\tunknown\\t/CN=%d\\n"
with open(sys.argv[1], "w") as file:
    for number in range(1_000_000):
        file.write(row % (draw.getrandbits(158), number))
os.utime(sys.argv[1], (1, 1))
print(index_contents.verify(sys.argv[1], sys.argv[1], [], False).rows)
# Not ru_maxrss, which begins with what the parent of this process has.
print(int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) // 1024)
"""
    command = [sys.executable, "-c", program, tmp_path / "index"]
    run = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    rows, mebibytes = map(int, run.stdout.split())
    assert rows == 1_000_000 and mebibytes < 250
