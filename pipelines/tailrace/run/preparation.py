"""Reads the parts of a project that a job needs, before its warehouse is opened."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from tailrace.audience.audience import Audience
from tailrace.audience.ledger_keys import DEFAULT_DESTINATION
from tailrace.audience.yaml import raise_all, suggest
from tailrace.config.project import ProjectConfig
from tailrace.destinations.protocol import DestinationSettings
from tailrace.destinations.registry import project_models, type_of
from tailrace.errors import HeaderInvalid, MissingCredential, NothingSelected
from tailrace.ledger.ledger import Ledger
from tailrace.models.loader import Model, Models
from tailrace.plan.guards import NAMES
from tailrace.plan.planner import syncs_of
from tailrace.plan.policy import PlanOptions
from tailrace.run.work import Job, Work


def prepare(project: ProjectConfig, job: Job) -> Work:
    """Read the parts of the project that a job needs, and raise their errors."""
    reads_models = job.deliver and job.retire is None
    models: Models | None = None
    selected: Sequence[Model] = ()
    if reads_models:
        to = job.replay.destination if job.replay else None
        models, selected = selected_models(project, job.select, job.exclude, replayed_to=to)
    if models is not None and job.reviewed is None:
        check_allowed(job.options, models)
    destinations = _destinations(selected) if reads_models else ()
    if job.replay is not None:
        selected, destinations = (), (job.replay.destination,)
    return Work(
        job=job,
        models=models,
        selected=tuple(selected),
        salesforce=project.salesforce_credentials() if job.extract else None,
        destinations=_settings(project, job, selected, destinations),
        rules=rules_of(project, (*destinations, DEFAULT_DESTINATION)) if job.deliver else {},
    )


def _settings(
    project: ProjectConfig, job: Job, selected: Sequence[Model], destinations: Sequence[str]
) -> Mapping[str, DestinationSettings]:
    """The settings of the destinations that a job sends to, as far as the files say which."""
    if job.options.intent == "accept":
        # Members are recorded, and nothing is sent.
        return with_credentials(project, selected)
    if job.options.intent == "retry":
        # The ledger says which rows were rejected; see `with_destinations_of_ledger`.
        return {}
    return {name: type_of(project, name).settings(project, name) for name in destinations}


def with_destinations_of_ledger(ledger: Ledger, work: Work) -> Work:
    """The work of a retry or of a retirement with the settings of the destinations it sends to.

    Raises:
        ConfigurationError: A credential or a setting of one of these destinations is missing or
            wrong.
    """
    names: list[str] = []
    if work.job.options.intent == "retry":
        rejected = ledger.deliveries.all_unresolved_counts()
        names = [
            audience.destination_name
            for _, audience in syncs_of(work.selected)
            if rejected.get(audience.ledger_key, (0, 0))[0]
        ]
    elif work.job.retire is not None:
        names = [
            str(row["destination"])
            for row in ledger.audiences.statuses()
            if work.job.retire in (row["audience"], row["sync"])
            if ledger.audiences.last_delivered(str(row["sync"])) is not None
        ]
    project = ledger.warehouse.project
    settings = {name: type_of(project, name).settings(project, name) for name in names}
    return replace(work, destinations={**work.destinations, **settings})


def selected_models(
    project: ProjectConfig,
    select: Sequence[str],
    exclude: Sequence[str],
    *,
    replayed_to: str | None = None,
) -> tuple[Models, Sequence[Model]]:
    """All models of a project, and those that a job selects.

    Args:
        project: The project.
        select: As of `Models.select`.
        exclude: As of `Models.select`.
        replayed_to: The destination of a replay, which no header has to name.

    Raises:
        NothingSelected: A name matches nothing, or nothing is left.
        ModelError: No selected audience can be used, or two have one ledger key.
        ConfigurationError: The configuration has a destination that nothing uses.
    """
    models = project_models(project)
    seen: dict[str, Audience] = {}
    for _, audience in syncs_of(models.audiences()):
        other = seen.setdefault(audience.ledger_key, audience)
        if other is not audience:
            raise HeaderInvalid(
                f"{other.name} and {audience.name} have one ledger key, {audience.ledger_key}",
                hint="Give one of the audiences another name.",
                file=audience.file,
                line=audience.line("audience"),
            )
    used = [audience.destination_name for _, audience in syncs_of(models.audiences())]
    if not models.broken:
        project.refuse_unused_destinations(used, exempt=replayed_to)
    selected = models.select(select, exclude)
    models = replace(models, failed=models.select_broken(select, exclude))
    if replayed_to is None and not any(model.audience for model in selected):
        raise_all([error for broken in models.failed for error in broken.errors])
    return models, selected


def check_allowed(options: PlanOptions, models: Models) -> None:
    """Refuse an override of an audience or guard that does not exist, such as a misspelt one."""
    audiences = [audience.name for _, audience in syncs_of(models.audiences())]
    audiences += models.broken
    for audience, guard in sorted(options.allow):
        for given, known, kind in ((audience, audiences, "audience"), (guard, NAMES, "guard")):
            if given not in known:
                problem = f'--allow names "{given}", and there is no such {kind}'
                hint = f"There are: {', '.join(sorted(known))}"
                raise NothingSelected(
                    suggest(problem, given, known),
                    hint=hint,
                    unknown=given if kind == "audience" else None,
                    known=known,
                )


def _destinations(selected: Sequence[Model]) -> tuple[str, ...]:
    """The destinations of the selected audiences."""
    names = [audience.destination_name for _, audience in syncs_of(selected)]
    return tuple(dict.fromkeys(names))


def rules_of(project: ProjectConfig, destinations: Iterable[str]) -> dict[str, Any]:
    """The project's rules for messages, by destination type."""
    kinds = {kind.name: kind for kind in (type_of(project, name) for name in destinations)}
    return {name: kind.project_rules(project) for name, kind in kinds.items()}


def with_credentials(
    project: ProjectConfig, selected: Sequence[Model]
) -> Mapping[str, DestinationSettings]:
    """The destinations whose credentials are configured where the plan is made."""
    settings = {}
    for name in _destinations(selected):
        with suppress(MissingCredential):
            settings[name] = type_of(project, name).settings(project, name)
    return settings


def limits_of(
    project: ProjectConfig, selected: Sequence[Model]
) -> Mapping[str, DestinationSettings]:
    """The limits of each destination, without its credentials: a plan needs no write key.

    Without an audience, those of the default destination.
    """
    names = _destinations(selected) or (DEFAULT_DESTINATION,)
    return {name: type_of(project, name).limits(project, name) for name in names}
