-- name: doubtful
-- The last attempts without a known outcome, one a key, and a version that nobody has seen for what
-- is said instead. It hangs on the attempt, so that a plan can be made again to the letter.
CREATE TEMPORARY TABLE tried AS
SELECT
  o.op, o.base_v, o._blind, -d.run_seq AS _epoch,
  COALESCE(o._at, a.planned_at) AS _at,
  EACH_COLUMN(keys, o._),
  EACH_COLUMN(known, CAST(o._ AS _TYPE)),
  EACH_COLUMN(fresh, CAST(NULL AS _TYPE))
FROM doubtful AS d
JOIN outbox AS o ON o.run_seq = d.run_seq AND o.seq = d.seq
JOIN audience_runs AS a ON a.run_seq = d.run_seq AND a.audience = d.audience
WHERE d.audience = :audience

-- name: force_present
-- Doubtful keys that are in the model and equal to the snapshot: said again, since the receiver
-- may hold what was tried in between.
INSERT INTO transitions (
  op, reason, base_v, _blind, _send, _at, _since, keys, columns, old__columns
)
SELECT
  CASE WHEN d.op = 'exited' THEN 'entered' ELSE 'changed' END,
  'data',
  CASE
    WHEN d.op = 'changed' AND d._blind AND EVERY_COLUMN(columns, d._ IS NOT DISTINCT FROM m._)
      THEN d.base_v
    ELSE d._epoch
  END,
  TRUE, TRUE,
  CASE
    WHEN d.op = 'changed' AND d._blind AND EVERY_COLUMN(columns, d._ IS NOT DISTINCT FROM m._)
      THEN d._at
  END,
  CAST(:now AS TIMESTAMPTZ),
  EACH_COLUMN(keys, m._), EACH_COLUMN(columns, m._), EACH_COLUMN(columns, CAST(NULL AS _TYPE))
FROM model AS m
JOIN tried AS d ON EVERY_COLUMN(keys, d._ = m._)
WHERE NOT EXISTS (SELECT 1 FROM transitions AS t WHERE EVERY_COLUMN(keys, t._ = m._))

-- name: force_absent
-- Doubtful keys that are neither in the model nor live in the snapshot: an exit, with what was
-- last tried, since the receiver may have let them in.
INSERT INTO transitions (
  op, reason, base_v, _blind, _send, _at, _since, keys, columns, old__columns
)
SELECT
  'exited', 'data', CASE WHEN d.op = 'exited' THEN d.base_v ELSE d._epoch END, TRUE, TRUE,
  CASE WHEN d.op = 'exited' THEN d._at END, CAST(:now AS TIMESTAMPTZ),
  EACH_COLUMN(keys, d._), EACH_COLUMN(columns, d._), EACH_COLUMN(columns, CAST(NULL AS _TYPE))
FROM tried AS d
WHERE
  NOT EXISTS (SELECT 1 FROM model AS m WHERE EVERY_COLUMN(keys, d._ = m._))
  AND NOT EXISTS (SELECT 1 FROM transitions AS t WHERE EVERY_COLUMN(keys, t._ = d._))

-- name: settle_doubtful
-- A planned key whose last attempt has no known outcome: the same attempt keeps its id and
-- its moment; anything
-- else is sent whole, under an id that no receiver has seen. It is sent even where the rest is only
-- recorded: nobody knows what the receiver holds.
UPDATE transitions AS t
SET
  _send = TRUE,
  _blind = CASE
    WHEN d.op = t.op AND EVERY_COLUMN(columns, d._ IS NOT DISTINCT FROM t._) THEN d._blind
    ELSE TRUE
  END,
  base_v = CASE
    WHEN d.op = t.op AND EVERY_COLUMN(columns, d._ IS NOT DISTINCT FROM t._) THEN d.base_v
    ELSE d._epoch
  END,
  _at = CASE
    WHEN d.op = t.op AND EVERY_COLUMN(columns, d._ IS NOT DISTINCT FROM t._) THEN d._at
  END
FROM tried AS d
WHERE EVERY_COLUMN(keys, d._ = t._)
