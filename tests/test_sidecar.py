"""The map of a long index, as a CGI uses it and has it written: real processes."""

from __future__ import annotations

import binascii
import concurrent.futures
import contextlib
import os
import signal
import time
from pathlib import Path

import pytest
from clients import (
    cert_id,
    certificate,
    curl,
    nonce,
    request,
    run_cgi,
    settle,
    started,
    verified,
)
from index_lines import ROW

from ocsp_cgi import config, limits, map_writer, sidecar
from ocsp_cgi.tools import httpd

pytestmark = [pytest.mark.process, pytest.mark.slow]

PADDING = b"".join(ROW % b"%040X" % (n * 0x9E3779B97F4A7C15F39CC060 + n) for n in range(1, 110_000))


@pytest.fixture
def home(ca) -> Path:
    """Of a CA with a long index and a `cache`."""
    index = ca.home / "db" / "index"
    index.write_bytes(index.read_bytes() + PADDING)
    settle(index)
    assert index.stat().st_size > limits.SEARCHED_BYTES
    (ca.home / "cache").mkdir(mode=0o750)
    with open(ca.home / "ocsp-cgi.conf", "w") as file:
        file.write(
            "[root-ca]\ndb = db\nca = root-ca.crt\nrsigner = root-ocsp.crt\nrkey ="
            " private/root-ocsp.key\ncache = cache\n"
        )
    return ca.home


def settings(home: Path) -> config.CASettings:
    return config.load(str(home / "ocsp-cgi.conf")).cas[0]


def path_of_map(home: Path) -> Path:
    return home / "cache" / f"index-{binascii.crc32(os.fsencode(home / 'db')):08x}.map"


@pytest.fixture
def ask(home, cgi, ca):
    """ask(name) is the status in a new response about a certificate, and the log."""
    root = certificate(home / "root-ca.crt")

    def ask(name: str) -> tuple[str, str]:
        asked = cert_id(root, int(ca.serial(name), 16))
        encoded = request(asked, extensions=nonce(os.urandom(16)))
        response = run_cgi(cgi, home / "ocsp-cgi.conf", body=encoded)
        return verified(response.body, root).certificate_status.name.lower(), response.log

    return ask


def writers(path: Path) -> list[int]:
    """The processes that write this map."""
    found = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            if process.name.isdigit() and os.fsencode(path) in words:
                found.append(int(process.name))
    return found


