"""Write conformance.md, the list of the conformance table's rows and their tests, from the names of
the tests.

    python3 tests/conformance.py

A test of row 22 is named test_row_22_..., of rows 13 to 15 test_rows_13_to_15_..., of rows 41 and
42 test_rows_41_and_42_..., and one of a section's own tables test_section_2_...
"""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).resolve().parent
PAGE = TESTS / "conformance.md"
ROWS = range(1, 72 + 1)
WITHOUT_TEST = {
    47: (
        "a reason for every revoked CA certificate: the operator gives it, and an index"
        " does not say which certificate is a CA's"
    ),
    58: "revoking everything after a compromise of the CA's key: not supported",
}


def tests() -> list[tuple[list[int], str, str]]:
    """(rows, section or "", link) of every test named for rows or a section, file by file."""
    named = []
    for path in sorted(TESTS.rglob("test_*.py")):
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE):
            rows, section, title = _read_name(name)
            if title:
                where = path.relative_to(TESTS).as_posix()
                named.append((rows, section, f"[{title}]({where})"))
    return named


def _read_name(name: str) -> tuple[list[int], str, str]:
    """Rows, section and title in a test's name; the title is "" if it is named for neither."""
    match = re.match(r"test_section_(\d)_(.+)", name)
    if match:
        return [], match[1], match[2].replace("_", " ")
    match = re.match(r"test_rows?_((?:\d+_|to_|and_)+)(.+)", name)
    if not match:
        return [], "", ""
    words = match[1].strip("_").split("_")
    rows = [int(word) for word in words if word.isdigit()]
    if "to" in words:
        rows = list(range(rows[0], rows[-1] + 1))
    return rows, "", match[2].replace("_", " ")


def page() -> str:
    """The text of conformance.md."""
    named = tests()
    lines = [
        "# Rows of the conformance table, and their tests",
        "",
        "Written by `python3 tests/conformance.py` from the tests' names.",
        "",
        "| row | tests |",
        "|---|---|",
    ]
    for row in ROWS:
        links = [link for rows, _, link in named if row in rows]
        lines.append(f"| {row} | {', '.join(links) or 'none: ' + WITHOUT_TEST[row]} |")
    lines += ["", "| section | tests |", "|---|---|"]
    for section in sorted({section for _, section, _ in named if section}):
        lines.append(
            f"| {section} | {', '.join(link for _, where, link in named if where == section)} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
