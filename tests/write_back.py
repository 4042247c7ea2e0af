"""A shop that writes back to a simulated org: landed contacts, an audience, and its records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shop import Shop

from tailrace.testing import SalesforceSimulator

CONFIG = """
[tailrace]
warehouse = "duckdb"
first_run_members_max = 0

[destination.duckdb]
credentials = "warehouse.duckdb"

[sources.salesforce]
objects = ["Account"]

[destination.salesforce]
retry_seconds_max = 5
"""
HEADER = """
object: Contact
match: {Crm_Key__c: crm_key}
fields: {Plan_Tier__c: tier, Health__c: health}
"""
PEOPLE = "id VARCHAR, crm_key VARCHAR, tier VARCHAR, health DOUBLE, offer VARCHAR, parent VARCHAR"


class WriteBackShop(Shop):
    """A project whose audience goes to Salesforce records."""

    def __init__(self, root: Path, simulator: SalesforceSimulator) -> None:
        super().__init__(root)
        self.simulator = simulator
        (root / ".dlt" / "config.toml").write_text(CONFIG)
        prefix = "SOURCES__SALESFORCE__CREDENTIALS__"
        self.environ |= {
            f"{prefix}INSTANCE_URL": simulator.url,
            f"{prefix}ACCESS_TOKEN": simulator.access_token(),
        }

    def header(self, block: str = HEADER, *, more: str = "") -> None:
        """Write the audience with a block `salesforce:`."""
        lines = "\n".join(f"  {line}" for line in block.strip().splitlines())
        self.audience(
            f"/* ---\naudience: people\nkey: id\n{more}salesforce:\n{lines}\n--- */\n"
            "SELECT id, crm_key, tier, health, offer, parent FROM salesforce.account\n"
        )

    def people(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Replace the members; what a row leaves out is NULL."""
        with self.connection() as con:
            con.execute("CREATE SCHEMA IF NOT EXISTS salesforce")
            con.execute(f"CREATE OR REPLACE TABLE salesforce.account ({PEOPLE})")
            for row in rows:
                named = {"id": row["crm_key"], **row}
                marks = ", ".join("?" * len(named))
                con.execute(
                    f"INSERT INTO salesforce.account ({', '.join(named)}) VALUES ({marks})",
                    list(named.values()),
                )

    def many(self, count: int, *, health: str = "i % 90") -> None:
        """Replace the members by generated ones with the keys c-0001 onwards."""
        with self.connection() as con:
            con.execute("CREATE SCHEMA IF NOT EXISTS salesforce")
            con.execute(
                "CREATE OR REPLACE TABLE salesforce.account AS SELECT printf('c-%04d', i) AS id,"
                f" id AS crm_key, 'gold' AS tier, ({health})::DOUBLE AS health,"
                " NULL::VARCHAR AS offer, NULL::VARCHAR AS parent"
                f" FROM range(1, {count + 1}) AS r(i)"
            )

    def record(self, key: str, sobject: str = "Contact") -> dict[str, Any]:
        rows = self.simulator.org.rows(sobject).records()
        return next(
            row for row in rows if row.get("Crm_Key__c") == key and not row.get("IsDeleted")
        )

    def requests(self) -> list[tuple[str, str]]:
        """The method and the path of each request to the data API since the last look."""
        seen = [
            (entry.request.method, entry.request.path.partition("/v64.0/")[2])
            for entry in self.simulator.requests
            if "/v64.0/" in entry.request.path
        ]
        self.simulator.requests.clear()
        return seen

    def rejections(self) -> list[tuple[Any, ...]]:
        return self.query(
            "SELECT reason, attempts FROM tailrace.rejections WHERE resolved_at IS NULL"
            " ORDER BY seq"
        )
