-- Only what was refused before is planned; the rest waits for its own run.
DELETE FROM transitions AS t
WHERE NOT EXISTS (
  SELECT 1
  FROM rejections AS r
  JOIN outbox AS o ON o.run_seq = r.run_seq AND o.seq = r.seq
  WHERE r.audience = :audience AND r.resolved_at IS NULL AND EVERY_COLUMN(keys, o._ = t._)
)
