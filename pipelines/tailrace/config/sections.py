"""Which sections and keys `.dlt/*.toml` and the environment may have.

A misspelt section would leave every setting in it at its default, so unknown sections are refused
like unknown keys. Sections of dlt are left alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields
from typing import Any

from tailrace.config.settings import WarehouseSettings
from tailrace.config.toml_lines import place_in
from tailrace.errors import InvalidConfigValue, UnknownConfigKey

Layers = tuple[tuple[str, Mapping[str, Any]], ...]

# Keys that other readers of the same sections own: dlt's, and the tables below ours.
KEYS_OF_OTHERS = {
    "sources.salesforce": {"credentials", "object", "per_object", "max_table_nesting"},
    "tailrace": {"alerts", "dbt", "state"},
    "tailrace.state": {"credentials"},
}
OUR_SECTIONS = ("tailrace", "sources", "destination")
# The sections and keys that dlt 1.31 reads at the top level of its files.
SECTIONS_OF_DLT = frozenset(
    {
        *("runtime", "providers", "load", "normalize", "extract", "schema", "data_writer"),
        *("destinations", "pipelines", "datasets", "dbt_package_runner", "dbt_cloud", "dashboard"),
        *("workspace", "profile", "dlthub", "progress", "refresh", "dev_mode", "buffer_max_items"),
        *("pipelines_dir", "pipeline_name", "pipeline_salt", "dataset_name", "use_single_dataset"),
        *("restore_from_destination", "enable_runtime_trace", "file_max_bytes", "file_max_items"),
        *("import_schema_path", "export_schema_path", "truncate_staging_dataset", "workers"),
        *(
            "destination_type",
            "destination_name",
            "staging_type",
            "staging_name",
            "loader_file_format",
        ),
    }
)
DESTINATIONS_OF_DLT = frozenset(
    {
        *("postgres", "snowflake", "filesystem", "duckdb", "ducklake", "dummy", "mssql", "fabric"),
        *("bigquery", "athena", "redshift", "qdrant", "lancedb", "lance", "motherduck", "weaviate"),
        *("synapse", "databricks", "dremio", "clickhouse", "destination", "sqlalchemy"),
        # Tailrace's own: Spark SQL on Delta tables, and MariaDB.
        *("spark", "mariadb"),
        *("credentials", "create_indexes", "replace_strategy", "type"),
    }
)
# The destination types. A section with one of these names and no `type` has that type; others have
# the first one.
RECEIVERS = ("segment", "salesforce", "webhook")
# Without one of these, nothing can be sent to a destination.
CREDENTIAL_KEYS = frozenset({"type", "write_key", "url", "credentials"})
TYPO_SIMILARITY = 0.85
DATASETS = ("dataset", "ledger_dataset", "model_dataset")


def table_of(layer: Mapping[str, Any], section: str) -> Mapping[str, Any]:
    """A section of a file; empty if the file has none."""
    table: Any = layer
    for part in section.split("."):
        table = table.get(part, {}) if isinstance(table, Mapping) else {}
    return table if isinstance(table, Mapping) else {}


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` Did you mean "x"?`, or an empty text.

    >>> did_you_mean("segmnt", ["segment", "webhook"])
    ' Did you mean "segment"?'
    """
    import difflib

    by_lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), list(by_lower), n=1, cutoff=0.6)
    return f' Did you mean "{by_lower[close[0]]}"?' if close else ""


