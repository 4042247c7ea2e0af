"""Golden cases of the plan: what was there before, what is there now, and what gets planned.

Each file under `plans/` is one history of an audience called people, told in sections:

* `-- audience` or `-- model NAME`: the file of the audience, or of a model under it, from here on;
* `-- before` and `-- then`: statements on the landed tables, and a run that delivers;
* `-- now`: the same, and `-- outbox` behind it: the transitions that are expected of that run, then
  what else its plan says.

* `-- include NAME`: the sections of `plans/include/NAME.sql`.

In brackets behind before, then and now stands what the run is told, or what happens in it:
`rejected: KEY KEY`, `unconfirmed: KEY`, `at: TIME`, `upstream: OBJECT`, `allow: GUARD`,
`on_new_column: send` and the other two choices, `intent: accept`, and `warehouse: NAME` for a case
of one engine only.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from warehouses.desk import Desk, desk_on
from warehouses.stores import DUCKLAKE, SPARK, WAREHOUSES

from tailrace.clock import format_utc
from tailrace.destinations.messages import Transition
from tailrace.destinations.segment.mapper import KINDS, Mapper
from tailrace.plan.plan import AudiencePlan
from tailrace.plan.policy import DEFAULTS, PlanOptions
from tailrace.run.planned_delivery import Delivery

CASES = Path(__file__).parent / "plans"
INCLUDE = re.compile(r"^-- include (\w+)$", re.M)
MARKER = re.compile(
    r"^-- (audience|model|before|then|now|outbox)\b *([^\n(]*?)(?: *\((.*)\))? *$", re.M
)
COLUMNS = ("op", "reason", "base", "key", "new", "old", "note")


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of a case."""

    kind: str
    name: str
    options: Mapping[str, str]
    text: str


def included(name: re.Match[str]) -> str:
    return (CASES / "include" / f"{name[1]}.sql").read_text(encoding="utf-8")


def sections(text: str) -> Iterator[Section]:
    text = INCLUDE.sub(included, text)
    marks = list(MARKER.finditer(text))
    for mark, following in zip(marks, [*marks[1:], None], strict=True):
        kind, name, told = mark.groups()
        pairs = [pair.split(": ", 1) for pair in (told or "").split(", ") if pair]
        end = following.start() if following else len(text)
        yield Section(
            kind=kind,
            name=name or "people",
            options=dict(pairs),
            text=text[mark.end() : end].strip(),
        )


def said(value: Any) -> str:
    """A value as a case writes it, the same from every engine."""
    if value is None:
        return "NULL"
    if isinstance(value, datetime):
        return format_utc(value if value.tzinfo else value.replace(tzinfo=UTC))
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, sort_keys=True)
    return str(value).replace("\n", "\\n")


def row(values: Mapping[str, Any], key: Sequence[str]) -> str:
    return " ".join(f"{name}={said(value)}" for name, value in values.items() if name not in key)


def outbox(desk: Desk, planned: AudiencePlan, delivery: Delivery) -> str:
    """The plan as a case expects it: a table of its transitions, then what else it says."""
    key = planned.audience.key
    transitions = desk.transitions(delivery) if planned.status != "held" else []
    keys = {transition.key for transition, _ in transitions}
    assert len(transitions) == len(keys), "a key has one transition"
    columns = [column.name for column in (*delivery.shape.keys, *delivery.shape.columns)]

    def in_order(values: Mapping[str, Any]) -> dict[str, Any]:
        return {name: values[name] for name in sorted(values, key=columns.index)}

    rows = [
        (
            transition.op,
            transition.reason,
            str(transition.base_v),
            " ".join(map(said, transition.key)),
            row(in_order(transition.new), key),
            row(in_order(transition.old), key),
            note(transition, send=send),
        )
        for transition, send in transitions
    ]
    noted = any(line[-1] for line in rows)
    rows = [COLUMNS, *rows] if rows else []
    rows = [line if noted else line[:-1] for line in rows]
    widths = [max(len(line[at]) for line in rows) for at in range(len(rows[0]))] if rows else []
    table = [
        " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in rows
    ]
    return "\n".join([*(f"-- {line}".rstrip() for line in [*table, *facts(planned)])])


def note(moved: Transition, *, send: bool) -> str:
    """What else a transition is: only recorded, of a user who stays, or one that was tried."""
    said = {"recorded": not send, "stays": moved.stays, "as tried": moved.at is not None}
    return ", ".join(word for word, holds in said.items() if holds)


