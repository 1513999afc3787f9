"""A private CA, run with the real `openssl ca`: for the demonstration and the tests."""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
from pathlib import Path

from . import data_files
from .entry import CommandError

ROOT_CA_CNF = data_files.APACHE / "root-ca.cnf"


class OpenSSLError(CommandError):
    """An openssl command failed; the text has the command and its error message."""


class PrivateCA:
    """A CA directory as in the guide: root-ca.crt, private/, certs/, db/index and db/serial."""

    def __init__(
        self, home: Path, common_name: str = "Root CA", newkey: tuple[str, ...] = ("rsa:2048",)
    ):
        """Create the CA.  `newkey` is what follows `openssl req -newkey`."""
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
        """An independent copy of this CA in another directory."""
        shutil.copytree(self.home, home)
        ca = copy.copy(self)
        ca.home = home
        return ca

    def openssl(self, *arguments: str) -> str:
        """Run openssl in the CA's directory.  Returns its output; OpenSSLError if it fails."""
        command = ["openssl", *arguments]
        self._check_owner()
        run = subprocess.run(
            command, cwd=self.home, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        if run.returncode != 0:
            raise OpenSSLError(f"{' '.join(command)}\n{run.stderr.strip()}")
        return run.stdout

    def _check_owner(self) -> None:
        """OpenSSLError if another user could make root's openssl overwrite any file.

        A symlink, such as db/index.new, is enough for that.
        """
        for directory in filter(Path.exists, (self.home, self.home / "db")):
            of = directory.stat()
            if os.geteuid() == 0 and (of.st_uid != 0 or of.st_mode & 0o022):
                raise OpenSSLError(
                    f"{directory}: another user can write here, so root must not run openssl here:"
                    f" chown root {directory}; chmod go-w {directory}"
                )

    def issue(
        self,
        name: str,
        extensions: str = "server_ext",
        newkey: tuple[str, ...] = ("ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
    ) -> None:
        """Issue NAME.crt, valid for 90 days, with its key in private/NAME.key."""
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