def refuse_unknown_sections(layers: Layers, environ: Mapping[str, str]) -> None:
    """Refuse sections at the top of a file and below `[sources]` that nothing reads, and
    environment variables whose first part is nearly the name of a section.

    Raises:
        UnknownConfigKey: It names the file, the section, and the one that may be meant.
    """
    known = {*OUR_SECTIONS, *SECTIONS_OF_DLT}
    _refuse_misspelt_variables(environ, known)
    for file, layer in layers:
        for name, value in layer.items():
            if name not in known:
                what = f"section [{name}]" if isinstance(value, Mapping) else f'key "{name}"'
                raise UnknownConfigKey(
                    f"Neither Tailrace nor dlt reads the {what}."
                    f"{did_you_mean(name, [*OUR_SECTIONS, *sorted(SECTIONS_OF_DLT)])}",
                    hint="Tailrace reads [tailrace], [sources.salesforce] and [destination.NAME]. "
                    "Correct the name, then run: tailrace validate",
                    file=file,
                    line=place_in(file, layer, "", name).line,
                )
            if name in OUR_SECTIONS and not isinstance(value, Mapping):
                raise UnknownConfigKey(
                    f'"{name}" must be a section, [{name}]',
                    file=file,
                    line=place_in(file, layer, "", name).line,
                )
        for name in table_of(layer, "destinations"):
            if name in RECEIVERS or name in DESTINATIONS_OF_DLT:
                raise UnknownConfigKey(
                    f"Nothing reads [destinations.{name}]. Did you mean [destination.{name}]?",
                    hint=f"Write [destination.{name}], then run: tailrace validate",
                    file=file,
                    line=place_in(file, layer, "destinations", name).line,
                )
        for name in table_of(layer, "sources"):
            if name != "salesforce" and _is_typo(name, "salesforce"):
                raise UnknownConfigKey(
                    f'Nothing reads [sources.{name}]. Did you mean "salesforce"?',
                    file=file,
                    line=place_in(file, layer, "sources", name).line,
                )
        for name in DESTINATIONS_OF_DLT:
            for key in table_of(layer, f"destination.{name}"):
                if key != "credentials" and _is_typo(key, "credentials"):
                    raise UnknownConfigKey(
                        f'[destination.{name}] has no key "{key}". Did you mean "credentials"?',
                        file=file,
                        line=place_in(file, layer, f"destination.{name}", key).line,
                    )


def _refuse_misspelt_variables(environ: Mapping[str, str], known: Collection[str]) -> None:
    for variable in environ:
        section, _, rest = variable.lower().partition("__")
        if not rest:
            continue
        meant = None
        if section not in known:
            meant = next((name for name in OUR_SECTIONS if _is_typo(section, name)), None)
        elif section == "sources" and _is_typo(rest.partition("__")[0], "salesforce"):
            meant = "sources__salesforce"
        elif section == "destinations" and rest.partition("__")[0] in RECEIVERS:
            meant = "destination"
        if meant:
            raise UnknownConfigKey(
                f'Nothing reads the environment\'s {variable}. Did you mean "{meant.upper()}__"?',
                hint="Correct the name of the variable, or unset it.",
            )


def refuse_unused_destinations(
    layers: Layers,
    environ: Mapping[str, str],
    *,
    used: Iterable[str],
    exempt: str | None,
    warehouse: str,
) -> None:
    """Refuse `[destination.NAME]` sections that look like a misspelt name of a used one.

    A section that no audience goes to is accepted if it has a type or a credential of its own:
    `replay` can send to it.

    Args:
        layers: The files.
        environ: The environment.
        used: The names that audience headers go to.
        exempt: A name that the command itself gives.
        warehouse: The name of the warehouse's section.

    Raises:
        UnknownConfigKey: It names the file and the section that may be meant.
    """
    names = {*used, *RECEIVERS}
    known = {*names, exempt, warehouse, *DESTINATIONS_OF_DLT}
    configured = {
        name: place_in(file, layer, "destination", name)
        for file, layer in reversed(layers)
        for name in table_of(layer, "destination")
    }
    keys: dict[str, set[str]] = {
        name: {key for _, layer in layers for key in table_of(layer, f"destination.{name}")}
        for name in configured
    }
    for variable in environ:
        section, name, *rest = [*variable.lower().split("__"), ""]
        if section == "destination" and rest and rest != [""]:
            keys.setdefault(name, set()).add(rest[0])
    for name in sorted(set(keys) - known):
        typo = next((o for o in sorted({*names, warehouse}) if _is_typo(name, o)), None)
        without_credential = name in configured and not keys[name] & CREDENTIAL_KEYS
        if "type" in keys[name] or not (typo or without_credential):
            continue
        place = f"[destination.{name}]" if name in configured else f"DESTINATION__{name.upper()}__"
        raise UnknownConfigKey(
            f"No audience goes to {place}, and it has no type."
            f"{did_you_mean(name, [*names, warehouse])}",
            hint="Correct the name, name it under `destination:` in a header, or give it a type.",
            file=configured[name].file if name in configured else None,
            line=configured[name].line if name in configured else None,
        )


