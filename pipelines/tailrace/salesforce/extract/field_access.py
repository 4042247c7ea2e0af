"""Fields that models or settings name, and that the integration user cannot see."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from tailrace.config.project import did_you_mean
from tailrace.config.settings import SalesforceSettings
from tailrace.dataclass import dataclass
from tailrace.errors import TailraceError, UnknownObject
from tailrace.salesforce.client import Api
from tailrace.salesforce.describe import describe_object, read_describe

# Columns that every landed table has, whatever Salesforce shows.
ALWAYS_LANDED = frozenset({"is_deleted", "_hard_deleted", "_dlt_load_id", "_dlt_id"})


@dataclass(frozen=True, kw_only=True)
class HiddenField:
    """A field that is named and does not land."""

    object: str
    message: str
    hint: str


def hidden_fields(
    api: Api,
    settings: SalesforceSettings,
    columns: Mapping[str, Mapping[str, Iterable[str]]],
    *,
    normalize: Callable[[str], str],
) -> Iterator[HiddenField]:
    """Every field that is named and not visible, object by object.

    Args:
        columns: The columns that models read, by table, with the files that name them.
        normalize: From API names to those of tables and columns.

    Raises:
        Unreachable, CredentialRefused, ServiceFailed: Salesforce cannot be asked.
    """
    with ThreadPoolExecutor(settings.objects_in_flight_max) as pool:
        checks = [
            pool.submit(_check, api, settings, name, columns.get(normalize(name), {}), normalize)
            for name in settings.objects
        ]
        for check in checks:
            yield from check.result()


def _check(
    api: Api,
    settings: SalesforceSettings,
    name: str,
    columns: Mapping[str, Iterable[str]],
    normalize: Callable[[str], str],
) -> list[HiddenField]:
    try:
        described = describe_object(api, name)
    except UnknownObject:
        # A check of its own reports the object.
        return []
    try:
        sobject = read_describe(described, settings.of(name), formula=settings.formula)
    except TailraceError as error:
        return [
            HiddenField(object=name, message=single.message, hint=single.hint)
            for single in error.flattened()
        ]
    landed = {normalize(field) for field in sobject.names} | ALWAYS_LANDED
    visible = {normalize(field) for field in sobject.visible}
    hidden = []
    for column, files in columns.items():
        if column in landed:
            continue
        reader = f"{', '.join(files)} reads {normalize(sobject.name)}.{column}"
        if column in visible:
            message = f"{reader}, which the settings leave out, or which has no value of its own"
            hint = f"Look at fields, exclude and formula of [sources.salesforce.object.{name}]."
        else:
            message = f"{reader}, which this user cannot see.{did_you_mean(column, landed)}"
            hint = (
                f"Give the user read access to the field of {sobject.name} (field-level security),"
                " or correct the model."
            )
        hidden.append(HiddenField(object=name, message=message, hint=hint))
    return hidden
