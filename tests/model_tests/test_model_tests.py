"""`tailrace test`: rows in, members and calls out, without an account."""

from pathlib import Path
from typing import Any

import pytest

from tailrace import Project
from tailrace.errors import ModelTestInvalid, TailraceError
from tailrace.results import Result

CONFIG = '[sources.salesforce]\nobjects = ["Contact", "Account"]\n'
LIVE = "SELECT id, email, city, score, no_mail FROM salesforce.contact WHERE is_deleted IS NOT TRUE"
PEOPLE = """/* ---
audience: people
key: id
user_id: id
track:
  changed: Person Changed
  properties: {city: city, score: score}
identify:
  traits: {email: email}
consent: {suppress_when: no_mail}
--- */
SELECT id, email, city, score, no_mail FROM live WHERE score > 10
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / ".dlt").mkdir()
    (tmp_path / ".dlt" / "config.toml").write_text(CONFIG)
    (tmp_path / "models" / "audiences").mkdir(parents=True)
    (tmp_path / "models" / "live.sql").write_text(LIVE)
    (tmp_path / "models" / "audiences" / "people.sql").write_text(PEOPLE)
    return tmp_path


def run(root: Path, tests: str, *, name: str = "audiences/people") -> Result:
    (root / "models" / f"{name}.test.yml").write_text(tests)
    return Project.load(root, environ={}).test()


def differences(result: Result) -> list[tuple[Any, ...]]:
    """The problem, row, column, expected and actual value of every difference."""
    fields = ("of", "problem", "row", "column", "expected", "actual")
    return [
        tuple(difference[field] for field in fields)
        for test in result.data["tests"]
        for difference in test["differences"]
    ]


def error_of(root: Path, tests: str, *, name: str = "audiences/people") -> TailraceError:
    """The one error of the file of tests."""
    result = run(root, tests, name=name)
    assert result.exit_code == 2
    (error,) = result.errors
    return error.flattened()[0]


GIVEN = """
given:
  salesforce.contact:
    - {id: c1, email: ada@acme.example, city: NO, score: 20}
    - {id: c2, score: 5}
    - {id: c3, score: 30, no_mail: true}
    - {id: c4, score: 40, is_deleted: true}
"""


def test_members_and_calls_of_a_first_run(root: Path) -> None:
    result = run(
        root,
        GIVEN
        + """
tests:
  - name: rich contacts enter
    expect:
      rows: [{id: c1}, {id: c3}]
      members: [{id: c1, city: NO, score: 20}]
      calls:
        - {type: track, event: Segment Entered, userId: c1, properties: {city: NO, score: 20}}
        - {type: identify, userId: c1, traits: {email: ada@acme.example}}
""",
    )
    assert (result.exit_code, result.data["passed"], differences(result)) == (0, 1, [])


def test_each_difference_is_named(root: Path) -> None:
    result = run(
        root,
        GIVEN
        + """
tests:
  - name: all is wrong
    expect:
      rows: [{id: c1}]
      members: [{id: c1, city: Oslo}, {id: c2}]
      calls: [{type: track, userId: c1, properties: {score: 21}}]
""",
    )
    assert result.exit_code == 1
    assert differences(result) == [
        ("rows", "unexpected", "id c3", "", None, None),
        ("members", "different", "id c1", "city", "Oslo", "NO"),
        ("members", "missing", "id c2", "", None, None),
        ("calls", "different", "type track, userId c1", "properties.score", 21, 20),
        ("calls", "unexpected", "type identify, userId c1", "", None, None),
    ]


def test_before_decides_what_changed_and_who_exits(root: Path) -> None:
    result = run(
        root,
        GIVEN
        + """
tests:
  - name: a column that before leaves out did not change
    before: [{id: c1, score: 12}, {id: gone, email: gone@acme.example, score: 99}]
    expect:
      calls:
        - {type: track, event: Person Changed, userId: c1, properties: {score: 20}}
        - {type: track, event: Segment Exited, userId: gone, properties: {score: 99}}
  - name: nothing changed
    before: [{id: c1}]
    expect: {calls: []}
""",
    )
    assert differences(result) == []
    assert (result.exit_code, result.data["passed"]) == (0, 2)


def test_tests_do_not_see_each_others_rows(root: Path) -> None:
    result = run(
        root,
        """
tests:
  - name: one contact, delivered
    given: {salesforce.contact: [{id: c1, score: 20}]}
    before: [{id: c1}]
    expect: {members: [{id: c1}], calls: []}
  - name: no contacts, nothing delivered
    expect: {members: [], calls: []}
""",
    )
    assert (differences(result), result.data["passed"]) == ([], 2)


def test_the_clock_is_the_tests(root: Path) -> None:
    (root / "models" / "live.sql").write_text(
        "SELECT id, current_date AS today, now() AS at FROM salesforce.contact"
    )
    (root / "models" / "audiences" / "people.sql").unlink()
    result = run(
        root,
        """
given: {salesforce.contact: [{id: c1}]}
tests:
  - {name: default, expect: {rows: [{id: c1, today: 2026-01-01}]}}
  - {name: a time, at: 2026-03-04T05:06:07Z, expect: {rows: [{at: 2026-03-04T05:06:07Z}]}}
