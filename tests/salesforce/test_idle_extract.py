"""An extract that finds nothing new: what it asks, and what it must not miss."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from salesforce_landing import DltRefused, Landing, landing_of

from tailrace.errors import OtherOrg
from tailrace.salesforce.extract.extraction import WATERMARK_AGE_MAX
from tailrace.salesforce.extract.stored import read_stored
from tailrace.testing import Fault
from tailrace.testing.org.describe import Field

STATE = "SELECT count(*) FROM salesforce._dlt_pipeline_state"
LOADS = "SELECT count(*) FROM salesforce._dlt_loads"


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse with two objects of the simulated org, and with nothing pending."""
    folder = tmp_path_factory.mktemp("landed")
    with landing_of(folder) as landing:
        landing.extract()
        landing.sf.org.advance(minutes=30)
        landing.extract()
    return folder / "warehouse.duckdb"


@pytest.fixture
def landing(landed: Path, tmp_path: Path) -> Iterator[Landing]:
    """A copy of it with the same org, an hour after the first extract."""
    shutil.copy(landed, tmp_path / "warehouse.duckdb")
    with landing_of(tmp_path) as landing:
        landing.sf.org.advance(hours=1)
        yield landing


def loads(landing: Landing, **changes: Any) -> int:
    """How many times an extract starts dlt, which then loads nothing."""
    before = landing.loads
    landing.landing.merges_files = False
    landing.landing.refuses = True
    with suppress(DltRefused):
        assert all(facts.complete for facts in landing.extract(**changes).objects)
    landing.landing.refuses = False
    return landing.loads - before


def test_it_asks_four_questions_an_object_and_loads_nothing(landing: Landing) -> None:
    """Nothing is written to the warehouse, and the facts are those of any other extract."""
    before = (landing.value(STATE), landing.value(LOADS))

    result = landing.extract()

    paths = landing.paths()
    asked = Counter(path.partition("/v64.0/")[2] for path in paths if "/v64.0/" in path)
    expected = Counter({"limits/": 1, "queryAll": 2})
    for name in ("Account", "Contact"):
        for call in ("describe", "updated/", "deleted/"):
            expected[f"sobjects/{name}/{call}"] = 1
    assert expected == asked
    assert (0, *before) == (landing.loads, landing.value(STATE), landing.value(LOADS))
    for facts in result.objects:
        assert (0, True, False, None) == (facts.rows, facts.complete, facts.empty, facts.error)
        assert facts.described["fields"]
        assert facts.window_start < facts.watermark <= facts.window_end


def watermarks(landing: Landing) -> dict[str, str]:
    """The stored watermark of each table."""
    stored = read_stored(landing.landing)
    assert stored is not None
    return {table: str(state["watermark"]) for table, state in stored.states.items()}


def test_only_objects_with_news_are_loaded(landing: Landing) -> None:
    landing.landing.merges_files = False
    before = watermarks(landing)
    (contact,) = landing.sf.org.touch("Contact", 1, {"LastName": "Berg"})

    account, changed = landing.extract().objects

    assert (1, 0, 1) == (landing.loads, account.rows, changed.rows)
    named = f"SELECT last_name FROM salesforce.contact WHERE id = '{contact}'"
    assert "Berg" == landing.value(named)
    after = watermarks(landing)
    assert before["account"] == after["account"]
    assert before["contact"] < after["contact"]


def test_a_transaction_that_commits_after_idle_extracts_is_read(landing: Landing) -> None:
    """Its rows carry the time of its start, which later windows would not include."""
    transaction = landing.sf.org.begin()
    (contact,) = landing.sf.org.rows("Contact").ids()[:1]
    transaction.update("Contact", contact, {"LastName": "Late"})
    for _ in range(3):
        landing.sf.org.advance(minutes=3)
        assert 0 == loads(landing)

    transaction.commit()

    landing.extract()
    named = f"SELECT last_name FROM salesforce.contact WHERE id = '{contact}'"
    assert "Late" == landing.value(named)


def remove_for_good(landing: Landing) -> None:
    landing.sf.org.purge("Contact", landing.sf.org.rows("Contact").ids()[0])
    landing.sf.org.advance(minutes=2)


def add_field(landing: Landing) -> None:
    landing.sf.org.add_field("Contact", Field(name="Tier__c", type="string"))


def hide_field(landing: Landing) -> None:
    landing.sf.org.hide_field("Contact", "Title")


def hide_again(landing: Landing) -> None:
    hide_field(landing)
    landing.extract()
    landing.sf.org.advance(minutes=30)


