"""`renew`: the next key and its certificate, for a CA run with the real `openssl ca`."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import threading
import time
import urllib.request
from pathlib import Path

import pytest
import tokens
from clients import as_nobody, cert_id, certificate, request, settle, started, verified
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from ocsp_cgi import config, pin_memory
from ocsp_cgi.commands import renew
from ocsp_cgi.tools import httpd
from ocsp_cgi.tools.entry import CommandError
from ocsp_cgi.tools.openssl_ca import PrivateCA

pytestmark = pytest.mark.process

CONFIG = "ocsp-cgi.conf"
DAY = 24 * 60 * 60


class Host:
    """A CA, and the responder's host in the same directory, with someone who types `renew`."""

    def __init__(self, ca: PrivateCA, capsys):
        self.ca = ca
        self.home = ca.home
        self.config = ca.home / CONFIG
        self._capsys = capsys

    def renew(self, *options: str) -> str:
        """Run `renew` with these options.  Returns what it printed."""
        parser = argparse.ArgumentParser()
        renew.add_arguments(parser)
        assert renew.run(parser.parse_args([*options, "--config", str(self.config)])) == 0
        return self._capsys.readouterr().out

    def refused(self, *options: str) -> str:
        """The reason for which `renew` refuses these options, and changes nothing."""
        before = self.snapshot()
        with pytest.raises(CommandError) as error:
            self.renew(*options)
        assert self.snapshot() == before
        return str(error.value)

    def snapshot(self) -> dict[Path, tuple[bytes, int, int, int]]:
        found = {}
        for path in self.home.rglob("*"):
            if path.is_file() and path.suffix != ".object":  # of a token, which notes each use
                of = path.stat()
                found[path] = path.read_bytes(), of.st_mode, of.st_uid, of.st_gid
        return found

    def issue(self, name: str, *options: str, extensions: str = "ocsp_ext") -> str:
        """Issue the certificate of private/NAME.csr.  Returns its path, NAME.crt outside of the
        responder's directory."""
        issued = self.home.parent / "issued"
        issued.mkdir(exist_ok=True)
        options = options or ("-days", "90")
        ca = ("ca", "-config", self.ca.config, "-batch", "-notext", "-extensions", extensions)
        files = ("-in", f"private/{name}.csr", "-out", str(issued / f"{name}.crt"))
        self.ca.openssl(*ca, *options, *files)
        settle(self.home / "db" / "index")
        return str(issued / f"{name}.crt")

    def section(self, name: str = "root-ca") -> config.CASettings:
        [ca] = [ca for ca in config.load(str(self.config)).cas if ca.name == name]
        return ca

    def replace(self, old: str, new: str) -> None:
        text = self.config.read_text()
        assert old in text
        self.config.write_text(text.replace(old, new))

    def subject(self, name: str) -> bytes:
        """The subject of private/NAME.csr, whose signature is verified."""
        path = self.home / "private" / f"{name}.csr"
        self.ca.openssl("req", "-in", str(path), "-noout", "-verify")
        return x509.load_pem_x509_csr(path.read_bytes()).subject.public_bytes()


@pytest.fixture
def host(ca, capsys):
    return Host(ca, capsys)


def dated(number: int = 1) -> str:
    today = time.strftime("%Y-%m-%d")
    return f"root-ocsp-{today}" + (f"-{number}" if number > 1 else "")


def test_the_next_key(host):
    key = host.home / "private" / "root-ocsp.key"
    key.chmod(0o640)
    before, old_umask = host.snapshot(), os.umask(0o777)
    try:
        said = host.renew()
    finally:
        os.umask(old_umask)
    after = host.snapshot()
    assert {path: after[path] for path in before} == before
    new, csr = (host.home / "private" / f"{dated()}{suffix}" for suffix in (".key", ".csr"))
    assert set(after) - set(before) == {new, csr}
    assert after[new][1:] == before[key][1:] and after[csr][1] & 0o777 == 0o644
    signer = certificate(host.home / "root-ocsp.crt")
    assert host.subject(dated()) == signer.subject.public_bytes()
    assert (
        f"openssl ca -config root-ca.cnf -extensions ocsp_ext \\\n         -days 90 -in {csr.name}"
        in said
    )
    assert f"renew root-ca --certificate {host.home}/{dated()}.crt" in said
    assert [line for line in said.splitlines() if len(line) > 80 and "/" not in line] == []


