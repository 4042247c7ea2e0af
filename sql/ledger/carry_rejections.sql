-- A transition refused again keeps the moment it was first refused, and counts its attempts on.
UPDATE rejections AS r
SET first_seen = e.first_seen, attempts = r.attempts + e.attempts
FROM (
  SELECT fresh.seq, MIN(x.first_seen) AS first_seen, MAX(x.attempts) AS attempts
  FROM rejections AS x
  JOIN outbox AS earlier ON earlier.run_seq = x.run_seq AND earlier.seq = x.seq
  JOIN outbox AS fresh ON fresh.run_seq = :run AND EVERY_COLUMN(keys, fresh._ = earlier._)
  WHERE x.audience = :audience AND x.run_seq < :run AND x.resolved_at IS NULL
  GROUP BY fresh.seq
) AS e
WHERE r.run_seq = :run AND r.audience = :audience AND r.seq = e.seq
