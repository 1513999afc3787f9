"""The README: what it shows, says and leads to is there, and it stays short."""

from __future__ import annotations

import argparse
import importlib
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pages
import pytest
import settings
import transcripts
from clients import certificate, started
from cryptography.hazmat.primitives.serialization import Encoding
from pages import APACHE, CHECKOUT, README

from ocsp_cgi import config
from ocsp_cgi.tools.wsgi_server import LocalServer

PACKAGE = "ocsp_cgi/README.md"
PAGES = (README, APACHE, PACKAGE, "tests/README.md", "tests/conformance.md")
TESTS = CHECKOUT / "tests"
COMMANDS = {path.stem for path in (CHECKOUT / "ocsp_cgi" / "commands").glob("[a-z]*.py")}
MOST_LINES, MOST_COLUMNS = 350, 110
# By section: the test that runs its blocks.
RUN_BY = {
    (README, "Try it"): "test_readme.py",
    (README, "Install it"): "test_guide.py",
    (README, "Moving from the shell script"): "commands/test_migrate_as_root.py",
    (README, "Copying db"): "test_guide.py",
    (README, "Renewing the signer"): "test_guide.py",
    (README, "The log"): "test_log.py",
    (APACHE, "A root CA"): "test_guide.py",
    (APACHE, "An issuing CA"): "test_guide.py",
    (APACHE, "Copying db"): "test_guide.py",
    (APACHE, "A key for each CA"): "test_readme.py",
    (APACHE, "mod_wsgi"): "installation/test_wsgi_as_root.py",
    (APACHE, "HTTP caches in front"): "installation/test_site_as_root.py",
    (APACHE, "Hosts without a key"): "test_readme.py",
    (APACHE, "A key on a token"): "test_guide.py",
    (APACHE, "By hand"): "test_guide.py",
}


def test_it_is_short():
    """The rows of settings are written by a program, and a row cannot be wrapped."""
    lines = pages.read(README).splitlines()
    assert len(lines) <= MOST_LINES
    rows = re.findall(r"(?m)^\| `\w+` \| .*", pages.section(README, "Settings"))
    assert [line for line in lines if len(line) > MOST_COLUMNS and line not in rows] == []


def test_every_block_is_run():
    sections = {(page, block.section) for page in (README, APACHE) for block in pages.blocks(page)}
    assert sections == {*RUN_BY}
    for (_, section), name in RUN_BY.items():
        assert f'"{section}"' in (TESTS / name).read_text(encoding="utf-8"), section


def test_every_transcript_is_compared():
    """At each of them, some test looks."""
    sources = "".join(path.read_text(encoding="utf-8") for path in TESTS.glob("test_*.py"))
    for name in transcripts.names():
        assert f'transcript("{name}", ' in sources, name


@pytest.mark.apache
@pytest.mark.slow
def test_demonstration(place, cgi, pki, transcript):
    with started(place / "httpd", cgi, pki.home / "ocsp-cgi.conf"):
        pass  # skips if the demonstration has no Apache either
    [command] = pages.commands(README, "Try it")
    assert command.startswith("python3 ")
    run = subprocess.run(
        [sys.executable, *command.split()[1:]],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "TMPDIR": "/tmp"},
        timeout=120,
    )
    last = run.stdout[run.stdout.index("5. ") :]
    transcript("demo", last[: last.index("       This Update")])


def test_the_log_says_what_the_table_of_troubles_says():
    """Each text in its first column is in the source, where a message may be cut in two."""
    table = pages.section(README, "Troubleshooting")
    package = (CHECKOUT / "ocsp_cgi").rglob("*.py")
    source = "".join(path.read_text(encoding="utf-8") for path in package)
    source = re.sub(r'"\s*f?"', "", source)
    texts = [
        text
        for cell in re.findall(r"(?m)^\| (`.*?) \|", table)
        for text in re.findall("`(.*?)`", cell)
    ]
    assert len(texts) > 10
    assert [text for text in texts if text not in source] == []


def test_the_section_for_signers_is_that_of_both_cas():
    section = pages.fenced(README, "ini")
    for name in ("root-ca", "sub-ca"):
        assert f"\n{section}" in pages.read(f"apache/{name}.cnf")


def test_commands_have_these_options():
    """`ocsp-cgi COMMAND --option`, wherever a page says so."""
    text = "".join(map(pages.read, (README, APACHE)))
    said = re.findall(r"(?:ocsp-cgi |ocsp_cgi |`)([a-z]+) ([^`\n]*--[^`\n]*)", text)
    said = [(command, options) for command, options in said if command in COMMANDS]
    assert len(said) > 10
    for command, options in said:
        parser = argparse.ArgumentParser()
        importlib.import_module(f"ocsp_cgi.commands.{command}").add_arguments(parser)
        for option in re.findall(r"(?<!\S)--[\w-]+", options):
            assert option in parser._option_string_actions, (command, option)


