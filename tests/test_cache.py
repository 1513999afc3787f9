"""The store of signed answers: when it is used, that it never hides anything, and that nothing in
it can make an answer wrong."""

from __future__ import annotations

import base64
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


class Kept:
    """A CA with a store, and the responder core over it at a time that a test can move."""

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
        """What a verified answer says, and whether it was a kept one."""
        answered = self.ask(encoded)
        return verified(answered.der, self.root).certificate_status, HIT in answered.fields

    def fill(self) -> bytes:
        """Have the answer about good.crt kept.  Returns it."""
        assert self.says() == (GOOD, False)
        answered = self.ask()
        assert HIT in answered.fields
        return answered.der

    @property
    def files(self) -> list[Path]:
        return sorted(self.cache.glob("buckets-*/*/M*.ocsp"))  # the base64 of a SEQUENCE


@pytest.fixture
def kept(ca) -> Kept:
    return Kept(ca)


def test_the_same_question_gets_the_same_answer(kept):
    first, later = kept.ask(), None
    kept.now += 100
    later = kept.ask()
    assert HIT not in first.fields and HIT in later.fields
    assert (
        later.der == first.der
        and later.entity_tag == first.entity_tag
        and later.this_update == first.this_update
    )
    assert (first.max_age, later.max_age) == (1800, 1750)
    assert later.warnings == []
    assert [fact for fact in later.fields if fact != HIT] == first.fields


def test_the_half_of_its_life_counts(kept):
    kept.now += 10
    kept.fill()
    for later, hit in ((-1, False), (0, True), (1799, True), (1800, False)):
        now = kept.now
        kept.now += later
        content = kept.files[0].read_bytes()
        assert kept.says() == (GOOD, hit), later
        kept.files[0].write_bytes(content)
        kept.now = now


def test_a_revocation_counts_at_once(kept):
    kept.fill()
    kept.ca.revoke("good")
    settle(kept.home / "db" / "index")
    assert kept.says() == (REVOKED, False)
    assert kept.says() == (REVOKED, True)


def test_any_change_of_the_row_counts(kept):
    kept.fill()
    index = kept.home / "db" / "index"
    index.write_bytes(index.read_bytes().replace(b"/CN=good", b"/CN=gold"))
    settle(index)
    assert kept.says() == (GOOD, False)


def test_a_row_taken_away_counts(kept):
    kept.fill()
    index = kept.home / "db" / "index"
    index.write_bytes(
        b"".join(line for line in index.read_bytes().splitlines(True) if b"CN=good" not in line)
    )
    settle(index)
    assert kept.says() == (ocsp.OCSPCertStatus.UNKNOWN, False)


def test_other_rows_may_change(kept):
    kept.fill()
    kept.ca.issue("another")
    assert kept.says() == (GOOD, True)


def test_a_revoked_signer_counts_at_once(kept):
    kept.fill()
    kept.ca.revoke("root-ocsp")
    answered = kept.ask()
    assert (
        answered.response_status == INTERNAL_ERROR
        and "revoked in the database of" in answered.warnings[0]
    )


def test_an_index_with_another_row_for_the_signer_is_that_of_another_ca(kept):
    kept.fill()
    index = kept.home / "db" / "index"
    serial = kept.ca.serial("root-ocsp").encode()
    content, count = re.subn(
        b"V\t[^\t]+(\t\t%s\t)" % serial, b"V\t491231235959Z\\1", index.read_bytes()
    )
    assert count == 1
    index.write_bytes(content)
    settle(index)
    answered = kept.ask()
    assert answered.response_status == TRY_LATER
    assert "it is the database of another CA" in answered.warnings[0]


def test_a_long_index_is_not_searched_while_it_is_the_same(kept, monkeypatch):
    monkeypatch.setattr(limits, "DATABASE_SETTLING_SECONDS", 0)
    kept.fill()
    monkeypatch.setattr(index_search, "find", lambda *arguments: 1 / 0)
    assert kept.says() == (GOOD, True)


