-- name: measure
-- Counts the model's rows; an engine without a cheap hash computes no fingerprint.
SELECT COUNT(*), CAST(NULL AS TEXT), CAST(NULL AS TEXT) FROM model AS m

-- name: measure (duckdb)
-- Counts the model's rows and computes a fingerprint that does not depend on their order.
SELECT COUNT(*), CAST(BIT_XOR(r.h) AS TEXT), CAST(SUM(r.h) AS TEXT), EACH_COLUMN(places, r._)
FROM (
  SELECT
    EACH_COLUMN(places, m._),
    HASH(
      EACH_COLUMN(keys, m._), EACH_COLUMN(columns, m._),
      EACH_COLUMN(listed, LEN(m._)), EACH_COLUMN(hollow, CAST(m._ AS TEXT)),
      EACH_COLUMN(wide, CAST(m._ AS DOUBLE))
    ) AS h
  FROM model AS m
) AS r
GROUP BY EACH_COLUMN(places, r._)

-- name: measure_keys
-- Counts a model's rows and computes a fingerprint of their keys alone.
SELECT COUNT(*), CAST(BIT_XOR(r.h) AS TEXT), CAST(SUM(r.h) AS TEXT)
FROM (SELECT HASH(EACH_COLUMN(keys, m._)) AS h FROM model AS m) AS r

-- name: moved_hashes
-- The hashes of the transitions' new values, as `measure` computes them, less those of the values
-- that the snapshot has.
SELECT CAST(BIT_XOR(r.h) AS TEXT), CAST(SUM(r.weight * CAST(r.h AS HUGEINT)) AS TEXT)
FROM (
  SELECT
    CASE WHEN t.op = 'exited' THEN -1 ELSE 1 END AS weight,
    HASH(
      EACH_COLUMN(keys, t._), EACH_COLUMN(columns, t._),
      EACH_COLUMN(listed, LEN(t._)), EACH_COLUMN(hollow, CAST(t._ AS TEXT)),
      EACH_COLUMN(wide, CAST(t._ AS DOUBLE))
    ) AS h
  FROM transitions AS t
  UNION ALL
  SELECT
    -1,
    HASH(
      EACH_COLUMN(keys, t._), EACH_COLUMN(columns, t.old___),
      EACH_COLUMN(listed, LEN(t.old___)), EACH_COLUMN(hollow, CAST(t.old___ AS TEXT)),
      EACH_COLUMN(wide, CAST(t.old___ AS DOUBLE))
    )
  FROM transitions AS t
  WHERE t.op = 'changed'
) AS r

-- name: placed_rows
-- A model's rows with the place of its audience among those that are read together.
SELECT CAST(:place AS BIGINT) AS _place, EACH_COLUMN(keys, m._), EACH_COLUMN(columns, m._) FROM model AS m

-- name: placed_keys
-- The keys of an audience's transitions with its place among those that are read together.
SELECT CAST(:place AS BIGINT) AS _place, t.op, t.reason, EACH_COLUMN(keys, t._) FROM transitions AS t

-- name: placed_transitions
-- The transitions of an audience with its place among those that are read together.
SELECT
  CAST(:place AS BIGINT) AS _place, t.op, t.reason, t.base_v, t._blind, t._send, t._stays,
  EACH_COLUMN(keys, t._), EACH_COLUMN(columns, t._), EACH_COLUMN(columns, t.old___, old__)
FROM transitions AS t

-- name: row_versions
-- Counts the rows of a table of PostgreSQL and hashes their places and transactions, which each write
-- changes, and no value.
SELECT
  COUNT(*),
  CAST(SUM(HASHTEXTEXTENDED(CONCAT(CAST(m.tableoid AS TEXT), ' ', CAST(m.ctid AS TEXT), ' ', CAST(m.xmin AS TEXT)), 0)) AS TEXT)
FROM model AS m

-- name: column_versions
-- The same for the columns of a table of PostgreSQL: a column that is dropped and added again changes
-- no row. Views and foreign tables give no row, since their rows have no place.
SELECT
  CAST(c.oid AS TEXT),
  CAST(SUM(HASHTEXTEXTENDED(CONCAT(CAST(a.ctid AS TEXT), ' ', CAST(a.xmin AS TEXT)), 0)) AS TEXT)
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid
WHERE n.nspname = :dataset AND c.relname = :name AND c.relkind IN ('r', 'p') AND a.attnum > 0
GROUP BY c.oid