def facts(planned: AudiencePlan) -> Iterator[str]:
    before, after = planned.diff.size_before, planned.diff.size_after
    yield f"size {before} -> {after}"
    held = [guard.name for guard in planned.guards if guard.held]
    if held:
        counts = f"{planned.entered} in, {planned.changed} changed, {planned.exited} out"
        yield f"held by {', '.join(held)}: {counts}"
    if planned.diff.quarantined:
        yield f"quarantined {planned.diff.quarantined}"
    for what in ("added", "dropped", "retyped"):
        columns = [column.name for column in getattr(planned.diff.schema_change, what)]
        if columns:
            yield f"{what} {', '.join(columns)}"
    if planned.diff.unconverted:
        yield f"unconverted {planned.diff.unconverted}"


def counted(desk: Desk, delivery: Delivery) -> dict[str, int]:
    """The messages of a delivery by type, as the mapper builds them."""
    mapper = Mapper(delivery.audience, namespace="test", planned_at=delivery.planned_at)
    messages = Counter(
        call.kind
        for transition, send in desk.transitions(delivery)
        if send
        for call in mapper.messages(transition)[0]
    )
    return {kind: messages[kind] for kind in KINDS}


def carry_out(desk: Desk, section: Section) -> str:
    """Run a section: its statements, its plan, its delivery. What was planned, as text."""
    told = dict(section.options)
    desk.script(section.text)
    if "at" in told:
        desk.now = datetime.fromisoformat(told["at"]).replace(tzinfo=UTC)
    if "upstream" in told:
        run = desk.start_run()
        desk.ledger.extracts.save(
            run,
            object=told["upstream"],
            table_name=told["upstream"].lower(),
            rows_landed=0,
            window_start=None,
            window_end=None,
            watermark=None,
            complete=False,
            empty=False,
            quarantined=0,
            vanished_fields="",
            error="cut off",
        )
    options = PlanOptions(
        allow=frozenset(("people", guard) for guard in told.get("allow", "").split()),
        **{name: told.get(name) for name in DEFAULTS},  # type: ignore[arg-type]
        intent=told.get("intent", "changes"),  # type: ignore[arg-type]
    )
    planned, delivery = desk.save_plan(options=options)
    text = outbox(desk, planned, delivery)
    if planned.status != "held":
        sent = counted(desk, delivery)
        # Changes whose values are sent as the same JSON are planned and send no event.
        sent["track"] += int(told.get("unsent", "0"))
        assert sent == planned.calls, "the plan counts the messages that are sent"
        desk.settle(
            delivery,
            rejected=told.get("rejected", "").split(),
            unconfirmed=told.get("unconfirmed", "").split(),
        )
    return text


# The plans that need another type of a column of the ledger, which a lake changes by a copy.
RETYPED = (
    "decimals",
    "definition_retyped",
    "definition_retyped_reset",
    "number_to_text",
    "retyped_sent",
    "text_to_number",
    "text_to_number_reset",
    "unconfirmed_retyped",
    "widened_type",
)
ONE_OF_ON_SPARK = 6


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each plan on each warehouse, one of six on Spark, and those of retyped columns in a lake."""
    if "case" not in metafunc.fixturenames:
        return
    cases = sorted(CASES.glob("*.sql"))
    lake = [case for case in cases if case.stem in RETYPED]
    # A plan takes seconds there.
    spark = cases if metafunc.config.getoption("--all-plans") else cases[::ONE_OF_ON_SPARK]
    metafunc.parametrize(
        ("desk", "case"),
        [
            pytest.param(
                *engine.values, case, marks=engine.marks, id=f"{engine.values[0]}-{case.stem}"
            )
            for engines, chosen in ((WAREHOUSES, cases), (DUCKLAKE, lake), (SPARK, spark))
            for engine in map(as_parameters, engines)
            for case in chosen
        ],
        indirect=["desk"],
        scope="module",
    )


def as_parameters(engine: Any) -> Any:
    """An engine's name as the parameters of a test."""
    return pytest.param(engine) if isinstance(engine, str) else engine


@pytest.fixture(scope="module")
def desk(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Desk]:
    """One open warehouse of each kind for all cases."""
    with desk_on(request, tmp_path_factory.mktemp("desk")) as desk:
        yield desk


def test_a_history_plans_what_its_file_says(desk: Desk, case: Path) -> None:
    """The outbox holds these transitions, in this order, with these values and reasons."""
    desk.clear()
    planned = "no run"
    for section in sections(case.read_text(encoding="utf-8")):
        only = section.options.get("warehouse", desk.warehouse.dialect)
        if only != desk.warehouse.dialect:
            pytest.skip(f"a case for {only}")
        if section.kind in ("audience", "model"):
            write_model(desk, section)
        elif section.kind == "outbox":
            assert section.text == planned
        else:
            planned = carry_out(desk, section)


def write_model(desk: Desk, section: Section) -> None:
    if section.kind == "audience":
        desk.store.audience(section.text, section.name)
        return
    folder = desk.store.project.models_folder / "staging"
    folder.mkdir(exist_ok=True)
    (folder / f"{section.name}.sql").write_text(section.text)
