"""The installed program: the command ocsp-cgi, where it is, and its Python environment."""

from __future__ import annotations

import re

import pytest
from machine import NAME, WELL

pytestmark = [pytest.mark.slow, pytest.mark.root]

COMMAND = "/usr/local/sbin/ocsp-cgi"
UNCHANGED = "Nothing to change: everything is in place.\n"


def test_the_command_knows_where_it_is_installed(new_machine, pki):
    machine = new_machine()
    machine.bring_files(pki)
    config = (
        "[mine]\ndb = ocsp/db\nca = ocsp/root-ca.crt\nrsigner = ocsp/root-ocsp.crt\nrkey ="
        " ocsp/root-ocsp.key\n"
    )
    machine.sh(f"printf '{config}' >/etc/ssl/mine.conf")
    options = ("--prefix", "/opt/other", "--config", "/etc/ssl/mine.conf")
    machine.install("--server-name", NAME, *options)
    assert "ocsp-cgi" in machine.run(COMMAND, "--version").stdout
    assert "[mine]" in machine.run(COMMAND, "check").stdout
    for run in (machine.install(), machine.run(COMMAND, "install")):
        assert (
            run.stdout.replace("/etc/ssl/mine.conf: the config exists, and is left as it is\n", "")
            == UNCHANGED + WELL
        )
    moved = machine.install("--prefix", "/opt/elsewhere", check=False)
    assert moved.returncode == 1
    assert f"{COMMAND}: the program is installed in /opt/other; to move it" in moved.stderr
    machine.run(COMMAND, "install", "--uninstall")
    assert machine.sh(f"ls -d /opt/other {COMMAND} 2>/dev/null || echo none") == "none\n"


@pytest.mark.parametrize(
    "fault",
    [
        "ln -sfn /usr/bin/python3.99 bin/python3",
        "mv lib/python3.* lib/python3.99",
    ],
    ids=["without-its-python", "of-another-version"],
)
def test_an_environment_that_an_upgrade_of_the_distribution_broke(fault, new_machine, pki):
    machine = new_machine("pip and network")
    machine.bring_files(pki)
    machine.install("--server-name", NAME)
    machine.sh(f"cd /opt/ocsp-cgi && {fault}")
    broken = machine.run(COMMAND, "check", "--quiet", check=False)
    assert broken.returncode == 2
    assert f"\n          {COMMAND.rpartition('/')[2]} install" in broken.stdout, broken.stdout
    machine.sh("truncate -s 0 /var/log/apache2/error.log")  # of which `check` would warn
    repaired = machine.run("sh", "-c", f"cd / && {COMMAND} install --upgrade").stdout
    assert "create the virtual environment /opt/ocsp-cgi" in repaired
    assert repaired.endswith(WELL) and "Apache has been reloaded" not in repaired
    machine.sh("/opt/ocsp-cgi/bin/python3 -c 'import cryptography, ocsp_cgi'")
    assert machine.run(COMMAND, "install").stdout == UNCHANGED + WELL


def test_two_runs_at_once_wait_for_each_other(new_machine, pki):
    machine = new_machine()
    machine.bring_files(pki)
    one = f"/usr/bin/python3 -m ocsp_cgi install --server-name {NAME}"
    script = f"{one} >/var/first 2>&1 & {one} >/var/second 2>&1; a=$?; wait $!; echo $a $?"
    assert machine.sh(script) == "0 0\n"
    outputs = sorted(machine.sh(f"cat /var/{name}") for name in ("first", "second"))
    waited = "Waiting for another `install` to end.\n"
    assert outputs[0].startswith("Changed:\n") and outputs[0].endswith(WELL)
    assert outputs[1] == waited + UNCHANGED + WELL


@pytest.mark.parametrize(
    "fault, message",
    [
        ("chmod 777 /opt/ocsp-cgi", "/opt/ocsp-cgi: others than root can write to it"),
        ("chown www-data /opt/ocsp-cgi/installed.json", "installed.json: not owned by root"),
    ],
)
@pytest.mark.parametrize("option", ["--no-reload", "--uninstall"])
def test_a_record_that_others_can_change_is_not_trusted(fault, message, option, new_machine):
    machine = new_machine()
    machine.sh("mkdir /opt/ocsp-cgi; echo precious >/etc/precious")
    machine.sh(
        """cat >/opt/ocsp-cgi/installed.json <<END
{"files": {"/etc/precious": "$(sha256sum /etc/precious | cut -d' ' -f1)"}, "links": {},
"directories": [], "other": {}}
END"""
    )
    machine.sh(fault)
    run = machine.install("--server-name", NAME, option, check=False)
    assert run.returncode == 1 and message in run.stderr
    assert run.stdout == ""
    machine.sh("chmod 755 /opt/ocsp-cgi; chown root /opt/ocsp-cgi/installed.json")
    gone = machine.install("--uninstall").stdout
    assert "/etc/precious: left alone, because `install` never writes such a file\n" in gone
    assert machine.sh("cat /etc/precious") == "precious\n"


def test_a_full_disk_and_what_that_left_behind(new_machine, pki):
    machine = new_machine()
    machine.bring_files(pki)
    prefix = "/opt/ocsp-cgi"
    machine.sh(f"mkdir {prefix}; mount -t tmpfs -o size=1200k,mode=755 full {prefix}")
    full = machine.install("--server-name", NAME, check=False)
    assert full.returncode == 1
    assert re.search(rf": {prefix}/\S+: No space left on device\n$", full.stderr), full.stderr
    assert machine.sh(f"ls -A {prefix}") == ".ocsp_cgi.new\ninstalled.json\n"
    gone = machine.install("--uninstall").stdout
    assert machine.sh(f"ls -A {prefix}") == "", gone
    machine.sh(f"mount -o remount,size=64m {prefix}")
    assert machine.install("--server-name", NAME).stdout.endswith(WELL)
