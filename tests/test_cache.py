"""The cache: when it is used, that it hides no change, and that nothing in it can make a response
wrong."""

from __future__ import annotations

import base64
import binascii
import os
import pwd
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from clients import (
    Answered,
    as_nobody,
    cert_id,
    certificate,
    extension,
    need_namespaces,
    nonce,
    oid,
    request,
    respond,
    run_cgi,
    settle,
    verified,
)
from cryptography.x509 import ocsp

from ocsp_cgi import cache, config, der, index_search, limits
from ocsp_cgi.answer import INTERNAL_ERROR, MALFORMED_REQUEST, SUCCESSFUL, TRY_LATER, UNAUTHORIZED
from ocsp_cgi.tools.openssl_ca import PrivateCA

TESTS = Path(__file__).resolve().parent
GOOD, REVOKED = ocsp.OCSPCertStatus.GOOD, ocsp.OCSPCertStatus.REVOKED
HIT = ("cache", "hit")


class CachingResponder:
    """A CA with a cache, and the responder over it at a time that a test can change."""

    def __init__(self, ca):
        self.ca = ca
        self.home = ca.home
        self.root = certificate(ca.home / "root-ca.crt")
        self.cache = ca.home / "cache"
        self.cache.mkdir(mode=0o750)
        self.config = ca.home / "ocsp-cgi.conf"
        self.set("")
        self.now = int(time.time())

    def set(self, more: str) -> None:
        """Write the config, with these lines in it."""
        text = (
            (self.home / "ocsp-cgi.conf")
            .read_text()
            .partition("cache")[0]
            .partition("[responder]")[0]
        )
        self.config.write_text(f"{text}cache = cache\n{more}")

    def serial(self, name: str = "good") -> int:
        return int(self.ca.serial(name), 16)

    def request(self, name: str = "good", **more: bytes) -> bytes:
        return request(cert_id(self.root, self.serial(name)), **more)

    def ask(self, encoded: bytes | None = None) -> Answered:
        return respond(encoded or self.request(), lambda: config.load(str(self.config)), self.now)

    def says(self, encoded: bytes | None = None) -> tuple[ocsp.OCSPCertStatus, bool]:
        """The status in a verified response, and whether that came from the cache."""
        answered = self.ask(encoded)
        return verified(answered.der, self.root).certificate_status, HIT in answered.fields

    def fill(self) -> bytes:
        """Have the response about good.crt cached.  Returns it."""
        assert self.says() == (GOOD, False)
        answered = self.ask()
        assert HIT in answered.fields
        return answered.der

    @property
    def files(self) -> list[Path]:
        return sorted(self.cache.glob("buckets-*/*/M*.ocsp"))  # the base64 of a SEQUENCE


@pytest.fixture
def responder(ca) -> CachingResponder:
    return CachingResponder(ca)


def test_the_same_request_gets_the_same_response(responder):
    first, later = responder.ask(), None
    responder.now += 100
    later = responder.ask()
    assert HIT not in first.fields and HIT in later.fields
    assert (
        later.der == first.der
        and later.entity_tag == first.entity_tag
        and later.this_update == first.this_update
    )
    assert (first.max_age, later.max_age) == (1800, 1750)
    assert later.warnings == []
    assert [fact for fact in later.fields if fact != HIT] == first.fields


def test_a_response_is_used_for_half_of_its_life(responder):
    responder.now += 10
    responder.fill()
    for later, hit in ((-1, False), (0, True), (1799, True), (1800, False)):
        now = responder.now
        responder.now += later
        content = responder.files[0].read_bytes()
        assert responder.says() == (GOOD, hit), later
        responder.files[0].write_bytes(content)
        responder.now = now


def test_a_revocation_takes_effect_at_once(responder):
    responder.fill()
    responder.ca.revoke("good")
    settle(responder.home / "db" / "index")
    assert responder.says() == (REVOKED, False)
    assert responder.says() == (REVOKED, True)


