"""The words of a shell script, with the numbers of their lines; nothing is run.

This is as much of the shell's grammar (POSIX 2.2 and 2.3, and bash's arrays) as scripts in cgi-bin
use: quotes, comments, continued lines, variables, here-documents.  What a word is made of only at
run time, such as the output of a command, is kept as text.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_SEPARATORS = ("&&", "||", ";;", "|&", "&", "|", ";", "(", ")", "\n")
_PROCESS = ("<(", ">(")  # bash's process substitution
_NAME = re.compile(r"[A-Za-z_]\w*")
_PLAIN_VARIABLE = re.compile(r"\$([A-Za-z_]\w*|[0-9@*#?$!-])")
_BRACED_VARIABLE = re.compile(r"([A-Za-z_]\w*|[0-9])(\[[@*]\])?(?::?-(.*))?", re.DOTALL)
_HERE_DOCUMENT = re.compile(r"<<(-?)[ \t]*(\\?[\w.-]+|'[^'\n]*'|\"[^\"\n]*\")")
_REDIRECTION = re.compile(r"[0-9]*(?:&>>?|>>|>&|<&|<>|>\||<<<|>|<)[0-9-]?")


class Part(NamedTuple):
    """A piece of a word: `kind` is "text"; "variable", with `text` its name and `default` what
    stands for it if it is unset; or "unknown", with what only the shell can know."""

    kind: str
    text: str
    is_quoted: bool
    default: str | None = None


class Word(NamedTuple):
    """`elements` are the words of an array that is assigned, as in NAME=(a b)."""

    parts: tuple[Part, ...]
    elements: tuple[Word, ...] | None = None


class Command(NamedTuple):
    """A simple command: its words without redirections, `line` on which it begins, and the bodies
    of its here-documents."""

    line: int
    words: list[Word]
    text: str
    documents: list[str]


def commands(script: str) -> list[Command]:
    """The simple commands of a script, in the order in which they stand there."""
    return _Reader(script).read()


class _Reader:
    def __init__(self, script: str):
        self._text = script.replace("\r\n", "\n")
        self._at = 0
        self._commands: list[Command] = []
        self._words: list[Word] = []
        self._start = -1
        self._pending: list[tuple[str, bool, list[str]]] = []
        self._documents: list[str] = []
        self._depth = 0  # of parentheses
        self._pipeline = 0  # which command began the present one

    def read(self) -> list[Command]:
        text = self._text
        while self._at < len(text):
            if text.startswith("\\\n", self._at):
                self._at += 2
            elif text[self._at] in " \t":
                self._at += 1
            elif text[self._at] == "#":
                end = text.find("\n", self._at)
                self._at = len(text) if end < 0 else end
            elif match := _HERE_DOCUMENT.match(text, self._at):
                if text.startswith("<<<", self._at):
                    self._skip_redirection()
                else:
                    last = match[2].strip("'\"\\")
                    self._pending.append((last, bool(match[1]), self._documents))
                    self._at = match.end()
            elif _REDIRECTION.match(text, self._at) and not text.startswith(_PROCESS, self._at):
                self._skip_redirection()
            elif separator := next((one for one in _SEPARATORS if self._is(one)), ""):
                self._separate(separator)
            else:
                self._start = self._at if self._start < 0 else self._start
                self._words.append(self._word())
        self._end_command()
        return self._commands

    def _is(self, text: str) -> bool:
        return self._text.startswith(text, self._at)

    def _separate(self, separator: str) -> None:
        if separator == "(" and len(self._words) == 1:  # a function
            self._words, self._start = [], -1
        self._end_command()
        if separator == ")" and not self._depth:  # the pattern of a `case`
            del self._commands[self._pipeline :]
        self._depth = max(0, self._depth + (separator == "(") - (separator == ")"))
        if separator != "|":
            self._pipeline = len(self._commands)
        self._at += len(separator)
        if separator == "\n":
            self._read_documents()

    def _end_command(self) -> None:
        if self._words:
            line = self._text.count("\n", 0, self._start) + 1
            text = self._text[self._start : self._at]
            self._commands.append(Command(line, self._words, text.strip(), self._documents))
        self._words, self._start, self._documents = [], -1, []

    def _skip_redirection(self) -> None:
        match = _REDIRECTION.match(self._text, self._at)
        assert match
        self._at = match.end()
        while self._at < len(self._text) and self._text[self._at] in " \t":
            self._at += 1
        if not match[0][-1:].isdigit() and not any(self._is(one) for one in _SEPARATORS):
            self._word()

    def _read_documents(self) -> None:
        for end, is_indented, documents in self._pending:
            lines = []
            while self._at < len(self._text):
                line, _, _ = self._text[self._at :].partition("\n")
                self._at += len(line) + 1
                line = line.lstrip("\t") if is_indented else line
                if line == end:
                    break
                lines.append(line)
            documents.append("\n".join(lines))
        self._pending = []

    def _word(self) -> Word:
        """The word that begins here."""
        parts: list[Part] = []
        text = self._text
        begin = self._at
        while self._at < len(text):
            one = text[self._at]
            if text.startswith(_PROCESS, self._at):
                start = self._at
                self._at += 2
                self._skip_nested("(", ")")
                parts.append(Part("unknown", text[start : self._at], False))
                continue
            if one in " \t\n;&|<>)" or (one == "(" and self._at > begin and not parts):
                break
            if one == "(":
                if text[self._at - 1] == "=" and _NAME.match(text, begin):
                    return Word(tuple(parts), self._array())
                break
            if one == "'":
                parts.append(Part("text", self._until("'"), True))
            elif one == '"':
                self._at += 1
                parts += self._double_quoted()
            elif text.startswith(("$'", '$"'), self._at):
                self._at += 1
            elif one == "\\":
                if not self._is("\\\n"):
                    parts.append(Part("text", text[self._at + 1 : self._at + 2], True))
                self._at += 2
            elif one in "$`":
                parts.append(self._expansion(False))
            else:
                match = re.compile(r"[^ \t\n;&|<>()'\"\\$`]+").match(text, self._at)
                assert match
                parts.append(Part("text", match[0], False))
                self._at = match.end()
        if self._at == begin:
            self._at += 1  # a lone parenthesis behind a redirection
        return Word(tuple(parts))

    def _until(self, quote: str) -> str:
        end = self._text.find(quote, self._at + 1)
        end = len(self._text) if end < 0 else end
        found = self._text[self._at + 1 : end]
        self._at = end + 1
        return found

    def _array(self) -> tuple[Word, ...]:
        self._at += 1
        elements = []
        while self._at < len(self._text) and not self._is(")"):
            if self._text[self._at] in " \t\n":
                self._at += 1
            elif self._is("\\\n"):
                self._at += 2
            elif self._is("#"):
                end = self._text.find("\n", self._at)
                self._at = len(self._text) if end < 0 else end
            else:
                elements.append(self._word())
        self._at += 1
        return tuple(elements)

    def _double_quoted(self) -> list[Part]:
        parts, text = [Part("text", "", True)], ""
        while self._at < len(self._text) and self._text[self._at] != '"':
            one = self._text[self._at]
            if one == "\\" and self._text[self._at + 1 : self._at + 2] in ('"', "\\", "$", "`"):
                text += self._text[self._at + 1]
                self._at += 2
            elif self._is("\\\n"):
                self._at += 2
            elif one in "$`":
                parts += [Part("text", text, True), self._expansion(True)]
                text = ""
            else:
                text += one
                self._at += 1
        self._at += 1
        return [*parts, Part("text", text, True)]

    def _expansion(self, is_quoted: bool) -> Part:
        """What begins with a dollar or a backquote."""
        text = self._text
        if text[self._at] == "`":
            return Part("unknown", f"`{self._until('`')}`", is_quoted)
        if self._is("$("):
            start = self._at
            self._at += 2
            self._skip_nested("(", ")")
            return Part("unknown", text[start : self._at], is_quoted)
        if self._is("${"):
            start = self._at
            self._at += 2
            self._skip_nested("{", "}")
            inside = text[start + 2 : self._at - 1]
            match = _BRACED_VARIABLE.fullmatch(inside)
            if match:
                name, default = match[1] + (match[2] or ""), match[3]
                if default is None or not re.search(r"[$`]", default):
                    default = default if default is None else default.strip("\"'")
                    return Part("variable", name, is_quoted, default)
            return Part("unknown", text[start : self._at], is_quoted)
        match = _PLAIN_VARIABLE.match(text, self._at)
        if match:
            self._at = match.end()
            return Part("variable", match[1], is_quoted)
        self._at += 1
        return Part("text", "$", is_quoted)

    def _skip_nested(self, opening: str, closing: str) -> None:
        """Go behind the bracket that closes this one; those in quotes do not count."""
        depth = 1
        while self._at < len(self._text) and depth:
            one = self._text[self._at]
            if one == "'" and opening == "(":
                self._until("'")
                continue
            if one == "\\":
                self._at += 1
            depth += (one == opening) - (one == closing)
            self._at += 1
