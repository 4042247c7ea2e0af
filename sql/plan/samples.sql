-- A few transitions of each kind, to be shown masked.
SELECT s.op, s.reason, EACH_COLUMN(keys, s._)
FROM (
  SELECT t.op, t.reason, EACH_COLUMN(keys, t._),
         ROW_NUMBER() OVER (PARTITION BY t.op ORDER BY EACH_COLUMN(keys, t._)) AS _place
  FROM transitions AS t
) AS s
WHERE s._place <= :rows_max
ORDER BY s.op, s._place
