"""The man pages, and the completion for bash, where `man` and bash look for them."""

from __future__ import annotations

from pathlib import Path

from ..tools import completion, manual
from ..tools.parser import Parser
from ..tools.plan import Plan

_SHARE = Path("/usr/local/share")
COMPLETION = _SHARE / "bash-completion" / "completions" / manual.PROGRAM
PAGES = {
    page.name: _SHARE / "man" / f"man{page.section}" / f"{page.name}.{page.section}"
    for page in manual.PAGES.values()
}
PATHS = (*PAGES.values(), COMPLETION)


def plan(plan: Plan, parser: Parser, config: Path) -> None:
    """Plan them.  `parser` is that of all commands, `config` the one whose CAs are completed."""
    contents = {path: manual.PAGES[name].write(parser) for name, path in PAGES.items()}
    contents[COMPLETION] = completion.script(parser, str(config))
    for path, content in contents.items():
        plan.directory(path.parent, 0o755)
        plan.file(path, content.encode())
