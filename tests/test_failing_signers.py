"""One of two signers signs while the other cannot, and what is remembered of either.  As a CGI
responds, and as the WSGI application does."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

import pytest
from clients import (
    as_nobody,
    cert_id,
    certificate,
    nonce,
    request,
    respond,
    respond_wsgi,
    settle,
)
from two_signers import (
    DAY,
    EC,
    ECDSA_SHA256,
    RSA,
    RSA_SHA256,
    RSA_SHA512,
    World,
    new_ca,
    new_world,
    preferring,
)

from ocsp_cgi import config
from ocsp_cgi.answer import ERROR, SUCCESSFUL, TRY_LATER, UNAUTHORIZED, WARNING
from ocsp_cgi.tools.openssl_ca import PrivateCA

pytestmark = [pytest.mark.process, pytest.mark.slow]


@pytest.fixture(scope="module")
def signers(pki, workspace) -> PrivateCA:
    """No test may change it."""
    return new_ca(pki, Path(tempfile.mkdtemp(dir=workspace)) / "ca")


@pytest.fixture(params=["CGI", "WSGI"])
def world(request, signers, place) -> World:
    return new_world(signers, place, request.param)


def _expire(world: World, name: str) -> None:
    world.ca.sign(name, "ocsp_ext", "1")
    world.later = 2 * DAY


def _revoke(world: World, name: str) -> None:
    world.ca.revoke(name)


def _copy_of_good(world: World, name: str) -> None:
    shutil.copy(world.home / "good.crt", world.home / f"{name}.crt")
    shutil.copy(world.home / "private/good.key", world.home / f"private/{name}.key")


def _key_for_everybody(world: World, name: str) -> None:
    (world.home / f"private/{name}.key").chmod(0o644)


def _other_key(world: World, name: str) -> None:
    other = ("EC", "ec_paramgen_curve:P-256") if name == EC else ("RSA", "rsa_keygen_bits:2048")
    options = ("-algorithm", other[0], "-pkeyopt", other[1], "-out", f"private/{name}.key")
    world.ca.openssl("genpkey", *options)


def _encrypt(world: World, name: str) -> None:
    options = ("-aes256", "-passout", "pass:secret", "-out", f"{name}.encrypted")
    world.ca.openssl("pkey", "-in", f"private/{name}.key", *options)
    shutil.move(world.home / f"{name}.encrypted", world.home / f"private/{name}.key")


def _uri(world: World, name: str) -> None:
    world.write(**{"rkey" if name == RSA else "rkey2": "pkcs11:token=none"})


BROKEN = {
    "expired": (_expire, "HOME/NAME.crt: expired on "),
    "revoked": (_revoke, "HOME/NAME.crt: revoked in the database of [root-ca]"),
    "no certificate": (
        lambda world, name: (world.home / f"{name}.crt").unlink(),
        "HOME/NAME.crt: No such file or directory; `rsignerN` names it",
    ),
    "a damaged certificate": (
        lambda world, name: (world.home / f"{name}.crt").write_text("-----BEGIN CERTIFICATE-----"),
        "HOME/NAME.crt: ",
    ),
    "without OCSPSigning": (_copy_of_good, "HOME/NAME.crt: it lacks the extended key usage"),
    "no key": (
        lambda world, name: (world.home / f"private/{name}.key").unlink(),
        "HOME/private/NAME.key: No such file or directory; `rkeyN` names it",
    ),
    "a key for everybody": (_key_for_everybody, "HOME/private/NAME.key: everybody on this machine"),
    "another key": (_other_key, "HOME/private/NAME.key: not the private key of the certificate"),
    "an encrypted key": (
        _encrypt,
        "HOME/private/NAME.key: the key is encrypted. Put its pass phrase in a file and name it"
        " with `passinN`,",
    ),
    "a key on a token": (_uri, "pkcs11:token=none: "),
}
# Of each kind of check, one is quick.
CASES = [
    pytest.param(
        *case, id=what, marks=[] if what in ("revoked", "no key", "expired") else pytest.mark.slow
    )
    for what, case in BROKEN.items()
]


def _reason(text: str, name: str) -> str:
    return text.replace("NAME", name).replace("N`", "`" if name == RSA else "2`")


@pytest.mark.parametrize("break_it, reason", CASES)
def test_the_second_signs_while_the_first_cannot(world, break_it, reason):
    assert world.signed() == RSA  # what a process that stays has read must not be used
    break_it(world, RSA)
    settle(world.home / "db" / "index")
    assert world.signed(warnings=1) == EC
    assert world.signed(RSA_SHA256, warnings=1) == EC
    [note] = world.said(world.respond().notes)
    told = f"{WARNING}[root-ca] `rsigner` cannot sign, HOME/{EC}.crt does: {_reason(reason, RSA)}"
    assert note.startswith(told)


@pytest.mark.parametrize("break_it, reason", CASES)
def test_the_first_signs_while_the_second_cannot(world, break_it, reason):
    assert world.signed(ECDSA_SHA256) == EC
    break_it(world, EC)
    settle(world.home / "db" / "index")
    assert world.signed() == RSA  # nobody needs the second
    assert world.signed(ECDSA_SHA256, warnings=1) == RSA
    [note] = world.said(world.respond(preferring(ECDSA_SHA256)).notes)
    told = f"{WARNING}[root-ca] `rsigner2` cannot sign, HOME/{RSA}.crt does: {_reason(reason, EC)}"
    assert note.startswith(told)


@pytest.mark.slow
@pytest.mark.parametrize("first, second", [("expired", "no key"), ("no key", "revoked")])
def test_both_cannot_sign(world, first, second):
    assert world.signed() == RSA
    BROKEN[first][0](world, RSA)
    BROKEN[second][0](world, EC)
    settle(world.home / "db" / "index")
    for extensions in (b"", preferring(ECDSA_SHA256), preferring(RSA_SHA256)):
        answered = world.respond(extensions)
        assert ("response", "internalError") in answered.fields
        notes = sorted(world.said(answered.notes))
        assert len(notes) == 2, notes
        assert notes[0].startswith(ERROR + _reason(BROKEN[first][1], RSA))
        told = f"{WARNING}[root-ca] `rsigner2` cannot sign either: "
        assert notes[1].startswith(told + _reason(BROKEN[second][1], EC))


def test_a_repaired_signer_signs_again(world):
    key = world.home / f"private/{RSA}.key"
    key.rename(world.home / "elsewhere")
    assert world.signed(warnings=1) == EC
    (world.home / "elsewhere").rename(key)
    assert world.signed() == RSA


@pytest.mark.slow
def test_the_pass_phrases_of_both(world):
    for name, phrase in ((RSA, "first"), (EC, "second")):
        options = ("-aes256", "-passout", f"pass:{phrase}", "-out", f"{name}.encrypted")
        world.ca.openssl("pkey", "-in", f"private/{name}.key", *options)
        shutil.move(world.home / f"{name}.encrypted", world.home / f"private/{name}.key")
        (world.home / phrase).write_text(f"{phrase}\n")
        (world.home / phrase).chmod(0o600)
    world.write(passin="first", passin2="second")
    assert (world.signed(), world.signed(ECDSA_SHA256)) == (RSA, EC)
    world.write(passin="second", passin2="second")
    assert (world.signed(warnings=1), world.signed(ECDSA_SHA256)) == (EC, EC)


def test_the_row_of_another_certificate_is_no_reason_for_the_other_signer(world):
    """It is the index of another CA, whoever signs."""
    index = world.home / "db" / "index"
    serial = world.ca.serial(RSA)
    lines = index.read_text().splitlines(keepends=True)
    wrong = [f"V\t300101000000Z{line[15:]}" if f"\t{serial}\t" in line else line for line in lines]
    assert wrong != lines
    index.write_text("".join(wrong))
    settle(index)
    answered = world.respond()
    assert ("response", "tryLater") in answered.fields
    [note] = answered.notes
    assert "the database of another CA" in note and "`rsigner`" in note


@pytest.mark.slow
def test_a_file_of_several_cas_shows_its_own_by_either_signer(world, pki, workspace):
    """The first signer's certificate, by which it is chosen, may be missing."""
    another = PrivateCA(workspace / f"another-{time.time_ns()}")
    both = (another.home / "root-ca.crt").read_text() + (world.home / "root-ca.crt").read_text()
    (world.home / "both.crt").write_text(both)
    world.write(ca="both.crt")
    assert (world.signed(), world.signed(ECDSA_SHA256)) == (RSA, EC)
    (world.home / f"{RSA}.crt").unlink()
    assert world.signed(warnings=1) == EC


