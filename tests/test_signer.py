"""Signers of every kind, and those that must not sign.  openssl and `cryptography` verify every
response."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from clients import (
    Answered,
    as_nobody,
    cert_id,
    certificate,
    openssl_ocsp,
    request,
    respond,
    verified,
)
from cryptography.x509 import ocsp

from ocsp_cgi import config
from ocsp_cgi.answer import INTERNAL_ERROR, SUCCESSFUL
from ocsp_cgi.certificate import load as load_certificate
from ocsp_cgi.tools.openssl_ca import PrivateCA

pytestmark = pytest.mark.process

EC = ("ec", "-pkeyopt")
KEYS = {
    "RSA-2048": ("rsa:2048",),
    "P-256": (*EC, "ec_paramgen_curve:P-256"),
    "P-384": (*EC, "ec_paramgen_curve:P-384"),
    "P-521": (*EC, "ec_paramgen_curve:P-521"),
    "Ed25519": ("ed25519",),
    "Ed448": ("ed448",),
    "RSASSA-PSS": ("rsa-pss", "-pkeyopt", "rsa_keygen_bits:2048"),
    "RSASSA-PSS for SHA-384 alone": (
        "rsa-pss",
        "-sha384",
        "-pkeyopt",
        "rsa_keygen_bits:2048",
        "-pkeyopt",
        "rsa_pss_keygen_md:sha384",
        "-pkeyopt",
        "rsa_pss_keygen_mgf1_md:sha384",
        "-pkeyopt",
        "rsa_pss_keygen_saltlen:48",
    ),
}
SIGNATURE_ALGORITHMS = {
    "RSA-2048": "300d06092a864886f70d01010b0500",
    "P-256": "300a06082a8648ce3d040302",
    "P-384": "300a06082a8648ce3d040303",
    "P-521": "300a06082a8648ce3d040304",
    "Ed25519": "300506032b6570",
    "Ed448": "300506032b6571",
    "RSASSA-PSS": (
        "304106092a864886f70d01010a3034a00f300d06096086480165030402010500"
        "a11c301a06092a864886f70d010108300d06096086480165030402010500a203020120"
    ),
    "RSASSA-PSS for SHA-384 alone": (
        "304106092a864886f70d01010a3034a00f300d06096086480165030402020500"
        "a11c301a06092a864886f70d010108300d06096086480165030402020500a203020130"
    ),
}


@pytest.fixture(scope="module")
def signers(pki, workspace) -> PrivateCA:
    """The CA, with a signer of each kind of key, named as the key."""
    ca = pki.copy(workspace / "signers")
    for name, newkey in KEYS.items():
        ca.issue(name, "ocsp_ext", newkey)
    return ca


class Asker:
    """Asks the core about good.crt of a CA, with its own config."""

    def __init__(self, ca: PrivateCA, path: Path):
        self.ca = ca
        self.path = path
        self.later = 0

    def __call__(self, write_config: bool = True, **settings: str) -> Answered:
        keys = {
            "db": "db",
            "ca": "root-ca.crt",
            "rsigner": "root-ocsp.crt",
            "rkey": "private/root-ocsp.key",
            **settings,
        }
        if write_config:
            lines = [f"{key} = {value}\n" for key, value in keys.items()]
            (self.ca.home / "test.conf").write_text("".join(["[root-ca]\n", *lines]))
        self.root = certificate(self.ca.home / "root-ca.crt")
        encoded = request(cert_id(self.root, certificate(self.ca.home / "good.crt").serial_number))
        return respond(
            encoded,
            lambda: config.load(str(self.ca.home / "test.conf")),
            int(time.time()) + self.later,
        )

    def verify(self, answer: Answered) -> ocsp.OCSPResponse:
        """Verify a response `good` with openssl and `cryptography`.  Returns it as the latter reads
        it."""
        assert answer.response_status == SUCCESSFUL, answer.warnings
        (self.path / "response.der").write_bytes(answer.der)
        said = openssl_ocsp(
            self.ca.home,
            "-no_nonce",
            "-respin",
            str(self.path / "response.der"),
            "-cert",
            "good.crt",
        )
        assert (said.stderr, said.stdout.splitlines()[0]) == (
            "Response verify OK\n",
            "good.crt: good",
        )
        return verified(answer.der, self.root)

    def refused(self, response_status: int = INTERNAL_ERROR, **settings) -> str:
        """Ask for a response that must not be signed.  Returns what the log says."""
        answer = self(**settings)
        assert (answer.response_status, answer.der) == (
            response_status,
            bytes((0x30, 3, 0x0A, 1, response_status)),
        )
        [warning] = answer.warnings
        return warning.replace(str(self.ca.home), "HOME")


@pytest.fixture
def ask(signers, tmp_path) -> Asker:
    return Asker(signers, tmp_path)


@pytest.fixture
def ask_alone(ca, tmp_path) -> Asker:
    """Asks a CA that the test may change."""
    return Asker(ca, tmp_path)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.slow
def test_delegated_signer(ask, key):
    answer = ask(rsigner=f"{key}.crt", rkey=f"private/{key}.key")
    assert bytes.fromhex(SIGNATURE_ALGORITHMS[key]) in answer.der
    if key.startswith("RSASSA-PSS"):
        # `cryptography` reads the signature's parameters from version 40 on; openssl verifies them.
        (ask.path / "response.der").write_bytes(answer.der)
        said = openssl_ocsp(
            ask.ca.home, "-no_nonce", "-respin", str(ask.path / "response.der"), "-cert", "good.crt"
        )
        assert said.stderr == "Response verify OK\n"
        return
    response = ask.verify(answer)
    assert response.certificates == [certificate(ask.ca.home / f"{key}.crt")]


@pytest.mark.parametrize("key", ["RSA-2048", "P-256", "P-384", "P-521", "Ed25519"])
@pytest.mark.slow
def test_the_cas_own_key(key, place):
    ca = PrivateCA(place / "ca", newkey=KEYS[key])
    ca.issue("good")
    ask = Asker(ca, place)
    answer = ask(rsigner="root-ca.crt", rkey="private/root-ca.key")
    assert ask.verify(answer).certificates == [certificate(ca.home / "root-ca.crt")]


@pytest.mark.parametrize("key", ["RSASSA-PSS", "P-384", "Ed25519"])
@pytest.mark.slow
def test_signer_issued_by_a_ca_with_another_kind_of_key(key, place):
    """The salts that openssl writes for RSASSA-PSS differ from ours."""
    ca = PrivateCA(place / "ca", newkey=KEYS[key])
    ca.issue("good")
    ca.issue("root-ocsp", "ocsp_ext")
    answer = Asker(ca, place)()
    assert answer.response_status == SUCCESSFUL, answer.warnings
    (place / "response.der").write_bytes(answer.der)
    assert (
        openssl_ocsp(
            ca.home, "-no_nonce", "-respin", str(place / "response.der"), "-cert", "good.crt"
        ).stderr
        == "Response verify OK\n"
    )


def test_signer_signed_with_sha_1_is_refused(ask_alone):
    ask_alone.ca.sign("root-ocsp", "ocsp_ext", "90", "-md", "sha1")
    assert (
        ask_alone.refused()
        == "HOME/root-ocsp.crt: signed with SHA-1, which is weak: issue it again with SHA-256"
        " (`default_md` in the CA's config)"
    )


@pytest.mark.parametrize("key", ["RSA-2048", "P-256", "P-384", "P-521"])
@pytest.mark.parametrize(
    "form",
    [
        "traditional",
        "PKCS#8",
        "traditional, encrypted",
        "PKCS#8, encrypted",
        "with parameters before it",
    ],
)
@pytest.mark.slow
def test_forms_of_keys(ask, key, form, tmp_path):
    source, target = f"private/{key}.key", f"{tmp_path}/key"
    kind = "rsa" if key.startswith("RSA") else "ec"
    traditional = ("rsa", "-traditional") if kind == "rsa" else ("ec",)
    settings = {}
    if "encrypted" in form:
        (tmp_path / "pass").write_text("correct horse\n")
        (tmp_path / "pass").chmod(0o600)
        settings["passin"] = f"{tmp_path}/pass"
    if form.startswith("traditional"):
        encrypt = ("-aes256", "-passout", f"file:{tmp_path}/pass") if settings else ()
        ask.ca.openssl(*traditional, "-in", source, "-out", target, *encrypt)
    elif form.startswith("PKCS#8"):
        encrypt = ("-passout", f"file:{tmp_path}/pass") if settings else ("-nocrypt",)
        ask.ca.openssl("pkcs8", "-topk8", "-in", source, "-out", target, *encrypt)
    else:
        text = ask.ca.openssl(*traditional, "-in", source)
        if kind == "ec":  # as `openssl ecparam -genkey` writes it
            text = ask.ca.openssl("ecparam", "-name", _OPENSSL_CURVES[key]) + text
        Path(target).write_text("# the signer's key\n" + text)
    Path(target).chmod(0o600)
    begin = Path(target).read_text()
    assert ("-----BEGIN ENCRYPTED" in begin or "Proc-Type: 4,ENCRYPTED" in begin) == (
        "encrypted" in form
    )
    ask.verify(ask(rsigner=f"{key}.crt", rkey=target, **settings))


_OPENSSL_CURVES = {"P-256": "prime256v1", "P-384": "secp384r1", "P-521": "secp521r1"}


def test_certificate_with_text_around_it_and_in_der(ask, tmp_path):
    text = ask.ca.openssl("x509", "-in", "P-256.crt", "-text")
    (tmp_path / "text.crt").write_text("# the signer's\n" + text)
    ask.ca.openssl("x509", "-in", "P-256.crt", "-outform", "DER", "-out", f"{tmp_path}/der.crt")
    ask.ca.openssl("x509", "-in", "root-ca.crt", "-outform", "DER", "-out", f"{tmp_path}/ca.crt")
    for name in ("text.crt", "der.crt"):
        ask.verify(
            ask(rsigner=f"{tmp_path}/{name}", rkey="private/P-256.key", ca=f"{tmp_path}/ca.crt")
        )


def test_an_unneeded_pass_phrase(ask, tmp_path):
    (tmp_path / "pass").write_text("whatever")
    (tmp_path / "pass").chmod(0o600)
    ask.verify(ask(rsigner="P-256.crt", rkey="private/P-256.key", passin=f"{tmp_path}/pass"))


def test_encrypted_key_without_its_pass_phrase(ask, tmp_path):
    key, wrong = tmp_path / "key", tmp_path / "wrong"
    ask.ca.openssl(
        "pkcs8",
        "-topk8",
        "-in",
        "private/P-256.key",
        "-out",
        str(key),
        "-passout",
        "pass:correct horse",
    )
    wrong.write_text("battery staple\n")
    for path in (key, wrong):
        path.chmod(0o600)
    assert (
        ask.refused(rsigner="P-256.crt", rkey=str(key))
        == f"{key}: the key is encrypted. Put its pass phrase in a file and name it with"
        f" `passin`, or remove the pass phrase: `openssl pkey -in {key} -out {key}.pem`, and"
        " name that file with `rkey`"
    )
    assert (
        ask.refused(rsigner="P-256.crt", rkey=str(key), passin=str(wrong))
        == f"{key}: the pass phrase in {wrong} is wrong; try `openssl pkey -in {key} -passin"
        f" file:{wrong} -noout`"
    )
    assert ask.refused(rsigner="P-256.crt", rkey=str(key), passin=f"{tmp_path}/none").startswith(
        f"{tmp_path}/none: No such file"
    )


@pytest.mark.parametrize("other", ["RSA-2048", "P-384", "Ed25519", "root-ocsp"])
def test_key_of_another_certificate(ask, other):
    assert (
        ask.refused(rsigner="P-256.crt", rkey=f"private/{other}.key")
        == f"HOME/private/{other}.key: not the private key of the certificate in HOME/P-256.crt, or"
        f" damaged (`openssl pkey -in HOME/private/{other}.key -check -noout` tests it): name the"
        " key that the certificate was issued for"
    )


def test_key_readable_by_everybody(ask_alone):
    key = ask_alone.ca.home / "private" / "root-ocsp.key"
    for mode in (0o644, 0o604, 0o602, 0o666):
        key.chmod(mode)
        assert (
            ask_alone.refused()
            == "HOME/private/root-ocsp.key: everybody on this machine may read it: chmod o-rwx"
            " HOME/private/root-ocsp.key"
        )
    key.chmod(0o640)
    ask_alone.verify(ask_alone())


@pytest.mark.parametrize("content", ["", "hello", "-----BEGIN X-----\nAAAA\n-----END X-----\n"])
def test_a_file_without_a_key(ask, tmp_path, content):
    (tmp_path / "key").write_text(content)
    (tmp_path / "key").chmod(0o600)
    assert (
        ask.refused(rkey=f"{tmp_path}/key")
        == f"{tmp_path}/key: no private key in PEM; try `openssl pkey -in {tmp_path}/key -noout`"
    )


@pytest.mark.parametrize("body", ["AAAA", "", "MAA=", "?"])
def test_broken_key(ask, tmp_path, body):
    begin, end = (f"-----{word} PRIVATE KEY-----\n" for word in ("BEGIN", "END"))
    (tmp_path / "key").write_text(f"{begin}{body}\n{end}")
    (tmp_path / "key").chmod(0o600)
    warning = ask.refused(rkey=f"{tmp_path}/key")
    assert warning.startswith(f"{tmp_path}/key: damaged, or of a kind that `cryptography` ")
    assert f"`openssl pkey -in {tmp_path}/key -check -noout` tests it. Restore it" in warning


def test_key_unreadable_to_the_web_server(ask_alone):
    ask_alone()
    (ask_alone.ca.home / "private" / "root-ocsp.key").chmod(0)
    with as_nobody():
        refused = ask_alone.refused(write_config=False)
    assert refused.startswith("HOME/private/root-ocsp.key: Permission denied; `rkey` names it")


def test_a_file_without_a_certificate(ask, tmp_path):
    (tmp_path / "empty").touch()
    (tmp_path / "broken").write_text(
        "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"
    )
    for option in ("ca", "rsigner"):
        assert ask.refused(**{option: "none.crt"}).startswith(
            f"HOME/none.crt: No such file or directory; `{option}` names it"
        )
        assert (
            ask.refused(**{option: f"{tmp_path}/empty"})
            == f"{tmp_path}/empty: no -----BEGIN CERTIFICATE----- block; `{option}` names it"
        )
        assert ask.refused(**{option: f"{tmp_path}/broken"}).startswith(
            f"{tmp_path}/broken: not an X.509 certificate: "
        )


def test_signer_without_the_extended_key_usage(ask):
    assert (
        ask.refused(rsigner="good.crt", rkey="private/good.key")
        == "HOME/good.crt: it lacks the extended key usage OCSPSigning: issue a signer certificate"
        " with `openssl ca -extensions ocsp_ext`"
    )


def test_signer_of_another_ca_of_the_same_name(ask, place):
    other = PrivateCA(place / "other")
    other.issue("foreign", "ocsp_ext")
    assert (
        ask.refused(rsigner=f"{other.home}/foreign.crt", rkey=f"{other.home}/private/foreign.key")
        == f"{other.home}/foreign.crt: not issued by HOME/root-ca.crt: clients would refuse its"
        " responses"
    )


def test_expired_and_future_signers(ask):
    days = 24 * 3600
    ask.later = 91 * days
    assert "HOME/root-ocsp.crt: expired on " in ask.refused()
    ask.later = -days
    assert "HOME/root-ocsp.crt: not valid before " in ask.refused()


def test_expired_ca(ask):
    ask.ca.openssl(
        "x509",
        "-in",
        "root-ca.crt",
        "-signkey",
        "private/root-ca.key",
        "-days",
        "1",
        "-out",
        "day-ca.crt",
        "-extfile",
        "root-ca.cnf",
        "-extensions",
        "ca_ext",
    )
    ask.later = 24 * 3600 - 60
    assert ("warning", "ca-expires-in-0-days") in ask(ca="day-ca.crt").fields
    ask.later = 2 * 24 * 3600
    assert "HOME/day-ca.crt: expired on " in ask.refused(ca="day-ca.crt")


def test_revoked_signer(ask_alone):
    ask_alone.ca.revoke("root-ocsp")
    assert (
        ask_alone.refused()
        == "HOME/root-ocsp.crt: revoked in the database of [root-ca]; issue a new signer"
        " certificate"
    )


def test_next_update_ends_with_the_signer_and_with_its_ca(ask):
    end = load_certificate(str(ask.ca.home / "root-ocsp.crt")).not_after
    ask.later = end - 1000 - int(time.time())
    answer = ask()
    assert (answer.next_update, answer.max_age) == (end, (end - answer.this_update) // 2)
