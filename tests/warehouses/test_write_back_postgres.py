"""A write-back from PostgreSQL: the same refusals, current records and jobs as from DuckDB."""

from __future__ import annotations

from pathlib import Path

import pytest
from salesforce_org import SIZES
from write_back import CONFIG, WriteBackShop

from tailrace.run import job
from tailrace.testing import BulkSettings, SalesforceSimulator
from tailrace.testing.org.editions import enable_write_back
from tailrace.testing.org.org import Org

pytestmark = pytest.mark.postgres

AUDIENCE = """/* ---
audience: people
key: id
dialect: postgres
salesforce:
  object: Contact
  match: {Crm_Key__c: crm_key}
  api: bulk
  fields:
    Plan_Tier__c: tier
    Health__c: health
    Is_VIP__c: {value: true}
    Next_Offer__c: {column: offer, on_null: keep}
  on_exit: clear
--- */
SELECT
  id, crm_key__c AS crm_key, 12.5 AS health, CAST(NULL AS VARCHAR) AS offer,
  CASE crm_key__c WHEN 'c-0003' THEN 'platinum' ELSE 'gold' END AS tier
FROM salesforce.contact
WHERE crm_key__c IN ('c-0001', 'c-0002', 'c-0003')
"""


def test_a_write_back_from_postgresql(tmp_path: Path, postgres_database: str) -> None:
    org = Org(ticking=False, sizes=SIZES)
    enable_write_back(org)
    with SalesforceSimulator(org=org, bulk=BulkSettings(polls=0)) as simulator:
        shop = WriteBackShop(tmp_path / "shop", simulator)
        config = CONFIG.replace('"duckdb"', '"postgres"').replace('"Account"', '"Contact"')
        (shop.root / ".dlt" / "config.toml").write_text(config)
        shop.environ["DESTINATION__POSTGRES__CREDENTIALS"] = postgres_database
        shop.audience(AUDIENCE)
        wanted = {"Plan_Tier__c": "gold", "Health__c": 12.5, "Is_VIP__c": True}
        org.update("Contact", shop.record("c-0001")["Id"], wanted)
        job.extract(shop.project, clock=shop.clock)
        plan = shop.plan()
        assert not plan.errors, plan.errors
        (planned,) = plan.as_dict()["audiences"]
        assert (planned["current"], planned["refused"], planned["entered"]) == (1, 1, 3)
        result = shop.sync()
        (sent,) = result.as_dict()["audiences"]
        assert (result.exit_code, sent["sent"], sent["rejected"]) == (4, 2, 1)
        assert {name: shop.record("c-0002")[name] for name in wanted} == wanted
        assert [write.operation for write in simulator.writer.writes] == ["update"]
        simulator.requests.clear()
        assert shop.sync().exit_code == 4
        assert simulator.requests == []
