"""A CA with several certificates: renewed, rekeyed, renamed, in a chain or in several sections.

And what must not pass for one: two CAs with one index, and a signer that the CA did not issue.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from clients import Answered, cert_id_of, request, respond

from ocsp_cgi import certificate, config, der, limits
from ocsp_cgi.answer import RESPONSE_STATUS_NAMES, SUCCESSFUL
from ocsp_cgi.issuer import database_identity
from ocsp_cgi.tools.openssl_ca import PrivateCA

pytestmark = pytest.mark.process

DAY = 24 * 3600
P_256 = ("ec", "-pkeyopt", "ec_paramgen_curve:P-256")
SUBJECT = "/C=GB/O=Example/CN=Root CA"
GOOD, UNAUTHORIZED = "good", "unauthorized"


class Renewable:
    """A CA with good.crt, bad.crt (revoked) and a signer, and the responder over its config."""

    def __init__(self, ca: PrivateCA):
        self.ca = ca
        self.home = ca.home
        self.later = 0
        self.response: Answered

    def make_key(self, name: str) -> None:
        """Make private/NAME.key, of P-256."""
        options = ("-algorithm", *P_256, "-out", f"private/{name}.key")
        self.ca.openssl("genpkey", *options)
        (self.home / "private" / f"{name}.key").chmod(0o600)

    def renew(
        self,
        name: str,
        *options: str,
        mask: str = "utf8only",
        subject: str = SUBJECT,
        key: str = "root-ca",
        days: int = 3650,
    ) -> None:
        """Make NAME.crt, a new certificate for the CA's key, with strings by this string_mask."""
        (self.home / "renew.cnf").write_text(
            f"[req]\nstring_mask = {mask}\nutf8 = yes\ndistinguished_name = dn\n[dn]\n"
        )
        self.ca.openssl(
            "req",
            "-config",
            "renew.cnf",
            "-x509",
            "-new",
            "-key",
            f"private/{key}.key",
            "-subj",
            subject,
            "-days",
            str(days),
            "-out",
            f"{name}.crt",
            "-addext",
            "basicConstraints=critical,CA:true",
            "-addext",
            "keyUsage=keyCertSign,cRLSign,digitalSignature",
            *(options or ("-addext", "subjectKeyIdentifier=hash")),
        )

    def date(self, name: str, start: str, end: str) -> None:
        """Make NAME.crt, another certificate of the CA, with these dates (YYMMDD000000Z)."""
        self.ca.openssl(
            "ca",
            "-selfsign",
            "-config",
            "root-ca.cnf",
            "-batch",
            "-notext",
            "-in",
            "root-ca.csr",
            "-out",
            f"{name}.crt",
            "-extensions",
            "ca_ext",
            "-startdate",
            start,
            "-enddate",
            end,
        )

    def sign(
        self,
        name: str,
        ca: str = "root-ca",
        ca_key: str = "root-ca",
        extensions: str = "",
        csr: str = "root-ocsp",
    ) -> None:
        """Have another certificate of the CA certify the signer's key again, in NAME.crt."""
        (self.home / "sign.ext").write_text(
            "basicConstraints=critical,CA:false\nkeyUsage=critical,digitalSignature\n"
            "extendedKeyUsage=OCSPSigning\nnoCheck=yes\n"
            + (extensions or "authorityKeyIdentifier=keyid:always\n")
        )
        self.ca.openssl(
            "x509",
            "-req",
            "-in",
            f"{csr}.csr",
            "-CA",
            f"{ca}.crt",
            "-CAkey",
            f"private/{ca_key}.key",
            "-set_serial",
            "0x51",
            "-days",
            "400",  # more than the first certificate has, from the same second on perhaps
            "-extfile",
            "sign.ext",
            "-out",
            f"{name}.crt",
        )

    def bundle(self, name: str, *parts: str) -> None:
        """Write NAME.crt, which holds these certificates, each with text in front of it."""
        (self.home / f"{name}.crt").write_text(
            "".join(f"# {part}\n" + (self.home / f"{part}.crt").read_text() for part in parts)
        )

    def configure(self, **sections: dict[str, str]) -> None:
        """Write the config: sections, with what differs from the CA's files; by default one."""
        text = ""
        for name, settings in (sections or {"root-ca": {}}).items():
            own = {
                "db": "db",
                "ca": "root-ca.crt",
                "rsigner": "root-ocsp.crt",
                "rkey": "private/root-ocsp.key",
                **settings,
            }
            text += f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in own.items())
        (self.home / "test.conf").write_text(text)

    def cert_id(self, name: str, issuer: str = "root-ca", encoded: bytes | None = None) -> bytes:
        """The CertID of NAME.crt, or of a serial in hexadecimal; `encoded` is the issuer's name."""
        ca = certificate.load(str(self.home / f"{issuer}.crt"))
        path = self.home / f"{name}.crt"
        serial = certificate.load(str(path)).serial_number if path.exists() else int(name, 16)
        return cert_id_of(
            "sha1",
            *[hashlib.sha1(data).digest() for data in (encoded or ca.subject, ca.public_key)],
            serial,
        )

    def respond(self, *cert_ids: bytes) -> list[str]:
        """What the responder says of each, or the OCSPResponseStatus."""
        self.response = respond(
            request(*cert_ids),
            lambda: config.load(str(self.home / "test.conf")),
            int(time.time()) + self.later,
        )
        if self.response.response_status != SUCCESSFUL:
            print(self.log)
            return [RESPONSE_STATUS_NAMES[self.response.response_status]]
        return [value for name, value in self.response.fields if name == "status"]

    def ask(self, name: str = "good", issuer: str = "root-ca") -> str:
        [status] = self.respond(self.cert_id(name, issuer))
        return status

    @property
    def warnings(self) -> list[str]:
        """The warnings in the log, without those that the CA of these tests causes."""
        usual = ("rsigner-keyUsage-lacks-digitalSignature", "rsigner-has-no-row-in-db")
        return [
            value
            for name, value in self.response.fields
            if name == "warning" and value not in usual
        ]

    @property
    def log(self) -> str:
        return "\n".join(self.response.warnings).replace(str(self.home), "HOME")

    def verify(self, issuer: str, *options: str) -> tuple[str, str]:
        """What `openssl ocsp` makes of the last response for good.crt: (errors, status).

        It trusts this certificate of the CA alone.
        """
        (self.home / "response.der").write_bytes(self.response.der)
        command = [
            "openssl",
            "ocsp",
            "-no_nonce",
            "-respin",
            "response.der",
            "-issuer",
            f"{issuer}.crt",
            "-CAfile",
            f"{issuer}.crt",
            "-serial",
            "0x" + self.ca.serial("good"),
            *options,
        ]
        said = subprocess.run(
            command,
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
        )
        return said.stderr, said.stdout.partition("\n")[0].partition(": ")[2]

    def is_verified(self, issuer: str = "root-ca", *options: str) -> bool:
        """Whether good.crt is good in a new response that openssl verifies, as in `verify`."""
        said = [self.ask("good", issuer), *self.verify(issuer, *options)]
        print(said)
        return said == [GOOD, "Response verify OK\n", GOOD]


