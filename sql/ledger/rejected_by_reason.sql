-- What was refused and is not settled, by audience and reason.
SELECT audience, kind, reason, status, COUNT(*) AS rejections, MAX(attempts) AS attempts,
       MIN(first_seen) AS first_seen, MAX(last_seen) AS last_seen
FROM rejections
WHERE resolved_at IS NULL
GROUP BY audience, kind, reason, status
ORDER BY audience, rejections DESC
