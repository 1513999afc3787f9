"""What is remembered of a signer: that it saves work, and that it hides no change.

Where a test writes such a file itself, the file says something untrue, so that its use shows.
"""

from __future__ import annotations

import binascii
import copy
import os
import pwd
import shutil
import time
from pathlib import Path

import pytest
from clients import Answered, certificate, nonce, settle, verified
from test_cache import CachingResponder

from ocsp_cgi import certificate as x509
from ocsp_cgi import index_file, index_search, limits, signer_memory
from ocsp_cgi.answer import INTERNAL_ERROR, TRY_LATER
from ocsp_cgi.tools.openssl_ca import PrivateCA

NOT_ISSUED = "not issued by"
REVOKED = "revoked in the database of"


class Remembering(CachingResponder):
    """A responder that signs each response anew, and may remember an index that has just been
    written."""

    def ask_anew(self) -> Answered:
        self.now = int(time.time())
        return self.ask(self.request(extensions=nonce(bytes(16))))

    def is_good(self) -> bool:
        answered = self.ask_anew()
        return bool(verified(answered.der, self.root)) and answered.warnings == []

    def refusal(self) -> str:
        answered = self.ask_anew()
        assert answered.response_status in (INTERNAL_ERROR, TRY_LATER)
        return answered.warnings[0]

    @property
    def index(self) -> Path:
        return self.home / "db" / "index"

    @property
    def memory(self) -> Path:
        [path] = self.cache.glob(".signer-*")
        return path

    def forge(self, index_fingerprint: bytes = b"-") -> None:
        """Write that the CA in use has issued the signer in use, and that this index does not
        revoke it."""
        pair = b"".join(
            x509.load(str(self.home / name)).der for name in ("root-ca.crt", "root-ocsp.crt")
        )
        text = b"\n".join([signer_memory._FORMAT, index_fingerprint, b"", pair])
        self.memory.write_bytes(b"%08x\n" % binascii.crc32(text) + text)

    def replace_signer(self, ca: PrivateCA, name: str = "root-ocsp") -> None:
        shutil.copy(ca.home / f"{name}.crt", self.home / "root-ocsp.crt")
        shutil.copy(ca.home / "private" / f"{name}.key", self.home / "private" / "root-ocsp.key")


@pytest.fixture
def responder(ca, monkeypatch) -> Remembering:
    monkeypatch.setattr(limits, "DATABASE_SETTLING_SECONDS", 0)
    settle(ca.home / "db" / "index")
    made = Remembering(ca)
    assert made.is_good()
    return made


@pytest.fixture(scope="module")
def another(workspace) -> PrivateCA:
    """Another CA of the same name, with a signer whose certificate the first one did not issue.
    No test may change it."""
    made = PrivateCA(workspace / "another")
    made.issue("root-ocsp", "ocsp_ext")
    made.issue("good")
    settle(made.home / "db" / "index")
    return made


@pytest.fixture
def searched(monkeypatch) -> list[int]:
    """For each search, how many serial numbers it was for."""
    numbers = []

    class Needles(index_search._Needles):
        def __init__(self, serial_numbers):
            numbers.append(len(serial_numbers))
            super().__init__(serial_numbers)

    monkeypatch.setattr(index_search, "_Needles", Needles)
    return numbers


def test_the_index_is_searched_for_one_serial_number(responder, searched):
    assert responder.is_good() and searched == [1]


def test_a_changed_index_is_searched_for_the_signer_once(responder, searched):
    responder.ca.issue("more")
    settle(responder.index)
    assert responder.is_good() and responder.is_good() and searched == [2, 1]


def test_an_index_that_may_still_change_is_not_remembered(responder, searched, monkeypatch):
    monkeypatch.setattr(limits, "DATABASE_SETTLING_SECONDS", 60)
    responder.ca.issue("more")
    os.utime(responder.index, (1, 1))
    assert responder.is_good() and responder.is_good() and searched == [2, 2]


def test_who_issued_the_signer_is_not_verified_again(responder, another):
    """What says so is used even where it is untrue."""
    responder.replace_signer(another)
    assert NOT_ISSUED in responder.refusal()
    responder.forge()
    answered = responder.ask_anew()
    assert answered.response_status == 0
    assert "root-ocsp" not in " ".join(answered.warnings)


def test_another_signer_is_verified(responder, another):
    responder.replace_signer(another)
    assert NOT_ISSUED in responder.refusal()
    assert NOT_ISSUED in responder.refusal()


def test_a_renewed_signer_is_used_and_remembered(responder, searched):
    before = responder.memory.read_bytes()
    responder.ca.issue("renewed", "ocsp_ext")
    settle(responder.index)
    responder.replace_signer(responder.ca, "renewed")
    assert responder.is_good() and responder.is_good() and searched == [2, 1]
    assert responder.memory.read_bytes() != before


