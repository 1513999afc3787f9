"""What the responder would answer now, found out without harm."""

from __future__ import annotations

import time

import pytest
from checking import MYSELF

from ocsp_cgi import config, pin_memory
from ocsp_cgi.tools import as_user, httpd, rehearsal

pytestmark = pytest.mark.process


@pytest.mark.parametrize("is_theirs", [False, pytest.param(True, marks=pytest.mark.root)])
def test_a_pin_that_the_token_has_refused_is_not_tried_again(token, monkeypatch, is_theirs):
    """By which it would lock; also for root, where another user's `cache` remembers it."""
    calls = token.spied(monkeypatch)
    (token.home / "cache").mkdir(mode=0o700)
    token.write(cache="cache")
    if is_theirs:
        calls.touch()
        token.pin.touch()
        httpd.let_read(token.home)
        for directory in (token.home / "tokens", token.home / "cache"):
            httpd.let_write(directory)
        calls.chmod(0o666)

    token.pin.write_text("wrong\n")
    as_user.call(httpd.unprivileged()["user"] if is_theirs else MYSELF, token.refused)
    for _ in range(2):
        pin_memory._known.clear()  # as in another process
        settings = config.load(str(token.path))
        rehearsed = rehearsal.rehearse(token.request(), settings, int(time.time()))
        assert "the token refuses the PIN" in rehearsed.notes[-1]
    assert calls.read_text().count("C_Login\n") == 1
