"""Models of dbt: which are read, what is taken from dbt's manifest, and what is refused.

`jaffle_shop_manifest.json` is written by hand in the shape of dbt's public example project.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tailrace.config.settings import DbtSettings
from tailrace.errors import DbtManifestInvalid, DbtModelUnusable, ModelError, TailraceError
from tailrace.models.dbt import DbtManifest, DbtProject
from tailrace.models.lineage import KnownTables, columns_read, lineage_of
from tailrace.models.loader import Models, load_models, read_models
from tailrace.models.manifest import select_by_state, write_manifest

MANIFEST = Path(__file__).parent / "jaffle_shop_manifest.json"
AUDIENCE = "user_id: customer_id\nidentify: {traits: {email: email}}\n"
SOURCES = "sources: [{dataset: main, table: customers, freshness: {column: day, hold_after: 2d}}]"


def contents() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(MANIFEST.read_text(encoding="utf-8"))
    return loaded


def project(tmp_path: Path, manifest: Any = None, **options: Any) -> DbtProject:
    """A dbt project with a manifest; the tests' own if none is given."""
    file = tmp_path / "manifest.json"
    text = manifest if isinstance(manifest, str) else json.dumps(manifest or contents())
    file.write_text(text, encoding="utf-8")
    return DbtProject(manifest_file=file, shown="target/manifest.json", **options)


def audiences(tmp_path: Path, files: Mapping[str, str], dbt: DbtProject) -> Models:
    for name, text in files.items():
        file = tmp_path / "models" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return load_models(tmp_path / "models", dbt=dbt)


def the_error(models: Models) -> TailraceError:
    (broken,) = models.broken.values()
    (error,) = broken.errors
    return error


def test_an_audience_has_columns_key_tags_and_description_of_the_model(tmp_path: Path) -> None:
    """A header's own values come first, and its tags are added to."""
    files = {
        "audiences/buyers.yml": f"model: dbt://customers\ntags: [daily]\n{AUDIENCE}",
        "audiences/spenders.yml": f"model: dbt://customers\nkey: email\ndescription: S\n{AUDIENCE}",
    }
    models = read_models_of(tmp_path, files)
    buyers, spenders = models.audiences()
    assert buyers.audience is not None
    assert spenders.audience is not None
    columns = "customer_id customer_name email count_lifetime_orders lifetime_spend customer_type"
    assert tuple(columns.split()) == buyers.columns
    assert buyers.sql.startswith('SELECT "customer_id", "customer_name"')
    assert buyers.sql.endswith('FROM "main"."customers"')
    assert (("customer_id",), ("email",)) == (buyers.audience.key, spenders.audience.key)
    assert "One customer, with the orders of a lifetime." == buyers.audience.description
    assert "S" == spenders.audience.description
    assert ("daily", "marketing", "marts") == buyers.tags == buyers.audience.tags
    assert ("main.customers",) == buyers.sources
    assert {"buyers", "spenders"} == {m.name for m in models.select(["tag:marketing"])}
    assert {"buyers", "spenders"} == {m.name for m in models.select(["source:dbt://customers"])}


def read_models_of(tmp_path: Path, files: Mapping[str, str]) -> Models:
    models = audiences(tmp_path, files, project(tmp_path))
    assert {} == models.broken
    return models


