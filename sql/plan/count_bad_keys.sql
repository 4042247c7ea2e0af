-- Among the transitions: keys with a NULL, and keys that stand more than once.
SELECT
  COALESCE(SUM(CASE WHEN NOT EVERY_COLUMN(keys, g._ IS NOT NULL) THEN g._times ELSE 0 END), 0),
  COALESCE(SUM(CASE WHEN g._times > 1 THEN 1 ELSE 0 END), 0)
FROM (
  SELECT EACH_COLUMN(keys, t._), COUNT(*) AS _times
  FROM transitions AS t
  WHERE t.op <> 'exited'
  GROUP BY EACH_COLUMN(keys, t._)
) AS g
