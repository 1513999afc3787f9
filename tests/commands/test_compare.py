"""`compare`: the old script or `openssl ocsp`, and ocsp.cgi, asked the same."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
from clients import settle

from ocsp_cgi.tools import httpd, sample_requests
from ocsp_cgi.tools.comparison import REASONS

pytestmark = [pytest.mark.process, pytest.mark.slow]

CHECKOUT = Path(__file__).resolve().parents[2]
SCRIPT = """\
#!/bin/sh
if [ "$CONTENT_TYPE" = "application/ocsp-request" ]; then
    printf 'Content-Type: application/ocsp-response\\r\\n\\r\\n'
    cat | openssl ocsp -index {home}/db/index -CA {home}/root-ca.crt {more} \\
        -rkey {home}/private/root-ocsp.key -rsigner {home}/root-ocsp.crt -nmin {nmin} \\
        -reqin /dev/stdin -respout /dev/stdout | cat
else
    printf 'Content-Type: text/html\\r\\n\\r\\n<html>OCSP</html>'
fi
"""


def write_script(ca, path: Path, nmin: int = 60, more: str = "") -> Path:
    path.write_text(SCRIPT.format(home=ca.home, nmin=nmin, more=more))
    path.chmod(0o755)
    return path


def let_serve(ca):
    """The CA, with files that the web server can read and an index that is not being written."""
    httpd.let_read(ca.home)
    settle(ca.home / "db" / "index")
    return ca


@pytest.fixture
def ca(ca):
    return let_serve(ca)


@pytest.fixture
def script(ca, place):
    return write_script(ca, place / "old.cgi")


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ocsp_cgi", *map(str, arguments)]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=300)


def compare(ca, *options: object) -> tuple[int, str]:
    done = run("compare", "--config", ca.home / "ocsp-cgi.conf", *options)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def append(ca, *lines: str) -> None:
    with open(ca.home / "db" / "index", "a") as index:
        index.writelines(lines)
    settle(ca.home / "db" / "index")


def test_openssl_ocsp_with_the_same_files(ca):
    status, output = compare(ca)
    assert status == 0 and "different 0" in output
    assert "about 5 certificates (rows in the index: 2 R, 3 V), and 19 odd requests" in output
    assert REASONS["GET"] not in output  # openssl sees no HTTP


def test_a_script(ca, script):
    status, output = compare(ca, "--script", script)
    assert status == 0 and "different 0" in output
    for reason in ("GET", "content type", "method", "foreign", "nonce length", "too many"):
        assert REASONS[reason] in output
    assert "Responses are valid" not in output


def row(kind: str, serial: str, revoked: str = "", name: str = "x") -> str:
    return f"{kind}\t270220135115Z\t{revoked}\t{serial}\tunknown\t/CN={name}{serial}\n"


@pytest.mark.parametrize(
    "line, reason",
    [
        (row("E", "0ABC"), "E"),
        (row("S", "0ABC"), "type"),
        (row("V", "0abc"), "spelling"),
        (row("R", "0ABC", "261122135115Z")[:-1], "last line"),
        (row("R", "0ABC", "261122135115Z,unspecified"), "no reason"),
        (row("R", "0ABC", "261122135115Z,AACompromise"), "reason"),
        (row("R", "0ABC", "261122135115Z,keyTime,never"), "date of a reason"),
        (row("R", "0ABC", "20261122135115Z"), "date"),
        ("\n", "index"),
        ("V\t270220135115Z\t\tABCD\tunknown\n", "index"),
        (row("V", "0ABC") * 2, "index"),
    ],
    ids=lambda value: value.strip("\n").replace("\t", " ")[:30],
)
def test_odd_rows_are_better(ca, script, line, reason):
    append(ca, line)
    status, output = compare(ca, "--script", script)
    assert status == 0 and "different 0" in output
    assert REASONS[reason] in output


def test_only_some_rows_of_a_long_index_are_asked_about(ca):
    append(ca, *[row("V", f"{serial:04X}") for serial in range(0x1000, 0x1100)])
    status, output = compare(ca, "--rows", 3)
    assert status == 0
    assert "(rows in the index: 2 R, 259 V)" in output
    assert "about 5 certificates" in output or "about 6 certificates" in output


def test_another_answer_is_different(ca, script, place):
    """The script reads an index in which nothing is revoked."""
    text = (ca.home / "db" / "index").read_text()
    stale = "".join(
        line.replace("R\t", "V\t", 1).replace(line.split("\t")[2], "") if line[0] == "R" else line
        for line in text.splitlines(keepends=True)
    )
    (place / "index").write_text(stale)
    script.write_text(script.read_text().replace(f"{ca.home}/db/index", f"{place}/index"))
    status, output = compare(ca, "--script", script, "--save", place / "saved")
    assert status == 1
    assert f"{ca.serial('bad')}, line 4: before good; now revoked, keyCompromise" in output
    saved = sorted((place / "saved").iterdir())
    decoded = ca.openssl("ocsp", "-reqin", str(saved[0]), "-req_text", "-noverify")
    assert ca.serial("bad") in decoded or ca.serial("held") in decoded


def test_a_script_that_gives_no_response_is_different(ca, script):
    """Though openssl can read the index: that is not a reason to think better of ours."""
    script.write_text(script.read_text().replace("-rsigner ", "-rsigner /nowhere"))
    status, output = compare(ca, "--script", script)
    assert status == 1 and "before no response; now good" in output


def test_a_responder_of_ours_that_cannot_sign_is_different(ca, script):
    (ca.home / "private" / "root-ocsp.key").chmod(0o644)  # readable for everybody: refused
    status, output = compare(ca, "--script", script)
    assert status == 1 and "before good; now internalError" in output
    assert "chmod" in output


def test_other_settings_are_told(ca, place):
    script = write_script(ca, place / "old.cgi", nmin=5)
    assert "valid for 60 minutes; before, for 5" in compare(ca, "--script", script)[1]
    script.write_text(script.read_text().replace("-nmin 5", ""))
    assert REASONS["next update"] in compare(ca, "--script", script)[1]
    text = (ca.home / "ocsp-cgi.conf").read_text()
    text = text.replace("db      =", "nonce = ignore\nunissued = revoked\ndb =", 1)
    (ca.home / "ocsp-cgi.conf").write_text(text)
    status, output = compare(ca)
    assert status == 0
    assert REASONS["nonce = ignore"] in output and REASONS["unissued = revoked"] in output


@pytest.mark.parametrize(
    "options, says",
    [
        (("nowhere",), "no [nowhere] in the config"),
        (("--script", "/nowhere/ocsp.cgi"), "/nowhere/ocsp.cgi: no such file"),
        (("--script", "/etc/passwd"), "cannot run it: chmod 755 /etc/passwd"),
        (("--user", "nosuchuser"), "--user nosuchuser: "),
    ],
)
def test_wrong_input(ca, options, says):
    status, output = compare(ca, *options)
    assert status == 1 and says in output


def test_rows_that_are_no_number(ca):
    status, output = compare(ca, "--rows", "0")
    assert status == 3 and "`0` should be a number of rows" in output


def test_serials_are_written_as_in_the_index():
    """With a leading zero, so that grep finds the row."""
    rows = sample_requests.choose_rows(io.BytesIO(row("V", "0702C1").encode()), 10)
    assert rows.chosen == {"0702C1, line 1": 0x0702C1}
    assert rows.counts == {"V": 1}


def test_a_key_on_a_token(ca):
    config = ca.home / "ocsp-cgi.conf"
    text = config.read_text().replace("private/root-ocsp.key", "pkcs11:token=ocsp")
    config.write_text(text)
    status, said = compare(ca)
    assert status == 3
    assert "`openssl ocsp` signs with keys in files only" in said


def test_a_host_without_the_key(ca):
    config = ca.home / "ocsp-cgi.conf"
    config.write_text(
        config.read_text().replace("rkey    = private/root-ocsp.key", "cache_from = signer:cache")
    )
    status, printed = compare(ca)
    assert status == 1 and "compare on the host with the key" in printed
