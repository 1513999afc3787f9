"""The cache, as `check` sees it."""

from __future__ import annotations

import fcntl
import subprocess

import pytest
from checking import problem, problems, subject_of, write_config

from ocsp_cgi import limits, map_writer, sidecar
from ocsp_cgi.checks import cache
from ocsp_cgi.checks.finding import Level


@pytest.fixture
def path(ca):
    return write_config(ca.home, cache="cache")


def test_no_cache(ca):
    [found] = cache.examine(subject_of(ca.home / "ocsp-cgi.conf"))
    assert (found.level, "no `cache` in [root-ca]" in found.what) == (Level.OK, True)


def test_a_missing_cache_is_made_by_the_command(ca, path):
    found = problem(cache, subject_of(path))
    assert (found.level, found.where) == (Level.WARN, str(ca.home / "cache"))
    subprocess.run(found.command, shell=True, check=True)
    [found] = cache.examine(subject_of(path))
    assert found.level == Level.OK and "`cache` has 0 responses, " in found.what


def test_what_everybody_can_write_to_is_not_used(ca, path):
    directory = ca.home / "cache"
    directory.mkdir()
    directory.chmod(0o777)
    (directory / "foreign").touch()
    found = problem(cache, subject_of(path))
    subprocess.run(found.command, shell=True, check=True)
    assert problems(cache, subject_of(path)) == []
    assert list(directory.iterdir()) == []


def test_a_file(ca, path):
    (ca.home / "cache").touch()
    assert "not a directory" in problem(cache, subject_of(path)).what


def test_size(ca):
    path = write_config(ca.home, cache="cache", cache_size="1")
    (ca.home / "cache" / "buckets-8" / "1").mkdir(parents=True)
    (ca.home / "cache" / "buckets-8" / "1" / "x.ocsp").write_bytes(bytes(400 * 1024))
    [found] = cache.examine(subject_of(path))
    assert "`cache` has 1 response, 4" in found.what and found.what.endswith("of 1024 KiB")
    [measure] = found.measures
    assert (measure.name, measure.unit) == (f"cache {ca.home}/cache", "B")
    assert measure.value >= 400 * 1024


def test_a_full_disk(ca):
    """No disk has room for a tebibyte of responses."""
    path = write_config(ca.home, cache="cache", cache_size=str(1024 * 1024))
    (ca.home / "cache").mkdir()
    assert "its disk has only" in problem(cache, subject_of(path)).what


@pytest.mark.slow
def test_a_map_that_cannot_be_written(ca, path, monkeypatch):
    """The reason is known until it can be."""
    monkeypatch.setattr(limits, "MAP_RETRY_SECONDS", 0)
    index, map_ = ca.home / "db" / "index", ca.home / "cache" / "index-0badcafe.map"
    map_.parent.mkdir(mode=0o750)
    map_.mkdir()
    map_writer.write(str(index), str(map_))
    found = problem(cache, subject_of(path))
    assert f"{index} is searched for each request, which takes longer" in found.what
    assert "Is a directory" in found.what
    lock = map_.with_name(f"{map_.name}.lock")
    lock.write_bytes(sidecar.STARTED)
    with open(lock, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # it is at work
        assert problems(cache, subject_of(path)) == []
    assert f"{lock}: the process that writes" in problem(cache, subject_of(path)).what
    map_.rmdir()
    map_writer.write(str(index), str(map_))
    assert problems(cache, subject_of(path)) == []
    assert map_.exists()


@pytest.mark.root
def test_another_owner(ca, path):
    (ca.home / "cache").mkdir(mode=0o755)
    found = problem(cache, subject_of(path, "nobody"))
    assert "nobody cannot write in it: Permission denied" in found.what
    subprocess.run(found.command, shell=True, check=True)
    assert problems(cache, subject_of(path, "nobody")) == []