def test_a_second_one_on_the_same_day(host):
    host.renew()
    first = host.snapshot()
    host.renew("root-ca")
    (host.home / f"{dated(3)}.crt").touch()
    host.renew("root-ca")
    names = {path.name for path in set(host.snapshot()) - set(first)}
    assert names == {f"{dated(n)}{end}" for n in (2, 4) for end in (".key", ".csr")} | {
        f"{dated(3)}.crt"
    }


SUBJECTS = {
    "non-ASCII": ("-utf8", "-subj", "/O=Zoë & Søn/CN=Répondeur \\/ OCSP, 1"),
    "multi-valued": ("-multivalue-rdn", "-subj", "/O=Example/CN=OCSP+serialNumber=17"),
    "another type of string": ("-nameopt", "utf8", "-subj", "/C=DE/emailAddress=a@b.example/CN=x"),
}


@pytest.mark.parametrize("options", SUBJECTS.values(), ids=SUBJECTS)
def test_the_subject_stays(host, options):
    host.ca.openssl(
        *("req", "-x509", "-new", "-config", "root-ca.cnf", "-key", "private/root-ocsp.key"),
        *("-extensions", "ocsp_ext", *options, "-out", "root-ocsp.crt"),
    )
    host.replace("rkey ", "signer_trust = local\nrkey ")
    host.renew()
    assert host.subject(dated()) == certificate(host.home / "root-ocsp.crt").subject.public_bytes()


@pytest.mark.parametrize(
    "newkey, kind, why",
    [
        (("rsa:2048",), "RSA 2048", ""),
        (("rsa:1024",), "P-256", "has only 1024 bits"),
        (("ec", "-pkeyopt", "ec_paramgen_curve:P-384"), "P-384", ""),
        (("ed25519",), "P-256", "Firefox cannot verify"),
    ],
    ids=["RSA", "short RSA", "P-384", "Ed25519"],
)
def test_the_kind_of_key(host, newkey, kind, why):
    host.ca.issue("root-ocsp", "ocsp_ext", newkey)
    said = host.renew()
    assert f"for the same subject, {kind}" in said and why in said
    key = serialization.load_pem_private_key(
        (host.home / "private" / f"{dated()}.key").read_bytes(), None
    )
    names = {"RSA 2048": 2048, "P-256": 256, "P-384": 384}
    assert key.key_size == names[kind]


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_an_encrypted_key_stays_encrypted(host, end):
    phrase = host.home / "private" / "phrase"
    phrase.write_bytes(f"a pass phrase{end}".encode())
    phrase.chmod(0o600)
    host.replace("rkey ", "passin = private/phrase\nrkey ")
    host.renew()
    text = (host.home / "private" / f"{dated()}.key").read_bytes()
    assert text.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    assert serialization.load_pem_private_key(text, b"a pass phrase")
    host.renew("--certificate", host.issue(dated()))
    assert host.section().rkey.endswith(f"{dated()}.key")


def test_files_with_names_like_those_of_a_signer(host):
    """Neither is what a killed renewal has left behind taken for its key, nor is a pass phrase
    without use."""
    phrase = host.home / "private" / "root-ocsp.pem"
    phrase.write_text("a pass phrase\n")
    phrase.chmod(0o600)
    host.replace("rkey ", f"passin = private/{phrase.name}\nrkey ")
    for number in (1, 2):
        host.renew()
        key = host.home / "private" / f"{dated(number)}.key"
        os.link(key, key.with_name(f".{key.name}.12345"))
        said = host.renew("--certificate", host.issue(dated(number)))
        assert host.section().rkey == str(key)
    assert "/root-ocsp.key" in said and phrase.name not in said


def test_a_ca_that_signs_itself(host):
    host.replace("root-ocsp.crt", "root-ca.crt")
    host.replace("root-ocsp.key", "root-ca.key")
    assert "signs its responses itself" in host.refused()
    assert "the CA's own certificate" in host.refused(
        "--certificate", str(host.home / "root-ca.crt")
    )


