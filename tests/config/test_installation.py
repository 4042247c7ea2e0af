"""What other packages of an environment do to Tailrace, and what it says about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, distribution

import pytest

from tailrace.config.installation import refuse_compiled_sqlglot
from tailrace.errors import ConfigurationError


def test_the_compiled_sqlglot_is_refused_until_the_hint_was_followed() -> None:
    versions: dict[str, str] = {"sqlglot": "30.21.0", "sqlglotc": "30.21.0"}

    with pytest.raises(ConfigurationError, match=r"sqlglotc 30\.21\.0") as refused:
        refuse_compiled_sqlglot(_versions(versions))
    command = refused.value.hint.partition("type: ")[2]
    assert command.split()[:2] == ["pip", "uninstall"]
    for package in command.split()[2:]:
        del versions[package]

    refuse_compiled_sqlglot(_versions(versions))
    assert "sqlglot" in versions


def test_the_package_named_is_an_option_of_the_sqlglot_that_is_installed() -> None:
    assert any(entry.startswith("sqlglotc") for entry in distribution("sqlglot").requires or ())


def _versions(installed: Mapping[str, str]) -> Callable[[str], str]:
    def version_of(package: str) -> str:
        if package not in installed:
            raise PackageNotFoundError(package)
        return installed[package]

    return version_of
