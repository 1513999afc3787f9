"""The benchmark's picture: milliseconds against rows, both by decades, as an SVG for light and dark
pages, to be read on a phone too."""

from __future__ import annotations

import math
from html import escape

_WIDTH, _HEIGHT = 360, 330
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 334, 84, 286
_STYLE = """\
svg { font: 13px system-ui, sans-serif; background: #fff; }
text { fill: #222; } .grid { stroke: #ddd; } .axis { fill: #555; }
.curve { fill: none; stroke-width: 2.5; }
.c0 { stroke: #b3261e; } .c1 { stroke: #0b57d0; } .c2 { stroke: #146c2e; }
.d0 { fill: #b3261e; } .d1 { fill: #0b57d0; } .d2 { fill: #146c2e; }
@media (prefers-color-scheme: dark) {
  svg { background: #0d1117; } text { fill: #e6edf3; }
  .grid { stroke: #30363d; } .axis { fill: #9da7b3; }
  .c0 { stroke: #ff8a80; } .c1 { stroke: #8ab4f8; } .c2 { stroke: #81c995; }
  .d0 { fill: #ff8a80; } .d1 { fill: #8ab4f8; } .d2 { fill: #81c995; }
}"""


def draw(curves: dict[str, dict[int, float]]) -> str:
    """The SVG of curves by their names: milliseconds by the number of rows."""
    columns = [math.log10(rows) for curve in curves.values() for rows in curve]
    lines = [math.log10(value) for curve in curves.values() for value in curve.values()]
    left, right, low, high = (
        math.floor(min(columns)),
        math.ceil(max(columns)),
        math.floor(min(lines)),
        math.ceil(max(lines)),
    )

    def x(decade: float) -> float:
        return round(_LEFT + (decade - left) / (right - left) * (_RIGHT - _LEFT), 1)

    def y(decade: float) -> float:
        return round(_BOTTOM - (decade - low) / (high - low) * (_BOTTOM - _TOP), 1)

    title = "Milliseconds for one response, against the rows of the index"
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
            f' width="{_WIDTH}" height="{_HEIGHT}" role="img">'
        ),
        f"<title>{title}</title>",
        f"<style>{_STYLE}</style>",
    ]
    for number, name in enumerate(curves):
        parts.append(f'<circle class="d{number}" cx="16" cy="{16 + 20 * number}" r="5"/>')
        parts.append(f'<text x="28" y="{20 + 20 * number}">{escape(name)}</text>')
    for decade in range(left, right + 1):
        parts.append(
            f'<line class="grid" x1="{x(decade)}" x2="{x(decade)}" y1="{_TOP}" y2="{_BOTTOM}"/>'
        )
        parts.append(
            f'<text class="axis" x="{x(decade)}" y="{_BOTTOM + 18}"'
            f' text-anchor="middle">{_count(decade)}</text>'
        )
    for decade in range(low, high + 1):
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_RIGHT}" y1="{y(decade)}" y2="{y(decade)}"/>'
        )
        parts.append(
            f'<text class="axis" x="{_LEFT - 6}" y="{y(decade) + 4}"'
            f' text-anchor="end">{_duration(decade)}</text>'
        )
    parts.append(
        f'<text class="axis" x="{(_LEFT + _RIGHT) / 2}" y="{_BOTTOM + 38}"'
        ' text-anchor="middle">rows of the index</text>'
    )
    for number, curve in enumerate(curves.values()):
        points = [
            (x(math.log10(rows)), y(math.log10(value))) for rows, value in sorted(curve.items())
        ]
        parts.append(
            f'<polyline class="curve c{number}"'
            f' points="{" ".join(f"{a},{b}" for a, b in points)}"/>'
        )
        parts += [f'<circle class="d{number}" cx="{a}" cy="{b}" r="3.5"/>' for a, b in points]
    return "\n".join([*parts, "</svg>\n"])


def _count(decade: int) -> str:
    return f"{10 ** (decade % 3)}{('', ' k', ' M', ' G')[decade // 3]}"


def _duration(decade: int) -> str:
    return f"{10**decade} ms" if decade < 3 else f"{10 ** (decade - 3)} s"
