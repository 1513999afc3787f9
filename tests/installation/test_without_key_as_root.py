"""A host without a key, installed as root: no key is asked for, `ocsp-sync` copies the responses,
and the web server's user can read them."""

from __future__ import annotations

import pytest
from clients import settle
from keyless import signing
from machine import NAME, WELL

pytestmark = [pytest.mark.root, pytest.mark.slow]
CONFIG = """
[root-ca]
db         = ocsp/db
ca         = ocsp/root-ca.crt
rsigner    = ocsp/root-ocsp.crt
cache      = /var/cache/ocsp-cgi
sync_from  = /var/signer/index
cache_from = /var/signer/cache
"""
CRON = "cp /bin/sleep /usr/sbin/cron; nohup cron infinity >/dev/null 2>&1 &"


def test_install_sync_and_check(new_machine, ca):
    host = signing(ca)
    for name in ("good", "bad", "root-ocsp"):
        host.ask(host.request(name))
    settle(host.index)
    machine = new_machine()
    machine.bring_files(ca)
    machine.sh(
        f"{CRON} rm /etc/ssl/ocsp/root-ocsp.key; printf '%s' '{CONFIG}' >/etc/ssl/ocsp-cgi.conf;"
        f" mkdir /var/signer; cp -a {ca.home}/cache /var/signer/cache; chmod -R a+rX /var/signer;"
        f" cp -p {ca.home}/db/index /var/signer/index; touch /var/signer/heartbeat"
    )
    run = machine.install("--server-name", NAME, "--sync-from", "/var/signer/index")
    assert run.stdout.endswith(WELL), run.stdout + run.stderr
    assert "root-ocsp.key" not in run.stdout + run.stderr
    directory = "/etc/ssl/ocsp/db/responses"
    assert machine.sh(f"stat -c '%a %U:%G' {directory}") == "2750 ocsp-sync:www-data\n"
    assert machine.sh(f"find {directory} -name '*.ocsp' | wc -l") == "3\n"
    checked = machine.sh("ocsp-cgi check")
    assert "3 responses valid; the first expires in" in checked
    machine.sh(f"rm -r {directory}")
    assert machine.run("ocsp-cgi", "check", check=False).returncode == 2
    machine.install("--uninstall")
    machine.sh("test -d /etc/ssl/ocsp/db")
