"""The jobs: several CAs, one of which is copied, by cron and by systemd."""

from __future__ import annotations

import sys
import time

import pytest
from clients import settle
from keyless import signing
from machine import CRON, NAME, WELL

from ocsp_cgi.commands import demo
from ocsp_cgi.tools.openssl_ca import PrivateCA

pytestmark = [pytest.mark.slow, pytest.mark.root]

CONFIG = """\
# Both are ours.
[root-ca]
db = ocsp/db
ca = ocsp/root-ca.crt
rsigner = ocsp/root-ocsp.crt
rkey = ocsp/root-ocsp.key
cache = /var/cache/ocsp-cgi

[sub-ca]
db = ocsp/sub/db
ca = ocsp/sub/root-ca.crt
rsigner = ocsp/sub/root-ocsp.crt
rkey = ocsp/sub/root-ocsp.key
cache = /var/cache/ocsp-cgi
"""
# Not needed for what is tested here: what systemctl is told.
SYSTEMD = """\
mkdir -p /run/systemd/system
cd /etc/systemd/system && mkdir -p timers.target.wants paths.target.wants && cd - >/dev/null
cat >/usr/bin/systemctl <<'END'
#!/bin/sh
echo "$@" >>/var/systemctl
case "$1 $2" in
    "enable --now") ln -s "../$3" "/etc/systemd/system/${3##*.}s.target.wants/";;
    "disable --now") rm "/etc/systemd/system/${3##*.}s.target.wants/$3";;
    "reload-or-restart "*) apache2ctl -k graceful;;
    "restart "*) apache2ctl -k restart;;
esac
END
"""


FORMER = """\
# A comment.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
* * * * * root flock --nonblock /run/ocsp-cgi-sync.lock rsync --copy-links --times --checksum\
 --perms --chmod=F640 --owner --group --chown=root:www-data --timeout=60\
 --rsh="ssh -o BatchMode=yes -o ConnectTimeout=20" {source} /etc/ssl/ocsp/db/ && touch\
 /etc/ssl/ocsp/db/heartbeat
"""


@pytest.fixture(scope="module")
def sub(workspace) -> PrivateCA:
    ca = demo.make_ca(workspace / "copied-ca")
    settle(ca.home / "db" / "index")
    return ca


@pytest.fixture
def two(new_machine, pki, sub):
    """A machine with two CAs in the config, of which the source of the second is in /var/pushed."""
    machine = new_machine()
    machine.bring_files(pki)
    machine.sh(
        f"printf '%s' '{CONFIG}' >/etc/ssl/ocsp-cgi.conf; mkdir /etc/ssl/ocsp/sub /var/pushed;"
        f" cd {sub.home}; cp root-ca.crt root-ocsp.crt private/root-ocsp.key /etc/ssl/ocsp/sub/;"
        " cp -p db/index /var/pushed/index; touch /var/pushed/heartbeat"
    )
    return machine


def install(machine, *options: str, check: bool = True):
    return machine.install("--server-name", NAME, *options, check=check)


def test_without_a_scheduler(two):
    before = two.listing
    run = install(two, "--sync-from", "sub-ca=/var/pushed/index", check=False)
    assert (run.returncode, run.stdout) == (1, "")
    assert "neither systemd nor cron is there.  Install cron" in run.stderr
    assert two.listing == before


@pytest.mark.parametrize(
    "options, message",
    [
        (
            ["--sync-from", "/var/pushed/index"],
            "say which CA that is of, [root-ca], [sub-ca]: --sync-from root-ca=",
        ),
        (["--sync-from", "sub-ca=ca.example.com:/root/db/"], "must name the index file"),
        (
            ["--sync-from", "subca=/var/pushed/index"],
            "no [subca] in the config, which has [root-ca]",
        ),
        (["--offline"], "--offline is about an index that --sync-from names"),
        (
            ["--sync-from", "sub-ca=rsync://ca/db/index"],
            "rsync's own protocol is not authenticated",
        ),
        (
            ["--sync-from", "sub-ca=/a/index", "--sync-from", "sub-ca=/b/index"],
            "a second one for [sub-ca]",
        ),
    ],
)
def test_sources_that_cannot_be(options, message, two):
    before = two.listing
    run = install(two, *options, check=False)
    assert (run.returncode, run.stdout) == (1, "") and message in run.stderr
    assert two.listing == before


