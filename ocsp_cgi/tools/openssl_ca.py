"""A private CA in a directory, made and run with the real `openssl ca`: for the demonstration, and
for the tests."""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
ROOT_CA_CNF = CHECKOUT / "apache" / "root-ca.cnf"


class OpenSSLError(Exception):
    """A command of openssl's ended with an error; the text has the command and what it said."""


class PrivateCA:
    """A directory as the guide lays it out: root-ca.crt, private/, certs/, and db/ with index and
    serial."""

    def __init__(
        self, home: Path, common_name: str = "Root CA", newkey: tuple[str, ...] = ("rsa:2048",)
    ):
        """Make the CA.  `newkey` are the words behind `openssl req -newkey`."""
        self.home = home
        for directory, mode in (("", 0o755), ("db", 0o755), ("certs", 0o755), ("private", 0o700)):
            (home / directory).mkdir(mode=mode, parents=True, exist_ok=True)
        (home / "db" / "index").touch()
        (home / "db" / "serial").write_text(self.openssl("rand", "-hex", "16"))
        (home / "db" / "crlnumber").write_text("1001\n")
        config = ROOT_CA_CNF.read_text()
        assert config.count('"Root CA"') == 1, f'{ROOT_CA_CNF} does not have "Root CA" once'
        (home / "root-ca.cnf").write_text(config.replace('"Root CA"', f'"{common_name}"'))
        self.openssl(
            "req",
            "-new",
            "-config",
            "root-ca.cnf",
            "-newkey",
            *newkey,
            "-nodes",
            "-keyout",
            "private/root-ca.key",
            "-out",
            "root-ca.csr",
        )
        self.openssl(
            "ca",
            "-selfsign",
            "-config",
            "root-ca.cnf",
            "-batch",
            "-notext",
            "-in",
            "root-ca.csr",
            "-out",
            "root-ca.crt",
            "-extensions",
            "ca_ext",
            "-days",
            "3650",
        )

    def copy(self, home: Path) -> PrivateCA:
        """The same CA in another directory, to go on from there."""
        shutil.copytree(self.home, home)
        ca = copy.copy(self)
        ca.home = home
        return ca

    def openssl(self, *arguments: str) -> str:
        """Run openssl in the CA's directory.  Returns its output; OpenSSLError if it ends with an
        error."""
        command = ["openssl", *arguments]
        self._check_owner()
        run = subprocess.run(
            command, cwd=self.home, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        if run.returncode != 0:
            raise OpenSSLError(f"{' '.join(command)}\n{run.stderr.strip()}")
        return run.stdout

    def _check_owner(self) -> None:
        """OpenSSLError if another user could have root's openssl overwrite any file.

        A symlink is enough, such as db/index.new.
        """
        for directory in filter(Path.exists, (self.home, self.home / "db")):
            of = directory.stat()
            if os.geteuid() == 0 and (of.st_uid != 0 or of.st_mode & 0o022):
                raise OpenSSLError(
                    f"{directory}: openssl must not be run as root where another user can write"
                )

    def issue(
        self,
        name: str,
        extensions: str = "server_ext",
        newkey: tuple[str, ...] = ("ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
    ) -> None:
        """Issue a certificate NAME.crt with its key in private/NAME.key, for 90 days.  `newkey` as
        for the CA's own."""
        self.openssl(
            "req",
            "-new",
            "-config",
            "root-ca.cnf",
            "-newkey",
            *newkey,
            "-nodes",
            "-subj",
            f"/C=GB/O=Example/CN={name}",
            "-keyout",
            f"private/{name}.key",
            "-out",
            f"{name}.csr",
        )
        self.openssl(
            "ca",
            "-config",
            "root-ca.cnf",
            "-batch",
            "-notext",
            "-in",
            f"{name}.csr",
            "-out",
            f"{name}.crt",
            "-extensions",
            extensions,
            "-days",
            "90",
        )

    def revoke(self, name: str, *options: str) -> None:
        """Revoke NAME.crt, with options such as -crl_reason."""
        self.openssl("ca", "-config", "root-ca.cnf", "-revoke", f"{name}.crt", *options)

    def serial(self, name: str) -> str:
        """The serial number of NAME.crt in hexadecimal."""
        return (
            self.openssl("x509", "-in", f"{name}.crt", "-noout", "-serial")
            .strip()
            .partition("=")[2]
        )
