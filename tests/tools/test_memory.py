"""The directory `cache` in memory, as /etc/fstab has it."""

from __future__ import annotations

from ocsp_cgi.tools import memory


def test_a_path_with_a_blank_is_found_in_the_line_about_it(place, monkeypatch):
    directory = str(place / "our cache")
    line = memory.fstab_line(directory, 64, "www-data")
    assert len(line.split()) == 6
    monkeypatch.setattr(memory, "FSTAB", place / "fstab")
    (place / "fstab").write_text(f"# ours\n{line}\n")
    options = memory.fstab_options(directory)
    assert options is not None and "uid=www-data" in options
    assert memory.fstab_options(str(place / "our")) is None
