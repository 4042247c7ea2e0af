-- What was refused and is not settled, by audience and reason.
SELECT audience, kind, reason, path, status, COUNT(*) AS rejections, MAX(attempts) AS attempts,
       MIN(first_seen) AS first_seen, MAX(last_seen) AS last_seen, MIN(payload) AS sample
FROM rejections
WHERE resolved_at IS NULL
GROUP BY audience, kind, reason, path, status
ORDER BY audience, rejections DESC
