"""`make bench-chart`: the history of the figures as an SVG, one row a figure.

A row has the ratios of all runs in their order, a dashed line at the goal, and the last ratio. The
file is for a look, not for a commit. Quick runs are drawn where a figure has no other ones.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import escape

from tailrace.reporting.page.charts import coordinate, svg

Record = Mapping[str, Any]

WIDTH, ROW_HEIGHT, MARGIN = 900, 34, 8
# The lines begin after the names and end before the last ratio.
LINE_START, LINE_END = 330, 740
STYLE = """<style>
text { font: 12px system-ui, sans-serif; fill: #1f2933; }
path { fill: none; stroke: #486581; stroke-width: 1.5; }
circle { fill: #486581; }
.goal { stroke: #9aa5b1; stroke-dasharray: 4 3; }
.short { fill: #ba2525; }
</style>"""


def by_figure(records: Iterable[Record]) -> dict[str, list[Record]]:
    """The records of each figure that has a ratio, in order of their names."""
    grouped: dict[str, list[Record]] = {}
    for record in records:
        if 0 <= record["ratio"] < float("inf"):
            grouped.setdefault(str(record["name"]), []).append(record)
    for name, recorded in grouped.items():
        full = [record for record in recorded if not record.get("quick")]
        grouped[name] = full or recorded
    return dict(sorted(grouped.items()))


def chart(records: Iterable[Record]) -> str:
    """The history as an SVG document."""
    figures = by_figure(records)
    height = 2 * MARGIN + ROW_HEIGHT * max(len(figures), 1)
    parts = [STYLE]
    for place, (name, recorded) in enumerate(figures.items()):
        parts += _row(name, recorded, top=MARGIN + place * ROW_HEIGHT)
    image = svg(WIDTH, height, "Ratios of the benchmarks, run by run", parts, "benchmarks")
    return str(image).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1) + "\n"


def _row(name: str, recorded: Sequence[Record], *, top: float) -> Iterator[str]:
    ratios, last = [float(record["ratio"]) for record in recorded], recorded[-1]
    goal = last["goal"]
    most = max(*ratios, goal or 0.0, 1e-9)
    baseline = top + ROW_HEIGHT - MARGIN

    def height(ratio: float) -> str:
        return coordinate(baseline - (ROW_HEIGHT - 2 * MARGIN) * ratio / most)

    step = (LINE_END - LINE_START) / max(len(ratios) - 1, 1)
    points = [
        f"{coordinate(LINE_START + place * step)} {height(ratio)}"
        for place, ratio in enumerate(ratios)
    ]
    yield f'<text x="{MARGIN}" y="{coordinate(baseline)}">{escape(name)}</text>'
    if goal is not None:
        yield f'<path class="goal" d="M{LINE_START} {height(goal)}H{LINE_END}"/>'
    yield f'<path d="M{"L".join(points)}"/>'
    x, y = points[-1].split()
    yield f'<circle cx="{x}" cy="{y}" r="2.5"/>'
    kind = "short" if last["ok"] is False else "met"
    sign = ">=" if last["more_is_better"] else "<="
    of_goal = "" if goal is None else f" ({sign} {goal:g})"
    yield (
        f'<text class="{kind}" x="{LINE_END + MARGIN}" y="{coordinate(baseline)}">'
        f"{ratios[-1]:.2f}{escape(of_goal)}</text>"
    )


def main(history: str, out: str) -> None:
    """Draw a file of records."""
    path = Path(history)
    if not path.exists():
        sys.exit(f"There is no {history}. Measure first: make bench")
    Path(out).write_text(chart(map(json.loads, path.read_text().splitlines())), encoding="utf-8")
    print(f"Wrote {out}")


if __name__ == "__main__":
    main(*sys.argv[1:])
