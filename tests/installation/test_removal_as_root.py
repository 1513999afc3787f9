"""--uninstall: what others use stays, and a failure does not end it."""

from __future__ import annotations

import pytest
from machine import NAME

pytestmark = [pytest.mark.slow, pytest.mark.root]

ENABLED = "/etc/apache2/mods-enabled"


def test_cgid_stays_if_others_use_it(new_machine, pki):
    machine = new_machine()
    machine.bring_files(pki)
    machine.install("--server-name", NAME)
    machine.sh(
        "printf '#!/bin/sh\\n' >/usr/lib/cgi-bin/counter; chmod 755 /usr/lib/cgi-bin/counter"
    )
    gone = machine.install("--uninstall").stdout
    assert (
        "the module cgid: left enabled, because /usr/lib/cgi-bin/counter uses it; if not: a2dismod"
        " cgid\n" in gone
    )
    machine.sh(f"test -e {ENABLED}/cgid.load && test ! -e /opt/ocsp-cgi")


def test_a_module_that_was_enabled_before_stays(new_machine):
    machine = new_machine()
    machine.sh("a2enmod --quiet cgid")
    machine.install("--server-name", NAME, check=False)
    machine.install("--uninstall")
    machine.sh(f"test -e {ENABLED}/cgid.load && test ! -e /opt/ocsp-cgi")


def test_it_goes_on_after_a_failure(new_machine, pki):
    machine = new_machine()
    machine.bring_files(pki)
    machine.install("--server-name", NAME)
    site = "/etc/apache2/sites-available/ocsp-cgi.conf"
    machine.sh(f"mount --bind {site} {site}")  # cannot be removed then, not even by root
    failed = machine.install("--uninstall", check=False)
    assert failed.returncode == 1
    assert (
        "These have failed, and the program stays until they work:\n"
        f"  remove {site}: {site}: Device or resource busy\n    rm {site}\n"
        "Then run this again: ocsp-cgi install --uninstall\n" in failed.stdout
    ), failed.stdout
    machine.sh("test ! -e /etc/ssl/ocsp-cgi.conf && test ! -e /usr/lib/cgi-bin/ocsp.cgi")
    machine.sh(f"umount {site}")
    gone = machine.sh("cd / && /usr/local/sbin/ocsp-cgi install --uninstall")
    assert "failed" not in gone
    machine.sh(f"test ! -e {site} && test ! -e /opt/ocsp-cgi && test ! -e /usr/local/sbin/ocsp-cgi")
