"""Which cached response is used when fingerprints do not fit: on another host, and after a file was
replaced."""

from __future__ import annotations

import binascii
import os
import random
import shutil

import pytest
from clients import extension, nonce, settle, verified
from cryptography.x509 import ocsp
from keyless import Host, copy_index, copy_responses, signing, without_key

from ocsp_cgi import limits
from ocsp_cgi.answer import INTERNAL_ERROR, SUCCESSFUL, TRY_LATER, UNAUTHORIZED
from ocsp_cgi.tools.openssl_ca import PrivateCA

pytestmark = pytest.mark.process
GOOD, REVOKED = ocsp.OCSPCertStatus.GOOD, ocsp.OCSPCertStatus.REVOKED
HIT = ("cache", "hit")


@pytest.fixture
def settled(monkeypatch):
    """What was written a moment ago counts as settled, so that its fingerprint is cached."""
    monkeypatch.setattr(limits, "DATABASE_SETTLING_SECONDS", 0)


@pytest.fixture
def signer(ca) -> Host:
    return signing(ca)


@pytest.fixture
def web(ca, place, signer) -> Host:
    """A host without a key, that has what `signer` has answered about good.crt and bad.crt."""
    host = without_key(place / "web", ca)
    for name in ("good", "bad"):
        assert signer.ask(signer.request(name)).response_status == SUCCESSFUL
    copy_index(signer, host)
    copy_responses(signer, host)
    return host


def status(host: Host, name: str = "good", **more: bytes) -> ocsp.OCSPCertStatus | None:
    """The status in a verified response, None for tryLater."""
    answered = host.ask(host.request(name, **more))
    if answered.response_status == TRY_LATER:
        return None
    assert HIT in answered.fields
    return verified(answered.der, host.root).certificate_status


