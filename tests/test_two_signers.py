"""Which of two signers signs.  As a CGI responds, and as the WSGI application does."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import pytest
from clients import (
    NULL,
    cert_id,
    certificate,
    extension,
    request,
    run_cgi,
    run_wsgi,
    settle,
    verified,
)
from two_signers import (
    DAY,
    EC,
    ECDSA_SHA256,
    ECDSA_SHA384,
    ED25519,
    P256,
    P384,
    RSA,
    RSA_SHA1,
    RSA_SHA256,
    RSA_SHA512,
    UNKNOWN,
    World,
    new_ca,
    new_world,
    preferring,
)

from ocsp_cgi import der, wsgi
from ocsp_cgi.resident import ResidentFiles
from ocsp_cgi.tools.openssl_ca import PrivateCA

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def signers(pki, workspace) -> PrivateCA:
    """No test may change it."""
    return new_ca(pki, Path(tempfile.mkdtemp(dir=workspace)) / "ca")


@pytest.fixture(params=["CGI", pytest.param("WSGI", marks=pytest.mark.slow)])
def world(request, signers, place) -> World:
    return new_world(signers, place, request.param)


@pytest.fixture(scope="module", params=["CGI", pytest.param("WSGI", marks=pytest.mark.slow)])
def unchanged(request, signers, workspace) -> World:
    """One that no test may change."""
    place = workspace / f"two-signers-{request.param}"
    place.mkdir()
    return new_world(signers, place, request.param)


@pytest.mark.parametrize(
    "preferences, signer, algorithm",
    [
        ([], RSA, RSA_SHA256),
        ([RSA_SHA256], RSA, RSA_SHA256),
        ([RSA_SHA512], RSA, RSA_SHA512),
        ([ECDSA_SHA256], EC, ECDSA_SHA256),
        ([ECDSA_SHA256, RSA_SHA512], EC, ECDSA_SHA256),
        ([RSA_SHA512, ECDSA_SHA256], RSA, RSA_SHA512),
        ([ED25519, ECDSA_SHA384, ECDSA_SHA256, RSA_SHA256], EC, ECDSA_SHA256),
        ([ED25519], RSA, RSA_SHA256),
        ([ECDSA_SHA384], RSA, RSA_SHA256),
        ([RSA_SHA1], RSA, RSA_SHA256),
        ([UNKNOWN, ECDSA_SHA256], EC, ECDSA_SHA256),
        ([(ECDSA_SHA256, P256)], EC, ECDSA_SHA256),
        ([(ECDSA_SHA256, P384)], RSA, RSA_SHA256),
        ([(ECDSA_SHA256, P384), (ECDSA_SHA256, P256)], EC, ECDSA_SHA256),
        ([(ECDSA_SHA256, P384), RSA_SHA512], RSA, RSA_SHA512),
    ],
)
def test_row_18_the_clients_first_preference_that_any_signer_can_follow(
    unchanged, preferences, signer, algorithm
):
    assert unchanged.signed(*preferences) == signer
    assert algorithm in unchanged.der


@pytest.mark.parametrize("value", [b"", b"garbage", NULL, der.sequence(NULL), der.sequence()])
def test_row_18_a_preference_that_cannot_be_read_leaves_the_order_of_the_config(unchanged, value):
    answered = unchanged.respond(extension("1.3.6.1.5.5.7.48.1.8", value))
    assert verified(answered.der, unchanged.root).certificates == [
        certificate(unchanged.home / f"{RSA}.crt")
    ]


def test_the_order_of_the_config_decides(world):
    keys = {"rkey": f"private/{EC}.key", "rkey2": f"private/{RSA}.key"}
    world.write(rsigner=f"{EC}.crt", rsigner2=f"{RSA}.crt", **keys)
    assert (world.signed(), world.signed(RSA_SHA256)) == (EC, RSA)


def test_each_has_its_own_responder_id_and_end(world):
    """Which differ by the key, and where one ends earlier."""
    world.ca.sign(EC, "ocsp_ext", "1")
    settle(world.home / "db" / "index")
    world.write(nmin=str(10 * 24 * 60))
    world.later = 20 * 3600
    first, second = (world.respond(preferring(one)) for one in (RSA_SHA256, ECDSA_SHA256))
    hashes = {verified(one.der, world.root).responder_key_hash for one in (first, second)}
    assert len(hashes) == 2
    assert second.next_update < int(time.time()) + 2 * DAY < first.next_update
    assert [value for name, value in second.fields if name == "warning"] == [
        "rsigner2-expires-in-0-days"
    ]


@pytest.mark.parametrize("name, serial", [("RSA", 0), ("P-256", 1)])
def test_a_real_cgi_and_a_real_application(signers, place, cgi, name, serial):
    world = new_world(signers, place, "CGI")
    identifier = (RSA_SHA256, ECDSA_SHA256)[serial]
    number = int(world.ca.serial("good"), 16)
    encoded = request(cert_id(world.root, number), extensions=preferring(identifier))
    application = wsgi.Application(ResidentFiles(0), lambda: int(time.time()))
    expected = certificate(world.home / f"{(RSA, EC)[serial]}.crt")
    for response in (
        run_cgi(cgi, world.path, body=encoded),
        run_wsgi(application, world.path, body=encoded),
        run_wsgi(application, world.path, body=encoded),
    ):
        assert verified(response.body, world.root).certificates == [expected]
