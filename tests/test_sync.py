"""The commands that copy db from the CA's host, from the unit and the cron line, run with the real
rsync."""

from __future__ import annotations

import collections
import grp
import http.client
import itertools
import os
import pwd
import random
import re
import shlex
import shutil
import subprocess
import threading
import time
import traceback
from pathlib import Path

import pytest
from clients import cert_id, certificate, request, started, verified

from ocsp_cgi.answer import TRY_LATER, error_response
from ocsp_cgi.tools import httpd
from ocsp_cgi.tools.openssl_ca import PrivateCA

APACHE = Path(__file__).resolve().parent.parent / "apache"
TRY_LATER = error_response(TRY_LATER)
CONFIG = (
    "[root-ca]\ndb = db\nca = root-ca.crt\nrsigner = root-ocsp.crt\nrkey ="
    " root-ocsp.key\nstale_after = 5\n"
)


def unit_commands() -> list[str]:
    """What the service executes, in its order; with Type=oneshot a later one only after the success
    of an earlier."""
    lines = (APACHE / "ocsp-cgi-sync.service").read_text().splitlines()
    assert "Type=oneshot" in lines
    return [line.partition("=")[2] for line in lines if line.startswith("ExecStart=")]


def cron_command() -> str:
    [line] = [
        line
        for line in (APACHE / "ocsp-cgi-sync.cron").read_text().splitlines()
        if line.startswith("*")
    ]
    *schedule, user, command = line.split(" ", 6)
    assert (schedule, user) == (["*"] * 5, "root") and "%" not in command
    return command


class Sync:
    """The unit's or the cron line's commands, edited as an operator would, between a CA's directory
    and a responder's."""

    def __init__(self, kind: str, source: Path, home: Path):
        self.kind = kind
        self.heartbeat = home / "db" / "heartbeat"
        user, group = (
            ("root", pwd.getpwnam(httpd.unprivileged()["user"]).pw_name)
            if os.geteuid() == 0
            else (pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name)
        )
        self._edits = {
            "ca.example.com:/root/root-ca/db/index": str(source / "db" / "index"),
            "/etc/ssl/ocsp/db": str(home / "db"),
            "root:www-data": f"{user}:{group}",
            "/run/ocsp-cgi-sync.lock": str(source / "ocsp-cgi-sync.lock"),
        }

    def __call__(self) -> int:
        """Run them.  Returns the exit status of the last that was run."""
        status = 0
        for line in unit_commands() if self.kind == "unit" else [cron_command()]:
            for old, new in self._edits.items():
                line = line.replace(old, new)
            command = shlex.split(line) if self.kind == "unit" else ["sh", "-c", line]
            status = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, cwd="/"
            ).returncode
            if status:
                break
        return status


@pytest.fixture(params=[pytest.param(kind, marks=pytest.mark.slow) for kind in ("unit", "cron")])
def hosts(request, place, pki):
    """(the CA, the responder's directory, its Sync); everything under umask 077, and the CA's
    directory closed."""
    if shutil.which("rsync") is None:
        pytest.skip("rsync is not installed")
    source, home = place / "ca-host", place / "ocsp"
    before = os.umask(0o077)
    try:
        ca = pki.copy(source)
        source.chmod(0o700)
        (home / "db").mkdir(parents=True)
        for name in ("root-ca.crt", "root-ocsp.crt", "private/root-ocsp.key"):
            shutil.copy(source / name, home)
        (home / "ocsp-cgi.conf").write_text(CONFIG)
        httpd.let_read(home)
        (home / "db").chmod(0o750)
        yield ca, home, Sync(request.param, source, home)
    finally:
        os.umask(before)


@pytest.fixture
def apache(hosts, place, cgi):
    """An Apache on the responder's host."""
    _, home, _ = hosts
    with started(place / "httpd", cgi, home / "ocsp-cgi.conf") as server:
        yield server


def ask(apache, encoded: bytes) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", apache.port, timeout=30)
    connection.request(
        "POST", "/cgi-bin/ocsp.cgi", encoded, {"Content-Type": "application/ocsp-request"}
    )
    response = connection.getresponse().read()
    connection.close()
    return response


