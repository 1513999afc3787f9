"""The README's steps to a key on a token, as root on a machine: SoftHSM from Debian's package."""

from __future__ import annotations

import re
import textwrap

import pytest
from clients import settle
from machine import CHECKOUT, NAME
from tokens import need_softhsm

pytestmark = [pytest.mark.slow, pytest.mark.root]

NOT_HERE = "apt-get install", "systemctl restart"
PIN_OPTIONS = (
    ("--label ocsp\n", '--label ocsp --so-pin 31415926 --pin "$(cat root-ocsp.pin)"\n'),
    ("--login ", '--login --pin "$(cat root-ocsp.pin)" '),
)


def steps() -> list[str]:
    """The blocks of commands in that section."""
    text = (CHECKOUT / "apache" / "README.md").read_text(encoding="utf-8")
    section = text.partition("\n## A key on a token\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"(?:^    .*\n)+", section, re.MULTILINE)
    return [textwrap.dedent(block) for block in blocks]


def test_the_steps_of_the_readme(new_machine, ca):
    need_softhsm()
    machine = new_machine()
    prepare, make, request, config = steps()
    prepare = "".join(line for line in prepare.splitlines(True) if not line.startswith(NOT_HERE))
    for old, new in PIN_OPTIONS:  # which a person types
        assert make.count(old) == 1
        make = make.replace(old, new)
    machine.sh(f"set -e\n{prepare}{make}{request}")
    csr = machine.sh("cat /etc/ssl/ocsp/root-ocsp.csr")
    (ca.home / "root-ocsp.csr").write_text(csr)
    ca.sign("root-ocsp", "ocsp_ext", "90")
    settle(ca.home / "db" / "index")
    machine.bring_files(ca)
    (ca.home / "new.conf").write_text(config)
    machine.sh(f"rm /etc/ssl/ocsp/root-ocsp.key; cp {ca.home}/new.conf /etc/ssl/ocsp-cgi.conf")
    said = machine.install("--server-name", NAME, check=False).stdout
    assert "All is well" in said, said
    check = ("/usr/bin/python3", "-m", "ocsp_cgi", "check")
    assert machine.run(*check).returncode == 0

    machine.sh("echo wrong > /etc/ssl/ocsp/root-ocsp.pin")
    run = machine.run(*check, check=False)
    assert run.returncode == 2
    assert "the token refuses the PIN in /etc/ssl/ocsp/root-ocsp.pin" in run.stdout
