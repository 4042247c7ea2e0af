"""`tailrace doctor`: checks of the installation, the configuration and the connections.

The checks are read-only: no file is made, no row is written, nothing is sent.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from tailrace import __version__
from tailrace.audience.audience import Audience
from tailrace.audience.ledger_keys import DEFAULT_DESTINATION
from tailrace.clock import Clock
from tailrace.config.check import check_warehouse
from tailrace.config.committed_credentials import committed_credentials, hint_of, message_of
from tailrace.config.project import ProjectConfig, did_you_mean, load_project
from tailrace.dataclass import dataclass
from tailrace.errors import (
    ConfigurationError,
    LockHeld,
    ModelRoleRefused,
    NothingLanded,
    ReceiverChanged,
    TailraceError,
)

LIBRARIES = ("dlt", "duckdb", "sqlglot", "segment-analytics-python", "simple-salesforce")
CLOCK_SKEW_SECONDS_MAX = 60
API_SHARE_LOW = 0.1


@dataclass(frozen=True, kw_only=True)
class Check:
    """The result of one check."""

    check: str
    status: Literal["ok", "warning", "failed", "skipped"]
    found: str
    hint: str = ""
    exit_code: int = 0

    def as_dict(self) -> dict[str, Any]:
        entry = asdict(self)
        del entry["exit_code"]
        return entry


def examine(directory: Path | None, target: str | None, *, clock: Clock) -> tuple[Check, ...]:
    """Every check, in the order in which a failure explains the next one."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES)
    found = f"tailrace {__version__}, Python {platform.python_version()}, {versions}"
    checks = [Check(check="versions", status="ok", found=found)]
    try:
        project = load_project(directory, target=target)
        settings = project.salesforce()
        with project.locating():
            check_warehouse(project)
    except TailraceError as error:
        return (*checks, *_failed("configuration", error))
    where = project.settings
    names = f"warehouse {where.warehouse}, datasets {where.dataset} and {where.ledger_dataset}"
    checks.append(Check(check="configuration", status="ok", found=names))
    checks += _committed_credentials(project)
    subjects: tuple[tuple[str, Callable[[], Iterator[Check]]], ...] = (
        ("models", lambda: _models(project, settings.objects)),
        ("alerts", lambda: _alerts(project)),
        ("state", lambda: _state(project, clock)),
        ("warehouse", lambda: _warehouse(project, clock)),
        ("salesforce", lambda: _salesforce(project, clock)),
        ("segment", lambda: _receivers(project, clock)),
    )
    for name, checks_of_subject in subjects:
        try:
            with project.locating():
                checks += checks_of_subject()
        except TailraceError as error:
            checks += _failed(name, error)
    return tuple(checks)


def exit_code(checks: tuple[Check, ...]) -> int:
    """0 if all is well, 2 if the user can correct it, 1 if something outside failed."""
    codes = {check.exit_code for check in checks if check.status == "failed"}
    return 2 if 2 in codes else 1 if codes else 0


def _failed(name: str, error: TailraceError) -> Iterator[Check]:
    for entry in error.flattened():
        place = ":".join(str(part) for part in (entry.file, entry.line) if part)
        yield Check(
            check=name,
            status="failed",
            found=f"{place}: {entry.message}" if place else entry.message,
            hint=entry.hint,
            exit_code=entry.exit_code,
        )


def _committed_credentials(project: ProjectConfig) -> Iterator[Check]:
    for name, place in committed_credentials(project):
        found = f"{place.file}:{place.line}: {message_of(name)}"
        yield Check(check="configuration", status="warning", found=found, hint=hint_of(name))


def _models(project: ProjectConfig, objects: tuple[str, ...]) -> Iterator[Check]:
    from tailrace.destinations.registry import project_models
    from tailrace.models.loader import errors_of

    models = project_models(project)
    errors = errors_of(models.broken.values())
    for error in errors:
        yield from _failed("models", error)
    found = f"{len(models.by_name)} models, {len(models.audiences())} of them audiences"
    if models.by_name or not errors:
        yield Check(check="models", status="ok", found=found)


def _alerts(project: ProjectConfig) -> Iterator[Check]:
    """The receivers of alerts, if the project has any. Nothing is sent to them."""
    from tailrace.alerts.sending import check, missing_extra

    settings = project.alerts()
    if not settings.urls:
        return
    install = missing_extra()
    if install is not None:
        found, hint = "alerts are not sent: apprise is not installed", f"Install it with: {install}"
        yield Check(check="alerts", status="warning", found=found, hint=hint)
        return
    results = check(settings)
    for receiver in results:
        if receiver.problem:
            yield Check(
                check="alerts",
                status="failed",
                found=f"{receiver.label} {receiver.problem}",
                hint="Correct urls under [tailrace.alerts].",
                exit_code=2,
            )
    if not any(receiver.problem for receiver in results):
        found = f"{len(results)} receivers; test them with: tailrace alerts test"
        yield Check(check="alerts", status="ok", found=found)


