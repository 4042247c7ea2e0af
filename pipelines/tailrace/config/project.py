"""The project on disk: its folders and its settings. The only reader of the environment.

Settings follow dlt's conventions and order: environment (`SECTION__KEY`), then the profile's
`.dlt/<target>.secrets.toml`, `.dlt/secrets.toml`, `.dlt/<target>.config.toml`,
`.dlt/config.toml`. The files are read here with the standard library, so that offline commands
do not pay for importing dlt; a secret that none of them holds is asked of dlt, whose providers
know vaults.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import types
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import MISSING, field, fields, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, get_type_hints

from tailrace.config.convert import convert
from tailrace.config.files import find_root, read_layers
from tailrace.config.partitions import check_partitions
from tailrace.config.sections import (
    RECEIVERS,
    refuse_shared_datasets,
    refuse_unknown_keys,
    refuse_unknown_sections,
    refuse_unused_destinations,
    table_of,
)
from tailrace.config.sections import (
    did_you_mean as did_you_mean,
)
from tailrace.config.settings import (
    AlertSettings,
    DbtSettings,
    ObjectSettings,
    SalesforceCredentials,
    SalesforceSettings,
    SegmentSettings,
    StateCredentials,
    StateSettings,
    WarehouseSettings,
)
from tailrace.config.toml_lines import Place, place_in
from tailrace.config.urls import require_proxy, require_tls, whole_urls
from tailrace.dataclass import dataclass
from tailrace.errors import (
    InvalidConfigValue,
    MissingCredential,
    TailraceError,
    UnknownConfigKey,
)

if TYPE_CHECKING:
    from tailrace.config.dlt_context import ProjectRunContext

# The beginning of the name of the folder of a copy of the state, in `.tailrace/`.
STATE_COPY_PREFIX = "state-"

P = ParamSpec("P")
S = TypeVar("S")
T = TypeVar("T")

SECTIONS: dict[str, type] = {
    "tailrace": WarehouseSettings,
    "tailrace.alerts": AlertSettings,
    "tailrace.dbt": DbtSettings,
    "tailrace.state": StateSettings,
    "tailrace.state.credentials": StateCredentials,
    "sources.salesforce.credentials": SalesforceCredentials,
    "sources.salesforce": SalesforceSettings,
    "destination.segment": SegmentSettings,
}


def _located(method: Callable[Concatenate[ProjectConfig, P], T]) -> Callable[..., T]:
    """A method whose errors are located; see `ProjectConfig.locate`."""

    @wraps(method)
    def located(self: ProjectConfig, *args: P.args, **kwargs: P.kwargs) -> T:
        with self.locating():
            return method(self, *args, **kwargs)

    return located


@dataclass(frozen=True, kw_only=True)
class ProjectConfig:
    """A project folder with its settings. Credentials are read when they are asked for."""

    root: Path
    target: str | None
    settings: WarehouseSettings
    # Both may hold secrets, and a project is printed where something goes wrong.
    layers: tuple[tuple[str, Mapping[str, Any]], ...] = field(repr=False)
    environ: Mapping[str, str] = field(repr=False)
    # The methods of `--select` that need a manifest or the ledger; see `models.loader.Models`.
    selectors: Mapping[str, Callable[[Any, str], Collection[str]]] = field(
        default_factory=dict, compare=False, repr=False
    )

    @property
    def models_folder(self) -> Path:
        return self.root / "models"

    @property
    def tracking_plan_file(self) -> Path:
        """What messages must be like, where the project says so; enforced before sending."""
        return self.root / "tracking_plan.yaml"

    @property
    def state_folder(self) -> Path:
        """Where dlt keeps its working files: inside the project, so that nothing lands at home."""
        return self.root / ".tailrace" / (self.target or "default")

    @property
    def duckdb_file(self) -> Path:
        """The DuckDB file that is opened: the configured one, or the copy of the state.

        Raises:
            InvalidConfigValue: As of `configured_duckdb_file`.
        """
        configured = self.configured_duckdb_file
        if self.settings.state_url is None:
            return configured
        return self.state_copy_folder / configured.name

    @property
    def state_copy_folder(self) -> Path:
        """Where the copy of the state is on this machine; a folder for each `state_url`."""
        digest = hashlib.sha256(str(self.settings.state_url).encode()).hexdigest()
        return self.root / ".tailrace" / f"{STATE_COPY_PREFIX}{digest[:12]}"

    @property
    @_located
    def configured_duckdb_file(self) -> Path:
        """The DuckDB file of `[destination.duckdb] credentials`, relative to the project.

        Raises:
            InvalidConfigValue: It is not a file, and the ledger would not outlive the run.
        """
        found = self._lookup("destination.duckdb", "credentials")
        value = found[0] if found else "warehouse.duckdb"
        if isinstance(value, Mapping):
            value = value.get("database", "warehouse.duckdb")
        path = str(value).removeprefix("duckdb:///")
        if path.startswith((":memory:", "md:", "motherduck:")):
            raise InvalidConfigValue(
                f'destination.duckdb.credentials is "{path.partition(":")[0]}:", '
                "which is not a file",
                hint="Name a file for the warehouse, such as warehouse.duckdb.",
                key="destination.duckdb.credentials",
            )
        return self.root / os.path.expanduser(path)

    def warehouse_credentials(self, name: str) -> str | dict[str, Any] | None:
        """`[destination.<name>] credentials`, whole or key by key; None leaves them to dlt."""
        section = f"destination.{name}"
        found = self._lookup(section, "credentials")
        if found is not None and not isinstance(found[0], Mapping):
            return str(found[0])
        by_key: dict[str, Any] = {}
        for _, layer in reversed(self.layers):
            by_key |= table_of(layer, f"{section}.credentials")
        prefix = f"DESTINATION__{name}__CREDENTIALS__".upper()
        for variable, value in self.environ.items():
            if variable.startswith(prefix):
                by_key[variable.removeprefix(prefix).lower()] = value
        return by_key or None

    def warehouse_value(self, name: str, key: str) -> Any:
        """One value of `[destination.<name>]` beside `credentials`; None if it is absent."""
        found = self._lookup(f"destination.{name}", key)
        return found[0] if found is not None else None

    @_located
    def alerts(self) -> AlertSettings:
        """`[tailrace.alerts]`.

        Raises:
            InvalidConfigValue: `on` names something that is not alerted.
        """
        settings = self._section("tailrace.alerts", AlertSettings)
        known = AlertSettings().on
        for name in settings.on:
            if name not in known:
                raise InvalidConfigValue(
                    f'tailrace.alerts.on names "{name}".{did_you_mean(name, known)}',
                    hint=f"Correct on under [tailrace.alerts]. There are: {', '.join(known)}",
                    key="tailrace.alerts.on",
                )
        # A broken file was a failed audience before `broken` had a name.
        implied = ("broken",) if "failed" in settings.on and "broken" not in settings.on else ()
        return replace(settings, on=(*implied, *settings.on), urls=tuple(whole_urls(settings.urls)))

    def dbt(self) -> DbtSettings:
        """`[tailrace.dbt]`."""
        return self._section("tailrace.dbt", DbtSettings)

    def state(self) -> StateSettings:
        """`[tailrace.state]`."""
        return self._section("tailrace.state", StateSettings)

    @_located
    def state_credentials(self) -> StateCredentials:
        """`[tailrace.state.credentials]`.

        Raises:
            InsecureHost: `endpoint_url` is http:// and not on this machine.
        """
        credentials = self._section("tailrace.state.credentials", StateCredentials)
        if credentials.endpoint_url is not None:
            require_tls(credentials.endpoint_url, "tailrace.state.credentials.endpoint_url")
        return credentials

    @_located
    def salesforce(self) -> SalesforceSettings:
        """`[sources.salesforce]` and its tables, one an object."""
        settings = self._section("sources.salesforce", SalesforceSettings)
        per_object: dict[str, ObjectSettings] = {}
        for name in _objects_configured(self.layers, self.environ):
            section = f"sources.salesforce.object.{name}"
            per_object[name] = self._section(section, ObjectSettings)
        extracted = {name.lower() for name in settings.objects}
        if len(extracted) < len(settings.objects):
            names = [name.lower() for name in settings.objects]
            twice = next(name for name in settings.objects if names.count(name.lower()) > 1)
            raise InvalidConfigValue(
                f"sources.salesforce.objects lists {twice} twice",
                hint="Remove one of the two.",
                key="sources.salesforce.objects",
            )
        for name in per_object:
            if name.lower() not in extracted:
                section = f"sources.salesforce.object.{name}"
                raise UnknownConfigKey(
                    f"[{section}] is for an object that is not in objects."
                    f"{did_you_mean(name, settings.objects)}",
                    hint="Correct the name, or add it to objects under [sources.salesforce].",
                    key=section,
                )
        values = {f.name: getattr(settings, f.name) for f in fields(settings)}
        complete = SalesforceSettings(
            **{**values, "per_object": types.MappingProxyType(per_object)}
        )
        check_partitions(complete, self.settings.warehouse)
        return complete

    @_located
    def salesforce_credentials(self, destination: str | None = None) -> SalesforceCredentials:
        """How to log in to Salesforce.

        Args:
            destination: Prefer the credentials of `[destination.NAME]` if it has its own.

        Raises:
            MissingCredential: There is no instance URL, or nothing to log in with.
            InsecureHost: The instance URL is http:// and not on this machine.
        """
        section = "sources.salesforce.credentials"
        own = f"destination.{destination}.credentials"
        if destination is not None and self.has_section(own):
            section = own
            refuse_unknown_keys(self.layers, self.environ, {own: SalesforceCredentials})
        found = self._section(section, SalesforceCredentials)
        require_tls(found.instance_url, f"{section}.instance_url")
        if found.private_key_file and not found.private_key:
            key = (self.root / found.private_key_file).expanduser()
            if not key.is_file():
                raise MissingCredential(
                    f"The private key file {found.private_key_file} is missing",
                    key=f"{section}.private_key_file",
                )
            try:
                text = key.read_text()
            except (OSError, UnicodeDecodeError):
                raise MissingCredential(
                    f"The private key file {found.private_key_file} cannot be read as text",
                    hint="private_key_file is the path of a PEM file that this user may read.",
                    key=f"{section}.private_key_file",
                ) from None
            values = {f.name: getattr(found, f.name) for f in fields(found)}
            found = SalesforceCredentials(**{**values, "private_key": text})
        return found

    def destination_type(self, destination: str) -> str:
        """`type` of `[destination.NAME]`.

        If it is not set: the type that the section is named after, else `segment`.
        """
        entry = self._lookup(f"destination.{destination}", "type")
        if entry is not None:
            return str(entry[0])
        return destination if destination in RECEIVERS else RECEIVERS[0]

    def destination(self, destination: str, shape: type[S], *, secrets: bool = True) -> S:
        """The section `[destination.NAME]` as the settings of its type.

        Args:
            destination: The name of the section.
            shape: The dataclass with the settings of the type.
            secrets: Read the secrets too. Plans need the limits and no secrets.

        Raises:
            UnknownConfigKey: There is no such section, or it has a key that nothing reads.
            MissingCredential: A required secret is missing.
        """
        section = f"destination.{destination}"
        if section not in SECTIONS:
            # A section that is named after its type may be left out, as far as its keys may.
            if secrets and destination not in RECEIVERS:
                self._require_section(section)
            refuse_unknown_keys(self.layers, self.environ, {section: shape})
        return self._section(section, shape, secrets=secrets)

    def value_of(self, section: str, key: str) -> Any:
        """A key as it is written; None if nothing sets it."""
        entry = self._lookup(section, key)
        return None if entry is None else entry[0]

    def merged_table(self, section: str, key: str) -> dict[str, str]:
        """A table of texts, merged from all files; the environment's is a JSON object.

        Raises:
            InvalidConfigValue: It is not a table of texts.
        """
        merged: dict[str, Any] = {}
        tables = [
            (place_in(file, layer, section, key), table_of(layer, section).get(key, {}))
            for file, layer in reversed(self.layers)
        ]
        variable = f"{section}.{key}".replace(".", "__").upper()
        if variable in self.environ:
            place = Place(name=f"${variable}")
            try:
                tables.append((place, json.loads(self.environ[variable])))
            except ValueError:
                tables.append((place, None))
        for place, table in tables:
            texts = isinstance(table, Mapping) and all(isinstance(v, str) for v in table.values())
            if not texts:
                raise InvalidConfigValue(
                    f"{section}.{key}{place.in_message} is not a table of texts",
                    hint=f'Write it as {key} = {{Name = "value"}} under [{section}].',
                    file=place.file,
                    line=place.line,
                )
            merged |= table
        return merged

    def locate(self, error: TailraceError) -> None:
        """Add to an error about a key the file and the line, or the variable, that sets it."""
        for part in error.flattened():
            if part is not error:
                self.locate(part)
        key = getattr(error, "key", None)
        if key is None or error.file is not None:
            return
        section, _, name = key.rpartition(".")
        entry = self._lookup(section, name)
        if entry is None:
            return
        place = entry[1]
        if place.in_message and place.in_message in error.message:
            # A variable of the environment has no file that would show it.
            return
        error.file, error.line = place.file, place.line
        error.message += place.in_message
        error.args = (error.message,)

    @contextmanager
    def locating(self) -> Iterator[None]:
        """Locate what is raised in the context; see `locate`."""
        try:
            yield
        except TailraceError as error:
            self.locate(error)
            raise

    @_located
    def segment(self, destination: str = "segment") -> SegmentSettings:
        """`[destination.segment]`, or another Segment source by its name.

        Raises:
            UnknownConfigKey: There is no such section, or it has a key that nothing reads.
            MissingCredential: There is no write key.
            InsecureHost: The host is http:// and not on this machine.
        """
        settings = self.destination(destination, SegmentSettings)
        self._check_segment(settings, destination)
        return settings

    @_located
    def segment_limits(self, destination: str = "segment") -> SegmentSettings:
        """The same without credentials: a plan reads limits and needs no write key."""
        settings = self.destination(destination, SegmentSettings, secrets=False)
        self._check_segment(settings, destination)
        return settings

    def _check_segment(self, settings: SegmentSettings, destination: str) -> None:
        section = f"destination.{destination}"
        require_tls(settings.host, f"{section}.host")
        if proxy := settings.proxy or self.value_of(section, "proxy"):
            require_proxy(str(proxy), f"{section}.proxy")

    def refuse_unused_destinations(self, used: Iterable[str], *, exempt: str | None = None) -> None:
        """Refuse sections that look like a misspelt name of a destination that audiences go to.

        Args:
            used: The destinations of the audiences.
            exempt: A destination that the command itself names.

        Raises:
            UnknownConfigKey: It names the section that may be meant.
        """
        refuse_unused_destinations(
            self.layers, self.environ, used=used, exempt=exempt, warehouse=self.settings.warehouse
        )

    def has_section(self, section: str) -> bool:
        """Whether a file or the environment sets a key of the section."""
        prefix = section.replace(".", "__").upper() + "__"
        here = any(table_of(layer, section) for _, layer in self.layers)
        return here or any(name.startswith(prefix) for name in self.environ)

    def _require_section(self, section: str) -> None:
        if not self.has_section(section):
            parent, _, name = section.rpartition(".")
            known = {key for _, layer in self.layers for key in table_of(layer, parent)}
            raise UnknownConfigKey(
                f"[{section}] is not configured.{did_you_mean(name, known)}",
                hint=f"Put type and its settings under [{section}] in .dlt/config.toml, and its "
                "secrets, such as write_key, in .dlt/secrets.toml.",
            )

    def dlt_context(self) -> AbstractContextManager[None]:
        """Let dlt work in this folder, with this target's settings, while the context is open.

        The working directory and the environment of the process stay as they are.
        """
        from tailrace.config.dlt_context import entered

        return entered(self._run_context())

    def _run_context(self) -> ProjectRunContext:
        from tailrace.config.dlt_context import ProjectRunContext

        own = f".dlt/{self.target}."
        of_target = [layer for layer in self.layers if self.target and layer[0].startswith(own)]
        return ProjectRunContext(self.root, self.state_folder, of_target)

    def _lookup(self, section: str, key: str) -> tuple[Any, Place] | None:
        """The value of a key and where it is set, the first layer that has it winning."""
        name = f"{section}.{key}".replace(".", "__").upper()
        if name in self.environ:
            return self.environ[name], Place(name=f"${name}")
        for file, layer in self.layers:
            table = table_of(layer, section)
            if key in table:
                return table[key], place_in(file, layer, section, key)
        return None

    def _section(self, section: str, shape: type[S], *, secrets: bool = True) -> S:
        """A section as its dataclass; without `secrets`, required secrets are empty texts."""
        values: dict[str, Any] = {}
        hints = get_type_hints(shape)
        for setting in fields(shape):  # type: ignore[arg-type]
            if setting.name == "per_object":
                continue
            found = self._lookup(section, setting.name)
            secret = not setting.repr or setting.default is setting.default_factory is MISSING
            if secret and not secrets:
                if setting.default is setting.default_factory is MISSING:
                    values[setting.name] = ""
                continue
            if found is None and secret:
                found = self._from_vault(section, setting.name)
            if found is not None:
                values[setting.name] = convert(
                    found[0], hints[setting.name], section, setting.name, found[1]
                )
            elif setting.default is MISSING and setting.default_factory is MISSING:
                name = f"{section}.{setting.name}".replace(".", "__").upper()
                raise MissingCredential(
                    f"{section}.{setting.name} is not configured",
                    hint=f"Put {setting.name} under [{section}] in .dlt/secrets.toml, or set "
                    f"{name}.",
                )
        return shape(**values)

    def _from_vault(self, section: str, key: str) -> tuple[Any, Place] | None:
        configured = any("providers" in layer for _, layer in self.layers)
        if not configured and not any(name.startswith("PROVIDERS__") for name in self.environ):
            return None
        from tailrace.config.dlt_context import secret

        value = secret(self._run_context(), f"{section}.{key}")
        return None if value is None else (value, Place(name="a vault"))


def load_project(
    directory: Path | str | None = None,
    *,
    target: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> ProjectConfig:
    """Read the project in `directory`, or in the nearest folder above it (default: the working
    directory).

    Raises:
        NotAProject: There is no `.dlt/config.toml` in it or above it.
        UnknownConfigKey: A section or a key is not one that Tailrace or dlt reads.
        InvalidConfigValue: A file is not TOML, a value has the wrong type, or two datasets have
            one name.
    """
    root = find_root(Path(directory or ".").expanduser().resolve())
    folder = root / ".dlt"
    env = os.environ if environ is None else environ
    layers = tuple(read_layers(folder, target))
    refuse_unknown_sections(layers, env)
    of_objects = (f"sources.salesforce.object.{name}" for name in _objects_configured(layers, env))
    refuse_unknown_keys(layers, env, {**SECTIONS, **dict.fromkeys(of_objects, ObjectSettings)})
    project = ProjectConfig(
        root=root, target=target, settings=WarehouseSettings(), layers=layers, environ=env
    )
    settings = project._section("tailrace", WarehouseSettings)
    if target:
        settings = _of_target(settings, target, layers, env)
    project = replace(project, settings=settings)
    with project.locating():
        refuse_shared_datasets(settings)
    return project


def _of_target(
    settings: WarehouseSettings,
    target: str,
    layers: tuple[tuple[str, Mapping[str, Any]], ...],
    environ: Mapping[str, str],
) -> WarehouseSettings:
    """The datasets of a target: they carry its name, unless the target configures them itself."""
    own = {
        key
        for where, layer in layers
        if where.startswith(f".dlt/{target}.")
        for key in table_of(layer, "tailrace")
    }
    suffix = re.sub(r"\W", "_", target).lower()

    def renamed(key: str) -> str:
        name: str = getattr(settings, key)
        configured = key in own or f"TAILRACE__{key}".upper() in environ
        return name if configured else f"{name}_{suffix}"

    return replace(
        settings,
        ledger_dataset=renamed("ledger_dataset"),
        model_dataset=renamed("model_dataset"),
    )


def _objects_configured(
    layers: tuple[tuple[str, Mapping[str, Any]], ...], environ: Mapping[str, str]
) -> list[str]:
    """The objects that have settings of their own, each by one name."""
    prefix = "SOURCES__SALESFORCE__OBJECT__"
    names = [name for _, layer in layers for name in table_of(layer, "sources.salesforce.object")]
    names += [
        name.removeprefix(prefix).rpartition("__")[0] for name in environ if name.startswith(prefix)
    ]
    return list({name.lower(): name for name in reversed(names)}.values())


def has_proxy() -> bool:
    """Whether the environment or the system may name a proxy for HTTP."""
    if sys.platform in ("darwin", "win32", "cygwin"):
        return True
    proxies = {"http_proxy", "https_proxy", "all_proxy"}
    return any(value and name.lower() in proxies for name, value in os.environ.items())


def certificates() -> str | None:
    """The file or folder of trusted certificates that the environment names for `requests`."""
    return os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or None