def test_any_change_of_the_row_is_seen(responder):
    responder.fill()
    index = responder.home / "db" / "index"
    index.write_bytes(index.read_bytes().replace(b"/CN=good", b"/CN=gold"))
    settle(index)
    assert responder.says() == (GOOD, False)


def test_a_removed_row_is_seen(responder):
    responder.fill()
    index = responder.home / "db" / "index"
    index.write_bytes(
        b"".join(line for line in index.read_bytes().splitlines(True) if b"CN=good" not in line)
    )
    settle(index)
    assert responder.says() == (ocsp.OCSPCertStatus.UNKNOWN, False)


def test_other_rows_may_change(responder):
    responder.fill()
    responder.ca.issue("another")
    assert responder.says() == (GOOD, True)


def test_a_revoked_signer_is_refused_at_once(responder):
    responder.fill()
    responder.ca.revoke("root-ocsp")
    answered = responder.ask()
    assert (
        answered.response_status == INTERNAL_ERROR
        and "revoked in the database of" in answered.warnings[0]
    )


def test_an_index_with_another_row_for_the_signer_is_that_of_another_ca(responder):
    responder.fill()
    index = responder.home / "db" / "index"
    serial = responder.ca.serial("root-ocsp").encode()
    content, count = re.subn(
        b"V\t[^\t]+(\t\t%s\t)" % serial, b"V\t491231235959Z\\1", index.read_bytes()
    )
    assert count == 1
    index.write_bytes(content)
    settle(index)
    answered = responder.ask()
    assert answered.response_status == TRY_LATER
    assert "it is the database of another CA" in answered.warnings[0]


def test_a_long_index_is_not_searched_while_it_is_the_same(responder, monkeypatch):
    monkeypatch.setattr(limits, "DATABASE_SETTLING_SECONDS", 0)
    responder.fill()
    monkeypatch.setattr(index_search, "find", lambda *arguments: 1 / 0)
    assert responder.says() == (GOOD, True)


def test_an_index_that_is_put_back(responder, monkeypatch):
    """The same bytes in another file are searched again, once."""
    monkeypatch.setattr(limits, "DATABASE_SETTLING_SECONDS", 0)
    responder.fill()
    index = responder.home / "db" / "index"
    content = index.read_bytes()
    responder.ca.revoke("good")
    settle(index)
    index.write_bytes(content)
    settle(index)
    assert responder.says() == (GOOD, True)
    monkeypatch.setattr(index_search, "find", lambda *arguments: 1 / 0)
    assert responder.says() == (GOOD, True)


def test_without_a_database_nothing_is_used(responder, monkeypatch):
    monkeypatch.setattr(limits, "DATABASE_RETRY_SECONDS", 0.02)
    responder.fill()
    (responder.home / "db").rename(responder.home / "away")
    assert responder.ask().response_status == TRY_LATER


def test_a_stale_heartbeat_is_seen(responder):
    responder.set("stale_after = 10\n")
    (responder.home / "db" / "heartbeat").touch()
    responder.fill()
    os.utime(responder.home / "db" / "heartbeat", (responder.now - 700,) * 2)
    assert responder.ask().response_status == TRY_LATER


@pytest.mark.parametrize(
    "more", ["nmin = 120\n", "responder_id = name\n", "archive_cutoff = 7\n", "# nothing\n"]
)
def test_any_change_of_the_config_is_seen(responder, more):
    before = responder.fill()
    responder.set(more)
    answered = responder.ask()
    assert (HIT in answered.fields, answered.der == before) == ((more == "# nothing\n",) * 2)
    assert responder.says() == (GOOD, True)


def test_a_renewed_signer_is_seen(responder):
    responder.fill()
    responder.ca.issue("renewed", "ocsp_ext")
    shutil.move(responder.home / "renewed.crt", responder.home / "root-ocsp.crt")
    shutil.move(
        responder.home / "private" / "renewed.key", responder.home / "private" / "root-ocsp.key"
    )
    responder.now = int(time.time())
    answered = responder.ask()
    assert HIT not in answered.fields
    assert verified(answered.der, responder.root).certificates == [
        certificate(responder.home / "root-ocsp.crt")
    ]


