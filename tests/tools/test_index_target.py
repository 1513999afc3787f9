"""Where an index is put into place."""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ocsp_cgi.sync_state import SyncState
from ocsp_cgi.tools import as_user
from ocsp_cgi.tools.index_target import Busy, Target
from ocsp_cgi.tools.not_copied import Failed

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(params=["directory", "file of another name"])
def db(request, tmp_path):
    tmp_path.chmod(0o750)
    db = tmp_path / "db"
    db.mkdir(mode=0o750)
    if request.param == "directory":
        return db
    (db / "root-ca.db").touch()
    return db / "root-ca.db"


def put(target: Target, content: bytes = b"new\n", changed: float = 1000) -> None:
    with target.locked(0) as place:
        copy = place / target.path.name
        copy.write_bytes(content)
        copy.chmod(0o600)
        target.prepare(copy, changed)
        target.replace(copy)


def test_the_index_is_for_the_group_under_any_umask(db):
    before = os.umask(0o077)
    try:
        put(Target(str(db)))
        os.umask(0o000)
        put(Target(str(db)))
    finally:
        os.umask(before)
    path = Target(str(db)).path
    of = path.stat()
    assert path.name == ("index" if db.is_dir() else "root-ca.db")
    assert (path.read_bytes(), of.st_mode & 0o777, of.st_mtime) == (b"new\n", 0o640, 1000)
    assert of.st_gid == path.parent.stat().st_gid


@pytest.mark.root
def test_the_index_has_the_group_of_its_directory(tmp_path):
    group = next(one.gr_gid for one in grp.getgrall() if one.gr_gid)
    os.chown(tmp_path, 0, group)
    put(Target(str(tmp_path)))
    assert (tmp_path / "index").stat().st_gid == group


def test_where_everybody_may_list_the_directory_everybody_may_read(tmp_path):
    tmp_path.chmod(0o755)
    put(Target(str(tmp_path)))
    assert (tmp_path / "index").stat().st_mode & 0o777 == 0o644


def test_the_index_never_looks_as_if_it_was_being_written(tmp_path):
    put(Target(str(tmp_path)), changed=time.time() + 1000)
    of = (tmp_path / "index").stat()
    assert of.st_mtime_ns < of.st_ctime_ns


def test_an_index_that_is_a_symlink_is_replaced_where_it_leads_to(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "index.7").write_text("old\n")
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "index").symlink_to("../real/index.7")
    put(Target(str(tmp_path / "db")))
    assert (tmp_path / "real" / "index.7").read_text() == "new\n"
    assert (tmp_path / "db" / "index").is_symlink()


def holding(db, seconds: float) -> subprocess.Popen[str]:
    """Another process, which is inside locked() for so long."""
    program = (
        "import sys, time\n"
        "from ocsp_cgi.tools.index_target import Target\n"
        "with Target(sys.argv[1]).locked(0):\n"
        "    print('locked', flush=True)\n"
        "    time.sleep(float(sys.argv[2]))\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", program, db, str(seconds)],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout and other.stdout.readline() == "locked\n"
    return other


@pytest.mark.slow
@pytest.mark.process
def test_another_run_is_waited_for_as_long_as_asked(db):
    with holding(db, 0.5) as other:
        with pytest.raises(Busy), Target(str(db)).locked(0):
            pass
        with Target(str(db)).locked(20):
            assert other.wait(5) == 0


@pytest.mark.process
def test_what_a_killed_run_left_is_removed_by_the_next_one(db):
    with holding(db, 60) as other:
        other.kill()
    target = Target(str(db))
    scratch = target.path.with_name(f".{target.path.name}.sync")
    beside = f"{db}/sync.1234" if db.is_dir() else f"{db}.sync.1234"
    open(beside, "x").close()
    (scratch / "file").touch()
    assert len(list(scratch.iterdir())) == 2
    put(target)
    assert list(scratch.iterdir()) == [] and not os.path.exists(beside)


def test_the_heartbeat_says_how_old_the_source_is(db):
    target = Target(str(db))
    heartbeat = db / "heartbeat" if db.is_dir() else db.with_name("root-ca.db.heartbeat")
    for as_of in (2000.5, 1000, 3000):
        target.touch_heartbeat(as_of)
        assert heartbeat.stat().st_mtime == as_of
    before = heartbeat.stat().st_ino
    target.touch_heartbeat(3000.2)
    assert heartbeat.stat().st_ino == before
    target.write_state(SyncState(1, "x", "ok"))
    assert heartbeat.with_name(heartbeat.name.replace("heartbeat", "sync")).exists()


def test_a_database_that_is_missing(tmp_path):
    for db in (tmp_path / "none", tmp_path / "none" / "index"):
        with pytest.raises(Failed, match=f"{db}: no such directory"):
            Target(str(db))


@pytest.mark.root
def test_root_does_not_write_where_others_can(tmp_path):
    for mode in (0o770, 0o1777):
        tmp_path.chmod(mode)
        with pytest.raises(Failed, match="others than its owner can write here") as error:
            put(Target(str(tmp_path)))
        assert error.value.fix == f"chmod go-w {tmp_path}"
        assert list(tmp_path.iterdir()) == []


@pytest.mark.root
def test_nor_beside_a_link_that_another_user_may_change(tmp_path):
    """The index itself is in a directory of root's; its heartbeat and map are beside the link."""
    for name in ("theirs", "own"):
        (tmp_path / name).mkdir(mode=0o750)
    (tmp_path / "theirs" / "index").symlink_to(tmp_path / "own" / "index")
    os.chown(tmp_path / "theirs", 65534, -1)
    with pytest.raises(Failed, match="belongs to another user, so root must not") as error:
        put(Target(str(tmp_path / "theirs")))
    assert error.value.fix == f"chown root {tmp_path}/theirs"
    assert list((tmp_path / "own").iterdir()) == []


@pytest.mark.root
def test_a_scratch_directory_of_root_is_named(tmp_path):
    """Root has copied before the directory was given to another user."""
    db, scratch = tmp_path / "db", tmp_path / "db" / ".index.sync"
    scratch.mkdir(0o700, parents=True)
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_uid == 0 and path.stat().st_mode & 0o001 == 0:
            path.chmod(0o755)
    os.chown(db, pwd.getpwnam("daemon").pw_uid, -1)

    def fix() -> str:
        with pytest.raises(Failed, match="does not belong to the owner of") as error:
            put(Target(str(db)))
        return error.value.fix

    assert as_user.call("daemon", fix) == f"rm -r {scratch}"
    assert scratch.is_dir()


def test_a_link_in_place_of_the_scratch_directory_is_not_followed(tmp_path):
    (tmp_path / "db").mkdir(mode=0o750)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    (tmp_path / "db" / ".index.sync").symlink_to(tmp_path / "other")
    with pytest.raises(Failed):
        put(Target(str(tmp_path / "db")))
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["file"]


@pytest.mark.root
def test_root_does_not_write_where_another_user_leads_it(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", 65534, 65534)
    (tmp_path / "theirs" / "db").symlink_to(tmp_path / "precious")
    with pytest.raises(Failed, match=r"theirs/db: a link to .*, which is not followed"):
        Target(str(tmp_path / "theirs" / "db"))
