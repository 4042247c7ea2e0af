-- name: sizes
-- The size and the changes of an audience in each run.
SELECT a.planned_at, a.size_before, a.size_after, a.entered, a.changed, a.exited, a.sent, a.rejected,
       a.held, a.phase, r.run_id
FROM audience_runs AS a
JOIN runs AS r ON r.run_seq = a.run_seq
WHERE a.sync_key = :sync_key
ORDER BY a.run_seq

-- name: last_successes
-- When each audience last finished a run without being held or failing.
SELECT a.sync_key, MAX(a.finished_at)
FROM audience_runs AS a
WHERE a.phase = 'done'
GROUP BY a.sync_key
ORDER BY a.sync_key

-- name: members_at
-- The members at a point in time. Each key is judged by its last delivered transition until then, else
-- by its next one, else (where the outbox was purged) by the snapshot.
SELECT EACH_COLUMN(keys, w._)
FROM (
  SELECT
    EACH_COLUMN(keys, e._), e._was_member,
    ROW_NUMBER() OVER (PARTITION BY EACH_COLUMN(keys, e._) ORDER BY e._evidence, e._distance) AS _place
  FROM (
    SELECT EACH_COLUMN(keys, o._), o.op <> 'exited' AS _was_member, 1 AS _evidence, -o.run_seq AS _distance
    FROM delivered AS o
    WHERE o._acked_at <= :moment
    UNION ALL
    SELECT
      EACH_COLUMN(keys, o._),
      -- A reset sends existing members as entering.
      o.op <> 'entered' OR (o._blind AND o._since <= :moment),
      2, o.run_seq
    FROM delivered AS o
    WHERE o._acked_at > :moment
    UNION ALL
    SELECT EACH_COLUMN(keys, s._), NOT s._gone AND s._since <= :moment, 3, 0
    FROM snapshot AS s
  ) AS e
) AS w
WHERE w._place = 1 AND w._was_member
ORDER BY EACH_COLUMN(keys, w._)

-- name: purged_until
-- The end of the latest run whose changes were purged; NULL if none was.
SELECT MAX(a.finished_at)
FROM audience_runs AS a
WHERE a.sync_key = :sync_key AND a.phase <> 'delivering' AND a.held = 0
  AND a.entered + a.changed + a.exited > 0
  AND NOT EXISTS (SELECT 1 FROM acks AS k WHERE k.sync_key = a.sync_key AND k.run_seq = a.run_seq)

-- name: memberships
-- A person's rows in the snapshot, found by any of the columns that identify a person.
SELECT EACH_COLUMN(keys, s._), s._v, s._since, s._gone
FROM snapshot AS s
WHERE ANY_COLUMN(names, CAST(s._ AS TEXT) = :person)

-- name: transitions
-- A person's planned transitions in one audience, with their acknowledgement or rejection.
SELECT
  o.run_seq, a.planned_at, a.mapping, k.acked_at, x.reason AS refused_for,
  o.seq, o.op, o.reason, o.base_v, o._blind, o._send, o._stays, o._at,
  EACH_COLUMN(keys, o._), EACH_COLUMN(columns, o._), EACH_COLUMN(columns, o.old___)
FROM outbox AS o
JOIN audience_runs AS a ON a.sync_key = :sync_key AND a.run_seq = o.run_seq
LEFT JOIN acks AS k
  ON k.sync_key = :sync_key AND k.run_seq = o.run_seq
  AND o.seq >= k.first_seq AND o.seq <= k.last_seq
LEFT JOIN rejections AS x
  ON x.sync_key = :sync_key AND x.run_seq = o.run_seq AND x.seq = o.seq
WHERE ANY_COLUMN(names, CAST(o._ AS TEXT) = :person)
ORDER BY o.run_seq, o.seq

-- name: delivered_rows
-- The delivered transitions of an audience that are not purged, with the time of delivery.
SELECT o.*, k.acked_at AS _acked_at
FROM outbox AS o
JOIN acks AS k
  ON k.sync_key = :sync_key AND k.run_seq = o.run_seq
  AND o.seq >= k.first_seq AND o.seq <= k.last_seq
WHERE NOT EXISTS (
  SELECT 1 FROM rejections AS r
  WHERE r.sync_key = :sync_key AND r.run_seq = o.run_seq AND r.seq = o.seq
)

-- name: landed_status
-- One row if an object with this id has landed, with whether it is deleted in Salesforce.
SELECT COALESCE(o.is_deleted, FALSE) FROM landed AS o WHERE CAST(o.id AS TEXT) = :person

-- name: count_in_model
-- The number of a model's rows for a person, found by any of the columns that identify a person.
SELECT COUNT(*) FROM model AS m WHERE ANY_COLUMN(names, CAST(m._ AS TEXT) = :person)

-- name: run_transitions
-- The transitions of a run, with their keys.
SELECT o.op, EACH_COLUMN(keys, o._)
FROM outbox AS o
JOIN runs AS r ON r.run_seq = o.run_seq
WHERE r.run_id = :run_id
ORDER BY o.seq

-- name: rejected_rows
-- The rejected messages of an audience with the key of their member, the latest first.
SELECT o.op, r.kind, r.reason, r.path, r.status, r.attempts, r.message_id, r.first_seen, r.last_seen,
       EACH_COLUMN(keys, o._)
FROM rejections AS r
JOIN outbox AS o ON o.run_seq = r.run_seq AND o.seq = r.seq
WHERE r.sync_key = :sync_key AND r.resolved_at IS NULL
ORDER BY r.last_seen DESC, r.run_seq DESC, r.seq
LIMIT :rows_max

-- name: audiences_of_run
-- The planned and sent changes of one run, one row for each audience.
SELECT a.name, a.destination, a.phase, a.size_before, a.size_after, a.entered, a.changed, a.exited,
       a.sent, a.rejected, a.held, a.quarantined, a.guards
FROM audience_runs AS a
WHERE a.run_seq = :run
ORDER BY a.sync_key

-- name: find_run
-- A run by its id.
SELECT r.run_seq, r.run_id, r.command, r.phase, r.started_at, r.finished_at, r.exit_code,
       r.salesforce_calls, r.error, r.latency_p50_seconds, r.latency_p95_seconds
FROM runs AS r
WHERE r.run_id = :run_id

-- name: deliveries_in_progress
-- Audience runs with a pending delivery, and the number of acknowledged members.
SELECT a.run_seq, a.sync_key, a.name, a.destination, a.entered + a.changed + a.exited,
       COALESCE((
         SELECT SUM(k.last_seq - k.first_seq + 1)
         FROM acks AS k
         WHERE k.run_seq = a.run_seq AND k.sync_key = a.sync_key
       ), 0),
       a.written_at
FROM audience_runs AS a
WHERE a.phase = 'delivering'
ORDER BY a.run_seq, a.sync_key

-- name: recent_acks
-- Members and messages of each acknowledged range since a time, for the rate of a delivery.
SELECT k.run_seq, k.sync_key, k.last_seq - k.first_seq + 1, k.calls, k.acked_at
FROM acks AS k
WHERE k.acked_at >= :since
ORDER BY k.acked_at
