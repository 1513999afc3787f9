"""What a shell script in cgi-bin tells `openssl ocsp`, read from its text; it is not run.

Variables are followed from the top of the script to its end, as if it had no branches.  Whatever
that does not explain is noted with its line, so that a person decides.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from ..config import is_uri
from . import shell_words
from .shell_words import Command, Part, Word

# What our settings are called on the line of `openssl ocsp`, and by the scripts' variables.
_FILES = {"-index": "db", "-CA": "ca", "-rkey": "rkey", "-rsigner": "rsigner"}
_VARIABLES = {
    "db": ("INDEX", "INDEX_FILE", "DB", "DATABASE"),
    "ca": ("CA", "CA_CERT", "CAFILE", "CA_FILE", "CACERT"),
    "rkey": ("RKEY", "KEY", "OCSP_KEY"),
    "rsigner": ("RSIGNER", "SIGNER", "OCSP_CERT"),
    "hyperlink": ("HYPERLINK", "LINK", "URL", "HOMEPAGE"),
}
# Options of `openssl ocsp` that ask for what ocsp.cgi does anyway, or that say nothing to it; how
# many words follow each.
_NO_MATTER = {
    "-reqin": 1,
    "-respout": 1,
    "-out": 1,
    "-text": 0,
    "-req_text": 0,
    "-resp_text": 0,
    "-resp_key_id": 0,
    "-ignore_err": 0,
    "-noverify": 0,
    "-no_nonce": 0,
    "-nonce": 0,
    "-nrequest": 1,
    "-timeout": 1,
    "-rsigopt": 1,
}
_DROPPED = {
    "-rmd": (1, "ocsp.cgi signs with SHA-256, or what the signer's key asks for"),
    "-resp_no_certs": (0, "ocsp.cgi always sends the signer's certificate, which clients need"),
    "-rother": (1, "ocsp.cgi sends the signer's certificate"),
    "-CAfile": (1, "it is for clients"),
    "-issuer": (1, "it is for clients"),
    "-VAfile": (1, "it is for clients"),
}
# Commands that such a script consists of, and that need not be taken over.
_PLUMBING = frozenset(
    (
        *("if", "then", "elif", "else", "fi", "case", "esac", "in", "for", "while", "until"),
        *("do", "done", "function", "{", "}", "!", ":", "true", "false", "test", "[", "[[", "]]"),
        *("exit", "return", "set", "shopt", "unset", "shift", "trap", "umask", "eval", "exec"),
        *("export", "readonly", "declare", "typeset", "local", "read", "time", "command", "env"),
        *("printf", "echo", "cat", "head", "dd", "tr", "sed", "cut", "wc", "base64", "mktemp"),
        *("rm", "cd", "dirname", "basename", "realpath", "readlink"),
    )
)
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)(\+?)=(.*)", re.DOTALL)
_DECLARING = ("export", "readonly", "declare", "typeset", "local")
_KEYWORDS = ("if", "then", "elif", "else", "while", "until", "do", "!", "{", "time")
_HREF = re.compile(r"href\s*=\s*\\?[\"']?(https?://[^\\\"'<>\s]+)", re.IGNORECASE)
_FUNCTION = re.compile(r"^\s*(?:function\s+([\w-]+)|([\w-]+)\s*\(\s*\))", re.MULTILINE)
_UNKNOWN = "\0"  # begins a word of which only the reason is known why it is not
_THE_SCRIPT = re.compile(r"\$\(\s*dirname\s+(--\s+)?\"?\$(0|\{0\}|BASH_SOURCE)\"?\s*\)|\$\{0%/\*\}")


class Note(NamedTuple):
    """Something in the script that was not taken over: `line`, `text` as it stands there, `why`."""

    line: int
    text: str
    why: str


class OldScript(NamedTuple):
    """What was read.  `settings` has db, ca, rkey, rsigner, passin, hyperlink and nmin (minutes, in
    digits) as far as they were found; `lines` says where; `notes` are in the order of lines."""

    settings: dict[str, str]
    lines: dict[str, int]
    notes: list[Note]


class _Value(NamedTuple):
    """A variable: what it holds, or `why` that cannot be known; `words` if it is an array."""

    line: int
    text: str
    why: str = ""
    words: tuple[str, ...] | None = None


class _Unknown(Exception):
    """What a word expands to is known only at run time; the text says why."""


def read(path: Path, text: str) -> OldScript:
    """Read the text of the script in this file."""
    functions = {one or other for one, other in _FUNCTION.findall(text)}
    reader = _Reader(os.path.dirname(os.path.abspath(path)), functions)
    for command in shell_words.commands(text):
        reader.consider(command)
    return reader.result()


class _Reader:
    def __init__(self, directory: str, functions: set[str]):
        self._functions = functions
        self._script_directory = self._directory = directory
        self._variables: dict[str, _Value] = {}
        self._changed: dict[str, list[int]] = {}
        self._settings: dict[str, str] = {}
        self._lines: dict[str, int] = {}
        self._notes: list[Note] = []
        self._links: list[tuple[int, str]] = []
        self._pipelines: list[int] = []
        self._minutes: int | None = None

    def result(self) -> OldScript:
        for setting, names in _VARIABLES.items():
            for name in names:
                value = self._variables.get(name)
                if value is None or setting in self._settings or (self._pipelines and value.why):
                    continue
                if value.why:
                    self._note(value.line, f"{name}=", value.why)
                elif setting == "hyperlink" and not re.match("https?://", value.text):
                    continue
                elif setting == "hyperlink" or not self._pipelines:
                    self._set(setting, value.text, value.line)
        if self._links and "hyperlink" not in self._settings:
            self._set("hyperlink", self._links[0][1], self._links[0][0])
        return OldScript(self._settings, self._lines, sorted(set(self._notes)))

    def _note(self, line: int, text: str, why: str) -> None:
        self._notes.append(Note(line, " ".join(text.split()), why))

    def _set(self, setting: str, value: str, line: int) -> None:
        if setting not in ("hyperlink", "nmin") and not (setting == "rkey" and is_uri(value)):
            value = os.path.normpath(os.path.join(self._directory, value))
        self._settings[setting] = value
        self._lines[setting] = line

    def consider(self, command: Command) -> None:
        """Take over what a command says."""
        words = command.words
        for part in (part for word in words for part in word.parts):
            if part.kind == "unknown" and "ocsp" in part.text:
                inside = part.text[2:-1] if part.text.startswith("$(") else part.text[1:-1]
                for one in shell_words.commands(inside):
                    self.consider(one._replace(line=command.line + one.line - 1))
        while words and _plain(words[0]) in _KEYWORDS:
            words = words[1:]
        if words and _plain(words[0]) in _DECLARING:
            words = [word for word in words[1:] if _ASSIGNMENT.match(_plain(word))]
        while words and (match := _ASSIGNMENT.match(_plain(words[0]))):
            self._assign(match[1], bool(match[2]), words[0], command)
            words = words[1:]
        self._look_for_links(command)
        expanded = self._expand_all(words)
        if not expanded:
            return
        names = [os.path.basename(word) for word in expanded]
        place = next(
            (at for at in range(len(names) - 1) if names[at : at + 2] == ["openssl", "ocsp"]), -1
        )
        if place >= 0:
            options = [re.sub("^--", "-", word) for word in expanded[place + 2 :]]
            self._read_options(command, options)
        elif names[0] == "cd" and len(expanded) > 1:
            self._change_directory(command, expanded[1])
        elif names[0] in (".", "source"):
            self._note(command.line, command.text, "another file, which was not read")
        elif names[0] not in _PLUMBING and names[0] not in self._functions:
            self._note(command.line, command.text, "ocsp.cgi does nothing of this kind")

    def _change_directory(self, command: Command, directory: str) -> None:
        if directory.startswith(_UNKNOWN):
            self._note(command.line, command.text, directory[1:])
        else:
            self._directory = os.path.join(self._directory, directory)

    # Variables

    def _assign(self, name: str, appends: bool, word: Word, command: Command) -> None:
        before = self._variables.get(name)
        first, *rest = word.parts
        remainder = first.text.partition("=")[2]
        try:
            if word.elements is not None:
                words = tuple(self._expand_all(list(word.elements)))
                if appends and before and before.words:
                    words = before.words + words
                value = _Value(command.line, " ".join(words), words=words)
            else:
                parts = (first._replace(text=remainder), *rest)
                text = "".join(self._text(part) for part in parts)
                if appends and before:
                    text = before.text + text
                value = _Value(command.line, text)
        except _Unknown as error:
            value = _Value(command.line, "", str(error))
        if before and not appends and (before.text, before.why) != (value.text, value.why):
            lines = self._changed.setdefault(name, [before.line])
            lines.append(command.line)
        self._variables[name] = value

    def _expand_all(self, words: list[Word]) -> list[str]:
        """What the shell makes of these words; of one that it takes the shell to tell, _UNKNOWN and
        why."""
        expanded = []
        for word in words:
            try:
                expanded += self._expand(word)
            except _Unknown as error:
                expanded.append(_UNKNOWN + str(error))
        return expanded

    def _expand(self, word: Word) -> list[str]:
        """The words that the shell makes of a word.  _Unknown if it takes the shell to tell."""
        if len(word.parts) == 1 or not any(part.text for part in word.parts if part.kind == "text"):
            for part in word.parts:
                if part.kind == "variable" and part.text[-3:] in ("[@]", "[*]"):
                    value = self._variable(part)
                    return list(value.words if value.words is not None else (value.text,))
        fields = [""]
        for part in word.parts:
            text = self._text(part)
            if part.kind == "text" or part.is_quoted:
                fields[-1] += text
                continue
            first, *rest = re.split(r"\s+", text)
            fields[-1] += first
            fields += rest
        is_quoted = any(part.is_quoted for part in word.parts)
        return fields if is_quoted else [field for field in fields if field]

    def _text(self, part: Part) -> str:
        if part.kind == "text":
            return part.text
        if part.kind == "variable":
            return self._variable(part).text
        if _THE_SCRIPT.fullmatch(part.text):
            return self._script_directory
        raise _Unknown(f"only the shell knows what {part.text} is")

    def _variable(self, part: Part) -> _Value:
        name = part.text[:-3] if part.text.endswith("]") else part.text
        value = self._variables.get(name)
        if name == "0":
            return _Value(0, self._script_directory + "/ocsp.cgi")
        if value is None and part.default is not None:
            return _Value(0, part.default)
        if value is None:
            raise _Unknown(f"the script does not set ${name}")
        if value.why:
            raise _Unknown(f"{value.why} (line {value.line})")
        if name in self._changed:
            lines = " and ".join(str(line) for line in self._changed[name])
            raise _Unknown(f"${name} has different values in lines {lines}")
        return value

    # The pipeline

    def _read_options(self, command: Command, words: list[str]) -> None:
        line = command.line
        if "-index" not in words and not any(word.startswith(_UNKNOWN) for word in words):
            self._note(line, command.text, "not a responder: there is no -index")
            return
        self._pipelines.append(line)
        if len(self._pipelines) > 1:
            self._note(
                line,
                command.text,
                f"a second responder, beside that in line {self._pipelines[0]}: add a section for"
                " it to the config",
            )
            return
        rest = iter(words)
        for option in rest:
            takes = option in (*_FILES, "-passin", "-nmin", "-ndays")
            takes = takes or _NO_MATTER.get(option) == 1 or _DROPPED.get(option, (0,))[0] == 1
            value = next(rest, "") if takes else ""
            if option in _DROPPED:
                shown = "" if value.startswith(_UNKNOWN) else value
                self._note(line, f"{option} {shown}", _DROPPED[option][1])
            elif option.startswith(_UNKNOWN):
                self._note(line, command.text, option[1:])
            elif value.startswith(_UNKNOWN) and option not in _NO_MATTER:
                self._note(line, option, value[1:])
            elif option not in _NO_MATTER:
                self._read_option(line, option, value)
        if self._minutes:
            self._set("nmin", str(self._minutes), line)
        if "rsigner" in self._settings and "-rkey" not in words:
            self._set("rkey", self._settings["rsigner"], line)

    def _read_option(self, line: int, option: str, value: str) -> None:
        if option in _FILES:
            self._set(_FILES[option], value, line)
        elif option == "-passin":
            self._passin(value, line)
        elif option not in ("-nmin", "-ndays"):
            self._note(line, option, "not an option of a responder that ocsp.cgi knows")
        elif value.isascii() and value.isdigit():
            factor = 1 if option == "-nmin" else 24 * 60
            self._minutes = (self._minutes or 0) + factor * int(value)
        else:
            self._note(line, f"{option} {value}", "not a number")

    def _passin(self, value: str, line: int) -> None:
        kind, _, where = value.partition(":")
        if kind == "file" and where:
            self._set("passin", where, line)
        else:
            self._note(
                line,
                f"-passin {kind}:...",
                "put the pass phrase into a file that only the web server's user can read, and name"
                " it with --passin",
            )

    def _look_for_links(self, command: Command) -> None:
        texts = [*command.documents]
        for word in command.words:
            if not _ASSIGNMENT.match(_plain(word)):
                texts.append("".join(map(self._shown, word.parts)))
        for text in texts:
            text = re.sub(r"\$\{?(\w+)\}?", lambda found: self._known(found[1]), text)
            self._links += [(command.line, link) for link in _HREF.findall(text)]

    def _shown(self, part: Part) -> str:
        return self._known(part.text) if part.kind == "variable" else part.text

    def _known(self, name: str) -> str:
        return self._variables[name].text if name in self._variables else ""


def _plain(word: Word) -> str:
    """The text at the beginning of a word."""
    return word.parts[0].text if word.parts and word.parts[0].kind == "text" else ""
