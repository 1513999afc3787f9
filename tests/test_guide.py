"""The guide in the README, run: its blocks typed in as a reader does who follows it."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import shutil
import sys
import threading
import time
from pathlib import Path

import pytest
from clients import cert_id, certificate, request, run_cgi, started, verified
from cryptography import x509
from cryptography.x509 import ocsp

from ocsp_cgi.tools import httpd

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).resolve().parent.parent
README = (CHECKOUT / "README.md").read_text()
GUIDE = "The guide, from the CA to the response"
ISSUING_CA = "An issuing CA"
DATE = "2027-02-15"  # that of the README's renewal
TYPED = {rb"pass phrase[^\r\n]*:$": b"a pass phrase\n", rb"\[y/n\]:?$": b"y\n"}


def blocks(section: str) -> list[tuple[str, str]]:
    """(step, commands) of every block of a section, in order; several of a step have the same
    number."""
    found, number = [], ""
    text = README.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    for paragraph in re.split(r"\n\s*\n", text):
        step = re.match(r"(\d)\. ", paragraph)
        number = step[1] if step else number
        if paragraph.startswith("       "):
            found.append((number, re.sub(r"^ {7}", "", paragraph, flags=re.MULTILINE)))
    return found


class Hosts:
    """Both hosts of the guide in one directory: the CA's home and the OCSP host's /etc/ssl; the
    guide's reader at their keyboards."""

    def __init__(self, place: Path, newkey: str):
        self.place = place
        self.newkey = newkey
        self.ssl = place / "ssl"
        self.ssl.mkdir()
        self.url = ""
        shutil.copytree(CHECKOUT / "apache", place / "ocsp-cgi" / "apache")
        bin = place / "bin"
        bin.mkdir()
        command = f"import sys\nsys.path.insert(0, {str(CHECKOUT)!r})\n"
        command += "from ocsp_cgi.__main__ import main\nmain()\n"
        (bin / "ocsp-cgi").write_text(f"#!{sys.executable}\n{command}")
        (bin / "ocsp-cgi").chmod(0o755)

    def change_names(self) -> None:
        """Change the names of both CAs, in their configs and nowhere else."""
        for name in ("root-ca", "sub-ca"):
            path = self.place / "ocsp-cgi" / "apache" / f"{name}.cnf"
            text = path.read_text()
            for old, new in (
                ('"GB"', '"DK"'),
                ('"Example"', '"Rødgrød & Søn"'),
                ("example.com", "sub.example.org"),
            ):
                assert text.count(old) == 1, (path, old)
                text = text.replace(old, new)
            path.write_text(text)

    def set_url(self, name: str, url: str) -> None:
        cnf = self.place / name / f"{name}.cnf"
        cnf.write_text(re.sub(r"(?m)^(ocsp_url\s*=).*", rf"\1 {url}", cnf.read_text()))

    def run(self, step: str, number: int = 0, section: str = GUIDE) -> str:
        """Type in a block of a step.  Returns what the screen showed; AssertionError if a command
        failed."""
        commands = [commands for its_step, commands in blocks(section) if its_step == step][number]
        commands = commands.replace("-newkey ec -pkeyopt ec_paramgen_curve:P-256", self.newkey)
        for old, new in (
            ("ca.example.com:", f"{self.place}/"),
            ("/etc/ssl", str(self.ssl)),
            (DATE, time.strftime("%Y-%m-%d")),
        ):
            commands = commands.replace(old, new)
        if os.geteuid() != 0:
            commands = commands.replace("-o root -g www-data ", "").replace(
                "chgrp www-data", "true"
            )
        return self.type(commands)

    def type(self, commands: str) -> str:
        """Run commands at a terminal, and answer their prompts."""
        child, terminal = pty.fork()
        if child == 0:
            os.chdir(self.place)
            os.environ["HOME"] = str(self.place)
            os.environ["PATH"] = f"{self.place / 'bin'}:{os.environ['PATH']}"
            os.environ["OCSP_CGI_CONFIG"] = str(self.ssl / "ocsp-cgi.conf")
            os.execvp("bash", ["bash", "-euc", commands])
        screen, unanswered, deadline, ended = b"", b"", time.monotonic() + 60, 0
        while not ended:
            assert time.monotonic() < deadline, screen
            part = b""
            with contextlib.suppress(OSError):  # EIO while no process has the terminal open
                part = os.read(terminal, 4096) if select.select([terminal], [], [], 1)[0] else b""
            screen, unanswered = screen + part, unanswered + part
            for prompt, typed in TYPED.items():
                if re.search(prompt, unanswered.rstrip()):
                    os.write(terminal, typed)
                    unanswered = b""
            if not part:
                ended, status = os.waitpid(child, os.WNOHANG)
        os.close(terminal)
        text = screen.decode(errors="replace").replace("\r\n", "\n")
        assert status == 0, f"{commands}\n{text}"
        return text