@pytest.fixture(scope="module")
def template(workspace) -> PrivateCA:
    ca = PrivateCA(workspace / "renewable", newkey=P_256)
    for name, extensions in (
        ("root-ocsp", "ocsp_ext"),
        ("good", "server_ext"),
        ("bad", "server_ext"),
    ):
        ca.issue(name, extensions)
    ca.revoke("bad")
    index = ca.home / "db" / "index"
    os.utime(index, (time.time() - 60,) * 2)
    return ca


@pytest.fixture
def ca(template, place) -> Renewable:
    renewable = Renewable(template.copy(place / "ca"))
    renewable.configure()
    return renewable


@pytest.fixture
def other(workspace, place) -> PrivateCA:
    """Another CA, with a signer."""
    return make_other(workspace).copy(place / "other")


_OTHERS: dict[Path, PrivateCA] = {}


def make_other(workspace: Path) -> PrivateCA:
    if workspace not in _OTHERS:
        made = PrivateCA(workspace / "other-ca", common_name="Other CA", newkey=P_256)
        made.issue("root-ocsp", "ocsp_ext")
        _OTHERS[workspace] = made
    return _OTHERS[workspace]


def section(home: Path, **settings: str) -> dict[str, str]:
    """The settings of a CA in another directory."""
    paths = {
        "db": "db",
        "ca": "root-ca.crt",
        "rsigner": "root-ocsp.crt",
        "rkey": "private/root-ocsp.key",
    }
    return {**{key: f"{home}/{path}" for key, path in paths.items()}, **settings}


# Several certificates in `ca`


@pytest.mark.parametrize(
    "order",
    [
        ("root-ca", "new"),
        ("new", "root-ca"),
        ("new", "other", "root-ca"),
        ("root-ca", "root-ca", "new"),
    ],
)
@pytest.mark.slow
def test_old_and_new_certificate_in_one_file(ca, other, order):
    """Whichever comes first, and whether the signer was issued before or after the renewal."""
    ca.renew("new")
    shutil.copy(other.home / "root-ca.crt", ca.home / "other.crt")
    ca.bundle("both", *order)
    ca.sign("new-ocsp", ca="new")
    for rsigner in ("root-ocsp", "new-ocsp"):
        ca.configure(root={"ca": "both.crt", "rsigner": f"{rsigner}.crt"})
        assert (ca.ask(), ca.ask("bad")) == ("good", "revoked")
        assert (ca.ask(), ca.warnings, ca.log) == (GOOD, [], "")
        assert ca.is_verified("root-ca") and ca.is_verified("new")
        if "other" in order:
            assert ca.ask("good", "other") == UNAUTHORIZED


@pytest.mark.parametrize("renewal", ["x509 -signkey", "req -x509 -CA"])
def test_a_renewal_that_copies_the_old_certificate(ca, renewal):
    """As easy-rsa does: the extensions, and with x509 even the serial number, are the old ones."""
    if renewal == "x509 -signkey":
        ca.ca.openssl(
            "x509",
            "-in",
            "root-ca.crt",
            "-signkey",
            "private/root-ca.key",
            "-days",
            "7000",
            "-out",
            "new.crt",
        )
    else:
        ca.ca.openssl(
            "x509",
            "-x509toreq",
            "-in",
            "root-ca.crt",
            "-signkey",
            "private/root-ca.key",
            "-out",
            "renew.csr",
        )
        ca.ca.openssl(
            "x509",
            "-req",
            "-in",
            "renew.csr",
            "-signkey",
            "private/root-ca.key",
            "-days",
            "7000",
            "-out",
            "new.crt",
            "-extfile",
            "root-ca.cnf",
            "-extensions",
            "ca_ext",
        )
    for settings in (
        {"ca": "new.crt"},
        {"ca": "new.crt", "rsigner": "root-ca.crt", "rkey": "private/root-ca.key"},
    ):
        ca.configure(root=settings)
        assert ca.is_verified() and ca.is_verified("new")