@pytest.mark.slow
def test_a_second_signer_of_another_ca_never_speaks_of_this_index(world, workspace):
    """Not even while the first, which shows whose index it is, is missing."""
    another = PrivateCA(workspace / f"another-{time.time_ns()}")
    another.issue("ocsp", "ocsp_ext")
    both = (another.home / "root-ca.crt").read_text() + (world.home / "root-ca.crt").read_text()
    (world.home / "both.crt").write_text(both)
    second = {"rsigner2": "ocsp.crt", "rkey2": "private/ocsp.key"}
    world.write(ca="both.crt", **{name: str(another.home / at) for name, at in second.items()})
    world.root = certificate(another.home / "root-ca.crt")
    assert world.respond().response_status == UNAUTHORIZED
    (world.home / f"{RSA}.crt").unlink()
    answered = world.respond()
    assert answered.response_status == TRY_LATER
    assert "only that would show whose database this is" in answered.notes[-1]


@pytest.mark.slow
def test_sections_that_trust_the_same_two_signers(world):
    """A request about both CAs gets both statuses, whichever signs."""
    text = world.path.read_text() + "signer_trust = local\n"
    another = PrivateCA(world.home / "another")
    another.issue("www")
    settle(another.home / "db" / "index")
    second = text.replace("[root-ca]", "[another]").replace("= db", "= another/db")
    world.path.write_text(text + second.replace("= root-ca.crt", "= another/root-ca.crt"))
    asked = [
        cert_id(world.root, int(world.ca.serial("good"), 16)),
        cert_id(certificate(another.home / "root-ca.crt"), int(another.serial("www"), 16)),
    ]
    for extensions in (b"", preferring(ECDSA_SHA256)):
        encoded = request(*asked, extensions=extensions)
        now = int(time.time())
        if world.files is not None:
            answered = respond_wsgi(encoded, world.path, now, world.files)
        else:
            answered = respond(encoded, lambda: config.load(str(world.path)), now)
        assert [value for name, value in answered.fields if name == "status"] == ["good", "good"]


