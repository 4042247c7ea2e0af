-- The audience runs whose outbox is not settled, the oldest first.
SELECT a.run_seq, r.run_id, a.audience, a.mapping, a.planned_at,
       a.entered + a.changed + a.exited AS planned, a.written_at
FROM audience_runs AS a
JOIN runs AS r ON r.run_seq = a.run_seq
WHERE a.phase = 'delivering'
ORDER BY a.run_seq, a.audience