@pytest.fixture
def hosts(place, request_newkey):
    if shutil.which("rsync") is None:
        pytest.skip("rsync is not installed")
    return Hosts(place, request_newkey)


@pytest.fixture(
    params=["-newkey ec -pkeyopt ec_paramgen_curve:P-256", "-newkey rsa:2048"],
    ids=["P-256", "RSA-2048"],
)
def request_newkey(request):
    return request.param


@pytest.mark.process
@pytest.mark.apache
def test_the_guide(hosts, cgi):
    if "rsa" in hosts.newkey:
        hosts.change_names()
    hosts.run("1")
    assert (hosts.place / "root-ca" / "private").stat().st_mode & 0o777 == 0o700
    assert b"ENCRYPTED" in (hosts.place / "root-ca" / "private" / "root-ca.key").read_bytes()
    hosts.run("2")
    assert (hosts.ssl / "ocsp").stat().st_mode & 0o777 == 0o750
    assert (hosts.ssl / "ocsp" / "root-ocsp.key").stat().st_mode & 0o777 == 0o640
    hosts.run("3")

    config = hosts.ssl / "ocsp-cgi.conf"
    text = re.search(r"(?m)^    \[root-ca\]\n(?:    .*\n)+", README)[0]
    config.write_text(re.sub(r"(?m)^    ", "", text).replace("/etc/ssl", str(hosts.ssl)))
    apache = started(hosts.place / "httpd", cgi, config)
    hosts.set_url("root-ca", apache.url)
    hosts.run("4")
    server = certificate(hosts.place / "root-ca" / "server.crt")
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["www.example.com"]
    hosts.run("5")
    with apache:
        response = hosts.run("7")
        assert "Response verify OK" in response and "server.crt: good" in response, (
            response + apache.error_log
        )
        hosts.run("8")
        assert "server.crt: good" in hosts.run("7"), "not copied yet"
        hosts.run("5")
        response = hosts.run("7")
        assert "server.crt: revoked" in response and "Reason: superseded" in response, response
        renew(hosts, cgi, config)
        response = hosts.run("7")
        assert "Response verify OK" in response and "server.crt: revoked" in response, (
            response + apache.error_log
        )
        issuing_ca(hosts, apache)
        assert "internalError" not in apache.error_log


