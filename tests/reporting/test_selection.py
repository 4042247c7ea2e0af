"""A name that matches nothing, and a file with errors beside files without."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from shop import PEOPLE, Shop

from tailrace import Project, errors
from tailrace.cli import app
from tailrace.cli.output.text import blocks
from tailrace.testing import SegmentSimulator

BROKEN = PEOPLE.replace("audience: people", "audience: broken").replace("SELECT", "SELCT")
OTHERS = PEOPLE.replace("audience: people", "audience: persons")


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """`people` is in the ledger."""
    with SegmentSimulator() as segment:
        shop = Shop(tmp_path / "shop", segment)
        shop.audience(PEOPLE)
        shop.land([{"id": "c1", "email": "a@example.com"}])
        shop.sync()
        yield shop


def project_of(shop: Shop) -> Project:
    return Project.load(shop.root, environ=shop.environ, clock=shop.clock)


COMMANDS: dict[str, Callable[[Project, str], Any]] = {
    "plan": lambda project, name: project.plan(select=[name]),
    "sync": lambda project, name: project.sync(select=[name]),
    "retry": lambda project, name: project.retry(select=[name]),
    "reset": lambda project, name: project.reset(name, send=False),
    "validate": lambda project, name: project.validate(select=[name]),
    "ls": lambda project, name: project.ls(select=[name]),
    "exclude": lambda project, name: project.ls(exclude=[name]),
    "tracking-plan": lambda project, name: project.tracking_plan(select=[name]),
    "extract": lambda project, name: project.extract(select=[name], dry_run=True),
    "test": lambda project, name: project.test(select=[name]),
}


def refusal(command: str, shop: Shop, name: str) -> errors.NothingSelected:
    with pytest.raises(errors.NothingSelected) as raised:
        COMMANDS[command](project_of(shop), name)
    return raised.value


def test_a_former_audience_is_named_by_every_command(shop: Shop) -> None:
    """By its name, a misspelt name, or a pattern."""
    shop.forget_audience("people")
    shop.audience(OTHERS, "persons")
    for command in COMMANDS:
        former = refusal(command, shop, "people")
        assert "people has members in the ledger and no model file" == former.message
        assert "tailrace retire people" in former.hint
    misspelt = refusal("validate", shop, "peopl").message
    assert 'Did you mean "people"? It has members in the ledger' in misspelt
    assert 'Did you mean "persons"?' in refusal("ls", shop, "person").message
    assert "In the ledger, people has members" in refusal("plan", shop, "peop*").message
    assert "ledger" not in refusal("extract", shop, "zzz").message


def test_a_renamed_audience_is_found_by_its_file(shop: Shop) -> None:
    shop.audience(OTHERS, "people")
    for command in COMMANDS:
        error = refusal(command, shop, "people")
        assert ("models/audiences/people.sql", 2) == (error.file, error.line)
        assert "this file declares persons" in error.message
        assert "tailrace rename people persons" in error.hint


def test_a_new_audience_is_found_by_its_file(shop: Shop) -> None:
    shop.audience(OTHERS, "newcomers")

    with pytest.raises(errors.NothingSelected, match="declares the audience persons") as raised:
        project_of(shop).ls(select=["newcomers"])

    assert ("models/audiences/newcomers.sql", 2) == (raised.value.file, raised.value.line)
    assert "--select persons" in raised.value.hint


def test_an_override_of_a_former_audience_names_it(shop: Shop) -> None:
    shop.forget_audience("people")
    shop.audience(OTHERS, "persons")
    allow = {name: shop.allow((name, "keys")) for name in ("people", "peopel")}

    with pytest.raises(errors.NothingSelected, match="people has members in the ledger"):
        project_of(shop).plan(options=allow["people"])
    with pytest.raises(errors.NothingSelected, match='Did you mean "people"'):
        project_of(shop).plan(options=allow["peopel"])


def test_a_file_with_errors_does_not_stop_the_others(
    shop: Shop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ls`, `tracking-plan`, `doctor`, `extract`, `rename`, `retire` and `trace`."""
    shop.audience(BROKEN, "broken")
    project = project_of(shop)

    listed = project.ls()
    assert (1, ["people"]) == (listed.exit_code, [m["name"] for m in listed.data["models"]])
    place = ("models/audiences/broken.sql", 12)
    assert [place] == [(error.file, error.line) for error in listed.errors]
    assert "people" in str(list(blocks(listed.as_dict())))

    drafted = project.tracking_plan(out=shop.root / "plan.yaml")
    assert 1 == drafted.exit_code and [place] == [(e.file, e.line) for e in drafted.errors]
    assert "People Changed" in (shop.root / "plan.yaml").read_text()
    assert "no rules" in drafted.warnings[0]["message"]

    assert ["Contact"] == project.extract(select=["people"], dry_run=True).data["would_load"]
    with pytest.raises(errors.SqlDoesNotParse):
        project.extract(select=["broken"], dry_run=True)
    with pytest.raises(errors.NothingSelected, match="still declares"):
        project.rename("people", "persons")
    assert "people.sql" in str(project.retire("people", dry_run=True).warnings)
    person = project.trace("c1", show_values=True)
    assert (0, ["broken"]) == (person.exit_code, person.data["models_not_run"])
    assert "" == person.data["audiences"][0]["why_not"]
    unknown = project.trace("nobody")
    assert 2 == unknown.exit_code and "not run: broken" in unknown.errors[0].message

    for name, value in shop.environ.items():
        monkeypatch.setenv(name, value)
    assert 2 == app.answer(["doctor", "--project-dir", str(shop.root)])
    checks = capsys.readouterr().out
    assert "broken.sql:12" in checks and "1 models, 1 of them audiences" in checks
    assert "1 objects loaded" in checks


