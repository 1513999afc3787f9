"""Keys, signatures and files of every kind that openssl makes: used, or refused with the reason.

Each response is verified by openssl, and each command that the log recommends is run.
"""

from __future__ import annotations

import base64
import hashlib
import random
import re
import shlex
import subprocess
import time
from pathlib import Path

import cryptography
import pytest
from clients import Answered, cert_id_of, certificate, extension, openssl_ocsp, request, respond
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ocsp_cgi import algorithms, client, config, der, file_kinds, keys
from ocsp_cgi import certificate as x509_reader
from ocsp_cgi.answer import INTERNAL_ERROR, SUCCESSFUL
from ocsp_cgi.tools.openssl_ca import PrivateCA

pytestmark = pytest.mark.process

VERSION = int(cryptography.__version__.partition(".")[0])
P256 = ("ec", "-pkeyopt", "ec_paramgen_curve:P-256")
LEGACY = ("-provider", "legacy", "-provider", "default")
FIREFOX = "rsigner-key-cannot-be-verified-by-Firefox"


def curve(name: str) -> tuple[str, ...]:
    return ("ec", "-pkeyopt", f"ec_paramgen_curve:{name}")


def pss(*options: str, bits: int = 2048) -> tuple[str, ...]:
    """An RSASSA-PSS key, whose request is signed with the hash that it is restricted to."""
    words = [f"rsa_keygen_bits:{bits}", *[f"rsa_pss_keygen_{option}" for option in options]]
    hashes = [option.replace("md:", "-") for option in options if option.startswith("md:")]
    return ("rsa-pss", *hashes, *[word for option in words for word in ("-pkeyopt", option)])


class Responder:
    """A CA with good.crt and a signer, and its responder."""

    def __init__(self, ca: PrivateCA):
        self.ca = ca
        self.home = ca.home

    def ask(self, extensions: bytes = b"", **settings: str) -> Answered:
        settings = {
            "db": "db",
            "ca": "root-ca.crt",
            "rsigner": "root-ocsp.crt",
            "rkey": "private/root-ocsp.key",
            **settings,
        }
        lines = [f"{key} = {value}\n" for key, value in settings.items()]
        (self.home / "test.conf").write_text("".join(["[root-ca]\n", *lines]))
        root = x509_reader.load(str(self.home / "root-ca.crt"))  # with any type of key
        hashed = [hashlib.sha1(one).digest() for one in (root.subject, root.public_key)]
        serial = int(self.ca.serial("good"), 16)
        encoded = request(cert_id_of("sha1", *hashed, serial), extensions=extensions)
        path = str(self.home / "test.conf")
        return respond(encoded, lambda: config.load(path), int(time.time()))

    def good(self, *options: str, **settings) -> list[str]:
        """Ask, and let openssl verify the response.  Returns the warnings."""
        answer = self.ask(**settings)
        assert answer.response_status == SUCCESSFUL, answer.warnings
        (self.home / "response.der").write_bytes(answer.der)
        said = openssl_ocsp(
            self.home,
            "-no_nonce",
            "-respin",
            str(self.home / "response.der"),
            "-cert",
            "good.crt",
            *options,
        )
        assert said.stdout.splitlines()[:1] == ["good.crt: good"], said
        assert said.stderr == "Response verify OK\n"
        return [value for name, value in answer.fields if name == "warning"]

    def refused(self, **settings: str) -> str:
        answer = self.ask(**settings)
        assert answer.response_status == INTERNAL_ERROR, answer.fields
        [warning] = answer.warnings
        assert warning.isprintable() and "report" not in warning
        return warning.replace(str(self.home), "HOME")

    def reissue(self, name: str, *options: str) -> None:
        """Issue NAME.crt again, with further options of `openssl ca`."""
        self.ca.sign(name, "ocsp_ext", "90", *options)


@pytest.fixture
def pki_responder(ca) -> Responder:
    return Responder(ca)


def with_ca_key(home: Path, newkey: tuple[str, ...]) -> Responder:
    ca = PrivateCA(home, newkey=newkey)
    ca.issue("good")
    ca.issue("root-ocsp", "ocsp_ext")
    return Responder(ca)


# The CA's key, and its signature on the signer's certificate


@pytest.mark.parametrize(
    "name",
    [
        "brainpoolP256r1",
        "brainpoolP384r1",
        "brainpoolP512r1",
        "secp256k1",
        "secp224r1",
        "P-384",
    ],
)
@pytest.mark.slow
def test_a_ca_key_on_another_curve(place, name):
    asker = with_ca_key(place / "ca", curve(name))
    assert asker.good() == []
    warnings = asker.good(rsigner="root-ca.crt", rkey="private/root-ca.key")
    assert (FIREFOX in warnings) == (name != "P-384")


def test_a_warning_about_a_ca_key_on_a_short_curve(place):
    asker = with_ca_key(place / "ca", curve("prime192v1"))
    assert asker.good() == ["ca-EC-key-has-192-bits"]
    assert asker.good(rsigner="root-ca.crt", rkey="private/root-ca.key")[-2:] == [
        FIREFOX,
        "rsigner-EC-key-has-192-bits",
    ]


