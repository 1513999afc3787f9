"""What the last copy of an index came to, written and read."""

from __future__ import annotations

import pytest

from ocsp_cgi import sync_state
from ocsp_cgi.sync_state import SyncState


@pytest.mark.parametrize("is_directory", [True, False])
def test_written_and_read(tmp_path, is_directory):
    db = tmp_path / "db"
    if is_directory:
        db.mkdir()
    assert sync_state.read(str(db)) is None
    reason = "fewer rows\nthan before = 3"
    fix = "ocsp-cgi sync root-ca --force"
    for state in (
        SyncState(1764386107, "ca:/db/index", sync_state.OK),
        SyncState(1764386167, "ca:/db/index", sync_state.REFUSED, reason, fix),
    ):
        sync_state.write(str(db), state)
        read = sync_state.read(str(db))
        assert [read.ended, read.source, read.result] == [state.ended, state.source, state.result]
        assert [read.reason, read.fix] == [" ".join(state.reason.split()), state.fix]
    file = db / "sync" if is_directory else tmp_path / "db.sync"
    assert file.stat().st_mode & 0o777 == 0o644
    assert len(list(file.parent.iterdir())) == 1


@pytest.mark.parametrize("text", ["", "ended = soon\n", "ended = 1\nsource = x\n", "\xff"])
def test_what_is_not_a_state_is_none(tmp_path, text):
    (tmp_path / "sync").write_text(text, encoding="latin-1")
    assert sync_state.read(str(tmp_path)) is None
