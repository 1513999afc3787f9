"""The completion of `ocsp-cgi` for bash, from the parsers: commands, options, files, and the CAs of
the config."""

from __future__ import annotations

import argparse
import shlex

from .manual import PROGRAM
from .parser import Parser

# By metavar: the function of the script that completes it.
_KINDS = {
    "FILE": "files",
    "SCRIPT": "files",
    "SOURCE": "files",
    "WHAT": "files",
    "DIR": "directories",
    "CA": "sections",
    "USER": "users",
}
# A name in the config must not be run as code, as `compgen -W` would.
_SCRIPT = r"""# Completion of `ocsp-cgi` for bash.

_ocsp_cgi_words() {
    local word
    for word; do
        [[ $word != "$cur"* ]] || COMPREPLY+=("$word")
    done
}

_ocsp_cgi_files() {
    compopt -o filenames
    mapfile -t COMPREPLY < <(compgen -f -- "$cur")
}

_ocsp_cgi_directories() {
    compopt -o filenames
    mapfile -t COMPREPLY < <(compgen -d -- "$cur")
}

_ocsp_cgi_users() {
    mapfile -t COMPREPLY < <(compgen -u -- "$cur")
}

# The CAs of the config that is named on the command line, or else of the usual one.
_ocsp_cgi_sections() {
    local config=${OCSP_CGI_CONFIG-} index line name
    [[ -n $config ]] || config=@CONFIG@
    for ((index = 2; index < COMP_CWORD - 1; index++)); do
        if [[ ${COMP_WORDS[index]} == --config ]]; then
            config=${COMP_WORDS[index + 1]}
            [[ $config != = ]] || config=${COMP_WORDS[index + 2]}
            config=${config/#'~/'/$HOME/}
        fi
    done
    [[ -f $config && -r $config ]] || return
    while IFS=$' \t\r' read -r line || [[ -n $line ]]; do
        line=${line%$'\r'}
        [[ $line == '['*']' ]] || continue
        read -r name <<<"${line:1:${#line}-2}"
        [[ $name == responder || $name != "$cur"* ]] || COMPREPLY+=("$(printf %q "$name")")
    done <"$config"
}

_ocsp_cgi() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command= index
    local -a options other
    COMPREPLY=()
    # --option=VALUE is three words.
    [[ $cur != = ]] || cur=
    [[ $prev != = ]] || prev=${COMP_WORDS[COMP_CWORD - 2]}
    for ((index = 1; index < COMP_CWORD; index++)); do
        if [[ ${COMP_WORDS[index]} != -* ]]; then
            command=${COMP_WORDS[index]}
            break
        fi
    done
    case "$command $prev" in
@VALUES@
    esac
    case $command in
@COMMANDS@
        *)
            return
            ;;
    esac
    if [[ $cur == -* ]]; then
        _ocsp_cgi_words "${options[@]}"
    else
        "${other[@]}"
    fi
}

complete -F _ocsp_cgi @PROGRAM@
"""


def script(parser: Parser, config: str) -> str:
    """The script.  `config` is the one whose CAs are completed unless another is named."""
    values: dict[str, list[str]] = {}
    commands = [_command('""', parser, f"_ocsp_cgi_words {' '.join(parser.commands())}")]
    for name, its in parser.commands().items():
        for action in its.arguments():
            if action.nargs != 0:
                names = [f'"{name} {option}"' for option in action.option_strings]
                values.setdefault(_complete(action), []).extend(names)
        positional = next((one for one in its.arguments() if not one.option_strings), None)
        commands.append(_command(name, its, _complete(positional)))
    cases = [_case(names, how) for how, names in values.items() if names]
    return (
        _SCRIPT.replace("@VALUES@", "\n".join(cases))
        .replace("@COMMANDS@", "\n".join(commands))
        .replace("@PROGRAM@", PROGRAM)
        .replace("@CONFIG@", shlex.quote(config))
    )


def _case(names: list[str], how: str) -> str:
    patterns = " | \\\n        ".join(names)
    return f"        {patterns})\n            {how}\n            return\n            ;;"


def _command(pattern: str, parser: Parser, other: str) -> str:
    """The options of a command, and what completes a word that is not one."""
    options = " ".join(one for action in parser.arguments() for one in action.option_strings)
    return (
        f"        {pattern})\n            options=({options})\n            other=({other})\n"
        "            ;;"
    )


def _complete(action: argparse.Action | None) -> str:
    """What completes the value of an argument; `:` does nothing."""
    if action is None:
        return ":"
    if action.choices:
        return f"_ocsp_cgi_words {' '.join(shlex.quote(str(one)) for one in action.choices)}"
    kind = _KINDS.get(str(action.metavar))
    return f"_ocsp_cgi_{kind}" if kind else ":"