@pytest.mark.parametrize(
    "name, reason",
    [
        (
            "secp112r1",
            (
                "HOME/root-ca.crt: its EC key has 112 bits, and can be broken: replace it with"
                " P-256 or RSA of 2048 bits"
            ),
        ),
        (
            "brainpoolP160r1",
            (
                "HOME/root-ca.crt: its key is on the curve 1.3.36.3.3.2.8.1.1.1, which"
                " `cryptography` {} does not support: whether this CA issued"
                " HOME/root-ocsp.crt cannot be verified"
            ),
        ),
    ],
)
def test_a_ca_key_that_cannot_be_used(place, name, reason):
    asker = with_ca_key(place / "ca", curve(name))
    assert asker.refused() == reason.format(cryptography.__version__)
    if name == "secp112r1":
        assert asker.refused(signer_trust="local") == reason
    else:  # then nothing is verified with it
        asker.good("-VAfile", "root-ocsp.crt", signer_trust="local")


def test_a_ca_key_with_explicit_parameters(place):
    asker = with_ca_key(place / "ca", (*curve("P-256"), "-pkeyopt", "ec_param_enc:explicit"))
    assert asker.refused().startswith(
        "HOME/root-ca.crt: its key is of the type EC with explicit parameters of its curve, which"
        " clients refuse: "
    )


@pytest.mark.slow
def test_a_ca_with_a_dsa_key(place):
    place.joinpath("dsa").write_bytes(b"")
    subprocess.run(
        [
            "openssl",
            "genpkey",
            "-genparam",
            "-algorithm",
            "DSA",
            "-pkeyopt",
            "dsa_paramgen_bits:2048",
            "-out",
            str(place / "dsa"),
        ],
        check=True,
        capture_output=True,
    )
    asker = with_ca_key(place / "ca", (f"dsa:{place}/dsa",))
    assert asker.good() == []
    assert (
        asker.refused(rsigner="root-ca.crt", rkey="private/root-ca.key")
        == "HOME/root-ca.crt: its key is of the type DSA: issue a signer certificate with a new"
        " key,"
        " P-256 or RSA"
    )


@pytest.mark.parametrize(
    "options",
    [
        ("-md", "sha224"),
        ("-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_mgf1_md:sha1"),
        (
            "-sigopt",
            "rsa_padding_mode:pss",
            "-sigopt",
            "rsa_mgf1_md:sha512",
            "-sigopt",
            "rsa_pss_saltlen:20",
        ),
        ("-sigopt", "rsa_padding_mode:pss", "-md", "sha224"),
    ],
    ids=" ".join,
)
def test_a_signer_signed_with_another_hash(pki_responder, options):
    pki_responder.reissue("root-ocsp", *options)
    pki_responder.good()


@pytest.mark.parametrize(
    "options, said",
    [
        (("-md", "sha1"), "with SHA-1, which is weak"),
        (("-md", "md5"), "with MD5, which is weak"),
        (
            ("-md", "sha1", "-sigopt", "rsa_padding_mode:pss"),
            "with RSASSA-PSS and SHA-1, which is weak",
        ),
        (("-md", "ripemd160"), "with an unknown algorithm, OID 1.3.36.3.3.1.2"),
    ],
)
def test_a_signer_signed_with_a_weak_or_unknown_hash(pki_responder, options, said):
    pki_responder.reissue("root-ocsp", *options, *LEGACY)
    assert (
        pki_responder.refused()
        == f"HOME/root-ocsp.crt: signed {said}: issue it again with SHA-256 (`default_md` in the"
        " CA's config)"
    )


@pytest.mark.slow
def test_a_ca_that_changed_to_a_key_that_cannot_be_used(pki_responder, place):
    """A signature that one of its keys cannot verify is verified with the other."""
    other = PrivateCA(place / "other", newkey=curve("brainpoolP160r1"))
    roots = [(home / "root-ca.crt").read_text() for home in (other.home, pki_responder.home)]
    (pki_responder.home / "both.crt").write_text("".join(roots))
    pki_responder.good(ca="both.crt")
    foreign = PrivateCA(place / "foreign")
    foreign.issue("root-ocsp", "ocsp_ext")
    assert "1.3.36.3.3.2.8.1.1.1, which" in pki_responder.refused(
        ca="both.crt", rsigner=f"{foreign.home}/root-ocsp.crt"
    )


# The signer's key


