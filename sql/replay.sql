-- name: runs
-- The finished runs of a sync that had transitions, oldest first.
SELECT run_seq, definition, definition_fingerprint, mapping, mapping_fingerprint, planned_at
FROM audience_runs
WHERE sync_key = :sync_key AND phase = 'done' AND entered + changed + exited > 0
ORDER BY run_seq

-- name: members
-- All members as entering, for a destination that has no ledger or was retired. Their version is new,
-- so that the messageIds are new.
CREATE TEMPORARY TABLE transitions AS
SELECT
  'entered' AS op, 'initial' AS reason, -CAST(:run AS BIGINT) AS base_v, FALSE AS _blind, TRUE AS _send,
  FALSE AS _stays, CAST(NULL AS TIMESTAMPTZ) AS _at, s._since,
  EACH_COLUMN(keys, s._), EACH_COLUMN(columns, s._), EACH_COLUMN(columns, CAST(NULL AS _TYPE), old__)
FROM snapshot AS s
WHERE NOT s._gone

-- name: forget_members
-- Former members from now on, because the destination lost them. Delivered ones become members again.
UPDATE snapshot AS s SET _gone = TRUE WHERE NOT s._gone

-- name: recorded_columns
-- The key and value columns of an audience in the ledger, as a template for new tables.
SELECT EACH_COLUMN(keys, o._), EACH_COLUMN(columns, o._) FROM source AS o

-- name: catch_up
-- The history lacks columns that were added or converted without sending. Copies them from the other
-- destination's snapshot for members that this destination accepted.
UPDATE snapshot AS s
SET EACH_COLUMN(columns, _ = o._)
FROM source AS o
WHERE EVERY_COLUMN(keys, o._ = s._)
  AND NOT s._gone AND NOT o._gone
  AND NOT EXISTS (
    SELECT 1
    FROM rejections AS r
    JOIN outbox AS x ON x.run_seq = r.run_seq AND x.seq = r.seq
    WHERE r.sync_key = :sync_key AND EVERY_COLUMN(keys, x._ = s._)
  )

-- name: copy_run
-- Copies the delivered transitions of a run to another destination's outbox, without rejected ones.
INSERT INTO outbox (
  run_seq, seq, op, reason, base_v, _blind, _send, _stays, _at, _since, keys, columns, old__columns
)
SELECT
  o.run_seq, ROW_NUMBER() OVER (ORDER BY o.seq), o.op, o.reason, o.base_v, o._blind, o._send,
  o._stays, o._at, o._since,
  EACH_COLUMN(keys, o._), EACH_COLUMN(columns, o._), EACH_COLUMN(columns, o.old___)
FROM source AS o
WHERE o.run_seq = :run
  AND NOT EXISTS (
    SELECT 1 FROM rejections AS r
    WHERE r.run_seq = :run AND r.sync_key = :sync_key AND r.seq = o.seq
  )

-- name: count_transitions
-- How many transitions of each kind a run has in an outbox.
SELECT o.op, COUNT(*) FROM outbox AS o WHERE o.run_seq = :run GROUP BY o.op
