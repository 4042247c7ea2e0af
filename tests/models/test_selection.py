"""The patterns of `--select`: names, globs, methods, and `+` for what is read and what reads."""

from pathlib import Path

import pytest

from tailrace import Project
from tailrace.errors import ConfigurationError, NothingSelected, TailraceError
from tailrace.models.loader import Models, load_models
from tailrace.models.manifest import select_by_state, write_manifest

AUDIENCE = """/* ---
key: id
user_id: id
identify: {{membership_trait: member}}
owner: {owner}
tags: [{tags}]
--- */
"""
FILES = {
    "staging/contacts.sql": "SELECT id, account_id FROM salesforce.contact",
    "staging/accounts.sql": "SELECT id FROM salesforce.account",
    "staging/broken.sql": "SELEC 1",
    "audiences/vip.sql": AUDIENCE.format(owner="growth@example.com", tags="daily, vip")
    + "SELECT contacts.id FROM contacts JOIN accounts ON accounts.id = contacts.account_id",
    "audiences/all_people.sql": AUDIENCE.format(owner="crm@example.com", tags="daily")
    + "SELECT id FROM contacts",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / "models" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "models"


def selected(models: Models, *patterns: str, exclude: tuple[str, ...] = ()) -> set[str]:
    usable = {model.name for model in models.select(patterns, exclude)}
    return usable | {broken.name for broken in models.select_broken(patterns, exclude)}


@pytest.mark.parametrize(
    "pattern, names",
    [
        ("vip", "vip"),
        ("VIP", "vip"),
        ("*people", "all_people"),
        ("tag:daily", "vip all_people"),
        ("tag:v*", "vip"),
        ("object:Account", "vip accounts"),
        ("path:models/staging", "contacts accounts broken"),
        ("path:models/staging/", "contacts accounts broken"),
        ("path:models/*/vip.sql", "vip"),
        ("path:models", "contacts accounts broken vip all_people"),
        ("owner:crm@example.com", "all_people"),
        ("owner:*@example.com", "vip all_people"),
        ("+vip", "vip contacts accounts"),
        ("contacts+", "contacts vip all_people"),
        ("+accounts+", "accounts vip"),
        ("accounts", "accounts"),
        ("+tag:vip", "vip contacts accounts"),
        ("tag:daily,owner:growth*", "vip"),
        ("contacts+,accounts+", "vip"),
    ],
)
def test_a_pattern_selects(folder: Path, pattern: str, names: str) -> None:
    expected = set(names.split())
    if pattern.startswith("path:models") and "/*" not in pattern:
        # A file that cannot be read has no path to match, so its errors are for other selections.
        expected -= {"broken"}
    assert selected(load_models(folder), pattern) == expected


def test_exclude_takes_away(folder: Path) -> None:
    assert selected(load_models(folder), "contacts+", exclude=("tag:vip",)) == {
        "contacts",
        "all_people",
    }
    with pytest.raises(NothingSelected, match="leaves no model"):
        load_models(folder).select(["vip"], ["tag:daily"])


@pytest.mark.parametrize(
    "pattern", ["vpi", "tag:dayly", "owner:crm@example.org", "path:models/staging/contact.sql"]
)
def test_a_pattern_that_matches_nothing_suggests_another(folder: Path, pattern: str) -> None:
    with pytest.raises(NothingSelected, match="Did you mean"):
        load_models(folder).select([pattern])


def test_modified_models_are_those_whose_select_or_header_changed(
    folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "manifest.json"
    write_manifest(load_models(folder), file)

    def modified(state: str = "modified") -> set[str]:
        return set(select_by_state(load_models(folder), state, file))

    (folder / "staging" / "broken.sql").unlink()
    assert modified() == set()
    contacts = folder / "staging" / "contacts.sql"
    contacts.write_text("select ID,  account_id\nfrom salesforce.contact -- as before")
    assert modified() == set()
    contacts.write_text("SELECT id, account_id FROM salesforce.contact WHERE id > 'a'")
    assert modified() == {"contacts", "vip", "all_people"}
    contacts.write_text(FILES["staging/contacts.sql"])
    vip = folder / "audiences" / "vip.sql"
    vip.write_text(FILES["audiences/vip.sql"].replace("user_id: id", "anonymous_id: id"))
    assert modified() == {"vip"}
    assert modified("unmodified") == {"contacts", "accounts", "all_people"}
    (folder / "staging" / "extra.sql").write_text("SELECT 1 AS one")
    assert (modified(), modified("new")) == ({"vip", "extra"}, {"extra"})
    contacts.write_text("SELEC")
    assert modified() == {"contacts", "vip", "all_people", "extra"}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"manifest_version": 99, "models": {}}', "\0"])
def test_a_file_that_is_no_manifest(folder: Path, tmp_path: Path, text: str) -> None:
    file = tmp_path / "manifest.json"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match="is not a manifest") as raised:
        select_by_state(load_models(folder), "modified", file)
    assert "tailrace ls --manifest FILE" in raised.value.hint


def errors_of(project: Project, pattern: str) -> TailraceError:
    with pytest.raises(TailraceError) as raised:
        project.ls(select=[pattern])
    return raised.value


def test_a_project_selects_by_state_and_result(folder: Path, tmp_path: Path) -> None:
    (folder / "staging" / "broken.sql").unlink()
    (tmp_path / ".dlt").mkdir()
    config = '[sources.salesforce]\nobjects = ["Contact", "Account"]\n'
    (tmp_path / ".dlt" / "config.toml").write_text(config)
    project = Project.load(tmp_path, environ={})
    assert "Add --state FILE" in errors_of(project, "state:modified").hint
    assert "state:modified" in errors_of(project, "state:modifed").message
    assert "result:failed" in errors_of(project, "result:faild").message
    # Nothing ran yet, so no audience failed; that is not an error.
    assert project.ls(select=["result:failed"]).data["models"] == []
    manifest = tmp_path / "manifest.json"
    project.ls(manifest=manifest)
    again = Project.load(tmp_path, environ={}, state=manifest)
    assert again.ls(select=["state:modified"]).data["models"] == []
    (folder / "staging" / "accounts.sql").write_text("SELECT id FROM salesforce.account LIMIT 5")
    names = [model["name"] for model in again.ls(select=["state:modified"]).data["models"]]
    assert names == ["accounts", "vip"]
