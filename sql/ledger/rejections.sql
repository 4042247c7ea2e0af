-- name: reject
-- A transition was refused.
INSERT INTO rejections (
  run_seq, audience, seq, kind, reason, path, status, attempts, message_id, payload, doubtful,
  first_seen, last_seen
)
VALUES (
  :run, :audience, :seq, :kind, :reason, :path, :status, :attempts, :message_id, :payload, :doubtful,
  :now, :now
)

-- name: count_rejected
-- How many transitions of an audience run were refused.
SELECT COUNT(DISTINCT seq) FROM rejections WHERE run_seq = :run AND audience = :audience

-- name: carry_rejections
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

-- name: resolve_rejections
-- What earlier runs saw refused has been planned anew, delivered or refused again by this one.
UPDATE rejections SET resolved_at = :now
WHERE audience = :audience AND run_seq < :run AND resolved_at IS NULL

-- name: rejected_by_reason
-- What was refused and is not settled, by audience and reason.
SELECT audience, kind, reason, path, status, COUNT(*) AS rejections, MAX(attempts) AS attempts,
       MIN(first_seen) AS first_seen, MAX(last_seen) AS last_seen, MIN(payload) AS sample
FROM rejections
WHERE resolved_at IS NULL
GROUP BY audience, kind, reason, path, status
ORDER BY audience, rejections DESC

-- name: clear_doubtful
-- A key whose outcome is known by now, or whose last attempt is replaced by a newer one.
DELETE FROM doubtful AS d
WHERE d.audience = :audience
  AND EXISTS (
    SELECT 1
    FROM outbox AS tried
    JOIN outbox AS fresh ON fresh.run_seq = :run AND EVERY_COLUMN(keys, fresh._ = tried._)
    LEFT JOIN rejections AS r
      ON r.run_seq = :run AND r.audience = :audience AND r.seq = fresh.seq
    WHERE tried.run_seq = d.run_seq
      AND tried.seq = d.seq
      AND (r.seq IS NULL OR r.doubtful)
  )

-- name: add_doubtful
-- A transition that was refused after an attempt whose outcome nobody knows.
INSERT INTO doubtful (audience, run_seq, seq, since)
SELECT DISTINCT audience, run_seq, seq, CAST(:now AS TIMESTAMPTZ)
FROM rejections
WHERE run_seq = :run AND audience = :audience AND doubtful

-- name: forget_doubts
-- Attempts whose transitions are not in the outbox any more.
DELETE FROM doubtful WHERE audience = :audience

-- name: purge_rejections
-- Forgets refusals that were settled long ago.
DELETE FROM rejections WHERE resolved_at < :before
