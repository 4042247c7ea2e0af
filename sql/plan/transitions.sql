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