class TestOnAHostWithoutTheKey:
    def test_it_is_the_same_response(self, signer, web):
        for name in ("good", "bad"):
            assert web.ask(web.request(name)).der == signer.ask(signer.request(name)).der

    def test_the_next_request_need_not_search(self, web, monkeypatch, settled):
        first = web.ask()
        monkeypatch.setattr("ocsp_cgi.reuse.find", None)
        assert web.ask().der == first.der

    def test_row_28_a_host_without_a_key_answers_without_the_nonce(self, signer, web):
        answered = web.ask(web.request(extensions=nonce(b"n" * 16)))
        assert answered.der == signer.ask().der
        assert ("nonce", "16-ignored") in answered.fields and answered.entity_tag

    def test_so_are_preferred_algorithms(self, signer, web):
        preferred = extension(
            "1.3.6.1.5.5.7.48.1.8", bytes.fromhex("300e300c300a06082a8648ce3d040303")
        )
        assert web.ask(web.request(extensions=preferred)).der == signer.ask().der

    def test_a_revocation_in_the_index_takes_effect_before_its_response_arrives(self, signer, web):
        assert status(web) is GOOD
        signer.ca.revoke("good")
        settle(signer.index)
        copy_index(signer, web)
        assert status(web) is None
        [why] = web.ask().warnings
        assert why.startswith(
            f"[root-ca] has no `rkey`, and no signed response for serial {web.ca.serial('good')}"
            " that may be used: the index says something else by now. On the host with the key, run"
            " `ocsp-cgi presign root-ca`; then, here, `ocsp-cgi sync root-ca`"
        )
        assert signer.ask().response_status == SUCCESSFUL
        copy_responses(signer, web)
        assert status(web) is REVOKED

    def test_a_response_that_arrives_before_its_row_changes_nothing(self, signer, web, settled):
        assert status(web) is GOOD
        signer.ca.revoke("good")
        settle(signer.index)
        signer.ask()
        copy_responses(signer, web)
        assert status(web) is GOOD  # cached here
        shutil.rmtree(web.cache / "buckets-2048")
        assert status(web) is None
        copy_index(signer, web)
        assert status(web) is REVOKED

    def test_a_certificate_taken_off_hold_is_not_revoked_by_an_old_response(self, signer, web):
        signer.ask(signer.request("held"))
        copy_responses(signer, web)
        assert status(web, "held") is REVOKED
        lines = web.index.read_bytes().split(b"\n")
        released = [
            b"\t".join([b"V", line.split(b"\t")[1], b"", *line.split(b"\t")[3:]])
            if line.endswith(b"CN=held")
            else line
            for line in lines
        ]
        web.index.write_bytes(b"\n".join(released))
        settle(web.index)
        assert status(web, "held") is None

    def test_it_is_used_to_its_end(self, signer, web):
        end = signer.ask().next_update
        for web.now in (end - 1801, end - 1800, end - 2):
            assert status(web) is GOOD
        web.now = end - 1
        assert status(web) is None
        assert "it expired on" in web.ask().warnings[0]

    def test_the_newest_is_used_once_the_other_is_at_half_of_its_life(self, signer, web, settled):
        status(web)
        first = signer.ask()
        signer.now = web.now = first.this_update + 1800
        second = signer.ask()
        assert second.this_update > first.this_update
        assert web.ask().der == first.der
        copy_responses(signer, web)
        assert web.ask().der == second.der

    def test_the_clock_of_the_other_host_may_be_a_bit_ahead(self, signer, web):
        web.now = signer.now - limits.SIGNED_AHEAD_SECONDS
        assert status(web) is GOOD
        web.now -= 1
        shutil.rmtree(web.cache / "buckets-2048", ignore_errors=True)
        assert "it is from the future" in web.ask().warnings[0]

    def test_what_another_signer_signed_is_not_used(self, web):
        web.ca.issue("new-ocsp", "ocsp_ext")
        shutil.copy(web.ca.home / "new-ocsp.crt", web.home / "root-ocsp.crt")
        assert status(web) is None
        [why] = web.ask().warnings
        assert f"it is not signed by {web.home}/root-ocsp.crt. Copy the certificate of its" in why

    @pytest.mark.slow
    def test_while_the_signer_is_renewed_both_may_have_signed(self, signer, web):
        old = signer.ask().der
        web.ca.issue("new-ocsp", "ocsp_ext")
        settle(signer.index)
        signer.write_config("rkey = private/new-ocsp.key", "cache = cache")
        text = signer.config.read_text().replace("root-ocsp.crt", "new-ocsp.crt")
        signer.config.write_text(text)
        shutil.copy(signer.home / "new-ocsp.crt", web.home)
        web.write_config("cache = cache", "cache_from = signer:cache", "rsigner2 = new-ocsp.crt")
        assert web.ask().der == old
        signer.now = web.now = web.now + 1
        new = signer.ask().der
        assert new != old
        shutil.rmtree(web.home / "db" / "responses")
        shutil.rmtree(web.cache / "buckets-2048", ignore_errors=True)
        copy_responses(signer, web)
        assert web.ask().der == new

    def test_nothing_is_used_after_the_signer_was_revoked(self, signer, web):
        assert status(web) is GOOD
        signer.ca.revoke("root-ocsp")
        settle(signer.index)
        copy_index(signer, web)
        assert status(web) is None
        [why] = web.ask().warnings
        assert "the index revokes its signer. On the host with the key, `ocsp-cgi renew" in why

    @pytest.mark.slow
    def test_nor_is_the_cache_of_another_ca(self, signer, web, pki, place):
        other = PrivateCA(place / "other", "Other CA")
        other.issue("root-ocsp", "ocsp_ext")
        other.issue("good")
        settle(other.home / "db" / "index")
        theirs = signing(other)
        assert theirs.ask().response_status == SUCCESSFUL
        shutil.rmtree(web.home / "db" / "responses")
        copy_responses(theirs, web)
        assert web.responses and status(web) is None

    def test_nor_is_one_allowed_by_the_row_of_another_ca_with_the_same_signer(
        self, signer, web, place
    ):
        """Clients trust the signer for its own sake, and both CAs have issued the same row."""
        other = PrivateCA(place / "other", "Other CA")
        for name in ("db/index", "root-ocsp.crt"):
            shutil.copy2(web.home / name, other.home / name)
        shutil.copytree(web.home / "db" / "responses", other.home / "db" / "responses")
        files = {"db": "db", "ca": "root-ca.crt", "rsigner": "root-ocsp.crt"}
        names = [f"{name} = {other.home}/{file}" for name, file in files.items()]
        source = ["cache_from = signer:cache", "signer_trust = local"]
        web.write_config(*source, "[other]", *names, *source)
        assert status(web) is GOOD
        signer.ca.revoke("good")
        settle(signer.index)
        copy_index(signer, web)
        assert status(web) is None

    def test_nor_is_one_of_another_ca_while_the_first_signer_is_missing(self, web, place):
        """With several CAs in `ca`, that shows whose index it is."""
        other = PrivateCA(place / "other")
        other.issue("ocsp", "ocsp_ext")
        other.issue("good")
        theirs = Host(other.home, other)
        theirs.config.write_text(
            theirs.config.read_text().replace("root-ocsp.crt", "ocsp.crt")
            + "rkey = private/ocsp.key\ncache = cache\n"
        )
        settle(theirs.index)
        rows = theirs.index.read_text().splitlines()
        theirs.cache.mkdir(mode=0o750)
        assert theirs.ask().response_status == SUCCESSFUL
        copy_responses(theirs, web)
        good = next(one for one in rows if "CN=good" in one)
        web.index.write_text(f"{web.index.read_text()}{good}\n")
        settle(web.index)
        both = web.home / "root-ca.crt"
        both.write_text(both.read_text() + (other.home / "root-ca.crt").read_text())
        second = f"rsigner2 = {other.home}/ocsp.crt"
        web.write_config("cache_from = signer:cache", second)
        assert web.ask(theirs.request()).response_status == UNAUTHORIZED
        (web.home / "root-ocsp.crt").unlink()
        answered = web.ask(theirs.request())
        assert answered.response_status == TRY_LATER
        assert "only a row of its signer would show whose index this is. Copy" in answered.notes[-1]
        with open(web.index, "a") as index:  # as it would be in that CA's own
            index.write(next(one for one in rows if "CN=ocsp" in one) + "\n")
        settle(web.index)
        assert web.ask(theirs.request()).response_status == SUCCESSFUL

    @pytest.mark.parametrize("size", [1, 1024])
    def test_the_other_host_may_have_another_size_of_cache(self, signer, web, size):
        shutil.rmtree(web.home / "db" / "responses")
        shutil.rmtree(signer.cache / "buckets-2048")
        signer.write_config("rkey = private/root-ocsp.key", "cache = cache", f"cache_size = {size}")
        assert signer.ask().response_status == SUCCESSFUL
        copy_responses(signer, web)
        assert status(web) is GOOD

    def test_settings_that_shape_what_is_signed_do_not_matter_here(self, web):
        web.write_config("cache = cache", "cache_from = signer:cache", "nmin = 5", "nonce = echo")
        assert status(web, extensions=nonce(b"n")) is GOOD

    def test_without_a_cache_of_its_own_it_compares_each_time(self, web):
        web.write_config("cache_from = signer.example.com:cache")
        assert [status(web), status(web, "bad")] == [GOOD, REVOKED]

    def test_a_cache_that_was_copied_as_a_whole_is_used_as_well(self, signer, web):
        shutil.rmtree(web.cache)
        shutil.copytree(signer.cache, web.cache)
        shutil.rmtree(web.home / "db" / "responses")
        web.write_config("cache = cache")
        assert [status(web), status(web, "bad")] == [GOOD, REVOKED]

    def test_sha256_too(self, signer, web):
        assert web.ask(web.request(hash_name="sha256")).response_status == TRY_LATER
        signer.ask(signer.request(hash_name="sha256"))
        copy_responses(signer, web)
        assert web.ask(web.request(hash_name="sha256")).response_status == SUCCESSFUL

    def test_an_index_that_is_not_copied_any_more_ends_it(self, web):
        web.write_config("cache = cache", "cache_from = signer:cache", "stale_after = 10")
        heartbeat = web.home / "db" / "heartbeat"
        heartbeat.touch()
        assert status(web) is GOOD
        os.utime(heartbeat, (web.now - 700,) * 2)
        assert status(web) is None

    def test_everybody_may_not_write_there(self, web):
        (web.home / "db" / "responses").chmod(0o777)
        assert status(web) is None


