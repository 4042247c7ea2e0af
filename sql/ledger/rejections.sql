-- name: reject
-- Records rejected transitions.
INSERT INTO rejections (
  run_seq, sync_key, seq, kind, reason, path, status, attempts, message_id, payload, unconfirmed,
  first_seen, last_seen
)
SELECT
  :run, :sync_key,
  CAST(r.seq AS BIGINT),
  CAST(r.kind AS TEXT),
  CAST(r.reason AS TEXT),
  CAST(r.path AS TEXT),
  CAST(r.status AS BIGINT),
  CAST(r.attempts AS BIGINT),
  CAST(r.message_id AS TEXT),
  CAST(r.payload AS TEXT),
  CAST(r.unconfirmed AS BOOLEAN),
  :now, :now
FROM refused AS r

-- name: count_rejections
-- Of each audience run that has any: the numbers of rejected transitions, of open rejections of earlier
-- runs, and of unconfirmed keys.
SELECT k.run_seq, k.sync_key, COUNT(DISTINCT u.rejected_seq), COUNT(u.earlier), COUNT(u.unconfirmed)
FROM audience_run_keys AS k
JOIN (
  SELECT
    r.sync_key, r.run_seq, r.seq AS rejected_seq, CAST(NULL AS BIGINT) AS earlier, CAST(NULL AS BIGINT) AS unconfirmed
  FROM rejections AS r
  UNION ALL
  SELECT r.sync_key, r.run_seq, NULL, 1, NULL FROM rejections AS r WHERE r.resolved_at IS NULL
  UNION ALL
  SELECT d.sync_key, NULL, NULL, NULL, 1 FROM unconfirmed AS d
) AS u ON u.sync_key = k.sync_key AND (
  (u.rejected_seq IS NOT NULL AND u.run_seq = k.run_seq)
  OR (u.earlier IS NOT NULL AND u.run_seq < k.run_seq)
  OR u.unconfirmed IS NOT NULL
)
GROUP BY k.run_seq, k.sync_key

-- name: carry_rejections
-- A transition that is rejected again keeps the time of its first rejection and adds its attempts.
UPDATE rejections AS r
SET first_seen = e.first_seen, attempts = r.attempts + e.attempts
FROM (
  SELECT fresh.seq, MIN(x.first_seen) AS first_seen, MAX(x.attempts) AS attempts
  FROM rejections AS x
  JOIN outbox AS earlier ON earlier.run_seq = x.run_seq AND earlier.seq = x.seq
  JOIN outbox AS fresh ON fresh.run_seq = :run AND EVERY_COLUMN(keys, fresh._ = earlier._)
  WHERE x.sync_key = :sync_key AND x.run_seq < :run AND x.resolved_at IS NULL
  GROUP BY fresh.seq
) AS e
WHERE r.run_seq = :run AND r.sync_key = :sync_key AND r.seq = e.seq

-- name: resolve_rejections
-- Resolves the rejections of earlier runs, since this run planned those members again.
UPDATE rejections SET resolved_at = :now
WHERE sync_key = :sync_key AND run_seq < :run AND resolved_at IS NULL

-- name: rejected_by_reason
-- Open rejections by sync and reason.
SELECT sync_key, kind, reason, path, status, COUNT(*) AS rejections, MAX(attempts) AS attempts,
       MIN(first_seen) AS first_seen, MAX(last_seen) AS last_seen, MIN(payload) AS sample
FROM rejections
WHERE resolved_at IS NULL
GROUP BY sync_key, kind, reason, path, status
ORDER BY sync_key, rejections DESC

-- name: delete_confirmed
-- Deletes keys whose outcome is now known, or whose last attempt a newer one replaces.
DELETE FROM unconfirmed AS d
WHERE d.sync_key = :sync_key
  AND EXISTS (
    SELECT 1
    FROM outbox AS tried
    JOIN outbox AS fresh ON fresh.run_seq = :run AND EVERY_COLUMN(keys, fresh._ = tried._)
    LEFT JOIN rejections AS r
      ON r.run_seq = :run AND r.sync_key = :sync_key AND r.seq = fresh.seq
    WHERE tried.run_seq = d.run_seq
      AND tried.seq = d.seq
      AND (r.seq IS NULL OR r.unconfirmed)
  )

-- name: insert_unconfirmed
-- Adds transitions that were rejected after an attempt with an unknown outcome.
INSERT INTO unconfirmed (sync_key, run_seq, seq, since)
SELECT DISTINCT sync_key, run_seq, seq, CAST(:now AS TIMESTAMPTZ)
FROM rejections
WHERE run_seq = :run AND sync_key = :sync_key AND unconfirmed

-- name: delete_unconfirmed
-- Deletes the unconfirmed attempts of a sync.
DELETE FROM unconfirmed WHERE sync_key = :sync_key

-- name: purge_rejections
-- Deletes rejections that were resolved long ago.
DELETE FROM rejections WHERE resolved_at < :before
