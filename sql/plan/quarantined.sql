-- How many rows have a bad key, and how many of those keys are live members.
SELECT
  COALESCE(SUM(b._times), 0),
  COUNT(*),
  COALESCE(SUM(CASE WHEN EVERY_COLUMN(keys, b._ IS NOT NULL) THEN 0 ELSE b._times END), 0)
FROM bad_keys AS b
