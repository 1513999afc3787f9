"""The log as an operator reads it: the kinds of lines, the README's greps, and in which file Apache
puts them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pages
import pytest
from clients import (
    cert_id,
    cert_id_of,
    certificate,
    curl,
    nonce,
    request,
    respond,
    run_cgi,
    settle,
    started,
)

from ocsp_cgi import config, index_file, limits, sync_state
from ocsp_cgi.certificate import load as load_certificate
from ocsp_cgi.sync_state import SyncState
from ocsp_cgi.tools import httpd
from ocsp_cgi.tools.layout import LAYOUTS

[GREPS] = pages.commands(pages.README, "The log")
LOG_FILE = "/var/log/apache2/error.log"
INTERNAL_ERROR = b"\x30\x03\x0a\x01\x02"
DAY = 86400
OF_ANOTHER_CA = request(cert_id_of("sha1", bytes(20), bytes(20), 0x1234))
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


def grep(what: str, log: Path) -> list[str]:
    """What the README's command about this kind of line finds in a log."""
    [command] = re.findall(rf"^(grep .*{what}.*)$", GREPS, re.MULTILINE)
    assert LOG_FILE in command
    run = subprocess.run(
        ["sh", "-c", command.replace(LOG_FILE, str(log))], capture_output=True, text=True
    )
    assert run.stderr == ""
    return run.stdout.splitlines()


def greps(log: Path) -> tuple[list[str], list[str], list[str]]:
    """What the three of them find: errors, warnings, and never-issued serials by day."""
    return grep("error: ", log), grep("warning=", log), grep("never-issued: ", log)


def set_config(home: Path, *lines: str, responder: str = "") -> None:
    section = "[root-ca]\ndb = db\nca = root-ca.crt\nrsigner = root-ocsp.crt\n"
    section += "rkey = private/root-ocsp.key\n" + "".join(f"{line}\n" for line in lines)
    (home / "ocsp-cgi.conf").write_text(f"{section}[responder]\n{responder}\n")


@pytest.fixture
def encoded(ca):
    """encoded(serial) is a request about a serial number, by default that of good.crt."""
    root = certificate(ca.home / "root-ca.crt")

    def encoded(*serials: int, **options: bytes) -> bytes:
        numbers = serials or (int(ca.serial("good"), 16),)
        return request(*[cert_id(root, number) for number in numbers], **options)

    return encoded


@pytest.fixture
def ask(cgi, ca):
    """ask(der) is what the CGI logs, a list of lines without their times."""

    def ask(body: bytes, method: str = "POST", **variables: str) -> list[str]:
        log = run_cgi(cgi, ca.home / "ocsp-cgi.conf", method, body, **variables).log
        lines = log.splitlines()
        assert all(re.match(rf"{TIME} ocsp\.cgi: ", line) for line in lines)
        return [line.partition("ocsp.cgi: ")[2] for line in lines]

    return ask


# The kinds of lines


def test_a_serial_that_was_never_issued(ask, encoded, ca):
    note, line = ask(encoded(0x1234))
    index = ca.home / "db" / "index"
    assert note == f"never-issued: serial=1234 ca=root-ca is not in {index} client=192.0.2.1"
    assert line.startswith("POST serial=1234 status=unknown ca=root-ca client=192.0.2.1 ms=")


def test_never_issued_with_unissued_revoked(ask, encoded, ca):
    set_config(ca.home, "unissued = revoked")
    note, line = ask(encoded(0x1234))
    assert note.startswith("never-issued: serial=1234 ca=root-ca is not in ")
    assert "status=revoked reason=certificateHold" in line


def test_never_issued_once_for_each_serial_and_not_for_many(ask, encoded):
    notes = ask(encoded(0x1234, int("F" * 300, 16), 0x1234))[:-1]
    assert [note.split()[1] for note in notes] == ["serial=1234", f"serial={'F' * 64}..."]
    notes = ask(encoded(*range(1, 100)))[:-1]
    assert len(notes) == limits.LOGGED_CERT_IDS
    assert all(note.startswith("never-issued: ") for note in notes)


