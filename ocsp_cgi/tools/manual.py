"""The man pages ocsp-cgi(1) and ocsp-cgi.conf(5), from the parsers and the table of settings."""

from __future__ import annotations

import argparse
import textwrap
from typing import Callable, NamedTuple

from .. import __version__, config, settings_table
from ..settings_table import Setting
from . import entry
from .layout import PREFIX
from .parser import Parser, is_verbatim, paragraphs
from .roff import Page, bold, italic

PROGRAM = "ocsp-cgi"
_VERSION = f"{PROGRAM} {__version__}"
_MANUAL = "OCSP responder"
_ENVIRONMENT = {
    "OCSP_CGI_CONFIG": f"The config, if it is not {config.DEFAULT_PATH}. In Apache, `SetEnv` sets"
    " it for the responder.",
    "NO_COLOR": "If it is set, `check` prints no colours.",
}
_FORMAT = (
    "This file is read by the responder for every request, and by the commands of `ocsp-cgi`. A"
    " change takes effect with the next request.",
    "Each section except `[responder]` is a CA, and its name is yours. A line is `setting = value`."
    " Lines that begin with `#` or `;` are comments. A relative path starts from the directory of"
    " this file. An unknown setting is an error.",
)


class ManPage(NamedTuple):
    """`write` returns its text, from the parser of all commands."""

    name: str
    section: int
    write: Callable[[Parser], str]


def _commands_page(parser: Parser) -> str:
    page = Page(PROGRAM, 1, _VERSION, _MANUAL)
    page.section("NAME")
    page.paragraph(f"{PROGRAM} - {_phrase(parser.description or '')}")
    page.section("SYNOPSIS")
    page.synopsis(PROGRAM, "COMMAND [OPTION]... [ARGUMENT]...")
    page.synopsis(PROGRAM, "COMMAND --help")
    page.section("DESCRIPTION")
    page.paragraph(
        "The responder itself is ocsp.cgi, which Apache runs. This program installs it, checks it,"
        " keeps its copy of the index and its signer's certificate fresh, and explains what it"
        " answers."
    )
    for action in parser.arguments():
        page.item(_tag(action), _help(action))
    page.section("COMMANDS")
    for name, its in parser.commands().items():
        page.subsection(f"{PROGRAM} {name} {_synopsis(its)}")
        _write_paragraphs(page, its.description or "")
        for action in its.arguments():
            if action.dest != "help":
                page.item(_tag(action), _help(action))
        _write_paragraphs(page, its.notes)
        _write_examples(page, its)
    page.section("EXIT STATUS")
    _write_paragraphs(page, entry.EXIT_CODES.partition("\n")[2])
    page.section("ENVIRONMENT")
    for name, text in _ENVIRONMENT.items():
        page.item(bold(name), text)
    page.section("FILES")
    page.item(italic(config.DEFAULT_PATH), f"The config, see `{PROGRAM}.conf`(5).")
    page.item(italic(str(PREFIX)), "The program, if `install` has no `--prefix`.")
    page.section("EXAMPLES")
    _write_commands(page, parser)
    page.section("SEE ALSO")
    page.paragraph(f"`{PROGRAM}.conf`(5), `openssl-ca`(1), `openssl-ocsp`(1)")
    return str(page)


def _config_page(_: Parser) -> str:
    page = Page(f"{PROGRAM}.conf", 5, _VERSION, _MANUAL)
    page.section("NAME")
    page.paragraph(f"{PROGRAM}.conf - the config of the OCSP responder")
    page.section("SYNOPSIS")
    page.paragraph(f"`{config.DEFAULT_PATH}`, or the file that `OCSP_CGI_CONFIG` names")
    page.section("DESCRIPTION")
    for text in _FORMAT:
        page.paragraph(text)
    page.section("SETTINGS OF A CA")
    page.paragraph(
        f"{_listed(config.REQUIRED)} are required, and so is `rkey`, but on a host without a key."
    )
    for name, its in settings_table.OF_A_CA.items():
        _write_setting(page, name, its, config.CA_SETTINGS[name])
    page.section("SETTINGS OF [responder]")
    for name, its in settings_table.OF_THE_RESPONDER.items():
        _write_setting(page, name, its, config.RESPONDER_SETTINGS[name])
    page.section("EXAMPLE")
    page.verbatim(example())
    page.section("SEE ALSO")
    page.paragraph(f"`{PROGRAM}`(1), `openssl-ca`(1)")
    return str(page)


