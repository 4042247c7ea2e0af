-- name: evaluate
-- Computes every column of every row, so that errors in values appear while planning.
SELECT COUNT(*), EACH_COLUMN(columns, MAX(LENGTH(CAST(m._ AS TEXT)))) FROM model AS m

-- name: count_keys
-- Among the transitions: the numbers of entries and exits, of rows whose key has a NULL, and of keys
-- that occur more than once. A group is a key, its exits apart.
SELECT
  COALESCE(SUM(g._p), 0),
  COALESCE(SUM(CASE WHEN g._gone THEN g._times ELSE 0 END), 0),
  COALESCE(SUM(
    CASE WHEN NOT g._gone AND NOT EVERY_COLUMN(keys, g._ IS NOT NULL) THEN g._times ELSE 0 END
  ), 0),
  COALESCE(SUM(CASE WHEN NOT g._gone AND g._times > 1 THEN 1 ELSE 0 END), 0),
  EACH_COLUMN(places, g._)
FROM (
  SELECT
    EACH_COLUMN(places, t._), EACH_COLUMN(keys, t._), t.op = 'exited' AS _gone, COUNT(*) AS _times,
    SUM(CASE WHEN t.op = 'entered' THEN 1 ELSE 0 END) AS _p
  FROM transitions AS t
  GROUP BY EACH_COLUMN(places, t._), EACH_COLUMN(keys, t._), t.op = 'exited'
) AS g
GROUP BY EACH_COLUMN(places, g._)

-- name: bad_keys
-- The model's keys that have a NULL or occur more than once, with their number of rows.
CREATE TEMPORARY TABLE bad_keys AS
SELECT EACH_COLUMN(keys, m._), COUNT(*) AS _times
FROM model AS m
GROUP BY EACH_COLUMN(keys, m._)
HAVING COUNT(*) > 1 OR NOT EVERY_COLUMN(keys, m._ IS NOT NULL)

-- name: bad_key_samples
-- A few bad keys, shown masked: the most frequent first.
SELECT EACH_COLUMN(keys, b._), b._times FROM bad_keys AS b ORDER BY b._times DESC, EACH_COLUMN(keys, b._) LIMIT :rows_max

-- name: quarantined
-- The numbers of rows with a bad key, and of those whose key has a NULL.
SELECT
  COALESCE(SUM(b._times), 0),
  COALESCE(SUM(CASE WHEN NOT EVERY_COLUMN(keys, b._ IS NOT NULL) THEN b._times ELSE 0 END), 0)
FROM bad_keys AS b

-- name: quarantine
-- Removes transitions of bad keys: they never enter, change or exit.
DELETE FROM transitions AS t
WHERE
  NOT EVERY_COLUMN(keys, t._ IS NOT NULL)
  OR EXISTS (SELECT 1 FROM bad_keys AS b WHERE EVERY_COLUMN(keys, b._ = t._))

-- name: shared_message_ids
-- The keys whose event would have the messageId of another row, sent in this run or before. The
-- receiver would drop all but one of them.
CREATE TEMPORARY TABLE shared_message_ids AS
SELECT EACH_COLUMN(keys, t._)
FROM transitions AS t
WHERE
  t._send AND (t.op = 'entered' OR (
    t.op = 'changed' AND ANY_COLUMN(recorded_message_id, t._ IS DISTINCT FROM t.old___)
  ))
  AND (
    EXISTS (
      SELECT 1 FROM transitions AS n
      WHERE EVERY_COLUMN(message_id, n._ = t._) AND NOT EVERY_COLUMN(keys, n._ = t._)
        AND (n.op = 'entered' OR (
          n.op = 'changed' AND ANY_COLUMN(recorded_message_id, n._ IS DISTINCT FROM n.old___)
        ))
    )
    OR EXISTS (
      SELECT 1 FROM snapshot AS s
      WHERE NOT s._gone AND NOT EVERY_COLUMN(keys, s._ = t._)
        AND ANY_COLUMN(known_message_id, CAST(s._ AS TEXT) = CAST(t._ AS TEXT))
    )
  )

-- name: count_shared_message_ids
-- The number of events that would have the messageId of another row.
SELECT COUNT(*) FROM shared_message_ids

-- name: shared_message_id_samples
-- A few of their keys, shown masked.
SELECT EACH_COLUMN(keys, s._) FROM shared_message_ids AS s ORDER BY EACH_COLUMN(keys, s._) LIMIT :rows_max

-- name: quarantine_shared_message_ids
-- Removes transitions that share a messageId with another row.
DELETE FROM transitions AS t
WHERE EXISTS (SELECT 1 FROM shared_message_ids AS s WHERE EVERY_COLUMN(keys, s._ = t._))
