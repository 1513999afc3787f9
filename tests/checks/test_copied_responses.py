"""What a host without a key has to answer with, as `check` sees it, and what else it says there."""

from __future__ import annotations

import re
import shutil

import pytest
from checking import problem, problems, subject_of
from clients import settle
from keyless import copy_index, copy_responses, signing, without_key

from ocsp_cgi.answer import SUCCESSFUL
from ocsp_cgi.checks import cache, copied_responses, database, dry_run, paths, signer
from ocsp_cgi.checks.finding import Level
from ocsp_cgi.tools.entry import program
from ocsp_cgi.tools.openssl_ca import PrivateCA

pytestmark = pytest.mark.process


@pytest.fixture
def web(ca, place):
    source, host = signing(ca), without_key(place / "web", ca)
    for name in ("good", "bad"):
        assert source.ask(source.request(name)).response_status == SUCCESSFUL
    copy_index(source, host)
    copy_responses(source, host)
    return host


def test_all_is_well(web):
    [found] = copied_responses.examine(subject_of(web.config))
    assert found.level is Level.OK
    assert re.fullmatch("2 responses valid; the first expires in (59|60) minutes", found.what)
    for module in (cache, dry_run, paths, signer):
        assert problems(module, subject_of(web.config)) == []
    assert any("is on another host" in one.what for one in signer.examine(subject_of(web.config)))


def test_the_index_revokes_the_signer(ca, web):
    """So that none of its responses may be used any more."""
    ca.revoke("root-ocsp")
    settle(ca.home / "db" / "index")
    shutil.copy2(ca.home / "db" / "index", web.index)
    found = problem(database, subject_of(web.config))
    assert (found.level, "root-ocsp.crt: revoked in" in found.what) == (Level.FAIL, True)


def test_none_have_come(web):
    shutil.rmtree(web.home / "db" / "responses")
    found = problem(copied_responses, subject_of(web.config))
    assert (found.level, found.command) == (Level.FAIL, f"{program()} sync root-ca")
    assert f"{web.home}/db/responses has none: every client gets tryLater" in found.what


def test_no_newer_ones_have_come(web):
    found = problem(copied_responses, subject_of(web.config, later=46 * 60))
    assert (found.level, found.command) == (Level.WARN, f"{program()} sync root-ca")
    assert re.match(
        r"2 of 2 responses have expired, or will soon \(the next in 1[34] minutes\), and no newer",
        found.what,
    )
    assert problems(copied_responses, subject_of(web.config, later=44 * 60)) == []


@pytest.mark.parametrize("size", [1, 1024])
def test_older_ones_of_another_number_of_buckets_do_not_matter(ca, web, size):
    shutil.rmtree(web.ca.home / "cache")
    source = signing(ca)
    source.now += 1800
    source.write_config("rkey = private/root-ocsp.key", "cache = cache", f"cache_size = {size}")
    for name in ("good", "bad"):
        source.ask(source.request(name))
    copy_responses(source, web)
    assert len(web.responses) == 4
    [found] = copied_responses.examine(subject_of(web.config, later=46 * 60))
    assert found.level is Level.OK and found.what.startswith("2 responses valid")


def test_all_have_expired(web):
    found = problem(copied_responses, subject_of(web.config, later=3600))
    assert found.level is Level.FAIL and "all in" in found.what and "have expired" in found.what


def test_a_cache_that_is_copied_otherwise(web):
    shutil.rmtree(web.cache)
    (web.home / "db" / "responses").rename(web.cache)
    web.write_config("cache = cache")
    [found] = copied_responses.examine(subject_of(web.config))
    assert found.level is Level.OK and found.what.startswith("2 responses valid")
    shutil.rmtree(web.cache)
    assert problem(copied_responses, subject_of(web.config)).command == ""


def test_the_signer_was_renewed_only_where_it_signs(ca, web):
    old = (web.home / "root-ocsp.crt").read_bytes()
    ca.issue("root-ocsp", "ocsp_ext")
    new = (ca.home / "root-ocsp.crt").read_bytes()
    (web.home / "root-ocsp.crt").write_bytes(new)
    found = problem(copied_responses, subject_of(web.config))
    assert (found.level, found.command) == (Level.FAIL, "")
    assert f"are not signed by {web.home}/root-ocsp.crt, so clients get tryLater" in found.what
    (web.home / "old.crt").write_bytes(old)
    web.write_config("cache_from = signer:cache", "rsigner2 = old.crt")
    assert problems(copied_responses, subject_of(web.config)) == []


def test_the_clock_is_behind(web):
    found = problem(copied_responses, subject_of(web.config, later=-360))
    assert (found.level, found.command) == (Level.FAIL, "timedatectl")
    assert "2 of 2 responses" in found.what and "from the future" in found.what
    assert problems(copied_responses, subject_of(web.config, later=-240)) == []


def test_those_of_another_ca_are_left_out(web, place):
    """The `cache` that is copied may be that of several."""
    other = PrivateCA(place / "other", "Other CA")
    other.issue("root-ocsp", "ocsp_ext")
    other.issue("good")
    settle(other.home / "db" / "index")
    source = signing(other)
    assert source.ask().response_status == SUCCESSFUL
    copy_responses(source, web)
    [found] = copied_responses.examine(subject_of(web.config))
    assert found.what.startswith("2 responses valid")
    shutil.rmtree(web.home / "db" / "responses")
    copy_responses(source, web)
    found = problem(copied_responses, subject_of(web.config))
    assert found.level is Level.FAIL and "has none" in found.what


def test_what_is_not_a_response_is_passed_over(web):
    first = web.responses[0]
    first.write_bytes(first.read_bytes()[:-1])
    [found] = copied_responses.examine(subject_of(web.config))
    assert found.what.startswith("1 response looked at, of 2, valid")


def test_a_host_with_the_key_has_no_such_finding(ca):
    assert copied_responses.examine(subject_of(ca.home / "ocsp-cgi.conf")) == []


def test_a_signer_that_expires_is_renewed_elsewhere(web):
    found = problems(signer, subject_of(web.config, later=80 * 86400))
    assert [one.command for one in found] == [""]
    assert "renew it on the host with the key, and copy the new one here" in found[0].what
