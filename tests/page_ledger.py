"""A ledger with many runs of many audiences, for tests and benchmarks of the page."""

from __future__ import annotations

from shop import PEOPLE, Shop

AUDIENCE_RUN = """
SELECT audience_runs.* REPLACE (
  n.number AS run_seq,
  'audience_' || a.number AS sync_key,
  'audience_' || a.number AS name,
  replace(mapping, '"name": "people"', '"name": "audience_' || a.number || '"') AS mapping,
  planned_at + n.number * INTERVAL 1 HOUR AS planned_at,
  1000 + (n.number * 7919 * a.number) % 400 AS size_after,
  (n.number * 31 + a.number) % 60 AS entered,
  (n.number * 17 + a.number) % 25 AS changed,
  (n.number * 13 + a.number) % 40 AS exited,
  '{"data": {"entered": 12, "changed": 5, "exited": 3}, "definition": {"entered": 2, "changed": 0,'
  || ' "exited": 1}}' AS by_reason
)
FROM tailrace.audience_runs, range(2, $runs + 1) AS n(number), range(1, $audiences + 1) AS a(number)
WHERE run_seq = 1
"""
RUN = """
SELECT runs.* REPLACE (
  n.number AS run_seq,
  strftime(started_at + n.number * INTERVAL 1 HOUR, '%Y-%m-%dT%H:%M:%SZ') || '-4f2a' AS run_id,
  started_at + n.number * INTERVAL 1 HOUR AS started_at,
  finished_at + n.number * INTERVAL 1 HOUR AS finished_at
)
FROM tailrace.runs, range(2, $runs + 1) AS n(number)
WHERE run_seq = 1
"""


def grow(shop: Shop, *, audiences: int, runs: int) -> None:
    """Deliver one audience, and repeat its run in the ledger as that of others."""
    shop.audience(PEOPLE)
    shop.land([{"id": f"c{number}", "city": "Oslo"} for number in range(20)])
    shop.sync()
    shop.forget_audience("people")
    for number in range(1, audiences + 1):
        name = f"audience_{number}"
        shop.audience(PEOPLE.replace("audience: people", f"audience: {name}"), name)
    with shop.connection() as connection:
        numbers = {"runs": runs, "audiences": audiences}
        connection.execute(f"INSERT INTO tailrace.audience_runs {AUDIENCE_RUN}", numbers)
        connection.execute(f"INSERT INTO tailrace.runs {RUN}", {"runs": runs})
        for number in range(1, audiences + 1):
            connection.execute(
                f"CREATE TABLE tailrace.outbox__audience_{number} AS SELECT * REPLACE "
                f"({runs} AS run_seq) FROM tailrace.outbox__people"
            )
        connection.execute("DELETE FROM tailrace.audience_runs WHERE run_seq = 1")
