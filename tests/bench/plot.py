"""Draws the ratios of a run as an SVG: a bar for the median, a line for the spread, a tick for the bound."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from tests.bench.targets import Outcome

ROW = 26
LEFT = 330
WIDTH = 520
RIGHT = 90
TOP = 40
COLOURS = {True: "#2e7d32", False: "#c62828", None: "#5c6b7a"}


def svg(outcomes: Sequence[Outcome], subtitle: str) -> str:
    """Return the picture of all outcomes that are ratios; colours say whether their bound holds."""
    ratios = [one for one in outcomes if one.unit == "x"]
    longest = max((max((*one.values, one.bound or 0.0)) for one in ratios), default=1.0)
    height = TOP + ROW * len(ratios) + 20
    rows = [line for number, one in enumerate(ratios) for line in _row(one, number, WIDTH / longest)]
    size = f'width="{LEFT + WIDTH + RIGHT}" height="{height}"'
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="13">',
            '<rect width="100%" height="100%" fill="white"/>',
            '<text x="10" y="22" font-weight="bold">Calls per second, as ratios</text>',
            f'<text x="{LEFT}" y="22" fill="#5c6b7a">{escape(subtitle)}</text>',
            *rows,
            "</svg>\n",
        )
    )


def _row(one: Outcome, number: int, scale: float) -> Iterator[str]:
    y = TOP + ROW * number
    middle = y + ROW / 2
    low, high, value = (LEFT + scale * point for point in (min(one.values), max(one.values), one.value))
    colour = COLOURS[one.met]
    yield f'<text x="{LEFT - 8}" y="{middle + 4}" text-anchor="end">{escape(one.title)}</text>'
    yield f'<rect x="{LEFT}" y="{y + 5}" width="{value - LEFT:.1f}" height="{ROW - 10}" fill="{colour}" opacity="0.8"/>'
    yield f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}" stroke="black"/>'
    if one.bound is not None:
        tick = LEFT + scale * one.bound
        yield f'<line x1="{tick:.1f}" x2="{tick:.1f}" y1="{y + 2}" y2="{y + ROW - 2}" stroke="black" stroke-width="2"/>'
    yield f'<text x="{max(high, value) + 6:.1f}" y="{middle + 4}">{one.value:.2f}</text>'