def test_a_serial_of_another_ca_is_not_one_of_ours(ask):
    assert len(ask(OF_ANOTHER_CA)) == 3
    assert not [line for line in ask(OF_ANOTHER_CA) if line.startswith("never-issued: ")]


@pytest.mark.parametrize("log, lines", [("all", [1, 2, 2, 2, 1]), ("problems", [0, 0, 2, 2, 0])])
def test_only_problems(ask, encoded, ca, log, lines):
    """What a client did wrong is no problem; nor is a page."""
    set_config(ca.home, responder=f"log = {log}")
    seen = [len(ask(encoded())), len(ask(b"no request")), len(ask(encoded(0x1234)))]
    (ca.home / "private" / "root-ocsp.key").unlink()
    seen += [len(ask(encoded())), len(ask(b"", "GET"))]
    assert seen == lines


def test_only_problems_of_cached_responses(ask, encoded, ca):
    (ca.home / "cache").mkdir(mode=0o750)
    set_config(ca.home, "cache = cache", responder="log = problems")
    settle(ca.home / "db" / "index")
    assert [ask(encoded()) for _ in range(2)] == [[], []]
    set_config(ca.home, "cache = cache", responder="log = all")
    assert "cache=hit" in ask(encoded())[0]


def test_with_an_unreadable_config_everything_is_logged(ask, encoded, ca):
    set_config(ca.home, responder="log = problems\nunknown = x")
    error, line = ask(encoded())
    assert error.startswith("error: ") and "response=internalError" in line
    error, line = ask(b"", "GET")
    assert error.startswith("error: ") and "page=200" in line


@pytest.mark.parametrize(
    "method",
    ["error:", "error: x", "warning:", "never-issued: serial=1", "GET warning=x", "G\nerror: "],
)
def test_a_method_looks_like_no_other_line(cgi, ca, method, place):
    log = run_cgi(cgi, ca.home / "ocsp-cgi.conf", method).log
    (place / "log").write_text(log)
    assert log.count("\n") == 1 and " page=405 client=" in log
    assert greps(place / "log") == ([], [], [])


@pytest.mark.parametrize("cached", [False, True])
def test_expiry_of_the_signer(ca, encoded, cached):
    """In the line of each request."""
    (ca.home / "cache").mkdir(mode=0o750)
    set_config(ca.home, "nmin = 100000", "cache = cache")
    end = load_certificate(str(ca.home / "root-ocsp.crt")).not_after

    def warnings(now: int) -> tuple[list[str], bool]:
        answered = respond(encoded(), lambda: config.load(str(ca.home / "ocsp-cgi.conf")), now)
        said = [value for name, value in answered.fields if name == "warning"]
        return said, ("cache", "hit") in answered.fields

    if cached:
        assert warnings(end - 31 * DAY) == ([], False)
    assert warnings(end - 30 * DAY - 1) == ([], cached)
    for left, days in ((30 * DAY, 30), (28 * DAY - 1, 27)):
        said, is_hit = warnings(end - left)
        assert said == [f"rsigner-expires-in-{days}-days"]
        assert is_hit or not cached


# tryLater because of stale_after