@pytest.mark.parametrize(
    "order", [("expired", "root-ca"), ("root-ca", "expired"), ("future", "root-ca", "expired")]
)
def test_a_certificate_that_is_not_valid_beside_one_that_is(ca, order):
    ca.date("expired", "200101000000Z", "210101000000Z")
    ca.date("future", "400101000000Z", "410101000000Z")
    ca.bundle("both", *order)
    ca.configure(root={"ca": "both.crt"})
    assert ca.is_verified()
    ca.bundle("both", *[name for name in order if name != "root-ca"])
    assert ca.ask() == "internalError"
    assert f"HOME/both.crt: {'not valid before' if 'future' in order else 'expired on'}" in ca.log


def test_an_expired_section_before_a_valid_one(ca):
    """Of two sections of one CA that signs which can; the log says what the other lacks."""
    ca.date("expired", "200101000000Z", "210101000000Z")
    ca.configure(old={"ca": "expired.crt"}, new={})
    assert ca.ask() == GOOD
    assert (
        ca.log.startswith("HOME/expired.crt: expired on ") and ("ca", "new") in ca.response.fields
    )


def test_next_update_ends_with_the_newest_valid_certificate(ca):
    def end(name: str) -> int:
        return certificate.load(str(ca.home / f"{name}.crt")).not_after

    ca.sign("root-ocsp")
    ca.renew("day", days=1)
    ca.renew("days", days=2)
    for names, expected in (
        (("day", "root-ca"), "days"),
        (("root-ca", "day"), "days"),
        (("day",), "day"),
    ):
        ca.bundle("both", *[name.replace("root-ca", "days") for name in names])
        ca.configure(root={"ca": "both.crt", "nmin": str(7 * 24 * 60)})
        assert ca.ask() == GOOD and ca.response.next_update == end(expected)
    ca.bundle("both", "day", "days")
    ca.later = end("day") + 3600 - int(time.time())
    assert ca.ask() == GOOD and ca.response.next_update == end("days")
    ca.later = end("days") - int(time.time())
    assert ca.ask() == "internalError"


def test_archive_cutoff_is_the_start_of_the_first_certificate(ca):
    ca.date("expired", "200101000000Z", "210101000000Z")
    ca.bundle("both", "root-ca", "expired")
    ca.configure(root={"ca": "both.crt", "archive_cutoff": "ca"})
    assert ca.ask() == GOOD and b"20200101000000Z" in ca.response.der


@pytest.mark.parametrize("order", ["root first", "issuing first", "with the signer's certificate"])
@pytest.mark.parametrize("signs", ["delegated", "itself"])
@pytest.mark.slow
def test_a_chain(ca, order, signs):
    """Both CAs gave the same serials: the root's are never looked up in the issuing CA's index."""
    ca.ca.issue("issuing", "ca_ext")
    home = ca.home
    issuing = {
        "db": "issuing-db",
        "ca": "chain.crt",
        "rsigner": "issuing.crt",
        "rkey": "private/issuing.key",
    }
    (home / "issuing-db").mkdir()
    rows = (home / "db" / "index").read_text().replace("R\t", "V\t").splitlines()
    rows = [
        (
            line
            if line.split("\t")[2] == ""
            else "\t".join([*line.split("\t")[:2], "", *line.split("\t")[3:]])
        )
        for line in rows
    ]
    (home / "issuing-db" / "index").write_text("\n".join(rows) + "\n")
    os.utime(home / "issuing-db" / "index", (time.time() - 60,) * 2)
    if signs == "delegated":
        ca.sign("sub-ocsp", ca="issuing", ca_key="issuing")
        issuing.update(rsigner="sub-ocsp.crt", rkey="private/root-ocsp.key")
    parts = {
        "root first": ["root-ca", "issuing"],
        "issuing first": ["issuing", "root-ca"],
        "with the signer's certificate": [Path(issuing["rsigner"]).stem, "issuing", "root-ca"],
    }[order]
    ca.bundle("chain", *parts)
    ca.configure(issuing=issuing)
    assert (ca.ask("bad", "issuing"), ca.ask("good", "issuing")) == (GOOD, GOOD)
    assert (ca.ask("bad"), ca.ask("good")) == (UNAUTHORIZED, UNAUTHORIZED)
    ca.configure(issuing=issuing, root={"ca": "chain.crt"})
    assert (ca.ask("bad", "issuing"), ca.ask("bad"), ca.ask("good")) == (GOOD, "revoked", GOOD)
    assert ca.is_verified()


def test_a_chain_that_does_not_hold_the_signers_issuer(ca, other):
    shutil.copy(other.home / "root-ca.crt", ca.home / "other.crt")
    ca.ca.issue("issuing", "ca_ext")
    ca.bundle("chain", "other", "issuing")
    ca.configure(root={"ca": "chain.crt"})
    assert ca.ask() == "internalError"
    assert (
        ca.log
        == "HOME/root-ocsp.crt: not issued by any of the CAs in HOME/chain.crt: clients would"
        " refuse its responses"
    )


