-- name: runs
-- The latest runs with their phases and budgets.
SELECT run_seq, run_id, command, phase, started_at, finished_at, exit_code, error, salesforce_calls, details,
       latency_p50_seconds, latency_p95_seconds
FROM runs
ORDER BY run_seq DESC
LIMIT :rows_max

-- name: audience_runs
-- The latest runs of each audience at each destination, oldest first, without their SQL. Guards and
-- funnel are those of the last one.
SELECT a.run_seq, r.run_id, a.sync_key, a.name, a.destination, a.phase, a.planned_at,
       a.rows_seen, a.size_before, a.size_after, a.entered, a.changed, a.exited, a.quarantined, a.held,
       a.sent, a.rejected, a.calls, a.by_reason,
       CASE WHEN a._place = 1 THEN a.guards ELSE '[]' END,
       CASE WHEN a._place = 1 THEN a.funnel END
FROM (
  SELECT b.*, ROW_NUMBER() OVER (PARTITION BY b.sync_key ORDER BY b.run_seq DESC) AS _place
  FROM audience_runs AS b
) AS a
JOIN runs AS r ON r.run_seq = a.run_seq
WHERE a._place <= :rows_max
ORDER BY a.sync_key, a.run_seq

-- name: definitions
-- The two latest definitions of each audience, each with the last run that has it, and the last one
-- that was delivered with it.
SELECT a.sync_key, a.definition, a.definition_fingerprint, a.mapping, d._delivered_seq, r.run_id
FROM (
  SELECT e.*, ROW_NUMBER() OVER (PARTITION BY e.sync_key ORDER BY e.run_seq DESC) AS _order
  FROM (
    SELECT
      b.sync_key, b.definition_fingerprint, MAX(b.run_seq) AS run_seq,
      MAX(CASE WHEN b.phase = 'done' THEN b.run_seq END) AS _delivered_seq
    FROM audience_runs AS b
    WHERE b.phase <> 'retired'
    GROUP BY b.sync_key, b.definition_fingerprint
  ) AS e
) AS d
JOIN audience_runs AS a ON a.sync_key = d.sync_key AND a.run_seq = d.run_seq
JOIN runs AS r ON r.run_seq = d.run_seq
WHERE d._order <= 2
ORDER BY d.sync_key, d._order

-- name: rejections_of_runs
-- The rejected changes of the latest run of each audience, by reason.
SELECT x.run_seq, x.sync_key, x.reason, COUNT(DISTINCT x.seq)
FROM rejections AS x
WHERE x.run_seq = (SELECT MAX(a.run_seq) FROM audience_runs AS a WHERE a.sync_key = x.sync_key)
GROUP BY x.run_seq, x.sync_key, x.reason
ORDER BY x.sync_key, x.reason

-- name: acknowledged
-- How many changes of the pending deliveries are acknowledged.
SELECT k.run_seq, k.sync_key, SUM(k.last_seq - k.first_seq + 1)
FROM acks AS k
JOIN audience_runs AS a ON a.run_seq = k.run_seq AND a.sync_key = k.sync_key
WHERE a.phase = 'delivering'
GROUP BY k.run_seq, k.sync_key
ORDER BY k.sync_key, k.run_seq

-- name: extracts
-- The latest extract of each object.
SELECT e.object, e.table_name, e.rows_landed, e.complete, e.empty, e.quarantined, e.vanished_fields, e.error,
       e.finished_at, e.seconds, e.watermark
FROM extracts AS e
WHERE NOT EXISTS (
  SELECT 1 FROM extracts AS later
  WHERE later.table_name = e.table_name
    AND (later.run_seq > e.run_seq
         OR (later.run_seq = e.run_seq AND later.finished_at > e.finished_at))
)
ORDER BY e.object

-- name: landed_counts
-- The rows of a landed table, and those that are deleted in Salesforce.
SELECT COUNT(*), COALESCE(SUM(CASE WHEN o.is_deleted THEN 1 ELSE 0 END), 0) FROM landed AS o

-- name: stored_schema
-- The latest schema of the landed tables, as dlt stores it.
SELECT v.schema FROM stored_schemas AS v WHERE v.schema_name = :schema_name ORDER BY v.inserted_at DESC LIMIT 1

-- name: changes_of_run
-- The changes in a sync's run: their operations and positions in the outbox.
SELECT CAST(:sync_key AS TEXT) AS sync_key, o.op AS op, o.seq AS seq
FROM outbox AS o
WHERE o.run_seq = :run

-- name: first_changes
-- The first change of each operation, for several syncs. One aggregation for all outboxes costs a
-- third of one for each.
SELECT c.sync_key, c.op, MIN(c.seq) FROM each_changes AS c GROUP BY c.sync_key, c.op

-- name: sample
-- A change of each operation in a sync's run, by their positions in the outbox.
SELECT
  CAST(:sync_key AS TEXT) AS sync_key,
  o.seq, o.op, o.reason, o.base_v, o._blind, o._send, o._stays, o._at,
  EACH_COLUMN(keys, o._), EACH_COLUMN(columns, o._), EACH_COLUMN(columns, o.old___)
FROM outbox AS o
WHERE o.run_seq = :run AND o.seq IN (:entered, :changed, :exited)

-- name: samples
-- The changes of several syncs whose outboxes have the same columns.
SELECT z.* FROM each_sample AS z

-- name: outcomes
-- Since when each of some changes is acknowledged, and why it was rejected.
SELECT c.sync_key, c.seq, k.acked_at, x.reason
FROM changes AS c
LEFT JOIN acks AS k
  ON k.sync_key = c.sync_key AND k.run_seq = c.run_seq AND c.seq >= k.first_seq AND c.seq <= k.last_seq
LEFT JOIN rejections AS x ON x.sync_key = c.sync_key AND x.run_seq = c.run_seq AND x.seq = c.seq
