"""What `explain` says of certificates, serial numbers and requests, and of those it cannot read."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from clients import (
    SPELLINGS,
    as_nobody,
    base64_of,
    cert_id,
    cert_id_of,
    certificate,
    extension,
    nonce,
    request,
    respond,
    run_cgi,
    settle,
)
from index_lines import NOT_REVOKING_LINES, REVOKED_ROW, REVOKING_LINES
from sshd import NEEDS_LOGIN, Sshd, sshd_is_installed

from ocsp_cgi import config, sync_state
from ocsp_cgi.commands import explain as command
from ocsp_cgi.tools import httpd
from ocsp_cgi.tools.entry import CommandError

pytestmark = pytest.mark.process

CHECKOUT = Path(__file__).resolve().parents[2]
SERIAL = 0xCAFE0A12
DAY = 24 * 3600
BESIDE_LABEL = re.compile(r"\n {13}")


class Explained:
    """What a run printed: `text`; `said`, its lines by label; and its exit code."""

    def __init__(self, code: int, text: str):
        self.code = code
        self.text = text
        unwrapped = BESIDE_LABEL.sub(" ", text)
        self.said: dict[str, list[str]] = {}
        for line in unwrapped.splitlines():
            self.said.setdefault(line[:12].rstrip(), []).append(line[13:])

    def __getitem__(self, label: str) -> str:
        [only] = self.said[label]
        return only


class Setting:
    """A responder's files, with an index that the test writes."""

    def __init__(self, home: Path, capsys):
        self.home = home
        self.conf = home / "ocsp-cgi.conf"
        self.db = home / "db"
        self._capsys = capsys

    def index(self, content: bytes, db: str = "db") -> None:
        (self.home / db).mkdir(exist_ok=True)
        (self.home / db / "index").write_bytes(content)
        settle(self.home / db / "index")

    def set(self, *lines: str) -> None:
        """Add settings to [root-ca]."""
        text = self.conf.read_text()
        added = "".join(f"{line}\n" for line in lines)
        self.conf.write_text(text.replace("[root-ca]\n", f"[root-ca]\n{added}"))

    def other_ca(self, name: str = "Sub CA") -> None:
        """A second CA, which signs its responses itself, and has db2."""
        new = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 90"
        subprocess.run(
            [*new.split(), "-subj", f"/CN={name}", "-keyout", "sub.key", "-out", "sub.crt"],
            cwd=self.home,
            capture_output=True,
            check=True,
        )
        with open(self.conf, "a") as conf:
            conf.write("[sub-ca]\ndb = db2\nca = sub.crt\nrsigner = sub.crt\nrkey = sub.key\n")

    def __call__(self, *words: object) -> Explained:
        """CommandError as the command raises it."""
        parser = argparse.ArgumentParser()
        command.add_arguments(parser)
        code = command.run(parser.parse_args([*map(str, words), f"--config={self.conf}"]))
        return Explained(code, self._capsys.readouterr().out)

    def refusal(self, *words: object) -> str:
        with pytest.raises(CommandError) as raised:
            self(*words)
        assert raised.value.status == 1
        return str(raised.value)

    def respond(self, encoded: bytes):
        return respond(encoded, lambda: config.load(str(self.conf)), int(time.time()))


@pytest.fixture
def explain(ca, capsys) -> Setting:
    return Setting(ca.home, capsys)


def row(kind: bytes = b"V", days: int = 100, revocation: bytes = b"", serial: bytes = b"CAFE0A12"):
    expiry = time.strftime("%y%m%d%H%M%SZ", time.gmtime(time.time() + days * DAY)).encode()
    return b"\t".join([kind, expiry, revocation, serial, b"unknown", b"/CN=www"]) + b"\n"


def test_a_certificate(explain, ca):
    explained = explain(ca.home / "good.crt")
    assert list(explained.said) == [
        *("Certificate", "Subject", "Valid", "Serial", "CA", "Index", "Row", "Says", "Rule"),
        *("Response", "Signed by", "thisUpdate", "nextUpdate", "Clients", "Cache"),
    ]
    assert explained["CA"] == "[root-ca], by the issuer's name and key in the certificate"
    assert explained["Index"].startswith(f"{ca.home}/db/index, changed ")
    lines = (ca.home / "db" / "index").read_text().splitlines()
    [number] = [number for number, one in enumerate(lines, 1) if one.endswith("/CN=good")]
    shown = [field or "-" for field in lines[number - 1].split("\t")]
    assert explained["Row"].split() == ["line", f"{number}:", *shown]
    assert re.fullmatch(r"valid until 20\S+Z, in (89|90) days", explained["Says"])
    assert explained["Response"] == "good"
    assert "CN = root-ocsp, valid until " in explained["Signed by"]
    assert explained["nextUpdate"].endswith("Z, in 60 minutes")
    assert explained["Clients"] == (
        "may keep it until nextUpdate, HTTP caches for 30 minutes (Cache-Control: max-age=1800)"
    )
    assert explained["Cache"] == "new for each request: [root-ca] has no `cache`"
    assert explained.code == 0


