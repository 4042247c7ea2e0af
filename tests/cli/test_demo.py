"""The demo: the README's first command does what the README says."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tailrace.cli.commands.demo import story
from tailrace.errors import ConfigurationError

# An element of the first day.
ELEMENT_ID = "tr1-0e1225de18635af0f04b177596edaf6b43807506"


def test_two_days_move_members_by_name_and_the_third_run_sends_nothing(
    command: Any, tmp_path: Path
) -> None:
    report = tmp_path.with_suffix(".html")
    received = tmp_path.with_suffix(".jsonl")
    config = tmp_path.with_suffix(".toml")
    config.write_text("[tailrace]\naudiences_in_flight_max = 1\n")
    options = ("--report", str(report), "--received", str(received), "--config", str(config))
    done = command("demo", *options, TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    first, second, third = re.split(r"^── Day \d.*\n", done.stdout, flags=re.MULTILINE)[1:]

    sizes = re.findall(r"^(\w+): 0 → (\d+) members\n  \+ (\d+) entered: \w", first, re.MULTILINE)
    assert {"vip_contacts", "customer_contacts"} <= {name for name, _, _ in sizes}
    assert [entered for _, _, entered in sizes] == [after for _, after, _ in sizes]
    for move in (r"\+ \d+ entered", r"~ \d+ changed", r"- \d+ exited"):
        assert re.search(rf"^  {move}: \w", second, re.MULTILINE)
    assert '"event": "Segment Exited"' in second
    assert [] == re.findall("entered|changed|exited", third)
    assert '"op": "exited"' in second
    assert re.search(r"^contact_tiers → salesforce: 0 → \d+ members", first, re.MULTILINE)
    assert re.search(r"^vip_alerts → webhook: 0 → \d+ members", first, re.MULTILINE)
    up_to_date = "Nothing to send: Segment, salesforce and webhook are up to date."
    assert third.endswith(f"{up_to_date}\n\nReport: {report}\n")
    assert ">vip_contacts</a>" in report.read_text()
    assert [] == list(tmp_path.iterdir())

    lines = received.read_text().splitlines()
    documents = [json.loads(line) for line in lines]
    assert lines == sorted(lines)
    assert Counter(document.get("to") for document in documents).keys() == {
        None,
        "segment",
        "webhook",
        "salesforce",
    }
    ids = [document["messageId"] for document in documents if document.get("to") == "segment"]
    assert len(ids) == len({*ids}) > 500
    # The same in each demo, whatever its warehouse is.
    assert ELEMENT_ID in {document.get("id") for document in documents}
    assert not [document for document in documents if "timestamp" in document]


def test_the_demo_writes_to_an_empty_database_only(tmp_path: Path) -> None:
    """Another project's tables are not touched."""
    file, config = tmp_path / "shop.duckdb", tmp_path / "warehouse.toml"
    with duckdb.connect(str(file)) as connection:
        connection.execute("CREATE SCHEMA salesforce; CREATE TABLE salesforce.contact (id TEXT)")
    config.write_text(f'[destination.duckdb]\ncredentials = "{file}"\n')
    with pytest.raises(ConfigurationError, match="has tables in salesforce") as raised:
        next(story(config=config))
    assert str(config) in str(raised.value.hint)
    with duckdb.connect(str(file)) as connection:
        tables = connection.execute("SELECT table_schema FROM information_schema.tables")
        assert [("salesforce",)] == tables.fetchall()
