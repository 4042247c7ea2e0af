"""`status` names the files that are broken now, beside the results that came before them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from shop import PEOPLE, Shop

import tailrace
from tailrace.cli.output.text import blocks
from tailrace.results import Result
from tailrace.testing import SegmentSimulator

TOWNS = "SELECT id,\n  city AS town\nFROM salesforce.contact"
OTHER = PEOPLE.replace("audience: people", "audience: towns").partition("SELECT")[0]
OTHER = OTHER.replace("city: city", "city: town").replace(", score: score", "")
OTHER = OTHER.replace("email: email", "town: town") + "SELECT id, town FROM staged"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A project that has delivered two audiences, one of them by a model below it."""
    with SegmentSimulator() as segment:
        shop = Shop(tmp_path_factory.mktemp("broken"), segment)
        (shop.root / "models" / "staging").mkdir()
        (shop.root / "models" / "staging" / "staged.sql").write_text(TOWNS)
        shop.audience(PEOPLE)
        shop.audience(OTHER, "file_of_towns")
        shop.land([{"id": "c1", "email": "a@example.com", "city": "Bern"}])
        assert 0 == shop.sync().exit_code
        yield shop


def status(shop: Shop, *, check: bool = False) -> Result:
    return tailrace.Project.load(shop.root, environ=shop.environ).status(check=check)


def text_of(result: Result) -> str:
    return "\n".join(str(block) for block in blocks(result.as_dict()))


@pytest.mark.parametrize(
    ("file", "old", "new", "line", "stopped"),
    [
        ("audiences/people", "FROM", "FRM FRM", 12, ["people"]),
        ("audiences/people", "key: id", "kye: id", 3, ["people"]),
        ("audiences/people", "key: id", "key: [", 5, ["people"]),
        ("audiences/people", "SELECT id, email", "SELECT id, mail AS email", 12, ["people"]),
        ("audiences/people", "SELECT id, email", "SELECT id, email AS mail", 9, ["people"]),
        ("audiences/people", "salesforce.contact", "salesforce.nosuch", 12, ["people"]),
        ("audiences/file_of_towns", "SELECT", "SELCT", 12, ["towns"]),
        ("staging/staged", "FROM", "FRM FRM", 3, ["towns"]),
        ("staging/staged", "city AS", "ctiy AS", 2, ["towns"]),
        ("staging/staged", "AS town", "AS twon", None, ["towns"]),
    ],
)
def test_the_status_names_a_file_that_broke_after_a_good_run(
    file: str, old: str, new: str, line: int | None, stopped: list[str], shop: Shop
) -> None:
    path = shop.root / "models" / f"{file}.sql"
    good = path.read_text()
    path.write_text(good.replace(old, new, 1))
    result = status(shop, check=True)
    broken = result.data["broken"]
    assert sorted({name for entry in broken for name in entry["audiences"]}) == stopped
    places = [(entry["file"], entry["line"]) for entry in broken]
    assert line is None or (f"models/{file}.sql", line) in places
    assert broken[0]["hint"]
    # What the last run made of it stays beside it.
    assert {"ok"} == {audience["status"] for audience in result.data["audiences"]}
    assert stopped == [a["audience"] for a in result.data["audiences"] if a["broken"]]
    assert ("failed", "tailrace validate") == (
        result.data["verdict"]["status"],
        result.data["verdict"]["command"],
    )
    place = f"{broken[0]['file']}:{broken[0]['line']}: {broken[0]['message']}"
    assert place in result.data["verdict"]["sentence"]
    assert (1, stopped) == (result.exit_code, [p["audience"] for p in result.data["problems"]])
    text = text_of(result)
    assert place in text and broken[0]["hint"] in text and f"This stops {stopped[0]}." in text
    with pytest.raises(tailrace.errors.UserError):
        tailrace.Project.load(shop.root, environ=shop.environ).validate()
    path.write_text(good)
    corrected = status(shop, check=True)
    assert (0, [], "ok") == (
        corrected.exit_code,
        corrected.data["broken"],
        corrected.data["verdict"]["status"],
    )


def test_what_a_run_failed_with_decides_the_next_command(shop: Shop) -> None:
    """The error of a model is shown by a plan once its file is not broken as such."""
    shop.audience(PEOPLE.replace("key: id", "key: email"))
    assert 2 == shop.sync(select=["people"]).exit_code
    assert [] == status(shop).data["broken"]
    assert "tailrace plan" == status(shop).data["verdict"]["command"]
    shop.audience(PEOPLE)
    assert 0 == shop.sync().exit_code


def test_a_broken_file_is_named_before_the_first_run(shop: Shop) -> None:
    shop.file.unlink()
    shop.audience("SELCT")
    result = status(shop)
    assert "No run yet" in text_of(result) and "models/audiences/people.sql:1" in text_of(result)
    assert "failed" == result.data["verdict"]["status"]