def test_certificates_in_der_and_behind_others(explain, ca):
    ca.openssl("x509", "-in", "bad.crt", "-outform", "DER", "-out", "bad.der")
    chain = [(ca.home / f"{name}.crt").read_text() for name in ("bad", "root-ca")]
    (ca.home / "chain.pem").write_text("some text\n" + "".join(chain))
    for name, shown in (("bad.der", "bad.der"), ("chain.pem", "the first of 2 certificates")):
        explained = explain(ca.home / name)
        assert explained["Certificate"].endswith(shown)
        assert explained["Response"].endswith(", because of keyCompromise")
        assert explained["Says"].startswith("revoked on ") and explained.code == 0


@pytest.mark.parametrize(
    "words",
    [
        "CAFE0A12",
        "cafe0a12",
        "0xCAFE0A12",
        "00cafe0a12",
        "CA:FE:0A:12",
        "ca fe 0a 12",
        "ca:fe: 0a:12",
        "serial=CAFE0A12",
        "Serial Number: ca:fe:0a:12",
        "2026-11-29T06:32:56Z ocsp.cgi: POST serial=CAFE0A12 status=good ca=root-ca client= ms=72",
    ],
)
def test_spellings_of_a_serial_number(explain, words):
    explain.index(row(serial=b"0B") + row(b"R", 100, b"261122135115Z,superseded"))
    for explained in (explain(words), explain(*words.split())):
        assert explained["Serial"] == "CAFE0A12" and explained["Row"].startswith("line 2: R  ")
        assert explained["CA"] == "[root-ca], the only CA of the config"
        assert explained["Response"].startswith("revoked on 2026-11-22T13:51:15Z, ")
        assert explained.code == 0


def test_a_line_of_the_log_about_several_certificates(explain):
    """A second one has its row too: none may be passed over, for it may be the revoked one."""
    explain.index(row() + row(b"R", 100, b"261122135115Z,superseded", serial=b"0B"))
    said = explain("POST serial=CAFE0A12 status=good ca=root-ca serial=0B status=revoked ms=3")
    assert said.said["Serial"] == ["CAFE0A12", "0B"]
    assert [text.split()[0] for text in said.said["Response"]] == ["good", "revoked"]


def test_a_serial_number_in_decimal(explain):
    explain.index(row() + row(serial=b"0100"))
    explained = explain(SERIAL)
    assert explained["Serial"] == (
        f"CAFE0A12, which is {SERIAL} in decimal: no index has {SERIAL} in hexadecimal"
    )
    assert explained["Row"].startswith("line 1: ") and explained.code == 0
    explain.index(row(serial=b"0256") + row(serial=b"0100"))
    assert explain("256")["Serial"] == "0256; read as decimal it is 0100, also of [root-ca]"
    assert explain("0256")["Serial"] == "0256"


def test_a_serial_number_that_was_never_issued(explain):
    explained = explain("01")
    assert explained["Row"] == "none: this serial is not in the index"
    assert explained["Rule"] == "such a serial is answered as unknown: `unissued = unknown`"
    assert explained["Response"] == "unknown" and explained.code == 1
    assert explained["nextUpdate"].endswith(", in 15 minutes")
    explain.set("unissued = revoked")
    explained = explain("01")
    assert explained["Rule"] == (
        "such a serial is answered as revoked on 1970-01-01, certificateHold"
        " (RFC 6960 section 2.2): `unissued = revoked`"
    )
    assert explained["Response"].startswith("revoked on 1970-01-01T00:00:00Z, ")
    assert explained["Response"].endswith(", because of certificateHold") and explained.code == 1


