"""Write the README's two tables of settings from ocsp_cgi/settings_table.py.

python3 tests/settings.py
"""

from __future__ import annotations

import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))

from ocsp_cgi import settings_table
from ocsp_cgi.settings_table import Setting

README = CHECKOUT / "README.md"
APACHE = "apache/README.md"  # which has the sections that the README has not
TABLES = {
    "setting of a CA": settings_table.OF_A_CA,
    "setting of `[responder]`": settings_table.OF_THE_RESPONDER,
}


def written(readme: str) -> str:
    """The README with both tables as they should be."""
    for title, settings in TABLES.items():
        before, header, after = readme.partition(f"| {title} | default | |\n|---|---|---|\n")
        if not header:
            raise ValueError(f"README.md has no table of each `{title}`")
        rest = after[after.index("\n\n") + 1 :]
        rows = "".join(row(name, its) for name, its in settings.items())
        readme = f"{before}{header}{rows}{rest}"
    return readme


def row(name: str, its: Setting) -> str:
    default = its.default if " " in its.default or not its.default else f"`{its.default}`"
    text = f"{its.what}. {its.more}" if its.more else its.what
    if its.section:
        anchor = its.section.lower().replace(" ", "-")
        page = "" if f"# {its.section}\n" in README.read_text(encoding="utf-8") else APACHE
        link = f"[{its.section}]({page}#{anchor})"
        text += f" See {link}." if its.more else f"; see {link}"
    return f"| `{name}` | {default or ''}{' ' if default else ''}| {text} |\n"


if __name__ == "__main__":
    README.write_text(written(README.read_text(encoding="utf-8")), encoding="utf-8")
