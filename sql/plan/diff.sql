-- name: measure
-- How many rows the model gives; engines without a cheap hash give no fingerprint of them.
SELECT COUNT(*), CAST(NULL AS TEXT), CAST(NULL AS TEXT) FROM model AS m

-- name: measure (duckdb)
-- How many rows the model gives, and a fingerprint of them that no order of rows changes.
SELECT COUNT(*), CAST(BIT_XOR(h) AS TEXT), CAST(SUM(h) AS TEXT)
FROM (
  SELECT
    HASH(
      EACH_COLUMN(keys, m._), EACH_COLUMN(columns, m._),
      EACH_COLUMN(listed, LEN(m._)), EACH_COLUMN(hollow, CAST(m._ AS TEXT)),
      EACH_COLUMN(wide, CAST(m._ AS DOUBLE))
    ) AS h
  FROM model AS m
) AS hashed

-- name: nobody
-- A snapshot without members, for an audience that was never delivered.
CREATE TEMPORARY TABLE nobody AS
SELECT EACH_COLUMN(keys, m._), EACH_COLUMN(columns, m._),
       CAST(0 AS BIGINT) AS _v, CAST(NULL AS TIMESTAMPTZ) AS _since, FALSE AS _gone
FROM model AS m
WHERE FALSE

-- name: members_only
-- The model's rows without those that said no.
SELECT m.* FROM model AS m WHERE m._ IS NOT TRUE

-- name: nobody_left
-- The audience as if its model gave no row.
SELECT EACH_COLUMN(keys, s._), EACH_COLUMN(columns, s._) FROM snapshot AS s WHERE FALSE

-- name: transitions
-- Who entered, changed and left since what was last acknowledged, in plain joins: presence flags
-- instead of NULL keys, columns compared one by one.
CREATE TEMPORARY TABLE transitions AS
SELECT
  CASE
    WHEN COALESCE(p._p, 0) = 0 OR (p._gone AND COALESCE(c._p, 0) = 1) THEN 'entered'
    WHEN COALESCE(c._p, 0) = 0 THEN 'exited'
    ELSE 'changed'
  END AS op,
  CAST('data' AS TEXT) AS reason,
  COALESCE(p._v, :never) AS base_v,
  FALSE AS _blind,
  TRUE AS _send,
  FALSE AS _stays,
  CAST(NULL AS TIMESTAMPTZ) AS _at,
  CASE
    WHEN COALESCE(p._p, 0) = 1 AND COALESCE(c._p, 0) = 1 AND NOT p._gone THEN p._since
    ELSE CAST(:now AS TIMESTAMPTZ)
  END AS _since,
  EACH_COLUMN(keys, CASE WHEN COALESCE(c._p, 0) = 1 THEN c._ ELSE p._ END),
  EACH_COLUMN(known, CASE WHEN COALESCE(c._p, 0) = 0 THEN p._ ELSE c._ END),
  EACH_COLUMN(fresh, c._),
  EACH_COLUMN(known, CASE WHEN COALESCE(c._p, 0) = 1 AND NOT p._gone THEN p._ END, old__),
  EACH_COLUMN(
    absorbed, CASE WHEN COALESCE(c._p, 0) = 1 AND NOT p._gone THEN c._ END, old__
  ),
  EACH_COLUMN(unheard, CAST(NULL AS _TYPE), old__)
FROM (
  SELECT 1 AS _p, EACH_COLUMN(keys, m._), EACH_COLUMN(known, m._), EACH_COLUMN(fresh, m._)
  FROM model AS m
) AS c
FULL JOIN (
  SELECT
    1 AS _p, n._v, n._since, n._gone, EACH_COLUMN(keys, n._), EACH_COLUMN(known, CAST(n._ AS _TYPE))
  FROM snapshot AS n
) AS p ON EVERY_COLUMN(keys, c._ = p._)
WHERE
  COALESCE(p._p, 0) = 0
  OR (COALESCE(c._p, 0) = 0 AND NOT p._gone)
  OR (
    COALESCE(c._p, 0) = 1
    AND (
      p._gone
      OR ANY_COLUMN(compared, c._ IS DISTINCT FROM p._)
      OR ANY_COLUMN(insisted, c._ IS NOT NULL)
    )
  )

