"""A map in a file, used without reading all of it, finds what a search finds, or is not used:
whatever has happened to the file.

All of test_index_search.py is run with one too."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest
from clients import as_nobody, settle
from index_lines import REVOKED_ROW, ROW

from ocsp_cgi import config, index_map, index_search, limits, map_file, map_writer, sidecar
from ocsp_cgi.files import Files

ROWS = 3000
BLOCK = map_file.BLOCK_BYTES
NOBODY = 65534
ABSENT = range(ROWS + 1, ROWS + 200)


def serial(number: int) -> int:
    """Twenty bytes, as `openssl ca` with `rand_serial` uses."""
    return number * 0x9E3779B97F4A7C15F39CC0605CEDC8341082276B % 2**159


def is_revoked(number: int) -> bool:
    return number % 3 == 0


def lines(rows: int = ROWS) -> bytes:
    each = range(1, rows + 1)
    return b"".join((REVOKED_ROW if is_revoked(n) else ROW) % b"%040X" % serial(n) for n in each)


@pytest.fixture(autouse=True)
def every_index_is_long(monkeypatch):
    monkeypatch.setattr(limits, "SEARCHED_BYTES", 0)
    monkeypatch.setattr(index_map, "readable_from", lambda of: 0)


@pytest.fixture
def ca(place) -> config.CASettings:
    """With a long index, and the map beside it."""
    ca = config.CASettings("root-ca")
    ca.db = str(place / "db")
    (place / "db").mkdir()
    put(ca, lines())
    write_map(ca)
    return ca


def put(ca: config.CASettings, content: bytes) -> None:
    index = Path(ca.db) / "index"
    index.write_bytes(content)
    settle(index)


def write_map(ca: config.CASettings) -> Path:
    path = sidecar.beside(ca.db)
    made = map_writer.make(f"{ca.db}/index", path)
    assert made is not None
    map_writer.save(made, path)
    return Path(path)


def by_map(ca: config.CASettings, number: int) -> index_search.Found | None:
    return sidecar.find(ca, {serial(number)}, frozenset(), b"")


def believed(ca: config.CASettings) -> int:
    """Of how many serial numbers the map is used; each has the status that the index says."""
    count = 0
    for number in (*range(1, ROWS + 1), *ABSENT):
        found = by_map(ca, number)
        if found is None:
            continue
        count += 1
        row = found.rows.get(serial(number))
        expected = None if number > ROWS else is_revoked(number)
        assert (None if row is None else row.is_revoked) == expected, number
    return count


def test_each_row_is_found_and_no_other(ca):
    assert believed(ca) == ROWS + len(ABSENT)


def test_it_is_found_as_by_a_search(ca):
    """Several at once, one of which is only looked for if the index is not known."""
    numbers, also = {serial(n) for n in (3, 4, ROWS + 1)}, {serial(7)}
    fingerprint = Files().find(ca, numbers, also).fingerprint
    searched = index_search.find(ca.db, numbers, also, fingerprint)
    for known_in in (b"", fingerprint):
        found = sidecar.find(ca, numbers, also, known_in)
        searched = index_search.find(ca.db, numbers, also, known_in)
        for name in ("has_known", "is_settled", "fingerprint", "path", "warnings"):
            assert getattr(found, name) == getattr(searched, name), name
        assert {n: (r.line, r.offset, r.type) for n, r in found.rows.items()} == {
            n: (r.line, r.offset, r.type) for n, r in searched.rows.items()
        }


def test_few_blocks_are_read(ca, monkeypatch):
    read = []
    original = map_file.MapFile._read

    def spy(self, number: int):
        read.append(number)
        return original(self, number)

    monkeypatch.setattr(map_file.MapFile, "_read", spy)
    for number in (*range(1, 300), *ABSENT):
        read.clear()
        assert by_map(ca, number) is not None
        assert 1 <= len(read) == len(set(read)) <= 3


def random_block(content: bytes, seed: int) -> int:
    return BLOCK * random.Random(seed).randrange(1, len(content) // BLOCK)


def flip_a_bit(content: bytes, seed: int) -> bytes:
    chance = random.Random(seed)
    at, bit = chance.randrange(len(content)), 1 << chance.randrange(8)
    return content[:at] + bytes([content[at] ^ bit]) + content[at + 1 :]


def swap_two_bytes(content: bytes, seed: int) -> bytes:
    chance = random.Random(seed)
    one, other = sorted(chance.sample(range(len(content)), 2))
    changed = bytearray(content)
    changed[one], changed[other] = content[other], content[one]
    return bytes(changed)


def remove_an_entry(content: bytes, seed: int) -> bytes:
    """What follows moves up, in its block, or in the whole file."""
    at = random_block(content, seed) + 8 * random.Random(seed).randrange(map_file.ENTRIES)
    end = len(content) if seed % 2 else at // BLOCK * BLOCK + BLOCK - 8
    return content[:at] + content[at + 8 : end] + bytes(8) + content[end:]


def replace_an_entry(content: bytes, seed: int) -> bytes:
    """By the one before it: the number of entries, and their order, are right."""
    at = random_block(content, seed) + 8 * random.Random(seed).randrange(1, map_file.ENTRIES)
    return content[:at] + content[at - 8 : at] + content[at + 8 :]


def swap_two_blocks(content: bytes, seed: int) -> bytes:
    blocks = [content[at : at + BLOCK] for at in range(0, len(content), BLOCK)]
    one, other = random.Random(seed).sample(range(1, len(blocks)), 2)
    blocks[one], blocks[other] = blocks[other], blocks[one]
    return b"".join(blocks)


def repeat_a_block(content: bytes, seed: int) -> bytes:
    at, other = random_block(content, seed), random_block(content, seed + 1)
    return content[:at] + content[other : other + BLOCK] + content[at + BLOCK :]


def remove_a_block(content: bytes, seed: int) -> bytes:
    at = random_block(content, seed)
    return content[:at] + content[at + BLOCK :] + bytes(BLOCK) * (seed % 2)


def zero_a_block(content: bytes, seed: int) -> bytes:
    at = random_block(content, seed)
    return content[:at] + bytes(BLOCK) + content[at + BLOCK :]


def truncate(content: bytes, seed: int) -> bytes:
    return content[: random.Random(seed).randrange(len(content))]


def end_with_zeros(content: bytes, seed: int) -> bytes:
    """As after a crash, when the length was on the disk, and not the contents."""
    return truncate(content, seed).ljust(len(content), b"\0")


def end_with_another_map(content: bytes, seed: int) -> bytes:
    """As a copy over the file leaves it: of an index of the same length."""
    at = random.Random(seed).randrange(BLOCK, len(content))
    return content[:at] + another_map(content)[at:]


def a_block_of_another_map(content: bytes, seed: int) -> bytes:
    at = random_block(content, seed)
    return content[:at] + another_map(content)[at : at + BLOCK] + content[at + BLOCK :]


def another_map(content: bytes) -> bytes:
    """The same entries in the map of an index with another fingerprint: each checksum fits there,
    and no block here."""
    path = Path("another")
    path.write_bytes(content)
    with open(path, "rb") as file:
        known = map_file.MapFile(file.fileno())
        blocks = [bytes(block.cast("B")) for block in known.all_blocks()]
    known.fingerprint = known.fingerprint[::-1]
    head = map_file.head(known, ROWS)
    return head + b"".join(map_file.block(one, n, head) for n, one in enumerate(blocks))


DAMAGES = [
    flip_a_bit,
    swap_two_bytes,
    remove_an_entry,
    replace_an_entry,
    swap_two_blocks,
    repeat_a_block,
    remove_a_block,
    zero_a_block,
    truncate,
    end_with_zeros,
    end_with_another_map,
    a_block_of_another_map,
]


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_map_hides_no_row(ca, damage, monkeypatch, tmp_path):
    """Above all no revoked one: what lies in a damaged block is searched for."""
    monkeypatch.chdir(tmp_path)
    path = Path(sidecar.beside(ca.db))
    content = path.read_bytes()
    for seed in range(8):
        damaged = damage(content, seed)
        if damaged == content:
            continue
        path.write_bytes(damaged)
        assert believed(ca) < ROWS + len(ABSENT), (damage, seed)
    path.write_bytes(content)
    assert believed(ca) == ROWS + len(ABSENT)


@pytest.mark.slow
def test_each_revoked_entry_lost(ca):
    """Each in turn, from a block whose number of entries is right."""
    path = Path(sidecar.beside(ca.db))
    content = path.read_bytes()
    with open(path, "rb") as file:
        known = map_file.MapFile(file.fileno())
        blocks, shift = [list(block) for block in known.all_blocks()], known.shift
    numbers = {map_file.hash_of(serial(n)) >> shift: n for n in range(1, ROWS + 1)}
    lost = 0
    for at, block in enumerate(blocks, 1):
        for place_, entry in enumerate(block):
            number = numbers[entry >> shift]
            if not is_revoked(number) or lost % 7:
                lost += is_revoked(number)
                continue
            lost += 1
            begin = BLOCK * at + 8 * place_
            path.write_bytes(content[:begin] + bytes(8) + content[begin + 8 :])
            assert by_map(ca, number) is None
            assert Files().find(ca, {serial(number)}).rows[serial(number)].is_revoked
    assert lost == ROWS // 3


def test_a_map_of_an_earlier_index_is_not_used(ca):
    """Of the same length, with the same mtime, and the same inode, with nobody revoked."""
    index = Path(ca.db) / "index"
    own = index.stat()
    valid = lines().replace(b"R\t270220135115Z\t261122135115Z,keyCompromise", b"V\t270220135115Z\t")
    put(ca, valid.ljust(len(lines()) - 1, b"#") + b"\n")
    os.utime(index, ns=(own.st_mtime_ns, own.st_mtime_ns))
    write_map(ca)
    earlier = index.stat()
    index.write_bytes(lines())
    os.utime(index, ns=(own.st_mtime_ns, own.st_mtime_ns))
    now = index.stat()
    assert [now.st_size, now.st_mtime_ns, now.st_ino] == [
        earlier.st_size,
        earlier.st_mtime_ns,
        earlier.st_ino,
    ]
    assert believed(ca) == 0
    found = Files().find(ca, {serial(3), serial(4)})
    assert [found.rows[serial(n)].is_revoked for n in (3, 4)] == [True, False]


def test_a_map_of_another_index_is_not_used(ca, place):
    """Neither that of a file with the same contents, nor that of the file that was there before."""
    index = Path(ca.db) / "index"
    shutil.copy2(index, place / "copy")
    os.replace(place / "copy", index)
    assert believed(ca) == 0
    write_map(ca)
    assert believed(ca) == ROWS + len(ABSENT)


def test_a_map_in_a_format_of_another_version(ca):
    path = Path(sidecar.beside(ca.db))
    content = path.read_bytes()
    for old, new in ((b" map 2 ", b" map 3 "), (b"little\n", b"bigger\n")):
        path.write_bytes(content.replace(old, new, 1))
        assert believed(ca) == 0


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o622])
def test_a_map_that_others_may_write_is_not_used(ca, mode):
    path = Path(sidecar.beside(ca.db))
    path.chmod(mode)
    assert believed(ca) == 0
    path.chmod(0o644)
    assert by_map(ca, 3) is not None


@pytest.mark.root
def test_a_map_of_another_user_is_not_used(ca):
    """It may belong to root, to the owner of the index, or to the responder's user."""
    path, index = Path(sidecar.beside(ca.db)), Path(ca.db) / "index"
    path.chmod(0o644)
    for owner, of_index, is_used in ((0, 0, True), (1, 0, False), (1, 1, True), (0, 1, True)):
        os.chown(path, owner, -1)
        os.chown(index, of_index, -1)
        path.unlink()
        write_map(ca).chmod(0o644)
        os.chown(path, owner, -1)
        assert (believed(ca) > 0) == is_used, (owner, of_index)
    os.chown(index, 0, -1)
    path.unlink()
    write_map(ca).chmod(0o644)
    os.chown(path, NOBODY, -1)
    assert by_map(ca, 3) is None
    with as_nobody():
        assert by_map(ca, 3) is not None


