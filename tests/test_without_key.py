"""What a host without a key answers, and logs, if no signed response may be used."""

from __future__ import annotations

import pytest
from clients import cert_id, cert_id_of, request, respond, settle, verified
from keyless import copy_index, copy_responses, signing, without_key

from ocsp_cgi import config
from ocsp_cgi.answer import SUCCESSFUL, TRY_LATER, UNAUTHORIZED
from ocsp_cgi.tools.openssl_ca import PrivateCA

pytestmark = pytest.mark.process


@pytest.fixture
def web(ca, place):
    """A host without a key that has the index, and no response."""
    host = without_key(place / "web", ca)
    copy_index(signing(ca), host)
    return host


def test_try_later_while_there_is_no_response(web):
    answered = web.ask()
    serial = web.ca.serial("good")
    assert answered.response_status == TRY_LATER
    assert answered.notes == [
        f"error: [root-ca] has no `rkey`, and no signed response for serial {serial} that may be"
        " used: there is none. On the host with the key, run `ocsp-cgi presign root-ca`; then,"
        " here, `ocsp-cgi sync root-ca`"
    ]
    assert answered.fields == [("serial", serial), ("ca", "root-ca"), ("response", "tryLater")]


def test_the_fix_names_the_cache_that_is_copied_otherwise(web):
    web.write_config("cache = cache")
    assert web.ask().warnings[0].endswith(f"then, here, copy its `cache` to {web.cache}")


def test_row_52_unauthorized_for_what_nobody_can_have_signed(web):
    """Nobody can have signed anything about it (RFC 9919 section 3.2.3)."""
    answered = web.ask(request(cert_id(web.root, 0x123456)))
    assert answered.response_status == UNAUTHORIZED
    assert answered.notes[0] == f"never-issued: serial=123456 ca=root-ca is not in {web.index}"
    assert "nothing can be signed about it" in answered.notes[1]


def test_unauthorized_once_the_certificate_has_expired(web):
    """`presign` passes it over, so the advice to run that would be wrong."""
    web.now += 91 * 86400
    answered = web.ask()
    assert answered.response_status == UNAUTHORIZED
    [note] = answered.notes
    assert (
        note.startswith("the certificate with serial")
        and "so no response about it is signed any more" in note
    )
    web.write_config("cache = cache", "archive_cutoff = ca")
    assert web.ask().response_status == TRY_LATER


def test_unauthorized_for_several_cert_ids(web):
    both = [cert_id(web.root, int(web.ca.serial(name), 16)) for name in ("good", "bad")]
    answered = web.ask(request(*both))
    assert answered.response_status == UNAUTHORIZED
    assert answered.warnings[0].startswith("the request has 2 CertIDs, and this host has no key")


def test_unauthorized_for_another_ca(web):
    foreign = cert_id_of("sha1", bytes(20), bytes(20), 5)
    assert web.ask(request(foreign)).response_status == UNAUTHORIZED


def test_no_index_is_as_on_any_host(web):
    web.index.unlink()
    answered = web.ask()
    assert answered.response_status == TRY_LATER
    assert "No such file or directory" in answered.warnings[0]


def test_no_slot_is_taken(web):
    web.ask()
    assert list(web.cache.iterdir()) == []


@pytest.mark.slow
class TestBesideACAWithItsKey:
    """The config has both: each is answered as alone."""

    @pytest.fixture
    def both(self, web, place):
        sub = PrivateCA(place / "sub-ca", "Issuing CA")
        sub.issue("root-ocsp", "ocsp_ext")
        sub.issue("good")
        self.sub = signing(sub)
        settle(self.sub.index)
        web.now = self.sub.now  # when its certificates are valid
        home = sub.home
        with open(web.config, "a") as file:
            file.write(
                f"[sub-ca]\ndb = {home}/db\nca = {home}/root-ca.crt\nrsigner = {home}/root-ocsp.crt"
                f"\nrkey = {home}/private/root-ocsp.key\n"
            )
        return web

    def test_the_one_with_a_key_signs(self, both):
        answered = both.ask(self.sub.request())
        assert answered.response_status == SUCCESSFUL
        verified(answered.der, self.sub.root)

    def test_the_other_does_not(self, both):
        assert both.ask().response_status == TRY_LATER

    def test_a_request_about_both_is_signed_by_the_one_with_a_key(self, both):
        ids = [cert_id(host.root, int(host.ca.serial("good"), 16)) for host in (both, self.sub)]
        answered = both.ask(request(*ids))
        assert answered.response_status == SUCCESSFUL
        assert ("status", "unknown") in answered.fields and ("status", "good") in answered.fields
        assert any("[root-ca] has no `rkey`" in line for line in answered.warnings)


def test_two_hosts_need_no_agreement_on_names_of_sections(web, ca):
    signer = signing_again(ca)
    assert signer.ask().response_status == SUCCESSFUL
    copy_responses(signer, web)
    web.config.write_text(web.config.read_text().replace("[root-ca]", "[here]"))
    answered = respond(web.request(), lambda: config.load(str(web.config)), web.now)
    assert answered.response_status == SUCCESSFUL and ("ca", "here") in answered.fields


def signing_again(ca):
    (ca.home / "cache").rmdir()
    return signing(ca)
