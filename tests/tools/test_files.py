"""Files written and given away by root: never half-written, and no other file by mistake."""

from __future__ import annotations

import os
import stat

import pytest

from ocsp_cgi.tools import files
from ocsp_cgi.tools.entry import CommandError


def test_what_cannot_be_read_is_empty(place):
    assert (files.content(place / "none"), files.digest(place)) == (b"", "")


def test_a_file_has_its_mode_and_nothing_is_left_over(place):
    path = place / "file"
    files.write(path, b"one", 0o640)
    files.write(path, b"two", 0o604)
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"two", 0o604)
    (place / "directory").mkdir()
    with pytest.raises(OSError):
        files.write(place / "directory", b"three", 0o644)
    assert sorted(one.name for one in place.iterdir()) == ["directory", "file"]


def test_no_link_is_followed_to_a_file_of_others(place, monkeypatch):
    """Which the owner of the directory puts in the place of the unfinished file."""
    other = place / "other"
    other.write_bytes(b"")
    other.chmod(0o600)
    fsync = os.fsync

    def swap(descriptor):
        fsync(descriptor)
        [unfinished] = place.glob(".file.*")
        unfinished.unlink()
        unfinished.symlink_to(other)

    monkeypatch.setattr(os, "fsync", swap)
    files.write(place / "file", b"content", 0o644, (os.geteuid(), os.getegid()))
    assert stat.S_IMODE(other.stat().st_mode) == 0o600


def test_only_a_file_with_one_name_is_given_away(place):
    path, uid, gid = place / "file", os.geteuid(), os.getegid()
    path.write_bytes(b"")
    files.give(path, 0o600, uid, gid)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (place / "link").symlink_to(path)
    with pytest.raises(OSError):
        files.give(place / "link", 0o666, uid, gid)
    os.link(path, place / "second")
    os.mkfifo(place / "fifo")
    for name in ("second", "fifo"):
        with pytest.raises(CommandError, match="neither a directory nor a file with one name"):
            files.give(place / name, 0o666, uid, gid)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.root
def test_no_link_that_another_user_has_made_is_followed(place):
    """Not even where the file lies deeper: that user could choose what root gives away."""
    (place / "precious").mkdir(mode=0o700)
    (place / "precious" / "file").write_bytes(b"")
    (place / "theirs").mkdir()
    (place / "ours").symlink_to(place / "theirs")
    os.chown(place / "theirs", 65534, 65534)
    for name in ("theirs/link", "ours/link", "ours/../theirs/link"):
        (place / "theirs" / "link").symlink_to("../precious")
        for path in (place / name / "file", place / name / "none"):
            with pytest.raises(CommandError, match="theirs/link: a link to "):
                files.real_path(path)
        with pytest.raises(CommandError):
            files.give(place / name / "file", 0o644, 65534, 65534)
        (place / "theirs" / "link").unlink()
    assert (place / "precious" / "file").stat().st_uid == 0
    (place / "theirs" / "file").write_bytes(b"")
    assert files.real_path(place / "ours" / "file") == place / "theirs" / "file"
    files.give(place / "ours" / "file", 0o604, 65534, 65534)
    assert (place / "theirs" / "file").stat().st_uid == 65534
    with pytest.raises(OSError, match="ours/file"):
        os.close(files.opened(place / "ours" / "file", os.O_RDONLY))