def test_what_is_not_a_file_is_not_waited_for(ca, tmp_path):
    path = Path(sidecar.beside(ca.db))
    path.rename(tmp_path / "elsewhere")
    for make in (
        lambda: path.symlink_to(tmp_path / "elsewhere"),
        lambda: os.mkfifo(path),
        lambda: path.mkdir(),
    ):
        make()
        assert by_map(ca, 3) is None
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


def test_serial_numbers_with_one_hash(ca, monkeypatch):
    """In several blocks; if in too many, the index is searched."""
    for bits in (40, 61):
        monkeypatch.setattr(map_file, "hash_of", lambda number, bits=bits: number % 5 << bits)
        Path(sidecar.beside(ca.db)).unlink()
        write_map(ca)
        for number in (1, 2, 3, ROWS, ROWS + 1):
            found = by_map(ca, number)
            assert set(found.rows) == ({serial(number)} if number <= ROWS else set())
    monkeypatch.setattr(map_file, "_MOST_BLOCKS", 1)
    assert by_map(ca, 3) is None


@pytest.mark.parametrize("rows", [1, 2, map_file.ENTRIES - 1, map_file.ENTRIES, 512, 1022, 1023])
def test_blocks_that_are_full_or_nearly(ca, rows):
    put(ca, lines(rows=rows))
    write_map(ca)
    for number in (1, 2, rows - 1, rows, rows + 1, rows + 2):
        found = by_map(ca, number)
        assert set(found.rows) == ({serial(number)} if 1 <= number <= rows else set())


def test_an_index_with_nothing_but_odd_lines_that_revoke(ca):
    put(ca, b"R\tCAFE0A12\nR\tCAFE0A13\n" + ROW % b"0X1F")
    write_map(ca)
    searched = index_search.find(ca.db, {0xCAFE0A12})
    assert searched.rows[0xCAFE0A12].is_revoked
    found = Files().find(ca, {0xCAFE0A12})
    assert found.rows[0xCAFE0A12].is_revoked and found.warnings == searched.warnings