def test_validate_names_the_model_at_fault_before_those_that_read_it(shop: Shop) -> None:
    """A misspelt column is missing in every model above, and is found in the warehouse."""
    (shop.root / "models" / "staging").mkdir()
    staged = "SELECT id, emial, city, score, is_deleted FROM salesforce.contact\n"
    (shop.root / "models" / "staging" / "staged.sql").write_text(staged)
    above = PEOPLE.replace("email, city", "s.email, city")
    shop.audience(above.replace("FROM salesforce.contact", "FROM staged AS s"))

    for select in ([], ["people"]):
        with pytest.raises(errors.SeveralModelErrors) as raised:
            project_of(shop).validate(select=select)
        first, second = raised.value.errors
        assert ("models/staging/staged.sql", 1) == (first.file, first.line)
        assert "emial" in first.message and "people.sql" in str(second.file)


def test_a_selection_of_broken_files_only_is_the_users_error(shop: Shop) -> None:
    shop.audience(BROKEN, "broken")
    for call in (project_of(shop).ls, project_of(shop).tracking_plan):
        with pytest.raises(errors.SqlDoesNotParse):
            call(select=["broken"])
        assert 0 == call(select=["people"]).exit_code


def test_the_audience_of_a_broken_file_is_not_called_deleted(shop: Shop) -> None:
    shop.audience(PEOPLE.replace("SELECT", "SELCT"))
    (audience,) = project_of(shop).trace("c1").data["audiences"]
    assert "member" == audience["membership"]
    assert "the model cannot be run: models/audiences/people.sql:12" in audience["why_not"]


def test_a_file_that_cannot_be_read_is_the_error_of_its_audience(
    shop: Shop, tmp_path: Path
) -> None:
    """Of a model, a sidecar, the settings, and the tracking plan."""
    # It is a file, and no user can read it.
    unreadable = Path("/proc/self/mem")
    assert unreadable.is_file()
    audiences = shop.root / "models" / "audiences"
    (audiences / "locked.sql").symlink_to(unreadable)
    (audiences / "other.sql").write_text("SELECT id FROM salesforce.contact")
    (audiences / "other.yml").symlink_to(unreadable)

    listed = project_of(shop).ls()
    assert (1, ["people"]) == (listed.exit_code, [m["name"] for m in listed.data["models"]])
    files = ["models/audiences/locked.sql", "models/audiences/other.yml"]
    assert files == sorted(str(error.file) for error in listed.errors)
    assert all("cannot be read: " in error.message for error in listed.errors)

    (shop.root / "tracking_plan.yaml").symlink_to(unreadable)
    for name in ("locked.sql", "other.sql", "other.yml"):
        (audiences / name).unlink()
    with pytest.raises(errors.TrackingPlanInvalid, match="cannot be read"):
        project_of(shop).validate()
    (shop.root / ".dlt" / "secrets.toml").symlink_to(unreadable)
    with pytest.raises(errors.InvalidConfigValue, match="cannot be read") as raised:
        project_of(shop)
    assert ".dlt/secrets.toml" == raised.value.file
