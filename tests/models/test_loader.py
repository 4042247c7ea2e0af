"""What models are read as, what they become, and what is said of those that cannot be used.

The cases under `models/` hold a project and, below it, what Tailrace says of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tailrace.errors import (
    ModelError,
    NothingSelected,
    SeveralModelErrors,
    SqlDoesNotParse,
    TailraceError,
    UnknownColumn,
)
from tailrace.models.compile import canonical_sql, fingerprint
from tailrace.models.file import _unseen_tables, model_files
from tailrace.models.loader import Models, check_columns, read_models
from tailrace.models.nodes import Nodes
from tailrace.models.parse import parse

CASES = Path(__file__).parent / "cases"


def sections(text: str) -> Iterator[tuple[str, str]]:
    """The parts of a case: `==> name <==` lines with what follows each."""
    for part in text.split("==> ")[1:]:
        name, _, content = part.partition(" <==\n")
        yield name, content


def write(folder: Path, files: dict[str, str]) -> Path:
    """Write a project's files; the folder of its models."""
    (folder / "models").mkdir()
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return folder / "models"


def said(models: Models | TailraceError) -> str:
    """Every error, or every warning, as a case writes it."""
    if isinstance(models, TailraceError):
        found = [(type(each).__name__, each) for each in models.flattened()]
    else:
        found = [("warning", w) for model in models.by_name.values() for w in model.warnings]
    return "".join(
        f"{name} {each.file}:{each.line or ''}\n  {each.message}\n  > {each.hint}\n"
        for name, each in found
    )


@pytest.mark.parametrize("case", sorted(CASES.glob("*.txt")), ids=lambda path: path.stem)
def test_what_cannot_be_used_is_named_with_file_line_and_a_way_out(
    case: Path, tmp_path: Path
) -> None:
    """All mistakes at once, in the order of files and lines; nothing else is reported."""
    parts = dict(sections(case.read_text(encoding="utf-8")))
    expected = parts.pop("said")
    try:
        found: Models | TailraceError = read_models(write(tmp_path, parts))
    except TailraceError as error:
        found = error
    assert expected == said(found)


def test_a_table_that_only_one_parser_sees_is_refused() -> None:
    """Names are replaced where sqlglot sees a table; DuckDB has to see the same ones."""
    nodes = Nodes(parse("WITH a AS (SELECT 1) SELECT * FROM a, b"))
    assert [] == list(_unseen_tables(nodes, "WITH a AS (SELECT 1) SELECT *\nFROM B, a", "x.sql"))
    (error,) = _unseen_tables(nodes, "WITH a AS (SELECT 1) SELECT *\nFROM b, a,\ns.c", "x.sql")
    assert ("s.c is a table" in error.message, error.line) == (True, 3)
    (error,) = _unseen_tables(nodes, "WITH a AS (SELECT 1) FROM a", "x.sql")
    assert "b is a table" in error.message


@pytest.mark.parametrize(
    ("sql", "line", "word", "shown"),
    [
        ("SELCT id, name\nFROM t", 1, "SELCT", "SELCT id, name\n^^^^^"),
        ("SELECT id\n\tFROMM t\nWHERE a", 2, "t", " FROMM t\n       ^"),
        ("SELECT 'é'\nFROM t\nWHERE a = = 1", 3, "=", "WHERE a = = 1\n          ^"),
        (f"SELECT {'a, ' * 60}FRM x y z", 1, "y", f"{'a, ' * 60}FRM x y z"[-83:]),
    ],
)
def test_sql_that_does_not_parse_is_shown_with_a_mark(
    sql: str, line: int, word: str, shown: str
) -> None:
    """The line is that of the word at fault, and the mark is below it."""
    with pytest.raises(SqlDoesNotParse) as raised:
        parse(sql)
    error = raised.value
    assert (line, f'The SQL does not parse at "{word}"') == (error.line, error.message)
    assert error.excerpt is not None
    assert error.excerpt.startswith(shown)
    source, mark = error.excerpt.split("\n")
    assert word == source[mark.index("^") : mark.index("^") + len(word)]
    assert error.as_dict()["excerpt"] == error.excerpt
    with pytest.raises(SqlDoesNotParse) as raised:
        parse(sql, dialect="postgres")
    # In another dialect it may be a later word.
    assert raised.value.line == line
    assert raised.value.excerpt is not None


def people(folder: Path) -> Models:
    """Two audiences over three models over three objects."""
    header = "/* ---\nkey: id\nuser_id: id\ntrack: true\ntags: [{}]\n--- */\n"
    files = {
        "models/staging/contacts.sql": "SELECT id, account_id, email FROM salesforce.contact",
        "models/staging/sales.sql": "/* ---\ntags: [money]\ndescription: Sales\n--- */"
        "SELECT account_id, amount FROM salesforce.opportunity",
        "models/staging/seen.sql": "SELECT contact_id FROM salesforce.campaign_member",
        "models/audiences/vip_contacts.sql": header.format("daily, Marketing")
        + "SELECT c.id, email FROM contacts AS c JOIN sales USING (account_id)",
        "models/audiences/seen_contacts.sql": header.format("daily")
        + "SELECT id, email FROM contacts SEMI JOIN seen ON contact_id = id",
        "models/.hidden.sql": "not SQL",
        "models/readme.md": "not SQL either",
    }
    return read_models(write(folder, files))


