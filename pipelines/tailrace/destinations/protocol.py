"""What a destination provides: the seam between the core and each receiver.

The core (plan, ledger, run) sees a destination as three objects:

* `DestinationType`: reads a `[destination.NAME]` section, compiles the headers of audiences and
  opens connections. One per `type`, found in `registry`.
* `MessageMapper`: one audience's header, compiled. It turns transitions into messages.
* `Connection`: sends one request and classifies the answer.

Batching, retries, bisecting, rate limits and parallel requests are the same for all of them and
stand in `sender`, `retry`, `rate_limiter` and `batching`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from datetime import datetime
from typing import Any, Protocol

from tailrace.audience.audience import Audience
from tailrace.audience.blocks import Block, Transformation
from tailrace.audience.yaml import Header
from tailrace.clock import Clock
from tailrace.config.project import ProjectConfig
from tailrace.config.settings import SendLimits
from tailrace.dataclass import dataclass
from tailrace.destinations.ingest import IngestJobs
from tailrace.destinations.message_columns import MessageBuilder
from tailrace.destinations.messages import Message, Refusal, Transition
from tailrace.destinations.outcome import SendOutcome
from tailrace.destinations.row_checks import RowChecks
from tailrace.warehouse.statements import Column

# Describes of a receiver's objects, by name in lower case.
Described = Mapping[str, Mapping[str, Any]]


class Connection(Protocol):
    """A connection to one receiver, shared by the threads of its sender.

    Attributes:
        name: The host name, for messages.
        section: The section of the configuration, for example `destination.eu`.
        address_key: The setting that holds the address, for hints.
        clock_offset_seconds: How far this machine's clock is ahead of the receiver's; None until
            an answer has shown it.
        api_calls: Calls so far out of the receiver's daily budget; None without a budget.
    """

    name: str
    section: str
    address_key: str
    clock_offset_seconds: float | None

    @property
    def api_calls(self) -> int | None:
        """See the attributes."""
        ...

    def check(self) -> None:
        """Check the credentials before the first message is sent.

        Raises:
            CredentialRefused: The receiver does not accept them.
            InvalidConfigValue: They belong to another region.
            Unreachable: The receiver cannot be asked.
        """
        ...

    def prepare(self, audience: Audience, stored: Described) -> Described:
        """Check an audience's header against the receiver, before its first message is sent.

        Args:
            audience: The audience at this destination.
            stored: What the ledger knows of the receiver's objects, by name in lower case.

        Returns:
            What the mapper needs to know of them; see `MapperOptions.described`.

        Raises:
            HeaderInvalid: The receiver does not have, or does not accept, what the header names.
        """
        ...

    def measure_clock(self) -> None:
        """Find out `clock_offset_seconds`, without sending messages."""
        ...

    def send(self, messages: Sequence[Message], *, retries: int) -> SendOutcome:
        """Send one request. `retries` counts the earlier attempts of the same messages."""
        ...

    def jobs(self, audience: Audience, rows: int) -> IngestJobs | None:
        """The jobs of an audience that has so many rows to send; None if requests send them."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


@dataclass(frozen=True, kw_only=True)
class MessageTemplates:
    """The messages of an audience as templates that the warehouse fills in.

    `statement` is the statement of `sql/` that fills them in. Its rows have the number, whether it
    was rendered, the operation, the user, the hash key, and the content of each of the three
    `kinds`; a kind without a name is never sent. `lists` holds the columns of each template,
    labelled with the text before them; `ends` holds the text after the last column, or None for a
    message that is not sent.
    """

    statement: str
    kinds: tuple[str, ...]
    identity: Column
    lists: Mapping[str, tuple[Column, ...]]
    ends: Mapping[str, str | bool | None]


@dataclass(frozen=True, kw_only=True)
class ValueWarning:
    """Values that were changed on their way into messages, counted. Never a value itself."""

    message: str
    hint: str = ""


@dataclass(frozen=True, kw_only=True)
class TransitionFacts:
    """What decides how many messages a transition has.

    Attributes:
        op: entered, changed or exited.
        reason: Why; `initial` for the first delivery.
        changed: The groups of `Audience.column_groups` in which a value changed.
        no_previous: The old values are unknown, so that every message is sent.
        moved: The user changed.
        leaves: The old user of a moved member gets an exit.
        stays: An exit of a user who remains a member through another row.
        complete: All of `Audience.condition_columns` have a value.
    """

    op: str
    reason: str
    changed: frozenset[str] = frozenset()
    no_previous: bool = False
    moved: bool = False
    leaves: bool = True
    stays: bool = False
    complete: bool = True


class MessageMapper(Protocol):
    """The compiled header of one audience.

    Attributes:
        sends_own_time: Messages carry times from the rows, so that a wrong clock would shift them.
        message_kinds: The kinds of messages in the order in which a transition sends them.
        message_bytes_max: The largest message that may be sent.
        batch_messages_max: The most messages in a request, if less than the destination's limit.
    """

    audience: Audience
    sends_own_time: bool
    message_kinds: tuple[str, ...]
    message_bytes_max: int
    batch_messages_max: int | None

    def messages(self, transition: Transition) -> tuple[list[Message], list[Refusal], str]:
        """The messages of a transition, or why it has none, and the user that receives them."""
        ...

    def message_counts(self, facts: TransitionFacts) -> Mapping[str, int]:
        """How many messages of each kind a transition has, without building them."""
        ...

    def templates(
        self, columns: Sequence[Column], *, keys: Sequence[Column], changes: bool
    ) -> MessageTemplates | None:
        """The messages as templates for the warehouse; None if rows are mapped one by one."""
        ...

    def message_builder(self, kind: str, op: str) -> MessageBuilder:
        """Builds the messages of rows from their hash keys and contents, as rendered."""
        ...

    def value_warnings(self) -> Iterator[ValueWarning]:
        """What was changed in the values of the messages so far."""
        ...