def test_a_changed_ca_certificate_is_seen(responder):
    responder.fill()
    other = (responder.home / "good.crt").read_bytes()
    (responder.home / "root-ca.crt").write_bytes(other)
    assert responder.ask().response_status == UNAUTHORIZED


def test_a_nonce_is_for_one_client(responder):
    with_nonce = responder.request(extensions=nonce(b"0123456789abcdef"))
    assert responder.says(with_nonce) == (GOOD, False)
    assert responder.files == []
    responder.fill()
    assert responder.says(with_nonce) == (GOOD, False)
    assert b"0123456789abcdef" in responder.ask(with_nonce).der


def test_a_nonce_that_is_ignored(responder):
    """RFC 9919 section 5: such a response is for every client."""
    responder.set("nonce = ignore\n")
    responder.fill()
    answered = responder.ask(responder.request(extensions=nonce(b"0123456789abcdef")))
    assert (
        HIT in answered.fields
        and ("nonce", "16-ignored") in answered.fields
        and answered.entity_tag
    )
    assert b"0123456789abcdef" not in answered.der


def test_a_preferred_algorithm_is_for_one_client(responder):
    preference = der.sequence(der.sequence(der.sequence(oid("1.2.840.10045.4.3.2"))))
    wishing = responder.request(extensions=extension("1.3.6.1.5.5.7.48.1.8", preference))
    assert responder.says(wishing) == (GOOD, False) and responder.files == []
    responder.fill()
    assert responder.says(wishing) == (GOOD, False)


def test_an_extension_that_changes_nothing(responder):
    responder.fill()
    assert responder.says(
        responder.request(extensions=extension("1.3.6.1.5.5.7.48.1.4", der.sequence()))
    ) == (GOOD, True)


def test_what_is_not_cached(responder):
    """No client can fill a disk with requests."""
    for encoded in (
        request(cert_id(responder.root, 12345)),
        request(
            cert_id(responder.root, responder.serial()),
            cert_id(responder.root, responder.serial("bad")),
        ),
        request(cert_id(certificate(responder.home / "good.crt"), responder.serial())),
    ):
        responder.ask(encoded)
    index = responder.home / "db" / "index"
    rows = (
        b"Q\t270220135115Z\t\t77\tunknown\t/CN=odd\n"
        + b"V\t270220135115Z\t\t%s\tunknown\t/CN=long\n" % (b"AB" * 200)
    )
    index.write_bytes(index.read_bytes() + rows)
    settle(index)
    assert responder.says(request(cert_id(responder.root, 0x77))) == (
        ocsp.OCSPCertStatus.UNKNOWN,
        False,
    )
    assert responder.says(request(cert_id(responder.root, int("AB" * 200, 16)))) == (GOOD, False)
    assert responder.files == []


def test_each_way_to_write_a_cert_id_has_its_own_file(responder):
    """Since the response repeats it byte for byte."""
    encodings = [
        request(cert_id(responder.root, responder.serial(), name, null))
        for name in ("sha1", "sha512")
        for null in (b"\x05\x00", b"")
    ]
    responses = [responder.ask(encoded).der for encoded in encodings]
    assert len(set(responses)) == len(responder.files) == 4
    for encoded, first in zip(encodings, responses):
        again = responder.ask(encoded)
        assert HIT in again.fields and again.der == first


