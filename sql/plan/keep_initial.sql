-- A member of the first result set that was refused then is still one of the first result set.
UPDATE transitions AS t
SET reason = 'initial'
WHERE t.op = 'entered' AND t.reason = 'data' AND EXISTS (
  SELECT 1
  FROM rejections AS r
  JOIN outbox AS o ON o.run_seq = r.run_seq AND o.seq = r.seq
  WHERE r.audience = :audience AND r.resolved_at IS NULL AND o.reason = 'initial'
    AND EVERY_COLUMN(keys, o._ = t._)
)
