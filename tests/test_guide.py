"""The guide in the README, followed from its top as root, on a machine in namespaces of its own;
what apache/README.md adds to it; and what the README shows of `install`, `check` and `explain`."""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path

import pages
import pytest
from clients import certificate
from cryptography import x509
from installed import FILES
from machine import CRON, NAME, WELL
from pages import APACHE, CHECKOUT, README
from typist import Typist

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.root]

INSTALL = "Install it"
ASK, REVOKE = 4, 5  # of the blocks in that section
SSHD = """\
mkdir -p /run/sshd; ssh-keygen -q -A
printf 'PermitRootLogin prohibit-password\\nUsePAM no\\nStrictModes no\\n' >/etc/ssh/sshd_config
echo AuthorizedKeysFile /etc/ssh/authorized_keys >>/etc/ssh/sshd_config
/usr/sbin/sshd
"""


@pytest.fixture
def typist(new_machine, place) -> Typist:
    """Both hosts, the OCSP host with the checkout; no program is installed yet."""
    machine = new_machine()
    for name in FILES:
        path, copy = CHECKOUT / name, place / "ocsp-cgi" / name
        if path.is_dir():
            shutil.copytree(path, copy, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            copy.parent.mkdir(exist_ok=True)
            shutil.copy(path, copy)
    machine.sh(f"echo 127.0.0.1 {NAME} ca.example.com >>/etc/hosts")
    return Typist(machine, place)


def installed(typist: Typist) -> tuple[list[str], str]:
    """Type the section about installing, up to `ocsp-cgi install`.  Returns its blocks, and what
    that showed."""
    first, *steps = blocks = pages.commands(README, INSTALL)
    packages, clone, *rest = first.splitlines()
    assert packages.startswith("apt-get install ") and clone.startswith("git clone ADDRESS ")
    missing = typist.type("\n".join(rest), status=1)
    for name in ("root-ocsp.key", "root-ocsp.crt", "root-ca.crt", "db/index"):
        assert f"  /etc/ssl/ocsp/{name}: the " in missing, missing
    *others, shown = map(typist.type, steps[:3])
    assert shown.endswith(WELL), (others, shown)
    return blocks, shown


def test_from_nothing_to_a_revocation(typist, transcript):
    typist.type_section(APACHE, "A root CA")
    server = certificate(typist.home / "root-ca" / "server.crt")
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["www.example.com"]
    private = typist.home / "root-ca" / "private"
    assert private.stat().st_mode & 0o777 == 0o700
    assert b"ENCRYPTED" in (private / "root-ca.key").read_bytes()

    blocks, shown = installed(typist)
    transcript("install", excerpt("# ocsp-cgi install", shown, "Changed:", "key", "All is well"))
    asked = typist.type(blocks[ASK])
    assert "Response verify OK" in asked and "server.crt: good" in asked
    assert "HTTP/1.1 200 OK" in asked and "text/html" in asked
    typist.type(blocks[REVOKE])
    assert "server.crt: good" in typist.type(blocks[ASK]), "not copied yet"
    typist.type(blocks[ASK - 1])
    asked = typist.type(blocks[ASK])
    assert "server.crt: revoked" in asked and "Reason: superseded" in asked
    explained = typist.type("ocsp-cgi explain root-ca/server.crt")
    command = "$ ocsp-cgi explain server.crt"
    transcript("explain", excerpt(command, explained, "Row ", "Rule "))

    copied_by_the_job(typist)
    renewed_as_it_says(typist, "root-ca")
    issuing_ca(typist)


def copied_by_the_job(typist: Typist) -> None:
    """The section about copying, with a real sshd."""
    typist.machine.sh(f"{CRON}\n{SSHD}")
    make, restrict, confirm = pages.commands(README, "Copying db")
    first, *rest = make.splitlines()
    assert "could not be copied from root@ca.example.com:index" in typist.type(first, status=1)
    *_, key = typist.type("\n".join(rest)).split("ssh-ed25519 ")
    words = restrict.replace("/root/", f"{typist.home}/").replace("AAAA...", key.strip())
    typist.machine.sh(f"printf '%s\\n' '{words.strip()}' >/etc/ssh/authorized_keys")
    assert "[root-ca] unchanged" in typist.type(confirm)
    config = typist.machine.sh("cat /etc/ssl/ocsp-cgi.conf")
    assert "sync_from = root@ca.example.com:index\n" in config and "stale_after = 10\n" in config


def renewed_as_it_says(typist: Typist, ca: str) -> None:
    """Renew a signer with the command in the README, and those that it prints."""
    [renew] = pages.commands(README, "Renewing the signer")
    said = typist.type(renew.replace("root-ca", ca))
    request, issue, fetch, change = re.findall(r"(?m)^     (\S(?:.*\\\n)*.*)$", said)
    for command in (request, f"cd {ca}; {issue}", fetch):
        command = re.sub(r"(root@)?ca\.example\.com:", f"{typist.home}/", command)
        typist.type(command.replace("scp ", "cp "))
    assert f"[{ca}] signs with" in typist.type(change)


def issuing_ca(typist: Typist) -> None:
    """The section about two tiers, on a host that answers for the root already."""
    *steps, ask = pages.commands(APACHE, "An issuing CA")
    *_, checked = map(typist.type, steps)
    assert checked.endswith(WELL), checked
    asked = typist.type(ask)
    assert asked.count("Response verify OK") == 3, asked
    found = re.findall(r"\w+[-.\w]*\.crt: \w+", asked)
    assert found == ["shop.crt: good", "shop.crt: good", "sub-ca.crt: good"]
    shop, sub_ca = (
        certificate(typist.home / "sub-ca" / f"{name}.crt") for name in ("shop", "sub-ca")
    )
    assert shop.issuer == sub_ca.subject and shop.not_valid_after < sub_ca.not_valid_after
    renewed_as_it_says(typist, "sub-ca")
    assert typist.type(ask).count("Response verify OK") == 3


def test_with_other_names_and_rsa(typist, transcript):
    """Names are changed in root-ca.cnf and nowhere else.  The signer is about to expire."""
    path = typist.home / "ocsp-cgi" / "apache" / "root-ca.cnf"
    text = path.read_text()
    names = (('"GB"', '"DK"'), ('"Example"', '"Rødgrød & Søn"'), ("example.com", "sub.example.org"))
    for old, new in names:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path.write_text(text)
    ends = time.time() + 12.5 * 86400
    days = " ".join(
        f"-{name} {time.strftime('%Y%m%d%H%M%SZ', time.gmtime(at))}"
        for name, at in (("startdate", ends - 90 * 86400), ("enddate", ends))
    )
    typist.edit("-newkey ec -pkeyopt ec_paramgen_curve:P-256", "-newkey rsa:2048")
    typist.edit("-extensions ocsp_ext -days 90", f"-extensions ocsp_ext {days}")
    typist.edit(NAME, "ocsp.sub.example.org")
    typist.machine.sh("echo 127.0.0.1 ocsp.sub.example.org >>/etc/hosts")
    typist.type_section(APACHE, "A root CA")
    blocks = pages.commands(README, INSTALL)
    typist.type("\n".join(blocks[0].splitlines()[2:]), status=1)
    *_, found = [typist.type(blocks[1]), typist.type(blocks[2]), typist.type(blocks[3], status=1)]
    assert "expires in 12 days" in found and "ocsp-cgi renew root-ca" in found
    asked = typist.type(blocks[ASK])
    assert "Response verify OK" in asked and "server.crt: good" in asked
    checked = typist.type("ocsp-cgi check", status=1)
    shown = (
        "OCSP",
        "WARN",
        "OK    [root-ca] /etc/ssl/ocsp/root-ca",
        "OK    [root-ca] /etc/ssl/ocsp/db",
    )
    transcript("check", excerpt("# ocsp-cgi check", checked, *shown))


def excerpt(command: str, screen: str, *beginnings: str) -> str:
    """Those lines of a screen that begin so or, in a list of files, are about the key; lines that
    belong to one before them begin with more blanks."""
    lines, is_shown = [command], True
    for line in screen.splitlines():
        belongs = line.startswith("          ") and is_shown
        was_shown = is_shown
        is_shown = belongs or line.startswith(beginnings) or ("key" in beginnings and "key" in line)
        if is_shown:
            lines.append(line)
        elif was_shown:
            lines.append("...")
    return "\n".join(lines) + "\n"


def test_by_hand(typist, pki):
    commands, config = pages.commands(APACHE, "By hand")
    typist.machine.bring_files(pki)
    typist.machine.sh("chmod 644 /etc/ssl/ocsp/*.crt")
    packages, *rest = commands.splitlines()
    assert packages.startswith("apt-get install ")
    typist.edit("systemctl restart apache2", "apache2ctl -k restart")
    typist.type("cd ocsp-cgi\n" + "\n".join(rest))
    typist.machine.sh(f"cat >/etc/ssl/ocsp-cgi.conf <<'END'\n{config}END\n")
    ask = (
        f"cd {pki.home}; openssl ocsp -issuer root-ca.crt -CAfile root-ca.crt -cert bad.crt"
        f" -url http://{NAME}/cgi-bin/ocsp.cgi"
    )
    assert "bad.crt: revoked" in typist.type(ask)


def test_a_key_on_a_token(typist):
    for program in ("softhsm2-util", "pkcs11-tool", "adduser"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    typist.type_section(APACHE, "A root CA")
    blocks = pages.commands(README, INSTALL)
    typist.type("\n".join(blocks[0].splitlines()[2:]), status=1)
    group, token, request, config = pages.commands(APACHE, "A key on a token")
    packages, *rest = group.splitlines()
    assert packages.startswith("apt-get install ")
    stop = "apache2ctl -k stop; while test -e /run/apache2/apache2.pid; do sleep 0.1; done"
    typist.edit("systemctl restart apache2", f"{stop}; apache2ctl -k start")
    typist.type("\n".join(rest))
    typist.answer(rb"SO PIN: *$", "31415926")
    typist.answer(
        rb"(?i)user PIN: *$", typist.machine.sh("cat /etc/ssl/ocsp/root-ocsp.pin").strip()
    )
    typist.type(token)
    *_, send = blocks[1].splitlines()
    typist.type(f"cd /etc/ssl/ocsp\n{request}{send}")
    typist.type(blocks[2])
    typist.machine.sh(f"cat >/etc/ssl/ocsp-cgi.conf <<'END'\n{config}END\n")
    shown = typist.type(blocks[3])
    assert shown.endswith(WELL), shown
    asked = typist.type(blocks[ASK])
    assert "Response verify OK" in asked and "server.crt: good" in asked


def test_a_copy_without_sync(typist, pki):
    """Pushed with its heartbeat, and by scp under another name."""
    push, copy = pages.commands(APACHE, "Copying db")
    incoming, index = typist.home / "incoming", Path("/etc/ssl/ocsp/db/index")
    typist.edit("ocsp.example.com:", f"{typist.home}/")
    typist.type(f"mkdir {incoming}; cd {pki.home}/db; cd - >/dev/null; cp {pki.home}/db/index .")
    typist.type(push)
    typist.type(f"cmp index {incoming}/index; ls {incoming}/heartbeat")
    typist.type(f"mkdir -p root-ca/db {index.parent}; cp index root-ca/db/; {copy}")
    assert (
        typist.machine.sh(f"stat -c '%a %G' {index}; ls {index.parent}") == "640 www-data\nindex\n"
    )