def wait(landing: Landing) -> None:
    landing.sf.org.advance(days=WATERMARK_AGE_MAX / timedelta(days=1), minutes=-90)


def wait_longer(landing: Landing) -> None:
    landing.sf.org.advance(days=WATERMARK_AGE_MAX / timedelta(days=1), hours=1)


@pytest.mark.parametrize(
    ("happens", "changes", "loaded"),
    [
        (remove_for_good, {}, 1),
        (add_field, {}, 1),
        (hide_field, {}, 1),
        (hide_again, {}, 0),
        (wait, {}, 0),
        (wait_longer, {}, 1),
        (lambda landing: None, {"reconcile": True}, 1),
        (lambda landing: None, {"reconcile_days": 0.01}, 1),
        (lambda landing: None, {"formula": "refresh", "formula_refresh_hours": 0.1}, 1),
        (lambda landing: None, {"formula": "refresh", "formula_refresh_hours": 9.0}, 0),
        (lambda landing: None, {"deleted": "remove"}, 1),
        (lambda landing: None, {"formula": "exclude"}, 1),
        (lambda landing: None, {"full_refresh": True}, 1),
    ],
)
def test_what_is_news(landing: Landing, happens: Any, changes: dict[str, Any], loaded: int) -> None:
    """All that changes tables, columns or what the next extract must know."""
    happens(landing)

    assert loaded == loads(landing, **changes)


def test_a_vanished_field_is_reported_each_time(landing: Landing) -> None:
    """Also by an extract that loads nothing."""
    hide_again(landing)

    result = landing.extract()

    _, contact = result.objects
    assert ("Title",) == contact.vanished_fields
    assert any("Contact: Title is no longer visible" in warning for warning in result.warnings)


def test_an_object_that_fails_has_its_error_and_the_others_are_idle(landing: Landing) -> None:
    landing.sf.faults.append(Fault(path="*/queryAll", contains="FROM+Contact", status=500))

    account, contact = landing.extract(attempts_max=2).objects

    assert (True, None) == (account.complete, account.error)
    assert not contact.complete and contact.error is not None
    assert 0 == landing.loads


def test_another_org_is_refused_before_anything_is_read(landing: Landing) -> None:
    landing.sf.org.org_id = "00DHs0000000002"
    landing.sf.expire_tokens()

    with pytest.raises(OtherOrg):
        landing.extract()

    assert not any("queryAll" in path for path in landing.paths())


def test_an_object_whose_rows_are_all_gone_is_empty(landing: Landing) -> None:
    """The guard of the plan holds on this, so the tables themselves are asked."""
    landing.rows("DELETE FROM salesforce.contact")

    _, contact = landing.extract().objects

    assert (True, 0) == (contact.empty, landing.loads)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE salesforce._dlt_pipeline_state SET engine_version = 5",
        "UPDATE salesforce._dlt_pipeline_state SET state = 'e30='",
        "UPDATE salesforce._dlt_version SET engine_version = 10",
        "UPDATE salesforce._dlt_version SET schema = replace(schema, 'snake_case', 'direct')",
    ],
)
def test_a_format_that_is_not_known_is_left_to_dlt(landing: Landing, statement: str) -> None:
    """Another version of dlt may have written it."""
    assert read_stored(landing.landing) is not None
    landing.rows(statement)

    assert None is read_stored(landing.landing)


def test_a_history_leaves_what_the_org_has(landing: Landing) -> None:
    """Idle extracts between changes of all kinds hide none of them."""
    choose = random.Random(7)
    org = landing.sf.org
    for _ in range(7):
        ids = org.rows("Contact").ids()
        change = choose.choice(["touch", "insert", "delete", "purge", "nothing", "nothing"])
        if change == "touch":
            org.update("Contact", choose.choice(ids), {"LastName": f"N{choose.random()}"})
        elif change == "insert":
            org.insert("Contact", {"LastName": "New"})
        elif change == "delete":
            org.delete("Contact", choose.choice(ids))
        elif change == "purge":
            org.purge("Contact", choose.choice(ids))
        org.advance(minutes=choose.choice([0, 1, 7, 40]))
        assert all(facts.complete for facts in landing.extract("Contact").objects)
    org.advance(minutes=5)
    landing.extract("Contact")

    landed = "SELECT id, last_name FROM salesforce.contact WHERE NOT is_deleted ORDER BY id"
    records = org.rows("Contact").records()
    expected = sorted((r["Id"], r["LastName"]) for r in records if not r.get("IsDeleted"))
    assert expected == landing.rows(landed)
