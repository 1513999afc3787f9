"""What a process that stays makes of files that change: the same as one that reads them anew."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import pytest
from clients import Answered, cert_id, certificate, request, respond, settle

from ocsp_cgi import limits
from ocsp_cgi.files import Files
from ocsp_cgi.resident import ResidentFiles

pytestmark = pytest.mark.process

DAY = 24 * 3600


class World:
    """A CA whose files a test changes; `files` has answered a request before the change."""

    def __init__(self, ca, settling: float = 0):
        self.ca = ca
        self.home = ca.home
        self.path = str(ca.home / "ocsp-cgi.conf")
        self.files = ResidentFiles(settling)
        root = certificate(ca.home / "root-ca.crt")
        self.encoded = request(cert_id(root, int(ca.serial("good"), 16)))

    def ask(self, files: Files | None = None, at: int | None = None) -> Answered:
        files = files or self.files
        now = int(time.time()) if at is None else at
        return respond(self.encoded, lambda: files.settings(self.path), now, files)

    def outcome(self, files: Files | None = None, at: int | None = None) -> tuple:
        """All of an answer that is the same for all who ask at this time."""
        answered = self.ask(files, at)
        return answered.response_status, answered.fields, answered.notes

    def write(self, name: str, content: str | bytes) -> None:
        """Replace a file, as editors do."""
        path = self.home / name
        path.with_name("new").write_bytes(content.encode() if isinstance(content, str) else content)
        path.with_name("new").chmod(path.stat().st_mode & 0o777)
        path.with_name("new").rename(path)

    def edit(self, old: str, new: str) -> None:
        text = Path(self.path).read_text()
        assert old in text
        self.write("ocsp-cgi.conf", text.replace(old, new))


@pytest.fixture
def world(ca):
    world = World(ca)
    assert ("status", "good") in world.ask().fields
    return world


def _another_key(world: World) -> None:
    world.ca.openssl("genrsa", "-out", "private/root-ocsp.key", "2048")


def _renew(world: World) -> None:
    world.ca.issue("renewed", "ocsp_ext")
    os.rename(world.home / "renewed.crt", world.home / "root-ocsp.crt")
    os.rename(world.home / "private" / "renewed.key", world.home / "private" / "root-ocsp.key")
    settle(world.home / "db" / "index")


def _encrypt(world: World) -> None:
    (world.home / "passphrase").write_text("secret\n")
    (world.home / "passphrase").chmod(0o600)
    key = "private/root-ocsp.key"
    world.ca.openssl("pkcs8", "-topk8", "-in", key, "-passout", "pass:secret", "-out", "encrypted")
    os.rename(world.home / "encrypted", world.home / key)
    (world.home / key).chmod(0o600)
    world.edit("rkey", "passin = passphrase\nrkey")


def _revoke(name: str):
    def change(world: World) -> None:
        world.ca.revoke(name)
        settle(world.home / "db" / "index")

    return change


CHANGES = {
    "a revoked certificate": (_revoke("good"), "revoked"),
    "a revoked signer": (_revoke("root-ocsp"), "revoked in the database of"),
    "a renewed signer": (_renew, "good"),
    "a signer's certificate without its key": (
        lambda world: world.write("root-ocsp.crt", (world.home / "good.crt").read_bytes()),
        "OCSPSigning",
    ),
    "a key of another certificate": (_another_key, "root-ocsp.key: "),
    "an encrypted key": (_encrypt, "good"),
    "no key": (lambda world: (world.home / "private/root-ocsp.key").unlink(), "No such file"),
    "a key that all can read": (
        lambda world: (world.home / "private/root-ocsp.key").chmod(0o644),
        "everybody on this machine may read it",
    ),
    "no certificate of the CA": (
        lambda world: (world.home / "root-ca.crt").unlink(),
        "No such file",
    ),
    "a damaged certificate of the CA": (
        lambda world: world.write("root-ca.crt", "-----BEGIN CERTIFICATE-----\nMAo="),
        "root-ca.crt",
    ),
    "no signer's certificate": (
        lambda world: (world.home / "root-ocsp.crt").unlink(),
        "No such file",
    ),
    "no config": (lambda world: os.unlink(world.path), "this is the config"),
    "a damaged config": (lambda world: world.edit("rkey", "rkeys"), "did you mean `rkey`?"),
    "another setting": (lambda world: world.edit("rkey", "nmin = 5\nrkey"), "good"),
    "a config with another db": (lambda world: world.edit("db", "db = none\n#"), "none"),
    "a shared db": (
        lambda world: world.write(
            "ocsp-cgi.conf",
            Path(world.path).read_text()
            + "[other]\ndb = db\nca = good.crt\nrsigner = good.crt\nrkey = private/good.key\n",
        ),
        "are different CAs",
    ),
    "no index": (lambda world: (world.home / "db" / "index").unlink(), "No such file"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_takes_effect_with_the_next_request(world, name, monkeypatch):
    """In answer and log, as if all were read anew; also when nothing else changes after that."""
    monkeypatch.setattr(limits, "DATABASE_RETRY_SECONDS", 0.02)
    change, expected = CHANGES[name]
    change(world)
    now = int(time.time())
    anew = world.outcome(Files(), now)
    assert expected in repr(anew)
    assert [world.outcome(at=now) for _ in range(3)] == [anew] * 3


@pytest.mark.parametrize("name", ["root-ca.crt", "root-ocsp.crt", "private/root-ocsp.key"])
def test_a_fixed_file_takes_effect_with_the_next_request(world, name):
    content = (world.home / name).read_bytes()
    world.write(name, b"nothing")
    assert world.ask().response_status != 0
    world.write(name, content)
    assert ("status", "good") in world.ask().fields


def test_a_fixed_config_takes_effect_with_the_next_request(world):
    world.edit("rkey", "rkeys")
    assert world.ask().response_status != 0
    world.edit("rkeys", "rkey")
    assert ("status", "good") in world.ask().fields


def test_a_link_that_led_elsewhere_while_it_was_read_is_read_again(world):
    config, link = Path(world.path), Path(world.path).with_name("link.conf")
    other = config.with_name("other.conf")
    other.write_text(config.read_text().replace("db", "db = none\n#", 1))
    link.symlink_to(config)
    world.path = str(link)

    def lead_to(target: Path) -> None:
        link.with_name("new").symlink_to(target)
        link.with_name("new").rename(link)

    class Opened(list):
        def append(self, path: str) -> None:
            if path == str(link):
                lead_to(other)

    _OPENED.append(Opened())
    try:
        world.ask()
    finally:
        _OPENED.clear()
    lead_to(config)
    assert ("status", "good") in world.ask().fields


def _opened(world: World, files: Files | None = None) -> set[str]:
    """The CA's files that a response opens."""
    opened: list[str] = []
    _OPENED.append(opened)
    try:
        world.ask(files)
    finally:
        _OPENED.remove(opened)
    return {os.path.relpath(path, world.home) for path in opened if str(world.home) in path}


