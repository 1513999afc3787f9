"""Stress tests of the responder: no response may be wrong, broken or missing.

    python3 tests/trials.py            ten minutes; prints the table of tests/README.md
    python3 tests/trials.py --quick    a minute, as in test_trials.py

Each trial raises AssertionError at the first wrong response; else it returns how often it tried,
and what it saw.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import http.client
import itertools
import os
import posix
import random
import shutil
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple
from unittest import mock

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(CHECKOUT), str(CHECKOUT / "tests"), str(CHECKOUT / "tests" / "bench")]

from ocsp_cgi.answer import RESPONSE_STATUS_NAMES, error_response
from ocsp_cgi.tools import entry, environment

if __name__ == "__main__":
    try:
        environment.ensure("cryptography", "pytest")
    except entry.CommandError as error:
        sys.exit(entry.report("python3 tests/trials.py", error))

import pytest
from clients import (
    NULL,
    cert_id,
    certificate,
    extension,
    nonce,
    octets,
    oid,
    request,
    respond,
    run_cgi,
    settle,
    started,
    started_wsgi,
)
from copier import Copier
from cryptography.x509 import ocsp
from setting import SIGNERS, Setting
from sshd import Sshd, sshd_is_installed

from ocsp_cgi import config, der, index_search, limits
from ocsp_cgi.commands import demo
from ocsp_cgi.files import Files
from ocsp_cgi.index_file import DatabaseUnavailable
from ocsp_cgi.resident import ResidentFiles
from ocsp_cgi.tools import httpd
from ocsp_cgi.tools.openssl_ca import PrivateCA

ERRORS = {error_response(status): name for status, name in RESPONSE_STATUS_NAMES.items() if status}


class Result(NamedTuple):
    """The trial's row in the table: how often it tried, and what it saw."""

    tried: int
    seen: str


def make_ca(home: Path) -> PrivateCA:
    """A CA with two configs, one of them with a cache."""
    ca = demo.make_ca(home)
    config = (home / "ocsp-cgi.conf").read_text()
    (home / "fresh.conf").write_text(config)
    (home / "ocsp-cgi.conf").write_text(config + "cache = cache\n")
    (home / "cache").mkdir(mode=0o750)
    httpd.let_read(home)
    settle(ca.home / "db" / "index")
    return ca


def read(encoded: bytes) -> str:
    """good, revoked, unknown or the name of an error.  AssertionError if it is not a response."""
    if encoded in ERRORS:
        return ERRORS[encoded]
    response = ocsp.load_der_ocsp_response(encoded)
    assert response.response_status == ocsp.OCSPResponseStatus.SUCCESSFUL
    return response.certificate_status.name.lower()


class Asker:
    """Asks the responder, in this process: in turn as a CGI and as a process that stays, each with
    a cache and without."""

    def __init__(self, home: Path):
        configs = [str(home / "ocsp-cgi.conf"), str(home / "fresh.conf")]
        self.ways = itertools.cycle(itertools.product([Files(), ResidentFiles()], configs))
        self.root = certificate(home / "root-ca.crt")
        self.warnings: list[str] = []

    def __call__(self, encoded: bytes) -> bytes:
        files, path = next(self.ways)
        response = respond(encoded, lambda: files.settings(path), int(time.time()), files)
        self.warnings = response.warnings
        return response.der

    def about(self, serial: int) -> str:
        return read(self(request(cert_id(self.root, serial))))


class Life:
    """When the commands began and returned that issued and revoked each certificate."""

    def __init__(self) -> None:
        self.issued: dict[int, float] = {}
        self.revoking: dict[int, float] = {}
        self.revoked: dict[int, float] = {}

    def check(self, serial: int, status: str, asked: float, answered: float) -> None:
        """Assert that this status can have been right for a request between these times."""
        if status == "tryLater":
            return
        possible = set()
        if self.revoked.get(serial, answered) >= asked:
            possible.add("good")
        if self.revoking.get(serial, answered) < answered:
            possible.add("revoked")
        assert status in possible, (hex(serial), status, possible)


