-- Forgets transitions of settled runs, but none that a rejection or a doubt still speaks of.
DELETE FROM outbox AS o
WHERE o.run_seq IN (
    SELECT a.run_seq FROM audience_runs AS a
    WHERE a.audience = :audience AND a.phase <> 'delivering' AND a.finished_at < :before
  )
  AND NOT EXISTS (
    SELECT 1 FROM rejections AS r
    WHERE r.audience = :audience AND r.resolved_at IS NULL
      AND r.run_seq = o.run_seq AND r.seq = o.seq
  )
  AND NOT EXISTS (
    SELECT 1 FROM doubtful AS d
    WHERE d.audience = :audience AND d.run_seq = o.run_seq AND d.seq = o.seq
  )
