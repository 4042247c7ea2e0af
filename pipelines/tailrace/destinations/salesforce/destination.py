"""Salesforce as a destination: `type = "salesforce"`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tailrace.audience.audience import Audience
from tailrace.audience.blocks import Block, Transformation, refuse_unknown_names
from tailrace.audience.yaml import Header, raise_all
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
from tailrace.destinations.row_checks import RowChecks
from tailrace.destinations.salesforce import rules
from tailrace.destinations.salesforce.budget import calls_needed
from tailrace.destinations.salesforce.describe import WritableObject
from tailrace.destinations.salesforce.header import RECORD, WriteBack, written_field
from tailrace.destinations.salesforce.settings import (
    OrgSettings,
    SalesforceWriteSettings,
    read_section,
    read_settings,
)
from tailrace.errors import HeaderInvalid, InternalError
from tailrace.warehouse.statements import Column

if TYPE_CHECKING:
    from tailrace.destinations.salesforce.connection import SalesforceConnection
    from tailrace.destinations.salesforce.mapper import WriteMapper

# In the order in which a transition sends them: the old record's exit comes first.
MESSAGE_KINDS = ("clear", "set", "delete", "upsert", "update", "member", "publish")


class SalesforceDestination:
    """Implements `DestinationType`."""

    name = "salesforce"
    label = "Salesforce"
    message_kinds: tuple[str, ...] = MESSAGE_KINDS

    def compile_block(self, header: Header, section: str, transformation: Transformation) -> Block:
        """Compile the block `salesforce:`, with what the header drops or renames for the section.

        Raises:
            HeaderInvalid: Keys of the block contradict each other.
            SeveralModelErrors: Several do.
        """
        written = header.values["salesforce"]
        fields = written.get("fields") or {}
        refuse_unknown_names(header, section, transformation, list(fields))
        renamed = {
            transformation.rename.get(name, name): source
            for name, source in fields.items()
            if name not in transformation.drop
        }
        values = {**written, "fields": {name: renamed[name] for name in sorted(renamed)}}
        write_back = WriteBack(values)
        raise_all(
            [
                HeaderInvalid(
                    message,
                    hint=hint,
                    file=header.file,
                    line=header.line(("salesforce", *_keys(path))),
                )
                for path, message, hint in write_back.problems()
            ]
        )
        match = next(iter(write_back.match.values()), None)
        if write_back.is_campaign_member:
            match = next(c for n, c in write_back.match.items() if n.lower() != "campaignid")
        return Block(
            type=self.name,
            values=values,
            references={f"salesforce.{path}": column for path, column in write_back.references()},
            columns=write_back.columns,
            message_columns=_message_columns(write_back),
            identity=match,
            # Children of one parent lock it when they are written at the same time.
            sort_columns=write_back.parent_columns,
            names=("attributes", "type", "Id", *_names(write_back)),
            plain_names=("attributes", "type"),
        )

    def settings(self, project: ProjectConfig, destination: str) -> OrgSettings:
        """The section with its login; see `read_settings`."""
        return read_settings(project, destination)

    def project_rules(self, project: ProjectConfig) -> None:
        """None: an org has its own rules."""
        return

    def mapper(self, audience: Audience, options: MapperOptions) -> WriteMapper:
        """Compile an audience's header."""
        from tailrace.destinations.salesforce.mapper import WriteMapper

        return WriteMapper(audience, namespace=options.namespace, described=options.described)

    def check_header(self, audience: Audience, described: Described) -> None:
        """Check the header against describe, as far as it is stored."""
        objects = {name: WritableObject.of(known) for name, known in described.items()}
        raise_all(rules.header_errors(audience, objects))

    def written_fields(self, audience: Audience) -> Mapping[str, Mapping[str, str]]:
        """The fields of the object, unless the header allows a loop."""
        assert audience.block is not None
        write_back = WriteBack(audience.block.values)
        if write_back.allows_loop:
            return {}
        paths = {name: f"salesforce.fields.{name}" for name in write_back.fields}
        kind = write_back.exit_kind
        paths |= {name: f"salesforce.on_exit.{kind}.{name}" for name in write_back.exit_fields}
        return {write_back.object: {written_field(name): path for name, path in paths.items()}}

    def api_calls(
        self, audience: Audience, messages: Mapping[str, int], settings: DestinationSettings | None
    ) -> int:
        """The calls of all requests or of one job, without those of retries."""
        assert audience.block is not None
        section = settings if isinstance(settings, SalesforceWriteSettings) else None
        rows_min = (section or SalesforceWriteSettings()).bulk_rows_min
        return calls_needed(WriteBack(audience.block.values), messages, bulk_rows_min=rows_min)

    def row_checks(
        self, audience: Audience, described: Described, columns: Sequence[Column]
    ) -> RowChecks | None:
        """What describe and the landed records say of the rows."""
        from tailrace.destinations.salesforce.row_checks import row_checks

        assert audience.block is not None
        objects = {name: WritableObject.of(known) for name, known in described.items()}
        return row_checks(WriteBack(audience.block.values), objects, columns)

    def limits(self, project: ProjectConfig, destination: str) -> SalesforceWriteSettings:
        """The section without its login, for plans."""
        return read_section(project, destination)

    def default_limits(self) -> SendLimits:
        """The limits of a section without settings."""
        return SalesforceWriteSettings().send_limits()

    def header_advice(self, audience: Audience) -> Sequence[HeaderAdvice]:
        """What to reconsider in a header."""
        return ()

    def connect(
        self, settings: OrgSettings, *, clock: Clock, destination: str
    ) -> SalesforceConnection:
        """Open a connection."""
        # Plans and checks need no HTTP client, and work offline without importing one.
        from tailrace.destinations.salesforce.connection import SalesforceConnection

        return SalesforceConnection(settings, clock=clock, destination=destination)

    def examine(
        self,
        project: ProjectConfig,
        destination: str,
        audiences: Sequence[Audience],
        *,
        clock: Clock,
    ) -> tuple[bool, str]:
        """Log in, and compare the headers with what the org has and what the user may write."""
        settings = self.settings(project, destination)
        with closing(self.connect(settings, clock=clock, destination=destination)) as connection:
            connection.check()
            for audience in audiences:
                connection.prepare(audience, {})
            objects = ", ".join(sorted(connection.descriptions))
            written = f"; the user may write what the headers name ({objects})" if objects else ""
            return True, f"{connection.name}: logged in{written}"

    def can_verify_receipt(self, settings: OrgSettings) -> bool:
        """False: every record's result is part of the answer."""
        return False

    def verify_receipt(
        self,
        settings: Any,
        sent: Mapping[tuple[str, str], int],
        *,
        since: datetime,
        clock: Clock,
    ) -> Receipt:
        """Not called; see `can_verify_receipt`."""
        raise InternalError("Salesforce reports the result of each record at once")


def _message_columns(write_back: WriteBack) -> dict[str, tuple[str, ...]]:
    """The columns whose change writes the record, and those that only an exit sends.

    A change of the latter is recorded without a message, so that an exit has the last values.
    """
    exits = tuple(set(write_back.exit_columns) - set(write_back.compared_columns))
    columns = {RECORD: write_back.compared_columns}
    return columns | {"exit": tuple(sorted(exits))} if exits else columns


def _keys(path: str) -> list[str]:
    """The keys of a path in the block; names of fields may have a dot.

    >>> _keys("fields.Account.Key__c"), _keys("on_exit.set.Account.Key__c")
    (['fields', 'Account.Key__c'], ['on_exit', 'set', 'Account.Key__c'])
    """
    return path.split(".", 2 if path.startswith("on_exit.") else 1)


def _names(write_back: WriteBack) -> tuple[str, ...]:
    """The names in records that come from the header."""
    names = {*write_back.match, *write_back.fields, *write_back.exit_fields}
    return tuple(sorted({step for name in names for step in (name, *name.split("."))}))