def test_what_else_is_in_the_file(ca):
    """Private keys, requests and certificates that cannot be read are passed over."""
    broken = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"
    key, csr, root = (
        (ca.home / name).read_text() for name in ("private/good.key", "good.csr", "root-ca.crt")
    )
    (ca.home / "all.crt").write_text(
        "0 is how this text begins\n" + broken + key + csr + root + broken
    )
    ca.configure(root={"ca": "all.crt"})
    assert ca.ask() == GOOD
    (ca.home / "all.crt").write_text(key + broken)
    assert ca.ask() == "internalError" and ca.log.startswith(
        "HOME/all.crt: not an X.509 certificate: "
    )


def test_a_signer_with_its_chain(ca):
    """The first certificate in `rsigner` is the signer's, or a renewed one of the same key."""
    ca.sign("renewed-ocsp")
    ca.renew("new")
    ca.bundle("chain", "root-ocsp", "renewed-ocsp", "new", "root-ca")
    ca.configure(root={"rsigner": "chain.crt"})
    assert ca.is_verified()
    assert certificate.load(str(ca.home / "renewed-ocsp.crt")).der in ca.response.der


def test_a_chain_in_rsigner_in_another_order(ca):
    ca.bundle("chain", "root-ca", "root-ocsp")
    ca.configure(root={"rsigner": "chain.crt"})
    assert ca.is_verified()


# A CA that signs its responses itself


@pytest.mark.parametrize(
    "first, second",
    [
        ("root-ca", "new"),
        ("new", "root-ca"),
        ("both", "root-ca"),
        ("root-ca", "both"),
        ("new", "cross"),
    ],
)
@pytest.mark.slow
def test_a_renewed_ca_that_signs_itself(ca, first, second, other):
    """It is known by its name and key, and needs no OCSPSigning, whatever issued `rsigner`."""
    ca.renew("new")
    ca.bundle("both", "root-ca", "new")
    other.openssl(
        "ca",
        "-config",
        "root-ca.cnf",
        "-batch",
        "-notext",
        "-ss_cert",
        str(ca.home / "new.crt"),
        "-out",
        str(ca.home / "cross.crt"),
        "-extensions",
        "ca_ext",
        "-days",
        "90",
    )
    ca.configure(
        root={"ca": f"{first}.crt", "rsigner": f"{second}.crt", "rkey": "private/root-ca.key"}
    )
    for issuer in ("root-ca", "new"):
        assert ca.is_verified(issuer)
    same = {"both": "new"}.get(first, first) == {"both": "new"}.get(second, second)
    assert ca.warnings == ([] if same else ["rsigner-is-not-the-newest-certificate-in-ca"])


@pytest.mark.parametrize("rsigner", ["expired", "both", "both reversed"])
def test_an_expired_certificate_of_a_ca_that_signs_itself(ca, rsigner):
    """Its key is the CA's still: the response holds a certificate that is valid."""
    ca.date("expired", "200101000000Z", "210101000000Z")
    ca.bundle("both", "expired", "root-ca")
    ca.bundle("both reversed", "root-ca", "expired")
    for path in ("root-ca", "both", "both reversed"):
        ca.configure(
            root={"ca": f"{path}.crt", "rsigner": f"{rsigner}.crt", "rkey": "private/root-ca.key"}
        )
        assert ca.is_verified()
    ca.configure(
        root={"ca": "expired.crt", "rsigner": "expired.crt", "rkey": "private/root-ca.key"}
    )
    assert ca.ask() == "internalError" and "HOME/expired.crt: expired on " in ca.log


def test_the_key_alone_does_not_make_it_the_ca(ca):
    """With another name it is another CA, and would have to be a delegated signer."""
    ca.renew("renamed", subject="/C=GB/O=Example/CN=Other CA")
    ca.configure(root={"rsigner": "renamed.crt", "rkey": "private/root-ca.key"})
    assert ca.ask() == "internalError" and "lacks the extended key usage OCSPSigning" in ca.log


# Names


ASCII, LATIN, OTHER = (
    SUBJECT,
    "/C=GB/O=Example/OU=Zoë & Söhne/CN=Root CA",
    "/C=GB/O=Łódź/CN=Root CA",
)


@pytest.mark.parametrize(
    "old, new, subject",
    [
        ("nombstr", "utf8only", ASCII),
        ("nombstr", "utf8only", LATIN),
        ("utf8only", "nombstr", ASCII),
        ("utf8only", "nombstr", LATIN),
        ("pkix", "utf8only", LATIN),
        ("pkix", "utf8only", OTHER),
        ("utf8only", "pkix", OTHER),
        ("default", "pkix", LATIN),
    ],
)
@pytest.mark.slow
def test_a_name_in_other_string_types(ca, old, new, subject):
    """The name is encoded otherwise in the new certificate than in those issued before."""
    ca.renew("old", mask=old, subject=subject)
    ca.renew("new", mask=new, subject=subject)
    names = [certificate.load(str(ca.home / f"{name}.crt")).subject for name in ("old", "new")]
    assert names[0] != names[1]
    ca.sign("old-ocsp", ca="old")
    for settings in (
        {"ca": "new.crt", "rsigner": "old-ocsp.crt"},
        {"ca": "new.crt", "rsigner": "old.crt", "rkey": "private/root-ca.key"},
    ):
        ca.configure(root=settings)
        for issuer in ("old", "new"):
            assert (ca.ask("good", issuer), ca.ask("bad", issuer)) == ("good", "revoked")
            assert ca.is_verified(issuer)


