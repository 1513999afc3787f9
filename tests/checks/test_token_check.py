"""Signers with keys on a token, as `check` sees them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from checking import problem, problems, subject_of
from two_signers import RSA

from ocsp_cgi import pin_memory
from ocsp_cgi.checks import dry_run, paths, signer
from ocsp_cgi.checks.finding import Level
from ocsp_cgi.tools import httpd


@pytest.fixture
def cached(token):
    (token.home / "cache").mkdir(mode=0o700)
    token.write(cache="cache")
    return token


def test_a_good_key(cached):
    for module in (signer, dry_run, paths):
        assert problems(module, subject_of(cached.path)) == []
    assert "its key (EC, 256 bits) matches" in signer.examine(subject_of(cached.path))[0].what


def test_a_wrong_pin_is_tried_once(cached, monkeypatch):
    calls = cached.spied(monkeypatch)
    cached.write(cache="cache")
    cached.pin.write_text("wrong\n")
    for module in (signer, dry_run, signer):
        found = problem(module, subject_of(cached.path))
        assert found.level == Level.FAIL and "the token refuses the PIN in " in found.what
        pin_memory._known.clear()  # as in another process
    assert calls.read_text().count("C_Login\n") == 1


def test_of_two_signers_one_is_on_another_token(cached):
    cached.write(
        cache="cache", rsigner2=f"{RSA}.crt", rkey2=cached.uri(RSA, "none"), passin2="private/pin"
    )
    found = problem(signer, subject_of(cached.path))
    assert found.level == Level.WARN and "object=rsa-ocsp" in found.what
    assert "no such token, or the responder's user may not use it" in found.what


def test_nothing_remembers_a_wrong_pin(token):
    found = problem(signer, subject_of(token.path))
    assert found.level == Level.WARN and "no `cache`, which remembers" in found.what


@pytest.mark.root
def test_a_token_that_the_user_may_not_use(token):
    """It is tried by that user, not by root."""
    httpd.let_read(token.home)
    os.chmod(token.home / "tokens", 0o700)
    found = problems(signer, subject_of(token.path, user="www-data"))
    assert [one.level for one in found] == [Level.FAIL]
    assert "the responder's user may not use it" in found[0].what or "own config" in found[0].what
    httpd.let_write(token.home / "tokens")
    found = problems(signer, subject_of(token.path, user="www-data"))
    assert [one.level for one in found] == [Level.WARN]  # there is no `cache`


def test_its_pin_is_a_file_like_a_key(cached):
    cached.pin.chmod(0o604)
    [found] = [one for one in problems(paths, subject_of(cached.path)) if "everybody" in one.what]
    assert Path(cached.pin) == Path(found.where)