def test_another_certificate_of_the_ca_is_verified_with(responder, another):
    """It has the name of the one before, and another key."""
    shutil.copy(another.home / "root-ca.crt", responder.home / "root-ca.crt")
    responder.root = certificate(responder.home / "root-ca.crt")
    assert NOT_ISSUED in responder.refusal()


def test_a_revoked_signer_is_refused_at_once(responder):
    responder.ca.revoke("root-ocsp")
    settle(responder.index)
    assert REVOKED in responder.refusal()
    assert REVOKED in responder.refusal()


def test_that_the_index_does_not_revoke_the_signer_is_for_that_index_alone(responder):
    """An untrue file is used, and no longer once the index has been touched."""
    responder.ca.revoke("root-ocsp")
    settle(responder.index)
    responder.forge(index_file.fingerprint(responder.index.stat()))
    assert responder.is_good()
    settle(responder.index)
    assert REVOKED in responder.refusal()


def test_the_index_of_another_ca_is_noticed(responder):
    serial = responder.ca.serial("root-ocsp")
    lines = responder.index.read_text().splitlines(keepends=True)
    changed = [
        line.replace(line.split("\t")[1], "491231235959Z") if serial in line else line
        for line in lines
    ]
    assert changed != lines
    responder.index.write_text("".join(changed))
    settle(responder.index)
    assert "it is the database of another CA" in responder.refusal()


def test_what_is_wrong_with_the_row_is_logged_each_time(responder):
    """No row is remembered with its warning, and an odd one is read anew."""
    serial = responder.ca.serial("root-ocsp")
    lines = responder.index.read_text().splitlines(keepends=True)
    without = [line for line in lines if serial not in line]
    responder.index.write_text("".join(without))
    settle(responder.index)
    for _ in range(3):
        assert ("warning", "rsigner-has-no-row-in-db") in responder.ask_anew().fields
    odd = [line.replace(serial, "0x" + serial.lower()) for line in lines]
    assert odd != lines
    responder.index.write_text("".join(odd))
    settle(responder.index)
    first = responder.ask_anew()
    assert responder.ask_anew().warnings == first.warnings
    assert responder.ask_anew().fields[1:] == first.fields[1:]


@pytest.mark.parametrize(
    "others_may", ["write", pytest.param("own", marks=pytest.mark.root), "link"]
)
def test_what_others_could_have_written_is_not_used(responder, another, others_may):
    responder.replace_signer(another)
    responder.forge()
    assert responder.ask_anew().response_status == 0
    if others_may == "write":
        responder.cache.chmod(0o757)
    elif others_may == "link":
        path = responder.memory
        path.rename(responder.home / "elsewhere")
        path.symlink_to(responder.home / "elsewhere")
    else:
        os.chown(responder.memory, pwd.getpwnam("nobody").pw_uid, -1)
    assert NOT_ISSUED in responder.refusal()


@pytest.mark.root
def test_root_neither_uses_nor_writes_what_lies_in_the_cache_of_another_user(responder, another):
    responder.replace_signer(another)
    responder.forge()
    os.chown(responder.cache, pwd.getpwnam("nobody").pw_uid, -1)
    before = responder.memory.read_bytes()
    assert NOT_ISSUED in responder.refusal()
    assert responder.memory.read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:-1],
        lambda content: content.replace(b"signer 1", b"signer 2"),
        lambda content: content[:9] + b"\n" + content[9:],
        lambda content: bytes(len(content)),
        lambda content: content[:60] + bytes([content[60] ^ 1]) + content[61:],
    ],
)
def test_a_damaged_file_says_nothing(responder, another, damage):
    responder.replace_signer(another)
    responder.forge()
    content = responder.memory.read_bytes()
    assert damage(content) != content
    responder.memory.write_bytes(damage(content))
    assert NOT_ISSUED in responder.refusal()


@pytest.mark.parametrize("kind", ["directory", "fifo"])
def test_what_is_not_a_file_is_neither_waited_for_nor_in_the_way(responder, kind):
    path = responder.memory
    unfinished = path.with_name(path.name + ".new")
    path.unlink()
    for one in (path, unfinished):
        os.mkfifo(one) if kind == "fifo" else one.mkdir()
    assert responder.is_good() and responder.is_good()
    assert sorted(responder.cache.glob(".signer-*")) == [path, unfinished]


def test_two_sections_with_one_cache(responder, another, searched):
    """Each remembers its own signer."""
    responder.set(
        f"[another]\ndb = {another.home}/db\nca = {another.home}/root-ca.crt\n"
        f"rsigner = {another.home}/root-ocsp.crt\n"
        f"rkey = {another.home}/private/root-ocsp.key\ncache = cache\n"
    )
    other = copy.copy(responder)
    other.ca, other.root = another, certificate(another.home / "root-ca.crt")
    for _ in range(2):
        assert responder.is_good() and other.is_good()
    assert searched[-2:] == [1, 1]
    assert len(list(responder.cache.glob(".signer-*"))) == 2


def test_a_cache_that_cannot_be_written(responder):
    responder.memory.unlink()
    responder.cache.rename(responder.home / "gone")
    assert responder.is_good()