# What is remembered of them


@pytest.fixture
def caching(world) -> World:
    (world.home / "cache").mkdir(mode=0o750)
    world.write(cache="cache")
    return world


def is_hit(answered) -> bool:
    return ("cache", "hit") in answered.fields


@pytest.mark.slow
def test_a_cached_response_is_that_of_the_configs_order(caching):
    assert caching.signed(ECDSA_SHA256) == EC
    assert caching.signed() == RSA
    assert is_hit(caching.respond()) and caching.signed() == RSA
    assert caching.signed(ECDSA_SHA256) == EC and caching.signed(RSA_SHA512) == RSA
    assert not is_hit(caching.respond(preferring(ECDSA_SHA256)))
    assert is_hit(caching.respond()) and caching.signed() == RSA


@pytest.mark.parametrize(
    "what",
    [
        "revoked",
        *(
            pytest.param(what, marks=pytest.mark.slow)
            for what in ("no certificate", "another key", "no key")
        ),
    ],
)
def test_a_cached_response_of_a_signer_that_cannot_sign_any_more(caching, what):
    assert caching.signed() == RSA and is_hit(caching.respond())
    BROKEN[what][0](caching, RSA)
    settle(caching.home / "db" / "index")
    assert caching.signed(warnings=1) == EC
    answered = caching.respond()
    assert is_hit(answered) and answered.notes == [] and caching.signed() == EC
    assert ("warning", "rsigner-cannot-sign") in answered.fields


