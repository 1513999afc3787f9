"""A host that signs, and one without a key, each in a directory of its own."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from clients import Answered, cert_id, certificate, request, respond, settle

from ocsp_cgi import config
from ocsp_cgi.tools.openssl_ca import PrivateCA


class Host:
    """A responder's host at a time that a test can change."""

    def __init__(self, home: Path, ca: PrivateCA, *settings: str):
        self.home, self.ca = home, ca
        self.root = certificate(ca.home / "root-ca.crt")
        self.config = home / "ocsp-cgi.conf"
        self.index = home / "db" / "index"
        self.cache = home / "cache"
        self.now = int(time.time())
        self.write_config(*settings)

    def write_config(self, *settings: str) -> None:
        names = ["db = db", "ca = root-ca.crt", "rsigner = root-ocsp.crt", *settings]
        self.config.write_text("".join([f"{line}\n" for line in ("[root-ca]", *names)]))

    def request(self, name: str = "good", hash_name: str = "sha1", **more: bytes) -> bytes:
        number = certificate(self.ca.home / f"{name}.crt").serial_number
        return request(cert_id(self.root, number, hash_name), **more)

    def ask(self, encoded: bytes | None = None) -> Answered:
        return respond(encoded or self.request(), lambda: config.load(str(self.config)), self.now)

    @property
    def responses_in_cache(self) -> list[Path]:
        return sorted(self.cache.glob("buckets-*/*/[!.]*.ocsp"))

    @property
    def responses(self) -> list[Path]:
        """The files of responses that `sync` has copied here."""
        return sorted((self.home / "db" / "responses").glob("buckets-*/*/*.ocsp"))


def signing(ca: PrivateCA) -> Host:
    """The host with the key, in the directory of its CA."""
    host = Host(ca.home, ca, "rkey = private/root-ocsp.key", "cache = cache")
    host.cache.mkdir(mode=0o750)
    return host


def without_key(place: Path, ca: PrivateCA, *settings: str) -> Host:
    """A host that has nothing secret, and neither an index nor a response yet."""
    (place / "db").mkdir(parents=True)
    (place / "cache").mkdir(mode=0o750)
    for name in ("root-ca.crt", "root-ocsp.crt"):
        shutil.copy(ca.home / name, place)
    settings = settings or ("cache_from = signer.example.com:cache", "cache = cache")
    return Host(place, ca, *settings)


def copy_index(source: Host, target: Host) -> None:
    shutil.copyfile(source.index, target.home / "index.new")
    (target.home / "index.new").rename(target.index)
    settle(target.index)


def copy_responses(source: Host, target: Host) -> None:
    """As `ocsp-cgi sync` leaves them, without what else is in `cache`."""
    for path in source.responses_in_cache:
        copy = target.home / "db" / "responses" / path.relative_to(source.cache)
        copy.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        shutil.copy2(path, copy)
    (target.home / "db" / "responses").chmod(0o750)
