"""The change from the old script in cgi-bin to ocsp.cgi, and back, without a request that is lost.

A script is opened twice: by the kernel, which reads its first line, and by the interpreter that
this line names, some milliseconds later and by its path.  If another script has been renamed to
that path in between, a shell reads Python, or Python reads shell, and the client gets an error.  So
each way has two renames with a pause between them, and for that time there is a file that means the
same in both languages: see _in_both_languages.

The old script goes on existing under its own name in a directory that only its owner can enter, so
that Apache cannot run it at another address, and a single `mv` puts it back.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shlex
import shutil
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .. import ocsp_http
from ..answer import RESPONSE_STATUS_NAMES, SUCCESSFUL, printable
from ..ocsp_response import MalformedResponse, OCSPResponse
from .entry import CommandError
from .files import content

_SECONDS = 20
_PAUSE_SECONDS = 2.0  # far longer than an interpreter takes to open its script
_SHELL = re.compile(r"#!\s*\S*?/(env\s+)?(ba|da|k|z|a)?sh\b")
_PLAIN_PATH = re.compile(r"[\w./+@:,-]+")  # the same in quotes of Python and of a shell


class Seen(NamedTuple):
    """What Apache sent: `status` of HTTP, 0 if nothing came; `says` for people."""

    status: int
    is_successful: bool
    is_ocsp: bool
    says: str


class Swap:
    """Puts a link to `program` in the place of `script`; `kept` is where the script goes."""

    def __init__(self, script: Path, program: Path):
        self.script = script
        self.program = program
        self.kept = script.with_name(f"{script.name}.before-migration") / script.name

    @property
    def is_done(self) -> bool:
        return self.script.is_symlink() and os.readlink(self.script) == str(self.program)

    @property
    def back(self) -> str:
        """The one command that puts the script back, whatever does not work."""
        return f"mv -f {shlex.quote(str(self.kept))} {shlex.quote(str(self.script))}"

    def check(self) -> None:
        """CommandError if this process cannot do it."""
        directory = self.script.parent
        if not os.access(directory, os.W_OK | os.X_OK):
            raise CommandError(f"{directory}: only its owner can do this: run this command as root")
        if os.path.lexists(self.kept):
            raise CommandError(
                f"{self.kept}: kept by an earlier migration, which is not undone.  If you do not"
                f" need it any more, remove it: rm {shlex.quote(str(self.kept))}"
            )

    def try_out(self, url: str, encoded: bytes, config_is_default: bool) -> None:
        """Let Apache run ocsp.cgi under another name beside the script, where it runs scripts of
        any name.  CommandError if the swap would fail; the name is gone afterwards."""
        beside = self.script.with_name(f"ocsp-migration-{os.getpid()}.cgi")
        with _as_command_errors():
            beside.symlink_to(self.program)
        try:
            seen = ask(f"{url.rpartition('/')[0]}/{beside.name}", encoded)
        finally:
            beside.unlink()
        if seen.status == 403:
            raise CommandError(
                f"Apache does not follow a link in {self.script.parent}: put this into its"
                " configuration, reload it, and run this command again:\n"
                f'    <Directory "{self.script.parent}">\n'
                "        Options +SymLinksIfOwnerMatch\n"
                "    </Directory>"
            )
        is_wrong = seen.status >= 500 or (seen.is_ocsp and config_is_default)
        if is_wrong and not seen.is_successful:
            raise CommandError(
                f"Apache runs {self.program}, and the response is wrong: {seen.says}.  Its error"
                " log says why"
            )

    def carry_out(self, pause: float = _PAUSE_SECONDS) -> None:
        """Swap.  CommandError if that fails; then nothing has changed."""
        link = self._unfinished("link")
        with _as_command_errors():
            self.kept.parent.mkdir(mode=0o700, exist_ok=True)
            self.kept.parent.chmod(0o700)
            try:
                os.link(self.script, self.kept, follow_symlinks=False)
            except OSError:  # not on this file system
                shutil.copy2(self.script, self.kept, follow_symlinks=False)
                of = self.script.lstat()
                os.chown(self.kept, of.st_uid, of.st_gid, follow_symlinks=False)
            try:
                link.symlink_to(self.program)
                self._put_between(_first_line(self.program), pause)
                link.rename(self.script)
            except BaseException:
                link.unlink(missing_ok=True)
                self.kept.replace(self.script)
                self.kept.unlink(missing_ok=True)  # where it was another name of the same file
                raise

    def undo(self, pause: float = _PAUSE_SECONDS) -> None:
        """Put the old script back."""
        with _as_command_errors():
            if not os.path.lexists(self.kept):
                raise CommandError(f"{self.kept}: the old script is not there")
            self._put_between(_first_line(self.kept), pause)
            self.kept.replace(self.script)
        with contextlib.suppress(OSError):
            self.kept.parent.rmdir()

    def _put_between(self, first_line: str, pause: float) -> None:
        """Put a responder in the script's place that the interpreters of both can read, until those
        that have been started have read it."""
        if not _SHELL.match(_first_line(self.kept)) or not _PLAIN_PATH.fullmatch(str(self.program)):
            return
        between = self._unfinished("both")
        try:
            with open(between, "x") as file:  # which follows no link that others have put there
                file.write(_in_both_languages(first_line, self.program))
                os.fchmod(file.fileno(), 0o755)
            between.rename(self.script)
        except OSError:
            between.unlink(missing_ok=True)
            raise
        time.sleep(pause)

    def _unfinished(self, what: str) -> Path:
        return self.script.with_name(f".{self.script.name}.{what}.{os.getpid()}")


def _first_line(script: Path) -> str:
    return content(script).partition(b"\n")[0].decode(errors="replace")


def _in_both_languages(first_line: str, program: Path) -> str:
    """A script that runs `program`, whether a shell reads it or Python.

    Python takes the second line for a string that nobody uses; a shell never comes to the third.
    """
    _, _, text = program.read_text().partition("\n")
    place = os.path.dirname(os.path.realpath(program))  # of the package, which is not beside this
    return f'{first_line}\n"exec" "{program}"\nimport sys\nsys.path.insert(0, {place!a})\n{text}'


def check_url(url: str) -> str:
    """The same URL.  CommandError if `ask` cannot ask there."""
    try:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme == "http" and parts.hostname and parts.port != 0:
            return url
    except ValueError:
        pass
    raise CommandError(f"--url {url}: should be like http://ocsp.example.com/cgi-bin/ocsp.cgi")


def ask(url: str, encoded: bytes) -> Seen:
    """POST an OCSPRequest to this URL."""
    parts = urllib.parse.urlsplit(url)
    assert parts.hostname, url
    try:
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=_SECONDS)
        with contextlib.closing(connection):
            headers = {"Content-Type": ocsp_http.OCSP_REQUEST}
            connection.request("POST", parts.path or "/", encoded, headers)
            response = connection.getresponse()
            body = response.read()
    except (OSError, ValueError, http.client.HTTPException) as error:
        return Seen(0, False, False, printable(str(error)) or type(error).__name__)
    if response.status != 200 or response.getheader("Content-Type") != ocsp_http.OCSP_RESPONSE:
        kind = printable(response.getheader("Content-Type", "nothing"))
        return Seen(response.status, False, False, f"HTTP status {response.status}, {kind}")
    try:
        status = OCSPResponse.from_der(body).response_status
    except MalformedResponse:
        return Seen(200, False, True, f"{len(body)} bytes that are not an OCSP response")
    return Seen(200, status == SUCCESSFUL, True, RESPONSE_STATUS_NAMES[status])


@contextlib.contextmanager
def _as_command_errors() -> Iterator[None]:
    """Turn an OSError into a CommandError."""
    try:
        yield
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror}") from None