-- name: copy_model
-- A copy of the model's rows, with the keys first.
CREATE TEMPORARY TABLE model_rows AS
SELECT EACH_COLUMN(keys, AS_STORED(m._)), EACH_COLUMN(columns, AS_STORED(m._)) FROM model AS m

-- name: empty_snapshot
-- A snapshot without members, for an audience that was never delivered.
SELECT EACH_COLUMN(keys, CAST(NULL AS _TYPE)), EACH_COLUMN(columns, CAST(NULL AS _TYPE)),
       CAST(0 AS BIGINT) AS _v, CAST(NULL AS TIMESTAMPTZ) AS _since, FALSE AS _gone
WHERE FALSE

-- name: members_only
-- The model's rows without members who refused consent. sqlglot writes `IS NOT TRUE` as NOT for
-- Snowflake, which would leave out members of whom nothing is known.
SELECT m.* FROM model AS m WHERE CASE WHEN m._ THEN FALSE ELSE TRUE END

-- name: events_since
-- The rows of an event model from a time on. Rows without a time are not read.
SELECT m.* FROM model AS m WHERE m._ >= CAST(:since AS TIMESTAMPTZ)

-- name: keep_entered
-- Drops the transitions of events that changed or are no longer there: an event is sent once.
DELETE FROM transitions WHERE op <> 'entered'

-- name: forget_events
-- Deletes the keys of events that are too old to be read again.
DELETE FROM snapshot AS s WHERE s._ < CAST(:before AS TIMESTAMPTZ)

-- name: forget_unread_events
-- The same where the time is not part of the key: the row of an old key may have a later time now, and
-- would be sent again if its key were deleted.
DELETE FROM snapshot AS s
WHERE s._ < CAST(:before AS TIMESTAMPTZ)
  AND NOT EXISTS (SELECT 1 FROM model AS m WHERE EVERY_COLUMN(keys, m._ = s._))

-- name: no_rows
-- The audience without rows, for a retirement.
SELECT EACH_COLUMN(keys, s._), EACH_COLUMN(columns, s._) FROM snapshot AS s WHERE FALSE

-- name: initial_transitions
-- The transitions of an audience that was never delivered: all of its rows enter.
CREATE TEMPORARY TABLE transitions AS
SELECT
  'entered' AS op, CAST(:reason AS TEXT) AS reason, CAST(:first_version AS BIGINT) AS base_v, FALSE AS _blind,
  TRUE AS _send, FALSE AS _stays, CAST(NULL AS TIMESTAMPTZ) AS _at, CAST(:now AS TIMESTAMPTZ) AS _since,
  EACH_COLUMN(keys, AS_STORED(m._)), EACH_COLUMN(columns, AS_STORED(m._)),
  EACH_COLUMN(columns, CASE WHEN FALSE THEN AS_STORED(m._) END, old__)
FROM model AS m

-- name: transitions
-- Keys that entered, changed or exited since the last acknowledged delivery, in portable SQL:
-- presence flags instead of NULL keys, and columns compared one by one.
CREATE TEMPORARY TABLE transitions AS
SELECT
  CASE
    WHEN COALESCE(p._p, 0) = 0 OR (p._gone AND COALESCE(c._p, 0) = 1) THEN 'entered'
    WHEN COALESCE(c._p, 0) = 0 THEN 'exited'
    ELSE 'changed'
  END AS op,
  CAST(:reason AS TEXT) AS reason,
  COALESCE(p._v, :first_version) AS base_v,
  FALSE AS _blind,
  TRUE AS _send,
  FALSE AS _stays,
  CAST(NULL AS TIMESTAMPTZ) AS _at,
  CASE
    WHEN COALESCE(p._p, 0) = 1 AND COALESCE(c._p, 0) = 1 AND NOT p._gone THEN p._since
    ELSE CAST(:now AS TIMESTAMPTZ)
  END AS _since,
  EACH_COLUMN(keys, AS_STORED(CASE WHEN COALESCE(c._p, 0) = 1 THEN c._ ELSE p._ END)),
  EACH_COLUMN(recorded_columns, AS_STORED(CASE WHEN COALESCE(c._p, 0) = 0 THEN p._ ELSE c._ END)),
  EACH_COLUMN(new_columns, AS_STORED(c._)),
  EACH_COLUMN(
    recorded_columns, AS_STORED(CASE WHEN COALESCE(c._p, 0) = 1 AND NOT p._gone THEN p._ END), old__
  ),
  EACH_COLUMN(
    accepted_columns, AS_STORED(CASE WHEN COALESCE(c._p, 0) = 1 AND NOT p._gone THEN c._ END), old__
  ),
  EACH_COLUMN(unsent_columns, CAST(NULL AS _TYPE), old__)