@pytest.mark.parametrize(
    "index, says, rule, response",
    [
        (row(), "valid until", "V is answered as good", "good"),
        (row(days=-5), "expired on", "V is answered as good, also past its expiry", "good"),
        (row(b"E", -5), "expired on", "E (expired) is answered as good", "good"),
        (row(b"S"), "revoked on 1970", "S (suspended) is answered as revoked", "revoked on 1970"),
        (
            row() + row(b"R", 100, b"261122135115Z"),
            "revoked on 2026",
            "R is answered as revoked, and beats every other row",
            "revoked on 2026",
        ),
        (row(b"X"), "valid until", "", "unknown"),
    ],
    ids=["V", "V, expired", "E", "S", "V and R", "X"],
)
def test_rows(explain, index, says, rule, response):
    explain.index(index)
    explained = explain("CAFE0A12")
    assert explained["Says"].startswith(says)
    assert explained.said.get("Rule", [""])[0].startswith(rule)
    assert explained["Response"].startswith(response)
    warnings = explain.respond(request(cert_id(explain_root(explain), SERIAL))).warnings
    assert explained.said.get("Odd", []) == warnings
    assert "Log" not in explained.said and explained.code == 0


def explain_root(explain: Setting):
    return certificate(explain.home / "root-ca.crt")


@pytest.mark.parametrize("name", REVOKING_LINES)
def test_odd_lines_that_revoke(explain, name):
    explain.index(row(serial=b"0B") + REVOKING_LINES[name])
    explained = explain("CAFE0A12")
    assert explained["Row"].startswith("line 2: ") and explained["Rule"].startswith("R is answered")
    assert explained["Response"].startswith("revoked on ") and explained.code == 0


@pytest.mark.parametrize("name", ["a sentence", "R at the end of a subject"])
def test_odd_lines_that_are_ignored(explain, name):
    explain.index(row(serial=b"0C") + NOT_REVOKING_LINES[name])
    explained = explain("CAFE0A12")
    assert explained["Row"].startswith("none") and explained["Response"] == "unknown"
    assert explained.code == 1


def test_a_malformed_line_affects_only_its_own_serial(explain):
    explain.index(NOT_REVOKING_LINES["a valid row that is not one"] + row(serial=b"0C"))
    explained = explain("CAFE0A12")
    assert explained["Row"].startswith("none") and "index line 1: contains " in explained["Odd"]
    assert "Odd" not in explain("0C").said


def test_a_row_that_is_doubtful(explain):
    explain.index(row(revocation=b"261122135115Z"))
    explained = explain("CAFE0A12")
    assert explained["Rule"].startswith(
        "type V, and `261122135115Z` in the field of the revocation"
    )
    assert explained["Response"] == "tryLater, an error without a signature"
    assert explained["Why"] == f"{explain.db}/index line 1: {explained['Rule']}"
    assert explained["Clients"].startswith("keep nothing (Cache-Control: no-cache, no-store)")
    assert explained.code == 2


def test_an_index_that_breaks_off(explain):
    explain.index(row(serial=b"0B") + row() + b"V\t2702")
    explained = explain("0B")
    assert "only R rows are trusted" in explained["Rule"]
    assert explained["Row"].startswith("line 1: V") and explained.code == 2
    assert explained["Why"].startswith(f"{explain.db}/index breaks off in the middle of its last")
    explain.index(REVOKED_ROW % b"0B" + row() + b"V\t2702")
    explained = explain("0B")
    assert explained["Response"].startswith("revoked on ") and explained.code == 0


@pytest.mark.slow
def test_an_index_that_was_written_in_place_a_moment_ago(explain):
    """It waits, as the responder does."""
    (explain.db / "index").write_bytes(row())
    explained = explain("CAFE0A12")
    assert (explained["Response"], explained["Rule"]) == ("good", "V is answered as good")


@pytest.mark.slow
def test_no_index(explain):
    shutil.rmtree(explain.db)
    explained = explain("CAFE0A12")
    assert explained["Index"].startswith(f"cannot be read: {explain.db}")
    assert explained["Response"].startswith("tryLater") and explained.code == 2
    assert f"{explain.db}: No such file or directory" in explained["Why"]


def test_a_stale_copy(explain):
    explain.index(row())
    explain.set("stale_after = 10")
    (explain.db / "heartbeat").touch()
    assert explain("CAFE0A12")["Index"].endswith(", copied just now")
    os.utime(explain.db / "heartbeat", (time.time() - 3 * 3600,) * 2)
    state = sync_state.SyncState(
        int(time.time()) - 180,
        "ca.example.com:index",
        sync_state.REFUSED,
        "fewer rows than before",
        "ocsp-cgi sync --force root-ca",
    )
    sync_state.write(str(explain.db), state)
    explained = explain("CAFE0A12")
    assert explained["Index"].endswith(", copied 3 hours ago")
    assert explained["Last sync"] == (
        "refused 3 minutes ago: fewer rows than before: ocsp-cgi sync --force root-ca"
    )
    assert explained["Response"].startswith("tryLater") and explained.code == 2
    assert "last copied 3 hours ago, more than stale_after = 10 minutes" in explained["Why"]