@pytest.mark.parametrize(
    "newkey, warnings",
    [
        (("rsa:2048",), []),
        (("rsa:2047",), ["rsigner-RSA-key-has-2047-bits"]),
        (("rsa:1024",), ["rsigner-RSA-key-has-1024-bits"]),
        (curve("P-256"), []),
        (curve("P-384"), []),
        (curve("P-521"), []),
        (("ed25519",), [FIREFOX]),
        (("ed448",), [FIREFOX]),
        (pss(), [FIREFOX]),
        (curve("brainpoolP256r1"), [FIREFOX]),
        (curve("brainpoolP384r1"), [FIREFOX]),
        (curve("brainpoolP512r1"), [FIREFOX]),
        (curve("secp256k1"), [FIREFOX]),
        (curve("secp224r1"), [FIREFOX]),
        (curve("prime192v1"), [FIREFOX, "rsigner-EC-key-has-192-bits"]),
    ],
    ids=lambda value: value[-1].rpartition(":")[2] if value else "fine",
)
@pytest.mark.slow
def test_a_signer(pki_responder, newkey, warnings):
    """Which of them Firefox can verify is tested in test_real_clients.py."""
    pki_responder.ca.issue("signer", "ocsp_ext", newkey)
    settings = {"rsigner": "signer.crt", "rkey": "private/signer.key"}
    assert pki_responder.good(**settings) == warnings
    traditional = pki_responder.home / "private" / "traditional.key"
    if newkey[0] == "ec":
        pki_responder.ca.openssl("ec", "-in", "private/signer.key", "-out", str(traditional))
        assert pki_responder.good(**{**settings, "rkey": str(traditional)}) == warnings


@pytest.mark.parametrize(
    "newkey, said",
    [
        (
            ("rsa:512",),
            (
                "its RSA key has 512 bits, and can be broken: replace it with P-256 or RSA of"
                " 2048 bits"
            ),
        ),
        (("rsa:1023",), "its RSA key has 1023 bits, and can be broken: "),
        (curve("secp112r1"), "its EC key has 112 bits, and can be broken: "),
        (curve("brainpoolP160r1"), "its key is on the curve 1.3.36.3.3.2.8.1.1.1, which "),
        ((*P256, "-pkeyopt", "ec_param_enc:explicit"), "its key is of the type EC with explicit"),
        (
            pss("md:sha1"),
            "its key is one that may only sign with RSASSA-PSS and SHA-1, which is weak",
        ),
    ],
)
@pytest.mark.parametrize("trust", ["issued", "local"])
@pytest.mark.slow
def test_a_signer_whose_key_cannot_be_used(pki_responder, newkey, said, trust):
    pki_responder.ca.issue("signer", "ocsp_ext", newkey)
    settings = {"rsigner": "signer.crt", "rkey": "private/signer.key", "signer_trust": trust}
    assert pki_responder.refused(**settings).startswith(f"HOME/signer.crt: {said}")


@pytest.mark.parametrize("bits, warned", [(768, None), (1024, True), (2048, False)])
@pytest.mark.parametrize("trust", ["issued", "local"])
@pytest.mark.slow
def test_the_length_of_the_cas_key(place, bits, warned, trust):
    asker = with_ca_key(place / "ca", (f"rsa:{bits}",))
    options = ("-VAfile", "root-ocsp.crt") if trust == "local" else ()
    if warned is None:
        assert asker.refused(signer_trust=trust).startswith(
            f"HOME/root-ca.crt: its RSA key has {bits} bits, and can be broken: "
        )
    else:
        warnings = asker.good(*options, signer_trust=trust)
        assert warnings == (["ca-RSA-key-has-1024-bits"] if warned else [])


@pytest.mark.parametrize(
    "options, expected",
    [
        ((), ("SHA256", "SHA256", 32)),
        (("md:sha256",), ("SHA256", "SHA1", 32)),
        (("md:sha256", "mgf1_md:sha256", "saltlen:20"), ("SHA256", "SHA256", 32)),
        (("md:sha256", "mgf1_md:sha256", "saltlen:64"), ("SHA256", "SHA256", 64)),
        (("md:sha256", "mgf1_md:sha256", "saltlen:222"), ("SHA256", "SHA256", 222)),
        (("md:sha256", "mgf1_md:sha1"), ("SHA256", "SHA1", 32)),
        (("md:sha512", "mgf1_md:sha384", "saltlen:0"), ("SHA512", "SHA384", 64)),
        (("md:sha224", "mgf1_md:sha224"), ("SHA224", "SHA224", 28)),
    ],
)
@pytest.mark.slow
def test_the_parameters_of_the_signers_rsassa_pss_key(pki_responder, options, expected):
    pki_responder.ca.issue("signer", "ocsp_ext", pss(*options))
    own = algorithms.own_algorithm(x509_reader.load(str(pki_responder.home / "signer.crt")))
    assert (own.hash_name, own.mgf1_hash_name, own.salt_length) == expected
    assert pki_responder.good(rsigner="signer.crt", rkey="private/signer.key") == [FIREFOX]


def test_parameters_that_do_not_fit_the_key(pki_responder):
    """openssl refuses to make them, so the certificate's are changed here."""
    pki_responder.ca.issue("signer", "ocsp_ext", pss("md:sha512", "saltlen:62", bits=1024))
    holder = x509_reader.load(str(pki_responder.home / "signer.crt"))
    assert algorithms.own_algorithm(holder).salt_length == 62
    holder.key_algorithm = holder.key_algorithm.replace(b"\x02\x01\x3e", b"\x02\x01\x3f")
    with pytest.raises(algorithms.UnsupportedKey, match=r"too short for .*SHA512, 63 bytes"):
        algorithms.own_algorithm(holder)


