"""Two Apaches in directories of their own: one signs, the other has no key and gets index and
responses from the first host, by the real `ocsp-cgi sync`, rsync, sshd and rrsync."""

from __future__ import annotations

import collections
import contextlib
import datetime
import http.client
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from at_once import AtOnce
from clients import cert_id, certificate, openssl_ocsp, request, started, started_wsgi, verified
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp
from keyless import without_key
from sshd import NEEDS_LOGIN, Sshd, rsync_server
from test_reuse import with_checksum

from ocsp_cgi import client
from ocsp_cgi.answer import TRY_LATER, UNAUTHORIZED, error_response
from ocsp_cgi.tools import httpd
from ocsp_cgi.tools.openssl_ca import PrivateCA

CHECKOUT = Path(__file__).resolve().parent.parent
TRY_LATER, UNAUTHORIZED = error_response(TRY_LATER), error_response(UNAUTHORIZED)
NOBODY = 65534  # the user that copies, if root runs the tests
BATCH = 12  # certificates

pytestmark = [NEEDS_LOGIN, pytest.mark.apache, pytest.mark.slow]


class Pair:
    """The host that signs, which is the CA's, and the host without a key; with their Apaches.

    Its `environment` is that of the user who copies, whose ssh knows two keys: one that may read
    the directory of the index, and one for the `cache`.
    """

    def __init__(self, place: Path, ca: PrivateCA, sshd: Sshd):
        self.ca, self.place = ca, place
        self.root = certificate(ca.home / "root-ca.crt")
        self._requests: dict[str, bytes] = {}
        self.cache = ca.home / "cache"
        self.cache.mkdir(mode=0o750)
        config = ca.home / "ocsp-cgi.conf"
        config.write_text(config.read_text().replace("[responder]", "cache = cache\n[responder]"))
        self.signer_config = config
        httpd.let_read(ca.home, without="root-ca.key")
        httpd.let_write(self.cache)
        self.web = without_key(
            place / "web",
            ca,
            "sync_from = index:index",
            "cache_from = cache:.",
            "cache = cache",
            "stale_after = 5",
        )
        httpd.let_read(self.web.home)
        httpd.let_write(self.web.cache)
        self.web.home.chmod(0o751)
        if os.geteuid() == 0:
            os.chown(self.web.home / "db", NOBODY, httpd.unprivileged()["group"])
        (self.web.home / "db").chmod(0o2750)
        self._give_keys(sshd)

    def _give_keys(self, sshd: Sshd) -> None:
        known, ssh_config = self.place / "known_hosts", self.place / "ssh_config"
        known.write_text(sshd.known_hosts())
        for alias, directory in (("index", self.ca.home / "db"), ("cache", self.cache)):
            key = sshd.authorize(alias, f"/usr/bin/rrsync -ro {directory}")
            if os.geteuid() == 0:
                os.chown(key, NOBODY, -1)
            with open(ssh_config, "a") as file:
                file.write(sshd.ssh_config(alias, key, known))
        (self.place / "bin").mkdir()
        ssh = self.place / "bin" / "ssh"
        ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {ssh_config} "$@"\n')
        ssh.chmod(0o755)
        self.environment = {**os.environ, "PATH": f"{self.place}/bin:{os.environ['PATH']}"}

    def begin_sync(self) -> subprocess.Popen[str]:
        """Start the job in a process group of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "ocsp_cgi", "sync", "--quiet", "--config", self.web.config],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=CHECKOUT,
            env=self.environment,
            start_new_session=True,
        )

    def sync(self) -> None:
        process = self.begin_sync()
        printed, errors = process.communicate(timeout=120)
        assert (process.returncode, printed, errors) == (0, "", "")

    def request(self, name: str) -> bytes:
        if name not in self._requests:
            number = certificate(self.ca.home / f"{name}.crt").serial_number
            self._requests[name] = request(cert_id(self.root, number))
        return self._requests[name]

    def status(self, server: httpd.Apache, name: str) -> str:
        """The status in a verified response about a certificate, or `tryLater`."""
        response = post(server, self.request(name))
        if response == TRY_LATER:
            return "tryLater"
        return verified(response, self.root).certificate_status.name.lower()


def post(server: httpd.Apache, encoded: bytes) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    with contextlib.closing(connection):
        headers = {"Content-Type": "application/ocsp-request"}
        connection.request("POST", "/cgi-bin/ocsp.cgi", encoded, headers)
        return connection.getresponse().read()


@pytest.fixture
def pair(place, ca):
    with rsync_server(place / "sshd") as sshd:
        yield Pair(place, ca, sshd)


@pytest.fixture
def signing(pair, place, cgi):
    with started(place / "httpd-signing", cgi, pair.signer_config) as server:
        yield server


@pytest.fixture(params=["CGI", "WSGI"])
def keyless(pair, place, cgi, request):
    start = started if request.param == "CGI" else started_wsgi
    with start(place / "httpd-keyless", cgi, pair.web.config) as server:
        yield server


def test_a_host_without_a_key(pair, signing, keyless):
    """From the first copy to a revocation, yesterday's cache, and the response to it."""
    for name in ("good", "bad"):
        assert post(keyless, pair.request(name)) == TRY_LATER
        pair.status(signing, name)
    pair.sync()
    for name, status in (("good", "good"), ("bad", "revoked"), ("held", "tryLater")):
        assert pair.status(keyless, name) == status
    assert post(keyless, request(cert_id(pair.root, 0x1234))) == UNAUTHORIZED
    asked = openssl_ocsp(pair.ca.home, "-cert", "good.crt", "-url", keyless.url)
    assert asked.returncode == 0 and "good.crt: good" in asked.stdout
    assert "no nonce in response" in asked.stderr
    yesterday = pair.place / "yesterday"
    shutil.copytree(pair.web.home / "db" / "responses", yesterday / "responses")
    shutil.copytree(pair.web.cache, yesterday / "cache")

    pair.ca.revoke("good")
    pair.sync()  # before anything is signed about it
    assert pair.status(keyless, "good") == "tryLater"
    assert pair.status(signing, "good") == "revoked"
    assert pair.status(keyless, "good") == "tryLater"
    pair.sync()
    assert pair.status(keyless, "good") == "revoked"

    for source, target in (("responses", pair.web.home / "db"), ("cache", pair.web.home)):
        shutil.rmtree(target / source)
        shutil.copytree(yesterday / source, target / source)
    assert pair.status(keyless, "good") == "tryLater"
    assert "the index says something else by now" in keyless.error_log
    assert pair.status(keyless, "bad") == "revoked"
    assert not list(pair.web.home.rglob("*.key"))


