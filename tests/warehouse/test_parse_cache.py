"""What parsing gave is kept for the next command, and never used for another text or version."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from threading import Thread

import pytest

from tailrace.warehouse import parse_cache, rendering, templates
from tailrace.warehouse.bindings import Column, TableName
from tailrace.warehouse.parse_cache import ParseCache
from tailrace.warehouse.statements import script, statement
from tailrace.warehouse.templates import FILE, forget, rendered_sql_kept


def cache_in(folder: Path, *, bytes_max: int = 10_000, code: Path = Path(__file__)) -> ParseCache:
    return ParseCache(folder / "kept.json", bytes_max=bytes_max, code=[code])


def kept_in(folder: Path, **values: object) -> None:
    cache = cache_in(folder)
    for key, value in values.items():
        cache.put(key, value)
    cache.save()


def test_a_value_is_kept_for_the_next_command(tmp_path: Path) -> None:
    kept_in(tmp_path, one=["SELECT 1", None], two=2)
    kept_in(tmp_path, three=3)
    assert [["SELECT 1", None], 2, 3, None] == [
        cache_in(tmp_path).get(key) for key in ("one", "two", "three", "four")
    ]
    (file,) = tmp_path.iterdir()
    assert 0o600 == file.stat().st_mode & 0o777


def test_nothing_is_written_without_news(tmp_path: Path) -> None:
    kept_in(tmp_path, one=1)
    (file,) = tmp_path.iterdir()
    before = file.stat().st_ino
    cache = cache_in(tmp_path)
    assert 1 == cache.get("one")
    cache.save()
    assert before == file.stat().st_ino


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: b"",
        lambda text: b"\xff\xfe\x00",
        lambda text: text[:-4],
        lambda text: text.replace(b"SELECT 1", b"SELECT 2"),
        lambda text: text.partition(b"\n")[2],
        lambda text: text.partition(b"\n")[0] + b"\n[1]",
        lambda text: b"0" * 64 + b"\n" + text.partition(b"\n")[2],
        lambda text: text + b" " * 20_000,
    ],
)
def test_a_damaged_file_is_ignored_and_replaced(tmp_path: Path, damage: object) -> None:
    assert callable(damage)
    kept_in(tmp_path, one="SELECT 1")
    (file,) = tmp_path.iterdir()
    file.write_bytes(damage(file.read_bytes()))
    assert cache_in(tmp_path).get("one") is None
    kept_in(tmp_path, two=2)
    assert 2 == cache_in(tmp_path).get("two")


def test_another_version_or_other_code_reads_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of Tailrace, its code, sqlglot and DuckDB."""
    code = tmp_path / "code.py"
    code.write_text("one = 1\n")
    cache = cache_in(tmp_path, code=code)
    cache.put("one", 1)
    cache.save()
    assert 1 == cache_in(tmp_path, code=code).get("one")
    with monkeypatch.context() as patch:
        patch.setattr(parse_cache, "__version__", "0.0.0")
        assert cache_in(tmp_path, code=code).get("one") is None
    with monkeypatch.context() as patch:
        patch.setattr(parse_cache, "version", lambda package: f"0 {package}")
        assert cache_in(tmp_path, code=code).get("one") is None
    code.write_text("one = 11\n")
    assert cache_in(tmp_path, code=code).get("one") is None


def test_a_folder_of_code_stands_for_the_files_under_it(tmp_path: Path) -> None:
    """A file that is edited, added or removed is another version; what Python compiles is not."""
    folder = tmp_path / "package"
    (folder / "part").mkdir(parents=True)
    edited, added = folder / "part" / "edited.py", folder / "added.py"
    edited.write_text("one = 1\n")
    compiled = folder / "__pycache__"

    def is_kept() -> bool:
        return bool(cache_in(tmp_path, code=folder).get("one"))

    def keep() -> None:
        cache = cache_in(tmp_path, code=folder)
        cache.put("one", 1)
        cache.save()
        assert is_kept()

    keep()
    compiled.mkdir()
    (compiled / "edited.pyc").write_text("")
    assert is_kept()
    edited.write_text("one = 11\n")
    assert not is_kept()
    keep()
    added.write_text("")
    assert not is_kept()
    keep()
    added.unlink()
    assert not is_kept()


