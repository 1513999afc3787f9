"""A man page, written in roff with the macros of man(7)."""

from __future__ import annotations

import textwrap

_COLUMNS = 78
# As typed in a shell: roff would make typographic quotes and hyphens of them.
_ESCAPED = {
    "\\": r"\e",
    "-": r"\-",
    "`": r"\(ga",
    "'": r"\(aq",
    "^": r"\(ha",
    "~": r"\(ti",
    '"': r"\(dq",
}


class Page:
    """Text is plain, with code between backquotes, which is shown in bold."""

    def __init__(self, name: str, section: int, version: str, manual: str):
        words = (name.upper(), str(section), "", version, manual)
        self._lines = [".TH " + " ".join(f'"{word}"' for word in words), ".nh", ".ad l"]

    def section(self, title: str) -> None:
        self._lines.append(f'.SH "{escaped(title)}"')

    def subsection(self, title: str) -> None:
        self._lines.append(f'.SS "{escaped(title)}"')

    def paragraph(self, text: str) -> None:
        self._lines += [*self._begin(), *_filled(_with_code(text))]

    def synopsis(self, name: str, arguments: str) -> None:
        self._lines += [*self._begin(), _guarded(f"{bold(name)} {escaped(arguments)}")]

    def item(self, tag: str, text: str) -> None:
        """A paragraph about something; `tag` is roff."""
        self._lines += [".TP", _guarded(tag), *_filled(_with_code(text))]

    def more(self, text: str) -> None:
        """Another paragraph of the last item."""
        self._lines += [".IP", *_filled(_with_code(text))]

    def verbatim(self, text: str) -> None:
        """Lines that stay as they are, indented."""
        lines = [_guarded(escaped(line)) for line in text.splitlines()]
        self._lines += [*self._begin(), ".RS 4", ".nf", *lines, ".fi", ".RE"]

    def _begin(self) -> list[str]:
        """What begins a paragraph, unless a heading has just begun one."""
        return [] if self._lines[-1].startswith((".SH", ".SS")) else [".PP"]

    def __str__(self) -> str:
        return "\n".join(self._lines) + "\n"


def bold(text: str) -> str:
    return rf"\fB{escaped(text)}\fR"


def italic(text: str) -> str:
    return rf"\fI{escaped(text)}\fR"


def escaped(text: str) -> str:
    return "".join(
        _ESCAPED.get(one, one if one.isascii() else rf"\[u{ord(one):04X}]") for one in text
    )


def _with_code(text: str) -> str:
    plain = text.split("`")
    return "".join(bold(one) if index % 2 else escaped(one) for index, one in enumerate(plain))


def _filled(text: str) -> list[str]:
    lines = textwrap.wrap(text, _COLUMNS, break_long_words=False, break_on_hyphens=False)
    return [_guarded(line) for line in lines]


def _guarded(line: str) -> str:
    """A line of text, which roff would take for a macro if it began with a period."""
    return rf"\&{line}" if line.startswith((".", "'")) else line
