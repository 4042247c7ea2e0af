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