@pytest.mark.parametrize("umask", [0o000, 0o777])
def test_the_change_and_back(host, umask):
    host.config.write_text("# ours\r\n" + host.config.read_text().replace("\n", "\r\n"))
    host.config.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(host.config, 12345, 54321)
    original, of = host.config.read_text(), host.config.stat()
    host.renew()
    before, path = host.snapshot(), host.issue(dated())
    old_umask = os.umask(umask)
    try:
        said = host.renew("--certificate", path)
    finally:
        os.umask(old_umask)
    after = host.snapshot()
    target = host.home / f"{dated()}.crt"
    assert after[target][0] == Path(path).read_bytes() and after[target][1] & 0o777 == 0o644
    unchanged = [one for one in before if one != host.config and one.parent.name != "db"]
    assert all(after[one] == before[one] for one in unchanged)
    assert after[host.config][1:] == (of.st_mode, of.st_uid, of.st_gid)
    section = host.section()
    assert (section.rsigner, section.rkey) == (
        str(target),
        str(host.home / "private" / f"{dated()}.key"),
    )
    assert f"rkey    = private/{dated()}.key" in said, "relative, as it was"
    assert "check root-ca" in said and "renew root-ca --back" in said
    host.renew("--back")
    lines = [line for line in host.config.read_text().splitlines() if " before " not in line]
    assert lines == original.splitlines()
    host.renew("--back")
    assert host.section().rsigner == str(target), "back and forth"


@pytest.mark.slow
def test_every_90_days_for_ever(host, monkeypatch):
    monkeypatch.setattr(time, "localtime", time.gmtime)
    start = int(time.time())
    keys = [host.section().rkey]
    for n in range(1, 6):
        now = start + n * 80 * DAY
        monkeypatch.setattr(renew.time, "time", lambda now=now: now)
        name = "root-ocsp-" + time.strftime("%Y-%m-%d", time.gmtime(now))
        assert f"{name}.key" in host.renew()
        dates = [time.strftime("%Y%m%d%H%M%SZ", time.gmtime(now + d * DAY)) for d in (0, 90)]
        path = host.issue(name, "-startdate", dates[0], "-enddate", dates[1])
        said = host.renew("--certificate", path)
        keys.append(host.section().rkey)
        assert keys[-1].endswith(f"/{name}.key")
        unused = said.partition("Nothing needs these files")[2]
        for key in keys:
            assert (key in unused) == (key not in keys[-2:]), (n, key, said)
    assert len({Path(key).read_bytes() for key in keys}) == 6
    assert host.config.read_text().count(" before ") == 2, "only the last pair is remembered"
    monkeypatch.setattr(renew.time, "time", lambda: start + 700 * DAY)
    assert "expired" in host.refused("--back")


def test_where_it_tells_to_copy(host):
    for source, home in (
        ("root@ca.example.com:index", "root@ca.example.com:root-ca"),
        ("ca1:/root/my-ca/db/index", "ca1:/root/my-ca"),
        ("ca1:my-ca/db/index", "ca1:my-ca"),
        ("ca1:db/index", "ca1:."),
        ("/mnt/index", "ca.example.com:root-ca"),
        ("rsync://ca1/db/index", "ca.example.com:root-ca"),
        ("root@[2001:db8::1]:index", "root@[2001:db8::1]:root-ca"),
    ):
        text = host.config.read_text()
        host.replace("rkey ", f"sync_from = {source}\nrkey ")
        assert f".csr {shlex.quote(f'{home}/')}\n" in host.renew()
        host.config.write_text(text)


def test_the_certificate_of_today(host):
    path = str(host.home / "root-ocsp.crt")
    before = host.snapshot()
    assert "signs with it already: nothing has been changed" in host.renew("--certificate", path)
    assert host.snapshot() == before


def test_a_certificate_that_has_been_copied_over_that_of_today(host):
    """Which leaves no previous one to change back to."""
    host.renew()
    shutil.copy(host.issue(dated()), host.home / "root-ocsp.crt")
    said = host.renew("--certificate", str(host.home / "root-ocsp.crt"))
    assert host.section().rkey.endswith(f"/{dated()}.key") and "--back" not in said