@pytest.mark.process
def test_ssh_reads_the_names_of_cas(place):
    if shutil.which("ssh") is None:
        pytest.skip("ssh is not installed (Debian: apt-get install openssh-client)")
    [config_file] = pages.commands(APACHE, "A key for each CA")
    (place / "config").write_text(config_file)
    for name in ("root-ca", "sub-ca"):
        command = ["ssh", "-G", "-F", str(place / "config"), name]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        lines = run.stdout.splitlines()
        assert {"hostname ca.example.com", "user root", f"identityfile ~/.ssh/{name}"} <= {*lines}


def test_tables_of_settings():
    readme = pages.read(README)
    assert settings.written(readme) == readme, "run: python3 tests/settings.py"


def test_the_config_of_a_host_without_a_key(place):
    [text] = pages.commands(APACHE, "Hosts without a key")
    (place / "config").write_text(text)
    [ca] = config.load(str(place / "config")).cas
    assert (ca.rkey, ca.cache_from) == ("", "root@signer.example.com:.")


def anchors(page: Path) -> list[str]:
    headings = re.findall(r"(?m)^#+ (.*)", page.read_text(encoding="utf-8"))
    return [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]


LINKS = [
    (page, path)
    for page in PAGES
    for path in dict.fromkeys(re.findall(r"\]\(([^)h][^)]*)\)", pages.read(page)))
]


@pytest.mark.parametrize("page, path", LINKS)
def test_links_lead_somewhere(page, path):
    file, _, anchor = path.partition("#")
    target = (CHECKOUT / page).parent / file if file else CHECKOUT / page
    assert target.exists()
    assert not anchor or anchor in anchors(target)


@pytest.mark.slow
def test_middleware(ca, monkeypatch, caplog):
    """The one in ocsp_cgi/README.md, with a stand-in for django.http, over certificates that name a
    real responder."""
    code = pages.fenced(PACKAGE, "python")
    stand_in = types.ModuleType("django.http")
    stand_in.HttpResponseForbidden = lambda text: ("forbidden", text)
    monkeypatch.setitem(sys.modules, "django", types.ModuleType("django"))
    monkeypatch.setitem(sys.modules, "django.http", stand_in)
    with LocalServer(ca.home / "ocsp-cgi.conf") as server:
        cnf = ca.home / "root-ca.cnf"
        cnf.write_text(re.sub(r"(?m)^ocsp_url .*", f"ocsp_url = {server.url}", cnf.read_text()))
        for name in ("client", "thief"):
            ca.issue(name, "client_ext")
        ca.revoke("thief", "-crl_reason", "keyCompromise")
        assert "/etc/ssl/ocsp/root-ca.crt" in code
        names: dict = {}
        exec(code.replace("/etc/ssl/ocsp/root-ca.crt", str(ca.home / "root-ca.crt")), names)
        middleware = names["ocsp_middleware"](lambda request: ("page", request))

        def ask(**meta: str):
            request = types.SimpleNamespace(META=meta)
            response = middleware(request)
            return "page" if response == ("page", request) else response

        client, thief = ((ca.home / f"{name}.crt").read_text() for name in ("client", "thief"))
        refused = ("forbidden", "Your certificate was refused.")
        assert ask(SSL_CLIENT_CERT=client) == "page"
        assert ask(SSL_CLIENT_CERT=thief) == refused
        assert ask() == refused
        (ca.home / "private" / "root-ocsp.key").unlink()
        assert ask(SSL_CLIENT_CERT=client) == refused
        url = "http://127.0.0.1:1/\x1b]0;<script>alert(1)</script>\x07"
        cnf.write_text(re.sub(r"(?m)^ocsp_url .*", lambda _: f"ocsp_url = {url}", cnf.read_text()))
        ca.issue("attacker", "client_ext")
        attacker = (ca.home / "attacker.crt").read_text()
        assert url.encode() in certificate(ca.home / "attacker.crt").public_bytes(Encoding.DER)
        assert ask(SSL_CLIENT_CERT=attacker) == refused
    assert ask(SSL_CLIENT_CERT=client) == refused
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 5 and all(line.isprintable() for line in lines)
    assert lines[0] == "client certificate refused: revoked"
    assert lines[1].endswith(": certificate: no -----BEGIN CERTIFICATE----- block")
    assert lines[2].endswith(": the responder answered internalError")
    assert r": http://127.0.0.1:1/\x1b]0;<script>alert(1)</script>\x07: " in lines[3]