FROM (
  SELECT 1 AS _p, EACH_COLUMN(keys, m._), EACH_COLUMN(recorded_columns, m._), EACH_COLUMN(new_columns, m._)
  FROM model AS m
) AS c
FULL JOIN (
  SELECT
    1 AS _p, n._v, n._since, n._gone, EACH_COLUMN(keys, n._), EACH_COLUMN(recorded_columns, CAST(n._ AS _TYPE))
  FROM snapshot AS n
) AS p ON EVERY_COLUMN(keys, c._ = p._)
WHERE
  COALESCE(p._p, 0) = 0
  OR (COALESCE(c._p, 0) = 0 AND NOT p._gone)
  OR (
    COALESCE(c._p, 0) = 1
    AND (
      p._gone
      OR ANY_COLUMN(compared, DIFFERS(c._, p._))
      OR ANY_COLUMN(resend_columns, c._ IS NOT NULL)
    )
  )

-- name: transitions (postgres)
-- The same with a shorter condition, which takes a tenth less time. The server estimates that `c._p = 1`
-- is rarely true, so it expects few rows and computes two halves of the join in two processes.
CREATE TEMPORARY TABLE transitions AS
SELECT
  CASE
    WHEN p._p IS NULL OR (p._gone AND c._p = 1) THEN 'entered'
    WHEN c._p IS NULL THEN 'exited'
    ELSE 'changed'
  END AS op,
  CAST(:reason AS TEXT) AS reason,
  COALESCE(p._v, :first_version) AS base_v,
  FALSE AS _blind,
  TRUE AS _send,
  FALSE AS _stays,
  CAST(NULL AS TIMESTAMPTZ) AS _at,
  CASE
    WHEN p._p = 1 AND c._p = 1 AND NOT p._gone THEN p._since
    ELSE CAST(:now AS TIMESTAMPTZ)
  END AS _since,
  EACH_COLUMN(keys, AS_STORED(CASE WHEN c._p = 1 THEN c._ ELSE p._ END)),
  EACH_COLUMN(recorded_columns, AS_STORED(CASE WHEN c._p = 1 THEN c._ ELSE p._ END)),
  EACH_COLUMN(new_columns, AS_STORED(c._)),
  EACH_COLUMN(
    recorded_columns, AS_STORED(CASE WHEN c._p = 1 AND NOT p._gone THEN p._ END), old__
  ),
  EACH_COLUMN(
    accepted_columns, AS_STORED(CASE WHEN c._p = 1 AND NOT p._gone THEN c._ END), old__
  ),
  EACH_COLUMN(unsent_columns, CAST(NULL AS _TYPE), old__)
FROM (
  SELECT 1 AS _p, EACH_COLUMN(keys, m._), EACH_COLUMN(recorded_columns, m._), EACH_COLUMN(new_columns, m._)
  FROM model AS m
) AS c
FULL JOIN (
  SELECT
    1 AS _p, n._v, n._since, n._gone, EACH_COLUMN(keys, n._), EACH_COLUMN(recorded_columns, CAST(n._ AS _TYPE))
  FROM snapshot AS n
) AS p ON EVERY_COLUMN(keys, c._ = p._)
WHERE
  (
    p._gone IS NOT FALSE
    OR c._p IS NULL
    OR (c._p = 1 AND (ANY_COLUMN(compared, DIFFERS(c._, p._)) OR ANY_COLUMN(resend_columns, c._ IS NOT NULL)))
  )
  AND (c._p = 1 OR p._gone IS NOT TRUE)

