-- The last run of an audience that the snapshot stands for.
SELECT run_seq, definition, definition_fingerprint, mapping, mapping_fingerprint,
       model_fingerprint, rows_seen, rejected
FROM audience_runs
WHERE audience = :audience AND phase = 'done'
ORDER BY run_seq DESC
LIMIT 1
