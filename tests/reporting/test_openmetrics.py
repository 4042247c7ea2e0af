"""The figures of `status` for a monitoring system."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from shop import PEOPLE, Shop

from tailrace.cli import app
from tailrace.reporting.openmetrics import openmetrics
from tailrace.testing import SegmentSimulator

SAMPLE = re.compile(r'(\w+)(?:\{((?:\w+="(?:[^"\\]|\\.)*",?)*)\})? (-?[\d.e+]+)')


def families(text: str) -> dict[str, dict[str, float]]:
    """Metric -> labels -> value. Each family is described once, before its samples."""
    lines = text.split("\n")
    assert ["# EOF", ""] == lines[-2:]
    read: dict[str, dict[str, float]] = {}
    current = ""
    for line in lines[:-2]:
        if line.startswith("# TYPE "):
            _, _, current, kind = line.split(" ")
            assert kind in ("gauge", "stateset")
            assert current not in read
            read[current] = {}
        elif line.startswith("# "):
            assert line.split(" ")[2] == current
            if line.startswith("# UNIT"):
                assert current.endswith(f"_{line.split(' ')[3]}")
        else:
            match = SAMPLE.fullmatch(line)
            assert match is not None, line
            assert match[1] == current
            labels = match[2] or ""
            assert labels not in read[current]
            read[current][labels] = float(match[3])
    return read


def test_status_writes_its_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with SegmentSimulator() as segment:
        shop = Shop(tmp_path / "shop", segment)
        shop.audience(PEOPLE)
        shop.land([{"id": "c1", "email": "a@example.com"}, {"id": "c2"}])
        shop.sync()
        for name, value in shop.environ.items():
            monkeypatch.setenv(name, value)
        file = tmp_path / "tailrace.prom"
        where = ["--project-dir", str(shop.root)]
        assert 0 == app.answer(["status", "--openmetrics", str(file), "--json", *where])
    status = json.loads(capsys.readouterr().out)
    assert [file.name] == [path.name for path in tmp_path.iterdir() if path.is_file()]
    read = families(file.read_text())
    people = 'audience="people",destination="segment"'
    assert {people: 2.0} == read["tailrace_audience_members"]
    assert {people: 2.0} == read["tailrace_audience_entered"]
    assert 1.0 == sum(read["tailrace_audience_status"].values())
    assert 1.0 == read["tailrace_audience_status"][f'{people},tailrace_audience_status="ok"']
    assert {'command="sync"': 0.0} == read["tailrace_run_exit_code"]
    assert read["tailrace_audience_last_success_seconds"][people] > 1.7e9
    assert "example.com" not in file.read_text()
    assert "c1" not in file.read_text()
    assert status["audiences"][0]["size_after"] == 2
    assert 2 == app.answer(["status", "a-run", "--openmetrics", str(file), *where])


def test_a_name_with_quotes_and_lines_stays_one_label() -> None:
    entry = {
        "audience": 'a "b"\\\nc',
        "destination": "segment",
        "status": "held",
        "last_success_at": None,
        **dict.fromkeys(("size_after", "entered", "changed", "exited", "rejected"), 0),
        **dict.fromkeys(("held", "quarantined"), 7),
    }
    state = {"generation": 3, "bytes": 10, "lease": {"held": True}}
    read = families(openmetrics({"audiences": [entry], "runs": [], "state": state}))
    assert [7.0] == list(read["tailrace_audience_held"].values())
    assert {} == read["tailrace_audience_last_success_seconds"]
    assert {"": 1.0} == read["tailrace_state_lease_held"]


def test_a_project_without_a_run_has_no_samples() -> None:
    read = families(openmetrics({"audiences": [], "runs": []}))
    assert {"tailrace_audience_status", "tailrace_audience_members"} <= set(read)
    assert [] == [samples for samples in read.values() if samples]