def _is_typo(word: str, known: str) -> bool:
    """Whether a word is nearly another one, and not that one with a suffix such as `_eu` or `2`."""
    if word.rstrip("0123456789") == known or word.startswith(f"{known}_"):
        return False
    import difflib

    similarity = difflib.SequenceMatcher(None, word.lower(), known).ratio()
    # Two letters that changed places make a short word less similar than that.
    return similarity >= TYPO_SIMILARITY or sorted(word.lower()) == sorted(known)


def refuse_shared_datasets(settings: WarehouseSettings) -> None:
    """Refuse datasets without a name, and those of one name: tables of one would replace another's.

    Engines do not tell names apart by case. dlt loads into a dataset of its own, with the suffix
    `_staging`, before it merges rows into the landed tables.

    Raises:
        InvalidConfigValue: It names both keys, after the target has changed the names.
    """
    names = {key: getattr(settings, key).lower() for key in DATASETS}
    for key, name in names.items():
        if not name.strip():
            raise InvalidConfigValue(
                f"tailrace.{key} is empty",
                hint=f'Name it, such as: {key} = "{getattr(WarehouseSettings(), key)}"',
                key=f"tailrace.{key}",
            )
    taken = {names["dataset"]: "dataset", f"{names['dataset']}_staging": "dataset"}
    for key in ("ledger_dataset", "model_dataset"):
        other = taken.setdefault(names[key], key)
        if other == key:
            continue
        is_staging = other == "dataset" and names[key] != names["dataset"]
        what = "the name that dlt gives to the staging tables of" if is_staging else "the name of"
        defaults = {name: str(getattr(WarehouseSettings(), name)) for name in DATASETS}
        # A name that begins with its default is the key's own, or the target's.
        wrong = other if names[key].startswith(defaults[key]) and not is_staging else key
        free = next(
            name
            for name in (defaults[wrong], f"{defaults[wrong]}_2", f"{defaults[wrong]}_3")
            if name not in {value for key, value in names.items() if key != wrong} | taken.keys()
        )
        raise InvalidConfigValue(
            f'tailrace.{key} is "{getattr(settings, key)}", which is {what} tailrace.{other}',
            hint=f'Set a name of its own under [tailrace], such as: {wrong} = "{free}"',
            key=f"tailrace.{wrong}",
        )


def refuse_unknown_keys(
    layers: Layers,
    environ: Mapping[str, str],
    sections: Mapping[str, type],
) -> None:
    """Refuse keys that our sections do not have, in the files and in the environment.

    Raises:
        UnknownConfigKey: It names the file and the key that may be meant.
    """
    for section, shape in sections.items():
        known = {f.name for f in fields(shape)} | KEYS_OF_OTHERS.get(section, set())
        known |= set(getattr(shape, "SUBSECTIONS", ()))
        for where, layer in layers:
            for key in table_of(layer, section):
                if key not in known:
                    raise UnknownConfigKey(
                        f'[{section}] has no key "{key}".{did_you_mean(key, known)}',
                        file=where,
                        line=place_in(where, layer, section, key).line,
                    )
        prefix = section.replace(".", "__").upper() + "__"
        for name in environ:
            key = name.removeprefix(prefix).lower()
            if name.startswith(prefix) and key.split("__")[0] not in known:
                suggestion = (
                    did_you_mean(key, known).upper().replace("DID YOU MEAN", "Did you mean")
                )
                raise UnknownConfigKey(
                    f"The environment's {name} is not a key.{suggestion}",
                    hint="Correct the name of the variable, or unset it.",
                )
