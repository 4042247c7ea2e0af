"""The verdicts of the benchmarks' figures, and the chart of their history."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.delenv("QUICK", raising=False)


def test_a_figure_is_judged_by_its_goal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quick run has no verdict on a figure of the full size; nor is there one without a goal."""
    from figure import Figure

    def verdict(goal: float | None, *, more: bool = False, full_only: str = "") -> bool | None:
        figure = Figure(
            name="n",
            figure=3.0,
            against=2.0,
            goal=goal,
            more_is_better=more,
            full_run_only=full_only,
        )
        assert ("not judged" in str(figure)) == (figure.ok is None)
        assert (f"quick run: {full_only}" in str(figure)) == (
            figure.ok is None and goal is not None
        )
        return figure.ok

    assert [True, False, None] == [verdict(1.5), verdict(1.4), verdict(None)]
    assert [True, False] == [verdict(1.5, more=True), verdict(1.6, more=True)]
    assert verdict(1.4, full_only="needs 1M rows") is False
    monkeypatch.setenv("QUICK", "1")
    assert [False, None] == [verdict(1.4), verdict(1.4, full_only="needs 1M rows")]


def test_two_sizes_give_the_cost_of_a_third() -> None:
    """A command's fixed costs do not grow with its events."""
    from bench_delivery import Measured, extrapolated

    small = Measured(events=10, seconds=3.0, cpu_seconds=2.0, megabytes=5.0)
    large = Measured(events=30, seconds=5.0, cpu_seconds=3.0, megabytes=6.0)
    assert Measured(100, 12.0, 6.5, 6.0) == extrapolated(small, large, 100)
    with pytest.raises(SystemExit, match="too busy"):
        extrapolated(small, large._replace(seconds=3.0), 100)


@pytest.fixture
def record() -> Callable[..., dict[str, object]]:
    def make(name: str, ratio: float, **more: object) -> dict[str, object]:
        return {
            "name": name,
            "ratio": ratio,
            "goal": 2.0,
            "ok": ratio <= 2,
            "more_is_better": False,
            "quick": False,
            **more,
        }

    return make


def test_the_chart_has_a_row_for_each_figure(
    record: Callable[..., dict[str, object]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last ratio is written, quick runs only where there is nothing else."""
    from chart import main

    records = [
        record("b < c", 1.0),
        record("a", 4.0),
        record("b < c", 3.0),
        record("b < c", 9.0, quick=True),
        record("only quick", 0.5, quick=True, goal=None, ok=None),
        record("never measured", float("inf")),
    ]
    history, out = tmp_path / "bench.jsonl", tmp_path / "chart.svg"
    history.write_text("".join(json.dumps(line) + "\n" for line in records))
    main(str(history), str(out))
    assert f"Wrote {out}\n" == capsys.readouterr().out
    root = ElementTree.parse(out).getroot()
    texts = [
        (text.get("class"), text.text) for text in root.iter("{http://www.w3.org/2000/svg}text")
    ]
    assert [
        (None, "a"),
        ("short", "4.00 (<= 2)"),
        (None, "b < c"),
        ("short", "3.00 (<= 2)"),
        (None, "only quick"),
        ("met", "0.50"),
    ] == texts
    paths = [path.get("d") for path in root.iter("{http://www.w3.org/2000/svg}path")]
    # A goal and a line for each, but no goal for the last one.
    assert 5 == len(paths)
    assert 2 == (paths[3] or "").count(" ")


def test_a_history_that_does_not_exist(tmp_path: Path) -> None:
    from chart import main

    with pytest.raises(SystemExit, match="Measure first: make bench"):
        main(str(tmp_path / "none.jsonl"), str(tmp_path / "chart.svg"))