def test_sections_that_share_the_signer(host):
    section = host.config.read_text().partition("[responder]")[0]
    host.config.write_text(host.config.read_text() + section.replace("[root-ca]", "[old-ca]"))
    assert host.refused() == "which CA?  The config has root-ca, old-ca"
    host.renew("root-ca")
    said = host.renew("root-ca", "--certificate", host.issue(dated()))
    assert "[root-ca] and [old-ca] sign with" in said
    assert host.section("old-ca").rkey == host.section("root-ca").rkey
    assert host.section("old-ca").rkey.endswith(f"{dated()}.key")
    host.renew("old-ca", "--back")
    assert host.section("old-ca").rkey == host.section("root-ca").rkey
    assert host.section("old-ca").rkey.endswith("root-ocsp.key")


def test_a_certificate_that_has_not_been_copied_yet(host):
    host.renew()
    index = host.home / "db" / "index"
    old = index.read_bytes()
    path = host.issue(dated())
    index.write_bytes(old)
    host.replace("rkey ", "sync_from = ca:db/index\nrkey ")
    settle(index)
    said = host.renew("--certificate", path)
    assert "has no row for it yet" in said and "rsigner-has-no-row-in-db" in said
    assert "ocsp_cgi sync root-ca`" in said
    assert host.section().rsigner.endswith(f"{dated()}.crt")


@pytest.mark.parametrize("is_beside", [False, True], ids=["", "beside"])
def test_another_file_in_the_place_of_a_verified_certificate(host, monkeypatch, is_beside):
    """As the owner of its directory may put there, so that root shows it to everybody."""
    host.renew()
    issued = Path(host.issue(dated()))
    if is_beside:
        issued = Path(shutil.move(issued, host.home))
    secret = host.home / "private" / "root-ocsp.key"
    mode = secret.stat().st_mode
    find_key = renew.signer_candidate.find_key

    def swap(*arguments):
        issued.unlink()
        issued.symlink_to(secret)
        return find_key(*arguments)

    monkeypatch.setattr(renew.signer_candidate, "find_key", swap)
    monkeypatch.setattr(renew._Change, "_accepted", lambda self, *_: [self.ca])
    with pytest.raises(CommandError, match="has a private key in it"):
        host.renew("--certificate", str(issued))
    assert secret.stat().st_mode == mode
    assert not any(
        secret.read_bytes() == one.read_bytes()
        for one in host.home.glob("*")
        if one.is_file()
        if not one.is_symlink()
    )


@pytest.mark.slow
def test_refused_certificates(host, place):
    """Whatever is wrong with the certificate, all files stay as they are."""
    host.renew()
    issued = host.issue(dated())

    def reason(path: str | Path) -> str:
        return host.refused("--certificate", str(path))

    assert "No such file" in reason("nowhere.crt")
    assert "Is a directory" in reason(place)
    assert "a certificate request, not a certificate" in reason(
        host.home / "private" / f"{dated()}.csr"
    )
    assert "has a private key in it" in reason(host.home / "private" / f"{dated()}.key")
    assert "OCSPSigning" in reason(host.issue(dated(), extensions="server_ext"))
    past = ("-startdate", "20200101000000Z", "-enddate", "20200201000000Z")
    assert "expired" in reason(host.issue(dated(), *past))
    host.issue(dated())
    other = PrivateCA(place / "other")
    shutil.copy(host.home / "private" / f"{dated()}.csr", other.home / "private")
    assert "issued" in reason(Host(other, None).issue(dated()))

    issued = host.issue(dated())
    host.ca.openssl("ca", "-config", "root-ca.cnf", "-revoke", issued)
    settle(host.home / "db" / "index")
    assert "revoked" in reason(issued)

    issued = host.issue(dated())
    key = host.home / "private" / f"{dated()}.key"
    key.chmod(0o644)
    assert f"chmod o-rwx {key}" in reason(issued)
    key.unlink()
    assert "its private key is not in" in reason(issued)