def test_a_sql_model_reads_a_model_of_dbt_by_the_name_of_its_file(tmp_path: Path) -> None:
    """The lineage names the model of dbt, with the fields of Salesforce beside it."""
    files = {
        "staging/shop_customers.yml": "model: dbt://customers\n",
        "audiences/buyers.sql": f"/* ---\nkey: customer_id\n{AUDIENCE}--- */\n"
        "SELECT s.customer_id, c.email FROM shop_customers AS s"
        " JOIN salesforce.contact AS c ON c.id = s.customer_id WHERE lifetime_spend > 10",
    }
    models = read_models_of(tmp_path, files)
    assert ("shop_customers",) == models.by_name["buyers"].depends_on
    assert ["dbt://customers"] == [source.name for source in models.sources_read("buyers")]
    named = columns_read(models)
    lineage = lineage_of(
        models,
        "buyers",
        columns=("customer_id", "email"),
        tables=KnownTables(
            {
                "contact": {"id": ["Id", "id", False], "email": ["Email", "email", True]},
                "main.customers": {name: [name, "", False] for name in named["main.customers"]},
            },
            {"contact": "Contact", "main.customers": "dbt://customers"},
        ),
    )
    shown = {column: [f.name for f in fields] for column, fields in lineage.columns.items()}
    assert {"customer_id": ["dbt://customers.customer_id"], "email": ["Contact.Email"]} == shown
    assert ("Contact.Id", "dbt://customers.lifetime_spend") == lineage.filters


def test_a_declared_relation_has_the_limits_of_its_declaration(tmp_path: Path) -> None:
    """dbt has no limit of its own on the age of a relation."""
    files = {"sources.yml": SOURCES, "audiences/a.yml": f"model: dbt://customers\n{AUDIENCE}"}
    (source,) = read_models_of(tmp_path, files).sources_read("a")
    assert (2, "day") == (
        source.hold_after.days if source.hold_after else 0,
        source.freshness_column,
    )
    assert source.dbt is not None


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("customers", ("customer_id",)),
        ("orders", ("order_id",)),
        ("supplies", ("supply_id", "product_id")),
        # Two columns are unique and not null: the header has to choose.
        ("products", ()),
        # A test that only warns or has a filter proves nothing.
        ("stg_customers", ()),
    ],
)
def test_the_key_comes_from_constraints_meta_or_tests(name: str, key: tuple[str, ...]) -> None:
    assert key == DbtManifest(contents(), "m").node(name).primary_key


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("unique", {"where": "email is not null"}),
        ("not_null", {"severity": "warn"}),
        ("not_null", {"enabled": False}),
    ],
)
def test_a_test_that_does_not_hold_for_all_rows_proves_no_key(
    kind: str, config: dict[str, Any]
) -> None:
    """Without that, email would be a second key, and the header would have to choose."""
    manifest = contents()
    of_email = [n for n in manifest["nodes"].values() if n.get("column_name") == "email"]
    for node in of_email:
        node["config"] = config if node["test_metadata"]["name"] == kind else {}
    assert ("customer_id",) == DbtManifest(manifest, "m").node("customers").primary_key
    for node in of_email:
        node["config"] = {}
    assert () == DbtManifest(manifest, "m").node("customers").primary_key


@pytest.mark.parametrize(
    ("name", "relation", "reference"),
    [
        ("raw_customers", "main.raw_customers", "ref('raw_customers')"),
        ("customers_snapshot", "snapshots.customers_snapshot", "ref('customers_snapshot')"),
        ("people", "main.people_v2", "ref('people', v=2)"),
        ("people.v1", "main.people_v1", "ref('people', v=1)"),
        ("jaffle_shop.people.v1", "main.people_v1", "ref('people', v=1)"),
        ("dbt_date.calendar", "main.calendar", "ref('dbt_date', 'calendar')"),
    ],
)
def test_seeds_snapshots_versions_and_packages_are_read(
    name: str, relation: str, reference: str
) -> None:
    """A versioned model is its latest version unless its name says another one."""
    node = DbtManifest(contents(), "m").node(name)
    assert (relation, reference) == (node.key, node.reference)


