"""An Answer, its Log, and text from outside in messages."""

from __future__ import annotations

import pytest

from ocsp_cgi import answer
from ocsp_cgi.answer import Log, printable


@pytest.mark.parametrize(
    "text, shown",
    [
        ("", ""),
        ("http://ocsp.example.com/?a=b c", "http://ocsp.example.com/?a=b c"),
        ("prüfung 証明書", "prüfung 証明書"),
        (r"C:\x1b", r"C:\x1b"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("a\nb\r\tc\0\x7f", r"a\nb\r\tc\x00\x7f"),
        ("\x9b31m\x85", r"\x9b31m\x85"),  # one-byte CSI, and a line end
        ("\u202egnp.exe\u2066\u200b\u2028\ufeff", r"\u202egnp.exe\u2066\u200b\u2028\ufeff"),
        ("\udcff\ud800", r"\udcff\ud800"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_printable(text, shown):
    assert printable(text) == shown
    assert shown.isprintable() and printable(shown) == shown
    shown.encode()


@pytest.mark.parametrize("one", ["x", "\x1b", "\U000e0041", "ü"])
def test_long_text_is_shortened(one):
    for length in (199, 200, 201, 10_000, 1_000_000):
        shown = printable(one * length)
        assert len(shown) <= 200 and printable(shown) == shown
        assert shown.endswith("...") == (length > 200 or not one.isprintable())
    shown = printable(one * 20, 200)[:47].ljust(47, one)
    assert printable(one * 100, 50) == shown + "..."


@pytest.mark.parametrize(
    "left, limit, max_age",
    [
        (3600, 100, 100),
        (3600, 86400, 1800),
        (10, 86400, 5),
        (1, 86400, 0),  # never in the last second
        (0, 86400, 0),
        (-5, 86400, 0),
        (3600, 0, 0),
    ],
)
def test_max_age(left, limit, max_age):
    made = answer.successful(b"response", 500, 1000 + left, 1000, limit, "tag")
    assert (made.response_status, made.der, made.entity_tag) == (
        answer.SUCCESSFUL,
        b"response",
        "tag",
    )
    assert (made.this_update, made.next_update, made.max_age) == (500, 1000 + left, max_age)


@pytest.mark.parametrize("status, name", answer.RESPONSE_STATUS_NAMES.items())
def test_refusal(status, name):
    log = Log()
    made = answer.refusal(status, "the reason", log)
    assert (made.response_status, made.der) == (status, bytes((0x30, 3, 0x0A, 1, status)))
    assert (made.max_age, made.entity_tag) == (0, "")
    blames_client = name in ("malformedRequest", "sigRequired", "unauthorized")
    kind = "" if blames_client else "error: "
    assert log.lines() == [f"{kind}the reason", f"response={name}"]


def test_the_log_has_its_notes_first():
    log = Log()
    log.fields.append(("status", "good"))
    log.warn("one", "two")
    log.note(answer.NEVER_ISSUED, "three")
    log.note(answer.CLIENT_FAULT, "four")
    log.fields.append(("ms", "7"))
    assert log.lines() == [
        "warning: one",
        "warning: two",
        "never-issued: three",
        "four",
        "status=good ms=7",
    ]


@pytest.mark.parametrize(
    "kind, field, is_problem",
    [
        (answer.ERROR, "nonce", True),
        (answer.WARNING, "nonce", True),
        (answer.NEVER_ISSUED, "nonce", True),
        (answer.CLIENT_FAULT, "nonce", False),
        (answer.CLIENT_FAULT, "warning", True),
    ],
)
def test_only_problems(kind, field, is_problem):
    log = Log()
    log.note(kind, "text")
    log.fields.append((field, "x"))
    lines = log.lines()
    assert lines == [f"{kind}text", f"{field}=x"]
    log.only_problems = True
    assert log.lines() == (lines if is_problem else [])


def test_expiry_warnings():
    expiries = [("rsigner", 1000, 1000 + 2 * 86400), ("ca", 5000, 10**6)]
    assert answer.expiry_warnings(expiries, 999) == []
    assert answer.expiry_warnings(expiries, 1000) == [("warning", "rsigner-expires-in-2-days")]
    assert answer.expiry_warnings(expiries, 86400) == [
        ("warning", "rsigner-expires-in-1-days"),
        ("warning", "ca-expires-in-10-days"),
    ]