@pytest.mark.parametrize(
    "state, added",
    [
        (None, ""),
        (
            SyncState(
                0,
                "ca:/db/index",
                sync_state.REFUSED,
                "fewer rows\x1b[2J",
                "ocsp-cgi sync --force root-ca",
            ),
            " The last copy, 3 minutes ago, was refused: fewer rows\\x1b[2J; ocsp-cgi sync --force"
            " root-ca",
        ),
        (
            SyncState(0, "ca:/db/index", sync_state.FAILED, "no route to host", "ssh ca"),
            " The last copy, 3 minutes ago, failed: no route to host; ssh ca",
        ),
        (
            SyncState(0, "/media/usb/index", sync_state.OK),
            " The last copy, 3 minutes ago, succeeded: is /media/usb/index itself kept up to date?",
        ),
        (SyncState(-7 * DAY, "ca:/db/index", sync_state.OK), ""),
    ],
)
def test_stale_says_how_the_last_copy_ended(ask, encoded, ca, state, added):
    db = ca.home / "db"
    set_config(ca.home, "stale_after = 10")
    (db / "heartbeat").touch()
    now = time.time()
    os.utime(db / "heartbeat", (now - 7 * DAY - 60,) * 2)
    if state is not None:
        state.ended += int(now) - 185
        sync_state.write(str(db), state)
    error, line = ask(encoded())
    assert error == (
        f"error: {db}/heartbeat: the index was last copied 7 days ago, more than stale_after = 10"
        f" minutes: is the job that copies it still running?{added}"
    )
    assert "response=tryLater" in line


def test_a_missing_heartbeat_says_how_the_last_copy_ended(ask, encoded, ca):
    db = str(ca.home / "db")
    set_config(ca.home, "stale_after = 10")
    state = SyncState(int(time.time()) - 185, "ca:/i", sync_state.FAILED, "no such host", "ping ca")
    sync_state.write(db, state)
    assert not os.path.exists(index_file.beside(db, "heartbeat"))
    error = ask(encoded())[0]
    assert error.endswith(
        ": does it run? The last copy, 3 minutes ago, failed: no such host; ping ca"
    )


# In Apache


def post(url: str, body: bytes, place: Path) -> bytes:
    (place / "request.der").write_bytes(body)
    header = ("-H", "Content-Type: application/ocsp-request")
    return curl(*header, "--data-binary", f"@{place}/request.der", url).body


def test_the_log_files_of_the_distributions():
    assert re.findall(r"`(/var/log/\S+?)`", pages.section(pages.README, "The log"))[:2] == [
        one.error_log for one in LAYOUTS
    ]


@pytest.mark.apache
@pytest.mark.parametrize("mpm", ["event", "prefork"])
def test_the_greps_of_the_readme(ca, cgi, encoded, place, mpm):
    """Against a log with every kind of line in it."""
    db, conf = ca.home / "db", ca.home / "ocsp-cgi.conf"
    serial = int(ca.serial("good"), 16)
    times = [time.gmtime(time.time() + days * DAY) for days in (-85, 5.5)]
    begin, end = (time.strftime("%Y%m%d%H%M%SZ", moment) for moment in times)
    ca.openssl(
        *("ca", "-config", "root-ca.cnf", "-batch", "-notext", "-extensions", "ocsp_ext"),
        *("-startdate", begin, "-enddate", end, "-in", "root-ocsp.csr", "-out", "soon.crt"),
    )
    httpd.let_read(ca.home)
    time.sleep(limits.DATABASE_SETTLING_SECONDS)

    with started(place / "httpd", cgi, conf, mpm) as server:
        log = place / "httpd" / "run" / "error.log"

        def responses(*bodies: bytes) -> list[bytes]:
            return [post(server.url, body, place) for body in bodies]

        # what nobody need look at
        responses(encoded(), encoded(extensions=nonce(bytes(16))), b"no request", encoded()[:-1])
        responses(OF_ANOTHER_CA)
        curl(server.url)
        curl("-X", "PUT", server.url)
        curl(f"{server.url}/error:%20x")
        assert greps(log) == ([], [], [])

        # never issued
        responses(encoded(0x1234), encoded(0x1234), encoded(serial, 0x5678))
        errors, warnings, days = greps(log)
        assert (errors, warnings) == ([], [])
        counts = dict(reversed(day.split()) for day in days)
        assert sum(map(int, counts.values())) == 3
        assert time.strftime("%Y-%m-%d", time.gmtime()) in counts

        # an odd line in the index, and a signer that expires soon
        with open(db / "index", "a") as index:
            index.write("R\t300101000000Z\t250101000000Z,reason\t99\tunknown\t/CN=x\n")
        settle(db / "index")
        time.sleep(limits.DATABASE_SETTLING_SECONDS)
        responses(encoded(0x99))
        conf.write_text(conf.read_text().replace("root-ocsp.crt", "soon.crt"))
        httpd.let_read(ca.home)
        responses(encoded())
        errors, warnings, _ = greps(log)
        odd, soon = warnings
        assert errors == [] and f"ocsp.cgi: warning: {db}/index line " in odd
        assert "is not one that `openssl ca` writes" in odd
        assert " status=good " in soon and " warning=rsigner-expires-in-5-days " in soon

        # failures
        (ca.home / "private" / "root-ocsp.key").unlink()
        assert responses(encoded()) == [INTERNAL_ERROR]
        conf.rename(ca.home / "away.conf")
        assert responses(encoded()) == [INTERNAL_ERROR]
        curl(server.url)
        errors, warnings, _ = greps(log)
        assert [re.sub(".*ocsp.cgi: error: ", "", line) for line in errors] == [
            f"{ca.home}/private/root-ocsp.key: No such file or directory; `rkey` names it, and the"
            " responder's user, and nobody else, must be able to read it",
            *[f"{conf}: No such file or directory; this is the config, which OCSP_CGI_CONFIG names"]
            * 2,
        ]
        assert len(warnings) == 2


