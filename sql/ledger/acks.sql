-- name: acknowledge
-- Records that ranges of transitions were delivered or rejected.
INSERT INTO acks (run_seq, sync_key, first_seq, last_seq, calls, acked_at)
SELECT d.run_seq, d.sync_key, d.first_seq, d.last_seq, d.calls, :now FROM delivered_ranges AS d

-- name: acknowledged
-- The acknowledged ranges of an audience run, in order.
SELECT first_seq, last_seq, calls
FROM acks
WHERE run_seq = :run AND sync_key = :sync_key
ORDER BY first_seq

-- name: acknowledged_of_runs
-- The acknowledged ranges of several audience runs.
SELECT a.run_seq, a.sync_key, a.first_seq, a.last_seq, a.calls
FROM acks AS a
JOIN audience_run_keys AS k ON k.run_seq = a.run_seq AND k.sync_key = a.sync_key

-- name: delivered_transitions
-- The delivered transitions of a run: its outbox without the rejected ones.
SELECT o.*
FROM outbox AS o
WHERE o.run_seq = :run
  AND NOT EXISTS (
    SELECT 1 FROM rejections AS r
    WHERE r.run_seq = :run AND r.sync_key = :sync_key AND r.seq = o.seq
  )

-- name: planned_transitions
-- All transitions of a run, none of which was rejected.
SELECT o.* FROM outbox AS o WHERE o.run_seq = :run

-- name: occupied_snapshot
-- A sync, if its snapshot has a row.
SELECT CAST(:sync_key AS TEXT) AS sync_key FROM snapshot AS s LIMIT 1

-- name: occupied_snapshots
-- Which of several syncs have a row in their snapshot.
SELECT o.sync_key FROM each_occupied AS o

-- name: delete_replaced_members
-- Deletes the snapshot rows of the keys that a run delivered.
DELETE FROM snapshot AS s
WHERE EXISTS (
  SELECT 1 FROM delivered AS a WHERE EVERY_COLUMN(keys, a._ = s._)
)

-- name: insert_delivered_members
-- Inserts the delivered rows. A former member stays as a tombstone with its last values.
INSERT INTO snapshot (keys, columns, _v, _since, _gone)
SELECT EACH_COLUMN(keys, a._), EACH_COLUMN(columns, a._), :run, a._since, a.op = 'exited'
FROM delivered AS a

-- name: analyze_snapshot
-- Collects the statistics by which PostgreSQL chooses how to join a snapshot and a model.
ANALYZE snapshot

-- name: purge_acks
-- Deletes the ranges of runs that finished long ago.
DELETE FROM acks AS k
WHERE EXISTS (
  SELECT 1 FROM audience_runs AS a
  WHERE a.run_seq = k.run_seq AND a.sync_key = k.sync_key
    AND a.phase <> 'delivering' AND a.finished_at < :before
)

-- name: purge_outbox
-- Deletes transitions of finished runs, except those with an open rejection or an unknown outcome.
DELETE FROM outbox AS o
WHERE o.run_seq IN (
    SELECT a.run_seq FROM audience_runs AS a
    WHERE a.sync_key = :sync_key AND a.phase <> 'delivering' AND a.finished_at < :before
  )
  AND NOT EXISTS (
    SELECT 1 FROM rejections AS r
    WHERE r.sync_key = :sync_key AND r.resolved_at IS NULL
      AND r.run_seq = o.run_seq AND r.seq = o.seq
  )
  AND NOT EXISTS (
    SELECT 1 FROM unconfirmed AS d
    WHERE d.sync_key = :sync_key AND d.run_seq = o.run_seq AND d.seq = o.seq
  )

-- name: purge_tombstones
-- Deletes tombstones that are older than any receiver's record of message ids.
DELETE FROM snapshot AS s WHERE s._gone AND s._since < :before
