"""Charts of latency and throughput as SVG, from the JSON files that the benchmarks leave.

An SVG file is text, and these need points, lines and words: no plotting package for that. The colours follow
the reader's light or dark page, lines differ in dashes too, and every value stands in the file as text.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 96, 56  # margins around the axes
TICKS = 5
LABEL_HEIGHT = 14  # of a value beside its point, so that two do not overlap
# A blue and an orange that readers who see few colours tell apart, dark on light pages and light on dark.
STYLE = """
svg { font: 13px system-ui, sans-serif; fill: #57606a; }
.title { font-size: 16px; font-weight: 600; }
.grid { stroke: #8b949e; stroke-opacity: 0.3; }
.a { stroke: #0b62a4; fill: #0b62a4; }
.b { stroke: #b34a00; fill: #b34a00; }
polyline { fill: none !important; stroke-width: 2; }
text { stroke: none !important; }
@media (prefers-color-scheme: dark) {
  svg { fill: #9da7b1; }
  .a { stroke: #58b0f0; fill: #58b0f0; }
  .b { stroke: #f0902e; fill: #f0902e; }
}
"""


@dataclass(frozen=True)
class Line:
    """A line of a chart, with a value for each place on the x axis."""

    name: str
    values: Sequence[float]
    colour: str  # "a" or "b"
    is_dashed: bool = False


def chart(
    title: str, subtitle: str, x_label: str, y_label: str, places: Sequence[object], lines: Sequence[Line]
) -> str:
    """Renders lines over evenly spaced places, with axes from zero, as an SVG document."""
    step = _tick_step(max(max(line.values) for line in lines))
    highest = step * TICKS
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    xs = [LEFT + width * (index + 0.5) / len(places) for index in range(len(places))]

    def y_of(value: float) -> float:
        return TOP + height * (1 - value / highest)

    in_words = "; ".join(
        f"{line.name}: "
        + ", ".join(f"{_number(value)} at {place}" for place, value in zip(places, line.values, strict=True))
        for line in lines
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        'aria-labelledby="title description">',
        f'<title id="title">{escape(title)}</title>',
        f'<desc id="description">{escape(f"{subtitle}. {y_label} by {x_label}. {in_words}.")}</desc>',
        f"<style>{STYLE}</style>",
        _text(LEFT, 24, title, css="title", anchor="start"),
        _text(LEFT, 44, subtitle, anchor="start"),
        _text(LEFT + width / 2, HEIGHT - 12, x_label),
        f'<text transform="translate(16 {TOP + height / 2}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_label)}</text>",
    ]
    for tick in range(TICKS + 1):
        y = y_of(tick * step)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_text(LEFT - 8, y + 4, _number(tick * step), anchor="end"))
    parts += [_text(x, TOP + height + 20, str(place)) for x, place in zip(xs, places, strict=True)]
    for index, line in enumerate(lines):
        points = [(x, y_of(value)) for x, value in zip(xs, line.values, strict=True)]
        parts.append(_polyline(points, line))
        parts += [f'<circle class="{line.colour}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in points]
        legend_x = LEFT + index * width / len(lines)
        parts.append(_polyline([(legend_x, 68), (legend_x + 28, 68)], line))
        parts.append(_text(legend_x + 36, 72, line.name, anchor="start"))
    for place, x in enumerate(xs):
        # Clear of lines that rise: left above the point, or right below it where a dashed line is above.
        labels = [
            (y_of(line.values[place]) + (-6 if line.is_dashed or len(lines) == 1 else 16), line)
            for line in lines
        ]
        lowest_y = float("inf")
        for y, line in sorted(labels, key=lambda label: -label[0]):
            lowest_y = min(lowest_y - LABEL_HEIGHT, y)
            anchor = "end" if line.is_dashed or len(lines) == 1 else "start"
            parts.append(_text(x, lowest_y, _number(line.values[place]), line.colour, anchor))
    return "\n".join([*parts, "</svg>", ""])


def _tick_step(largest: float) -> float:
    """Returns the least of 1, 2, 2.5 and 5 times a power of ten whose ticks reach the largest value."""
    power = 1e-6
    while True:
        for factor in (1.0, 2.0, 2.5, 5.0):
            if factor * power * TICKS >= largest:
                return factor * power
        power *= 10.0


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def _text(x: float, y: float, words: str, css: str = "", anchor: str = "middle") -> str:
    return f'<text class="{css}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _polyline(points: Sequence[tuple[float, float]], line: Line) -> str:
    dashes = ' stroke-dasharray="6 5"' if line.is_dashed else ""
    joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline class="{line.colour}"{dashes} points="{joined}"/>'


def plot(results: Path, to: Path) -> list[Path]:
    """Draws the newest results of latency and throughput in a folder, where there are any."""
    drawn = []
    for name, draw in (("latency", latency_chart), ("throughput", throughput_chart)):
        found = [json.loads(file.read_text()) for file in results.glob(f"{name}-*.json")]
        if found:
            drawn.append(to / f"{name}.svg")
            drawn[-1].write_text(draw(max(found, key=lambda figures: figures["date"])))
    return drawn


def latency_chart(figures: dict[str, Any]) -> str:
    """Draws the time to the first marked audio of both hop policies by open streams."""
    rows = figures["rows"]
    streams = sorted({row["streams"] for row in rows})
    lines = []
    for hop, colour in (("whole", "a"), ("stream", "b")):
        of_hop = {row["streams"]: row["first_marked_s"] for row in rows if row["hop"] == hop}
        if set(of_hop) == set(streams):
            for percentile in ("p50", "p95"):
                values = [1e3 * of_hop[count][percentile] for count in streams]
                lines.append(Line(f"{hop}, {percentile}", values, colour, is_dashed=percentile == "p95"))
    alone_ms = 1e3 * figures["upstream_s"]["p50"]
    places = [f"{count:g}" for count in streams]
    return chart(
        f"Time to first audio on {figures['machine']}",
        f"{_subtitle(figures)}; chatterbox-tts alone {_number(alone_ms)}",
        "open streams",
        "milliseconds, watermarked",
        places,
        lines,
    )


def throughput_chart(figures: dict[str, Any]) -> str:
    """Draws seconds of audio for a second of work by jobs at once, and upstream's, one after the other."""
    rows = [row for row in figures["rows"] if row["side"] == "ours"]
    lines = [Line("this worker", [row["audio_s_per_s"] for row in rows], "a")]
    lines += [
        Line("chatterbox-tts, one after the other", [row["audio_s_per_s"]] * len(rows), "b", is_dashed=True)
        for row in figures["rows"]
        if row["side"] == "upstream"
    ]
    places = [row["jobs"] for row in rows]
    return chart(
        f"Throughput on {figures['machine']}",
        _subtitle(figures),
        "jobs at once",
        "seconds of audio per second",
        places,
        lines,
    )


def _subtitle(figures: dict[str, Any]) -> str:
    return f"commit {figures['commit']}, {figures['date'][:10]}"