def test_a_cached_response_of_the_second_once_the_first_signs_again(caching):
    key = caching.home / f"private/{RSA}.key"
    key.chmod(0o644)
    assert caching.signed(warnings=1) == EC and is_hit(caching.respond())
    key.chmod(0o600)
    assert caching.signed() == RSA
    answered = caching.respond()
    assert is_hit(answered) and "warning" not in dict(answered.fields)


@pytest.mark.slow
def test_a_cached_response_of_the_second_that_is_revoked_too(caching):
    (caching.home / f"private/{RSA}.key").unlink()
    assert caching.signed(warnings=1) == EC and is_hit(caching.respond())
    caching.ca.revoke(EC)
    settle(caching.home / "db" / "index")
    assert ("response", "internalError") in caching.respond().fields


@pytest.mark.slow
def test_an_expired_first_signer_leaves_no_cached_response(caching):
    caching.ca.sign(RSA, "ocsp_ext", "1")
    settle(caching.home / "db" / "index")
    caching.write(cache="cache", nmin=str(5 * 24 * 60))
    assert caching.signed() == RSA and is_hit(caching.respond())
    caching.later = DAY + 60
    assert caching.signed(warnings=1) == EC


@pytest.mark.slow
def test_both_are_remembered(signers, place):
    """Each in its own file, so that neither takes the place of the other."""
    world = new_world(signers, place, "CGI")
    (world.home / "cache").mkdir(mode=0o750)
    world.write(cache="cache")
    world.path.with_name("other").write_bytes(b"")
    for _ in range(2):
        for preference in (RSA_SHA256, ECDSA_SHA256):
            world.respond(preferring(preference) + nonce(bytes(16)))
    found = {path: path.read_bytes() for path in (world.home / "cache").glob(".signer-*")}
    assert len(found) == 2
    for name in (RSA, EC):
        [path] = [
            path
            for path, content in found.items()
            if content.endswith(_der_of(world.home / f"{name}.crt"))
        ]
        assert path.stat().st_mode & 0o777 == 0o600
    for preference in (RSA_SHA256, ECDSA_SHA256):
        world.respond(preferring(preference))
    assert found == {path: path.read_bytes() for path in found}


def _der_of(path: Path) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate(path).public_bytes(Encoding.DER)


@pytest.mark.slow
def test_names_of_sections_do_not_confuse_signers(signers, place):
    """[root-ca] has a second signer, and another section is named as if it were that."""
    world = new_world(signers, place, "CGI")
    (world.home / "cache").mkdir(mode=0o750)
    world.write(cache="cache")
    text = world.path.read_text()
    for name in ("root-ca2", "root-ca 2"):
        other = text.replace("[root-ca]", f"[{name}]").replace("cache = cache", "")
        world.path.write_text(world.path.read_text() + other + "cache = cache\n")
    for preference in (RSA_SHA256, ECDSA_SHA256):
        assert world.respond(preferring(preference)).response_status == SUCCESSFUL
    assert len(list((world.home / "cache").glob(".signer-*"))) == 2


def test_a_process_that_stays_keeps_what_it_can_while_one_file_is_missing(signers, place):
    world = new_world(signers, place, "WSGI")
    (world.home / f"private/{RSA}.key").unlink()
    assert world.signed(warnings=1) == EC
    settings = world.files.settings(str(world.path))
    first, second = (world.files.issuer(settings.cas[0]) for _ in range(2))
    assert first.signers(int(time.time()))[1] is second.signers(int(time.time()))[1]


@pytest.mark.root
def test_a_key_that_the_responders_user_cannot_read(signers, place):
    world = new_world(signers, place, "CGI")
    (world.home / "private").chmod(0o755)
    shutil.chown(world.home / f"private/{EC}.key", "nobody")
    (world.home / f"private/{RSA}.key").chmod(0o600)
    with as_nobody():
        answered = world.respond()
    assert answered.response_status == SUCCESSFUL
    [note] = world.said(answered.notes)
    assert note.startswith(
        f"{WARNING}[root-ca] `rsigner` cannot sign, HOME/{EC}.crt does: HOME/private/{RSA}.key:"
        " Permission denied; `rkey` names it"
    )
