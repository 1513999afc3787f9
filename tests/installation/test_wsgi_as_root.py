"""install --wsgi and --cgi: who can read the key, and no request is lost in between."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from pathlib import Path

import pages
import pytest
from machine import NAME, RHEL, WELL

pytestmark = [pytest.mark.slow, pytest.mark.root]

PATH = "/cgi-bin/ocsp.cgi"
SITE = "/etc/apache2/sites-available/ocsp-cgi.conf"
COMMAND = "/usr/local/sbin/ocsp-cgi"
KEY = "/etc/ssl/ocsp/root-ocsp.key"
UNCHANGED = "Nothing to change: everything is in place.\n"
# When Apache is reloaded, mod_cgid's daemon ends at once, with what it has not begun, and for a
# moment the socket of mod_wsgi's processes is not there.
CUT_OFF = ("failed reading PID from cgi daemon", "Unable to connect to WSGI daemon process")
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


def responses(machine, home, path: str = PATH) -> str:
    """What openssl makes of a new response."""
    return machine.sh(
        f"cd {home}; openssl ocsp -issuer root-ca.crt -CAfile root-ca.crt -cert bad.crt"
        f" -url http://127.0.0.1{path} -header Host={NAME} 2>&1"
    )


def is_from_wsgi(machine) -> bool:
    """Whether mod_wsgi has written the last line of the log."""
    line = machine.sh("grep ' ocsp.cgi: ' /var/log/apache2/error.log | tail -n 1")
    return "[wsgi:error]" in line


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
    usual = (" ocsp.cgi: POST ", " ocsp.cgi: GET ", "AH01259", "AH10392", *CUT_OFF)
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
    pattern = "|".join(CUT_OFF)
    cut_off = int(machine.sh(f"grep -cE '{pattern}' /var/log/apache2/error.log || true"))
    others = [one for one in seen["wrong"] if "HTTP status 503" not in one]
    assert others == [], troubles(machine)
    assert len(seen["wrong"]) <= cut_off < 5, seen["wrong"]
    assert min(seen["counts"].values()) > 10, seen
    assert troubles(machine) == []
    assert processes_of(machine, "ocsp-cgi") == 0


def test_a_new_installation_and_its_end(new_machine, wheels, pki):
    """With a virtual environment."""
    machine = new_machine("pip and network")
    machine.sh("a2dismod --quiet wsgi || true")
    before = machine.listing
    dry = machine.install("--dry-run", "--wsgi", "--server-name", NAME).stdout.splitlines()[1:]
    assert machine.listing == before
    first = machine.install("--wsgi", "--server-name", NAME, check=False)
    assert [line for line in first.stdout.splitlines() if line in dry] == dry
    assert "  create the user ocsp-cgi, in the group www-data" in dry
    assert "\nStill to be done:\n" in first.stdout
    assert "cgid" not in first.stdout
    machine.bring_files(pki)
    assert machine.install().stdout.endswith(WELL)
    assert machine.install().stdout == UNCHANGED + WELL
    [commands] = pages.commands(pages.APACHE, "mod_wsgi")
    again = commands.splitlines()[1].replace("ocsp-cgi", COMMAND, 1)
    assert machine.sh(again) == UNCHANGED + WELL
    assert modes(machine) == WSGI_MODES
    assert " python-home=/opt/ocsp-cgi" in machine.sh(f"grep ^WSGIDaemonProcess {SITE}")
    assert "bad.crt: revoked" in responses(machine, pki.home)
    assert is_from_wsgi(machine)
    assert processes_of(machine, "ocsp-cgi") == 2
    assert machine.sh("id -nG ocsp-cgi") == "ocsp-cgi www-data\n"
    assert machine.run("runuser", "-u", "www-data", "cat", KEY, check=False).returncode == 1

    # a new version of the program is loaded
    machine.sh("echo '# old' >>/opt/ocsp-cgi/ocsp_cgi/page.py")
    assert "Apache has been reloaded.\n" + WELL in machine.install().stdout
    assert troubles(machine) == []

    gone = machine.install("--uninstall")
    assert "failed" not in gone.stdout and "left" not in gone.stdout, gone.stdout
    assert "ocsp-cgi" not in machine.sh("cat /etc/passwd /etc/group")
    accounts = (f"/etc/{name}" for name in ("passwd", "group", "shadow", "gshadow", "sub", ".pwd"))
    own = ("/etc/ssl/ocsp ", "/etc/ssl/ocsp/", *accounts)
    assert [line for line in machine.listing if not line.startswith(own)] == [
        line for line in before if not line.startswith(own)
    ]
    assert machine.sh(f"stat -c '%a %U:%G' {KEY}") == "640 root:root\n"
    assert machine.run("id", "ocsp-cgi", check=False).returncode == 1


def test_a_new_installation_that_fails_half_way(machine, pki):
    """Apache goes on to accept its configuration, and `install` to run."""
    machine.sh("groupadd ocsp-cgi")
    failed = machine.install("--wsgi", "--server-name", NAME, check=False)
    assert failed.returncode == 1 and "useradd: group ocsp-cgi exists" in failed.stderr
    machine.sh("groupdel ocsp-cgi; apache2ctl -t")
    assert machine.install("--wsgi", "--server-name", NAME).stdout.endswith(WELL)
    machine.sh("apache2ctl -k stop; sleep 1; userdel ocsp-cgi; rm /usr/lib/cgi-bin/ocsp.wsgi")
    refused = machine.install(check=False)
    assert "Apache refuses its configuration, so" in refused.stderr
    assert "bad user name ocsp-cgi" in refused.stderr


def test_what_would_not_work_changes_nothing(machine, pki):
    machine.install("--server-name", NAME)

    def refused(*options: str) -> str:
        before = machine.listing
        run = machine.install(*options, check=False)
        assert (run.returncode, run.stdout) == (1, ""), run.stdout
        assert machine.listing == before
        assert modes(machine) == CGI_MODES
        return run.stderr

    assert "Apache must be reloaded: without --no-reload" in refused("--wsgi", "--no-reload")
    machine.sh(f"cp -p {SITE} /var/site; echo '# mine' >>{SITE}")
    said = refused("--wsgi")
    assert f"{SITE}: has been changed since it was written" in said
    assert f"install --server-name {NAME}\n" in said
    machine.sh(f"cp -p /var/site {SITE}")
    other = "/etc/apache2/sites-enabled/other.conf"
    machine.sh(
        f"cat >{other} <<END\n<VirtualHost *:80>\nServerName other.example.com\n"
        f"ScriptAlias /ocsp /usr/lib/cgi-bin/ocsp.cgi\n</VirtualHost>\nEND"
    )
    assert f"{other}:3: this leads to /usr/lib/cgi-bin/ocsp.cgi, too" in refused("--wsgi")
    machine.sh(f"rm {other}")
    modules = "/usr/lib/apache2/modules"
    machine.sh(f"cp {modules}/mod_wsgi.so /var/mod_wsgi.so; rm {modules}/mod_wsgi.so")
    assert (
        "Apache's module mod_wsgi is missing: apt-get install libapache2-mod-wsgi-py3\n"
        in refused("--wsgi")
    )
    # As if it were built for another Python.
    machine.sh(f"sed s/libpython3.11/libpython3.99/ /var/mod_wsgi.so >{modules}/mod_wsgi.so")
    said = refused("--wsgi")
    assert "this mod_wsgi runs Python 3.99, and the responder has Python 3." in said
    assert machine.install("--cgi").stdout == UNCHANGED + WELL


# The first breaks mod_wsgi's own processes alone, the second Apache as soon as it is loaded.
@pytest.mark.parametrize("more", ["WSGIRestrictEmbedded On", ""], ids=["processes", "Apache"])
def test_if_mod_wsgi_does_not_answer_everything_is_put_back(more, machine, pki):
    machine.install("--server-name", NAME)
    machine.sh("cd /etc/ssl/ocsp; chown www-data:www-data root-ocsp.key; chmod 600 root-ocsp.key")
    owners = modes(machine)
    machine.sh(
        f"printf 'WSGIPythonHome /nowhere\\n{more}\\n' >/etc/apache2/mods-available/wsgi.conf"
    )
    before = machine.listing
    run = machine.install("--wsgi", check=False)
    assert run.returncode == 1
    assert "\nSo the CGI is in its place again, as before.\n" in run.stderr
    assert modes(machine) == owners
    assert "bad.crt: revoked" in responses(machine, pki.home)
    assert not is_from_wsgi(machine)
    assert machine.run("id", "ocsp-cgi", check=False).returncode == 1
    changed = ("/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow", "installed.json")
    changed += ("/etc/subuid", "/etc/subgid", "/etc/.pwd.lock", "/var/cache/ocsp-cgi/")
    assert [line for line in machine.listing if not any(one in line for one in changed)] == [
        line for line in before if not any(one in line for one in changed)
    ]
    assert machine.install().stdout.startswith(UNCHANGED)


def test_if_the_cgi_does_not_answer_mod_wsgi_is_put_back(machine, pki):
    machine.install("--server-name", NAME, "--wsgi")
    machine.sh("chmod 644 /opt/ocsp-cgi/ocsp.cgi")
    run = machine.install("--cgi", check=False)
    assert run.returncode == 1
    assert "HTTP status 500" in run.stderr
    assert "\nSo mod_wsgi is in its place again, as before.\n" in run.stderr
    assert modes(machine) == WSGI_MODES
    assert "bad.crt: revoked" in responses(machine, pki.home)
    assert is_from_wsgi(machine)
    assert machine.install().stdout.startswith(UNCHANGED)


@pytest.mark.parametrize("path", ["/ocsp", "/"])
def test_another_path(path, machine, pki):
    machine.install("--server-name", NAME, "--path", path)
    assert machine.install("--wsgi").stdout.endswith(WELL)
    assert "bad.crt: revoked" in responses(machine, pki.home, path)
    assert is_from_wsgi(machine)
    assert machine.install().stdout == UNCHANGED + WELL
    assert machine.install("--cgi").stdout.endswith(WELL)
    assert "bad.crt: revoked" in responses(machine, pki.home, path)


def test_included_in_another_virtual_host(machine, pki):
    host = "/etc/apache2/sites-enabled/intranet.conf"
    machine.sh(
        f"cat >{host} <<'END'\n<VirtualHost *:80>\nServerName {NAME}\n"
        'IncludeOptional "/etc/ocsp-cgi/*.conf"\n</VirtualHost>\nEND'
    )
    assert machine.install("--server-name", NAME, "--include").stdout.endswith(WELL)
    with asked(machine, pki.home) as seen:
        assert machine.install("--wsgi").stdout.endswith(WELL)
        assert machine.install().stdout == UNCHANGED + WELL
        assert modes(machine) == WSGI_MODES
        assert machine.sh("ls /etc/ocsp-cgi /etc/apache2/sites-enabled").split() == [
            *("/etc/apache2/sites-enabled:", "000-default.conf", "intranet.conf", "ocsp-cgi.conf"),
            *("/etc/ocsp-cgi:", "apache.conf"),
        ]
        assert machine.install("--cgi").stdout.endswith(WELL)
        assert machine.install().stdout == UNCHANGED + WELL
        machine.sh(f"test ! -e {SITE}")
    assert [one for one in seen["wrong"] if "HTTP status 503" not in one] == []
    assert troubles(machine) == []
    assert "bad.crt: revoked" in responses(machine, pki.home)
    assert machine.install("--wsgi").stdout.endswith(WELL)
    assert "failed" not in machine.install("--uninstall").stdout
    machine.sh(f"test ! -e {SITE} && test ! -e /etc/ocsp-cgi && test ! -e /opt/ocsp-cgi")


def test_layout_of_rhel(machine, pki):
    machine.sh(RHEL)
    machine.install("--server-name", NAME)
    missing = machine.install("--wsgi", check=False)
    assert "Apache's module mod_wsgi is missing: dnf install python3-mod_wsgi\n" in missing.stderr
    machine.sh(
        # Debian's Apache would put its sockets elsewhere.
        "printf 'LoadModule wsgi_module modules/mod_wsgi.so\\nWSGISocketPrefix run/wsgi\\n'"
        " >/etc/httpd/conf.modules.d/10-wsgi-python3.conf; httpd -k graceful; sleep 2"
    )
    assert machine.install("--wsgi").stdout.endswith(WELL)
    keys = "stat -c '%a %U:%G' /etc/ssl/ocsp /etc/ssl/ocsp/root-ocsp.key /var/cache/ocsp-cgi"
    assert machine.sh(keys) == "750 root:apache\n640 root:ocsp-cgi\n750 ocsp-cgi:ocsp-cgi\n"
    assert machine.install().stdout == UNCHANGED + WELL
    assert machine.install("--cgi").stdout.endswith(WELL)
    assert machine.sh(keys) == "750 root:apache\n640 root:apache\n750 apache:apache\n"


def test_keys_of_the_same_installation_later(machine, pki):
    """The next signer's key, and one that is readable for the web server by mistake, also after a
    renewal: it can sign until its certificate expires."""
    machine.install("--server-name", NAME, "--wsgi")
    machine.sh(f"cd / && {COMMAND} renew root-ca")
    new = "/etc/ssl/ocsp/root-ocsp-20*.key"
    assert machine.sh(f"stat -c '%a %U:%G' {new}") == "640 root:ocsp-cgi\n"
    machine.sh(f"chgrp www-data {KEY}")
    seen = machine.run(COMMAND, "check", "--quiet", check=False)
    assert seen.returncode == 1
    assert f"WARN  {KEY}: www-data can read `rkey` of [root-ca], so anyone with" in seen.stdout
    assert f"\n          chown root:ocsp-cgi {KEY} && chmod 640 {KEY}\n" in seen.stdout
    assert machine.install().stdout.endswith(WELL)
    assert modes(machine) == WSGI_MODES
    former = "/etc/ssl/ocsp/former.key"
    machine.sh(
        f"cp -p {KEY} {former}; chgrp www-data {former};"
        f" sed -i '/^rkey/i # rkey before 2026-11-29 = ocsp/former.key' /etc/ssl/ocsp-cgi.conf"
    )
    seen = machine.run(COMMAND, "check", "--quiet", check=False)
    assert f"WARN  {former}: www-data can read the former `rkey` of [root-ca], so" in seen.stdout
    assert machine.install().stdout.endswith(WELL)
    assert machine.sh(f"stat -c '%a %U:%G' {former}") == "640 root:ocsp-cgi\n"
    compared = machine.run(COMMAND, "compare", check=False)
    assert compared.returncode == 0, compared.stdout + compared.stderr

    # Made for mod_wsgi's user, it is read by the CGI's when it signs.
    machine.install("--cgi")
    machine.sh(
        f"cp -a {pki.home} /var/ca; cd /var/ca; openssl ca -batch -config root-ca.cnf -extensions"
        " ocsp_ext -days 90 -in /etc/ssl/ocsp/root-ocsp-20*.csr -out /var/next.crt"
    )
    machine.sh(f"cd / && {COMMAND} renew root-ca --certificate /var/next.crt")
    assert machine.sh(f"stat -c '%a %U:%G' {new}") == "640 root:www-data\n"
    assert "bad.crt: revoked" in responses(machine, pki.home)


def test_a_key_elsewhere_gets_its_owner_back(machine, pki):
    key = "/etc/our-keys/ocsp.key"
    machine.sh(
        f"mkdir /etc/our-keys; mv /etc/ssl/ocsp/root-ocsp.key {key}; chmod 700 /etc/our-keys"
    )
    config = "/etc/ssl/ocsp-cgi.conf"
    machine.sh(
        f"printf '[root-ca]\ndb = ocsp/db\nca = ocsp/root-ca.crt\nrsigner = ocsp/root-ocsp.crt\n"
        f"rkey = {key}\n' >{config}"
    )
    of = f"stat -c '%a %U:%G' /etc/our-keys {key}"
    assert machine.install("--server-name", NAME).stdout.endswith(WELL)
    assert machine.sh(of) == "710 root:www-data\n640 root:www-data\n"
    assert machine.install("--wsgi").stdout.endswith(WELL)
    assert machine.sh(of) == "710 root:www-data\n640 root:ocsp-cgi\n"
    assert machine.install("--cgi").stdout.endswith(WELL)
    assert machine.sh(of) == "710 root:www-data\n640 root:www-data\n"
    machine.install("--uninstall")
    assert machine.sh(of) == "700 root:root\n600 root:root\n"
