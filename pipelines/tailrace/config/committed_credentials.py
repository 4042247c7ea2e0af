"""Secrets in files that are in git: `config.toml` and those of targets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tailrace.config.project import ProjectConfig
from tailrace.config.toml_lines import Place, place_in

SECRET_KEYS = frozenset(
    {
        *("write_key", "public_api_token", "oauth_client_key"),
        *("client_secret", "password", "security_token", "private_key", "access_token"),
        *("secret", "salt", "aws_secret_access_key", "aws_session_token"),
        *("azure_storage_account_key", "azure_storage_sas_token"),
    }
)
_ALERT_URLS = ("tailrace", "alerts", "urls")
_URL_WITH_PASSWORD = re.compile(r"[a-z][a-z0-9+.-]*://[^/@\s]*:[^/@\s]+@")


def committed_credentials(project: ProjectConfig) -> Iterator[tuple[str, Place]]:
    """The name and the place of each secret that is not in a secrets file, and no value."""
    for file, layer in project.layers:
        if not file.endswith("secrets.toml"):
            for path in _secrets_below((), layer):
                yield ".".join(path), place_in(file, layer, ".".join(path[:-1]), path[-1])


def warnings(project: ProjectConfig) -> list[dict[str, Any]]:
    """The entries of `warnings` in a `--json` result."""
    return [
        {"message": message_of(name), "hint": hint_of(name), "file": place.file, "line": place.line}
        for name, place in committed_credentials(project)
    ]


def message_of(name: str) -> str:
    """The warning about a secret."""
    return f"{name} is a secret, and this file is meant for git"


def hint_of(name: str) -> str:
    """Where the secret belongs."""
    section, _, key = name.rpartition(".")
    return f"Move {key} under [{section}] in .dlt/secrets.toml. If it was committed, replace it."


def _secrets_below(path: tuple[str, ...], table: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for key, value in table.items():
        inner = (*path, key)
        if isinstance(value, Mapping):
            yield from _secrets_below(inner, value)
        elif value and (
            key in SECRET_KEYS
            or inner == _ALERT_URLS
            or (isinstance(value, str) and _URL_WITH_PASSWORD.match(value))
        ):
            yield inner
