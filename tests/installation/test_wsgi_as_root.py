"""install --wsgi and --cgi: who can read the key, and no request is lost in between."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from pathlib import Path

import pytest
from machine import NAME, WELL

pytestmark = [pytest.mark.slow, pytest.mark.root]

PATH = "/cgi-bin/ocsp.cgi"
SITE = "/etc/apache2/sites-available/ocsp-cgi.conf"
UNCHANGED = "Nothing to change: everything is in place.\n"
ASKING = Path(__file__).resolve().parent.parent / "asking.py"
MODES = "/etc/ssl/ocsp /etc/ssl/ocsp/root-ocsp.key /etc/ssl/ocsp/db/index /var/cache/ocsp-cgi"
CGI_MODES = """\
750 root:www-data /etc/ssl/ocsp
640 root:www-data /etc/ssl/ocsp/root-ocsp.key
640 root:www-data /etc/ssl/ocsp/db/index
750 www-data:www-data /var/cache/ocsp-cgi
"""
WSGI_MODES = """\
750 root:www-data /etc/ssl/ocsp
640 root:ocsp-cgi /etc/ssl/ocsp/root-ocsp.key
640 root:www-data /etc/ssl/ocsp/db/index
750 ocsp-cgi:ocsp-cgi /var/cache/ocsp-cgi
"""


@pytest.fixture
def machine(new_machine, pki):
    machine = new_machine()
    if not machine.sh("ls /usr/lib/apache2/modules/mod_wsgi.so 2>/dev/null || true"):
        pytest.skip("mod_wsgi is not installed (apt-get install libapache2-mod-wsgi-py3)")
    machine.sh("a2dismod --quiet wsgi")
    machine.bring_files(pki)
    return machine


def modes(machine) -> str:
    return machine.sh(f"stat -c '%a %U:%G %n' {MODES}")


def processes_of(machine, user: str) -> int:
    return int(machine.sh(f"ps -o pid= -u {user} | wc -l"))


@contextlib.contextmanager
def asked(machine, home, path: str = PATH):
    """Clients ask all the time inside the `with`; yields what they got, after it."""
    result: dict[str, object] = {}

    def ask() -> None:
        run = machine.run("/usr/bin/python3", str(ASKING), str(home), NAME, path, "/run/stop")
        result.update(json.loads(run.stdout))

    machine.sh("rm -f /run/stop")
    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield result
    finally:
        machine.sh("touch /run/stop")
        thread.join()


def troubles(machine) -> list[str]:
    """Lines of the logs that say that something went wrong."""
    lines = machine.sh("cat /var/log/apache2/*.log").splitlines()
    # AH10392: Apache has more idle processes than it needs.  AH01259: a CGI has ended while
    # mod_cgid's daemon is replaced, and nothing here is an `init`, which would reap it.

    usual = (" ocsp.cgi: POST ", " ocsp.cgi: GET ", "AH01259", "AH10392")
    return [
        line
        for line in lines
        if re.search(r"ocsp\.cgi: (error|warning)|:(warn|error|crit|alert|emerg)\] ", line)
        and not any(one in line for one in usual)
    ]


@pytest.mark.parametrize("mpm", ["event", "prefork"])
def test_no_request_is_lost_there_and_back(machine, pki, mpm):
    if mpm == "prefork":
        machine.sh("a2dismod --quiet --force mpm_event cgid 2>&1; a2enmod --quiet mpm_prefork")
    machine.install("--server-name", NAME)
    assert modes(machine) == CGI_MODES
    with asked(machine, pki.home) as seen:
        for _ in range(2):
            over = machine.install("--wsgi")
            assert over.stdout.endswith(WELL)
            assert modes(machine) == WSGI_MODES
            back = machine.install("--cgi")
            assert back.stdout.endswith(WELL)
            assert modes(machine) == CGI_MODES
    assert seen["wrong"] == [], troubles(machine)
    assert min(seen["counts"].values()) > 10, seen
    assert troubles(machine) == []
    assert processes_of(machine, "ocsp-cgi") == 0