def test_the_issuer_fields_name_is_hashed(ca):
    """It may be encoded unlike the subject of any certificate of the CA."""
    subject = certificate.load(str(ca.home / "root-ca.crt")).subject
    assert subject.count(b"\x0c") == 2
    for encoded in (
        subject.replace(b"\x0c\x07Root CA", b"\x13\x07Root CA").replace(
            b"\x0c\x07Example", b"\x13\x07Example"
        ),
        subject.replace(b"\x13\x02GB", b"\x0c\x02GB"),
    ):
        assert encoded != subject
        assert ca.respond(ca.cert_id("bad", encoded=encoded)) == ["revoked"]
    assert ca.respond(ca.cert_id("bad", encoded=subject.replace(b"Root CA", b"Root CB"))) == [
        UNAUTHORIZED
    ]


def test_a_name_in_other_letters_and_blanks(ca):
    """They are one CA, but neither encoding can be guessed from the other."""
    ca.renew("new", subject="/C=GB/O=EXAMPLE/CN=root  ca ")
    ca.bundle("both", "root-ca", "new")
    ca.configure(root={"ca": "both.crt"})
    assert (ca.ask("bad"), ca.ask("bad", "new")) == ("revoked", "revoked")
    ca.configure(old={}, new={"ca": "new.crt"})
    assert ca.respond(ca.cert_id("bad"), ca.cert_id("good", "new")) == ["revoked", "good"]
    ca.configure(new={"ca": "new.crt"})
    assert (ca.ask("bad"), ca.ask("bad", "new")) == (UNAUTHORIZED, "revoked")


# What the signer's certificate says of its CA's


@pytest.mark.parametrize("aki", ["keyid:always", "issuer:always", "keyid:always,issuer:always"])
@pytest.mark.slow
def test_authority_key_identifier_of_the_old_certificate(ca, aki):
    """There is a warning exactly where openssl, which trusts the new one, refuses the signer."""
    ca.sign("signer", extensions=f"authorityKeyIdentifier={aki}\n")
    ca.renew("same")
    ca.renew("another", "-addext", "subjectKeyIdentifier=0102030405060708")
    for new in ("root-ca", "same", "another"):
        for path, fault in ((new, "another"), ("both", "an-older")):
            ca.bundle("both", "root-ca", new)
            ca.configure(root={"ca": f"{path}.crt", "rsigner": "signer.crt"})
            believed = ca.is_verified(new)
            warned = [f"rsigner-authorityKeyIdentifier-names-{fault}-ca-certificate"]
            assert ca.warnings == ([] if believed else warned)
            assert (ca.warnings == []) == (
                new == "root-ca" or (new == "same" and "issuer" not in aki)
            )


def test_authority_key_identifier_with_the_issuers_name_in_other_string_types(ca):
    """It is compared as a name, not as bytes."""
    ca.renew("old", "-set_serial", "7", "-addext", "subjectKeyIdentifier=hash", mask="nombstr")
    ca.renew("new", "-set_serial", "7", "-addext", "subjectKeyIdentifier=hash")
    ca.sign("signer", ca="old", extensions="authorityKeyIdentifier=keyid:always,issuer:always\n")
    ca.configure(root={"ca": "new.crt", "rsigner": "signer.crt"})
    assert ca.is_verified("new") and ca.warnings == []


def test_authority_key_identifier_of_another_issuer_of_the_ca(ca, other):
    """A cross certificate with the serial number of the CA's own, but of another issuer."""
    own = "0x" + ca.ca.serial("root-ca")
    cross = ("-in", "root-ca.csr", "-set_serial", own, "-days", "9", "-out", "cross.crt")
    by = ("-CA", f"{other.home}/root-ca.crt", "-CAkey", f"{other.home}/private/root-ca.key")
    profile = ("-extfile", "root-ca.cnf", "-extensions", "ca_ext")
    ca.ca.openssl("x509", "-req", *cross, *by, *profile)
    for aki, warned in (("keyid:always", False), ("keyid:always,issuer:always", True)):
        ca.sign("signer", extensions=f"authorityKeyIdentifier={aki}\n")
        ca.configure(root={"ca": "cross.crt", "rsigner": "signer.crt"})
        assert ca.is_verified("cross", "-partial_chain") != warned
        names_another = "rsigner-authorityKeyIdentifier-names-another-ca-certificate"
        assert ca.warnings == ([names_another] if warned else [])


@pytest.mark.parametrize(
    "extension, oid",
    [
        ("1.3.6.1.4.1.99999.1=critical,ASN1:UTF8String:x", "1.3.6.1.4.1.99999.1"),
        ("2.999.3=critical,DER:0500", "2.999.3"),
        ("nsComment=critical,x", "2.16.840.1.113730.1.13"),
        ("1.3.6.1.4.1.99999.1=ASN1:UTF8String:x", ""),
        ("subjectAltName=critical,DNS:ocsp.example.com", ""),
        ("certificatePolicies=critical,1.2.3.4", ""),
    ],
)
@pytest.mark.slow
def test_critical_extension_that_clients_do_not_know(ca, extension, oid):
    """openssl's client refuses the signer exactly where there is a warning."""
    ca.sign("signer", extensions=f"authorityKeyIdentifier=keyid:always\n{extension}\n")
    ca.configure(root={"rsigner": "signer.crt"})
    assert ca.ask() == GOOD
    assert ca.warnings == ([f"rsigner-has-critical-extension-{oid}"] if oid else [])
    assert ("unhandled critical extension" in ca.verify("root-ca")[0]) == bool(oid)