def with_checksum(rest: bytes) -> bytes:
    return b"%08x\n" % binascii.crc32(rest) + rest


def tampered(content: bytes, change) -> bytes:
    """A file of a response with its parts changed, and the checksum of that."""
    return with_checksum(change(content.partition(b"\n")[2]))


class TestATamperedFile:
    """Of a file that says something else than was signed, nothing is sent."""

    @pytest.fixture
    def file(self, signer, web):
        """The only copied response, about bad.crt: revoked."""
        shutil.rmtree(web.home / "db" / "responses")
        for path in signer.cache.glob("buckets-*/*/*.ocsp"):
            if b"CN=bad" not in path.read_bytes():
                path.unlink()
        copy_responses(signer, web)
        [file] = web.responses
        return file

    @pytest.mark.slow
    def test_each_cut_and_each_flipped_byte_is_noticed_by_the_checksum(self, web, file):
        whole = file.read_bytes()
        for at in range(0, len(whole), 41):
            file.write_bytes(whole[:at])
            assert status(web, "bad") is None
            file.write_bytes(whole[:at] + bytes((whole[at] ^ 1,)) + whole[at + 1 :])
            assert status(web, "bad") is None

    @pytest.mark.slow
    def test_whatever_has_a_right_checksum_is_never_an_error_of_ours(self, web, file):
        draw = random.Random(1)
        whole = file.read_bytes()
        for _ in range(200):
            at, byte = draw.randrange(len(whole) - 9), draw.randrange(256)
            file.write_bytes(
                tampered(
                    whole,
                    lambda rest, at=at, byte=byte: rest[:at] + bytes((byte,)) + rest[at + 1 :],
                )
            )
            answered = web.ask(web.request("bad"))
            assert answered.response_status in (SUCCESSFUL, TRY_LATER), answered.warnings
            shutil.rmtree(web.cache / "buckets-2048", ignore_errors=True)

    def test_an_old_good_under_a_new_row_is_not_sent(self, signer, web, file):
        """As anyone can make it who has the rights of the user that copies."""
        signer.ca.issue("later")
        settle(signer.index)
        signer.ask(signer.request("later"))
        copy_responses(signer, web)
        [good] = [path for path in web.responses if b"CN=later" in path.read_bytes()]
        signer.ca.revoke("later")
        settle(signer.index)
        copy_index(signer, web)
        [row] = [line for line in web.index.read_bytes().split(b"\n") if line.endswith(b"CN=later")]
        old = good.read_bytes().split(b"\n")[3]
        good.write_bytes(tampered(good.read_bytes(), lambda rest: rest.replace(old, row)))
        assert row.startswith(b"R") and row in good.read_bytes()
        assert status(web, "later") is None

    def test_nor_what_has_expired_and_says_otherwise(self, web, file):
        end = web.ask(web.request("bad")).next_update
        whole = file.read_bytes()
        forged = tampered(whole, lambda rest: rest.replace(b" %d " % end, b" %d " % (end + 9000)))
        assert forged != whole
        file.write_bytes(forged)
        shutil.rmtree(web.cache / "buckets-2048", ignore_errors=True)
        assert status(web, "bad") is None

    def test_nor_a_response_to_another_request(self, signer, web, file):
        signer.ask()
        copy_responses(signer, web)
        [good] = [path for path in web.responses if path != file]
        shutil.copy(good, file)
        assert status(web, "bad") is None


