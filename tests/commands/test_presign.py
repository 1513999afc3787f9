"""`presign`, as an operator types it: what it signs, what the responder makes of it, and what keeps
it from that."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from clients import cert_id, certificate, openssl_ocsp, request, respond, settle, started
from cryptography.x509 import ocsp as x509_ocsp
from index_lines import REVOKED_ROW, ROW

from ocsp_cgi import cache, command_line, config, limits
from ocsp_cgi.tools import httpd, index_part, presign_run, presigning
from ocsp_cgi.tools.entry import CommandError
from ocsp_cgi.tools.openssl_ca import PrivateCA
from ocsp_cgi.tools.presigner import Done
from ocsp_cgi.tools.progress import Progress

CHECKOUT = Path(__file__).resolve().parents[2]
DAY = 24 * 60 * 60
GOOD, REVOKED = x509_ocsp.OCSPCertStatus.GOOD, x509_ocsp.OCSPCertStatus.REVOKED


class Host:
    """A responder over a copy of the test CA, which has five certificates."""

    def __init__(self, ca: PrivateCA, capsys, monkeypatch):
        self.ca, self.home = ca, ca.home
        self.config, self.cache = ca.home / "ocsp-cgi.conf", ca.home / "cache"
        self.cache.mkdir(mode=0o750)
        self.set(presign="yes", cache="cache")
        self._capsys, self._monkeypatch = capsys, monkeypatch

    def set(self, **settings: str) -> None:
        lines = [f"{name} = {value}\n" for name, value in settings.items()]
        text = self.config.read_text()
        for name in settings:
            text = re.sub(rf"(?m)^{name} = .*\n", "", text)
        self.config.write_text(text.replace("[root-ca]\n", "".join(["[root-ca]\n", *lines])))

    def presign(self, *arguments: str) -> tuple[int, list[str], list[str]]:
        """(exit code, lines of output but for those on a slow machine, lines about problems)."""
        self._monkeypatch.setattr(sys, "argv", self.words(*arguments))
        status = command_line.main()
        printed = self._capsys.readouterr()
        lines = [
            line for line in printed.out.splitlines() if not re.search(r"\] \d+ of \d+, ", line)
        ]
        return status, lines, printed.err.splitlines()

    def words(self, *arguments: str) -> list[str]:
        return ["ocsp-cgi", "presign", "--config", str(self.config), *arguments]

    def start(self, *arguments: str, **options) -> subprocess.Popen:
        words = [sys.executable, "-m", "ocsp_cgi", *self.words(*arguments)[1:]]
        return subprocess.Popen(words, cwd=CHECKOUT, **options)

    def start_on_many_rows(self) -> subprocess.Popen:
        """A run that has signed 50 of 810 responses, and goes on."""
        self.add_rows(400)
        process = self.start(
            "--processes", "1", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        while len(self.files()) < 50:
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        return process

    def signed(self, *arguments: str) -> tuple[int, int]:
        """How many responses a run signs, and how many it finds fresh."""
        status, [line], problems = self.presign(*arguments)
        assert (status, problems) == (0, [])
        return counts(line)

    def ask(self, serial: int, hash_name: str = "sha1", at: int | None = None):
        """What the responder answers, in whatever way, to a request without a nonce."""
        root = certificate(self.home / "root-ca.crt")
        encoded = request(cert_id(root, serial, hash_name))
        now = int(time.time()) if at is None else at
        return respond(encoded, lambda: config.load(str(self.config)), now)

    def number(self, name: str) -> int:
        return int(self.ca.serial(name), 16)

    def files(self) -> dict[str, int]:
        """The cached files, and when each was written."""
        found = (path for path in self.cache.rglob("*") if path.is_file())
        return {path.name: path.stat().st_mtime_ns for path in found if path.suffix == cache.SUFFIX}

    def edit(self, text: bytes) -> None:
        """Replace the index, as `openssl ca` does."""
        index = self.home / "db" / "index"
        index.with_name("new").write_bytes(text)
        os.replace(index.with_name("new"), index)
        settle(index)

    def add_rows(self, number: int, first: int = 0x1000) -> None:
        rows = b"".join(ROW % (b"%040X" % serial) for serial in range(first, first + number))
        self.edit((self.home / "db" / "index").read_bytes() + rows)


def counts(line: str) -> tuple[int, int]:
    found = re.search(r"(\d+) responses? signed.*, (\d+) still fresh$", line)
    assert found, line
    return int(found[1]), int(found[2])


def children(process: subprocess.Popen) -> list[int]:
    """Their process identifiers."""
    threads = Path(f"/proc/{process.pid}/task").glob("*/children")
    return [int(one) for path in threads for one in path.read_text().split()]


def status_in(answered) -> x509_ocsp.OCSPCertStatus:
    return x509_ocsp.load_der_ocsp_response(answered.der).certificate_status


@pytest.fixture
def host(ca, capsys, monkeypatch) -> Host:
    monkeypatch.setattr(limits, "DATABASE_SETTLING_SECONDS", 0.1)
    settle(ca.home / "db" / "index")
    return Host(ca, capsys, monkeypatch)


def test_every_certificate_is_answered_without_the_key(host):
    status, [line], problems = host.presign()
    assert (status, problems) == (0, [])
    assert re.fullmatch(
        r"\[root-ca\] 10 responses signed in \d+ s \(\d+ per second, \d+ bytes each\), 0 still"
        r" fresh",
        line,
    )
    (host.home / "private" / "root-ocsp.key").unlink()
    expected = {"good": GOOD, "bad": REVOKED, "held": REVOKED, "root-ocsp": GOOD, "root-ca": GOOD}
    for name, expected_status in expected.items():
        for hash_name in ("sha1", "sha256"):
            answered = host.ask(host.number(name), hash_name)
            assert ("cache", "hit") in answered.fields, (name, answered.notes)
            assert status_in(answered) == expected_status
    assert host.ask(host.number("good"), "sha512").response_status != 0


@pytest.mark.slow
def test_the_files_are_those_of_requests(host):
    for name in ("good", "bad", "held", "root-ocsp", "root-ca"):
        for hash_name in ("sha1", "sha256"):
            host.ask(host.number(name), hash_name)
    asked = host.files()
    assert len(asked) == 10
    assert host.signed() == (0, 10)
    assert host.files() == asked
    subprocess.run(["rm", "-r", *host.cache.iterdir()], check=True)
    assert host.signed() == (10, 0)
    assert host.files().keys() == asked.keys()


def test_only_what_has_changed_is_signed_again(host):
    assert host.signed() == (10, 0)
    host.ca.revoke("good", "-crl_reason", "superseded")
    settle(host.home / "db" / "index")
    assert host.signed() == (2, 8)
    (host.home / "private" / "root-ocsp.key").unlink()
    answered = host.ask(host.number("good"))
    assert ("cache", "hit") in answered.fields and status_in(answered) == REVOKED


def test_without_semaphores(host, monkeypatch):
    """As in a chroot without /dev/shm."""

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("multiprocessing.synchronize.SemLock.__init__", refuse)
    assert host.signed() == (10, 0)


@pytest.mark.slow
def test_a_new_signer_signs_all_of_it_again(host):
    host.signed()
    host.ca.issue("renewed", "ocsp_ext")
    os.rename(host.home / "renewed.crt", host.home / "root-ocsp.crt")
    os.rename(host.home / "private" / "renewed.key", host.home / "private" / "root-ocsp.key")
    settle(host.home / "db" / "index")
    assert host.signed() == (12, 0)


@pytest.mark.slow
def test_a_signer_that_has_been_revoked(host):
    host.signed()
    host.ca.revoke("root-ocsp")
    settle(host.home / "db" / "index")
    status, output, [problem] = host.presign()
    assert status == 1 and output == []
    assert problem.startswith("[root-ca] ") and "root-ocsp.crt: revoked in the database" in problem


@pytest.mark.slow
def test_what_the_responder_will_not_use_for_long_is_signed_again(host):
    """`nmin` is 60 minutes, so a response is used for 30."""
    host.signed()
    before = host.files()
    time.sleep(1.1)
    assert host.signed("--margin", "29") == (0, 10)
    settings = config.load(str(host.config))
    for seconds, expected in ((1795, (0, 10)), (1799, (10, 0))):
        presigning_ = presigning.Presigning(settings.cas[0], settings, 1, seconds)
        done = presigning_.run(Progress("", 10, None))
        assert (done.signed, done.fresh) == expected
    assert all(written > before[name] for name, written in host.files().items())


@pytest.mark.slow
def test_a_signer_that_ends_soon(host):
    """Responses live until then, and are signed again no more often than others in theirs."""
    end = time.strftime("%y%m%d%H%M%SZ", time.gmtime(time.time() + 600))
    host.ca.sign("root-ocsp", "ocsp_ext", "1", "-enddate", end)
    settle(host.home / "db" / "index")
    assert host.signed() == (12, 0)
    answered = host.ask(host.number("good"))
    assert answered.next_update - answered.this_update < 601
    assert host.signed() == (0, 12)


@pytest.mark.slow
def test_expired_certificates_are_left_out_unless_the_archive_goes_back_so_far(host):
    host.add_rows(3)
    index = host.home / "db" / "index"
    ended = time.strftime("%y%m%d%H%M%SZ", time.gmtime(time.time() - 5 * DAY)).encode()
    host.edit(
        index.read_bytes().replace(
            b"270220135115Z\t\t" + b"%040X" % 0x1001, ended + b"\t\t" + b"%040X" % 0x1001
        )
    )
    assert host.signed() == (14, 0)
    host.set(archive_cutoff="4")
    assert host.signed() == (14, 0)
    host.set(archive_cutoff="6")
    assert host.signed() == (16, 0)
    host.set(archive_cutoff="ca")
    assert host.signed() == (16, 0)


@pytest.mark.slow
def test_odd_lines(host):
    """What a malformed line revokes is revoked, what cannot be trusted is not signed, and all else
    is."""
    index = host.home / "db" / "index"
    doubtful = ROW.replace(b"\t\t", b"\t261122135115Z\t") % b"D0BF"
    rows = [
        b"R 270220135115Z 261122135115Z CAFE0A12 unknown /CN=x\n",
        (ROW % b"0B").rstrip() + b"\t" + REVOKED_ROW % b"0C",
        (ROW % b"0D") + (REVOKED_ROW % b"0D"),
        ROW.replace(b"V", b"X") % b"0E",
        b"# a comment\n\n",
        doubtful,
        ROW % b"-66",
        REVOKED_ROW % (b"AB" * 130),
    ]
    host.edit(index.read_bytes() + b"".join(rows))
    status, [line], problems = host.presign("--processes", "1")
    assert status == 1
    assert counts(line) == (2 * (5 + 5), 2)  # the second row of 0D finds what the first has left
    number = index.read_bytes().count(b"\n", 0, index.read_bytes().index(b"D0BF")) + 1
    assert any(f"{index} line {number}: type V" in one for one in problems)
    assert any("serial ABABAB" in one and "too long to be cached" in one for one in problems)
    assert problems[-1] == ("[root-ca] 4 responses could not be signed, for the reasons above")
    assert counts(host.presign("--processes", "1")[1][0]) == (0, 22)
    (host.home / "private" / "root-ocsp.key").unlink()
    for serial, expected in ((0xCAFE0A12, REVOKED), (0xB, GOOD), (0xC, REVOKED), (0xD, REVOKED)):
        answered = host.ask(serial)
        assert ("cache", "hit") in answered.fields, (serial, answered.notes)
        assert status_in(answered) == expected


@pytest.mark.slow
def test_two_signers(host):
    """The first signs, as for a client without preferences."""
    host.ca.issue("rsa-ocsp", "ocsp_ext", ("rsa:2048",))
    settle(host.home / "db" / "index")
    host.set(rsigner2="rsa-ocsp.crt", rkey2="private/rsa-ocsp.key")
    assert host.signed() == (12, 0)
    os.rename(host.home / "private" / "root-ocsp.key", host.home / "key")
    assert host.signed() == (12, 0)
    answered = host.ask(host.number("good"))
    assert ("cache", "hit") in answered.fields
    assert ("warning", "rsigner-cannot-sign") in answered.fields


@pytest.mark.slow
def test_two_sections_of_one_ca(host):
    """Both have their responses where the responder looks for them."""
    text = host.config.read_text().partition("[responder]")[0]
    host.config.write_text(text + text.replace("[root-ca]", "[again]"))
    status, lines, _ = host.presign()
    assert status == 0
    assert [counts(line) for line in lines] == [(10, 0), (0, 10)]


@pytest.mark.slow
def test_an_index_that_changes_while_the_next_ca_is_signed_for(host, monkeypatch):
    """No other run can begin meanwhile."""
    text = host.config.read_text().partition("[responder]")[0]
    host.config.write_text(text + text.replace("[root-ca]", "[again]"))
    presign, changes = presign_run._presign, [1]

    def change_before(ca, *rest):
        if ca.name == "again" and changes:
            host.add_rows(changes.pop())
        return presign(ca, *rest)

    monkeypatch.setattr(presign_run, "_presign", change_before)
    status, lines, _ = host.presign()
    assert status == 0
    assert [line.split()[0] for line in lines] == ["[root-ca]", "[again]", "[root-ca]"]
    assert [counts(line) for line in lines] == [(10, 0), (2, 10), (0, 12)]


def test_no_more_parts_wait_than_are_needed(monkeypatch):
    """Also while none ends for longer than until the progress is shown again."""
    monkeypatch.setattr(presigning, "_SHOW_SECONDS", 0.01)
    monkeypatch.setattr(presigning, "_work", lambda _: time.sleep(0.05) or Done())
    begun = []

    class Pool(ThreadPoolExecutor):
        def submit(self, work, part):
            begun.append(part)
            return super().submit(work, part)

    parts = index_part.parts(100 * 8 * 1024, False)
    with Pool(1) as pool:
        results = presigning._results(pool, parts[:5], 3, Progress("", 5, None), Done())
        next(results)
        assert len(begun) == 3
        assert len(list(results)) == 4


def test_no_more_processes_than_parts(host, monkeypatch):
    """On a host with many processors each run would start as many, and end them again."""
    pool = presigning._pool
    numbers = []

    def note(processes, presigner):
        numbers.append(processes)
        return pool(processes, presigner)

    monkeypatch.setattr(presigning, "_pool", note)
    assert host.signed("--processes", "8") == (10, 0)
    assert numbers == [2]


def test_an_empty_index(host):
    host.edit(b"")
    assert host.presign() == (
        1,
        [],
        [f"[root-ca] {host.home}/db: the index is empty, so there is nothing to sign"],
    )


@pytest.mark.root
def test_a_cache_that_its_owner_cannot_open(host):
    for directory in (host.home.parent, host.home):
        directory.chmod(0o755)
    httpd.let_write(host.cache)
    host.cache.chmod(0)
    run = host.start(stderr=subprocess.PIPE, text=True)
    said = run.communicate()[1]
    assert run.returncode == 1
    assert f"{host.cache}: Permission denied: `cache` names it, and its owner must" in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_another_run_is_at_work(host):
    with presigning.lock(str(host.cache)) as is_locked:
        assert is_locked
        status, [line], problems = host.presign()
        assert (status, problems) == (0, [])
        assert line.startswith(f"{host.cache}: another run is at work. It sees what changes in the")
        assert host.presign("--quiet") == (0, [], [])
    assert host.signed() == (10, 0)


@pytest.mark.slow
def test_quiet_prints_nothing_if_all_is_well(host):
    assert host.presign("--quiet") == (0, [], [])
    assert len(host.files()) == 10


def test_what_cannot_be_presigned(host):
    for names, changes, text in (
        (["b"], {}, r"no \[b\] in the config"),
        (["--margin", "30"], {}, r"--margin 30 is too long for \[root-ca\]: .* that is 30 minutes"),
        ([], {"presign": "no"}, "no CA in .*ocsp-cgi.conf has `presign = yes`: add it"),
        (["root-ca"], {"cache": "nowhere"}, "nowhere: No such file or directory: `cache`"),
        ([], {"presign": "perhaps"}, "`presign` is `perhaps`, and should be no or yes"),
    ):
        host.set(**{"presign": "yes", "cache": "cache", **changes})
        with pytest.raises(CommandError, match=text):
            host.presign(*names)
    host.config.write_text(host.config.read_text().replace("cache = ", "# "))
    host.set(presign="yes")
    with pytest.raises(CommandError, match=r"\[root-ca\] has no `cache` in"):
        host.presign()
    assert host.files() == {}


@pytest.mark.slow
def test_a_cache_that_is_too_small(host):
    """Nothing is signed that would push others out, and the size that is named is enough."""
    host.set(cache_size="1")
    host.add_rows(100)
    with pytest.raises(CommandError, match="`cache_size` is 1 MiB, which is too little") as error:
        host.presign()
    found = re.search(r"Set `cache_size = (\d+)` in each section", str(error.value))
    assert found and host.files() == {}
    host.set(cache_size=found[1])
    assert host.signed() == (210, 0)
    assert len(host.files()) == 210


@pytest.mark.slow
def test_a_cache_that_is_too_small_for_all(host):
    """It has to have room for the responses of a CA that is presigned another time."""
    host.set(cache_size="3")
    host.add_rows(100)
    assert host.signed() == (210, 0)
    text = host.config.read_text().partition("[responder]")[0]
    host.config.write_text(text + text.replace("[root-ca]", "[again]"))
    with pytest.raises(CommandError, match="too little for 420 responses"):
        host.presign("again")


@pytest.mark.slow
def test_a_cache_that_cannot_be_written(host):
    """It is said once, and nothing else is signed."""
    ca = config.load(str(host.config)).cas[0]
    (host.cache / f"{cache.BUCKETS}{cache.bucket_count(ca)}").touch()
    host.add_rows(500)
    status, [line], [problem] = host.presign()
    assert status == 1 and counts(line) == (0, 0)
    assert re.fullmatch(r"\[root-ca\] stopped: .*/cache: Not a directory: .*", problem)


@pytest.mark.slow
def test_a_stale_copy(host):
    host.set(stale_after="10")
    (host.home / "db" / "heartbeat").touch()
    os.utime(host.home / "db" / "heartbeat", (time.time() - 3600,) * 2)
    status, output, [problem] = host.presign()
    assert (status, output) == (1, [])
    assert "the index was last copied 60 minutes ago" in problem


@pytest.mark.slow
def test_it_goes_on_where_it_was_interrupted(host):
    process = host.start_on_many_rows()
    process.send_signal(signal.SIGINT)
    _, problems = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in problems
    before = host.files()
    assert 50 <= len(before) < 810
    assert not [path for path in host.cache.rglob(".*") if path.suffix == cache.SUFFIX]
    assert host.signed() == (810 - len(before), len(before))
    assert before.items() <= host.files().items()


@pytest.mark.slow
def test_a_revocation_meanwhile_does_not_wait_for_the_rest(host):
    process = host.start_on_many_rows()
    host.ca.revoke("good")
    seen = None
    while process.poll() is None and seen != REVOKED:
        answered = host.ask(host.number("good"))
        if ("cache", "hit") in answered.fields:
            seen = status_in(answered)
            assert seen == REVOKED
        time.sleep(0.05)
    _, problems = process.communicate(timeout=60)
    assert (process.returncode, problems) == (0, "")
    assert host.signed() == (0, 810)
    (host.home / "private" / "root-ocsp.key").unlink()
    assert status_in(host.ask(host.number("good"))) == REVOKED


@pytest.mark.slow
def test_a_process_that_is_killed(host):
    host.add_rows(400)
    process = host.start("--processes", "1", stderr=subprocess.PIPE, text=True)
    while len(host.files()) < 50:
        assert process.poll() is None
        time.sleep(0.05)
    os.kill(children(process)[0], signal.SIGKILL)
    _, problems = process.communicate(timeout=60)
    assert process.returncode == 1
    assert ": a process that signs was killed: is there enough memory? Run it again" in problems
    assert "Traceback" not in problems
    assert sum(host.signed()) == 810


@pytest.mark.slow
def test_no_process_is_left_when_the_first_is_killed(host):
    host.add_rows(400)
    process = host.start("--processes", "2")
    while len(host.files()) < 50:
        assert process.poll() is None
        time.sleep(0.05)
    left = children(process)
    assert len(left) == 2
    process.kill()
    process.wait()
    deadline = time.monotonic() + 60
    while any(os.path.exists(f"/proc/{one}") for one in left):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert sum(host.signed()) == 810


@pytest.mark.slow
def test_a_terminal_shows_a_bar(host):
    host.add_rows(1000)  # for a second, as it takes a moment until the bar appears
    ours, theirs = pty.openpty()
    process = host.start(stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    while select.select([ours], [], [], 60)[0]:
        try:
            part = os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
        shown += part
    os.close(ours)
    assert process.wait() == 0
    bar = rb"\r\[root-ca\] \[#*\.*\] \d+ of 2010, \d+ per second, \d+ s left"
    assert re.search(bar, shown), shown
    assert (
        shown.rpartition(b"\r")[0]
        .rpartition(b"\r")[2]
        .startswith(b"\x1b[K[root-ca] 2010 responses signed in ")
    )


@pytest.mark.root
@pytest.mark.slow
def test_root_becomes_the_owner_of_the_cache(host):
    """What it writes is the responder's."""
    httpd.let_read(host.home)
    httpd.let_write(host.cache)
    process = host.start(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    output, problems = process.communicate(timeout=60)
    assert (process.returncode, problems) == (0, "")
    assert counts(output.strip()) == (10, 0)
    owner = host.cache.stat().st_uid
    assert owner != 0
    assert {path.stat().st_uid for path in host.cache.rglob("*")} == {owner}
    other = host.start(
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, user=65533, group=65533
    )
    _, problems = other.communicate(timeout=60)
    assert other.returncode == 1 and "so this must run as" in problems


@pytest.mark.slow
@pytest.mark.apache
def test_openssl_is_answered_by_an_apache_without_the_key(host, workspace, cgi):
    host.set(nonce="ignore")
    httpd.let_read(host.home)
    httpd.let_write(host.cache)
    process = host.start(stdout=subprocess.PIPE, text=True)
    assert counts(process.communicate(timeout=60)[0].strip()) == (10, 0)
    (host.home / "private" / "root-ocsp.key").unlink()
    with started(host.home.parent / "httpd", cgi, host.config) as server:
        for name, expected in (("good", "good"), ("bad", "revoked")):
            for options in ([], ["-no_nonce"], ["-sha256"]):
                asked = openssl_ocsp(
                    host.home, *options, "-cert", f"{name}.crt", "-url", server.url
                )
                assert f"{name}.crt: {expected}" in asked.stdout, asked.stderr
                assert "Response verify OK" in asked.stderr
        host.ca.revoke("good")
        settle(host.home / "db" / "index")
        httpd.let_read(host.home)
        asked = openssl_ocsp(host.home, "-cert", "good.crt", "-url", server.url)
        assert "Responder Error" in asked.stdout + asked.stderr


@pytest.mark.slow
def test_sync_starts_it_after_a_change(host, place):
    source = place / "index"
    source.write_bytes((host.home / "db" / "index").read_bytes())
    settle(source)
    host.set(sync_from=str(source))
    words = [sys.executable, "-m", "ocsp_cgi", "sync", "--force", "--config", str(host.config)]
    subprocess.run(words, cwd=CHECKOUT, check=True, capture_output=True)
    assert host.files() == {}  # the index is the same
    source.write_bytes(source.read_bytes() + ROW % b"ABCD")
    settle(source)
    subprocess.run(words, cwd=CHECKOUT, check=True, capture_output=True)
    deadline = time.monotonic() + 60
    while len(host.files()) < 12:
        assert time.monotonic() < deadline
        time.sleep(0.05)