def test_a_signer_that_has_been_revoked(explain, ca):
    ca.revoke("root-ocsp")
    settle(ca.home / "db" / "index")
    explained = explain(ca.home / "good.crt")
    assert explained["Rule"] == "V is answered as good"
    assert explained["Response"] == "internalError, an error without a signature"
    assert "root-ocsp.crt: revoked in the database of [root-ca]" in explained["Why"]
    assert explained.code == 2


def test_the_ca_cannot_be_read(explain, ca):
    serial = ca.serial("good")
    (ca.home / "root-ca.crt").write_text("gone\n")
    explained = explain(serial)
    assert explained["Rule"] == "V is answered as good" and explained.code == 2
    assert explained["Response"] == "internalError" and "root-ca.crt: " in explained["Why"]
    assert explain("01")["Rule"] == "`unissued = unknown` says how such a serial is answered"
    explained = explain(ca.home / "good.crt")
    assert "no `ca` of the config has this name" in explained["Issuer"] and explained.code == 2


def test_the_key_may_be_unreadable(explain, ca):
    ca.home.chmod(0o755)
    (ca.home / "private").chmod(0 if os.geteuid() else 0o700)
    try:
        with as_nobody():
            explained = explain(ca.home / "good.crt")
            refused = explain.refusal(ca.home / "private" / "good.key")
    finally:
        (ca.home / "private").chmod(0o700)
    assert explained["Response"] == "good" and explained.code == 0
    assert explained["Signed by"].endswith(
        "; not signed here: this user may not read the key; root may"
    )
    assert explained["Clients"].startswith("may keep it until nextUpdate")
    assert refused.endswith("private/good.key: Permission denied")


def test_two_signers(explain, ca):
    """Whoever may not read a key is told what the responder does with it."""
    ca.issue("second", "ocsp_ext")
    settle(ca.home / "db" / "index")
    explain.set("rsigner2 = second.crt", "rkey2 = private/second.key")
    assert explain(ca.home / "good.crt").said.get("Log") is None
    ca.home.chmod(0o755)
    (ca.home / "private").chmod(0o755)
    for name in ("root-ocsp", "second"):
        (ca.home / "private" / f"{name}.key").chmod(0o600 if os.geteuid() == 0 else 0)
    if os.geteuid() == 0:
        shutil.chown(ca.home / "private" / "second.key", "nobody")
    with as_nobody():
        explained = explain(ca.home / "good.crt")
    assert explained.said.get("Log") is None and explained.code == 0
    assert "not signed here" in explained["Signed by"]
    (ca.home / "root-ocsp.crt").unlink()
    explained = explain(ca.home / "good.crt")
    assert "`rsigner` cannot sign" in explained["Log"] and explained.code == 0


def test_the_key_of_another_certificate(explain, ca):
    shutil.copy(ca.home / "private" / "good.key", ca.home / "private" / "root-ocsp.key")
    explained = explain(ca.home / "good.crt")
    assert explained["Response"].startswith("internalError") and explained.code == 2
    assert "root-ocsp.key: not the private key of the certificate in" in explained["Why"]