class TestOnTheHostThatSigns:
    def test_a_config_that_is_written_again_leaves_the_cache_valid(self, signer):
        first = signer.ask()
        signer.config.write_text("# a comment\n" + signer.config.read_text())
        again = signer.ask()
        assert HIT in again.fields and again.der == first.der

    def test_so_does_a_certificate_that_is_copied_again(self, signer):
        first = signer.ask()
        for name in ("root-ca.crt", "root-ocsp.crt"):
            text = (signer.home / name).read_bytes()
            (signer.home / name).unlink()
            (signer.home / name).write_bytes(b"\n" + text)
        assert signer.ask().der == first.der

    def test_once_it_has_been_compared_that_is_remembered(self, signer, monkeypatch, settled):
        signer.ask()
        signer.config.write_text("# a comment\n" + signer.config.read_text())
        signer.ask()
        monkeypatch.setattr("ocsp_cgi.reuse.find", None)
        assert HIT in signer.ask().fields

    @pytest.mark.parametrize(
        "setting",
        ["nmin = 30", "responder_id = name", "archive_cutoff = 30", "signer_trust = local"],
    )
    def test_another_setting_that_shapes_it_makes_a_new_one(self, signer, setting):
        signer.ask()
        signer.write_config("rkey = private/root-ocsp.key", "cache = cache", setting)
        assert HIT not in signer.ask().fields

    def test_another_signer_makes_a_new_one(self, signer):
        signer.ask()
        signer.ca.issue("new-ocsp", "ocsp_ext")
        settle(signer.index)
        for name in ("{}.crt", "private/{}.key"):
            shutil.copy(
                signer.home / name.format("new-ocsp"), signer.home / name.format("root-ocsp")
            )
        answered = signer.ask()
        assert answered.response_status == SUCCESSFUL and HIT not in answered.fields

    def test_what_is_older_than_half_of_its_life_is_not_used(self, signer):
        signer.ask()
        signer.config.write_text("# a comment\n" + signer.config.read_text())
        signer.now += 1800
        assert HIT not in signer.ask().fields

    def test_a_nonce_still_needs_a_signature(self, signer):
        signer.ask()
        answered = signer.ask(signer.request(extensions=nonce(b"n" * 16)))
        assert HIT not in answered.fields and ("nonce", "16") in answered.fields
        (signer.home / "private" / "root-ocsp.key").unlink()
        answered = signer.ask(signer.request(extensions=nonce(b"n" * 16)))
        assert answered.response_status == INTERNAL_ERROR
