"""`tailrace demo`: the whole main job against the sandbox, over two days and a quiet third run.

Beside the audiences of the starter project, which go to Segment, one is written back to contacts
and one is posted to a webhook. The simulators are HTTP servers on this machine, and the project is
a temporary folder that is deleted at the end. The people in it are made up.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from tailrace.audience.ledger_keys import ledger_key
from tailrace.cli.commands.init import scaffold
from tailrace.clock import SystemClock
from tailrace.dataclass import dataclass
from tailrace.errors import ConfigurationError
from tailrace.ledger.ledger import Ledger
from tailrace.project import Project
from tailrace.testing import SalesforceSimulator, SegmentSimulator
from tailrace.testing.org.editions import enable_write_back
from tailrace.testing.webhook import WebhookReceiver
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.opening import open_warehouse
from tailrace.warehouse.statements import Column

# The ledger of each demo has this namespace, and its messageIds with it.
NAMESPACE = "tailrace demo"
# The settings of `--config` are those of a target of this name.
TARGET = "demo"
# What is said of an audience in the file of `--received`.
COUNTED = ("audience", "status", "size_after", "entered", "changed", "exited", "sent")
AUDIENCES = {
    "contact_tiers": """/* ---
audience: contact_tiers
description: The tier of each customer's contacts, written to their records
key: contact_id
salesforce:
  object: Contact
  match: {Id: contact_id}
  mode: update
  fields: {Plan_Tier__c: tier}
--- */
SELECT
    contacts.contact_id,
    CASE WHEN account_sales.won_last_year > 50000 THEN 'gold' ELSE 'silver' END AS tier
FROM contacts
JOIN account_sales ON account_sales.account_id = contacts.account_id
WHERE account_sales.deals_won > 0
""",
    "vip_alerts": """/* ---
audience: vip_alerts
description: Contacts whose account won more than 50k in the last year, posted to a webhook
key: contact_id
webhook:
  body: {contact: contact_id, account: account_name, ltv: ltv_usd, source: {value: demo}}
--- */
SELECT
    contacts.contact_id,
    accounts.account_name,
    account_sales.won_last_year AS ltv_usd
FROM contacts
JOIN accounts ON accounts.account_id = contacts.account_id
JOIN account_sales ON account_sales.account_id = accounts.account_id
WHERE account_sales.won_last_year > 50000
""",
}


class SandboxClock(SystemClock):
    """The clock of the simulated org, which the models use too."""

    def __init__(self, org: Any) -> None:
        self.org = org

    def now(self) -> datetime:
        moment: datetime = self.org.now()
        return moment


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """One run of the demo: its title, its result, and names of people by audience and operation."""

    title: str
    exit_code: int
    result: dict[str, Any]
    who: Mapping[str, Mapping[str, list[str]]]
    example: Mapping[str, Any] | None
    element: Mapping[str, Any] | None


def story(
    report: Path | None = None, *, config: Path | None = None, received: Path | None = None
) -> Iterator[Chapter]:
    """Run the main job three times; each run is yielded when it has ended.

    Args:
        report: A page about the three runs is written to this file at the end.
        config: A TOML file with further settings, such as those of another warehouse.
        received: What the receivers got is written to this file at the end, a JSON object a line.

    Raises:
        ConfigurationError: The warehouse of `config` is not empty.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tailrace-demo-")))
        salesforce = stack.enter_context(SalesforceSimulator())
        clock = SandboxClock(salesforce.org)
        enable_write_back(salesforce.org)
        segment = stack.enter_context(SegmentSimulator(clock=clock))
        webhook = stack.enter_context(WebhookReceiver(verdicts="element", clock=clock))
        settings = {
            "SOURCES__SALESFORCE__CREDENTIALS__INSTANCE_URL": salesforce.url,
            "SOURCES__SALESFORCE__CREDENTIALS__CLIENT_ID": salesforce.client_id,
            "SOURCES__SALESFORCE__CREDENTIALS__CLIENT_SECRET": salesforce.client_secret,
            "DESTINATION__SEGMENT__HOST": segment.url,
            "DESTINATION__SEGMENT__WRITE_KEY": segment.write_key,
            "DESTINATION__WEBHOOK__URL": webhook.url,
        }
        project = _project(folder / "shop", settings, clock, config)
        narrator = _Narrator(project, segment.inbox, webhook)
        chapters = [narrator.run("Day 1: everything is new")]
        yield chapters[-1]
        salesforce.org.advance_day()
        for title in (
            "Day 2: deals were won and lost, people came, went and changed",
            "Day 2, once more: nothing has happened since",
        ):
            chapters.append(narrator.run(title))
            yield chapters[-1]
        if report is not None:
            project.report(report)
        if received is not None:
            lines = _received(chapters, segment.inbox.received, webhook.elements, salesforce.org)
            received.write_text("".join(lines), encoding="utf-8")