@contextlib.contextmanager
def meanwhile(work):
    """Inside the `with`, run work(stop) in a thread, until it sees that `stop` is set.

    What it raises is raised at the end: a trial proves nothing if nothing happened meanwhile.
    """
    stop, failures = threading.Event(), []

    def run() -> None:
        try:
            work(stop)
        except BaseException as error:
            failures.append(error)

    worker = threading.Thread(target=run)
    worker.start()
    try:
        yield
    finally:
        stop.set()
        worker.join()
    if failures:
        raise failures[0]


@contextlib.contextmanager
def running(threads: list[threading.Thread], stop: threading.Event):
    """Inside the `with`, these threads run.  At its end `stop` is set, and they are waited for."""
    try:
        for thread in threads:
            thread.start()
        yield
    finally:
        stop.set()
        for thread in threads:
            if thread.ident:
                thread.join()


def issue_and_revoke(ca: PrivateCA, life: Life, stop: threading.Event) -> None:
    """Run the real `openssl ca` in a loop until `stop`: issue, revoke, mark as expired."""

    def issue(name: str, *options: str) -> int:
        ca.openssl(
            "ca",
            "-config",
            "root-ca.cnf",
            "-batch",
            "-notext",
            "-extensions",
            "server_ext",
            "-in",
            "good.csr",
            "-out",
            f"{name}.crt",
            *options,
        )
        serial = int(ca.serial(name), 16)
        life.issued[serial], life.revoking[serial] = time.monotonic(), float("inf")
        return serial

    for number in itertools.count():
        if stop.is_set():
            return
        serial = issue(f"c{number}", "-days", "90")
        life.revoking[serial] = time.monotonic()
        ca.revoke(f"c{number}", "-crl_reason", "superseded")
        life.revoked[serial] = time.monotonic()
        if number % 5 == 0:
            issue(f"e{number}", "-startdate", "20200101000000Z", "-enddate", "20200201000000Z")
            ca.openssl("ca", "-config", "root-ca.cnf", "-updatedb")