PAGES = {
    page.name: page
    for page in (
        ManPage(PROGRAM, 1, _commands_page),
        ManPage(f"{PROGRAM}.conf", 5, _config_page),
    )
}


def example() -> str:
    """A config with the examples of the required settings and of those that most CAs want."""
    names = (*config.REQUIRED, "rkey", "cache")
    width = max(map(len, names))
    lines = [f"{name:{width}} = {settings_table.OF_A_CA[name].example}" for name in names]
    hyperlink = settings_table.OF_THE_RESPONDER["hyperlink"].example
    return "\n".join(["[responder]", f"hyperlink = {hyperlink}", "", "[root-ca]", *lines])


def _write_setting(page: Page, name: str, its: Setting, kind: str | tuple[str, ...]) -> None:
    value = bold(" | ".join(kind)) if isinstance(kind, tuple) else italic(kind.replace("`", ""))
    page.item(f"{bold(name)} = {value}", " ".join(filter(None, (_sentence(its.what), its.more))))
    if its.default:
        page.more(f"Default: {its.default if '`' in its.default else f'`{its.default}`'}.")
    if not isinstance(kind, tuple) and its.example != its.default:
        page.more(f"Example: `{name} = {its.example}`")


def _write_paragraphs(page: Page, text: str) -> None:
    for one in paragraphs(text):
        if is_verbatim(one):
            title, _, rest = one.partition("\n") if one[0] != " " else ("", "", one)
            if title:
                page.paragraph(_sentence(title))
            page.verbatim(textwrap.dedent(rest))
        else:
            page.paragraph(" ".join(one.split()))


def _write_examples(page: Page, parser: Parser) -> None:
    page.paragraph("Example:" if len(parser.examples) == 1 else "Examples:")
    _write_commands(page, parser)


def _write_commands(page: Page, parser: Parser) -> None:
    page.verbatim("\n".join(f"{PROGRAM} {one}" for one in parser.examples))


def _synopsis(parser: Parser) -> str:
    words = ["[OPTION]..."]
    for action in parser.arguments():
        metavar = str(action.metavar)
        if action.option_strings:
            if action.required:
                words.append(f"{action.option_strings[-1]} {metavar}")
        else:
            words.append(
                {"?": f"[{metavar}]", "*": f"[{metavar}]...", "+": f"{metavar}..."}.get(
                    str(action.nargs), metavar
                )
            )
    return " ".join(words)


def _tag(action: argparse.Action) -> str:
    """An argument as it is typed, in roff."""
    if not action.option_strings:
        return italic(str(action.metavar))
    names = ", ".join(map(bold, action.option_strings))
    if action.nargs == 0:
        return names
    if action.choices:
        value = bold("|".join(map(str, action.choices)))
    else:
        value = italic(str(action.metavar or action.dest.upper()))
    return f"{names} [{value}]" if action.nargs == "?" else f"{names} {value}"


def _help(action: argparse.Action) -> str:
    """Its help as a sentence."""
    text = (action.help or "").replace("%%", "%")
    if action.dest == "version":
        text = "print the version"
    elif action.dest == "help":
        text = "print the commands, or the options of a command"
    return _sentence(text)


def _sentence(text: str) -> str:
    end = "" if text.endswith((".", ":")) else "."
    return f"{text[:1].upper()}{text[1:]}{end}"


def _phrase(text: str) -> str:
    return text[:1].lower() + text[1:].rstrip(".")


def _listed(names: tuple[str, ...]) -> str:
    quoted = [f"`{name}`" for name in names]
    return f"{', '.join(quoted[:-1])} and {quoted[-1]}"