def _received(
    chapters: Sequence[Chapter],
    messages: Iterable[Mapping[str, Any]],
    elements: Iterable[Mapping[str, Any]],
    org: Any,
) -> list[str]:
    """What each audience came to in each run, and what its receiver got, in an order of its own.

    The times of messages are left out: they are those of this demo.
    """
    documents: list[dict[str, Any]] = [
        {"run": number, **{name: audience[name] for name in COUNTED}}
        for number, chapter in enumerate(chapters, start=1)
        for audience in chapter.result["audiences"]
    ]
    documents += [{"to": "segment", **message} for message in messages]
    documents += [{"to": "webhook", **element} for element in elements]
    documents += [
        {"to": "salesforce", "Id": contact["Id"], "Plan_Tier__c": contact["Plan_Tier__c"]}
        for contact in org.rows("Contact").records()
        if contact.get("Plan_Tier__c")
    ]
    for document in documents:
        document.pop("timestamp", None)
        document.pop("sentAt", None)
    lines = (
        json.dumps(document, ensure_ascii=False, sort_keys=True) + "\n" for document in documents
    )
    return sorted(lines)


def _project(
    folder: Path, settings: Mapping[str, str], clock: SandboxClock, config: Path | None
) -> Project:
    root = scaffold(folder).root
    for name, text in AUDIENCES.items():
        (root / "models" / "audiences" / f"{name}.sql").write_text(text, encoding="utf-8")
    if config is not None:
        shutil.copy(config, root / ".dlt" / f"{TARGET}.config.toml")
    target = TARGET if config is not None else None
    project = Project.load(root, environ=settings, clock=clock, target=target)
    with open_warehouse(project.config, clock=clock) as warehouse:
        _require_empty(warehouse, config)
        # Two demos give the same messages the same ids.
        Ledger(warehouse, clock=clock).install(NAMESPACE)
    return project


def _require_empty(warehouse: Warehouse, config: Path | None) -> None:
    chosen = warehouse.project.settings
    for dataset in (chosen.dataset, chosen.model_dataset, chosen.ledger_dataset):
        if warehouse.tables_in(dataset):
            raise ConfigurationError(
                f"The warehouse has tables in {dataset}, and the demo needs an empty database",
                hint=f"Name an empty database in {config}.",
            )


class _Narrator:
    """Runs the job, and reads the moves from the ledger and the messages from the simulator."""

    def __init__(self, project: Project, segment: Any, webhook: WebhookReceiver) -> None:
        self.project = project
        self.segment = segment
        self.webhook = webhook
        self.clock: Any = project.clock

    def run(self, title: str) -> Chapter:
        before, elements_before = len(self.segment.received), len(self.webhook.elements)
        done = self.project.run()
        with open_warehouse(self.project.config, clock=self.clock, read_only=True) as warehouse:
            ledger = Ledger(warehouse, clock=self.clock)
            names = {
                audience.audience: self._moved(
                    ledger,
                    str(done.run_id),
                    ledger_key(audience.audience, audience.destination),
                )
                for audience in done.audiences.values()
                if audience.entered + audience.changed + audience.exited
            }
        return Chapter(
            title=title,
            exit_code=done.exit_code,
            result=done.as_dict(),
            who=names,
            example=_exit_event(self.segment.received[before:]),
            element=_exit_element(self.webhook.elements[elements_before:]),
        )

    def _moved(self, ledger: Ledger, run_id: str, sync_key: str) -> dict[str, list[str]]:
        rows = ledger.warehouse.run(
            "reporting/run_transitions",
            tables={"outbox": ledger.outbox(sync_key), "runs": ledger.tables["runs"]},
            columns={"keys": (Column("contact_id"),)},
            run_id=run_id,
        )
        names: dict[str, list[str]] = {}
        for op, contact_id in rows:
            names.setdefault(op, []).append(self._name(contact_id))
        return names

    def _name(self, contact_id: str) -> str:
        try:
            person = self.clock.org.get("Contact", contact_id)
        except KeyError:
            return f"{contact_id} (deleted)"
        return " ".join(filter(None, (person["FirstName"], person["LastName"])))


def _exit_event(messages: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """A track event of an exit, as it was received."""
    exits = (m for m in messages if m["type"] == "track" and m["event"] == "Segment Exited")
    return next(exits, None)


def _exit_element(elements: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """An element of an exit, as the webhook received it."""
    return next((element for element in elements if element["op"] == "exited"), None)
