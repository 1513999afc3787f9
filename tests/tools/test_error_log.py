"""Apache's error log: which lines are ocsp.cgi's, also behind a prefix, and how much is read."""

from __future__ import annotations

import os

from ocsp_cgi.tools import error_log
from ocsp_cgi.tools.error_log import Line

T = 1795922400  # 2026-11-29T03:20:00Z


def test_lines_of_mod_cgid_and_of_mod_cgi():
    ours = "2026-11-29T03:20:00Z ocsp.cgi: "
    prefix = "[Sun Nov 29 03:20:00.123456 2026] [cgi:error] [pid 7] [client ::1:5] AH01215: "
    for before in ("", prefix, f"{prefix}stderr from /usr/lib/cgi-bin/ocsp.cgi: "):
        assert error_log.parse(f"{before}{ours}error: it hangs") == Line(T, "error", "it hangs")
        assert error_log.parse(f"{before}{ours}POST status=good") == Line(T, "", "POST status=good")
    assert error_log.parse(f"{ours}never-issued: serial=1 ca=a") == Line(
        T, "never-issued", "serial=1 ca=a"
    )


def test_other_lines_are_not_ours():
    for text in (
        "",
        "[Sun Nov 29 03:20:00.1 2026] [core:error] [pid 7] AH00035: ... ocsp.cgi: error: x",
        "x 2026-11-29T03:20:00Z ocsp.cgi: error: it is not the beginning of the line",
        "2026-99-29T03:20:00Z ocsp.cgi: error: no such month",
        "2026-11-29T03:20:00Z other.cgi: error: x",
    ):
        assert error_log.parse(text) is None


def line(second: int, text: str = "POST status=good") -> str:
    return f"2026-11-29T03:20:{second:02}Z ocsp.cgi: {text}\n"


def test_lines_since_a_time(place):
    log = place / "error.log"
    log.write_text(line(1) + "another's\n" + line(5, "error: x") + line(9))
    extract = error_log.read(str(log), T + 5)
    assert [one.time - T for one in extract.lines] == [5, 9]
    assert extract.since == T + 5


def test_the_log_before_is_read_too_if_it_was_rotated_since(place):
    for name in ("error.log.1", "error.log-20261129"):
        log, before = place / "error.log", place / name
        log.write_text(line(9))
        before.write_text(line(1) + line(5))
        (place / f"{name}.gz").write_bytes(b"\x1f\x8b")
        (place / "error.log.2").write_text(line(7))
        os.utime(before, (T + 6, T + 6))
        assert [one.time - T for one in error_log.read(str(log), T + 3).lines] == [5, 9]
        os.utime(before, (T + 1, T + 1))
        assert [one.time - T for one in error_log.read(str(log), T + 3).lines] == [9]
        before.unlink()


def test_only_the_end_of_a_long_log_is_read(place):
    log = place / "error.log"
    log.write_text("".join(line(second) for second in range(60)))
    extract = error_log.read(str(log), T, most=len(line(0)) * 10 + 5)
    assert [one.time - T for one in extract.lines] == list(range(50, 60))
    assert extract.since == T + 50


def test_what_was_added_meanwhile(place):
    log, other = place / "error.log", place / "other.log"
    log.write_text("before\n")
    watch = error_log.Watch([str(log), str(other), str(place / "nowhere" / "error.log")])
    with open(log, "a") as file:
        file.write("added\n")
    assert watch.added() == ["added"]
    log.write_text("new\n")  # rotated
    assert watch.added() == ["new"]
