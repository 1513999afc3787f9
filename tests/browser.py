"""Real browsers without a screen: Firefox driven by Marionette, Chromium by its DevTools."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import itertools
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from ocsp_cgi.tools import httpd

# Preferences with which Firefox loads nothing but what the test visits.
FIREFOX_PREFERENCES = {
    "app.normandy.enabled": False,
    "app.update.disabledForTesting": True,
    "browser.safebrowsing.blockedURIs.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.homepage_override.mstone": "ignore",
    "browser.startup.page": 0,
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "network.dns.disablePrefetch": True,
    "network.prefetch-next": False,
    "network.proxy.type": 0,
    "services.settings.server": "data:,",
    "toolkit.telemetry.enabled": False,
}
CHROMIUM_OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
]


class BrowserError(Exception):
    """What the browser says is wrong."""


def need(program: str, package: str) -> str:
    """The program's path.  Skips the test if it is not installed."""
    path = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if path is None:
        pytest.skip(f"{program} is not installed (Debian: apt-get install {package})")
    return path


def trust(database: Path, ca: Path) -> None:
    """Make an NSS database in a directory, with a CA to be trusted for servers."""
    certutil = need("certutil", "libnss3-tools")
    for arguments in (["-N", "--empty-password"], ["-A", "-n", "ca", "-t", "C,,", "-i", str(ca)]):
        subprocess.run(
            [certutil, "-d", f"sql:{database}", *arguments], check=True, capture_output=True
        )


class _Browser:
    """A process group in its own directory, killed at the end of the `with`."""

    def __init__(self, home: Path):
        self.home = home
        self._output = home.with_name(f"{home.name}.output")
        home.mkdir(parents=True)

    def _start(self, command: list[str], **options) -> None:
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.home), "TMPDIR": str(self.home)}
        httpd.let_write(self.home)
        with open(self._output, "wb") as output:
            self._process = subprocess.Popen(
                command,
                stdout=output,
                stderr=output,
                cwd="/",
                env=environment,
                start_new_session=True,
                **options,
                **httpd.unprivileged(),
            )
        try:
            self._greet()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *exception) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _died(self) -> BrowserError:
        return BrowserError(f"the browser has ended:\n{self._output.read_text(errors='replace')}")


