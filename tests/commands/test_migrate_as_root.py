"""`migrate`, really run as root on a Debian with its own Apache; only the script is named."""

from __future__ import annotations

import pages
import pytest
from machine import NAME

pytestmark = [pytest.mark.slow, pytest.mark.root]

SCRIPT = """\
#!/bin/bash
INDEX="/srv/ca/db/index"
CA="/etc/ssl/certs/my-ca.crt"
if [ "${CONTENT_TYPE}" = "application/ocsp-request" ]; then
  printf "Content-Type: application/ocsp-response\\r\\n\\r\\n"
  cat | openssl ocsp -index "$INDEX" -CA "$CA" -rkey /etc/ssl/private/my-ocsp.key \\
      -rsigner /etc/ssl/certs/my-ocsp.crt -nmin 5 -reqin /dev/stdin -respout /dev/stdout | cat
else printf "Content-Type: text/html\\r\\n\\r\\n<html>OCSP</html>"; fi
"""
ASK = (
    "cd {home}; openssl ocsp -issuer root-ca.crt -CAfile root-ca.crt -cert bad.crt"
    " -url http://localhost/cgi-bin/ocsp.cgi 2>&1"
)


def test_migrate_there_and_back(new_machine, pki):
    machine = new_machine()
    machine.install("--server-name", NAME, check=False)  # nothing is there yet
    machine.sh(
        "rm /usr/lib/cgi-bin/ocsp.cgi; mkdir -p /srv/ca/db; chgrp www-data /etc/ssl/private;"
        f" chmod 710 /etc/ssl/private; cd {pki.home};"
        " cp -p db/index /srv/ca/db/; cp root-ca.crt /etc/ssl/certs/my-ca.crt;"
        " cp root-ocsp.crt /etc/ssl/certs/my-ocsp.crt;"
        " cp private/root-ocsp.key /etc/ssl/private/my-ocsp.key;"
        " chgrp www-data /etc/ssl/private/my-ocsp.key; chmod 640 /etc/ssl/private/my-ocsp.key;"
        f" cat >/usr/lib/cgi-bin/ocsp.cgi <<'END'\n{SCRIPT}END\n"
        "chmod 755 /usr/lib/cgi-bin/ocsp.cgi"
    )
    assert "bad.crt: revoked" in machine.sh(ASK.format(home=pki.home))
    [command] = pages.commands(pages.README, "Moving from the shell script")
    command = command.strip().replace("ocsp-cgi", "/usr/local/sbin/ocsp-cgi", 1)
    migrated = machine.sh(command)
    assert "http://localhost/cgi-bin/ocsp.cgi has answered." in migrated
    assert "000-default.conf, in <VirtualHost *:80> (line 1):\n      AllowEncod" in migrated
    config = machine.sh("cat /etc/ssl/ocsp-cgi.conf")
    assert config == (
        "[my-ca]\n"
        "db      = /srv/ca/db/index\n"
        "ca      = /etc/ssl/certs/my-ca.crt\n"
        "rsigner = /etc/ssl/certs/my-ocsp.crt\n"
        "rkey    = /etc/ssl/private/my-ocsp.key\n"
        "nmin    = 5\n"
        "cache   = /var/cache/ocsp-cgi\n"
    )
    assert machine.sh("readlink /usr/lib/cgi-bin/ocsp.cgi") == "/opt/ocsp-cgi/ocsp.cgi\n"
    assert "bad.crt: revoked" in machine.sh(ASK.format(home=pki.home))
    assert machine.sh("ls -A /var/cache/ocsp-cgi; tail -1 /var/log/apache2/error.log")
    machine.sh(f"{command} --back")
    assert machine.sh("cat /usr/lib/cgi-bin/ocsp.cgi") == SCRIPT
    assert "bad.crt: revoked" in machine.sh(ASK.format(home=pki.home))

    # One of another name goes with the program, and the operator learns where the script is.
    machine.sh("cd /usr/lib/cgi-bin; cp -p ocsp.cgi old.cgi")
    machine.sh(command.replace("cgi-bin/ocsp.cgi", "cgi-bin/old.cgi"))
    gone = machine.install("--uninstall").stdout
    kept = "/usr/lib/cgi-bin/old.cgi.before-migration/old.cgi"
    back = f"mv -f {kept} /usr/lib/cgi-bin/old.cgi"
    assert f"{kept}: your old script; to put it back: {back}\n" in gone
    assert machine.sh("ls /usr/lib/cgi-bin") == "ocsp.cgi\nold.cgi.before-migration\n"
    machine.sh(back)