def test_what_reads_what_is_in_the_sql_itself(tmp_path: Path) -> None:
    models = people(tmp_path)
    vip = models.by_name["vip_contacts"]
    assert ("audience", "view", "duckdb") == (vip.kind, vip.materialized, vip.dialect)
    assert (("contacts", "sales"), ()) == (vip.depends_on, vip.reads)
    assert ("contact", "opportunity") == models.objects_read("vip_contacts")
    assert ("opportunity",) == models.by_name["sales"].reads
    assert ("money",) == models.by_name["sales"].tags
    assert ("id", "email") == vip.columns
    assert "models/audiences/vip_contacts.sql" == vip.file
    assert vip.sql.startswith("SELECT c.id")


def test_a_model_stands_after_those_it_reads(tmp_path: Path) -> None:
    models = people(tmp_path)
    names = list(models.by_name)
    assert names.index("contacts") < names.index("seen_contacts")
    assert names.index("sales") < names.index("vip_contacts")
    assert ["seen_contacts", "vip_contacts"] == [model.name for model in models.audiences()]


@pytest.mark.parametrize(
    ("patterns", "exclude", "expected"),
    [
        ((), (), {"contacts", "sales", "seen", "vip_contacts", "seen_contacts"}),
        (("vip_contacts",), (), {"vip_contacts"}),
        (("VIP_Contacts",), (), {"vip_contacts"}),
        (("*_contacts",), (), {"vip_contacts", "seen_contacts"}),
        (("*_contacts",), ("vip_*",), {"seen_contacts"}),
        (("tag:daily",), (), {"vip_contacts", "seen_contacts"}),
        (("tag:Mark*",), (), {"vip_contacts"}),
        (("object:Opportunity",), (), {"sales", "vip_contacts"}),
        (("object:CampaignMember",), (), {"seen", "seen_contacts"}),
        (("object:campaign_member", "sales"), (), {"seen", "seen_contacts", "sales"}),
        ((), ("object:Contact",), {"sales", "seen"}),
    ],
)
def test_a_selection_takes_names_globs_tags_and_objects(
    patterns: tuple[str, ...], exclude: tuple[str, ...], expected: set[str], tmp_path: Path
) -> None:
    found = people(tmp_path).select(patterns, exclude)
    assert expected == {model.name for model in found}


