-- name: suspects
-- Transitions with a value that a field may refuse; the mapper decides. `every` returns all.
SELECT
  0, t.op, t.reason, t.base_v, t._blind, t._send, COALESCE(t._stays, FALSE), t._at,
  EACH_COLUMN(keys, t._), EACH_COLUMN(columns, t._), EACH_COLUMN(columns, t.old___)
FROM transitions AS t
WHERE t._send AND (
  :every
  -- Another row writes the same record.
  OR (t.op <> 'exited' AND t._stays)
  OR ANY_COLUMN(required, t._ IS NULL
    OR LOWER(CAST(t._ AS VARCHAR)) IN ('', 'nan', 'inf', '-inf', 'infinity', '-infinity'))
  -- A character beyond U+FFFF counts twice.
  OR ANY_COLUMN(long_texts, 2 * LENGTH(t._) > CAST('_LABEL' AS BIGINT))
  OR ANY_COLUMN(picklists, t._ <> '' AND STRPOS('_LABEL', CONCAT('|', t._, '|')) = 0)
  OR ANY_COLUMN(numbers, ABS(CAST(t._ AS DOUBLE)) >= CAST('_LABEL' AS DOUBLE))
  OR ANY_COLUMN(days, NOT t._ BETWEEN DATE '1700-01-01' AND DATE '4000-12-31')
  OR ANY_COLUMN(moments, NOT CAST(t._ AS TIMESTAMP)
    BETWEEN TIMESTAMP '1700-01-02 00:00:00' AND TIMESTAMP '4000-12-30 00:00:00')
)
ORDER BY EACH_COLUMN(keys, t._)
LIMIT :rows_max OFFSET :skipped

-- name: creating
-- Transitions that write to a record which is not landed, so that they would create it.
SELECT
  0, t.op, t.reason, t.base_v, t._blind, t._send, COALESCE(t._stays, FALSE), t._at,
  EACH_COLUMN(keys, t._), EACH_COLUMN(columns, t._), EACH_COLUMN(columns, t.old___)
FROM transitions AS t
WHERE t._send AND t.op <> 'exited' AND NOT EXISTS (
  SELECT 1
  FROM landed AS l
  WHERE NOT l.is_deleted
    AND EVERY_COLUMN(keys_folded, LOWER(l._PAIR) = LOWER(t._))
    AND EVERY_COLUMN(keys_exact, l._PAIR = t._)
    AND EVERY_COLUMN(keys_by_id, LEFT(l._PAIR, 15) = LEFT(t._, 15))
)
ORDER BY EACH_COLUMN(keys, t._)
LIMIT :rows_max OFFSET :skipped

-- name: mark_shared
-- Members who write the record of another member, all but the first one by key.
UPDATE transitions AS t SET _stays = TRUE
WHERE t.op <> 'exited' AND EXISTS (
  SELECT 1
  FROM (
    SELECT
      EACH_COLUMN(keys, m._),
      ROW_NUMBER() OVER (
        PARTITION BY EACH_COLUMN(unique_folded, LOWER(m._)), EACH_COLUMN(unique_exact, m._)
        ORDER BY EACH_COLUMN(keys, m._)
      ) AS _place
    FROM model AS m
    WHERE EVERY_COLUMN(unique_folded, m._ IS NOT NULL) AND EVERY_COLUMN(unique_exact, m._ IS NOT NULL)
  ) AS s
  WHERE s._place > 1 AND EVERY_COLUMN(keys, s._ = t._)
)

-- name: mark_current
-- Transitions whose landed record has all mapped values already are recorded without being sent.
UPDATE transitions AS t SET _send = FALSE
WHERE t._send AND NOT t._blind AND NOT COALESCE(t._stays, FALSE) AND t.op <> 'exited' AND EXISTS (
  SELECT 1
  FROM (
    SELECT EACH_COLUMN(keys, c._)
    FROM transitions AS c
    JOIN landed AS l
      ON EVERY_COLUMN(keys_folded, LOWER(l._PAIR) = LOWER(c._))
      AND EVERY_COLUMN(keys_exact, l._PAIR = c._)
      AND EVERY_COLUMN(keys_by_id, LEFT(l._PAIR, 15) = LEFT(c._, 15))
    WHERE NOT l.is_deleted
    GROUP BY EACH_COLUMN(keys, c._)
    HAVING COUNT(*) = 1 AND MIN(CASE
      WHEN EVERY_COLUMN(texts, NULLIF(l._PAIR, '') IS NOT DISTINCT FROM NULLIF(c._, ''))
        AND EVERY_COLUMN(numbers, CAST(l._PAIR AS DOUBLE) IS NOT DISTINCT FROM CAST(c._ AS DOUBLE))
        AND EVERY_COLUMN(flags, l._PAIR IS NOT DISTINCT FROM c._)
        AND EVERY_COLUMN(days, l._PAIR IS NOT DISTINCT FROM c._)
        AND EVERY_COLUMN(kept_texts, c._ IS NULL OR c._ = '' OR l._PAIR IS NOT DISTINCT FROM c._)
        AND EVERY_COLUMN(kept_numbers, c._ IS NULL OR CAST(l._PAIR AS DOUBLE) = CAST(c._ AS DOUBLE))
        AND EVERY_COLUMN(kept_flags, c._ IS NULL OR l._PAIR = c._)
        AND EVERY_COLUMN(kept_days, c._ IS NULL OR l._PAIR = c._)
        AND EVERY_COLUMN(constant_texts, CAST(l._ AS VARCHAR) = '_LABEL')
        -- MariaDB's text of TRUE is 1.
        AND EVERY_COLUMN(constant_flags, CASE WHEN l._ THEN 'true' WHEN NOT l._ THEN 'false' END = '_LABEL')
        AND EVERY_COLUMN(constant_numbers, CAST(l._ AS DOUBLE) = CAST('_LABEL' AS DOUBLE))
        AND EVERY_COLUMN(constant_nulls, l._ IS NULL)
      THEN 1
      ELSE 0
    END) = 1
  ) AS s
  WHERE EVERY_COLUMN(keys, s._ = t._)
)

-- name: count_sent
-- The number of transitions that are sent.
SELECT COUNT(*) FROM transitions AS t WHERE t._send