def test_one_of_two_cas_is_copied_by_cron(two):
    two.sh(CRON)
    run = install(two, "--sync-from", "sub-ca=/var/pushed/index", "--check").stdout
    assert "\n  copy [sub-ca] with `ocsp-cgi sync`\n    [sub-ca] copied: " in run
    assert run.endswith(WELL)
    added = "sync_from = /var/pushed/index\nstale_after = 10\n"
    assert two.sh("cat /etc/ssl/ocsp-cgi.conf") == CONFIG + added
    paths = "ocsp ocsp/db ocsp/db/index ocsp/sub/db ocsp/sub/db/index ocsp/sub/root-ocsp.key"
    assert two.sh(f"cd /etc/ssl && stat -c '%a %U:%G %n' {paths}").splitlines() == [
        "751 root:www-data ocsp",
        "750 root:www-data ocsp/db",
        "640 root:www-data ocsp/db/index",
        "2750 ocsp-sync:www-data ocsp/sub/db",
        "640 ocsp-sync:www-data ocsp/sub/db/index",
        "640 root:www-data ocsp/sub/root-ocsp.key",
    ]
    for user, path in (
        ("ocsp-sync", "/etc/ssl/ocsp/sub/root-ocsp.key"),
        ("ocsp-sync", "/etc/ssl/ocsp/db/index"),
    ):
        assert two.run("runuser", "-u", user, "--", "cat", path, check=False).returncode == 1
    # What cron types, as the user that it names.
    job = two.sh("grep '^[*]' /etc/cron.d/ocsp-cgi-sync").strip().split(" ", 6)
    assert job[:6] == ["*"] * 5 + ["ocsp-sync"]
    two.sh(
        "cat /var/pushed/index | sed 's/^V/E/' >/var/pushed/new; touch /var/pushed/heartbeat;"
        " mv /var/pushed/new /var/pushed/index"
    )
    two.run("runuser", "-u", "ocsp-sync", "--", "sh", "-c", job[6])
    two.sh("cmp /var/pushed/index /etc/ssl/ocsp/sub/db/index")
    assert "ocsp-cgi check --quiet" in two.sh("cat /etc/cron.d/ocsp-cgi-check")

    # When nothing is to be copied any more, cron would mail that each minute.
    edit = "/^sync_from/d; s/^stale_after.*/stale_after = never/"
    two.sh(f"sed -i '{edit}' /etc/ssl/ocsp-cgi.conf")
    assert "\n  remove /etc/cron.d/ocsp-cgi-sync\n" in two.install().stdout
    assert two.sh("ls /etc/cron.d | grep ocsp") == "ocsp-cgi-check\n"
    two.install("--uninstall")
    owners = two.sh("find /etc/ssl/ocsp/sub/db -printf '%u\\n' | sort -u")
    assert owners == "root\n"  # the next user may get the id of ocsp-sync


def test_by_systemd_and_nothing_left(two):
    two.sh(SYSTEMD + "chmod 755 /usr/bin/systemctl")
    before = two.listing
    run = install(two, "--sync-from", "sub-ca=/var/pushed/index", "--check").stdout
    assert run.endswith(WELL), run
    asked = [line for line in two.sh("cat /var/systemctl").splitlines() if "quiet" not in line]
    assert asked == [
        "daemon-reload",
        "enable --now ocsp-cgi-sync.timer",
        "daemon-reload",
        "enable --now ocsp-cgi-check.timer",
        "restart apache2",
    ]
    again = two.install().stdout
    assert again.endswith(f"Nothing to change: everything is in place.\n{WELL}")
    assert two.sh("ls /etc/systemd/system | grep ocsp") == (
        "ocsp-cgi-check.service\nocsp-cgi-check.timer\nocsp-cgi-sync.service\nocsp-cgi-sync.timer\n"
    )
    two.install("--uninstall")
    names = ("/etc/ssl/ocsp", "/etc/ssl/ocsp-cgi.conf ")
    users = (
        "/etc/passwd",
        "/etc/shadow",
        "/etc/group",
        "/etc/gshadow",
        "/etc/subuid",
        "/etc/subgid",
    )
    assert [line for line in two.listing if not line.startswith((*names, *users))] == [
        line for line in before if not line.startswith((*names, *users))
    ]
    assert two.run("id", "ocsp-sync", check=False).returncode == 1


def presigned(machine) -> str:
    """The last line that a run prints.  One that `sync` has started may be at work: it is waited
    for."""
    while True:
        printed = machine.sh("/usr/local/sbin/ocsp-cgi presign")
        if "another run is at work" not in printed:
            return printed.splitlines()[-1]  # others say how far a slow machine is
        time.sleep(0.2)


