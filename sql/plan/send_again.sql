-- Every member that did not move enters anew, under an id that no receiver has seen.
INSERT INTO transitions (op, reason, base_v, _blind, _send, _since, keys, columns, old__columns)
SELECT
  'entered', 'initial', -:run, TRUE, TRUE, s._since,
  EACH_COLUMN(keys, m._), EACH_COLUMN(columns, m._), EACH_COLUMN(columns, CAST(NULL AS _TYPE))
FROM model AS m
JOIN snapshot AS s ON EVERY_COLUMN(keys, s._ = m._)
WHERE NOT s._gone
  AND NOT EXISTS (SELECT 1 FROM transitions AS t WHERE EVERY_COLUMN(keys, t._ = m._))