def test_an_index_that_is_put_back(kept, monkeypatch):
    """The same octets in another file are looked through again, once."""
    monkeypatch.setattr(limits, "DATABASE_SETTLING_SECONDS", 0)
    kept.fill()
    index = kept.home / "db" / "index"
    content = index.read_bytes()
    kept.ca.revoke("good")
    settle(index)
    index.write_bytes(content)
    settle(index)
    assert kept.says() == (GOOD, True)
    monkeypatch.setattr(index_search, "find", lambda *arguments: 1 / 0)
    assert kept.says() == (GOOD, True)


def test_no_database_no_answer(kept, monkeypatch):
    monkeypatch.setattr(limits, "DATABASE_RETRY_SECONDS", 0.02)
    kept.fill()
    (kept.home / "db").rename(kept.home / "away")
    assert kept.ask().response_status == TRY_LATER


def test_the_heartbeat_counts(kept):
    kept.set("stale_after = 10\n")
    (kept.home / "db" / "heartbeat").touch()
    kept.fill()
    os.utime(kept.home / "db" / "heartbeat", (kept.now - 700,) * 2)
    assert kept.ask().response_status == TRY_LATER


@pytest.mark.parametrize(
    "more", ["nmin = 120\n", "responder_id = name\n", "archive_cutoff = 7\n", "# nothing\n"]
)
def test_any_change_of_the_config_counts(kept, more):
    before = kept.fill()
    kept.set(more)
    answered = kept.ask()
    assert (HIT not in answered.fields and answered.der != before) or more == "# nothing\n"
    assert kept.says() == (GOOD, True)


def test_a_renewed_signer_counts(kept):
    kept.fill()
    kept.ca.issue("renewed", "ocsp_ext")
    shutil.move(kept.home / "renewed.crt", kept.home / "root-ocsp.crt")
    shutil.move(kept.home / "private" / "renewed.key", kept.home / "private" / "root-ocsp.key")
    kept.now = int(time.time())
    answered = kept.ask()
    assert HIT not in answered.fields
    assert verified(answered.der, kept.root).certificates == [
        certificate(kept.home / "root-ocsp.crt")
    ]


def test_a_changed_ca_certificate_counts(kept):
    kept.fill()
    other = (kept.home / "good.crt").read_bytes()
    (kept.home / "root-ca.crt").write_bytes(other)
    assert kept.ask().response_status == UNAUTHORIZED


def test_a_nonce_is_for_one_client(kept):
    with_nonce = kept.request(extensions=nonce(b"0123456789abcdef"))
    assert kept.says(with_nonce) == (GOOD, False)
    assert kept.files == []
    kept.fill()
    assert kept.says(with_nonce) == (GOOD, False)
    assert b"0123456789abcdef" in kept.ask(with_nonce).der


def test_a_nonce_that_is_ignored(kept):
    """RFC 9919 section 5: such an answer is for everybody."""
    kept.set("nonce = ignore\n")
    kept.fill()
    answered = kept.ask(kept.request(extensions=nonce(b"0123456789abcdef")))
    assert (
        HIT in answered.fields
        and ("nonce", "16-ignored") in answered.fields
        and answered.entity_tag
    )
    assert b"0123456789abcdef" not in answered.der


def test_a_wish_for_an_algorithm_is_for_one_client(kept):
    preference = der.sequence(der.sequence(der.sequence(oid("1.2.840.10045.4.3.2"))))
    wishing = kept.request(extensions=extension("1.3.6.1.5.5.7.48.1.8", preference))
    assert kept.says(wishing) == (GOOD, False) and kept.files == []
    kept.fill()
    assert kept.says(wishing) == (GOOD, False)


def test_an_extension_that_changes_nothing(kept):
    kept.fill()
    assert kept.says(
        kept.request(extensions=extension("1.3.6.1.5.5.7.48.1.4", der.sequence()))
    ) == (GOOD, True)


