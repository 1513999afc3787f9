"""`sync`, as an operator types it, from files on this host.  Copies through ssh are in
tests/test_sync_job.py."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from clients import settle

from ocsp_cgi import command_line, config, index_file, limits, sidecar, sync_state
from ocsp_cgi.sync_state import SyncState
from ocsp_cgi.tools.entry import CommandError

CHECKOUT = Path(__file__).resolve().parent.parent.parent
OTHER_ROW = "V\t270220135115Z\t\t%X\tunknown\t/CN=x\n"


class Host:
    """A responder with a section for each CA that is added."""

    def __init__(self, home: Path, capsys, monkeypatch):
        self.home, self.config = home, home / "ocsp-cgi.conf"
        self._capsys, self._monkeypatch = capsys, monkeypatch

    def add(self, name: str, ca, source: Path | str, db: str = "", more: str = "") -> Path:
        """Returns `db`."""
        directory = self.home / (db or name)
        directory.mkdir(mode=0o750, exist_ok=True)
        sync_from = f"sync_from = {source}\n" if source else ""
        with open(self.config, "a") as file:
            file.write(
                f"[{name}]\ndb = {directory}\nca = {ca.home}/root-ca.crt\n"
                f"rsigner = {ca.home}/root-ocsp.crt\nrkey = {ca.home}/private/root-ocsp.key\n"
                f"{sync_from}{more}"
            )
        return directory

    def sync(self, *arguments: str) -> tuple[int, list[str], list[str]]:
        """(exit code, lines of output, lines about problems)."""
        words = ["ocsp-cgi", "sync", "--config", str(self.config), *arguments]
        self._monkeypatch.setattr(sys, "argv", words)
        umask = os.umask(0o022)
        try:
            status = command_line.main()
        finally:
            os.umask(umask)
        printed = self._capsys.readouterr()
        return status, printed.out.splitlines(), printed.err.splitlines()


@pytest.fixture
def host(place, capsys, monkeypatch) -> Host:
    monkeypatch.setattr(limits, "DATABASE_RETRY_SECONDS", 0.05)
    (place / "host").mkdir()
    return Host(place / "host", capsys, monkeypatch)


@pytest.fixture
def source(ca) -> Path:
    index = ca.home / "db" / "index"
    settle(index)
    return index


def edit(source: Path, text: str) -> None:
    source.write_text(text)
    settle(source)


def test_copied_then_unchanged_then_one_more(host, ca, source):
    db = host.add("root-ca", ca, source)
    status, [line], problems = host.sync()
    assert (status, problems) == (0, [])
    assert re.fullmatch(
        r"\[root-ca\] copied: 5 rows, 2 revoked \(the source is \d+ seconds old\)", line
    )
    before = index_file.fingerprint((db / "index").stat())
    assert host.sync()[1][0].startswith("[root-ca] unchanged (the source is ")
    assert index_file.fingerprint((db / "index").stat()) == before
    edit(source, source.read_text() + OTHER_ROW % 1)
    assert host.sync()[1][0].startswith("[root-ca] copied: 6 rows, 1 more than before (")
    assert (db / "index").read_bytes() == source.read_bytes()
    state = sync_state.read(str(db))
    assert (state.source, state.result, state.reason) == (str(source), sync_state.OK, "")
    assert {path.name for path in db.iterdir()} == {"index", "heartbeat", "sync", ".index.sync"}


def test_the_map_of_a_long_index(host, ca, source, monkeypatch):
    """Written beside it, for whoever may read the index; again only when that has changed."""
    monkeypatch.setattr(limits, "SEARCHED_BYTES", 0)
    edit(source, source.read_text() + "".join(OTHER_ROW % n for n in range(4096, 13080)))
    db = host.add("root-ca", ca, source)
    db.chmod(0o2750)
    settings = config.load(str(host.config)).cas[0]
    for revoked in (None, "good"):
        if revoked:
            ca.revoke(revoked)
            settle(source)
        assert host.sync()[0::2] == (0, [])
        of, index = (db / "map").stat(), (db / "index").stat()
        assert (of.st_mode & 0o777, of.st_gid) == (0o640, index.st_gid)
        number = int(ca.serial("good"), 16)
        found = sidecar.find(settings, {number, 4096, 13080}, frozenset(), b"")
        assert set(found.rows) == {number, 4096}
        assert found.rows[number].is_revoked == bool(revoked)
        assert host.sync()[0::2] == (0, [])
        assert (db / "map").stat().st_ino == of.st_ino
    (db / "map").unlink()
    assert host.sync()[0] == 0
    assert sidecar.find(settings, {4096}, frozenset(), b"").rows
    (db / "map.12345").touch()
    host.sync()
    names = {path.name for path in db.iterdir()}
    assert names == {"index", "heartbeat", "sync", ".index.sync", "map"}


def test_a_map_that_cannot_be_written(host, ca, source):
    """The index is in its place all the same."""
    edit(source, source.read_text() + "".join(OTHER_ROW % n for n in range(4096, 13080)))
    db = host.add("root-ca", ca, source)
    (db / "map").mkdir()
    status, [line], [problem] = host.sync()
    assert status == 1 and line.startswith("[root-ca] copied: 8989 rows")
    text = "the index is searched for each request, which takes longer, since there is no map of it"
    assert problem == f"[root-ca] {text}: {db}/map: Is a directory"
    assert (db / "index").read_bytes() == source.read_bytes()
    assert sync_state.read(str(db)).result == sync_state.OK


def test_copying_the_same_file_again_does_not_make_it_fresh(host, ca, source):
    db = host.add("root-ca", ca, source, more="stale_after = 10\n")
    os.utime(source, (time.time() - 7200.5,) * 2)
    for word in ("copied", "unchanged"):
        status, output, problems = host.sync("--quiet")
        assert (status, output) == (1, []) and problems[0].startswith(f"[root-ca] {word}")
        assert problems[0].endswith(
            f"{source} is 2 hours old, more than stale_after = 10 minutes, so the responder does"
            " not answer"
        )
        assert (db / "heartbeat").stat().st_mtime == source.stat().st_mtime
    (source.parent / "heartbeat").touch()
    assert host.sync() == (0, ["[root-ca] unchanged"], [])
    assert time.time() - (db / "heartbeat").stat().st_mtime < 30


def test_a_refusal_keeps_the_index_and_says_what_to_type(host, ca, source):
    db = host.add("root-ca", ca, source)
    host.sync()
    old, heartbeat = (db / "index").read_bytes(), (db / "heartbeat").stat().st_mtime
    edit(source, "".join(source.read_text().splitlines(True)[1:]))
    status, output, problems = host.sync()
    reason = (
        "it has 1 row fewer than the index in use, 4 instead of 5: has it been pruned, or is it an"
        " old one?"
    )
    command = f"ocsp-cgi sync --force root-ca --config {host.config}"
    assert (status, output) == (1, [])
    assert problems == [
        f"[root-ca] refused: {reason} The index in use stays as it is; if the new one is right:",
        f"    {command}",
    ]
    state = sync_state.read(str(db))
    assert (state.result, state.reason, state.fix) == (sync_state.REFUSED, reason, command)
    assert (db / "index").read_bytes() == old and (db / "heartbeat").stat().st_mtime == heartbeat
    assert host.sync("--force", "root-ca")[0] == 0
    assert (db / "index").read_bytes() == source.read_bytes()
    assert sync_state.read(str(db)).result == sync_state.OK


def test_an_unrevoked_certificate_is_refused_and_a_released_hold_is_not(host, ca, source):
    host.add("root-ca", ca, source)
    host.sync()
    rows = [row.split("\t") for row in source.read_text().splitlines()]
    for hold in (True, False):
        for row in rows:
            if row[0] == "R" and ("hold" in row[2]) == hold:
                row[0], row[2] = "V", ""
        edit(source, "".join("\t".join(row) + "\n" for row in rows))
        status, output, problems = host.sync()
        assert status == (0 if hold else 1)
        assert "1 fewer revoked" in output[0] if hold else "a revocation is final" in problems[0]


def test_the_index_of_another_ca_is_refused(host, ca, source):
    host.add("root-ca", ca, source)
    edit(source, OTHER_ROW % 1)
    status, _, problems = host.sync()
    assert status == 1 and f"no row for serial {ca.serial('root-ocsp')}" in problems[0]
    edit(source, OTHER_ROW % int(ca.serial("root-ocsp"), 16))
    for options in ([], ["--force"]):
        status, _, problems = host.sync(*options)
        assert status == 1 and "it is the index of another CA" in problems[0]


def test_a_ca_that_signs_itself_and_one_without_a_signer_yet_need_no_row(host, ca, source):
    edit(source, OTHER_ROW % 1)
    (ca.home / "root-ocsp.crt").unlink()
    host.add("new", ca, source)
    assert host.sync()[0] == 0
    (ca.home / "root-ocsp.crt").write_bytes((ca.home / "root-ca.crt").read_bytes())
    host.add("itself", ca, source)
    assert host.sync("itself")[0] == 0


def test_one_ca_that_fails_does_not_stop_the_others(host, ca, source):
    host.add("first", ca, "/nowhere/index")
    host.add("second", ca, source)
    host.add("third", ca, source)
    (host.home / "third").rmdir()
    host.add("fourth", ca, source)
    status, output, problems = host.sync()
    assert status == 1
    assert [line.split()[0] for line in output] == ["[second]", "[fourth]"]
    assert problems == [
        "[first] failed: /nowhere/index: No such file or directory:",
        "    ls -l /nowhere/index",
        f"[third] failed: {host.home}/third: no such directory; it should belong to the user that"
        f" copies (for an index of another name, `touch {host.home}/third`):",
        "    ocsp-cgi install",
    ]
    state = sync_state.read(str(host.home / "first"))
    assert (state.result, state.fix) == (sync_state.FAILED, "ls -l /nowhere/index")


def test_only_the_named_cas(host, ca, source):
    for name in ("a", "b", "c"):
        host.add(name, ca, source)
    _, output, _ = host.sync("c", "a")
    assert [line.split()[0] for line in output] == ["[c]", "[a]"]


def test_what_has_no_source(host, ca, source):
    host.add("a", ca, "")
    for names, text in (
        ([], "no CA in .* has `sync_from`"),
        (["a"], r"\[a\] has no `sync_from` in .*ocsp-cgi.conf: add"),
        (["b"], r"no \[b\] in the config; its CAs are \[a\]"),
    ):
        with pytest.raises(CommandError, match=text):
            host.sync(*names)


def test_two_sections_with_one_db_are_copied_once(host, ca, source):
    host.add("old-key", ca, source, "db")
    host.add("new-key", ca, source, "db")
    assert [line.partition(" copied")[0] for line in host.sync()[1]] == ["[old-key] [new-key]"]
    host.add("third", ca, "/elsewhere/index", "db")
    status, _, problems = host.sync()
    assert status == 1
    assert "[old-key] and [third] have one `db`, and different `sync_from`" in problems[0]


def test_quiet_prints_nothing_if_all_is_well(host, ca, source):
    host.add("root-ca", ca, source)
    assert host.sync("--quiet") == host.sync("--quiet") == (0, [], [])


@pytest.mark.parametrize("size, status", [("1K", 0), ("1g", 0), ("100", 1)])
def test_max_size(host, ca, source, size, status):
    host.add("root-ca", ca, source)
    assert host.sync("--max-size", size)[0] == status


@pytest.mark.parametrize("size", ["0", "-1", "1T", "G", "1.5G", "1KM", "x"])
def test_what_is_not_a_size(host, ca, source, size, capsys):
    host.add("root-ca", ca, source)
    with pytest.raises(SystemExit) as error:
        host.sync(f"--max-size={size}")
    assert error.value.code == 3 and f"invalid size `{size}`" in capsys.readouterr().err


def test_text_from_the_config_cannot_control_the_terminal(host, ca):
    host.add("root-ca", ca, "/nowhere/\x1b[2Jindex")
    _, _, problems = host.sync()
    assert problems[0].startswith("[root-ca] failed: /nowhere/\\x1b[2Jindex: No such file")


def start(host: Host, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "ocsp_cgi", "sync", "--config", str(host.config), *options]
    return subprocess.Popen(
        command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.slow
@pytest.mark.process
def test_several_at_once(host, ca, source):
    db = host.add("root-ca", ca, source)
    edit(source, source.read_text() + "".join(OTHER_ROW % number for number in range(200_000)))
    runs = [start(host) for _ in range(4)] + [start(host, "--quiet") for _ in range(2)]
    outputs = [run.communicate() for run in runs]
    assert [(run.returncode, errors) for run, (_, errors) in zip(runs, outputs)] == [(0, "")] * 6
    printed = [output.split()[1] for output, _ in outputs if output]
    assert printed.count("copied:") <= 1 and len(printed) == 4
    assert (db / "index").read_bytes() == source.read_bytes()


@pytest.mark.slow
@pytest.mark.process
def test_a_run_that_is_killed_leaves_the_old_index_or_the_new_one(host, ca, source):
    db = host.add("root-ca", ca, source)
    host.sync()
    draw = random.Random(1)
    killed = 0
    for number in range(12):
        old = (db / "index").read_bytes()
        rows = "".join(OTHER_ROW % one for one in range(30_000 * (number + 1), 30_000 * number, -1))
        edit(source, source.read_text() + rows)
        with start(host) as run:
            time.sleep(draw.uniform(0.1, 0.7))
            run.send_signal(signal.SIGKILL)
        killed += run.returncode == -signal.SIGKILL
        assert (db / "index").read_bytes() in (old, source.read_bytes())
        assert host.sync()[0] == 0
        assert (db / "index").read_bytes() == source.read_bytes()
        assert list((db / ".index.sync").iterdir()) == []
    assert killed


@pytest.mark.root
@pytest.mark.process
def test_root_copies_as_the_owner_of_the_database(host, ca, source, place):
    uid = 65534
    db = host.add("root-ca", ca, source)
    os.chown(db, uid, os.stat(db).st_gid)
    db.chmod(0o2750)
    umask = os.umask(0o077)
    with start(host) as run:
        output, errors = run.communicate()
    os.umask(umask)
    assert (run.returncode, errors) == (0, "") and "copied: 5 rows" in output
    for name, mode in (("index", 0o640), ("heartbeat", 0o644), ("sync", 0o644)):
        of = (db / name).stat()
        assert (of.st_uid, of.st_gid, of.st_mode & 0o777) == (uid, db.stat().st_gid, mode)
    source.chmod(0o600)
    with start(host) as run:
        _, errors = run.communicate()
    assert run.returncode == 1 and f"{source}: Permission denied" in errors
    assert f"namei -l {source}" in errors


@pytest.mark.root
@pytest.mark.process
def test_an_index_that_the_owner_of_the_database_cannot_read(host, ca, source):
    db = host.add("root-ca", ca, source)
    (db / "index").write_bytes(source.read_bytes())
    (db / "index").chmod(0o600)
    os.chown(db, 65534, -1)
    with start(host) as run:
        _, errors = run.communicate()
    assert run.returncode == 1
    assert errors.endswith(f"    chown --reference={db} {db}/index\n")


def test_the_state_of_a_run_replaces_that_of_the_one_before(host, ca, source):
    db = host.add("root-ca", ca, source)
    sync_state.write(str(db), SyncState(1, "x", sync_state.FAILED, "y", "z"))
    host.sync()
    state = sync_state.read(str(db))
    assert state.result == sync_state.OK and abs(state.ended - time.time()) < 30
