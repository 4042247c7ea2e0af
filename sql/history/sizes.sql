-- How an audience grew and shrank, run by run.
SELECT a.planned_at, a.size_before, a.size_after, a.entered, a.changed, a.exited, a.sent, a.rejected,
       a.held, a.phase, r.run_id
FROM audience_runs AS a
JOIN runs AS r ON r.run_seq = a.run_seq
WHERE a.audience = :audience
ORDER BY a.run_seq
