"""A function called as another user."""

from __future__ import annotations

import os
import pwd

import pytest

from ocsp_cgi import config
from ocsp_cgi.tools import as_user

MYSELF = pwd.getpwuid(os.geteuid()).pw_name


def identity(*arguments: object) -> list:
    return [os.getresuid(), os.getresgid(), sorted(os.getgroups()), os.getpid(), arguments]


def test_as_oneself():
    uids, _, _, process, arguments = as_user.call(MYSELF, identity, "one", 2)
    assert uids == [os.geteuid()] * 3
    assert process != os.getpid() and arguments == ["one", 2]


@pytest.mark.root
def test_as_another():
    nobody = pwd.getpwnam("nobody")
    uids, gids, groups, _, _ = as_user.call("nobody", identity)
    assert (uids, gids) == ([nobody.pw_uid] * 3, [nobody.pw_gid] * 3)
    assert groups == sorted(set(os.getgrouplist("nobody", nobody.pw_gid)))


def test_an_exception():
    with pytest.raises(as_user.ChildFailed, match="division by zero"):
        as_user.call(MYSELF, lambda: 1 / 0)


def test_an_error_with_its_own_advice_is_not_to_be_reported(tmp_path):
    with pytest.raises(as_user.ChildFailed) as error:
        as_user.call(MYSELF, config.load, str(tmp_path / "none"))
    assert str(error.value).startswith(f"{tmp_path}/none: No such file or directory; this is the")


def test_an_end_without_a_result():
    with pytest.raises(as_user.ChildFailed, match="ended without a result"):
        as_user.call(MYSELF, os._exit, 1)


def test_one_that_does_not_end(monkeypatch):
    import time

    monkeypatch.setattr(as_user, "SECONDS", 0.1)
    with pytest.raises(as_user.ChildFailed, match="no result within"):
        as_user.call(MYSELF, time.sleep, 60)


def test_long_results():
    assert as_user.call(MYSELF, lambda: "x" * 1_000_000) == "x" * 1_000_000