def test_what_is_not_kept(kept):
    """Nobody fills a disk by asking."""
    for encoded in (
        request(cert_id(kept.root, 12345)),
        request(cert_id(kept.root, kept.serial()), cert_id(kept.root, kept.serial("bad"))),
        request(cert_id(certificate(kept.home / "good.crt"), kept.serial())),
    ):
        kept.ask(encoded)
    index = kept.home / "db" / "index"
    rows = (
        b"Q\t270220135115Z\t\t77\tunknown\t/CN=odd\n"
        + b"V\t270220135115Z\t\t%s\tunknown\t/CN=long\n" % (b"AB" * 200)
    )
    index.write_bytes(index.read_bytes() + rows)
    settle(index)
    assert kept.says(request(cert_id(kept.root, 0x77))) == (ocsp.OCSPCertStatus.UNKNOWN, False)
    assert kept.says(request(cert_id(kept.root, int("AB" * 200, 16)))) == (GOOD, False)
    assert kept.files == []


def test_each_way_to_write_a_cert_id_has_its_own_file(kept):
    """Since the answer repeats it octet for octet."""
    encodings = [
        request(cert_id(kept.root, kept.serial(), name, null))
        for name in ("sha1", "sha512")
        for null in (b"\x05\x00", b"")
    ]
    answers = [kept.ask(encoded).der for encoded in encodings]
    assert len(set(answers)) == len(kept.files) == 4
    for encoded, first in zip(encodings, answers):
        again = kept.ask(encoded)
        assert HIT in again.fields and again.der == first


def test_what_only_looks_like_a_request_is_malformed(kept):
    """Around the CertID of a kept answer, where every other octet but one is as in a request."""
    long_id = cert_id(kept.root, kept.serial(), "sha384")
    for asked in (kept.request(), request(long_id)):
        kept.ask(asked)
        assert HIT in kept.ask(asked).fields
    encoded = kept.request()
    for position in range(8):
        for octet in {
            *range(0, 256, 5),
            0x2F,
            0x31,
            encoded[position] ^ 0x80,
            encoded[position] + 1,
        } - {encoded[position]}:
            odd = encoded[:position] + bytes([octet]) + encoded[position + 1 :]
            assert kept.ask(odd).response_status == MALFORMED_REQUEST, odd.hex()
    for odd in (encoded[8:], encoded[2:], encoded + b"\0", encoded[:-1], encoded[:8]):
        assert kept.ask(odd).response_status == MALFORMED_REQUEST, odd.hex()
    short_lengths = (
        bytes(octet for left in (6, 4, 2, 0) for octet in (0x30, len(long_id) + left)) + long_id
    )
    assert kept.ask(short_lengths).response_status == MALFORMED_REQUEST


def test_two_cas_in_one_directory(kept, place):
    """The same serial number of two CAs is two certificates."""
    other = PrivateCA(place / "other", common_name="Other CA")
    other.issue("root-ocsp", "ocsp_ext")
    (other.home / "db" / "serial").write_text(kept.ca.serial("good"))
    other.issue("good")
    other.revoke("good")
    settle(other.home / "db" / "index")
    keys = {
        "db": "db",
        "ca": "root-ca.crt",
        "rsigner": "root-ocsp.crt",
        "rkey": "private/root-ocsp.key",
    }
    kept.set(
        "[other]\ncache = cache\n"
        + "".join(f"{key} = {other.home}/{path}\n" for key, path in keys.items())
    )
    kept.now = int(time.time())
    root = certificate(other.home / "root-ca.crt")
    for hit in (False, True):
        assert kept.says() == (GOOD, hit)
        answered = kept.ask(request(cert_id(root, kept.serial())))
        assert (verified(answered.der, root).certificate_status, HIT in answered.fields) == (
            REVOKED,
            hit,
        )


@pytest.mark.parametrize("damage", ["cut off", "another octet", "zeros"])
@pytest.mark.slow
def test_a_damaged_file_counts_as_none(kept, damage):
    kept.fill()
    [path] = kept.files
    whole = path.read_bytes()
    for position in range(0, len(whole), 23):
        if damage == "cut off":
            content = whole[:position]
        elif damage == "zeros":
            content = whole[:position] + bytes(len(whole) - position)
        else:
            content = whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :]
        path.write_bytes(content)
        answered = kept.ask()
        assert (
            HIT not in answered.fields
            and answered.warnings == []
            and answered.response_status == SUCCESSFUL
        ), position
    assert kept.says() == (GOOD, True)


