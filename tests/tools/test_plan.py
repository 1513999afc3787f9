"""Plans: what is there already stays, what was done is recorded."""

from __future__ import annotations

import pytest

from ocsp_cgi.tools import plan
from ocsp_cgi.tools.entry import CommandError
from ocsp_cgi.tools.record import Record


def test_a_plan_changes_nothing_until_it_is_carried_out(place):
    record = Record(place / "installed.json")
    the_plan = plan.Plan(record)
    the_plan.file(place / "file", b"content")
    the_plan.link(place / "link", place / "file")
    assert list(place.iterdir()) == []
    the_plan.carry_out()
    assert {path.name for path in place.iterdir()} == {"file", "link", "installed.json"}
    again = plan.Plan(Record(place / "installed.json"))
    again.file(place / "file", b"content")
    again.link(place / "link", place / "file")
    assert again.steps == []
    again.file(place / "file", b"of another version")
    assert [step.text for step in again.steps] == [f"write {place}/file"]
    (place / "file").write_text("the operator's")
    changed = plan.Plan(Record(place / "installed.json"))
    changed.file(place / "file", b"of another version")
    assert (changed.steps, len(changed.notes)) == ([], 1)


@pytest.mark.process
def test_what_was_done_before_a_failure_is_recorded(place):
    the_plan = plan.Plan(Record(place / "installed.json"))
    the_plan.file(place / "file", b"content")
    the_plan.command("false", "--with-this-option")
    the_plan.file(place / "later", b"content")
    with pytest.raises(CommandError, match=r"^false --with-this-option\n  failed with status 1$"):
        the_plan.carry_out()
    assert list(Record(place / "installed.json").files) == [str(place / "file")]
    (place / "installed.json").write_text("{")
    with pytest.raises(
        CommandError,
        match=r"installed\.json: cannot read this record of what was installed",
    ):
        Record(place / "installed.json")


def test_a_link_replaces_only_our_own(place):
    the_plan = plan.Plan(Record(place / "installed.json"))
    the_plan.link(place / "link", place / "old")
    the_plan.carry_out()
    again = plan.Plan(Record(place / "installed.json"))
    again.link(place / "link", place / "new")
    again.carry_out()
    assert (place / "link").readlink() == place / "new"
    (place / "script").write_text("the operator's")
    third = plan.Plan(Record(place / "installed.json"))
    with pytest.raises(CommandError, match="script: already exists, and is not ours"):
        third.link(place / "script", place / "new")
    assert third.steps == []


def test_a_file_where_a_directory_should_be(place):
    (place / "file").touch()
    with pytest.raises(CommandError, match="file: exists and is not a directory"):
        plan.Plan(Record(place / "installed.json")).directory(place / "file", 0o755)


def test_a_file_that_was_written_before_the_power_failed_is_ours(place):
    (place / "file").write_bytes(b"content")
    the_plan = plan.Plan(Record(place / "installed.json"))
    the_plan.file(place / "file", b"content")
    assert the_plan.steps == []
    the_plan.file(place / "next", b"content")
    the_plan.carry_out()
    assert Record(place / "installed.json").is_ours(place / "file")


@pytest.mark.process
def test_what_cannot_be_recorded_is_not_done(place):
    """Else --uninstall would leave it."""
    (place / "record").mkdir()
    (place / "record" / "installed.json").mkdir()  # nothing can be written there
    the_plan = plan.Plan(Record(place / "record" / "none"))
    the_plan.record.path = place / "record" / "installed.json"
    the_plan.command("touch", str(place / "made"), remember="modules")
    with pytest.raises(CommandError, match=r"installed\.json"):
        the_plan.carry_out()
    assert not (place / "made").exists() and the_plan.record.other == {"modules": []}
    (place / "record" / "installed.json").rmdir()
    the_plan.carry_out()
    the_plan.carry_out()
    found = Record(place / "record" / "installed.json").other
    assert (place / "made").exists() and found == {"modules": [str(place / "made")]}


def test_a_reload_is_recorded_before_it_is_needed(place, monkeypatch):
    """Else Apache would go on with its old configuration after a power failure."""
    the_plan = plan.Plan(Record(place / "installed.json"))
    the_plan.file(place / "site", b"content", apache="reload")
    monkeypatch.setattr(plan.Record, "wrote", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        the_plan.steps[0].do()
    assert (place / "site").exists()
    assert Record(place / "installed.json").other == {"reload": "reload"}
