"""`tailrace dbt exposures`: the audiences that read models of dbt, for dbt's own lineage."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tailrace import Project
from tailrace.cli.app import answer
from tailrace.errors import DbtExposuresOutdated, DbtManifestInvalid, UserError

MANIFEST = Path(__file__).parents[1] / "models" / "jaffle_shop_manifest.json"
CONFIG = """[destination.duckdb]
credentials = "jaffle_shop.duckdb"

[sources.salesforce]
objects = ["Contact"]
"""
SENDS = "user_id: customer_id\ntrack: true\n"
FILES = {
    "sources.yml": "sources: [{dataset: main, table: people_v2}, {dataset: raw, table: visits}]",
    "staging/shop_orders.yml": "model: dbt://orders",
    "audiences/buyers.yml": f"model: dbt://customers\nowner: growth@example.com\n{SENDS}",
    "audiences/again.sql": "/* ---\nkey: customer_id\nowner: Sales\n"
    f'description: "Buys {{often}}:\\n twice"\n{SENDS}--- */\n'
    "SELECT o.customer_id FROM shop_orders AS o JOIN main.people_v2 AS p ON p.person_id = 1",
    "audiences/others.sql": f"/* ---\nkey: customer_id\n{SENDS}--- */\n"
    "SELECT id AS customer_id FROM salesforce.contact JOIN raw.visits USING (id)",
}
EXPECTED = """# Written by `tailrace dbt exposures`; edit the audiences instead.
version: 2
exposures:
- name: again
  type: application
  owner:
    name: Sales
  description: 'Buys (often): twice. Sent to segment.'
  depends_on:
  - ref('orders')
  - ref('people', v=2)
- name: buyers
  type: application
  owner:
    email: growth@example.com
  description: One customer, with the orders of a lifetime. Sent to segment.
  depends_on:
  - ref('customers')
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / ".dlt").mkdir()
    (tmp_path / ".dlt" / "config.toml").write_text(CONFIG)
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "manifest.json").write_text(MANIFEST.read_text())
    for name, text in FILES.items():
        file = tmp_path / "models" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path


def test_each_audience_that_reads_dbt_is_an_exposure(root: Path) -> None:
    """By `dbt://`, through a model, or as a declared table that dbt builds; sorted by name."""
    result = Project.load(root, environ={}).dbt_exposures()
    assert EXPECTED == result.data["yaml"]
    assert result.data["exposures"] == yaml.safe_load(EXPECTED)["exposures"]
    (entry,) = Project.load(root, environ={}).dbt_exposures(select=["buyers"]).data["exposures"]
    assert "buyers" == entry["name"]


def test_a_file_is_written_once_and_compared_by_check(root: Path) -> None:
    """The file keeps its bytes and its time as long as the audiences say the same."""
    file = root / "shop" / "exposures.yml"
    project = Project.load(root, environ={})
    with pytest.raises(DbtExposuresOutdated, match=r"There is no exposures\.yml"):
        project.dbt_exposures(out=file, check=True)
    assert project.dbt_exposures(out=file).data["changed"]
    assert EXPECTED.encode() == file.read_bytes()
    before = file.stat()
    assert not project.dbt_exposures(out=file).data["changed"]
    assert not project.dbt_exposures(out=file, check=True).data["changed"]
    assert before.st_mtime_ns == file.stat().st_mtime_ns
    (root / "models" / "audiences" / "buyers.yml").unlink()
    with pytest.raises(DbtExposuresOutdated, match="is not what the audiences say today"):
        project.dbt_exposures(out=file, check=True)
    assert EXPECTED.encode() == file.read_bytes()


def test_the_command_exits_with_1_for_an_old_file(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    assert 0 == answer(["dbt", "exposures"])
    assert EXPECTED == capsys.readouterr().out
    assert 2 == answer(["dbt", "exposures", "--check"])
    assert 1 == answer(["dbt", "exposures", "--check", "--out", "exposures.yml"])
    assert "tailrace dbt exposures --out FILE" in capsys.readouterr().err
    assert 0 == answer(["dbt", "exposures", "--out", "exposures.yml"])
    assert "2 exposures written to" in capsys.readouterr().out
    assert 0 == answer(["dbt", "exposures", "--check", "--out", "exposures.yml", "--json"])
    assert not json.loads(capsys.readouterr().out)["changed"]


def test_without_a_manifest_or_with_a_broken_model_nothing_is_written(root: Path) -> None:
    file = root / "exposures.yml"
    (root / "models" / "audiences" / "broken.sql").write_text("SELECT")
    with pytest.raises(UserError):
        Project.load(root, environ={}).dbt_exposures(out=file)
    for name in FILES:
        (root / "models" / name).unlink()
    (root / "models" / "audiences" / "broken.sql").unlink()
    (root / "models" / "some.sql").write_text("SELECT id FROM salesforce.contact")
    (root / "target" / "manifest.json").unlink()
    with pytest.raises(DbtManifestInvalid):
        Project.load(root, environ={}).dbt_exposures(out=file)
    assert not file.exists()
