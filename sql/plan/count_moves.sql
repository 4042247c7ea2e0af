-- How many keys came and went.
SELECT
  COALESCE(SUM(CASE WHEN t.op = 'entered' THEN 1 ELSE 0 END), 0),
  COALESCE(SUM(CASE WHEN t.op = 'exited' THEN 1 ELSE 0 END), 0),
  COUNT(*)
FROM transitions AS t