SHA256_RSA, SHA512_RSA = (f"300d06092a864886f70d0101{one}0500" for one in ("0b", "0d"))
PSS = (
    "304106092a864886f70d01010a3034a00f300d0609608648016503040%s0500"
    "a11c301a06092a864886f70d010108300d0609608648016503040%s0500a2030201%s"
)
PSS_SHA256, PSS_SHA512 = PSS % ("201", "201", "20"), PSS % ("203", "203", "40")
PSS_SHA256_MGF1_SHA512 = PSS % ("201", "203", "20")
ECDSA_SHA256, ECDSA_SHA384 = "300a06082a8648ce3d040302", "300a06082a8648ce3d040303"


@pytest.mark.parametrize(
    "newkey, preferred, chosen",
    [
        (("rsa:1024",), [PSS_SHA512], SHA256_RSA),  # it needs 130 bytes
        (("rsa:1024",), [PSS_SHA512, SHA512_RSA], SHA512_RSA),
        (("rsa:1032",), [PSS_SHA512], SHA256_RSA),
        (("rsa:1040",), [PSS_SHA512], PSS_SHA512),
        (("rsa:2048",), [PSS_SHA512], PSS_SHA512),
        (("rsa:2048",), [PSS_SHA256_MGF1_SHA512, PSS_SHA256], PSS_SHA256),
        (("rsa:2048",), [SHA512_RSA[:2] + "0b" + SHA512_RSA[4:-4]], SHA512_RSA),  # without NULL
        (
            ("rsa:2048",),
            ["300d06092a864886f70d0101050500", "3000", "300b0609608648016503040311"],
            SHA256_RSA,
        ),
        (("rsa:2048",), [ECDSA_SHA256], SHA256_RSA),
        (P256, [ECDSA_SHA384, SHA512_RSA], ECDSA_SHA256),
        (pss("md:sha256", "mgf1_md:sha256", "saltlen:32"), [PSS_SHA512, SHA256_RSA], PSS_SHA256),
        (pss(), [PSS_SHA256], PSS_SHA256),
    ],
)
@pytest.mark.slow
def test_a_preferred_algorithm_is_used_if_the_key_is_long_enough(
    pki_responder, newkey, preferred, chosen
):
    pki_responder.ca.issue("signer", "ocsp_ext", newkey)
    preferences = der.sequence(*[der.sequence(bytes.fromhex(one)) for one in preferred])
    settings = {"rsigner": "signer.crt", "rkey": "private/signer.key"}
    extensions = extension("1.3.6.1.5.5.7.48.1.8", preferences)
    answer = pki_responder.ask(extensions=extensions, **settings)
    assert bytes.fromhex(chosen) in answer.der, answer.warnings
    pki_responder.good(extensions=extensions, **settings)


# Verifying


def test_a_signature_by_another_kind_of_key(pki_responder):
    root = x509_reader.load(str(pki_responder.home / "root-ca.crt"))
    for identifier in (ECDSA_SHA256, "300506032b6570", "300b0609608648016503040302", PSS_SHA256):
        assert keys.verifies(root, root.signature, root.tbs, bytes.fromhex(identifier)) is False
    assert keys.verifies(root, root.signature, root.tbs, root.signature_algorithm)


@pytest.mark.parametrize(
    "numbers",
    [
        (0, 65537),
        (-7, 65537),
        (15, 0),
        (15, -1),
        (15, 1),
        (15, 2),
        (15,),
        (1, 1),
    ],
)
def test_a_certificate_whose_rsa_key_is_absurd(pki_responder, numbers):
    root = x509_reader.load(str(pki_responder.home / "root-ca.crt"))
    root.public_key = der.sequence(*[der.integer(one) for one in numbers])
    try:
        assert not keys.verifies(root, root.signature, root.tbs, root.signature_algorithm)
    except algorithms.UnsupportedKey as error:
        assert str(error)


@pytest.mark.parametrize(
    "point",
    [
        b"",
        b"\0",
        b"\4",
        bytes(65),
        b"\4" + bytes(64),
        b"\2" + b"\xff" * 32,
    ],
)
def test_a_certificate_whose_point_is_not_on_the_curve(pki_responder, point):
    holder = x509_reader.load(str(pki_responder.home / "root-ocsp.crt"))
    holder.public_key = point
    message = r"one that `cryptography` .* does not accept"
    with pytest.raises(algorithms.UnsupportedKey, match=message):
        keys.verifies(holder, b"", b"", bytes.fromhex(ECDSA_SHA256))


def test_a_hash_that_openssls_client_does_not_know(pki_responder):
    pki_responder.reissue("root-ocsp", "-md", "sha512-256")
    assert pki_responder.ask().response_status == SUCCESSFUL