""",
        name="live",
    )
    assert (differences(result), result.data["passed"]) == ([], 2)


def test_a_model_can_be_given_instead_of_its_tables(root: Path) -> None:
    result = run(
        root,
        """
tests:
  - name: the model under it is not run
    given: {live: [{id: c9, score: 50, no_mail: false}]}
    expect: {members: [{id: c9, score: 50, city: null}]}
""",
    )
    assert (differences(result), result.data["passed"]) == ([], 1)


def test_rows_from_files(root: Path) -> None:
    folder = root / "models" / "audiences"
    (folder / "contacts.csv").write_text("id,score,no_mail,city\nc1,20,false,Oslo\nc2,5,false,\n")
    (folder / "members.jsonl").write_text('{"id": "c1", "score": 20, "city": "Oslo"}\n')
    result = run(
        root,
        """
tests:
  - name: files
    given: {salesforce.contact: contacts.csv}
    expect: {members: members.jsonl}
""",
    )
    assert (differences(result), result.data["passed"]) == ([], 1)


def test_null_and_duplicate_keys_are_no_members(root: Path) -> None:
    result = run(
        root,
        """
tests:
  - name: keys
    given: {salesforce.contact: [{id: c1, score: 20}, {id: c1, score: 30}, {score: 40}]}
    expect: {members: []}
""",
    )
    assert (differences(result), result.data["passed"]) == ([], 1)


def test_a_member_whose_message_is_rejected_fails(root: Path) -> None:
    result = run(
        root,
        f"""
tests:
  - name: too large
    given: {{salesforce.contact: [{{id: c1, score: 20, city: {"x" * 40_000}}}]}}
    expect: {{calls: []}}
""",
    )
    ((of, problem, row, column, _, reason),) = differences(result)
    assert (of, problem, row, column) == ("calls", "different", "entered c1", "rejected")
    assert reason == "event_over_32_kb"


@pytest.mark.parametrize(
    "type_, sql, value",
    [
        ("BIGINT", "score // 3", 6),
        ("DECIMAL(18, 2)", "CAST(score AS VARCHAR)", "20.00"),
        ("VARCHAR", "score || '!'", "20!"),
    ],
)
def test_types_of_given_columns(root: Path, type_: str, sql: str, value: Any) -> None:
    (root / "models" / "live.sql").write_text(f"SELECT {sql} AS result FROM salesforce.contact")
    (root / "models" / "audiences" / "people.sql").unlink()
    result = run(
        root,
        f"""
types: {{salesforce.contact: {{score: "{type_}"}}}}
given: {{salesforce.contact: [{{id: c1, score: 20}}]}}
tests: [{{name: typed, expect: {{rows: [{{result: "{value}"}}]}}}}]
""".replace('"6"', "6"),
        name="live",
    )
    assert (differences(result), result.data["passed"]) == ([], 1)


def test_the_hint_names_columns_without_a_type(root: Path) -> None:
    (root / "models" / "live.sql").write_text(
        "SELECT id, date_trunc('month', created_date) AS month FROM salesforce.contact"
    )
    (root / "models" / "audiences" / "people.sql").unlink()
    tests = "given: {salesforce.contact: [{id: c1}]}\ntests: [{name: t, expect: {rows: []}}]\n"
    (test,) = run(root, tests, name="live").data["tests"]
    assert test["error"]["file"] == "models/live.sql"
    assert "under types: salesforce.contact.created_date" in test["error"]["hint"]
    typed = "types: {salesforce.contact: {created_date: TIMESTAMP}}\n" + tests
    result = run(root, typed.replace("rows: []", "rows: [{id: c1, month: null}]"), name="live")
    assert result.exit_code == 0


def test_a_value_of_another_type_is_an_error_of_the_test(root: Path) -> None:
    result = run(
        root,
        """
types: {salesforce.contact: {score: DOUBLE}}
tests:
  - name: mistyped
    given: {salesforce.contact: [{id: c1, score: secret-value}]}
    expect: {members: []}
