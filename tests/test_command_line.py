"""What the help of every command has in common."""

from __future__ import annotations

import re
import shlex

import pytest

from ocsp_cgi import command_line
from ocsp_cgi.tools import entry

COMMANDS = ("", *command_line.parser().commands())


def help_of(name: str, capsys) -> list[str]:
    with pytest.raises(SystemExit) as ended:
        command_line.parser().parse_args([*name.split(), "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("columns", ["80", "200"])
@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_on_80_columns_and_ends_with_an_example(name, columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", columns)
    lines = help_of(name, capsys)
    assert max(map(len, lines)) <= 80
    assert any(line in ("example:", "examples:") for line in lines)
    assert lines[-1].startswith(f"  {entry.program()} {name}")
    assert not re.search(r"[a-z]-$", "\n".join(lines), re.MULTILINE)  # nothing broken at a hyphen


def test_help_fits_on_a_narrow_terminal(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "60")
    lines = help_of("check", capsys)
    examples = lines.index("examples:")
    assert max(map(len, lines[:examples])) <= 60


@pytest.mark.parametrize(
    "name, example",
    [
        (name, example)
        for name, parser in command_line.parser().commands().items()
        for example in parser.examples
    ],
)
def test_examples_are_understood(name, example):
    words = shlex.split(re.split(r"[|>]", example)[0])
    arguments = command_line.parser().parse_args(words)
    assert arguments.command == name == words[0]


def test_every_option_is_explained():
    for name, parser in command_line.parser().commands().items():
        for action in parser.arguments():
            assert action.help and "%(" not in action.help, (name, action)


def test_wrong_arguments_are_not_critical(capsys):
    with pytest.raises(SystemExit) as ended:
        command_line.parser().parse_args(["check", "--no-such-option"])
    assert ended.value.code == entry.UNKNOWN
    assert "unrecognized arguments: --no-such-option" in capsys.readouterr().err
