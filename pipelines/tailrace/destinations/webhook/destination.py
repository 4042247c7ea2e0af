"""Webhooks as a destination: `type = "webhook"`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import datetime
from typing import TYPE_CHECKING

from tailrace.audience.audience import Audience
from tailrace.audience.blocks import Block, Transformation
from tailrace.audience.yaml import Header
from tailrace.clock import Clock
from tailrace.config.project import ProjectConfig
from tailrace.config.settings import SendLimits
from tailrace.destinations.protocol import (
    Described,
    DestinationSettings,
    HeaderAdvice,
    MapperOptions,
    Receipt,
)
from tailrace.destinations.webhook.header import KIND, NAME, compile_block
from tailrace.destinations.webhook.settings import (
    WebhookSettings,
    WebhookTarget,
    read_limits,
    read_settings,
)
from tailrace.errors import InternalError
from tailrace.warehouse.statements import Column

if TYPE_CHECKING:
    from tailrace.destinations.webhook.http import WebhookConnection
    from tailrace.destinations.webhook.mapper import WebhookMapper


class WebhookDestination:
    """Implements `DestinationType`."""

    name = NAME
    label = "the webhook"
    message_kinds: tuple[str, ...] = (KIND,)

    def compile_block(self, header: Header, section: str, transformation: Transformation) -> Block:
        """Compile `webhook:`; see `header`."""
        return compile_block(header, section, transformation)

    def settings(self, project: ProjectConfig, destination: str) -> WebhookTarget:
        """The section with its secrets; see `read_settings`."""
        return read_settings(project, destination)

    def project_rules(self, project: ProjectConfig) -> None:
        """None: every receiver has its own rules."""
        return

    def mapper(self, audience: Audience, options: MapperOptions) -> WebhookMapper:
        """Compile an audience's header."""
        from tailrace.destinations.webhook.mapper import WebhookMapper

        return WebhookMapper(audience, options)

    def check_header(self, audience: Audience, described: Described) -> None:
        """Nothing: any name is accepted."""

    def written_fields(self, audience: Audience) -> Mapping[str, Mapping[str, str]]:
        """Nothing that is known: what a receiver does with an element is its own."""
        return {}

    def api_calls(
        self, audience: Audience, messages: Mapping[str, int], settings: DestinationSettings | None
    ) -> int | None:
        """One call for each request to an Apex class; None for a URL, which has no such budget."""
        if not isinstance(settings, WebhookSettings) or not settings.is_apex:
            return None
        single = audience.block is not None and audience.block.values["batch"] == "single"
        return math.ceil(sum(messages.values()) / (1 if single else settings.batch_rows_max))

    def row_checks(
        self, audience: Audience, described: Described, columns: Sequence[Column]
    ) -> None:
        """None: a URL does not describe what it takes."""

    def limits(self, project: ProjectConfig, destination: str) -> WebhookSettings:
        """The section without its secrets, for plans."""
        return read_limits(project, destination)

    def default_limits(self) -> SendLimits:
        """The limits of a section without settings."""
        return WebhookSettings().send_limits()

    def header_advice(self, audience: Audience) -> Sequence[HeaderAdvice]:
        """What to reconsider in a header."""
        return ()

    def connect(
        self, settings: WebhookTarget, *, clock: Clock, destination: str
    ) -> WebhookConnection:
        """Open a connection."""
        # Plans and checks need no HTTP client, and work offline without importing one.
        from tailrace.destinations.webhook.http import WebhookConnection

        return WebhookConnection(settings, clock=clock, destination=destination)

    def examine(
        self,
        project: ProjectConfig,
        destination: str,
        audiences: Sequence[Audience],
        *,
        clock: Clock,
    ) -> tuple[bool, str]:
        """Connect without sending anything; see `DestinationType.examine`."""
        settings = self.settings(project, destination)
        with closing(self.connect(settings, clock=clock, destination=destination)) as connection:
            connection.reach()
            signed = "requests are signed" if settings.secret else "requests are not signed"
            return True, f"{connection.name} is reachable; {signed}"

    def can_verify_receipt(self, settings: WebhookTarget) -> bool:
        """False: an answer is the only thing a receiver says."""
        return False

    def verify_receipt(
        self,
        settings: WebhookTarget,
        sent: Mapping[tuple[str, str], int],
        *,
        since: datetime,
        clock: Clock,
    ) -> Receipt:
        """Not called; see `can_verify_receipt`."""
        raise InternalError("a webhook cannot be asked what it received")