""",
    )
    (test,) = result.data["tests"]
    assert test["error"]["error"] == ModelTestInvalid.__name__
    assert (test["error"]["file"], test["error"]["line"]) == (
        "models/audiences/people.test.yml",
        4,
    )
    assert "secret-value" not in str(test)


@pytest.mark.parametrize(
    "tests, message, line",
    [
        ("tests: []", "tests must be a list of tests", 1),
        ("tests:\n  - {name: a}", "tests.0 lacks expect", 2),
        ("tests:\n  - {name: a, expect: {}}", "tests.0.expect", 2),
        ("tests:\n  - {name: a, expekt: {}, expect: {rows: []}}", '"expekt" is not a key', 2),
        (
            "given: {salesforce.contract: []}\ntests:\n  - {name: a, expect: {rows: []}}",
            'people does not read salesforce.contract. Did you mean "salesforce.contact"?',
            1,
        ),
        (
            "tests:\n  - {name: a, expect: {rows: []}}\n  - {name: a, expect: {rows: []}}",
            'There are two tests "a", the first on line 2',
            3,
        ),
        (
            "tests:\n  - name: a\n    given: {salesforce.contact: none.csv}\n"
            "    expect: {rows: []}",
            "There is no none.csv beside people.test.yml",
            3,
        ),
        (
            "tests:\n  - {name: a, destination: webhok, expect: {calls: []}}",
            'people does not go to "webhok"',
            2,
        ),
        ("tests:\n  - {name: a, at: 2026-13-01, expect: {rows: []}}", "at must be a date", 2),
        ("a: b: c", "The file is not YAML", 1),
    ],
)
def test_a_wrong_file_of_tests(root: Path, tests: str, message: str, line: int) -> None:
    error = error_of(root, tests)
    assert error.message.startswith(message)
    assert (error.file, error.line) == ("models/audiences/people.test.yml", line)
    assert error.hint


def test_a_staging_model_has_no_members(root: Path) -> None:
    error = error_of(root, "tests: [{name: a, expect: {members: []}}]", name="live")
    assert error.message == "live is not an audience, so it has no members"


def test_unknown_columns_in_before_are_an_error_of_the_test(root: Path) -> None:
    result = run(root, "tests: [{name: a, before: [{id: c1, shoe: 9}], expect: {calls: []}}]")
    (test,) = result.data["tests"]
    assert test["error"]["message"] == 'before of the test "a" maps no shoe'


def test_tests_of_a_missing_model_are_an_error(root: Path) -> None:
    (root / "models" / "nobody.test.yml").write_text("tests: []")
    project = Project.load(root, environ={})
    (error,) = project.test().errors
    assert error.message == "There is no nobody.sql beside it"
    assert error.file == "models/nobody.test.yml"
    # A run does not need the tests.
    assert project.validate().exit_code == 0


def test_a_broken_model_does_not_stop_the_tests_of_others(root: Path) -> None:
    (root / "models" / "broken.sql").write_text("SELEC 1")
    result = run(root, "tests: [{name: a, expect: {members: []}}]")
    assert (result.exit_code, result.data["passed"]) == (2, 1)
    assert [error.file for error in result.errors] == ["models/broken.sql"]


def test_a_model_cannot_read_files(root: Path) -> None:
    (root / "models" / "live.sql").write_text("SELECT * FROM read_text('/etc/hostname')")
    (root / "models" / "audiences" / "people.sql").unlink()
    result = run(root, "tests: [{name: a, expect: {rows: []}}]", name="live")
    assert result.exit_code == 2
    assert result.data["tests"] == []


def test_a_project_without_tests(root: Path) -> None:
    result = Project.load(root, environ={}).test()
    assert (result.exit_code, result.data["tests"]) == (0, [])


DIVIDED = """
given:
  salesforce.contact: [{{id: c1, score: {score}}}]
tests:
  - name: half
    expect: {{rows: [{{id: c1, half: {half}}}]}}
"""


@pytest.mark.parametrize(
    ("dialect", "column", "given", "expected"),
    [
        ("snowflake", "score / score", "5.5", "1"),
        ("bigquery", "score / CAST(score AS FLOAT64)", "5.5", "1"),
        ("postgres", "score / CAST(2.5 AS DOUBLE PRECISION)", "5.5", "2.2"),
    ],
)
def test_a_model_of_another_dialect_is_translated_by_the_types_of_the_given_columns(
    root: Path, dialect: str, column: str, given: str, expected: str
) -> None:
    """As a run translates it by the types of the landed columns."""
    (root / "models" / "half.sql").write_text(
        f"/* --- dialect: {dialect} --- */\nSELECT id, {column} AS half FROM salesforce.contact"
    )
    result = run(root, DIVIDED.format(score=given, half=expected), name="half")
    assert (0, []) == (result.exit_code, differences(result)), result.data["tests"]


@pytest.mark.parametrize(
    ("dialect", "column", "message"),
    [
        ("postgres", "city || score", "Text of type DOUBLE may mean something else"),
        ("snowflake", "CAST(score AS VARCHAR)", "CAST to text of type DOUBLE may mean"),
        ("bigquery", "city + 1", "Arithmetic of type TEXT may mean something else"),
    ],
)
def test_a_test_refuses_what_a_run_refuses_for_the_types_of_its_columns(
    root: Path, dialect: str, column: str, message: str
) -> None:
    """Each test has types of its own: the second one of the file gives no value."""
    (root / "models" / "mixed.sql").write_text(
        f"/* --- dialect: {dialect} --- */\nSELECT id, {column} AS x FROM salesforce.contact"
    )
    result = run(
        root,
        """
tests:
  - name: typed
    given:
      salesforce.contact: [{id: c1, city: NO, score: 1.5}]
    expect: {rows: [{id: c1}]}
  - name: without values
    given: {salesforce.contact: [{id: c1}]}
    expect: {rows: [{id: c1, x: null}]}
""",
        name="mixed",
    )
    typed, without = result.data["tests"]
    assert message in typed["error"]["message"]
    assert "models/mixed.sql" == typed["error"]["file"]
    assert without["passed"], without