-- name: transitions (duckdb)
-- Keys that entered, changed or exited since the last acknowledged delivery. The join carries only
-- keys, row numbers of 64 bits and a hash that this statement computes on both sides, NULL for a former
-- member; values are fetched for the few keys that changed. Of a large audience the hash is that of the
-- stored values, and `delete_sent_alike` follows.
CREATE TEMPORARY TABLE transitions AS
SELECT
  d.op, CAST(:reason AS TEXT) AS reason, COALESCE(s._v, :first_version) AS base_v, FALSE AS _blind,
  TRUE AS _send, FALSE AS _stays, CAST(NULL AS TIMESTAMPTZ) AS _at,
  CASE WHEN d.op = 'changed' THEN s._since ELSE CAST(:now AS TIMESTAMPTZ) END AS _since,
  EACH_COLUMN(keys, d._),
  EACH_COLUMN(recorded_columns, CASE WHEN d.op = 'exited' THEN CAST(s._ AS _TYPE) ELSE d._ END),
  EACH_COLUMN(new_columns, d._),
  EACH_COLUMN(recorded_columns, CASE WHEN d.op = 'changed' THEN CAST(s._ AS _TYPE) END, old__),
  EACH_COLUMN(accepted_columns, CASE WHEN d.op = 'changed' THEN d._ END, old__),
  EACH_COLUMN(unsent_columns, CAST(NULL AS _TYPE), old__)
FROM (
  SELECT
    CASE
      WHEN p._rid IS NULL OR (p._h IS NULL AND c._p = 1) THEN 'entered'
      WHEN c._p IS NULL THEN 'exited'
      ELSE 'changed'
    END AS op,
    p._rid,
    EACH_COLUMN(keys, CASE WHEN c._p = 1 THEN c._ ELSE p._ END),
    EACH_COLUMN(recorded_columns, c._),
    EACH_COLUMN(new_columns, c._)
  FROM (
    SELECT
      1 AS _p,
      HASH(
        1, EACH_COLUMN(hashed_as_sent, AS_SENT(m._)), EACH_COLUMN(hashed_as_stored, m._),
        EACH_COLUMN(listed, LEN(m._)), EACH_COLUMN(hollow, CAST(AS_SENT(m._) AS TEXT)),
        EACH_COLUMN(wide, CAST(m._ AS DOUBLE))
      ) AS _h,
      EACH_COLUMN(keys, m._), EACH_COLUMN(recorded_columns, m._), EACH_COLUMN(new_columns, m._)
    FROM model AS m
  ) AS c
  FULL JOIN (
    SELECT
      n.rowid AS _rid,
      CASE
        WHEN NOT n._gone THEN HASH(
          1, EACH_COLUMN(hashed_as_sent, AS_SENT(CAST(n._ AS _TYPE))),
          EACH_COLUMN(hashed_as_stored, CAST(n._ AS _TYPE)),
          EACH_COLUMN(listed, LEN(CAST(n._ AS _TYPE))),
          EACH_COLUMN(hollow, CAST(AS_SENT(CAST(n._ AS _TYPE)) AS TEXT)),
          EACH_COLUMN(wide, CAST(CAST(n._ AS _TYPE) AS DOUBLE))
        )
      END AS _h,
      EACH_COLUMN(keys, n._)
    FROM snapshot AS n
  ) AS p ON EVERY_COLUMN(keys, c._ = p._)
  WHERE
    p._rid IS NULL
    OR (c._p IS NULL AND p._h IS NOT NULL)
    OR (c._p = 1 AND (c._h IS DISTINCT FROM p._h OR ANY_COLUMN(resend_columns, c._ IS NOT NULL)))
) AS d
LEFT JOIN snapshot AS s ON s.rowid = d._rid

-- name: delete_sent_alike
-- Drops changes of which every value is sent as before.
DELETE FROM transitions AS t
WHERE
  t.op = 'changed'
  AND HASH(
    1, EACH_COLUMN(compared, AS_SENT(t._)),
    EACH_COLUMN(listed, LEN(t._)), EACH_COLUMN(hollow, CAST(AS_SENT(t._) AS TEXT)),
    EACH_COLUMN(wide, CAST(t._ AS DOUBLE))
  ) = HASH(
    1, EACH_COLUMN(compared, AS_SENT(t.old___)),
    EACH_COLUMN(listed, LEN(t.old___)), EACH_COLUMN(hollow, CAST(AS_SENT(t.old___) AS TEXT)),
    EACH_COLUMN(wide, CAST(t.old___ AS DOUBLE))
  )
  AND NOT ANY_COLUMN(resend_columns, t._ IS NOT NULL)