@dataclass(frozen=True, kw_only=True)
class HeaderAdvice:
    """A part of a header that is valid and probably not intended."""

    path: str
    message: str


@dataclass(frozen=True, kw_only=True)
class MapperOptions:
    """What a mapper needs besides the audience.

    Attributes:
        namespace: The ledger's random id; part of every message id.
        planned_at: The time of messages that have none of their own.
        salt: The project's salt for hashed values.
        rules: What `DestinationType.project_rules` has read.
        described: What is known of the receiver's objects.
    """

    namespace: str
    planned_at: datetime
    salt: str | None = None
    rules: Any = None
    described: Described = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What a receiver reports to have received, compared with what was acknowledged.

    Attributes:
        missing: Acknowledged messages that it has not received, by kind and event name.
        dropped: Messages that it dropped after the acknowledgement, by reason.
        place: Where a person can look it up.
    """

    place: str
    missing: Mapping[tuple[str, str], int]
    dropped: Mapping[str, int]


class DestinationSettings(Protocol):
    """What the core reads of a destination's section."""

    @property
    def resend_hours_max(self) -> float:
        """How long the receiver recognises repeated message ids."""
        ...

    def send_limits(self) -> SendLimits:
        """The limits of batches, requests, rates and retries."""
        ...

    def receiver(self) -> tuple[str, str]:
        """The host, and the credential that names the account there; empty if there is none."""
        ...


class DestinationType(Protocol):
    """One kind of receiver, the value of `type` in a destination's section.

    Attributes:
        name: The value of `type`, and the name of its block in headers.
        label: What messages for people call the receiver.
        message_kinds: The kinds of messages in the order in which a transition sends them.
    """

    name: str
    label: str
    message_kinds: tuple[str, ...]

    def compile_block(self, header: Header, section: str, transformation: Transformation) -> Block:
        """Compile its block of a header, whose JSON Schema has been checked.

        Args:
            header: The header with the lines of its values.
            section: The name of the destination's section.
            transformation: What the header says under `destinations:` about it.

        Raises:
            HeaderInvalid: Something in the block is wrong; with file and line.
            SeveralModelErrors: Several things are.
        """
        ...

    def settings(self, project: ProjectConfig, destination: str) -> DestinationSettings:
        """The section `[destination.NAME]`.

        Raises:
            UnknownConfigKey: There is no such section, or it has an unknown key.
            MissingCredential: A credential is missing.
        """
        ...

    def project_rules(self, project: ProjectConfig) -> Any:
        """Rules of the project that every message has to follow, such as a tracking plan."""
        ...

    def mapper(self, audience: Audience, options: MapperOptions) -> MessageMapper:
        """Compile an audience's header."""
        ...

    def check_header(self, audience: Audience, described: Described) -> None:
        """Check an audience's header against what is known of the receiver's objects.

        Raises:
            HeaderInvalid: The receiver does not have, or does not accept, what the header names.
            SeveralModelErrors: Several of these.
        """
        ...

    def written_fields(self, audience: Audience) -> Mapping[str, Mapping[str, str]]:
        """The fields of Salesforce that an audience writes and that its SQL must not read.

        Returns:
            For each object, the fields with their paths in the header.
        """
        ...

    def api_calls(
        self, audience: Audience, messages: Mapping[str, int], settings: DestinationSettings | None
    ) -> int | None:
        """The calls that messages take out of the receiver's daily budget; None without one.

        Args:
            audience: The audience at this destination.
            messages: The messages by kind.
            settings: The section, if it is configured.
        """
        ...

    def row_checks(
        self, audience: Audience, described: Described, columns: Sequence[Column]
    ) -> RowChecks | None:
        """What is known of an audience's rows without a call; None if nothing is.

        Args:
            audience: The audience at this destination.
            described: What is known of the receiver's objects.
            columns: The key and the mapped columns, with their types.
        """
        ...

    def limits(self, project: ProjectConfig, destination: str) -> DestinationSettings:
        """The section without its credentials, for plans."""
        ...

    def default_limits(self) -> SendLimits:
        """The limits of a section without settings, for plans that need no credentials."""
        ...

    def header_advice(self, audience: Audience) -> Sequence[HeaderAdvice]:
        """What to reconsider in a header."""
        ...

    def connect(self, settings: Any, *, clock: Clock, destination: str) -> Connection:
        """Open a connection."""
        ...

    def examine(
        self,
        project: ProjectConfig,
        destination: str,
        audiences: Sequence[Audience],
        *,
        clock: Clock,
    ) -> tuple[bool, str]:
        """Whether a destination can be reached with its credentials, without sending anything.

        Args:
            project: The project.
            destination: The name of the section.
            audiences: The audiences that go there, whose headers it has to accept.
            clock: For timeouts.

        Returns:
            Whether it could be checked, and what was found.

        Raises:
            TailraceError: It cannot be used.
        """
        ...

    def can_verify_receipt(self, settings: Any) -> bool:
        """Whether the receiver can be asked what it received."""
        ...

    def verify_receipt(
        self,
        settings: Any,
        sent: Mapping[tuple[str, str], int],
        *,
        since: datetime,
        clock: Clock,
    ) -> Receipt:
        """Compare acknowledged messages, by kind and event name, with what was received.

        Raises:
            TailraceError: The receiver cannot be asked.
        """
        ...