def test_what_only_looks_like_a_request_is_malformed(responder):
    """Around the CertID of a cached response, where all bytes but one are as in a request."""
    long_id = cert_id(responder.root, responder.serial(), "sha384")
    for asked in (responder.request(), request(long_id)):
        responder.ask(asked)
        assert HIT in responder.ask(asked).fields
    encoded = responder.request()
    for position in range(8):
        for octet in {
            *range(0, 256, 5),
            0x2F,
            0x31,
            encoded[position] ^ 0x80,
            encoded[position] + 1,
        } - {encoded[position]}:
            odd = encoded[:position] + bytes([octet]) + encoded[position + 1 :]
            assert responder.ask(odd).response_status == MALFORMED_REQUEST, odd.hex()
    for odd in (encoded[8:], encoded[2:], encoded + b"\0", encoded[:-1], encoded[:8]):
        assert responder.ask(odd).response_status == MALFORMED_REQUEST, odd.hex()
    short_lengths = (
        bytes(octet for left in (6, 4, 2, 0) for octet in (0x30, len(long_id) + left)) + long_id
    )
    assert responder.ask(short_lengths).response_status == MALFORMED_REQUEST


def test_two_cas_in_one_directory(responder, place):
    """The same serial number of two CAs is two certificates."""
    other = PrivateCA(place / "other", common_name="Other CA")
    other.issue("root-ocsp", "ocsp_ext")
    (other.home / "db" / "serial").write_text(responder.ca.serial("good"))
    other.issue("good")
    other.revoke("good")
    settle(other.home / "db" / "index")
    keys = {
        "db": "db",
        "ca": "root-ca.crt",
        "rsigner": "root-ocsp.crt",
        "rkey": "private/root-ocsp.key",
    }
    responder.set(
        "[other]\ncache = cache\n"
        + "".join(f"{key} = {other.home}/{path}\n" for key, path in keys.items())
    )
    responder.now = int(time.time())
    root = certificate(other.home / "root-ca.crt")
    for hit in (False, True):
        assert responder.says() == (GOOD, hit)
        answered = responder.ask(request(cert_id(root, responder.serial())))
        assert (verified(answered.der, root).certificate_status, HIT in answered.fields) == (
            REVOKED,
            hit,
        )


@pytest.mark.parametrize("damage", ["cut off", "another byte", "zeros"])
@pytest.mark.slow
def test_a_damaged_file_is_a_cache_miss(responder, damage):
    responder.fill()
    [path] = responder.files
    whole = path.read_bytes()
    for position in range(0, len(whole), 23):
        if damage == "cut off":
            content = whole[:position]
        elif damage == "zeros":
            content = whole[:position] + bytes(len(whole) - position)
        else:
            content = whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :]
        path.write_bytes(content)
        answered = responder.ask()
        assert (
            HIT not in answered.fields
            and answered.warnings == []
            and answered.response_status == SUCCESSFUL
        ), position
    assert responder.says() == (GOOD, True)


@pytest.mark.parametrize("part", [3, 4])
def test_a_whole_file_with_something_else_in_it_is_a_cache_miss(responder, part):
    responder.fill()
    [path] = responder.files
    parts = path.read_bytes().partition(b"\n")[2].split(b"\n", 5)
    parts[part] += b" another:field"
    content = b"\n".join(parts)
    path.write_bytes(b"%08x\n" % binascii.crc32(content) + content)
    assert responder.says() == (GOOD, False)
    assert responder.says() == (GOOD, True)


def test_a_file_under_the_name_of_another_is_a_cache_miss(responder):
    responder.fill()
    [path] = responder.files
    responder.ask(responder.request("bad"))
    [other] = set(responder.files) - {path}
    shutil.copy(path, other)
    assert responder.says(responder.request("bad")) == (REVOKED, False)


@pytest.mark.parametrize("kind", ["directory", "FIFO", "link to nowhere", "link to another"])
def test_what_is_not_a_regular_file_is_neither_waited_for_nor_followed(responder, kind):
    responder.fill()
    [path] = responder.files
    path.rename(responder.home / "elsewhere")
    if kind == "directory":
        path.mkdir()
    elif kind == "FIFO":
        os.mkfifo(path)
    else:
        path.symlink_to(responder.home / ("elsewhere" if kind == "link to another" else "nowhere"))
    assert responder.says() == (GOOD, False)
    assert responder.says() == (GOOD, kind != "directory")