@pytest.mark.root
def test_only_root_can(host):
    """What another user cannot write, and what to do about it."""
    host.renew()
    path = host.issue(dated())
    for one in (host.home, *host.home.rglob("*")):
        one.chmod(0o640 if one.suffix == ".key" else 0o755)  # as root's group, nobody can read keys

    def reason(*options: str) -> str:
        before = host.snapshot()
        with pytest.raises(CommandError) as error, as_nobody():
            host.renew(*options)
        assert host.snapshot() == before
        return str(error.value)

    as_root = "Permission denied; this command must run as root"
    assert reason() == f"{host.home}/private/{dated(2)}.key: {as_root}"
    shared = host.home / f"{dated()}.crt"
    assert reason("--certificate", path) == f"{shared}: {as_root}"
    shutil.copy(path, shared)
    assert reason("--certificate", str(shared)) == f"{host.config}: cannot be changed: {as_root}"


def test_other_mistakes(host):
    assert "no [sub-ca] in the config; its CAs are [root-ca]" in host.refused("sub-ca")
    assert "has no `# rsigner before ...`" in host.refused("--back")
    (host.home / "private" / "root-ocsp.key").rename(host.home / "lost.key")
    assert "No such file" in host.refused()
    (host.home / "root-ocsp.crt").unlink()
    assert "root-ocsp.crt: No such file" in host.refused()
    host.config.unlink()
    assert f"{host.config}" in host.refused()


@pytest.mark.apache
@pytest.mark.slow
def test_under_a_running_apache(host, cgi):
    root = certificate(host.home / "root-ca.crt")
    good = certificate(host.home / "good.crt").serial_number
    encoded = request(cert_id(root, good))
    signers, failures, done = [], [], threading.Event()

    def ask(url: str) -> None:
        headers = {"Content-Type": "application/ocsp-request"}
        try:
            while not done.is_set():
                with urllib.request.urlopen(
                    urllib.request.Request(url, encoded, headers), timeout=30
                ) as response:
                    body = response.read()
                signers.append(verified(body, root).certificates[0].serial_number)
        except BaseException as error:
            failures.append(error)

    serials = [certificate(host.home / "root-ocsp.crt").serial_number]
    httpd.let_read(host.home)
    with started(host.home.parent / "httpd", cgi, host.config) as apache:
        askers = [threading.Thread(target=ask, args=[apache.url]) for _ in range(3)]
        for asker in askers:
            asker.start()
        try:
            for number in (1, 2, 3):
                host.renew()
                path = host.issue(dated(number))
                serials.append(certificate(Path(path)).serial_number)
                before = len(signers)
                host.renew("--certificate", path)
                while not failures and (serials[-1] not in signers or len(signers) < before + 10):
                    time.sleep(0.01)
            host.renew("--back")
            time.sleep(1)
        finally:
            done.set()
            for asker in askers:
                asker.join()
        log = apache.error_log
    assert not failures, (failures, log)
    assert list(dict.fromkeys(signers)) == serials and signers[-1] == serials[-2]
    assert "ocsp.cgi: error:" not in log


# Of two signers


def dated_rsa() -> str:
    return dated().replace("root-ocsp-", "root-ocsp-rsa-")


@pytest.fixture
def two(host) -> Host:
    """One whose second signer has an RSA key, and expires first."""
    host.ca.issue("root-ocsp-rsa", "ocsp_ext", ("rsa:2048",))
    host.ca.sign("root-ocsp-rsa", "ocsp_ext", "30")
    settle(host.home / "db" / "index")
    more = "rsigner2 = root-ocsp-rsa.crt\nrkey2 = private/root-ocsp-rsa.key\n"
    host.replace("rkey ", f"{more}rkey ")
    return host


@pytest.mark.slow
def test_the_signer_that_expires_first_is_renewed(two):
    before = two.section()
    said = two.renew()
    assert "for the same subject, RSA 2048" in said and "-days 30 " in said
    certificate_option = f"--signer 2 --certificate {two.home}/{dated_rsa()}.crt"
    assert f"renew root-ca {certificate_option}" in said
    said = two.renew("--certificate", two.issue(dated_rsa()))
    after = two.section()
    assert (after.rsigner, after.rkey) == (before.rsigner, before.rkey)
    assert after.rsigner2 == f"{two.home}/{dated_rsa()}.crt"
    assert after.rkey2 == f"{two.home}/private/{dated_rsa()}.key"
    assert f"  rsigner2 = {dated_rsa()}.crt\n  rkey2    = private/{dated_rsa()}.key\n" in said
    assert "renew root-ca --signer 2 --back" in said
    two.renew("--back")
    assert two.section().rkey2 == before.rkey2
    assert "`# rsigner before ...`" in two.refused("--signer", "1", "--back")