@pytest.mark.parametrize("package", parse_cache.PACKAGES)
def test_the_version_of_a_package_is_that_of_its_metadata(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a package is found in a folder without metadata of its name, or with several."""
    expected = metadata.version(package)
    assert expected == parse_cache.version.__wrapped__(package)
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    assert expected == parse_cache.version.__wrapped__(package)
    for number in ("0.1", "0.2"):
        (tmp_path / f"{package}-{number}.dist-info").mkdir()
    monkeypatch.setattr(metadata, "version", lambda name: f"{name} by its metadata")
    assert f"{package} by its metadata" == parse_cache.version.__wrapped__(package)


def test_the_file_is_limited_in_size(tmp_path: Path) -> None:
    """What the last command did not use is left out; if that is not enough, nothing is written."""
    kept_in(tmp_path, old="a" * 6_000, used="b" * 3_000)
    cache = cache_in(tmp_path)
    cache.get("used")
    cache.put("new", "c" * 3_000)
    cache.save()
    cache = cache_in(tmp_path)
    assert [None, "b" * 3_000, "c" * 3_000] == [cache.get(key) for key in ("old", "used", "new")]
    cache.put("huge", "d" * 10_000)
    cache.save()
    assert "c" * 3_000 == cache_in(tmp_path).get("new")


def test_commands_that_write_at_the_same_time_leave_one_whole_file(tmp_path: Path) -> None:
    def write(number: int) -> None:
        for place in range(5):
            kept_in(tmp_path, **{f"key_{number}_{place}": "x" * 500})

    threads = [Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (file,) = tmp_path.iterdir()
    _, content = file.read_text().split("\n")
    assert set(cache_in(tmp_path)._kept) == set(json.loads(content)) != set()


def test_a_folder_that_is_missing_or_cannot_be_written_costs_time_only(tmp_path: Path) -> None:
    kept_in(tmp_path / "missing", one=1)
    assert not (tmp_path / "missing").exists()
    folder = tmp_path / "readable"
    folder.mkdir()
    # A folder of the file's name cannot be replaced by a file, whoever the user is.
    (folder / "kept.json").mkdir()
    kept_in(folder, one=1)
    assert ["kept.json"] == os.listdir(folder)


@pytest.fixture
def parses(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The templates that were parsed since, in a process that has rendered nothing yet."""
    names: list[str] = []
    parsed = rendering.parsed.__wrapped__

    def counted(name: str, dialect: str) -> object:
        names.append(name)
        return parsed(name, dialect)

    monkeypatch.setattr(rendering, "parsed", counted)
    forget()
    yield names
    forget()


def rendered(city: str) -> tuple[str, ...]:
    """A statement with a list, one with a part, and a script."""
    tables = {"transitions": TableName(None, "t")}
    columns = {"compared": (Column("city", "TEXT", city),)}
    return (
        statement("plan/mark_mapping_reason", "duckdb", tables=tables, columns=columns),
        statement("warehouse/dataset", "postgres", dataset=city),
        *script("warehouse/disable_external_access", "duckdb"),
    )


def test_a_statement_that_an_earlier_command_has_rendered_is_not_parsed(
    tmp_path: Path, parses: list[str]
) -> None:
    with rendered_sql_kept(tmp_path):
        first = rendered("Oslo")
    assert {"plan/mark_mapping_reason", "warehouse/dataset"} < set(parses)
    parses.clear()
    forget()
    with rendered_sql_kept(tmp_path):
        assert first == rendered("Oslo")
        assert first != rendered("Bergen")
    assert [] == parses
    assert "Oslo" not in (tmp_path / FILE).read_text()


def test_a_template_that_changes_is_parsed_again(
    tmp_path: Path, parses: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with rendered_sql_kept(tmp_path):
        statement("warehouse/dataset", "duckdb", dataset="crm")
    forget()
    written = templates.named_statement

    def edited(name: str, dialect: str) -> object:
        named = written(name, dialect)
        return type(named)(named.name, named.only_for, f"{named.text} AND 1 = 1")

    monkeypatch.setattr(templates, "named_statement", edited)
    monkeypatch.setattr(rendering, "named_statement", edited)
    with rendered_sql_kept(tmp_path):
        assert statement("warehouse/dataset", "duckdb", dataset="crm").endswith("AND 1 = 1")


def test_another_project_of_the_process_keeps_the_same_statements(
    tmp_path: Path, parses: list[str]
) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        with rendered_sql_kept(tmp_path / name):
            statement("warehouse/dataset", "duckdb", dataset="crm")
    assert ["warehouse/dataset"] * 2 == parses
    assert (tmp_path / "first" / FILE).read_text() == (tmp_path / "second" / FILE).read_text()
