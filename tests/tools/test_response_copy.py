"""Signed responses copied with the real rsync, from a directory of this host."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import time

import pytest
from clients import settle
from keyless import copy_index, signing, without_key
from sshd import NEEDS_LOGIN, Sshd, sshd_is_installed

from ocsp_cgi import buckets, command_line, config, limits
from ocsp_cgi.answer import SUCCESSFUL, TRY_LATER
from ocsp_cgi.tools import remote_source, response_copy
from ocsp_cgi.tools.entry import CommandError
from ocsp_cgi.tools.not_copied import Failed

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed"),
]


@pytest.fixture
def signer(ca):
    host = signing(ca)
    for name in ("good", "bad"):
        assert host.ask(host.request(name)).response_status == SUCCESSFUL
    return host


@pytest.fixture
def web(ca, place, signer):
    host = without_key(place / "web", ca, f"cache_from = {signer.cache}", "cache = cache")
    copy_index(signer, host)
    return host


@pytest.fixture
def sync(web, monkeypatch, capsys):
    """sync(*words) runs the command, and returns the exit code and what it printed."""

    def sync(*words: str) -> tuple[int, str]:
        arguments = ["ocsp-cgi", "sync", "--config", str(web.config), *words]
        monkeypatch.setattr(sys, "argv", arguments)
        status = command_line.main()
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    umask = os.umask(0o022)  # which the command sets
    yield sync
    os.umask(umask)


def test_what_is_new_is_copied(signer, web, sync):
    assert web.ask().response_status == TRY_LATER
    assert sync() == (0, "[root-ca] 2 new responses copied, of 2\n")
    assert sync() == (0, "[root-ca] 0 new responses copied, of 2\n")
    for name in ("good", "bad"):
        assert web.ask(web.request(name)).der == signer.ask(signer.request(name)).der
    signer.ask(signer.request("held"))
    assert sync() == (0, "[root-ca] 1 new response copied, of 3\n")
    assert sync("--quiet") == (0, "")


def test_nothing_else_is_copied(signer, web, sync):
    """Not what the responder remembers of its signer, nor what is unfinished, nor links."""
    names = [path.name for path in signer.responses_in_cache]
    first = signer.responses_in_cache[0]
    (first.parent / ".1-2.ocsp").write_bytes(b"unfinished")
    (first.parent / "M.ocsp").symlink_to("/etc/passwd")
    (first.parent / "other").write_bytes(b"x")
    (first.parent / "long.ocsp").write_bytes(bytes(limits.CACHED_BYTES + 1))
    (signer.cache / "index-00000000.map").write_bytes(b"x")
    assert any(signer.cache.glob(".signer-*"))
    sync()
    copied = [path for path in (web.home / "db" / "responses").rglob("*") if path.is_file()]
    assert {path.name for path in copied} == {".pruned", *names}


@pytest.mark.slow
def test_two_with_one_length_and_one_next_update_are_told_apart(signer, web, sync):
    """As those of a signer are that is about to expire: all end with it."""
    sync()
    [first, _] = signer.responses_in_cache
    [copy] = [path for path in web.responses if path.name == first.name]
    content = first.read_bytes()
    assert copy.read_bytes() == content
    changed = content[:-1] + bytes((content[-1] ^ 1,))
    buckets.put(str(first), changed, int(first.stat().st_mtime), 2**20)
    assert int(copy.stat().st_mtime) == int(first.stat().st_mtime)
    sync()
    assert copy.read_bytes() == changed


@pytest.mark.slow
def test_what_is_gone_there_stays_here_until_it_expires(signer, web, sync):
    sync()
    shutil.rmtree(signer.cache / "buckets-2048")
    status, printed = sync()
    assert status == 1 and printed == (
        f"[root-ca] failed: there is no response in {signer.cache}: it must be the `cache` of the"
        " host with the key, which has to be filled there:\n    ocsp-cgi presign root-ca\n"
    )
    assert web.ask().response_status == SUCCESSFUL
    first, second = web.responses
    os.utime(first, (time.time() - 5,) * 2)
    (second.parent / ".M.ocsp.aBcDeF").write_bytes(b"left by a killed rsync")
    marker = web.home / "db" / "responses" / ".pruned"
    os.utime(marker, (time.time() - 3601,) * 2)
    sync()
    assert web.responses == [second]


@pytest.mark.slow
def test_a_directory_that_is_not_there(signer, web, sync):
    shutil.rmtree(signer.cache)
    status, printed = sync()
    assert status == 1 and printed == (
        f"[root-ca] failed: {signer.cache}: no such directory; `cache_from` names a `cache`:\n"
        f"    ocsp-cgi sync root-ca --config {web.config}\n"
    )


def test_without_a_source_both_settings_are_named(web, sync):
    web.write_config("cache = cache")
    for words in ((), ("root-ca",)):
        with pytest.raises(CommandError, match=r"sync_from = .* add `cache_from = HOST:PATH`"):
            sync(*words)


@pytest.mark.slow
def test_two_runs_at_once_do_not_meet(web, sync):
    sync()
    lock = os.open(web.home / "db" / "responses", os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert sync() == (0, "[root-ca] another run is copying responses\n")
    finally:
        os.close(lock)


@pytest.mark.slow
def test_a_run_ends_in_time(monkeypatch, sync):
    monkeypatch.setattr(response_copy.copy, "__defaults__", (0.0,))
    status, printed = sync()
    assert status == 0 and "the next run goes on" in printed


@NEEDS_LOGIN
@pytest.mark.slow
def test_a_host_that_says_nothing_is_a_failure(place, web, monkeypatch):
    """Not a run that goes on with the next one, of which nobody would hear."""
    if not sshd_is_installed():
        pytest.skip("sshd is not installed")
    with Sshd(place / "sshd", with_shell=True) as sshd:
        known = place / "known_hosts"
        known.write_text(sshd.known_hosts())
        key = sshd.authorize("silent", "sleep 30")
        (place / "ssh_config").write_text(sshd.ssh_config("silent", key, known))
        monkeypatch.setattr(remote_source, "SSH", f"ssh -F {place}/ssh_config")
        [ca] = config.load(str(web.config)).cas
        with pytest.raises(Failed, match="timeout"):
            response_copy.copy(ca, "silent:.", False, seconds=8)


@pytest.mark.slow
@pytest.mark.parametrize("umask", [0o077, 0o000])
@pytest.mark.parametrize("mode, modes", [(0o2750, (0o2750, 0o640)), (0o755, (0o755, 0o644))])
def test_the_group_of_the_index_can_read_them(web, sync, umask, mode, modes):
    (web.home / "db").chmod(mode)
    before = os.umask(umask)
    try:
        sync()
    finally:
        os.umask(before)
    directory = web.home / "db" / "responses"
    found = [directory, *directory.rglob("buckets*"), *directory.rglob("buckets-*/*")]
    assert {path.stat().st_mode & 0o7777 for path in found} == {modes[0]}
    assert {path.stat().st_mode & 0o7777 for path in web.responses} == {modes[1]}


@pytest.mark.slow
def test_the_index_is_copied_first(signer, web, sync):
    web.write_config(f"sync_from = {signer.index}", f"cache_from = {signer.cache}", "cache = cache")
    signer.ca.revoke("good")
    settle(signer.index)
    status, printed = sync("--force")
    assert status == 0 and [line.partition(":")[0] for line in printed.splitlines()] == [
        "[root-ca] copied",
        "[root-ca] 2 new responses copied, of 2",
    ]
    assert web.ask().response_status == TRY_LATER


@pytest.mark.slow
def test_without_the_right_to_write(web, sync, signer):
    (web.home / "db" / "responses").write_text("a file")
    status, printed = sync()
    assert status == 1 and f"the user that copies must own {web.home / 'db'}" in printed


@pytest.mark.root
@pytest.mark.parametrize("owned", ["db", "db/responses"])
def test_root_writes_nothing_where_another_user_could_lead_it_elsewhere(web, sync, place, owned):
    """The index is a link to one in a directory of root's, so root copies."""
    (place / "index").mkdir()
    real = web.index.rename(place / "index" / "index")
    web.index.symlink_to(real)
    responses = web.home / "db" / "responses"
    responses.mkdir()
    (responses / ".pruned").symlink_to(place / "made-by-root")
    os.chown(web.home / owned, 65534, -1)
    status, printed = sync()
    assert status == 1 and "belongs to another user, so root must not" in printed
    assert printed.endswith(f"    chown root {web.home / owned}\n")
    assert not (place / "made-by-root").exists()


@pytest.mark.root
def test_the_group_is_that_of_the_index_without_setgid_too(web, sync):
    os.chown(web.home / "db", -1, 65534)
    (web.home / "db").chmod(0o750)
    sync()
    directory = web.home / "db" / "responses"
    found = [directory, *directory.rglob("buckets*"), *directory.rglob("buckets-*/*")]
    assert {path.stat().st_gid for path in [*found, *web.responses]} == {65534}
