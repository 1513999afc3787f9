"""Owners and modes of what the config names outside of /etc/ssl/ocsp."""

from __future__ import annotations

import pytest
from machine import NAME, WELL

pytestmark = [pytest.mark.slow, pytest.mark.root]

CONFIG = """\
[root-ca]
db = /srv/ca/db
ca = /etc/ssl/certs/our-ca.crt
rsigner = /etc/ssl/certs/our-ocsp.crt
rkey = {key}
"""


@pytest.fixture
def elsewhere(new_machine, pki):
    """elsewhere(key): a machine with a config whose files are in directories of the system, the key
    at that path."""

    def make(key: str):
        machine = new_machine()
        machine.sh(
            f"umask 077; printf '%s' '{CONFIG.format(key=key)}' >/etc/ssl/ocsp-cgi.conf;"
            " mount -t tmpfs tmpfs /srv; chmod 755 /srv; mkdir -p /srv/ca/db;"
            f" cd {pki.home}; cp root-ca.crt /etc/ssl/certs/our-ca.crt;"
            " cp root-ocsp.crt /etc/ssl/certs/our-ocsp.crt; cp -p db/index /srv/ca/db/;"
            f" chmod 600 /srv/ca/db/index; mkdir -p $(dirname {key});"
            f" cp private/root-ocsp.key {key}"
        )
        return machine

    return make


def modes(machine, *paths: str) -> list[str]:
    return machine.run("stat", "-c", "%a %U:%G %n", *paths).stdout.splitlines()


def test_only_what_keeps_the_web_server_out_is_changed_and_set_back(elsewhere):
    key = "/etc/our-keys/ocsp.key"
    machine = elsewhere(key)
    paths = (key, "/etc/our-keys", "/srv/ca", "/srv/ca/db", "/srv/ca/db/index", "/etc/ssl/certs")
    before = modes(machine, *paths)
    assert machine.install("--server-name", NAME).stdout.endswith(WELL)
    assert modes(machine, *paths) == [
        f"640 root:www-data {key}",
        "710 root:www-data /etc/our-keys",
        "710 root:www-data /srv/ca",
        "710 root:www-data /srv/ca/db",
        "640 root:www-data /srv/ca/db/index",
        "755 root:root /etc/ssl/certs",
    ]
    machine.sh("chmod 644 /srv/ca/db/index")  # the operator's own change
    gone = machine.install("--uninstall").stdout
    assert f"\n  chown root:root, chmod 600: {key}, as it was\n" in gone
    before[4] = "644 root:www-data /srv/ca/db/index"
    assert modes(machine, *paths) == before


def test_a_directory_of_the_system_is_reported_and_not_opened(elsewhere):
    key = "/etc/ssl/private/our-ocsp.key"
    machine = elsewhere(key)
    machine.sh("chown root:root /etc/ssl/private; chmod 700 /etc/ssl/private")
    run = machine.install("--server-name", NAME, check=False)
    assert run.returncode == 1
    assert (
        "\n  /etc/ssl/private (root:root, mode 700): www-data cannot enter it, and it is not the"
        " responder's to open." in run.stdout
    )
    assert "\n    setfacl -m u:www-data:x /etc/ssl/private\n" in run.stdout
    assert modes(machine, "/etc/ssl/private") == ["700 root:root /etc/ssl/private"]


def test_a_key_that_everybody_can_read(elsewhere):
    key = "/etc/our-keys/ocsp.key"
    machine = elsewhere(key)
    machine.sh(f"chmod 755 /etc/our-keys; chmod 644 {key}")
    assert machine.install("--server-name", NAME).stdout.endswith(WELL)
    assert modes(machine, key) == [f"640 root:www-data {key}"]


def test_the_files_of_a_second_signer(elsewhere):
    """What is missing is named with its setting; what is there, the web server can read."""
    key, second = "/etc/our-keys/ocsp.key", "/etc/our-keys/rsa.key"
    machine = elsewhere(key)
    machine.sh(
        "printf 'rsigner2 = /etc/ssl/certs/our-rsa.crt\nrkey2 = /etc/our-keys/rsa.key\n"
        "passin2 = /etc/our-keys/phrase\n' >>/etc/ssl/ocsp-cgi.conf"
    )
    run = machine.install("--server-name", NAME, check=False)
    assert run.returncode == 1
    assert f"\n  {second}: the key.  Create it and a certificate request:\n" in run.stdout
    assert "\n  /etc/ssl/certs/our-rsa.crt: the signer's certificate." in run.stdout
    assert (
        f"\n  /etc/our-keys/phrase: the file with the pass phrase of {second}, which `passin2`"
        in run.stdout
    )
    machine.sh(
        "umask 077; cd /etc/our-keys; printf 'secret\n' >phrase;"
        " openssl pkey -aes256 -passout file:phrase -in ocsp.key -out rsa.key;"
        " cp /etc/ssl/certs/our-ocsp.crt /etc/ssl/certs/our-rsa.crt"
    )
    assert machine.install().stdout.endswith(WELL)
    assert modes(machine, key, second, "/etc/our-keys/phrase", "/etc/ssl/certs/our-rsa.crt") == [
        f"640 root:www-data {key}",
        f"640 root:www-data {second}",
        "640 root:www-data /etc/our-keys/phrase",
        "644 root:root /etc/ssl/certs/our-rsa.crt",
    ]


def test_a_key_that_is_no_file_is_not_looked_for(elsewhere):
    machine = elsewhere("/etc/our-keys/ocsp.key")
    machine.sh("sed -i 's/^rkey = .*/rkey = pkcs11:token=ocsp/' /etc/ssl/ocsp-cgi.conf")
    said = machine.install("--server-name", NAME, check=False).stdout
    assert "the key.  Create it" not in said
    assert "pkcs11:token=ocsp: " in said
