"""The maps of a process that stays: made when an index changes, without one wrong answer."""

from __future__ import annotations

import os
import random
import threading
import time
from pathlib import Path

import pytest
from clients import as_nobody, program, settle
from index_lines import REVOKED_ROW, ROW

from ocsp_cgi import config, index_map, index_maps, index_search, limits, map_writer, sidecar
from ocsp_cgi.resident import ResidentFiles


@pytest.fixture
def ca(place) -> config.CASettings:
    settings = config.CASettings("root-ca")
    settings.db, settings.cache = str(place / "db"), str(place / "cache")
    (place / "db").mkdir()
    (place / "cache").mkdir(mode=0o750)
    return settings


def serial(number: int) -> int:
    """Twenty bytes, as `openssl ca` with `rand_serial` uses."""
    return number * 0x9E3779B97F4A7C15F39CC0605CEDC8341082276B % 2**159


def replace(
    ca: config.CASettings, rows: int, revoked: frozenset[int] | set[int] = frozenset()
) -> None:
    """Replace the index as `openssl ca` does."""
    path = Path(ca.db) / "index"
    lines = [(REVOKED_ROW if n in revoked else ROW) % b"%X" % serial(n) for n in range(1, rows + 1)]
    path.with_suffix(".new").write_bytes(b"".join(lines))
    settle(path.with_suffix(".new"))
    if path.exists():
        path.rename(path.with_suffix(".old"))
    path.with_suffix(".new").rename(path)


LONG = limits.MAPPED_AT_ONCE_BYTES // 60


def wait_for_map(maps: index_maps.IndexMaps, ca: config.CASettings) -> index_search.Found:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = maps.find(ca, {serial(1)})
        if found is not None:
            return found
        time.sleep(0.02)
    raise AssertionError("no map in 30 seconds")


def test_a_short_index_is_mapped_at_once_without_a_file(ca, monkeypatch):
    monkeypatch.setattr(index_map, "readable_from", lambda of: 0)
    ca.cache = None
    maps = index_maps.IndexMaps()
    for revoked in (set(), {3}, {3, 4}):
        replace(ca, 100, revoked)
        found = maps.find(ca, set(map(serial, range(1, 102))))
        assert {n for n in range(1, 102) if serial(n) not in found.rows} == {101}
        assert {n for n in range(1, 101) if found.rows[serial(n)].is_revoked} == revoked


@pytest.mark.process
def test_a_long_index_is_mapped_by_another_process(ca):
    """Until then it is searched; then it is not, and every process of the responder has the map."""
    replace(ca, LONG, {3})
    maps = index_maps.IndexMaps()
    assert maps.find(ca, {serial(1)}) is None
    wait_for_map(maps, ca)
    found = maps.find(ca, {serial(3), serial(4), 5})
    assert {number: row.is_revoked for number, row in found.rows.items()} == {
        serial(3): True,
        serial(4): False,
    }
    (file,) = Path(ca.cache).glob("*.map")
    assert file.stat().st_mode & 0o777 == 0o600
    assert index_maps.IndexMaps().find(ca, {serial(1)}) is not None
    replace(ca, LONG, {1})
    assert maps.find(ca, {serial(1)}) is None
    assert wait_for_map(maps, ca).rows[serial(1)].is_revoked


@pytest.mark.process
def test_without_a_cache_it_is_searched(ca, monkeypatch):
    replace(ca, LONG)
    os.chmod(ca.cache, 0o777)  # where everybody could leave a map
    directory, ca.cache = ca.cache, None
    for cache in (None, directory, "/nowhere"):
        ca.cache = cache
        maps = index_maps.IndexMaps()
        for _ in range(3):
            assert maps.find(ca, {serial(1)}) is None
        if maps._known[ca.db]._child is not None:
            maps._known[ca.db]._child.terminate()
            maps._known[ca.db]._child.wait()
    assert os.listdir(directory) == []


@pytest.mark.process
def test_a_map_that_cannot_be_written_is_logged(ca, capfd, monkeypatch):
    replace(ca, LONG)
    os.chmod(ca.cache, 0o500)
    monkeypatch.setattr(limits, "MAP_RETRY_SECONDS", 0)
    with as_nobody():
        map_writer.write(f"{ca.db}/index", f"{ca.cache}/x.map")
    log = capfd.readouterr().err
    assert f" ocsp.cgi: warning: {ca.db}/index is searched for each request" in log
    assert f"{ca.cache}/x.map.lock: Permission denied: the responder's user must" in log


@pytest.mark.process
def test_what_it_leaves_when_it_is_killed_is_not_mixed_with_an_earlier_reason(ca):
    """Killed while it makes the map, after one that could not."""
    os.mkfifo(f"{ca.db}/index")  # which it waits for
    path = f"{ca.cache}/x.map"
    lock = Path(path + sidecar.LOCK_SUFFIX)
    lock.write_text("the reason of the one before")
    with program(sidecar.command(f"{ca.db}/index", path)):
        deadline = time.monotonic() + 30
        while not lock.read_bytes().startswith(sidecar.STARTED) and time.monotonic() < deadline:
            time.sleep(0.02)
    assert lock.read_bytes() == sidecar.STARTED