-- name: transitions (duckdb)
-- Who entered, changed and left since what was last acknowledged. The join carries only keys, row
-- numbers (of 32 bits: enough for four billion members) and a hash made on both sides within this
-- statement, which is NULL for who is gone; values are fetched for the few that moved.
CREATE TEMPORARY TABLE transitions AS
SELECT
  d.op, CAST('data' AS TEXT) AS reason, COALESCE(s._v, :never) AS base_v, FALSE AS _blind,
  TRUE AS _send, FALSE AS _stays, CAST(NULL AS TIMESTAMPTZ) AS _at,
  CASE WHEN d.op = 'changed' THEN s._since ELSE CAST(:now AS TIMESTAMPTZ) END AS _since,
  EACH_COLUMN(keys, d._),
  EACH_COLUMN(known, CASE WHEN d.op = 'exited' THEN CAST(s._ AS _TYPE) ELSE d._ END),
  EACH_COLUMN(fresh, d._),
  EACH_COLUMN(known, CASE WHEN d.op = 'changed' THEN CAST(s._ AS _TYPE) END, old__),
  EACH_COLUMN(absorbed, CASE WHEN d.op = 'changed' THEN d._ END, old__),
  EACH_COLUMN(unheard, CAST(NULL AS _TYPE), old__)
FROM (
  SELECT
    CASE
      WHEN p._rid IS NULL OR (p._h IS NULL AND c._p = 1) THEN 'entered'
      WHEN c._p IS NULL THEN 'exited'
      ELSE 'changed'
    END AS op,
    p._rid,
    EACH_COLUMN(keys, CASE WHEN c._p = 1 THEN c._ ELSE p._ END),
    EACH_COLUMN(known, c._),
    EACH_COLUMN(fresh, c._)
  FROM (
    SELECT
      1 AS _p,
      HASH(
        1, EACH_COLUMN(compared, m._),
        EACH_COLUMN(listed, LEN(m._)), EACH_COLUMN(hollow, CAST(m._ AS TEXT)),
        EACH_COLUMN(wide, CAST(m._ AS DOUBLE))
      ) AS _h,
      EACH_COLUMN(keys, m._), EACH_COLUMN(known, m._), EACH_COLUMN(fresh, m._)
    FROM model AS m
  ) AS c
  FULL JOIN (
    SELECT
      CAST(n.rowid AS UINTEGER) AS _rid,
      CASE
        WHEN NOT n._gone THEN HASH(
          1, EACH_COLUMN(compared, CAST(n._ AS _TYPE)),
          EACH_COLUMN(listed, LEN(CAST(n._ AS _TYPE))),
          EACH_COLUMN(hollow, CAST(CAST(n._ AS _TYPE) AS TEXT)),
          EACH_COLUMN(wide, CAST(CAST(n._ AS _TYPE) AS DOUBLE))
        )
      END AS _h,
      EACH_COLUMN(keys, n._)
    FROM snapshot AS n
  ) AS p ON EVERY_COLUMN(keys, c._ = p._)
  WHERE
    p._rid IS NULL
    OR (c._p IS NULL AND p._h IS NOT NULL)
    OR (c._p = 1 AND (c._h IS DISTINCT FROM p._h OR ANY_COLUMN(insisted, c._ IS NOT NULL)))
) AS d
LEFT JOIN snapshot AS s ON s.rowid = d._rid

-- name: earlier
-- What the earlier definition gives today for the keys that moved, in the types of today.
CREATE TEMPORARY TABLE earlier AS
SELECT EACH_COLUMN(keys, m._), EACH_COLUMN(compared, CAST(m._ AS _TYPE))
FROM model AS m
WHERE EXISTS (SELECT 1 FROM transitions AS t WHERE EVERY_COLUMN(keys, t._ = m._))

-- name: attribute
-- A transition that the earlier definition would have given on the same data is the data's doing;
-- every other one is the definition's.
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
      AND EVERY_COLUMN(compared, e._ IS NOT DISTINCT FROM t._)
  )
END

-- name: give_reason
-- One reason for every transition of a kind.
UPDATE transitions SET reason = :reason WHERE op = :op
