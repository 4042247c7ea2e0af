-- The transitions of a run that were delivered: all of its outbox but what was refused.
SELECT o.*
FROM outbox AS o
WHERE o.run_seq = :run
  AND NOT EXISTS (
    SELECT 1 FROM rejections AS r
    WHERE r.run_seq = :run AND r.audience = :audience AND r.seq = o.seq
  )
