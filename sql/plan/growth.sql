-- By how many members the audience grows: somebody may enter or exit who was one, or was none.
SELECT COALESCE(SUM(
  CASE
    WHEN t.op = 'entered' AND (s._v IS NULL OR s._gone) THEN 1
    WHEN t.op = 'exited' AND NOT s._gone THEN -1
    ELSE 0
  END
), 0)
FROM transitions AS t
LEFT JOIN snapshot AS s ON EVERY_COLUMN(keys, s._ = t._)
