"""install --cache-in-memory: below /run where systemd runs, elsewhere as a line in /etc/fstab."""

from __future__ import annotations

import re
import shutil

import pytest
from machine import NAME, WELL

pytestmark = [pytest.mark.slow, pytest.mark.root]

COMMAND = "/usr/local/sbin/ocsp-cgi"
UNCHANGED = "Nothing to change: everything is in place.\n"
CONFIG = "/etc/ssl/ocsp-cgi.conf"
ENTRY = "/etc/tmpfiles.d/ocsp-cgi.conf"
IN_MEMORY = "/run/ocsp-cgi/cache"
ON_DISK = "/var/cache/ocsp-cgi"
OF_WEB = f"d {IN_MEMORY} 0750 www-data www-data -\n"
# The machine has no systemd, but its systemd-tmpfiles, which needs none.
SYSTEMD = """\
mkdir -p /run/systemd/system
cat >/usr/bin/systemctl <<'END'
#!/bin/sh
case "$1" in
    reload-or-restart) apache2ctl -k graceful;;
    restart) apache2ctl -k restart;;
esac
END
chmod 755 /usr/bin/systemctl
"""


@pytest.fixture
def machine(new_machine, pki):
    machine = new_machine()
    machine.bring_files(pki)
    return machine


@pytest.fixture
def with_systemd(machine):
    if shutil.which("systemd-tmpfiles") is None:
        pytest.skip("systemd-tmpfiles is not installed")
    machine.sh(SYSTEMD)
    return machine


def ask(machine, home) -> str:
    return machine.sh(
        f"cd {home}; openssl ocsp -issuer root-ca.crt -CAfile root-ca.crt -cert bad.crt -no_nonce"
        f" -url http://127.0.0.1/cgi-bin/ocsp.cgi -header Host={NAME} 2>&1"
    )


def modes(machine, directory: str) -> str:
    return machine.sh(f"stat -c '%a %U:%G' {directory}")


def test_a_new_installation_a_reboot_and_the_end(with_systemd, pki):
    machine = with_systemd
    before = machine.listing
    run = machine.install("--server-name", NAME, "--cache-in-memory").stdout
    assert f"  set cache = {IN_MEMORY} for [root-ca] in {CONFIG}\n" in run
    assert run.endswith(WELL), run
    assert machine.install().stdout == UNCHANGED + WELL
    assert machine.install("--cache-in-memory").stdout == UNCHANGED + WELL
    assert machine.sh(f"grep -v '^#' {ENTRY}") == OF_WEB
    assert re.findall(r"cache\w* += .*", machine.sh(f"cat {CONFIG}")) == [
        f"cache   = {IN_MEMORY}",
        "cache_size = 32",
    ]
    assert modes(machine, IN_MEMORY) == "750 www-data:www-data\n"
    assert "bad.crt: revoked" in ask(machine, pki.home)
    assert ".ocsp" in machine.sh(f"ls -R {IN_MEMORY}")

    machine.sh("rm -r /run/ocsp-cgi")  # as a boot does
    seen = machine.run(COMMAND, "check", "--quiet", check=False)
    assert seen.returncode == 1
    assert f"WARN  {IN_MEMORY}: `cache` is not used: what is in /run is lost" in seen.stdout
    [command] = re.findall(r"^ +(systemd-tmpfiles .*)", seen.stdout, re.MULTILINE)
    assert "bad.crt: revoked" in ask(machine, pki.home)
    machine.sh(f"{command}; : >/var/log/apache2/error.log")
    assert machine.run(COMMAND, "check", "--quiet").stdout == ""
    assert modes(machine, IN_MEMORY) == "750 www-data:www-data\n"
    assert modes(machine, "/run/ocsp-cgi") == "755 root:root\n"
    assert "bad.crt: revoked" in ask(machine, pki.home)

    gone = machine.install("--uninstall").stdout
    assert f"\n  remove {ENTRY}\n" in gone
    machine.sh(f"test ! -e {ENTRY} && test ! -e /run/ocsp-cgi")
    assert [line for line in machine.listing if not line.startswith("/etc/ssl/ocsp")] == [
        line for line in before if not line.startswith("/etc/ssl/ocsp")
    ]