-- name: last_transitions
-- The highest row number of the transitions.
SELECT COALESCE(MAX(t.rowid), -1) FROM transitions AS t

-- name: differing_transitions
-- Changes with a value that the engine calls different, of columns that Python compares.
SELECT t.rowid, EACH_COLUMN(compared_here, t._), EACH_COLUMN(compared_here, t.old___)
FROM transitions AS t
WHERE
  t.op = 'changed' AND t.rowid >= :first AND t.rowid < :end
  AND ANY_COLUMN(compared_here, t._ IS DISTINCT FROM t.old___)

-- name: take_transitions
-- Keeps the recorded values of these rows, because the new ones are sent alike.
UPDATE transitions AS t
SET EACH_COLUMN(equal, _ = old___)
WHERE
  t.rowid >= :first AND t.rowid < :end
  AND STRPOS(:row_ids, CONCAT(',', t.rowid, ',')) > 0

-- name: delete_unchanged
-- Drops changes without a value that is sent differently.
DELETE FROM transitions AS t
WHERE
  t.op = 'changed'
  AND NOT ANY_COLUMN(compared, AS_SENT(t._) IS DISTINCT FROM AS_SENT(t.old___))
  AND NOT ANY_COLUMN(resend_columns, t._ IS NOT NULL)

-- name: last_earlier
-- The highest row number of the earlier definition's rows.
SELECT COALESCE(MAX(e.rowid), -1) FROM earlier AS e

-- name: differing_earlier
-- Rows of the earlier definition with a value that the engine calls different from today's.
SELECT e.rowid, EACH_COLUMN(compared_here, e._), EACH_COLUMN(compared_here, t._)
FROM earlier AS e
JOIN transitions AS t ON EVERY_COLUMN(keys, e._ = t._)
WHERE
  t.op = 'changed' AND e.rowid >= :first AND e.rowid < :end
  AND ANY_COLUMN(compared_here, e._ IS DISTINCT FROM t._)

-- name: take_earlier
-- Takes today's values in these rows, because the earlier ones are sent alike.
UPDATE earlier AS e
SET EACH_COLUMN(equal, _ = t._)
FROM transitions AS t
WHERE
  EVERY_COLUMN(keys, e._ = t._)
  AND e.rowid >= :first AND e.rowid < :end
  AND STRPOS(:row_ids, CONCAT(',', e.rowid, ',')) > 0

-- name: earlier
-- The rows of the earlier definition, on today's data, for the changed keys, in today's types.
CREATE TEMPORARY TABLE earlier AS
SELECT EACH_COLUMN(keys, m._), EACH_COLUMN(compared, CAST(m._ AS _TYPE))
FROM model AS m
WHERE EXISTS (SELECT 1 FROM transitions AS t WHERE EVERY_COLUMN(keys, t._ = m._))

-- name: attribute
-- A transition that the earlier definition also gives on today's data has the reason `data`; every
-- other one has the reason `definition`.
UPDATE transitions AS t
SET reason = 'definition'
WHERE CASE t.op
  WHEN 'entered' THEN NOT EXISTS (
    SELECT 1 FROM earlier AS e WHERE EVERY_COLUMN(keys, e._ = t._)
  )
  WHEN 'exited' THEN EXISTS (
    SELECT 1 FROM earlier AS e WHERE EVERY_COLUMN(keys, e._ = t._)
  )
  ELSE NOT EXISTS (
    SELECT 1 FROM earlier AS e
    WHERE EVERY_COLUMN(keys, e._ = t._)
      AND EVERY_COLUMN(compared, AS_SENT(e._) IS NOT DISTINCT FROM AS_SENT(t._))
  )
END

-- name: set_reason
-- Sets one reason for every transition of an operation.
UPDATE transitions SET reason = :reason WHERE op = :op
