"""`--run-results FILE`: the result of a command as a file, however the command ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from shop import PEOPLE, Shop

from tailrace.cli import app
from tailrace.cli import run_results as module
from tailrace.clock import SystemClock
from tailrace.results import Result
from tailrace.testing.segment.simulator import SegmentSimulator

SCHEMA = Path(module.__file__).parent / "schemas" / "run_results.schema.json"
ROWS = [{"id": f"c{n}", "email": f"c{n}@example.com", "city": "Oslo"} for n in range(9)]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    with SegmentSimulator() as segment:
        shop = Shop(tmp_path / "shop", segment)
        shop.audience(PEOPLE.replace("key: id", "key: id\nguards: {max_exited: 1}"))
        shop.land(ROWS)
        for name, value in shop.environ.items():
            monkeypatch.setenv(name, value)
        yield shop


def sync(shop: Shop, *arguments: str) -> tuple[int, dict[str, Any]]:
    """A sync that writes its results; they are valid and quote no row."""
    file = shop.root / "target" / "run_results.json"
    code = app.answer(
        ["sync", "--project-dir", str(shop.root), "--run-results", str(file), *arguments]
    )
    text = file.read_text(encoding="utf-8")
    assert "@example.com" not in text and '"c1' not in text
    assert ["run_results.json"] == [path.name for path in file.parent.iterdir()]
    results: dict[str, Any] = json.loads(text)
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    assert [] == list(jsonschema_rs.validator_for(schema).iter_errors(results))
    return code, results


def test_the_results_say_how_each_audience_ended(shop: Shop) -> None:
    """Sent, held, then failed before the run: the file is of the latest attempt."""
    code, results = sync(shop)
    (people,) = results["results"]
    assert (0, 0, []) == (code, results["exit_code"], results["errors"])
    assert ("audience.people.segment", "ok") == (people["unique_id"], people["status"])
    assert (9, 9) == (people["counts"]["entered"], people["counts"]["sent"])
    assert results["metadata"]["run_id"]
    shop.land(ROWS[:2])
    code, results = sync(shop)
    (people,) = results["results"]
    assert (3, 3, "held") == (code, results["exit_code"], people["status"])
    assert "max_exited: 7 seen, 1 allowed" == people["message"]
    code, results = sync(shop, "-s", "misspelt")
    assert (2, 2, []) == (code, results["exit_code"], results["results"])
    assert "NothingSelected" == results["errors"][0]["error"]
    (shop.root / ".dlt" / "config.toml").write_text("[tailrace]\nwarehous = 1\n")
    code, results = sync(shop)
    assert (2, "UnknownConfigKey") == (code, results["errors"][0]["error"])


def test_rejected_members_are_a_status_of_their_own() -> None:
    """In the words of `--select result:`."""
    counts = dict.fromkeys(("size_before", "size_after", "entered", "changed", "exited"), 1)
    entry = {"audience": "a", "destination": "crm", "status": "ok", "guards": [], **counts}
    entry |= {"sent": 1, "rejected": 2, "held": 0, "quarantined": 0}
    result = Result(command="sync", exit_code=4, data={"audiences": [entry]})
    (audience,) = module.run_results(result, target="dev", seconds=0.1, clock=SystemClock())[
        "results"
    ]
    assert ("audience.a.crm", "rejected") == (audience["unique_id"], audience["status"])


def test_a_file_that_cannot_be_written_fails_the_command(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    """After everything was sent, so the exit code says it and the error names the file."""
    (shop.root / "target").write_text("a file in place of a folder")
    file = str(shop.root / "target" / "run_results.json")
    code = app.answer(["sync", "--project-dir", str(shop.root), "--json", "--run-results", file])
    answer = json.loads(capsys.readouterr().out)
    assert (1, 1) == (code, answer["exit_code"])
    assert "RunResultsNotWritten" == answer["errors"][0]["error"]
    assert 9 == answer["audiences"][0]["sent"]