@pytest.mark.slow
def test_the_signer_of_the_option_is_renewed(two):
    before = two.section()
    said = two.renew("--signer", "1")
    assert "for the same subject, P-256" in said and f"/{dated()}.key" in said
    two.renew("--certificate", two.issue(dated()))  # to the signer with the same kind of key
    after = two.section()
    assert after.rkey == f"{two.home}/private/{dated()}.key"
    assert (after.rsigner2, after.rkey2) == (before.rsigner2, before.rkey2)
    two.renew("--signer", "2")
    two.renew("--signer", "2", "--certificate", two.issue(dated_rsa()))
    assert two.section().rkey2.endswith(f"/{dated_rsa()}.key")
    assert "which is meant?  Add --signer 1 or --signer 2" in two.refused("--back")
    two.renew("--back", "--signer", "1")
    assert two.section().rkey == before.rkey
    assert two.section().rkey2.endswith(f"/{dated_rsa()}.key")


def test_a_certificate_that_the_second_signer_may_not_have(two):
    server = str(two.home / "good.crt")
    assert "lacks the extended key usage" in two.refused("--certificate", server, "--signer", "2")


@pytest.mark.slow
def test_two_signers_with_the_same_kind_of_key(two):
    """What is printed names the signer, which the kind of its key does not."""
    two.ca.issue("root-ocsp-rsa", "ocsp_ext")
    two.ca.sign("root-ocsp-rsa", "ocsp_ext", "30")
    before = two.section()
    said = two.renew("--signer", "1")
    words = shlex.split(said.rpartition(" renew ")[2])
    assert words[:3] == ["root-ca", "--signer", "1"]
    shutil.move(two.issue(dated()), words[words.index("--certificate") + 1])
    said = two.renew(*words[: words.index("--config")])
    after = two.section()
    assert after.rsigner == f"{two.home}/{dated()}.crt"
    assert (after.rsigner2, after.rkey2) == (before.rsigner2, before.rkey2)
    assert "renew root-ca --signer 1 --back" in said


@pytest.mark.slow
def test_one_of_two_certificates_is_lost(two):
    """The other signer is sound, and must not lose its place."""
    before = two.section()
    two.renew("--signer", "1")
    issued = two.issue(dated())
    Path(before.rsigner).unlink()
    assert f"{before.rsigner}: cannot be read" in two.refused()
    assert "for the same subject, RSA 2048" in two.renew("--signer", "2")
    two.renew("--certificate", issued)
    after = two.section()
    assert after.rsigner == f"{two.home}/{dated()}.crt"
    assert (after.rsigner2, after.rkey2) == (before.rsigner2, before.rkey2)


@pytest.mark.slow
def test_files_of_the_other_signer_are_in_use(two):
    """Also where its name is that of an earlier one of the first."""
    for number in (1, 2):
        two.renew("--signer", "1")
        name = dated(number)
        said = two.renew("--signer", "1", "--certificate", two.issue(name))
        assert "root-ocsp-rsa" not in said
    assert "private/root-ocsp.key" in said.partition("Nothing needs these files")[2]


@pytest.mark.slow
@pytest.mark.parametrize("is_encrypted", [False, True], ids=["", "encrypted"])
def test_a_second_signer_is_added(host, is_encrypted):
    if is_encrypted:
        phrase = host.home / "private" / "phrase"
        phrase.write_text("a pass phrase\n")
        phrase.chmod(0o600)
        host.replace("rkey ", "passin = private/phrase\nrkey ")
    first = host.section()
    mode = Path(first.rkey).stat().st_mode
    said = host.renew("--signer", "2")
    assert "for the same subject, RSA 2048" in said
    key = host.home / "private" / f"{dated_rsa()}.key"
    assert key.stat().st_mode == mode
    assert host.subject(dated_rsa()) == certificate(Path(first.rsigner)).subject.public_bytes()
    said = host.renew("--signer", "2", "--certificate", host.issue(dated_rsa()))
    after = host.section()
    assert (after.rsigner, after.rkey) == (first.rsigner, first.rkey)
    assert (after.rsigner2, after.rkey2) == (f"{host.home}/{dated_rsa()}.crt", str(key))
    assert after.passin2 == (str(host.home / "private" / "phrase") if is_encrypted else None)
    assert f"rkey2    = private/{dated_rsa()}.key" in said and "remove these settings" in said
    host.renew("--signer", "2")
    renewed = dated_rsa() + "-2"
    host.renew("--certificate", host.issue(renewed))
    assert host.section().rkey2.endswith(f"/{renewed}.key")


