-- When the last run ended of which a purge has forgotten who moved; NULL where none has.
SELECT MAX(a.finished_at)
FROM audience_runs AS a
WHERE a.audience = :audience AND a.phase <> 'delivering' AND a.held = 0
  AND a.entered + a.changed + a.exited > 0
  AND NOT EXISTS (SELECT 1 FROM acks AS k WHERE k.audience = a.audience AND k.run_seq = a.run_seq)
