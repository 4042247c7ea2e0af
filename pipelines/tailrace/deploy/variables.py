"""The environment variables that a project needs where its secrets files are not."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tailrace.config.project import ProjectConfig
from tailrace.config.sections import table_of

SECRETS_FILE = "secrets.toml"
SALESFORCE = "sources.salesforce.credentials"
# The login of `tailrace init`, where no file has another one.
SALESFORCE_KEYS = ("instance_url", "client_id", "client_secret")
# Addresses and names; everything else in a secrets file is a secret, the URL of a webhook too.
NOT_SECRET = frozenset({"instance_url", "username", "audience", "host"})
# The keys of these sections that are secrets; their other keys are plain settings.
SECRETS_OF: Mapping[str, frozenset[str]] = {
    "tailrace": frozenset({"salt"}),
    "tailrace.state": frozenset(),
    "sources.salesforce": frozenset({"credentials"}),
}
STATE_CREDENTIALS = "tailrace.state.credentials"
PLAIN_STATE_CREDENTIALS = frozenset({"endpoint_url", "region_name", "azure_storage_account_name"})
# A file does not exist on another machine; its text does.
IN_PLACE_OF_FILES = {"private_key_file": "private_key"}
# The keys without which nothing can be sent to a destination of a type.
REQUIRED = {"segment": ("write_key",), "webhook": ("url",), "salesforce": ()}


@dataclass(frozen=True, kw_only=True, order=True)
class Variable:
    """An environment variable that a job needs.

    `is_secret` is False for an address or a user name, which a log may show.
    """

    name: str
    is_secret: bool

    @property
    def expression(self) -> str:
        """Its value in a workflow of GitHub Actions."""
        return f"${{{{ {'secrets' if self.is_secret else 'vars'}.{self.name} }}}}"

    @property
    def command(self) -> str:
        """The command that sets it for a repository; it asks for the value."""
        return f"gh {'secret' if self.is_secret else 'variable'} set {self.name}"


def variables_of(project: ProjectConfig, destinations: Collection[str]) -> tuple[Variable, ...]:
    """The variables of a project: what its secrets files and environment set, and what they lack.

    Only names are read, and no value.

    Args:
        project: The project.
        destinations: The destinations that its audiences go to.
    """
    keys = dict.fromkeys(_in_secrets_files(project, destinations))
    keys |= dict.fromkeys(_in_environment(project, destinations))
    if not any(section == SALESFORCE for section, _ in keys):
        keys |= dict.fromkeys((SALESFORCE, key) for key in SALESFORCE_KEYS)
    if (SALESFORCE, "instance_url") not in keys and not project.value_of(
        SALESFORCE, "instance_url"
    ):
        keys[SALESFORCE, "instance_url"] = None
    for destination in destinations:
        section = f"destination.{destination}"
        for key in REQUIRED.get(project.destination_type(destination), ()):
            if (section, key) not in keys and not _in_config(project, section, key):
                keys[section, key] = None
    warehouse = f"destination.{project.settings.warehouse}"
    if project.settings.warehouse != "duckdb" and not any(
        section.startswith(warehouse) for section, _ in keys
    ):
        keys[warehouse, "credentials"] = None
    variables = {
        Variable(
            name=f"{section}.{key}".replace(".", "__").upper(), is_secret=_is_secret(section, key)
        )
        for section, key in keys
    }
    return tuple(sorted(variables))


def _is_secret(section: str, key: str) -> bool:
    if section in SECRETS_OF:
        return key in SECRETS_OF[section]
    if section == STATE_CREDENTIALS:
        return key not in PLAIN_STATE_CREDENTIALS
    return key not in NOT_SECRET


def _in_environment(
    project: ProjectConfig, destinations: Collection[str]
) -> Iterator[tuple[str, str]]:
    """The settings of this environment: a file that is in git does not have them."""
    destinations = (*destinations, project.settings.warehouse)
    used = ["tailrace", "sources", *(f"destination.{name}" for name in destinations)]
    for name in sorted(project.environ):
        section, _, key = name.lower().replace("__", ".").rpartition(".")
        is_used = any(f"{section}.".startswith(f"{own}.") for own in used)
        if is_used and (section, key) != ("destination.duckdb", "credentials"):
            yield section, IN_PLACE_OF_FILES.get(key, key)


def _in_secrets_files(
    project: ProjectConfig, destinations: Collection[str]
) -> Iterator[tuple[str, str]]:
    used = [f"destination.{name}" for name in (*destinations, project.settings.warehouse)]
    sections = ["tailrace", "sources.salesforce", *used]
    for file, layer in project.layers:
        if not file.endswith(SECRETS_FILE):
            continue
        for section in sections:
            for path, key in _leaves(section, table_of(layer, section)):
                if (path, key) != ("destination.duckdb", "credentials"):
                    yield path, IN_PLACE_OF_FILES.get(key, key)


def _leaves(section: str, table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in table.items():
        # A table of headers is one value: its names are not variables.
        if isinstance(value, Mapping) and key != "headers":
            yield from _leaves(f"{section}.{key}", value)
        else:
            yield section, key


def _in_config(project: ProjectConfig, section: str, key: str) -> bool:
    """Whether a file that is in git sets a key."""
    return any(
        key in table_of(layer, section)
        for file, layer in project.layers
        if not file.endswith(SECRETS_FILE)
    )