def tree(directory: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for path in directory.rglob("*"):
        of = path.stat()
        found[str(path)] = (of.st_ino, of.st_mtime_ns)
    return found


def test_a_host_without_the_key(explain, ca):
    """What it would send, until when, and what to do if there is nothing."""
    explain.set("cache = cache")
    (ca.home / "cache").mkdir(mode=0o750)
    explain.respond(request(cert_id(explain_root(explain), int(ca.serial("good"), 16))))
    explain.conf.write_text(
        explain.conf.read_text().replace("rkey    = private/root-ocsp.key\n", "")
    )
    assert "rkey" not in explain.conf.read_text()
    explained = explain(ca.home / "good.crt")
    assert (explained.code, explained["Response"]) == (0, "good")
    until = explained["nextUpdate"].partition(",")[0]
    assert explained["Cache"] == f"cached, and sent until {until} if nothing changes before"
    explained = explain(ca.home / "bad.crt")
    assert explained.code == 2 and explained["Response"].startswith("tryLater")
    assert explained["Why"].startswith("[root-ca] has no `rkey`, and no signed response")
    assert "run `ocsp-cgi presign root-ca`" in explained["Why"]


def test_nothing_is_written_and_the_cache_is_explained(explain, ca):
    cache = ca.home / "cache"
    cache.mkdir(mode=0o700)
    explain.set("cache = cache")
    before = tree(ca.home)
    explained = explain(ca.home / "good.crt")
    assert explained["Cache"] == f"new: nothing in {cache} that can still be used"
    assert tree(ca.home) == before
    with_nonce = ca.home / "nonce.der"
    number = int(ca.serial("good"), 16)
    asked = cert_id(explain_root(explain), number)
    with_nonce.write_bytes(request(asked, extensions=nonce(b"x" * 16)))
    assert explain(with_nonce)["Cache"].startswith("new: a request with a nonce")
    assert explain("01")["Cache"] == "new: `unknown` is not cached"

    explain.respond(request(asked))
    before = tree(ca.home)
    explained = explain(ca.home / "good.crt")
    assert re.fullmatch(
        r"cached, and sent until 20\S+Z if nothing changes before", explained["Cache"]
    )
    assert explained["Response"] == "good" and tree(ca.home) == before
    ca.revoke("good", "-crl_reason", "superseded")
    settle(ca.home / "db" / "index")
    explained = explain(ca.home / "good.crt")
    assert explained["Cache"] == f"new: nothing in {cache} that can still be used"
    assert explained["Response"].endswith(", because of superseded")
    cache.chmod(0)
    ca.home.chmod(0o755)
    (ca.home / "private").chmod(0o755)
    with as_nobody():
        explained = explain(ca.home / "good.crt")
    cache.chmod(0o700)
    assert explained["Cache"] == f"new, or cached: this user may not look into {cache}; root may"


def test_a_row_of_another_ca(explain, ca):
    explain.other_ca()
    explain.index(row(serial=b"0B") + row(), "db2")
    explained = explain("CAFE0A12")
    assert explained["CA"] == "[sub-ca], searched in all 2 CAs" and explained.code == 0
    explained = explain("CAFE0A12", "--ca=root-ca")
    assert explained["CA"] == "[root-ca], as --ca says" and explained.code == 1
    assert explained["Elsewhere"] == (
        f"in line 2 of [sub-ca]'s index, {explain.home}/db2/index, which is not asked about"
        " certificates of this CA"
    )
    number = ca.serial("good").encode()
    good = (ca.home / "db" / "index").read_bytes()
    explain.index(b"".join(line for line in good.splitlines(True) if number not in line))
    explain.index(row(serial=number), "db2")
    explained = explain(ca.home / "good.crt")
    assert explained["CA"].startswith("[root-ca], by the issuer's name and key")
    assert explained["Elsewhere"].startswith("in line 1 of [sub-ca]'s index, ")
    assert explained["Response"] == "unknown" and explained.code == 1


def test_a_serial_number_of_two_cas_and_of_none(explain):
    explain.other_ca()
    explain.index(row())
    explain.index(row(b"R", 100, b"261122135115Z"), "db2")
    explained = explain("CAFE0A12")
    both = "searched in all 2 CAs: 2 have this serial, and a certificate would say which"
    assert explained.said["CA"] == [f"[root-ca], {both}", f"[sub-ca], {both}"]
    assert explained.said["Response"][0] == "good" and explained.code == 0
    assert explained.said["Response"][1].startswith("revoked on ")
    explained = explain("01")
    assert explained.said["CA"][1] == "[sub-ca], searched in all 2 CAs: none has this serial"
    assert explained.said["Response"] == ["unknown", "unknown"] and explained.code == 1


def test_a_certificate_of_another_ca(explain, ca):
    explain.other_ca()
    explain.index(row(), "db2")
    refusal = explain.refusal(ca.home / "good.crt", "--ca=sub-ca")
    assert refusal.endswith("good.crt: issued by [root-ca], not by the CA of --ca")
    assert explain.refusal("01", "--ca=none") == (
        "no [none] in the config; its CAs are [root-ca], [sub-ca]"
    )
    shutil.move(ca.home / "sub.crt", ca.home / "other.crt")
    explain.other_ca()  # of the same name, with another key
    explain.conf.write_text(explain.conf.read_text().rpartition("[sub-ca]")[0])
    explained = explain(ca.home / "other.crt")
    assert explained["Issuer"] == (
        "CN = Sub CA: [sub-ca] has this name, but another key: it did not sign the certificate"
    )
    assert explained["CAs"] == "[root-ca] C = GB, O = Example, CN = Root CA [sub-ca] CN = Sub CA"
    assert explained["Response"].startswith("unauthorized") and explained.code == 1
    explain.conf.write_text(explain.conf.read_text().rpartition("[sub-ca]")[0])
    explained = explain(ca.home / "other.crt")
    assert explained["Issuer"] == "CN = Sub CA: no `ca` of the config has this name"
    assert explained["Why"].startswith(
        "no `ca` of the config is the issuer that this request names"
    )


def test_a_row_that_is_not_the_certificates(explain, ca):
    explain.index(row(serial=ca.serial("good").encode(), days=5))
    assert explain(ca.home / "good.crt")["But"].startswith("the row has another expiry than the")


def test_two_cas_with_one_database(explain, ca):
    explain.other_ca()
    explain.conf.write_text(explain.conf.read_text().replace("db2", "db"))
    explained = explain(ca.home / "good.crt")
    assert explained["Why"].startswith("[root-ca] and [sub-ca] of the config have the same `db`")
    assert explained.code == 2


def test_a_request(explain, ca):
    ca.openssl("ocsp", "-issuer", "root-ca.crt", "-cert", "good.crt", "-cert", "bad.crt",
               "-reqout", "both.der")  # fmt: skip
    explained = explain(ca.home / "both.der")
    assert explained["Request"].startswith(f"{ca.home}/both.der, ")
    assert explained["Extension"] == "OCSP Nonce, 16 bytes"
    assert explained["CertID 1"] == f"serial {ca.serial('good')}, sha1"
    assert explained["CertID 2"] == f"serial {ca.serial('bad')}, sha1"
    assert explained.said["CA"] == ["[root-ca], by the hashes of its name and key"] * 2
    assert explained["Response 1"] == "good" and explained.code == 0
    assert explained["Response 2"].endswith(", because of keyCompromise")
    assert explained["Clients"] == (
        "may keep it; HTTP caches must not, since it repeats the nonce (Cache-Control: max-age=0,"
        " private, no-transform)"
    )
    assert explain.refusal(ca.home / "both.der", "--ca=root-ca") == (
        "a request says itself which CA it is about: leave out --ca"
    )


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_request_in_a_line_of_the_access_log(explain, spelling):
    explain.index(row())
    encoded = request(cert_id(explain_root(explain), SERIAL), extensions=nonce(b"\xff" * 16))
    path = f"/cgi-bin/ocsp.cgi{SPELLINGS[spelling](base64_of(encoded))}"
    line = f'192.0.2.1 - - [29/Nov/2026:03:24:21 +0000] "GET {path} HTTP/1.1" 200 1574 "-" "x/1.0"'
    for words in (path, f"http://ocsp.example.com{path}", f"GET {path}", line):
        explained = explain(words)
        assert explained["Request"] == f"the request, {len(encoded)} bytes"
        assert explained["CertID"] == "serial CAFE0A12, sha1" and explained["Response"] == "good"
    if spelling == "unescaped":
        (explain.home / "request.b64").write_text(base64_of(encoded) + "\n")
        for words in (base64_of(encoded), explain.home / "request.b64"):
            assert explain(words)["Response"] == "good"


def test_requests_that_are_malformed(explain):
    good = request(cert_id(explain_root(explain), SERIAL), extensions=nonce(b"\xff" * 16))
    file = explain.home / "request.der"
    critical = extension("1.2.3.4", b"x", b"\x01\x01\xff")
    for encoded, why in (
        (good[:-3], "not an OCSPRequest: element at byte 0 reaches past its parent's end"),
        (good + b"\0", f"not an OCSPRequest: more than was asked for at byte {len(good)}"),
        (good.replace(b"\x30\x09", b"\x31\x09", 1), "not an OCSPRequest: no element of tag 30 at"),
        (request(extensions=critical), "not an OCSPRequest: requestList is empty"),
        (
            request(cert_id(explain_root(explain), 1), extensions=critical),
            "the request has an unknown critical extension, OID 2a0304",
        ),
        (
            request(cert_id(explain_root(explain), 1), extensions=nonce(b"x" * 200)),
            "the nonce has 200 bytes",
        ),
        (b"\x30\x84\x00\x02" + bytes(70000), "the request has more than 65536 bytes"),
    ):
        file.write_bytes(encoded)
        explained = explain(file)
        assert explained["Response"] == "malformedRequest, an error without a signature"
        assert explained["Why"].startswith(why) and explained.code == 1
    merged = "/ocsp/" + base64_of(good).replace("//", "/")
    assert merged.count("/") > 3
    explained = explain(merged)
    assert explained["Why"].startswith("not an OCSPRequest: ")
    assert "a proxy in front of this server has merged its slashes" in explained["Perhaps"]


def test_requests_about_other_cas(explain):
    root = explain_root(explain)
    own, foreign = cert_id(root, 1), cert_id_of("sha1", b"n" * 20, b"k" * 20, 1)
    file = explain.home / "request.der"
    file.write_bytes(request(foreign))
    explained = explain(file)
    assert explained["CA"] == "no `ca` of the config has these hashes:"
    assert (explained["Name hash"], explained["Key hash"]) == ("6E" * 20, "6B" * 20)
    assert explained["CAs"] == "[root-ca] C = GB, O = Example, CN = Root CA"
    assert explained["Response"].startswith("unauthorized") and explained.code == 1
    file.write_bytes(request(own, foreign))
    explained = explain(file)
    assert explained["Response 2"] == "unknown" and "But" not in explained.said
    at = own.index(b"\x04\x14") + 2
    file.write_bytes(request(own[:at] + b"n" * 20 + own[at + 20 :]))
    assert explain(file)["But"] == "issuerKeyHash is [root-ca]'s, issuerNameHash is not"
    at += 22
    file.write_bytes(request(own[:at] + b"k" * 20 + own[at + 20 :]))
    assert explain(file)["But"] == "issuerNameHash is [root-ca]'s, issuerKeyHash is not"
    unknown_hash = cert_id_of("1.2.3", b"n" * 20, b"k" * 20, 1)
    file.write_bytes(request(unknown_hash))
    assert explain(file)["CertID"] == "serial 01, an unknown hash"


def test_comparing_with_the_index_of_the_ca_host(explain, ca):
    source = ca.home / "source"
    source.mkdir()
    explain.index(row(serial=b"0B") + row())
    shutil.copy2(explain.db / "index", source / "index")
    refused = explain("CAFE0A12", "--from")
    assert refused["CA host"] == (
        "[root-ca] has no `sync_from`: name the index of the CA's host with --from=HOST:PATH"
    )
    assert refused["Response"] == "good" and refused.code == 1
    explain.set(f"sync_from = {source}/index")
    explained = explain("CAFE0A12", "--from")
    assert explained["CA host"] == f"{source}/index line 2: the same row" and explained.code == 0
    assert explain("01", "--from")["CA host"] == f"{source}/index: no row there either"

    explain.index(row(b"R", 100, b"261122135115Z,keyCompromise"), "source")
    explained = explain("CAFE0A12", "--from")
    assert explained["CA host"].startswith(f"{source}/index line 1: R ")
    assert " because of keyCompromise; otherwise valid until " in explained["CA host"]
    assert "by which the responder answers: python3 -m ocsp_cgi sync root-ca" in " ".join(
        explained["CA host"].split()
    ).replace("__main__.py", "python3 -m ocsp_cgi")
    assert explained["Response"] == "good" and explained.code == 1
    explained = explain("0B", f"--from={source}")
    assert explained["CA host"] == f"{source}: no row there: is it this CA's index?"
    explained = explain("0B", f"--from={source}/none")
    assert explained["CA host"].startswith(f"{source}/none: No such file or directory")
    assert explained.code == 1
    for other, reason in (
        ("rsync://ca.example.com/x", "an rsync daemon is not authenticated, so anyone on the"),
        ("ca.example.com::x", "an rsync daemon is not authenticated, so anyone on the"),
        ("-e:x", "not HOST:PATH, such as ca.example.com:/root/root-ca/db/index"),
    ):
        assert explain("0B", f"--from={other}")["CA host"].startswith(f"{other}: {reason}")


@NEEDS_LOGIN
@pytest.mark.slow
def test_comparing_with_another_host(explain, ca, place, monkeypatch):
    if not sshd_is_installed() or shutil.which("rsync") is None:
        pytest.skip("sshd or rsync is not installed (Debian: apt-get install openssh-server rsync)")
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    explain.index(row())
    (place / "index file").write_bytes(row(serial=b"0B") + row(b"R", 100, b"261122135115Z"))
    (place / "link").symlink_to("index file")
    account = httpd.unprivileged()
    programs = place / "bin"
    programs.mkdir()
    with Sshd(place / "sshd", with_shell=True) as sshd:
        port = [word.replace("-P", "-p") for word in sshd.options]
        ssh = shutil.which("ssh")
        (programs / "ssh").write_text(f'#!/bin/sh\nexec {ssh} {" ".join(port)} "$@"\n')
        (programs / "ssh").chmod(0o755)
        monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
        if account:  # root copies as the owner of db
            for path in (explain.db, place / "sshd" / "user_key"):
                shutil.chown(path, account["user"], account["group"])
        for name in ("index file", "link"):
            source = f"{sshd.host}:{place}/{name}"
            explained = explain("CAFE0A12", f"--from={source}")
            assert explained["CA host"].startswith(f"{source} line 2: R ")
            assert explained["Response"] == "good" and explained.code == 1
        missing = explain("CAFE0A12", f"--from={sshd.host}:{place}/none")
        assert missing["CA host"] == f"{sshd.host}:{place}/none: no such file"
    assert not list(place.glob("ocsp-cgi-explain-*"))


def test_what_cannot_be_asked_about(explain, ca):
    home = ca.home
    (home / "empty").touch()
    (home / "long").write_bytes(bytes(1024 * 1024 + 1))
    broken = (home / "good.crt").read_text().splitlines()
    (home / "broken.crt").write_text("\n".join([broken[0], *broken[3:]]))
    asked = request(cert_id(explain_root(explain), 1))
    (home / "response.der").write_bytes(explain.respond(asked).der)
    for name, reason in (
        ("empty", "there is nothing in it"),
        ("long", "longer than 1048576 bytes, so neither a certificate nor a request"),
        ("good.csr", "a certificate request, not a certificate: the CA has yet to issue the"),
        ("private/good.key", "a private key, not a certificate"),
        ("broken.crt", "not an X.509 certificate: "),
        ("response.der", "an OCSP response, not a request: `openssl ocsp -respin FILE"),
        ("db/index", "neither a certificate (PEM or DER), nor an OCSP request"),
        ("db", "a directory; name a file in it"),
        ("none.crt", "no such file, and neither a serial number in hexadecimal nor an OCSP"),
    ):
        assert explain.refusal(home / name).startswith(f"{home}/{name}: {reason}"), name
    for words in ("xyz", "", "12 xy", "MAKE", "good.crt "):
        assert ": no such file, and neither a serial number" in explain.refusal(words)
    explain.conf.write_text("[root-ca]\ndbb = x\n")
    assert "ocsp-cgi.conf:" in explain.refusal("01")


def test_a_row_cannot_control_the_terminal(explain):
    explain.index(row().replace(b"www", b"\x1b]0;x\x07\xe2\x80\xae\xff" + b"y" * 300))
    explained = explain("CAFE0A12")
    assert explained.text.replace("\n", "").isprintable()
    assert r"\x1b]0;x\x07\u202e\xff" in explained["Row"].replace(" ", "")


def program(home: Path, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "ocsp_cgi", "explain", "--config=ocsp-cgi.conf", *words],
        cwd=home,
        input=stdin,
        capture_output=True,
        env={"PYTHONPATH": str(CHECKOUT)},
        timeout=60,
    )