def test_a_directory_in_which_everybody_may_write_is_not_used(responder):
    responder.fill()
    responder.cache.chmod(0o777)
    answered = responder.ask()
    assert HIT not in answered.fields
    assert answered.warnings == [
        f"{responder.cache}: not used as `cache`: everybody on this machine may write in it: chmod"
        f" o-w {responder.cache}, and remove everything in it"
    ]
    responder.cache.chmod(0o750)
    assert responder.says() == (GOOD, True)


def test_no_directory(responder):
    responder.cache.rmdir()
    answered = responder.ask()
    assert verified(answered.der, responder.root)
    assert answered.warnings == [
        f"{responder.cache}: No such file or directory: [root-ca] answers without its `cache`; the"
        " responder's user must be able to write there"
    ]


def test_a_directory_that_cannot_be_written(responder):
    if os.geteuid() == 0:
        os.chown(responder.home / "private", pwd.getpwnam("nobody").pw_uid, -1)
        os.chown(responder.home / "private" / "root-ocsp.key", pwd.getpwnam("nobody").pw_uid, -1)
    responder.cache.chmod(0o555)
    with as_nobody():
        answered = responder.ask()
    assert verified(answered.der, responder.root)
    assert answered.warnings == [
        f"{responder.cache}: Permission denied: [root-ca] answers without its `cache`; the"
        " responder's user must be able to write there"
    ]


@pytest.mark.slow
def test_a_full_disk(responder, cgi):
    """A real one, of 16 KiB: every response is right, what fits is cached, and the log says what
    is wrong."""
    need_namespaces("--map-root-user", "--mount")
    fill = (
        f"mount -t tmpfs -o size=16k,mode=750 none {responder.cache} && head -c 14000 /dev/zero >"
        f" {responder.cache}/ballast"
    )
    script = f'{fill} && exec {sys.executable} -c "$0" "$@"'
    ask = (
        f"import sys; sys.path[:0] = {[str(TESTS), str(TESTS.parent)]!r}\nfrom pathlib import Path;"
        " import os; from clients import run_cgi\nfor number in range(3):\n    response ="
        " run_cgi(Path(sys.argv[1]), Path(sys.argv[2]), body=open(sys.argv[3], 'rb').read())\n   "
        " print(response.log, len(response.body), [file for _, _, files in os.walk(sys.argv[4]) for"
        " file in files])\n"
    )
    (responder.home / "request").write_bytes(responder.request())
    arguments = [
        str(cgi),
        str(responder.config),
        str(responder.home / "request"),
        str(responder.cache),
    ]
    run = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, ask, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    assert (
        run.stdout.count(
            f"{responder.cache}: No space left on device: [root-ca] answers without its `cache`;"
            " make room there, or set a smaller `cache_size`"
        )
        == 3
    ), run.stdout
    assert (
        run.stdout.count("status=good") == 3
        and run.stdout.count("['ballast', '.slots']") + run.stdout.count("['.slots', 'ballast']")
        == 3
    ), run.stdout


class Filler:
    """Puts responses to any number of CertIDs into a cache, as the producer does."""

    def __init__(self, responder: CachingResponder, cache_size: int):
        responder.set(f"cache_size = {cache_size}\n")
        responder.fill()
        self.settings = config.load(str(responder.config))
        self.now = responder.now
        self.size = cache_size * 1024 * 1024
        self.one = cache.get(
            responder.request()[8:], self.settings.cas[0], self.settings, responder.now
        )

    def put(self, number: int) -> float:
        """Put a response.  Returns the processor seconds that took."""
        cert_id = self._cert_id(number)
        cached = cache.CachedResponse(
            self.one.ca,
            self.one.sources,
            self.one.line,
            self.one.offset,
            self.one.index_fingerprint,
            self.one.signer,
            self.one.made_with,
            self.one.der + cert_id,
            self.one.this_update,
            self.one.next_update,
            self.one.entity_tag,
            self.one.log_fields,
            self.one.expiries,
        )
        began = time.process_time()
        assert cache.put(cached, cert_id) == []
        return time.process_time() - began

    def has(self, number: int) -> bool:
        cert_id = self._cert_id(number)
        found = cache.get(cert_id, self.one.ca, self.settings, self.now)
        return found is not None and found.der == self.one.der + cert_id

    def _cert_id(self, number: int) -> bytes:
        return b"%076d" % number

    def files(self) -> list[Path]:
        return list(Path(self.one.ca.cache).rglob("*.ocsp"))


