"""What is planned for the files of a config, in directories that belong to others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ocsp_cgi import config
from ocsp_cgi.installation.permissions import Permissions
from ocsp_cgi.tools.plan import Plan
from ocsp_cgi.tools.record import Record

WEB = "daemon"  # a user and a group that every system has
NOBODY = 65534


@pytest.mark.root
@pytest.mark.parametrize("setting", ["ca", "rkey", "cache", "db"])
def test_a_link_that_another_user_has_made_is_not_followed(setting, place):
    """Else that user could have root open any file, or give it away."""
    precious, theirs = place / "precious", place / "theirs"
    precious.mkdir(mode=0o700)
    (precious / "index").write_bytes(b"")
    (precious / "index").chmod(0o600)
    theirs.mkdir()
    os.chown(theirs, NOBODY, NOBODY)
    target = precious if setting in ("cache", "db") else precious / "index"
    (theirs / "link").symlink_to(target)
    settings = {"db": "db", "ca": "ca", "rsigner": "s", "rkey": "k", "cache": "cache"}
    settings[setting] = "theirs/link"
    text = "[a]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items())
    (place / "conf").write_text(text)
    plan = Plan(Record(place / "installed.json"))
    Permissions(plan, config.load(str(place / "conf")), Path(place / "conf"), WEB).plan()
    assert [step.text for step in plan.steps if "precious" in step.text] == []
    [problem] = [one.text for one in plan.problems if "theirs/link: a link to" in one.text][:1]
    assert "which is not followed" in problem
