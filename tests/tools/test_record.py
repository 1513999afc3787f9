"""The record of what was installed: whom it trusts, and what it recognizes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ocsp_cgi.tools.entry import CommandError
from ocsp_cgi.tools.record import Record, check_trusted


def test_what_is_recorded_is_read_again(place):
    file, path = place / "file", place / "installed.json"
    file.write_bytes(b"content")
    record = Record(path)
    record.wrote(file, b"content")
    record.created(place)
    record.created(place)
    record.modes["/etc/key"] = [[0o600, 0, 0], [0o640, 0, 33]]
    record.save()
    again = Record(path)
    assert again.exists and not record.exists
    assert (again.directories, again.modes) == ([str(place)], record.modes)
    assert again.is_ours(file)
    file.write_bytes(b"changed")
    assert not again.is_ours(file)
    file.unlink()
    assert not again.is_ours(file)


@pytest.mark.parametrize("text", ["{", "[]", '{"files": []}', '{"files": {}, "links": {}}'])
def test_a_record_that_cannot_be_read(text, place):
    (place / "installed.json").write_text(text)
    with pytest.raises(CommandError, match="cannot read this record of what was installed"):
        Record(place / "installed.json")


@pytest.mark.root
@pytest.mark.parametrize("fault", ["group", "others", "owner"])
def test_only_what_root_alone_can_change_is_trusted(fault, tmp_path):
    directory = Path("/root" if os.access("/root", os.W_OK) else "/") / tmp_path.name
    directory.mkdir(mode=0o755)
    try:
        check_trusted(directory / "installed.json")
        if fault == "owner":
            os.chown(directory, 65534, 0)
        else:
            os.chown(directory, 0, 65534)
            directory.chmod(0o775 if fault == "group" else 0o757)
        with pytest.raises(CommandError, match=f"^{directory}: "):
            check_trusted(directory / "installed.json")
    finally:
        directory.rmdir()