_OPENED: list[list[str]] = []


def _audit(event: str, arguments: tuple) -> None:
    if event == "open" and isinstance(arguments[0], str):
        for opened in _OPENED:
            opened.append(arguments[0])


sys.addaudithook(_audit)
ALL = {"ocsp-cgi.conf", "root-ca.crt", "root-ocsp.crt", "private/root-ocsp.key", "db/index"}


def test_what_has_not_changed_is_not_read_again(world):
    assert _opened(world, Files()) == ALL
    assert _opened(world) == {"db/index"}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(ALL - {"db/index", "ocsp-cgi.conf"}))
def test_what_was_written_to_a_moment_ago_is_not_kept(ca, name):
    """Its fingerprint may not tell of one more change in the same tick of the clock."""
    world = World(ca, settling=3600)
    assert world.ask().response_status == 0
    assert _opened(world) == ALL
    world = World(ca, settling=0.5)
    time.sleep(0.6)
    world.ask()
    assert _opened(world) == {"db/index"}
    os.utime(ca.home / name)
    for _ in range(2):
        assert _opened(world) >= {name}


@pytest.mark.parametrize("days", [-2, 3 * 365, 40 * 365])
def test_certificates_become_valid_and_expire(world, days):
    """Nothing is remembered of another time, in whichever order the times come."""
    now = int(time.time())
    later = now + days * DAY
    anew = {at: world.outcome(Files(), at) for at in (now, later)}
    assert anew[now][0] == 0 and anew[later][0] != 0
    for at in (later, now, now, later, later, now):
        assert world.outcome(at=at) == anew[at]


@pytest.mark.slow
def test_many_threads_see_each_change(world):
    """Threads that ask while files change get what was right at some moment of their request."""
    wrong: list[tuple] = []
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            status, fields, notes = world.outcome()
            if status != 0 or ("status", "good") not in fields:
                wrong.append((status, fields, notes))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(20):
        for name in ("root-ca.crt", "root-ocsp.crt", "private/root-ocsp.key"):
            world.write(name, (world.home / name).read_bytes())
        world.edit("rkey", f"#{number}\nrkey")
    ended.set()
    for thread in threads:
        thread.join()
    assert wrong == []