@pytest.mark.parametrize(
    ("patterns", "exclude", "message"),
    [
        (("vip_contcts",), (), 'Did you mean "vip_contacts"?'),
        (("vip_contacts", "nobody"), (), '"nobody" matches no model'),
        (("tag:dayly",), (), 'Did you mean "tag:daily"?'),
        (("object:Contct",), (), 'Did you mean "object:contact"?'),
        (("sales",), ("sales",), "leaves no model"),
        ((), ("nobody",), '"nobody" matches no model'),
        (("zzz_*",), (), '"zzz_*" matches no model'),
    ],
)
def test_a_selection_of_nothing_is_an_error(
    patterns: tuple[str, ...], exclude: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    with pytest.raises(NothingSelected) as caught:
        people(tmp_path).select(patterns, exclude)
    assert message in caught.value.message


def test_an_object_that_is_not_extracted_is_named(tmp_path: Path) -> None:
    """When it is known what is extracted; without that, every landed table may be there."""
    folder = write(
        tmp_path,
        {
            "models/a.sql": "SELECT 1 AS x FROM salesforce.contact",
            "models/b.sql": "SELECT 1 AS x\n"
            "FROM salesforce.CampainMember, salesforce.npe01__oppo__c",
        },
    )
    assert {"a", "b"} == set(read_models(folder).by_name)
    with pytest.raises(SeveralModelErrors) as caught:
        read_models(folder, objects=["Contact", "CampaignMember"])
    first, second = caught.value.flattened()
    assert ("models/b.sql", 2) == (first.file, first.line)
    assert 'Did you mean "salesforce.campaign_member"?' in first.message
    assert "salesforce.npe01__oppo__c is not extracted" == second.message
    assert "[sources.salesforce]" in second.hint


def test_columns_that_only_the_warehouse_knows_are_checked_with_its_help(tmp_path: Path) -> None:
    """A star over a landed table tells nothing offline."""
    header = "/* ---\nkey: id\nuser_id: id\ntrack:\n  properties: {mail: emial}\n--- */\n"
    sql = header + "SELECT * FROM salesforce.contact"
    folder = write(tmp_path, {"models/audiences/a.sql": sql})
    model = read_models(folder).by_name["a"]
    assert model.columns is None
    check_columns(model, ["ID", "emial"])
    with pytest.raises(UnknownColumn) as caught:
        check_columns(model, ["Id", "Email"])
    assert ("models/audiences/a.sql", 5) == (caught.value.file, caught.value.line)
    assert 'Did you mean "email"?' in caught.value.message


def test_a_header_may_stand_beside_its_file(tmp_path: Path) -> None:
    """The same keys, for people who want their editor's completion."""
    folder = write(
        tmp_path,
        {
            "models/audiences/a.sql": "SELECT 1 AS id",
            "models/audiences/a.yml": "---\nkey: id\nuser_id: id\ntrack: true\n",
            "models/staging/b.sql": "SELECT 1 AS id",
            "models/staging/b.yml": "materialized: table\n",
        },
    )
    models = read_models(folder)
    assert models.by_name["a"].audience is not None
    assert "models/audiences/a.yml" == models.by_name["a"].audience.file
    assert "table" == models.by_name["b"].materialized


def test_an_audience_may_stand_anywhere(tmp_path: Path) -> None:
    """Its header makes it one, not its folder."""
    header = "/* --- {key: id, user_id: id, track: true} --- */"
    models = read_models(write(tmp_path, {"models/a.sql": header + "SELECT 1 AS id"}))
    assert "audience" == models.by_name["a"].kind


def test_files_of_other_systems_are_read(tmp_path: Path) -> None:
    """A byte order mark and Windows' line ends change nothing."""
    text = "\ufeff/* ---\r\nkey: id\r\nuser_id: id\r\ntrack: true\r\n--- */\r\nSELECT 1 AS id\r\n"
    folder = write(tmp_path, {"models/a.sql": text})
    (folder / "a.sql").write_bytes(text.encode())
    assert ("id",) == read_models(folder).by_name["a"].columns
    (folder / "a.sql").write_bytes(text.encode("utf-16"))
    with pytest.raises(ModelError, match="not UTF-8"):
        read_models(folder)
    (folder / "a.sql").write_bytes((text + "-- Zürich\n").encode("utf-8-sig").replace(b"\xc3", b""))
    with pytest.raises(ModelError, match="not UTF-8") as raised:
        read_models(folder)
    assert 7 == raised.value.line and "Save it" in raised.value.hint


def test_no_models_are_no_error(tmp_path: Path) -> None:
    assert {} == read_models(tmp_path / "missing").by_name


WORDS = """
    SELECT FROM WHERE AND NOT a m1 salesforce.contact , ( ) [ ] { } : :: * - = <> || 'x' 'it''s 1
    NULL AS JOIN ON USING GROUP BY ALL ORDER LIMIT OVER COUNT( unnest( CASE WHEN END UNION WITH x
    IN EXISTS INTERVAL now() random() PIVOT FOR VALUES EXCLUDE COLUMNS( -> $ ? ; -- /* */ " ! %
    lambda STRUCT cast( 1e9 SAMPLE FILTER DESC ASOF DESCRIBE SET INSERT CREATE TABLE /* ---
"""


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(words=st.lists(st.sampled_from(WORDS.split()), max_size=12), at=st.integers(0, 40))
def test_no_sql_whatever_breaks_the_reader(words: list[str], at: int, tmp_path: Path) -> None:
    """Any text gives a model with a definition, or errors of ours; never a traceback."""
    good = "SELECT a.id, COUNT(*) AS n FROM m1 AS a JOIN salesforce.account USING (id) GROUP BY ALL"
    text = " ".join([*good.split(" ")[:at], *words, *good.split(" ")[at:]])
    (tmp_path / "m1.sql").write_text("SELECT id FROM salesforce.contact")
    (tmp_path / "m2.sql").write_text(text)
    try:
        models = read_models(tmp_path)
        fingerprint(canonical_sql(models, "m2"))
    except TailraceError as error:
        assert all(each.file for each in error.flattened())


def test_sql_that_is_nested_too_deep_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m1.sql").write_text("SELECT " + "(" * 5_000 + "1" + ")" * 5_000 + " AS a")
    with pytest.raises(ModelError, match="nested too deep"):
        read_models(tmp_path)


def test_what_is_not_a_file_is_named_instead_of_left_out(tmp_path: Path) -> None:
    """An audience whose file is not seen would count as deleted."""
    folder = tmp_path / "models"
    (folder / "folder.sql").mkdir(parents=True)
    (folder / "dangling.sql").symlink_to("nowhere.sql")
    (folder / "loop.yml").symlink_to("loop.yml")
    (folder / "ring").symlink_to(".")
    os.mkfifo(folder / "fifo.sql")
    (folder / "inner").mkdir()
    (folder / "inner" / "one.sql").write_text("SELECT 1 AS n")

    files, errors = model_files(folder)

    assert [folder / "inner" / "one.sql"] == files
    named = {"models/dangling.sql", "models/fifo.sql", "models/folder.sql", "models/loop.yml"}
    assert named == {error.file for error in errors}
    assert {"Rename or remove it."} == {error.hint for error in errors}


def test_a_folder_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("")
    files, (error,) = model_files(tmp_path / "models")
    assert ([], "models") == (files, error.file)
    assert "cannot be read: Not a directory" in error.message
    assert ([], []) == model_files(tmp_path / "none")