def test_an_extension_that_says_it_is_not_critical(ca):
    """Not DER, but read as what it says."""
    ca.sign("signer", extensions="1.3.6.1.4.1.99999.1=critical,ASN1:UTF8String:x\n")
    encoded = certificate.load(str(ca.home / "signer.crt")).der
    assert len(certificate.Certificate(encoded).unusual_critical_extensions) == 1
    oid = der.tlv(der.OBJECT_IDENTIFIER, der.oid("1.3.6.1.4.1.99999.1"))
    changed = encoded.replace(oid + b"\x01\x01\xff", oid + b"\x01\x01\x00")
    assert certificate.Certificate(changed).unusual_critical_extensions == []


# A CA that changed its key


@pytest.fixture
def rekeyed(ca) -> Renewable:
    """The CA with another key in rekeyed.crt, by which rekeyed-ocsp.crt was issued."""
    ca.make_key("rekeyed")
    ca.renew("rekeyed", key="rekeyed")
    ca.sign("rekeyed-ocsp", ca="rekeyed", ca_key="rekeyed")
    return ca


def test_both_keys_in_one_file(rekeyed):
    """Of the certificates of one name, those of the key that issued the signer are served."""
    for order in (("root-ca", "rekeyed"), ("rekeyed", "root-ca")):
        rekeyed.bundle("both", *order)
        for rsigner, own, foreign in (
            ("root-ocsp", "root-ca", "rekeyed"),
            ("rekeyed-ocsp", "rekeyed", "root-ca"),
        ):
            rekeyed.configure(root={"ca": "both.crt", "rsigner": f"{rsigner}.crt"})
            assert (rekeyed.ask("bad", own), rekeyed.ask("bad", foreign)) == (
                "revoked",
                UNAUTHORIZED,
            )
            assert rekeyed.is_verified(own)


def test_two_keys_in_one_request(rekeyed):
    """The signer of one key cannot speak for the other, which is like a foreign issuer."""
    rekeyed.configure(old={}, new={"ca": "rekeyed.crt", "rsigner": "rekeyed-ocsp.crt"})
    old, new = rekeyed.cert_id("good"), rekeyed.cert_id("bad", "rekeyed")
    assert (rekeyed.respond(old), rekeyed.respond(new)) == (["good"], ["revoked"])
    assert rekeyed.respond(old, new) == ["good", "unknown"]
    assert (
        rekeyed.log
        == "one request asks about certificates of several CAs, and the signer of [old] cannot"
        " speak"
        f" for [new]: unknown for serial {rekeyed.ca.serial('bad')}. Clients must ask about each CA"
        " in a separate request"
    )
    assert rekeyed.respond(new, old) == ["revoked", "unknown"]
    rekeyed.configure(
        old={"unissued": "revoked"},
        new={"ca": "rekeyed.crt", "rsigner": "rekeyed-ocsp.crt", "unissued": "revoked"},
    )
    assert rekeyed.respond(old, new) == ["good", "unknown"]


# One database in two sections


SPELLINGS = [
    "db",
    "db/",
    "./db",
    "../ca/db",
    "db//",
    "linked",
    "linked/",
    "linked-file",
    "hard-linked",
    "db/index",
    "linked-file/index",
]


@pytest.fixture
def spelled(ca) -> Renewable:
    """The CA, whose db has several names."""
    (ca.home / "linked").symlink_to("db")
    for name in ("linked-file", "hard-linked"):
        (ca.home / name).mkdir()
    (ca.home / "linked-file" / "index").symlink_to("../db/index")
    os.link(ca.home / "db" / "index", ca.home / "hard-linked" / "index")
    return ca


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.slow
def test_two_sections_of_one_ca_and_one_database(spelled, spelling):
    for settings in ({}, {"ca": "new.crt"}):
        spelled.renew("new")
        spelled.configure(old={}, new={"db": spelling, **settings})
        assert (spelled.ask(), spelled.ask("bad")) == ("good", "revoked"), spelled.log


def test_two_sections_of_one_ca_and_two_databases(ca):
    """Whichever section's certificate has the encoding that was asked with."""
    shutil.copytree(ca.home / "db", ca.home / "copy")
    ca.renew("new", subject="/C=GB/O=EXAMPLE/CN=ROOT CA")
    ca.configure(old={}, new={"db": "copy", "ca": "new.crt"})
    for issuer in ("root-ca", "new"):
        assert ca.ask("good", issuer) == "internalError"
        assert (
            ca.log
            == "[old] and [new] of the config are one CA by the certificates in `ca`, and have"
            " different `db`"
        )


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.slow
def test_two_cas_and_one_database(spelled, other, spelling):
    """Each would respond for what the other issued: both are refused, a third one responds."""
    third = other.copy(other.home.parent / "third")
    third.openssl(
        "req",
        "-x509",
        "-new",
        "-key",
        "private/root-ca.key",
        "-subj",
        "/CN=third",
        "-days",
        "9",
        "-out",
        "root-ca.crt",
    )
    third.openssl(
        "x509",
        "-req",
        "-in",
        "root-ocsp.csr",
        "-CA",
        "root-ca.crt",
        "-CAkey",
        "private/root-ca.key",
        "-set_serial",
        "7",
        "-days",
        "9",
        "-out",
        "root-ocsp.crt",
        "-extfile",
        "root-ca.cnf",
        "-extensions",
        "ocsp_ext",
    )
    shutil.copy(other.home / "root-ca.crt", spelled.home / "other.crt")
    shutil.copy(third.home / "root-ca.crt", spelled.home / "third.crt")
    os.utime(third.home / "db" / "index", (time.time() - 60,) * 2)
    spelled.configure(first={}, second=section(other.home, db=spelling), third=section(third.home))
    for issuer in ("root-ca", "other"):
        assert spelled.ask("good", issuer) == "internalError"
        assert (
            spelled.log == "[first] and [second] of the config have the same `db`, HOME/db, but are"
            " different CAs"
            " by the certificates in `ca`, and an index does not say which of them issued a"
            " certificate: set `db` of each to the database of its own CA"
        )
    assert spelled.ask("1000", "third") == "unknown"
    both = spelled.cert_id("good"), spelled.cert_id("1000", "third")
    assert spelled.respond(*both) == ["unknown", "unknown"]
    assert "[first] and [second] of the config have the same `db`" in spelled.log


