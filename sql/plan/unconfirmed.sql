-- name: last_attempts
-- The last attempts without a known outcome, one per key, and an unused version for a transition that
-- replaces the attempt. The version depends on the attempt only, so that a plan can be reproduced.
CREATE TEMPORARY TABLE last_attempts AS
SELECT
  o.op, o.base_v, o._blind, -d.run_seq AS _epoch,
  COALESCE(o._at, a.planned_at) AS _at,
  EACH_COLUMN(keys, o._),
  EACH_COLUMN(recorded_columns, CAST(o._ AS _TYPE)),
  EACH_COLUMN(new_columns, CAST(NULL AS _TYPE))
FROM unconfirmed AS d
JOIN outbox AS o ON o.run_seq = d.run_seq AND o.seq = d.seq
JOIN audience_runs AS a ON a.run_seq = d.run_seq AND a.sync_key = d.sync_key
WHERE d.sync_key = :sync_key

-- name: last_attempted
-- The highest row number of the last attempts.
SELECT COALESCE(MAX(d.rowid), -1) FROM last_attempts AS d

-- name: differing_attempted
-- Attempts with a value that the engine calls different from the one in a table of today's rows.
SELECT d.rowid, EACH_COLUMN(compared_here, d._), EACH_COLUMN(compared_here, t._)
FROM last_attempts AS d
JOIN today AS t ON EVERY_COLUMN(keys, d._ = t._)
WHERE
  d.rowid >= :first AND d.rowid < :end AND ANY_COLUMN(compared_here, d._ IS DISTINCT FROM t._)

-- name: take_attempted
-- Takes today's values in these attempts, because the attempted ones are sent alike.
UPDATE last_attempts AS d
SET EACH_COLUMN(equal, _ = t._)
FROM today AS t
WHERE
  EVERY_COLUMN(keys, d._ = t._)
  AND d.rowid >= :first AND d.rowid < :end
  AND STRPOS(:row_ids, CONCAT(',', d.rowid, ',')) > 0

-- name: resend_if_present
-- Unconfirmed keys whose row equals the snapshot: sent again, because the receiver may have the
-- attempted values.
INSERT INTO transitions (
  op, reason, base_v, _blind, _send, _at, _since, keys, columns, old__columns
)
SELECT
  CASE WHEN d.op = 'exited' THEN 'entered' ELSE 'changed' END,
  'data',
  CASE
    WHEN d.op = 'changed' AND d._blind AND EVERY_COLUMN(columns, AS_SENT(d._) IS NOT DISTINCT FROM AS_SENT(m._))
      THEN d.base_v
    ELSE d._epoch
  END,
  TRUE, TRUE,
  CASE
    WHEN d.op = 'changed' AND d._blind AND EVERY_COLUMN(columns, AS_SENT(d._) IS NOT DISTINCT FROM AS_SENT(m._))
      THEN d._at
  END,
  CAST(:now AS TIMESTAMPTZ),
  EACH_COLUMN(keys, m._), EACH_COLUMN(columns, m._), EACH_COLUMN(columns, CAST(NULL AS _TYPE))
FROM model AS m
JOIN last_attempts AS d ON EVERY_COLUMN(keys, d._ = m._)
WHERE NOT EXISTS (SELECT 1 FROM transitions AS t WHERE EVERY_COLUMN(keys, t._ = m._))

-- name: resend_if_absent
-- Unconfirmed keys that are neither in the model nor members: an exit with the attempted values,
-- because the receiver may have them as members.
INSERT INTO transitions (
  op, reason, base_v, _blind, _send, _at, _since, keys, columns, old__columns
)
SELECT
  'exited', 'data', CASE WHEN d.op = 'exited' THEN d.base_v ELSE d._epoch END, TRUE, TRUE,
  CASE WHEN d.op = 'exited' THEN d._at END, CAST(:now AS TIMESTAMPTZ),
  EACH_COLUMN(keys, d._), EACH_COLUMN(columns, d._), EACH_COLUMN(columns, CAST(NULL AS _TYPE))
FROM last_attempts AS d
WHERE
  NOT EXISTS (SELECT 1 FROM model AS m WHERE EVERY_COLUMN(keys, d._ = m._))
  AND NOT EXISTS (SELECT 1 FROM transitions AS t WHERE EVERY_COLUMN(keys, t._ = d._))

-- name: repeat_unconfirmed
-- A planned key whose last attempt has no known outcome. An equal transition keeps the messageId and
-- the time of the attempt; a different one is sent whole, under a new messageId. It is sent even if
-- the plan only records changes, because the receiver's state is unknown.
UPDATE transitions AS t
SET
  _send = TRUE,
  _blind = CASE
    WHEN d.op = t.op AND EVERY_COLUMN(columns, AS_SENT(d._) IS NOT DISTINCT FROM AS_SENT(t._)) THEN d._blind
    ELSE TRUE
  END,
  base_v = CASE
    WHEN d.op = t.op AND EVERY_COLUMN(columns, AS_SENT(d._) IS NOT DISTINCT FROM AS_SENT(t._)) THEN d.base_v
    ELSE d._epoch
  END,
  _at = CASE
    WHEN d.op = t.op AND EVERY_COLUMN(columns, AS_SENT(d._) IS NOT DISTINCT FROM AS_SENT(t._)) THEN d._at
  END
FROM last_attempts AS d
WHERE EVERY_COLUMN(keys, d._ = t._)
