"""`validate` and `doctor` warn of secrets in files that are meant for git, without their values."""

from __future__ import annotations

from pathlib import Path

import pytest

from tailrace import Project
from tailrace.cli.commands.doctor import examine
from tailrace.cli.commands.init import scaffold
from tailrace.clock import SystemClock
from tailrace.config.committed_credentials import committed_credentials
from tailrace.config.project import load_project

VALUE = "hunter-2-hunter"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    scaffold(tmp_path)
    return tmp_path


def append(root: Path, text: str, file: str = "config.toml") -> int:
    """Add lines to a file; the number of the last one."""
    path = root / ".dlt" / file
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    path.write_text(before + text, encoding="utf-8")
    return len((before + text).splitlines())


def test_validate_warns_of_a_write_key_in_config_toml(root: Path) -> None:
    line = append(root, f'write_key = "{VALUE}"\n')
    result = Project.load(root).validate().as_dict()
    (warning,) = result["warnings"]
    assert "destination.segment.write_key is a secret" in warning["message"]
    assert (".dlt/config.toml", line) == (warning["file"], warning["line"])
    assert 0 == result["exit_code"]
    assert VALUE not in str(result)


def test_the_warning_is_gone_after_its_hint(root: Path) -> None:
    """The hint moves the key to secrets.toml."""
    append(root, f'[destination.segment]\nwrite_key = "{VALUE}"\n', file="secrets.toml")
    assert [] == Project.load(root).validate().as_dict()["warnings"]
    checks = examine(root, None, clock=SystemClock())
    assert not any("is a secret" in check.found for check in checks)


def test_doctor_warns_and_does_not_fail(root: Path) -> None:
    line = append(root, f'write_key = "{VALUE}"\ncheck_write_key = false\n') - 1
    checks = examine(root, None, clock=SystemClock())
    (check,) = [check for check in checks if "is a secret" in check.found]
    assert ("warning", 0) == (check.status, check.exit_code)
    assert check.found.startswith(f".dlt/config.toml:{line}: destination.segment.write_key")
    assert "Move write_key under [destination.segment] in .dlt/secrets.toml" in check.hint
    assert VALUE not in str(checks)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("[sources.salesforce.credentials]\npassword = 'x'", "credentials.password"),
        ("[destination.hook]\ntype = 'webhook'\nsecret = 'x'", "hook.secret"),
        ("[tailrace.alerts]\nurls = ['slack://x']", "alerts.urls"),
        ("[destination.postgres]\ncredentials = 'postgres://a:b@host/db'", "postgres.credentials"),
        ("[destination.postgres.credentials]\npassword = 'x'", "credentials.password"),
    ],
)
def test_other_secrets(root: Path, text: str, name: str) -> None:
    append(root, text, file="dev.config.toml")
    ((found, place),) = committed_credentials(load_project(root, target="dev"))
    assert found.endswith(name)
    assert ".dlt/dev.config.toml" == place.file


@pytest.mark.parametrize("value", ["warehouse.duckdb", "postgres://a@host/db"])
def test_an_address_is_not_a_secret(root: Path, value: str) -> None:
    append(root, f"[destination.postgres]\ncredentials = '{value}'")
    assert [] == list(committed_credentials(load_project(root)))
