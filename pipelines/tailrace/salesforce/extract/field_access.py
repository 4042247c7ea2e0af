"""Which fields the integration user does not see although models or settings name them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tailrace.config.project import did_you_mean
from tailrace.config.settings import SalesforceSettings
from tailrace.errors import TailraceError, UnknownObject
from tailrace.salesforce.client import Api
from tailrace.salesforce.describe import read_describe
from tailrace.salesforce.extract.resources import describe

# Columns that every landed table has, whatever Salesforce shows.
ALWAYS_THERE = frozenset({"is_deleted", "_hard_deleted", "_dlt_load_id", "_dlt_id"})


@dataclass(frozen=True, kw_only=True)
class OutOfSight:
    """Something that is named and does not land."""

    object: str
    message: str
    hint: str


def out_of_sight(
    api: Api,
    settings: SalesforceSettings,
    read: Mapping[str, Mapping[str, Iterable[str]]],
    *,
    normalize: Callable[[str], str],
) -> Iterator[OutOfSight]:
    """Every field that is named and not visible, object by object.

    Args:
        read: The columns that models read, by table, with the files that name them.
        normalize: From API names to those of tables and columns.

    Raises:
        Unreachable, CredentialRefused, ServiceFailed: Salesforce cannot be asked.
    """
    with ThreadPoolExecutor(settings.objects_in_flight_max) as pool:
        looks = [
            pool.submit(_look, api, settings, name, read.get(normalize(name), {}), normalize)
            for name in settings.objects
        ]
        for each in looks:
            yield from each.result()


def _look(
    api: Api,
    settings: SalesforceSettings,
    name: str,
    read: Mapping[str, Iterable[str]],
    normalize: Callable[[str], str],
) -> list[OutOfSight]:
    try:
        described = describe(api, name)
    except UnknownObject:
        # Told of already, by its own check.
        return []
    try:
        landing = read_describe(described, settings.of(name), formula=settings.formula)
    except TailraceError as error:
        return [
            OutOfSight(object=name, message=each.message, hint=each.hint)
            for each in error.flattened()
        ]
    landed = {normalize(each) for each in landing.names} | ALWAYS_THERE
    visible = {normalize(each) for each in landing.visible}
    found = []
    for column, files in read.items():
        if column in landed:
            continue
        by = f"{', '.join(files)} reads {normalize(landing.name)}.{column}"
        if column in visible:
            message = f"{by}, which the settings leave out, or which has no value of its own"
            hint = f"Look at fields, exclude and formula of [sources.salesforce.object.{name}]."
        else:
            message = f"{by}, which this user does not see.{did_you_mean(column, landed)}"
            hint = (
                f"Give the user read access to the field of {landing.name} (field-level security),"
                " or correct the model."
            )
        found.append(OutOfSight(object=name, message=message, hint=hint))
    return found