@pytest.mark.apache
def test_the_fallback(ca, encoded, place):
    """ocsp.cgi alone, without its package: the response has its length, and the log an error."""
    script = httpd.install_script(place)
    httpd.let_read(place)
    with started(place / "httpd", script, ca.home / "ocsp-cgi.conf") as server:
        header = ("-H", "Content-Type: application/ocsp-request")
        (place / "request.der").write_bytes(encoded())
        response = curl(*header, "--data-binary", f"@{place}/request.der", server.url)
        [error] = grep("error: ", place / "httpd" / "run" / "error.log")
    assert (response.status, response.body) == (200, INTERNAL_ERROR)
    assert response.headers["content-length"] == "5"
    assert response.headers["content-type"] == "application/ocsp-response"
    assert re.fullmatch(rf"{TIME} ocsp\.cgi: error: .*is the whole of ocsp_cgi in .*", error)


@pytest.mark.apache
@pytest.mark.parametrize("mpm, file", [("event", "error.log"), ("prefork", "site.log")])
def test_which_file_it_is_and_what_rotating_does(ca, cgi, encoded, place, mpm, file):
    """mod_cgid's scripts write to the server's own log, mod_cgi's to that of the virtual host; a
    graceful restart is enough to make either begin a new file."""
    httpd.let_read(ca.home)
    run = place / "httpd" / "run"
    site_conf = httpd.SITE_CONF.read_text().replace(
        "    ServerName", f'    ErrorLog "{run}/site.log"\n    ServerName', 1
    )

    def lines(name: str) -> int:
        path = run / name
        return path.read_text().count(" ocsp.cgi: POST ") if path.exists() else 0

    with started(place / "httpd", cgi, ca.home / "ocsp-cgi.conf", mpm, site_conf) as server:
        post(server.url, encoded(), place)
        other = "site.log" if file == "error.log" else "error.log"
        assert (lines(file), lines(other)) == (1, 0)
        (run / file).rename(run / "old")
        post(server.url, encoded(), place)
        assert (lines("old"), lines(file)) == (2, 0)
        os.kill(int((run / "httpd.pid").read_text()), signal.SIGUSR1)
        deadline = time.monotonic() + 20
        while not lines(file) and time.monotonic() < deadline:
            time.sleep(0.1)
            post(server.url, encoded(), place)
        assert lines(file) and not lines(other)
