"""How messages repeat text from outside."""

from __future__ import annotations

import pytest

from ocsp_cgi.answer import printable


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
