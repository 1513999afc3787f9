"""What is measured: a CA with signers of two kinds, its index in several lengths, the shell script,
and ocsp.cgi under several Pythons."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from clients import cert_id, certificate, request, settle
from measure import Command

from ocsp_cgi import limits
from ocsp_cgi.tools.openssl_ca import PrivateCA

SIGNERS = {"RSA": ("rsa:2048",), "P-256": ("ec", "-pkeyopt", "ec_paramgen_curve:P-256")}

CHECKOUT = Path(__file__).resolve().parents[2]
_INSTALL = """\
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from ocsp_cgi.tools import httpd
httpd.install_cgi(Path(sys.argv[2]), sys.argv[3])
"""
_WRITE_MAP = """\
import sys
sys.path.insert(0, sys.argv[1])
from ocsp_cgi import map_writer
map_writer.save(map_writer.make(*sys.argv[2:]), sys.argv[3])
"""
# The script that ocsp.cgi replaces.
_REFERENCE = """\
#!/bin/sh
printf 'Content-Type: application/ocsp-response\\r\\n\\r\\n'
cat | openssl ocsp -index {db}/index -CA {home}/root-ca.crt \\
    -rkey {home}/private/{signer}.key -rsigner {home}/{signer}.crt -nmin 5 \\
    -reqin /dev/stdin -respout /dev/stdout 2>/dev/null | cat
"""
_CONSTANT = """\
#!{python} -IS
import posix
posix.write(1, b"Content-Type: text/plain\\r\\n\\r\\nconstant")
posix._exit(0)
"""
_CONFIG = """\
[root-ca]
db = {db}
ca = root-ca.crt
rsigner = {signer}.crt
rkey = private/{signer}.key
nmin = 1440
"""


class Setting:
    """Everything in one directory that the web server's user can read."""

    def __init__(self, home: Path, pythons: list[str], tree: Path = CHECKOUT):
        """`pythons` are the interpreters to run ocsp.cgi of this source tree with."""
        home.mkdir(exist_ok=True)
        self.home = home
        self.ca = PrivateCA(home / "ca")
        for name, newkey in SIGNERS.items():
            self.ca.issue(name, "ocsp_ext", newkey)
        self.ca.issue("server")
        self.good = [bytes.fromhex(self.ca.serial("server")) + b"\x80\x00"]
        self.request = home / "request.der"
        self.request.write_bytes(self.encoded_request())
        self.pythons = {
            python: _installed(tree, home / f"python{number}", python)
            for number, python in enumerate(pythons)
        }

    def encoded_request(self, extensions: bytes = b"") -> bytes:
        """A request about the server's certificate, whose row is the last of each index."""
        root = certificate(self.ca.home / "root-ca.crt")
        asked = cert_id(root, int(self.ca.serial("server"), 16))
        return request(asked, extensions=extensions)

    def index(self, rows: int) -> Path:
        """A db directory whose index has so many rows; requests are about the last one."""
        directory = self.ca.home / f"db-{rows}"
        if not directory.exists():
            own = (self.ca.home / "db" / "index").read_bytes()
            directory.mkdir()
            with open(directory / "index", "wb") as file:
                for first in range(0, rows - own.count(b"\n"), 100_000):
                    numbers = range(first, min(first + 100_000, rows - own.count(b"\n")))
                    file.write(
                        b"".join(
                            b"V\t20991231235959Z\t\t%040X\tunknown\t/C=GB/O=Example/CN=www%09d.example.com\n"
                            % (
                                (number + 1) * 0x9E3779B97F4A7C15F39CC0605CEDC8341082276B % 2**159,
                                number,
                            )
                            for number in numbers
                        )
                    )
                file.write(own)
            shutil.copy(self.ca.home / "db" / "index.attr", directory)
            settle(directory / "index")
            time.sleep(limits.DATABASE_SETTLING_SECONDS)
        return directory

    def mapped_index(self, rows: int, python: str) -> Path:
        """A db directory with the same index, and its map, as ocsp.cgi under this Python has it
        written."""
        directory = self.ca.home / f"db-{rows}-{list(self.pythons).index(python)}-mapped"
        if not directory.exists():
            directory.mkdir()
            (directory / "index").symlink_to(self.index(rows) / "index")
            package_parent = self.pythons[python].parent
            arguments = [package_parent, directory / "index", directory / "map"]
            subprocess.run([python, "-c", _WRITE_MAP, *map(str, arguments)], check=True)
        return directory

    def reference(self, rows: int, signer: str) -> Path:
        """The shell script over an index of so many rows."""
        return self._script(
            f"reference-{rows}-{signer}",
            _REFERENCE.format(db=self.index(rows), home=self.ca.home, signer=signer),
        )

    def config(self, rows: int, signer: str, cache: bool, mapped_under: str | None = None) -> Path:
        """A config over an index of so many rows, with a map for `mapped_under`, a Python."""
        db = self.mapped_index(rows, mapped_under) if mapped_under else self.index(rows)
        path = self.ca.home / f"{db.name}-{signer}-{cache}.conf"
        if not path.exists():
            directory = path.with_suffix(".cache")
            directory.mkdir(mode=0o750)
            path.write_text(_CONFIG.format(db=db, signer=signer) + f"cache = {directory}\n" * cache)
        return path

    def ours(
        self, python: str, rows: int, signer: str, cache: bool = False, mapped: bool = False
    ) -> Command:
        """ocsp.cgi as a process, with a cached response if `cache`, with a map of the index if
        `mapped`."""
        config = self.config(rows, signer, cache, python if mapped else None)
        return self._command(
            self.pythons[python],
            self.good + [b"cache=hit"] * cache,
            {"OCSP_CGI_CONFIG": str(config)},
        )

    def reference_command(self, rows: int, signer: str) -> Command:
        return self._command(self.reference(rows, signer), self.good)

    def constant_command(self, python: str) -> Command:
        """The least that a script can do with this Python: it prints a constant."""
        path = self._script(
            f"constant-{list(self.pythons).index(python)}", _CONSTANT.format(python=python)
        )
        return self._command(path, [b"constant"])

    def _command(
        self, script: Path, expected: list[bytes], variables: dict[str, str] | None = None
    ) -> Command:
        """A script as a process with the environment that Apache gives it."""
        environment = {
            "PATH": os.environ["PATH"],
            "REQUEST_METHOD": "POST",
            "SCRIPT_NAME": "/cgi-bin/ocsp.cgi",
            "REQUEST_URI": "/cgi-bin/ocsp.cgi",
            "CONTENT_TYPE": "application/ocsp-request",
            "CONTENT_LENGTH": str(self.request.stat().st_size),
            "REMOTE_ADDR": "127.0.0.1",
        }
        return Command([str(script)], {**environment, **(variables or {})}, self.request, expected)

    def _script(self, name: str, text: str) -> Path:
        path = self.home / name
        path.write_text(text)
        path.chmod(0o755)
        return path


def _installed(tree: Path, directory: Path, python: str) -> Path:
    """ocsp.cgi of a source tree, which has its own way to install it."""
    command = [sys.executable, "-c", _INSTALL, str(tree), str(directory), python]
    subprocess.run(command, check=True)
    return directory / "ocsp.cgi"


def versions(python: str) -> tuple[str, int]:
    """ "Python 3.11.2, cryptography 38.0.4", and the 38."""
    code = (
        "import sys, cryptography as c; print('Python %d.%d.%d, cryptography' %"
        " sys.version_info[:3], c.__version__)"
    )
    text = subprocess.run(
        [python, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()
    return text, int(text.rpartition(" ")[2].partition(".")[0])
