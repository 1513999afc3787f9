"""The responder in Apache's configuration: names that are taken, files to include, other paths."""

from __future__ import annotations

import urllib.parse

import pages
import pytest
from clients import base64_of, cert_id, certificate, request
from machine import CHECKOUT, NAME, WELL

pytestmark = [pytest.mark.slow, pytest.mark.root]

OTHER = "/etc/apache2/sites-enabled/intranet.conf"
SNIPPET = "/etc/ocsp-cgi/apache.conf"
INCLUDE = '    IncludeOptional "/etc/ocsp-cgi/*.conf"'
ASK = (
    "cd {home}; openssl ocsp -issuer root-ca.crt -CAfile root-ca.crt -cert bad.crt"
    f" -url http://127.0.0.1{{path}} -header Host={NAME} 2>&1"
)


def write_other(machine, *inside: str) -> None:
    """Another virtual host, which has the name, with these lines in it."""
    lines = ["<VirtualHost *:80>", "    ServerName intranet.example.com", f"    ServerAlias {NAME}"]
    text = "\n".join([*lines, *inside, "</VirtualHost>"])
    machine.sh(f"cat >{OTHER} <<'END'\n# ours\n{text}\nEND")


def test_a_name_that_another_virtual_host_has(new_machine, pki):
    machine = new_machine()
    machine.bring_files(pki)
    write_other(machine)
    before = machine.listing
    refused = machine.install("--server-name", NAME.upper(), check=False)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert f"{OTHER}:2: a virtual host that has the name {NAME.upper()} already" in refused.stderr
    assert f"install --server-name {NAME.upper()} --include\n" in refused.stderr
    elsewhere = machine.install("--server-name", NAME, "--path", "/ocsp", "--wsgi", check=False)
    assert f"install --server-name {NAME} --path /ocsp --include --wsgi\n" in elsewhere.stderr
    assert machine.listing == before

    to_do = machine.install("--server-name", NAME, "--include", check=False)
    assert to_do.returncode == 1
    assert (
        "does not include the responder yet.  Add this line before the </VirtualHost> of"
        f" {OTHER}:2, reload Apache, and run this again:\n" in to_do.stdout
    )
    assert f"\n  {INCLUDE}\n" in to_do.stdout
    assert "sites-available" not in to_do.stdout

    write_other(machine, INCLUDE)
    machine.sh("apache2ctl -k graceful")
    assert machine.install().stdout.endswith(WELL)
    asked = machine.sh(ASK.format(home=pki.home, path="/cgi-bin/ocsp.cgi"))
    assert "bad.crt: revoked" in asked

    gone = machine.install("--uninstall")
    assert f"{OTHER}:5: this line includes {SNIPPET}, and is to be removed\n" in gone.stdout
    assert machine.sh(f"ls {SNIPPET} 2>&1 || apache2ctl -t 2>&1").endswith("Syntax OK\n")


def test_include_without_a_virtual_host_of_that_name(new_machine):
    machine = new_machine()
    run = machine.install("--server-name", NAME, "--include", check=False)
    assert run.returncode == 1
    assert f"--include: no virtual host on port 80 has the name {NAME}" in run.stderr


def test_no_name_is_guessed(new_machine):
    machine = new_machine()
    run = machine.install(check=False)
    assert (run.returncode, run.stdout) == (1, "")
    assert "--server-name is missing: the host name in `ocsp_url`" in run.stderr
    for options, fault in (
        (("--server-name", "http://x/"), "--server-name http://x/: not a host name"),
        (("--server-name", NAME, "--path", "ocsp"), "--path ocsp: must be the path of `ocsp_url`"),
    ):
        run = machine.install(*options, check=False)
        assert run.returncode == 1 and fault in run.stderr
    assert machine.sh("ls /opt/ocsp-cgi 2>&1 || true").endswith("No such file or directory\n")


@pytest.mark.parametrize("path", ["/ocsp", "/"])
def test_another_path(path, new_machine, pki):
    machine = new_machine()
    machine.bring_files(pki)
    assert machine.install("--server-name", NAME, "--path", path).stdout.endswith(WELL)
    assert "bad.crt: revoked" in machine.sh(ASK.format(home=pki.home, path=path))
    again = machine.install().stdout
    assert again == f"Nothing to change: everything is in place.\n{WELL}"


@pytest.mark.parametrize("kind", ["--cgi", "--wsgi"])
def test_a_cache_as_its_page_says(new_machine, pki, kind):
    machine = new_machine()
    machine.bring_files(pki)
    assert machine.install("--server-name", NAME, kind).stdout.endswith(WELL)
    on_disk, shared = (
        f"cd {CHECKOUT}; {commands.replace('systemctl restart apache2', 'apache2ctl restart')}"
        for commands in pages.commands(pages.APACHE, "HTTP caches in front")
    )
    machine.sh(on_disk)
    root = certificate(pki.home / "root-ca.crt")
    about = base64_of(request(cert_id(root, int(pki.serial("bad"), 16))))
    url = f"http://{NAME}/cgi-bin/ocsp.cgi/{urllib.parse.quote(about, safe='')}"
    fetch = (
        f"curl --silent --fail --retry 9 --retry-connrefused --resolve {NAME}:80:127.0.0.1 {url}"
    )
    count = f"grep -c 'cgi: GET serial={pki.serial('bad')} ' /var/log/apache2/error.log"
    asked = machine.sh(f"for n in 1 2 3; do {fetch} | sha256sum; done; {count}")
    *responses, lines = asked.splitlines()
    assert len(responses) == 3 and len(set(responses)) == 1 and lines == "1"
    machine.sh(f"echo 127.0.0.1 cache.example.com >>/etc/hosts; {shared}")  # where nothing listens
    assert machine.sh(f"{fetch} >/dev/null; {count}") == "2\n"
    assert machine.install().stdout == f"Nothing to change: everything is in place.\n{WELL}"
