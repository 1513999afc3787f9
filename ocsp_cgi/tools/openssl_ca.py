"""A private CA, run with the real `openssl ca`: for the demonstration and the tests."""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
from pathlib import Path

from .. import certificate
from . import data_files
from .entry import CommandError

ROOT_CA_CNF = data_files.APACHE / "root-ca.cnf"
SUB_CA_CNF = data_files.APACHE / "sub-ca.cnf"


class OpenSSLError(CommandError):
    """An openssl command failed; the text has the command and its error message."""


class PrivateCA:
    """A CA directory as in apache/README.md: root-ca.crt, private/, certs/, db/index and db/serial.

    `name` is what its files are called: root-ca, or sub-ca for an issuing CA.
    """

    def __init__(
        self,
        home: Path,
        common_name: str = "",
        newkey: tuple[str, ...] = ("rsa:2048",),
        root: PrivateCA | None = None,
    ):
        """Create the CA, an issuing CA below `root` if that is given.  FileExistsError if there is
        one.

        `common_name` is instead of the one in apache/, `newkey` is what follows `openssl req
        -newkey`.
        """
        self.home = home
        self.name = "sub-ca" if root else "root-ca"
        for directory, mode in (("", 0o755), ("db", 0o755), ("certs", 0o755), ("private", 0o700)):
            (home / directory).mkdir(mode=mode, parents=True, exist_ok=not directory)
        (home / "db" / "index").touch()
        (home / "db" / "serial").write_text(self.openssl("rand", "-hex", "16"))
        (home / "db" / "crlnumber").write_text("1001\n")
        template, theirs = (SUB_CA_CNF, '"Issuing CA"') if root else (ROOT_CA_CNF, '"Root CA"')
        config = template.read_text()
        assert config.count(theirs) == 1, f"{template} does not have {theirs} once"
        if common_name:
            config = config.replace(theirs, f'"{common_name}"')
        (home / self.config).write_text(config)
        self._request(self.name, newkey)
        if root:
            root.sign_ca(self)
        else:
            self.sign(self.name, "ca_ext", "3650", "-selfsign")

    @property
    def config(self) -> str:
        """The name of the CA's config for openssl."""
        return f"{self.name}.cnf"

    def sign_ca(self, sub: PrivateCA) -> None:
        """Issue the certificate of an issuing CA.

        Its directory then has it, root-ca.crt, and chain.crt with both.
        """
        name = sub.name
        if (self.home / f"{name}.csr").exists():  # a second issuing CA
            name = f"{name}-{sub.home.name}"
        shutil.copy(sub.home / f"{sub.name}.csr", self.home / f"{name}.csr")
        self.sign(name, "sub_ca_ext", "1825")
        own, root = (self.home / f"{one}.crt" for one in (name, self.name))
        shutil.copy(own, sub.home / f"{sub.name}.crt")
        shutil.copy(root, sub.home / root.name)
        (sub.home / "chain.crt").write_bytes(own.read_bytes() + root.read_bytes())

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
        self._request(name, newkey, "-subj", f"/CN={name}")
        self.sign(name, extensions, "90")

    def _request(self, name: str, newkey: tuple[str, ...], *options: str) -> None:
        self.openssl(
            "req",
            "-new",
            "-config",
            self.config,
            "-newkey",
            *newkey,
            "-nodes",
            *options,
            "-keyout",
            f"private/{name}.key",
            "-out",
            f"{name}.csr",
        )

    def sign(self, name: str, extensions: str, days: str, *options: str) -> None:
        """Issue NAME.crt for NAME.csr, with further options of `openssl ca`."""
        self.openssl(
            "ca",
            "-config",
            self.config,
            "-batch",
            "-notext",
            "-in",
            f"{name}.csr",
            "-out",
            f"{name}.crt",
            "-extensions",
            extensions,
            "-days",
            days,
            *options,
        )

    def revoke(self, name: str, *options: str) -> None:
        """Revoke NAME.crt, with options such as -crl_reason."""
        self.openssl("ca", "-config", self.config, "-revoke", f"{name}.crt", *options)

    def serial(self, name: str) -> str:
        """The serial number of NAME.crt, as the index has it."""
        own = certificate.load(str(self.home / f"{name}.crt"))
        return certificate.index_serial(own.serial_number)