def test_a_file_under_the_name_of_another_counts_as_none(kept):
    kept.fill()
    [path] = kept.files
    kept.ask(kept.request("bad"))
    [other] = set(kept.files) - {path}
    shutil.copy(path, other)
    assert kept.says(kept.request("bad")) == (REVOKED, False)


@pytest.mark.parametrize("kind", ["directory", "FIFO", "link to nowhere", "link to another"])
def test_what_is_no_file_is_neither_waited_for_nor_followed(kept, kind):
    kept.fill()
    [path] = kept.files
    path.rename(kept.home / "elsewhere")
    if kind == "directory":
        path.mkdir()
    elif kind == "FIFO":
        os.mkfifo(path)
    else:
        path.symlink_to(kept.home / ("elsewhere" if kind == "link to another" else "nowhere"))
    assert kept.says() == (GOOD, False)
    assert kept.says() == (GOOD, kind != "directory")


def test_a_directory_in_which_everybody_may_write_is_not_used(kept):
    kept.fill()
    kept.cache.chmod(0o777)
    answered = kept.ask()
    assert HIT not in answered.fields
    assert answered.warnings == [
        f"{kept.cache}: not used as `cache`: everybody on this machine may write in it: chmod o-w"
        f" {kept.cache}, and remove everything in it"
    ]
    kept.cache.chmod(0o750)
    assert kept.says() == (GOOD, True)


def test_no_directory(kept):
    kept.cache.rmdir()
    answered = kept.ask()
    assert verified(answered.der, kept.root)
    assert answered.warnings == [
        f"{kept.cache}: No such file or directory: [root-ca] answers without its `cache`; the web"
        " server's user must be able to write there"
    ]


def test_a_directory_that_cannot_be_written(kept):
    if os.geteuid() == 0:
        os.chown(kept.home / "private", pwd.getpwnam("nobody").pw_uid, -1)
        os.chown(kept.home / "private" / "root-ocsp.key", pwd.getpwnam("nobody").pw_uid, -1)
    kept.cache.chmod(0o555)
    with as_nobody():
        answered = kept.ask()
    assert verified(answered.der, kept.root)
    assert answered.warnings == [
        f"{kept.cache}: Permission denied: [root-ca] answers without its `cache`; the web server's"
        " user must be able to write there"
    ]


@pytest.mark.slow
def test_a_full_disk(kept, cgi):
    """A real one, of 16 KiB: every answer is right, what fits is kept, and the log says what is
    wrong."""
    need_namespaces("--map-root-user", "--mount")
    fill = (
        f"mount -t tmpfs -o size=16k,mode=750 none {kept.cache} && head -c 14000 /dev/zero >"
        f" {kept.cache}/ballast"
    )
    script = f'{fill} && exec {sys.executable} -c "$0" "$@"'
    ask = (
        f"import sys; sys.path[:0] = {[str(TESTS), str(TESTS.parent)]!r}\nfrom pathlib import Path;"
        " import os; from clients import run_cgi\nfor number in range(3):\n    answer ="
        " run_cgi(Path(sys.argv[1]), Path(sys.argv[2]), body=open(sys.argv[3], 'rb').read())\n   "
        " print(answer.log, len(answer.body), [file for _, _, files in os.walk(sys.argv[4]) for"
        " file in files])\n"
    )
    (kept.home / "request").write_bytes(kept.request())
    arguments = [str(cgi), str(kept.config), str(kept.home / "request"), str(kept.cache)]
    run = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, ask, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    assert (
        run.stdout.count(
            f"{kept.cache}: No space left on device: [root-ca] answers without its `cache`"
        )
        == 3
    ), run.stdout
    assert (
        run.stdout.count("status=good") == 3
        and run.stdout.count("['ballast', '.slots']") + run.stdout.count("['.slots', 'ballast']")
        == 3
    ), run.stdout


