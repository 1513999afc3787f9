"""Keys on a token: signatures by a real one, and what can be wrong with it."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from clients import openssl_ocsp, started, started_wsgi, verified
from cryptography.hazmat.primitives import hashes
from tokens import PIN, no_child_is_left, remote
from two_signers import EC, RSA, RSA_SHA512, preferring

from ocsp_cgi import child, config, limits, pin_memory
from ocsp_cgi.answer import SUCCESSFUL
from ocsp_cgi.tools import httpd


@pytest.mark.parametrize("way", ["CGI", "WSGI"])
@pytest.mark.parametrize("name", [EC, RSA])
def test_signs(token, name, way):
    token.write(rsigner=f"{name}.crt", rkey=token.uri(name))
    answered = token.respond(way)
    assert answered.response_status == SUCCESSFUL, answered.notes
    assert answered.notes == []
    verified(answered.der, token.root)
    (token.home / "response.der").write_bytes(answered.der)
    arguments = ("-no_nonce", "-respin", "response.der", "-cert", "good.crt")
    assert openssl_ocsp(token.home, *arguments).stdout.startswith("good.crt: good\n")


def test_signs_with_the_algorithm_that_the_client_prefers(token):
    token.write(rsigner=f"{RSA}.crt", rkey=token.uri(RSA))
    response = verified(token.respond(extensions=preferring(RSA_SHA512)).der, token.root)
    assert isinstance(response.signature_hash_algorithm, hashes.SHA512)


def test_the_cgi_signs_and_caches(token, cgi):
    (token.home / "cache").mkdir()
    token.write(cache="cache")
    first = token.run_cgi(cgi)
    verified(first.body, token.root)
    token.variables["PATH"] = "/nonexistent"  # where openssl is not
    again = token.run_cgi(cgi)
    assert "cache=hit" in again.log
    assert again.body == first.body


def test_one_of_several_tokens_and_a_pin_with_windows_line_ends(token):
    pins = ("--pin", "1111", "--so-pin", "2222")
    token.run("softhsm2-util", "--init-token", "--free", "--label", "other", *pins)
    token.pin.write_bytes(PIN.encode() + b"\r\nwhatever\n")
    assert token.respond().response_status == SUCCESSFUL
    assert "the token refuses the PIN" in _with(token, rkey=token.uri(token="other"))


def _with(token, **changes: str) -> str:
    token.write(**changes)
    return token.refused()


# A PIN that is wrong


@pytest.mark.parametrize("way", ["CGI", pytest.param("WSGI", marks=pytest.mark.slow)])
def test_a_wrong_pin_is_tried_once(token, way, monkeypatch):
    calls = token.spied(monkeypatch)
    (token.home / "cache").mkdir()
    token.write(cache="cache")
    token.pin.write_text("wrong\n")
    first = token.refused(way)
    assert "the token refuses the PIN in HOME/private/pin, and locks after a few" in first
    assert "`touch HOME/private/pin`" in first
    assert token.refused(way) == first
    assert calls.read_text().count("C_Login\n") == 1
    token.pin.write_text(f"{PIN}\n")
    assert token.respond(way).response_status == SUCCESSFUL


def test_a_wrong_pin_is_tried_once_by_all_processes(token, cgi, monkeypatch):
    calls = token.spied(monkeypatch)
    (token.home / "cache").mkdir()
    token.write(cache="cache")
    token.pin.write_text("wrong\n")
    for _ in range(2):
        assert "the token refuses the PIN" in token.run_cgi(cgi).log
    assert calls.read_text().count("C_Login\n") == 1
    token.pin.write_text(f"{PIN}\n")
    verified(token.run_cgi(cgi).body, token.root)


@pytest.mark.slow
def test_many_at_once_try_a_wrong_pin_once(token, cgi, monkeypatch):
    calls = token.spied(monkeypatch)
    (token.home / "cache").mkdir()
    token.write(cache="cache")
    token.pin.write_text("wrong\n")
    with ThreadPoolExecutor(8) as pool:
        said = [one.log for one in pool.map(lambda _: token.run_cgi(cgi), range(8))]
    assert all("the token refuses the PIN" in one for one in said)
    assert calls.read_text().count("C_Login\n") == 1
    token.pin.write_text("wrong again\n")
    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(lambda _: token.refused("WSGI"), range(8)))
    assert all("the token refuses the PIN" in one for one in said)
    assert calls.read_text().count("C_Login\n") == 2


def test_a_wrong_pin_is_tried_once_for_all_keys_on_a_token(token, monkeypatch):
    calls = token.spied(monkeypatch)
    second = {"rsigner2": f"{RSA}.crt", "rkey2": token.uri(RSA), "passin2": "private/pin"}
    token.write(**second)
    token.pin.write_text("wrong\n")
    answered = token.respond()
    assert answered.response_status != SUCCESSFUL
    assert sum("the token refuses the PIN" in note for note in answered.notes) == 2
    assert calls.read_text().count("C_Login\n") == 1


def test_a_pin_that_another_process_has_seen_refused_is_not_tried(token, monkeypatch):
    """The token has a new PIN, and the old one was accepted here before."""
    calls = token.spied(monkeypatch)
    (token.home / "cache").mkdir()
    token.write(cache="cache")
    assert token.respond("WSGI").response_status == SUCCESSFUL
    calls.write_text("")
    other = pin_memory.PIN(config.load(str(token.path)).cas[0], str(token.home / "cache"))
    known = dict(pin_memory._known)
    other.note(pin_memory.REFUSED)
    pin_memory._known.update(known)
    shutil.rmtree(next((token.home / "cache").glob("buckets-*")))
    assert "the token refuses the PIN" in token.refused("WSGI")
    assert "C_Login" not in calls.read_text()


def test_without_a_pin_none_is_tried(token, monkeypatch):
    """Least of all bytes of the response."""
    calls = token.spied(monkeypatch)
    assert "the token asks for a PIN: put it in a file" in _with(token, passin="", rkey=token.uri())
    assert "C_Login" not in calls.read_text()
    token.pin.write_text("\n")
    assert "HOME/private/pin: its first line is empty" in _with(token)


def test_everybody_can_read_the_pin(token):
    token.pin.chmod(0o644)
    assert "HOME/private/pin: everybody on this machine may read it: chmod o-rwx" in token.refused()


# Something else that is wrong


@pytest.mark.parametrize(
    "rkey, expected",
    [
        ("pkcs11:token=none;object=root-ocsp?module-path={}", "no such token, or the responder's"),
        ("pkcs11:token=ocsp;object=none?module-path={}", "no such private key on the token; `pkcs"),
        ("pkcs11:token=ocsp;object=rsa-ocsp?module-path={}", "not the private key of the certific"),
        ("pkcs11:token=ocsp?module-path=/none.so", "the token's PKCS#11 module cannot be loaded, "),
        ("pkcs11:token=ocsp;object?module-path={}", "not a URI as in RFC 7512"),
        ("file:private/root-ocsp.key", "name the file itself with `rkey`, without `file:`"),
        ("handle:0x81000001", "openssl cannot sign with it: "),
    ],
)
def test_says_what_is_wrong(token, rkey, expected):
    said = _with(token, rkey=rkey.format(token.module))
    assert said.startswith("error: " + rkey.format("MODULE"))
    assert expected in said
    assert no_child_is_left()


@pytest.mark.parametrize(
    "before, attribute",
    [
        ("pkcs11:token=ocsp", "?pin-value=1234"),
        ("pkcs11:token=ocsp", ";pin-value=1234;object=root-ocsp"),
        ("pkcs11:token=ocsp?module-path=MODULE", "&pin-source=/1234"),
        ("rkey", "pkcs11:pin-value=1234;token=ocsp"),
    ],
)
def test_a_pin_in_the_uri(token, before, attribute):
    """It would be in the list of processes, and here in the log."""
    said = _with(token, rkey=before.replace("rkey", "").replace("MODULE", token.module) + attribute)
    name = "pin-source" if "source" in attribute else "pin-value"
    assert said.startswith(f"error: {before}: remove `{name}`: the PIN is the first line of a file")
    assert "1234" not in said


@pytest.mark.parametrize(
    "variable, value, expected",
    [
        ("OPENSSL_ENGINES", "/nonexistent", "openssl has neither the engine nor the provider"),
        (
            "SOFTHSM2_CONF",
            "/nonexistent",
            "the token's PKCS#11 module cannot be loaded, or lacks its",
        ),
        ("PATH", "/nonexistent", "the command openssl, which signs with it, is missing"),
    ],
)
def test_says_what_is_missing(token, monkeypatch, variable, value, expected):
    encoded = token.request()
    monkeypatch.setattr(token, "request", lambda extensions: encoded)
    monkeypatch.setenv(variable, value)
    assert expected in token.refused()


def test_another_key_under_the_same_name(token):
    """Each signature is verified, in a process that stays as well."""
    assert token.respond("WSGI").response_status == SUCCESSFUL
    tool = ("pkcs11-tool", "--module", token.module, "--token-label", "ocsp", "--login", "--pin")
    token.run(*tool, PIN, "--delete-object", "--type", "privkey", "--id", "01")
    key = token.home / "private" / f"{RSA}.key"
    named = ("--label", EC, "--id", "05")
    token.run("softhsm2-util", "--token", "ocsp", "--import", key, *named, "--pin", PIN)
    assert "not the private key of the certificate in HOME/root-ocsp.crt" in token.refused("WSGI")


# A token that hangs


def _stop(server: subprocess.Popen, number: signal.Signals) -> None:
    os.killpg(server.pid, number)


@pytest.mark.slow
def test_a_token_that_hangs(token, monkeypatch):
    monkeypatch.setattr(limits, "TOKEN_SECONDS", 0.5)
    monkeypatch.setattr(limits, "TOKEN_RETRY_SECONDS", 1)
    with remote(token, monkeypatch) as server:
        _stop(server, signal.SIGSTOP)
        said = token.refused("WSGI")
        assert "the token has made no signature within 0.5 seconds" in said
        assert no_child_is_left()
        monkeypatch.setattr(child, "run", None)  # until then no process is started for it
        assert token.refused("WSGI") == said
        monkeypatch.undo()
        token.set(monkeypatch)
        _stop(server, signal.SIGCONT)
        until = time.monotonic() + 20
        while token.respond("WSGI").response_status != SUCCESSFUL:
            assert time.monotonic() < until
            time.sleep(0.1)
    assert no_child_is_left()


@pytest.mark.slow
def test_while_one_token_hangs_the_other_signer_signs(token, monkeypatch):
    monkeypatch.setattr(limits, "TOKEN_SECONDS", 0.5)
    with remote(token, monkeypatch) as server:
        token.write(rsigner2=f"{RSA}.crt", rkey2=f"private/{RSA}.key")
        _stop(server, signal.SIGSTOP)
        answered = token.respond()
        assert answered.response_status == SUCCESSFUL
        assert any("cannot sign, " in note and "within 0.5" in note for note in answered.notes)


def test_while_one_token_hangs_another_signs(token, monkeypatch):
    """Also if neither has accepted a PIN yet, and one request at a time tries that."""
    local = token.module
    with remote(token, monkeypatch) as server:
        _stop(server, signal.SIGSTOP)
        thread = threading.Thread(target=token.respond)
        thread.start()
        until = time.monotonic() + 3
        while not child._running:
            assert time.monotonic() < until
        token.module = local
        token.write()
        assert token.respond().response_status == SUCCESSFUL
        assert thread.is_alive()
        _stop(server, signal.SIGCONT)
        thread.join()


def test_neither_arguments_nor_environment_show_the_pin(token, monkeypatch):
    monkeypatch.setattr(limits, "TOKEN_SECONDS", 3)
    with remote(token, monkeypatch) as server:
        _stop(server, signal.SIGSTOP)
        answered = []
        thread = threading.Thread(target=lambda: answered.append(token.respond()))
        thread.start()
        until = time.monotonic() + 3
        while not child._running:
            assert time.monotonic() < until
        [process] = child._running
        place = Path(f"/proc/{process}")
        while b"openssl" not in (shown := (place / "cmdline").read_bytes()):
            assert time.monotonic() < until
        assert b"object=root-ocsp" in shown
        assert b"passin" in shown
        assert PIN.encode() not in shown + (place / "environ").read_bytes()
        _stop(server, signal.SIGCONT)
        thread.join()
    assert answered[0].response_status == SUCCESSFUL


@pytest.mark.slow
def test_the_deadline_ends_the_process_that_waits_for_a_token(token, cgi, monkeypatch):
    with remote(token, monkeypatch) as server:
        _stop(server, signal.SIGSTOP)
        program = f"""
            import sys
            sys.path.insert(0, {str(cgi.parent)!r})
            from ocsp_cgi import cgi, limits
            limits.DEADLINE_SECONDS, limits.TOKEN_SECONDS = 1.5, 60
            cgi.main()
        """
        script = token.home / "impatient.cgi"
        script.write_text(f"#!{sys.executable}\n" + textwrap.dedent(program))
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        response = token.run_cgi(script)
        assert response.body == bytes.fromhex("30030a0103")
        assert f"still reading {token.uri()}: does what it is on hang?" in response.log
        assert not _processes_with(token.uri().partition("?")[0], token.home / "socket")


def _processes_with(argument: str, socket: Path) -> list[str]:
    """Those with an argument that use the token behind this socket: others may be another run's."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words, environment = path.read_bytes(), path.with_name("environ").read_bytes()
            if argument.encode() in words.split(b"\0") and bytes(socket) in environment:
                found.append(path.parent.name)
        except OSError:
            pass
    return found


# In Apache


@pytest.mark.apache
@pytest.mark.parametrize("way", ["CGI", "WSGI"])
def test_signs_in_apache(token, cgi, place, way):
    httpd.let_read(token.home)
    httpd.let_write(token.home / "tokens")
    where = f"SetEnv SOFTHSM2_CONF {token.variables['SOFTHSM2_CONF']}"
    if way == "CGI":
        site_conf = httpd.SITE_CONF.read_text().replace("SetEnv ", f"{where}\n    SetEnv ", 1)
        apache = started(place / "httpd", cgi, token.path, site_conf=site_conf)
    else:  # whose processes have Apache's environment
        apache = started_wsgi(place / "httpd", cgi, token.path)
    with apache:
        said = openssl_ocsp(token.home, "-url", apache.url, "-cert", "good.crt")
    assert said.stdout.startswith("good.crt: good\n"), said.stderr + apache.error_log