def test_an_ml_dsa_signature():
    identifier = bytes.fromhex("300b0609608648016503040311")
    holder = x509_reader.Certificate.__new__(x509_reader.Certificate)
    try:
        from cryptography.hazmat.primitives.asymmetric import mldsa
    except ImportError:
        holder.key_algorithm, holder.public_key = identifier, bytes(1312)
        with pytest.raises(algorithms.UnsupportedKey, match="does not accept"):
            keys.verifies(holder, b"", b"", identifier)
        return
    key = mldsa.MLDSA44PrivateKey.generate()
    formats = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    fields = der.read(key.public_key().public_bytes(*formats), der.SEQUENCE).elements()
    holder.key_algorithm = fields.expect(der.SEQUENCE).encoded
    holder.public_key = fields.expect(der.BIT_STRING).bit_string()
    assert keys.verifies(holder, key.sign(b"signed"), b"signed", identifier)
    assert not keys.verifies(holder, key.sign(b"signed"), b"other", identifier)


# Files of certificates


def x509_label(ca: PrivateCA, name: str) -> bytes:
    return (ca.home / name).read_bytes().replace(b" CERTIFICATE-", b" X509 CERTIFICATE-")


def trusted_label(ca: PrivateCA, name: str) -> bytes:
    trusted = ca.openssl("x509", "-in", name, "-trustout", "-addtrust", "serverAuth")
    assert "-----BEGIN TRUSTED CERTIFICATE-----" in trusted
    return trusted.encode()


def in_der(ca: PrivateCA, name: str) -> bytes:
    return certificate(ca.home / name).public_bytes(serialization.Encoding.DER)


