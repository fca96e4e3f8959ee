"""Plots as SVG: how far each figure is from its bar, and lines over the number of clients, a panel for each name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from bench.command import number
from bench.figure import Figure

COLOURS = ("#1f77b4", "#d95f02", "#1b9e77", "#7570b3", "#a6761d", "#666666")
LINE, LEFT, WIDTH = 18, 360, 300  # of the bars, in pixels
PANEL, ABOVE, BESIDE, BELOW = 230, 30, 70, 40  # of the lines
MOST_RATIO = 2.0  # longer ones are cut there


def bars(figures: Sequence[Figure]) -> str:
    """For each figure with a bar, how much of it is used up: up to 1 it holds. Empty when there is none."""
    told = [
        (f, f.target / f.value if f.more_is_better else f.value / f.target) for f in figures if f.target and f.value
    ]
    bar = LEFT + WIDTH / MOST_RATIO
    parts = [text(bar, 14, "its bar", anchor="middle")]
    for k, (figure, ratio) in enumerate(told):
        y, long = 24 + k * LINE, min(ratio, MOST_RATIO) * WIDTH / MOST_RATIO
        colour = COLOURS[2] if figure.holds else COLOURS[1]
        parts.append(text(LEFT - 6, y + 12, figure.title, anchor="end"))
        parts.append(f'<rect x="{LEFT}" y="{y + 2}" width="{long:.1f}" height="{LINE - 5}" fill="{colour}"/>')
        told_at = max(LEFT + long, bar) + 5
        parts.append(text(told_at, y + 12, f"{ratio:.2f} × ({number(figure.value)} {figure.unit})"))
    height = 30 + len(told) * LINE
    parts.append(f'<line x1="{bar}" x2="{bar}" y1="18" y2="{height - 4}" stroke="#333" stroke-dasharray="3 2"/>')
    return drawing(LEFT + WIDTH + 150, height, parts) if told else ""


def lines(figures: Sequence[Figure]) -> str:
    """Both axes are logarithmic; a dashed line is the bar. Empty when no figure tells its number of clients."""
    names = list(dict.fromkeys(f.name for f in figures if f.clients is not None))
    series = list(dict.fromkeys(f.series for f in figures if f.clients is not None))
    parts = []
    for k, name in enumerate(names):
        x, y = (k % 3) * (PANEL + BESIDE) + BESIDE, (k // 3) * (PANEL + ABOVE + BELOW) + ABOVE
        parts += panel(x, y, [f for f in figures if f.name == name and f.clients and f.value > 0], series)
    rows = math.ceil(len(names) / 3)
    bottom = rows * (PANEL + ABOVE + BELOW)
    for k, label in enumerate(s for s in series if s):
        parts.append(f'<rect x="{BESIDE}" y="{bottom + k * LINE}" width="12" height="12" fill="{colour_of(k)}"/>')
        parts.append(text(BESIDE + 18, bottom + 10 + k * LINE, label))
    width = min(len(names), 3) * (PANEL + BESIDE) + 30
    return drawing(width, bottom + len(series) * LINE + 4, parts) if names else ""


def panel(x: float, y: float, figures: Sequence[Figure], series: Sequence[str]) -> list[str]:
    """One name's lines, with its axes."""
    if not figures:
        return []
    across = span([f.clients or 1 for f in figures])
    up = span([*(f.value for f in figures), *(f.target for f in figures if f.target)])

    def place(clients: float, value: float) -> tuple[float, float]:
        right = (math.log(clients) - across[0]) / (across[1] - across[0])
        above = (math.log(value) - up[0]) / (up[1] - up[0])
        return x + PANEL * (0.06 + 0.88 * right), y + PANEL * (0.94 - 0.88 * above)

    parts = [f'<rect x="{x}" y="{y}" width="{PANEL}" height="{PANEL}" fill="none" stroke="#bbb"/>']
    parts.append(text(x + PANEL / 2, y - 8, f"{figures[0].name}, {figures[0].unit}", anchor="middle"))
    for clients in sorted({f.clients or 1 for f in figures}):
        parts.append(text(place(clients, 1)[0], y + PANEL + 14, f"{clients:,}", anchor="middle"))
    for value in (math.exp(up[0]), math.exp((up[0] + up[1]) / 2), math.exp(up[1])):
        parts.append(text(x - 5, place(1, value)[1] + 4, f"{value:.3g}", anchor="end"))
    for target in {f.target for f in figures if f.target}:
        at = place(1, target)[1]
        parts.append(
            f'<line x1="{x}" x2="{x + PANEL}" y1="{at:.1f}" y2="{at:.1f}" stroke="#333" stroke-dasharray="3 2"/>'
        )
    for k, label in enumerate(series):
        of = sorted((f.clients or 1, f.value) for f in figures if f.series == label)
        points = [place(*each) for each in of]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour_of(k)}" stroke-width="1.5"/>')
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.5" fill="{colour_of(k)}"/>' for a, b in points]
    return parts


def span(values: Sequence[float]) -> tuple[float, float]:
    """The logarithms of the least and the most, at least a factor of four apart: what hardly differs looks so."""
    low, high = math.log(min(values)), math.log(max(values))
    missing = max(0.0, math.log(4) - (high - low))
    return low - missing / 2, high + missing / 2


def colour_of(k: int) -> str:
    """The colour of a series."""
    return COLOURS[k % len(COLOURS)]


def text(x: float, y: float, words: str, *, anchor: str = "start") -> str:
    """Words at a place."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def drawing(width: float, height: float, parts: Sequence[str]) -> str:
    """The file."""
    style = "<style>text{font:12px sans-serif;fill:#333}</style>"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}">'
    return "\n".join([head, style, '<rect width="100%" height="100%" fill="#fff"/>', *parts, "</svg>", ""])
