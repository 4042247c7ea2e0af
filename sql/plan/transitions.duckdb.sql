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