class Traffic:
    """The three that go on at once: `openssl ca`, the sync, and clients.  Their threads end when
    `stop` is set.

    `begun`, `finished` and `synced` are the statuses by name that the CA was told, that its index
    has for certain, and that the responder's has for certain.  A response must be one of those
    between what was synced before it and what was begun after it.
    """

    def __init__(self, ca: PrivateCA, sync: Sync, apache):
        self.ca, self.sync, self.apache = ca, sync, apache
        self.root = certificate(ca.home / "root-ca.crt")
        self.begun = {"good": "good", "bad": "revoked", "held": "revoked"}
        self.finished, self.synced = dict(self.begun), dict(self.begun)
        self.counts: collections.Counter[str] = collections.Counter()
        self.longest_try_later = 0.0
        self.failures: list[str] = []
        self.stop = threading.Event()

    def issue_and_revoke(self) -> None:
        for number in itertools.count():
            name = f"new{number}"
            self.begun[name] = "good"
            self.ca.issue(name)
            self.finished[name] = "good"
            assert (self.ca.home / "db" / "index").stat().st_mode & 0o777 == 0o600
            self.stop.wait(0.2)
            self.begun[name] = "revoked"
            self.ca.revoke(name)
            self.finished[name] = "revoked"
            self.counts["revocations"] += 1
            if self.stop.is_set():
                return

    def copy(self) -> None:
        while not self.stop.is_set():
            finished = dict(self.finished)
            if self.sync() == 0:  # else it came between two renames, and does it the next time
                self.synced = finished
                self.counts["copies"] += 1

    def ask(self) -> None:
        draw = random.Random(1)
        refused_since = None
        while not self.stop.is_set():
            synced = self.synced
            name = draw.choice([*synced, list(synced)[-1]])
            response = ask(
                self.apache,
                request(
                    cert_id(self.root, certificate(self.ca.home / f"{name}.crt").serial_number)
                ),
            )
            if response == TRY_LATER:
                refused_since = refused_since or time.monotonic()
                self.longest_try_later = max(
                    self.longest_try_later, time.monotonic() - refused_since
                )
                self.counts["tryLater"] += 1
                continue
            refused_since = None
            status = verified(response, self.root).certificate_status.name.lower()
            assert status in (
                synced[name],
                self.begun[name],
            ), f"{name}: {status}, and {synced[name]} had been synced"
            self.counts[status] += 1

    def run(self, seconds: float) -> None:
        threads = [
            threading.Thread(target=self._watched, args=(work,))
            for work in (self.issue_and_revoke, self.copy, self.ask)
        ]
        for thread in threads:
            thread.start()
        self.stop.wait(seconds)
        self.stop.set()
        for thread in threads:
            thread.join()

    def _watched(self, work) -> None:
        try:
            work()
        except Exception:
            self.failures.append(traceback.format_exc())
            self.stop.set()


@pytest.mark.slow
@pytest.mark.apache
def test_responses_stay_right_while_openssl_ca_issues_and_revokes_and_the_index_is_copied(
    hosts, apache
):
    ca, home, sync = hosts
    assert sync() == 0
    traffic = Traffic(ca, sync, apache)
    traffic.run(6)
    assert traffic.failures == []
    counts = traffic.counts
    assert min(counts[what] for what in ("revocations", "copies", "good", "revoked")) >= 2, counts
    assert traffic.longest_try_later < 1, counts
    assert {path.name for path in (home / "db").iterdir()} == {"index", "heartbeat"}


def test_index_is_readable_for_the_web_server_and_for_nobody_else(hosts):
    ca, home, sync = hosts
    group = httpd.unprivileged().get("group", os.getegid())
    for number in range(2):  # the second time there is an index already, with a wrong mode
        ca.issue(f"another{number}")
        assert sync() == 0
        of = (home / "db" / "index").stat()
        assert (of.st_mode & 0o777, of.st_uid, of.st_gid) == (0o640, os.geteuid(), group)
        (home / "db" / "index").chmod(0o600)


def test_a_reader_that_has_the_index_open_still_has_a_whole_one(hosts):
    ca, home, sync = hosts
    assert sync() == 0
    with open(home / "db" / "index") as file:
        before = (home / "db" / "index").read_text()
        ca.issue("another")
        assert sync() == 0
        assert file.read() == before != (home / "db" / "index").read_text()


def test_an_index_as_long_and_as_old_as_before_is_copied_too(hosts):
    ca, home, sync = hosts
    assert sync() == 0
    index = ca.home / "db" / "index"
    of = index.stat()
    index.write_text(index.read_text().replace("keyCompromise", "CACompromise "))
    os.utime(index, ns=(of.st_atime_ns, of.st_mtime_ns))
    assert sync() == 0
    assert (home / "db" / "index").read_text() == index.read_text()


