"""A CA with two signers, RSA first and P-256 second, and who has signed its responses."""

from __future__ import annotations

import time
from pathlib import Path

from clients import (
    NULL,
    cert_id,
    certificate,
    extension,
    oid,
    openssl_ocsp,
    request,
    respond,
    respond_wsgi,
    settle,
    verified,
)
from cryptography.hazmat.primitives.asymmetric import rsa

from ocsp_cgi import config, der
from ocsp_cgi.answer import SUCCESSFUL
from ocsp_cgi.files import Files
from ocsp_cgi.resident import ResidentFiles
from ocsp_cgi.tools.openssl_ca import PrivateCA

DAY = 24 * 60 * 60
RSA, EC = "rsa-ocsp", "root-ocsp"  # the first signer, and the second
RSA_SHA256 = der.sequence(oid("1.2.840.113549.1.1.11"), NULL)
RSA_SHA512 = der.sequence(oid("1.2.840.113549.1.1.13"), NULL)
RSA_SHA1 = der.sequence(oid("1.2.840.113549.1.1.5"), NULL)
ECDSA_SHA256 = der.sequence(oid("1.2.840.10045.4.3.2"))
ECDSA_SHA384 = der.sequence(oid("1.2.840.10045.4.3.3"))
ED25519 = der.sequence(oid("1.3.101.112"))
UNKNOWN = der.sequence(oid("1.2.3.4"), NULL)
P256, P384 = (
    der.sequence(oid("1.2.840.10045.2.1"), oid(curve))
    for curve in ("1.2.840.10045.3.1.7", "1.3.132.0.34")
)


def preferring(*preferences: bytes | tuple[bytes, bytes]) -> bytes:
    """The extension of RFC 6960 section 4.4.7 with these AlgorithmIdentifiers, each alone or with
    that of a key."""
    pairs = [(one, b"") if isinstance(one, bytes) else one for one in preferences]
    return extension("1.3.6.1.5.5.7.48.1.8", der.sequence(*[der.sequence(*pair) for pair in pairs]))


def new_ca(pki: PrivateCA, directory: Path) -> PrivateCA:
    """A copy of `pki` with a signer whose key is RSA."""
    ca = pki.copy(directory)
    ca.issue(RSA, "ocsp_ext", ("rsa:2048",))
    settle(ca.home / "db" / "index")
    return ca


class World:
    """A CA with two signers; `files` are those of a WSGI application, None for a CGI."""

    def __init__(self, ca: PrivateCA, files: Files | None):
        self.ca = ca
        self.home = ca.home
        self.files = files
        self.path = ca.home / "ocsp-cgi.conf"
        self.later = 0
        self.der = b""  # the last response that `signed` has verified
        self.root = certificate(ca.home / "root-ca.crt")
        self.write()

    def write(self, **changes: str) -> None:
        settings = {
            "db": "db",
            "ca": "root-ca.crt",
            "rsigner": f"{RSA}.crt",
            "rkey": f"private/{RSA}.key",
            "rsigner2": f"{EC}.crt",
            "rkey2": f"private/{EC}.key",
            **changes,
        }
        lines = [f"{name} = {value}\n" for name, value in settings.items() if value]
        self.path.write_text("".join(["[root-ca]\n", *lines]))

    def respond(self, extensions: bytes = b""):
        """The response about good.crt."""
        number = int(self.ca.serial("good"), 16)
        encoded = request(cert_id(self.root, number), extensions=extensions)
        now = int(time.time()) + self.later
        if self.files is not None:
            return respond_wsgi(encoded, self.path, now, self.files)
        return respond(encoded, lambda: config.load(str(self.path)), now)

    def said(self, notes: list[str]) -> list[str]:
        return [note.replace(str(self.home), "HOME") for note in notes]

    def signed(self, *preferences: bytes | tuple[bytes, bytes], warnings: int = 0) -> str:
        """Who has signed a verified response for a client that has these preferences, or sends no
        such extension.  The log has so many warnings."""
        answered = self.respond(preferring(*preferences) if preferences else b"")
        assert answered.response_status == SUCCESSFUL, answered.notes
        assert len(answered.notes) == warnings, answered.notes
        response, self.der = verified(answered.der, self.root), answered.der
        (self.home / "response.der").write_bytes(answered.der)
        arguments = ("-no_nonce", "-respin", "response.der", "-cert", "good.crt")
        said = openssl_ocsp(self.home, *arguments)
        if not self.later:
            assert said.stderr == "Response verify OK\n"
            assert said.stdout.startswith("good.crt: good\n")
        key = response.certificates[0].public_key()
        return RSA if isinstance(key, rsa.RSAPublicKey) else EC


def new_world(signers: PrivateCA, place: Path, way: str) -> World:
    ca = signers.copy(place / "ca")
    settle(ca.home / "db" / "index")
    return World(ca, ResidentFiles(0) if way == "WSGI" else None)
