"""Segment as a destination: `type = "segment"`, the default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import datetime
from typing import TYPE_CHECKING, NoReturn

from tailrace.audience.audience import Audience
from tailrace.audience.blocks import DEFAULT_TYPE, Transformation
from tailrace.audience.yaml import Header
from tailrace.clock import Clock
from tailrace.config.project import ProjectConfig
from tailrace.config.settings import SegmentSettings, SendLimits
from tailrace.destinations.protocol import (
    Described,
    DestinationSettings,
    HeaderAdvice,
    MapperOptions,
    Receipt,
)
from tailrace.destinations.segment.mapper import KINDS, Mapper
from tailrace.destinations.segment.spec import advice
from tailrace.destinations.segment.tracking_plan import TrackingPlan
from tailrace.errors import InternalError
from tailrace.warehouse.statements import Column

if TYPE_CHECKING:
    from tailrace.destinations.segment.http import SegmentClient


class SegmentDestination:
    """Implements `DestinationType`."""

    name = DEFAULT_TYPE
    label = "Segment"
    message_kinds: tuple[str, ...] = KINDS

    def compile_block(
        self, header: Header, section: str, transformation: Transformation
    ) -> NoReturn:
        """Segment's keys are fields of `Audience`, and not a block."""
        raise InternalError(f"{self.name} has no block of its own")

    def settings(self, project: ProjectConfig, destination: str) -> SegmentSettings:
        """The section `[destination.NAME]`; see `ProjectConfig.segment`."""
        return project.segment(destination)

    def project_rules(self, project: ProjectConfig) -> TrackingPlan | None:
        """The project's tracking plan; None without a file.

        Raises:
            TrackingPlanInvalid: The file is not a tracking plan.
        """
        return TrackingPlan.read(project.tracking_plan_file)

    def mapper(self, audience: Audience, options: MapperOptions) -> Mapper:
        """Compile an audience's header."""
        return Mapper(
            audience,
            namespace=options.namespace,
            planned_at=options.planned_at,
            salt=options.salt,
            tracking_plan=options.rules,
        )

    def check_header(self, audience: Audience, described: Described) -> None:
        """Nothing: any name is accepted."""

    def written_fields(self, audience: Audience) -> Mapping[str, Mapping[str, str]]:
        """Nothing: Segment writes nothing to Salesforce; `integrations` sees to that."""
        return {}

    def api_calls(
        self, audience: Audience, messages: Mapping[str, int], settings: DestinationSettings | None
    ) -> None:
        """None: Segment has no daily budget of calls."""

    def row_checks(
        self, audience: Audience, described: Described, columns: Sequence[Column]
    ) -> None:
        """None: Segment takes any value."""

    def limits(self, project: ProjectConfig, destination: str) -> SegmentSettings:
        """The section without its credentials, for plans."""
        return project.segment_limits(destination)

    def default_limits(self) -> SendLimits:
        """The limits of a section without settings."""
        return SegmentSettings(write_key="").send_limits()

    def header_advice(self, audience: Audience) -> Sequence[HeaderAdvice]:
        """What to reconsider in a header."""
        return advice(audience)

    def connect(
        self, settings: SegmentSettings, *, clock: Clock, destination: str
    ) -> SegmentClient:
        """Open a connection."""
        # Plans and checks need no HTTP client, and work offline without importing one.
        from tailrace.destinations.segment.http import SegmentClient

        return SegmentClient(settings, clock=clock, destination=destination)

    def examine(
        self,
        project: ProjectConfig,
        destination: str,
        audiences: Sequence[Audience],
        *,
        clock: Clock,
    ) -> tuple[bool, str]:
        """Whether the source accepts the write key, if it can be asked."""
        from tailrace.destinations.segment.write_key import settings_host

        settings = self.settings(project, destination)
        with closing(self.connect(settings, clock=clock, destination=destination)) as client:
            client.check()
        host = settings_host(settings)
        if host:
            return True, f"{settings.host}: {host} knows the write key"
        off = not settings.check_write_key
        why = "check_write_key is off" if off else "no settings_host is known"
        return False, f"{settings.host}: the write key is not checked ({why} for this host)"

    def can_verify_receipt(self, settings: SegmentSettings) -> bool:
        """Whether a token for the Public API is configured."""
        return bool(settings.public_api_token)

    def verify_receipt(
        self,
        settings: SegmentSettings,
        sent: Mapping[tuple[str, str], int],
        *,
        since: datetime,
        clock: Clock,
    ) -> Receipt:
        """Compare with Delivery Overview, which is some thirty seconds late."""
        from tailrace.destinations.segment.delivery_overview import wait_for_overview

        overview = wait_for_overview(
            settings,
            sent,
            since=since,
            clock=clock,
            wait_seconds_max=settings.overview_seconds_max,
        )
        return Receipt(
            place="the source's Delivery Overview in Segment",
            missing=overview.missing(sent),
            dropped=overview.failed,
        )