def test_what_is_presigned(two):
    """By systemd when the index of such a CA changes, too; what is signed is the responder's."""
    two.sh(SYSTEMD + "chmod 755 /usr/bin/systemctl")
    two.sh("sed -i 's/^\\[sub-ca\\]$/&\\npresign = yes/' /etc/ssl/ocsp-cgi.conf")
    run = install(two, "--sync-from", "sub-ca=/var/pushed/index").stdout
    assert run.endswith(WELL), run
    asked = two.sh("cat /var/systemctl")
    for kind in ("timer", "path"):
        assert f"enable --now ocsp-cgi-presign.{kind}\n" in asked
    watched = two.sh("grep ^PathChanged /etc/systemd/system/ocsp-cgi-presign.path")
    assert watched == "PathChanged=/etc/ssl/ocsp/sub/db/index\n"
    presigned(two)
    two.sh("sed -n 's/^ExecStart=//p' /etc/systemd/system/ocsp-cgi-presign.service | sh")
    owners = two.sh("find /var/cache/ocsp-cgi -name '*.ocsp' -printf '%u\\n'").split()
    assert set(owners) == {"www-data"}
    assert presigned(two) == "[sub-ca] 0 responses signed, 8 still fresh"
    assert "Nothing to change" in two.install().stdout
    two.sh("sed -i '/^presign/d' /etc/ssl/ocsp-cgi.conf")
    ended = two.install().stdout
    assert "\n  systemctl disable --now ocsp-cgi-presign.path\n" in ended, ended
    assert two.sh("ls /etc/systemd/system | grep ocsp.*presign || true") == ""
    assert "Nothing to change" in two.install().stdout
    two.install("--uninstall")
    assert two.sh("ls /etc/systemd/system | grep -c ocsp || true") == "0\n"
    assert "disable --now ocsp-cgi-presign.path\n" in two.sh("cat /var/systemctl")


def test_an_offline_ca_and_a_source_that_does_not_answer(two):
    two.sh(CRON)
    options = ("--sync-from", "sub-ca=/var/pushed/index", "--offline")
    run = install(two, *options).stdout
    assert "\n  set stale_after = never for [sub-ca] in /etc/ssl/ocsp-cgi.conf\n" in run
    assert run.endswith(WELL)
    assert two.sh("cat /etc/ssl/ocsp-cgi.conf").count("stale_after = never\n") == 1
    assert "Nothing to change" in two.install().stdout
    two.sh("test ! -e /etc/cron.d/ocsp-cgi-sync")
    run = two.install("--sync-from", "root-ca=/var/nowhere/index", check=False)
    assert run.returncode == 1
    assert "[root-ca] could not be copied from /var/nowhere/index, as said above" in run.stdout
    assert "\n    [root-ca] " in run.stdout.partition("could not be copied")[0]
    assert "stale_after = 10" not in two.sh("cat /etc/ssl/ocsp-cgi.conf")


def test_the_job_of_an_earlier_version_is_replaced(new_machine, pki):
    """Root ran rsync, to a fixed place."""
    machine = new_machine()
    machine.bring_files(pki)
    job = "/etc/cron.d/ocsp-cgi-sync"
    machine.sh(
        f"{CRON}\nmkdir /var/pushed; cp -p {pki.home}/db/index /var/pushed/;"
        f" touch /var/pushed/heartbeat; cat >{job} <<'END'\n"
        + FORMER.format(source="/var/pushed/index")
        + "END"
    )
    run = install(machine).stdout
    assert "`sync_from` is taken from the job of an earlier version\n" in run
    assert f"\n  write {job}\n" in run and run.endswith(WELL)
    assert "sync_from = /var/pushed/index\n" in machine.sh("cat /etc/ssl/ocsp-cgi.conf")
    assert " ocsp-sync /usr/local/sbin/ocsp-cgi sync " in machine.sh(f"cat {job}")


WITHOUT_KEY = """
[root-ca]
db         = ocsp/db
ca         = ocsp/root-ca.crt
rsigner    = ocsp/root-ocsp.crt
cache      = /var/cache/ocsp-cgi
sync_from  = /var/signer/index
cache_from = /var/signer/cache
"""


def test_a_host_without_the_key(new_machine, ca):
    """No key is asked for, and `ocsp-sync` copies responses that the web server can read."""
    source = signing(ca)
    for name in ("good", "bad", "root-ocsp"):
        source.ask(source.request(name))
    settle(source.index)
    machine = new_machine()
    machine.bring_files(ca)
    machine.sh(
        f"{CRON} rm /etc/ssl/ocsp/root-ocsp.key;"
        f" printf '%s' '{WITHOUT_KEY}' >/etc/ssl/ocsp-cgi.conf;"
        f" mkdir /var/signer; cp -a {ca.home}/cache /var/signer/cache; chmod -R a+rX /var/signer;"
        f" cp -p {ca.home}/db/index /var/signer/index; touch /var/signer/heartbeat"
    )
    # Root may have typed `sync` before: what that makes is root's.
    machine.run(sys.executable, "-m", "ocsp_cgi", "sync")
    run = machine.install("--server-name", NAME, "--sync-from", "/var/signer/index")
    assert run.stdout.endswith(WELL), run.stdout + run.stderr
    assert "root-ocsp.key" not in run.stdout + run.stderr
    directory = "/etc/ssl/ocsp/db/responses"
    assert machine.sh(f"stat -c '%a %U:%G' {directory}") == "2750 ocsp-sync:www-data\n"
    assert machine.sh(f"find {directory} -name '*.ocsp' | wc -l") == "3\n"
    assert machine.sh("find /etc/ssl/ocsp/db ! -user ocsp-sync") == ""