def disk_usage(directory: Path) -> int:
    """The bytes on disk of everything below a directory."""
    return sum(path.lstat().st_blocks * 512 for path in directory.rglob("*"))


@pytest.mark.slow
def test_the_cache_is_bounded(responder):
    """Four processes put twenty thousand responses, forty times as many as fit."""
    filler, processes, most = Filler(responder, 2), 4, 0
    children = []
    for first in range(processes):
        child = os.fork()
        if child == 0:
            try:
                for number in range(first, 20_000, processes):
                    filler.put(number)
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    try:
        while children:
            for child in list(children):  # else they would put more while it is being added up
                os.kill(child, signal.SIGSTOP)
                _, status = os.waitpid(child, os.WUNTRACED)
                if not os.WIFSTOPPED(status):
                    children.remove(child)
                    assert status == 0
            most = max(most, disk_usage(responder.cache))
            for child in children:
                os.kill(child, signal.SIGCONT)
            time.sleep(0.05)
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    # with what they are writing, and the directory of the buckets
    assert most <= filler.size + 2 * processes * 4096 + 4096
    assert most > filler.size * 0.8
    assert responder.says() == (GOOD, False) and responder.says() == (GOOD, True)


@pytest.mark.slow
def test_a_put_costs_the_same_however_many_there_are(responder):
    filler = Filler(responder, 4)
    few, _, full, _, later = (
        statistics.median([filler.put(number) for number in range(first, first + count)])
        for first, count in ((0, 100), (100, 1500), (2000, 400), (3000, 3000), (9000, 400))
    )
    assert filler.has(9399)
    assert full / few < 5, (few, full)
    assert later / full < 1.5, (full, later)


@pytest.mark.slow
def test_the_oldest_make_room(responder):
    """Those of one bucket; what has been put since then stays."""
    filler = Filler(responder, 1)
    for number in range(2000):
        filler.put(number)
    left = {
        int(base64.urlsafe_b64decode(path.stem))
        for path in filler.files()
        if path.stem.startswith("MDAw")
    }
    assert 100 < len(left) < 256 and min(left) > 1000, (len(left), min(left))


def test_large_responses_take_as_much_as_they_take(responder):
    filler = Filler(responder, 1)
    filler.one.der += bytes(40_000)
    for number in range(300):
        filler.put(number)
    assert filler.size / 2 < disk_usage(responder.cache) <= filler.size + 4096


@pytest.mark.slow
def test_a_cache_of_another_size_or_version(responder):
    """It is removed little by little; files with other names stay."""
    old = Filler(responder, 2)
    for number in range(600):
        old.put(number)
    for number in range(500):
        (responder.cache / f"MEUw{number}.ocsp").write_bytes(bytes(2000))
    (responder.cache / "foreign").write_text("")
    (responder.cache / "presigned").mkdir()
    (responder.cache / "presigned" / "MEUw.response").write_text("")
    before = disk_usage(responder.cache)
    new = Filler(responder, 1)
    for number in range(60):
        new.put(number)
        assert disk_usage(responder.cache) < before
    assert {path.name for path in responder.cache.glob("[!.]*")} == {
        "buckets-8",
        "foreign",
        "presigned",
    }
    assert (
        disk_usage(responder.cache) <= new.size
        and (responder.cache / "presigned" / "MEUw.response").exists()
    )


def test_two_sections_with_one_cache_share_its_size(responder):
    text = responder.config.read_text()
    responder.config.write_text(
        text
        + "cache_size = 2\n"
        + text.replace("root-ca]", "other]")
        + text.replace("root-ca]", "third]")
        + "cache_size = 3\n"
    )
    assert [ca.cache_size for ca in config.load(str(responder.config)).cas] == [2, 2, 2]


