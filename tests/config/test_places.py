"""Errors of the configuration name the file and the line, or the variable, and never a value."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tailrace.cli.commands.init import scaffold
from tailrace.config.check import check_settings
from tailrace.config.project import load_project
from tailrace.config.toml_lines import key_lines
from tailrace.destinations.registry import check_destinations
from tailrace.errors import ConfigurationError, InvalidConfigValue

EVERY_FORM = '''# [comment]
top = 1
[tailrace] # host = 3
salt = "a # [b]" # c
"quoted \\u0074.k" = """
host = 3
[no] \\""" """
'literal' = \'\'\'
x = 1'\'\'\'
list = [ 1, # host = 2
  "a]", { inner = 3, d.e = '}' }, [
  2.5, -inf],
]
day = 1979-05-27 07:32:00
b.c."d e" = true
[[many.of]]
x = 1
[[many.of]]
y = {}
  [ spaced . "tab le" ]
  k=1.5
'''
LINES = {
    "top": 2,
    "tailrace": 3,
    "tailrace|salt": 4,
    "tailrace|quoted t.k": 5,
    "tailrace|literal": 8,
    "tailrace|list": 10,
    "tailrace|list|inner": 11,
    "tailrace|list|d": 11,
    "tailrace|list|d|e": 11,
    "tailrace|day": 14,
    "tailrace|b": 15,
    "tailrace|b|c": 15,
    "tailrace|b|c|d e": 15,
    "many": 16,
    "many|of": 16,
    "many|of|x": 17,
    "many|of|y": 19,
    "spaced": 20,
    "spaced|tab le": 20,
    "spaced|tab le|k": 21,
}


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_every_key_of_a_file_has_its_line(ending: str) -> None:
    text = EVERY_FORM.replace("\n", ending)
    found = {"|".join(path): line for path, line in key_lines(text).items()}
    assert LINES == found
    assert {"|".join(path) for path in _paths(tomllib.loads(text))} == found.keys()


def _paths(value: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield (*above, key)
            yield from _paths(inner, (*above, key))
    elif isinstance(value, list):
        for inner in value:
            yield from _paths(inner, above)


def checked(root: Path, files: dict[str, str], environ: dict[str, str]) -> None:
    (root / ".dlt").mkdir()
    for name, text in {"config.toml": "", **files}.items():
        (root / ".dlt" / name).write_text(text)
    project = load_project(
        root, target="dev" if "dev.config.toml" in files else None, environ=environ
    )
    check_settings(project)
    project.segment()
    project.salesforce_credentials()
    check_destinations(project, [*files.get("destinations", "segment").split()])


LOGIN = "[sources.salesforce.credentials]\ninstance_url = 'https://a.my.salesforce.com'\n"
KEYS = "[destination.segment]\nwrite_key = 'sk-hidden'\n"
OF_TASK = "[sources.salesforce.object.Task]\n"
ON_LAKE = f"[tailrace]\nwarehouse = 'ducklake'\n{OF_TASK}"
WEBHOOK = "[destination.hook]\ntype = 'webhook'\n"


@pytest.mark.parametrize(
    ("files", "place"),
    [
        ({"config.toml": "# none\n[tailrase]\nsalt = 'sk-hidden'"}, "config.toml:2"),
        ({"config.toml": "\n\nobjects = 1"}, "config.toml:3"),
        ({"config.toml": "[sources]\nsalesforce = {}\n[sources.salesfroce]"}, "config.toml:3"),
        ({"config.toml": "[tailrace]\nsalt='x'\n\nwarehose = 'sk-hidden'"}, "config.toml:4"),
        ({"config.toml": "[tailrace]\nmemory_share_max = 'sk-hidden'"}, "config.toml:2"),
        ({"config.toml": "[tailrace]\nwarehouse = 'duckbd'"}, "config.toml:2"),
        ({"config.toml": "[tailrace]\nwarehouse = 'clickhouse'"}, "config.toml:2"),
        ({"config.toml": "[tailrace]\n\nmodel_role = 'sk-hidden'"}, "config.toml:3"),
        ({"config.toml": "[tailrace]\nstate_url = 'ftp://a'"}, "config.toml:2"),
        ({"config.toml": "tailrace.alerts.on = ['faild']"}, "config.toml:1"),
        ({"config.toml": "[sources.salesforce]\napi_version = '64'"}, "config.toml:2"),
        ({"config.toml": "[sources.salesforce.object.Contct]"}, "config.toml:1"),
        ({"config.toml": OF_TASK + "partition_by = 'CreatedDate'"}, "config.toml:2"),
        ({"config.toml": OF_TASK + "\npartition_by = 'hour(CreatedDate)'"}, "config.toml:3"),
        ({"config.toml": OF_TASK + "partition_by = 'month(CreatedDate)'"}, "config.toml:2"),
        (
            {"config.toml": ON_LAKE + "fields = ['DueDate']\npartition_by = 'day(DueDat)'"},
            "config.toml:5",
        ),
        ({"config.toml": "[destination.duckdb]\ncredentials = ':memory:'"}, "config.toml:2"),
        ({"config.toml": "[destination.segment]\n\nhost = 'http://b.example'"}, "config.toml:3"),
        ({"config.toml": "[destination.segment]\ntype = 'carrier'"}, "config.toml:2"),
        ({"config.toml": "[tailrace]\ndataset = 'TailRace'"}, "config.toml:2"),
        ({"config.toml": "[tailrace]\n\nledger_dataset = ' '"}, "config.toml:3"),
        (
            {
                "config.toml": "[tailrace]\ndataset = 'tailrace_dev'",
                "dev.config.toml": "[tailrace]\n\nledger_dataset = 'Tailrace_Dev'",
            },
            "config.toml:2",
        ),
        (
            {"dev.config.toml": "[tailrace]\n\nledger_dataset = 'salesforce'"},
            "dev.config.toml:3",
        ),
        ({"secrets.toml": LOGIN.replace("https", "http")}, "secrets.toml:2"),
        ({"secrets.toml": LOGIN + "private_key_file = 'sk.pem'"}, "secrets.toml:3"),
        ({"secrets.toml": KEYS + "[destination.segment.proxi]"}, "secrets.toml:3"),
        ({"secrets.toml": "\n[destination.segment]\nwrite_key = ['sk-hidden']"}, "secrets.toml:3"),
        ({"secrets.toml": "a = 'sk-hidden"}, "secrets.toml:1"),
        ({"config.toml": WEBHOOK + "url = 'nowhere'", "destinations": "hook"}, "config.toml:3"),
        (
            {
                "config.toml": WEBHOOK + "url = 'https://a.example'",
                "secrets.toml": KEYS + LOGIN + "[destination.hook]\nsecret = 'sk-hidden'\n",
                "destinations": "hook",
            },
            "secrets.toml:6",
        ),
        (
            {
                "secrets.toml": WEBHOOK + "url = 'https://a.example'\n"
                "headers = {A = 'b', Host = 'sk-hidden'}\n",
                "destinations": "hook",
            },
            "secrets.toml:4",
        ),
    ],
)
def test_an_error_names_the_file_and_the_line(
    tmp_path: Path, files: dict[str, str], place: str
) -> None:
    whole = {**files, "secrets.toml": files.get("secrets.toml", KEYS + LOGIN)}
    if "write_key" not in whole["secrets.toml"] and "a =" not in whole["secrets.toml"]:
        whole["secrets.toml"] += f"\n{KEYS}"
    if "instance_url" not in whole["secrets.toml"] and "a =" not in whole["secrets.toml"]:
        whole["secrets.toml"] += f"\n{LOGIN}"
    with pytest.raises(ConfigurationError) as raised:
        checked(tmp_path, whole, {})
    error = raised.value
    assert f".dlt/{place}" == f"{error.file}:{error.line}", error.message
    assert "sk-hidden" not in f"{error} {error.hint}"
    assert 2 == error.exit_code


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TAILRACE__MEMORY_SHARE_MAX", "sk-hidden"),
        ("TAILRACE__WAREHOUSE", "duckbd"),
        ("TAILRACE__STATE_URL", "ftp://a"),
        ("TAILRACE__LEDGER_DATASET", "SALESFORCE"),
        ("SOURCES__SALESFORCE__API_VERSION", "64"),
        ("DESTINATION__DUCKDB__CREDENTIALS", ":memory:"),
        ("DESTINATION__SEGMENT__HOST", "http://eu.example.com"),
        ("DESTINATION__SEGMENT__TYPE", "carrier"),
        ("SOURCES__SALESFORCE__CREDENTIALS__INSTANCE_URL", "nowhere"),
    ],
)
def test_an_error_of_the_environment_names_the_variable(
    tmp_path: Path, variable: str, value: str
) -> None:
    with pytest.raises(ConfigurationError) as raised:
        checked(tmp_path, {"secrets.toml": KEYS + LOGIN}, {variable: value})
    assert f"(in ${variable})" in raised.value.message
    assert raised.value.message == str(raised.value)
    assert (None, None) == (raised.value.file, raised.value.line)
    assert "sk-hidden" not in str(raised.value)


@pytest.mark.parametrize(
    ("names", "wrong"),
    [
        ({"dataset": "tailrace"}, 'dataset = "salesforce"'),
        ({"ledger_dataset": "Salesforce"}, 'ledger_dataset = "tailrace"'),
        ({"model_dataset": "TAILRACE"}, 'model_dataset = "tailrace_models"'),
        ({"ledger_dataset": "salesforce_staging"}, 'ledger_dataset = "tailrace"'),
        ({"ledger_dataset": "tailrace_models"}, 'ledger_dataset = "tailrace"'),
        ({"dataset": "a", "ledger_dataset": "A"}, 'ledger_dataset = "tailrace"'),
    ],
)
def test_two_datasets_of_one_name_are_refused_with_a_name_that_is_free(
    tmp_path: Path, names: dict[str, str], wrong: str
) -> None:
    environ = {f"TAILRACE__{key.upper()}": name for key, name in names.items()}
    with pytest.raises(InvalidConfigValue) as raised:
        checked(tmp_path, {}, environ)
    assert raised.value.hint.endswith(wrong)
    key, _, free = wrong.replace('"', "").partition(" = ")
    load_project(tmp_path, environ={**environ, f"TAILRACE__{key.upper()}": free})


@pytest.mark.parametrize("name", ["100%", "it's", "what?", "back\\slash"])
def test_a_path_that_the_warehouse_cannot_write_to_is_refused(name: str, tmp_path: Path) -> None:
    root = scaffold(tmp_path / f"a {name} b").root

    with pytest.raises(ConfigurationError, match="The path of the project contains") as refused:
        check_settings(load_project(root))

    assert str(root) in refused.value.message
    assert refused.value.hint.startswith("Rename the folder")
    check_settings(load_project(root.rename(tmp_path / "a b")))


@pytest.mark.parametrize(
    "name", ["with space", "zoë 日本", 'a"b', "a#b;c", "[1]*{x}", "$HOME", "-x"]
)
def test_other_paths_are_accepted(name: str, tmp_path: Path) -> None:
    check_settings(load_project(scaffold(tmp_path / name).root))


def test_a_file_in_the_home_folder_is_found_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS", "duckdb:///~/a.duckdb")
    project = load_project(scaffold(tmp_path / "shop").root)
    assert tmp_path / "home" / "a.duckdb" == project.duckdb_file
