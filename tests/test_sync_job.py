"""The job that copies the databases of two CAs from their host: the command of the unit and of the
cron line, with the real rsync, through a real sshd and rrsync, under a running Apache."""

from __future__ import annotations

import collections
import http.client
import itertools
import os
import random
import re
import shlex
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import pages
import pytest
from at_once import AtOnce
from clients import cert_id, certificate, request, started, verified
from sshd import NEEDS_LOGIN, Sshd, rsync_server

from ocsp_cgi import index_file, sync_state
from ocsp_cgi.answer import TRY_LATER, error_response
from ocsp_cgi.tools import httpd
from ocsp_cgi.tools.openssl_ca import PrivateCA

CHECKOUT = Path(__file__).resolve().parent.parent
APACHE = CHECKOUT / "apache"
TRY_LATER = error_response(TRY_LATER)
NOBODY = 65534  # the user that copies, if root runs the tests
PROGRAM = "/usr/local/sbin/ocsp-cgi"


def unit_command() -> str:
    """What the service executes."""
    lines = (APACHE / "ocsp-cgi-sync.service").read_text().splitlines()
    assert {"Type=oneshot", "User=ocsp-sync"} <= set(lines)
    [command] = [line.partition("=")[2] for line in lines if line.startswith("ExecStart=")]
    return command


def cron_command() -> str:
    lines = (APACHE / "ocsp-cgi-sync.cron").read_text().splitlines()
    [line] = [line for line in lines if line.startswith("*")]
    *schedule, user, command = line.split(" ", 6)
    assert (schedule, user) == (["*"] * 5, "ocsp-sync") and "%" not in command
    return command


def test_unit_and_cron_line_copy_in_the_same_way():
    assert unit_command() == cron_command() == f"{PROGRAM} sync --quiet"


@pytest.mark.process
def test_systemd_takes_the_units(place):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    kinds = ("sync.timer", "sync.service", "presign.timer", "presign.path", "presign.service")
    units = [place / f"ocsp-cgi-{kind}" for kind in kinds]
    for unit in units:  # what a unit runs has to be there
        unit.write_text((APACHE / unit.name).read_text().replace(PROGRAM, "/bin/true"))
    command = ["systemd-analyze", "verify", *units]
    run = subprocess.run(command, capture_output=True, text=True)
    lines = [line for line in run.stderr.splitlines() if "ocsp-cgi" in line]
    assert (run.returncode, lines) == (0, [])