def test_expired_responses_are_removed(responder, monkeypatch):
    responder.set("cache_size = 1\n")
    responder.fill()
    bucket, now = responder.files[0].parent, time.time()
    for name, age in (("ended.ocsp", 1), ("live.ocsp", -100), (".1-1.ocsp", -100)):
        (bucket / name).write_text("")
        os.utime(bucket / name, (now - age,) * 2)
    responder.files[0].unlink()
    responder.fill()
    assert {path.name for path in bucket.iterdir()} == {
        "live.ocsp",
        ".1-1.ocsp",
        responder.files[0].name,
    }
    monkeypatch.setattr(limits, "UNFINISHED_SECONDS", 0)
    responder.files[0].unlink()
    responder.fill()
    assert {path.name for path in bucket.iterdir()} == {"live.ocsp", responder.files[0].name}


def test_a_bucket_full_of_what_cannot_be_removed(responder):
    """They may be files that other processes are writing: nothing is put, without an error."""
    responder.set("cache_size = 1\n")
    responder.fill()
    bucket = responder.files[0].parent
    responder.files[0].unlink()
    (bucket / ".1-1.ocsp").write_bytes(bytes(200_000))
    answered = responder.ask()
    assert (
        answered.warnings == [] and verified(answered.der, responder.root) and responder.files == []
    )


@pytest.mark.root
def test_root_puts_nothing_into_the_cache_of_another_user(responder):
    """That user could redirect it by a link, and could not read or enter what root has made."""
    os.chown(responder.cache, pwd.getpwnam("nobody").pw_uid, -1)
    answered = responder.ask()
    assert (
        verified(answered.der, responder.root)
        and answered.warnings == []
        and list(responder.cache.iterdir()) == []
    )


def test_the_time_of_a_file_is_its_next_update(responder):
    responder.fill()
    assert int(responder.files[0].stat().st_mtime) == responder.now + 3600


@pytest.mark.slow
def test_many_processes_at_once(responder, cgi):
    """All with the same names, while the index changes: no partial file, and no old status."""
    revoked = False

    def ask(number: int) -> None:
        before = revoked
        answered = run_cgi(cgi, responder.config, body=responder.request())
        assert (
            verified(answered.body, responder.root).certificate_status == REVOKED or not before
        ), number
        assert "cache" not in answered.log.replace("cache=hit", "")

    with ThreadPoolExecutor(8) as clients:
        asked = [clients.submit(ask, number) for number in range(40)]
        responder.ca.revoke("good")
        revoked = True
        asked += [clients.submit(ask, number) for number in range(40)]
        for future in asked:
            future.result()
    left = {path.name for path in responder.cache.rglob(".*")}
    assert left - {path.name for path in responder.cache.glob(".signer-????????")} == {".slots"}


def test_a_file_can_be_read_by_a_person(responder):
    responder.fill()
    _, form, _, line, numbers, log_fields = responder.files[0].read_bytes().split(b"\n")[:6]
    assert form == b"ocsp-cgi response 3 root-ca"
    assert line in (responder.home / "db" / "index").read_bytes() and b"CN=good" in line
    assert numbers.startswith(
        f"{responder.now} {responder.now + 3600} {responder.serial('root-ocsp'):x} ".encode()
    )
    assert re.fullmatch(rb".* rsigner:\d+:\d+ ca:\d+:\d+", numbers)
    assert log_fields.decode() == f"serial={responder.ca.serial('good')} status=good"


def test_names_are_valid_for_the_longest_cert_id():
    ca = config.CASettings("")
    ca.cache, ca.cache_size = "", 256
    directory, _, name = cache.path_of(ca, bytes(range(limits.CACHED_CERT_ID_BYTES))).rpartition(
        "/"
    )
    assert directory.startswith("/buckets-2048/") and len(name) <= 255
