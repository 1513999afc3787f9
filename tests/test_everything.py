"""Everything at once, for a minute: a host that signs and one without a key, whose Apaches share
a cache in memcached; clients of three kinds; copies all the time, and a revocation every second."""

from __future__ import annotations

import collections
import contextlib
import itertools
import shutil
import subprocess
import sys
import time
from pathlib import Path

import caches
import pytest
from at_once import AtOnce
from clients import base64_of, cert_id, certificate, openssl_ocsp, request, verified
from cryptography.x509 import ocsp
from keyless import without_key

from ocsp_cgi import client
from ocsp_cgi.answer import TRY_LATER, error_response
from ocsp_cgi.tools import httpd

CHECKOUT = Path(__file__).resolve().parent.parent
SECONDS = 60
MAX_AGE = 30  # with `nmin = 1`
LATE = 1  # second, for a cache that counts whole ones
TRY_LATER = error_response(TRY_LATER)

pytestmark = [pytest.mark.apache, pytest.mark.slow]


class Host:
    """One of the two, as its clients see it.

    `revoked_at` has the time.monotonic() from which a certificate is revoked for certain in the
    index that this host reads.
    """

    def __init__(self, name: str, apache: httpd.Apache):
        self.name = name
        self.apache = apache
        self.revoked_at: dict[str, float] = {}


class Everything(AtOnce):
    """What goes on in threads, which end when `stop` is set; `counts` are the statuses by kind of
    client, and what else was done.  A thread that finds something wrong sets `stop`."""

    def __init__(self, ca, signing: Host, keyless: Host, config: Path):
        super().__init__()
        self.ca = ca
        self.root = certificate(ca.home / "root-ca.crt")
        self.signing, self.keyless = signing, keyless
        self.config = config  # of the host without a key
        self.names = [f"everything{number}" for number in range(SECONDS)]
        self.requests = {}
        self.begun: set[str] = set()
        self.counts: collections.Counter[str] = collections.Counter()
        for name in self.names:
            ca.issue(name)
            self.requests[name] = request(cert_id(self.root, int(ca.serial(name), 16)))

    def revoke(self) -> None:
        began = time.monotonic()
        for number, name in enumerate(self.names):
            if self.stop.wait(max(0.0, began + number - time.monotonic())):
                return
            self.begun.add(name)
            self.ca.revoke(name, "-crl_reason", "keyCompromise")
            self.signing.revoked_at[name] = time.monotonic()
            self.counts["revocations"] += 1

    def sync(self) -> None:
        command = [sys.executable, "-m", "ocsp_cgi", "sync", "--quiet", "--config", self.config]
        while not self.stop.is_set():
            revoked = list(self.signing.revoked_at)
            done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)
            assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done.stderr
            for name in revoked:
                self.keyless.revoked_at.setdefault(name, time.monotonic())
            self.counts["copies"] += 1

    def ask_with_get(self, host: Host) -> None:
        """As nginx, Java and Windows do, through the cache that both hosts share."""
        for name in self._names():
            path = "/cgi-bin/ocsp.cgi/" + base64_of(self.requests[name])
            asked = time.monotonic()
            # What is in the cache may be from the host that knew of the revocation last.
            was_revoked = self.keyless.revoked_at.get(name, asked) + MAX_AGE + LATE < asked
            response = caches.ask(host.apache.port, path)
            whole = int(response.headers.get("content-length", -1)) == len(response.body)
            assert response.status == 200 and whole, (name, len(response.body), response)
            status = self._status(response.body)
            age = int(response.headers.get("age", 0))
            if status != "tryLater":
                assert age <= MAX_AGE + LATE, (name, response.headers)
                self.counts["from the cache"] += age > 0
            self._check("GET", name, status, was_revoked)

    def ask_with_post(self, host: Host) -> None:
        """As Firefox does, and with the client of an application."""
        for name in self._names():
            was_revoked = name in host.revoked_at
            try:
                status = client.query(
                    (self.ca.home / f"{name}.crt").read_text(),
                    (self.ca.home / "root-ca.crt").read_text(),
                    host.apache.url,
                    nonce="none",
                ).status
            except client.ErrorResponse as error:
                assert "tryLater" in str(error)
                status = "tryLater"
            self._check(f"POST to the {host.name} host", name, status, was_revoked)

    def ask_with_openssl(self) -> None:
        """With a nonce, so that each response is a new one."""
        for name in self._names():
            was_revoked = name in self.signing.revoked_at
            asked = openssl_ocsp(
                self.ca.home, "-cert", f"{name}.crt", "-url", self.signing.apache.url
            )
            assert "Response verify OK" in asked.stderr, asked.stderr
            status = asked.stdout.partition(f"{name}.crt: ")[2].split()[0]
            self._check("openssl", name, status, was_revoked)

    def _names(self):
        for name in itertools.cycle(self.names):
            if self.stop.is_set():
                return
            yield name

    def _status(self, encoded: bytes) -> str:
        if encoded == TRY_LATER:
            return "tryLater"
        response = verified(encoded, self.root)
        if response.certificate_status is ocsp.OCSPCertStatus.REVOKED:
            assert response.revocation_reason is not None
        return response.certificate_status.name.lower()

    def _check(self, kind: str, name: str, status: str, was_revoked: bool) -> None:
        assert status in ("good", "revoked", "tryLater"), (kind, name, status)
        if was_revoked:
            assert status != "good", f"{kind}: {name} has been revoked"
        if name not in self.begun:
            assert status != "revoked", f"{kind}: {name} has not been revoked"
        self.counts[f"{kind}: {status}"] += 1

    def run(self) -> None:
        works = [
            (self.revoke,),
            (self.sync,),
            (self.ask_with_get, self.signing),
            (self.ask_with_get, self.keyless),
            (self.ask_with_post, self.signing),
            (self.ask_with_post, self.keyless),
            (self.ask_with_openssl,),
        ]
        self.let_work(SECONDS, *works)


