"""Which rows of an index a run of `presign` sees, however the index is divided."""

from __future__ import annotations

from pathlib import Path

import pytest
from index_lines import REVOKED_ROW, ROW

from ocsp_cgi import times
from ocsp_cgi.config import CASettings
from ocsp_cgi.tools import index_part
from ocsp_cgi.tools.index_part import Counts, Part

DAY = 24 * 60 * 60
NOW = times.parse_time(b"261122135115Z")
ENDED = ROW.replace(b"270220135115Z", b"261122135114Z")
LONG_AGO = ROW.replace(b"270220135115Z", b"990220135115Z")
GENERALIZED = ROW.replace(b"270220135115Z", b"20520220135115Z")
LINES = [
    ROW % b"01",
    REVOKED_ROW % b"02",
    b"# a comment\n",
    b"\n",
    ENDED % b"03",
    b"E" + (ENDED % b"04")[1:],
    REVOKED_ROW.replace(b"270220135115Z", b"261122135114Z") % b"05",
    LONG_AGO % b"06",
    GENERALIZED % b"07",
    ROW.replace(b"270220135115Z", b"soon") % b"08",
    b"R 270220135115Z 261122135115Z 09 unknown /CN=x\n",
    (ROW % b"0A").rstrip() + b"\t" + REVOKED_ROW % b"0B",
    b"X" + (ROW % b"0C")[1:],
    ROW % b"0D" * 2,
    (REVOKED_ROW % b"0E").rstrip(),
]


@pytest.fixture
def index(tmp_path) -> Path:
    path = tmp_path / "index"
    path.write_bytes(b"".join(LINES))
    return path


def seen(path: Path, parts: list[Part], since: int = NOW) -> list[int]:
    with open(path, "rb", buffering=0) as file:
        return [number for part in parts for number, _ in index_part.rows(file, part, since)]


@pytest.mark.parametrize("length", [1, 2, 7, 50, 71, 72, 73, 1000, 100_000])
def test_each_row_is_in_one_part(index, length, monkeypatch):
    monkeypatch.setattr(index_part, "_PART_BYTES", length)
    size = index.stat().st_size
    assert seen(index, index_part.parts(size, True)) == [2, 9, 0xB, 0xE]
    assert seen(index, index_part.parts(size, False)) == [1, 7, 8, 0xA, 0xD, 0xD]


def test_a_long_index_has_no_more_parts(index):
    for size in (1, 8192, 10**6, 10**9, 10**10 + 1):
        parts = index_part.parts(size, False)
        assert len(parts) <= 4096
        assert parts[0].start == 0 and parts[-1].end >= size
        assert [one.end for one in parts[:-1]] == [one.start for one in parts[1:]]


def test_what_had_expired(index):
    size = index.stat().st_size
    parts = [*index_part.parts(size, True), *index_part.parts(size, False)]
    assert set(seen(index, parts, NOW - 1)) - set(seen(index, parts)) == {3, 4, 5}
    assert set(seen(index, parts, times.EPOCH)) == set(range(1, 0xF)) - {0xC}


def test_how_long_clients_ask():
    ca = CASettings("root-ca")
    for archive_cutoff, since in ((None, NOW), (3, NOW - 3 * DAY), ("ca", 0)):
        ca.archive_cutoff = archive_cutoff
        assert index_part.asked_since(ca, NOW) == since


def test_the_estimate_of_plain_rows(index):
    """As exact as need be, without reading malformed lines."""
    index.write_bytes(b"".join(LINES[:10]))
    with open(index, "rb", buffering=0) as file:
        assert index_part.count(file, NOW) == Counts(1, 3)
        assert index_part.count(file, NOW - 1) == Counts(2, 5)