@contextlib.contextmanager
def coarse_clock():
    """Inside the `with`, the responder sees the times of files in ticks of 4 ms.

    Kernels before 6.13 have such a clock.
    """

    def in_ticks(stat):
        def stat_in_ticks(*arguments):
            of = stat(*arguments)
            exact = {name: getattr(of, f"st_{name}_ns") for name in ("atime", "mtime", "ctime")}
            ticks = {name: time_ns // 4_000_000 * 4_000_000 for name, time_ns in exact.items()}
            times = {f"st_{name}_ns": time_ns for name, time_ns in ticks.items()}
            times.update({f"st_{name}": time_ns / 1e9 for name, time_ns in ticks.items()})
            return os.stat_result(of[:10], times)

        return stat_in_ticks

    coarse_stat = mock.patch("posix.stat", in_ticks(posix.stat))
    with coarse_stat, mock.patch("posix.fstat", in_ticks(posix.fstat)):
        yield


def rename_gap(place: Path, seconds: float) -> Result:
    """`openssl ca` changes its database without a pause while it is read: on disk, and in memory.

    In memory it writes and renames within one tick of a coarse clock.  Every response must be
    right, and none may be tryLater.
    """
    tmpfs = "/dev/shm" if os.access("/dev/shm", os.W_OK) else place
    memory = Path(tempfile.mkdtemp(prefix="ocsp-cgi-trial-", dir=tmpfs))
    exact = contextlib.nullcontext
    revoked, counts = 0, collections.Counter()
    try:
        for home, clock in (
            (place / "disk", exact),
            (memory / "exact", exact),
            (memory / "coarse", coarse_clock),
        ):
            with clock():
                certificates, statuses = _rename_gap(home, seconds / 3)
            revoked, counts = revoked + certificates, counts + statuses
    finally:
        shutil.rmtree(memory)
    seen = f"{revoked} certificates issued and revoked meanwhile; {counts['tryLater']} tryLater"
    return Result(sum(counts.values()), seen)


def _rename_gap(place: Path, seconds: float) -> tuple[int, collections.Counter[str]]:
    """(how many certificates were revoked, how often each status was returned)"""
    ca = make_ca(place)
    ask, life = Asker(ca.home), Life()
    absent = 0xAB5E17
    counts: collections.Counter[str] = collections.Counter()
    draw, end = random.Random(1), time.monotonic() + seconds
    with meanwhile(lambda stop: issue_and_revoke(ca, life, stop)):
        while time.monotonic() < end:
            serial, asked = draw.choice([*list(life.issued)[-5:], absent]), time.monotonic()
            status = ask.about(serial)
            assert status != "tryLater", ask.warnings
            if serial == absent:
                assert status == "unknown", status
            else:
                life.check(serial, status, asked, time.monotonic())
            counts[status] += 1
    assert counts["good"] and counts["revoked"] and counts["unknown"], counts
    return len(life.revoked), counts


def renames(place: Path, seconds: float) -> Result:
    """The renames of `openssl ca`, hundreds of times a second, with and without a revocation."""
    ca = make_ca(place / "ca")
    ask, index = Asker(ca.home), ca.home / "db" / "index"
    serial = int(ca.serial("good"), 16)
    states = [index.read_bytes()]
    ca.revoke("good")
    states.append(index.read_bytes())
    done: collections.Counter[str] = collections.Counter()

    def rename(stop: threading.Event) -> None:
        while not stop.wait(0.001):
            (ca.home / "db" / "index.new").write_bytes(states[done["renames"] % 2])
            os.rename(index, ca.home / "db" / "index.old")
            os.rename(ca.home / "db" / "index.new", index)
            done["renames"] += 1

    counts: collections.Counter[str] = collections.Counter()
    end = time.monotonic() + seconds
    with meanwhile(rename):
        while time.monotonic() < end:
            counts[ask.about(serial)] += 1
    assert (
        set(counts) <= {"good", "revoked", "tryLater"} and counts["good"] and counts["revoked"]
    ), counts
    return Result(
        sum(counts.values()), f"{done['renames']} renames meanwhile; {counts['tryLater']} tryLater"
    )


def copies(place: Path, seconds: float, databases: int) -> Result:
    """Indexes are overwritten in place by cp, rsync and scp, many of them killed halfway, and read.

    A serial that is revoked in the old and in the new content must never be good, whatever the
    mixture looks like.  There is one exception, which is counted: a killed copy may leave a line
    that is a well-formed V row, and once the file has settled no reader can know.
    """
    httpd.let_read(place)
    ca = make_ca(place / "ca")
    draw = random.Random(2)
    counts: collections.Counter[str] = collections.Counter()
    stop, failures = threading.Event(), []

    def ask(copier: Copier, home: Path, number: int) -> None:
        asker, draw = Asker(home), random.Random(number)
        try:
            while not stop.is_set():
                hot = copier.hot if number else []
                serial, asked = draw.choice(hot or copier.serials), time.time()
                status = asker.about(serial)
                counts[copier.check(serial, status, asked, time.time())] += 1
        except BaseException as error:
            failures.append(error)
            stop.set()

    with contextlib.ExitStack() as stack:
        copiers, threads = [], []
        for database in range(databases):
            sshd = Sshd(place / f"sshd-{database}") if sshd_is_installed() else None
            if sshd:
                stack.enter_context(sshd)
            home = ca.copy(place / f"database-{database}").home
            httpd.let_read(home)
            copiers.append(Copier(home, sshd, random.Random(draw.random())))
            for number in range(3):
                threads.append(threading.Thread(target=ask, args=(copiers[-1], home, number)))
        for copier in copiers:
            stack.enter_context(meanwhile(copier))
        with running(threads, stop):
            stop.wait(seconds)
    if failures:
        raise failures[0]
    assert counts["good"] and counts["revoked"], counts
    done = sum((copier.done for copier in copiers), collections.Counter())
    killed = done.pop("killed", 0)
    seams = [f"{number} {status}" for status, number in sorted(counts.items()) if "seam" in status]
    seen = [
        f"{sum(done.values())} copies meanwhile, by {', '.join(sorted(done))}",
        f"{killed} of them killed",
        f"{counts['tryLater']} tryLater",
        *seams,
    ]
    return Result(sum(counts.values()), "; ".join(seen))


def mutated(draw: random.Random, encoded: bytes) -> bytes:
    """The same with a few bytes changed, removed, inserted or repeated."""
    changed = bytearray(encoded)
    for _ in range(draw.choice((0, 1, 1, 2, 5))):
        at = draw.randrange(len(changed) + 1)
        how = draw.randrange(5)
        if how == 0 and at < len(changed):
            changed[at] ^= 1 << draw.randrange(8)
        elif how == 1 and at < len(changed):
            changed[at] = draw.choice(
                (
                    0,
                    1,
                    2,
                    3,
                    4,
                    5,
                    6,
                    0x0A,
                    0x1F,
                    0x30,
                    0x7F,
                    0x80,
                    0x81,
                    0x82,
                    0x84,
                    0xA0,
                    0xA1,
                    0xA2,
                    0xFF,
                )
            )
        elif how == 2:
            del changed[at : at + draw.choice((1, 2, 10))]
        elif how == 3:
            changed[at:at] = draw.randbytes(draw.choice((1, 2, 10)))
        else:
            changed[at:at] = changed[at : at + draw.choice((2, 20))]
    return bytes(changed)


def any_der(draw: random.Random, depth: int = 0) -> bytes:
    """DER of any shape; sometimes not quite."""
    tag = draw.choice(
        (0x30, 0x30, 0x30, 2, 4, 5, 6, 0x0A, 1, 3, 0x18, 0xA0, 0xA1, 0xA2, 0x82, 0x1F, 0x3F, 0xFF)
    )
    if tag & 0x20 and depth < 60 and draw.random() < 0.9:
        contents = b"".join(
            any_der(draw, depth + 1)
            for _ in range(draw.choice((0, 1, 1, 2, 3)) if depth < 12 else draw.randrange(2))
        )
    else:
        contents = draw.randbytes(draw.choice((0, 1, 1, 2, 9, 20, 300)))
    encoded = der.tlv(tag, contents)
    if draw.random() < 0.03:  # another way to write its length, or a wrong one
        length = draw.choice(
            (
                b"\x80",
                b"\x81" + bytes((len(contents) & 0xFF,)),
                b"\x84\xff\xff\xff\xff",
                b"\x89" + bytes(9),
            )
        )
        encoded = bytes((tag,)) + length + contents
    return encoded


def hostile_requests(draw: random.Random, root, serials: list[int]):
    """Yield requests without end: mutated ones, ones with a part of any shape, and any DER."""
    hashes = ("sha1", "sha256", "sha512")
    while True:
        ids = [
            cert_id(
                root,
                draw.choice((*serials, draw.getrandbits(159), -draw.getrandbits(64), 0)),
                draw.choice(hashes),
                draw.choice((NULL, b"")),
            )
            for _ in range(draw.choice((1, 1, 1, 2, 5)))
        ]
        options = (
            {"extensions": nonce(draw.randbytes(draw.choice((0, 1, 16, 32, 128, 129))))}
            if draw.random() < 0.5
            else {}
        )
        part = draw.randrange(9)
        if part == 0:
            options["extensions"] = extension("1.3.6.1.5.5.7.48.1.8", any_der(draw))
        elif part == 1:
            options["requestor"] = der.tlv(der.context(1), any_der(draw))
        elif part == 2:
            options["signature"] = der.tlv(der.context(0), any_der(draw))
        elif part == 3:
            hashed = octets(draw.randbytes(20))
            ids.append(
                der.sequence(any_der(draw), hashed, hashed, der.integer(draw.getrandbits(4000)))
            )
        elif part == 4:
            options["single_extensions"] = der.sequence(
                oid("1.2.3." + "9" * draw.randrange(1, 400)), octets(any_der(draw))
            )
        elif part == 5:
            yield any_der(draw)
            continue
        yield mutated(draw, request(*ids, **options))


def fuzz_requests(place: Path, count: int) -> Result:
    """Requests of every shape, to the responder in this process; every hundredth to the CGI too."""
    ca = make_ca(place / "ca")
    script = httpd.install_cgi(place / "cgi")
    ask = Asker(ca.home)
    serials = [int(ca.serial(name), 16) for name in ("good", "bad", "root-ocsp")]
    outcomes: collections.Counter[str] = collections.Counter()
    for number, encoded in zip(
        range(count), hostile_requests(random.Random(count), ask.root, serials)
    ):
        response = ask(encoded)
        try:
            assert (
                response in ERRORS
                or ocsp.load_der_ocsp_response(response).response_status.value == 0
            )
        except ValueError as error:
            raise AssertionError(encoded.hex()) from error
        assert not any("report this" in warning for warning in ask.warnings), (
            encoded.hex(),
            ask.warnings,
        )
        outcomes[ERRORS.get(response, "answered")] += 1
        if number % 100 == 0:
            through = run_cgi(script, ca.home / "ocsp-cgi.conf", "POST", encoded)
            assert through.status == 200 and (through.body in ERRORS) == (response in ERRORS), (
                encoded.hex()
            )
            assert through.body == response or response not in ERRORS, encoded.hex()
    assert outcomes["answered"] > count / 10 and outcomes["malformedRequest"] > count / 10, outcomes
    assert not outcomes["internalError"] and not outcomes["tryLater"], outcomes
    return Result(count, ", ".join(f"{number} {name}" for name, number in outcomes.most_common()))


def fuzz_indexes(place: Path, count: int) -> Result:
    """Indexes with rows of every shape: a whole row is found, or the response is tryLater."""
    place.mkdir(exist_ok=True)
    index = place / "index"
    draw = random.Random(count)
    row = b"R\t270220135115Z\t261122135115Z,keyCompromise\t0ACE\tunknown\t/CN=x\n"
    pieces = (
        b"\t",
        b"\n",
        b"\r\n",
        b"V",
        b"R",
        b"E",
        b"#",
        b" ",
        b"\0",
        b"\xff",
        b"0ACE",
        b"0ace\t",
        b"ACE \t",
        b"270220135115Z",
        b"261122135115Z,keyTime,",
        b"99999999999999Z",
        b",holdInstruction,1.2",
        b"\xef\xbb\xbf",
        b"unknown",
        b"/CN=",
        b"x" * 300,
        b"-",
        b"0x",
    )
    counts: collections.Counter[str] = collections.Counter()
    for _ in range(count):
        before, after = (
            b"".join(draw.choice(pieces) for _ in range(draw.randrange(30))) for _ in range(2)
        )
        before += b"\n" if before else b""
        index.write_bytes(before + row + after)
        settle(index)
        wanted = {0xACE, 0xBAD} if draw.random() < 0.3 else {0xACE}
        try:
            found = index_search.find(str(place), wanted)
        except DatabaseUnavailable:
            counts["tryLater"] += 1
            assert wanted != {0xACE}
            continue
        assert found.rows[0xACE].cert_status.name == "revoked"
        counts["found"] += 1
    return Result(
        count,
        f"{counts['found']} found, {counts['tryLater']} tryLater for another, in a file that"
        " breaks off",
    )


def fuzz_configs(place: Path, count: int) -> Result:
    """Configs of every shape: read, or refused with a ConfigError."""
    place.mkdir(exist_ok=True)
    path = place / "ocsp-cgi.conf"
    draw = random.Random(count)
    pieces = (
        "[root-ca]\n",
        "[",
        "]",
        "=",
        "\n",
        "db = db\n",
        "ca = c\n",
        "rsigner = s\n",
        "rkey = k\n",
        "nmin = ",
        "0",
        "12",
        "9" * 30,
        "\u0665",
        "#",
        ";",
        "cache",
        "[responder]\n",
        "hyperlink = ",
        "https://x\n",
        "\0",
        "\r",
        "\ufeff",
        "nonce = echo\n",
        "archive_cutoff = ca\n",
        " ",
        "\t",
        "x" * 200,
    )
    counts: collections.Counter[str] = collections.Counter()
    whole = "[root-ca]\ndb = db\nca = c\nrsigner = s\nrkey = k\n"
    for _ in range(count):
        text = (whole if draw.random() < 0.3 else "") + "".join(
            draw.choice(pieces) for _ in range(draw.randrange(12))
        )
        path.write_bytes(text.encode() if draw.random() < 0.9 else draw.randbytes(200))
        try:
            config.load(str(path))
            counts["read"] += 1
        except config.ConfigError as error:
            assert str(error).startswith(str(path))
            counts["refused"] += 1
    return Result(count, f"{counts['read']} read, {counts['refused']} refused with file and line")


def load(place: Path, seconds: float, clients: int, by_wsgi: bool) -> Result:
    """Many clients ask a real Apache at once while certificates are revoked; every response is
    checked."""
    httpd.let_read(place)
    httpd.check_python(sys.executable)
    ca = make_ca(place / "ca")
    root = certificate(ca.home / "root-ca.crt")
    life, stop = Life(), threading.Event()
    for number in range(40):
        ca.issue(f"s{number}")
        serial = int(ca.serial(f"s{number}"), 16)
        life.issued[serial], life.revoking[serial] = time.monotonic(), float("inf")
    serials = list(life.issued)
    httpd.let_read(ca.home)
    httpd.let_write(ca.home / "cache")
    counts: collections.Counter[str] = collections.Counter()
    failures: list[BaseException] = []

    def client(number: int) -> None:
        draw = random.Random(number)
        try:
            while not stop.is_set():
                serial = draw.choice(serials)
                encoded = request(
                    cert_id(root, serial),
                    extensions=nonce(draw.randbytes(16)) if draw.random() < 0.5 else b"",
                )
                asked = time.monotonic()
                connection = http.client.HTTPConnection("127.0.0.1", apache.port, timeout=60)
                connection.request(
                    "POST",
                    "/cgi-bin/ocsp.cgi",
                    encoded,
                    {"Content-Type": "application/ocsp-request"},
                )
                response = connection.getresponse()
                body = response.read()
                assert response.status == 200 and response.headers["Content-Length"] == str(
                    len(body)
                )
                status = read(body)
                life.check(serial, status, asked, time.monotonic())
                connection.close()
                counts[status] += 1
        except BaseException as error:
            failures.append(error)
            stop.set()

    def revoke(stop: threading.Event) -> None:
        for number, serial in enumerate(serials):
            if stop.wait(seconds / len(serials)):
                return
            life.revoking[serial] = time.monotonic()
            ca.revoke(f"s{number}", "-crl_reason", "superseded")
            life.revoked[serial] = time.monotonic()

    script = httpd.install_cgi(place / "cgi-bin")
    start = started_wsgi if by_wsgi else started
    with start(place / "httpd", script, ca.home / "ocsp-cgi.conf") as apache:
        threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
        with meanwhile(revoke), running(threads, stop):
            stop.wait(seconds)
    if failures:
        raise failures[0]
    assert (
        counts["good"] and counts["revoked"] and set(counts) <= {"good", "revoked", "tryLater"}
    ), counts
    seen = (
        f"{clients} clients at once; {counts['good']} good, {counts['revoked']} revoked,"
        f" {counts['tryLater']} tryLater"
    )
    return Result(sum(counts.values()), seen)


class Crowd(NamedTuple):
    """The results of a crowd: the seconds each response took, and how many got tryLater."""

    seconds: list[float]
    refused: int

    def __str__(self) -> str:
        if not self.seconds:
            return f"none of {self.refused} answered"
        answered = f"{len(self.seconds)} of {len(self.seconds) + self.refused} answered"
        return (
            f"{answered}, median {statistics.median(self.seconds):.1f} s, last"
            f" {max(self.seconds):.1f} s"
        )


def crowd(setting: Setting, script: Path, config: Path, clients: int, seconds: float) -> Crowd:
    """Clients that all ask a real Apache at once, each with a nonce, and again when answered until
    `seconds` are over."""
    httpd.let_read(setting.home)
    httpd.let_write(config.with_suffix(".cache"))
    # All of Apache's threads from the start: it adds them one process a second, and the crowd would
    # come in small groups.
    site = (
        httpd.SITE_CONF.read_text()
        + f"StartServers {clients // 25 + 1}\nMinSpareThreads {clients}\nMaxSpareThreads 400\n"
    )
    site = site.replace('"${OCSP_CGI_BIN}/ocsp.cgi"', f'"{script}"').replace(
        '<Directory "${OCSP_CGI_BIN}">', f'<Directory "{setting.home}">'
    )
    root, serial = (
        certificate(setting.ca.home / "root-ca.crt"),
        int(setting.ca.serial("server"), 16),
    )
    start = threading.Barrier(clients)
    taken: list[float] = []
    refused: list[int] = []
    failures: list[BaseException] = []

    def client(number: int) -> None:
        try:
            draw = random.Random(number)
            start.wait()
            end = time.monotonic() + seconds
            while True:
                unique = draw.randbytes(16)
                began = time.monotonic()
                connection = http.client.HTTPConnection("127.0.0.1", apache.port, timeout=120)
                encoded = request(cert_id(root, serial), extensions=nonce(unique))
                connection.request(
                    "POST",
                    "/cgi-bin/ocsp.cgi",
                    encoded,
                    {"Content-Type": "application/ocsp-request"},
                )
                body = connection.getresponse().read()
                connection.close()
                status = read(body)
                assert status == "tryLater" or (status == "good" and unique in body), (
                    status,
                    body.hex(),
                )
                if status == "good":
                    taken.append(time.monotonic() - began)
                else:
                    refused.append(number)
                if time.monotonic() >= end:
                    return
        except BaseException as error:
            failures.append(error)

    home = setting.home / f"httpd-{time.monotonic_ns()}"
    with httpd.Apache(home, setting.pythons[sys.executable], config, site_conf=site) as apache:
        time.sleep(2)  # until its threads have started
        threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        log = apache.error_log
    if failures:
        raise failures[0]
    reasons = log.count(" overloaded: ") + log.count("Or is this machine overloaded?")
    assert reasons == len(refused), (reasons, len(refused))
    return Crowd(taken, len(refused))


def at_once(place: Path, clients: int, seconds: float) -> Result:
    """Many clients ask at the same moment, each with a nonce: ocsp.cgi with each kind of signer,
    and the shell script."""
    httpd.check_python(sys.executable)
    httpd.let_read(place)
    setting = Setting(place, [sys.executable])
    reference = setting.reference(1_000, "RSA")
    script = setting.pythons[sys.executable]
    reports, tried = [], 0
    for signer in SIGNERS:
        config = setting.config(1_000, signer, cache=True)
        # What the processors can do: as many clients as there are slots, so that none waits.
        slots = 2 * len(os.sched_getaffinity(0))
        alone = crowd(setting, script, config, slots, 3)
        result = crowd(setting, script, config, clients, seconds)
        possible = (
            min(clients, int(slots / statistics.mean(alone.seconds) * limits.DEADLINE_SECONDS))
            if not seconds
            else 0
        )
        # Half of it, because other load on this machine differs between the two; 0.9 without any.
        assert len(result.seconds) >= possible / 2, (result, alone)
        tried += len(result.seconds) + result.refused
        reports.append(
            f"{signer}: {result}" + (f" (possible in the deadline: {possible})" if possible else "")
        )
    result = crowd(setting, reference, config, clients, seconds)
    return Result(tried, f"{'; '.join(reports)}; the shell script, RSA: {result}")


TRIALS = {
    # name in the table: the trial, its arguments in the long form, and in the quick one
    "`openssl ca` issuing and revoking": (rename_gap, (60,), (5,)),
    "its renames, imitated": (renames, (30,), (3,)),
    "copies over the database": (copies, (60, 8), (12, 4)),
    "hostile requests": (fuzz_requests, (100_000,), (4_000,)),
    "hostile indexes": (fuzz_indexes, (50_000,), (3_000,)),
    "hostile configs": (fuzz_configs, (50_000,), (3_000,)),
    "clients of a real Apache, during revocations": (load, (60, 64, False), (6, 64, False)),
    "clients of mod_wsgi, during revocations": (load, (60, 64, True), (6, 64, True)),
    "256 new responses at once": (at_once, (256, 0), (64, 0)),
    "64 clients who all need new responses": (at_once, (64, 60), (16, 4)),
}
WITH_APACHE = {
    "clients of a real Apache, during revocations",
    "clients of mod_wsgi, during revocations",
    "256 new responses at once",
    "64 clients who all need new responses",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="the short forms")
    arguments = parser.parse_args()
    print(
        "| what was tried | how often | wrong or broken responses | |\n|---|---|---|---|",
        flush=True,
    )
    for name, (trial, long, quick) in TRIALS.items():
        directory = Path(tempfile.mkdtemp(prefix="ocsp-cgi-trial-"))
        try:
            result = trial(directory, *(quick if arguments.quick else long))
            print(f"| {name} | {result.tried} | 0 | {result.seen} |", flush=True)
        except pytest.skip.Exception as reason:
            print(f"| {name} | | | not tried: {reason} |", flush=True)
        finally:
            shutil.rmtree(directory, ignore_errors=True)
    return 0


if __name__ == "__main__":
    entry.run("python3 tests/trials.py", lambda: main)
