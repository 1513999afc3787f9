"""A PKCS#11 token with the keys of a CA's signers: SoftHSM, whose keys are in files of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from clients import cert_id, certificate, request, respond, respond_wsgi, run_cgi, settle
from two_signers import EC, RSA, new_ca

from ocsp_cgi import child, config, pin_memory, token_key
from ocsp_cgi.answer import SUCCESSFUL
from ocsp_cgi.resident import ResidentFiles
from ocsp_cgi.tools.openssl_ca import PrivateCA

PIN = "271828"
_LIBRARIES = ("/usr/lib/softhsm", "/usr/lib64/softhsm", "/usr/lib64/pkcs11")
_PKCS11 = Path("/usr/lib/x86_64-linux-gnu/pkcs11")
SPY, REMOTE = _PKCS11 / "pkcs11-spy.so", _PKCS11 / "p11-kit-client.so"
KEYS = {EC: "01", RSA: "02"}  # the ids of the keys


def need_softhsm() -> str:
    """The PKCS#11 module of SoftHSM.  Skips the test where a part is missing."""
    for program, package in (
        ("softhsm2-util", "softhsm2"),
        ("pkcs11-tool", "opensc"),
        ("p11-kit", "p11-kit"),
    ):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (Debian: apt-get install {package})")
    engine = subprocess.run(["openssl", "engine", "pkcs11"], capture_output=True)
    if engine.returncode != 0:
        pytest.skip(
            "openssl has no engine pkcs11 (Debian: apt-get install libengine-pkcs11-openssl)"
        )
    found = [f"{one}/libsofthsm2.so" for one in _LIBRARIES]
    return next(path for path in found if os.path.exists(path))


class Token:
    """A CA whose signers have their keys on a token, and in files as well.  `module` is the PKCS#11
    module that the config names."""

    def __init__(self, ca: PrivateCA):
        self.module = need_softhsm()
        self.home = ca.home
        self.ca = ca
        self.variables = {"SOFTHSM2_CONF": str(self.home / "softhsm2.conf")}
        self.path = ca.home / "ocsp-cgi.conf"
        self.pin = ca.home / "private" / "pin"
        self.root = certificate(ca.home / "root-ca.crt")
        self.files = ResidentFiles(0)

    def make(self) -> None:
        tokens = self.home / "tokens"
        tokens.mkdir(mode=0o700)
        self.place()
        pins = ("--pin", PIN, "--so-pin", "31415926")
        self.run("softhsm2-util", "--init-token", "--free", "--label", "ocsp", *pins)
        for name, number in KEYS.items():
            named = ("--label", name, "--id", number)
            key = self.home / "private" / f"{name}.key"
            self.run("softhsm2-util", "--token", "ocsp", "--import", key, *named, "--pin", PIN)

    def place(self) -> None:
        """Say where the token is, in a copy of it, too."""
        self.pin.write_text(f"{PIN}\n")
        self.pin.chmod(0o600)
        (self.home / "softhsm2.conf").write_text(
            f"directories.tokendir = {self.home}/tokens\nobjectstore.backend = file\n"
            "log.level = ERROR\n"
        )

    def run(self, *command: str | Path, **options) -> str:
        environment = {**os.environ, **self.variables}
        run = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, **options
        )
        assert run.returncode == 0, run.stderr
        return run.stdout

    def uri(self, key: str = EC, token: str = "ocsp") -> str:
        return f"pkcs11:token={token};object={key}?module-path={self.module}"

    def write(self, **changes: str) -> None:
        """The config, with a key on the token that signs with P-256, unless `changes` say else."""
        settings = {
            "db": "db",
            "ca": "root-ca.crt",
            "rsigner": f"{EC}.crt",
            "rkey": self.uri(),
            "passin": "private/pin",
            **changes,
        }
        lines = [f"{name} = {value}\n" for name, value in settings.items() if value]
        self.path.write_text("".join(["[root-ca]\n", *lines]))

    def request(self, extensions: bytes = b"") -> bytes:
        number = int(self.ca.serial("good"), 16)
        return request(cert_id(self.root, number), extensions=extensions)

    def respond(self, way: str = "CGI", extensions: bytes = b""):
        """The response about good.crt, made in this process."""
        encoded, now = self.request(extensions), int(time.time())
        if way == "WSGI":
            return respond_wsgi(encoded, self.path, now, self.files)
        return respond(encoded, lambda: config.load(str(self.path)), now)

    def refused(self, way: str = "CGI") -> str:
        """Why there is no response, as the log says it."""
        answered = self.respond(way)
        assert answered.response_status != SUCCESSFUL
        [note] = answered.notes
        return note.replace(str(self.home), "HOME").replace(self.module, "MODULE")

    def run_cgi(self, cgi: Path, **variables: str):
        return run_cgi(cgi, self.path, body=self.request(), **self.variables, **variables)

    def spied(self, monkeypatch) -> Path:
        """Let OpenSC's spy stand before the token.  Returns the file with all calls."""
        log = self.home / "calls.txt"
        self.variables["PKCS11SPY"] = self.module
        self.variables["PKCS11SPY_OUTPUT"] = str(log)
        self.module = str(SPY)
        self.set(monkeypatch)
        return log

    def set(self, monkeypatch) -> None:
        """Give this process the environment in which the token is found."""
        for name, value in self.variables.items():
            monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def token_of_all(pki, workspace) -> Token:
    """A token with the keys of a CA that has two signers."""
    need_softhsm()
    made = Token(new_ca(pki, workspace / "token"))
    made.make()
    return made


@pytest.fixture
def token(token_of_all, place, monkeypatch) -> Token:
    """A copy of that one, which a test may change, in a process that has never used one."""
    ca = token_of_all.ca.copy(place / "ca")
    settle(ca.home / "db" / "index")
    copied = Token(ca)
    copied.place()
    copied.write()
    copied.set(monkeypatch)
    token_key._hanging.clear()
    pin_memory._known.clear()
    return copied


@contextlib.contextmanager
def remote(token: Token, monkeypatch):
    """The token behind a socket, as one in a network.  Yields the process that serves it, which
    hangs while it is stopped."""
    socket = token.home / "socket"
    environment = {**os.environ, **token.variables}
    server = subprocess.Popen(
        [
            "p11-kit",
            "server",
            "--foreground",
            "--name",
            socket,
            "--provider",
            token.module,
            "pkcs11:",
        ],
        env=environment,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        until = time.monotonic() + 20
        while not socket.exists():
            assert time.monotonic() < until
            time.sleep(0.01)
        token.module = str(REMOTE)
        token.variables["P11_KIT_SERVER_ADDRESS"] = f"unix:path={socket}"
        token.set(monkeypatch)
        token.write()
        yield server
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def no_child_is_left() -> bool:
    child._reap()
    return not child._running and not child._unended
