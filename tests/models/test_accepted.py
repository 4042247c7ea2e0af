"""A SQL text that DuckDB has accepted is not parsed again, and nothing depends on the record."""

from __future__ import annotations

from pathlib import Path

import pytest

from tailrace.models.accepted import FILE, FILE_BYTES_MAX, AcceptedSql
from tailrace.models.loader import Model, Models, load_models
from tailrace.models.parse import tokens_of
from tailrace.warehouse.sandbox import duckdb_references

HEADER = "/* ---\nkey: id\nuser_id: id\ntrack: {properties: {city: city}}\n--- */\n"
PLAIN = HEADER + "SELECT id, 'Oslo, Ann Smith' AS city FROM salesforce.contact"
READS_A_FILE = HEADER + "SELECT id, city FROM read_csv('people.csv')"


class Folder:
    """A project's models, and its working folder."""

    def __init__(self, root: Path) -> None:
        self.models = root / "models"
        self.work = root / ".tailrace"
        self.record = self.work / FILE
        (self.models / "audiences").mkdir(parents=True)
        self.work.mkdir()

    def write(self, name: str, sql: str) -> None:
        (self.models / "audiences" / f"{name}.sql").write_text(sql)

    def load(self, *versions: str) -> tuple[Models, int]:
        """The models, and how many texts DuckDB parsed for them."""
        duckdb_references.cache_clear()
        tokens_of.cache_clear()
        accepted = AcceptedSql(self.work, versions or None)
        models = load_models(self.models, accepted=accepted)
        return models, duckdb_references.cache_info().misses

    def facts_kept(self) -> int:
        """How many SELECTs have facts in the record."""
        return self.record.read_text().count('"reads":')


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    folder = Folder(tmp_path)
    folder.write("people", PLAIN)
    return folder


def test_an_accepted_text_is_parsed_once(folder: Folder) -> None:
    first, parsed = folder.load()
    assert 1 == parsed
    again, parsed = folder.load()
    assert 0 == parsed
    assert first.by_name == again.by_name


def test_an_edited_text_and_another_version_are_parsed_again(folder: Folder) -> None:
    folder.load("1.0", "duckdb 1")
    assert 1 == folder.load("1.0", "duckdb 2")[1]
    folder.write("people", PLAIN.replace("Oslo", "Rome"))
    assert 1 == folder.load("1.0", "duckdb 2")[1]


def test_a_text_that_is_not_allowed_is_an_error_each_time(folder: Folder) -> None:
    folder.write("people", READS_A_FILE)
    first, again = folder.load()[0], folder.load()[0]
    assert ["people"] == [*first.broken] == [*again.broken]
    messages = [[error.message for error in m.broken["people"].errors] for m in (first, again)]
    assert messages[0] == messages[1]


def test_the_record_is_of_the_texts_of_today_and_has_no_value_of_them(folder: Folder) -> None:
    folder.write("others", PLAIN.replace("Oslo", "Rome"))
    folder.load()
    assert 2 == folder.facts_kept()
    (folder.models / "audiences" / "others.sql").unlink()
    folder.load()
    assert 1 == folder.facts_kept()
    assert "Smith" not in folder.record.read_text()


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe\x00", b"0" * 10, b"a" * (FILE_BYTES_MAX + 1)])
def test_a_damaged_record_costs_time_only(folder: Folder, damage: bytes) -> None:
    whole = folder.load()[0]
    folder.record.write_bytes(damage)
    assert whole.by_name == folder.load()[0].by_name
    assert 0 == folder.load()[1]


def test_a_working_folder_that_is_gone_is_not_made(folder: Folder) -> None:
    folder.work.rmdir()
    assert 1 == folder.load()[1]
    assert not folder.work.exists()


def parsed(model: Model) -> bool:
    """Whether the syntax tree of a model was needed."""
    return "nodes" in vars(model.syntax)


def test_a_plain_select_is_parsed_when_its_tree_is_needed(folder: Folder) -> None:
    first = folder.load()[0].by_name["people"]
    again = folder.load()[0].by_name["people"]
    assert parsed(first)
    assert not parsed(again)
    assert 0 == tokens_of.cache_info().misses
    assert (("contact",), ("id", "city"), "none") == (
        again.reads,
        again.columns,
        again.syntax.clock,
    )
    assert first.query == again.query