def _state(project: ProjectConfig, clock: Clock) -> Iterator[Check]:
    """The store of the state, if the project has one: whether it answers, and who writes it."""
    if project.settings.state_url is None:
        return
    from tailrace.state.session import describe

    state = describe(project, clock=clock)
    found = f"{state['url']}: generation {state['generation']}, {state['bytes'] / 1e6:,.1f} MB"
    yield Check(check="state", status="ok", found=found)
    lease = state["lease"]
    if lease is not None and lease["held"]:
        held = f"process {lease['process']} on {lease['host']}, until {lease['expires_at']}"
        yield Check(
            check="state lease",
            status="warning",
            found=f"held by {held}",
            hint=f"{LockHeld.hint} If that run is dead: tailrace state unlock",
        )


def _warehouse(project: ProjectConfig, clock: Clock) -> Iterator[Check]:
    from tailrace.warehouse.opening import open_warehouse

    try:
        with open_warehouse(project, clock=clock, read_only=True) as warehouse:
            tables = warehouse.tables_in(project.settings.dataset)
            # The tables of dlt's own bookkeeping begin with an underscore.
            objects = sum(not table.startswith("_") for table in tables)
            found = f"{warehouse.engine_version}, {objects} objects loaded"
            yield Check(check="warehouse", status="ok", found=found)
            yield from _lock_owner(warehouse, clock)
            yield from _sources(warehouse, clock)
            yield from _bindings(warehouse, clock)
            if warehouse.model_role is not None:
                yield from _model_role(warehouse, warehouse.model_role)
    except NothingLanded as error:
        yield Check(check="warehouse", status="ok", found=error.message)
    except LockHeld as error:
        yield Check(check="lock", status="warning", found=error.message, hint=error.hint)
    if project.settings.warehouse == "duckdb":
        file = project.duckdb_file
        place = next(path for path in (file, *file.parents) if path.exists())
        if not os.access(place, os.W_OK) or (place != file and not place.is_dir()):
            yield Check(
                check="warehouse",
                status="failed",
                found=f"{place.name} cannot be written",
                hint="Give this user the right to write the file and its folder.",
                exit_code=2,
            )


def _bindings(warehouse: Any, clock: Clock) -> Iterator[Check]:
    """The destinations that are not those which the ledger was delivered to."""
    from tailrace.destinations.registry import type_of
    from tailrace.ledger.ledger import Ledger
    from tailrace.ledger.receivers import check_receivers, receivers_of

    project = warehouse.project
    for name in _destinations(project):
        try:
            settings = type_of(project, name).settings(project, name)
        except ConfigurationError:
            # The check of the destination itself shows it.
            continue
        try:
            check_receivers(Ledger(warehouse, clock=clock), receivers_of({name: settings}))
        except ReceiverChanged as error:
            yield from _failed("ledger", error)


def _sources(warehouse: Any, clock: Clock) -> Iterator[Check]:
    """The tables that models/sources.yml declares, and those that dbt builds."""
    from tailrace.destinations.registry import project_models
    from tailrace.plan.sources import SourceStates

    models = project_models(warehouse.project)
    for state in SourceStates(warehouse, models, now=clock.now()).all():
        problems = state.problems()
        yield Check(
            check="source",
            status="warning" if problems else "ok",
            found=state.summary(),
            hint="Run the job that loads the table, or correct models/sources.yml."
            if problems
            else "",
        )


def _model_role(warehouse: Any, role: str) -> Iterator[Check]:
    """Whether the connection can take the role, and whether the role only reads."""
    from tailrace.warehouse.model_role import as_model_role

    try:
        with as_model_role(warehouse):
            pass
    except ModelRoleRefused as error:
        yield from _failed("model role", error)
        return
    settings = warehouse.project.settings
    unreadable, writable = [], []
    for dataset, tables_unreadable, tables_writable in warehouse.run(
        "warehouse/model_role_rights",
        role=role,
        landed=settings.dataset,
        ledger=settings.ledger_dataset,
        models=settings.model_dataset,
    ):
        unreadable += [dataset] if tables_unreadable else []
        writable += [dataset] if tables_writable else []
    for dataset in unreadable:
        yield Check(
            check="model role",
            status="failed",
            found=f"{role} may not read every table of the schema {dataset}",
            hint=f'On the server, run: GRANT USAGE ON SCHEMA "{dataset}" TO "{role}"; and: '
            f'GRANT SELECT ON ALL TABLES IN SCHEMA "{dataset}" TO "{role}"',
            exit_code=2,
        )
    for dataset in writable:
        yield Check(
            check="model role",
            status="warning",
            found=f"{role} may write to tables of the schema {dataset}",
            hint="On the server, run: REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN "
            f'SCHEMA "{dataset}" FROM "{role}"',
        )
    if not unreadable and not writable:
        yield Check(check="model role", status="ok", found=f"{role} reads, and does not write")


