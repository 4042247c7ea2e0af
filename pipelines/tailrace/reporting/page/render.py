"""Facts to HTML: one self-contained page, byte-identical for equal facts."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from tailrace.clock import parse_utc
from tailrace.encoding.transforms import mask_sample
from tailrace.reporting.ledger_facts import RUNS_MAX
from tailrace.reporting.page import charts
from tailrace.reporting.page.facts import (
    REASONS,
    AudienceFacts,
    AudienceRunFacts,
    FunnelStep,
    PageFacts,
)
from tailrace.reporting.verdict import OPS

TEMPLATES = Path(__file__).parent / "templates"
REASON_RUNS_MAX = 12
RUNS_SHOWN_MAX = 30
DAY_SECONDS = 86_400
# What marks a status beside its word, so that colour is never alone.
MARKS = {
    "ok": "✓",
    "member": "✓",
    "unchanged": "✓",
    "held": "‖",
    "rejected": "!",
    "failed": "✕",
    "crashed": "✕",
    "running": "▸",
    "sending": "▸",
    "never run": "○",
}


def render_report(page: PageFacts) -> str:
    """The whole page as one HTML document, with its styles and its script inside."""
    return environment().get_template("report.html").render(page=page)


@cache
def environment() -> Environment:
    """The templates with their filters; styles and script are read once."""
    result = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    result.globals |= {
        "css": Markup((TEMPLATES / "page.css").read_text(encoding="utf-8")),
        "script": Markup((TEMPLATES / "page.js").read_text(encoding="utf-8")),
        "ops": list(OPS),
        "reasons": list(REASONS),
        "runs_max": RUNS_MAX,
        "runs_shown_max": RUNS_SHOWN_MAX,
    }
    result.filters |= {
        "age": age,
        "clock": to_second,
        "cut_note": cut_note,
        "diff_lines": diff_lines,
        "funnel_bar": funnel_bar,
        "in_target": in_target,
        "iso_time": iso_time,
        "lineage_chart": lineage_chart,
        "lineage_rows": lineage_rows,
        "mark": mark,
        "movement_chart": movement_chart,
        "reason_chart": reason_chart,
        "outcome": outcome,
        "reason_rows": reason_rows,
        "reasons_shown": reasons_shown,
        "seconds": seconds,
        "share": share,
        "shown": shown,
        "shown_id": shown_id,
        "size_chart": size_chart,
        "size_range": size_range,
        "spark": spark,
        "state": state,
        "thousands": thousands,
        "utc": utc,
    }
    return result


def thousands(value: int | None) -> str:
    """A count with separators.

    >>> thousands(12345), thousands(None)
    ('12,345', '')
    """
    return "" if value is None else f"{value:,}"


def utc(moment: datetime | None) -> str:
    """A time to the minute, without a zone: the page says once that times are in UTC."""
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M}"


def to_second(moment: datetime) -> str:
    """The time of day, to the second."""
    return f"{moment:%H:%M:%S}"


def iso_time(text: str | None) -> str:
    """A time of a result, to the minute.

    >>> iso_time("2026-11-22T05:00:00.000000Z"), iso_time(None)
    ('2026-11-22 05:00', '')
    """
    return "" if text is None else utc(parse_utc(text))


def state(page: PageFacts) -> str:
    """Another text when a run has begun or ended."""
    if not page.runs:
        return " None"
    return f"{page.runs[0].run_id} {page.runs[0].exit_code}"


def shown(value: Any) -> str:
    """A value of a member as JSON writes it; letters beyond ASCII stay readable."""
    return json.dumps(value, ensure_ascii=False)


def outcome(fate: str) -> str:
    """The outcome of a change, in the word of the rest of the page.

    >>> outcome("refused: no_user_anon_id"), outcome("delivered")
    ('rejected: no_user_anon_id', 'delivered')
    """
    return f"rejected{fate.removeprefix('refused')}" if fate.startswith("refused") else fate


def shown_id(message_id: str, values: bool) -> str:
    """A messageId; one that the header takes from a column is a value, and masked as such."""
    return message_id if values or message_id.startswith("tr1-") else mask_sample(message_id) or ""


def seconds(value: float | None) -> str:
    """A duration with its unit.

    >>> seconds(3.14159), seconds(75.2), seconds(4000), seconds(None)
    ('3.1 s', '75 s', '67 min', '')
    """
    if value is None:
        return ""
    if value >= 600:
        return f"{value / 60:,.0f} min"
    return f"{value:.1f} s" if value < 10 else f"{value:,.0f} s"


def age(moment: datetime | None, now: datetime) -> str:
    """How long before `now` something was, in its largest unit.

    >>> age(datetime(2026, 1, 1), datetime(2026, 1, 3)), age(None, datetime(2026, 1, 3))
    ('2 days ago', 'never')
    """
    if moment is None:
        return "never"
    passed = (now - moment).total_seconds()
    for unit, length in (("day", DAY_SECONDS), ("hour", 3_600), ("minute", 60)):
        if passed >= length:
            number = int(passed // length)
            return f"{number} {unit}{'s' if number != 1 else ''} ago"
    return "just now"


def share(used: int, limit: int | None) -> str:
    """A count as a share of its limit, as text.

    >>> share(18, 90), share(1, 100_000), share(3, None)
    ('20%', '< 1%', '')
    """
    if not limit:
        return ""
    return "< 1%" if 0 < used / limit < 0.01 else f"{used / limit:.0%}"


def mark(status: str) -> Markup:
    """A status as a badge: a sign, the word, and a class for its colour."""
    name = escape(status.replace(" ", "-"))
    sign = MARKS.get(status, "○")
    return Markup(
        f'<span class="badge {name}"><span aria-hidden="true">{sign}</span> {escape(status)}</span>'
    )


def in_target(command: str, target: str | None) -> str:
    """A command of the page for a target.

    >>> in_target("tailrace run", None), in_target("tailrace run", "prod")
    ('tailrace run', 'tailrace -t prod run')
    """
    if not target:
        return command
    return command.replace("tailrace ", f"tailrace -t {shlex.quote(target)} ", 1)


def funnel_bar(step: FunnelStep, steps: Iterable[FunnelStep]) -> Markup:
    """The bar of a step, as a share of the largest count."""
    most = max(step.count for step in steps)
    return charts.share_bar(step.count, most, kind=step.name.lower().replace(" ", "-"))


def _sizes(audience: AudienceFacts) -> list[int]:
    return [run.size for run in audience.runs]


def spark(audience: AudienceFacts) -> Markup:
    """The size over the runs, small."""
    sizes = _sizes(audience)
    return charts.sparkline(sizes, title=f"Size: {charts.change_in_words(sizes)}")


def size_chart(audience: AudienceFacts) -> Markup:
    """The size over the runs, large."""
    sizes = _sizes(audience)
    return charts.sparkline(
        sizes,
        title=f"Size of {audience.title}: {charts.change_in_words(sizes)}",
        width=charts.CHART_WIDTH,
        height=charts.CHART_HEIGHT,
    )


def movement_chart(audience: AudienceFacts) -> Markup:
    """Entered above and exited below the line, for each run."""
    entered = [run.entered for run in audience.runs]
    exited = [run.exited for run in audience.runs]
    title = f"Entered {sum(entered):,} and exited {sum(exited):,} over {len(entered)} runs"
    usual = [run for run in audience.runs if not run.is_initial] or audience.runs
    most = max((max(run.entered, run.exited) for run in usual), default=1)
    return charts.mirrored_bars(entered, exited, most=most, title=title)


def reason_chart(audience: AudienceFacts) -> Markup:
    """The changes of each run, stacked by reason."""
    series = {
        reason: [run.changes_by_reason.get(reason, 0) for run in audience.runs]
        for reason in REASONS
    }
    totals = ", ".join(f"{sum(values):,} {name}" for name, values in series.items() if any(values))
    title = (
        f"Changes of {audience.title} by reason over {len(audience.runs)} runs: {totals or 'none'}"
    )
    return charts.stacked_bars(series, most=_usual_most(audience), title=title)


def _usual_most(audience: AudienceFacts) -> int:
    """The most changes of a run that is not the first one."""
    usual = [run.changes for run in audience.runs if not run.is_initial]
    return max(usual, default=0) or max((run.changes for run in audience.runs), default=1)


def cut_note(audience: AudienceFacts) -> str:
    """What the chart of reasons does not show in full."""
    most = _usual_most(audience)
    total = sum(run.changes for run in audience.runs if run.changes > most)
    if not total:
        return ""
    return f"; the bar of the first result ({total:,} changes) is cut"


def size_range(audience: AudienceFacts) -> str:
    """The bounds of the size, and the times of the first and the last run."""
    sizes = _sizes(audience)
    runs = f"{len(sizes)} runs" if len(sizes) != 1 else "1 run"
    first, last = (f"{run.at:%Y-%m-%d}" for run in (audience.runs[0], audience.runs[-1]))
    days = f"on {first}" if first == last else f"from {first} to {last}"
    return f"between {min(sizes):,} and {max(sizes):,} in {runs} {days}"


def reasons_shown(audience: AudienceFacts) -> list[str]:
    """The reasons in the chart of an audience."""
    return [
        reason
        for reason in REASONS
        if any(run.changes_by_reason.get(reason) for run in audience.runs)
    ]


def reason_rows(audience: AudienceFacts) -> list[tuple[AudienceRunFacts, list[str]]]:
    """The latest runs that changed members, newest first, with one cell for each reason."""
    moved = [run for run in audience.runs if run.entered + run.changed + run.exited]
    return [
        (run, [_reason_cell(run.by_reason.get(reason, {})) for reason in REASONS])
        for run in reversed(moved[-REASON_RUNS_MAX:])
    ]


def _reason_cell(counts: Mapping[str, int]) -> str:
    signs = dict(zip(OPS, "+~-", strict=True))
    return " ".join(f"{signs[op]}{counts[op]:,}" for op in OPS if counts.get(op))


def lineage_chart(audience: AudienceFacts) -> Markup:
    """Salesforce fields, model columns and what they are sent as, from left to right."""
    nodes: dict[str, charts.Node] = {}
    edges: dict[tuple[str, str], None] = {}
    for edge in audience.lineage:
        path = [
            _node(nodes, kind, column, label, personal=edge.personal)
            for kind, column, label in (
                ("source", 0, edge.source),
                ("column", 1, edge.column),
                ("target", 2, edge.target),
            )
            if label
        ]
        edges |= dict.fromkeys(pairwise(path))
    title = f"Lineage of {audience.title}; the table below has the same in words"
    return charts.graph(list(nodes.values()), edges, title=title)


def _node(
    nodes: dict[str, charts.Node], kind: str, column: int, label: str, *, personal: bool
) -> str:
    key = f"{kind}:{label}"
    before = nodes.get(key)
    nodes[key] = charts.Node(
        id=key,
        column=column,
        label=label,
        kind=kind,
        personal=personal or bool(before and before.personal),
    )
    return key


def lineage_rows(audience: AudienceFacts) -> list[dict[str, Any]]:
    """The lineage in words: a row for each column, with its fields and what it is sent as."""
    rows: dict[str, dict[str, Any]] = {}
    for edge in audience.lineage:
        row = rows.setdefault(
            edge.column, {"column": edge.column, "sources": {}, "targets": {}, "personal": False}
        )
        row["sources"] |= {edge.source: None} if edge.source else {}
        row["targets"] |= {edge.target: None} if edge.target else {}
        row["personal"] |= edge.personal
    return list(rows.values())


def diff_lines(text: str) -> Markup:
    """A unified diff with its added and removed lines marked, in text and by element."""
    return Markup("\n").join(_diff_lines(text.splitlines()))


def _diff_lines(lines: Iterable[str]) -> Iterable[Markup]:
    for line in lines:
        if line.startswith("+"):
            yield Markup(f"<ins>{escape(line)}</ins>")
        elif line.startswith("-"):
            yield Markup(f"<del>{escape(line)}</del>")
        else:
            yield escape(line)