def test_two_models_of_one_text_keep_their_own_headers(folder: Folder) -> None:
    """The rows tie by the key of one header and not by that of the other."""
    select = "SELECT id, city, since FROM salesforce.contact ORDER BY since LIMIT 9"
    texts = {key: f"{HEADER.replace('key: id', f'key: {key}')}{select}" for key in ("id", "city")}
    for key, text in texts.items():
        folder.write(f"by_{key}", text.replace("ORDER BY since", f"ORDER BY since, {key}"))
    folder.write("by_other_key", texts["city"].replace("ORDER BY since", "ORDER BY since, city"))
    wrong = HEADER.replace("city: city", "city: town")
    folder.write("no_such_column", wrong + PLAIN.removeprefix(HEADER))
    expected = load_models(folder.models)
    for _ in range(3):
        models = folder.load()[0]
        assert expected.by_name == models.by_name
        assert [*expected.broken] == [*models.broken] == ["no_such_column"]


def test_a_key_decides_whether_the_same_text_is_plain(folder: Folder) -> None:
    select = "SELECT id, email, city FROM salesforce.contact ORDER BY email LIMIT 9"
    folder.write("people", HEADER.replace("key: id", "key: email") + select)
    assert () == folder.load()[0].by_name["people"].warnings
    # The header keeps its length, so that the places of the text are the same.
    folder.write("people", HEADER.replace("key: id", "key: city ") + select)
    expected = load_models(folder.models).by_name["people"].warnings
    assert expected
    assert expected == folder.load()[0].by_name["people"].warnings


@pytest.mark.parametrize(
    "select",
    [
        "SELECT id, city FROM cities",
        "SELECT id, first(city) AS city FROM salesforce.contact GROUP BY id",
        "SELECT id, round(sum(amount), 2) AS city FROM salesforce.contact GROUP BY id LIMIT 9",
        "WITH cities AS (FROM salesforce.contact) SELECT id, city FROM cities",
        "SELECT id, city FROM salesforce.cities",
    ],
)
def test_what_depends_on_more_than_its_text_is_parsed_again(folder: Folder, select: str) -> None:
    (folder.models / "cities.sql").write_text("SELECT id, city FROM salesforce.contact")
    folder.write("people", HEADER + select)
    expected = load_models(folder.models).by_name
    for _ in range(2):
        models = folder.load()[0].by_name
        assert parsed(models["people"])
        assert expected == models


def test_a_model_that_others_begin_to_read_is_parsed(folder: Folder) -> None:
    (folder.models / "cities.sql").write_text("SELECT id, city FROM salesforce.contact")
    folder.load()
    assert not parsed(folder.load()[0].by_name["cities"])
    folder.write("people", HEADER + "SELECT id, cities.town AS city FROM cities")
    expected = load_models(folder.models)
    assert ["people"] == [*expected.broken]
    for _ in range(2):
        errors = folder.load()[0].broken["people"].errors
        assert [e.message for e in expected.broken["people"].errors] == [e.message for e in errors]


def test_a_select_is_parsed_again_beside_a_model_of_a_name_in_it(folder: Folder) -> None:
    """To sqlglot, a table of another dataset has the columns of a model of its name."""
    folder.write("people", HEADER + "SELECT * FROM salesforce.contact")
    folder.load()
    assert not parsed(folder.load()[0].by_name["people"])
    (folder.models / "contact.sql").write_text("SELECT id, town FROM salesforce.account")
    for _ in range(2):
        assert parsed(folder.load()[0].by_name["people"])


@pytest.mark.parametrize(
    "select",
    [
        "WITH c AS (SELECT * FROM salesforce.contact) SELECT id, city FROM c",
        "SELECT c.id, a.city FROM salesforce.contact c JOIN salesforce.account a ON a.id = c.of",
        "SELECT id, max(city) AS city FROM (SELECT * FROM salesforce.contact) GROUP BY id",
        "SELECT * FROM salesforce.contact",
    ],
)
def test_what_reads_landed_tables_alone_is_the_same_without_its_tree(
    folder: Folder, select: str
) -> None:
    folder.write("people", HEADER + select)
    expected = load_models(folder.models)
    folder.load()
    again = folder.load()[0]
    assert expected.by_name == again.by_name
    assert not parsed(again.by_name["people"])


def test_an_object_that_is_no_longer_extracted_is_an_error(folder: Folder) -> None:
    folder.load()
    models = load_models(folder.models, objects=["Lead"], accepted=AcceptedSql(folder.work))
    assert ["people"] == [*models.broken]


@pytest.mark.parametrize(
    ("condition", "clock"), [("since < today()", "date"), ("since < now()", "time")]
)
def test_the_clock_of_a_plain_select_is_kept(folder: Folder, condition: str, clock: str) -> None:
    folder.write("people", f"{PLAIN} WHERE {condition}")
    folder.load()
    again = folder.load()[0].by_name["people"]
    assert clock == again.syntax.clock
    assert not parsed(again)