def _lock_owner(warehouse: Any, clock: Clock) -> Iterator[Check]:
    from tailrace.ledger.ledger import Ledger
    from tailrace.ledger.lock import read_lock

    if "lock" not in warehouse.tables_in(warehouse.project.settings.ledger_dataset):
        yield Check(check="ledger", status="ok", found="no run yet")
        return
    lease = read_lock(Ledger(warehouse, clock=clock))
    if lease.is_dead(now=clock.now(), one_writer=warehouse.engine.has_one_writer):
        yield Check(check="lock", status="ok", found="free")
        return
    held = f"held by {lease.run_id} on {lease.host}, until {lease.expires_at:%H:%M:%S}"
    yield Check(check="lock", status="warning", found=held, hint=LockHeld.hint)


def _salesforce(project: ProjectConfig, clock: Clock) -> Iterator[Check]:
    from tailrace.models.loader import landed_name
    from tailrace.salesforce.answers import (
        as_count,
        as_mapping,
        as_records,
        as_text,
        readable_answers,
    )
    from tailrace.salesforce.client import Api
    from tailrace.salesforce.extract.field_access import hidden_fields

    settings = project.salesforce()
    api = Api(project.salesforce_credentials(), settings, clock=clock)
    try:
        with readable_answers("the org"):
            daily = as_mapping(api.get("limits")["DailyApiRequests"], "DailyApiRequests")
            left, most = (as_count(daily[name], name) for name in ("Remaining", "Max"))
            listed = as_records(api.get("sobjects")["sobjects"], "sobjects")
            known = {as_text(entry["name"], "name of an object") for entry in listed}
            columns = _columns_read(project)
            hidden = list(hidden_fields(api, settings, columns, normalize=landed_name))
    finally:
        api.close()
    yield Check(check="salesforce", status="ok", found=f"logged in by {api.login_kind}")
    yield Check(
        check="salesforce API",
        status="ok" if left >= API_SHARE_LOW * most else "warning",
        found=f"{left:,} of {most:,} calls left today",
    )
    for name in settings.objects:
        if name.lower() not in {other.lower() for other in known}:
            yield Check(
                check="salesforce objects",
                status="failed",
                found=f"There is no object {name} for this user.{did_you_mean(name, known)}",
                hint="Correct [sources.salesforce] objects, or give the user access to it.",
                exit_code=2,
            )
    for field in hidden:
        yield Check(
            check="salesforce fields",
            status="failed",
            found=field.message,
            hint=field.hint,
            exit_code=2,
        )
    if api.server_time is not None:
        skew = abs((clock.now() - api.server_time).total_seconds())
        close = skew <= CLOCK_SKEW_SECONDS_MAX
        yield Check(
            check="clock",
            status="ok" if close else "warning",
            found=f"{_duration(skew)} from Salesforce's clock",
            hint="" if close else "Set this machine's clock: logins by JWT depend on it.",
        )


def _duration(seconds: float) -> str:
    """A length of time in its largest unit.

    >>> _duration(12.4), _duration(259_199), _duration(90)
    ('12 s', '3 days', '2 min')
    """
    for unit, length in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{seconds:,.0f} s"


def _columns_read(project: ProjectConfig) -> dict[str, dict[str, tuple[str, ...]]]:
    from tailrace.destinations.registry import project_models
    from tailrace.models.lineage import columns_read

    # The check of the models reports the files that cannot be read.
    return columns_read(project_models(project))


def _receivers(project: ProjectConfig, clock: Clock) -> Iterator[Check]:
    """The destinations that audiences go to, by the names of their sections."""
    from tailrace.destinations.registry import type_of

    for name, audiences in _destinations(project).items():
        try:
            kind = type_of(project, name)
            checked, found = kind.examine(project, name, audiences, clock=clock)
            yield Check(check=name, status="ok" if checked else "skipped", found=found)
        except TailraceError as error:
            yield from _failed(name, error)


def _destinations(project: ProjectConfig) -> dict[str, list[Audience]]:
    """The audiences of each destination; without any audience, the default destination."""
    from tailrace.destinations.registry import project_models

    models = project_models(project)
    audiences = [model.audience for model in models.audiences() if model.audience]
    audiences += [broken.audience for broken in models.broken.values() if broken.audience]
    destinations: dict[str, list[Audience]] = {}
    for audience in audiences:
        for sync in audience.syncs():
            destinations.setdefault(sync.destination_name, []).append(sync)
    return destinations or {DEFAULT_DESTINATION: []}
