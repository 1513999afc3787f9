"""Commands for the operator to type."""

from __future__ import annotations

import shlex

from ..tools import entry


def ours(*words: str) -> str:
    """One of our own commands."""
    return " ".join([entry.program(), *map(shlex.quote, words)])


def set_setting(config: str, section: str, name: str, value: str) -> str:
    """The command that adds a setting to a section of the config."""
    escaped = "".join(f"\\{one}" if one in r"\/[].*^$" else one for one in section)
    return f"sed -i {shlex.quote(f'/^[[]{escaped}]/a {name} = {value}')} {shlex.quote(config)}"
