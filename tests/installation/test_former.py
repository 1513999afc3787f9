"""What the record says about a change between the CGI and mod_wsgi that is not complete."""

from __future__ import annotations

import os
import stat

import pytest

from ocsp_cgi.installation import former
from ocsp_cgi.installation.former import Former
from ocsp_cgi.installation.site import Site
from ocsp_cgi.tools.entry import CommandError
from ocsp_cgi.tools.plan import Plan
from ocsp_cgi.tools.record import Record

CGI = Site("ocsp.example.com", "/ocsp", False)
WSGI = CGI._replace(is_wsgi=True)


@pytest.fixture
def kept(tmp_path):
    """The path of a record from which a change to mod_wsgi is not complete."""
    record = Record(tmp_path / "installed.json")
    record.other["modules"] = ["alias"]
    (tmp_path / "site").write_text("before\n")
    key = tmp_path / "key"
    key.write_bytes(b"")
    key.chmod(0o600)
    Former.now("wsgi", record, [tmp_path / "site", tmp_path / "none"], [key]).keep(record)
    record.save()
    return record.path


def test_it_is_found_again(kept, tmp_path):
    (tmp_path / "site").write_text("after\n")
    record = Record(kept)
    found = Former.recorded(record)
    assert found is not None
    assert found.text(tmp_path / "site") == b"before\n"
    assert found.text(tmp_path / "none") == b""
    assert found.modules == ["alias"]
    former.forget(record)
    assert Former.recorded(record) is None


def test_keys_are_as_before(kept, tmp_path):
    key, record = tmp_path / "key", Record(kept)
    key.chmod(0o640)
    record.modes[str(key)] = [[0o600, os.getuid(), os.getgid()], [0o640, os.getuid(), 33]]
    Former.recorded(record).restore_key(str(key), record)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert record.modes == {}
    key.unlink()
    Former.recorded(record).restore_key(str(key), record)


@pytest.mark.parametrize("found", [CGI, WSGI], ids=["before", "after"])
def test_an_interrupted_change_is_made_whatever_is_in_place(found, kept):
    for option in (None, True):
        plan = Plan(Record(kept))
        assert former.resume(plan, found, option) == (CGI, True)
        assert plan.notes
    with pytest.raises(CommandError, match="--wsgi was interrupted"):
        former.resume(Plan(Record(kept)), found, False)


def test_without_one_the_options_decide(tmp_path):
    for option in (None, True, False):
        plan = Plan(Record(tmp_path / "installed.json"))
        assert former.resume(plan, CGI, option) == (CGI, option)
        assert former.resume(plan, None, option) == (None, option)
        assert plan.notes == []