@pytest.mark.process
def test_a_process_that_cannot_be_started_is_logged(ca, capfd, monkeypatch):
    """Once in a while; the index is searched."""
    replace(ca, LONG)
    monkeypatch.setattr(sidecar, "_python", lambda: "/nowhere/python3")
    maps = index_maps.IndexMaps()
    for _ in range(3):
        assert maps.find(ca, {serial(1)}) is None
    log = capfd.readouterr().err
    assert log.count("\n") == 1 and log.endswith("/nowhere/python3: No such file or directory\n")


@pytest.mark.process
def test_after_an_edit_of_the_config_no_more_are_started(ca, place, capfd, monkeypatch):
    """While the config is read for each request, since it was written to a moment ago."""
    replace(ca, LONG)
    monkeypatch.setattr(sidecar, "_python", lambda: "/nowhere/python3")
    path = place / "ocsp-cgi.conf"
    path.write_text("[root-ca]\ndb = db\nca = a\nrsigner = a\nrkey = a\ncache = cache\n")
    files = ResidentFiles(settling=3600)
    for _ in range(3):
        (edited,) = files.settings(str(path)).cas
        assert serial(1) in files.find(edited, {serial(1)}).rows
    assert capfd.readouterr().err.count("/nowhere/python3: No such file or directory\n") == 1


def _is_half(file: Path) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2))


def _is_a_link(file: Path) -> None:
    file.rename(file.with_suffix(".elsewhere"))
    file.symlink_to(file.with_suffix(".elsewhere"))


def _is_a_fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def _is_another_users(file: Path) -> None:
    os.chown(file, 65534, 65534)


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [_is_half, _is_a_link, _is_a_fifo, pytest.param(_is_another_users, marks=pytest.mark.root)],
)
def test_a_file_that_is_not_our_map_is_replaced(ca, change):
    """A power failure may have left half of it, and others could have left out what is revoked."""
    replace(ca, LONG)
    wait_for_map(index_maps.IndexMaps(), ca)
    (file,) = Path(ca.cache).glob("*.map")
    change(file)
    maps = index_maps.IndexMaps()
    assert maps.find(ca, {serial(1)}) is None
    wait_for_map(maps, ca)


@pytest.mark.process
def test_a_process_that_leaves_no_map_is_not_started_for_each_request(ca, monkeypatch):
    replace(ca, LONG)
    monkeypatch.setattr(sidecar, "_PROGRAM", "")
    maps = index_maps.IndexMaps()
    started = set()
    for _ in range(5):
        assert maps.find(ca, {serial(1)}) is None
        child = maps._known[ca.db]._child
        child.wait()
        started.add(child.pid)
    assert len(started) == 1
    replace(ca, LONG, {1})
    assert maps.find(ca, {serial(1)}) is None
    assert maps._known[ca.db]._child.pid not in started
    maps._known[ca.db]._child.wait()


def test_without_memory_for_a_map_the_index_is_searched(ca, capfd, monkeypatch):
    def make(file):
        raise MemoryError

    replace(ca, 10)
    monkeypatch.setattr(index_map, "make", make)
    files = ResidentFiles()
    for _ in range(3):
        assert serial(1) in files.find(ca, {serial(1)}).rows
    assert capfd.readouterr().err.count("is searched for each request") == 1


@pytest.mark.process
@pytest.mark.slow
def test_a_large_index_replaced_ten_times_under_load(ca):
    """In version n of the index the serial numbers 1 to n are revoked.  No answer is older than the
    version that was in place when it was asked for, or newer than the last when it came."""
    rows, versions = 100_000, 10
    replace(ca, rows)
    files = [ResidentFiles(), ResidentFiles()]  # as of two processes
    placing, placed = [0], [0]
    wrong: list[str] = []
    asked = mapped = 0
    ended = threading.Event()

    def ask(number: int) -> None:
        nonlocal asked, mapped
        chance = random.Random(number)
        own = files[number % 2]
        while not ended.is_set():
            n = chance.randrange(1, versions + 1)
            least = placed[0]
            known = own._maps.find(ca, {serial(n), serial(rows), 5})
            found = known or own.find(ca, {serial(n), serial(rows), 5})
            most = placing[0]
            asked, mapped = asked + 1, mapped + (known is not None)
            is_revoked = found.rows[serial(n)].is_revoked
            if n > most if is_revoked else n <= least:
                wrong.append(f"{n}: revoked={is_revoked}, between {least} and {most}")
            if serial(rows) not in found.rows or 5 in found.rows:
                wrong.append(f"{n}: {sorted(found.rows)}")

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for version in range(1, versions + 1):
        placing[0] = version
        replace(ca, rows, set(range(1, version + 1)))
        placed[0] = version
        time.sleep(0.1 if version % 3 else 3)
    time.sleep(2)
    ended.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert mapped > asked / 10 > 100, (mapped, asked)
