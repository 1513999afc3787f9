"""A map of an index finds what a search finds, or leaves it to that.

All of test_index_search.py is run with a map too."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from clients import settle
from index_lines import NOT_REVOKING_LINES, REVOKED_ROW, REVOKING_LINES, ROW

from ocsp_cgi import index_map, index_search, limits, map_file

CHECKOUT = Path(__file__).resolve().parents[1]


def made(path: Path) -> index_map.IndexMap:
    with open(path, "rb", buffering=0) as file:
        found = index_map.make(file)
    assert found is not None
    return found


def written(map_: index_map.IndexMap, path: Path) -> Path:
    """The file that has this map in it."""
    with open(path, "wb") as file:
        map_.write(file)
    return path


def read(path: Path) -> index_map.IndexMap:
    with open(path, "rb") as file:
        return index_map.read(file.fileno())


def look_up(map_: index_map.IndexMap, path: Path, numbers: set[int]):
    with open(path, "rb", buffering=0) as file:
        return map_.find(file, numbers)


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Indexes are mapped that were written a moment ago."""
    monkeypatch.setattr(index_map, "readable_from", lambda of: 0)


@pytest.fixture
def index(tmp_path) -> Path:
    path = tmp_path / "index"
    path.write_bytes(b"".join((ROW, REVOKED_ROW)[n % 2] % b"%040X" % n for n in range(1, 500)))
    settle(path)
    return path


def test_every_row_is_found_where_it_is(index):
    found = look_up(made(index), index, set(range(-5, 600)))
    assert set(found.rows) == set(range(1, 500))
    content = index.read_bytes()
    for number, row in found.rows.items():
        assert row.cert_status.name == ("good", "revoked")[number % 2]
        assert content[row.offset :].startswith(row.line + b"\n")


def test_it_is_the_same_after_it_was_written_and_read(index, tmp_path):
    found = read(written(made(index), tmp_path / "map"))
    assert set(look_up(found, index, set(range(600))).rows) == set(range(1, 500))