def test_a_model_without_documented_columns_is_read_whole() -> None:
    assert 'SELECT * FROM "main"."order_items"' == (
        DbtManifest(contents(), "m").node("order_items").select("duckdb")
    )


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("custmers", 'has no model "custmers". Did you mean "customers"?', "Correct the name"),
        ("int_order_totals", "it is ephemeral", "Materialize it in dbt"),
        ("locations", "it is external", "Materialize it in dbt"),
        ("old_customers", "is disabled in dbt", "Enable it"),
        ("raw_orders", "is a source of dbt", "Declare raw.raw_orders in models/sources.yml"),
        ("ecom.raw_orders", "is a source of dbt", "Declare raw.raw_orders in models/sources.yml"),
        ("unique_customers_customer_id", "has no model", "Correct the name"),
    ],
)
def test_what_has_no_relation_is_refused_with_file_and_line(
    name: str, message: str, hint: str, tmp_path: Path
) -> None:
    files = {"audiences/a.yml": f"key: id\nuser_id: id\nmodel: dbt://{name}\ntrack: true\n"}
    error = the_error(audiences(tmp_path, files, project(tmp_path)))
    assert isinstance(error, DbtModelUnusable)
    assert ("models/audiences/a.yml", 3) == (error.file, error.line)
    assert message in error.message
    assert hint in (error.hint or "")


def test_two_packages_may_have_a_model_of_one_name() -> None:
    """The project's own is meant; without one, the package has to be named."""
    manifest = contents()
    mine = manifest["nodes"]["model.jaffle_shop.products"]
    manifest["nodes"]["model.a.products"] = mine | {"package_name": "a"}
    assert DbtManifest(manifest, "m").node("products").is_root
    manifest["nodes"]["model.jaffle_shop.products"] = mine | {"package_name": "b"}
    with pytest.raises(DbtModelUnusable, match="several models") as raised:
        DbtManifest(manifest, "m").node("products")
    assert "dbt://a.products, dbt://b.products" in str(raised.value.hint)


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        ({"warehouse": "postgres"}, "in duckdb, and the warehouse", "set warehouse under"),
        ({"database": "shop"}, "reads the database shop", "path in dbt's profiles.yml"),
    ],
)
def test_a_relation_of_another_warehouse_is_refused(
    options: dict[str, Any], message: str, hint: str, tmp_path: Path
) -> None:
    files = {"audiences/a.yml": f"model: dbt://customers\n{AUDIENCE}"}
    error = the_error(audiences(tmp_path, files, project(tmp_path, **options)))
    assert isinstance(error, DbtModelUnusable)
    assert message in error.message
    assert hint in (error.hint or "")
    assert {} == audiences(tmp_path, files, project(tmp_path, database="Jaffle_Shop")).broken


def of_version(number: int) -> dict[str, Any]:
    manifest = contents()
    manifest["metadata"]["dbt_schema_version"] = (
        f"https://schemas.getdbt.com/dbt/manifest/v{number}.json"
    )
    return manifest


@pytest.mark.parametrize("number", [9, 10, 11, 12])
def test_manifests_of_dbt_1_5_and_newer_are_read(number: int, tmp_path: Path) -> None:
    """An older one has no attached node: a test of one model depends on it alone."""
    manifest = of_version(number)
    if number == 9:
        for node in manifest["nodes"].values():
            node.pop("attached_node", None)
    node = project(tmp_path, manifest).manifest.node("customers")
    assert ("customer_id",) == node.primary_key


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (of_version(8), "has the manifest version 8"),
        (of_version(13), "has the manifest version 13"),
        ("", "is not JSON"),
        ('{"metadata": ', "is not JSON"),
        ("[]", "is not a manifest of dbt"),
        ("{}", "is not a manifest of dbt"),
        ('{"metadata": {"dbt_schema_version": 12}}', "is not a manifest of dbt"),
        ({"metadata": of_version(12)["metadata"]}, "is not a whole manifest"),
        ({**of_version(12), "nodes": {"model.a.b": []}}, "is not a whole manifest"),
        ({**of_version(12), "disabled": []}, None),
        ({**of_version(12), "sources": [1]}, "is not a whole manifest"),
    ],
)
def test_a_manifest_that_cannot_be_read_is_an_error_of_each_file(
    text: Any, message: str | None, tmp_path: Path
) -> None:
    """It names the manifest, and the file and line that need it; other models stay usable."""
    files = {
        "audiences/a.yml": f"model: dbt://customers\n{AUDIENCE}",
        "audiences/b.yml": f"# b\nmodel: dbt://customers\n{AUDIENCE}",
        "staging/c.sql": "SELECT id FROM salesforce.contact",
    }
    models = audiences(tmp_path, files, project(tmp_path, text))
    if message is None:
        assert {} == models.broken
        return
    errors = [error for broken in models.broken.values() for error in broken.errors]
    assert all(isinstance(error, DbtManifestInvalid) for error in errors)
    assert {("models/audiences/a.yml", 1), ("models/audiences/b.yml", 2)} == {
        (error.file, error.line) for error in errors
    }
    assert all(f"target/manifest.json {message}" in error.message for error in errors)
    assert {"c"} == set(models.by_name)