@pytest.mark.slow
def test_standard_input(pki):
    serial = pki.openssl("x509", "-in", "good.crt", "-noout", "-serial").encode()
    asked = request(cert_id(certificate(pki.home / "root-ca.crt"), int(serial[7:], 16)))
    for stdin in (serial, (pki.home / "good.crt").read_bytes(), asked, base64_of(asked).encode()):
        run = program(pki.home, "-", stdin=stdin)
        assert (run.returncode, run.stderr) == (0, b"")
        assert b"\nRow          line " in run.stdout and b"\nResponse     good\n" in run.stdout
    run = program(pki.home, "-")
    assert run.returncode == 1
    assert run.stderr == b"python3 -m ocsp_cgi: standard input: there is nothing in it\n"
    run = program(pki.home, "--from", "01")
    assert run.returncode == 3 and b"required: WHAT" in run.stderr


@pytest.mark.slow
def test_it_says_what_the_responder_says(pki, cgi):
    """With `openssl ocsp` reading the real response."""
    root = certificate(pki.home / "root-ca.crt")
    for name, status in (("good", "good"), ("bad", "revoked"), ("held", "revoked")):
        asked = request(cert_id(root, int(pki.serial(name), 16)))
        body = run_cgi(cgi, pki.home / "ocsp-cgi.conf", body=asked).body
        run = subprocess.run(
            ["openssl", "ocsp", "-respin", "/dev/stdin", "-text", "-noverify"],
            input=body,
            capture_output=True,
            check=True,
        )
        theirs = run.stdout.decode()
        assert f"Cert Status: {status}\n" in theirs
        reason = re.search(r"Revocation Reason: (\w+)", theirs)
        ours = program(pki.home, f"{name}.crt").stdout.decode()
        explained = Explained(0, ours)["Response"]
        assert explained.startswith(status)
        assert explained.endswith(f"because of {reason[1]}" if reason else "good")
