"""The destination types, by the `type` of a section `[destination.NAME]`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from tailrace.audience.audience import Audience
from tailrace.audience.blocks import DEFAULT_TYPE, Block, Transformation
from tailrace.audience.yaml import Header
from tailrace.config.project import ProjectConfig, did_you_mean
from tailrace.destinations.loops import without_loops
from tailrace.destinations.protocol import DestinationType
from tailrace.errors import InvalidConfigValue
from tailrace.models.accepted import AcceptedSql
from tailrace.models.dbt import dbt_project
from tailrace.models.loader import Models, load_models


def _segment() -> DestinationType:
    from tailrace.destinations.segment.destination import SegmentDestination

    return SegmentDestination()


def _salesforce() -> DestinationType:
    from tailrace.destinations.salesforce.destination import SalesforceDestination

    return SalesforceDestination()


def _webhook() -> DestinationType:
    from tailrace.destinations.webhook.destination import WebhookDestination

    return WebhookDestination()


# Imported when first used: each type brings the libraries of its service.
_TYPES: dict[str, Callable[[], DestinationType]] = {
    DEFAULT_TYPE: _segment,
    "salesforce": _salesforce,
    "webhook": _webhook,
}


def destination_type(name: str = DEFAULT_TYPE) -> DestinationType:
    """The destination type of a name.

    Raises:
        InvalidConfigValue: There is no such type.
    """
    if name not in _TYPES:
        raise InvalidConfigValue(
            f'There is no destination type "{name}".{did_you_mean(name, _TYPES)}',
            hint=f"Set type to one of: {', '.join(_TYPES)}.",
        )
    return _TYPES[name]()


def type_of(project: ProjectConfig, destination: str) -> DestinationType:
    """The type of the section `[destination.NAME]`.

    Raises:
        InvalidConfigValue: The section has an unknown type.
    """
    with project.locating():
        try:
            return destination_type(project.destination_type(destination))
        except InvalidConfigValue as error:
            error.key = f"destination.{destination}.type"
            raise


class ProjectTypes:
    """The destination types of a project, for its headers; implements `BlockTypes`."""

    def __init__(self, project: ProjectConfig) -> None:
        self._project = project

    def type_of(self, section: str) -> str:
        """The type of a section.

        Raises:
            InvalidConfigValue: The section has an unknown type.
        """
        return type_of(self._project, section).name

    def compile(
        self, type_name: str, header: Header, section: str, transformation: Transformation
    ) -> Block:
        """See `DestinationType.compile_block`."""
        return destination_type(type_name).compile_block(header, section, transformation)


def project_models(project: ProjectConfig) -> Models:
    """The models of a project; errors of files are in `broken`, see `load_models`."""
    settings = project.settings
    models = load_models(
        project.models_folder,
        objects=project.salesforce().objects,
        types=ProjectTypes(project),
        reserved=(settings.dataset, settings.ledger_dataset, settings.model_dataset),
        dbt=dbt_project(project),
        accepted=AcceptedSql(project.root / ".tailrace"),
    )
    return replace(without_loops(models, _written_fields), selectors=project.selectors)


def _written_fields(audience: Audience) -> Mapping[str, Mapping[str, str]]:
    return destination_type(audience.destination_type).written_fields(audience)


def check_destinations(project: ProjectConfig, names: Iterable[str]) -> None:
    """Check the sections of destinations and the rules of their types, without credentials.

    Raises:
        ConfigurationError: A setting or a rule is wrong.
    """
    kinds = {DEFAULT_TYPE: destination_type()}
    with project.locating():
        for name in tuple(names) or (DEFAULT_TYPE,):
            kind = type_of(project, name)
            kind.limits(project, name)
            kinds[kind.name] = kind
        for kind in kinds.values():
            kind.project_rules(project)