class Filler:
    """Puts responses to CertIDs without end into a cache, as the producer does."""

    def __init__(self, kept: Kept, cache_size: int):
        kept.set(f"cache_size = {cache_size}\n")
        kept.fill()
        self.settings = config.load(str(kept.config))
        self.now = kept.now
        self.size = cache_size * 1024 * 1024
        self.one = cache.get(kept.request()[8:], self.settings.cas[0], self.settings, kept.now)

    def put(self, number: int) -> float:
        """Put a response, and find it again.  Returns the seconds of processor time that the put
        took."""
        cert_id = b"%076d" % number
        kept = cache.CachedResponse(
            self.one.ca,
            self.one.sources,
            self.one.line,
            self.one.offset,
            self.one.index_fingerprint,
            self.one.signer,
            self.one.der + cert_id,
            self.one.this_update,
            self.one.next_update,
            self.one.entity_tag,
            self.one.log_fields,
        )
        began = time.process_time()
        assert cache.put(kept, cert_id) == []
        taken = time.process_time() - began
        found = cache.get(cert_id, self.one.ca, self.settings, self.now)
        assert found is not None and found.der == kept.der
        return taken

    def files(self) -> list[Path]:
        return [path for path in Path(self.one.ca.cache).rglob("*.ocsp")]


def disk_usage(directory: Path) -> int:
    """The bytes that everything below a directory takes."""
    return sum(path.lstat().st_blocks * 512 for path in directory.rglob("*"))


@pytest.mark.slow
def test_the_cache_is_bounded(kept):
    """Four processes put twenty thousand responses, forty times as many as fit; what was put last
    is always found."""
    filler, processes, most = Filler(kept, 2), 4, 0
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
            most = max(most, disk_usage(kept.cache))
            for child in children:
                os.kill(child, signal.SIGCONT)
            time.sleep(0.05)
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    assert (
        most <= filler.size + processes * 4096 + 4096
    )  # what they are writing, and the directory of the buckets
    assert most > filler.size * 0.8
    assert kept.says() == (GOOD, False) and kept.says() == (GOOD, True)


@pytest.mark.slow
def test_a_put_costs_the_same_however_many_there_are(kept):
    filler = Filler(kept, 4)
    few, _, full, _, later = (
        statistics.median([filler.put(number) for number in range(first, first + count)])
        for first, count in ((0, 100), (100, 1500), (2000, 400), (3000, 3000), (9000, 400))
    )
    assert full / few < 5, (few, full)
    assert later / full < 1.5, (full, later)


@pytest.mark.slow
def test_the_oldest_make_room(kept):
    """Those of one bucket; what has been put since stays."""
    filler = Filler(kept, 1)
    for number in range(2000):
        filler.put(number)
    left = {
        int(base64.urlsafe_b64decode(path.stem))
        for path in filler.files()
        if path.stem.startswith("MDAw")
    }
    assert 100 < len(left) < 256 and min(left) > 1000, (len(left), min(left))


def test_large_responses_take_as_much_as_they_take(kept):
    filler = Filler(kept, 1)
    filler.one.der += bytes(40_000)
    for number in range(300):
        filler.put(number)
    assert filler.size / 2 < disk_usage(kept.cache) <= filler.size + 4096


@pytest.mark.slow
def test_a_cache_of_another_size_or_version(kept):
    """It is removed little by little; names that are not ours stay."""
    old = Filler(kept, 2)
    for number in range(600):
        old.put(number)
    for number in range(500):
        (kept.cache / f"MEUw{number}.ocsp").write_bytes(bytes(2000))
    (kept.cache / "foreign").write_text("")
    (kept.cache / "presigned").mkdir()
    (kept.cache / "presigned" / "MEUw.response").write_text("")
    before = disk_usage(kept.cache)
    new = Filler(kept, 1)
    for number in range(60):
        new.put(number)
        assert disk_usage(kept.cache) < before
    assert {path.name for path in kept.cache.iterdir()} == {"buckets-8", "foreign", "presigned"}
    assert (
        disk_usage(kept.cache) <= new.size and (kept.cache / "presigned" / "MEUw.response").exists()
    )