class Hosts:
    """The CAs' host with its sshd, and the responder's, whose ssh knows it by the names of the CAs:
    each has a key of its own there, which sends one `db`.  As `login`, everything may be read.

    Its `home` has the config, a directory for each CA, and in `db` a directory for each index.
    """

    def __init__(self, place: Path, sshd: Sshd, cas: dict[str, PrivateCA]):
        self.cas, self._sshd = cas, sshd
        self.home = place / "ocsp"
        self._ssh_config, self.known_hosts = place / "ssh_config", place / "known_hosts"
        self.known_hosts.write_text(sshd.known_hosts())
        login = shutil.copy(place / "sshd" / "user_key", place / "login_key")
        self.add_alias("login", Path(login))
        [command] = re.findall(
            r'(?m)^restrict,command="(.*)" ssh-ed25519 AAAA',
            "".join(pages.commands(pages.README, "Copying db")),
        )
        assert command == "/usr/bin/rrsync -ro /root/root-ca/db"
        for name, ca in cas.items():
            only = command.replace("/root/root-ca/db", str(ca.home / "db"))
            self.add_alias(name, sshd.authorize(name, only))
        (place / "bin").mkdir()
        ssh = place / "bin" / "ssh"
        ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {self._ssh_config} "$@"\n')
        ssh.chmod(0o755)
        self.environment = {**os.environ, "PATH": f"{place}/bin:{os.environ['PATH']}"}
        self.config = self.home / "ocsp-cgi.conf"
        for name, ca in cas.items():
            (self.home / name).mkdir(parents=True)
            for file in ("root-ca.crt", "root-ocsp.crt", "private/root-ocsp.key"):
                shutil.copy(ca.home / file, self.home / name)
            self.db(name).mkdir(parents=True)
        self.write_config({name: f"{name}:index" for name in cas})
        httpd.let_read(self.home)
        (self.home / "db").chmod(0o751)
        self.home.chmod(0o751)
        for name in cas:
            if os.geteuid() == 0:
                os.chown(self.db(name), NOBODY, httpd.unprivileged()["group"])
            self.db(name).chmod(0o2750)

    def db(self, name: str) -> Path:
        return self.home / "db" / name

    def index(self, name: str) -> Path:
        return self.cas[name].home / "db" / "index"

    def add_alias(self, alias: str, key: Path, known_hosts: str = "") -> None:
        """Let ssh know the CAs' host by one more name, with this key."""
        if key.exists() and os.geteuid() == 0:
            os.chown(key, NOBODY, -1)
        with open(self._ssh_config, "a") as file:
            known = self.known_hosts.with_name(known_hosts) if known_hosts else self.known_hosts
            file.write(self._sshd.ssh_config(alias, key, known))

    def write_config(self, sources: dict[str, str]) -> None:
        sections = [
            f"[{name}]\ndb = db/{name}\nca = {name}/root-ca.crt\nrsigner = {name}/root-ocsp.crt\n"
            f"rkey = {name}/root-ocsp.key\nstale_after = 5\nsync_from = {source}\n"
            for name, source in sources.items()
        ]
        unfinished = self.config.with_name("new.conf")
        unfinished.write_text("".join(sections))
        unfinished.chmod(0o644)
        unfinished.rename(self.config)

    def sync(self, *arguments: str, command: str = "") -> subprocess.CompletedProcess[str]:
        """Run the job as it is written in the unit, or with other arguments, under its umask."""
        command = command or unit_command()
        program, *words = shlex.split(command)
        assert program == PROGRAM
        if arguments:
            words = ["sync", *arguments]
        return subprocess.run(
            [sys.executable, "-m", "ocsp_cgi", *words, "--config", str(self.config)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=CHECKOUT,
            env=self.environment,
            preexec_fn=lambda: os.umask(0o077),
        )

    def ssh(self, alias: str, *command: str) -> subprocess.CompletedProcess[str]:
        """What anyone with the key of an alias can do."""
        return subprocess.run(
            ["ssh", alias, *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=self.environment,
        )


@pytest.fixture(scope="module")
def two_cas(workspace, pki) -> dict[str, PrivateCA]:
    sub = PrivateCA(workspace / "sub-ca", "Issuing CA")
    sub.issue("root-ocsp", "ocsp_ext")
    for name in ("good", "bad"):
        sub.issue(name)
    sub.revoke("bad", "-crl_reason", "keyCompromise")
    return {"root-ca": pki, "sub-ca": sub}


@pytest.fixture
def hosts(place, two_cas):
    with rsync_server(place / "sshd") as sshd:
        (place / "ca-host").mkdir()
        cas = {name: ca.copy(place / "ca-host" / name) for name, ca in two_cas.items()}
        yield Hosts(place, sshd, cas)


@pytest.fixture
def apache(hosts, place, cgi):
    """An Apache on the responder's host."""
    with started(place / "httpd", cgi, hosts.config) as server:
        yield server


def ask(apache, encoded: bytes) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", apache.port, timeout=30)
    connection.request(
        "POST", "/cgi-bin/ocsp.cgi", encoded, {"Content-Type": "application/ocsp-request"}
    )
    response = connection.getresponse().read()
    connection.close()
    return response


class Traffic(AtOnce):
    """The three that go on at once: `openssl ca` of each CA, the sync, and clients.  Their threads
    end when `stop` is set.

    `begun`, `finished` and `synced` are the statuses, by CA and name, that the CA was told, that
    its index has for certain, and that the responder's has for certain.  A response must be one of
    those between what was synced before it and what was begun after it.
    """

    def __init__(self, hosts: Hosts, apache):
        super().__init__()
        self.hosts, self.apache = hosts, apache
        self.roots = {name: certificate(ca.home / "root-ca.crt") for name, ca in hosts.cas.items()}
        self.begun = {
            (name, holder): status
            for name in hosts.cas
            for holder, status in (("good", "good"), ("bad", "revoked"))
        }
        self.finished, self.synced = dict(self.begun), dict(self.begun)
        self.counts: collections.Counter[str] = collections.Counter()
        self.longest_try_later = 0.0

    def issue_and_revoke(self, name: str) -> None:
        ca = self.hosts.cas[name]
        for number in itertools.count():
            holder = f"new{number}"
            self.begun[name, holder] = "good"
            ca.issue(holder)
            self.finished[name, holder] = "good"
            self.stop.wait(0.2)
            self.begun[name, holder] = "revoked"
            ca.revoke(holder)
            self.finished[name, holder] = "revoked"
            self.counts[f"revocations of {name}"] += 1
            if self.stop.is_set():
                return

    def copy(self) -> None:
        for command in itertools.cycle((unit_command(), cron_command())):
            if self.stop.is_set():
                return
            finished = dict(self.finished)
            run = self.hosts.sync(command=command)
            assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
            self.synced = finished
            self.counts["copies"] += 1

    def ask(self) -> None:
        draw = random.Random(1)
        refused_since = None
        while not self.stop.is_set():
            synced = self.synced
            name, holder = draw.choice([*synced, list(synced)[-1]])
            serial = certificate(self.hosts.cas[name].home / f"{holder}.crt").serial_number
            response = ask(self.apache, request(cert_id(self.roots[name], serial)))
            if response == TRY_LATER:
                refused_since = refused_since or time.monotonic()
                waited = time.monotonic() - refused_since
                self.longest_try_later = max(self.longest_try_later, waited)
                self.counts["tryLater"] += 1
                continue
            refused_since = None
            status = verified(response, self.roots[name]).certificate_status.name.lower()
            possible = (synced[name, holder], self.begun[name, holder])
            assert status in possible, f"{name} {holder}: {status}, not one of {possible}"
            self.counts[status] += 1

    def run(self, seconds: float) -> None:
        works = [(self.issue_and_revoke, name) for name in self.hosts.cas]
        works += [(self.copy,), (self.ask,)]
        self.let_work(seconds, *works)


@NEEDS_LOGIN
@pytest.mark.slow
@pytest.mark.apache
def test_responses_stay_right_while_two_cas_issue_and_revoke_and_are_copied(hosts, apache):
    run = hosts.sync()
    assert (run.returncode, run.stderr) == (0, "")
    traffic = Traffic(hosts, apache)
    traffic.run(8)
    assert traffic.failures == []
    counts = traffic.counts
    expected = [f"revocations of {name}" for name in hosts.cas] + ["copies", "good", "revoked"]
    assert min(counts[what] for what in expected) >= 2, counts
    assert traffic.longest_try_later < 1, counts
    for name in hosts.cas:
        left = {path.name for path in hosts.db(name).iterdir()}
        assert left == {"index", "heartbeat", "sync", ".index.sync"}
        of = (hosts.db(name) / "index").stat()
        group = httpd.unprivileged().get("group", os.getegid())
        assert (stat.S_IMODE(of.st_mode), of.st_gid) == (0o640, group)


@NEEDS_LOGIN
@pytest.mark.slow
@pytest.mark.process
def test_the_key_in_the_readme_sends_the_index_and_nothing_else(hosts):
    assert hosts.sync().returncode == 0
    for name in hosts.cas:
        assert (hosts.db(name) / "index").read_bytes() == hosts.index(name).read_bytes()
    for path in ("../private/root-ca.key", f"{hosts.cas['sub-ca'].home}/db/index"):
        hosts.write_config({"root-ca": f"root-ca:{path}"})
        run = hosts.sync()
        assert run.returncode == 1 and "may only run rrsync" in run.stderr
        assert "a path starts from the directory in authorized_keys" in run.stderr
    assert hosts.ssh("login", "echo", "yes").stdout == "yes\n"
    assert hosts.ssh("root-ca", "echo", "yes").stdout == ""


@NEEDS_LOGIN
@pytest.mark.slow
@pytest.mark.process
def test_what_is_unchanged_is_left_alone_and_what_looks_unchanged_is_copied(hosts):
    def sync() -> str:
        return hosts.sync("root-ca").stdout

    assert sync() == "[root-ca] copied: 5 rows, 2 revoked\n"
    copied, index = hosts.db("root-ca") / "index", hosts.index("root-ca")
    before = index_file.fingerprint(copied.stat())
    heartbeat = hosts.db("root-ca") / "heartbeat"
    os.utime(heartbeat, (1, 1))
    os.utime(index)  # as where it is written anew every minute
    assert sync() == "[root-ca] unchanged\n"
    assert index_file.fingerprint(copied.stat()) == before
    assert time.time() - heartbeat.stat().st_mtime < 60
    with open(copied, "rb") as reader:
        old = copied.read_bytes()
        of = index.stat()
        index.write_bytes(old.replace(b"keyCompromise", b"CACompromise "))
        os.utime(index, ns=(of.st_atime_ns, of.st_mtime_ns))
        assert sync() == "[root-ca] copied: 5 rows\n"
        assert reader.read() == old != copied.read_bytes() == index.read_bytes()


@NEEDS_LOGIN
@pytest.mark.slow
@pytest.mark.process
def test_an_index_that_is_a_symlink(hosts):
    index = hosts.index("root-ca")
    index.rename(index.with_name("index.real"))
    index.symlink_to("index.real")
    run = hosts.sync("root-ca")
    assert run.returncode == 1 and "is a symlink, which rrsync does not follow" in run.stderr
    assert not (hosts.db("root-ca") / "index").exists()
    for source in ("root-ca:index.real", f"login:{index}"):
        hosts.write_config({"root-ca": source})
        assert hosts.sync("root-ca").returncode == 0
        copied = hosts.db("root-ca") / "index"
        assert not copied.is_symlink() and copied.read_bytes() == index.read_bytes()


@NEEDS_LOGIN
@pytest.mark.slow
@pytest.mark.process
def test_a_path_that_means_something_to_a_shell(hosts, place):
    directory = place / 'my ca\'s $(touch pwned); & "db" -x'
    directory.mkdir()
    shutil.copy(hosts.index("root-ca"), directory / "the index")
    hosts.add_alias("dash", hosts._sshd.authorize("dash", f"/usr/bin/rrsync -ro {place}/dash"))
    (place / "dash").mkdir()
    shutil.copy(hosts.index("root-ca"), place / "dash" / "-e sh index")
    for source in (f"login:{directory}/the index", "dash:-e sh index"):
        hosts.write_config({"root-ca": source})
        run = hosts.sync("root-ca")
        assert (run.returncode, run.stderr) == (0, ""), source
    assert (hosts.db("root-ca") / "index").read_bytes() == hosts.index("root-ca").read_bytes()
    assert not list(place.rglob("pwned"))


@NEEDS_LOGIN
@pytest.mark.slow
@pytest.mark.process
def test_what_fails_is_told_in_the_operators_words(hosts, place):
    sshd, index = hosts._sshd, hosts.index("root-ca")
    (place / "changed").write_text(_other_host_key(place, sshd.port))
    (place / "changed").chmod(0o644)
    login = place / "login_key"
    hosts.add_alias("changed", login, "changed")
    hosts.add_alias("unknown", login, "none")
    hosts.add_alias("keyless", place / "none")
    hosts.add_alias("noisy", sshd.authorize("noisy", "echo Welcome; /usr/bin/rrsync -ro /"))
    hosts.add_alias("bare", sshd.authorize("bare", "PATH=/nowhere; rsync"))
    (place / "unreadable").write_text("x")
    (place / "unreadable").chmod(0)
    with open(hosts._ssh_config, "a") as file:
        file.write("Host closed\n  HostName 127.0.0.1\n  Port 1\n")
    expected = {
        "changed:index": "changed has another key than the one in known_hosts: unless it was",
        "unknown:index": "the key of unknown is not in the known_hosts of",
        "keyless:index": "keyless does not ",
        "closed:index": "closed cannot be reached: ssh: connect to host 127.0.0.1 port 1",
        "nowhere.invalid:index": "there is no host nowhere.invalid: is its name right?",
        "noisy:index": "the login on noisy prints something, which confuses rsync",
        "bare:index": "rsync is not installed on bare",
        "root-ca:none": "the key of",
        f"login:{index}.none": f"login:{index}.none: no such file",
        f"login:{index.parent}": f"login:{index.parent} is a directory: `sync_from` must name the",
        "login:/dev/null": "login:/dev/null is not a regular file",
    }
    if os.geteuid():
        expected[f"login:{place}/unreadable"] = "the user that logs in there may not read it"
    for source, text in expected.items():
        hosts.write_config({"root-ca": source})
        run = hosts.sync()
        assert run.returncode == 1 and run.stdout == "", source
        assert f"[root-ca] failed: {text}" in run.stderr, source
        state = sync_state.read(str(hosts.db("root-ca")))
        assert (state.result, state.source) == (sync_state.FAILED, source)
        assert state.reason.startswith(text) and state.fix, source
    hosts.write_config({"root-ca": f"login:{index}"})
    run = hosts.sync("--max-size", "100")
    assert run.returncode == 1 and "more than --max-size = 100 bytes" in run.stderr
    assert not (hosts.db("root-ca") / "index").exists()


def _other_host_key(place: Path, port: int) -> str:
    """A line of known_hosts with a key that the host does not have."""
    key = place / "other_host_key"
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
    subprocess.run(command, check=True)
    kind, value, *_ = key.with_name("other_host_key.pub").read_text().split()
    return f"[127.0.0.1]:{port} {kind} {value}\n"


@pytest.mark.parametrize("fault", ["no index", "no host", "an old index"])
@NEEDS_LOGIN
@pytest.mark.slow
@pytest.mark.apache
def test_heartbeat_is_touched_only_after_success(hosts, apache, fault):
    assert hosts.sync().returncode == 0
    heartbeat, index = hosts.db("root-ca") / "heartbeat", hosts.index("root-ca")
    synced = (hosts.db("root-ca") / "index").read_bytes()
    assert time.time() - heartbeat.stat().st_mtime < 60
    os.utime(heartbeat, (time.time() - 1000,) * 2)
    if fault == "no index":
        index.rename(index.with_name("index.old"))
    elif fault == "no host":
        hosts.write_config({"root-ca": "nowhere.invalid:index", "sub-ca": "sub-ca:index"})
    else:
        index.write_bytes(b"".join(synced.splitlines(True)[:-1]))
    run = hosts.sync()
    assert run.returncode == 1 and run.stderr.count("[root-ca]") == 1 and "[sub" not in run.stderr
    assert time.time() - heartbeat.stat().st_mtime > 900
    assert (hosts.db("root-ca") / "index").read_bytes() == synced
    ca = hosts.cas["root-ca"].home
    root = certificate(ca / "root-ca.crt")
    encoded = request(cert_id(root, certificate(ca / "good.crt").serial_number))
    assert ask(apache, encoded) == TRY_LATER
    assert "more than stale_after = 5 minutes" in apache.error_log
    if fault != "no host":
        index.write_bytes(synced)
        assert hosts.sync().returncode == 0
        assert verified(ask(apache, encoded), root)