def test_an_installation_that_has_a_cache_on_disk_and_back(with_systemd, pki):
    machine = with_systemd
    machine.install("--server-name", NAME)
    assert "bad.crt: revoked" in ask(machine, pki.home)
    machine.sh(f"ls {ON_DISK}/buckets-*")
    machine.sh(f"echo 'cache_size = 5' >>{CONFIG}")
    run = machine.install("--cache-in-memory").stdout
    assert f"\n  empty the cache {ON_DISK}\n" in run and run.endswith(WELL), run
    machine.sh(f"test ! -e {ON_DISK}")
    assert "bad.crt: revoked" in ask(machine, pki.home)
    assert "cache_size = 5\n" in machine.sh(f"cat {CONFIG}")
    assert "cache_size = 32" not in machine.sh(f"cat {CONFIG}")

    machine.sh(f"sed -i 's|{IN_MEMORY}|{ON_DISK}|' {CONFIG}")
    run = machine.install().stdout
    assert f"\n  remove {ENTRY}\n" in run and run.endswith(WELL)
    machine.sh(f"test ! -e {ENTRY}")
    assert modes(machine, ON_DISK) == "750 www-data:www-data\n"


def test_the_responder_gets_another_user(with_systemd, pki):
    machine = with_systemd
    if not machine.sh("ls /usr/lib/apache2/modules/mod_wsgi.so 2>/dev/null || true"):
        pytest.skip("mod_wsgi is not installed (apt-get install libapache2-mod-wsgi-py3)")
    machine.sh("a2dismod --quiet wsgi")
    machine.install("--server-name", NAME, "--cache-in-memory")
    for option, user in (("--wsgi", "ocsp-cgi"), ("--cgi", "www-data")):
        run = machine.install(option).stdout
        assert run.endswith(WELL), run
        assert machine.sh(f"grep -v '^#' {ENTRY}") == OF_WEB.replace("www-data", user)
        machine.sh(f"rm -r /run/ocsp-cgi; systemd-tmpfiles --create {ENTRY}")
        assert modes(machine, IN_MEMORY) == f"750 {user}:{user}\n"
        assert "bad.crt: revoked" in ask(machine, pki.home)
        assert machine.run(COMMAND, "check", "--quiet").stdout == ""


def test_what_nothing_makes_at_boot(with_systemd):
    """A `cache` below /run in a config that was written by hand."""
    machine = with_systemd
    machine.install("--server-name", NAME)
    machine.sh(
        f"sed -i 's|{ON_DISK}|/run/by-hand|' {CONFIG};"
        " install -d -m 750 -o www-data -g www-data /run/by-hand"
    )
    seen = machine.run(COMMAND, "check", "--quiet", check=False)
    assert seen.returncode == 1
    assert "/run/by-hand: `cache` is lost at the next boot, and nothing makes it" in seen.stdout
    assert "\n          ocsp-cgi install\n" in seen.stdout
    assert machine.install().stdout.endswith(WELL)
    assert machine.sh(f"grep -v '^#' {ENTRY}") == "d /run/by-hand 0750 www-data www-data -\n"


def test_without_systemd(machine, pki):
    """What to write into /etc/fstab is said, and works; with another user it has to be changed."""
    run = machine.install("--server-name", NAME, "--cache-in-memory", check=False)
    assert run.returncode == 1
    problem = run.stdout.partition(f"  {ON_DISK}: not in memory yet.  Add a line to /etc/fstab")[2]
    commands = re.findall(r"^    (.*)", problem, re.MULTILINE)
    assert commands == [
        f"printf '%s\\n' 'tmpfs {ON_DISK} tmpfs size=288m,mode=750,uid=www-data,gid=www-data,"
        "nosuid,nodev,noexec 0 0' >>/etc/fstab",
        f"mount {ON_DISK}",
    ]
    machine.sh("\n".join(commands))
    assert machine.install("--cache-in-memory").stdout == UNCHANGED + WELL
    assert modes(machine, ON_DISK) == "750 www-data:www-data\n"
    assert machine.sh(f"stat -f -c %T {ON_DISK}") == "tmpfs\n"
    assert "bad.crt: revoked" in ask(machine, pki.home)
    assert ".ocsp" in machine.sh(f"ls -R {ON_DISK}")
    machine.sh("sed -i s/uid=www-data,gid=www-data/uid=games,gid=games/ /etc/fstab")
    run = machine.install(check=False)
    assert run.returncode == 1
    assert f"/etc/fstab: the file system in {ON_DISK} would be another user's" in run.stdout
    assert "put uid=www-data,gid=www-data into its options" in run.stdout
    gone = machine.install("--uninstall").stdout
    assert f"/etc/fstab: remove the line for {ON_DISK}, and then: umount {ON_DISK}\n" in gone
    assert machine.sh(f"ls -A {ON_DISK}") == ""
