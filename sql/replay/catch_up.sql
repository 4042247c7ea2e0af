-- Columns that were added or converted silently have no place in the history: a member whom the
-- destination has taken is brought to what the other destination's ledger holds.
UPDATE snapshot AS s
SET EACH_COLUMN(columns, _ = o._)
FROM source AS o
WHERE EVERY_COLUMN(keys, o._ = s._)
  AND NOT s._gone AND NOT o._gone
  AND NOT EXISTS (
    SELECT 1
    FROM rejections AS r
    JOIN outbox AS x ON x.run_seq = r.run_seq AND x.seq = r.seq
    WHERE r.audience = :audience AND EVERY_COLUMN(keys, x._ = s._)
  )
