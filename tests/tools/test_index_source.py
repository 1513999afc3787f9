"""A local file that an index is copied from."""

from __future__ import annotations

import os
import threading
import time

import pytest

from ocsp_cgi import limits
from ocsp_cgi.tools.index_source import LocalSource
from ocsp_cgi.tools.not_copied import Failed, Refused

LIMIT = 1000
INDEX = b"V\t270220135115Z\t\t0A\tunknown\t/CN=x\n"


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "pushed" / "index"
    path.parent.mkdir()
    path.write_bytes(INDEX)
    os.utime(path, (1_700_000_000,) * 2)
    return path


def copy(tmp_path, source, limit: int = LIMIT):
    return LocalSource(str(source)).copy(tmp_path / "target", tmp_path / "copy", limit)


def test_copied_or_unchanged(tmp_path, source):
    for name in (source, source.parent):
        copied = copy(tmp_path, name)
        assert (copied.path, copied.path.read_bytes()) == (tmp_path / "copy", INDEX)
        assert copied.changed == copied.as_of == 1_700_000_000
    (tmp_path / "target").write_bytes(INDEX)
    assert copy(tmp_path, source).path is None
    for other in (INDEX[:-1], INDEX + b"\n", INDEX.lower()):
        (tmp_path / "target").write_bytes(other)
        assert copy(tmp_path, source).path


@pytest.mark.parametrize("name", ["heartbeat", "index.heartbeat"])
def test_a_heartbeat_that_was_pushed_too_tells_the_age(tmp_path, source, name):
    heartbeat = source.with_name(name)
    heartbeat.touch()
    for time_of_heartbeat, as_of in (
        (1_700_000_500, 1_700_000_500),
        (1_600_000_000, 1_700_000_000),
    ):
        os.utime(heartbeat, (time_of_heartbeat,) * 2)
        copied = copy(tmp_path, source)
        assert (copied.changed, copied.as_of) == (1_700_000_000, as_of)


@pytest.mark.slow
def test_a_file_that_is_being_written_is_waited_for(tmp_path, source):
    """As scp writes: over the old bytes, with pauses."""
    new = INDEX.replace(b"0A", b"0B") * 3

    def push() -> None:
        with open(source, "r+b", buffering=0) as file:
            for at in range(0, len(new), 40):
                file.write(new[at : at + 40])
                time.sleep(0.4)

    pushing = threading.Thread(target=push)
    pushing.start()
    time.sleep(0.1)
    copied = copy(tmp_path, source)
    pushing.join()
    assert copied.path.read_bytes() == new


def test_a_file_that_never_settles_is_not_copied(tmp_path, source, monkeypatch):
    monkeypatch.setattr(limits, "DATABASE_WAIT_SECONDS", 0)
    source.write_bytes(INDEX)
    with pytest.raises(Failed, match="is being written at this moment"):
        copy(tmp_path, source)
    assert not (tmp_path / "copy").exists()


def test_a_file_that_is_missing_for_a_moment_is_waited_for(tmp_path, source):
    hidden = source.with_name("index.new")
    source.rename(hidden)
    threading.Timer(0.2, hidden.rename, [source]).start()
    assert copy(tmp_path, source).path.read_bytes() == INDEX


def test_what_cannot_be_copied(tmp_path, source, monkeypatch):
    with pytest.raises(Refused, match=f"more than --max-size = {len(INDEX) - 1} bytes"):
        copy(tmp_path, source, len(INDEX) - 1)
    assert copy(tmp_path, source, len(INDEX)).path
    os.link(source, tmp_path / "target")
    with pytest.raises(Failed, match="is the index in `db` itself"):
        copy(tmp_path, source)
    os.mkfifo(source.with_name("pipe"))
    with pytest.raises(Failed, match="not a regular file"):
        copy(tmp_path, source.with_name("pipe"))
    monkeypatch.setattr(limits, "DATABASE_RETRY_SECONDS", 0)
    with pytest.raises(Failed, match="none: No such file") as error:
        copy(tmp_path, source.with_name("a none"))
    assert error.value.fix == f"ls -l '{source.parent}/a none'"
    source.with_name("index.txt").touch()
    with pytest.raises(Failed, match=r"both index and index\.txt"):
        copy(tmp_path, source.parent)
