"""Charts as inline SVG: pure functions from numbers to markup.

Every chart has `role="img"` and a `<title>` that says in words what it shows. Colours come from the
page's style sheet by class. Bars are strokes of one path for each colour, in units of runs, which
keeps a page of 40 audiences and 90 runs below a megabyte.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from markupsafe import Markup, escape

from tailrace.dataclass import dataclass

SPARK_WIDTH, SPARK_HEIGHT = 160, 32
CHART_WIDTH, CHART_HEIGHT = 640, 120
NODE_WIDTH, NODE_HEIGHT, NODE_GAP, COLUMN_GAP = 220, 26, 8, 80
LABEL_CHARACTERS_MAX = 30
FUNNEL_WIDTH = 240


@dataclass(frozen=True, kw_only=True)
class Node:
    """A box of a graph: its column from the left, its text, and what it is (a CSS class)."""

    id: str
    column: int
    label: str
    kind: str
    personal: bool = False


def coordinate(value: float) -> str:
    """A coordinate with at most one digit after the point.

    >>> coordinate(3.0), coordinate(2.25)
    ('3', '2.2')
    """
    return f"{value:.1f}".removesuffix(".0")


def svg(width: float, height: float, title: str, parts: Iterable[str], kind: str) -> Markup:
    """An SVG image with a title. Its parts must already be escaped."""
    return Markup(
        f'<svg class="{kind}" role="img" viewBox="0 0 {coordinate(width)} {coordinate(height)}" '
        f'width="{coordinate(width)}" height="{coordinate(height)}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )


def sparkline(
    values: Sequence[int], *, title: str, width: int = SPARK_WIDTH, height: int = SPARK_HEIGHT
) -> Markup:
    """A line over the values in their order, with a dot at the last one.

    The unit from left to right is a run, and the image is scaled to its width.
    """
    if not values:
        return _scaled(width, height, title, [], "spark", units=1)
    low, high = min(values), max(values)
    span = (high - low) or 1
    tops = [round(4 + (1 - (value - low) / span) * (height - 8)) for value in values]
    if high == low:
        tops = [height // 2] * len(values)
    line = "M0 " + "L".join(f"{place} {top}" for place, top in enumerate(tops)).removeprefix("0 ")
    last = len(values) - 1
    parts = [
        f'<path class="area" d="{line}V{height}H0"/>' if height > SPARK_HEIGHT else "",
        f'<path class="line" d="{line}"/>',
        # A line without a length is drawn as a dot, whatever the image is scaled to.
        f'<path class="last" d="M{last} {tops[-1]}h0"/>',
    ]
    return _scaled(width, height, title, parts, "spark", units=max(last, 1))


def _scaled(
    width: int, height: int, title: str, parts: Iterable[str], kind: str, *, units: int
) -> Markup:
    """An image of so many units from left to right, scaled to a width."""
    return Markup(
        f'<svg class="{kind}" role="img" viewBox="0 0 {units} {height}" width="{width}" '
        f'height="{height}" preserveAspectRatio="none"><title>{escape(title)}</title>'
        f"{''.join(parts)}</svg>"
    )


def mirrored_bars(above: Sequence[int], below: Sequence[int], *, most: int, title: str) -> Markup:
    """One bar up and one bar down for each run, on a common scale; bars above `most` are cut."""
    middle = SPARK_HEIGHT // 2
    scale = (middle - 1) / max(most, 1)
    up = _strokes([(middle, middle - _height(min(value, most), scale)) for value in above])
    down = _strokes([(middle, middle + _height(min(value, most), scale)) for value in below])
    parts = [
        f'<path class="up" d="{up}"/>' if up else "",
        f'<path class="down" d="{down}"/>' if down else "",
        f'<path class="axis" d="M0 {middle}H{2 * len(above)}"/>',
    ]
    return _scaled(SPARK_WIDTH, SPARK_HEIGHT, title, parts, "bars", units=2 * len(above) or 1)


def stacked_bars(series: Mapping[str, Sequence[int]], *, most: int, title: str) -> Markup:
    """One bar for each run, stacked from the parts in their order; a part's name is its class.

    Bars above `most` are cut.
    """
    bars = max(map(len, series.values()), default=0)
    base = CHART_HEIGHT - 1
    scale = (CHART_HEIGHT - 2) / max(most, 1)
    totals, bottoms = [0] * bars, [base] * bars
    parts = []
    for name, values in series.items():
        if not any(values):
            continue
        totals = [total + value for total, value in zip(totals, values, strict=True)]
        tops = [_top(base, total * scale) for total in totals]
        path = _strokes(zip(bottoms, tops, strict=True))
        if path:
            parts.append(f'<path class="{escape(name)}" d="{path}"/>')
        bottoms = tops
    parts.append(f'<path class="axis" d="M0 {base}H{2 * bars}"/>')
    return _scaled(CHART_WIDTH, CHART_HEIGHT, title, parts, "stack", units=2 * bars or 1)


def _top(base: int, height: float) -> int:
    """The upper end of a bar; one of a single member stays visible beside one of a million."""
    return max(base - (max(round(height), 1) if height else 0), 1)


def _height(value: int, scale: float) -> int:
    return max(round(value * scale), 1) if value else 0


def _strokes(spans: Iterable[tuple[int, int]]) -> str:
    """Bars as vertical strokes, two units apart."""
    return "".join(
        f"M{2 * place + 1} {start}V{end}"
        for place, (start, end) in enumerate(spans)
        if start != end
    )


def share_bar(count: int, most: int, *, kind: str) -> Markup:
    """A bar as long as the share of a count in the largest one; decoration beside the number."""
    width = coordinate(max(count / most * FUNNEL_WIDTH, 1.5) if most and count > 0 else 0)
    return Markup(
        f'<svg class="share" aria-hidden="true" viewBox="0 0 {FUNNEL_WIDTH} 16" '
        f'preserveAspectRatio="none" width="{FUNNEL_WIDTH}" height="16">'
        f'<rect class="rest" width="{FUNNEL_WIDTH}" height="16" rx="3"/>'
        f'<rect class="{escape(kind)}" width="{width}" height="16" rx="3"/></svg>'
    )


def graph(nodes: Sequence[Node], edges: Iterable[tuple[str, str]], *, title: str) -> Markup:
    """Boxes in columns, left to right, with a curve for each edge."""
    columns: dict[int, list[Node]] = {}
    for node in nodes:
        columns.setdefault(node.column, []).append(node)
    tallest = max(map(len, columns.values()), default=0)
    places = {
        node.id: (
            place * (NODE_WIDTH + COLUMN_GAP) + 1,
            (row + (tallest - len(columns[column])) / 2) * (NODE_HEIGHT + NODE_GAP) + 1,
        )
        for place, column in enumerate(sorted(columns))
        for row, node in enumerate(columns[column])
    }
    height = tallest * (NODE_HEIGHT + NODE_GAP)
    width = len(columns) * (NODE_WIDTH + COLUMN_GAP) - COLUMN_GAP + 2
    curves = "".join(
        _curve(places[start], places[end])
        for start, end in edges
        if start in places and end in places
    )
    parts = [f'<path class="edge" d="{curves}"/>'] if curves else []
    parts += [_box(node, *places[node.id]) for node in nodes]
    return svg(max(width, 1), max(height, 1), title, parts, "graph")


def _curve(start: tuple[float, float], end: tuple[float, float]) -> str:
    x1, y1 = start[0] + NODE_WIDTH, start[1] + NODE_HEIGHT / 2
    x2, y2 = end[0], end[1] + NODE_HEIGHT / 2
    middle = coordinate((x1 + x2) / 2)
    return (
        f"M{coordinate(x1)} {coordinate(y1)}C{middle} {coordinate(y1)} "
        f"{middle} {coordinate(y2)} {coordinate(x2)} {coordinate(y2)}"
    )


def _box(node: Node, x: float, y: float) -> str:
    label = node.label
    if len(label) > LABEL_CHARACTERS_MAX:
        label = label[: LABEL_CHARACTERS_MAX - 1] + "…"
    mark = '<tspan class="mark"> ● personal</tspan>' if node.personal else ""
    kind = f"{node.kind} personal" if node.personal else node.kind
    return (
        f'<g class="node {escape(kind)}"><title>{escape(node.label)}</title>'
        f'<rect x="{coordinate(x)}" y="{coordinate(y)}" width="{NODE_WIDTH}" '
        f'height="{NODE_HEIGHT}" rx="4"/><text x="{coordinate(x + 8)}" '
        f'y="{coordinate(y + 17)}">{escape(label)}{mark}</text></g>'
    )


def change_in_words(values: Sequence[int]) -> str:
    """What a series of sizes did, in words.

    >>> change_in_words([100, 90, 120])
    '3 runs, from 100 to 120, between 90 and 120'
    """
    if not values:
        return "no runs"
    runs = f"{len(values)} run{'s' if len(values) != 1 else ''}"
    return (
        f"{runs}, from {values[0]:,} to {values[-1]:,}, between {min(values):,} and {max(values):,}"
    )