def forged_good(ca: PrivateCA, name: str, start: int, end: int) -> bytes:
    """`good`, as the CA's signer would sign it, but for one bit of the signature."""
    subject, root, signer = (
        certificate(ca.home / f"{one}.crt") for one in (name, "root-ca", "root-ocsp")
    )
    this_update, next_update = (
        datetime.datetime.fromtimestamp(one, datetime.timezone.utc) for one in (start, end)
    )
    key = (ca.home / "private" / "root-ocsp.key").read_bytes()
    signed = (
        ocsp.OCSPResponseBuilder()
        .add_response(
            subject,
            root,
            hashes.SHA1(),
            ocsp.OCSPCertStatus.GOOD,
            this_update,
            next_update,
            None,
            None,
        )
        .responder_id(ocsp.OCSPResponderEncoding.HASH, signer)
        .certificates([signer])
        .sign(serialization.load_pem_private_key(key, None), hashes.SHA256())
    )
    signature = bytearray(signed.signature)
    signature[-1] ^= 1
    encoded = signed.public_bytes(serialization.Encoding.DER)
    return encoded.replace(signed.signature, bytes(signature))


@pytest.mark.parametrize("keyless", ["CGI"], indirect=True)
def test_clients_refuse_what_a_web_host_has_forged(pair, signing, keyless):
    """Who has all rights there can write a row, and a file for it, but not sign."""
    pair.status(signing, "bad")
    pair.sync()
    [file] = pair.web.responses
    rest = file.read_bytes().partition(b"\n")[2]
    form, sources, row, numbers, fields, _ = rest.split(b"\n", 5)
    expiry, _, serial, *more = row.split(b"\t")[1:]
    valid = b"\t".join([b"V", expiry, b"", serial, *more])
    index = pair.web.index.read_bytes()
    assert row in index
    pair.web.index.write_bytes(index.replace(row, valid))
    start = int(time.time())
    encoded = forged_good(pair.ca, "bad", start, start + 3600)
    numbers = b" ".join([b"%d %d" % (start, start + 3600), *numbers.split(b" ")[2:]])
    parts = [form, sources, valid, numbers, fields.replace(b"revoked", b"good"), encoded]
    file.write_bytes(with_checksum(b"\n".join(parts)))
    time.sleep(2.1)  # until that index has settled

    assert post(keyless, pair.request("bad")) == encoded
    with pytest.raises(client.Untrusted):
        client.query(
            (pair.ca.home / "bad.crt").read_text(),
            (pair.ca.home / "root-ca.crt").read_text(),
            keyless.url,
            nonce="none",
        )
    asked = openssl_ocsp(pair.ca.home, "-cert", "bad.crt", "-url", keyless.url, "-no_nonce")
    assert "Response Verify Failure" in asked.stderr, asked.stderr


