"""install --wsgi and --cgi that are interrupted, or fail half-way: clients are answered all the
same, nobody can read a key who should not, and the next `install` finishes what was begun."""

from __future__ import annotations

import sys

import pytest
from machine import NAME, WELL
from test_wsgi_as_root import (
    CGI_MODES,
    SITE,
    UNCHANGED,
    WSGI_MODES,
    asked,
    is_from_wsgi,
    machine,
    modes,
    processes_of,
    responses,
    troubles,
)

__all__ = ["machine"]  # a fixture

pytestmark = [pytest.mark.slow, pytest.mark.root]

KEY = "/etc/ssl/ocsp/root-ocsp.key"
# What `install` runs to reload Apache, which here does something else instead on demand.
CONTROL = """\
mv /usr/sbin/apache2ctl /usr/lib/apache2ctl
cat >/usr/sbin/apache2ctl <<'END'
#!/bin/sh
if [ "$*" = "-k graceful" ] && [ -e /run/instead ]; then . /run/instead; fi
exec /usr/lib/apache2ctl "$@"
END
chmod 755 /usr/sbin/apache2ctl
"""


def instead(machine, script: str) -> None:
    """What happens instead of a graceful reload."""
    machine.sh(f"cat >/run/instead <<'END'\n{script}\nEND")


def interrupted(machine, *options: str):
    command = ("env", "--default-signal=INT", sys.executable, "-m", "ocsp_cgi", "install")
    return machine.run(*command, *options, check=False)


def test_interrupted_before_apache_is_reloaded(machine, pki):
    machine.install("--server-name", NAME)
    machine.sh(CONTROL)
    with asked(machine, pki.home) as seen:
        instead(machine, f"if grep -q WSGIDaemonProcess {SITE}; then kill -INT $PPID; exit 1; fi")
        stopped = interrupted(machine, "--wsgi")
        assert stopped.returncode == 130, stopped
        assert stopped.stderr == (
            "The change was interrupted.\nSo the CGI is in its place again, as before.\n"
        )
        assert modes(machine) == CGI_MODES
        assert machine.run("id", "ocsp-cgi", check=False).returncode == 1
        assert machine.install().stdout == UNCHANGED + WELL
        assert not is_from_wsgi(machine)

        instead(machine, f"if grep -q WSGIDaemonProcess {SITE}; then kill -KILL $PPID; exit 1; fi")
        killed = interrupted(machine, "--wsgi")
        assert killed.returncode in (-9, 137), killed
        assert "WSGIDaemonProcess" in machine.sh(f"cat {SITE}")
        machine.sh("rm /run/instead")
        other = machine.install("--cgi", check=False)
        assert "--wsgi was interrupted.  Finish that first" in other.stderr
        again = machine.install()
        assert again.stdout.startswith("--wsgi was interrupted before it was complete,")
        assert again.stdout.endswith(WELL)
        assert modes(machine) == WSGI_MODES
        assert machine.install().stdout == UNCHANGED + WELL
    assert [one for one in seen["wrong"] if "HTTP status 503" not in one] == [], troubles(machine)
    assert troubles(machine) == []
    assert "bad.crt: revoked" in responses(machine, pki.home)
    assert is_from_wsgi(machine)


def test_what_fails_leaves_the_key_to_mod_wsgi(machine, pki):
    machine.install("--server-name", NAME, "--wsgi")
    machine.sh(CONTROL)

    # no room in the cache for what both users are to write to
    cache = "/var/cache/ocsp-cgi"
    machine.sh(f"mount -t tmpfs -o nr_inodes=3,mode=750 cache {cache}; chown ocsp-cgi: {cache}")
    full = machine.install("--cgi", check=False)
    assert full.returncode == 1
    assert "No space left on device" in full.stderr
    assert f"640 root:ocsp-cgi {KEY}\n" in modes(machine)
    machine.sh(f"umount {cache}")
    assert machine.install().stdout.endswith(WELL)
    assert modes(machine) == WSGI_MODES

    # Apache is not reloaded, neither for the change nor for putting it back
    instead(machine, "echo no reload today; exit 1")
    failed = machine.install("--cgi", check=False)
    assert failed.returncode == 1
    first, _, second = failed.stderr.partition("\nmod_wsgi could not be put back in its place")
    assert "no reload today" in first and "no reload today" in second
    assert second.endswith("\nFix that, and run this again.\n")
    assert modes(machine) == WSGI_MODES
    machine.sh("test ! -e /usr/lib/cgi-bin/ocsp.cgi")
    assert "bad.crt: revoked" in responses(machine, pki.home)
    assert is_from_wsgi(machine)
    machine.sh("rm /run/instead")
    assert machine.install("--cgi").stdout.endswith(WELL)
    assert modes(machine) == CGI_MODES
    assert processes_of(machine, "ocsp-cgi") == 0
    assert machine.install().stdout == UNCHANGED + WELL


def test_a_key_that_cannot_be_changed_is_refused_before_anything_is(machine, pki):
    key = "/etc/our-keys/ocsp.key"
    machine.sh(f"mkdir /etc/our-keys; mv {KEY} {key}; groupadd --system certs")
    machine.sh(f"usermod -aG certs www-data; chgrp certs {key}; chmod 640 {key}")
    machine.sh(
        "printf '[root-ca]\ndb = ocsp/db\nca = ocsp/root-ca.crt\nrsigner = ocsp/root-ocsp.crt\n"
        f"rkey = {key}\n' >/etc/ssl/ocsp-cgi.conf"
    )
    assert machine.install("--server-name", NAME).stdout.endswith(WELL)
    before = machine.listing

    group = machine.install("--wsgi", check=False)
    assert f"{key} (root:certs, mode 640): ocsp-cgi could not read it" in group.stderr
    command = f"chgrp www-data {key} && chmod 640 {key}"
    assert group.stderr.endswith(f"\n    {command}\n")
    assert machine.listing == before

    machine.sh(f"{command}; ln {key} {key}.old")
    before = machine.listing
    link = machine.install("--wsgi", check=False)
    assert f"{key}: has a second name (a hard link)" in link.stderr
    assert machine.listing == before
    machine.sh(link.stderr.splitlines()[-1])
    assert machine.install("--wsgi").stdout.endswith(WELL)
    assert machine.sh(f"stat -c '%a %U:%G %h' {key}") == "640 root:ocsp-cgi 1\n"


def test_a_cache_of_the_new_user_is_not_left_open(machine, pki):
    machine.install("--server-name", NAME)
    machine.sh("useradd --system --user-group --no-create-home -G www-data ocsp-cgi")
    machine.sh("chown -R ocsp-cgi: /var/cache/ocsp-cgi; chmod 750 /var/cache/ocsp-cgi")
    assert machine.install("--wsgi").stdout.endswith(WELL)
    assert modes(machine) == WSGI_MODES