def renew(hosts: Hosts, cgi: Path, config: Path) -> None:
    """Step 9, while a client asks all the time: every response is signed by one of the two."""
    before = (hosts.ssl / "ocsp" / "root-ocsp.key").stat()
    root = certificate(hosts.place / "root-ca" / "root-ca.crt")
    encoded = request(
        cert_id(root, certificate(hosts.place / "root-ca" / "server.crt").serial_number)
    )
    signers, failures, done = [], [], threading.Event()

    def ask() -> None:
        try:
            while not done.is_set() or len(signers) < 3:
                response = verified(run_cgi(cgi, config, body=encoded).body, root)
                assert response.certificate_status == ocsp.OCSPCertStatus.REVOKED
                signers.append(response.certificates[0].serial_number)
        except BaseException as error:
            failures.append(error)

    asker = threading.Thread(target=ask)
    asker.start()
    try:
        said = hosts.run("9", 0)
        hosts.run("9", 1)
        hosts.run("5")
        hosts.run("9", 2)
    finally:
        done.set()
        asker.join()
    if failures:
        raise failures[0]
    signers.append(
        verified(run_cgi(cgi, config, body=encoded).body, root).certificates[0].serial_number
    )
    new = time.strftime("root-ocsp-%Y-%m-%d")
    assert f"-in {new}.csr -out {new}.crt" in said, "what the README says is what `renew` says"
    after = (hosts.ssl / "ocsp" / f"{new}.key").stat()
    assert [after.st_mode, after.st_uid, after.st_gid] == [
        before.st_mode,
        before.st_uid,
        before.st_gid,
    ]
    old, new = (certificate(hosts.ssl / "ocsp" / f"{name}.crt") for name in ("root-ocsp", new))
    assert list(dict.fromkeys(signers)) == [old.serial_number, new.serial_number]
    assert old.subject == new.subject


def issuing_ca(hosts: Hosts, apache: httpd.Apache) -> None:
    """The section about two tiers, at the responder that answers for the root already."""
    hosts.run("1", section=ISSUING_CA)
    hosts.set_url("sub-ca", apache.url)
    for step in "23456":
        hosts.run(step, section=ISSUING_CA)
    response = hosts.run("7", section=ISSUING_CA)
    assert response.count("Response verify OK") == 3, response + apache.error_log
    assert re.findall(r"\w+[-.\w]*\.crt: \w+", response) == [
        "shop.crt: good",
        "shop.crt: good",
        "sub-ca.crt: good",
    ]
    renew_as_it_says(hosts)
    response = hosts.run("7", section=ISSUING_CA)
    assert response.count("Response verify OK") == 3, response + apache.error_log
    server = certificate(hosts.place / "sub-ca" / "shop.crt")
    assert server.subject.rfc4514_string() == "CN=shop.example.com"
    assert server.issuer == certificate(hosts.place / "sub-ca" / "sub-ca.crt").subject
    assert (
        server.not_valid_after < certificate(hosts.place / "root-ca" / "sub-ca.crt").not_valid_after
    )


def renew_as_it_says(hosts: Hosts) -> None:
    """Renew the issuing CA's signer with the commands that `renew` prints."""
    old = certificate(hosts.ssl / "ocsp" / "sub-ocsp.crt")
    said = hosts.type("ocsp-cgi renew sub-ca")
    request, issue, fetch, change = re.findall(r"(?m)^     (\S(?:.*\\\n)*.*)$", said)
    request, fetch = (
        command.replace("scp", "cp").replace("ca.example.com:", f"{hosts.place}/")
        for command in (request, fetch)
    )
    hosts.type(request)
    hosts.type(f"cd sub-ca; {issue}")
    hosts.type(fetch)
    said = hosts.type(change)
    assert "[sub-ca] signs with" in said and "has no row for it yet" in said, said
    hosts.run("5", section=ISSUING_CA)
    new = certificate(hosts.ssl / "ocsp" / time.strftime("sub-ocsp-%Y-%m-%d.crt"))
    assert new.subject == old.subject and new.serial_number != old.serial_number


def test_every_block_of_the_guide_is_run():
    assert [step for step, _ in blocks(GUIDE)] == list("1234578999")
    assert [step for step, _ in blocks(ISSUING_CA)] == list("1234567")
    source = Path(__file__).read_text()
    for step, _ in blocks(GUIDE):
        assert f'hosts.run("{step}"' in source, step


def test_the_section_for_signers_is_that_of_both_cas():
    [section] = re.findall(r"(?ms)^```ini\n(\[ocsp_ext\].*?)^```", README)
    for name in ("root-ca", "sub-ca"):
        assert f"\n{section}" in (CHECKOUT / "apache" / f"{name}.cnf").read_text()
