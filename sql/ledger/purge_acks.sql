-- Forgets the ranges of runs that were settled long ago.
DELETE FROM acks AS k
WHERE EXISTS (
  SELECT 1 FROM audience_runs AS a
  WHERE a.run_seq = k.run_seq AND a.audience = k.audience
    AND a.phase <> 'delivering' AND a.finished_at < :before
)
