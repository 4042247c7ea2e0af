-- name: count_bad_keys
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

-- name: bad_keys
-- The model's keys that are NULL or stand more than once, with how often.
CREATE TEMPORARY TABLE bad_keys AS
SELECT EACH_COLUMN(keys, m._), COUNT(*) AS _times
FROM model AS m
GROUP BY EACH_COLUMN(keys, m._)
HAVING COUNT(*) > 1 OR NOT EVERY_COLUMN(keys, m._ IS NOT NULL)

-- name: bad_key_samples
-- A few bad keys, to be shown masked.
SELECT EACH_COLUMN(keys, b._), b._times FROM bad_keys AS b ORDER BY b._times DESC LIMIT :rows_max

-- name: quarantined
-- How many rows have a bad key, and how many of those keys are live members.
SELECT
  COALESCE(SUM(b._times), 0),
  COUNT(*),
  COALESCE(SUM(CASE WHEN EVERY_COLUMN(keys, b._ IS NOT NULL) THEN 0 ELSE b._times END), 0)
FROM bad_keys AS b

-- name: quarantine
-- A bad key is never read as an entry, a change or an exit.
DELETE FROM transitions AS t
WHERE
  NOT EVERY_COLUMN(keys, t._ IS NOT NULL)
  OR EXISTS (SELECT 1 FROM bad_keys AS b WHERE EVERY_COLUMN(keys, b._ = t._))
