-- The settled runs of an audience that moved somebody, the oldest first.
SELECT run_seq, definition, definition_fingerprint, mapping, mapping_fingerprint, planned_at
FROM audience_runs
WHERE audience = :audience AND phase = 'done' AND entered + changed + exited > 0
ORDER BY run_seq