@pytest.mark.parametrize("target", ["index.real", "../current/index"])
def test_an_index_that_is_a_symlink_is_copied(hosts, target):
    ca, home, sync = hosts
    index = ca.home / "db" / "index"
    (index.parent / target).parent.mkdir(exist_ok=True)
    index.rename(index.parent / target)
    index.symlink_to(target)
    assert sync() == 0
    copied = home / "db" / "index"
    assert not copied.is_symlink() and copied.read_bytes() == index.read_bytes()
    assert sync.heartbeat.exists()


def test_the_key_in_the_readme_sends_the_index_and_nothing_else(hosts, monkeypatch, place):
    """An ssh that runs the command in authorized_keys, as sshd does, whatever it is asked for."""
    ca, home, sync = hosts
    readme = (APACHE.parent / "README.md").read_text()
    [command] = re.findall(r'(?m)^    restrict,command="(.*)" ssh-ed25519 AAAA', readme)
    source = "/root/root-ca/db/index"
    assert command.endswith(f" . {source}")
    index = ca.home / "db" / "index"
    ssh = place / "ssh"
    asked = f'while [ "$1" != ca.example.com ]; do shift; done; shift; echo "$*" >{place}/asked'
    ssh.write_text(f"#!/bin/sh\n{asked}\nexec {command.replace(source, str(index))}\n")
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")
    del sync._edits[f"ca.example.com:{source}"]
    assert sync() == 0
    assert (home / "db" / "index").read_bytes() == index.read_bytes()
    assert (place / "asked").read_text() == f"{command}\n"
    sync._edits[f"ca.example.com:{source}"] = f"ca.example.com:{ca.home}/private/root-ca.key"
    sync()
    assert {path.name for path in (home / "db").iterdir()} == {"index", "heartbeat"}


@pytest.mark.parametrize("fault", ["no index", "no host"])
@pytest.mark.slow
@pytest.mark.apache
def test_heartbeat_is_touched_only_after_success(hosts, apache, fault, monkeypatch, place):
    ca, home, sync = hosts
    assert not sync.heartbeat.exists()
    assert sync() == 0
    synced = (home / "db" / "index").read_bytes()
    assert time.time() - sync.heartbeat.stat().st_mtime < 10
    os.utime(sync.heartbeat, (time.time() - 1000,) * 2)
    if fault == "no index":
        (ca.home / "db" / "index").rename(
            ca.home / "db" / "index.old"
        )  # as between the renames of `openssl ca`
    else:
        ssh = place / "ssh"
        ssh.write_text(
            '#!/bin/sh\ncase "$*" in *BatchMode=yes*ca.invalid*) exit 255;; esac\nexit 0\n'
        )
        ssh.chmod(0o755)
        monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")
        sync._edits["ca.example.com:/root/root-ca/db/index"] = "ca.invalid:/root/root-ca/db/index"
    assert sync() != 0
    assert time.time() - sync.heartbeat.stat().st_mtime > 900
    assert (home / "db" / "index").read_bytes() == synced
    encoded = request(
        cert_id(
            certificate(ca.home / "root-ca.crt"), certificate(ca.home / "good.crt").serial_number
        )
    )
    assert ask(apache, encoded) == TRY_LATER
    assert (
        "more than stale_after = 5 minutes: is the job that copies it still running?"
        in apache.error_log
    )
    if fault == "no index":
        (ca.home / "db" / "index.old").rename(ca.home / "db" / "index")
        assert sync() == 0
        assert verified(ask(apache, encoded), certificate(ca.home / "root-ca.crt"))


def test_unit_and_cron_line_copy_in_the_same_way():
    cron = shlex.split(cron_command())
    at = cron.index("rsync")
    unit = [shlex.split(line) for line in unit_commands()]
    assert [cron[at : cron.index("&&")], cron[cron.index("&&") + 1 :]] == [
        [Path(words[0]).name, *words[1:]] for words in unit
    ]


@pytest.mark.process
def test_systemd_takes_the_units(place):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    if not os.path.exists("/usr/bin/rsync"):
        pytest.skip("rsync is not installed, and systemd wants what a unit runs to be there")
    for name in ("ocsp-cgi-sync.service", "ocsp-cgi-sync.timer"):
        shutil.copy(APACHE / name, place)
    run = subprocess.run(
        [
            "systemd-analyze",
            "verify",
            place / "ocsp-cgi-sync.timer",
            place / "ocsp-cgi-sync.service",
        ],
        capture_output=True,
        text=True,
    )
    assert (run.returncode, [line for line in run.stderr.splitlines() if "ocsp-cgi" in line]) == (
        0,
        [],
    )
