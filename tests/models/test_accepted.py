"""A SQL text that DuckDB has accepted is not parsed again, and nothing depends on the record."""

from __future__ import annotations

from pathlib import Path

import pytest

from tailrace.models.accepted import FILE, FILE_BYTES_MAX, AcceptedSql
from tailrace.models.loader import Models, load_models
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
        accepted = AcceptedSql(self.work, versions or None)
        models = load_models(self.models, accepted=accepted)
        return models, duckdb_references.cache_info().misses


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


def test_the_record_holds_hashes_of_the_texts_of_today_only(folder: Folder) -> None:
    folder.write("others", PLAIN.replace("Oslo", "Rome"))
    folder.load()
    lines = folder.record.read_text().split()
    assert [64, 64] == [len(line) for line in lines]
    (folder.models / "audiences" / "others.sql").unlink()
    folder.load()
    assert 1 == len(folder.record.read_text().split())
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
