"""The file of the index: waited for, opened and recognized, and the heartbeat beside it."""

from __future__ import annotations

import os
import threading
import time
import types

import pytest
from clients import settle
from index_lines import REVOKED_ROW, ROW

from ocsp_cgi import index_file, limits


def read(db: object) -> bytes:
    return index_file.read(str(db), lambda file: file.read())


@pytest.fixture
def short_retry(monkeypatch):
    monkeypatch.setattr(limits, "DATABASE_RETRY_SECONDS", 0.02)


@pytest.mark.parametrize("name", ["index", "index.txt"])
def test_names_of_an_index(tmp_path, name):
    (tmp_path / name).write_bytes(ROW % b"0A")
    assert index_file.path_of(str(tmp_path)) == str(tmp_path / name)
    assert read(tmp_path) == ROW % b"0A"


def test_section_2_index_old_is_never_read(tmp_path, short_retry):
    (tmp_path / "index.old").write_bytes(ROW % b"0A")
    with pytest.raises(index_file.DatabaseUnavailable, match="index: No such file or directory"):
        read(tmp_path)


@pytest.mark.parametrize("left_over", ["index.txt", "index.txt.old"])
def test_two_databases_in_one_directory_are_refused(tmp_path, left_over):
    """Either could be the stale one, also in the moment between openssl's two renames."""
    (tmp_path / left_over).write_bytes(ROW % b"0A")
    (tmp_path / "index").write_bytes(REVOKED_ROW % b"0A")
    with pytest.raises(
        index_file.DatabaseUnavailable,
        match=r"both index and index.txt, or their \.old: remove the pair",
    ):
        read(tmp_path)


def test_section_2_a_missing_index_is_waited_for(tmp_path):
    (tmp_path / "index.new").write_bytes(REVOKED_ROW % b"0A")
    (tmp_path / "index.old").write_bytes(ROW % b"0A")
    rename = threading.Timer(0.05, os.rename, (tmp_path / "index.new", tmp_path / "index"))
    rename.start()
    try:
        assert read(tmp_path) == REVOKED_ROW % b"0A"
    finally:
        rename.join()


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
def test_errors_name_the_file_and_the_fix(tmp_path, short_retry, make, message):
    make(tmp_path / "db")
    with pytest.raises(index_file.DatabaseUnavailable) as error:
        read(tmp_path / "db")
    fix = " `db` names the index, or the directory that holds `index`"
    assert str(error.value) == f"{tmp_path}/{message}{fix}"


def test_db_may_name_the_index(tmp_path):
    """Of any name; also between the two renames of `openssl ca`, and with a heartbeat beside it."""
    path = tmp_path / "root-ca.db"
    (tmp_path / "new").write_bytes(REVOKED_ROW % b"0A")
    rename = threading.Timer(0.05, os.rename, (tmp_path / "new", path))
    rename.start()
    try:
        assert read(path) == REVOKED_ROW % b"0A"
    finally:
        rename.join()
    with pytest.raises(
        index_file.DatabaseUnavailable, match=r"root-ca\.db\.heartbeat: No such file"
    ):
        index_file.check_heartbeat(str(path), 60, int(time.time()))
    (tmp_path / "root-ca.db.heartbeat").touch()
    index_file.check_heartbeat(str(path), 60, int(time.time()))


def test_is_unchanged(tmp_path):
    path = tmp_path / "index"
    path.write_bytes(ROW % b"0B" + ROW % b"0A")
    of, offset, line = os.stat(path), len(ROW % b"0B"), (ROW % b"0A").rstrip()
    fingerprint = index_file.fingerprint(of)
    assert index_file.is_unchanged(str(tmp_path), fingerprint, offset, line)
    assert not index_file.is_unchanged(str(tmp_path), fingerprint, offset, line[:-1] + b"x")
    assert not index_file.is_unchanged(str(tmp_path), fingerprint, offset + 1, line)
    os.utime(path, (0, 0))
    assert not index_file.is_unchanged(str(tmp_path), fingerprint, offset, line)


def may_be_a_mixture(path) -> bool:
    return index_file.may_be_a_mixture(str(path), os.stat(path))


def test_a_file_written_in_place_may_be_a_mixture_until_it_has_settled(tmp_path):
    path = tmp_path / "index"
    path.write_bytes(ROW % b"0A")
    assert may_be_a_mixture(path)
    settle(path)
    assert not may_be_a_mixture(path)


def _one_tick(directory, make) -> None:
    """make() until its writes and renames fall into one tick of the kernel's clock."""
    for _ in range(1000):
        make()
        stat = os.stat(directory / "index")
        if stat.st_mtime_ns == stat.st_ctime_ns:
            return
    pytest.fail("never in one tick")


def test_what_openssl_ca_renames_in_the_tick_in_which_it_was_written_is_whole(tmp_path):
    """Its stat alone is that of a file written in place; that of its .old shows the difference."""
    path = tmp_path / "index"
    path.write_bytes(b"")

    def openssl_ca():
        settle(path)
        (tmp_path / "index.new").write_bytes(ROW % b"0A")
        os.rename(path, tmp_path / "index.old")
        os.rename(tmp_path / "index.new", path)

    _one_tick(tmp_path, openssl_ca)
    assert not may_be_a_mixture(path)
    with open(path, "r+b") as file:  # a copy over it
        file.write(ROW % b"0A")
    assert may_be_a_mixture(path)


def test_a_bind_mount_of_a_file_is_told_from_a_rename(tmp_path, monkeypatch):
    """`openssl ca` renames: a bind mount of the file shows the old one for ever, without a name."""
    path = tmp_path / "index"
    path.write_bytes(ROW % b"0A")
    stat = os.stat(path)
    unlinked = types.SimpleNamespace(
        **{name: getattr(stat, name) for name in dir(stat) if name.startswith("st_")}
    )
    unlinked.st_nlink = 0
    real = index_file.posix.fstat
    monkeypatch.setattr(index_file.posix, "fstat", lambda descriptor: unlinked)
    with pytest.raises(
        index_file.DatabaseUnavailable, match="index: this file has been replaced, and its old"
    ):
        read(tmp_path)

    stats = iter([unlinked])
    monkeypatch.setattr(
        index_file.posix, "fstat", lambda descriptor: next(stats, None) or real(descriptor)
    )
    assert read(tmp_path) == ROW % b"0A"


def test_heartbeat(tmp_path):
    now = int(time.time())
    with pytest.raises(
        index_file.DatabaseUnavailable, match="heartbeat: No such file or directory"
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


@pytest.mark.parametrize(
    "seconds, words", [(0, "0 seconds"), (1, "1 second"), (2, "2 seconds"), (120, "2 minutes")]
)
def test_durations(seconds, words):
    assert index_file.duration(seconds) == words
