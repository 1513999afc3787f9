"""What can go wrong around the responder.

Every fault has its error response, which tells the client nothing more, and a log line that names
the file and the fix.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import venv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from clients import (
    as_nobody,
    base64_of,
    cert_id,
    certificate,
    parse_http,
    program,
    request,
    run_cgi,
    settle,
    verified,
)

from ocsp_cgi import limits, ocsp_http
from ocsp_cgi.tools import httpd

INTERNAL_ERROR, TRY_LATER = b"\x30\x03\x0a\x01\x02", b"\x30\x03\x0a\x01\x03"


def write(name: str, content: str = ""):
    return lambda home: (home / name).write_text(content)


def remove(name: str):
    return lambda home: (home / name).unlink()


def directory(name: str):
    def replace(home: Path) -> None:
        (home / name).unlink()
        (home / name).mkdir()

    return replace


def unreadable(name: str):
    return lambda home: (home / name).chmod(0)


def other_key(home: Path) -> None:
    shutil.copy(home / "private" / "good.key", home / "private" / "root-ocsp.key")


def without_eku(home: Path) -> None:
    shutil.copy(home / "good.crt", home / "root-ocsp.crt")
    other_key(home)


def loop(home: Path) -> None:
    (home / "db" / "index").unlink()
    (home / "db" / "index").symlink_to("index")


KEY = "private/root-ocsp.key"
FAULTS = {
    # what is done to the CA's directory, the response, and what the log says
    "config missing": (
        remove("ocsp-cgi.conf"),
        INTERNAL_ERROR,
        "HOME/ocsp-cgi.conf: No such file or directory; this is the config",
    ),
    "config unreadable": (
        unreadable("ocsp-cgi.conf"),
        INTERNAL_ERROR,
        "HOME/ocsp-cgi.conf: Permission denied; this is the config",
    ),
    "config empty": (
        write("ocsp-cgi.conf"),
        INTERNAL_ERROR,
        "HOME/ocsp-cgi.conf: no section of a CA in it",
    ),
    "config a directory": (
        directory("ocsp-cgi.conf"),
        INTERNAL_ERROR,
        "HOME/ocsp-cgi.conf: Is a directory; this is the config",
    ),
    "config nonsense": (
        write("ocsp-cgi.conf", "\x7fELF"),
        INTERNAL_ERROR,
        "HOME/ocsp-cgi.conf:1: neither `setting = value` nor [section]",
    ),
    "db missing": (
        lambda home: shutil.rmtree(home / "db"),
        TRY_LATER,
        "HOME/db: No such file or directory. `db` names the index, or",
    ),
    "db unreadable": (
        unreadable("db"),
        TRY_LATER,
        "HOME/db/index: permission denied. `openssl ca` gives it the mode of its umask",
    ),
    "index missing": (
        remove("db/index"),
        TRY_LATER,
        "HOME/db/index: No such file or directory. `db` names the index, or",
    ),
    "index unreadable": (
        unreadable("db/index"),
        TRY_LATER,
        "HOME/db/index: permission denied. `openssl ca` gives it the mode of its umask",
    ),
    "index a directory": (
        directory("db/index"),
        TRY_LATER,
        "HOME/db/index: Is a directory. `db` names the index, or",
    ),
    "index a link to itself": (
        loop,
        TRY_LATER,
        "HOME/db/index: Too many levels of symbolic links. `db` names the index, or",
    ),
    "index cut off": (
        write("db/index", "V\t27022"),
        TRY_LATER,
        "HOME/db/index breaks off in the middle of its last line. A copy must be",
    ),
    "index not an index": (
        write("db/index", "<html>404</html>\n"),
        TRY_LATER,
        "HOME/db/index has no row in it (six fields with TABs",
    ),
    "ca missing": (
        remove("root-ca.crt"),
        INTERNAL_ERROR,
        "HOME/root-ca.crt: No such file or directory; `ca` names it",
    ),
    "ca unreadable": (
        unreadable("root-ca.crt"),
        INTERNAL_ERROR,
        "HOME/root-ca.crt: Permission denied; `ca` names it",
    ),
    "ca empty": (
        write("root-ca.crt"),
        INTERNAL_ERROR,
        "HOME/root-ca.crt: no -----BEGIN CERTIFICATE----- block; `ca` names it",
    ),
    "ca a directory": (
        directory("root-ca.crt"),
        INTERNAL_ERROR,
        "HOME/root-ca.crt: Is a directory; `ca` names it",
    ),
    "rsigner missing": (
        remove("root-ocsp.crt"),
        INTERNAL_ERROR,
        "HOME/root-ocsp.crt: No such file or directory; `rsigner` names it",
    ),
    "rsigner unreadable": (
        unreadable("root-ocsp.crt"),
        INTERNAL_ERROR,
        "HOME/root-ocsp.crt: Permission denied; `rsigner` names it",
    ),
    "rsigner empty": (
        write("root-ocsp.crt"),
        INTERNAL_ERROR,
        "HOME/root-ocsp.crt: no -----BEGIN CERTIFICATE----- block",
    ),
    "rsigner a directory": (
        directory("root-ocsp.crt"),
        INTERNAL_ERROR,
        "HOME/root-ocsp.crt: Is a directory; `rsigner` names it",
    ),
    "rsigner lacks the EKU": (
        without_eku,
        INTERNAL_ERROR,
        "HOME/root-ocsp.crt: it lacks the extended key usage OCSPSigning",
    ),
    "rkey missing": (
        remove(KEY),
        INTERNAL_ERROR,
        f"HOME/{KEY}: No such file or directory; `rkey` names it",
    ),
    "rkey unreadable": (
        unreadable(KEY),
        INTERNAL_ERROR,
        f"HOME/{KEY}: Permission denied; `rkey` names it",
    ),
    "rkey empty": (
        lambda home: os.truncate(home / KEY, 0),
        INTERNAL_ERROR,
        f"HOME/{KEY}: no private key in PEM",
    ),
    "rkey a directory": (
        directory(KEY),
        INTERNAL_ERROR,
        f"HOME/{KEY}: Is a directory; `rkey` names it",
    ),
    "rkey of another": (
        other_key,
        INTERNAL_ERROR,
        f"HOME/{KEY}: not the private key of the certificate in HOME/root-ocsp.crt",
    ),
    "rkey for everybody": (
        lambda home: (home / KEY).chmod(0o644),
        INTERNAL_ERROR,
        f"HOME/{KEY}: everybody on this machine may read it",
    ),
    "passin missing": (
        write(
            "ocsp-cgi.conf",
            "[root-ca]\ndb=db\nca=root-ca.crt\nrsigner=root-ocsp.crt\nrkey=private/enc.key\npassin=pass\n",
        ),
        INTERNAL_ERROR,
        "HOME/pass: No such file or directory; `passin` names it",
    ),
    "stale": (
        write(
            "ocsp-cgi.conf",
            "[root-ca]\ndb=db\nca=root-ca.crt\nrsigner=root-ocsp.crt\nrkey=private/root-ocsp.key\nstale_after=60\n",
        ),
        TRY_LATER,
        (
            "HOME/db/heartbeat: No such file or directory. With `stale_after`, the job that copies"
            " the index must touch this file"
        ),
    ),
}


@pytest.fixture(scope="module")
def prepared(pki, workspace):
    """A CA, also with an encrypted key, to copy for each fault; and a request about good.crt."""
    ca = pki.copy(workspace / "faults")
    ca.openssl(
        "pkcs8", "-topk8", "-in", KEY, "-out", "private/enc.key", "-passout", "pass:correct horse"
    )
    encoded = request(
        cert_id(
            certificate(ca.home / "root-ca.crt"), certificate(ca.home / "good.crt").serial_number
        )
    )
    ask(ca.home, encoded)  # loads every module while root can: nobody may not be able to
    return ca, encoded


def ask(home: Path, encoded: bytes) -> tuple[ocsp_http.Response, list[str]]:
    http_request = ocsp_http.Request("POST", "/x", "/x", "", "application/ocsp-request", encoded)
    return ocsp_http.handle(
        http_request, str(home / "ocsp-cgi.conf"), "http://x/x", int(time.time())
    )


@pytest.fixture
def broken(prepared, place):
    """broken(fault) is the directory of a CA with that fault, owned by the user that the responder
    runs as, which is not root."""

    home = place / "ca"

    def make(fault: str) -> Path:
        prepared[0].copy(home)
        FAULTS[fault][0](home)
        if os.geteuid() == 0:
            subprocess.run(["chown", "-R", "-h", "nobody", str(home)], check=True)
        return home

    yield make
    if (home / "db").exists():
        (home / "db").chmod(0o755)  # or nobody but root could remove it


@pytest.mark.parametrize("fault", FAULTS)
def test_fault(broken, prepared, fault):
    _, expected, message = FAULTS[fault]
    home = broken(fault)
    with as_nobody():
        response, lines = ask(home, prepared[1])
    assert (response.status, response.body) == (200, expected)
    assert ("Cache-Control", "no-cache, no-store") in response.headers
    warning, line = (text.replace(str(home), "HOME") for text in lines)
    assert warning.startswith(f"error: {message}"), warning
    assert "response=" in line and "report this" not in warning


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if "unreadable" not in fault])
@pytest.mark.slow
def test_fault_in_the_cgi(broken, prepared, cgi, fault):
    """Through the real one too: a well-formed response that tells the client nothing."""
    _, expected, message = FAULTS[fault]
    home = broken(fault)
    response = run_cgi(cgi, home / "ocsp-cgi.conf", "POST", prepared[1])
    assert (response.status, response.body, set(response.headers)) == (
        200,
        expected,
        {"content-type", "content-length", "cache-control"},
    )
    assert f"Z ocsp.cgi: error: {message}".replace("HOME", str(home)) in response.log
    assert "Traceback" not in response.log
    page = run_cgi(cgi, home / "ocsp-cgi.conf", "GET")
    assert page.status == 200 and str(home) not in page.body.decode()


def environment(config: Path, **variables: str) -> dict[str, str]:
    return {
        "REQUEST_METHOD": "POST",
        "CONTENT_TYPE": "application/ocsp-request",
        "OCSP_CGI_CONFIG": str(config),
        "SCRIPT_NAME": "/x",
        "REQUEST_URI": "/x",
        **variables,
    }


@pytest.mark.slow
def test_what_hangs_ends_at_the_deadline_with_try_later(prepared, cgi, place):
    """A client that stops sending; and files on a hanging file system: FIFOs without a writer."""
    ca, encoded = prepared
    hung = {}
    for name in ("ocsp-cgi.conf", "db/index", "root-ca.crt", "root-ocsp.crt", KEY):
        home = ca.copy(place / name.replace("/", "-")).home
        (home / name).unlink()
        os.mkfifo(home / name, 0o600)
        hung[name] = home

    def run(name: str | None) -> tuple[float, bytes, str]:
        home = hung[name] if name else ca.home
        content_length = len(encoded) + (0 if name else 1)
        started = time.monotonic()
        with program(
            [cgi],
            env=environment(home / "ocsp-cgi.conf", CONTENT_LENGTH=str(content_length)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            timer = threading.Timer(6 * limits.DEADLINE_SECONDS, process.kill)
            timer.start()
            process.stdin.write(encoded)
            process.stdin.flush()
            output = process.stdout.read()
            seconds = time.monotonic() - started
            timer.cancel()
            return seconds, output, process.stderr.read().decode()

    with ThreadPoolExecutor(len(hung) + 1) as pool:
        results = list(pool.map(run, [*hung, None]))
    for name, (seconds, output, log) in zip([*hung, None], results):
        response = parse_http(output)
        assert (response.status, response.body) == (200, TRY_LATER), name
        assert limits.DEADLINE_SECONDS - 1 < seconds < limits.DEADLINE_SECONDS * 2
        if name:
            what = "error: no response within 10 seconds, still reading "
            what += str(hung[name] / name).replace("/index", "")
        else:
            what = (
                "no response within 10 seconds, still reading the request: did the client not send"
                " all of it?"
            )
        assert f" ocsp.cgi: {what}" in log and "POST response=tryLater" in log


def test_client_that_does_not_wait_for_its_response(prepared, cgi):
    """EPIPE: nothing is left behind, and the log has its line."""
    ca, encoded = prepared
    ours, theirs = socket.socketpair()
    with program(
        [cgi],
        env=environment(ca.home / "ocsp-cgi.conf"),
        stdin=subprocess.PIPE,
        stdout=theirs,
        stderr=subprocess.PIPE,
    ) as process:
        theirs.close()
        ours.close()
        _, log = process.communicate(encoded, timeout=60)
    assert process.returncode == 0
    assert log.count(b"\n") == 1 and b"status=good" in log


@pytest.mark.parametrize(
    "content_length, body, expected",
    [
        (lambda length: length - 1, lambda encoded: encoded, "malformed"),  # the rest is not read
        (lambda length: length, lambda encoded: encoded + b"more", "good"),
        (
            lambda length: length + 10,
            lambda encoded: encoded,
            "good",
        ),  # cut off after a whole request
        (lambda length: length, lambda encoded: encoded[:-1], "malformed"),
        (lambda length: "", lambda encoded: encoded, "good"),
        (lambda length: "abc", lambda encoded: encoded, "good"),
        (lambda length: -5, lambda encoded: encoded, "good"),
        (lambda length: "9" * 30, lambda encoded: encoded, "good"),
        (lambda length: 2_000_000, lambda encoded: encoded + bytes(2_000_000), "malformed"),
        (lambda length: "", lambda encoded: encoded + bytes(2_000_000), "malformed"),
    ],
)
def test_standard_input_and_content_length(prepared, cgi, content_length, body, expected):
    ca, encoded = prepared
    response = run_cgi(
        cgi,
        ca.home / "ocsp-cgi.conf",
        "POST",
        body(encoded),
        CONTENT_LENGTH=str(content_length(len(encoded))),
    )
    if expected == "good":
        assert verified(response.body, certificate(ca.home / "root-ca.crt"))
    else:
        assert response.body == b"\x30\x03\x0a\x01\x01"


def test_no_module_from_outside_is_loaded(prepared, cgi, place):
    """Not from the working directory, nor from the user's site-packages, nor from what PYTHON*
    variables name."""
    ca, encoded = prepared
    for name in (
        "posix.py",
        "binascii.py",
        "hashlib.py",
        "cryptography.py",
        "ocsp_cgi.py",
        "sitecustomize.py",
        "usercustomize.py",
    ):
        (place / name).write_text("raise SystemExit('loaded from outside')")
    user = (
        place
        / ".local"
        / "lib"
        / f"python{sys.version_info[0]}.{sys.version_info[1]}"
        / "site-packages"
    )
    user.mkdir(parents=True)
    shutil.copy(place / "cryptography.py", user)
    run = subprocess.run(
        [cgi],
        input=encoded,
        capture_output=True,
        cwd=place,
        timeout=60,
        env=environment(
            ca.home / "ocsp-cgi.conf",
            PYTHONPATH=str(place),
            PYTHONSTARTUP=str(place / "posix.py"),
            PYTHONHOME=str(place),
            PYTHONSAFEPATH="1",
            PYTHONNOUSERSITE="",
            HOME=str(place),
            PYTHONUSERBASE=str(place / ".local"),
        ),
    )
    assert verified(parse_http(run.stdout).body, certificate(ca.home / "root-ca.crt")), run.stderr


def test_without_cryptography_the_log_says_which_python_lacks_it(prepared, place):
    ca, encoded = prepared
    venv.create(place / "bare", with_pip=False)
    python = place / "bare" / "bin" / "python"
    response = run_cgi(
        httpd.install_cgi(place / "cgi", str(python)), ca.home / "ocsp-cgi.conf", "POST", encoded
    )
    assert response.body == INTERNAL_ERROR
    assert (
        f"{python} cannot import the package `cryptography`: No module named 'cryptography'"
        in response.log
    )


def test_what_a_client_sends_as_headers_changes_nothing(prepared, cgi):
    ca, encoded = prepared
    hostile = {
        f"HTTP_{name}": "/nowhere"
        for name in ("OCSP_CGI_CONFIG", "PYTHONPATH", "CONTENT_LENGTH", "REQUEST_METHOD", "PROXY")
    }
    response = run_cgi(
        cgi,
        ca.home / "ocsp-cgi.conf",
        "POST",
        encoded,
        QUERY_STRING="OCSP_CGI_CONFIG=/nowhere",
        **hostile,
    )
    assert verified(response.body, certificate(ca.home / "root-ca.crt"))


def test_nothing_is_written_and_no_key_leaves(prepared, cgi, place):
    """Not in the log, on the page or in a file; and a core file would be empty."""
    ca, encoded = prepared
    home = ca.copy(place / "ca").home
    settle(home / "db" / "index")
    before = {path: path.stat().st_mtime_ns for path in home.rglob("*")}
    secret = (home / KEY).read_text().split("\n")[1][:40]
    outputs = []
    for method, body, path in (
        ("POST", encoded, ""),
        ("GET", b"", "/" + base64_of(encoded)),
        ("GET", b"", ""),
        ("POST", b"x", ""),
    ):
        response = run_cgi(cgi, home / "ocsp-cgi.conf", method, body, path)
        outputs += [response.body, response.log.encode(), str(response.headers).encode()]
    other_key(home)
    outputs.append(run_cgi(cgi, home / "ocsp-cgi.conf", "POST", encoded).log.encode())
    assert not any(secret.encode() in output or b"PRIVATE KEY" in output for output in outputs)
    shutil.copy(ca.home / KEY, home / KEY)
    after = {path: path.stat().st_mtime_ns for path in home.rglob("*")}
    assert {path for path in after if after[path] != before.get(path)} <= {home / KEY}

    program = (
        "import resource, sys, time; sys.path.insert(0, sys.argv[1])\nfrom ocsp_cgi import config,"
        " responder\nfrom ocsp_cgi.answer import Log\nencoded = sys.stdin.buffer.read()\nresponse ="
        " responder.respond(encoded, lambda: config.load(sys.argv[2]), int(time.time()),"
        " Log())\nprint(response.response_status, resource.getrlimit(resource.RLIMIT_CORE)[0])"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, str(cgi.parent), str(home / "ocsp-cgi.conf")],
        input=encoded,
        capture_output=True,
    )
    assert run.stdout == b"0 0\n", run.stderr
