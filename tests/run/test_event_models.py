"""Event models: rows that are events, each sent once and never taken back."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shop import Shop

from tailrace.errors import ModelError
from tailrace.models.loader import load_models, read_models
from tailrace.run import job
from tailrace.run.validation import validate
from tailrace.testing import SegmentSimulator

NOW = datetime(2026, 6, 30, 12, tzinfo=UTC)
DAY = timedelta(days=1)
CHANGES = """/* ---
events: stage_changes
key: [opportunity_id, changed_at]
event: Opportunity Stage Changed
timestamp: changed_at
user_id: contact_id
properties: {stage: stage, amount: amount}
since: 7d
keep: 30d
--- */
SELECT opportunity_id, changed_at, contact_id, stage, amount FROM salesforce.stage_change
"""


class ClockAt:
    """A clock that stands still until a test moves it."""

    def __init__(self, now: datetime) -> None:
        self.time = now

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()

    def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


class EventShop(Shop):
    """A shop whose only model is one of stage changes."""

    def __init__(self, root: Path, segment: SegmentSimulator, text: str = CHANGES) -> None:
        # The simulator's clock is the shop's: an event's own time is not sent by a wrong clock.
        self.moved: Any = segment.clock
        self.moved.time = NOW
        super().__init__(root, segment, clock=segment.clock)
        self.audience(text, name="stage_changes")
        config = root / ".dlt" / "config.toml"
        config.write_text(config.read_text().replace('"Account"]', '"Stage_Change"]'))
        with self.connection() as con:
            con.execute("CREATE SCHEMA salesforce")
            con.execute(
                "CREATE TABLE salesforce.stage_change (opportunity_id VARCHAR, changed_at "
                "TIMESTAMPTZ, contact_id VARCHAR, stage VARCHAR, amount DOUBLE)"
            )

    def happen(self, key: str, days_ago: float, *, stage: str = "Won") -> None:
        with self.connection() as con:
            con.execute(
                "INSERT INTO salesforce.stage_change VALUES (?, ?, 'c1', ?, 5)",
                [key, self.moved.time - days_ago * DAY, stage],
            )

    def sent(self) -> list[str]:
        """The stages of the events that arrived since the last look."""
        self.sync()
        return sorted(event["properties"]["stage"] for event in self.arrived())


@pytest.fixture
def segment() -> Iterator[SegmentSimulator]:
    with SegmentSimulator(clock=ClockAt(NOW)) as simulator:
        yield simulator


@pytest.fixture
def shop(tmp_path: Path, segment: SegmentSimulator) -> EventShop:
    return EventShop(tmp_path, segment)


def test_a_row_is_sent_once_as_an_event_with_its_own_time(shop: EventShop) -> None:
    shop.happen("o1", 1, stage="Won")
    shop.sync()
    (event,) = shop.arrived()
    assert event["type"] == "track"
    assert event["event"] == "Opportunity Stage Changed"
    assert event["userId"] == "c1"
    assert event["timestamp"] == "2026-06-29T12:00:00Z"
    assert event["properties"] == {"stage": "Won", "amount": 5}
    assert shop.sent() == []


def test_a_row_that_changes_or_vanishes_sends_nothing(shop: EventShop) -> None:
    shop.happen("o1", 1)
    shop.happen("o2", 1)
    assert shop.sent() == ["Won", "Won"]
    with shop.connection() as con:
        con.execute("UPDATE salesforce.stage_change SET stage = 'Lost' WHERE opportunity_id = 'o1'")
        con.execute("DELETE FROM salesforce.stage_change WHERE opportunity_id = 'o2'")
    plan = shop.plan()
    assert [(a.entered, a.changed, a.exited) for a in plan.audiences] == [(0, 0, 0)]
    assert shop.sent() == []
    # The row comes back, as it does after a failed extract: its key is remembered.
    with shop.connection() as con:
        con.execute(
            "INSERT INTO salesforce.stage_change VALUES ('o2', ?, 'c1', 'Again', 5)", [NOW - DAY]
        )
    assert shop.sent() == []


def test_the_first_run_goes_back_to_since_and_later_runs_take_late_rows(shop: EventShop) -> None:
    shop.happen("old", 8, stage="old")
    shop.happen("new", 6, stage="new")
    assert shop.sent() == ["new"]
    shop.moved.time += 10 * DAY
    shop.happen("late", 15, stage="late")
    shop.happen("older", 18, stage="before the first run's since")
    assert shop.sent() == ["late"]


@pytest.mark.parametrize(
    "since, expected",
    [
        ("all", ["10", "20"]),
        ("none", []),
        ("15d", ["10"]),
        ("2026-06-15", ["10"]),
        ("2026-06-01T00:00:00Z", ["10", "20"]),
        # Older than keep is not read.
        ("2026-01-01", ["10", "20"]),
    ],
)
def test_since(tmp_path: Path, segment: SegmentSimulator, since: str, expected: list[str]) -> None:
    shop = EventShop(tmp_path, segment, CHANGES.replace("since: 7d", f"since: {since}"))
    for days in (10, 20, 40):
        shop.happen(f"o{days}", days, stage=str(days))
    assert shop.sent() == expected


def test_keys_are_forgotten_after_keep_and_their_rows_are_not_read_again(shop: EventShop) -> None:
    shop.happen("o1", 1, stage="first")
    assert shop.sent() == ["first"]
    shop.moved.time += 20 * DAY
    assert shop.sent() == []
    assert shop.query("SELECT COUNT(*) FROM tailrace.snapshot__stage_changes") == [(1,)]
    shop.moved.time += 10 * DAY
    assert shop.sent() == []
    assert shop.query("SELECT COUNT(*) FROM tailrace.snapshot__stage_changes") == [(0,)]
    assert shop.sent() == []


def test_a_key_is_remembered_while_its_row_is_read(shop: EventShop) -> None:
    """An event whose time was corrected after it was sent is not sent again."""
    shop.audience(
        CHANGES.replace("[opportunity_id, changed_at]", "opportunity_id"), "stage_changes"
    )
    shop.happen("o1", 1, stage="first")
    shop.happen("o2", 1, stage="second")
    assert ["first", "second"] == shop.sent()
    shop.moved.time += 20 * DAY
    with shop.connection() as con:
        con.execute(
            "UPDATE salesforce.stage_change SET changed_at = ? WHERE opportunity_id = 'o1'",
            [shop.moved.time],
        )
    shop.moved.time += 10 * DAY
    for place in ("third", "fourth"):
        shop.happen(place, 1, stage=place)
        assert [place] == shop.sent()
    remembered = "SELECT opportunity_id FROM tailrace.snapshot__stage_changes ORDER BY ALL"
    assert [("fourth",), ("o1",), ("third",)] == shop.query(remembered)


def test_a_time_that_is_text_is_refused_with_its_line(shop: EventShop) -> None:
    text = CHANGES.replace(
        "changed_at, contact_id, stage,", "'x' AS changed_at, contact_id, stage,"
    )
    shop.audience(text, "stage_changes")
    result = shop.sync()
    (error,) = result.errors
    assert (2, 5) == (result.exit_code, error.line)
    assert "timestamp: changed_at is neither a timestamp nor a date" == error.message
    assert "CAST(changed_at AS TIMESTAMPTZ)" in (error.hint or "")
    with pytest.raises(ModelError, match="neither a timestamp nor a date"):
        validate(shop.project, clock=shop.clock)


def test_a_replay_sends_the_remembered_events_again(shop: EventShop) -> None:
    """At their own times; the next run sends none of them."""
    shop.happen("o1", 2)
    shop.happen("o2", 1, stage="Lost")
    assert ["Lost", "Won"] == shop.sent()
    done = job.replay(shop.project, "stage_changes", "segment", clock=shop.clock)
    assert (0, 2) == (done.exit_code, done.audiences[0]["sent"])
    arrived = {event["timestamp"][:10]: event["properties"]["stage"] for event in shop.arrived()}
    assert {"2026-06-28": "Won", "2026-06-29": "Lost"} == arrived
    assert [] == shop.sent()


def test_a_row_without_a_time_is_no_event_yet(shop: EventShop) -> None:
    with shop.connection() as con:
        con.execute("INSERT INTO salesforce.stage_change VALUES ('o1', NULL, 'c1', 'Open', 5)")
    assert shop.sent() == []
    with shop.connection() as con:
        con.execute("UPDATE salesforce.stage_change SET changed_at = ?", [NOW - DAY])
    assert shop.sent() == ["Open"]


@pytest.mark.parametrize("time", ["infinity", "12026-01-01 00:00:00+00"])
def test_a_time_out_of_range_in_the_key_is_rejected(shop: EventShop, time: str) -> None:
    shop.audience(CHANGES.replace("since: 7d", "since: all"), "stage_changes")
    shop.happen("o1", 1)
    with shop.connection() as con:
        con.execute(f"INSERT INTO salesforce.stage_change VALUES ('o2', '{time}', 'c1', 'Won', 5)")
    result = shop.sync()
    assert (4, 1) == (result.exit_code, result.audiences[0]["rejected"])
    ((reason,),) = shop.query("SELECT reason FROM tailrace.rejections")
    assert "timestamp_not_iso8601" in reason
    assert ["2026-06-29T12:00:00Z"] == [event["timestamp"] for event in shop.arrived()]


def test_the_name_of_the_event_can_come_from_the_row(
    tmp_path: Path, segment: SegmentSimulator
) -> None:
    text = CHANGES.replace("event: Opportunity Stage Changed", "event: {column: stage}")
    shop = EventShop(tmp_path, segment, text)
    for key, stage in (("o1", "Deal Won"), ("o2", "Deal Lost"), ("o3", " ")):
        shop.happen(key, 1, stage=stage)
    result = shop.sync()
    assert sorted(event["event"] for event in shop.arrived()) == ["Deal Lost", "Deal Won"]
    (audience,) = result.as_dict()["audiences"]
    assert (audience["sent"], audience["rejected"]) == (2, 1)


def test_an_edited_mapping_or_select_sends_no_event_again(shop: EventShop) -> None:
    shop.happen("o1", 1)
    assert shop.sent() == ["Won"]
    edited = CHANGES.replace("amount: amount", "amount: amount, id: opportunity_id")
    shop.audience(edited + "WHERE amount > 1", name="stage_changes")
    assert shop.sent() == []
    shop.happen("o2", 0.5, stage="New")
    assert shop.sent() == ["New"]


def test_max_entered_and_first_run_hold_events(tmp_path: Path, segment: SegmentSimulator) -> None:
    text = CHANGES.replace("keep: 30d", "keep: 30d\nguards: {max_entered: 2}")
    shop = EventShop(tmp_path, segment, text)
    for number in range(3):
        shop.happen(f"o{number}", 1)
    result = shop.sync()
    assert result.exit_code == 3
    assert shop.arrived() == []
    shop.sync(options=shop.allow(("stage_changes", "max_entered")))
    assert len(shop.arrived()) == 3


def test_retiring_an_event_model_sends_nothing(shop: EventShop) -> None:
    from tailrace.run import job

    shop.happen("o1", 1)
    assert shop.sent() == ["Won"]
    result = job.retire(shop.project, "stage_changes", clock=shop.clock)
    assert result.exit_code == 0
    assert shop.arrived() == []


@pytest.mark.parametrize(
    "written, message",
    [
        ("timestamp: changed_at\n", "lacks timestamp"),
        ("since: 7d", "since is yesterday"),
        ("keep: 30d", "keep must be a duration"),
        ("user_id: contact_id\n", "Neither user_id nor anonymous_id"),
        ("event: Opportunity Stage Changed\n", "lacks event"),
        ("properties: {stage: stage", 'has no column "stagge"'),
    ],
)
def test_a_wrong_header_is_refused_with_its_line(
    tmp_path: Path, written: str, message: str
) -> None:
    wrong = {"since: 7d": "since: yesterday", "keep: 30d": "keep: long"}
    wrong["properties: {stage: stage"] = "properties: {stage: stagge"
    file = tmp_path / "models" / "stage_changes.sql"
    file.parent.mkdir()
    file.write_text(CHANGES.replace(written, wrong.get(written, "")))
    (broken,) = load_models(file.parent).broken.values()
    (error,) = (entry for error in broken.errors for entry in error.flattened())
    assert message in error.message
    assert isinstance(error, ModelError)
    assert error.line is not None


def test_an_event_model_may_not_have_the_keys_of_an_audience(tmp_path: Path) -> None:
    file = tmp_path / "models" / "stage_changes.sql"
    file.parent.mkdir()
    file.write_text(CHANGES.replace("since: 7d", "identify: {traits: {stage: stage}}"))
    with pytest.raises(ModelError, match="identify"):
        read_models(file.parent)


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("happen"), st.integers(0, 5), st.floats(0, 9)),
        st.tuples(st.just("vanish"), st.integers(0, 5), st.just(0.0)),
        st.tuples(st.just("pass"), st.integers(0, 3), st.just(0.0)),
    ),
    max_size=10,
)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions=ACTIONS)
def test_every_event_of_a_history_arrives_exactly_once(
    tmp_path_factory: pytest.TempPathFactory, segment: SegmentSimulator, actions: Any
) -> None:
    shop = EventShop(tmp_path_factory.mktemp("events"), segment)
    shop._looked = len(segment.inbox.delivered)
    # The first run decides from when on events are sent.
    shop.sync()
    expected: set[tuple[str, datetime]] = set()
    start = NOW - 7 * DAY
    arrived: list[tuple[str, str]] = []
    for kind, number, days in actions:
        if kind == "happen":
            at = shop.moved.time - timedelta(days=int(days), seconds=number)
            shop.happen(f"o{number}", (shop.moved.time - at) / DAY)
            if at >= max(start, shop.moved.time - 30 * DAY):
                expected.add((f"o{number}", at))
            with shop.connection() as con:
                con.execute(
                    "CREATE OR REPLACE TABLE salesforce.stage_change AS SELECT DISTINCT * "
                    "FROM salesforce.stage_change"
                )
        elif kind == "vanish":
            with shop.connection() as con:
                con.execute(
                    "DELETE FROM salesforce.stage_change WHERE opportunity_id = ?", [f"o{number}"]
                )
        else:
            shop.moved.time += number * DAY
        shop.sync()
        arrived += [(event["messageId"], event["timestamp"]) for event in shop.arrived()]
    assert len(arrived) == len(set(arrived)) == len(expected)