def test_a_missing_or_large_manifest_is_an_error(tmp_path: Path) -> None:
    files = {"audiences/a.yml": f"model: dbt://customers\n{AUDIENCE}"}
    missing = DbtProject(manifest_file=tmp_path / "none.json", shown="none.json")
    error = the_error(audiences(tmp_path, files, missing))
    assert "There is no none.json" == error.message
    assert "manifest under [tailrace.dbt]" in str(error.hint)
    large = the_error(audiences(tmp_path, files, project(tmp_path, bytes_max=1000)))
    assert "more than 1,000" in large.message
    assert "manifest_bytes_max" in str(large.hint)
    assert DbtSettings().manifest_bytes_max > 1_000_000


def test_a_broken_node_is_no_internal_error() -> None:
    """Each value of a node may be of any JSON type."""
    read = ("nodes", "model.jaffle_shop.customers")
    named = [(*read, key) for key in contents()["nodes"][read[1]]]
    named += [("metadata", "adapter_type"), ("metadata", "project_name")]
    named += [("sources", "x"), ("disabled", "x")]
    for *path, key in named:
        for value in (None, 1, "x", [], {}, [1], {"a": 1}):
            manifest = contents()
            place = manifest
            for part in path:
                place = place[part]
            place[key] = value
            for name in ("customers", "unknown"):
                with suppress(ModelError):
                    DbtManifest(manifest, "m").node(name)


def test_an_edited_model_of_dbt_is_a_modified_audience(tmp_path: Path) -> None:
    """dbt's checksum counts, for models above it as well; the definition stays the same."""
    files = {
        "audiences/a.yml": f"model: dbt://customers\n{AUDIENCE}",
        "audiences/b.yml": "model: dbt://orders\nuser_id: customer_id\ntrack: true\n",
    }
    saved = tmp_path / "saved.json"
    write_manifest(read_models_of(tmp_path, files), saved)
    assert set() == set(select_by_state(read_models_of(tmp_path, files), "modified", saved))
    manifest = contents()
    manifest["nodes"]["model.jaffle_shop.customers"]["checksum"]["checksum"] = "other"
    edited = audiences(tmp_path, files, project(tmp_path, manifest))
    assert {"a"} == set(select_by_state(edited, "modified", saved))


def test_names_of_postgres_are_lower_case_unless_they_are_quoted() -> None:
    """dbt creates a column without quotes unless its YAML says `quote: true`."""
    manifest = contents()
    manifest["metadata"]["adapter_type"] = "postgres"
    node = manifest["nodes"]["model.jaffle_shop.customers"]
    node["columns"] = {
        "Customer_ID": {"name": "Customer_ID"},
        "Type": {"name": "Type", "quote": True},
    }
    expected = 'SELECT "customer_id", "Type" FROM "main"."customers"'
    assert expected == DbtManifest(manifest, "m").node("customers").select("postgres")


def test_the_project_in_the_same_folder_is_the_default(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "manifest.json").write_text(json.dumps(contents()), encoding="utf-8")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "a.yml").write_text("model: dbt://customers\n", encoding="utf-8")
    assert {"a"} == set(read_models(tmp_path / "models").by_name)