def test_two_sections_with_one_cache_share_its_size(kept):
    text = kept.config.read_text()
    kept.config.write_text(
        text
        + "cache_size = 2\n"
        + text.replace("root-ca]", "other]")
        + text.replace("root-ca]", "third]")
        + "cache_size = 3\n"
    )
    assert [ca.cache_size for ca in config.load(str(kept.config)).cas] == [2, 2, 2]


def test_what_has_ended_is_removed(kept, monkeypatch):
    kept.set("cache_size = 1\n")
    kept.fill()
    bucket, now = kept.files[0].parent, time.time()
    for name, age in (("ended.ocsp", 1), ("live.ocsp", -100), (".1-1.ocsp", -100)):
        (bucket / name).write_text("")
        os.utime(bucket / name, (now - age,) * 2)
    kept.files[0].unlink()
    kept.fill()
    assert {path.name for path in bucket.iterdir()} == {
        "live.ocsp",
        ".1-1.ocsp",
        kept.files[0].name,
    }
    monkeypatch.setattr(limits, "UNFINISHED_SECONDS", 0)
    kept.files[0].unlink()
    kept.fill()
    assert {path.name for path in bucket.iterdir()} == {"live.ocsp", kept.files[0].name}


def test_a_bucket_full_of_what_cannot_be_removed(kept):
    """Files that other processes are writing, perhaps: nothing is put, and that is no error."""
    kept.set("cache_size = 1\n")
    kept.fill()
    bucket = kept.files[0].parent
    kept.files[0].unlink()
    (bucket / ".1-1.ocsp").write_bytes(bytes(200_000))
    answered = kept.ask()
    assert answered.warnings == [] and verified(answered.der, kept.root) and kept.files == []


@pytest.mark.root
def test_root_puts_nothing_into_the_cache_of_another_user(kept):
    """Who could lead it elsewhere by a link, and could neither read nor enter what root has made."""
    os.chown(kept.cache, pwd.getpwnam("nobody").pw_uid, -1)
    answered = kept.ask()
    assert (
        verified(answered.der, kept.root)
        and answered.warnings == []
        and list(kept.cache.iterdir()) == []
    )


def test_the_time_of_a_file_is_its_next_update(kept):
    kept.fill()
    assert kept.files[0].stat().st_mtime == kept.now + 3600


@pytest.mark.slow
def test_many_processes_at_once(kept, cgi):
    """All over the same names, while the index changes: none sees a part of a file, and none an old
    status."""
    revoked = False

    def ask(number: int) -> None:
        before = revoked
        answered = run_cgi(cgi, kept.config, body=kept.request())
        assert verified(answered.body, kept.root).certificate_status == REVOKED or not before, (
            number
        )
        assert "cache" not in answered.log.replace("cache=hit", "")

    with ThreadPoolExecutor(8) as clients:
        asked = [clients.submit(ask, number) for number in range(40)]
        kept.ca.revoke("good")
        revoked = True
        asked += [clients.submit(ask, number) for number in range(40)]
        for future in asked:
            future.result()
    assert {path.name for path in kept.cache.rglob(".*")} == {".slots"}


def test_a_file_can_be_read_by_a_person(kept):
    kept.fill()
    checksum, form, stamps, line, numbers, facts = kept.files[0].read_bytes().split(b"\n")[:6]
    assert form == b"ocsp-cgi response 1 root-ca"
    assert line in (kept.home / "db" / "index").read_bytes() and b"CN=good" in line
    assert numbers.startswith(
        f"{kept.now} {kept.now + 3600} {kept.serial('root-ocsp'):x} ".encode()
    )
    assert facts.decode() == f"serial={kept.ca.serial('good')} status=good"


def test_names_are_valid_for_the_longest_cert_id():
    ca = config.CASettings("")
    ca.cache, ca.cache_size = "", 256
    directory, _, name = cache._path(ca, bytes(range(limits.CACHED_CERT_ID_BYTES))).rpartition("/")
    assert directory.startswith("/buckets-2048/") and len(name) <= 255