def test_a_renamed_and_a_rekeyed_ca_keep_their_database(rekeyed, other):
    """One name or one key makes two sections one CA, also by way of a third."""
    rekeyed.renew("renamed", subject="/CN=New name")
    rekeyed.sign("renamed-ocsp", ca="renamed")
    rekeyed.renew("both", subject="/CN=New name", key="rekeyed")
    rekeyed.sign("both-ocsp", ca="both", ca_key="rekeyed")
    sections = {
        "root-ca": {},
        **{
            name: {"ca": f"{name}.crt", "rsigner": f"{name}-ocsp.crt"}
            for name in ("both", "rekeyed", "renamed")
        },
    }
    for names, expected in (
        (("root-ca", "renamed"), GOOD),
        (("root-ca", "rekeyed"), GOOD),
        (("root-ca", "both", "rekeyed"), GOOD),
        (("both", "root-ca", "renamed"), GOOD),
        (("root-ca", "both"), "internalError"),
    ):
        rekeyed.configure(**{name: sections[name] for name in names})
        assert [rekeyed.ask("good", name) for name in names] == [expected] * len(names)


def test_a_shared_database_and_a_certificate_that_cannot_be_read(ca, other):
    """Whether they are one CA cannot be told, so nothing is answered from it."""
    ca.configure(first={}, second=section(other.home, db="db", ca="none.crt"))
    assert ca.ask() == "internalError"
    assert ca.log.startswith(
        "[first] and [second] of the config have the same `db`, HOME/db, and whether they are one"
        " CA cannot be told: HOME/none.crt: No such file"
    )
    ca.configure(first={}, second=section(other.home, ca="none.crt"))
    assert ca.ask() == GOOD


def test_two_files_in_one_directory_are_two_databases(ca, other):
    shutil.copy(other.home / "root-ca.crt", ca.home / "other.crt")
    shutil.copy(ca.home / "db" / "index", ca.home / "db" / "other.db")
    directory, file, other_file = (
        database_identity(str(ca.home / path)) for path in ("db", "db/index", "db/other.db")
    )
    assert not directory.isdisjoint(file) and directory.isdisjoint(other_file)


def test_a_missing_database_is_one_however_it_is_spelled(ca, monkeypatch):
    monkeypatch.setattr(limits, "DATABASE_RETRY_SECONDS", 0.02)
    (ca.home / "db").rename(ca.home / "away")
    for spelling in ("db/", "../ca/db"):
        ca.configure(old={}, new={"db": spelling})
        assert ca.ask() == "tryLater"


def test_a_linked_index_is_one_while_openssl_replaces_it(spelled):
    """Between the two renames there is no file to compare."""
    (spelled.home / "db" / "index").rename(spelled.home / "db" / "index.old")
    ca, other = (database_identity(str(spelled.home / path)) for path in ("db", "linked-file"))
    assert not ca.isdisjoint(other)


# The cache


@pytest.fixture
def cached(ca) -> Renewable:
    (ca.home / "cache").mkdir(mode=0o750)
    return ca


def is_hit(ca: Renewable) -> bool:
    return ("cache", "hit") in ca.response.fields


def test_a_response_is_cached_for_each_encoding_of_the_name(cached):
    cached.renew("new", mask="nombstr")
    cached.configure(root={"ca": "new.crt", "cache": "cache"})
    for hit in (False, True):
        for issuer in ("root-ca", "new"):
            assert (cached.ask("good", issuer), is_hit(cached)) == (GOOD, hit)
    cached.renew("new", mask="nombstr")
    assert (cached.ask(), is_hit(cached)) == (GOOD, False)


def test_a_cached_response_does_not_outlive_the_certificate_in_ca(cached, other):
    """The file is another, so what was signed for the issuer before is not used."""
    cached.bundle("file", "root-ca")
    cached.configure(root={"ca": "file.crt", "cache": "cache"})
    assert [(cached.ask(), is_hit(cached)) for _ in range(2)] == [(GOOD, False), (GOOD, True)]
    shutil.copy(other.home / "root-ca.crt", cached.home / "file.crt")
    assert cached.ask() == UNAUTHORIZED