@pytest.fixture
def everything(place, ca, cgi):
    if shutil.which("rsync") is None:
        pytest.skip("rsync is not installed")
    cache = ca.home / "cache"
    cache.mkdir(mode=0o750)
    config = ca.home / "ocsp-cgi.conf"
    config.write_text(
        config.read_text().replace("[root-ca]\n", "[root-ca]\ncache = cache\nnmin = 1\n")
    )
    web = without_key(
        place / "web",
        ca,
        f"sync_from = {ca.home}/db/index",
        f"cache_from = {cache}",
        "cache = cache",
    )
    httpd.let_read(ca.home, without="root-ca.key")
    httpd.let_write(cache)
    httpd.let_read(web.home)
    httpd.let_write(web.cache)
    with contextlib.ExitStack() as stack:
        text, _ = stack.enter_context(caches.store("memcache", place))
        hosts = [
            Host(name, stack.enter_context(caches.apache(home, way, cgi, conf, text, "memcache")))
            for name, home, way, conf in (
                ("signing", place / "httpd-signing", "wsgi", config),
                ("keyless", place / "httpd-keyless", "cgi", web.config),
            )
        ]
        yield Everything(ca, *hosts, web.config)


def test_everything(everything):
    everything.run()
    assert everything.failures == []
    counts = everything.counts
    assert counts["revocations"] > SECONDS - 5 and counts["copies"] > SECONDS / 10, counts
    for kind in ("GET", "POST to the signing host", "POST to the keyless host", "openssl"):
        assert counts[f"{kind}: good"] and counts[f"{kind}: revoked"], counts
    assert counts["from the cache"], counts
    assert not counts["POST to the signing host: tryLater"], counts
    logs = [host.apache.error_log for host in (everything.signing, everything.keyless)]
    assert not any("Traceback" in log for log in logs)