FORMS = {
    "X509 CERTIFICATE": x509_label,
    "TRUSTED CERTIFICATE": trusted_label,
    "DER": in_der,
    "DER and a newline": lambda ca, name: in_der(ca, name) + b"\n",
    "DER and CR LF": lambda ca, name: in_der(ca, name) + b"\r\n",
    "a date": lambda ca, name: b"04 Jan 2026: renewed\n" + (ca.home / name).read_bytes(),
    "s_client": lambda ca, name: b"0 s:C = GB, CN = x\n   i:y\n" + (ca.home / name).read_bytes(),
    "0 in Latin-1": lambda ca, name: b"0\xe9\n" + (ca.home / name).read_bytes(),
    "CR LF": lambda ca, name: (ca.home / name).read_bytes().replace(b"\n", b"\r\n"),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_certificates(pki_responder, form):
    for name in ("root-ca.crt", "root-ocsp.crt"):
        content = FORMS[form](pki_responder.ca, name)
        (pki_responder.home / f"form-{name}").write_bytes(content)
        read = client._read("certificate", content)
        assert read.der == in_der(pki_responder.ca, name)
    pki_responder.good(ca="form-root-ca.crt", rsigner="form-root-ocsp.crt")


def test_der_with_trailing_data(pki_responder):
    encoded = in_der(pki_responder.ca, "root-ca.crt")
    (pki_responder.home / "more.crt").write_bytes(encoded + b"\nmore")
    said = f"trailing data after the certificate in DER, at byte {len(encoded)}"
    assert pki_responder.refused(ca="more.crt") == f"HOME/more.crt: {said}; `ca` names it"
    with pytest.raises(client.UnusableCertificate, match=f"issuer: {said}"):
        client._read("issuer", encoded + b"\nmore")


def run_recommended(home: Path, warning: str, pass_phrase: str = "secret\n") -> None:
    """Run the command between backticks that makes a new file."""
    [command] = re.findall(r"`(openssl [^`]* -out [^`]*)`", warning.replace("HOME", str(home)))
    words = shlex.split(command)
    if words[1] != "pkcs7":
        words[2:2] = ["-passin", f"file:{home}/pass"]
    if "-aes256" in words:
        words[2:2] = [*LEGACY, "-passout", f"file:{home}/pass.new"]
    for name in ("pass", "pass.new"):
        (home / name).write_text(pass_phrase)
        (home / name).chmod(0o600)
    run = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert run.returncode == 0, (words, run.stderr)


def pkcs12(ca: PrivateCA) -> tuple[str, ...]:
    return (
        "pkcs12",
        "-export",
        "-inkey",
        "private/root-ocsp.key",
        "-in",
        "root-ocsp.crt",
        "-passout",
        "pass:secret",
    )


@pytest.mark.parametrize(
    "command, said",
    [
        (pkcs12(None), "a PKCS#12 file; convert it: "),
        (("crl2pkcs7", "-nocrl", "-certfile", "root-ocsp.crt"), "a PKCS#7 file; convert it: "),
        (
            ("crl2pkcs7", "-nocrl", "-certfile", "root-ocsp.crt", "-outform", "DER"),
            "a PKCS#7 file; convert it: ",
        ),
    ],
)
def test_a_container_of_certificates(pki_responder, command, said):
    path = pki_responder.home / "a signer.p12"
    pki_responder.ca.openssl(*command, "-out", str(path))
    warning = pki_responder.refused(rsigner=str(path))
    assert warning.startswith(f"HOME/a signer.p12: {said}")
    assert warning.endswith(", and name that file instead; `rsigner` names it")
    run_recommended(pki_responder.home, warning)
    pki_responder.good(rsigner=f"{path}.pem")


@pytest.mark.parametrize(
    "source, said",
    [
        ("private/root-ocsp.key", "a private key, not a certificate"),
        (
            "root-ocsp.csr",
            (
                "a certificate request, not a certificate: the CA has yet to issue the"
                " certificate for it"
            ),
        ),
    ],
)
@pytest.mark.parametrize("form", ["PEM", "DER"])
def test_another_file_instead_of_a_certificate(pki_responder, source, said, form):
    command = "pkey" if source.endswith("key") else "req"
    path = pki_responder.home / "other"
    pki_responder.ca.openssl(command, "-in", source, "-outform", form, "-out", str(path))
    assert pki_responder.refused(rsigner="other") == f"HOME/other: {said}; `rsigner` names it"


def test_text_in_utf_16(pki_responder):
    for name, source in (("signer.crt", "root-ocsp.crt"), ("signer.key", "private/root-ocsp.key")):
        text = (pki_responder.home / source).read_text()
        (pki_responder.home / name).write_bytes(text.encode("utf-16"))
        (pki_responder.home / name).chmod(0o600)
    for option, name in (("rsigner", "signer.crt"), ("rkey", "signer.key")):
        warning = pki_responder.refused(**{option: name})
        assert warning.startswith(f"HOME/{name}: a UTF-16 text, not a ")
        [command] = re.findall("`(iconv[^`]*)`", warning.replace("HOME", str(pki_responder.home)))
        subprocess.run(command, shell=True, check=True)
        (pki_responder.home / f"{name}.pem").chmod(0o600)
        pki_responder.good(**{option: f"{name}.pem"})


# Files of keys


KEY_FILES = {
    "PKCS#8": ("pkcs8", "-topk8", "-nocrypt", "-in", "private/root-ocsp.key", "-outform", "DER"),
    "SEC 1": ("ec", "-in", "private/root-ocsp.key", "-outform", "DER"),
    "PKCS#8, encrypted": (
        "pkcs8",
        "-topk8",
        "-in",
        "private/root-ocsp.key",
        "-outform",
        "DER",
        "-passout",
        "pass:secret",
    ),
    "PKCS#12": pkcs12(None),
}


@pytest.mark.parametrize("name", KEY_FILES)
@pytest.mark.slow
def test_a_key_in_another_form_is_refused_with_the_command_that_converts_it(pki_responder, name):
    path = pki_responder.home / "a signer's.key"
    pki_responder.ca.openssl(*KEY_FILES[name], "-out", str(path))
    path.chmod(0o600)
    warning = pki_responder.refused(rkey=str(path))
    what = {
        "PKCS#12": "PKCS#12 file, not a key in PEM",
        "PKCS#8, encrypted": "encrypted private key in DER, not PEM",
    }
    expected = what.get(name, "private key in DER, not PEM")
    assert re.match(rf"HOME/a signer's\.key: an? {re.escape(expected)}; convert it: ", warning)
    assert warning.endswith("and name that file with `rkey`")
    run_recommended(pki_responder.home, warning)
    pki_responder.good(rkey=f"{path}.pem")


@pytest.mark.slow
def test_a_traditional_rsa_key_in_der(pki_responder):
    pki_responder.ca.issue("signer", "ocsp_ext", ("rsa:2048",))
    path = pki_responder.home / "signer.der"
    pki_responder.ca.openssl(
        "rsa", "-in", "private/signer.key", "-traditional", "-outform", "DER", "-out", str(path)
    )
    path.chmod(0o600)
    warning = pki_responder.refused(rsigner="signer.crt", rkey=str(path))
    assert warning.startswith("HOME/signer.der: a private key in DER, not PEM; convert it: ")
    run_recommended(pki_responder.home, warning)
    pki_responder.good(rsigner="signer.crt", rkey=f"{path}.pem")


ENCRYPTED = {
    **{name: ("ec", f"-{name}") for name in ("aes256", "des3", "des", "camellia256", "aria256")},
    "PBES2 AES": ("pkcs8", "-topk8"),
    "scrypt": ("pkcs8", "-topk8", "-scrypt"),
    "PBES2 Camellia": ("pkcs8", "-topk8", "-v2", "camellia-256-cbc"),
    "PBES2 Blowfish": ("pkcs8", "-topk8", "-v2", "bf-cbc"),
}


@pytest.mark.parametrize("name", ENCRYPTED)
@pytest.mark.slow
def test_an_encrypted_key_is_used_or_the_log_says_how_to_encrypt_it_again(pki_responder, name):
    """Which ciphers `cryptography` decrypts depends on its version."""
    path = pki_responder.home / "encrypted.key"
    command, *options = ENCRYPTED[name]
    pki_responder.ca.openssl(
        command,
        "-in",
        "private/root-ocsp.key",
        "-passout",
        "pass:secret",
        *LEGACY,
        *options,
        "-out",
        str(path),
    )
    path.chmod(0o600)
    (pki_responder.home / "pass").write_text("secret\n")
    (pki_responder.home / "pass").chmod(0o600)
    settings = {"rkey": "encrypted.key", "passin": "pass"}
    warning = pki_responder.refused(rkey="encrypted.key")
    assert warning.startswith("HOME/encrypted.key: the key is encrypted. Put its pass phrase in ")
    if name in ("aes256", "des3", "PBES2 AES", "scrypt") or VERSION < 39:
        pki_responder.good(**settings)
        (pki_responder.home / "pass").write_text("wrong\n")
        assert (
            pki_responder.refused(**settings)
            == "HOME/encrypted.key: the pass phrase in HOME/pass is wrong; try `openssl pkey -in"
            " HOME/encrypted.key -passin file:HOME/pass -noout`"
        )
        return
    warning = pki_responder.refused(**settings)
    assert warning.startswith("HOME/encrypted.key: encrypted in a way that `cryptography` ")
    run_recommended(pki_responder.home, warning)
    pki_responder.good(rkey="encrypted.key.pem", passin="pass")


def test_the_command_that_removes_a_pass_phrase(pki_responder):
    path = pki_responder.home / "encrypted.key"
    pki_responder.ca.openssl(
        "pkcs8",
        "-topk8",
        "-in",
        "private/root-ocsp.key",
        "-passout",
        "pass:secret",
        "-out",
        str(path),
    )
    path.chmod(0o600)
    run_recommended(pki_responder.home, pki_responder.refused(rkey=str(path)))
    pki_responder.good(rkey=f"{path}.pem")


def test_an_rsa_key_of_three_primes(pki_responder):
    pki_responder.ca.issue("signer", "ocsp_ext", ("rsa:2048", "-pkeyopt", "rsa_keygen_primes:3"))
    settings = {"rsigner": "signer.crt", "rkey": "private/signer.key"}
    if VERSION < 39:
        pki_responder.good(**settings)
    else:
        assert pki_responder.refused(**settings).startswith(
            "HOME/private/signer.key: an RSA key of more than two primes, which `cryptography` "
        )


@pytest.mark.parametrize(
    "source, said",
    [
        ("root-ocsp.crt", "a certificate, not a private key in PEM; `rkey` names it"),
        ("root-ocsp.csr", "a certificate request, not a private key in PEM: the CA has yet"),
    ],
)
def test_another_file_instead_of_a_key(pki_responder, source, said):
    (pki_responder.home / source).chmod(0o600)
    assert pki_responder.refused(rkey=source).startswith(f"HOME/{source}: {said}")


def pem(label: str, encoded: bytes) -> bytes:
    body = base64.encodebytes(encoded).decode()
    return f"-----BEGIN {label}-----\n{body}-----END {label}-----\n".encode()


RSA_NUMBERS = ("n", "e", "d", "p", "q", "dmp1", "dmq1", "iqmp")
DAMAGED = r"HOME/damaged\.key: .*damaged.*`openssl pkey -in HOME/damaged\.key -check -noout` tests"
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@pytest.fixture(scope="module")
def rsa_responder(pki, workspace) -> Responder:
    ca = pki.copy(workspace / "damaged-keys")
    ca.issue("signer", "ocsp_ext", ("rsa:2048",))
    return Responder(ca)


@pytest.mark.parametrize("which", [*RSA_NUMBERS, "all"])
@pytest.mark.parametrize("change", ["negated", "0", "-1", "huge", "1"])
@pytest.mark.slow
def test_a_damaged_rsa_key(rsa_responder, which, change):
    """If the rest of the key suffices, it signs; if not, the log names the file."""
    ca = rsa_responder.ca
    source = (ca.home / "private" / "signer.key").read_bytes()
    numbers = serialization.load_pem_private_key(source, None).private_numbers()
    values = {
        **{name: getattr(numbers, name) for name in RSA_NUMBERS[2:]},
        "n": numbers.public_numbers.n,
        "e": numbers.public_numbers.e,
    }
    changes = {"0": 0, "-1": -1, "huge": 1 << 20000, "1": 1}
    for name in RSA_NUMBERS:
        if which in (name, "all"):
            values[name] = changes.get(change, -values[name])
    key = der.sequence(der.integer(0), *[der.integer(values[name]) for name in RSA_NUMBERS])
    identifier = bytes.fromhex("300d06092a864886f70d0101010500")
    for content in (
        pem("RSA PRIVATE KEY", key),
        pem(
            "PRIVATE KEY", der.sequence(der.integer(0), identifier, der.tlv(der.OCTET_STRING, key))
        ),
    ):
        (ca.home / "damaged.key").write_bytes(content)
        (ca.home / "damaged.key").chmod(0o600)
        settings = {"rsigner": "signer.crt", "rkey": "damaged.key"}
        if rsa_responder.ask(**settings).response_status == SUCCESSFUL:
            assert which in RSA_NUMBERS[2:]
            rsa_responder.good(**settings)
        else:
            warning = rsa_responder.refused(**settings)
            assert re.match(DAMAGED, warning), warning


@pytest.mark.parametrize(
    "secret",
    [
        b"",
        bytes(32),
        b"\1",
        ORDER.to_bytes(32, "big"),
        (ORDER + 1).to_bytes(32, "big"),
        b"\xff" * 32,
        b"\xff" * 5000,
    ],
    ids=["empty", "0", "1", "order", "order + 1", "all bits", "long"],
)
@pytest.mark.slow
def test_a_damaged_ec_key(pki_responder, secret):
    name = der.tlv(der.OBJECT_IDENTIFIER, der.oid("1.2.840.10045.3.1.7"))
    octets = der.tlv(der.OCTET_STRING, secret)
    type_ = der.sequence(der.tlv(der.OBJECT_IDENTIFIER, der.oid("1.2.840.10045.2.1")), name)
    inside = der.tlv(der.OCTET_STRING, der.sequence(der.integer(1), octets))
    for content in (
        pem("EC PRIVATE KEY", der.sequence(der.integer(1), octets, der.tlv(der.context(0), name))),
        pem("PRIVATE KEY", der.sequence(der.integer(0), type_, inside)),
    ):
        (pki_responder.home / "damaged.key").write_bytes(content)
        (pki_responder.home / "damaged.key").chmod(0o600)
        assert re.match(DAMAGED, pki_responder.refused(rkey="damaged.key"))


@pytest.mark.slow
def test_files_of_random_content(pki_responder):
    """Reading them ends with a certificate or with an error that says what is wrong."""
    draw = random.Random(5958)
    sources = [
        in_der(pki_responder.ca, "root-ocsp.crt"),
        der.sequence(der.integer(3), der.integer(5)),
    ]
    name = str(pki_responder.home / "random")
    for _ in range(3000):
        content = bytearray(draw.choice(sources))
        for _ in range(draw.choice((1, 2, 5))):
            content[draw.randrange(len(content))] = draw.randrange(256)
        content = bytes(content[: draw.choice((2, 10, 50, len(content)))])
        assert isinstance(file_kinds.unreadable_key(name, content, None, "", ""), str)
        Path(name).write_bytes(content)
        try:
            read = x509_reader.load_all(name)
        except x509_reader.CertificateError as error:
            assert str(error)
        else:
            assert len(read) == 1


def test_kinds_of_files_by_their_first_bytes(pki_responder):
    ca = pki_responder.ca
    ca.openssl("ca", "-config", "root-ca.cnf", "-gencrl", "-crldays", "1", "-out", "crl.pem")
    ca.openssl("crl", "-in", "crl.pem", "-outform", "DER", "-out", "crl.der")
    ca.openssl(
        "pkey", "-in", "private/root-ocsp.key", "-pubout", "-outform", "DER", "-out", "pub.der"
    )
    for name, expected in (
        ("root-ca.crt", ("certificate", "PEM")),
        ("crl.pem", ("revocation list (CRL)", "PEM")),
        ("crl.der", ("revocation list (CRL)", "DER")),
        ("pub.der", ("public key", "DER")),
        ("db/index", ("", "PEM")),
    ):
        assert file_kinds.kind((ca.home / name).read_bytes()) == expected
    assert file_kinds.kind(in_der(ca, "root-ca.crt")) == ("certificate", "DER")
    for content in (b"", b"0", b"\x30\x82", b"\x30\x80\0\0", b"\x30\x81\x80" + bytes(128)):
        assert file_kinds.kind(content)[0] == ""


def test_ecdsa_without_the_backend_signs_and_verifies_as_the_library_does():
    """In both directions; and a signature over something else is rejected."""
    for curve_name, hash_name in (("SECP256R1", "SHA256"), ("SECP521R1", "SHA512")):
        key = ec.generate_private_key(getattr(ec, curve_name)())
        algorithm = getattr(hashes, hash_name)()
        ours, theirs = keys._ecdsa(algorithm), ec.ECDSA(algorithm)
        assert isinstance(ours, ec.ECDSA)
        for signing, verifying in ((ours, theirs), (theirs, ours), (ours, ours)):
            signature = key.sign(b"signed", signing)
            key.public_key().verify(signature, b"signed", verifying)
            for data, changed in (
                (b"changed", signature),
                (b"signed", signature[:-1] + bytes([signature[-1] ^ 1])),
                (b"signed", b""),
            ):
                with pytest.raises(InvalidSignature):
                    key.public_key().verify(changed, data, verifying)


def test_ecdsa_has_what_another_version_may_read(monkeypatch):
    """A property that the subclass does not know, which uses what the constructor has set."""
    monkeypatch.setattr(ec.ECDSA, "later", property(lambda self: self._algorithm), raising=False)
    algorithm = hashes.SHA256()
    assert keys._ecdsa(algorithm).later is algorithm
    with pytest.raises(AttributeError):
        keys._ecdsa(algorithm).neither  # noqa: B018