def test_a_damaged_file_is_not_a_map(index, tmp_path):
    """Whichever byte is another one, and wherever it ends."""
    index.write_bytes(b"".join(ROW % b"%X" % n for n in range(1, 9)) + b"odd\n")
    path = written(made(index), tmp_path / "map")
    content = path.read_bytes()
    assert read(path).is_complete
    with open(path, "r+b", buffering=0) as file:
        for at in range(len(content)):
            os.pwrite(file.fileno(), bytes([content[at] ^ 1]), at)
            with pytest.raises(map_file.Corrupt):
                index_map.read(file.fileno())
            os.pwrite(file.fileno(), content[at : at + 1], at)
        for at in (*range(0, len(content), 97), len(content) - 1):
            os.ftruncate(file.fileno(), at)
            with pytest.raises(map_file.Corrupt):
                index_map.read(file.fileno())
    for more in (b"\0", bytes(8), bytes(map_file.BLOCK_BYTES)):
        path.write_bytes(content + more)
        with pytest.raises(map_file.Corrupt):
            read(path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_odd_lines_mean_the_same(tmp_path, seed, monkeypatch):
    """Between any others, for each serial number that they may speak of; or the map is silent."""
    chance = random.Random(seed)
    monkeypatch.setattr(index_search, "_BLOCK_BYTES", 400)
    odd = [*REVOKING_LINES.values(), *NOT_REVOKING_LINES.values(), b"# comment CAFE0A12\n", b"\n"]
    plain = [(ROW, REVOKED_ROW)[n % 2] % b"%X" % n for n in (*range(1, 40), 0xCAFE0A1200)]
    numbers = {*range(60), 0xCAFE0A12, 0xCAFE0A1200, 0x1CAFE0A12, 0x270220135115, -0xCAFE0A12, 0xBB}
    told = 0
    for _ in range(60):
        lines = chance.sample(odd, chance.randrange(0, 4)) + chance.sample(plain, 10)
        chance.shuffle(lines)
        path = tmp_path / "index"
        path.write_bytes(b"".join(lines))
        settle(path)
        map_ = made(path)
        for asked in [{number} for number in numbers] + [numbers]:
            found = look_up(map_, path, asked)
            try:
                searched = index_search.find(str(path), asked)
            except index_search.index_file.DatabaseUnavailable:
                assert found is None
                continue
            if found is not None:
                told += 1
                assert searched.warnings == []
                assert {
                    number: (row.line, row.offset, row.type) for number, row in found.rows.items()
                } == {
                    number: (row.line, row.offset, row.type)
                    for number, row in searched.rows.items()
                }
    assert told > 500


def test_serial_numbers_with_the_same_hash(index, monkeypatch):
    monkeypatch.setattr(map_file, "hash_of", lambda number: number % 7 << 61)
    map_ = made(index)
    for number in (1, 7, 8, 499):
        assert set(look_up(map_, index, {number}).rows) == {number}
    assert look_up(map_, index, {500, 0}).rows == {}


def test_a_map_of_another_state_says_nothing(index):
    map_ = made(index)
    content = index.read_bytes()
    assert look_up(map_, index, {1}) is not None
    for change in (
        lambda: os.utime(index),
        lambda: index.write_bytes(content),
        lambda: index.write_bytes(content + ROW % b"0"),
    ):
        change()
        assert look_up(map_, index, {1}) is None
        settle(index)
        map_ = made(index)
        assert look_up(map_, index, {1}) is not None


def test_an_index_that_is_being_written_is_left_to_a_search(index):
    index.write_bytes(index.read_bytes())
    assert look_up(made(index), index, {1}) is None


@pytest.mark.parametrize("delta", [1, -1, len(ROW % bytes(40))])
def test_entries_that_lead_elsewhere_say_nothing(index, delta):
    """Whatever has damaged them: the row there is not the one, or none begins there."""
    damaged = made(index)
    entries = damaged._entries
    for at in range(len(entries)):
        entries[at] += delta
    for number in (2, 77, 498):
        assert look_up(damaged, index, {number}) is None


@pytest.mark.parametrize(
    "content",
    [
        ROW % b"0A" + REVOKED_ROW[:-1] % b"0B",  # no newline at its end
        b"".join(b"odd %d\n" % n for n in range(limits.MAPPED_OTHER_LINES + 1)) + ROW % b"0A",
        b"odd\n",  # no row
        ROW % b"0A" + b"V\t2702",  # cut off
    ],
)
def test_of_some_indexes_there_is_no_map(tmp_path, content):
    path = tmp_path / "index"
    path.write_bytes(content)
    assert look_up(made(path), path, {10}) is None
    assert look_up(read(written(made(path), tmp_path / "map")), path, {10}) is None


def test_an_empty_file_may_be_about_to_be_written(tmp_path):
    (tmp_path / "index").touch()
    with open(tmp_path / "index", "rb", buffering=0) as file:
        assert index_map.make(file) is None


def test_what_was_written_a_moment_ago_is_not_mapped(index, monkeypatch):
    """A change in the same tick of the clock would not be noticed."""
    monkeypatch.undo()
    os.utime(index)
    with open(index, "rb", buffering=0) as file:
        assert index_map.make(file) is None


_MEASURE = """
import os, sys
sys.path.insert(0, sys.argv[1])
from ocsp_cgi import index_map
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGESIZE")
before = resident()
with open(sys.argv[2], "rb", buffering=0) as file:
    read = index_map.read(file.fileno())
print(resident() - before, len(read._entries))
"""


@pytest.mark.process
@pytest.mark.slow
def test_memory_is_below_20_bytes_for_each_row(tmp_path):
    index = tmp_path / "index"
    with open(index, "wb") as file:
        for n in range(1, 300_001):
            file.write(ROW % b"%X" % (n * 0x9E3779B97F4A7C15))
    file = written(made(index), tmp_path / "map")
    assert file.stat().st_size < 8.1 * 300_000
    command = [sys.executable, "-c", _MEASURE, str(CHECKOUT), str(file)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    resident, rows = map(int, run.stdout.split())
    assert rows == 300_000 and 8 * rows < resident < 20 * rows