class Traffic(AtOnce):
    """What goes on at once: `openssl ca`, clients of both Apaches, and copies, some of which are
    killed.  Threads end when `stop` is set.

    `begun` and `synced` are the names whose revocation the CA was told, and whose revocation the
    host without a key has for certain.
    """

    def __init__(self, pair: Pair, signing: httpd.Apache, keyless: httpd.Apache):
        super().__init__()
        self.pair, self.signing, self.keyless = pair, signing, keyless
        self.names = [f"batch{number}" for number in range(BATCH)]
        self.begun: set[str] = set()
        self.finished: set[str] = set()
        self.synced: set[str] = set()
        self.counts: collections.Counter[str] = collections.Counter()

    def revoke(self) -> None:
        for name in self.names[:-2]:
            if self.stop.wait(0.4):
                return
            self.begun.add(name)
            self.pair.ca.revoke(name)
            self.finished.add(name)
            self.counts["revocations"] += 1

    def sign(self) -> None:
        """Clients of the host that signs, who fill its cache."""
        for name in itertools.cycle(self.names):
            if self.stop.is_set():
                return
            begun, finished = set(self.begun), name in self.finished
            status = self.pair.status(self.signing, name)
            if finished:
                assert status == "revoked", name
            elif name not in self.begun | begun:
                assert status == "good", name

    def copy(self) -> None:
        draw = random.Random(1)
        for number in itertools.count():
            if self.stop.is_set():
                return
            finished = set(self.finished)
            process = self.pair.begin_sync()
            if number % 3 == 1:
                time.sleep(draw.uniform(0.2, 0.9))
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                self.counts["killed"] += 1
                continue
            printed, errors = process.communicate(timeout=120)
            assert (process.returncode, printed, errors) == (0, "", ""), errors
            self.synced |= finished
            self.counts["copies"] += 1

    def ask(self) -> None:
        draw = random.Random(2)
        while not self.stop.is_set():
            name = draw.choice(self.names)
            was_revoked = name in self.synced
            status = self.pair.status(self.keyless, name)
            self.counts[status] += 1
            if was_revoked:
                assert status != "good", f"{name} is revoked in the index of this host"
            if name not in self.begun:
                assert status != "revoked", name

    def run(self, seconds: float) -> None:
        works = [self.revoke, self.sign, self.sign, self.copy, self.ask, self.ask]
        self.let_work(seconds, *[(work,) for work in works])


@pytest.mark.parametrize("keyless", ["CGI"], indirect=True)
def test_revocations_under_load_while_copies_are_killed(pair, signing, keyless):
    for number in range(BATCH):
        pair.ca.issue(f"batch{number}")
    httpd.let_read(pair.ca.home, without="root-ca.key")
    traffic = Traffic(pair, signing, keyless)
    for name in traffic.names:
        assert pair.status(signing, name) == "good"
    pair.sync()
    traffic.run(6)
    assert traffic.failures == []
    counts = traffic.counts
    assert min(counts[what] for what in ("revocations", "good")) >= 2, counts
    assert counts["killed"] and counts["copies"] >= 2 and counts["revoked"], counts
    for name in traffic.names:
        pair.status(signing, name)
    pair.sync()
    for name in traffic.names:
        expected = "revoked" if name in traffic.finished else "good"
        assert pair.status(keyless, name) == expected
    assert "Traceback" not in keyless.error_log + signing.error_log