class Firefox(_Browser):
    """A Firefox that trusts one more CA, and has these preferences."""

    def __init__(self, home: Path, ca: Path, preferences: dict):
        super().__init__(home)
        self._binary = need("firefox-esr", "firefox-esr")
        self._port = httpd.free_port()
        self._numbers = itertools.count(1)
        profile = home / "profile"
        profile.mkdir()
        wanted = {**FIREFOX_PREFERENCES, **preferences, "marionette.port": self._port}
        lines = [
            f"user_pref({json.dumps(name)}, {json.dumps(value)});\n"
            for name, value in wanted.items()
        ]
        (profile / "user.js").write_text("".join(lines))
        trust(profile, ca)

    def __enter__(self) -> Firefox:
        self._start(
            [
                self._binary,
                "--headless",
                "--no-remote",
                "--profile",
                str(self.home / "profile"),
                "--marionette",
            ]
        )
        return self

    def _greet(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                connection = socket.create_connection(("127.0.0.1", self._port), 60)
                break
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise self._died() from None
                time.sleep(0.1)
        with connection:
            self._stream = connection.makefile("rwb")  # keeps the connection open
        self._read()
        self.ask(
            "WebDriver:NewSession", capabilities={"alwaysMatch": {"acceptInsecureCerts": False}}
        )

    def _read(self):
        """A message: its length in decimal, a colon, and JSON."""
        length = b""
        while not length.endswith(b":"):
            byte = self._stream.read(1)
            if not byte:
                raise self._died()
            length += byte
        return json.loads(self._stream.read(int(length[:-1])))

    def ask(self, command: str, **parameters):
        """Give one command of Marionette's.  Returns its result."""
        message = json.dumps([0, next(self._numbers), command, parameters]).encode()
        self._stream.write(b"%d:%s" % (len(message), message))
        self._stream.flush()
        _, _, error, result = self._read()
        if error:
            raise BrowserError(f"{error['error']}: {error['message']}")
        return result

    def visit(self, url: str) -> str:
        """Go to an address.  Returns the page's title, or the code on the page with which Firefox
        refuses to show it."""
        try:
            self.ask("WebDriver:Navigate", url=url)
            return self._evaluate("document.title")
        except BrowserError:
            if self._evaluate("document.documentURI").startswith("about:certerror?"):
                return self._evaluate("document.getFailedCertSecurityInfo().errorCodeString")
            return self._evaluate("document.getNetErrorInfo().errorCodeString")

    def _evaluate(self, expression: str):
        return self.ask("WebDriver:ExecuteScript", script=f"return {expression}", args=[])["value"]


class Chromium(_Browser):
    """A Chromium with one tab, that trusts one more CA."""

    def __init__(self, home: Path, ca: Path):
        super().__init__(home)
        self._binary = need("chromium", "chromium")
        database = home / ".pki" / "nssdb"
        database.mkdir(parents=True)
        trust(database, ca)

    def __enter__(self) -> Chromium:
        self._numbers = itertools.count(1)
        self._rest = b""
        commands, self._commands = os.pipe()
        self._answers, responses = os.pipe()

        def use_pipes() -> None:
            """Chromium reads commands from file descriptor 3 and writes to 4."""
            ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (commands, responses)]
            os.dup2(ends[0], 3)
            os.dup2(ends[1], 4)

        try:
            self._start(
                [self._binary, *CHROMIUM_OPTIONS, f"--user-data-dir={self.home}/profile"],
                close_fds=False,
                preexec_fn=use_pipes,
            )
        finally:
            os.close(commands)
            os.close(responses)
        return self

    def __exit__(self, *exception) -> None:
        super().__exit__(*exception)
        os.close(self._commands)
        os.close(self._answers)

    def _greet(self) -> None:
        self._session = {}
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = {
            "sessionId": self.ask("Target.attachToTarget", targetId=target, flatten=True)[
                "sessionId"
            ]
        }
        self.ask("Page.enable")

    def _read(self) -> dict:
        """A message: JSON and a null."""
        while b"\0" not in self._rest:
            if not select.select([self._answers], [], [], 60)[0]:
                raise BrowserError("the browser does not respond")
            received = os.read(self._answers, 1 << 16)
            if not received:
                raise self._died()
            self._rest += received
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def ask(self, method: str, **parameters) -> dict:
        """Give one command.  Returns its result."""
        number = next(self._numbers)
        os.write(
            self._commands,
            json.dumps(
                {"id": number, "method": method, "params": parameters, **self._session}
            ).encode()
            + b"\0",
        )
        while True:
            message = self._read()
            if message.get("id") == number:
                if "error" in message:
                    raise BrowserError(message["error"]["message"])
                return message["result"]

    def visit(self, url: str, width: int, height: int, color_scheme: str) -> None:
        """Go to an address with a window of this size, in "light" or "dark"."""
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        self.ask(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": color_scheme}],
        )
        failure = self.ask("Page.navigate", url=url).get("errorText")
        if failure:
            raise BrowserError(failure)
        deadline = time.monotonic() + 30
        while self.evaluate("document.readyState") != "complete":
            if time.monotonic() > deadline:
                raise BrowserError(f"{url} is not loaded in 30 s")
            time.sleep(0.05)

    def evaluate(self, expression: str):
        """The value of an expression of JavaScript in the page."""
        return self.ask("Runtime.evaluate", expression=expression, returnByValue=True)[
            "result"
        ].get("value")

    def screenshot(self) -> bytes:
        """What is in the window, as a PNG."""
        return base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"])
