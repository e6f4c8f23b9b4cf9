"""Bars as SVG, by hand: readable in a README on light and dark pages."""

from collections.abc import Sequence
from html import escape

_WIDTH, _LABELS, _ROW, _BAR, _NUMBERS = 820, 240, 24, 16, 150
_COLOURS = ("#2f9e63", "#8a93a6")
_STYLE = """<style>
text { font: 13px system-ui, sans-serif; fill: #57606a }
.title { font-weight: 600; font-size: 14px }
.range { stroke: #57606a; stroke-width: 1.5 }
@media (prefers-color-scheme: dark) { text { fill: #9da7b3 } .range { stroke: #d0d7de } }
</style>"""

Bar = tuple[str, float, float, float]  # name, median, lowest, highest


def bars(groups: Sequence[tuple[str, str, Sequence[Bar]]], *, ours: str = "procwatch") -> str:
    """Return one chart of several groups (title, unit, bars); the range of the rounds is a line in each bar."""
    rows: list[str] = []
    y = 8
    for title, unit, values in groups:
        y += 22
        rows.append(f'<text class="title" x="0" y="{y}">{escape(title)}</text>')
        y += 10
        longest = max(high for _, _, _, high in values)
        for name, median, low, high in values:
            rows += _row(name, (median, low, high), y, longest, unit, ours=name.startswith(ours))
            y += _ROW
        y += 12
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y}" width="{_WIDTH}" height="{y}" role="img">'
    return "\n".join([head, _STYLE, *rows, "</svg>\n"])


def _row(
    name: str, values: tuple[float, float, float], y: int, longest: float, unit: str, *, ours: bool
) -> list[str]:
    scale = (_WIDTH - _LABELS - _NUMBERS) / longest
    median, low, high = (round(value * scale, 1) for value in values)
    middle = y + _BAR / 2
    return [
        f'<text x="{_LABELS - 8}" y="{middle + 4.5}" text-anchor="end">{escape(name)}</text>',
        f'<rect x="{_LABELS}" y="{y}" width="{median}" height="{_BAR}" rx="2" fill="{_COLOURS[0 if ours else 1]}"/>',
        f'<line class="range" x1="{_LABELS + low}" x2="{_LABELS + high}" y1="{middle}" y2="{middle}"/>',
        f'<text x="{_LABELS + max(median, high) + 8}" y="{middle + 4.5}">{values[0]:.1f} {escape(unit)}</text>',
    ]
