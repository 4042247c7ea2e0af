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
