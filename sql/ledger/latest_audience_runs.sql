-- The latest run of each audience.
SELECT a.audience, a.run_seq, a.phase, a.size_before, a.size_after, a.entered, a.changed, a.exited,
       a.sent, a.rejected, a.held, a.quarantined, a.by_reason, a.guards, a.finished_at,
       a.name, a.destination
FROM audience_runs AS a
WHERE NOT EXISTS (
  SELECT 1 FROM audience_runs AS later
  WHERE later.audience = a.audience AND later.run_seq > a.run_seq
)
ORDER BY a.audience
