"""The targets, and whether they are reached, as the rows of a table."""

from __future__ import annotations

import sys

from measure import Ratio

HEAD = "| | what, against what | target | measured | |\n|---|---|---|---|---|"


class Table:
    """Each target is a row, printed on standard error as soon as it is measured."""

    def __init__(self) -> None:
        self.rows: list[str] = []

    def at_most(self, target: str, what: str, ratio: Ratio, bound: float) -> None:
        self._add(target, what, f"≤ {number(bound)}", ratio, ratio.median <= bound)

    def at_least(self, target: str, what: str, ratio: Ratio, bound: float) -> None:
        self._add(target, what, f"≥ {number(bound)}", ratio, ratio.median >= bound)

    def missing(self, target: str, what: str, reason: str) -> None:
        """What could not be measured here."""
        self._print(f"| {target} | {what} | | | not measured: {reason} |")

    def _add(self, target: str, what: str, bound: str, ratio: Ratio, holds: bool) -> None:
        spread = f"{number(ratio.median)} ({number(ratio.low)} to {number(ratio.high)})"
        verdict = "holds" if holds else "**missed**"
        self._print(f"| {target} | {what} | {bound} | {spread} | {verdict} |")

    def _print(self, row: str) -> None:
        self.rows.append(row)
        print(row, file=sys.stderr, flush=True)


def number(value: float) -> str:
    return f"1/{1 / value:.0f}" if value < 0.1 else f"{value:.2f}"