@pytest.mark.slow
def test_the_second_signer_of_another_section(two):
    """Sections that share a signer are renewed together, also where it is the first of one and the
    second of the other."""
    text = two.config.read_text().partition("[responder]")[0]
    swapped = text.replace("rsigner2", "x").replace("rsigner", "rsigner2").replace("x", "rsigner")
    swapped = swapped.replace("rkey2", "x").replace("rkey ", "rkey2 ").replace("x ", "rkey ")
    two.config.write_text(text + swapped.replace("[root-ca]", "[old-ca]"))
    assert two.section("old-ca").rkey == two.section().rkey2
    two.renew("root-ca", "--signer", "2")
    two.renew("root-ca", "--certificate", two.issue(dated_rsa()))
    assert two.section().rkey2.endswith(f"/{dated_rsa()}.key")
    assert two.section("old-ca").rkey == two.section().rkey2
    assert two.section("old-ca").rkey2 == two.section().rkey


def test_a_key_on_another_host_is_not_renewed_here(host):
    host.replace("rkey    = private/root-ocsp.key", "cache_from = signer:cache")
    assert "has no `rkey`: renew its signer on the host with the key" in host.refused()


# Of a key on a token


def test_a_key_on_a_token(token, capsys):
    host = Host(token.ca, capsys)
    said = host.renew()
    assert f"the same key, which is on a token ({token.uri()})" in said
    assert "--certificate" in said
    path = host.home / f"{dated()}.csr"
    own = certificate(host.home / "root-ocsp.crt")
    made = x509.load_pem_x509_csr(path.read_bytes())
    assert made.is_signature_valid
    assert made.public_key().public_numbers() == own.public_key().public_numbers()
    assert made.subject.public_bytes() == own.subject.public_bytes()
    path.rename(host.home / "private" / path.name)
    issued = host.issue(dated())
    assert f"its key is {token.uri()}" in host.renew("--certificate", issued)
    assert host.section().rsigner == f"{host.home}/{dated()}.crt"
    assert host.section().rkey == token.uri()
    assert verified(token.respond().der, token.root).certificates[0] == certificate(Path(issued))
    host.renew("--back")
    assert host.section().rsigner == f"{host.home}/root-ocsp.crt"


def test_a_certificate_of_another_key_than_that_on_a_token(token, capsys):
    host = Host(token.ca, capsys)
    said = host.refused("--certificate", str(host.home / "rsa-ocsp.crt"))
    assert "not the private key of the certificate in " in said
    assert "`rkey` is on a token, so the files of a second" in host.refused("--signer", "2")
    token.pin.write_text("wrong\n")
    assert "the token refuses the PIN" in host.refused()


@pytest.mark.root
def test_root_uses_a_token_as_the_responders_user(token, capsys, monkeypatch):
    """Who remembers that it has refused the PIN, so that root does not try it again."""
    calls = token.spied(monkeypatch)
    calls.touch()
    httpd.let_read(token.home)
    for directory in (token.home / "tokens", token.home / "cache"):
        httpd.let_write(directory)
    calls.chmod(0o666)
    token.write(cache="cache")
    host = Host(token.ca, capsys)
    token.pin.write_text("wrong\n")
    for _ in range(2):
        with pytest.raises(CommandError, match="the token refuses the PIN"):
            host.renew()
        pin_memory._known.clear()  # as in another process
    assert calls.read_text().count("C_Login\n") == 1
    token.pin.write_text(f"{tokens.PIN}\n")
    assert "the same key, which is on a token" in host.renew()