@pytest.fixture
def ended(home):
    """The processes that write a map end with the test."""
    yield
    for process in writers(path_of_map(home)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def wait_for(condition, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_first_response_has_the_map_written_and_later_ones_use_it(home, ask, ca, ended):
    assert ask("good")[0] == "good" and ask("bad")[0] == "revoked"
    wait_for(path_of_map(home).exists)
    of = path_of_map(home).stat()
    assert (of.st_mode & 0o777, of.st_size) == (0o600, 4096 * (1 + -(-110_006 // 511)))
    assert ask("good")[0] == "good" and ask("bad")[0] == "revoked"
    ca.revoke("good")
    assert ask("good")[0] == "revoked"
    wait_for(lambda: path_of_map(home).stat().st_ino != of.st_ino)
    assert ask("good")[0] == "revoked"


def test_the_writer_outlives_the_cgi_and_has_nothing_of_it(home, ask, ended):
    """run_cgi reads standard output and standard error to their ends."""
    Path(f"{path_of_map(home)}.new").mkdir()  # so that it fails, and rests with its lock
    assert ask("good")[0] == "good"
    [process] = writers(path_of_map(home))
    wait_for(lambda: os.getsid(process) == process)
    files = [os.readlink(one) for one in Path(f"/proc/{process}/fd").iterdir()]
    allowed = {"/dev/null", f"{path_of_map(home)}.lock", f"{home}/db/index"}
    assert set(files) <= allowed and files.count("/dev/null") == 3
    assert os.readlink(f"/proc/{process}/cwd") == "/"
    # Until it has rested, no other one is started.
    for _ in range(3):
        ask("good")
        assert writers(path_of_map(home)) == [process]


def test_many_requests_at_once_start_one(home, ask, ended):
    Path(f"{path_of_map(home)}.new").mkdir()
    seen = set()
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        asked = [pool.submit(ask, "bad") for _ in range(24)]
        while not all(one.done() for one in asked):
            seen.update(writers(path_of_map(home)))
            time.sleep(0.02)
    assert {one.result()[0] for one in asked} == {"revoked"}
    assert len(seen) == 1


def test_a_writer_that_was_killed_is_replaced(home, ask):
    path = path_of_map(home)
    Path(f"{path}.new").mkdir()
    ask("good")
    [process] = writers(path)
    os.kill(process, signal.SIGKILL)
    wait_for(lambda: not writers(path))
    Path(f"{path}.new").rmdir()
    Path(f"{path}.new").write_bytes(b"unfinished")
    assert not path.exists()
    ask("good")
    assert not writers(path)  # for ten seconds
    os.utime(f"{path}.lock", (time.time() - 60,) * 2)
    ask("good")
    wait_for(path.exists)
    assert not Path(f"{path}.new").exists()


def test_a_corrupt_map_is_written_anew(home, ask, ended):
    ask("good")
    path = path_of_map(home)
    wait_for(path.exists)
    wait_for(lambda: not writers(path))
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + bytes(len(whole) - 4096))
    assert ask("bad")[0] == "revoked"
    wait_for(lambda: path.read_bytes() == whole)


def test_without_a_cache_nothing_is_written(home, ask):
    before = sorted(home.rglob("*"))
    text = (home / "ocsp-cgi.conf").read_text()
    (home / "ocsp-cgi.conf").write_text(text.replace("cache = cache\n", ""))
    assert ask("bad")[0] == "revoked"
    (home / "ocsp-cgi.conf").write_text(text)
    (home / "cache").chmod(0o777)
    assert ask("bad")[0] == "revoked"
    assert sorted(home.rglob("*")) == before


def test_where_sync_writes_one_it_has_time(home, ask, ended):
    """For a minute after it has put an index there, nothing is started."""
    with open(home / "ocsp-cgi.conf", "a") as file:
        file.write("sync_from = ca.example.com:index\n")
    assert ask("bad")[0] == "revoked"
    assert not Path(f"{path_of_map(home)}.lock").exists()
    made = map_writer.make(f"{home}/db/index", f"{home}/db/map")
    map_writer.save(made, f"{home}/db/map")
    assert sidecar.find(settings(home), {1}, frozenset(), b"") is not None
    assert ask("bad")[0] == "revoked"


@pytest.mark.apache
@pytest.mark.parametrize("mpm", ["event", "prefork"])
def test_in_apache(home, cgi, ca, place, mpm, ended):
    """mod_cgid and mod_cgi: a client has its response, and the connection is closed, while a map is
    being written; Apache ends without waiting for it."""
    Path(f"{path_of_map(home)}.new").mkdir()  # so that it fails, and rests with its lock
    httpd.let_read(home)
    httpd.let_write(home / "cache")
    root = certificate(home / "root-ca.crt")
    asked = cert_id(root, int(ca.serial("bad"), 16))
    with started(place / "httpd", cgi, home / "ocsp-cgi.conf", mpm) as server:
        for number in range(2):
            encoded = request(asked, extensions=nonce(bytes([number]) * 16))
            (place / "request.der").write_bytes(encoded)
            response = curl(
                *("-H", "Content-Type: application/ocsp-request", "--max-time", "8"),
                *("--data-binary", f"@{place}/request.der", server.url),
            )
            status = verified(response.body, root).certificate_status
            assert status.name == "REVOKED"
        [process] = writers(path_of_map(home))
    assert writers(path_of_map(home)) == [process]