@pytest.mark.parametrize("index", ["the same", "written since"])
def test_a_cached_response_of_a_section_that_is_refused(cached, other, index):
    def touch() -> None:
        if index == "written since":
            with open(cached.home / "db" / "index", "a") as file:
                file.write("# a comment\n")
            os.utime(cached.home / "db" / "index", (time.time() - 60,) * 2)

    cached.configure(
        first={"cache": "cache"}, second=section(other.home, db="elsewhere", cache="cache")
    )
    assert [(cached.ask(), is_hit(cached)) for _ in range(2)] == [(GOOD, False), (GOOD, True)]
    touch()
    cached.configure(first={"cache": "cache"}, second=section(other.home, db="db", cache="cache"))
    assert cached.ask() == "internalError"


def test_a_cached_response_when_a_link_comes_to_lead_to_the_same_database(cached, other):
    cached.configure(first={"cache": "cache"}, second=section(other.home, db="linked"))
    assert [(cached.ask(), is_hit(cached)) for _ in range(2)] == [(GOOD, False), (GOOD, True)]
    (cached.home / "linked").symlink_to("db")
    with open(cached.home / "db" / "index", "a") as file:
        file.write("# a comment\n")
    os.utime(cached.home / "db" / "index", (time.time() - 60,) * 2)
    assert cached.ask() == "internalError"


def test_a_change_of_signer_trust_is_seen(cached):
    cached.ca.openssl(
        "req",
        "-x509",
        "-new",
        "-key",
        "private/root-ocsp.key",
        "-subj",
        "/CN=local",
        "-days",
        "9",
        "-out",
        "local.crt",
    )
    cached.configure(root={"cache": "cache", "rsigner": "local.crt", "signer_trust": "local"})
    assert [(cached.ask(), is_hit(cached)) for _ in range(2)] == [(GOOD, False), (GOOD, True)]
    cached.configure(root={"cache": "cache", "rsigner": "local.crt"})
    assert cached.ask() == "internalError"


# signer_trust = local


@pytest.fixture
def local(ca) -> Renewable:
    """The CA, and local.crt, which signed itself and has no extended key usage."""
    ca.make_key("local")
    serial = ca.ca.serial("bad")  # which is revoked in the CA's database, but not the signer
    ca.ca.openssl(
        "req",
        "-x509",
        "-new",
        "-key",
        "private/local.key",
        "-subj",
        "/CN=local",
        "-set_serial",
        f"0x{serial}",
        "-days",
        "2",
        "-out",
        "local.crt",
    )
    return ca


LOCAL = {"rsigner": "local.crt", "rkey": "private/local.key", "signer_trust": "local"}


def test_a_signer_that_is_trusted_locally(local):
    local.configure(root=LOCAL)
    assert local.is_verified("root-ca", "-VAfile", "local.crt")
    assert local.log == "" and local.warnings == []
    assert local.ask("bad") == "revoked"


def test_a_signer_that_another_ca_issued(local, other):
    local.configure(
        root={
            **LOCAL,
            "rsigner": f"{other.home}/root-ocsp.crt",
            "rkey": f"{other.home}/private/root-ocsp.key",
        }
    )
    assert local.is_verified("root-ca", "-VAfile", f"{other.home}/root-ocsp.crt")


@pytest.mark.parametrize("trust", [{}, {"signer_trust": "issued"}])
def test_a_signer_the_ca_did_not_issue_is_refused_by_default(local, other, trust):
    local.configure(root={**section(other.home), "db": "db", "ca": "root-ca.crt", **trust})
    assert local.ask() == "internalError" and "not issued by HOME/root-ca.crt" in local.log


def test_what_local_trust_does_not_allow(local):
    local.configure(root={**LOCAL, "rkey": "private/root-ocsp.key"})
    assert (
        local.ask() == "internalError"
        and "not the private key of the certificate in HOME/local.crt" in local.log
    )
    local.configure(root=LOCAL)
    local.later = 3 * DAY
    assert local.ask() == "internalError" and "HOME/local.crt: expired on " in local.log
    local.later = -2 * DAY
    assert local.ask() == "internalError" and "HOME/local.crt: not valid before " in local.log


def test_a_revoked_signer_of_the_cas_own_does_not_sign_with_local_trust_either(local):
    local.ca.revoke("root-ocsp")
    os.utime(local.home / "db" / "index", (time.time() - 60,) * 2)
    local.configure(root={"signer_trust": "local"})
    assert local.ask() == "internalError" and "HOME/root-ocsp.crt" in local.log


def test_a_locally_trusted_signer_that_the_ca_issued_needs_no_ocsp_signing(local):
    for trust, expected in (("local", GOOD), ("issued", "internalError")):
        local.configure(
            root={"rsigner": "good.crt", "rkey": "private/good.key", "signer_trust": trust}
        )
        assert local.ask("bad") == ("revoked" if expected == GOOD else expected)


def test_a_locally_trusted_signer_does_not_say_which_ca_of_a_chain_is_meant(local):
    local.ca.issue("issuing", "ca_ext")
    local.bundle("chain", "issuing", "root-ca")
    local.configure(root={**LOCAL, "ca": "chain.crt"})
    assert local.ask() == "internalError"
    assert (
        local.log
        == "HOME/chain.crt: has certificates of 2 CAs, and with `signer_trust = local` the signer"
        " does"
        " not show which of them is meant: leave only those of [root] in it"
    )
    local.renew("new")
    for parts in (("new", "root-ca"), ("root-ocsp", "root-ca", "good")):
        local.bundle("chain", *parts)
        assert local.ask() == GOOD
